//! Maintenance by itself: policies that say which work is due on which tables how often, and who does it.
//!
//! What must hold: of servers that share a database one begins a round; where they share none, or two begin all the same, nothing is harmed
//! (`docs/decisions/0013-maintenance.md`). A table that fails does not hold up the others, and one that forbids it is passed over.

use std::time::Duration;

use futures::FutureExt;

use super::report::Progress;
use super::site::{Places, Site};
use super::work::Work;
use crate::database::Database;
use crate::error::{Kind, Result};
use crate::model::{Ident, Operation};
use crate::replica::Names;
use crate::upstream::pointer::now_ms;

/// How often it is looked whether a round is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is done to some tables of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name in the configuration.
    pub name: String,
    /// Which tables. Of several policies that want a table the first counts.
    pub tables: Names,
    /// How often which work.
    pub works: Vec<(Duration, Work)>,
}

/// Does what the policies of a catalog say.
pub struct Caretaker {
    site: Site,
    policies: Vec<Policy>,
    /// When rounds began, by policy and work: where no database remembers it.
    began: Vec<Vec<i64>>,
}

impl Caretaker {
    /// For one catalog.
    pub fn new(site: Site, policies: Vec<Policy>) -> Self {
        let began = policies.iter().map(|policy| vec![0; policy.works.len()]).collect();
        Caretaker { site, policies, began }
    }

    /// Works until the task is dropped.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.look().await {
                tracing::warn!(catalog.name = %self.site.catalog, error = %error, "tables cannot be maintained for now");
            }
        }
    }

    /// Does all rounds that are due.
    pub(super) async fn look(&mut self) -> Result<()> {
        for at in 0..self.policies.len() {
            for which in 0..self.policies[at].works.len() {
                if self.is_due(at, which).await? {
                    self.round(at, which).await?;
                }
            }
        }
        Ok(())
    }

    /// Claims a round that is due; false when it is not, or another server has it.
    async fn is_due(&mut self, at: usize, which: usize) -> Result<bool> {
        let policy = &self.policies[at];
        let (every, work) = &policy.works[which];
        let (now_ms, every_ms) = (now_ms(), i64::try_from(every.as_millis()).unwrap_or(i64::MAX));
        if self.began[at][which].saturating_add(every_ms) > now_ms {
            return Ok(false);
        }
        let Some(state) = &self.site.state else {
            self.began[at][which] = now_ms;
            return Ok(true);
        };
        let round = Round { catalog: self.site.catalog.to_string(), policy: policy.name.clone(), work: work.word() };
        let began_ms = round.began(state).await?;
        let is_ours = began_ms.saturating_add(every_ms) <= now_ms && round.claim(state, began_ms, now_ms).await?;
        self.began[at][which] = if is_ours { now_ms } else { began_ms };
        Ok(is_ours)
    }

    /// One work on all tables of a policy, one after the other.
    async fn round(&self, at: usize, which: usize) -> Result<()> {
        let (policy, (_, work)) = (&self.policies[at], &self.policies[at].works[which]);
        let site = &self.site;
        site.check_primary().await?;
        let names = site.tables.names().await?.into_iter();
        let tables = names.filter(|(operation, _)| *operation == Operation::LoadTable).map(|(_, ident)| ident);
        let tables: Vec<Ident> = tables.filter(|ident| self.policy_of(ident) == Some(at)).collect();
        // once for all of them; embedded catalogs need it for orphans only
        let needs_places = !tables.is_empty() && (!site.is_embedded || matches!(work, Work::RemoveOrphans(_)));
        let places: Option<Places> = if needs_places { Some(site.places().await?) } else { None };
        let mut due = 0;
        for ident in &tables {
            let (name, word) = (&policy.name, work.word());
            match site.work(ident, work, places.as_ref(), &Progress::default()).await {
                Ok(report) => {
                    due += usize::from(report.is_due());
                    tracing::info!(catalog.name = %site.catalog, table.name = %ident, "{word} by policy {name}: {report}");
                }
                Err(error) if matches!(error.kind(), Kind::NoSuchTable | Kind::Unprocessable) => {
                    tracing::info!(catalog.name = %site.catalog, table.name = %ident, error = %error, "{word} by policy {name} passes a table over");
                }
                Err(error) => {
                    tracing::warn!(catalog.name = %site.catalog, table.name = %ident, error = %error, "{word} by policy {name} failed");
                }
            }
        }
        if work.only_looks() {
            site.metrics.maintenance_due(&site.catalog, &policy.name, work.word(), due);
        }
        Ok(())
    }

    /// Which policy a table falls under.
    fn policy_of(&self, ident: &Ident) -> Option<usize> {
        self.policies.iter().position(|policy| policy.tables.wants(ident))
    }
}

/// A work of a policy that comes again and again.
#[derive(Debug, Clone)]
struct Round {
    catalog: String,
    policy: String,
    work: &'static str,
}

impl Round {
    /// When the last one began, on whichever server; 0 if none ever did.
    async fn began(&self, state: &Database) -> Result<i64> {
        let sql = "SELECT began_at_ms FROM maintenance_rounds WHERE catalog = $1 AND policy = $2 AND work = $3";
        let rows = state.read(sql, &[(&self.catalog).into(), (&self.policy).into(), self.work.into()]).await?;
        rows.first().map_or(Ok(0), |row| row.integer(0))
    }

    /// Begins the next one; false when somebody else has.
    async fn claim(&self, state: &Database, began_ms: i64, now_ms: i64) -> Result<bool> {
        let round = self.clone();
        let claimed = state.write(move |t| {
            let round = round.clone();
            async move {
                let Round { catalog, policy, work } = &round;
                let sql = "INSERT INTO maintenance_rounds (catalog, policy, work, began_at_ms) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING";
                t.execute(sql, &[catalog.into(), policy.into(), (*work).into()]).await?;
                let sql = "UPDATE maintenance_rounds SET began_at_ms = $1 WHERE catalog = $2 AND policy = $3 AND work = $4 AND began_at_ms = $5";
                t.execute(sql, &[now_ms.into(), catalog.into(), policy.into(), (*work).into(), began_ms.into()]).await
            }
            .boxed()
        });
        Ok(claimed.await? == 1)
    }
}
