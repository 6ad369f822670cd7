//! What a server needs to serve the changes of its catalogs' tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Changes, Consumer, History, Positions, Watches};
use crate::error::{Error, Kind, Result};
use crate::model::CatalogName;
use crate::storage::Storage;
use crate::telemetry::Metrics;

/// The feeds of all catalogs.
#[derive(Clone)]
pub struct Feeds {
    /// Pages of changes.
    pub changes: Changes,
    /// Readers that wait.
    pub watches: Watches,
    /// Where they are counted.
    pub metrics: Metrics,
    positions: Arc<BTreeMap<CatalogName, Positions>>,
}

/// How far a reader is behind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    /// Snapshots that it has before it.
    pub snapshots: u64,
    /// How long the oldest of them has waited.
    pub seconds: f64,
}

impl Lag {
    /// Of a position; `None` where its history is gone.
    pub fn of(history: &History, consumer: &Consumer, now_ms: i64) -> Option<Lag> {
        let position = history.position(&consumer.position).ok()?;
        let (snapshots, oldest_ms) = history.lag(position, &consumer.branch)?;
        let waited_ms = oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest).max(0));
        Some(Lag { snapshots: snapshots as u64, seconds: waited_ms as f64 / 1000.0 })
    }
}

impl Default for Feeds {
    fn default() -> Feeds {
        Feeds::new(Arc::new(Storage::new(Vec::new())), BTreeMap::new(), Metrics::new())
    }
}

impl Feeds {
    /// Manifests are read with `storage`; positions are kept for the catalogs that have a place for them.
    pub fn new(storage: Arc<Storage>, positions: BTreeMap<CatalogName, Positions>, metrics: Metrics) -> Feeds {
        let changes = Changes::new(storage);
        Feeds { changes, watches: Watches::default(), metrics, positions: Arc::new(positions) }
    }

    /// The positions of a catalog's tables.
    pub fn positions(&self, catalog: &CatalogName) -> Result<&Positions> {
        self.positions.get(catalog).ok_or_else(|| {
            let message = format!(
                "there is no place to keep positions of readers of catalog {catalog}: set state.database in the configuration, or keep them yourself"
            );
            Error::new(Kind::Unsupported, message)
        })
    }

    /// Notes how far a reader is behind, and says it.
    pub fn measure(&self, catalog: &CatalogName, history: &History, consumer: &Consumer, now_ms: i64) -> Option<Lag> {
        let lag = Lag::of(history, consumer, now_ms);
        note(&self.metrics, catalog, consumer, lag);
        lag
    }
}

/// Notes a lag; -1 says that the reader has to begin anew.
pub(super) fn note(metrics: &Metrics, catalog: &CatalogName, consumer: &Consumer, lag: Option<Lag>) {
    let (snapshots, seconds) =
        lag.map_or((-1, -1.0), |lag| (i64::try_from(lag.snapshots).unwrap_or(i64::MAX), lag.seconds));
    metrics.consumer_lag((catalog, &consumer.table, &consumer.name), snapshots, seconds);
}
