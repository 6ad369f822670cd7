//! Parquet files of somebody else: what their footers say, and the values of single columns, by the `parquet` crate behind fences of our own.
//!
//! What must hold: nothing is allocated or unpacked before what the file states was checked against its length and a named limit, because the
//! crate takes offsets and counts as they are; a damaged or hostile file is a [`Fault`] and never a panic that gets out. What the columns mean is
//! for the callers.

mod batches;
mod codec;
mod footer;
mod header;
mod lengths;
mod pages;
mod shape;
mod thrift;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::errors::ParquetError;

pub(in crate::format) use batches::{BATCH_ROWS, Batch, Batches, typed};
pub(in crate::format) use footer::{MAGIC, Tail, place, tail};
pub(in crate::format) use pages::{Bounds, Chunk};
pub(in crate::format) use shape::{ShapeLimits, check as check_shape};

use crate::error::Error;

/// Why nothing is read of an encrypted file.
pub(in crate::format) const ENCRYPTED: &str =
    "it is encrypted, and what is in it is known only to those who have its keys";

/// What is left of a limit.
#[derive(Debug)]
pub(in crate::format) struct Budget {
    left: u64,
    most: u64,
    what: &'static str,
}

impl Budget {
    /// `what` says that it is used up, with `{}` for the limit.
    pub(in crate::format) fn new(most: u64, what: &'static str) -> Budget {
        Budget { left: most, most, what }
    }

    pub(in crate::format) fn take(&mut self, bytes: u64) -> Result<(), Fault> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| Fault::Refused(self.what.replace("{}", &self.most.to_string())))?;
        Ok(())
    }
}

/// Why a file was not read; its name is added once, by the caller.
#[derive(Debug)]
pub(in crate::format) enum Fault {
    /// It is not what it should be.
    Damaged(String),
    /// It may be fine, but we do not do it.
    Refused(String),
    /// What the caller does with it fails.
    Other(Error),
}

impl From<ParquetError> for Fault {
    fn from(error: ParquetError) -> Self {
        Fault::Damaged(match error {
            ParquetError::General(why) | ParquetError::EOF(why) => why,
            other => other.to_string(),
        })
    }
}

pub(in crate::format) fn damaged<T>(why: impl fmt::Display) -> Result<T, Fault> {
    Err(Fault::Damaged(why.to_string()))
}

pub(in crate::format) fn refused<T>(why: impl fmt::Display) -> Result<T, Fault> {
    Err(Fault::Refused(why.to_string()))
}

/// The last fence: the crate asserts what a file that was damaged on purpose can break. All that is touched is dropped.
pub(in crate::format) fn fenced<T>(attempt: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|_| damaged("it contradicts itself"))
}

#[cfg(test)]
mod tests;
