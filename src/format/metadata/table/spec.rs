//! Partition specs: the updates of a table's specs, and whether a spec fits a schema.
//!
//! An equal spec is not added twice. Field ids that a client leaves out are given here: those that the same source and
//! transform had before, else new ones. Values of partitions are not looked at.

use super::super::json::{self, Object};
use super::super::schema::{Columns, is_struct};
use super::super::transform;
use super::draft::Draft;
use super::open::PARTITION_ID_BEFORE_FIRST;
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

impl Draft {
    /// `add-spec`: `spec`, bound to the current schema.
    pub fn add_spec(&mut self, update: &Object) -> Result<()> {
        let mut spec = json::member(update, "spec")?.clone();
        let schema = self.schema(self.current_schema).cloned();
        let schema =
            schema.ok_or_else(|| Error::bad_request("Cannot add a partition spec before a schema is added"))?;
        let columns = Columns::of(&schema)?;
        check_names(&spec, &columns)?;
        check_fits(&spec, &columns)?;
        let fields = self.number(json::list(&spec, "fields")?)?;
        spec.insert("fields".to_owned(), Value::Array(fields));
        self.add_spec_with(spec)
    }

    /// Adds a spec that is known to fit the schema and whose fields have ids.
    pub fn add_spec_with(&mut self, mut spec: Object) -> Result<()> {
        let fields = json::list(&spec, "fields")?;
        let mut id = 0;
        for other in &self.specs {
            let other = json::object(other, "partition spec")?;
            let other_id = json::int(other, "spec-id")?;
            if compatible(json::list(other, "fields")?, fields) {
                self.changes.last_spec = Some(other_id);
                return Ok(());
            } else if other_id >= id {
                id = json::next_id(other_id, "partition spec")?;
            }
        }
        let mut ids = field_ids(fields)?;
        if self.format == 1 && !ids.iter().copied().eq((PARTITION_ID_BEFORE_FIRST + 1..).take(ids.len())) {
            let shown = json::shown(&Value::Array(fields.to_vec()));
            return Err(Error::bad_request(format!(
                "Spec does not use sequential IDs that are required in v1: {shown}"
            )));
        }
        ids.push(self.last_partition);
        self.last_partition = ids.into_iter().max().unwrap_or(PARTITION_ID_BEFORE_FIRST);
        spec.insert("spec-id".to_owned(), id.into());
        self.specs.push(Value::Object(spec));
        self.changes.last_spec = Some(id);
        self.changes.any = true;
        Ok(())
    }

    /// `set-default-spec`: `spec-id`, -1 for the one added last.
    pub fn set_default_spec(&mut self, update: &Object) -> Result<()> {
        let mut id = json::int(update, "spec-id")?;
        if id == -1 {
            id = self
                .changes
                .last_spec
                .ok_or_else(|| Error::bad_request("Cannot set last added spec: no spec has been added"))?;
        }
        if id == self.default_spec {
            return Ok(());
        }
        if self.spec(id).is_none() {
            return Err(Error::bad_request(format!("Cannot set default partition spec to unknown spec: {id}")));
        }
        self.default_spec = id;
        self.changes.any = true;
        Ok(())
    }

    /// `remove-partition-specs`: `spec-ids`.
    pub fn remove_specs(&mut self, update: &Object) -> Result<()> {
        let ids = json::ints(update, "spec-ids")?;
        if ids.contains(&self.default_spec) {
            return Err(Error::bad_request("Cannot remove the default partition spec"));
        }
        if !ids.is_empty() {
            self.specs.retain(|spec| !spec.get("spec-id").and_then(Value::as_i64).is_some_and(|id| ids.contains(&id)));
            self.changes.last_spec = self.changes.last_spec.filter(|id| !ids.contains(id));
            self.changes.any = true;
        }
        Ok(())
    }

    /// Gives ids to the fields that have none.
    fn number(&self, fields: &[Value]) -> Result<Vec<Value>> {
        let mut known: HashMap<(String, String), i64> = HashMap::new();
        let fields_before = self.specs.iter().filter_map(|spec| spec.get("fields")?.as_array()).flatten();
        for field in fields_before.chain(fields).filter_map(Value::as_object) {
            if let (Ok(key), Some(id)) = (source_and_transform(field), json::int_or_none(field, "field-id")?) {
                known.entry(key).or_insert(id);
            }
        }
        let mut last = known.values().copied().fold(self.last_partition, i64::max);
        let mut numbered = Vec::with_capacity(fields.len());
        for (field, sequential) in fields.iter().zip(PARTITION_ID_BEFORE_FIRST + 1..) {
            let mut field = json::object(field, "partition field")?.clone();
            if json::int_or_none(&field, "field-id")?.is_none() {
                let id = match known.get(&source_and_transform(&field)?) {
                    _ if self.format == 1 => sequential,
                    Some(id) => *id,
                    None => {
                        last = json::next_id(last, "partition field")?;
                        last
                    }
                };
                field.insert("field-id".to_owned(), id.into());
            }
            numbered.push(Value::Object(field));
        }
        Ok(numbered)
    }
}

