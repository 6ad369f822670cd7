//! What maintenance says of its work: while it runs, and at its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::table::relocate::Examples;

/// How far the work on a table has come. Counts only grow.
#[derive(Debug, Default)]
pub struct Progress {
    /// Manifests that are known to be there to be read.
    pub manifests_to_do: AtomicU64,
    /// Manifests that were read.
    pub manifests_done: AtomicU64,
    /// Files that were listed.
    pub files_listed: AtomicU64,
    /// Files that were deleted.
    pub files_deleted: AtomicU64,
    stops: AtomicBool,
}

impl Progress {
    /// Asks the work to end where it can be gone on with.
    pub fn stop(&self) {
        self.stops.store(true, Ordering::Relaxed);
    }

    /// An error when the work is to end.
    pub(super) fn check(&self) -> Result<()> {
        match self.stops.load(Ordering::Relaxed) {
            true => Err(Error::new(Kind::Unavailable, "cancelled; the same request goes on where this one was")),
            false => Ok(()),
        }
    }

    pub(super) fn to_do(&self, count: usize) {
        self.manifests_to_do.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn done(&self) {
        self.manifests_done.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn listed(&self) {
        self.files_listed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn deleted(&self, count: usize) {
        self.files_deleted.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Files by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Data files.
    pub data_files: u64,
    /// Position deletes, equality deletes, deletion vectors.
    pub delete_files: u64,
    /// Manifests.
    pub manifests: u64,
    /// Manifest lists.
    pub manifest_lists: u64,
    /// Statistics, those of partitions too.
    pub statistics: u64,
    /// Their bytes, as far as the metadata states them.
    pub bytes: u64,
}

impl Counts {
    /// All of them.
    pub fn files(&self) -> u64 {
        self.data_files + self.delete_files + self.manifests + self.manifest_lists + self.statistics
    }
}

/// What an expiry did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExpiryReport {
    /// Whether nothing was done.
    pub plan: bool,
    /// Snapshots that expire, as many as there are.
    pub snapshots_expired: u64,
    /// The ids of the first of them.
    pub snapshots: Vec<i64>,
    /// Snapshots that remain.
    pub snapshots_kept: u64,
    /// Branches and tags over their age.
    pub refs_removed: Vec<String>,
    /// What only these reach.
    pub files: Counts,
    /// Some of these files.
    pub examples: Vec<String>,
    /// Files that were deleted, those of an earlier run that was cut off too.
    pub files_deleted: u64,
    /// Files that are not the table's own, so that they stay.
    pub files_spared: Examples,
    /// The metadata file that the commit made.
    pub metadata_location: Option<String>,
}

/// What a look for orphans found, and deleted if asked to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct OrphansReport {
    /// Whether nothing was deleted.
    pub plan: bool,
    /// The places that were listed.
    pub places: Vec<String>,
    /// Files that were found there.
    pub files_listed: u64,
    /// Files of these that were left alone, since they are too young to be judged, or of unknown age.
    pub young: u64,
    /// Files that were left alone by their names or places: hidden ones, overlays, other tables.
    pub left_alone: u64,
    /// Files that nothing reaches.
    pub orphans: Examples,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were deleted.
    pub files_deleted: u64,
}
