//! Writes manifests and manifest lists: typed entries in, an Avro container out, for format versions 1 to 3.
//!
//! What must hold: field ids, types, order and header keys are those of the Iceberg specification, so that readers which
//! project by field id, by name or by position all find the same thing; the same input gives the same bytes. An encoder of
//! our own, because `apache-avro` loses `logicalType: map` and `adjust-to-utc` from a schema. Reading is left to others.

mod avro;
mod read;
mod schema;
mod snapshot;
mod value;
mod write;

use std::collections::BTreeMap;

pub use avro::Codec;
pub use read::read_list;
pub use snapshot::{Draft, NewManifest, SnapshotBase, SnapshotIds, Totals, draft_snapshot};
pub use value::{Value, ValueType};
pub use write::{ListHeader, ManifestHeader, Written, write_list, write_manifest};

/// The table's format version; it decides which fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum FormatVersion {
    V1 = 1,
    V2 = 2,
    V3 = 3,
}

/// What a whole manifest holds (field 517).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestContent {
    /// Data files.
    Data = 0,
    /// Delete files.
    Deletes = 1,
}

/// What one file holds (field 134).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileContent {
    Data = 0,
    PositionDeletes = 1,
    EqualityDeletes = 2,
}

impl FileContent {
    /// The kind of manifest that such a file belongs into.
    pub fn manifest(self) -> ManifestContent {
        match self {
            FileContent::Data => ManifestContent::Data,
            FileContent::PositionDeletes | FileContent::EqualityDeletes => ManifestContent::Deletes,
        }
    }
}

/// A file's format (field 101).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileFormat {
    Avro,
    Orc,
    Parquet,
    Puffin,
}

impl FileFormat {
    /// As a manifest spells it; Java writes capitals and every reader takes them.
    pub fn as_str(self) -> &'static str {
        match self {
            FileFormat::Avro => "AVRO",
            FileFormat::Orc => "ORC",
            FileFormat::Parquet => "PARQUET",
            FileFormat::Puffin => "PUFFIN",
        }
    }
}

/// What a snapshot did with a file (field 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    Existing = 0,
    Added = 1,
    Deleted = 2,
}

/// One field of the partition spec that a manifest is written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionField {
    /// The partition field's id, 1000 and up.
    pub field_id: i32,
    /// Its name in the spec; any characters, the Avro name is made from it.
    pub name: String,
    /// The transform's result type.
    pub value_type: ValueType,
}

/// A data or delete file as a manifest describes it. Maps go from field id to figure; an empty map is written as absent.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFile {
    /// What it holds.
    pub content: FileContent,
    /// Where it is, as every other mention of it spells it.
    pub file_path: String,
    /// Its format.
    pub file_format: FileFormat,
    /// One value a field of the partition spec, in its order; `None` is null.
    pub partition: Vec<Option<Value>>,
    /// Rows in it.
    pub record_count: i64,
    /// Its length.
    pub file_size_bytes: i64,
    /// Bytes a column takes.
    pub column_sizes: BTreeMap<i32, i64>,
    /// Values a column has, nulls included.
    pub value_counts: BTreeMap<i32, i64>,
    /// Nulls a column has.
    pub null_value_counts: BTreeMap<i32, i64>,
    /// NaNs a column has.
    pub nan_value_counts: BTreeMap<i32, i64>,
    /// Lower bounds in single-value form ([`Value::to_bytes`]).
    pub lower_bounds: BTreeMap<i32, Vec<u8>>,
    /// Upper bounds in single-value form.
    pub upper_bounds: BTreeMap<i32, Vec<u8>>,
    /// Key metadata of an encrypted file.
    pub key_metadata: Option<Vec<u8>>,
    /// Where a reader may split it, ascending.
    pub split_offsets: Vec<i64>,
    /// Field ids that an equality delete compares.
    pub equality_ids: Vec<i32>,
    /// The sort order it was written in.
    pub sort_order_id: Option<i32>,
    /// v3: the first row's id; absent means that it is inherited.
    pub first_row_id: Option<i64>,
    /// v2 and v3: the one data file that a position delete or deletion vector is about.
    pub referenced_data_file: Option<String>,
    /// v3: where a deletion vector begins in its Puffin file.
    pub content_offset: Option<i64>,
    /// v3: a deletion vector's length.
    pub content_size_bytes: Option<i64>,
}

