//! What a Parquet file says of itself: its schema, where the columns of its row groups are, and which of them hold paths and positions.
//!
//! What must hold: the crate reads a footer only after its shape was checked, and a [`Source`] that exists has every page inside the file and
//! within the limits, because the crate takes offsets and counts as they are.

use std::sync::Arc;

use ::parquet::basic::Type as Physical;
use ::parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
};
use ::parquet::schema::types::ColumnDescPtr;
use bytes::Bytes;

use super::{FILE_PATH, Limits, POS};
use crate::format::parquet::{self, Bounds, Budget, Chunk, Fault, MAGIC, Tail, check_shape, damaged, place};

/// A file whose footer and page headers were found to agree with it.
pub(super) struct Source {
    pub(super) metadata: ParquetMetaData,
    pub(super) groups: Vec<Group>,
    /// Which column holds the paths.
    pub(super) file_path: usize,
    /// Which column holds the positions.
    pub(super) pos: usize,
}

/// A row group with rows.
pub(super) struct Group {
    pub(super) rows: u64,
    /// In the order of the schema's columns.
    pub(super) chunks: Vec<Arc<Chunk>>,
}

impl Source {
    pub(super) fn columns(&self) -> &[ColumnDescPtr] {
        self.metadata.file_metadata().schema_descr().columns()
    }

    pub(super) fn rows(&self) -> u64 {
        self.groups.iter().map(|group| group.rows).sum()
    }

    /// One column's chunks, in the order of the row groups.
    pub(super) fn chunks(&self, column: usize) -> impl Iterator<Item = &Arc<Chunk>> {
        self.groups.iter().filter_map(move |group| group.chunks.get(column))
    }
}

/// Reads the footer and every page's header.
pub(super) fn open(bytes: Bytes, limits: &Limits) -> Result<Source, Fault> {
    let footer = footer(&bytes, limits)?;
    let data_end = bytes.len() - footer.len() - 2 * MAGIC.len();
    check_shape(&footer, &limits.shape)?;
    // statistics are made anew, so they need not be right
    let options = ParquetMetaDataOptions::new().with_column_stats_policy(ParquetStatisticsPolicy::SkipAll);
    let metadata = ParquetMetaDataReader::decode_metadata_with_options(&footer, Some(&options))?;
    let columns = metadata.file_metadata().schema_descr().columns();
    for column in columns {
        if column.physical_type() == Physical::FIXED_LEN_BYTE_ARRAY && column.type_length() <= 0 {
            return damaged(format!("its column {} has no width", column.path().string()));
        }
    }
    let file_path = find(columns, FILE_PATH, "file_path", Physical::BYTE_ARRAY)?;
    let pos = find(columns, POS, "pos", Physical::INT64)?;
    let groups = groups(&bytes.slice(..data_end), &metadata, limits)?;
    Ok(Source { metadata, groups, file_path, pos })
}

/// The footer between the data and the file's last eight bytes.
fn footer(bytes: &Bytes, limits: &Limits) -> Result<Bytes, Fault> {
    match parquet::tail(bytes, bytes.len() as u64, limits.footer_bytes)? {
        Tail::Footer(_) if !bytes.starts_with(MAGIC) => damaged("it does not begin and end in PAR1"),
        Tail::Footer(footer) => Ok(footer),
        Tail::Needs(_) => damaged("its footer is larger than the file"),
    }
}

/// A top-level column by its field id, or by name among the columns without one; it must be of the type that deletes have.
fn find(columns: &[ColumnDescPtr], id: i32, name: &str, physical: Physical) -> Result<usize, Fault> {
    let own_id = |column: &ColumnDescPtr| {
        let info = column.self_type().get_basic_info();
        info.has_id().then(|| info.id())
    };
    let top = |column: &ColumnDescPtr| column.path().parts().len() == 1;
    let by_id = columns.iter().position(|column| top(column) && own_id(column) == Some(id));
    let by_name = || columns.iter().position(|column| top(column) && own_id(column).is_none() && column.name() == name);
    let Some(found) = by_id.or_else(by_name) else {
        return damaged(format!("it has no column {name} (field {id}): it is no file of position deletes"));
    };
    match columns.get(found) {
        Some(column) if column.physical_type() == physical && column.max_rep_level() == 0 => Ok(found),
        _ => damaged(format!("its column {name} is not of type {physical}")),
    }
}

/// The row groups with their pages; those without rows are left out, because some readers refuse them.
fn groups(data: &Bytes, metadata: &ParquetMetaData, limits: &Limits) -> Result<Vec<Group>, Fault> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let mut bounds = Bounds {
        pages: Budget::new(limits.pages as u64, "it has more than {} pages"),
        values: Budget::new(limits.values, "it has more than {} values"),
        unpacked: Budget::new(limits.unpacked_bytes, "its pages unpack to more than {} bytes"),
        page_bytes: limits.page_bytes,
        repeated_values: limits.repeated_values,
    };
    let mut groups = Vec::new();
    let (mut rows_total, mut stored_total) = (0_u64, 0_u64);
    for group in metadata.row_groups() {
        let Ok(rows) = u64::try_from(group.num_rows()) else { return damaged("a row group has fewer rows than none") };
        rows_total = rows_total.saturating_add(rows);
        if group.columns().len() != columns.len() {
            return damaged("a row group has other columns than the schema");
        }
        if rows == 0 {
            continue;
        }
        let mut chunks = Vec::with_capacity(columns.len());
        for chunk in group.columns() {
            let place = place(data.len() as u64, chunk)?;
            let bytes = data.slice(place.start as usize..place.end as usize);
            stored_total += bytes.len() as u64;
            if stored_total > data.len() as u64 {
                return damaged("its columns overlap");
            }
            chunks.push(Arc::new(Chunk::open(bytes, chunk, rows, &mut bounds)?));
        }
        groups.push(Group { rows, chunks });
    }
    if u64::try_from(metadata.file_metadata().num_rows()) != Ok(rows_total) {
        return damaged("its row groups have other rows than it states");
    }
    Ok(groups)
}
