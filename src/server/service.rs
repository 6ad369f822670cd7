//! One request's way through the server: its id, its place among those in flight, its handler, its answer and its trace.
//!
//! What must hold: every request gets an answer in Iceberg's error model at worst, whatever its handler does, and is counted once.
//! Requests of `/v1` go to `iceberg` without detours, since they are nearly all of them; the rest has a router.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tower::ServiceExt;
use tracing::Instrument;

use crate::changes::Feeds;
use crate::error::{Error, Kind, Result};
use crate::jobs::{AppendJobs, MaintenanceJobs, RelocationJobs, SyncJobs};
use crate::model::CatalogName;
use crate::telemetry::{Metrics, panic_text};
use crate::upstream::Response;

use super::auth::Authenticator;
use super::body::Budget;
use super::health::Readiness;
use super::listen::Writes;
use super::reload::Reloader;
use super::{Refusal, ServedCatalog, ServerSettings, errors, iceberg};

/// A body that is there, or one that a router made.
pub(super) type Body = Either<Full<Bytes>, axum::body::Body>;

/// The header by which a request is found again in the log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken from a client, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The label of requests that are for no catalog.
pub(super) const NO_CATALOG: &str = "-";

/// One catalog as it is served.
pub(super) struct Entry {
    pub(super) name: CatalogName,
    pub(super) served: ServedCatalog,
}

/// All that requests share.
pub(super) struct Server {
    pub(super) catalogs: HashMap<String, Arc<Entry>>,
    pub(super) settings: ServerSettings,
    pub(super) metrics: Metrics,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) writes: Writes,
    pub(super) relocations: RelocationJobs,
    pub(super) syncs: SyncJobs,
    pub(super) appends: AppendJobs,
    pub(super) maintenance: MaintenanceJobs,
    pub(super) feeds: Feeds,
    pub(super) budget: Budget,
    pub(super) places: Arc<Semaphore>,
    pub(super) readiness: Readiness,
    pub(super) metrics_open: bool,
    pub(super) started: Instant,
    pub(super) ids: RequestIds,
    pub(super) stops: AtomicBool,
}

/// What a connection is served by.
pub(super) struct Front {
    pub(super) server: Arc<Server>,
    pub(super) router: axum::Router,
}

impl Server {
    /// The one catalog, if there is just one.
    pub(super) fn only(&self) -> Option<&Arc<Entry>> {
        (self.catalogs.len() == 1).then(|| self.catalogs.values().next())?
    }

    /// From here on the server is not ready any more, and no job goes on.
    pub(super) fn stopping(&self) {
        self.stops.store(true, Ordering::Relaxed);
        self.relocations.jobs.stop();
        self.syncs.jobs.stop();
        self.appends.jobs.stop();
        self.maintenance.jobs.stop();
    }
}

/// An answer and what it is counted under.
pub(super) struct Answered {
    pub(super) response: http::Response<Body>,
    pub(super) catalog: Option<Arc<Entry>>,
    pub(super) operation: &'static str,
}

/// Makes ids for requests that bring none: unique within the process, and between processes by chance.
pub(super) struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        RequestIds { process: rand::random(), next: AtomicU64::new(1) }
    }

    /// The client's id if it is sane, else one of ours.
    fn of(&self, headers: &HeaderMap) -> Arc<str> {
        let sane = |id: &&str| {
            let plain =
                |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'=' | b'+');
            !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(plain)
        };
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane);
        match given {
            Some(given) => given.into(),
            None => format!("{:08x}-{:x}", self.process, self.next.fetch_add(1, Ordering::Relaxed)).into(),
        }
    }
}

/// Counts a request as running until it is dropped, also when its client goes away.
struct InFlight(Metrics);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight(-1);
    }
}

