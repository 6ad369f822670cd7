//! How places are reached, and which of them callers' words may lead to.

use crate::config::{self, Config, Source};
use crate::storage::{Location, Storage, StoreSettings};

/// How places are reached.
pub fn storage(config: &Config) -> Storage {
    Storage::new(config.storage.iter().map(store).collect())
}

/// As [`storage`], for what callers name places to: of this machine's file system only what the configuration names is open.
pub fn storage_for_callers(config: &Config) -> Storage {
    let stores = config.storage.iter().map(|store| store.prefix.as_str());
    let warehouses = config.catalogs.values().filter_map(|catalog| match &catalog.source {
        Source::Embedded(embedded) => Some(embedded.warehouse.as_str()),
        Source::Upstream(_) => None,
    });
    storage(config).with_local_roots(stores.chain(warehouses).map(Location::new).collect())
}

/// As [`storage_for_callers`], with the places at which standbys and clients' namings of the storage have tables: for what tables' metadata leads to.
pub fn storage_of_tables(config: &Config) -> Storage {
    let mut roots: Vec<&str> = config.storage.iter().map(|store| store.prefix.as_str()).collect();
    for catalog in config.catalogs.values() {
        if let Source::Embedded(embedded) = &catalog.source {
            roots.push(&embedded.warehouse);
        }
        if let Some(replica) = &catalog.replica {
            roots.push(&replica.overlay);
            roots.extend(replica.map.iter().map(|(_, to)| to.as_str()));
        }
        if let Some(locations) = &catalog.client_locations {
            roots.push(&locations.overlay);
        }
    }
    storage(config).with_local_roots(roots.into_iter().map(Location::new).collect())
}

fn store(settings: &config::Storage) -> StoreSettings {
    let keys = settings.keys.as_ref();
    StoreSettings {
        prefix: Location::new(&settings.prefix),
        endpoint: settings.endpoint.clone(),
        region: settings.region.clone(),
        access_key_id: keys.map(|keys| keys.access_key_id.clone()),
        secret_access_key: keys.map(|keys| keys.secret_access_key.clone()),
        path_style: settings.path_style,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use crate::error::Kind;

    #[test]
    fn callers_reach_only_the_local_folders_that_the_configuration_names() {
        let text = "storage:\n  - prefix: file:///ifs/dr\n  - prefix: s3://lake\ncatalogs:\n  main:\n    embedded:\n      \
                    database: sqlite:/var/lib/c.db\n      warehouse: file:///var/lib/lake\n";
        let config = Config::parse(text, &Environment::new(&|_| None, "/")).expect("valid");
        let storage = storage_for_callers(&config);
        for open in ["/ifs/dr", "file:/ifs/dr/t/x", "file:///var/lib/lake/t", "s3://anywhere/x", "s3a://lake/x"] {
            assert!(storage.check(&Location::new(open)).is_ok(), "{open}");
        }
        for closed in ["/ifs/dr2/x", "/ifs", "/var/lib/c.db", "file://localhost/etc/passwd", "/"] {
            let error = storage.check(&Location::new(closed)).expect_err(closed);
            assert_eq!(error.kind(), Kind::Forbidden, "{closed}");
        }
        assert!(storage.check(&Location::new("/ifs/dr/../x")).is_err());
        assert!(super::storage(&config).check(&Location::new("/etc/passwd")).is_ok());
    }
}
