//! Who looks when: on demand within a bounded time, by hand, and in the background.
//!
//! A table is looked at by one at a time; whoever asks meanwhile waits for that look, and not longer than is allowed. A look that a client does not wait
//! for goes on.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, stream};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use tokio::time::timeout;

use super::advance::Advance;
use super::discover::Folder;
use super::group::{self, Member};
use super::memory::Memory;
use super::progress::SyncProgress;
use super::recheck::Recheck;
use super::status::{Action, State, TableStatus};
use super::tables::{Case, Done, Groups};
use super::teller::Teller;
use super::{ReplicaSettings, SiteCatalog};
use crate::error::{Error, Kind, Result};
use crate::journal::{Follower, Journal};
use crate::model::{Ident, Said};
use crate::storage::Storage;
use crate::telemetry::Metrics;
use crate::upstream::asking::Asking;

/// Tables that are looked at at once.
const TABLES_AT_ONCE: usize = 32;

/// Looks of others that one waits for.
const JOINED_MAX: usize = 8;
/// Files whose names are remembered to see what goes, of all tables together: 8 bytes each. Tables that come after have deletions found by rechecks only.
const WATCHED_MAX: usize = 16_000_000;

/// One catalog's replica.
#[derive(Clone)]
pub struct Replica(Arc<Shared>);

pub(super) struct Shared {
    pub(super) storage: Arc<Storage>,
    pub(super) site: Arc<dyn SiteCatalog>,
    pub(super) settings: ReplicaSettings,
    pub(super) metrics: Metrics,
    pub(super) tables: Mutex<BTreeMap<Ident, Arc<Table>>>,
    /// When the folders were last looked at, and whose turn that is.
    pub(super) discovered: Arc<Turn<Option<Instant>>>,
    /// Files whose names are remembered, as of the last time that they were counted.
    pub(super) watched: AtomicUsize,
    /// Who tells of the primary's tables.
    pub(super) teller: Option<Turn<Teller>>,
    pub(super) said: Mutex<Arc<Said>>,
    /// What is done already of what the journal says of namespaces and of names that are gone.
    pub(super) done: Mutex<Done>,
    pub(super) problems: Mutex<Vec<String>>,
    pub(super) groups: Mutex<Groups>,
}

/// A table of the replica.
pub(super) struct Table {
    pub(super) folder: Folder,
    pub(super) turn: Arc<Turn<Memory>>,
    pub(super) last: Mutex<Option<(Instant, TableStatus)>>,
    /// Files whose names are remembered.
    pub(super) watched: AtomicUsize,
    pub(super) case: Case,
}

impl Table {
    fn last(&self) -> MutexGuard<'_, Option<(Instant, TableStatus)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a look began not before this; at any time, if it is `None`.
    fn is_fresh(&self, not_before: Option<Instant>) -> bool {
        self.last().as_ref().is_some_and(|(at, _)| not_before.is_none_or(|not_before| *at >= not_before))
    }
}

impl Replica {
    /// A replica that publishes into `site`. Without a journal, `primary` is asked which tables there are, while it can be reached.
    pub fn new(
        storage: Arc<Storage>,
        site: Arc<dyn SiteCatalog>,
        settings: ReplicaSettings,
        primary: Option<Asking>,
        metrics: Metrics,
    ) -> Replica {
        let journal = settings.journal.clone().map(|folder| Journal::new(storage.clone(), folder));
        let teller = match (journal, primary) {
            (Some(journal), _) => Some(Teller::Journal(Box::new(Follower::new(journal, settings.settle)))),
            (None, Some(asking)) => Some(Teller::primary(asking, settings.interval)),
            (None, None) => None,
        };
        let teller = teller.map(Turn::new);
        Replica(Arc::new(Shared {
            storage,
            site,
            settings,
            metrics,
            teller,
            tables: Mutex::default(),
            discovered: Arc::default(),
            watched: AtomicUsize::new(0),
            said: Mutex::default(),
            done: Mutex::default(),
            problems: Mutex::default(),
            groups: Mutex::default(),
        }))
    }