/// Answers one request, whatever happens.
pub(super) async fn answer(
    front: Arc<Front>,
    peer: SocketAddr,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    let server = &front.server;
    let started = Instant::now();
    let id = server.ids.of(request.headers());
    let method = request.method().clone();
    let logged = server.settings.access_log || tracing::enabled!(tracing::Level::DEBUG);
    let path = logged.then(|| request.uri().path().to_owned());
    server.metrics.in_flight(1);
    let _running = InFlight(server.metrics.clone());

    let span = tracing::error_span!("request", request.id = %id);
    let handled = AssertUnwindSafe(dispatch(&front, &id, request)).catch_unwind().instrument(span.clone()).await;
    let mut answered = handled.unwrap_or_else(|panic| {
        let error = Error::internal(format!("a handler panicked: {}", panic_text(&*panic)));
        let response = span.in_scope(|| errors::render(&error, None, &id));
        Answered { response: into_http(response, &method), catalog: None, operation: "panic" }
    });
    if let Ok(value) = HeaderValue::from_str(&id) {
        answered.response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = answered.response.status().as_u16();
    let catalog = answered.catalog.as_ref().map_or(NO_CATALOG, |entry| entry.name.as_str());
    let took = started.elapsed();
    server.metrics.request(catalog, answered.operation, status, took);
    if let Some(path) = path {
        let took_ms = took.as_secs_f64() * 1000.0;
        let operation = answered.operation;
        if server.settings.access_log {
            tracing::info!(request.id = %id, client.address = %peer, catalog.name = catalog, operation, status, took_ms, "{method} {path:?}");
        } else {
            tracing::debug!(request.id = %id, client.address = %peer, catalog.name = catalog, operation, status, took_ms, "{method} {path:?}");
        }
    }
    answered.response
}

async fn dispatch(front: &Front, id: &Arc<str>, request: http::Request<Incoming>) -> Answered {
    let server = &front.server;
    let path = request.uri().path();
    if path.starts_with("/v1/") {
        return match server.places.clone().try_acquire_owned() {
            Ok(place) => iceberg::answer(server, id, request, place).await,
            Err(_) => {
                server.metrics.request_shed();
                let error = Error::new(Kind::TooManyRequests, "too many requests are running, try again");
                refused(&error, id, request.method())
            }
        };
    }
    let operation = match path {
        _ if path.starts_with("/lifeboat/") => "admin",
        _ if path.starts_with("/health") => "health",
        "/metrics" => "metrics",
        _ => "unknown",
    };
    let method = request.method().clone();
    let response = front.router.clone().oneshot(request.map(axum::body::Body::new)).await;
    let response = response.unwrap_or_else(|never| match never {});
    match response.extensions().get::<Refusal>() {
        Some(refusal) => {
            let mut rendered = into_http(errors::render(&refusal.0, None, id), &method);
            if let Some(allow) = response.headers().get(header::ALLOW) {
                rendered.headers_mut().insert(header::ALLOW, allow.clone());
            }
            Answered { response: rendered, catalog: None, operation }
        }
        None => Answered { response: response.map(Either::Right), catalog: None, operation },
    }
}

fn refused(error: &Error, id: &str, method: &Method) -> Answered {
    Answered { response: into_http(errors::render(error, None, id), method), catalog: None, operation: "unknown" }
}

/// Headers that are for one hop only, and those that are written anew for each.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes what is meant for this hop, the headers that `Connection` names among it.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) -> Result<()> {
    if let Some(named) = headers.remove(header::CONNECTION) {
        let named = named.to_str().map_err(|_| Error::bad_request("the Connection header is not text"))?;
        for name in named.split(',').map(str::trim) {
            // what we act on is not the client's to take away
            if !matches!(name.to_ascii_lowercase().as_str(), "authorization" | "if-none-match" | "idempotency-key") {
                headers.remove(name);
            }
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::EXPECT);
    Ok(())
}

/// An answer of the stack as HTTP; without its body where the method or the status has none.
pub(super) fn into_http(response: Response, method: &Method) -> http::Response<Body> {
    let head = *method == Method::HEAD;
    let bodiless = head || response.status == 304 || response.status == 204;
    let body = if bodiless { Bytes::new() } else { response.body };
    let mut answer = http::Response::new(Either::Left(Full::new(body)));
    *answer.status_mut() = response.status;
    let headers = answer.headers_mut();
    *headers = response.headers;
    headers.remove(header::TRANSFER_ENCODING);
    if !head {
        headers.remove(header::CONTENT_LENGTH); // it is written anew, since a layer may have changed the body
    }
    answer
}
