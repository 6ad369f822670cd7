//! Whether a file that somebody registers is the metadata of a table.
//!
//! Everything that this crate or any reader needs is there, of the right type, and refers to what exists; the error names
//! what is not. Whether the files that the metadata names exist is for the caller.

use super::super::json::{self, Object};
use super::super::schema::{Columns, id_of};
use super::draft::Draft;
use super::{refs, snapshot, sort, spec, statistics};
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::HashSet;

/// Checks table metadata of format versions 1 to 3; what is wrong is a bad request that says where.
pub fn validate(metadata: &Value) -> Result<()> {
    let draft = Draft::open(metadata, 0)?;
    check_lists(&draft)?;
    check_snapshots(&draft)?;
    draft.check_snapshots()?;
    each("statistics", json::list_or_empty(&draft.meta, "statistics")?, statistics::check_statistics)?;
    let partition_statistics = json::list_or_empty(&draft.meta, "partition-statistics")?;
    each("partition-statistics", partition_statistics, statistics::check_partition_statistics)?;
    each("snapshot-log", &draft.snapshot_log, |entry| json::long(entry, "snapshot-id").map(drop))?;
    each("metadata-log", json::list_or_empty(&draft.meta, "metadata-log")?, |entry| {
        json::text(entry, "metadata-file").map(drop)
    })?;
    draft.check_logs(json::long(json::object(metadata, "table metadata")?, "last-updated-ms")?)
}

fn check_lists(draft: &Draft) -> Result<()> {
    for (at, schema) in draft.schemas.iter().enumerate() {
        Columns::of(schema).map_err(|error| at_index("schemas", at, &error))?;
    }
    each("partition-specs", &draft.specs, |entry| {
        json::int(entry, "spec-id")?;
        each("fields", json::list(entry, "fields")?, |field| {
            json::text(field, "name")?;
            json::text(field, "transform")?;
            json::int(field, "field-id")?;
            spec::sources(field).map(drop)
        })
    })?;
    each("sort-orders", &draft.orders, |order| {
        json::int(order, "order-id")?;
        each("fields", json::list(order, "fields")?, |field| {
            json::text(field, "transform")?;
            sort::check_direction(field)?;
            spec::sources(field).map(drop)
        })
    })?;
    unique("schemas", draft.schemas.iter().map(id_of))?;
    unique("partition-specs", draft.specs.iter().map(|spec| json::int(json::object(spec, "spec")?, "spec-id")))?;
    unique("sort-orders", draft.orders.iter().map(|order| json::int(json::object(order, "order")?, "order-id")))?;
    for (missing, name, id) in [
        (draft.schema(draft.current_schema).is_none(), "current-schema-id", draft.current_schema),
        (draft.spec(draft.default_spec).is_none(), "default-spec-id", draft.default_spec),
        (draft.order(draft.default_order).is_none(), "default-sort-order-id", draft.default_order),
    ] {
        if missing {
            return Err(Error::bad_request(format!("Invalid table metadata: {name} is {id}, which is not listed")));
        }
    }
    Ok(())
}

fn check_snapshots(draft: &Draft) -> Result<()> {
    each("snapshots", &draft.snapshots, |entry| {
        snapshot::sequence_number(entry)?;
        snapshot::check_snapshot(entry).map(drop)
    })?;
    for (name, to) in &draft.refs {
        let check = || {
            let to = json::object(to, "snapshot ref")?;
            refs::check_retention(&json::text(to, "type")?.to_ascii_lowercase(), to)?;
            json::long(to, "snapshot-id")
        };
        let id = check().map_err(|error| Error::bad_request(format!("{} (in refs, {name})", error.message())))?;
        if !draft.snapshot_at.contains_key(&id) {
            let message = format!("Snapshot for reference {name} ({id}) does not exist in the existing snapshots list");
            return Err(Error::bad_request(message));
        }
    }
    Ok(())
}

/// Checks every element of a list, naming the list and the place of the one that is wrong.
fn each(name: &str, list: &[Value], check: impl Fn(&Object) -> Result<()>) -> Result<()> {
    for (at, value) in list.iter().enumerate() {
        json::object(value, name).and_then(&check).map_err(|error| at_index(name, at, &error))?;
    }
    Ok(())
}

fn at_index(name: &str, at: usize, error: &Error) -> Error {
    Error::bad_request(format!("{} (in {name}[{at}])", error.message()))
}

fn unique(name: &str, ids: impl Iterator<Item = Result<i64>>) -> Result<()> {
    let mut seen = HashSet::new();
    for id in ids {
        let id = id?;
        if !seen.insert(id) {
            return Err(Error::bad_request(format!("Invalid table metadata: id {id} is listed twice in {name}")));
        }
    }
    Ok(())
}
