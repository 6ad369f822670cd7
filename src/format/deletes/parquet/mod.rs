//! Position deletes in Parquet, rewritten whole: statistics, dictionaries and indexes hold paths too.
//!
//! What must hold: schema, field ids, metadata and codecs are those of the source, every other column has the source's values, and the
//! rows are in order. The file is somebody else's: what it states is checked against its length and against [`Limits`] before anything
//! is allocated or unpacked, so that a damaged or hostile one is an error. Bytes in, bytes out; a whole file is in memory at once, but
//! only one batch of its rows, unless it must be sorted anew.
//!
//! [`footer`] reads what the file says of itself and [`pages`] its pages, with bounds that the `parquet` crate does not have; [`order`]
//! finds the order of the rows; [`column`] moves values; [`write`] puts the new file together. Decoding and encoding are the crate's.

mod codec;
mod column;
mod footer;
mod header;
mod lengths;
mod order;
mod pages;
mod shape;
mod thrift;
mod write;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::errors::ParquetError;
use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::format::location::LocationMap;

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
    // The last fence: the crate's decoders assert what a page that was damaged on purpose can break. All that is touched is dropped.
    let outcome =
        catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|_| damaged("its pages contradict themselves"));
    outcome.map_err(|fault| match fault {
        Fault::Damaged(why) => Error::internal(format!("cannot read {name} as Parquet: {why}")),
        Fault::Refused(why) => Error::new(Kind::Unprocessable, format!("cannot rewrite {name}: {why}")),
        Fault::Map(error) => error.context(name),
    })
}

/// What a file may be at most, so that no file of a few kilobytes takes all memory.
#[derive(Debug, Clone)]
struct Limits {
    /// Bytes of the footer: a few hundred a column of a row group.
    footer_bytes: usize,
    /// Elements of the schema, nested ones too.
    schema_elements: usize,
    /// How deep the schema nests; the crate descends recursively.
    schema_depth: usize,
    /// Columns of all row groups together.
    chunks: usize,
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

const ENCRYPTED: &str = "it is encrypted, and its paths are known only to those who have its keys";

const LIMITS: Limits = Limits {
    footer_bytes: 64 << 20,
    schema_elements: 20_000,
    schema_depth: 100,
    chunks: 200_000,
    pages: 1 << 20,
    values: 1 << 30,
    repeated_values: 1 << 25,
    page_bytes: 256 << 20,
    unpacked_bytes: 16 << 30,
    path_bytes: 256 << 20,
    value_bytes: 8 << 30,
    sort_bytes: 1 << 30,
};

/// What is left of a limit.
#[derive(Debug)]
struct Budget {
    left: u64,
    most: u64,
    what: &'static str,
}

impl Budget {
    /// `what` says that it is used up, with `{}` for the limit.
    fn new(most: u64, what: &'static str) -> Budget {
        Budget { left: most, most, what }
    }

    fn take(&mut self, bytes: u64) -> Result<(), Fault> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| Fault::Refused(self.what.replace("{}", &self.most.to_string())))?;
        Ok(())
    }
}

/// Why a file was not rewritten; its name is added once, by [`rewrite`].
#[derive(Debug)]
enum Fault {
    /// It is not what it should be.
    Damaged(String),
    /// It may be fine, but we do not do it.
    Refused(String),
    /// The map refuses a path.
    Map(Error),
}

impl From<ParquetError> for Fault {
    fn from(error: ParquetError) -> Self {
        Fault::Damaged(match error {
            ParquetError::General(why) | ParquetError::EOF(why) => why,
            other => other.to_string(),
        })
    }
}

fn damaged<T>(why: impl fmt::Display) -> Result<T, Fault> {
    Err(Fault::Damaged(why.to_string()))
}

fn refused<T>(why: impl fmt::Display) -> Result<T, Fault> {
    Err(Fault::Refused(why.to_string()))
}

#[cfg(test)]
mod tests;
