//! `/lifeboat/v1/relocations`: relocations that operators ask a server for. `docs/relocation.md` has the page for users.
//!
//! What must hold: only operators come here; a request is taken strictly, and an error names the field at fault. What a relocation is and what
//! bounds it is the business of `jobs`.

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
use crate::jobs::{JobState, Relocation, RelocationRequest};

use super::admin::{Caller, ErrorDetail, ErrorModel};
use super::body::Takes;
use super::service::Server;
use super::{Refusal, errors, jobs};

/// Where they are.
const PATH: &str = "/lifeboat/v1/relocations";

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route(PATH, post(start).get(list)).route("/lifeboat/v1/relocations/{id}", read(get).delete(cancel))
}

/// A relocation as it is now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RelocationStatus {
    id: String,
    #[schema(value_type = String, example = "running")]
    state: JobState,
    /// What is relocated, as it was asked for.
    source: String,
    /// Who asked.
    principal: String,
    /// When it began, since 1970.
    began_at_ms: u64,
    /// How long it ran, or has run so far.
    seconds: f64,
    progress: RelocationProgress,
    /// What it did, as `lifeboat relocate --json` prints it. One that failed because files are missing has it, too.
    #[schema(value_type = Option<Object>)]
    report: Option<Value>,
    /// Why it failed.
    #[schema(value_type = Option<ErrorDetail>)]
    error: Option<Value>,
}

/// How far it has come. What there is to do is found on the way, so it grows at first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RelocationProgress {
    /// Bytes of manifests that are known to be there to do.
    bytes_to_do: u64,
    /// Bytes of manifests that are done.
    bytes_done: u64,
    /// Files that are done.
    files_done: u64,
    /// Bytes of manifests a second, since it began.
    bytes_per_second: u64,
    /// How long the rest will take at this rate; none where that cannot be told, or when it has ended.
    seconds_left: Option<f64>,
}

/// Relocations, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RelocationList {
    relocations: Vec<RelocationStatus>,
    /// Ask with it for those that are older; none on the last page.
    next_page_token: Option<String>,
}

/// Begins a relocation. It may be asked for again at any time: what is done already is not done again.
#[utoipa::path(post, path = "/lifeboat/v1/relocations", request_body = RelocationRequest, responses(
    (status = 202, description = "It has begun; needs role operator on `*`", body = RelocationStatus,
        headers(("Location" = String, description = "Where it can be looked at"))),
    (status = 400, description = "A field is wrong, or the location map is ambiguous", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role, or a local folder that the configuration does not open", body = ErrorModel),
    (status = 404, description = "No catalog of that name", body = ErrorModel),
    (status = 413, description = "More than 256 KiB", body = ErrorModel),
    (status = 429, description = "Too many are running", body = ErrorModel),
    (status = 503, description = "The server is stopping", body = ErrorModel),
))]
pub(super) async fn start(
    State(server): State<Arc<Server>>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, HeaderMap, Json<RelocationStatus>), Refusal> {
    caller.must_be_operator()?;
    let (head, body) = request.into_parts();
    let (bytes, _reserved) =
        server.budget.read_at_most(jobs::REQUEST_BYTES_MAX, &head.headers, body, Takes::Json).await?;
    let begun = server.relocations.start(jobs::parse(&bytes)?, caller.0.name())?;
    Ok((StatusCode::ACCEPTED, jobs::location(PATH, begun.id)?, Json(status(begun))))
}

/// The relocations that run and those that ended not long ago, newest first.
#[utoipa::path(get, path = "/lifeboat/v1/relocations", params(
    ("limit" = Option<u32>, Query, description = "How many at most; 100 if not said, 1,000 at most"),
    ("page-token" = Option<String>, Query, description = "What the page before said"),
), responses(
    (status = 200, description = "A page of them; needs role operator on `*`", body = RelocationList),
    (status = 400, description = "A parameter is wrong", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<RelocationList>, Refusal> {
    caller.must_be_operator()?;
    let (found, next_page_token) = jobs::page(&server.relocations.jobs, uri.query(), |_| true)?;
    Ok(Json(RelocationList { relocations: found.into_iter().map(status).collect(), next_page_token }))
}

/// One relocation.
#[utoipa::path(get, path = "/lifeboat/v1/relocations/{id}", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The relocation; needs role operator on `*`", body = RelocationStatus),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "Unknown, or forgotten", body = ErrorModel),
))]
pub(super) async fn get(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<RelocationStatus>, Refusal> {
    caller.must_be_operator()?;
    Ok(Json(status(jobs::get(&server.relocations.jobs, &id)?)))
}

/// Cancels a relocation that runs, and answers when it has stopped; one that has ended stays as it is.
#[utoipa::path(delete, path = "/lifeboat/v1/relocations/{id}", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The relocation as it ended; needs role operator on `*`", body = RelocationStatus),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "Unknown, or forgotten", body = ErrorModel),
))]
pub(super) async fn cancel(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<RelocationStatus>, Refusal> {
    caller.must_be_operator()?;
    Ok(Json(status(jobs::cancel(&server.relocations.jobs, &id).await?)))
}

fn status(seen: Relocation) -> RelocationStatus {
    let seconds = seen.took.as_secs_f64();
    let progress = &seen.progress;
    let [bytes_to_do, bytes_done, files_done] =
        [&progress.bytes_to_do, &progress.bytes_done, &progress.files_done].map(|count| count.load(Ordering::Relaxed));
    let rate = if seconds > 0.0 { bytes_done as f64 / seconds } else { 0.0 };
    let runs = seen.state == JobState::Running;
    let id = seen.id.to_string();
    RelocationStatus {
        state: seen.state,
        source: seen.about.to_string(),
        principal: seen.principal,
        began_at_ms: seen.began_at_ms,
        seconds,
        progress: RelocationProgress {
            bytes_to_do,
            bytes_done,
            files_done,
            bytes_per_second: rate as u64,
            seconds_left: (runs && rate > 0.0).then(|| bytes_to_do.saturating_sub(bytes_done) as f64 / rate),
        },
        report: seen.report.and_then(|report| serde_json::to_value(&*report).ok()),
        error: seen.error.map(|error| errors::model_of_job(&error, &id)),
        id,
    }
}
