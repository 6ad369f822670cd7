//! Where the command line meets the server: the only file of `cli/` that calls `app` and `server`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::model::CatalogName;
use crate::storage::{Location, Storage, StoreSettings};
use crate::upstream::Catalog;

/// Builds what the configuration says and serves it until SIGINT or SIGTERM and every request in flight is answered.
/// `ready` is called once, with the URI, when the server answers.
pub(super) async fn serve(config: &Config, ready: impl FnOnce(&str) + Send) -> Result<()> {
    let _ = (config, ready);
    Err(Error::new(Kind::Unsupported, "the server is not part of this build"))
}

/// The catalogs alone, by name, with their databases opened and migrated: for commands that look at them.
pub(super) async fn catalogs(config: &Config) -> Result<BTreeMap<CatalogName, Arc<dyn Catalog>>> {
    let _ = config;
    Err(Error::new(Kind::Unsupported, "the catalogs are not part of this build"))
}

/// Storage as the configuration says.
pub(super) fn storage(config: &Config) -> Result<Storage> {
    let settings = config.storage.iter().map(|place| StoreSettings {
        prefix: Location::new(place.prefix.clone()),
        endpoint: place.endpoint.clone(),
        region: place.region.clone(),
        access_key_id: place.keys.as_ref().map(|keys| keys.access_key_id.expose().to_owned()),
        secret_access_key: place.keys.as_ref().map(|keys| keys.secret_access_key.clone()),
        path_style: place.path_style,
    });
    Ok(Storage::new(settings.collect()))
}
