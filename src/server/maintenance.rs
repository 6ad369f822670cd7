//! `/lifeboat/v1/maintenance`: maintenance of tables that operators ask a server for. `docs/maintenance.md` has the page for users.
//!
//! What must hold: whoever is here operates a catalog that is served, and has to do only with maintenance of catalogs that they operate; a request is taken
//! strictly, and an error names the field at fault. What is done, and what bounds it, is the business of `jobs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, Request, State};
use axum::routing::{get as read, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::{Error, Kind, Result};
use crate::jobs::{JobState, MaintenanceJob, MaintenanceRequest};

use super::admin::{Caller, ErrorDetail, ErrorModel};
use super::body::Takes;
use super::service::Server;
use super::{Refusal, errors, jobs};

/// Where it is.
const PATH: &str = "/lifeboat/v1/maintenance";

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route(PATH, post(start).get(list)).route("/lifeboat/v1/maintenance/{id}", read(get).delete(cancel))
}

/// A maintenance job as it is now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MaintenanceStatus {
    id: String,
    #[schema(value_type = String, example = "running")]
    state: JobState,
    #[schema(example = "expire-snapshots")]
    work: &'static str,
    catalog: String,
    table: String,
    /// Who asked.
    principal: String,
    /// When it began, since 1970.
    began_at_ms: u64,
    /// How long it ran, or has run so far.
    seconds: f64,
    progress: MaintenanceProgress,
    /// What it did, as the command prints it with `--json`. None in lists.
    #[schema(value_type = Option<Object>)]
    report: Option<Value>,
    /// Why it failed.
    #[schema(value_type = Option<ErrorDetail>)]
    error: Option<Value>,
}

/// How far it has come. What there is to do is found on the way, so it grows at first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MaintenanceProgress {
    manifests_to_do: u64,
    manifests_done: u64,
    files_listed: u64,
    files_deleted: u64,
}

/// Maintenance jobs, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MaintenanceList {
    maintenance: Vec<MaintenanceStatus>,
    /// Ask with it for those that are older; none on the last page.
    next_page_token: Option<String>,
}

/// Begins maintenance of a table. It may be asked for again at any time: what was cut off is gone on with.
#[utoipa::path(post, path = "/lifeboat/v1/maintenance", request_body = MaintenanceRequest, params(
    ("Idempotency-Key" = Option<String>, Header, description = "A UUID: the same request with it is answered with the same job, as long as that is remembered"),
), responses(
    (status = 202, description = "It has begun; needs role operator on the catalog", body = MaintenanceStatus,
        headers(("Location" = String, description = "Where it can be looked at"))),
    (status = 400, description = "A field is wrong, or the catalog cannot be maintained here", body = ErrorModel),
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
) -> Result<(StatusCode, HeaderMap, Json<MaintenanceStatus>), Refusal> {
    caller.must_operate_any(&server)?;
    let (head, body) = request.into_parts();
    let key = jobs::key(&head.headers)?;
    let (bytes, _reserved) =
        server.budget.read_at_most(jobs::REQUEST_BYTES_MAX, &head.headers, body, Takes::Json).await?;
    let request: MaintenanceRequest = jobs::parse(&bytes)?;
    // before it is told whether there is such a catalog
    if !caller.operates(&request.catalog) {
        let message = format!("this needs role operator on catalog {}", request.catalog);
        return Err(Error::new(Kind::Forbidden, message).into());
    }
    let begun = server.maintenance.start(request, caller.0.name(), key)?;
    Ok((StatusCode::ACCEPTED, jobs::location(PATH, begun.id)?, Json(status(begun))))
}

/// The maintenance jobs that run and those that ended not long ago, newest first, of the catalogs that the caller operates.
#[utoipa::path(get, path = "/lifeboat/v1/maintenance", params(
    ("limit" = Option<u32>, Query, description = "How many at most; 100 if not said, 1,000 at most"),
    ("page-token" = Option<String>, Query, description = "What the page before said"),
), responses(
    (status = 200, description = "A page of them; needs role operator on any catalog", body = MaintenanceList),
    (status = 400, description = "A parameter is wrong", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<MaintenanceList>, Refusal> {
    caller.must_operate_any(&server)?;
    let (found, next_page_token) =
        jobs::page(&server.maintenance.jobs, uri.query(), |about| caller.operates(&about.catalog))?;
    let maintenance = found.into_iter().map(|seen| MaintenanceStatus { report: None, ..status(seen) });
    Ok(Json(MaintenanceList { maintenance: maintenance.collect(), next_page_token }))
}

/// One maintenance job.
#[utoipa::path(get, path = "/lifeboat/v1/maintenance/{id}", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The job; needs role operator on its catalog", body = MaintenanceStatus),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "Unknown, forgotten, or of another catalog", body = ErrorModel),
))]
pub(super) async fn get(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<MaintenanceStatus>, Refusal> {
    Ok(Json(status(own(&server, &caller, &id)?)))
}

/// Cancels a maintenance job that runs, and answers when it has stopped; one that has ended stays as it is. A commit that has begun is finished.
#[utoipa::path(delete, path = "/lifeboat/v1/maintenance/{id}", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The job as it ended; needs role operator on its catalog", body = MaintenanceStatus),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "Unknown, forgotten, or of another catalog", body = ErrorModel),
))]
pub(super) async fn cancel(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<MaintenanceStatus>, Refusal> {
    let MaintenanceJob { id, .. } = own(&server, &caller, &id)?;
    Ok(Json(status(jobs::cancel(&server.maintenance.jobs, &id.to_string()).await?)))
}

/// A job of a catalog that the caller operates.
fn own(server: &Server, caller: &Caller, id: &str) -> Result<MaintenanceJob> {
    caller.must_operate_any(server)?;
    let id = Uuid::parse_str(id).ok();
    let found = id.and_then(|id| server.maintenance.jobs.get(id)).filter(|seen| caller.operates(&seen.about.catalog));
    found.ok_or_else(|| jobs::unknown(&server.maintenance.jobs))
}

fn status(seen: MaintenanceJob) -> MaintenanceStatus {
    let (id, about) = (seen.id.to_string(), &seen.about);
    let progress = &seen.progress;
    let [manifests_to_do, manifests_done, files_listed, files_deleted] =
        [&progress.manifests_to_do, &progress.manifests_done, &progress.files_listed, &progress.files_deleted]
            .map(|count| count.load(Ordering::Relaxed));
    MaintenanceStatus {
        state: seen.state,
        work: about.work.word(),
        catalog: about.catalog.to_string(),
        table: about.table.to_string(),
        principal: seen.principal,
        began_at_ms: seen.began_at_ms,
        seconds: seen.took.as_secs_f64(),
        progress: MaintenanceProgress { manifests_to_do, manifests_done, files_listed, files_deleted },
        report: seen.report.and_then(|report| serde_json::to_value(&*report).ok()),
        error: seen.error.map(|error| errors::model_of_job(&error, &id)),
        id,
    }
}
