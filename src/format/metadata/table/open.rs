//! Reading metadata of any format version into a draft.
//!
//! What old writers left out is filled in as the spec says for version 1: one schema and one spec instead of lists, ids of
//! partition fields, sort orders, refs. A member that is needed and missing or broken is an error that names it.

use super::super::json::{self, Object};
use super::super::schema;
use super::draft::{Changes, Draft};
use super::{FORMAT_VERSION_MAX, MAIN};
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Partition field ids begin after this one.
pub(super) const PARTITION_ID_BEFORE_FIRST: i64 = 999;
/// The format version of a table that does not ask for one.
pub(super) const FORMAT_VERSION_DEFAULT: i64 = 2;
/// The order in which a new table's metadata is written, which is that of Iceberg's Java library.
const MEMBERS: &[&str] = &[
    "format-version",
    "table-uuid",
    "location",
    "last-sequence-number",
    "last-updated-ms",
    "last-column-id",
    "schema",
    "current-schema-id",
    "schemas",
    "partition-spec",
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
    "statistics",
    "partition-statistics",
    "snapshot-log",
    "metadata-log",
];

impl Draft {
    /// A draft of a table that does not exist yet.
    pub fn empty(at_ms: i64) -> Self {
        let mut meta: Object = MEMBERS.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
        for name in ["statistics", "partition-statistics", "metadata-log"] {
            meta.insert(name.to_owned(), json!([]));
        }
        Draft {
            meta,
            format: FORMAT_VERSION_DEFAULT,
            last_partition: PARTITION_ID_BEFORE_FIRST,
            changes: Changes { any: true, creates: true, ..Changes::default() },
            at_ms,
            ..Draft::default()
        }
    }

    /// A draft of the metadata that follows this one.
    pub fn open(base: &Value, at_ms: i64) -> Result<Self> {
        let mut meta = json::object(base, "table metadata")?.clone();
        let format = json::int(&meta, "format-version")?;
        if !(1..=FORMAT_VERSION_MAX).contains(&format) {
            let message = format!("Cannot read unsupported version {format} (supported: 1 to {FORMAT_VERSION_MAX})");
            return Err(Error::bad_request(message));
        }
        if format > 1 {
            json::text(&meta, "table-uuid")?;
        }
        json::text(&meta, "location")?;
        json::long(&meta, "last-updated-ms")?;
        let (schemas, current_schema) = open_schemas(&mut meta, format)?;
        let (specs, default_spec, last_partition) = open_specs(&mut meta, format)?;
        let (orders, default_order) = open_orders(&mut meta, format)?;
        let current_snapshot = current_snapshot(&meta)?;
        let refs = open_refs(&mut meta, current_snapshot)?;
        let mut draft = Draft {
            format,
            schemas,
            current_schema,
            last_column: json::int(&meta, "last-column-id")?,
            specs,
            default_spec,
            last_partition,
            orders,
            default_order,
            properties: if json::has(&meta, "properties") {
                json::string_map(&meta, "properties")?.clone()
            } else {
                Object::new()
            },
            snapshots: take_list(&mut meta, "snapshots")?,
            current_snapshot,
            last_sequence: if format > 1 { json::long(&meta, "last-sequence-number")? } else { 0 },
            next_row: if format > 2 { json::long(&meta, "next-row-id")? } else { 0 },
            refs,
            snapshot_log: take_list(&mut meta, "snapshot-log")?,
            at_ms,
            ..Draft::default()
        };
        draft.meta = meta;
        draft.index_snapshots()?;
        Ok(draft)
    }

    /// Finds every snapshot's place again, after the list changed.
    pub fn index_snapshots(&mut self) -> Result<()> {
        self.snapshot_at = HashMap::with_capacity(self.snapshots.len());
        for (at, snapshot) in self.snapshots.iter().enumerate() {
            let id = json::long(json::object(snapshot, "snapshot")?, "snapshot-id")?;
            if self.snapshot_at.insert(id, at).is_some() {
                return Err(Error::bad_request(format!("Invalid table metadata: snapshot {id} is listed twice")));
            }
        }
        Ok(())
    }
}

