//! One catalog as maintenance works on it: its tables, its storage, and whose places are not ours.
//!
//! What must hold: nothing is deleted in the place of another table or view, whichever embedded catalog of this server or name of the same upstream has it;
//! and nothing at all where this site is not the primary.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::format::location::LocationMap;
use crate::model::{CatalogName, Ident};
use crate::storage::{Location, Storage};
use crate::table::purge::Own;
use crate::telemetry::Metrics;
use crate::upstream::asking::Asking;
use crate::upstream::embedded::Purges;

/// Loads under way at once, to learn where other tables lie.
const LOADS_AT_ONCE: usize = 8;

/// Who needs snapshots that would expire: readers with positions, backups.
#[async_trait]
pub trait Holds: Send + Sync {
    /// The snapshots of a table that are needed, together with all newer ones on the way to their branches' heads. An error stops the expiry.
    async fn held(&self, catalog: &CatalogName, table_uuid: &str) -> Result<Vec<i64>>;
}

/// A catalog that can be maintained.
#[derive(Clone)]
pub struct Site {
    /// Its name.
    pub catalog: CatalogName,
    /// Its tables, past all layers.
    pub tables: Asking,
    /// Where the files are.
    pub storage: Arc<Storage>,
    /// All databases of this server, for the places of tables in any of them.
    pub databases: Arc<[Purges]>,
    /// Whether the catalog is embedded, so that its places are in one of these databases.
    pub is_embedded: bool,
    /// Where it is noted what has begun.
    pub state: Option<Database>,
    /// The upstream's naming of the storage to the clients', where they differ.
    pub client_locations: Option<Arc<LocationMap>>,
    /// Places that are never touched: overlays.
    pub spared: Vec<Location>,
    /// Who needs snapshots.
    pub holds: Vec<Arc<dyn Holds>>,
    /// Where work is counted.
    pub metrics: Metrics,
}

impl Site {
    /// What is the table's own to delete: without the places of others.
    pub(super) async fn own(&self, ident: &Ident, metadata: &serde_json::Value) -> Result<Own> {
        let location = metadata["location"].as_str().unwrap_or_default();
        let own = Own::of(&Location::new(location.trim_end_matches('/')), metadata);
        let mut live = self.spared.clone();
        for purges in self.databases.iter() {
            let table = self.is_embedded.then_some((&self.catalog, ident));
            live.extend(purges.live_locations_beside(table, |other| own.meets(other)).await?);
        }
        if !self.is_embedded {
            live.extend(self.upstream_places(ident).await?.into_iter().filter(|other| own.meets(other)));
        }
        Ok(own.sparing(live))
    }

    /// Where the other tables and views of an upstream lie: each is loaded.
    async fn upstream_places(&self, ident: &Ident) -> Result<Vec<Location>> {
        let others = self.tables.names().await?.into_iter().filter(|(_, other)| other != ident);
        let loads = others.map(|(operation, other)| {
            let tables = self.tables.clone();
            async move { tables.location(operation, &other).await }
        });
        // collected, so that the compiler sees that the whole may move between threads
        let loads: Vec<_> = loads.collect();
        let places: Vec<Option<String>> = stream::iter(loads).buffered(LOADS_AT_ONCE).try_collect().await?;
        Ok(places.into_iter().flatten().map(Location::new).collect())
    }

    /// The snapshots of a table that somebody needs.
    pub(super) async fn held(&self, table_uuid: &str) -> Result<Vec<i64>> {
        let mut held = Vec::new();
        for holder in &self.holds {
            held.extend(holder.held(&self.catalog, table_uuid).await?);
        }
        Ok(held)
    }

    /// Refuses where this site must not delete.
    pub(super) async fn check_primary(&self) -> Result<()> {
        if !self.is_embedded {
            return Ok(());
        }
        for purges in self.databases.iter() {
            if purges.is_primary(&self.catalog).await? {
                return Ok(());
            }
        }
        Err(Error::new(
            Kind::Forbidden,
            format!("catalog {} is not primary here: maintain it at its primary", self.catalog),
        ))
    }
}