/// Refuses a spec whose sources are not in the schema or cannot be transformed so.
pub(super) fn check_fits(spec: &Object, columns: &Columns<'_>) -> Result<()> {
    for value in json::list(spec, "fields")? {
        let field = json::object(value, "partition field")?;
        let name = json::text(field, "transform")?;
        let sources = sources(field)?;
        // The source of a void field may be gone: version 1 keeps such fields in their places for good.
        if transform::is_void(name) {
            continue;
        }
        for source in sources {
            let Some(column) = columns.get(source) else {
                return Err(Error::bad_request(format!(
                    "Cannot find source column for partition field: {}",
                    shown(field, source)
                )));
            };
            if transform::primitive(column.kind).is_none() {
                let kind = transform::type_name(column.kind);
                return Err(Error::bad_request(format!("Cannot partition by non-primitive source field: {kind}")));
            }
            transform::check(name, column.kind)?;
            if let Some(parent) = columns.parents(column).find(|parent| !is_struct(parent.kind)) {
                return Err(Error::bad_request(format!(
                    "Invalid partition field parent: {}",
                    transform::type_name(parent.kind)
                )));
            }
        }
    }
    Ok(())
}

/// Refuses names that are empty, given twice, or those of another column.
pub(super) fn check_names(spec: &Object, columns: &Columns<'_>) -> Result<()> {
    let mut names = HashSet::new();
    for value in json::list(spec, "fields")? {
        let field = json::object(value, "partition field")?;
        let name = json::text(field, "name")?;
        if name.is_empty() {
            return Err(Error::bad_request("Cannot use empty or null partition name: "));
        }
        if !names.insert(name) {
            return Err(Error::bad_request(format!("Cannot use partition name more than once: {name}")));
        }
        if columns.id_of(name).is_some_and(|column| !sources(field).is_ok_and(|ids| ids.contains(&column))) {
            let message = format!("Cannot create identity partition sourced from different field in schema: {name}");
            return Err(Error::bad_request(message));
        }
    }
    Ok(())
}

/// The columns that a partition or sort field is made from; multi-argument transforms have several.
pub(super) fn sources(field: &Object) -> Result<Vec<i64>> {
    if json::has(field, "source-id") || !json::has(field, "source-ids") {
        return Ok(vec![json::int(field, "source-id")?]);
    }
    json::ints(field, "source-ids")
}

fn source_and_transform(field: &Object) -> Result<(String, String)> {
    Ok((format!("{:?}", sources(field)?), json::text(field, "transform")?.to_ascii_lowercase()))
}

fn field_ids(fields: &[Value]) -> Result<Vec<i64>> {
    let mut seen = HashSet::new();
    let ids: Vec<i64> = fields
        .iter()
        .map(|field| json::int(json::object(field, "partition field")?, "field-id"))
        .collect::<Result<_>>()?;
    match ids.iter().find(|id| !seen.insert(**id)) {
        Some(id) => Err(Error::bad_request(format!("Invalid partition spec: field id {id} is used twice"))),
        None => Ok(ids),
    }
}

/// Whether two specs partition alike: same sources, transforms and names in the same order, whatever the ids.
fn compatible(one: &[Value], two: &[Value]) -> bool {
    let alike = |one: &Object, two: &Object| {
        let (Ok(first), Ok(second)) = (source_and_transform(one), source_and_transform(two)) else { return false };
        first == second && json::same_object(one, two, &["source-id", "source-ids", "transform", "field-id"])
    };
    let both =
        |(one, two): (&Value, &Value)| one.as_object().zip(two.as_object()).is_some_and(|(one, two)| alike(one, two));
    one.len() == two.len() && one.iter().zip(two).all(both)
}

fn shown(field: &Object, source: i64) -> String {
    let text = |name: &str| field.get(name).and_then(Value::as_str).unwrap_or_default();
    let id = field.get("field-id").map(ToString::to_string).unwrap_or_else(|| "null".to_owned());
    format!("{id}: {}: {}({source})", text("name"), text("transform"))
}
