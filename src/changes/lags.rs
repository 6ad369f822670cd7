//! How far readers are behind, looked at from time to time, so that one that stands still is seen, too.
//!
//! What must hold: a bounded number of tables and readers is looked at, one table at a time. Positions of a table that is not found under the name that it
//! was last called, and that nobody moved for a long time, go.

use std::collections::BTreeSet;
use std::time::Duration;

use super::feeds::{Lag, note};
use super::{Consumer, History, Positions, TableId};
use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Ident};
use crate::telemetry::Metrics;
use crate::upstream::asking::Asking;
use crate::upstream::pointer::now_ms;

/// How often.
const INTERVAL: Duration = Duration::from_secs(60);
/// Readers that are looked at.
const CONSUMERS_MAX: i64 = 1_000;
/// How long positions of a table that is not found are kept after they were last committed: it may come back, or have another name.
const LOST_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Looks after the readers of one catalog's tables.
pub struct Lags {
    catalog: CatalogName,
    tables: Asking,
    positions: Positions,
    metrics: Metrics,
}

impl Lags {
    /// Of the catalog that is asked.
    pub fn new(catalog: CatalogName, tables: Asking, positions: Positions, metrics: Metrics) -> Lags {
        Lags { catalog, tables, positions, metrics }
    }

    /// Looks, again and again.
    pub async fn run(self) {
        let mut known = BTreeSet::new();
        loop {
            match self.look().await {
                Ok(found) => {
                    for (table, consumer) in known.difference(&found) {
                        self.metrics.consumer_gone((&self.catalog, table, consumer));
                    }
                    known = found;
                }
                Err(error) => {
                    tracing::warn!(catalog.name = %self.catalog, error = %error, "how far readers are behind cannot be told")
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Looks at all readers once; which there are.
    async fn look(&self) -> Result<BTreeSet<(Ident, String)>> {
        let consumers = self.positions.all(&self.catalog, CONSUMERS_MAX).await?;
        let mut found = BTreeSet::new();
        let mut loaded: Option<(&str, Result<History>)> = None;
        for consumer in &consumers {
            if loaded.as_ref().is_none_or(|(uuid, _)| *uuid != consumer.table_uuid) {
                loaded = Some((&consumer.table_uuid, self.history(consumer).await));
            }
            match loaded.as_ref().map(|(_, history)| history) {
                Some(Ok(history)) => {
                    note(&self.metrics, &self.catalog, consumer, Lag::of(history, consumer, now_ms()));
                    found.insert((consumer.table.clone(), consumer.name.clone()));
                }
                Some(Err(error)) if error.kind() == Kind::NoSuchTable => self.forget_lost(consumer).await?,
                _ => drop(found.insert((consumer.table.clone(), consumer.name.clone()))),
            }
        }
        Ok(found)
    }

    async fn history(&self, consumer: &Consumer) -> Result<History> {
        let history = History::read(&self.tables.table(&consumer.table).await?.metadata)?;
        if history.table.as_str() != consumer.table_uuid {
            return Err(Error::new(Kind::NoSuchTable, "another table has the name now"));
        }
        Ok(history)
    }

    async fn forget_lost(&self, consumer: &Consumer) -> Result<()> {
        let kept_ms = i64::try_from(LOST_KEPT.as_millis()).unwrap_or(i64::MAX);
        if now_ms().saturating_sub(consumer.committed_at_ms) < kept_ms {
            return Ok(());
        }
        let table = TableId::kept(&consumer.table_uuid);
        if self.positions.remove(&self.catalog, &table, &consumer.name, Some(consumer.version)).await? {
            tracing::info!(catalog.name = %self.catalog, table.name = %consumer.table, consumer.name = consumer.name, "a position of a table that is not found was forgotten");
        }
        Ok(())
    }
}
