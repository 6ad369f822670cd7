//! The values of a column, read to see what partition they make.

use std::sync::Arc;

use ::parquet::data_type::{AsBytes, DataType};
use ::parquet::file::metadata::ParquetMetaData;
use bytes::Bytes;

use super::columns::{Leaf, Stored};
use super::partition::OneValue;
use super::statistics::converted;
use super::table::SpecField;
use crate::format::manifest::Value;
use crate::format::parquet::{Batches, Bounds, Budget, Chunk, Fault, damaged, typed};

/// Values of one column of a file.
const VALUES_MAX: u64 = 1 << 30;
/// Pages of it.
const PAGES_MAX: u64 = 1 << 20;
/// Bytes of it when it is unpacked.
const UNPACKED_BYTES_MAX: u64 = 16 << 30;
/// Bytes of one page of it.
const PAGE_BYTES_MAX: u64 = 64 << 20;

/// The day 1970-01-01 as INT96 counts days.
const JULIAN_1970: i64 = 2_440_588;

/// What all values of a column make of a partition field; `chunks` are its bytes, one a row group that has rows.
pub(super) fn one_value(
    metadata: &ParquetMetaData,
    leaf: Leaf,
    field: &SpecField,
    chunks: &[Bytes],
) -> Result<OneValue, Fault> {
    let mut bounds = Bounds {
        pages: Budget::new(PAGES_MAX, "a column has more than {} pages"),
        values: Budget::new(VALUES_MAX, "a column has more than {} values"),
        unpacked: Budget::new(UNPACKED_BYTES_MAX, "a column unpacks to more than {} bytes"),
        page_bytes: PAGE_BYTES_MAX,
        repeated_values: 0,
    };
    let mut so_far = None;
    let groups = metadata.row_groups().iter().filter(|group| group.num_rows() > 0);
    for (group, bytes) in groups.zip(chunks) {
        let (Some(meta), Ok(rows)) = (group.columns().get(leaf.at), u64::try_from(group.num_rows())) else {
            return damaged("a row group has other columns than the schema");
        };
        let chunk = Arc::new(Chunk::open(bytes.clone(), meta, rows, &mut bounds)?);
        let physical = chunk.column().physical_type();
        let is_one = typed!(physical, T => one_in::<T>(&chunk, leaf, field, &mut so_far)?);
        if !is_one {
            return Ok(OneValue::Many);
        }
    }
    so_far.map_or_else(|| damaged("it has no rows"), |value| Ok(OneValue::One(value)))
}

/// Whether a column of a row group makes one value only, and the one that was made before.
fn one_in<T: DataType>(
    chunk: &Arc<Chunk>,
    leaf: Leaf,
    field: &SpecField,
    so_far: &mut Option<Option<Value>>,
) -> Result<bool, Fault> {
    let mut batches = Batches::<T>::open(chunk);
    let most = chunk.column().max_def_level();
    let mut last: Option<T::T> = None;
    while let Some(batch) = batches.next_batch()? {
        if most > 0 && batch.definition.iter().any(|level| *level < most) && so_far.get_or_insert(None).is_some() {
            return Ok(false);
        }
        for value in batch.values {
            // runs of equal values are the rule
            if last.as_ref() == Some(&value) {
                continue;
            }
            let made = made(value.as_bytes(), leaf, field)?;
            if *so_far.get_or_insert_with(|| made.clone()) != made {
                return Ok(false);
            }
            last = Some(value);
        }
    }
    Ok(true)
}

fn made(bytes: &[u8], leaf: Leaf, field: &SpecField) -> Result<Option<Value>, Fault> {
    let value = match leaf.stored {
        Stored::Int96 => int96(bytes),
        stored => stored.value(bytes),
    };
    let value = value.and_then(|value| converted(value, leaf.value_type, field.source_type, true));
    let made = value.and_then(|value| match value.is_nan() {
        // every NaN is another one to a comparison: a file of them has no partition of its own
        true => None,
        false => field.transform.apply(&value, field.source_type).flatten(),
    });
    match made {
        Some(value) => Ok(Some(value)),
        None => damaged(format!("a value of column {} makes no partition", field.source_name)),
    }
}

/// Microseconds since 1970 from nanoseconds of a day and the day.
fn int96(bytes: &[u8]) -> Option<Value> {
    let (nanos, day) = bytes.split_first_chunk::<8>()?;
    let day = i64::from(i32::from_le_bytes(day.try_into().ok()?)) - JULIAN_1970;
    let micros = i64::from_le_bytes(*nanos).div_euclid(1_000);
    Some(Value::Long(day.checked_mul(86_400_000_000)?.checked_add(micros)?))
}
