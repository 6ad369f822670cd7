//! Position deletes in Parquet, rewritten whole: statistics, dictionaries and indexes hold paths too.
//!
//! What must hold: schema, field ids, metadata and codecs are those of the source, every other column has the source's values, and the
//! rows are in order. The file is somebody else's: what it states is checked against its length and against [`Limits`] before anything
//! is allocated or unpacked, so that a damaged or hostile one is an error. Bytes in, bytes out; a whole file is in memory at once, but
//! only one batch of its rows, unless it must be sorted anew.
//!
//! [`footer`] reads what the file says of itself, with bounds that the `parquet` crate does not have (`format::parquet`); [`order`]
//! finds the order of the rows; [`column`] moves values; [`write`] puts the new file together. Decoding and encoding are the crate's.

mod column;
mod footer;
mod order;
mod write;

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::format::location::LocationMap;
use crate::format::parquet::{Fault, ShapeLimits, fenced};

/// Field id of `file_path` (specification, "Reserved Field IDs").
pub const FILE_PATH: i32 = 2_147_483_546;
/// Field id of `pos`.
pub const POS: i32 = 2_147_483_545;

/// A rewritten file, and what a manifest says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The file.
    pub bytes: Vec<u8>,
    /// How many rows it has: as many as before.
    pub rows: u64,
    /// Whether the rows are in another order than before.
    pub resorted: bool,
    /// What each column takes in the file, by field id; columns without an id are left out.
    pub column_sizes: Vec<(i32, i64)>,
    /// Where row groups begin.
    pub split_offsets: Vec<i64>,
    /// The first path in order, as it is now; none when there are no rows.
    pub first_path: Option<String>,
    /// The last path in order.
    pub last_path: Option<String>,
}

/// The same deletes with every path mapped, sorted by path and position; `name` is the file's location, for errors.
pub fn rewrite(bytes: Bytes, name: &str, map: &LocationMap) -> Result<Rewritten> {
    rewrite_within(&LIMITS, bytes, name, map)
}

fn rewrite_within(limits: &Limits, bytes: Bytes, name: &str, map: &LocationMap) -> Result<Rewritten> {
    let attempt = || {
        let source = footer::open(bytes, limits)?;
        let order = order::find(&source, map, limits)?;
        write::write(&source, order, limits)
    };
    fenced(attempt).map_err(|fault| match fault {
        Fault::Damaged(why) => Error::internal(format!("cannot read {name} as Parquet: {why}")),
        Fault::Refused(why) => Error::new(Kind::Unprocessable, format!("cannot rewrite {name}: {why}")),
        Fault::Other(error) => error.context(name),
    })
}

/// What a file may be at most, so that no file of a few kilobytes takes all memory.
#[derive(Debug, Clone)]
struct Limits {
    /// Bytes of the footer: a few hundred a column of a row group.
    footer_bytes: usize,
    /// What the footer has.
    shape: ShapeLimits,
    /// Pages of all of them.
    pages: usize,
    /// Values and nulls of all of them: runs of equal ones take a few bytes, however long they are.
    values: u64,
    /// The same of one column of a row group whose rows have any number of them, because one row is in memory whole.
    repeated_values: u64,
    /// Bytes of one page when it is unpacked.
    page_bytes: u64,
    /// Bytes of all pages when they are unpacked.
    unpacked_bytes: u64,
    /// Bytes of the different paths, before and after together.
    path_bytes: u64,
    /// Bytes of all values but the paths when each is written out, equal ones too.
    value_bytes: u64,
    /// Memory for finding an order and sorting by it.
    sort_bytes: u64,
}

const LIMITS: Limits = Limits {
    footer_bytes: 64 << 20,
    shape: ShapeLimits { schema_elements: 20_000, schema_depth: 100, chunks: 200_000 },
    pages: 1 << 20,
    values: 1 << 30,
    repeated_values: 1 << 25,
    page_bytes: 256 << 20,
    unpacked_bytes: 16 << 30,
    path_bytes: 256 << 20,
    value_bytes: 8 << 30,
    sort_bytes: 1 << 30,
};

#[cfg(test)]
mod tests;