/// The current snapshot's id; absent, null and -1 all mean that there is none.
pub(super) fn current_snapshot(meta: &Object) -> Result<Option<i64>> {
    Ok(json::long_or_none(meta, "current-snapshot-id")?.filter(|id| *id != -1))
}

/// The refs, with main added for metadata that has none written.
pub(super) fn open_refs(meta: &mut Object, current_snapshot: Option<i64>) -> Result<Object> {
    if json::has(meta, "refs") {
        let refs = json::member(meta, "refs")?.clone();
        meta.insert("refs".to_owned(), Value::Null);
        return Ok(refs);
    }
    let main = current_snapshot.map(|id| (MAIN.to_owned(), json!({ "snapshot-id": id, "type": "branch" })));
    Ok(main.into_iter().collect())
}

/// Takes a list out of the metadata, leaving null at its place.
fn take_list(meta: &mut Object, name: &str) -> Result<Vec<Value>> {
    match meta.get_mut(name).map(Value::take) {
        Some(Value::Array(list)) => Ok(list),
        Some(other) if !other.is_null() => {
            Err(Error::bad_request(format!("Cannot parse to a list value: {name}: {}", json::shown(&other))))
        }
        _ => Ok(Vec::new()),
    }
}

fn open_schemas(meta: &mut Object, format: i64) -> Result<(Vec<Value>, i64)> {
    if format > 1 || json::has(meta, "schemas") {
        json::list(meta, "schemas")?;
        let current = json::int(meta, "current-schema-id")?;
        return Ok((take_list(meta, "schemas")?, current));
    }
    let only = Value::Object(json::member(meta, "schema")?.clone());
    let id = schema::id_of(&only)?;
    Ok((vec![schema::with_id(only, id)], id))
}

fn open_specs(meta: &mut Object, format: i64) -> Result<(Vec<Value>, i64, i64)> {
    let (mut specs, default) = if format > 1 || json::has(meta, "partition-specs") {
        json::list(meta, "partition-specs")?;
        let default = json::int(meta, "default-spec-id")?;
        (take_list(meta, "partition-specs")?, default)
    } else {
        let fields = json::list(meta, "partition-spec")?.to_vec();
        (vec![json!({ "spec-id": 0, "fields": fields })], 0)
    };
    let mut highest = PARTITION_ID_BEFORE_FIRST;
    for spec in &mut specs {
        highest = highest.max(number_fields(spec)?);
    }
    let last = if format > 1 {
        Some(json::int(meta, "last-partition-id")?)
    } else {
        json::int_or_none(meta, "last-partition-id")?
    };
    Ok((specs, default, last.unwrap_or(highest)))
}

/// Gives ids to partition fields that have none, counting from 1000, and returns the highest.
fn number_fields(spec: &mut Value) -> Result<i64> {
    json::list(json::object(spec, "partition spec")?, "fields")?;
    let mut highest = PARTITION_ID_BEFORE_FIRST;
    let fields = spec.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten();
    for (field, expected) in fields.zip(PARTITION_ID_BEFORE_FIRST + 1..) {
        let id = json::int_or_none(json::object(field, "partition field")?, "field-id")?;
        if let (None, Some(object)) = (id, field.as_object_mut()) {
            object.insert("field-id".to_owned(), expected.into());
        }
        highest = highest.max(id.unwrap_or(expected));
    }
    Ok(highest)
}

fn open_orders(meta: &mut Object, format: i64) -> Result<(Vec<Value>, i64)> {
    if format > 1 || json::has(meta, "sort-orders") {
        json::list(meta, "sort-orders")?;
        let default = json::int(meta, "default-sort-order-id")?;
        return Ok((take_list(meta, "sort-orders")?, default));
    }
    Ok((vec![json!({ "order-id": 0, "fields": [] })], 0))
}
