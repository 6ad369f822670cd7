//! A new table's metadata from a create request.
//!
//! Field ids are given anew, as Iceberg's Java library does, and the request's spec and sort order, which speak of its
//! own ids, follow. Where the table lies and what its uuid is, the caller decides.

use super::super::json::{self, Object};
use super::super::schema::{Columns, assign_fresh_ids};
use super::draft::Draft;
use super::open::PARTITION_ID_BEFORE_FIRST;
use super::{property, sort, spec};
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The first metadata of a table: `request` is a CreateTableRequest, of which `schema`, `partition-spec`, `write-order` and
/// `properties` are read.
pub fn create(request: &Value, location: &str, uuid: &str, at_ms: i64) -> Result<Value> {
    let request = json::object(request, "create table request")?;
    let requested = Value::Object(json::member(request, "schema")?.clone());
    let none = Object::new();
    let properties = if json::has(request, "properties") { json::string_map(request, "properties")? } else { &none };
    let columns = Columns::of(&requested)?;
    let mut draft = Draft::empty(at_ms);
    draft.format = property::requested_format(properties)?;
    columns.check_format(draft.format)?;
    let fresh = assign_fresh_ids(&requested)?;
    let (spec, order) =
        (requested_spec(request, &columns, &fresh.new_ids)?, requested_order(request, &columns, &fresh.new_ids)?);
    draft.add_schema_with(fresh.schema, fresh.last_column_id)?;
    draft.add_spec_with(spec)?;
    draft.default_spec = draft.changes.last_spec.unwrap_or_default();
    draft.add_sort_order_with(order)?;
    draft.default_order = draft.changes.last_order.unwrap_or_default();
    draft.properties = property::stored(properties, &columns)?;
    draft.meta.insert("table-uuid".to_owned(), uuid.into());
    draft.meta.insert("location".to_owned(), property::without_trailing_slash(location).into());
    Ok(draft.finish(None)?.metadata)
}

fn requested_spec(request: &Object, columns: &Columns<'_>, new_ids: &HashMap<i64, i64>) -> Result<Object> {
    let unpartitioned = json!({ "fields": [] });
    let given = if json::has(request, "partition-spec") {
        json::member(request, "partition-spec")?
    } else {
        json::object(&unpartitioned, "spec")?
    };
    let mut spec = with_id_first("spec-id", given);
    spec::check_names(&spec, columns)?;
    spec::check_fits(&spec, columns)?;
    for (field, id) in fields_mut(&mut spec).zip(PARTITION_ID_BEFORE_FIRST + 1..) {
        rebind(field, new_ids, "partition")?;
        field.insert("field-id".to_owned(), id.into());
    }
    Ok(spec)
}

fn requested_order(request: &Object, columns: &Columns<'_>, new_ids: &HashMap<i64, i64>) -> Result<Object> {
    let unsorted = json!({ "fields": [] });
    let given = if json::has(request, "write-order") {
        json::member(request, "write-order")?
    } else {
        json::object(&unsorted, "order")?
    };
    sort::check_id(given)?;
    let mut order = with_id_first("order-id", given);
    sort::check_fits(&order, columns)?;
    for field in fields_mut(&mut order) {
        rebind(field, new_ids, "sort")?;
    }
    Ok(order)
}

/// A copy that has its id, whatever it is going to be, before all else.
fn with_id_first(name: &str, given: &Object) -> Object {
    let mut copy = Object::new();
    copy.insert(name.to_owned(), 0.into());
    copy.extend(
        given.iter().filter(|(member, _)| *member != name).map(|(member, value)| (member.clone(), value.clone())),
    );
    copy
}

fn fields_mut(from: &mut Object) -> impl Iterator<Item = &mut Object> {
    from.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Replaces the request's column ids in a field by the new ones.
fn rebind(field: &mut Object, new_ids: &HashMap<i64, i64>, what: &str) -> Result<()> {
    let renewed = |old: i64| match new_ids.get(&old) {
        Some(new) => Ok(Value::from(*new)),
        None => Err(Error::bad_request(format!("Cannot find source column for {what} field: {old}"))),
    };
    let sources: Vec<Value> = spec::sources(field)?.into_iter().map(renewed).collect::<Result<_>>()?;
    if let Some(one) = sources.first().filter(|_| json::has(field, "source-id")) {
        field.insert("source-id".to_owned(), one.clone());
    }
    if json::has(field, "source-ids") {
        let all = json::ints(field, "source-ids")?.into_iter().map(renewed).collect::<Result<_>>()?;
        field.insert("source-ids".to_owned(), Value::Array(all));
    }
    Ok(())
}
