//! Unpacks pages into exactly as many bytes as their header states.
//!
//! The `parquet` crate unpacks GZIP, BROTLI and framed LZ4 without an end, however little a header promises. What must hold here: no more
//! is unpacked than was promised, and less is an error. Packing is for the crate.

use std::io::Read;

use ::parquet::basic::Compression;

use super::{Fault, damaged};

/// A buffer of the Brotli reader.
const BROTLI_BUFFER_BYTES: usize = 4096;
/// The two lengths before each block of Hadoop's LZ4.
const LZ4_HEAD_BYTES: usize = 8;

/// The `length` bytes that `packed` unpacks to; `length` was checked against a limit.
pub(super) fn unpack(codec: Compression, packed: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
    let unpacked = match codec {
        Compression::UNCOMPRESSED => packed.to_vec(),
        Compression::SNAPPY => snappy(packed, length)?,
        Compression::GZIP(_) => read(flate2::read::MultiGzDecoder::new(packed), length)?,
        Compression::BROTLI(_) => read(brotli::Decompressor::new(packed, BROTLI_BUFFER_BYTES), length)?,
        Compression::ZSTD(_) => zstd::bulk::decompress(packed, length).or_else(damaged)?,
        Compression::LZ4_RAW => lz4(packed, length)?,
        Compression::LZ4 => lz4_of_hadoop(packed, length)
            .or_else(|| lz4(packed, length).ok())
            .map_or_else(|| read(lz4_flex::frame::FrameDecoder::new(packed), length), Ok)?,
        Compression::LZO => return damaged("it is compressed with LZO"),
    };
    if unpacked.len() != length {
        return damaged(format!("a page unpacks to other than the {length} bytes that its header states"));
    }
    Ok(unpacked)
}

fn read(from: impl Read, length: usize) -> Result<Vec<u8>, Fault> {
    let mut unpacked = Vec::with_capacity(length);
    // one more, to see that it does not end there
    from.take(length as u64 + 1).read_to_end(&mut unpacked).or_else(damaged)?;
    Ok(unpacked)
}

fn snappy(packed: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
    if snap::raw::decompress_len(packed).or_else(damaged)? != length {
        return damaged("a page's length in Snappy is not that of its header");
    }
    snap::raw::Decoder::new().decompress_vec(packed).or_else(damaged)
}

fn lz4(packed: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
    let mut unpacked = vec![0; length];
    let end = lz4_flex::block::decompress_into(packed, &mut unpacked).or_else(damaged)?;
    unpacked.truncate(end);
    Ok(unpacked)
}

/// Blocks with both their lengths before them, in big endian, as Hadoop writes the codec that is named LZ4; none when it is not that.
/// Old writers of other languages wrote a bare block or a frame under the same name.
fn lz4_of_hadoop(mut packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut unpacked = vec![0; length];
    let mut at = 0_usize;
    while !packed.is_empty() {
        let ([l0, l1, l2, l3, p0, p1, p2, p3], rest) = packed.split_first_chunk::<LZ4_HEAD_BYTES>()?;
        let whole = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
        let (block, rest) = rest.split_at_checked(u32::from_be_bytes([*p0, *p1, *p2, *p3]) as usize)?;
        let to = unpacked.get_mut(at..at.checked_add(whole)?)?;
        if lz4_flex::block::decompress_into(block, to).ok()? != whole {
            return None;
        }
        at += whole;
        packed = rest;
    }
    (at == length).then_some(unpacked)
}
