//! Works off the queue of purges, one at a time.
//!
//! What must hold: a purge is done again from its beginning until it is done; one that fails waits longer each time and stays in the queue
//! with its error; while one is under way its lease is renewed, and the work stops when the lease is lost. Stopping the worker at any
//! moment costs only time.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::model::CatalogName;
use crate::storage::Storage;
use crate::table::purge::{Purged, Tree};
use crate::telemetry::Metrics;
use crate::upstream::embedded::{Purge, Purges};
use crate::upstream::pointer::now_ms;

/// How often the queue is looked at while it is empty.
const POLL: Duration = Duration::from_secs(2);
/// How long a purge belongs to who claimed it.
const LEASE_MS: i64 = 60_000;
/// How often that is renewed.
const RENEWAL: Duration = Duration::from_secs(15);
/// The pause after the first failure; it doubles with each.
const PAUSE_MS: i64 = 10_000;
/// The longest pause.
const PAUSE_MAX_MS: i64 = 3_600_000;

/// Deletes what dropped tables leave behind.
#[derive(Clone)]
pub struct PurgeWorker {
    purges: Purges,
    /// The queues of all databases, for what is alive in any of them.
    all: Arc<[Purges]>,
    storage: Arc<Storage>,
    metrics: Metrics,
}

impl PurgeWorker {
    /// A worker for one of `all` databases' queues.
    pub fn new(purges: Purges, all: Arc<[Purges]>, storage: Arc<Storage>, metrics: Metrics) -> Self {
        PurgeWorker { purges, all, storage, metrics }
    }

    /// Works until the task is dropped.
    pub async fn run(self) {
        loop {
            match self.run_next().await {
                Ok(true) => {}
                Ok(false) => tokio::time::sleep(POLL).await,
                Err(error) => {
                    tracing::warn!(error = %error, "the queue of purges cannot be worked off for now");
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// Does the next purge that is due, to its end or to an error that is kept with it; false when none is due.
    pub async fn run_next(&self) -> Result<bool> {
        let at_ms = now_ms();
        let Some(mut purge) = self.purges.claim(at_ms, at_ms + LEASE_MS).await? else { return Ok(false) };
        let outcome = self.work(&mut purge).await;
        if let Ok(catalog) = CatalogName::parse(&purge.catalog) {
            self.metrics.purge(&catalog, outcome.is_ok(), outcome.as_ref().map_or(0, |purged| purged.deleted));
        }
        match outcome {
            Ok(purged) => {
                tracing::info!(
                    catalog.name = purge.catalog,
                    table.name = purge.table,
                    job.id = purge.id,
                    deleted = purged.deleted,
                    spared = purged.spared,
                    "purged a dropped table"
                );
                self.purges.finish(&purge).await?;
            }
            Err(error) => {
                let pause_ms = PAUSE_MS.saturating_mul(1 << (purge.attempts - 1).clamp(0, 20)).min(PAUSE_MAX_MS);
                tracing::error!(
                    catalog.name = purge.catalog, table.name = purge.table, job.id = purge.id,
                    attempt = purge.attempts, pause_ms, error = %error, "a dropped table could not be purged yet"
                );
                self.purges.postpone(&purge, now_ms() + pause_ms, &error.to_string()).await?;
            }
        }
        Ok(true)
    }

    /// Purges, and keeps the lease meanwhile.
    async fn work(&self, purge: &mut Purge) -> Result<Purged> {
        let (location, metadata_location) = (purge.location.clone(), purge.metadata_location.clone());
        let delete = async {
            let Some(tree) = Tree::open(&self.storage, &location, &metadata_location).await? else {
                return Ok(Purged::default());
            };
            let own = tree.own().clone();
            let mut live = Vec::new();
            for purges in self.all.iter() {
                live.extend(purges.live_locations(|other| own.meets(other)).await?);
            }
            tree.purge(live).await
        };
        tokio::pin!(delete);
        loop {
            tokio::select! {
                outcome = &mut delete => return outcome,
                () = tokio::time::sleep(RENEWAL) => {
                    if !self.purges.renew(purge, now_ms() + LEASE_MS).await? {
                        return Err(Error::internal("the lease ran out, another worker goes on"));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
