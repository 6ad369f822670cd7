//! Avro object containers as Iceberg uses them: read by field id, and patched as streams.
//!
//! Manifest lists, manifests and position deletes are walked record by record in the writer's own schema; only the fields that are asked for are
//! looked at, and what is not changed is copied as bytes, so that nothing we do not know is lost. What must hold: a file that ends early, whose
//! blocks do not add up or whose schema lacks a needed field is an error that names the file, and never a shorter file; what is claimed (counts,
//! lengths, sizes after decompression) never allocates more than the file can hold or a named limit allows. Writing new files is `format::manifest`.

mod codec;
mod container;
mod full;
mod patch;
mod read;
mod schema;
mod walk;

pub use codec::Codec;
pub use full::{FullEntry, ManifestLine, for_each_full_entry, manifest_lines};
pub use patch::{Scratch, repack};
pub use read::{Content, Entry, ManifestFile, Status, for_each_entry, manifests};

pub(in crate::format) use container::Blocks;
pub(in crate::format) use patch::{Edits, Patch, encode_bytes, encode_long};
pub(in crate::format) use read::{entry, list, open, read_entry, records};
pub(in crate::format) use schema::{Flat, Schema};
pub(in crate::format) use walk::{Cursor, Damage, PairSpan, Span, Spans, items, pairs};

use crate::error::{Error, Kind};

/// An error about the file `name`.
pub(in crate::format) fn broken(name: &str, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Unprocessable, format!("cannot read {name} as Avro: {why}"))
}
