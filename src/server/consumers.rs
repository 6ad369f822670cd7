//! `…/tables/{table}/consumers`: where the readers of a table's changes stand, kept for them. `docs/changes.md` has the page for users.
//!
//! What must hold: a position moves only from the version that its reader saw, and forward unless it is asked otherwise; to read one takes the right to read
//! the table, to move one the right to write in the catalog, since another reader goes on from it and since it can keep snapshots from expiry.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::routing::get as read;
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::admin::ErrorModel;
use super::body::Takes;
use super::service::Server;
use super::tables::{AskedTable, LoadedTable, PATH};
use super::{Refusal, iceberg, jobs};
use crate::changes::{Consumer, MAIN, NewPosition, check_name};
use crate::error::{Error, Kind, Result};
use crate::model::Role;
use crate::upstream::pointer::now_ms;

/// Largest request.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// How often a position without an expected version is tried while others move it.
const ATTEMPTS_MAX: u32 = 10;

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route(&format!("{PATH}/consumers"), read(list))
        .route(&format!("{PATH}/consumers/{{consumer}}/position"), read(get).put(commit).delete(remove))
}

/// A reader of a table, and where it stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ConsumerStatus {
    name: String,
    /// Ask for changes with it.
    position: String,
    /// Another one with every commit; the answer's ETag.
    version: i64,
    /// Whether snapshots that it has before it are kept from expiry.
    holds_back: bool,
    /// The branch that it follows.
    branch: String,
    /// Snapshots that it has before it; none where its history is gone and it has to begin anew.
    lag_snapshots: Option<u64>,
    /// How long the oldest of them has waited.
    lag_seconds: Option<f64>,
    /// Who committed it.
    committed_by: String,
    /// When, since 1970.
    committed_at_ms: i64,
}

/// The readers of a table.
#[derive(Serialize, ToSchema)]
pub(super) struct ConsumerList {
    consumers: Vec<ConsumerStatus>,
}

/// A position to be committed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PositionCommit {
    /// As an answer's next-position has it.
    position: String,
    /// The version that it replaces, 0 for none; any if not said. The header If-Match says the same.
    expected_version: Option<i64>,
    /// Whether snapshots that it has before it are kept from expiry; as before if not said, and no at first.
    holds_back: Option<bool>,
    /// The branch that it follows, for its lag; as before if not said, and main at first.
    branch: Option<String>,
    /// Whether it may move backwards.
    #[serde(default)]
    reset: bool,
}

/// The readers of a table that have committed positions.
#[utoipa::path(get, path = "/lifeboat/v1/{catalog}/namespaces/{namespace}/tables/{table}/consumers", params(
    ("catalog" = String, Path, description = "The catalog"), ("namespace" = String, Path, description = "The namespace"),
    ("table" = String, Path, description = "The table"),
), responses(
    (status = 200, description = "The readers by name; needs role read in the catalog", body = ConsumerList),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "No such catalog or table", body = ErrorModel),
    (status = 406, description = "The catalog has no place for positions: set `state.database`", body = ErrorModel),
))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<ConsumerList>, Refusal> {
    let asked = AskedTable::new(&server, &headers, &uri, Role::Read).await?;
    let positions = server.feeds.positions(&asked.entry.name)?;
    let loaded = asked.load().await?;
    let consumers = positions.list(&asked.entry.name, &loaded.history.table).await?;
    let consumers = consumers.into_iter().map(|consumer| status(&server, &asked, &loaded, consumer));
    Ok(Json(ConsumerList { consumers: consumers.collect() }))
}

