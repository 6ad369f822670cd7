//! Which partitions of a table have files that are too small, too large or deleted from too much, from manifests only.
//!
//! What must hold: the thresholds are those of Spark's `rewrite_data_files` (binpack), so that what it has compacted needs nothing more; a partition is
//! due only if Spark would do something about it. Nothing is rewritten here: `spark` makes the job that does.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::{Map, Value};

use super::report::Progress;
use super::site::Site;
use super::spark;
use super::walk::{FILE_BYTES_MAX, READS_AT_ONCE};
use crate::error::{Error, Kind, Result};
use crate::format::avro::{self, Content, ManifestLine, Status};
use crate::format::partition::Columns;
use crate::model::Ident;
use crate::storage::{Location, Storage};
use crate::table::blocking;

/// Iceberg's own.
const TARGET_BYTES: u64 = 512 << 20;
/// Spark's: files outside of these shares of the target are rewritten.
const SMALL_SHARE: f64 = 0.75;
/// See [`SMALL_SHARE`].
const LARGE_SHARE: f64 = 1.8;
/// Spark's: so many files are worth a rewrite, however small.
const INPUT_FILES_MIN: u64 = 5;
/// Spark's: what share of the records must be deleted.
const DELETE_RATIO: f64 = 0.3;
/// Partitions of one table.
const PARTITIONS_MAX: usize = 1_000_000;
/// Partitions that a report has.
const REPORTED_MAX: usize = 1_000;

/// What a table needs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CompactionReport {
    /// Whether anything is worth a rewrite.
    pub due: bool,
    /// The size that files should have.
    pub target_bytes: u64,
    /// Partitions that have files.
    pub partitions: u64,
    /// Those that are due.
    pub partitions_due: u64,
    /// Data files of the table.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Delete files of the table.
    pub delete_files: u64,
    /// About how many data files there are when it is done.
    pub files_after: u64,
    /// The partitions that are due, those with the most files first; the first of them.
    pub plan: Vec<PartitionPlan>,
    /// What Spark is to be told; none where nothing is due.
    pub sql: Option<String>,
}

/// What a partition needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PartitionPlan {
    /// Its partition spec.
    pub spec_id: i32,
    /// Its values by the names of the partition fields.
    pub partition: Map<String, Value>,
    /// Its data files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that are too small.
    pub small_files: u64,
    /// Those that are too large.
    pub large_files: u64,
    /// Its delete files.
    pub delete_files: u64,
    /// Those of them that hold equality deletes.
    pub equality_delete_files: u64,
    /// About how many data files there are when it is done.
    pub files_after: u64,
    /// Whether what is deleted is a reason by itself.
    pub deletes_are_due: bool,
}

/// A partition as its files are counted.
#[derive(Debug, Clone, Default)]
struct Partition {
    values: Map<String, Value>,
    files: u64,
    bytes: u64,
    records: u64,
    small: u64,
    large: u64,
    /// Bytes of the small and large ones.
    odd_bytes: u64,
    delete_files: u64,
    equality_delete_files: u64,
    deleted_records: u64,
}

/// By spec, and by the values as text.
type Partitions = BTreeMap<(i32, String), Partition>;

impl Site {
    /// Says what compaction of a table's current snapshot needs.
    pub async fn plan_compaction(&self, ident: &Ident, progress: &Progress) -> Result<CompactionReport> {
        let planned = self.plan_of(ident, progress).await;
        planned.map_err(|e| e.context(format!("planning the compaction of {}.{ident}", self.catalog)))
    }

    async fn plan_of(&self, ident: &Ident, progress: &Progress) -> Result<CompactionReport> {
        let metadata = self.tables.table(ident).await?.metadata;
        let target_bytes = property(&metadata, "write.target-file-size-bytes").unwrap_or(TARGET_BYTES);
        let manifests = manifests(&self.storage, &metadata).await?;
        progress.to_do(manifests.len());
        let columns = Columns::new(&metadata);
        let reads: Vec<_> =
            manifests.into_iter().map(|line| counted(&self.storage, line, columns.clone(), target_bytes)).collect();
        let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        let mut partitions = Partitions::new();
        while let Some(found) = reads.try_next().await? {
            progress.check()?;
            progress.done();
            for (key, partition) in found {
                partitions.entry(key).or_default().add(partition);
            }
            if partitions.len() > PARTITIONS_MAX {
                return Err(Error::new(Kind::Unprocessable, format!("more than {PARTITIONS_MAX} partitions")));
            }
        }
        let mut report = reported(partitions, target_bytes);
        report.sql = report.due.then(|| spark::call(&self.catalog, ident, &metadata, &report));
        report.plan.truncate(REPORTED_MAX);
        Ok(report)
    }
}

