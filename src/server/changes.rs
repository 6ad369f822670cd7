//! `/lifeboat/v1/{catalog}/namespaces/{namespace}/tables/{table}/changes`: a table as a feed. `docs/changes.md` has the page for users.
//!
//! What must hold: a parameter that is not known or not as it must be is refused by name; who waits hears of a change, of the deadline or of the server's
//! end, whatever comes first. What changes are is the business of `changes`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, Uri};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::Refusal;
use super::admin::ErrorModel;
use super::iceberg;
use super::service::Server;
use super::tables::{AskedTable, PATH};
use crate::changes::{Ask, History, LIMIT, LIMIT_MAX, MAIN, Page, Position, SnapshotChanges, To};
use crate::config::parse_duration;
use crate::error::{Error, Result};
use crate::model::Role;

/// The longest that a reader may wait.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route(&format!("{PATH}/changes"), get(changes))
}

/// A page of a table's changes.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ChangesPage {
    /// What the table is known by, whatever it is called.
    table_uuid: String,
    /// Snapshot by snapshot, in the order in which they were committed.
    changes: Vec<SnapshotChanges>,
    /// Ask with it for what comes next, and keep it to go on from here.
    next_position: String,
    /// Whether there is nothing newer.
    is_level: bool,
}

/// What is asked for.
struct Wanted {
    from: Option<i64>,
    position: Option<String>,
    to: To,
    limit: usize,
    skip_replace: bool,
    wait: Duration,
}

/// Which files came and went, snapshot by snapshot, in the order in which they were committed.
#[utoipa::path(get, path = "/lifeboat/v1/{catalog}/namespaces/{namespace}/tables/{table}/changes", params(
    ("catalog" = String, Path, description = "The catalog"),
    ("namespace" = String, Path, description = "The namespace, as in the Iceberg REST API"),
    ("table" = String, Path, description = "The table"),
    ("position" = Option<String>, Query, description = "What the page before said as next-position; without it and without from, all that is live in the oldest snapshot comes first"),
    ("from" = Option<i64>, Query, description = "A snapshot: what came after it"),
    ("to" = Option<i64>, Query, description = "A snapshot: up to it, itself included; the branch's head if not said"),
    ("branch" = Option<String>, Query, description = "The branch that is followed; main if not said"),
    ("limit" = Option<u32>, Query, description = "Files at most; 1,000 if not said, 10,000 at most. A snapshot without files counts as one"),
    ("skip-replace" = Option<bool>, Query, description = "Whether snapshots are left out that only put files in the place of others with the same rows"),
    ("wait" = Option<String>, Query, description = "How long to wait for something new, such as 30s; 60s at most"),
), responses(
    (status = 200, description = "A page; needs role read in the catalog", body = ChangesPage),
    (status = 400, description = "A parameter is wrong, the position is of another table, or from is no ancestor of to", body = ErrorModel),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "Too small a role, or a place that the configuration does not open", body = ErrorModel),
    (status = 404, description = "No such catalog, table, branch or snapshot", body = ErrorModel),
    (status = 410, description = "The history from there on is not in the table any more; the message says where one can begin", body = ErrorModel),
    (status = 422, description = "Metadata that cannot be read", body = ErrorModel),
    (status = 429, description = "Too many wait", body = ErrorModel),
    (status = 503, description = "The table has not come as far here as the position", body = ErrorModel),
))]
pub(super) async fn changes(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<ChangesPage>, Refusal> {
    let asked = AskedTable::new(&server, &headers, &uri, Role::Read).await?;
    let wanted = wanted(uri.query())?;
    let deadline = Instant::now() + wanted.wait;
    loop {
        let loaded = asked.load().await?;
        let page = page(&server, &loaded.history, &wanted).await?;
        let has_news = !page.changes.is_empty() || !page.is_level;
        let is_over = || server.stops.load(Ordering::Relaxed);
        if has_news || Instant::now() >= deadline || is_over() {
            let files = page.changes.iter().map(|change| change.files().count() as u64).sum();
            server.feeds.metrics.changes_page(&asked.entry.name, files);
            return Ok(Json(ChangesPage {
                table_uuid: loaded.history.table.as_str().to_owned(),
                next_position: loaded.history.text(page.next),
                changes: page.changes,
                is_level: page.is_level,
            }));
        }
        let (watched, load) = asked.watched();
        server.feeds.watches.wait(&watched, &load, &loaded.seen, deadline, is_over).await?;
    }
}

async fn page(server: &Server, history: &History, wanted: &Wanted) -> Result<Page> {
    let position = match (&wanted.position, wanted.from) {
        (Some(text), _) => Some(history.position(text)?),
        (None, from) => from.map(Position::After),
    };
    let ask = Ask { position, to: wanted.to.clone(), limit: wanted.limit, skip_replace: wanted.skip_replace };
    server.feeds.changes.page(history, &ask).await
}

fn wanted(query: Option<&str>) -> Result<Wanted> {
    let main = To::Branch(MAIN.to_owned());
    let mut wanted =
        Wanted { from: None, position: None, to: main, limit: LIMIT, skip_replace: false, wait: Duration::ZERO };
    let (mut branch, mut to) = (None, None);
    for (name, text) in iceberg::query(query)? {
        let wrong = |what: &str| Error::bad_request(format!("{name} must be {what}"));
        let id = || text.parse::<i64>().map_err(|_| wrong("a snapshot's id"));
        match name.as_str() {
            "from" => wanted.from = Some(id()?),
            "to" => to = Some(id()?),
            "position" => wanted.position = Some(text),
            "branch" => branch = Some(text),
            "limit" => match text.parse() {
                Ok(limit @ 1..=LIMIT_MAX) => wanted.limit = limit,
                _ => return Err(wrong(&format!("from 1 to {LIMIT_MAX}"))),
            },
            "skip-replace" => wanted.skip_replace = text.parse().map_err(|_| wrong("true or false"))?,
            "wait" => match parse_duration(&text) {
                Ok(wait) if wait <= WAIT_MAX => wanted.wait = wait,
                _ => return Err(wrong("a duration such as 30s, 60s at most")),
            },
            _ => {
                let message = format!(
                    "there is no parameter {name:?}: there are position, from, to, branch, limit, skip-replace and wait"
                );
                return Err(Error::bad_request(message));
            }
        }
    }
    if wanted.from.is_some() && wanted.position.is_some() {
        return Err(Error::bad_request("from and position exclude each other"));
    }
    wanted.to = match (branch, to) {
        (Some(_), Some(_)) => return Err(Error::bad_request("to and branch exclude each other")),
        (Some(branch), None) => To::Branch(branch),
        (None, Some(id)) => To::Snapshot(id),
        (None, None) => wanted.to,
    };
    Ok(wanted)
}
