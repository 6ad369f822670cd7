//! Puffin files: what their footer says of the blobs, and the same file with its deletion vectors pointing elsewhere.
//!
//! A Puffin file is magic, blobs, footer; the footer is JSON that names each blob's place and, for a deletion vector, the data file
//! that it is about (specification, "Puffin file format" and its "deletion-vector-v1" blob type). What must hold: blobs stay byte for
//! byte where they are, so that every offset that a manifest or a footer states stays true; of the footer only the path of a data file
//! changes, and members that we do not know keep their place. A file that is cut or does not add up is an error that names it. What is
//! inside a blob is for others: no type of blob has paths in it.

use std::io::Read;
use std::ops::Range;

use lz4_flex::frame::FrameDecoder;
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::format::location::LocationMap;

const MAGIC: &[u8; 4] = b"PFA1";
/// The payload's size, the flags, and the last magic.
const TAIL_BYTES: usize = 12;
/// Flag bit 0: the payload is one LZ4 frame.
const FLAG_COMPRESSED: u32 = 1;
/// Most bytes of a footer's JSON; a blob takes a few hundred of them.
const FOOTER_BYTES_MAX: usize = 64 << 20;
const REFERENCED: &str = "referenced-data-file";

/// What a footer says of one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// For example `deletion-vector-v1`.
    pub blob_type: String,
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is in the file.
    pub length_bytes: u64,
    /// The data file that a deletion vector is about.
    pub referenced_data_file: Option<String>,
}

/// The same file with every `referenced-data-file` mapped; `name` is the file's location, for errors. The footer is written uncompressed.
pub fn relocate(bytes: &[u8], name: &str, map: &LocationMap) -> Result<Vec<u8>> {
    let Footer { begins, mut json, .. } = Footer::parse(bytes, name)?;
    let blobs = json.get_mut("blobs").and_then(Value::as_array_mut);
    for blob in blobs.into_iter().flatten() {
        if let Some(Value::String(path)) = blob.pointer_mut("/properties/referenced-data-file") {
            *path = map.map(path).map_err(|e| e.context(name))?.into_owned();
        }
    }
    let payload = serde_json::to_vec(&json).map_err(|e| broken(name, e.to_string()))?;
    let size = i32::try_from(payload.len()).map_err(|_| too_large(name))?;
    let blobs = bytes.get(..begins).unwrap_or_default();
    let parts: [&[u8]; 6] = [blobs, MAGIC, &payload, &size.to_le_bytes(), &[0; 4], MAGIC];
    Ok(parts.concat())
}

/// The data files that the deletion vectors of a file are about, in the order of its blobs; `name` is the file's location, for errors.
pub fn referenced(bytes: &[u8], name: &str) -> Result<Vec<String>> {
    Ok(blobs(bytes, name)?.into_iter().filter_map(|blob| blob.referenced_data_file).collect())
}

/// What the footer says of the blobs, in its order; `name` is the file's location, for errors.
pub fn blobs(bytes: &[u8], name: &str) -> Result<Vec<Blob>> {
    Ok(Footer::parse(bytes, name)?.blobs)
}

/// A footer that agrees with its file.
struct Footer {
    /// Where it begins, and blobs end.
    begins: usize,
    json: Value,
    blobs: Vec<Blob>,
}

impl Footer {
    fn parse(bytes: &[u8], name: &str) -> Result<Footer> {
        let (payload, flags) = framed(bytes).map_err(|why| broken(name, why))?;
        let begins = payload.start.saturating_sub(MAGIC.len());
        let payload = bytes.get(payload).unwrap_or_default();
        let unpacked;
        let text = match flags {
            0 => payload,
            FLAG_COMPRESSED => {
                unpacked = unpack(payload).map_err(|e| broken(name, format!("its footer: {e}")))?;
                &unpacked
            }
            other => return Err(broken(name, format!("its flags {other:#x} are unknown"))),
        };
        if text.len() > FOOTER_BYTES_MAX {
            return Err(too_large(name));
        }
        let json: Value = serde_json::from_slice(text).map_err(|e| broken(name, format!("its footer: {e}")))?;
        let listed = json.get("blobs").and_then(Value::as_array);
        let listed = listed.ok_or_else(|| broken(name, "its footer lists no blobs"))?;
        let blobs = listed.iter().enumerate().map(|(at, blob)| {
            described(blob, begins).map_err(|why| broken(name, format!("blob {at} of its footer {why}")))
        });
        let blobs = blobs.collect::<Result<_>>()?;
        Ok(Footer { begins, json, blobs })
    }
}

/// Where the footer's payload is, and its flags.
fn framed(bytes: &[u8]) -> Result<(Range<usize>, u32), &'static str> {
    let (rest, tail) = bytes.split_last_chunk::<TAIL_BYTES>().ok_or("it is too short")?;
    let [s0, s1, s2, s3, f0, f1, f2, f3, magic @ ..] = *tail;
    if magic != *MAGIC {
        return Err("it does not end in PFA1");
    }
    let size = usize::try_from(i32::from_le_bytes([s0, s1, s2, s3])).map_err(|_| "its footer's size is negative")?;
    let start = rest.len().checked_sub(size).ok_or("its footer is larger than the file")?;
    let before = rest.get(..start).unwrap_or_default();
    let blobs = before.strip_suffix(MAGIC).ok_or("its footer does not begin with PFA1")?;
    if !blobs.starts_with(MAGIC) {
        return Err("it does not begin with PFA1");
    }
    Ok((start..rest.len(), u32::from_le_bytes([f0, f1, f2, f3])))
}

/// An LZ4 frame as it was before; one byte more than the limit when it is over it.
fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    FrameDecoder::new(packed).take(FOOTER_BYTES_MAX as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

/// A blob's members that we know; it must lie between the first magic and `end`.
fn described(blob: &Value, end: usize) -> Result<Blob, &'static str> {
    let number = |member: &str| blob.get(member).and_then(Value::as_u64);
    let blob_type = blob.get("type").and_then(Value::as_str).ok_or("has no type")?.to_owned();
    let offset = number("offset").ok_or("has no offset")?;
    let length_bytes = number("length").ok_or("has no length")?;
    let ends = offset.checked_add(length_bytes).ok_or("lies outside the file")?;
    if offset < MAGIC.len() as u64 || ends > end as u64 {
        return Err("lies outside the file's blobs");
    }
    let referenced_data_file = match blob.get("properties").and_then(|properties| properties.get(REFERENCED)) {
        None => None,
        Some(Value::String(path)) => Some(path.clone()),
        Some(_) => return Err("has a referenced-data-file that is no text"),
    };
    Ok(Blob { blob_type, offset, length_bytes, referenced_data_file })
}

fn broken(name: &str, why: impl std::fmt::Display) -> Error {
    Error::internal(format!("cannot read {name} as Puffin: {why}"))
}

fn too_large(name: &str) -> Error {
    let message = format!("cannot read {name} as Puffin: its footer is larger than {FOOTER_BYTES_MAX} bytes");
    Error::new(Kind::Unprocessable, message)
}

#[cfg(test)]
#[path = "puffin_tests.rs"]
mod tests;
