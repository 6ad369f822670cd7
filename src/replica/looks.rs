//! Who looks when: on demand within a bounded time, by hand, and in the background.
//!
//! A table is looked at by one at a time; whoever asks meanwhile waits for that look, and not longer than is allowed. A look that a client does not wait
//! for goes on.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use tokio::time::timeout;

use super::advance::Advance;
use super::discover::{self, Folder};
use super::gone::{self, Gone};
use super::memory::Memory;
use super::recheck::Recheck;
use super::status::{Action, State, TableStatus};
use super::told::Told;
use super::{ReplicaSettings, SiteCatalog};
use crate::error::{Error, Kind, Result};
use crate::journal::{Follower, Journal};
use crate::model::{Ident, Namespace, Said};
use crate::storage::{Location, Storage};
use crate::telemetry::Metrics;
use crate::upstream::pointer::Properties;

/// Tables that are looked at at once.
const TABLES_AT_ONCE: usize = 32;

/// Files whose names are remembered to see what goes, of all tables together: 8 bytes each. Tables that come after have deletions found by rechecks only.
const WATCHED_MAX: usize = 16_000_000;

/// One catalog's replica.
#[derive(Clone)]
pub struct Replica(Arc<Shared>);

struct Shared {
    storage: Arc<Storage>,
    site: Arc<dyn SiteCatalog>,
    settings: ReplicaSettings,
    metrics: Metrics,
    tables: Mutex<BTreeMap<Ident, Arc<Table>>>,
    /// When the folders were last looked at, and whose turn that is.
    discovered: Arc<Turn<Option<Instant>>>,
    /// Files whose names are remembered, as of the last time that they were counted.
    watched: AtomicUsize,
    /// Reads the primary's journal.
    follower: Option<Turn<Follower>>,
    said: Mutex<Arc<Said>>,
    /// What is done already of what the journal says of namespaces and of names that are gone.
    done: Mutex<Done>,
}

/// What need not be done again.
#[derive(Default)]
struct Done {
    namespaces: BTreeMap<Namespace, Properties>,
    gone: BTreeMap<Ident, u64>,
}

/// What a table is to the replica.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Case {
    /// One that is followed.
    Here,
    /// One that cannot be followed, and why.
    Blocked(String),
    /// One that is gone at the primary.
    Gone(Gone),
}

/// A table of the replica.
struct Table {
    folder: Folder,
    turn: Arc<Turn<Memory>>,
    last: Mutex<Option<(Instant, TableStatus)>>,
    /// Files whose names are remembered.
    watched: AtomicUsize,
    case: Case,
}

impl Table {
    fn last(&self) -> MutexGuard<'_, Option<(Instant, TableStatus)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, max_staleness: Duration) -> bool {
        self.last().as_ref().is_some_and(|(at, _)| at.elapsed() < max_staleness)
    }
}

impl Replica {
    /// A replica that publishes into `site`.
    pub fn new(
        storage: Arc<Storage>,
        site: Arc<dyn SiteCatalog>,
        settings: ReplicaSettings,
        metrics: Metrics,
    ) -> Replica {
        let journal = settings.journal.clone().map(|folder| Journal::new(storage.clone(), folder));
        let follower = journal.map(|journal| Turn::new(Follower::new(journal, settings.settle)));
        Replica(Arc::new(Shared {
            storage,
            site,
            settings,
            metrics,
            follower,
            tables: Mutex::default(),
            discovered: Arc::default(),
            watched: AtomicUsize::new(0),
            said: Mutex::default(),
            done: Mutex::default(),
        }))
    }

    /// Sees to it that a table's last look is not older than allowed, if that can be done in time. [`Kind::Unavailable`] for a table that must not be
    /// served.
    pub async fn refresh(&self, ident: &Ident) -> Result<()> {
        let began = Instant::now();
        if self.0.table(ident).is_none() || self.0.follower.is_some() {
            self.discover(self.0.settings.wait_max).await;
        }
        let Some(table) = self.0.table(ident) else { return Ok(()) };
        if !table.is_fresh(self.0.settings.max_staleness) {
            let left = self.0.settings.wait_max.saturating_sub(began.elapsed());
            self.0.look_within(&table, left).await;
        }
        match table.last().as_ref() {
            Some((_, status)) if status.state == State::Broken => {
                let missing = status.missing.examples.first().map(String::as_str).unwrap_or_default();
                let message = format!(
                    "{ident} is not whole at this site: {} files are gone, such as {missing}",
                    status.missing.count
                );
                Err(Error::new(Kind::Unavailable, message))
            }
            _ => Ok(()),
        }
    }

