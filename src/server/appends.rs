//! `/lifeboat/v1/appends`: looks at what landed, that operators ask a server for; `/lifeboat/v1/landings`: what the last looks found; and the append call
//! of a table, for writers. `docs/append.md` has the page for users.
//!
//! What must hold: whoever asks for a look operates the catalog, whoever appends may write it; a request is taken strictly, and an error names the field
//! at fault. What is appended how is the business of `append`.

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

use crate::append::{AppendAnswer, AppendCall, AppendReport};
use crate::error::{Error, Kind, Result};
use crate::jobs::{AppendJob, AppendRequest, AppendsReport, JobState};
use crate::model::Role;

use super::admin::{Caller, ErrorDetail, ErrorModel};
use super::body::Takes;
use super::service::Server;
use super::tables::{self, AskedTable};
use super::{Refusal, errors, jobs};

/// Where jobs are.
const PATH: &str = "/lifeboat/v1/appends";
/// Largest append call: 10,000 files with the statistics of some columns.
const CALL_BYTES_MAX: usize = 32 << 20;

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route(PATH, post(start).get(list))
        .route("/lifeboat/v1/appends/{id}", read(get).delete(cancel))
        .route("/lifeboat/v1/landings", read(landings))
        .route(&format!("{}/append", tables::PATH), post(append))
}

/// An append as it is now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct AppendStatus {
    id: String,
    #[schema(value_type = String, example = "running")]
    state: JobState,
    /// The catalog.
    catalog: String,
    /// The tables that were asked for; none for all of them.
    tables: Vec<String>,
    plan: bool,
    evolve: bool,
    create: bool,
    /// Who asked.
    principal: String,
    /// When it began, since 1970.
    began_at_ms: u64,
    /// How long it ran, or has run so far.
    seconds: f64,
    progress: AppendCounts,
    /// What became of the files, also of one that failed because some are left out. None in lists.
    #[schema(value_type = Option<AppendsReport>)]
    report: Option<Arc<AppendsReport>>,
    /// Why it failed.
    #[schema(value_type = Option<ErrorDetail>)]
    error: Option<Value>,
}

/// How far it has come.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct AppendCounts {
    /// Tables to look at.
    tables_to_do: u64,
    /// Those that were looked at.
    tables_done: u64,
    /// Files that were appended so far.
    appended_files: u64,
}

/// Appends, newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct AppendList {
    appends: Vec<AppendStatus>,
    /// Where the next page begins, if there is one.
    next_page_token: Option<String>,
}

/// What the last look at a table's files found.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LandingStatus {
    catalog: String,
    table: String,
    /// None before the first look, and after one that failed.
    #[schema(value_type = Option<AppendReport>)]
    report: Option<Arc<AppendReport>>,
    /// Why the last look failed.
    error: Option<String>,
}

/// The tables for which files land, of the catalogs that the caller may read.
#[derive(Serialize, ToSchema)]
pub(super) struct LandingList {
    landings: Vec<LandingStatus>,
}

/// Commits data files that a writer names. Calls that come while a commit is in flight become one commit together.
#[utoipa::path(post, path = "/lifeboat/v1/{catalog}/namespaces/{namespace}/tables/{table}/append", request_body = AppendCall, params(
    ("catalog" = String, Path, description = "The catalog"),
    ("namespace" = String, Path, description = "The namespace, as in the Iceberg REST API"),
    ("table" = String, Path, description = "The table"),
    ("Idempotency-Key" = Option<String>, Header, description = "A UUID; a repeated request gets the first answer"),
), responses(
    (status = 200, description = "The files are in the table; needs role write in the catalog", body = AppendAnswer),
    (status = 400, description = "A field is wrong, or a file is not there, not readable, outside of the table's places, or does not fit", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role, or a standby", body = ErrorModel),
    (status = 404, description = "No such catalog or table", body = ErrorModel),
    (status = 409, description = "A requirement does not hold", body = ErrorModel),
    (status = 413, description = "More than 32 MiB", body = ErrorModel),
    (status = 422, description = "The key was used for another request, or the table cannot be appended to", body = ErrorModel),
    (status = 429, description = "Too many calls wait", body = ErrorModel),
    (status = 500, description = "Nobody knows whether the commit landed; repeat it with the same key", body = ErrorModel),
))]
pub(super) async fn append(
    State(server): State<Arc<Server>>,
    uri: Uri,
    request: Request,
) -> Result<Json<AppendAnswer>, Refusal> {
    let (head, body) = request.into_parts();
    let asked = AskedTable::new(&server, &head.headers, &uri, Role::Write).await?;
    let key = jobs::key(&head.headers)?;
    let (bytes, _reserved) = server.budget.read_at_most(CALL_BYTES_MAX, &head.headers, body, Takes::Json).await?;
    let call: AppendCall = jobs::parse(&bytes)?;
    let appends = server.appends.of(&asked.entry.name)?.clone();
    let principal = asked.principal.name().to_owned();
    let ident = asked.ident.clone();
    // what has begun is finished, whatever the client does
    let write = server.writes.begin();
    let work = tokio::spawn(async move {
        let _write = write;
        appends.call(&ident, call, (&principal, key)).await
    });
    let cut_off = |e| Error::internal("an append call was cut off").with_source(e);
    Ok(Json(work.await.map_err(cut_off)??))
}

