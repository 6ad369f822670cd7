//! How blocks are compressed: null, deflate, Zstandard and Snappy, as the Avro specification frames them.
//!
//! What must hold: a block never unpacks to more than [`BLOCK_BYTES_MAX`], and memory grows with what is really unpacked, not with what is
//! claimed. Deflate is libdeflate's, the fastest we measured; its fastest level is what we write where a stream is not edited (`format::deflate`).

use crate::format::deflate::{Inflater, Refused, Tokens};
use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

/// The largest block after decompression.
pub const BLOCK_BYTES_MAX: usize = 256 << 20;
/// libdeflate's fastest: 8 % larger than level 6 at more than half again the speed.
const DEFLATE_LEVEL: i32 = 1;
/// Zstandard's fastest of the usual levels.
const ZSTD_LEVEL: i32 = 1;
/// Snappy blocks end in a CRC-32 of what they unpack to.
const SNAPPY_CRC_BYTES: usize = 4;
/// The first guess of what a deflated block unpacks to, a multiple of its size.
const DEFLATE_RATIO_GUESS: usize = 5;

/// Why a block cannot be unpacked, for a message that names the file.
pub(super) type Damage = String;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Codec {
    Null,
    Deflate,
    Zstandard,
    Snappy,
}

impl Codec {
    /// The codec of an `avro.codec` header.
    pub(super) fn named(name: &str) -> Option<Codec> {
        match name {
            "null" => Some(Codec::Null),
            "deflate" => Some(Codec::Deflate),
            "zstandard" => Some(Codec::Zstandard),
            "snappy" => Some(Codec::Snappy),
            _ => None,
        }
    }
}

/// Unpacks blocks, with memory that is used again.
#[derive(Default)]
pub(super) struct Unpacker {
    deflate: Option<Decompressor>,
}

impl Unpacker {
    /// Fills `raw` with what `stored` unpacks to.
    pub(super) fn unpack(&mut self, codec: Codec, stored: &[u8], raw: &mut Vec<u8>) -> Result<(), Damage> {
        match codec {
            Codec::Null => {
                raw.clear();
                raw.extend_from_slice(stored);
                Ok(())
            }
            Codec::Deflate => self.inflate(stored, raw),
            Codec::Zstandard => unpack_zstd(stored, raw),
            Codec::Snappy => unpack_snappy(stored, raw),
        }
    }

    fn inflate(&mut self, stored: &[u8], raw: &mut Vec<u8>) -> Result<(), Damage> {
        let deflate = self.deflate.get_or_insert_with(Decompressor::new);
        let mut room = stored.len().saturating_mul(DEFLATE_RATIO_GUESS).max(raw.len()).clamp(4096, BLOCK_BYTES_MAX);
        loop {
            // only what is new is zeroed: the buffer keeps its length between blocks
            raw.resize(room, 0);
            match deflate.deflate_decompress(stored, raw) {
                Ok(size) => {
                    raw.truncate(size);
                    return Ok(());
                }
                Err(DecompressionError::InsufficientSpace) if room < BLOCK_BYTES_MAX => {
                    room = room.saturating_mul(2).min(BLOCK_BYTES_MAX);
                }
                Err(DecompressionError::InsufficientSpace) => return Err(too_large()),
                Err(DecompressionError::BadData) => return Err("a deflated block is damaged".to_owned()),
            }
        }
    }
}

/// Fills `raw` with what a deflate stream unpacks to, and `tokens` with what it is made of.
pub(super) fn inflate(
    inflater: &mut Inflater,
    stored: &[u8],
    raw: &mut Vec<u8>,
    tokens: &mut Tokens,
) -> Result<(), Damage> {
    inflater.inflate(stored, BLOCK_BYTES_MAX, raw, tokens).map_err(|refused| match refused {
        Refused::TooLarge => too_large(),
        Refused::Damaged => "a deflated block is damaged".to_owned(),
    })
}

fn too_large() -> Damage {
    format!("a block unpacks to more than {BLOCK_BYTES_MAX} bytes")
}

