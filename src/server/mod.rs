//! The server: HTTP in front of the catalogs' stacks.
//!
//! `iceberg` has the Iceberg REST API, `admin` our own (`/lifeboat/v1`), `health` what probes and Prometheus ask. What must hold:
//! beyond loopback nobody is served without authentication; every failing route answers in Iceberg's error model; a write that has
//! begun is finished, whatever its client does. What a request means is the stack's business, whose layers live in `catalog/`.

mod admin;
mod appends;
mod auth;
mod body;
mod changes;
mod connection;
mod consumers;
mod errors;
mod health;
mod iceberg;
mod jobs;
mod listen;
mod maintenance;
mod reload;
mod relocations;
mod replicas;
mod service;
mod settings;
mod syncs;
mod tables;
mod tls;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::append::Appends;
use crate::changes::Feeds;
use crate::error::{Error, Result};
use crate::jobs::{AppendJobs, MaintenanceJobs, RelocationJobs, SyncJobs};
use crate::maintenance::Maintained;
use crate::model::{CatalogName, Principal};
use crate::replica::Replica;
use crate::telemetry::Metrics;
use crate::upstream::Catalog;

pub use admin::openapi_json;
pub use auth::{Authenticator, ReadTokens, TokenRule, TokensFile};
pub use iceberg::{Service, operations_table, served_by};
pub use listen::stop_signal;
pub use settings::{
    ANSWER_TIMEOUT, Auth, BODIES_BYTES_MAX, BODY_BYTES_MAX, BODY_TIMEOUT, CONNECTIONS_MAX, HEAD_TIMEOUT, RELOAD_EVERY,
    REQUESTS_IN_FLIGHT_MAX, STOP_TIMEOUT, ServerSettings,
};
pub use tls::TlsFiles;

use auth::Tokens;
use service::{Entry, Front, RequestIds, Server};

/// One catalog, ready to be served.
#[derive(Clone)]
pub struct ServedCatalog {
    /// The outermost layer of its stack.
    pub stack: Arc<dyn Catalog>,
    /// A separator between namespace levels that is advertised and understood beside U+001F, such as `.`.
    pub separator: Option<String>,
    /// The kind of upstream, in a word: `embedded`, `rest`.
    pub kind: &'static str,
    /// Whether callers bring tokens of the upstream, which judges them; otherwise they bring tokens of ours.
    pub passthrough: bool,
    /// What publishes replicated tables in it, where it is a standby.
    pub replica: Option<Replica>,
    /// What appends to its tables, if it may.
    pub appends: Option<Appends>,
    /// What maintains its tables, or why nothing may.
    pub maintained: Maintained,
}

/// Everything to be served.
pub struct Served {
    /// The catalogs by name.
    pub catalogs: BTreeMap<CatalogName, ServedCatalog>,
    /// Where requests are counted.
    pub metrics: Metrics,
    /// The relocations that operators ask for.
    pub relocations: RelocationJobs,
    /// The changes of tables, and where their readers stand.
    pub feeds: Feeds,
}

/// Where the server listens, once it does.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The address, with the port that it got.
    pub address: SocketAddr,
    /// What clients write as `uri`.
    pub uri: String,
}

/// An error on its way out of a router's handler; it becomes an answer where the request's id is known.
#[derive(Clone)]
struct Refusal(Arc<Error>);

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> axum::response::Response {
        let mut response = axum::response::Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal(Arc::new(error))
    }
}

/// Serves until `stop` comes, then finishes what has begun. `bound` is told the address as soon as connections are taken.
pub async fn serve(
    served: Served,
    settings: ServerSettings,
    bound: impl FnOnce(Bound),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let address = settings.validate().await?;
    let front = build(served, settings, address.ip().is_loopback())?;
    let listener = listen::bind(address).await?;
    let address = listener.local_addr().map_err(|error| Error::internal("no local address").with_source(error))?;
    let watching = tokio::spawn(front.server.reloader.clone().watch(front.server.settings.reload_every));
    let scheme = if front.server.settings.tls.is_some() { "https" } else { "http" };
    bound(Bound { address, uri: format!("{scheme}://{address}") });
    let done = listen::run(front, listener, stop).await;
    watching.abort();
    done
}

fn build(served: Served, settings: ServerSettings, loopback: bool) -> Result<Arc<Front>> {
    let Served { catalogs, metrics, relocations, feeds } = served;
    if catalogs.is_empty() {
        return Err(Error::bad_request("there is no catalog to serve"));
    }
    let tokens = match settings.auth.clone() {
        Auth::Off => None,
        Auth::Tokens(rules) => Some(Arc::new(Tokens::fixed(rules)?)),
        Auth::File(file) => Some(Arc::new(Tokens::of_file(file)?)),
    };
    let needed = catalogs.values().any(|catalog| !catalog.passthrough);
    if needed && tokens.as_ref().is_some_and(|tokens| tokens.is_empty()) {
        return Err(Error::bad_request("there is no token, so nobody could come in: add one to the config"));
    }
    let authenticator: Arc<dyn Authenticator> = match &tokens {
        Some(tokens) => tokens.clone(),
        None => Arc::new(auth::Everybody(Arc::new(Principal::local()))),
    };
    let certificates = settings.tls.clone().map(tls::Certificates::load).transpose()?;
    let reloader = Arc::new(reload::Reloader::new(tokens, certificates, metrics.clone()));
    let syncs = SyncJobs::new(catalogs.iter().map(|(name, served)| (name.clone(), served.replica.clone())).collect());
    let appends =
        AppendJobs::new(catalogs.iter().map(|(name, served)| (name.clone(), served.appends.clone())).collect());
    let maintained = catalogs.iter().map(|(name, served)| (name.clone(), served.maintained.clone()));
    let maintenance = MaintenanceJobs::new(maintained.collect());
    let entries: HashMap<String, Arc<Entry>> =
        catalogs.into_iter().map(|(name, served)| (name.to_string(), Arc::new(Entry { name, served }))).collect();
    let server = Arc::new(Server {
        catalogs: entries,
        budget: body::Budget::new(&settings),
        places: Arc::new(Semaphore::new(settings.requests_in_flight_max)),
        metrics_open: loopback || settings.metrics_open,
        settings,
        metrics,
        authenticator,
        reloader,
        writes: listen::Writes::new(),
        relocations,
        syncs,
        appends,
        maintenance,
        feeds,
        readiness: health::Readiness::default(),
        started: Instant::now(),
        ids: RequestIds::new(),
        stops: AtomicBool::new(false),
    });
    let router = health::routes()
        .merge(admin::routes())
        .merge(relocations::routes())
        .merge(replicas::routes())
        .merge(syncs::routes())
        .merge(appends::routes())
        .merge(maintenance::routes())
        .merge(changes::routes())
        .merge(consumers::routes())
        .fallback(health::nothing_here);
    let router = router.method_not_allowed_fallback(health::wrong_method).with_state(server.clone());
    Ok(Arc::new(Front { server, router }))
}
