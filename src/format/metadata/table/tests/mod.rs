//! Tables through the doors that callers use: create, check, apply, validate, refs only.
#![allow(clippy::unwrap_used)]

mod creating;
mod differing;
mod history;
mod random;
mod requiring;
mod updating;

use super::*;
use serde_json::json;

const NOW: i64 = 1_700_000_000_000;
const UUID: &str = "9c12d441-03fe-4693-9a96-a0705ddf69c1";

fn column(id: i64, name: &str, kind: &str) -> Value {
    json!({ "id": id, "name": name, "required": false, "type": kind })
}

fn schema() -> Value {
    json!({ "type": "struct", "schema-id": 0, "fields": [column(1, "id", "long"), column(2, "data", "string"), column(3, "ts", "timestamptz")] })
}

/// A new, empty table of this format version.
fn table(format: i64) -> Value {
    let request = json!({ "name": "t", "schema": schema(), "properties": { "format-version": format.to_string() } });
    create(&request, "s3://bucket/t", UUID, NOW).unwrap()
}

/// One update applied to a table of version 2.
fn update(base: &Value, update: Value) -> Value {
    updates(base, &[update])
}

fn updates(base: &Value, updates: &[Value]) -> Value {
    let applied = apply(Some(base), Some("s3://bucket/t/metadata/0.json"), updates, NOW + 1).unwrap();
    validate(&applied.metadata).unwrap();
    applied.metadata
}

fn refused(base: &Value, update: Value) -> String {
    all_refused(base, &[update])
}

fn all_refused(base: &Value, updates: &[Value]) -> String {
    apply(Some(base), None, updates, NOW + 1).unwrap_err().message().to_owned()
}

fn unchanged(base: &Value, update: Value) {
    let applied = apply(Some(base), Some("s3://bucket/t/metadata/0.json"), &[update], NOW + 1).unwrap();
    assert!(!applied.changed);
    assert_eq!(&applied.metadata, base);
}

fn snapshot(id: i64, sequence: i64, parent: Option<i64>) -> Value {
    let mut snapshot = json!({
        "snapshot-id": id, "sequence-number": sequence, "timestamp-ms": NOW + id,
        "manifest-list": format!("s3://bucket/t/metadata/snap-{id}.avro"),
        "summary": { "operation": "append" }, "schema-id": 0,
    });
    if let Some(parent) = parent {
        snapshot["parent-snapshot-id"] = parent.into();
    }
    snapshot
}

fn add(snapshot: Value) -> Value {
    json!({ "action": "add-snapshot", "snapshot": snapshot })
}

fn set_ref(name: &str, id: i64) -> Value {
    json!({ "action": "set-snapshot-ref", "ref-name": name, "type": "branch", "snapshot-id": id })
}

/// A table whose main went through snapshots 1 to `count`, one commit each.
fn with_history(count: i64) -> Value {
    (1..=count).fold(table(2), |base, id| {
        updates(&base, &[add(snapshot(id, id, (id > 1).then_some(id - 1))), set_ref("main", id)])
    })
}
