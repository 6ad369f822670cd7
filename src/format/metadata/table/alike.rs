//! Whether two states of a table are the same one, as far as a catalog can keep it, and what a state is to a catalog that keeps no history.
//!
//! This is the one place that says what may differ: [`UPSTREAMS_OWN`], the order of lists whose elements have ids, members that are null or empty or hold a
//! default, and the parent of a snapshot whose parent is not there.

use serde_json::{Value, json};

use super::super::json::{self, Object};
use super::MAIN;
use super::draft::Draft;
use crate::error::{Error, Kind, Result};

/// Members that each catalog writes by itself at every commit, and those that only repeat others for readers of version 1.
const UPSTREAMS_OWN: [&str; 4] = ["last-updated-ms", "metadata-log", "schema", "partition-spec"];
/// Members that are compared one by one.
const COMPARED: [&str; 21] = [
    "format-version",
    "location",
    "last-sequence-number",
    "last-column-id",
    "current-schema-id",
    "schemas",
    "default-spec-id",
    "partition-specs",
    "last-partition-id",
    "default-sort-order-id",
    "sort-orders",
    "properties",
    "current-snapshot-id",
    "next-row-id",
    "refs",
    "snapshots",
    "snapshot-log",
    "statistics",
    "partition-statistics",
    "encryption-keys",
    "table-uuid",
];

/// The members in which `found` is not `wanted`, by name.
pub fn unlike(found: &Value, wanted: &Value) -> Result<Vec<String>> {
    let open = |metadata: &Value| {
        Draft::open(metadata, 0)
            .map_err(|e| Error::new(Kind::Unprocessable, format!("the metadata is not valid: {}", e.message())))
    };
    let (one, two) = (open(found)?, open(wanted)?);
    let mut unlike = Vec::new();
    let mut note = |name: &str, alike: bool| {
        if !alike {
            unlike.push(name.to_owned());
        }
    };
    let uuid = |draft: &Draft| draft.meta.get("table-uuid").and_then(Value::as_str).map(str::to_ascii_lowercase);
    note("table-uuid", uuid(&one) == uuid(&two));
    for (name, one, two) in [
        ("format-version", one.format, two.format),
        ("last-sequence-number", one.last_sequence, two.last_sequence),
        ("last-column-id", one.last_column, two.last_column),
        ("current-schema-id", one.current_schema, two.current_schema),
        ("default-spec-id", one.default_spec, two.default_spec),
        ("last-partition-id", one.last_partition, two.last_partition),
        ("default-sort-order-id", one.default_order, two.default_order),
        ("next-row-id", one.next_row, two.next_row),
    ] {
        note(name, one == two);
    }
    note("current-snapshot-id", one.current_snapshot == two.current_snapshot);
    note("schemas", by_id(&one.schemas, &two.schemas, "schema-id"));
    note("partition-specs", by_id(&one.specs, &two.specs, "spec-id"));
    note("sort-orders", by_id(&one.orders, &two.orders, "order-id"));
    note("properties", loosely(&json!(one.properties), &json!(two.properties)));
    note("refs", loosely(&json!(one.refs), &json!(two.refs)));
    note("snapshots", by_id(&snapshots(&one, &two), &snapshots(&two, &two), "snapshot-id"));
    note("snapshot-log", loosely(&json!(one.snapshot_log), &json!(two.snapshot_log)));
    for (list, id) in
        [("statistics", "snapshot-id"), ("partition-statistics", "snapshot-id"), ("encryption-keys", "key-id")]
    {
        note(list, by_id(json::list_or_empty(&one.meta, list)?, json::list_or_empty(&two.meta, list)?, id));
    }
    note("location", one.meta.get("location") == two.meta.get("location"));
    let others = one.meta.keys().chain(two.meta.keys()).filter(|name| !is_known(name));
    for name in others {
        let member = |draft: &Draft| draft.meta.get(name).cloned().unwrap_or_default();
        note(name, loosely(&member(&one), &member(&two)));
    }
    unlike.sort();
    unlike.dedup();
    Ok(unlike)
}

