//! The composition root: a configuration becomes the catalogs' stacks and the server's settings.
//!
//! The only folder that names adapters, and where the order of the layers is written: authorise, landing, site credentials, standby, cache, client locations, measure, upstream. An embedded
//! catalog makes its own ETags from its pointers, so it wears no cache. What the parts do is their own business.

mod maintain;
mod stores;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::append::{AppendSettings, Appends, LandingSettings};
use crate::catalog::{
    Authorise, Cache, CacheSettings, ClientLocations, ClientLocationsSettings, Given, JournalWriter, Journaled,
    Landing, Measure, Scope, SiteCredentials, SiteCredentialsSettings, Standby,
};
use crate::changes::{Feeds, Lags, Positions};
use crate::config::{self, Config, Source};
use crate::database::{Database, DatabaseSettings};
use crate::error::{Error, Result};
use crate::format::location::LocationMap;
use crate::jobs::PurgeWorker;
use crate::journal::Journal;
use crate::maintenance::{Caretaker, Maintained};
use crate::model::{CatalogName, Secret};
use crate::replica::{Confirm, Names, Replica, ReplicaSettings, RestSite, SiteCatalog};
use crate::storage::{Location, Storage, Vending, VendingSettings};
use crate::telemetry::Metrics;
use crate::upstream::Catalog;
use crate::upstream::asking::Asking;
use crate::upstream::embedded::{DatabasePointers, Purges};
use crate::upstream::pointer::{PointerCatalog, PointerSettings, Pointers};
use crate::upstream::rest::{OAuth2, RestSettings, RestUpstream, Timeouts, UpstreamAuth};

use maintain::maintain;
pub use stores::{storage, storage_for_callers, storage_of_tables};

/// Everything that a server serves, and what works behind it.
pub struct App {
    /// The catalogs by name.
    pub catalogs: BTreeMap<CatalogName, AppCatalog>,
    /// Where everything is counted.
    pub metrics: Metrics,
    /// How places are reached.
    pub storage: Arc<Storage>,
    /// The databases that are open, each once.
    pub databases: Vec<Database>,
    /// Who writes the catalogs' journals, until the jobs begin.
    journals: Vec<JournalWriter>,
    /// Who does what the catalogs' policies say, until the jobs begin.
    caretakers: Vec<Caretaker>,
}

impl App {
    /// Begins the work in the background, which ends when what is returned is dropped; whatever was under way is begun again at the next start.
    pub fn start_jobs(&mut self) -> JoinSet<()> {
        let all: Arc<[Purges]> = self.databases.iter().cloned().map(Purges::new).collect();
        let workers = all.iter().map(|purges| {
            PurgeWorker::new(purges.clone(), all.clone(), self.storage.clone(), self.metrics.clone()).run()
        });
        let mut jobs: JoinSet<()> = workers.collect();
        for replica in self.catalogs.values().filter_map(|catalog| catalog.replica.clone()) {
            jobs.spawn(replica.run());
        }
        for appends in self.catalogs.values().filter_map(|catalog| catalog.appends.clone()) {
            jobs.spawn(appends.run());
        }
        for journal in std::mem::take(&mut self.journals) {
            jobs.spawn(journal.run());
        }
        for caretaker in std::mem::take(&mut self.caretakers) {
            jobs.spawn(caretaker.run());
        }
        for (name, catalog) in self.catalogs.iter().filter(|(_, catalog)| !catalog.passthrough) {
            let Some(state) = &catalog.state else { continue };
            let positions = Positions::new(state.clone());
            jobs.spawn(Lags::new(name.clone(), catalog.tables.clone(), positions, self.metrics.clone()).run());
        }
        jobs
    }

    /// The changes of all tables, read with `storage`.
    pub fn feeds(&self, storage: Arc<Storage>) -> Feeds {
        let with_state = self.catalogs.iter().filter_map(|(name, catalog)| Some((name, catalog.state.as_ref()?)));
        let positions = with_state.map(|(name, state)| (name.clone(), Positions::new(state.clone()))).collect();
        Feeds::new(storage, positions, self.metrics.clone())
    }
}

