//! Our own API, `/lifeboat/v1`: what runs here, and what an operator may do to it.
//!
//! Its description is generated from this file and the others with such routes into `openapi/lifeboat.json`. Every route needs a token of Lifeboat's own, also in front
//! of catalogs whose callers bring tokens of the upstream.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::request::Parts;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use crate::error::{Error, Kind, Result};
use crate::model::{Principal, Role};

use super::Refusal;
use super::health::catalog_ready;
use super::service::{Entry, Server};

/// Lifeboat's own API.
#[derive(OpenApi)]
#[openapi(
    info(title = "Lifeboat", description = "What runs in a Lifeboat, and what an operator may do to it."),
    paths(
        status,
        catalogs,
        reload,
        super::maintenance::start,
        super::maintenance::list,
        super::maintenance::get,
        super::maintenance::cancel,
        super::relocations::start,
        super::relocations::list,
        super::relocations::get,
        super::relocations::cancel,
        super::replicas::list,
        super::syncs::start,
        super::syncs::list,
        super::syncs::get,
        super::syncs::cancel,
        super::appends::append,
        super::appends::landings,
        super::appends::start,
        super::appends::list,
        super::appends::get,
        super::appends::cancel,
        super::changes::changes,
        super::consumers::list,
        super::consumers::get,
        super::consumers::commit,
        super::consumers::remove,
    ),
    components(schemas(ErrorModel)),
    security(("bearer" = [])),
    modifiers(&Bearer)
)]
struct Description;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The description of this API, as `openapi/lifeboat.json` has it.
pub fn openapi_json() -> String {
    let mut text = Description::openapi().to_pretty_json().expect("it is made of strings and maps");
    text.push('\n');
    text
}

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/lifeboat/v1/status", get(status))
        .route("/lifeboat/v1/catalogs", get(catalogs))
        .route("/lifeboat/v1/reload", post(reload))
}

/// Iceberg's error model.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "it is only described here; errors are rendered in one place for all routes")]
pub(super) struct ErrorModel {
    error: ErrorDetail,
}

/// One error.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "see ErrorModel")]
pub(super) struct ErrorDetail {
    message: String,
    r#type: String,
    code: u16,
}

/// One catalog.
#[derive(Serialize, ToSchema)]
struct CatalogSummary {
    /// Its name: the client's `warehouse`, and the prefix of its routes.
    name: String,
    /// The kind of its upstream.
    kind: String,
}

/// The catalogs that the caller may read.
#[derive(Serialize, ToSchema)]
struct CatalogList {
    catalogs: Vec<CatalogSummary>,
}

/// One catalog's state.
#[derive(Serialize, ToSchema)]
struct CatalogStatus {
    name: String,
    kind: String,
    /// Whether it could answer now.
    ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The server's state.
#[derive(Serialize, ToSchema)]
struct Status {
    version: String,
    uptime_seconds: u64,
    /// Writes that have begun and not ended.
    writes_in_flight: usize,
    catalogs: Vec<CatalogStatus>,
}

/// What was done.
#[derive(Serialize, ToSchema)]
struct Done {
    message: String,
}

/// Who calls, by a token of Lifeboat's own.
pub(super) struct Caller(pub(super) Arc<Principal>);

impl FromRequestParts<Arc<Server>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Refusal> {
        Ok(Caller(server.authenticator.authenticate(&parts.headers).await?))
    }
}

impl Caller {
    pub(super) fn must_be_operator(&self) -> Result<()> {
        match self.0.role_everywhere() {
            Some(Role::Operator) => Ok(()),
            _ => Err(Error::new(Kind::Forbidden, "this needs role operator on every catalog (`*`)")),
        }
    }
}

fn sorted(server: &Server) -> Vec<&Arc<Entry>> {
    let mut entries: Vec<_> = server.catalogs.values().collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// How the server and its catalogs are.
#[utoipa::path(get, path = "/lifeboat/v1/status", responses(
    (status = 200, description = "The state; needs role operator on `*`", body = Status),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
))]
async fn status(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<Status>, Refusal> {
    caller.must_be_operator()?;
    let asked = sorted(&server).into_iter().map(|entry| async move {
        let ready = catalog_ready(entry).await;
        CatalogStatus {
            name: entry.name.to_string(),
            kind: entry.served.kind.to_owned(),
            ready: ready.is_ok(),
            reason: ready.err().map(|error| error.message().to_owned()),
        }
    });
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: server.started.elapsed().as_secs(),
        writes_in_flight: server.writes.count(),
        catalogs: futures::future::join_all(asked).await,
    }))
}

/// The catalogs that the caller may read.
#[utoipa::path(get, path = "/lifeboat/v1/catalogs", responses(
    (status = 200, description = "The catalogs; needs role read on any of them", body = CatalogList),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "No role on any catalog", body = ErrorModel),
))]
async fn catalogs(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<CatalogList>, Refusal> {
    let readable = sorted(&server).into_iter().filter(|entry| caller.0.role(&entry.name) >= Some(Role::Read));
    let catalogs: Vec<_> = readable
        .map(|entry| CatalogSummary { name: entry.name.to_string(), kind: entry.served.kind.to_owned() })
        .collect();
    if catalogs.is_empty() {
        return Err(Error::new(Kind::Forbidden, "this needs role read on a catalog that is served here").into());
    }
    Ok(Json(CatalogList { catalogs }))
}

/// Reads tokens and certificates again. With a mistake in a file the old ones stay.
#[utoipa::path(post, path = "/lifeboat/v1/reload", responses(
    (status = 200, description = "Done; needs role operator on `*`", body = Done),
    (status = 400, description = "A file has a mistake; nothing of it was taken", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
))]
async fn reload(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<Done>, Refusal> {
    caller.must_be_operator()?;
    tracing::info!(principal.name = caller.0.name(), "an operator asks to read tokens and certificates again");
    let reloader = server.reloader.clone();
    let done = tokio::task::spawn_blocking(move || reloader.reload()).await;
    done.map_err(|error| Error::internal("the reload panicked").with_source(error))??;
    Ok(Json(Done { message: "tokens and certificates were read again".to_owned() }))
}
