//! Writes a container that is another one with edits: the header as it was, records copied but for what was replaced.
//!
//! Blocks keep their bounds where they are large enough; small ones (some writers make one a record) are joined. Without compression joining saves
//! nothing, so then every block keeps its bounds, and the file is the source's but for the edits and the lengths that follow from them.

use super::codec::{Codec, Packer};
use super::container::Header;
use super::broken;
use crate::error::Result;

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

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }
}

/// A container in the making.
pub struct Patch<'a> {
    name: &'a str,
    out: Vec<u8>,
    sync: [u8; 16],
    codec: Codec,
    packer: Packer,
    block: Vec<u8>,
    records: u64,
}

impl<'a> Patch<'a> {
    /// Begins with the header of `source` as it is.
    pub fn new(source: &[u8], header: &Header, name: &'a str) -> Self {
        let mut out = Vec::with_capacity(source.len() + source.len() / 4);
        out.extend_from_slice(source.get(..header.size_bytes).unwrap_or_default());
        let packer = Packer::new(header.codec);
        Patch { name, out, sync: header.sync, codec: header.codec, packer, block: Vec::new(), records: 0 }
    }

    /// Adds the records of a block with edits, which are in the order of their places.
    pub fn add(&mut self, records: u64, raw: &[u8], edits: &Edits) -> Result<()> {
        let mut copied = 0;
        for (start, end, from, to) in &edits.places {
            self.block.extend_from_slice(raw.get(copied..*start).unwrap_or_default());
            self.block.extend_from_slice(edits.texts.get(*from..*to).unwrap_or_default());
            copied = *end;
        }
        self.block.extend_from_slice(raw.get(copied..).unwrap_or_default());
        self.records += records;
        if self.codec == Codec::Null || self.block.len() >= BLOCK_BYTES_MIN { self.close() } else { Ok(()) }
    }

    /// The whole file.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        if self.records > 0 {
            self.close()?;
        }
        Ok(self.out)
    }

    fn close(&mut self) -> Result<()> {
        let packed = self.packer.pack(&self.block).map_err(|e| broken(self.name, e))?;
        encode_long(&mut self.out, self.records as i64);
        encode_bytes(&mut self.out, packed);
        self.out.extend_from_slice(&self.sync);
        self.block.clear();
        self.records = 0;
        Ok(())
    }
}
