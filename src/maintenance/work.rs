//! Maintenance as it is asked for: which work, on which table, and what came of it.

use std::fmt;

use serde::Serialize;

use super::compact::CompactionReport;
use super::expire::ExpireOptions;
use super::orphans::OrphanOptions;
use super::report::{ExpiryReport, OrphansReport, Progress};
use super::site::{Places, Site};
use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Ident};

/// What can be done to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Expire snapshots.
    ExpireSnapshots(ExpireOptions),
    /// Remove orphans.
    RemoveOrphans(OrphanOptions),
    /// Say what compaction it needs.
    Compact,
    /// Drop it.
    Drop {
        /// Whether its files are deleted.
        purge: bool,
    },
}

impl Work {
    /// In a word, as in routes, commands and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Work::ExpireSnapshots(_) => "expire-snapshots",
            Work::RemoveOrphans(_) => "remove-orphans",
            Work::Compact => "compact",
            Work::Drop { .. } => "drop",
        }
    }

    /// Whether it changes nothing, so that what counts is how many tables need it.
    pub(super) fn only_looks(&self) -> bool {
        matches!(self, Work::Compact)
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum WorkReport {
    /// Snapshots expired.
    Expiry(ExpiryReport),
    /// Orphans were looked for.
    Orphans(OrphansReport),
    /// Compaction was planned.
    Compaction(CompactionReport),
    /// The table was dropped.
    Dropped(DropReport),
}

impl WorkReport {
    /// Whether a look found that the table needs it.
    pub(super) fn is_due(&self) -> bool {
        matches!(self, WorkReport::Compaction(report) if report.due)
    }
}

impl fmt::Display for WorkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkReport::Expiry(report) => {
                let verb = if report.plan { "would expire" } else { "expired" };
                write!(
                    f,
                    "{} snapshots {verb}, {} are kept, {} files",
                    report.snapshots_expired,
                    report.snapshots_kept,
                    report.files.files()
                )
            }
            WorkReport::Orphans(report) => {
                let verb = if report.plan { "found" } else { "deleted" };
                write!(f, "{} orphans {verb} among {} files", report.orphans.count, report.files_listed)
            }
            WorkReport::Compaction(report) => {
                let (due, all) = (report.partitions_due, report.partitions);
                write!(
                    f,
                    "{due} of {all} partitions are due: {} files, about {} after",
                    report.files, report.files_after
                )
            }
            WorkReport::Dropped(report) => write!(f, "dropped, and its files: {}", report.files),
        }
    }
}

/// What a drop did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DropReport {
    /// Always.
    pub dropped: bool,
    /// What becomes of the files.
    pub files: &'static str,
}

/// A catalog that can be maintained, or why it cannot.
#[derive(Clone)]
pub enum Maintained {
    /// It can.
    Site(Box<Site>),
    /// It cannot, and that is why.
    No(&'static str),
}

impl Default for Maintained {
    fn default() -> Self {
        Maintained::No("nothing maintains it")
    }
}

impl Maintained {
    /// The catalog, unless it must not be touched.
    pub fn site(&self, catalog: &CatalogName) -> Result<&Site> {
        match self {
            Maintained::Site(site) => Ok(site),
            Maintained::No(why) => {
                Err(Error::bad_request(format!("catalog {catalog} cannot be maintained here: {why}")))
            }
        }
    }
}

impl Site {
    /// Does one work on one table. `places` are those of the catalog's tables, where they are known.
    pub async fn work(
        &self,
        ident: &Ident,
        work: &Work,
        places: Option<&Places>,
        progress: &Progress,
    ) -> Result<WorkReport> {
        match work {
            Work::ExpireSnapshots(options) => {
                self.expire(ident, *options, places, progress).await.map(WorkReport::Expiry)
            }
            Work::RemoveOrphans(options) => {
                self.remove_orphans(ident, *options, places, progress).await.map(WorkReport::Orphans)
            }
            Work::Compact => self.plan_compaction(ident, progress).await.map(WorkReport::Compaction),
            Work::Drop { purge } => self.drop_table(ident, *purge).await.map(WorkReport::Dropped),
        }
    }

    async fn drop_table(&self, ident: &Ident, purge: bool) -> Result<DropReport> {
        self.check_primary().await?;
        let dropped = self.tables.drop(ident, purge).await;
        dropped.map_err(|e| match e.kind() {
            Kind::NoSuchTable => Error::new(Kind::NoSuchTable, format!("Table does not exist: {ident}")),
            _ => e.context(format!("dropping {}.{ident}", self.catalog)),
        })?;
        let files = match (purge, self.is_embedded) {
            (false, _) => "they stay where they are",
            (true, true) => "a server of this catalog deletes them, by a job that goes on after restarts",
            (true, false) => "the upstream deletes them, or does not: it was asked to",
        };
        Ok(DropReport { dropped: true, files })
    }
}
