//! Syncs as users ask for them, by command line and by REST: look at replicated tables now, and again until they are level.
//!
//! What must hold: a sync is done only when all tables that were asked for are level; looks that have begun are not cut off, so one that is cancelled
//! only begins no others. What a look does is the replica's business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::{Begun, Job, JobLimits, Jobs, Outcome, Work};
use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Ident};
use crate::replica::{Action, Recheck, Replica, SyncProgress, TableStatus};

/// How often a sync that waits looks again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest that a sync waits.
const WAIT_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Tables that one request may name.
const TABLES_MAX: usize = 1_000;
/// Tables that a report names.
const REPORTED_MAX: usize = 1_000;
/// Finished syncs that are remembered, of about 1 MB each at most.
const FINISHED_MAX: usize = 50;
/// Tables that an error names.
const EXAMPLES_MAX: usize = 3;

/// What a user asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SyncRequest {
    /// The catalog whose replica is synced.
    #[serde(deserialize_with = "catalog")]
    #[schema(value_type = String, example = "dr")]
    pub catalog: CatalogName,
    /// `namespace.table` of each, 1,000 at most; all tables of the replica if there is none.
    #[serde(default, deserialize_with = "tables")]
    #[schema(value_type = Vec<String>, example = json!(["sales.orders"]))]
    pub tables: Vec<Ident>,
    /// All that is published is proven anew, as after a loss.
    #[serde(default)]
    pub rebuild: bool,
    /// Tables are looked at again until all are level, for so long at most; one day at most.
    #[serde(default, deserialize_with = "wait_seconds")]
    pub wait_seconds: u64,
}

impl fmt::Display for SyncRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tables.as_slice() {
            [] => write!(f, "catalog {}", self.catalog),
            [table] => write!(f, "{table} in catalog {}", self.catalog),
            tables => write!(f, "{} tables in catalog {}", tables.len(), self.catalog),
        }
    }
}

/// How the tables stood at the end.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SyncReport {
    /// Tables that were looked at.
    tables_count: usize,
    /// Those of them that are level.
    level_count: usize,
    /// How they stand: first those that are not level, then those of which something was published; 1,000 at most.
    tables: Vec<TableStatus>,
    /// What is wrong with more than a table.
    pub problems: Vec<String>,
}

/// The syncs of a server.
pub struct SyncJobs {
    replicas: BTreeMap<CatalogName, Option<Replica>>,
    /// Those that run, and those that ended not long ago.
    pub jobs: Jobs<Syncs>,
}

/// Syncs as a kind of work.
pub struct Syncs;

/// A sync as it is now.
pub type Sync = Job<Syncs>;

impl Work for Syncs {
    const NOUN: &'static str = "sync";
    type About = SyncRequest;
    type Progress = SyncProgress;
    type Report = SyncReport;
}

impl SyncJobs {
    /// Of all catalogs, with the replica of those that have one.
    pub fn new(replicas: BTreeMap<CatalogName, Option<Replica>>) -> Self {
        SyncJobs { replicas, jobs: Jobs::new(JobLimits { finished_max: FINISHED_MAX, ..JobLimits::default() }) }
    }

    /// Begins one, or answers with the one that was begun with this key.
    pub fn start(&self, request: SyncRequest, principal: &str, key: Option<Uuid>) -> Result<Sync> {
        let name = &request.catalog;
        let replica = match self.replicas.get(name) {
            Some(Some(replica)) => replica.clone(),
            Some(None) => {
                return Err(Error::bad_request(format!("field catalog: {name} has no replica that could be synced")));
            }
            None => return Err(Error::new(Kind::NotFound, format!("field catalog: there is no catalog {name} here"))),
        };
        self.jobs.begin((principal, key), request.clone(), |begun| run(replica, request, begun))
    }
}

