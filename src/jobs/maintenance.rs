//! Maintenance as users ask for it by REST: one work on one table, as a job.
//!
//! What must hold: a field that is of no meaning to the work that is asked for is refused, never passed over; a job that is cancelled ends where the same
//! request can go on. What the work is, and what may be deleted, is the business of `maintenance`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::{self, Begun, Job, JobLimits, Jobs, Outcome};
use crate::error::{Error, Kind, Result};
use crate::maintenance::{
    ExpireOptions, Maintained, OLDER_THAN, OrphanOptions, Progress, Retention, Site, Work, WorkReport,
};
use crate::model::{CatalogName, Ident};

/// Longest time that a request says, in seconds: a hundred years.
const SECONDS_MAX: u64 = 100 * 366 * 24 * 3600;

/// The work that a user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MaintenanceWork {
    /// Expire snapshots that have had their time, and delete what only they reach.
    ExpireSnapshots,
    /// Delete files in the table's place that nothing reaches.
    RemoveOrphans,
    /// Say what compaction the table needs, with what Spark is to be told.
    Compact,
    /// Drop the table.
    Drop,
}

impl MaintenanceWork {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            MaintenanceWork::ExpireSnapshots => "expire-snapshots",
            MaintenanceWork::RemoveOrphans => "remove-orphans",
            MaintenanceWork::Compact => "compact",
            MaintenanceWork::Drop => "drop",
        }
    }
}

/// What a user asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MaintenanceRequest {
    /// What is to be done.
    pub work: MaintenanceWork,
    /// The catalog.
    #[serde(deserialize_with = "catalog")]
    #[schema(value_type = String, example = "main")]
    pub catalog: CatalogName,
    /// `namespace.table`.
    #[serde(deserialize_with = "table")]
    #[schema(value_type = String, example = "sales.orders")]
    pub table: Ident,
    /// For `expire-snapshots`: how long snapshots are kept where neither a branch nor the table says it; five days if nobody does.
    #[serde(default, deserialize_with = "seconds")]
    pub keep_for_seconds: Option<u64>,
    /// For `expire-snapshots`: how many of each branch are kept at least; 1 if nobody says it.
    #[serde(default)]
    pub keep_last: Option<u32>,
    /// For `expire-snapshots`: say what would go, and change nothing.
    #[serde(default)]
    pub plan: Option<bool>,
    /// For `remove-orphans`: how old files must be; three days if nobody says it.
    #[serde(default, deserialize_with = "seconds")]
    pub older_than_seconds: Option<u64>,
    /// For `remove-orphans`: that may be less than a day, since nobody is writing.
    #[serde(default)]
    pub allow_young: Option<bool>,
    /// For `remove-orphans`: look through the declared data and metadata paths outside of the table's location too, since no table of any other catalog is there.
    #[serde(default)]
    pub declared_paths: Option<bool>,
    /// For `remove-orphans`: delete what is found, rather than say what it is.
    #[serde(default)]
    pub delete: Option<bool>,
    /// For `drop`: have the files deleted, too.
    #[serde(default)]
    pub purge: Option<bool>,
}

impl MaintenanceRequest {
    /// The work; a field of another one is an error that names it.
    pub fn work(&self) -> Result<Work> {
        let expiry = [
            ("keep-for-seconds", self.keep_for_seconds.is_some()),
            ("keep-last", self.keep_last.is_some()),
            ("plan", self.plan.is_some()),
        ];
        let orphans = [
            ("older-than-seconds", self.older_than_seconds.is_some()),
            ("allow-young", self.allow_young.is_some()),
            ("declared-paths", self.declared_paths.is_some()),
            ("delete", self.delete.is_some()),
        ];
        let drops = [("purge", self.purge.is_some())];
        let (work, foreign): (Work, Vec<&[(&str, bool)]>) = match self.work {
            MaintenanceWork::ExpireSnapshots => {
                let retention =
                    Retention { keep_for: self.keep_for_seconds.map(Duration::from_secs), keep_last: self.keep_last };
                let options = ExpireOptions { retention, plan: self.plan.unwrap_or(false) };
                (Work::ExpireSnapshots(options), vec![&orphans, &drops])
            }
            MaintenanceWork::RemoveOrphans => {
                let options = OrphanOptions {
                    older_than: self.older_than_seconds.map_or(OLDER_THAN, Duration::from_secs),
                    allow_young: self.allow_young.unwrap_or(false),
                    declared_paths: self.declared_paths.unwrap_or(false),
                    delete: self.delete.unwrap_or(false),
                };
                options
                    .check()
                    .map_err(|e| Error::bad_request(format!("field older-than-seconds: {}", e.message())))?;
                (Work::RemoveOrphans(options), vec![&expiry, &drops])
            }
            MaintenanceWork::Compact => (Work::Compact, vec![&expiry, &orphans, &drops]),
            MaintenanceWork::Drop => (Work::Drop { purge: self.purge.unwrap_or(false) }, vec![&expiry, &orphans]),
        };
        match foreign.into_iter().flatten().find(|(_, is_there)| *is_there) {
            Some((name, _)) => Err(Error::bad_request(format!("field {name}: it is of no meaning to {}", work.word()))),
            None => Ok(work),
        }
    }
}