/// One catalog's stack.
pub struct AppCatalog {
    /// The outermost layer.
    pub stack: Arc<dyn Catalog>,
    /// The kind of upstream, in a word.
    pub kind: &'static str,
    /// Whether callers bring the upstream's tokens.
    pub passthrough: bool,
    /// A namespace separator beside U+001F, decoded.
    pub separator: Option<String>,
    /// What publishes replicated tables in it, where it is a standby.
    pub replica: Option<Replica>,
    /// The tables as the upstream has them and names their places: for what works on them by itself.
    pub tables: Asking,
    /// Where what we remember of its tables is kept; `None` where the configuration names no place for it.
    pub state: Option<Database>,
    /// What appends to its tables; `None` for a standby, and where callers bring credentials of their own.
    pub appends: Option<Appends>,
    /// What maintains its tables, or why nothing may.
    pub maintained: Maintained,
}

/// Builds what the configuration says: databases are opened and migrated, upstreams are first asked when a client asks.
pub async fn build(config: &Config) -> Result<App> {
    let metrics = Metrics::new();
    let storage = Arc::new(storage(config).counted_by(metrics.clone()));
    let (mut databases, mut journals) = (Databases::default(), Vec::new());
    let mut catalogs = BTreeMap::new();
    let share = config.limits.cache_bytes / (config.catalogs.len() as u64).max(1);
    for (name, catalog) in &config.catalogs {
        let (standby, tables, state);
        let built = match &catalog.source {
            Source::Embedded(embedded) => {
                let database = databases.open(&embedded.database).await?;
                state = Some(database.clone());
                let pointers: Arc<dyn Pointers> = Arc::new(DatabasePointers::open(database, name.clone()).await?);
                let site: Arc<dyn SiteCatalog> = Arc::new(pointers.clone());
                standby = replica(config, (name, catalog), |_| site, (&metrics, &storage))?;
                let warehouse = Location::new(&embedded.warehouse);
                let settings = PointerSettings {
                    warehouse: warehouse.clone(),
                    client_config: exposed(&catalog.client_config),
                    // beyond one's own machine nobody may have other files of it written or purged
                    restrict_locations: embedded
                        .restrict_locations
                        .unwrap_or_else(|| config.auth.is_some() && warehouse.is_local()),
                    outcome_lifetime: config.limits.idempotency_lifetime,
                    cache_bytes: share,
                };
                let floor: Arc<dyn Catalog> = Arc::new(PointerCatalog::new(pointers, storage.clone(), settings));
                let floor = Arc::new(Measure::new(floor, metrics.clone()));
                let floor = journaled(name, catalog, floor, &storage, &mut journals);
                tables = Asking::new(name.clone(), floor.clone(), "lifeboat");
                located(catalog, floor, &storage).map(|stack| (stack, "embedded"))
            }
            Source::Upstream(upstream) => {
                let floor =
                    rest(config, catalog, upstream, &metrics).map_err(|e| e.context(format!("catalog {name}")))?;
                let journaled = journaled(name, catalog, floor.clone(), &storage, &mut journals);
                tables = Asking::new(name.clone(), journaled.clone(), "lifeboat");
                state = match &config.state {
                    Some(url) => Some(databases.open(url).await?),
                    None => None,
                };
                let stack = proxy(catalog, journaled, share, (&metrics, &storage))?;
                let doors = (floor, stack.clone());
                let site = |overlay| {
                    Arc::new(RestSite::new(name.clone(), doors, storage.clone(), overlay)) as Arc<dyn SiteCatalog>
                };
                standby = replica(config, (name, catalog), site, (&metrics, &storage))?;
                Ok((stack, "rest"))
            }
        };
        let (stack, kind) = built.map_err(|e: Error| e.context(format!("catalog {name}")))?;
        let passthrough = catalog.is_judged_upstream();
        let appends = appends((name, catalog), (&tables, &state), &storage, &metrics)?;
        let stack = dressed((name, catalog), stack, (&standby, &appends), &storage)?;
        let (separator, replica, maintained) = (catalog.separator(), standby, Maintained::default());
        let built = AppCatalog { stack, kind, passthrough, separator, replica, tables, state, appends, maintained };
        catalogs.insert(name.clone(), built);
    }
    let caretakers = maintain(config, &mut catalogs, &databases, &metrics)?;
    Ok(App { catalogs, metrics, storage, databases: databases.open.into_values().collect(), journals, caretakers })
}

