//! A commit's requirements: what the client believed of the table when it made its updates.
//!
//! One that does not hold is a conflict, in the words of Iceberg's Java library, so that the client refreshes and retries.
//! One that we do not know or cannot read is a bad request: to pass over it would be to commit blindly.

use super::super::json::{self, Object};
use super::super::schema;
use super::MAIN;
use super::open::{PARTITION_ID_BEFORE_FIRST, current_snapshot};
use crate::error::{Error, Result};
use serde_json::Value;

/// Checks every requirement against the table's current metadata; `None` is a table that does not exist.
pub fn check(requirements: &[Value], current: Option<&Value>) -> Result<()> {
    let current = current.map(|value| json::object(value, "table metadata")).transpose()?;
    requirements.iter().try_for_each(|requirement| check_one(json::object(requirement, "update requirement")?, current))
}

fn check_one(requirement: &Object, current: Option<&Object>) -> Result<()> {
    let kind = json::text(requirement, "type")?.to_ascii_lowercase();
    match kind.as_str() {
        "assert-create" => match current {
            Some(_) => Err(failed("table already exists")),
            None => Ok(()),
        },
        "assert-table-uuid" => check_uuid(json::text(requirement, "uuid")?, current),
        "assert-ref-snapshot-id" => {
            check_ref(json::text(requirement, "ref")?, json::long_or_none(requirement, "snapshot-id")?, current)
        }
        "assert-last-assigned-field-id" => {
            let expected = json::int(requirement, "last-assigned-field-id")?;
            let actual = current.map(|table| json::int(table, "last-column-id")).transpose()?;
            check_number("last assigned field id", expected, actual.or(Some(expected)))
        }
        "assert-last-assigned-partition-id" => {
            let expected = json::int(requirement, "last-assigned-partition-id")?;
            let actual = current.map(last_partition).transpose()?;
            check_number("last assigned partition id", expected, actual.or(Some(expected)))
        }
        "assert-current-schema-id" => {
            let expected = json::int(requirement, "current-schema-id")?;
            check_number("current schema", expected, current.map(current_schema).transpose()?)
        }
        "assert-default-spec-id" => {
            let expected = json::int(requirement, "default-spec-id")?;
            check_number("default partition spec", expected, number_or_0(current, "default-spec-id")?)
        }
        "assert-default-sort-order-id" => {
            let expected = json::int(requirement, "default-sort-order-id")?;
            check_number("default sort order", expected, number_or_0(current, "default-sort-order-id")?)
        }
        "assert-view-uuid" => Err(Error::bad_request("Cannot validate assert-view-uuid against a table")),
        _ => Err(Error::bad_request(format!("Cannot check unknown update requirement: {kind}"))),
    }
}

fn check_uuid(expected: &str, current: Option<&Object>) -> Result<()> {
    let actual = current.and_then(|table| table.get("table-uuid")?.as_str());
    match actual {
        Some(actual) if actual.eq_ignore_ascii_case(expected) => Ok(()),
        _ => Err(failed(&format!("UUID does not match: expected {} != {expected}", actual.unwrap_or("null")))),
    }
}

fn check_ref(name: &str, expected: Option<i64>, current: Option<&Object>) -> Result<()> {
    let found = current.map(|table| find_ref(table, name)).transpose()?.flatten();
    match (found, expected) {
        (None, None) => Ok(()),
        (Some((_, actual)), Some(expected)) if actual == expected => Ok(()),
        (Some((kind, _)), None) => Err(failed(&format!("{kind} {name} was created concurrently"))),
        (Some((kind, actual)), Some(expected)) => {
            Err(failed(&format!("{kind} {name} has changed: expected id {expected} != {actual}")))
        }
        (None, Some(expected)) => Err(failed(&format!("branch or tag {name} is missing, expected {expected}"))),
    }
}

/// A ref's kind and snapshot; metadata that has no refs written has main at its current snapshot.
fn find_ref<'a>(table: &'a Object, name: &str) -> Result<Option<(&'a str, i64)>> {
    if json::has(table, "refs") {
        let Some(to) = json::member(table, "refs")?.get(name) else { return Ok(None) };
        let to = json::object(to, "snapshot ref")?;
        let kind = to.get("type").and_then(Value::as_str).unwrap_or("branch");
        return Ok(Some((kind, json::long(to, "snapshot-id")?)));
    }
    Ok(current_snapshot(table)?.filter(|_| name == MAIN).map(|id| ("branch", id)))
}

fn check_number(what: &str, expected: i64, actual: Option<i64>) -> Result<()> {
    match actual {
        Some(actual) if actual == expected => Ok(()),
        Some(actual) => Err(failed(&format!("{what} changed: expected id {expected} != {actual}"))),
        None => Err(failed(&format!("{what} changed: expected id {expected}, but the table does not exist"))),
    }
}

fn number_or_0(current: Option<&Object>, name: &str) -> Result<Option<i64>> {
    current.map(|table| Ok(json::int_or_none(table, name)?.unwrap_or(0))).transpose()
}

fn current_schema(table: &Object) -> Result<i64> {
    match (json::int_or_none(table, "current-schema-id")?, table.get("schema")) {
        (Some(id), _) => Ok(id),
        (None, Some(only)) => schema::id_of(only),
        (None, None) => json::int(table, "current-schema-id"),
    }
}

fn last_partition(table: &Object) -> Result<i64> {
    if let Some(last) = json::int_or_none(table, "last-partition-id")? {
        return Ok(last);
    }
    let listed = json::list_or_empty(table, "partition-specs")?.iter().filter_map(|spec| spec.get("fields"));
    let fields: Vec<&Vec<Value>> = listed.chain(table.get("partition-spec")).filter_map(Value::as_array).collect();
    let count = fields.iter().map(|spec| spec.len()).max().unwrap_or(0);
    let ids = fields.into_iter().flatten().filter_map(|field| field.get("field-id")?.as_i64());
    Ok(ids.max().unwrap_or(PARTITION_ID_BEFORE_FIRST + i64::try_from(count).unwrap_or(0)))
}

fn failed(why: &str) -> Error {
    Error::commit_failed(format!("Requirement failed: {why}"))
}
