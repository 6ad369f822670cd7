//! What probes and Prometheus ask: `/health`, `/health/live`, `/health/ready` and `/metrics`.
//!
//! Health is open to everybody and says nothing beyond yes and no. `/metrics` is open on loopback; elsewhere it takes a token with
//! role `read` on `*`, unless the settings open it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::get};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde_json::json;
use tokio::sync::Mutex;

use crate::error::{Error, Kind, Result};
use crate::model::Role;
use crate::telemetry::Metrics;

use super::Refusal;
use super::service::{Entry, Server};

/// Longest wait for one catalog's word that it is ready.
const READY_MAX: Duration = Duration::from_secs(3);

/// How long an answer about readiness holds, so that probes cannot weigh on upstreams.
const READY_HOLDS: Duration = Duration::from_secs(1);

/// The last answer about readiness.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, bool)>>);

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
}

pub(super) async fn nothing_here(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(200).collect();
    Error::new(Kind::NotFound, format!("there is nothing at {path}; the catalog's API begins at /v1/config")).into()
}

pub(super) async fn wrong_method(method: Method) -> Refusal {
    Error::new(Kind::MethodNotAllowed, format!("this path does not take {method}")).into()
}

async fn live() -> Json<serde_json::Value> {
    Json(json!({"status": "live"}))
}

async fn ready(State(server): State<Arc<Server>>) -> Response {
    match is_ready(&server).await {
        true => Json(json!({"status": "ready"})).into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not ready"}))).into_response(),
    }
}

async fn health(State(server): State<Arc<Server>>) -> Response {
    let ready = is_ready(&server).await;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"live": true, "ready": ready}))).into_response()
}

async fn metrics(State(server): State<Arc<Server>>, headers: HeaderMap) -> Result<Response, Refusal> {
    if !server.metrics_open {
        let caller = server.authenticator.authenticate(&headers).await?;
        if caller.role_everywhere() < Some(Role::Read) {
            return Err(Error::new(Kind::Forbidden, "the metrics need role read on every catalog (`*`)").into());
        }
    }
    Ok(([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], server.metrics.encode()).into_response())
}

/// Whether every catalog could answer now; one question at a time, and none while an answer holds.
async fn is_ready(server: &Server) -> bool {
    if server.stops.load(Ordering::Relaxed) {
        return false;
    }
    let mut last = server.readiness.0.lock().await;
    if let Some((at, ready)) = *last
        && at.elapsed() < READY_HOLDS
    {
        return ready;
    }
    let asked = futures::future::join_all(server.catalogs.values().map(|entry| async move {
        catalog_ready(entry).await.inspect_err(|error| {
            tracing::warn!(catalog.name = %entry.name, "a catalog is not ready: {error}");
        })
    }));
    let ready = asked.await.iter().all(Result::is_ok);
    *last = Some((Instant::now(), ready));
    ready
}

/// Whether one catalog could answer now.
pub(super) async fn catalog_ready(entry: &Entry) -> Result<()> {
    let asked = tokio::time::timeout(READY_MAX, entry.served.stack.ready()).await;
    asked.unwrap_or_else(|_| Err(Error::new(Kind::UpstreamTimeout, "the catalog did not answer in time")))
}