/// A catalog's stack with the layers of what Lifeboat does with its tables, and the one that asks for rights.
fn dressed(
    (name, catalog): (&CatalogName, &config::Catalog),
    stack: Arc<dyn Catalog>,
    (standby, appends): (&Option<Replica>, &Option<Appends>),
    storage: &Arc<Storage>,
) -> Result<Arc<dyn Catalog>> {
    let stack = match (standby, &catalog.replica) {
        (Some(replica), Some(settings)) => {
            let stack = Standby::new(stack, replica.clone(), settings.primary.clone());
            let credentials = site_credentials(name, catalog, settings, storage);
            let credentials = credentials.map_err(|e| e.context(format!("catalog {name}")))?;
            Arc::new(SiteCredentials::new(Arc::new(stack), credentials)) as Arc<dyn Catalog>
        }
        _ => stack,
    };
    let stack = match appends {
        Some(appends) if catalog.append.is_some() => Arc::new(Landing::new(stack, appends.clone())) as Arc<dyn Catalog>,
        _ => stack,
    };
    // what the upstream judges is not judged twice
    Ok(if catalog.is_judged_upstream() { stack } else { Arc::new(Authorise::new(stack)) })
}

/// The upstream itself.
fn rest(
    config: &Config,
    catalog: &config::Catalog,
    upstream: &config::Upstream,
    metrics: &Metrics,
) -> Result<Arc<dyn Catalog>> {
    let auth = match &upstream.auth {
        config::UpstreamAuth::None => UpstreamAuth::None,
        config::UpstreamAuth::Caller => UpstreamAuth::Caller,
        config::UpstreamAuth::Bearer(token) => UpstreamAuth::Bearer(token.clone()),
        config::UpstreamAuth::OAuth2(oauth2) => UpstreamAuth::OAuth2(OAuth2 {
            token_uri: oauth2.token_uri.clone(),
            client_id: oauth2.client_id.clone(),
            client_secret: oauth2.client_secret.clone(),
            scope: Some(oauth2.scope.clone()),
            audience: None,
            resource: None,
        }),
    };
    let settings = RestSettings {
        warehouse: upstream.warehouse.clone(),
        auth,
        timeouts: Timeouts {
            connect: upstream.connect_timeout,
            read: upstream.read_timeout,
            write: upstream.write_timeout,
        },
        retries_max: u32::try_from(upstream.retries_max).unwrap_or(u32::MAX),
        answer_bytes_max: usize::try_from(config.limits.upstream_body_bytes).unwrap_or(usize::MAX),
        headers: upstream.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        client_config: exposed(&catalog.client_config),
        ..RestSettings::new(&upstream.uri)
    };
    Ok(Arc::new(Measure::new(Arc::new(RestUpstream::new(settings)?), metrics.clone())))
}

fn proxy(
    catalog: &config::Catalog,
    floor: Arc<dyn Catalog>,
    cache_bytes: u64,
    (metrics, storage): (&Metrics, &Arc<Storage>),
) -> Result<Arc<dyn Catalog>> {
    let by_token = catalog.is_judged_upstream();
    // below the cache, so that what is kept is what clients hear
    let floor = located(catalog, floor, storage)?;
    let cache = CacheSettings {
        bytes_max: cache_bytes,
        max_staleness: catalog.max_staleness,
        by_token,
        ..CacheSettings::default()
    };
    Ok(Arc::new(Cache::new(floor, cache, metrics.clone())))
}

