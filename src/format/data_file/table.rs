//! What must be known of a table to describe a data file of it: its columns, how they are found, its partition spec, what it wants counted.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::mapping::{NAME_MAPPING, NameMapping};
use super::matching::Difference;
use crate::error::{Error, Kind, Result};
use crate::format::manifest::{PartitionField, ValueType};
use crate::format::transform::Transform;
use crate::format::types::{self, Field, Type};

/// Columns that get the default mode of metrics where a table names none (`write.metadata.metrics.max-inferred-column-defaults`).
const INFERRED_MAX: usize = 100;
/// The default mode.
const TRUNCATE_DEFAULT: usize = 16;

/// A table as its data files see it.
#[derive(Debug, Clone)]
pub struct TableShape {
    /// The columns of the current schema.
    pub fields: Vec<Field>,
    /// The current spec.
    pub spec: Spec,
    /// How columns without field ids are found.
    pub mapping: NameMapping,
    /// Whether the table's own property does not say all of that yet.
    pub mapping_is_new: bool,
    /// Whether it is of the third format version.
    pub(super) has_nanoseconds: bool,
    pub(super) last_column_id: i32,
    /// Every name that a field ever had.
    pub(super) names: HashSet<(i32, String)>,
    modes: Modes,
}

/// A partition spec, typed.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// Its id.
    pub id: i32,
    /// Its fields, in order.
    pub fields: Vec<SpecField>,
}

/// A field of a partition spec, typed.
#[derive(Debug, Clone)]
pub struct SpecField {
    /// What it makes.
    pub partition: PartitionField,
    /// The column that it is made of.
    pub source_id: i32,
    /// That column's name.
    pub source_name: String,
    /// That column's type.
    pub source_type: ValueType,
    /// How it is made.
    pub transform: Transform,
}

impl Spec {
    /// The fields as manifests are written for them.
    pub fn partition(&self) -> Vec<PartitionField> {
        self.fields.iter().map(|field| field.partition.clone()).collect()
    }
}

/// How much is said of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    None,
    Counts,
    Truncate(usize),
    Full,
}

impl Mode {
    fn parse(text: &str) -> Option<Mode> {
        let lower = text.trim().to_ascii_lowercase();
        Some(match lower.as_str() {
            "none" => Mode::None,
            "counts" => Mode::Counts,
            "full" => Mode::Full,
            _ => Mode::Truncate(lower.strip_prefix("truncate(")?.strip_suffix(')')?.trim().parse().ok()?),
        })
    }
}

#[derive(Debug, Clone)]
struct Modes {
    default: Mode,
    by_id: HashMap<i32, Mode>,
}

impl TableShape {
    /// Of a table's metadata. [`Kind::Unprocessable`] for a table whose partitions cannot be computed here.
    pub fn of(metadata: &Json) -> Result<TableShape> {
        let all = schemas(metadata)?;
        let current = current_schema(metadata, &all)?;
        let fields = types::fields(current)?;
        let mut names = HashSet::new();
        for schema in &all {
            note_names(&types::fields(schema)?.iter().collect::<Vec<_>>(), &mut names);
        }
        let said = metadata["properties"][NAME_MAPPING].as_str().map(NameMapping::parse).transpose()?;
        let mapping = said.clone().unwrap_or_default().with(&fields);
        let last_column_id = metadata["last-column-id"].as_i64().and_then(|id| i32::try_from(id).ok());
        Ok(TableShape {
            spec: spec(metadata, &fields)?,
            mapping_is_new: said.as_ref() != Some(&mapping),
            mapping,
            has_nanoseconds: metadata["format-version"].as_i64().unwrap_or(2) >= 3,
            last_column_id: last_column_id.ok_or_else(|| missing("last-column-id"))?,
            names,
            modes: Modes::of(&metadata["properties"], &fields),
            fields,
        })
    }

    /// The highest id of a column.
    pub fn last_column_id(&self) -> i32 {
        self.last_column_id
    }