async fn run(replica: Replica, request: SyncRequest, begun: Begun<Syncs>) -> Outcome<Syncs> {
    let Begun { id, progress, cancelled } = begun;
    let recheck = if request.rebuild { Recheck::Now } else { Recheck::WhenDue };
    let (wait, watched) = (Duration::from_secs(request.wait_seconds), progress.clone());
    // a task of its own, so that looks go on to their end when nobody waits for them any more
    let looks = async move {
        let statuses = sync(&replica, &request.tables, recheck, wait, &watched).await?;
        Ok::<_, Error>((statuses, replica.problems()))
    };
    let looked = tokio::select! {
        biased;
        _ = cancelled => {
            progress.stop();
            return Outcome::Cancelled;
        }
        looked = tokio::spawn(looks) => looked,
    };
    match looked {
        Ok(Ok((statuses, problems))) => {
            let report = SyncReport { problems, ..SyncReport::new(statuses) };
            let SyncReport { tables_count, level_count, .. } = report;
            if let Some(error) = report.error() {
                return Outcome::Failed(Some(Arc::new(report)), Arc::new(error));
            }
            tracing::info!(job.id = %id, "a sync is done: {level_count} of {tables_count} tables are level");
            Outcome::Done(Arc::new(report))
        }
        Ok(Err(error)) => Outcome::Failed(None, Arc::new(error)),
        Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
        Err(_) => Outcome::Cancelled,
    }
}

/// Looks until all tables are level, the time is over, or it is stopped; how they stand then.
pub async fn sync(
    replica: &Replica,
    tables: &[Ident],
    recheck: Recheck,
    wait: Duration,
    progress: &SyncProgress,
) -> Result<Vec<TableStatus>> {
    let began = Instant::now();
    loop {
        let statuses = replica.sync_watched(tables, recheck, progress).await?;
        let is_over = began.elapsed() >= wait || progress.is_stopped();
        if is_over || statuses.iter().all(TableStatus::is_level) {
            return Ok(statuses);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl SyncReport {
    fn new(mut tables: Vec<TableStatus>) -> SyncReport {
        let (tables_count, level_count) = (tables.len(), tables.iter().filter(|table| table.is_level()).count());
        tables.sort_by_key(|table| (table.is_level(), table.action == Action::None));
        tables.truncate(REPORTED_MAX);
        SyncReport { tables_count, level_count, tables, problems: Vec::new() }
    }

    /// What stayed behind, if anything did.
    fn error(&self) -> Option<Error> {
        let behind = self.tables_count - self.level_count;
        if behind == 0 {
            let problem = self.problems.first()?;
            return Some(Error::new(Kind::Unprocessable, format!("all tables are level, but {problem}")));
        }
        let example = |table: &TableStatus| {
            let state = format!("{} is {}", table.table, table.state.word());
            let lacks = || table.missing.examples.first().map(|file| format!("{file} has not arrived"));
            let why = table.reason.clone().or_else(lacks);
            why.map_or_else(|| state.clone(), |why| format!("{state} ({why})"))
        };
        let examples: Vec<String> = self.tables.iter().take(behind.min(EXAMPLES_MAX)).map(example).collect();
        let more = if behind > EXAMPLES_MAX { ", …" } else { "" };
        let message = format!("{behind} of {} tables are not level: {}{more}", self.tables_count, examples.join(", "));
        Some(Error::new(Kind::Unprocessable, message))
    }
}

pub(super) fn catalog<'d, D: Deserializer<'d>>(from: D) -> Result<CatalogName, D::Error> {
    CatalogName::parse(&String::deserialize(from)?).map_err(|e| D::Error::custom(e.message()))
}

pub(super) fn tables<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<Ident>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    if names.len() > TABLES_MAX {
        let message = format!("{TABLES_MAX} tables at most; leave it out for all tables of the replica");
        return Err(D::Error::custom(message));
    }
    names.iter().map(|name| Ident::from_dotted(name).map_err(|e| D::Error::custom(e.message()))).collect()
}

fn wait_seconds<'d, D: Deserializer<'d>>(from: D) -> Result<u64, D::Error> {
    let seconds = u64::deserialize(from)?;
    let message = || D::Error::custom(format!("{WAIT_SECONDS_MAX} at most"));
    (seconds <= WAIT_SECONDS_MAX).then_some(seconds).ok_or_else(message)
}