/// What publishes replicated tables in a catalog, if it is a standby; `site` is given the overlay.
fn replica(
    config: &Config,
    (name, catalog): (&CatalogName, &config::Catalog),
    site: impl FnOnce(Location) -> Arc<dyn SiteCatalog>,
    (metrics, storage): (&Metrics, &Arc<Storage>),
) -> Result<Option<Replica>> {
    let Some(settings) = &catalog.replica else { return Ok(None) };
    let map = LocationMap::new(settings.map.iter().cloned()).map_err(|e| e.context(format!("catalog {name}")))?;
    let overlay = Location::new(&settings.overlay);
    let site = site(overlay.clone());
    let primary = match &settings.primary_catalog {
        Some(asked) => primary(config, asked, metrics).map_err(|e| e.context(format!("catalog {name}")))?,
        None => None,
    };
    let settings = ReplicaSettings {
        catalog: name.clone(),
        map,
        overlay,
        journal: settings.journal.as_ref().map(Location::new),
        drop_after: settings.drop_after,
        names: Names::new(settings.include.clone(), settings.exclude.clone()),
        layout: settings.layout.clone().unwrap_or_default(),
        held: settings.held.iter().map(|(patterns, at)| (Names::new(patterns.clone(), Vec::new()), *at)).collect(),
        groups: settings.consistency_groups.iter().map(|group| Names::new(group.clone(), Vec::new())).collect(),
        confirm: if settings.trusts_newest { Confirm::TrustNewest } else { Confirm::Successor },
        settle: settings.settle,
        max_staleness: settings.max_staleness,
        wait_max: settings.wait,
        interval: settings.interval,
        recheck: settings.recheck,
        properties: exposed(&settings.properties),
    };
    Ok(Some(Replica::new(storage.clone(), site, settings, primary, metrics.clone())))
}

/// The primary's catalog, asked past all layers.
fn primary(config: &Config, asked: &str, metrics: &Metrics) -> Result<Option<Asking>> {
    let asked = config.catalogs.iter().find(|(name, _)| name.as_str() == asked);
    Ok(match asked {
        Some((name, catalog)) => match &catalog.source {
            Source::Upstream(upstream) => {
                Some(Asking::new(name.clone(), rest(config, catalog, upstream, metrics)?, "replica"))
            }
            Source::Embedded(_) => None,
        },
        None => None,
    })
}

/// What appends to a catalog's tables, if it may.
fn appends(
    (name, catalog): (&CatalogName, &config::Catalog),
    (tables, state): (&Asking, &Option<Database>),
    storage: &Arc<Storage>,
    metrics: &Metrics,
) -> Result<Option<Appends>> {
    if catalog.replica.is_some() || catalog.is_judged_upstream() {
        return Ok(None);
    }
    let client_map = match &catalog.client_locations {
        Some(locations) => Some(Arc::new(LocationMap::new(locations.map.iter().cloned())?.inverse()?)),
        None => None,
    };
    let landing = |landing: &config::Landing| LandingSettings {
        from: Location::new(&landing.from),
        external_only: landing.external_only,
        evolve: landing.evolve,
        create: landing.create,
        branch: landing.branch.clone(),
        settle: landing.settle,
        files_per_commit: usize::try_from(landing.files_per_commit).unwrap_or(usize::MAX),
    };
    let (settings, landings) = match &catalog.append {
        Some(append) => {
            let landings = append.tables.iter().map(|(ident, of)| (ident.clone(), landing(of))).collect();
            let (max_staleness, wait_max, interval) = (append.max_staleness, append.wait, append.interval);
            (AppendSettings { catalog: name.clone(), client_map, max_staleness, wait_max, interval }, landings)
        }
        None => (AppendSettings::for_calls(name.clone(), client_map), BTreeMap::new()),
    };
    let (storage, tables) = (storage.clone(), tables.clone());
    Ok(Some(Appends::new(storage, tables, state.clone(), settings, landings, metrics.clone())))
}