impl DataFile {
    /// A Parquet file of an unpartitioned table, without statistics.
    pub fn parquet(
        content: FileContent,
        file_path: impl Into<String>,
        record_count: i64,
        file_size_bytes: i64,
    ) -> Self {
        DataFile {
            content,
            file_path: file_path.into(),
            file_format: FileFormat::Parquet,
            partition: Vec::new(),
            record_count,
            file_size_bytes,
            column_sizes: BTreeMap::new(),
            value_counts: BTreeMap::new(),
            null_value_counts: BTreeMap::new(),
            nan_value_counts: BTreeMap::new(),
            lower_bounds: BTreeMap::new(),
            upper_bounds: BTreeMap::new(),
            key_metadata: None,
            split_offsets: Vec::new(),
            equality_ids: Vec::new(),
            sort_order_id: None,
            first_row_id: None,
            referenced_data_file: None,
            content_offset: None,
            content_size_bytes: None,
        }
    }
}

/// One line of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestEntry {
    /// What `snapshot_id` did with the file.
    pub status: Status,
    /// The snapshot that added or deleted it; absent means that it is inherited (not in v1).
    pub snapshot_id: Option<i64>,
    /// Data sequence number; absent in an added entry means that it is inherited.
    pub sequence_number: Option<i64>,
    /// File sequence number; as above.
    pub file_sequence_number: Option<i64>,
    /// The file.
    pub data_file: DataFile,
}

impl ManifestEntry {
    /// A file that `snapshot_id` adds; its sequence numbers are inherited.
    pub fn added(snapshot_id: i64, data_file: DataFile) -> Self {
        ManifestEntry {
            status: Status::Added,
            snapshot_id: Some(snapshot_id),
            sequence_number: None,
            file_sequence_number: None,
            data_file,
        }
    }
}

/// What a manifest list says about one partition field of a manifest (record 508).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSummary {
    /// Whether a file has null there.
    pub contains_null: bool,
    /// Whether a file has NaN there, where known.
    pub contains_nan: Option<bool>,
    /// Smallest value in single-value form.
    pub lower_bound: Option<Vec<u8>>,
    /// Largest value in single-value form.
    pub upper_bound: Option<Vec<u8>>,
}

/// One line of a manifest list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Where the manifest is.
    pub manifest_path: String,
    /// Its exact length; readers refuse another one.
    pub manifest_length_bytes: i64,
    /// The spec it was written with.
    pub partition_spec_id: i32,
    /// What it holds.
    pub content: ManifestContent,
    /// Sequence number of the snapshot that added it.
    pub sequence_number: i64,
    /// Smallest data sequence number of its live entries.
    pub min_sequence_number: i64,
    /// The snapshot that added it.
    pub added_snapshot_id: i64,
    /// Files by what the snapshot did with them, and their rows.
    pub counts: Counts,
    /// One a partition field; empty for an unpartitioned spec, `None` where the writer of the line did not say.
    pub partitions: Option<Vec<FieldSummary>>,
    /// Key metadata of an encrypted manifest.
    pub key_metadata: Option<Vec<u8>>,
    /// v3, data manifests: the first row id of its added files.
    pub first_row_id: Option<i64>,
}

/// Files and rows of one manifest by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub added_files: i32,
    pub existing_files: i32,
    pub deleted_files: i32,
    pub added_rows: i64,
    pub existing_rows: i64,
    pub deleted_rows: i64,
}
