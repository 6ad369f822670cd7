//! Pages of changes: snapshots in the order in which they were committed, each with the files that came and went.
//!
//! What must hold: whatever the limits of its pages, a reader gets the same files in the same order, each once; a page is bounded in files, in bytes
//! and in what is read for it.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use moka::future::Cache;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::difference::{self, Difference, Step};
use super::history::{Ahead, History, Named, To};
use super::manifests::{Manifests, READS_AT_ONCE, blocking};
use super::position::{Next, Position};
use crate::error::{Error, Result};
use crate::format::avro::{Content, FullEntry, for_each_full_entry};
use crate::format::partition::Columns;
use crate::storage::Storage;

/// Files on a page unless the reader says otherwise.
pub const LIMIT: usize = 1_000;
/// Most files on a page.
pub const LIMIT_MAX: usize = 10_000;
/// A page with more text than this ends.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// A page for which more than this was read ends with the snapshot.
const READ_BYTES_MAX: u64 = 512 << 20;
/// Pages that are made at once.
const PAGES_AT_ONCE: usize = 8;
/// What is remembered of snapshots that replaced manifests, so that their next pages cost less.
const DIFFERENCES_BYTES_MAX: u64 = 128 << 20;

/// The changes of tables.
#[derive(Clone)]
pub struct Changes {
    storage: Arc<Storage>,
    differences: Cache<(String, Option<Named>, Named), Arc<Difference>>,
    places: Arc<Semaphore>,
}

/// What a reader asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Where it stands; `None` at the very beginning.
    pub position: Option<Position>,
    /// How far.
    pub to: To,
    /// Files at most; a snapshot without any counts as one.
    pub limit: usize,
    /// Whether `replace` snapshots are left out.
    pub skip_replace: bool,
}

/// Changes, and where the reader stands then.
#[derive(Debug)]
pub struct Page {
    /// Snapshot by snapshot.
    pub changes: Vec<SnapshotChanges>,
    /// To be asked with next.
    pub next: Position,
    /// Whether there is nothing newer.
    pub is_level: bool,
}

/// What a snapshot did, or a part of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotChanges {
    /// The snapshot.
    pub snapshot_id: i64,
    /// The one before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_snapshot_id: Option<i64>,
    /// Its sequence number; 0 in the first format version.
    pub sequence_number: i64,
    /// When it was committed, since 1970.
    pub timestamp_ms: i64,
    /// What it says that it did: `append`, `replace`, `overwrite` or `delete`.
    pub operation: String,
    /// Whether it only put files in the place of others with the same rows.
    pub is_replace: bool,
    /// Whether these are all files that were live in the oldest snapshot there is.
    pub is_base: bool,
    /// Whether a page before has the beginning.
    pub is_continued: bool,
    /// Whether this is the end of it.
    pub is_complete: bool,
    /// Data files that came.
    pub added_data_files: Vec<ChangedFile>,
    /// Data files that went.
    pub deleted_data_files: Vec<ChangedFile>,
    /// Delete files and deletion vectors that came.
    pub added_delete_files: Vec<ChangedFile>,
    /// Delete files and deletion vectors that went.
    pub deleted_delete_files: Vec<ChangedFile>,
}

/// A file that came or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ChangedFile {
    /// `data`, `position-deletes` (deletion vectors, too) or `equality-deletes`.
    pub content: &'static str,
    /// Where it is.
    pub file_path: String,
    /// `parquet`, `avro`, `orc`, `puffin`.
    pub file_format: String,
    /// The partition spec of its partition.
    pub spec_id: i32,
    /// Its partition: value by field name, in Iceberg's single-value form.
    #[schema(value_type = Object)]
    pub partition: Map<String, Value>,
    /// Rows, or deletes.
    pub record_count: i64,
    /// Its size; of a deletion vector that of the file that it is in.
    pub file_size_in_bytes: i64,
    /// The snapshot that added it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_snapshot_id: Option<i64>,
    /// Data sequence number: which deletes are about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<i64>,
    /// Sequence number of the snapshot that added the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_sequence_number: Option<i64>,
    /// Field ids that an equality delete compares.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub equality_ids: Vec<i64>,
    /// The one data file that a delete file is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referenced_data_file: Option<String>,
    /// Where a deletion vector begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_offset: Option<i64>,
    /// A deletion vector's length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_size_in_bytes: Option<i64>,
    /// The id of its first row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_row_id: Option<i64>,
    /// Whether it has key metadata, so that it is encrypted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_encrypted: bool,
}

