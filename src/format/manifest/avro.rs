//! The Avro object container, as far as manifests need it: primitives, blocks, header, sync marker.
//!
//! The sync marker is a digest of the header, so equal input gives equal bytes (Avro 1.12 specification, "Object Container Files").

use sha2::{Digest, Sha256};

use crate::format::avro::{encode_bytes, encode_long};

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    Null,
    /// Raw deflate; what Java writes by default.
    Deflate,
}

impl Codec {
    fn as_str(self) -> &'static str {
        match self {
            Codec::Null => "null",
            Codec::Deflate => "deflate",
        }
    }
}

/// A block is closed when it holds this much before compression.
const BLOCK_BYTES: usize = 64 * 1024;
/// miniz_oxide's level: the middle, manifests are small.
const DEFLATE_LEVEL: u8 = 6;
const SYNC_BYTES: usize = 16;

/// Writes Avro's binary encoding of single values.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn long(&mut self, value: i64) {
        encode_long(&mut self.bytes, value);
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        encode_bytes(&mut self.bytes, value);
    }

    pub(super) fn string(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// Bytes without a length: `fixed`, `float`, `double`.
    pub(super) fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    /// The branch of a `["null", T]` union, then the value if there is one.
    pub(super) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.long(0),
            Some(value) => {
                self.long(1);
                write(self, value);
            }
        }
    }

    /// An array (or Iceberg's map, which is an array of pairs).
    pub(super) fn array<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        if items.len() > 0 {
            self.long(items.len() as i64);
            items.for_each(|item| write(self, item));
        }
        self.long(0);
    }
}

/// A container that is being written.
pub(super) struct Container {
    out: Vec<u8>,
    sync: [u8; SYNC_BYTES],
    codec: Codec,
    block: Encoder,
    block_records: i64,
}

impl Container {
    /// Writes the header; `metadata` without the `avro.` keys.
    pub(super) fn new(schema: &str, metadata: &[(&str, String)], codec: Codec) -> Self {
        let mut header = Encoder::default();
        header.raw(b"Obj\x01");
        let ours = [("avro.schema", schema), ("avro.codec", codec.as_str())];
        let all: Vec<(&str, &str)> = ours.into_iter().chain(metadata.iter().map(|(k, v)| (*k, v.as_str()))).collect();
        header.array(all.into_iter(), |to, (key, value)| {
            to.string(key);
            to.string(value);
        });
        let mut sync = [0; SYNC_BYTES];
        sync.copy_from_slice(&Sha256::digest(&header.bytes)[..SYNC_BYTES]);
        header.raw(&sync);
        Container { out: header.bytes, sync, codec, block: Encoder::default(), block_records: 0 }
    }

    /// Adds one record.
    pub(super) fn record(&mut self, write: impl FnOnce(&mut Encoder)) {
        write(&mut self.block);
        self.block_records += 1;
        if self.block.bytes.len() >= BLOCK_BYTES {
            self.close_block();
        }
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.block_records > 0 {
            self.close_block();
        }
        self.out
    }

    fn close_block(&mut self) {
        let raw = std::mem::take(&mut self.block.bytes);
        let stored = match self.codec {
            Codec::Null => raw,
            Codec::Deflate => miniz_oxide::deflate::compress_to_vec(&raw, DEFLATE_LEVEL),
        };
        let mut frame = Encoder::default();
        frame.long(self.block_records);
        frame.bytes(&stored);
        frame.raw(&self.sync);
        self.out.append(&mut frame.bytes);
        self.block_records = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longs_are_zigzag_varints() {
        for (value, expected) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (64, &[0x80, 1]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut encoder = Encoder::default();
            encoder.long(value);
            assert_eq!(encoder.bytes, expected, "{value}");
        }
    }
}
