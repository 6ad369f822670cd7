//! Schemas: walking one, checking what its types and identifier fields may be, giving it fresh ids, comparing two.
//!
//! A type that we have never heard of is a leaf that we leave alone. What a schema means for partition specs and sort
//! orders is in their files; which schema is current is for tables and views.

use super::json::{self, Object};
use super::transform::{primitive, type_name};
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// The types that need a newer table format, by the name before any parameter, with the first version that has them.
const FORMAT_VERSION_MIN: &[(&str, i64)] =
    &[("timestamp_ns", 3), ("timestamptz_ns", 3), ("variant", 3), ("unknown", 3), ("geometry", 3), ("geography", 3)];
/// The first format version in which a column may have a default other than null.
const DEFAULTS_FORMAT_VERSION_MIN: i64 = 3;

/// One column, nested ones and the elements of lists and maps included.
pub(crate) struct Column<'a> {
    /// The full name, with dots: `location.lat`, `points.element`.
    pub name: String,
    /// Whether null is not allowed.
    pub required: bool,
    /// The type, as written.
    pub kind: &'a Value,
    /// The id of the column that this one is nested in.
    pub parent: Option<i64>,
    default: Option<&'a Value>,
}

/// All columns of one valid schema.
pub(crate) struct Columns<'a> {
    by_id: BTreeMap<i64, Column<'a>>,
    by_name: HashMap<String, i64>,
}

impl<'a> Columns<'a> {
    /// Walks a schema. A malformed one, an id or a name given twice, and an impossible identifier field are errors.
    pub fn of(schema: &'a Value) -> Result<Self> {
        let top = json::object(schema, "schema")?;
        let kind = json::text(top, "type")?;
        if kind != "struct" {
            return Err(Error::bad_request(format!("Cannot parse schema: its type is {kind}, not struct")));
        }
        let mut columns = Columns { by_id: BTreeMap::new(), by_name: HashMap::new() };
        columns.walk_struct(top, "", None)?;
        columns.check_identifiers(top)?;
        Ok(columns)
    }