fn unpack_zstd(stored: &[u8], raw: &mut Vec<u8>) -> Result<(), Damage> {
    use std::io::Read;
    raw.clear();
    let decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(|e| e.to_string())?;
    let limit = BLOCK_BYTES_MAX as u64;
    let size = decoder.take(limit + 1).read_to_end(raw).map_err(|e| format!("a Zstandard block is damaged: {e}"))?;
    if size as u64 > limit { Err(too_large()) } else { Ok(()) }
}

fn unpack_snappy(stored: &[u8], raw: &mut Vec<u8>) -> Result<(), Damage> {
    let damaged = || "a Snappy block is damaged".to_owned();
    let (packed, crc) = stored.split_last_chunk::<SNAPPY_CRC_BYTES>().ok_or_else(damaged)?;
    let size = snap::raw::decompress_len(packed).map_err(|_| damaged())?;
    // Snappy's densest element makes 64 bytes of 3
    if size > BLOCK_BYTES_MAX || size > packed.len().saturating_mul(64) {
        return Err(too_large());
    }
    raw.clear();
    raw.resize(size, 0);
    let size = snap::raw::Decoder::new().decompress(packed, raw).map_err(|_| damaged())?;
    raw.truncate(size);
    if crc32fast::hash(raw) == u32::from_be_bytes(*crc) { Ok(()) } else { Err(damaged()) }
}

/// Packs blocks, with memory that is used again.
#[derive(Default)]
pub(super) struct Packer {
    deflate: Option<Compressor>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    packed: Vec<u8>,
}

impl Packer {
    /// What `raw` packs to.
    pub(super) fn pack<'a>(&'a mut self, codec: Codec, raw: &'a [u8]) -> Result<&'a [u8], Damage> {
        match codec {
            Codec::Null => return Ok(raw),
            Codec::Deflate => {
                let level = CompressionLvl::new(DEFLATE_LEVEL).map_err(|e| format!("{e:?}"))?;
                let deflate = self.deflate.get_or_insert_with(|| Compressor::new(level));
                self.packed.resize(deflate.deflate_compress_bound(raw.len()), 0);
                let size = deflate.deflate_compress(raw, &mut self.packed).map_err(|e| format!("{e:?}"))?;
                self.packed.truncate(size);
            }
            Codec::Zstandard => {
                if self.zstd.is_none() {
                    self.zstd = Some(zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(|e| e.to_string())?);
                }
                let Some(zstd) = self.zstd.as_mut() else { return Err("no compressor".to_owned()) };
                self.packed = zstd.compress(raw).map_err(|e| e.to_string())?;
            }
            Codec::Snappy => {
                self.packed = snap::raw::Encoder::new().compress_vec(raw).map_err(|e| e.to_string())?;
                self.packed.extend_from_slice(&crc32fast::hash(raw).to_be_bytes());
            }
        }
        Ok(&self.packed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ALL: [Codec; 4] = [Codec::Null, Codec::Deflate, Codec::Zstandard, Codec::Snappy];

    #[test]
    fn every_codec_gives_back_what_it_got() {
        let noise: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for codec in ALL {
            let (mut packer, mut unpacker, mut raw) = (Packer::default(), Unpacker::default(), Vec::new());
            for block in [&b""[..], b"abc", &[7; 1_000_000], &noise] {
                unpacker.unpack(codec, packer.pack(codec, block).unwrap(), &mut raw).unwrap();
                assert!(raw == block, "{codec:?} of {} bytes", block.len());
            }
        }
    }

    #[test]
    fn damage_is_an_error() {
        for codec in [Codec::Deflate, Codec::Zstandard, Codec::Snappy] {
            let packed = Packer::default().pack(codec, &[7; 10_000]).unwrap().to_vec();
            let mut raw = Vec::new();
            for end in 0..packed.len() {
                assert!(Unpacker::default().unpack(codec, &packed[..end], &mut raw).is_err(), "{codec:?} cut at {end}");
            }
        }
    }
}
