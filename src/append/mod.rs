//! Data files that landed without metadata become rows, each once: found below a prefix that is watched, or named by a writer in an append call.
//!
//! What must hold: a file is in the table once, whoever looked, raced, crashed or repeated, also after the snapshot that brought it has expired
//! (`docs/decisions/0012-appended-files.md`); what does not fit is named and the rest goes on. A table is worked on by one at a time; loads wait for
//! that no longer than is allowed. How a file is described is `format::data_file`; the commit is the upstream's.

mod call;
mod commit;
mod create;
mod evolve;
mod file_list;
mod footers;
mod known;
mod landed;
mod ledger;
mod look;
mod queue;
mod report;
mod settings;
mod tracked;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::{StreamExt, stream};
use tokio::sync::Mutex as Turn;
use tokio::time::timeout;

pub use call::{AppendAnswer, AppendCall, CallFile};
pub use file_list::{FileListFormat, read_list};
pub use report::{AppendReport, LeftOut};
pub use settings::{AppendSettings, LandingSettings};

use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::model::Ident;
use crate::storage::{Listed, Storage};
use crate::telemetry::Metrics;
use crate::upstream::asking::Asking;
use footers::Footers;
use known::{Known, Tools};
use look::{Files, Look, Memory, Mode};
use tracked::Spelling;

/// Tables that are looked at at once.
const TABLES_AT_ONCE: usize = 4;
/// Tables of which something is remembered.
const TABLES_MAX: usize = 10_000;

/// What appends to the tables of one catalog.
#[derive(Clone)]
pub struct Appends(Arc<Shared>);

struct Shared {
    tools: Tools,
    footers: Footers,
    settings: AppendSettings,
    landings: BTreeMap<Ident, LandingSettings>,
    tables: Mutex<BTreeMap<Ident, Arc<Table>>>,
    answers: call::Answers,
    metrics: Metrics,
}

/// One table.
#[derive(Default)]
struct Table {
    turn: Turn<TableState>,
    last: Mutex<Option<Looked>>,
    queue: queue::Queue,
}

#[derive(Default)]
struct TableState {
    known: Known,
    memory: Memory,
}

#[derive(Clone)]
struct Looked {
    at: Instant,
    report: Option<Arc<AppendReport>>,
    error: Option<String>,
}

/// How one look differs from what is configured.
#[derive(Debug, Clone, Default)]
pub struct LookOptions {
    /// Nothing is written.
    pub plan: bool,
    /// The table may get new columns and wider types, also where the configuration does not say so.
    pub evolve: bool,
    /// The table is made where there is none, likewise.
    pub create: bool,
    /// Where files landed, instead of what is configured.
    pub from: Option<LandingSettings>,
    /// The files that landed, instead of a listing.
    pub files: Option<Vec<Listed>>,
}

impl Appends {
    /// Of a catalog whose tables `tables` loads and commits; what is remembered goes into `state`.
    pub fn new(
        storage: Arc<Storage>,
        tables: Asking,
        state: Option<Database>,
        settings: AppendSettings,
        landings: BTreeMap<Ident, LandingSettings>,
        metrics: Metrics,
    ) -> Appends {
        let spelling = Spelling::new(settings.client_map.clone());
        let tools = Tools { catalog: settings.catalog.clone(), storage: storage.clone(), tables, state, spelling };
        Appends(Arc::new(Shared {
            tools,
            footers: Footers::new(storage),
            settings,
            landings,
            tables: Mutex::default(),
            answers: call::Answers::new(),
            metrics,
        }))
    }

    /// The tables for which files land.
    pub fn tables(&self) -> impl Iterator<Item = &Ident> {
        self.0.landings.keys()
    }

    /// Where files land for a table.
    pub fn landing(&self, ident: &Ident) -> Option<&LandingSettings> {
        self.0.landings.get(ident)
    }

    /// Sees to it that a table's last look is not older than allowed, if that can be done in time; what goes wrong is told by status and metrics.
    pub async fn refresh(&self, ident: &Ident) {
        if !self.0.landings.contains_key(ident) {
            return;
        }
        let is_fresh = |looked: &Looked| looked.at.elapsed() < self.0.settings.max_staleness;
        if self.0.table(ident).last().as_ref().is_some_and(is_fresh) {
            return;
        }
        let (this, ident) = (self.clone(), ident.clone());
        // goes on when nobody waits for it any more
        let look = tokio::spawn(async move { this.look_unless_fresh(&ident).await });
        let _ = timeout(self.0.settings.wait_max, look).await;
    }