    /// The column with this id.
    pub fn get(&self, id: i64) -> Option<&Column<'a>> {
        self.by_id.get(&id)
    }

    /// The id of the column with this full name.
    pub fn id_of(&self, name: &str) -> Option<i64> {
        self.by_name.get(name).copied()
    }

    /// The highest id in use, or 0.
    pub fn highest_id(&self) -> i64 {
        self.by_id.last_key_value().map_or(0, |(id, _)| *id)
    }

    /// Refuses types and defaults that this format version does not have.
    pub fn check_format(&self, format: i64) -> Result<()> {
        let mut problems = Vec::new();
        for column in self.by_id.values() {
            let name = column.kind.as_str().map(|text| primitive(column.kind).unwrap_or(text)).unwrap_or_default();
            let first = FORMAT_VERSION_MIN.iter().find(|(known, _)| *known == name).map_or(1, |(_, first)| *first);
            if format < first {
                problems.push(format!(
                    "Invalid type for {}: {} is not supported until v{first}",
                    column.name,
                    type_name(column.kind)
                ));
            }
            if let Some(default) = column.default.filter(|_| format < DEFAULTS_FORMAT_VERSION_MIN) {
                problems.push(format!(
                    "Invalid initial default for {}: non-null default ({}) is not supported until v{DEFAULTS_FORMAT_VERSION_MIN}",
                    column.name,
                    json::shown(default)
                ));
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::bad_request(format!("Invalid schema for v{format}:\n- {}", problems.join("\n- "))))
    }

    fn walk_struct(&mut self, from: &'a Object, prefix: &str, parent: Option<i64>) -> Result<()> {
        for value in json::list(from, "fields")? {
            let field = json::object(value, "field")?;
            let name = json::text(field, "name")?;
            if name.is_empty() {
                return Err(Error::bad_request("Invalid schema: a field has an empty name"));
            }
            let column = Column {
                name: if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") },
                required: json::flag(field, "required")?,
                kind: kind_of(field, "type")?,
                parent,
                default: field.get("initial-default").filter(|default| !default.is_null()),
            };
            self.add(json::int(field, "id")?, column)?;
        }
        Ok(())
    }

    fn walk_element(&mut self, from: &'a Object, name: &str, required: bool, prefix: &str, parent: i64) -> Result<()> {
        let column = Column {
            name: format!("{prefix}.{name}"),
            required,
            kind: kind_of(from, name)?,
            parent: Some(parent),
            default: None,
        };
        self.add(json::int(from, &format!("{name}-id"))?, column)
    }

    fn add(&mut self, id: i64, column: Column<'a>) -> Result<()> {
        if let Some(other) = self.by_id.get(&id) {
            let message = format!("Invalid schema: field id {id} is used by both {} and {}", other.name, column.name);
            return Err(Error::bad_request(message));
        }
        if let Some(other) = self.by_name.insert(column.name.clone(), id) {
            let message = format!("Invalid schema: multiple fields for name {}: {other} and {id}", column.name);
            return Err(Error::bad_request(message));
        }
        let (kind, name) = (column.kind, column.name.clone());
        self.by_id.insert(id, column);
        let Some(nested) = kind.as_object() else { return Ok(()) };
        match json::text(nested, "type")? {
            "struct" => self.walk_struct(nested, &name, Some(id)),
            "list" => self.walk_element(nested, "element", json::flag(nested, "element-required")?, &name, id),
            "map" => {
                self.walk_element(nested, "key", true, &name, id)?;
                self.walk_element(nested, "value", json::flag(nested, "value-required")?, &name, id)
            }
            _ => Ok(()),
        }
    }

    fn check_identifiers(&self, top: &Object) -> Result<()> {
        if !json::has(top, "identifier-field-ids") {
            return Ok(());
        }
        for id in json::ints(top, "identifier-field-ids")? {
            let refused = |name: &str, why: String| {
                Err(Error::bad_request(format!("Cannot add field {name} as an identifier field: {why}")))
            };
            let Some(column) = self.get(id) else {
                return Err(Error::bad_request(format!(
                    "Cannot add fieldId {id} as an identifier field: field does not exist"
                )));
            };
            match primitive(column.kind) {
                None => return refused(&column.name, "not a primitive type field".to_owned()),
                Some("float" | "double") => {
                    return refused(&column.name, "must not be float or double field".to_owned());
                }
                Some(_) if !column.required => return refused(&column.name, "not a required field".to_owned()),
                Some(_) => {}
            }
            for parent in self.parents(column) {
                if !is_struct(parent.kind) {
                    return refused(&column.name, format!("must not be nested in {}", parent.name));
                }
                if !parent.required {
                    return refused(&column.name, format!("must not be nested in an optional field {}", parent.name));
                }
            }
        }
        Ok(())
    }

    /// The columns that this one is nested in, innermost first.
    pub fn parents<'s>(&'s self, column: &Column<'a>) -> impl Iterator<Item = &'s Column<'a>> + use<'s, 'a> {
        std::iter::successors(column.parent.and_then(|id| self.get(id)), |parent| {
            parent.parent.and_then(|id| self.get(id))
        })
    }
}

/// A schema whose fields were numbered anew.
pub(crate) struct Fresh {
    /// The schema, with schema id 0.
    pub schema: Value,
    /// The highest id given.
    pub last_column_id: i64,
    /// The new id of each old one.
    pub new_ids: HashMap<i64, i64>,
}

