//! The object container: a header with the writer's schema, then blocks of records between sync markers (Avro 1.12, "Object Container Files").

use std::ops::Range;

use super::broken;
use super::codec::{self, Codec, Unpacker};
use super::schema::Schema;
use super::walk::{Cursor, Spans};
use crate::error::{Error, Kind, Result};
use crate::format::deflate::{Inflater, Tokens};

const MAGIC: &[u8; 4] = b"Obj\x01";
const SYNC_BYTES: usize = 16;
/// Entries of a header.
const HEADER_ENTRIES_MAX: i64 = 10_000;
/// How Iceberg's encrypted files begin (AES GCM stream).
const ENCRYPTED_MAGIC: &[u8; 4] = b"AGS1";

/// Whether these bytes begin as a container does.
pub fn is_container(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// What a container says before its first block.
#[derive(Debug, Clone)]
pub struct Header {
    /// The writer's schema.
    pub schema: serde_json::Value,
    /// How blocks are compressed.
    pub codec: Codec,
    /// The header's size with its sync marker: where the blocks begin.
    pub size_bytes: usize,
    /// The partition spec that a manifest says it is written with.
    pub spec_id: Option<i32>,
    /// The marker behind every block.
    pub sync: [u8; SYNC_BYTES],
}

impl Header {
    /// Reads the header of the file `name`.
    pub fn read(bytes: &[u8], name: &str) -> Result<Header> {
        if bytes.starts_with(ENCRYPTED_MAGIC) {
            let message = format!("{name} is encrypted; encrypted metadata files cannot be relocated");
            return Err(Error::new(Kind::Unprocessable, message));
        }
        if !is_container(bytes) {
            return Err(broken(name, "it does not begin as an Avro file"));
        }
        let mut cursor = Cursor::new(bytes, MAGIC.len());
        let entries = entries(&mut cursor).map_err(|e| broken(name, e))?;
        let sync = cursor.take(SYNC_BYTES).map_err(|e| broken(name, e))?;
        let find = |key: &str| entries.iter().rev().find(|(k, _)| *k == key.as_bytes()).map(|(_, value)| *value);
        let schema = find("avro.schema").ok_or_else(|| broken(name, "it has no schema"))?;
        let codec = find("avro.codec").map_or(Ok("null"), std::str::from_utf8);
        let codec = codec.map_err(|_| broken(name, "its codec is no text"))?;
        Ok(Header {
            schema: serde_json::from_slice(schema).map_err(|e| broken(name, format!("its schema is no JSON: {e}")))?,
            codec: Codec::named(codec).ok_or_else(|| {
                broken(name, format!("its codec {codec:?} is unknown; null, deflate, zstandard and snappy are spoken"))
            })?,
            size_bytes: cursor.at(),
            spec_id: find("partition-spec-id").and_then(|id| std::str::from_utf8(id).ok()?.parse().ok()),
            sync: sync.try_into().map_err(|_| broken(name, "it ends in its header"))?,
        })
    }
}

/// A key of the header's map and its value.
type HeaderEntry<'a> = (&'a [u8], &'a [u8]);

/// The pairs of the header's map.
fn entries<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<HeaderEntry<'a>>, &'static str> {
    let mut entries = Vec::new();
    loop {
        let mut count = cursor.long()?;
        if count == 0 {
            return Ok(entries);
        }
        if count < 0 {
            cursor.long()?;
            count = count.checked_neg().ok_or("a count is out of range")?;
        }
        if count > HEADER_ENTRIES_MAX || entries.len() as i64 > HEADER_ENTRIES_MAX {
            return Err("its header has too many entries");
        }
        for _ in 0..count {
            entries.push((cursor.bytes()?, cursor.bytes()?));
        }
    }
}

/// One block, unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Block<'b> {
    /// How many records it says it holds.
    pub records: u64,
    /// The records, one after another.
    pub raw: &'b [u8],
    /// What its deflate stream is made of, where that is kept.
    pub tokens: Option<&'b Tokens>,
}

impl Block<'_> {
    /// Calls `each` for every record, with the spans of its noted fields and where it is in the block, which must hold nothing else.
    #[inline]
    pub fn each_record(
        &self,
        schema: &Schema,
        spans: &mut Spans,
        name: &str,
        mut each: impl FnMut(&Spans, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let mut cursor = Cursor::new(self.raw, 0);
        for _ in 0..self.records {
            let start = cursor.at();
            cursor.record(schema, spans).map_err(|e| broken(name, e))?;
            each(spans, start..cursor.at())?;
        }
        if cursor.is_at_end() { Ok(()) } else { Err(broken(name, "a block holds more than its records")) }
    }
}

/// What unpacking blocks takes, to be used again.
#[derive(Default)]
pub struct UnpackScratch {
    unpacker: Unpacker,
    inflater: Inflater,
    raw: Vec<u8>,
    tokens: Tokens,
}

/// The blocks of a container, one at a time in one buffer.
pub struct Blocks<'a> {
    name: &'a str,
    sync: [u8; SYNC_BYTES],
    codec: Codec,
    keeps_tokens: bool,
    cursor: Cursor<'a>,
    scratch: &'a mut UnpackScratch,
}

impl<'a> Blocks<'a> {
    /// The blocks behind `header` in `bytes`.
    pub fn new(bytes: &'a [u8], header: &Header, name: &'a str, scratch: &'a mut UnpackScratch) -> Self {
        let cursor = Cursor::new(bytes, header.size_bytes);
        Blocks { name, sync: header.sync, codec: header.codec, keeps_tokens: false, cursor, scratch }
    }

    /// The same, for who writes the blocks anew: of a deflate stream is kept what it is made of.
    pub fn for_patch(bytes: &'a [u8], header: &Header, name: &'a str, scratch: &'a mut UnpackScratch) -> Self {
        Blocks { keeps_tokens: header.codec == Codec::Deflate, ..Blocks::new(bytes, header, name, scratch) }
    }

    /// The next block; `None` at the end of the file.
    pub fn next_block(&mut self) -> Result<Option<Block<'_>>> {
        if self.cursor.is_at_end() {
            return Ok(None);
        }
        let (records, stored) = self.stored().map_err(|e| broken(self.name, e))?;
        let UnpackScratch { unpacker, inflater, raw, tokens } = &mut *self.scratch;
        if self.keeps_tokens {
            codec::inflate(inflater, stored, raw, tokens).map_err(|e| broken(self.name, e))?;
            return Ok(Some(Block { records, raw, tokens: Some(tokens) }));
        }
        unpacker.unpack(self.codec, stored, raw).map_err(|e| broken(self.name, e))?;
        Ok(Some(Block { records, raw, tokens: None }))
    }

    fn stored(&mut self) -> Result<(u64, &'a [u8]), &'static str> {
        let records = u64::try_from(self.cursor.long()?).map_err(|_| "a block has a negative count of records")?;
        let stored = self.cursor.bytes()?;
        if self.cursor.take(SYNC_BYTES)? != self.sync {
            return Err("a block does not end in the sync marker");
        }
        Ok((records, stored))
    }
}
