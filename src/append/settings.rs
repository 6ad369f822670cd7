//! What the configuration says of one table's landed files.

use std::sync::Arc;
use std::time::Duration;

use crate::format::location::LocationMap;
use crate::model::CatalogName;
use crate::storage::Location;

/// Where files land for a table, and what may be done with them.
#[derive(Debug, Clone)]
pub struct LandingSettings {
    /// The watched prefix.
    pub from: Location,
    /// Whether nobody but we and those who land files writes this table, so that its own folders may be watched.
    pub external_only: bool,
    /// Whether the table may get new columns and wider types.
    pub evolve: bool,
    /// Whether the table is made where there is none.
    pub create: bool,
    /// The branch that is appended to.
    pub branch: String,
    /// How long a file must not have changed.
    pub settle: Duration,
    /// Files of one commit.
    pub files_per_commit: usize,
}

impl LandingSettings {
    /// With the defaults of the configuration.
    pub fn new(from: Location) -> LandingSettings {
        LandingSettings {
            from,
            external_only: false,
            evolve: false,
            create: false,
            branch: "main".to_owned(),
            settle: Duration::from_secs(30),
            files_per_commit: 20_000,
        }
    }
}

/// When a catalog's landed files are looked at.
#[derive(Debug, Clone)]
pub struct AppendSettings {
    /// The catalog.
    pub catalog: CatalogName,
    /// From the clients' naming of the storage to the upstream's, where there are two.
    pub client_map: Option<Arc<LocationMap>>,
    /// How old a look may be when a client loads a table.
    pub max_staleness: Duration,
    /// How long a client waits for a look.
    pub wait_max: Duration,
    /// How often all tables are looked at.
    pub interval: Duration,
}

impl AppendSettings {
    /// Of a catalog in which no files land, but writers append.
    pub fn for_calls(catalog: CatalogName, client_map: Option<Arc<LocationMap>>) -> AppendSettings {
        let never = Duration::MAX;
        AppendSettings { catalog, client_map, max_staleness: never, wait_max: Duration::ZERO, interval: never }
    }
}