/// The state as a catalog holds it that keeps nothing but the current snapshot: no other snapshot, branch, tag or statistics.
pub fn current_only(metadata: &Value) -> Result<Value> {
    let draft = Draft::open(metadata, 0)?;
    let mut kept = metadata.clone();
    let current = draft.current_snapshot.and_then(|id| draft.snapshot(id)).cloned();
    let object = kept.as_object_mut().ok_or_else(|| Error::internal("metadata is no JSON object"))?;
    for name in ["statistics", "partition-statistics", "refs"] {
        object.remove(name);
    }
    let (mut snapshots, mut log) = (Vec::new(), Vec::new());
    if let Some(mut current) = current {
        if let Some(snapshot) = current.as_object_mut() {
            snapshot.remove("parent-snapshot-id");
            if draft.format > 1 {
                let sequence = snapshot.get("sequence-number").cloned().unwrap_or_else(|| 0.into());
                object.insert("last-sequence-number".to_owned(), sequence);
            }
        }
        let (id, at) = (current["snapshot-id"].clone(), current["timestamp-ms"].clone());
        object.insert("refs".to_owned(), json!({ MAIN: { "snapshot-id": id, "type": "branch" } }));
        log.push(json!({ "snapshot-id": id, "timestamp-ms": at }));
        snapshots.push(current);
    }
    object.insert("snapshots".to_owned(), Value::Array(snapshots));
    object.insert("snapshot-log".to_owned(), Value::Array(log));
    Ok(kept)
}

fn is_known(name: &str) -> bool {
    UPSTREAMS_OWN.contains(&name) || COMPARED.contains(&name)
}

/// A state's snapshots; a parent that `wanted` does not have says nothing, and the number 0 is that of a snapshot without one.
fn snapshots(of: &Draft, wanted: &Draft) -> Vec<Value> {
    let mut snapshots = of.snapshots.clone();
    for snapshot in snapshots.iter_mut().filter_map(Value::as_object_mut) {
        let parent = snapshot.get("parent-snapshot-id").and_then(Value::as_i64);
        if parent.is_some_and(|parent| wanted.snapshot(parent).is_none()) {
            snapshot.remove("parent-snapshot-id");
        }
        if snapshot.get("sequence-number").and_then(Value::as_i64) == Some(0) {
            snapshot.remove("sequence-number");
        }
    }
    snapshots
}

/// Whether two lists have equal elements, whatever their order; one without an id has id 0.
fn by_id(one: &[Value], two: &[Value], name: &str) -> bool {
    let sorted = |list: &[Value]| {
        let id = |value: &Value| if value[name].is_null() { "0".to_owned() } else { value[name].to_string() };
        let mut sorted: Vec<_> = list.iter().map(|value| (id(value), without(value, name))).collect();
        sorted.sort_by(|one, two| one.0.cmp(&two.0));
        sorted
    };
    let (one, two) = (sorted(one), sorted(two));
    one.len() == two.len() && one.iter().zip(&two).all(|(one, two)| one.0 == two.0 && loosely(&one.1, &two.1))
}

fn without(value: &Value, name: &str) -> Value {
    let members = value.as_object().into_iter().flatten().filter(|(member, _)| *member != name);
    Value::Object(members.map(|(member, value)| (member.clone(), value.clone())).collect::<Object>())
}

/// Whether two values say the same; what is null or empty says nothing.
fn loosely(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Object(one), Value::Object(two)) => {
            let within = |one: &Object, two: &Object| {
                one.iter().all(|(name, value)| loosely(value, two.get(name).unwrap_or(&Value::Null)))
            };
            within(one, two) && within(two, one)
        }
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| loosely(one, two))
        }
        _ => one == two || says_nothing(one) && says_nothing(two),
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}