impl ChangedFile {
    fn of(entry: &FullEntry<'_>) -> Result<ChangedFile> {
        Ok(ChangedFile {
            content: match entry.file.content {
                Content::Data => "data",
                Content::PositionDeletes => "position-deletes",
                Content::EqualityDeletes => "equality-deletes",
            },
            file_path: entry.file.path.to_owned(),
            file_format: entry.file.format.to_ascii_lowercase(),
            spec_id: entry.spec_id,
            partition: entry.partition()?,
            record_count: entry.file.records,
            file_size_in_bytes: entry.file.size_bytes,
            added_snapshot_id: entry.snapshot_id,
            sequence_number: entry.sequence_number,
            file_sequence_number: entry.file_sequence_number,
            equality_ids: entry.equality_ids()?,
            referenced_data_file: entry.file.referenced.map(str::to_owned),
            content_offset: entry.content_offset,
            content_size_in_bytes: entry.content_size_bytes,
            first_row_id: entry.first_row_id,
            is_encrypted: entry.file.is_encrypted,
        })
    }

    fn size_bytes(&self) -> usize {
        const FIXED_BYTES: usize = 300;
        let values = self.partition.iter().map(|(name, value)| name.len() + value.as_str().map_or(10, str::len));
        FIXED_BYTES
            + self.file_path.len()
            + self.referenced_data_file.as_ref().map_or(0, String::len)
            + values.sum::<usize>()
    }
}

/// What is left of a page.
#[derive(Debug, Clone, Copy)]
struct Room {
    files: usize,
    bytes: usize,
}

impl Room {
    fn is_used_up(&self) -> bool {
        self.files == 0 || self.bytes == 0
    }

    fn take(&mut self, size_bytes: usize) {
        self.files = self.files.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size_bytes);
    }
}

impl Changes {
    /// Reads with this storage.
    pub fn new(storage: Arc<Storage>) -> Changes {
        let weigh = |_: &_, difference: &Arc<Difference>| difference.size_bytes();
        let differences = Cache::builder().max_capacity(DIFFERENCES_BYTES_MAX).weigher(weigh).build();
        Changes { storage, differences, places: Arc::new(Semaphore::new(PAGES_AT_ONCE)) }
    }

    /// The next page of a table's changes.
    pub async fn page(&self, history: &History, ask: &Ask) -> Result<Page> {
        let ahead = history.ahead(ask.position, &ask.to)?;
        let mut next = match (ask.position, history.head(&ask.to)?) {
            (Some(position), _) => position,
            (None, _) => Position::Start,
        };
        let _place = self.places.acquire().await.map_err(|_| Error::internal("pages are not made any more"))?;
        let manifests = Manifests::new(self.storage.clone());
        let mut room = Room { files: ask.limit.clamp(1, LIMIT_MAX), bytes: PAGE_BYTES_MAX };
        let mut changes = Vec::new();
        for step in &ahead {
            if ask.skip_replace && step.snapshot.operation == REPLACE && step.parent.is_some() {
                next = Position::After(step.snapshot.id);
                continue;
            }
            if room.is_used_up() || manifests.bytes_read() > READ_BYTES_MAX {
                return Ok(Page { changes, next, is_level: false });
            }
            let before = room.files;
            let (found, left) = self.read(&manifests, history, step, &mut room).await?;
            if before == room.files {
                room.take(0);
            }
            next = left.map_or(Position::After(step.snapshot.id), |left| step.position(left));
            changes.push(found);
            if left.is_some() {
                return Ok(Page { changes, next, is_level: false });
            }
        }
        Ok(Page { changes, next, is_level: true })
    }

