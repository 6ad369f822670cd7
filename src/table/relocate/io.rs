//! Reads and writes of one relocation: counted, bounded, and only pretended when it is a plan.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::limits::{BYTES_AT_ONCE, FILE_BYTES_MAX, LISTED_MAX};
use super::report::{Examples, FileCounts, Requests};
use crate::error::{Error, Kind, Result};
use crate::storage::{Found, Location, Staged, Storage};

/// How far a relocation has come. Counts only grow.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of manifests that are known to be there to do.
    pub bytes_to_do: AtomicU64,
    /// Bytes of manifests that are done.
    pub bytes_done: AtomicU64,
    /// Files that are done.
    pub files_done: AtomicU64,
}

/// The storage as one relocation uses it.
pub(super) struct Io {
    storage: Arc<Storage>,
    pub(super) progress: Arc<Progress>,
    is_plan: bool,
    room: Semaphore,
    missing: Mutex<Examples>,
    counts: Counts,
    group: Mutex<Group>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Counts {
    get: AtomicU64,
    head: AtomicU64,
    put: AtomicU64,
    list: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    written: AtomicU64,
    skipped: AtomicU64,
    lists: AtomicU64,
    manifests: AtomicU64,
    deletes: AtomicU64,
}

/// Files that were written and have no names yet.
#[derive(Debug, Default)]
struct Group {
    files: Vec<Staged>,
    size_bytes: u64,
}

/// Files that are given their names together: more wait less for the disk, and fewer are done again after a crash.
const GROUP_FILES_MAX: usize = 64;
/// Bytes of these.
const GROUP_BYTES_MAX: u64 = 6 << 20;
/// A permit's worth of [`BYTES_AT_ONCE`].
const ROOM_UNIT: u64 = 1 << 10;

impl Io {
    pub(super) fn new(storage: Arc<Storage>, progress: Arc<Progress>, is_plan: bool) -> Self {
        let room = Semaphore::new((BYTES_AT_ONCE / ROOM_UNIT) as usize);
        Io {
            storage,
            progress,
            is_plan,
            room,
            missing: Mutex::default(),
            counts: Counts::default(),
            group: Mutex::default(),
            began: Instant::now(),
        }
    }

    /// Waits until there is room to work on a file of this size.
    pub(super) async fn room(&self, size_bytes: u64) -> Result<SemaphorePermit<'_>> {
        let units = size_bytes.min(BYTES_AT_ONCE).div_ceil(ROOM_UNIT);
        let permit = self.room.acquire_many(u32::try_from(units).unwrap_or(u32::MAX)).await;
        permit.map_err(|e| Error::internal("the room for files is closed").with_source(e))
    }

    /// Reads a file; in a plan one that is not there is `None` and remembered.
    pub(super) async fn read(&self, location: &Location) -> Result<Option<(Bytes, Found)>> {
        add(&self.counts.get, 1);
        match self.storage.fetch(location, FILE_BYTES_MAX).await {
            Ok((bytes, found)) => {
                add(&self.counts.bytes_read, found.size_bytes);
                Ok(Some((bytes, found)))
            }
            Err(e) if e.kind() == Kind::NotFound && self.is_plan => {
                self.missing.lock().unwrap_or_else(PoisonError::into_inner).add(location.as_str());
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// What the store says of a file.
    pub(super) async fn look(&self, location: &Location) -> Result<Option<Found>> {
        add(&self.counts.head, 1);
        self.storage.look(location).await
    }

    /// Writes a file unless it is there, and all that was staged before it.
    pub(super) async fn write(&self, location: &Location, bytes: Bytes) -> Result<()> {
        self.stage(location, bytes).await?;
        self.publish().await
    }

    /// Writes a file unless it is there, together with others: it has its name when [`Io::publish`] has been waited for.
    pub(super) async fn stage(&self, location: &Location, bytes: Bytes) -> Result<()> {
        let size_bytes = bytes.len() as u64;
        if self.is_plan {
            self.wrote(size_bytes);
            return Ok(());
        }
        add(&self.counts.put, 1);
        let staged = self.storage.stage(location, bytes).await?;
        let full = {
            let mut group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
            group.size_bytes += size_bytes;
            group.files.push(staged);
            let is_full = group.files.len() >= GROUP_FILES_MAX || group.size_bytes >= GROUP_BYTES_MAX;
            is_full.then(|| std::mem::take(&mut *group))
        };
        match full {
            Some(group) => self.publish_group(group).await,
            None => Ok(()),
        }
    }

    /// Gives all staged files their names.
    pub(super) async fn publish(&self) -> Result<()> {
        let group = std::mem::take(&mut *self.group.lock().unwrap_or_else(PoisonError::into_inner));
        self.publish_group(group).await
    }

    async fn publish_group(&self, group: Group) -> Result<()> {
        for (location, size_bytes, done) in self.storage.publish(group.files).await? {
            match done {
                Ok(()) => self.wrote(size_bytes),
                Err(e) if e.kind() == Kind::AlreadyExists => {
                    self.check_there(&location, size_bytes).await?;
                    self.skipped();
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn wrote(&self, size_bytes: u64) {
        add(&self.counts.written, 1);
        add(&self.counts.bytes_written, size_bytes);
        add(&self.progress.files_done, 1);
    }

    /// A file that was there already.
    pub(super) fn skipped(&self) {
        add(&self.counts.skipped, 1);
        add(&self.progress.files_done, 1);
    }

    /// The sizes of the files in a folder, by name.
    pub(super) async fn list(&self, folder: &Location) -> Result<HashMap<String, u64>> {
        add(&self.counts.list, 1);
        let found = self.storage.list(folder, LISTED_MAX).await?;
        let name = |location: &Location| location.as_str().rsplit('/').next().unwrap_or_default().to_owned();
        Ok(found.iter().map(|file| (name(&file.location), file.size_bytes)).collect())
    }

    pub(super) fn count_list(&self) {
        add(&self.counts.lists, 1);
    }

    pub(super) fn count_manifest(&self) {
        add(&self.counts.manifests, 1);
    }

    pub(super) fn count_delete(&self) {
        add(&self.counts.deletes, 1);
    }

    /// Files that were worked on, by kind.
    pub(super) fn kinds(&self) -> FileCounts {
        let Counts { lists, manifests, deletes, .. } = &self.counts;
        FileCounts {
            manifest_lists: count(lists),
            manifests: count(manifests),
            delete_files: count(deletes),
            ..FileCounts::default()
        }
    }

    /// How long it has taken so far.
    pub(super) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// What a plan did not find.
    pub(super) fn missing(&self) -> Examples {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn requests(&self) -> Requests {
        let Counts { get, head, put, list, .. } = &self.counts;
        Requests { get: count(get), head: count(head), put: count(put), list: count(list) }
    }

    /// Bytes read and written, files written and skipped.
    pub(super) fn totals(&self) -> [u64; 4] {
        let Counts { bytes_read, bytes_written, written, skipped, .. } = &self.counts;
        [bytes_read, bytes_written, written, skipped].map(count)
    }

    /// Equal names have equal bytes; one of another size was not written by us or not wholly.
    async fn check_there(&self, location: &Location, size_bytes: u64) -> Result<()> {
        match self.look(location).await? {
            Some(found) if found.size_bytes == size_bytes => Ok(()),
            found => {
                let message = format!(
                    "{location} is there with {} bytes and should have {size_bytes}; nothing was overwritten: look who wrote it and remove it",
                    found.map_or(0, |found| found.size_bytes)
                );
                Err(Error::new(Kind::AlreadyExists, message))
            }
        }
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
