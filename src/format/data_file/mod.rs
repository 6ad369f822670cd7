//! A Parquet file that somebody else wrote, as a data file of a table: whether it fits, its partition, its statistics.
//!
//! What must hold: what is described is what Iceberg's readers will read; a file that does not fit, spans partitions or cannot be read has a
//! [`Reason`] and is never described in part. The footer is somebody else's: nothing is allocated by what it claims before that was checked.
//! Getting the bytes is for the callers: first the last bytes of the file, then, where a partition cannot be told otherwise, single columns.

mod columns;
mod mapping;
mod matching;
mod partition;
mod statistics;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use bytes::Bytes;

pub use mapping::{NAME_MAPPING, NameMapping};
pub use matching::Difference;
pub use partition::OneValue;
pub use table::{Spec, SpecField, TableShape};
pub use text::{folders, partition_value, type_of};

use super::manifest::{DataFile, FileContent};
use super::parquet::{self, ENCRYPTED, Fault, MAGIC, ShapeLimits, Tail};
use super::types::Field;
use columns::{Column, Stored};
use matching::{Matched, MatchedLeaf};
use partition::Part;
use statistics::Aggregate;

/// Longest footer that is read, in bytes.
pub const FOOTER_BYTES_MAX: usize = 32 << 20;

const SHAPE: ShapeLimits = ShapeLimits { schema_elements: 20_000, schema_depth: 64, chunks: 400_000 };

/// Why a file is not appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Of what sort it is, in a word for metrics.
    pub word: &'static str,
    /// What is the matter.
    pub message: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A reason of some sort.
pub fn reason(word: &'static str, message: impl Into<String>) -> Reason {
    Reason { word, message: message.into() }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(why) if why == ENCRYPTED => reason("encrypted", why),
            Fault::Refused(why) => reason("limits", why),
            Fault::Damaged(why) => reason("unreadable", format!("it cannot be read as Parquet: {why}")),
            Fault::Other(error) => reason("unreadable", error.to_string()),
        }
    }
}

/// What the last bytes of a file had.
#[derive(Debug)]
pub enum FooterRead {
    /// All of it.
    Footer(Box<Footer>),
    /// Not all of the footer, for which so many bytes are needed.
    Needs(u64),
}

/// A footer that was checked.
#[derive(Debug)]
pub struct Footer {
    metadata: ParquetMetaData,
    columns: Vec<Column>,
    file_bytes: u64,
    data_end: u64,
}

/// What a file is to a table.
#[derive(Debug)]
pub enum Described {
    /// A data file of it.
    File(Box<DataFile>),
    /// That depends on the values of these: place of a spec's field, and of the column that must be read.
    Needs(Vec<(usize, usize)>),
}

/// Reads a footer from the last bytes of a file of `file_bytes`.
pub fn read_footer(last: &Bytes, file_bytes: u64) -> Result<FooterRead, Reason> {
    let footer = match parquet::tail(last, file_bytes, FOOTER_BYTES_MAX)? {
        Tail::Footer(footer) => footer,
        Tail::Needs(bytes) => return Ok(FooterRead::Needs(bytes as u64)),
    };
    let read = || {
        parquet::check_shape(&footer, &SHAPE)?;
        Ok(ParquetMetaDataReader::decode_metadata(&footer)?)
    };
    let metadata = parquet::fenced(read)?;
    let data_end = file_bytes - footer.len() as u64 - 2 * MAGIC.len() as u64;
    let columns = Column::all(metadata.file_metadata().schema());
    let footer = Footer { metadata, columns, file_bytes, data_end };
    footer.check()?;
    Ok(FooterRead::Footer(Box::new(footer)))
}

impl Footer {
    /// How many rows the file has.
    pub fn rows(&self) -> i64 {
        self.metadata.file_metadata().num_rows()
    }

    /// What the table would have to become for the file to fit.
    pub fn differences(&self, table: &TableShape) -> Result<Vec<Difference>, Reason> {
        Ok(matching::matched(&self.columns, table)?.differences)
    }

    /// The columns of a table made for it; their ids mean nothing.
    pub fn fields(&self, table: &TableShape) -> Result<Vec<Field>, Reason> {
        matching::fields(&self.columns, table)
    }

    /// The file as one of the table's. `folders` are those that it lies in, `read` what was found in columns that had to be read, by place of the
    /// spec's field.
    pub fn describe(
        &self,
        path: &str,
        table: &TableShape,
        folders: &[(String, String)],
        read: &BTreeMap<usize, OneValue>,
    ) -> Result<Described, Reason> {
        let matched = matching::matched(&self.columns, table)?;
        if let Some(difference) = matched.differences.first() {
            let message = format!("{difference}: the table lacks that; append with evolve, or change the table first");
            return Err(reason("evolution", message));
        }
        let leaves: Vec<(&MatchedLeaf, Aggregate)> =
            matched.leaves.iter().map(|leaf| (leaf, statistics::aggregate(&self.metadata, leaf))).collect();
        check_missing(&matched, table, folders)?;
        leaves.iter().try_for_each(|(leaf, all)| check_leaf(leaf, all))?;
        let mut needs = Vec::new();
        let mut partition = Vec::with_capacity(table.spec.fields.len());
        for (at, field) in table.spec.fields.iter().enumerate() {
            let leaf = leaves.iter().find(|(leaf, _)| leaf.field_id == field.source_id);
            match (partition::part(field, leaf, folders, read.get(&at))?, leaf) {
                (Part::Known(value), _) => partition.push(value),
                (Part::Unread, Some((leaf, _))) => needs.push((at, leaf.leaf.at)),
                (Part::Unread, None) => partition.push(None),
            }
        }
        if !needs.is_empty() {
            return Ok(Described::Needs(needs));
        }
        let size = i64::try_from(self.file_bytes).unwrap_or(i64::MAX);
        let mut file = DataFile { partition, ..DataFile::parquet(FileContent::Data, path, self.rows(), size) };
        file.split_offsets = self.split_offsets();
        statistics::describe(&mut file, table, &leaves);
        Ok(Described::File(Box::new(file)))
    }