impl fmt::Display for MaintenanceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.catalog, self.table)
    }
}

/// Maintenance that is asked for.
pub struct Maintenance;

impl store::Work for Maintenance {
    const NOUN: &'static str = "maintenance job";
    type About = MaintenanceRequest;
    type Progress = Progress;
    type Report = WorkReport;
}

/// A maintenance job as it is now.
pub type MaintenanceJob = Job<Maintenance>;

/// The maintenance of a server's catalogs.
pub struct MaintenanceJobs {
    catalogs: BTreeMap<CatalogName, Maintained>,
    /// Those that run, and those that ended not long ago.
    pub jobs: Jobs<Maintenance>,
}

impl MaintenanceJobs {
    /// Of these catalogs.
    pub fn new(catalogs: BTreeMap<CatalogName, Maintained>) -> Self {
        MaintenanceJobs { catalogs, jobs: Jobs::new(JobLimits::default()) }
    }

    /// Begins one, or answers with the one that was begun with this key.
    pub fn start(&self, request: MaintenanceRequest, principal: &str, key: Option<Uuid>) -> Result<MaintenanceJob> {
        let (name, work) = (&request.catalog, request.work()?);
        let Some(maintained) = self.catalogs.get(name) else {
            return Err(Error::new(Kind::NotFound, format!("field catalog: there is no catalog {name} here")));
        };
        let (site, ident) = (maintained.site(name)?.clone(), request.table.clone());
        self.jobs.begin((principal, key), request, |begun| run(site, ident, work, begun))
    }
}

async fn run(site: Site, ident: Ident, work: Work, begun: Begun<Maintenance>) -> Outcome<Maintenance> {
    let Begun { id, progress, cancelled } = begun;
    let watched = progress.clone();
    // a task of its own, so that a commit that has begun is not cut off
    let mut working = tokio::spawn(async move { site.work(&ident, &work, None, &watched).await });
    let (done, is_cancelled) = tokio::select! {
        biased;
        _ = cancelled => {
            progress.stop();
            (working.await, true)
        }
        done = &mut working => (done, false),
    };
    match done {
        Ok(Ok(report)) => {
            tracing::info!(job.id = %id, "a maintenance job is done: {report}");
            Outcome::Done(Arc::new(report))
        }
        Ok(Err(_)) if is_cancelled => Outcome::Cancelled,
        Ok(Err(error)) => Outcome::Failed(None, Arc::new(error)),
        Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
        Err(_) => Outcome::Cancelled,
    }
}

fn catalog<'d, D: Deserializer<'d>>(from: D) -> Result<CatalogName, D::Error> {
    CatalogName::parse(&String::deserialize(from)?).map_err(|e| D::Error::custom(e.message()))
}

fn table<'d, D: Deserializer<'d>>(from: D) -> Result<Ident, D::Error> {
    Ident::from_dotted(&String::deserialize(from)?).map_err(|e| D::Error::custom(e.message()))
}

fn seconds<'d, D: Deserializer<'d>>(from: D) -> Result<Option<u64>, D::Error> {
    let seconds = Option::<u64>::deserialize(from)?;
    let message = || D::Error::custom(format!("{SECONDS_MAX} at most"));
    seconds.is_none_or(|seconds| seconds <= SECONDS_MAX).then_some(seconds).ok_or_else(message)
}