    async fn look_unless_fresh(&self, ident: &Ident) {
        let asked = Instant::now();
        let table = self.0.table(ident);
        let mut state = table.turn.lock().await;
        // somebody else's look began after this was asked for
        if table.last().as_ref().is_none_or(|looked| looked.at < asked) {
            let _ = self.look_in_turn(ident, &table, &mut state, LookOptions::default()).await;
        }
    }

    /// Looks at what landed for a table, now. [`Kind::NotFound`] for one for which nothing is configured, unless the options say where its files land.
    pub async fn look(&self, ident: &Ident, options: LookOptions) -> Result<AppendReport> {
        let table = self.0.table(ident);
        let mut state = table.turn.lock().await;
        self.look_in_turn(ident, &table, &mut state, options).await
    }

    async fn look_in_turn(
        &self,
        ident: &Ident,
        table: &Table,
        state: &mut TableState,
        options: LookOptions,
    ) -> Result<AppendReport> {
        let at = Instant::now();
        let settings = options.from.or_else(|| self.0.landings.get(ident).cloned());
        let settings = settings.ok_or_else(|| {
            let message = format!("no files land for {ident}: write it under `append`, or say where from");
            Error::new(Kind::NotFound, message)
        })?;
        let settings = LandingSettings {
            evolve: settings.evolve || options.evolve,
            create: settings.create || options.create,
            ..settings
        };
        let mode = if options.plan { Mode::Plan } else { Mode::Run };
        let look = Look { tools: &self.0.tools, footers: &self.0.footers, ident, settings: &settings, mode };
        let TableState { known, memory } = state;
        let files = options.files.map_or(Files::Landed, Files::Given);
        let looked = look.run(known, memory, files).await;
        if mode == Mode::Run {
            self.0.note(ident, table, at, &looked);
        }
        looked.map_err(|e| e.context(format!("table {ident}")))
    }

    /// What the last looks found, by table; or why there was none.
    pub fn statuses(&self) -> Vec<(Ident, Option<Arc<AppendReport>>, Option<String>)> {
        let status = |ident: &Ident| {
            let looked = self.0.table(ident).last().clone();
            let (report, error) = looked.map_or((None, None), |looked| (looked.report, looked.error));
            (ident.clone(), report, error)
        };
        self.0.landings.keys().map(status).collect()
    }

    /// Looks at all tables again and again.
    pub async fn run(self) {
        while !self.0.landings.is_empty() {
            let looks: Vec<_> = self.0.landings.keys().map(|ident| self.look_unless_fresh(ident)).collect();
            stream::iter(looks).buffer_unordered(TABLES_AT_ONCE).collect::<Vec<()>>().await;
            tokio::time::sleep(self.0.settings.interval).await;
        }
    }
}

impl Table {
    fn last(&self) -> MutexGuard<'_, Option<Looked>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn table(&self, ident: &Ident) -> Arc<Table> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() >= TABLES_MAX && !tables.contains_key(ident) {
            // what nobody works on is read again when somebody does
            tables.retain(|_, table| Arc::strong_count(table) > 1);
        }
        tables.entry(ident.clone()).or_default().clone()
    }

    fn note(&self, ident: &Ident, table: &Table, at: Instant, looked: &Result<AppendReport>) {
        let catalog = &self.settings.catalog;
        match looked {
            Ok(report) => {
                self.metrics.appended(catalog, report.appended_files, report.appended_rows);
                self.metrics.append_left_out(catalog, ident, report.left_out_files);
                if report.appended_files > 0 {
                    tracing::info!(table.name = %ident, files = report.appended_files, rows = report.appended_rows, "appended files that landed");
                }
                if let Some(first) = report.left_out.first() {
                    tracing::warn!(table.name = %ident, files = report.left_out_files, file = %first.file, reason = %first.message, "files that landed are left out");
                }
            }
            Err(error) => {
                self.metrics.append_failed(catalog);
                tracing::warn!(table.name = %ident, error = %error, "files that landed could not be appended");
            }
        }
        let report = looked.as_ref().ok().cloned().map(Arc::new);
        let error = looked.as_ref().err().map(ToString::to_string);
        *table.last() = Some(Looked { at, report, error });
    }
}