/// What the last looks at landed files found.
#[utoipa::path(get, path = "/lifeboat/v1/landings", responses(
    (status = 200, description = "The tables; needs role read on any catalog", body = LandingList),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "No role on any catalog", body = ErrorModel),
))]
pub(super) async fn landings(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<LandingList>, Refusal> {
    let mut readable =
        server.catalogs.values().filter(|entry| caller.0.role(&entry.name) >= Some(Role::Read)).peekable();
    if readable.peek().is_none() {
        return Err(Error::new(Kind::Forbidden, "this needs role read on a catalog that is served here").into());
    }
    let mut landings: Vec<LandingStatus> = Vec::new();
    for entry in readable {
        let Ok(appends) = server.appends.of(&entry.name) else { continue };
        landings.extend(appends.statuses().into_iter().map(|(table, report, error)| LandingStatus {
            catalog: entry.name.to_string(),
            table: table.to_string(),
            report,
            error,
        }));
    }
    landings.sort_by(|a, b| (&a.catalog, &a.table).cmp(&(&b.catalog, &b.table)));
    Ok(Json(LandingList { landings }))
}

/// Begins an append of a replica: its tables are looked at now. It may be asked for again at any time.
#[utoipa::path(post, path = "/lifeboat/v1/appends", request_body = AppendRequest, params(
    ("Idempotency-Key" = Option<String>, Header, description = "A UUID: the same request with it is answered with the same append, as long as that is remembered"),
), responses(
    (status = 202, description = "It has begun; needs role operator on the catalog", body = AppendStatus,
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
) -> Result<(StatusCode, HeaderMap, Json<AppendStatus>), Refusal> {
    caller.must_operate_any(&server)?;
    let (head, body) = request.into_parts();
    let key = jobs::key(&head.headers)?;
    let (bytes, _reserved) =
        server.budget.read_at_most(jobs::REQUEST_BYTES_MAX, &head.headers, body, Takes::Json).await?;
    let request: AppendRequest = jobs::parse(&bytes)?;
    // before it is told whether there is such a catalog
    if !caller.operates(&request.catalog) {
        let message = format!("this needs role operator on catalog {}", request.catalog);
        return Err(Error::new(Kind::Forbidden, message).into());
    }
    let begun = server.appends.start(request, caller.0.name(), key)?;
    Ok((StatusCode::ACCEPTED, jobs::location(PATH, begun.id)?, Json(status(begun))))
}

/// The appends that run and those that ended not long ago, newest first, of the catalogs that the caller operates.
#[utoipa::path(get, path = "/lifeboat/v1/appends", params(
    ("limit" = Option<u32>, Query, description = "How many at most; 100 if not said, 1,000 at most"),
    ("page-token" = Option<String>, Query, description = "What the page before said"),
), responses(
    (status = 200, description = "A page of them; needs role operator on any catalog", body = AppendList),
    (status = 400, description = "A parameter is wrong", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<AppendList>, Refusal> {
    caller.must_operate_any(&server)?;
    let (found, next_page_token) =
        jobs::page(&server.appends.jobs, uri.query(), |about| caller.operates(&about.catalog))?;
    let appends = found.into_iter().map(|seen| AppendStatus { report: None, ..status(seen) });
    Ok(Json(AppendList { appends: appends.collect(), next_page_token }))
}

/// One append.
#[utoipa::path(get, path = "/lifeboat/v1/appends/{id}", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The append; needs role operator on its catalog", body = AppendStatus),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "Unknown, forgotten, or of another catalog", body = ErrorModel),
))]
pub(super) async fn get(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<AppendStatus>, Refusal> {
    Ok(Json(status(own(&server, &caller, &id)?)))
}

/// Cancels an append that runs; one that has ended stays as it is. Looks at tables that have begun go on to their end.
#[utoipa::path(delete, path = "/lifeboat/v1/appends/{id}", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The append as it ended; needs role operator on its catalog", body = AppendStatus),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "Unknown, forgotten, or of another catalog", body = ErrorModel),
))]
pub(super) async fn cancel(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<AppendStatus>, Refusal> {
    let AppendJob { id, .. } = own(&server, &caller, &id)?;
    Ok(Json(status(jobs::cancel(&server.appends.jobs, &id.to_string()).await?)))
}

/// An append of a catalog that the caller operates.
fn own(server: &Server, caller: &Caller, id: &str) -> Result<AppendJob> {
    caller.must_operate_any(server)?;
    let id = Uuid::parse_str(id).ok();
    let found = id.and_then(|id| server.appends.jobs.get(id)).filter(|seen| caller.operates(&seen.about.catalog));
    found.ok_or_else(|| jobs::unknown(&server.appends.jobs))
}

fn status(seen: AppendJob) -> AppendStatus {
    let (id, about, progress) = (seen.id.to_string(), &seen.about, &seen.progress);
    AppendStatus {
        state: seen.state,
        catalog: about.catalog.to_string(),
        tables: about.tables.iter().map(ToString::to_string).collect(),
        plan: about.plan,
        evolve: about.evolve,
        create: about.create,
        principal: seen.principal,
        began_at_ms: seen.began_at_ms,
        seconds: seen.took.as_secs_f64(),
        progress: AppendCounts {
            tables_to_do: progress.tables_to_do.load(Ordering::Relaxed),
            tables_done: progress.tables_done.load(Ordering::Relaxed),
            appended_files: progress.appended_files.load(Ordering::Relaxed),
        },
        report: seen.report,
        error: seen.error.map(|error| errors::model_of_job(&error, &id)),
        id,
    }
}