    pub(super) fn mode(&self, field_id: i32) -> Mode {
        self.modes.by_id.get(&field_id).copied().unwrap_or(self.modes.default)
    }

    /// The same with new columns and wider types.
    pub fn evolved(&self, differences: &[Difference]) -> TableShape {
        let mut next = self.clone();
        for difference in differences {
            match difference {
                Difference::New { parent, field } => {
                    let there = children(&mut next.fields, *parent);
                    let Some(there) = there.filter(|there| there.iter().all(|known| known.name != field.name)) else {
                        continue;
                    };
                    let mut last = next.last_column_id;
                    let fresh = field.renumbered(&mut || {
                        last += 1;
                        last
                    });
                    there.push(fresh);
                    next.last_column_id = last;
                }
                Difference::Wider { id, to, .. } => widen(&mut next.fields, *id, *to),
            }
        }
        note_names(&next.fields.iter().collect::<Vec<_>>(), &mut next.names);
        next.mapping = next.mapping.with(&next.fields);
        next.mapping_is_new = self.mapping_is_new || next.mapping != self.mapping;
        for field in &mut next.spec.fields {
            if let Some(Field { field_type: Type::Value(source), .. }) = find(&next.fields, field.source_id) {
                field.source_type = *source;
                field.partition.value_type = field.transform.result_type(*source).unwrap_or(field.partition.value_type);
            }
        }
        next
    }
}

impl Modes {
    fn of(properties: &Json, fields: &[Field]) -> Modes {
        let text = |key: &str| properties[key].as_str();
        let said = text("write.metadata.metrics.default").and_then(Mode::parse);
        let default = said.unwrap_or(Mode::Truncate(TRUNCATE_DEFAULT));
        let max = text("write.metadata.metrics.max-inferred-column-defaults").and_then(|max| max.parse().ok());
        let mut leaves = Vec::new();
        note_leaves(fields, "", &mut leaves);
        let mut by_id = HashMap::new();
        if said.is_none() {
            let beyond = leaves.iter().skip(max.unwrap_or(INFERRED_MAX));
            by_id.extend(beyond.map(|(id, _)| (*id, Mode::None)));
        }
        for (id, name) in &leaves {
            if let Some(mode) = text(&format!("write.metadata.metrics.column.{name}")).and_then(Mode::parse) {
                by_id.insert(*id, mode);
            }
        }
        Modes { default, by_id }
    }
}

/// The columns of single values with their full names.
fn note_leaves(fields: &[Field], prefix: &str, leaves: &mut Vec<(i32, String)>) {
    for field in fields {
        let name = if prefix.is_empty() { field.name.clone() } else { format!("{prefix}.{}", field.name) };
        let parts: Vec<Field> = field.parts().into_iter().cloned().collect();
        if parts.is_empty() {
            leaves.push((field.id, name));
        } else {
            note_leaves(&parts, &name, leaves);
        }
    }
}

fn note_names(fields: &[&Field], names: &mut HashSet<(i32, String)>) {
    for field in fields {
        names.insert((field.id, field.name.clone()));
        note_names(&field.parts(), names);
    }
}

/// The field with this id, wherever it is.
pub(super) fn find(fields: &[Field], id: i32) -> Option<&Field> {
    fn within(field: &Field, id: i32) -> Option<&Field> {
        if field.id == id { Some(field) } else { field.parts().into_iter().find_map(|part| within(part, id)) }
    }
    fields.iter().find_map(|field| within(field, id))
}

fn find_mut(fields: &mut [Field], id: i32) -> Option<&mut Field> {
    fields.iter_mut().find_map(|field| find_in(field, id))
}

fn find_in(field: &mut Field, id: i32) -> Option<&mut Field> {
    if field.id == id {
        return Some(field);
    }
    match &mut field.field_type {
        Type::Struct(fields) => find_mut(fields, id),
        Type::List(element) => find_in(element, id),
        Type::Map(pair) => {
            let (key, value) = pair.as_mut();
            find_in(key, id).or_else(|| find_in(value, id))
        }
        Type::Value(_) | Type::Other(_) => None,
    }
}

