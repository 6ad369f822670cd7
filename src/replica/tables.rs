//! Which tables there are: as the primary tells where somebody does, else by their folders; and which of them are of one moment.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::discover::{self, Folder};
use super::gone::{Gone, SiteNames};
use super::looks::{Shared, Table};
use super::memory::Memory;
use super::names::Names;
use super::told::Told;
use crate::error::Result;
use crate::model::{Ident, Namespace, Said};
use crate::storage::Location;
use crate::upstream::pointer::Properties;

/// What need not be done again.
#[derive(Default)]
pub(super) struct Done {
    pub(super) namespaces: BTreeMap<Namespace, Properties>,
    pub(super) gone_namespaces: BTreeSet<Namespace>,
    pub(super) gone: BTreeMap<Ident, u64>,
}

/// What a table is to the replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Case {
    /// One that is followed.
    Here,
    /// One that cannot be followed, and why.
    Blocked(String),
    /// One that is gone at the primary.
    Gone(Gone),
}

/// Tables of one moment, by their names.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<Ident, Arc<Vec<Ident>>>);

impl Groups {
    /// Of the tables that there are: by the patterns of the configuration, and by what committed together.
    fn of(tables: &BTreeMap<Ident, Arc<Table>>, patterns: &[Names], said: &Said) -> Groups {
        let here = |ident: &&Ident| tables.get(*ident).is_some_and(|table| table.case == Case::Here);
        let by_pattern = patterns
            .iter()
            .map(|names| tables.keys().filter(here).filter(|ident| names.wants(ident)).cloned().collect());
        let by_journal = said.together.values().map(|idents| idents.iter().filter(here).cloned().collect());
        let mut of: BTreeMap<Ident, Arc<Vec<Ident>>> = BTreeMap::new();
        for group in by_pattern.chain(by_journal) {
            let group: Vec<Ident> = group;
            let all = group
                .iter()
                .flat_map(|ident| of.get(ident).map_or_else(|| vec![ident.clone()], |known| known.to_vec()));
            let mut all: Vec<Ident> = all.collect();
            all.sort();
            all.dedup();
            if all.len() > 1 {
                let all = Arc::new(all);
                of.extend(all.iter().map(|ident| (ident.clone(), all.clone())));
            }
        }
        Groups(of)
    }

    /// The tables of one moment with this one, itself among them, in order; `None` if it is alone.
    pub(super) fn with(&self, ident: &Ident) -> Option<Arc<Vec<Ident>>> {
        self.0.get(ident).cloned()
    }
}

impl Shared {
    /// Looks which tables there are, unless that was done not long ago.
    pub(super) async fn discover(
        self: Arc<Self>,
        mut turn: OwnedMutexGuard<Option<Instant>>,
        max_staleness: Duration,
    ) -> Result<()> {
        if turn.is_some_and(|at| at.elapsed() < max_staleness) {
            return Ok(());
        }
        let (said, mut problems) = match &self.teller {
            Some(teller) => teller.lock().await.look().await?,
            None => (None, Vec::new()),
        };
        let is_told = said.is_some();
        let found = match said {
            Some(said) => self.told(said).await?,
            None => self.found(&mut problems).await?,
        };
        self.tell_problems(problems);
        let mut tables = self.tables();
        tables.retain(|ident, _| !is_told || found.contains_key(ident));
        for (ident, (folder, case)) in found {
            if !tables.get(&ident).is_some_and(|known| known.folder == folder && known.case == case) {
                let turn = Arc::new(Turn::new(Memory::new(self.settings.settle)));
                let (last, watched) = (Mutex::default(), AtomicUsize::new(0));
                let table = Table { folder, turn, last, watched, case };
                tables.insert(ident, Arc::new(table));
            }
        }
        *self.groups.lock().unwrap_or_else(PoisonError::into_inner) =
            Groups::of(&tables, &self.settings.groups, &self.said());
        drop(tables);
        *turn = Some(Instant::now());
        Ok(())
    }

    /// What is wrong with more than a table, each said once in the log.
    fn tell_problems(&self, problems: Vec<String>) {
        let mut known = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        for problem in problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::warn!(catalog.name = %self.settings.catalog, problem, "replicated storage is not as it should be");
        }
        *known = problems;
    }

    /// The tables whose folders are in the replicated storage. A place that has none is a problem.
    async fn found(&self, problems: &mut Vec<String>) -> Result<BTreeMap<Ident, (Folder, Case)>> {
        let known: HashSet<String> = self.all().iter().map(|table| table.folder.location.to_string()).collect();
        let roots = discover::roots(self.settings.map.targets().map(Location::new).collect());
        let mut found = Vec::new();
        for root in &roots {
            match discover::folders(&self.storage, std::slice::from_ref(root), &self.settings.layout, &known).await {
                Ok(folders) if folders.is_empty() => problems.push(format!(
                    "{root} holds no table: is it mounted, has anything arrived, and is it the right place in the replica's map?"
                )),
                Ok(folders) => found.extend(folders),
                // the tables of other places go on
                Err(error) if roots.len() > 1 => problems.push(error.told()),
                Err(error) => return Err(error),
            }
        }
        let mut named: BTreeMap<Ident, (Folder, Case)> = BTreeMap::new();
        for folder in found.into_iter().filter(|folder| self.settings.names.wants(&folder.ident)) {
            match named.get_mut(&folder.ident) {
                Some((first, case)) => *case = Case::Blocked(clash(first, &folder.location)),
                None => drop(named.insert(folder.ident.clone(), (folder, Case::Here))),
            }
        }
        Ok(named)
    }

    /// The tables that the primary names, and those of ours that it says are gone.
    async fn told(&self, said: Arc<Said>) -> Result<BTreeMap<Ident, (Folder, Case)>> {
        self.hear(said.clone());
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
            match self.site_names().ours(ident).await? {
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
            self.done().gone_namespaces.remove(namespace);
            if self.done().namespaces.get(namespace) == Some(properties) {
                continue;
            }
            match self.site_names().namespace(namespace, properties).await {
                Ok(()) => drop(self.done().namespaces.insert(namespace.clone(), properties.clone())),
                Err(error) => {
                    tracing::warn!(%namespace, %error, "a namespace cannot be brought to the primary's state")
                }
            }
        }
        for namespace in said.dropped_namespaces.iter().filter(|namespace| is_wanted(namespace)) {
            self.done().namespaces.remove(namespace);
            if self.done().gone_namespaces.contains(namespace) {
                continue;
            }
            match self.site_names().drop_namespace(namespace).await {
                Ok(true) => drop(self.done().gone_namespaces.insert(namespace.clone())),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%namespace, %error, "a namespace that is gone at the primary cannot be removed")
                }
            }
        }
    }

    /// Has it told what the primary's catalog says of one table now.
    pub(super) async fn ask_of(&self, ident: &Ident) {
        let Some(teller) = &self.teller else { return };
        if let Some(said) = teller.lock().await.look_at(ident).await {
            self.hear(said);
        }
    }

    fn hear(&self, said: Arc<Said>) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    pub(super) fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn said(&self) -> Arc<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn site_names(&self) -> SiteNames<'_> {
        SiteNames { storage: &self.storage, site: self.site.as_ref(), settings: &self.settings }
    }
}

/// Two folders that say one name: nobody here can tell which of them is the table's.
fn clash(folder: &Folder, rival: &Location) -> String {
    format!(
        "{} and {rival} both say that they are {}: exclude the name, or remove the one that is left of a dropped table",
        folder.location, folder.ident
    )
}