/// Where a reader stands.
#[utoipa::path(get, path = "/lifeboat/v1/{catalog}/namespaces/{namespace}/tables/{table}/consumers/{consumer}/position", params(
    ("catalog" = String, Path, description = "The catalog"), ("namespace" = String, Path, description = "The namespace"),
    ("table" = String, Path, description = "The table"), ("consumer" = String, Path, description = "The reader"),
), responses(
    (status = 200, description = "The reader; needs role read in the catalog", body = ConsumerStatus, headers(("ETag" = String, description = "Its version"))),
    (status = 400, description = "No name of a reader", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "No such catalog, table or reader", body = ErrorModel),
    (status = 406, description = "The catalog has no place for positions: set `state.database`", body = ErrorModel),
))]
pub(super) async fn get(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<(HeaderMap, Json<ConsumerStatus>), Refusal> {
    let asked = AskedTable::new(&server, &headers, &uri, Role::Read).await?;
    let positions = server.feeds.positions(&asked.entry.name)?;
    let name = consumer_name(&asked)?;
    let loaded = asked.load().await?;
    let found = positions.get(&asked.entry.name, &loaded.history.table, &name).await?;
    let found = found.ok_or_else(|| unknown(&name))?;
    Ok(answer(status(&server, &asked, &loaded, found)))
}

/// Commits where a reader stands: from the version that it saw, and forward.
#[utoipa::path(put, path = "/lifeboat/v1/{catalog}/namespaces/{namespace}/tables/{table}/consumers/{consumer}/position", request_body = PositionCommit, params(
    ("catalog" = String, Path, description = "The catalog"), ("namespace" = String, Path, description = "The namespace"),
    ("table" = String, Path, description = "The table"), ("consumer" = String, Path, description = "The reader"),
    ("If-Match" = Option<String>, Header, description = "The ETag of the version that it replaces"),
    ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no such reader yet"),
), responses(
    (status = 200, description = "The reader as it is now; needs role write in the catalog", body = ConsumerStatus, headers(("ETag" = String, description = "Its version"))),
    (status = 400, description = "A field is wrong, or the position is of another table", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "No such catalog, table or branch", body = ErrorModel),
    (status = 406, description = "The catalog has no place for positions: set `state.database`", body = ErrorModel),
    (status = 409, description = "It is at another version: somebody else has moved it", body = ErrorModel),
    (status = 410, description = "The snapshot that the position needs is not in the table any more", body = ErrorModel),
    (status = 413, description = "More than 16 KiB", body = ErrorModel),
    (status = 422, description = "It would move backwards, or the table has too many readers", body = ErrorModel),
    (status = 503, description = "The table has not come as far here as the position", body = ErrorModel),
))]
pub(super) async fn commit(
    State(server): State<Arc<Server>>,
    uri: Uri,
    request: Request,
) -> Result<(HeaderMap, Json<ConsumerStatus>), Refusal> {
    let (head, body) = request.into_parts();
    let asked = AskedTable::new(&server, &head.headers, &uri, Role::Write).await?;
    let (bytes, _reserved) = server.budget.read_at_most(REQUEST_BYTES_MAX, &head.headers, body, Takes::Json).await?;
    let positions = server.feeds.positions(&asked.entry.name)?;
    let name = consumer_name(&asked)?;
    let wanted: PositionCommit = jobs::parse(&bytes)?;
    let expected = expected(&head.headers, wanted.expected_version)?;
    let loaded = asked.load().await?;
    let (catalog, history) = (&asked.entry.name, &loaded.history);
    let position = history.position(&wanted.position)?;
    history.check_there(position)?;
    for attempt in 1.. {
        let before = positions.get(catalog, &history.table, &name).await?;
        let version = before.as_ref().map_or(0, |before| before.version);
        if let Some(expected) = expected.filter(|expected| *expected != version) {
            let message = format!(
                "consumer {name} is at version {version} and not at {expected}: read its position and decide anew"
            );
            return Err(Error::commit_failed(message).into());
        }
        if let Some(before) = before.as_ref().filter(|_| !wanted.reset) {
            history.check_forward(history.position(&before.position)?, position)?;
        }
        let new = NewPosition {
            name: name.clone(),
            position,
            text: wanted.position.clone(),
            holds_back: wanted.holds_back.or(before.as_ref().map(|before| before.holds_back)).unwrap_or(false),
            branch: wanted
                .branch
                .clone()
                .or(before.as_ref().map(|before| before.branch.clone()))
                .unwrap_or(MAIN.to_owned()),
            table: asked.ident.clone(),
            committed_by: asked.principal.name().to_owned(),
            committed_at_ms: now_ms(),
        };
        history.check_branch(&new.branch)?;
        match positions.commit(catalog, &history.table, &new, version).await {
            Err(e) if e.kind() == Kind::CommitFailed && expected.is_none() && attempt < ATTEMPTS_MAX => {}
            done => {
                let now = Consumer::committed(&history.table, new, done?);
                if let Some(before) = before.filter(|before| before.table != now.table) {
                    server.feeds.metrics.consumer_gone((catalog, &before.table, &name));
                }
                return Ok(answer(status(&server, &asked, &loaded, now)));
            }
        }
    }
    Err(Error::internal("a position was tried too often").into())
}