/// The manifests of the current snapshot.
async fn manifests(storage: &Storage, metadata: &Value) -> Result<Vec<ManifestLine>> {
    let current = metadata["current-snapshot-id"].as_i64().filter(|id| *id != -1);
    let mut snapshots = metadata["snapshots"].as_array().into_iter().flatten();
    let Some(snapshot) = snapshots.find(|snapshot| current.is_some() && snapshot["snapshot-id"].as_i64() == current)
    else {
        return Ok(Vec::new());
    };
    let lines = match snapshot["manifest-list"].as_str() {
        Some(list) => {
            let (list, name) = (Location::new(list), list.to_owned());
            let bytes = storage.read(&list, FILE_BYTES_MAX).await?;
            blocking(move || avro::manifest_lines(&bytes, &name)).await?
        }
        None => {
            let named = snapshot["manifests"].as_array().into_iter().flatten().filter_map(Value::as_str);
            named.map(|path| ManifestLine::unlisted(path.to_owned())).collect()
        }
    };
    match lines.iter().find(|line| line.is_encrypted) {
        Some(line) => Err(Error::new(Kind::Unprocessable, format!("{} is encrypted", line.path))),
        None => Ok(lines),
    }
}

/// What a manifest has of each partition.
async fn counted(storage: &Storage, line: ManifestLine, columns: Columns, target_bytes: u64) -> Result<Partitions> {
    let bytes = storage.read(&Location::new(&line.path), FILE_BYTES_MAX).await?;
    blocking(move || {
        let mut partitions = Partitions::new();
        avro::for_each_full_entry(&bytes, &line, &columns, |_, entry| {
            if entry.file.status == Status::Deleted {
                return Ok(());
            }
            let values = entry.partition()?;
            let key = (entry.spec_id, Value::Object(values.clone()).to_string());
            let partition = partitions.entry(key).or_insert_with(|| Partition { values, ..Partition::default() });
            let size_bytes = u64::try_from(entry.file.size_bytes).unwrap_or(0);
            partition.count(
                entry.file.content,
                size_bytes,
                u64::try_from(entry.file.records).unwrap_or(0),
                target_bytes,
            );
            Ok(())
        })?;
        Ok(partitions)
    })
    .await
}

impl Partition {
    fn count(&mut self, content: Content, size_bytes: u64, records: u64, target_bytes: u64) {
        if content != Content::Data {
            self.delete_files += 1;
            self.equality_delete_files += u64::from(content == Content::EqualityDeletes);
            self.deleted_records += records;
            return;
        }
        let share = size_bytes as f64 / target_bytes.max(1) as f64;
        let (is_small, is_large) = (share < SMALL_SHARE, share > LARGE_SHARE);
        self.files += 1;
        self.bytes += size_bytes;
        self.records += records;
        self.small += u64::from(is_small);
        self.large += u64::from(is_large);
        self.odd_bytes += if is_small || is_large { size_bytes } else { 0 };
    }

    fn add(&mut self, other: Partition) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.records += other.records;
        self.small += other.small;
        self.large += other.large;
        self.odd_bytes += other.odd_bytes;
        self.delete_files += other.delete_files;
        self.equality_delete_files += other.equality_delete_files;
        self.deleted_records += other.deleted_records;
        self.values = other.values;
    }

    /// Whether sizes are a reason for a rewrite, as Spark judges a group of files.
    fn sizes_are_due(&self, target_bytes: u64) -> bool {
        let odd = self.small + self.large;
        odd >= INPUT_FILES_MIN || (odd > 1 && self.odd_bytes > target_bytes) || self.large > 0
    }

    fn deletes_are_due(&self) -> bool {
        self.delete_files > 0 && self.deleted_records as f64 >= DELETE_RATIO * self.records as f64
    }

    fn plan(&self, spec_id: i32, target_bytes: u64) -> Option<PartitionPlan> {
        let (by_size, by_deletes) = (self.sizes_are_due(target_bytes), self.deletes_are_due());
        if self.files == 0 || !(by_size || by_deletes) {
            return None;
        }
        let odd = self.small + self.large;
        let rest = if by_deletes { 0 } else { self.files - odd };
        let rewritten = if by_deletes { self.bytes } else { self.odd_bytes };
        Some(PartitionPlan {
            spec_id,
            partition: self.values.clone(),
            files: self.files,
            bytes: self.bytes,
            small_files: self.small,
            large_files: self.large,
            delete_files: self.delete_files,
            equality_delete_files: self.equality_delete_files,
            files_after: rest + rewritten.div_ceil(target_bytes.max(1)).max(1),
            deletes_are_due: by_deletes,
        })
    }
}

fn reported(partitions: Partitions, target_bytes: u64) -> CompactionReport {
    let mut report = CompactionReport { target_bytes, ..CompactionReport::default() };
    for ((spec_id, _), partition) in &partitions {
        report.partitions += u64::from(partition.files > 0);
        report.files += partition.files;
        report.bytes += partition.bytes;
        report.delete_files += partition.delete_files;
        match partition.plan(*spec_id, target_bytes) {
            Some(plan) => {
                report.files_after += plan.files_after;
                report.plan.push(plan);
            }
            None => report.files_after += partition.files,
        }
    }
    report.partitions_due = report.plan.len() as u64;
    report.due = !report.plan.is_empty();
    report.plan.sort_by_key(|plan| std::cmp::Reverse(plan.small_files + plan.delete_files));
    report
}

fn property(metadata: &Value, name: &str) -> Option<u64> {
    metadata["properties"][name].as_str()?.parse().ok().filter(|size| *size > 0)
}