    /// Where a column lies, one range a row group that has rows.
    pub fn ranges(&self, column: usize) -> Result<Vec<Range<u64>>, Reason> {
        let groups = self.metadata.row_groups().iter().filter(|group| group.num_rows() > 0);
        let ranges =
            groups.filter_map(|group| group.columns().get(column)).map(|chunk| parquet::place(self.data_end, chunk));
        Ok(ranges.collect::<Result<_, _>>()?)
    }

    /// What all values of a column make of a field of the spec; `chunks` are the bytes of its [`Footer::ranges`].
    pub fn one_value(&self, column: usize, field: &SpecField, chunks: &[Bytes]) -> Result<OneValue, Reason> {
        fn leaf(columns: &[&Column], at: usize) -> Option<columns::Leaf> {
            columns.iter().find_map(|column| match &column.kind {
                columns::Kind::Leaf(leaf) if leaf.at == at => Some(*leaf),
                _ => leaf(&column.parts(), at),
            })
        }
        let columns: Vec<&Column> = self.columns.iter().collect();
        let leaf = leaf(&columns, column).ok_or_else(|| reason("unreadable", "a column of it has no values"))?;
        Ok(parquet::fenced(|| values::one_value(&self.metadata, leaf, field, chunks))?)
    }

    /// Rows and places add up.
    fn check(&self) -> Result<(), Reason> {
        let broken = |what: &str| reason("unreadable", format!("it cannot be read as Parquet: {what}"));
        let columns = self.metadata.file_metadata().schema_descr().columns();
        let mut rows = 0_i64;
        for group in self.metadata.row_groups() {
            if group.num_rows() < 0 || group.columns().len() != columns.len() {
                return Err(broken("a row group has other columns than the schema, or fewer rows than none"));
            }
            rows = rows.saturating_add(group.num_rows());
            for (chunk, column) in group.columns().iter().zip(columns) {
                if group.num_rows() > 0 {
                    parquet::place(self.data_end, chunk)?;
                }
                let is_whole = column.max_rep_level() > 0 || chunk.num_values() == group.num_rows();
                if chunk.num_values() < 0 || !is_whole {
                    return Err(broken("a column has other rows than its row group"));
                }
            }
        }
        if rows != self.rows() { Err(broken("its row groups have other rows than it states")) } else { Ok(()) }
    }

    /// Where row groups begin.
    fn split_offsets(&self) -> Vec<i64> {
        let groups = self.metadata.row_groups().iter().filter(|group| group.num_rows() > 0);
        let starts = groups.filter_map(|group| parquet::place(self.data_end, group.columns().first()?).ok());
        let mut offsets: Vec<i64> = starts.filter_map(|place| i64::try_from(place.start).ok()).collect();
        offsets.sort_unstable();
        offsets
    }
}

/// A column that the file lacks must be one that may be null there, unless its folders have it.
fn check_missing(matched: &Matched, table: &TableShape, folders: &[(String, String)]) -> Result<(), Reason> {
    for field in table.fields.iter().filter(|field| matched.missing.contains(&field.id)) {
        let named = folders.iter().rev().find(|(name, _)| *name == field.name);
        let is_partition = table
            .spec
            .fields
            .iter()
            .any(|spec| spec.source_id == field.id && spec.transform == super::transform::Transform::Identity);
        match named {
            Some(_) if is_partition => {}
            Some((name, text)) => {
                let message = format!(
                    "its folder says {name}={text}, it has no such column, and the table is not partitioned by it: its rows would have null"
                );
                return Err(reason("partition", message));
            }
            None if field.required && field.initial_default.is_none() => {
                return Err(reason("schema", format!("it lacks the required column {}", field.name)));
            }
            None => {}
        }
    }
    Ok(())
}

fn check_leaf(leaf: &MatchedLeaf, all: &Aggregate) -> Result<(), Reason> {
    if leaf.must_have_no_nulls && all.nulls != Some(0) {
        let message = format!("column {} is never null in the table, and may be in the file", leaf.name);
        return Err(reason("schema", message));
    }
    let is_small = || match &all.greatest {
        Some(super::manifest::Value::Long(greatest)) => *greatest <= i64::from(i32::MAX),
        _ => all.is_all_null(),
    };
    if leaf.leaf.stored == Stored::Unsigned32 && !is_small() {
        let message = format!("column {} has unsigned integers that readers would take for negative ones", leaf.name);
        return Err(reason("type", message));
    }
    Ok(())
}