/// Numbers a schema's fields from 1: all fields of a struct first, then what is nested in them, in order.
pub(crate) fn assign_fresh_ids(schema: &Value) -> Result<Fresh> {
    Columns::of(schema)?;
    let mut fresh = Fresh { schema: schema.clone(), last_column_id: 0, new_ids: HashMap::new() };
    let mut top = std::mem::take(&mut fresh.schema);
    if let Some(object) = top.as_object_mut() {
        fresh.renew_struct(object);
        object.insert("schema-id".to_owned(), 0.into());
        for id in object.get_mut("identifier-field-ids").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(new) = id.as_i64().and_then(|old| fresh.new_ids.get(&old)) {
                *id = (*new).into();
            }
        }
    }
    fresh.schema = top;
    Ok(fresh)
}

impl Fresh {
    fn renew(&mut self, object: &mut Object, name: &str) {
        self.last_column_id += 1;
        if let Some(old) = object.insert(name.to_owned(), self.last_column_id.into()).as_ref().and_then(Value::as_i64) {
            self.new_ids.insert(old, self.last_column_id);
        }
    }

    fn renew_struct(&mut self, object: &mut Object) {
        let Some(fields) = object.get_mut("fields").and_then(Value::as_array_mut) else { return };
        fields.iter_mut().filter_map(Value::as_object_mut).for_each(|field| self.renew(field, "id"));
        fields.iter_mut().filter_map(|field| field.get_mut("type")).for_each(|kind| self.renew_kind(kind));
    }

    fn renew_kind(&mut self, kind: &mut Value) {
        let Some(object) = kind.as_object_mut() else { return };
        let elements: &[&str] = match object.get("type").and_then(Value::as_str) {
            Some("struct") => return self.renew_struct(object),
            Some("list") => &["element"],
            Some("map") => &["key", "value"],
            _ => return,
        };
        elements.iter().for_each(|name| self.renew(object, &format!("{name}-id")));
        elements.iter().for_each(|name| {
            if let Some(nested) = object.get_mut(*name) {
                self.renew_kind(nested);
            }
        });
    }
}

/// Whether two schemas are equal but for their own ids.
pub(crate) fn same_schema(one: &Value, two: &Value) -> bool {
    let (Some(one), Some(two)) = (one.as_object(), two.as_object()) else { return false };
    let identifiers = |schema: &Object| {
        let mut ids = json::ints(schema, "identifier-field-ids").unwrap_or_default();
        ids.sort_unstable();
        ids
    };
    json::same_object(one, two, &["schema-id", "identifier-field-ids"]) && identifiers(one) == identifiers(two)
}

/// A schema's own id; a schema without one has id 0.
pub(crate) fn id_of(schema: &Value) -> Result<i64> {
    Ok(json::int_or_none(json::object(schema, "schema")?, "schema-id")?.unwrap_or(0))
}

/// The id under which a schema is added to these: that of an equal one (`true`), else one after the highest, at least `first`.
pub(crate) fn reuse_or_next_id(schemas: &[Value], schema: &Value, first: i64) -> Result<(i64, bool)> {
    let mut id = first;
    for other in schemas {
        let other_id = id_of(other)?;
        if same_schema(other, schema) {
            return Ok((other_id, true));
        } else if other_id >= id {
            id = json::next_id(other_id, "schema")?;
        }
    }
    Ok((id, false))
}

/// The schema with its own id replaced.
pub(crate) fn with_id(mut schema: Value, id: i64) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.insert("schema-id".to_owned(), id.into());
    }
    schema
}

/// Whether a type is a struct.
pub(crate) fn is_struct(kind: &Value) -> bool {
    kind.get("type").and_then(Value::as_str) == Some("struct")
}

fn kind_of<'a>(from: &'a Object, name: &str) -> Result<&'a Value> {
    match from.get(name) {
        Some(kind @ (Value::String(_) | Value::Object(_))) => Ok(kind),
        Some(other) if !other.is_null() => {
            Err(Error::bad_request(format!("Cannot parse type from json: {}", json::shown(other))))
        }
        _ => Err(Error::bad_request(format!("Cannot parse missing type: {name}"))),
    }
}

#[cfg(test)]
mod tests;