    /// What one snapshot did, as far as there is room for it, and where it goes on.
    async fn read(
        &self,
        manifests: &Manifests,
        history: &History,
        ahead: &Ahead<'_>,
        room: &mut Room,
    ) -> Result<(SnapshotChanges, Option<Next>)> {
        let difference = self.difference(manifests, history, ahead).await?;
        let mut found = begin(ahead);
        let from = ahead.next;
        let steps: Vec<Step> = difference.steps.iter().filter(|step| step.number >= from.manifest).cloned().collect();
        let reads = steps.iter().map(|step| manifests.read(step.line.clone())).collect::<Vec<_>>();
        let mut reads = stream::iter(reads).buffered(READS_AT_ONCE.min(room.files));
        for step in steps {
            let Some((_, bytes)) = reads.try_next().await? else { break };
            let from_entry = if step.number == from.manifest { from.entry } else { 0 };
            let (difference, columns, left) = (difference.clone(), history.columns.clone(), *room);
            let (number, adds) = (step.number, step.adds);
            let read = blocking(move || collect(&bytes, &step, &columns, &difference, from_entry, left));
            let (files, left, next_entry) = read.await?;
            *room = left;
            for file in files {
                found.list(adds, file.content).push(file);
            }
            if let Some(entry) = next_entry {
                return Ok((found, Some(Next { manifest: number, entry })));
            }
        }
        found.is_complete = true;
        Ok((found, None))
    }

    async fn difference(&self, manifests: &Manifests, history: &History, ahead: &Ahead<'_>) -> Result<Arc<Difference>> {
        let key = difference::key(history, ahead);
        if let Some(known) = self.differences.get(&key).await {
            return Ok(known);
        }
        let found = Arc::new(Difference::find(manifests, history, ahead).await?);
        if found.is_costly() {
            self.differences.insert(key, found.clone()).await;
        }
        Ok(found)
    }
}

/// What a snapshot is said to have done that only put files in the place of others.
const REPLACE: &str = "replace";

fn begin(ahead: &Ahead<'_>) -> SnapshotChanges {
    let snapshot = ahead.snapshot;
    SnapshotChanges {
        snapshot_id: snapshot.id,
        parent_snapshot_id: snapshot.parent_id,
        sequence_number: snapshot.sequence_number,
        timestamp_ms: snapshot.timestamp_ms,
        operation: snapshot.operation.clone(),
        is_replace: snapshot.operation == REPLACE,
        is_base: ahead.parent.is_none(),
        is_continued: ahead.next != Next::default(),
        is_complete: false,
        added_data_files: Vec::new(),
        deleted_data_files: Vec::new(),
        added_delete_files: Vec::new(),
        deleted_delete_files: Vec::new(),
    }
}

impl SnapshotChanges {
    fn list(&mut self, adds: bool, content: &str) -> &mut Vec<ChangedFile> {
        match (adds, content == "data") {
            (true, true) => &mut self.added_data_files,
            (false, true) => &mut self.deleted_data_files,
            (true, false) => &mut self.added_delete_files,
            (false, false) => &mut self.deleted_delete_files,
        }
    }

    /// Its files: whether each came, in which kind of list.
    pub fn files(&self) -> impl Iterator<Item = (bool, &ChangedFile)> {
        let came = self.added_data_files.iter().chain(&self.added_delete_files).map(|file| (true, file));
        came.chain(self.deleted_data_files.iter().chain(&self.deleted_delete_files).map(|file| (false, file)))
    }
}

/// The changes that a manifest has from an entry on, as far as there is room; what room is left, and the first entry there was none for.
fn collect(
    bytes: &[u8],
    step: &Step,
    columns: &Columns,
    difference: &Difference,
    from_entry: u32,
    mut room: Room,
) -> Result<(Vec<ChangedFile>, Room, Option<u32>)> {
    let (mut files, mut next) = (Vec::new(), None);
    for_each_full_entry(bytes, &step.line, columns, |number, entry| {
        if next.is_some() || number < from_entry || !difference.counts(step, entry) {
            return Ok(());
        }
        if room.is_used_up() {
            next = Some(number);
            return Ok(());
        }
        let file = ChangedFile::of(entry)?;
        room.take(file.size_bytes());
        files.push(file);
        Ok(())
    })?;
    Ok((files, room, next))
}
