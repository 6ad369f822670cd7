//! What a relocation did, for people and scripts.

use serde::Serialize;
use utoipa::ToSchema;

use super::Run;
use super::limits::EXAMPLES_MAX;
use crate::format::relocate::PathInSql;
use crate::storage::Location;
use crate::table::copy_plan::CopyPlanned;

/// What a relocation did, or would do if it was a plan.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The relocated metadata.json.
    pub metadata_location: String,
    /// The metadata.json that it was made of.
    pub source_metadata_location: String,
    /// The table's or view's uuid; format version 1 may have none.
    pub table_uuid: Option<String>,
    /// Whether it is a view.
    #[serde(skip)]
    pub is_view: bool,
    /// Whether nothing was written because it was only a plan.
    pub plan: bool,
    /// Snapshots that were relocated.
    pub snapshots: usize,
    /// Snapshots that were not asked for.
    pub snapshots_left_out: usize,
    /// Files that hold paths.
    pub files: FileCounts,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// What the storage was asked.
    pub requests: Requests,
    /// How long it took.
    pub seconds: f64,
    /// Paths that no pair of the map covers: they stayed as they are.
    pub unmapped_paths: Examples,
    /// Files that are not at their target with their size; none when nobody looked.
    pub missing_files: Option<Examples>,
    /// How many of these are metadata files, so that what they name is not known.
    #[serde(skip)]
    pub unread_files: u64,
    /// The plan for copying what is missing, if one was asked for.
    pub copy_plan: Option<CopyPlanned>,
    /// Paths in a view's SQL that lead to the old place still.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths_in_sql: Vec<PathInSql>,
    /// The table's name in the catalog that it was registered with.
    pub registered: Option<String>,
}

/// Files that hold paths, by kind and by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileCounts {
    /// Manifest lists that were relocated in this run.
    pub manifest_lists: u64,
    /// Manifests.
    pub manifests: u64,
    /// Position deletes and deletion vectors.
    pub delete_files: u64,
    /// Files that were written, metadata.json among them.
    pub written: u64,
    /// Files that were there already.
    pub skipped: u64,
}

/// What the storage was asked. One listing may be several requests of a store's protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub struct Requests {
    pub get: u64,
    pub head: u64,
    pub put: u64,
    pub list: u64,
}

/// How many there are, and a few of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Examples {
    /// All of them.
    pub count: u64,
    /// The first few.
    pub examples: Vec<String>,
}

impl Examples {
    /// Only this one.
    pub fn one(example: String) -> Examples {
        Examples { count: 1, examples: vec![example] }
    }

    /// One more.
    pub fn add(&mut self, example: &str) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example.to_owned());
        }
    }

    /// Those of another one, too.
    pub fn add_those(&mut self, other: Examples) {
        self.count += other.count;
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }

    /// Several more, of which some are known.
    pub fn add_all(&mut self, count: u64, example: Option<&str>) {
        if let Some(example) = example {
            self.add(example);
            self.count -= 1;
        }
        self.count += count;
    }
}

impl Report {
    /// Whether nothing is known to be missing.
    pub fn is_whole(&self) -> bool {
        self.missing_files.as_ref().is_none_or(|missing| missing.count == 0)
    }

    pub(super) fn new(run: &Run<'_>, location: Location, snapshots: usize, snapshots_left_out: usize) -> Report {
        let [bytes_read, bytes_written, written, skipped] = run.io.totals();
        let metadata = &run.source.metadata;
        let missing = run.io.missing();
        Report {
            metadata_location: location.to_string(),
            source_metadata_location: run.source.location.to_string(),
            table_uuid: super::source::uuid(metadata).map(str::to_owned),
            is_view: run.source.is_view(),
            plan: run.options.is_plan,
            snapshots,
            snapshots_left_out,
            files: FileCounts { written, skipped, ..run.io.kinds() },
            bytes_read,
            bytes_written,
            requests: run.io.requests(),
            seconds: run.io.seconds(),
            unmapped_paths: Examples::default(),
            unread_files: missing.count,
            missing_files: (missing.count > 0).then_some(missing),
            copy_plan: None,
            paths_in_sql: Vec::new(),
            registered: None,
        }
    }
}
