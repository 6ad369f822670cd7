//! Appends as users ask for them by REST: look at what landed for tables, now.
//!
//! What must hold: one is done only when nothing was left out; looks that have begun are not cut off, so one that is cancelled only begins no others.
//! What a look does is `append`'s business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::{Begun, Job, JobLimits, Jobs, Outcome, Work};
use super::sync::{catalog, tables};
use crate::append::{AppendReport, Appends, LookOptions};
use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Ident};

/// Finished appends that are remembered, of some 100 KB each at most.
const FINISHED_MAX: usize = 200;

/// What a user asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AppendRequest {
    /// The catalog.
    #[serde(deserialize_with = "catalog")]
    #[schema(value_type = String, example = "main")]
    pub catalog: CatalogName,
    /// `namespace.table` of each, 1,000 at most; all tables for which files land if there is none.
    #[serde(default, deserialize_with = "tables")]
    #[schema(value_type = Vec<String>, example = json!(["sales.orders"]))]
    pub tables: Vec<Ident>,
    /// Nothing is written; the report says what would be.
    #[serde(default)]
    pub plan: bool,
    /// Tables may get new columns and wider types, also where the configuration does not say so.
    #[serde(default)]
    pub evolve: bool,
    /// Tables that are not there are made, likewise.
    #[serde(default)]
    pub create: bool,
}

impl fmt::Display for AppendRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tables.as_slice() {
            [table] => write!(f, "{table} in catalog {}", self.catalog),
            _ => write!(f, "catalog {}", self.catalog),
        }
    }
}

/// How far appends have come.
#[derive(Debug, Default)]
pub struct AppendProgress {
    /// Tables to look at.
    pub tables_to_do: AtomicU64,
    /// Those that were looked at.
    pub tables_done: AtomicU64,
    /// Files that were appended so far.
    pub appended_files: AtomicU64,
    stops: AtomicBool,
}

/// What became of the files of each table.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AppendsReport {
    /// One a table.
    pub tables: Vec<AppendReport>,
    /// Tables that could not be looked at, and why.
    pub failed: Vec<String>,
}

/// The appends of a server.
pub struct AppendJobs {
    appends: BTreeMap<CatalogName, Option<Appends>>,
    /// Those that run, and those that ended not long ago.
    pub jobs: Jobs<AppendWork>,
}

/// Appends as a kind of work.
pub struct AppendWork;

/// An append as it is now.
pub type AppendJob = Job<AppendWork>;

impl Work for AppendWork {
    const NOUN: &'static str = "append";
    type About = AppendRequest;
    type Progress = AppendProgress;
    type Report = AppendsReport;
}

impl AppendJobs {
    /// Of all catalogs, with what appends to those that may be appended to.
    pub fn new(appends: BTreeMap<CatalogName, Option<Appends>>) -> Self {
        AppendJobs { appends, jobs: Jobs::new(JobLimits { finished_max: FINISHED_MAX, ..JobLimits::default() }) }
    }

    /// What appends to a catalog's tables.
    pub fn of(&self, catalog: &CatalogName) -> Result<&Appends> {
        match self.appends.get(catalog) {
            Some(Some(appends)) => Ok(appends),
            Some(None) => {
                let message = format!(
                    "nothing is appended in catalog {catalog}: it is a standby, or Lifeboat has no credentials of its own there"
                );
                Err(Error::new(Kind::Forbidden, message))
            }
            None => Err(Error::new(Kind::NotFound, format!("there is no catalog {catalog} here"))),
        }
    }

    /// Begins one, or answers with the one that was begun with this key.
    pub fn start(&self, request: AppendRequest, principal: &str, key: Option<Uuid>) -> Result<AppendJob> {
        let appends = self.of(&request.catalog)?.clone();
        let lands = |ident: &&Ident| appends.landing(ident).is_none();
        if let Some(unknown) = request.tables.iter().find(lands) {
            let message = format!("field tables: no files land for {unknown}: write it under `append` in the catalog");
            return Err(Error::bad_request(message));
        }
        self.jobs.begin((principal, key), request.clone(), |begun| run(appends, request, begun))
    }
}

async fn run(appends: Appends, request: AppendRequest, begun: Begun<AppendWork>) -> Outcome<AppendWork> {
    let Begun { progress, cancelled, .. } = begun;
    let watched = progress.clone();
    // a task of its own, so that a look goes on to its end when nobody waits for it any more
    let looks = tokio::spawn(async move { look(&appends, &request, &watched).await });
    tokio::select! {
        biased;
        _ = cancelled => {
            progress.stops.store(true, Ordering::Relaxed);
            Outcome::Cancelled
        }
        looked = looks => match looked {
            Ok(report) => match report.error() {
                None => Outcome::Done(Arc::new(report)),
                Some(error) => Outcome::Failed(Some(Arc::new(report)), Arc::new(error)),
            },
            Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => Outcome::Cancelled,
        },
    }
}

async fn look(appends: &Appends, request: &AppendRequest, progress: &AppendProgress) -> AppendsReport {
    let tables: Vec<Ident> = match request.tables.is_empty() {
        true => appends.tables().cloned().collect(),
        false => request.tables.clone(),
    };
    progress.tables_to_do.store(tables.len() as u64, Ordering::Relaxed);
    let mut report = AppendsReport::default();
    for ident in &tables {
        if progress.stops.load(Ordering::Relaxed) {
            break;
        }
        let AppendRequest { plan, evolve, create, .. } = *request;
        match appends.look(ident, LookOptions { plan, evolve, create, ..LookOptions::default() }).await {
            Ok(looked) => {
                progress.appended_files.fetch_add(looked.appended_files, Ordering::Relaxed);
                report.tables.push(looked);
            }
            Err(error) => report.failed.push(error.to_string()),
        }
        progress.tables_done.fetch_add(1, Ordering::Relaxed);
    }
    report
}

impl AppendsReport {
    /// What is not in the tables, if anything is not.
    fn error(&self) -> Option<Error> {
        if let Some(first) = self.failed.first() {
            return Some(Error::new(Kind::Unprocessable, format!("{} tables failed: {first}", self.failed.len())));
        }
        let left_out: u64 = self.tables.iter().map(|table| table.left_out_files).sum();
        let first = self.tables.iter().find_map(|table| table.left_out.first())?;
        Some(Error::new(
            Kind::Unprocessable,
            format!("{left_out} files are left out: {}: {}", first.file, first.message),
        ))
    }
}
