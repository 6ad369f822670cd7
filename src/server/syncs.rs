//! `/lifeboat/v1/syncs`: syncs of replicas that operators ask a server for. `docs/replica.md` has the page for users.
//!
//! What must hold: whoever is here operates a catalog that is served, and has to do only with syncs of catalogs that they operate; a request is taken
//! strictly, and an error names the field at fault. What a sync is and what bounds it is the business of `jobs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, Request, State};
use axum::routing::{get as read, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::Result;
use crate::jobs::{JobState, Sync, SyncReport, SyncRequest};

use super::admin::{Caller, ErrorDetail, ErrorModel};
use super::service::Server;
use super::{Refusal, errors, jobs};

/// Where they are.
const PATH: &str = "/lifeboat/v1/syncs";

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route(PATH, post(start).get(list)).route("/lifeboat/v1/syncs/{id}", read(get).delete(cancel))
}

/// A sync as it is now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SyncStatus {
    id: String,
    #[schema(value_type = String, example = "running")]
    state: JobState,
    /// The catalog whose replica is synced.
    catalog: String,
    /// The tables that were asked for; none for all of them.
    tables: Vec<String>,
    /// Whether all that is published is proven anew.
    rebuild: bool,
    wait_seconds: u64,
    /// Who asked.
    principal: String,
    /// When it began, since 1970.
    began_at_ms: u64,
    /// How long it ran, or has run so far.
    seconds: f64,
    progress: SyncCounts,
    /// How the tables stood at its end, also of one that failed because some are not level. None in lists.
    #[schema(value_type = Option<SyncReport>)]
    report: Option<Arc<SyncReport>>,
    /// Why it failed.
    #[schema(value_type = Option<ErrorDetail>)]
    error: Option<Value>,
}

/// How far it has come.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SyncCounts {
    /// Tables to look at; none before the storage was looked through.
    tables_to_do: usize,
    /// Those that were looked at. When it waits and looks again, this begins from nought.
    tables_done: usize,
    /// States of tables that were published so far.
    published: usize,
}

/// Syncs, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SyncList {
    syncs: Vec<SyncStatus>,
    /// Ask with it for those that are older; none on the last page.
    next_page_token: Option<String>,
}

/// Begins a sync of a replica: its tables are looked at now. It may be asked for again at any time.
#[utoipa::path(post, path = "/lifeboat/v1/syncs", request_body = SyncRequest, params(
    ("Idempotency-Key" = Option<String>, Header, description = "A UUID: the same request with it is answered with the same sync, as long as that is remembered"),
), responses(
    (status = 202, description = "It has begun; needs role operator on the catalog", body = SyncStatus,
        headers(("Location" = String, description = "Where it can be looked at"))),
    (status = 400, description = "A field is wrong, or the catalog has no replica", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "No catalog of that name", body = ErrorModel),
    (status = 413, description = "More than 256 KiB", body = ErrorModel),
    (status = 422, description = "The Idempotency-Key was used for another request", body = ErrorModel),
    (status = 429, description = "Too many are running", body = ErrorModel),
    (status = 503, description = "The server is stopping", body = ErrorModel),
))]
pub(super) async fn start(
    State(server): State<Arc<Server>>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, HeaderMap, Json<SyncStatus>), Refusal> {
    let (request, key) = jobs::asked::<SyncRequest>(&server, &caller, request).await?;
    let begun = server.syncs.start(request, caller.0.name(), key)?;
    jobs::begun(PATH, begun.id, status(begun))
}

/// The syncs that run and those that ended not long ago, newest first, of the catalogs that the caller operates.
#[utoipa::path(get, path = "/lifeboat/v1/syncs", params(
    ("limit" = Option<u32>, Query, description = "How many at most; 100 if not said, 1,000 at most"),
    ("page-token" = Option<String>, Query, description = "What the page before said"),
), responses(
    (status = 200, description = "A page of them; needs role operator on any catalog", body = SyncList),
    (status = 400, description = "A parameter is wrong", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<SyncList>, Refusal> {
    let (found, next_page_token) = jobs::own_page(&server, &caller, &server.syncs.jobs, uri.query())?;
    let syncs = found.into_iter().map(|seen| SyncStatus { report: None, ..status(seen) });
    Ok(Json(SyncList { syncs: syncs.collect(), next_page_token }))
}

/// One sync.
#[utoipa::path(get, path = "/lifeboat/v1/syncs/{id}", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The sync; needs role operator on its catalog", body = SyncStatus),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "Unknown, forgotten, or of another catalog", body = ErrorModel),
))]
pub(super) async fn get(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<SyncStatus>, Refusal> {
    Ok(Json(status(jobs::own(&server, &caller, &server.syncs.jobs, &id)?)))
}

/// Cancels a sync that runs; one that has ended stays as it is. Looks at tables that have begun go on to their end.
#[utoipa::path(delete, path = "/lifeboat/v1/syncs/{id}", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The sync as it ended; needs role operator on its catalog", body = SyncStatus),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "Unknown, forgotten, or of another catalog", body = ErrorModel),
))]
pub(super) async fn cancel(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<SyncStatus>, Refusal> {
    let Sync { id, .. } = jobs::own(&server, &caller, &server.syncs.jobs, &id)?;
    Ok(Json(status(jobs::cancel(&server.syncs.jobs, &id.to_string()).await?)))
}

fn status(seen: Sync) -> SyncStatus {
    let (id, about, progress) = (seen.id.to_string(), &seen.about, &seen.progress);
    SyncStatus {
        state: seen.state,
        catalog: about.catalog.to_string(),
        tables: about.tables.iter().map(ToString::to_string).collect(),
        rebuild: about.rebuild,
        wait_seconds: about.wait_seconds,
        principal: seen.principal,
        began_at_ms: seen.began_at_ms,
        seconds: seen.took.as_secs_f64(),
        progress: SyncCounts {
            tables_to_do: progress.tables_to_do.load(Ordering::Relaxed),
            tables_done: progress.tables_done.load(Ordering::Relaxed),
            published: progress.published.load(Ordering::Relaxed),
        },
        report: seen.report,
        error: seen.error.map(|error| errors::model_of_job(&error, &id)),
        id,
    }
}