/// Forgets a reader.
#[utoipa::path(delete, path = "/lifeboat/v1/{catalog}/namespaces/{namespace}/tables/{table}/consumers/{consumer}/position", params(
    ("catalog" = String, Path, description = "The catalog"), ("namespace" = String, Path, description = "The namespace"),
    ("table" = String, Path, description = "The table"), ("consumer" = String, Path, description = "The reader"),
    ("If-Match" = Option<String>, Header, description = "The ETag of the version that is forgotten"),
), responses(
    (status = 204, description = "It is forgotten; needs role write in the catalog"),
    (status = 400, description = "No name of a reader", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role", body = ErrorModel),
    (status = 404, description = "No such catalog, table or reader", body = ErrorModel),
    (status = 406, description = "The catalog has no place for positions: set `state.database`", body = ErrorModel),
    (status = 409, description = "It is at another version", body = ErrorModel),
))]
pub(super) async fn remove(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<StatusCode, Refusal> {
    let asked = AskedTable::new(&server, &headers, &uri, Role::Write).await?;
    let positions = server.feeds.positions(&asked.entry.name)?;
    let (name, expected) = (consumer_name(&asked)?, expected(&headers, None)?);
    let (catalog, loaded) = (&asked.entry.name, asked.load().await?);
    let found = positions.get(catalog, &loaded.history.table, &name).await?.ok_or_else(|| unknown(&name))?;
    if !positions.remove(catalog, &loaded.history.table, &name, expected).await? {
        return Err(Error::commit_failed(format!("consumer {name} is at version {}", found.version)).into());
    }
    server.feeds.metrics.consumer_gone((catalog, &found.table, &name));
    Ok(StatusCode::NO_CONTENT)
}

fn consumer_name(asked: &AskedTable) -> Result<String> {
    let name = iceberg::decode(asked.rest.get(1).map_or("", String::as_str))?;
    check_name(&name)?;
    Ok(name)
}

fn unknown(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("the table has no consumer {name}"))
}

/// The version that is replaced, as body or headers say it.
fn expected(headers: &HeaderMap, stated: Option<i64>) -> Result<Option<i64>> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    let by_header = match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => None,
        (None, Some("*")) => Some(0),
        (Some(etag), None) => {
            let version = etag.trim_matches('"').parse::<i64>();
            Some(version.map_err(|_| Error::bad_request("If-Match must be the ETag of an answer before"))?)
        }
        _ => return Err(Error::bad_request("say If-Match with an ETag, or If-None-Match: *")),
    };
    match (by_header, stated) {
        (Some(header), Some(stated)) if header != stated => {
            Err(Error::bad_request("expected-version and the headers contradict each other"))
        }
        (header, stated) => Ok(header.or(stated)),
    }
}

fn answer(status: ConsumerStatus) -> (HeaderMap, Json<ConsumerStatus>) {
    let etag = HeaderValue::from_str(&format!("\"{}\"", status.version)).ok();
    (etag.map(|etag| (header::ETAG, etag)).into_iter().collect(), Json(status))
}

fn status(server: &Server, asked: &AskedTable, loaded: &LoadedTable, found: Consumer) -> ConsumerStatus {
    let lag = server.feeds.measure(&asked.entry.name, &loaded.history, &found, now_ms());
    ConsumerStatus {
        name: found.name,
        position: found.position,
        version: found.version,
        holds_back: found.holds_back,
        branch: found.branch,
        lag_snapshots: lag.map(|lag| lag.snapshots),
        lag_seconds: lag.map(|lag| lag.seconds),
        committed_by: found.committed_by,
        committed_at_ms: found.committed_at_ms,
    }
}