    /// The same for what tables there are.
    pub async fn refresh_names(&self) {
        let began = Instant::now();
        self.discover(self.0.settings.wait_max).await;
        let new: Vec<_> = self.0.all().into_iter().filter(|table| table.last().is_none()).collect();
        let left = self.0.settings.wait_max.saturating_sub(began.elapsed());
        let shared = self.0.clone();
        let looks = tokio::spawn(async move {
            stream::iter(new)
                .for_each_concurrent(TABLES_AT_ONCE, |table| {
                    shared.clone().look(table, Duration::MAX, Recheck::WhenDue)
                })
                .await;
        });
        let _ = timeout(left, looks).await;
    }

    /// Looks at these tables, or at all, now. Fails when the storage cannot be looked through.
    pub async fn sync(&self, wanted: &[Ident], recheck: Recheck) -> Result<Vec<TableStatus>> {
        let (tables, shared) = (self.wanted(wanted).await?, &self.0);
        // collected, so that the compiler sees that the whole may move between threads
        let looks: Vec<_> =
            tables.iter().map(|table| shared.clone().look(table.clone(), Duration::ZERO, recheck)).collect();
        stream::iter(looks).buffer_unordered(TABLES_AT_ONCE).collect::<Vec<()>>().await;
        self.measure();
        Ok(tables.iter().filter_map(|table| self.0.status(table)).collect())
    }

    /// What [`Replica::sync`] would do; nothing is written.
    pub async fn plan(&self, wanted: &[Ident], recheck: Recheck) -> Result<Vec<TableStatus>> {
        let (tables, shared) = (self.wanted(wanted).await?, &self.0);
        let looks: Vec<_> = tables.into_iter().map(|table| shared.clone().plan(table, recheck)).collect();
        let mut statuses: Vec<TableStatus> = stream::iter(looks).buffer_unordered(TABLES_AT_ONCE).collect().await;
        statuses.sort_by(|a, b| a.table.cmp(&b.table));
        Ok(statuses)
    }

    async fn wanted(&self, wanted: &[Ident]) -> Result<Vec<Arc<Table>>> {
        let turn = self.0.discovered.clone().lock_owned().await;
        self.0.clone().discover(turn, Duration::ZERO).await?;
        if let Some(missing) = wanted.iter().find(|ident| self.0.table(ident).is_none()) {
            return Err(Error::new(Kind::NoSuchTable, format!("the replicated storage has no table {missing}")));
        }
        let is_wanted = |table: &Arc<Table>| wanted.is_empty() || wanted.contains(&table.folder.ident);
        Ok(self.0.all().into_iter().filter(is_wanted).collect())
    }

    /// Keeps a table that was dropped at the primary, or gives it back its name.
    pub async fn undrop(&self, ident: &Ident) -> Result<()> {
        let turn = self.0.discovered.clone().lock_owned().await;
        self.0.clone().discover(turn, Duration::ZERO).await?;
        self.0.done().gone.remove(ident);
        self.0.names().undrop(ident, &self.0.said()).await
    }

    /// How all tables stand as of their last looks.
    pub fn statuses(&self) -> Vec<TableStatus> {
        self.0.all().iter().filter_map(|table| self.0.status(table)).collect()
    }

    /// Looks at all tables again and again.
    pub async fn run(self) {
        loop {
            let began = Instant::now();
            match self.sync(&[], Recheck::WhenDue).await {
                Ok(_) => self.0.metrics.replica_swept(&self.0.settings.catalog, began.elapsed()),
                Err(error) => tracing::warn!(error = %error, "the replicated storage cannot be looked through"),
            }
            tokio::time::sleep(self.0.settings.interval).await;
        }
    }

    fn measure(&self) {
        let (statuses, Shared { metrics, settings, watched, .. }) = (self.statuses(), &*self.0);
        let count = self.0.all().iter().map(|table| table.watched.load(Ordering::Relaxed)).sum();
        watched.store(count, Ordering::Relaxed);
        for state in State::ALL {
            let count = statuses.iter().filter(|status| status.state == state).count();
            metrics.replica_tables(&settings.catalog, state.word(), count);
        }
        let lag_ms = statuses.iter().map(|status| status.lag_ms).max().unwrap_or(0);
        metrics.replica_lag(&settings.catalog, lag_ms as f64 / 1000.0);
    }

