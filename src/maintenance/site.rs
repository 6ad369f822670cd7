//! One catalog as maintenance works on it: its tables, its storage, and whose places are not ours.
//!
//! What must hold: nothing is deleted in the place of another table or view, whichever embedded catalog of this server or name of the same upstream has it;
//! and nothing at all where this site is not the primary.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::changes::Positions;
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

#[async_trait]
impl Holds for Positions {
    async fn held(&self, catalog: &CatalogName, table_uuid: &str) -> Result<Vec<i64>> {
        Positions::held(self, catalog, table_uuid).await
    }
}

/// What the tables and views of a catalog call their own, as of a moment.
#[derive(Debug, Clone, Default)]
pub struct Places(Vec<(Ident, Vec<Location>)>);

impl Places {
    /// The places of others that meet a table's own.
    fn beside(&self, ident: &Ident, own: &Own) -> Vec<Location> {
        let others = self.0.iter().filter(|(other, _)| other != ident).flat_map(|(_, places)| places);
        others.filter(|place| own.meets(place)).cloned().collect()
    }

    /// The tables and views that have them.
    pub fn idents(&self) -> impl Iterator<Item = &Ident> {
        self.0.iter().map(|(ident, _)| ident)
    }
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
    /// The map from the upstream's naming of the storage to the clients', and the way back, where they differ.
    pub client_locations: Option<Arc<(LocationMap, LocationMap)>>,
    /// Places that are never touched: overlays.
    pub spared: Vec<Location>,
    /// Places in which files land that are still to be appended: what is there is no orphan.
    pub landings: Vec<Location>,
    /// Who needs snapshots.
    pub holds: Vec<Arc<dyn Holds>>,
    /// Where work is counted.
    pub metrics: Metrics,
}

impl Site {
    /// What is the table's own to delete: without the places of others. Those of an upstream are asked for where they are not known.
    pub(super) async fn own(&self, ident: &Ident, metadata: &Value, places: Option<&Places>) -> Result<Own> {
        let location = metadata["location"].as_str().unwrap_or_default();
        let own = Own::of(&Location::new(location.trim_end_matches('/')), metadata);
        let mut live = self.spared.clone();
        for purges in self.databases.iter() {
            let table = self.is_embedded.then_some((&self.catalog, ident));
            live.extend(purges.live_locations_beside(table, |other| own.meets(other)).await?);
        }
        match places {
            Some(places) => live.extend(places.beside(ident, &own)),
            None if !self.is_embedded => live.extend(self.places().await?.beside(ident, &own)),
            None => {}
        }
        Ok(own.sparing(live))
    }

    /// The places of all tables and views of the catalog: each is loaded.
    pub async fn places(&self) -> Result<Places> {
        let loads = self.tables.names().await?.into_iter().map(|(operation, ident)| {
            let tables = self.tables.clone();
            async move { Ok::<_, Error>((tables.places(operation, &ident).await?, ident)) }
        });
        // collected, so that the compiler sees that the whole may move between threads
        let loads: Vec<_> = loads.collect();
        let places: Vec<(Option<Vec<String>>, Ident)> =
            stream::iter(loads).buffered(LOADS_AT_ONCE).try_collect().await?;
        let named = places.into_iter().filter_map(|(places, ident)| Some((ident, places?)));
        Ok(Places(
            named
                .map(|(ident, places)| (ident, places.iter().map(|p| Location::new(p.trim_end_matches('/'))).collect()))
                .collect(),
        ))
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