    /// Sees to it that a table's last look is not older than allowed, if that can be done in time. [`Kind::Unavailable`] for a table that must not be
    /// served.
    pub async fn refresh(&self, ident: &Ident) -> Result<()> {
        let began = Instant::now();
        if self.0.table(ident).is_none() || self.0.teller.is_some() {
            self.discover(self.0.settings.wait_max).await;
        }
        let Some(table) = self.0.table(ident) else { return Ok(()) };
        if !table.is_fresh(self.0.stale()) {
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
                    shared.clone().look(table, None, Recheck::WhenDue).map(drop)
                })
                .await;
        });
        let _ = timeout(left, looks).await;
    }

    /// Looks at these tables, or at all, now. Fails when the storage cannot be looked through.
    pub async fn sync(&self, wanted: &[Ident], recheck: Recheck) -> Result<Vec<TableStatus>> {
        self.sync_watched(wanted, recheck, &SyncProgress::default()).await
    }

    /// The same, and `progress` tells how far it has come. Once that is stopped no other look begins.
    pub async fn sync_watched(
        &self,
        wanted: &[Ident],
        recheck: Recheck,
        progress: &SyncProgress,
    ) -> Result<Vec<TableStatus>> {
        let (tables, shared) = (self.wanted(wanted).await?, &self.0);
        progress.begin(tables.len());
        // what is looked at with another table, of one moment with it, is not looked at again
        let began = Some(Instant::now());
        // collected, so that the compiler sees that the whole may move between threads
        let looks: Vec<_> = tables.iter().map(|table| shared.clone().look(table.clone(), began, recheck)).collect();
        let looks = stream::iter(looks).take_while(|_| ready(!progress.is_stopped()));
        let mut looks = looks.buffer_unordered(TABLES_AT_ONCE);
        while let Some(published) = looks.next().await {
            progress.looked(published);
        }
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
        self.0.site_names().undrop(ident, &self.0.said()).await
    }

    /// What is wrong with more than a table: a place that holds none or cannot be looked at, a damaged entry of the journal, a primary that cannot be asked.
    pub fn problems(&self) -> Vec<String> {
        self.0.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
    pub(super) fn tables(&self) -> MutexGuard<'_, BTreeMap<Ident, Arc<Table>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self, ident: &Ident) -> Option<Arc<Table>> {
        self.tables().get(ident).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Table>> {
        self.tables().values().cloned().collect()
    }

    fn status(&self, table: &Table) -> Option<TableStatus> {
        table.last().as_ref().map(|(_, status)| status.clone())
    }

    /// Looks at a table, unless that was done not long ago. How many tables have something new published by it.
    async fn look(self: Arc<Self>, table: Arc<Table>, not_before: Option<Instant>, recheck: Recheck) -> usize {
        let members = self.group(&table);
        let turn = members[0].turn.clone().lock_owned().await;
        self.look_in_turn(&table, (members, turn), not_before, recheck).await
    }

    /// The tables of one moment with a table, itself among them, in the order of their names. The first one's turn stands for all.
    fn group(&self, table: &Arc<Table>) -> Vec<Arc<Table>> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let names = groups.with(&table.folder.ident);
        drop(groups);
        let members: Vec<_> = names.iter().flat_map(|names| names.iter()).filter_map(|name| self.table(name)).collect();
        if members.len() > 1 { members } else { vec![table.clone()] }
    }

    async fn look_in_turn(
        self: Arc<Self>,
        table: &Table,
        (members, turn): (Vec<Arc<Table>>, OwnedMutexGuard<Memory>),
        not_before: Option<Instant>,
        recheck: Recheck,
    ) -> usize {
        if table.is_fresh(not_before) {
            return 0;
        }
        let began = Instant::now();
        if members.len() == 1 && recheck == Recheck::WhenDue {
            self.ask_of(&table.folder.ident).await;
        }
        // in the order of their names, so that two who take turns never wait for each other
        let mut turns = vec![turn];
        for other in members.iter().skip(1) {
            turns.push(other.turn.clone().lock_owned().await);
        }
        let statuses = match (members.as_slice(), turns.as_mut_slice()) {
            ([alone], [memory]) => vec![self.look_once(alone, memory, false, recheck).await],
            _ => self.look_together(&members, &mut turns, recheck).await,
        };
        let published = statuses.iter().filter(|status| status.action != Action::None).count();
        for ((member, memory), status) in members.iter().zip(&mut turns).zip(statuses) {
            self.looked(member, memory, began, status);
        }
        published
    }

    async fn look_together(
        &self,
        tables: &[Arc<Table>],
        turns: &mut [OwnedMutexGuard<Memory>],
        recheck: Recheck,
    ) -> Vec<TableStatus> {
        let (said, site, storage, settings) = (self.said(), self.site.as_ref(), &self.storage, &self.settings);
        let members = tables.iter().zip(turns).map(|(table, memory)| {
            let (folder, told) = (&table.folder, said.named.get(&table.folder.ident));
            Member::new(Advance { storage, site, settings, folder, told, is_plan: false, recheck }, memory)
        });
        let mut members: Vec<Member<'_>> = members.collect();
        group::look(&mut members).await;
        members.into_iter().map(|member| member.status).collect()
    }

    fn looked(&self, table: &Table, memory: &mut Memory, began: Instant, status: TableStatus) {
        if self.watched.load(Ordering::Relaxed) > WATCHED_MAX {
            memory.watch.give_up();
        }
        table.watched.store(memory.watch.count(), Ordering::Relaxed);
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
        self.look_once(&table, &mut Memory::new(Duration::ZERO), true, recheck).await
    }

    async fn look_once(&self, table: &Table, memory: &mut Memory, is_plan: bool, recheck: Recheck) -> TableStatus {
        let (said, folder) = (self.said(), &table.folder);
        match &table.case {
            Case::Here => {}
            Case::Blocked(reason) => return blocked(folder, reason.clone()),
            Case::Gone(gone) => {
                let looked = self.site_names().look(&folder.ident, *gone, &said, is_plan).await;
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

    /// Looks that began before this are too old for clients.
    fn stale(&self) -> Option<Instant> {
        Instant::now().checked_sub(self.settings.max_staleness)
    }

    /// A look that is waited for only so long; it goes on all the same.
    async fn look_within(self: &Arc<Self>, table: &Arc<Table>, wait_max: Duration) {
        let began = Instant::now();
        // a look that had begun before may be older than is allowed when it ends; then one more is due
        for _ in 0..JOINED_MAX {
            let (members, left) = (self.group(table), wait_max.saturating_sub(began.elapsed()));
            let leader = members[0].clone();
            match leader.turn.clone().try_lock_owned() {
                Ok(turn) => {
                    let (shared, table, not_before) = (self.clone(), table.clone(), self.stale());
                    let look = async move {
                        shared.look_in_turn(&table, (members, turn), not_before, Recheck::WhenDue).await;
                    };
                    let _ = timeout(left, tokio::spawn(look)).await;
                    return;
                }
                Err(_) => drop(timeout(left, leader.turn.lock()).await),
            }
            if table.is_fresh(self.stale()) || began.elapsed() >= wait_max {
                return;
            }
        }
    }
}

fn blocked(folder: &Folder, reason: String) -> TableStatus {
    let mut status = TableStatus::new(folder.ident.clone(), folder.location.to_string());
    status.state = State::Blocked;
    status.reason = Some(reason);
    status
}