    async fn discover(&self, wait_max: Duration) {
        let shared = self.0.clone();
        let looked = match shared.discovered.clone().try_lock_owned() {
            Ok(turn) => {
                let max_staleness = shared.settings.max_staleness;
                let look = tokio::spawn(shared.discover(turn, max_staleness));
                timeout(wait_max, look).await.ok().and_then(Result::ok)
            }
            // somebody looks already
            Err(_) => timeout(wait_max, shared.discovered.lock()).await.ok().map(|_| Ok(())),
        };
        if let Some(Err(error)) = looked {
            tracing::warn!(error = %error, "the replicated storage cannot be looked through");
        }
    }
}

impl Shared {
    fn tables(&self) -> MutexGuard<'_, BTreeMap<Ident, Arc<Table>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self, ident: &Ident) -> Option<Arc<Table>> {
        self.tables().get(ident).cloned()
    }

    fn all(&self) -> Vec<Arc<Table>> {
        self.tables().values().cloned().collect()
    }

    fn status(&self, table: &Table) -> Option<TableStatus> {
        table.last().as_ref().map(|(_, status)| status.clone())
    }

    /// Looks which tables there are, unless that was done not long ago.
    async fn discover(
        self: Arc<Self>,
        mut turn: OwnedMutexGuard<Option<Instant>>,
        max_staleness: Duration,
    ) -> Result<()> {
        if turn.is_some_and(|at| at.elapsed() < max_staleness) {
            return Ok(());
        }
        let found = match &self.follower {
            Some(follower) => self.told(follower).await?,
            None => self.found().await?,
        };
        let mut tables = self.tables();
        let is_gone = |ident: &Ident| self.follower.is_some() && !found.contains_key(ident);
        tables.retain(|ident, _| !is_gone(ident));
        for (ident, (folder, case)) in found {
            if !tables.get(&ident).is_some_and(|known| known.folder == folder && known.case == case) {
                let (turn, last, watched) = (Arc::default(), Mutex::default(), AtomicUsize::new(0));
                let table = Table { folder, turn, last, watched, case };
                tables.insert(ident, Arc::new(table));
            }
        }
        drop(tables);
        *turn = Some(Instant::now());
        Ok(())
    }

    /// The tables whose folders are in the replicated storage.
    async fn found(&self) -> Result<BTreeMap<Ident, (Folder, Case)>> {
        let known: HashSet<String> = self.all().iter().map(|table| table.folder.location.to_string()).collect();
        let roots = discover::roots(self.settings.map.targets().map(Location::new).collect());
        let found = discover::folders(&self.storage, &roots, &known).await?;
        let mut named: BTreeMap<Ident, (Folder, Case)> = BTreeMap::new();
        for folder in found.into_iter().filter(|folder| self.settings.names.wants(&folder.ident)) {
            match named.get_mut(&folder.ident) {
                Some((first, case)) => *case = Case::Blocked(clash(first, &folder.location)),
                None => drop(named.insert(folder.ident.clone(), (folder, Case::Here))),
            }
        }
        Ok(named)
    }

    /// The tables that the primary's journal names, and those of ours that it says are gone.
    async fn told(&self, follower: &Turn<Follower>) -> Result<BTreeMap<Ident, (Folder, Case)>> {
        let said = follower.lock().await.look().await?;
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said.clone();
        let mut told = Told::of(&said, &self.settings.map, |ident| self.settings.names.wants(ident));
        let mut named = BTreeMap::new();
        for folder in told.folders {
            let case = told.blocked.remove(&folder.ident).map_or(Case::Here, Case::Blocked);
            named.insert(folder.ident.clone(), (folder, case));
        }
        self.namespaces(&said).await;
        for (ident, (number, time_ms)) in &said.dropped {
            let is_done = || self.done().gone.get(ident) == Some(number);
            if is_done() || !self.settings.names.wants(ident) {
                continue;
            }
            match self.names().ours(ident).await? {
                Some(pointer) => {
                    let folder = Folder { ident: ident.clone(), location: pointer.location };
                    named.insert(ident.clone(), (folder, Case::Gone(Gone { number: *number, time_ms: *time_ms })));
                }
                None => drop(self.done().gone.insert(ident.clone(), *number)),
            }
        }
        Ok(named)
    }

    /// Brings namespaces to what the journal says. What fails is tried again.
    async fn namespaces(&self, said: &Said) {
        let is_wanted = |namespace: &Namespace| self.settings.names.wants_in(namespace);
        for (namespace, properties) in said.namespaces.iter().filter(|(namespace, _)| is_wanted(namespace)) {
            if self.done().namespaces.get(namespace) == Some(properties) {
                continue;
            }
            match self.names().namespace(namespace, properties).await {
                Ok(()) => drop(self.done().namespaces.insert(namespace.clone(), properties.clone())),
                Err(error) => {
                    tracing::warn!(%namespace, %error, "a namespace cannot be brought to the primary's state")
                }
            }
        }
        for namespace in said.dropped_namespaces.iter().filter(|namespace| is_wanted(namespace)) {
            self.done().namespaces.remove(namespace);
            if let Err(error) = self.names().drop_namespace(namespace).await {
                tracing::warn!(%namespace, %error, "a namespace that is gone at the primary cannot be removed");
            }
        }
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> Arc<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn names(&self) -> gone::Names<'_> {
        gone::Names { storage: &self.storage, site: self.site.as_ref(), settings: &self.settings }
    }

    /// Looks at a table, unless that was done not long ago.
    async fn look(self: Arc<Self>, table: Arc<Table>, max_staleness: Duration, recheck: Recheck) {
        let turn = table.turn.clone().lock_owned().await;
        self.look_in_turn(table, turn, max_staleness, recheck).await;
    }

    async fn look_in_turn(
        self: Arc<Self>,
        table: Arc<Table>,
        mut turn: OwnedMutexGuard<Memory>,
        max_staleness: Duration,
        recheck: Recheck,
    ) {
        if table.is_fresh(max_staleness) {
            return;
        }
        let began = Instant::now();
        let status = self.look_once(&table, &mut turn, false, recheck).await;
        if self.watched.load(Ordering::Relaxed) > WATCHED_MAX {
            turn.watch.give_up();
        }
        table.watched.store(turn.watch.count(), Ordering::Relaxed);
        self.metrics.replica_looked(&self.settings.catalog);
        if status.action != Action::None {
            self.metrics.replica_published(&self.settings.catalog);
        }
        if let Some(reason) = status.reason.as_ref().filter(|_| status.state == State::Blocked) {
            tracing::warn!(table.name = %table.folder.ident, reason, "a replicated table is blocked");
        }
        *table.last() = Some((began, status));
    }

    /// A look that writes nothing, and trusts what is there as if it had settled.
    async fn plan(self: Arc<Self>, table: Arc<Table>, recheck: Recheck) -> TableStatus {
        self.look_once(&table, &mut Memory::default(), true, recheck).await
    }

    async fn look_once(&self, table: &Table, memory: &mut Memory, is_plan: bool, recheck: Recheck) -> TableStatus {
        let (said, folder) = (self.said(), &table.folder);
        match &table.case {
            Case::Here => {}
            Case::Blocked(reason) => return blocked(folder, reason.clone()),
            Case::Gone(gone) => {
                let looked = self.names().look(&folder.ident, *gone, &said, is_plan).await;
                return looked.map_or_else(
                    |e| blocked(folder, e.told()),
                    |status| {
                        status.unwrap_or_else(|| TableStatus::new(folder.ident.clone(), folder.location.to_string()))
                    },
                );
            }
        }
        let (storage, site, settings) = (&self.storage, self.site.as_ref(), &self.settings);
        let told = said.named.get(&folder.ident);
        Advance { storage, site, settings, folder, told, is_plan, recheck }.look(memory).await
    }

    /// A look that is waited for only so long; it goes on all the same.
    async fn look_within(self: &Arc<Self>, table: &Arc<Table>, wait_max: Duration) {
        match table.turn.clone().try_lock_owned() {
            Ok(turn) => {
                let look =
                    self.clone().look_in_turn(table.clone(), turn, self.settings.max_staleness, Recheck::WhenDue);
                let _ = timeout(wait_max, tokio::spawn(look)).await;
            }
            Err(_) => drop(timeout(wait_max, table.turn.lock()).await),
        }
    }
}

/// Two folders that say one name: nobody here can tell which of them is the table's.
fn clash(folder: &Folder, rival: &Location) -> String {
    format!(
        "{} and {rival} both say that they are {}: exclude the name, or remove the one that is left of a dropped table",
        folder.location, folder.ident
    )
}

fn blocked(folder: &Folder, reason: String) -> TableStatus {
    let mut status = TableStatus::new(folder.ident.clone(), folder.location.to_string());
    status.state = State::Blocked;
    status.reason = Some(reason);
    status
}