/// The columns of a struct, or the table's own.
fn children(fields: &mut Vec<Field>, parent: Option<i32>) -> Option<&mut Vec<Field>> {
    let Some(parent) = parent else { return Some(fields) };
    match &mut find_mut(fields, parent)?.field_type {
        Type::Struct(fields) => Some(fields),
        _ => None,
    }
}

fn widen(fields: &mut [Field], id: i32, to: ValueType) {
    let Some(Field { field_type: Type::Value(from), .. }) = find_mut(fields, id) else { return };
    *from = match (*from, to) {
        // of two files that both have more digits the wider counts
        (ValueType::Decimal { precision, scale }, ValueType::Decimal { precision: wider, .. }) => {
            ValueType::Decimal { precision: precision.max(wider), scale }
        }
        (_, to) => to,
    };
}

/// All schemas; the first format version may have one only.
fn schemas(metadata: &Json) -> Result<Vec<&Json>> {
    let listed: Vec<&Json> = metadata["schemas"].as_array().into_iter().flatten().collect();
    match (listed.is_empty(), metadata.get("schema")) {
        (false, _) => Ok(listed),
        (true, Some(schema)) => Ok(vec![schema]),
        (true, None) => Err(missing("schemas")),
    }
}

fn current_schema<'m>(metadata: &Json, all: &[&'m Json]) -> Result<&'m Json> {
    let current = metadata["current-schema-id"].as_i64().unwrap_or(0);
    let found = all.iter().find(|schema| schema["schema-id"].as_i64().unwrap_or(0) == current);
    found.copied().ok_or_else(|| missing("current schema"))
}

fn spec(metadata: &Json, fields: &[Field]) -> Result<Spec> {
    let id = metadata["default-spec-id"].as_i64().unwrap_or(0);
    let listed = metadata["partition-specs"].as_array().into_iter().flatten();
    let spec = listed.into_iter().find(|spec| spec["spec-id"].as_i64() == Some(id));
    let spec_fields = spec.map(|spec| &spec["fields"]).or(metadata.get("partition-spec"));
    let listed = spec_fields.and_then(Json::as_array).ok_or_else(|| missing("default partition spec"))?;
    let typed = listed.iter().enumerate().map(|(at, field)| spec_field(field, at, fields)).collect::<Result<_>>()?;
    Ok(Spec { id: i32::try_from(id).map_err(|_| missing("default partition spec"))?, fields: typed })
}

fn spec_field(json: &Json, at: usize, fields: &[Field]) -> Result<SpecField> {
    let name = json["name"].as_str().ok_or_else(|| missing("name of a partition field"))?;
    let unknown = || {
        let message = format!("the partition field {name} ({}) cannot be computed here", json["transform"]);
        Error::new(Kind::Unprocessable, message)
    };
    let number = |key: &str| json[key].as_i64().and_then(|id| i32::try_from(id).ok());
    let transform = json["transform"].as_str().and_then(Transform::parse).ok_or_else(unknown)?;
    let source_id = number("source-id").ok_or_else(unknown)?;
    let (source_name, source_type) = match find(fields, source_id) {
        Some(Field { name, field_type: Type::Value(source), .. }) => (name.clone(), *source),
        // a column that was dropped: its partition field stays in the first format version, and makes nothing
        None if transform == Transform::Void => (String::new(), ValueType::Int),
        _ => return Err(unknown()),
    };
    let value_type = transform.result_type(source_type).ok_or_else(unknown)?;
    let field_id = number("field-id").unwrap_or(1000 + at as i32);
    let partition = PartitionField { field_id, name: name.to_owned(), value_type };
    Ok(SpecField { partition, source_id, source_name, source_type, transform })
}

fn missing(what: &str) -> Error {
    Error::bad_request(format!("table metadata has no {what}"))
}
