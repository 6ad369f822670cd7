//! What clients see of a pointer catalog, on SQLite always and on PostgreSQL where a server is named.

mod commit;
mod names;
mod once;
mod tables;

use serde_json::{Value, json};

use crate::error::Kind;
use crate::model::Operation;
use crate::testing::{Bed, create, request, with_header, with_query};
use crate::upstream::Catalog;

/// The beds that there are here.
async fn beds() -> Vec<Bed> {
    let mut beds = vec![Bed::sqlite().await];
    beds.extend(Bed::postgres().await);
    for bed in &beds {
        bed.namespace("n").await;
    }
    beds
}

fn load(name: &str) -> crate::upstream::Request {
    request(Operation::LoadTable, name, Value::Null)
}

fn set(key: &str, value: &str) -> Value {
    json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {key: value}}]})
}
