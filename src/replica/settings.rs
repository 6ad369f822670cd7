//! What a replica is told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Layout, Names};
use crate::format::location::LocationMap;
use crate::model::{CatalogName, Ident};
use crate::storage::Location;

/// Which metadata file is believed to be the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// One that a newer file names in its log, so the replica follows one commit behind.
    Successor,
    /// The newest, once it is the only one of its number and has been there for the settle time.
    TrustNewest,
}

/// What a replica is told.
#[derive(Debug, Clone)]
pub struct ReplicaSettings {
    /// The catalog in which it publishes.
    pub catalog: CatalogName,
    /// From the primary's places to this site's. The replicated storage is below its targets.
    pub map: LocationMap,
    /// Where relocated metadata is written: outside of the replicated storage.
    pub overlay: Location,
    /// Where the primary's journal arrives; without one, tables are found by their folders.
    pub journal: Option<Location>,
    /// How long a table that was dropped at the primary is kept here.
    pub drop_after: Duration,
    /// How tables' folders lie below the map's places.
    pub layout: Layout,
    /// Tables that stay as they are, and those that go no further than to the metadata file of this number.
    pub held: Vec<(Names, Option<u64>)>,
    /// Which tables.
    pub names: Names,
    /// Patterns of tables that are published together, as of one moment.
    pub groups: Vec<Names>,
    /// Which metadata file is believed.
    pub confirm: Confirm,
    /// How long a file must have been seen before it counts as settled.
    pub settle: Duration,
    /// How old a look may be when a client asks.
    pub max_staleness: Duration,
    /// How long a client waits for a look.
    pub wait_max: Duration,
    /// How often all tables are looked at without being asked for.
    pub interval: Duration,
    /// How often what is published is proven anew.
    pub recheck: Duration,
    /// Properties that tables have at this site, whatever they have at the primary.
    pub properties: BTreeMap<String, String>,
}

impl ReplicaSettings {
    /// The number of the last metadata file that a table may go on to: 0 for one that stays as it is; `None` for one that is not held.
    pub(super) fn held_at(&self, ident: &Ident) -> Option<u64> {
        let held = self.held.iter().filter(|(names, _)| names.wants(ident));
        held.map(|(_, version)| version.unwrap_or(0)).min()
    }
}
