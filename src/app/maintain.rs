//! What maintains the catalogs' tables, and what of them is done by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::stores::storage_of_tables;
use super::{AppCatalog, Databases};
use crate::changes::Positions;
use crate::config::{self, Config, Source};
use crate::error::Result;
use crate::format::location::LocationMap;
use crate::maintenance::{Caretaker, Holds, Maintained, Policy, Site};
use crate::model::CatalogName;
use crate::replica::Names;
use crate::storage::Location;
use crate::telemetry::Metrics;
use crate::upstream::embedded::Purges;

/// Gives the catalogs what maintains their tables.
pub(super) fn maintain(
    config: &Config,
    catalogs: &mut BTreeMap<CatalogName, AppCatalog>,
    databases: &Databases,
    metrics: &Metrics,
) -> Result<Vec<Caretaker>> {
    // of this machine's file system nothing is read or deleted but what the configuration names, whatever a table's metadata says
    let storage = Arc::new(storage_of_tables(config).counted_by(metrics.clone()));
    let all: Arc<[Purges]> = databases.open.values().cloned().map(Purges::new).collect();
    let spared: Vec<Location> = config.catalogs.values().flat_map(not_tables).map(Location::new).collect();
    // what has landed and is not committed yet is no orphan; what was appended and has expired goes like any other file
    let appends = config.catalogs.values().filter_map(|catalog| catalog.append.as_ref());
    let landings: Vec<Location> =
        appends.flat_map(|append| append.tables.values()).map(|landing| Location::new(&landing.from)).collect();
    let mut caretakers = Vec::new();
    for (name, built) in catalogs {
        let Some(catalog) = config.catalogs.get(name) else { continue };
        let client_locations = match &catalog.client_locations {
            Some(locations) => {
                let map = LocationMap::new(locations.map.iter().cloned())?;
                let back = map.inverse()?;
                Some(Arc::new((map, back)))
            }
            None => None,
        };
        let site = || Site {
            catalog: name.clone(),
            tables: built.tables.clone(),
            storage: storage.clone(),
            databases: all.clone(),
            is_embedded: matches!(catalog.source, Source::Embedded(_)),
            state: built.state.clone(),
            client_locations,
            spared: spared.clone(),
            landings: landings.clone(),
            // backups come in by this door, too
            holds: built.state.iter().map(|state| Arc::new(Positions::new(state.clone())) as Arc<dyn Holds>).collect(),
            metrics: metrics.clone(),
        };
        built.maintained = match (&catalog.replica, built.passthrough) {
            (Some(_), _) => Maintained::No("it is a standby, whose tables are maintained at their primary"),
            (None, true) => Maintained::No("callers bring the upstream's tokens, and Lifeboat has none of its own"),
            (None, false) => Maintained::Site(Box::new(site())),
        };
        if let (Maintained::Site(site), false) = (&built.maintained, catalog.maintenance.is_empty()) {
            caretakers.push(Caretaker::new(*site.clone(), policies(catalog)));
        }
    }
    Ok(caretakers)
}

/// Places of a catalog in which other things than tables' files are, or copies that somebody else looks after.
fn not_tables(catalog: &config::Catalog) -> Vec<&String> {
    let mut places: Vec<&String> = catalog.journal.iter().collect();
    if let Some(locations) = &catalog.client_locations {
        places.extend([&locations.overlay].into_iter().chain(&locations.upstream_overlay));
    }
    if let Some(replica) = &catalog.replica {
        places.extend(replica.map.iter().map(|(_, to)| to).chain([&replica.overlay]).chain(&replica.journal));
    }
    places
}

/// What is maintained by itself.
fn policies(catalog: &config::Catalog) -> Vec<Policy> {
    let policy = |policy: &config::MaintenancePolicy| Policy {
        name: policy.name.clone(),
        tables: Names::new(policy.include.clone(), policy.exclude.clone()),
        works: policy.works.clone(),
    };
    catalog.maintenance.iter().map(policy).collect()
}