/// The catalog with its journal, where it has one.
fn journaled(
    name: &CatalogName,
    catalog: &config::Catalog,
    floor: Arc<dyn Catalog>,
    storage: &Arc<Storage>,
    writers: &mut Vec<JournalWriter>,
) -> Arc<dyn Catalog> {
    let Some(folder) = &catalog.journal else { return floor };
    let journal = Journal::new(storage.clone(), Location::new(folder));
    let (journaled, writer) = Journaled::new(name.clone(), floor, journal, storage.clone());
    writers.push(writer);
    Arc::new(journaled)
}

/// What a standby's clients get to reach its storage with.
fn site_credentials(
    name: &CatalogName,
    catalog: &config::Catalog,
    replica: &config::Replica,
    storage: &Arc<Storage>,
) -> Result<SiteCredentialsSettings> {
    let replicated: Vec<Location> = replica.map.iter().map(|(_, to)| Location::new(to)).collect();
    let overlay = Location::new(&replica.overlay);
    let own = match &catalog.source {
        Source::Embedded(embedded) => Some(Location::new(&embedded.warehouse)),
        Source::Upstream(_) => None,
    };
    let (given, scope) = match &replica.credentials {
        config::SiteCredentials::None => (Given::Nothing, Scope::Table),
        config::SiteCredentials::ClientConfig => (Given::ClientConfig(exposed(&catalog.client_config)), Scope::Table),
        config::SiteCredentials::Sts(sts) => {
            let scope = if sts.is_standby_wide { Scope::Standby } else { Scope::Table };
            let vending = vending(name, sts, storage)?;
            replicated.iter().chain([&overlay]).try_for_each(|place| vending.check(place))?;
            (Given::Vended(vending), scope)
        }
    };
    Ok(SiteCredentialsSettings { given, scope, replicated, overlay, own })
}

/// What makes a standby's short-lived credentials.
pub fn vending(name: &CatalogName, sts: &config::Sts, storage: &Arc<Storage>) -> Result<Vending> {
    let settings = VendingSettings {
        endpoint: sts.endpoint.clone(),
        role_arn: sts.role_arn.clone(),
        session_name: format!("lifeboat-{name}"),
        duration: sts.duration,
        kms_keys: sts.kms_keys.clone(),
    };
    Vending::new(storage.clone(), settings)
}

/// The catalog in the clients' naming of the storage, where they have one of their own.
fn located(catalog: &config::Catalog, floor: Arc<dyn Catalog>, storage: &Arc<Storage>) -> Result<Arc<dyn Catalog>> {
    let Some(locations) = &catalog.client_locations else { return Ok(floor) };
    let settings = ClientLocationsSettings {
        map: LocationMap::new(locations.map.iter().cloned())?,
        overlay: Location::new(&locations.overlay),
        upstream_overlay: locations.upstream_overlay.as_ref().map(Location::new),
    };
    Ok(Arc::new(ClientLocations::new(floor, storage.clone(), settings)?))
}

/// Databases by where they are, so that catalogs share one connection pool where they share a database.
#[derive(Default)]
struct Databases {
    open: BTreeMap<String, Database>,
}

impl Databases {
    async fn open(&mut self, database: &Secret) -> Result<Database> {
        let url = database.expose();
        if let Some(database) = self.open.get(url) {
            return Ok(database.clone());
        }
        let settings = match url.strip_prefix("sqlite:") {
            Some(path) => DatabaseSettings::Sqlite { path: PathBuf::from(path) },
            None => DatabaseSettings::Postgres { url: database.clone() },
        };
        let database = Database::open(&settings).await?;
        self.open.insert(url.to_owned(), database.clone());
        Ok(database)
    }
}

/// What engines are told, in clear: that is what it is for.
fn exposed(client_config: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    client_config.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect()
}

/// The tokens of a file, for the catalogs of a configuration.
pub fn read_tokens(path: &Path, catalogs: &BTreeSet<CatalogName>) -> Result<Vec<config::Token>> {
    config::read_tokens(path, catalogs).map_err(|problems| Error::bad_request(problems.to_string()))
}
