//! Writes a container that is another one with edits: the header as it was, records copied but for what was replaced.
//!
//! Blocks keep their bounds where they are large enough; small ones (some writers make one a record) are joined. Without compression joining saves
//! nothing, so then every block keeps its bounds, and the file is the source's but for the edits and the lengths that follow from them.

use super::broken;
use super::codec::{Codec, Packer};
use super::container::{Blocks, Header, UnpackScratch};
use crate::error::Result;
use crate::format::deflate::{Splice, Tokens};

/// A block that is smaller than this is joined with the next one.
const BLOCK_BYTES_MIN: usize = 32 << 10;

/// Adds a zigzag varint.
pub fn encode_long(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// Adds bytes behind their length.
pub fn encode_bytes(out: &mut Vec<u8>, value: &[u8]) {
    encode_long(out, value.len() as i64);
    out.extend_from_slice(value);
}

/// Replacements within one block: where, and with which part of a buffer of theirs.
#[derive(Debug, Default)]
pub struct Edits {
    places: Vec<(usize, usize, usize, usize)>,
    texts: Vec<u8>,
}

impl Edits {
    /// Replaces `start..end` with what `write` adds.
    #[inline]
    pub fn replace(&mut self, start: usize, end: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.texts.len();
        write(&mut self.texts);
        self.places.push((start, end, from, self.texts.len()));
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.places.clear();
        self.texts.clear();
    }

    /// Puts them in the order of their places from the `first` on, as one record's may come in any.
    pub fn sort_from(&mut self, first: usize) {
        if let Some(new) = self.places.get_mut(first..)
            && !new.is_sorted()
        {
            new.sort_unstable();
        }
    }

    /// The bytes `start..end` with the one edit that is inside of them.
    pub fn applied(&self, raw: &[u8], start: usize, end: usize, edit: usize) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some((from, to, text, text_end)) = self.places.get(edit) {
            out.extend_from_slice(raw.get(start..*from).unwrap_or_default());
            out.extend_from_slice(self.texts.get(*text..*text_end).unwrap_or_default());
            out.extend_from_slice(raw.get(*to..end).unwrap_or_default());
        }
        out
    }

    /// Each with its place and what stands there instead.
    fn each(&self) -> impl Iterator<Item = (usize, usize, &[u8])> {
        self.places.iter().map(|(start, end, from, to)| (*start, *end, self.texts.get(*from..*to).unwrap_or_default()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }
}

/// Memory that is used again from file to file: pages of new memory cost more than what is done with them.
#[derive(Default)]
pub struct Scratch {
    pub(in crate::format) unpack: UnpackScratch,
    pub(in crate::format) pack: PackScratch,
    pub(in crate::format) edits: Edits,
}

/// What packing blocks takes, to be used again.
#[derive(Default)]
pub struct PackScratch {
    packer: Packer,
    block: Vec<u8>,
    splice: Splice,
    packed: Vec<u8>,
}

/// A container in the making.
pub struct Patch<'a> {
    name: &'a str,
    out: Vec<u8>,
    sync: [u8; 16],
    codec: Codec,
    scratch: &'a mut PackScratch,
    records: u64,
    /// Blocks of the source that are in the one that is made, of those that came with tokens.
    joined: usize,
}

impl<'a> Patch<'a> {
    /// Begins with the header of `source` as it is.
    pub fn new(source: &[u8], header: &Header, name: &'a str, scratch: &'a mut PackScratch) -> Self {
        let mut out = Vec::with_capacity(source.len() + source.len() / 4);
        out.extend_from_slice(source.get(..header.size_bytes).unwrap_or_default());
        scratch.block.clear();
        scratch.splice.clear();
        Patch { name, out, sync: header.sync, codec: header.codec, scratch, records: 0, joined: 0 }
    }

    /// Adds the records of a block with edits, which are in the order of their places. `tokens` are there for all blocks of a file or for none.
    pub fn add(&mut self, records: u64, raw: &[u8], tokens: Option<&Tokens>, edits: &Edits) -> Result<()> {
        self.records += records;
        if let Some(tokens) = tokens {
            self.joined += 1;
            self.scratch.splice.add(raw, tokens, edits.each());
            return if self.scratch.splice.text().len() >= BLOCK_BYTES_MIN { self.close() } else { Ok(()) };
        }
        let block = &mut self.scratch.block;
        let mut copied = 0;
        for (start, end, from, to) in &edits.places {
            block.extend_from_slice(raw.get(copied..*start).unwrap_or_default());
            block.extend_from_slice(edits.texts.get(*from..*to).unwrap_or_default());
            copied = *end;
        }
        block.extend_from_slice(raw.get(copied..).unwrap_or_default());
        if self.codec == Codec::Null || block.len() >= BLOCK_BYTES_MIN { self.close() } else { Ok(()) }
    }

    /// The whole file.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        if self.records > 0 {
            self.close()?;
        }
        Ok(self.out)
    }

    fn close(&mut self) -> Result<()> {
        let PackScratch { packer, block, splice, packed } = &mut *self.scratch;
        let packed = match self.joined {
            0 => packer.pack(self.codec, block),
            1 => {
                packed.clear();
                splice.write(packed);
                Ok(packed.as_slice())
            }
            // what blocks repeat of each other, none of their streams says
            _ => packer.pack(self.codec, splice.text()),
        };
        let packed = packed.map_err(|e| broken(self.name, e))?;
        encode_long(&mut self.out, self.records as i64);
        encode_bytes(&mut self.out, packed);
        self.out.extend_from_slice(&self.sync);
        block.clear();
        splice.clear();
        (self.records, self.joined) = (0, 0);
        Ok(())
    }
}

/// The container `name` with its blocks unpacked and packed again and nothing else done: what every patch takes at least, for benchmarks.
pub fn repack(bytes: &[u8], name: &str, scratch: &mut Scratch) -> Result<Vec<u8>> {
    let header = Header::read(bytes, name)?;
    let Scratch { unpack, pack, .. } = scratch;
    let mut blocks = Blocks::new(bytes, &header, name, unpack);
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
    out.extend_from_slice(bytes.get(..header.size_bytes).unwrap_or_default());
    while let Some(block) = blocks.next_block()? {
        let packed = pack.packer.pack(header.codec, block.raw).map_err(|e| broken(name, e))?;
        encode_long(&mut out, block.records as i64);
        encode_bytes(&mut out, packed);
        out.extend_from_slice(&header.sync);
    }
    Ok(out)
}
