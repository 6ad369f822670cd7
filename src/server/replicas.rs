//! `/lifeboat/v1/replicas`: how replicated tables stand. `docs/replica.md` has the page for users.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Error, Kind, Result};
use crate::model::Role;
use crate::replica::TableStatus;

use super::Refusal;
use super::admin::{Caller, ErrorModel};
use super::service::{Entry, Server};

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route("/lifeboat/v1/replicas", get(list))
}

/// One catalog's replica.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplicaStatus {
    /// The catalog in which its tables are published.
    catalog: String,
    /// What is wrong with more than a table.
    problems: Vec<String>,
    /// Its tables as of their last looks, by name.
    tables: Vec<TableStatus>,
}

/// The replicas of the catalogs that the caller may read.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplicaList {
    replicas: Vec<ReplicaStatus>,
}

/// How replicated tables stand: what is published, the newest state that is known, what is missing.
#[utoipa::path(get, path = "/lifeboat/v1/replicas", responses(
    (status = 200, description = "The replicas; needs role read on any catalog", body = ReplicaList),
    (status = 401, description = "No token, or an unknown one", body = ErrorModel),
    (status = 403, description = "No role on any catalog", body = ErrorModel),
))]
pub(super) async fn list(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<ReplicaList>, Refusal> {
    let readable = server.catalogs.values().filter(|entry| caller.0.role(&entry.name) >= Some(Role::Read));
    let mut readable: Vec<&Arc<Entry>> = readable.collect();
    if readable.is_empty() {
        return Err(Error::new(Kind::Forbidden, "this needs role read on a catalog that is served here").into());
    }
    readable.sort_by(|a, b| a.name.cmp(&b.name));
    let replicas = readable.into_iter().filter_map(|entry| {
        let replica = entry.served.replica.as_ref()?;
        let (problems, tables) = (replica.problems(), replica.statuses());
        Some(ReplicaStatus { catalog: entry.name.to_string(), problems, tables })
    });
    Ok(Json(ReplicaList { replicas: replicas.collect() }))
}
