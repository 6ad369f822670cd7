//! A table's columns, typed: what the JSON of a schema says, as far as somebody must understand it.
//!
//! What must hold: a type that we have never heard of is [`Type::Other`] with its own text, and never taken for another one; what is written
//! back as JSON is what was read. Which schema is current, and what may follow which, is for others.

use std::fmt;

use serde_json::{Value as Json, json};

use super::manifest::ValueType;
use crate::error::{Error, Result};

/// How deep types may nest.
const DEPTH_MAX: usize = 100;

/// A column or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its id.
    pub id: i32,
    /// Its own name; of a list `element`, of a map `key` and `value`.
    pub name: String,
    /// Whether it is never null.
    pub required: bool,
    /// What it holds.
    pub field_type: Type,
    /// What rows have that were written before it was there (v3).
    pub initial_default: Option<Json>,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// A single value.
    Value(ValueType),
    /// Columns of its own.
    Struct(Vec<Field>),
    /// Any number of elements.
    List(Box<Field>),
    /// Keys and values.
    Map(Box<(Field, Field)>),
    /// Something that is not known here, as it is written.
    Other(Json),
}

impl Field {
    /// A column that may be null.
    pub fn optional(id: i32, name: impl Into<String>, field_type: Type) -> Field {
        Field { id, name: name.into(), required: false, field_type, initial_default: None }
    }

    /// Its parts, one level down.
    pub fn parts(&self) -> Vec<&Field> {
        match &self.field_type {
            Type::Struct(fields) => fields.iter().collect(),
            Type::List(element) => vec![element],
            Type::Map(pair) => vec![&pair.0, &pair.1],
            Type::Value(_) | Type::Other(_) => Vec::new(),
        }
    }

    /// The same with fresh ids, each made by `next`.
    pub fn renumbered(&self, next: &mut impl FnMut() -> i32) -> Field {
        let id = next();
        let field_type = match &self.field_type {
            Type::Struct(fields) => Type::Struct(fields.iter().map(|field| field.renumbered(&mut *next)).collect()),
            Type::List(element) => Type::List(Box::new(element.renumbered(&mut *next))),
            Type::Map(pair) => Type::Map(Box::new((pair.0.renumbered(&mut *next), pair.1.renumbered(&mut *next)))),
            other => other.clone(),
        };
        Field { id, field_type, ..self.clone() }
    }

    fn to_json(&self) -> Json {
        let mut json =
            json!({"id": self.id, "name": self.name, "required": self.required, "type": self.field_type.to_json()});
        if let Some(default) = &self.initial_default {
            json["initial-default"] = default.clone();
        }
        json
    }
}

/// The columns of a schema. A malformed one is a bad request.
pub fn fields(schema: &Json) -> Result<Vec<Field>> {
    struct_fields(schema, 0)
}

/// A schema with these columns.
pub fn schema_json(schema_id: i64, fields: &[Field]) -> Json {
    json!({"type": "struct", "schema-id": schema_id, "fields": fields.iter().map(Field::to_json).collect::<Vec<_>>()})
}

impl Type {
    fn of(json: &Json, depth: usize) -> Result<Type> {
        if depth > DEPTH_MAX {
            return Err(Error::bad_request(format!("a schema nests deeper than {DEPTH_MAX}")));
        }
        if let Some(text) = json.as_str() {
            return Ok(ValueType::parse(text).map_or_else(|| Type::Other(json.clone()), Type::Value));
        }
        let part = |name: &str, required: bool| -> Result<Field> {
            Ok(Field {
                id: id(json, &format!("{name}-id"))?,
                name: name.to_owned(),
                required,
                field_type: Type::of(&json[name], depth + 1)?,
                initial_default: None,
            })
        };
        let is_set = |name: &str| json[name].as_bool().unwrap_or(false);
        Ok(match json["type"].as_str() {
            Some("struct") => Type::Struct(struct_fields(json, depth + 1)?),
            Some("list") => Type::List(Box::new(part("element", is_set("element-required"))?)),
            Some("map") => Type::Map(Box::new((part("key", true)?, part("value", is_set("value-required"))?))),
            _ => Type::Other(json.clone()),
        })
    }

    /// As a schema writes it.
    pub fn to_json(&self) -> Json {
        match self {
            Type::Value(value_type) => json!(value_type.to_string()),
            Type::Struct(fields) => {
                json!({"type": "struct", "fields": fields.iter().map(Field::to_json).collect::<Vec<_>>()})
            }
            Type::List(element) => json!({
                "type": "list", "element-id": element.id, "element-required": element.required,
                "element": element.field_type.to_json(),
            }),
            Type::Map(pair) => json!({
                "type": "map", "key-id": pair.0.id, "key": pair.0.field_type.to_json(),
                "value-id": pair.1.id, "value-required": pair.1.required, "value": pair.1.field_type.to_json(),
            }),
            Type::Other(json) => json.clone(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Value(value_type) => write!(f, "{value_type}"),
            Type::Struct(_) => f.write_str("struct"),
            Type::List(_) => f.write_str("list"),
            Type::Map(_) => f.write_str("map"),
            Type::Other(json) => write!(f, "{}", json.as_str().map_or_else(|| json.to_string(), str::to_owned)),
        }
    }
}

impl ValueType {
    /// A primitive type by the specification's name; `None` for one that is not known.
    pub fn parse(text: &str) -> Option<ValueType> {
        let inner = |open: &str, close: &str| text.strip_prefix(open)?.trim_end().strip_suffix(close);
        Some(match text.trim() {
            "boolean" => ValueType::Boolean,
            "int" => ValueType::Int,
            "long" => ValueType::Long,
            "float" => ValueType::Float,
            "double" => ValueType::Double,
            "date" => ValueType::Date,
            "time" => ValueType::Time,
            "timestamp" => ValueType::Timestamp { utc: false },
            "timestamptz" => ValueType::Timestamp { utc: true },
            "timestamp_ns" => ValueType::TimestampNs { utc: false },
            "timestamptz_ns" => ValueType::TimestampNs { utc: true },
            "string" => ValueType::String,
            "uuid" => ValueType::Uuid,
            "binary" => ValueType::Binary,
            _ => {
                if let Some(size) = inner("fixed[", "]") {
                    return size.trim().parse().ok().map(ValueType::Fixed);
                }
                let (precision, scale) = inner("decimal(", ")")?.split_once(',')?;
                let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
                (1..=38).contains(&precision).then_some(ValueType::Decimal { precision, scale })?
            }
        })
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueType::Boolean => "boolean",
            ValueType::Int => "int",
            ValueType::Long => "long",
            ValueType::Float => "float",
            ValueType::Double => "double",
            ValueType::Date => "date",
            ValueType::Time => "time",
            ValueType::Timestamp { utc: false } => "timestamp",
            ValueType::Timestamp { utc: true } => "timestamptz",
            ValueType::TimestampNs { utc: false } => "timestamp_ns",
            ValueType::TimestampNs { utc: true } => "timestamptz_ns",
            ValueType::String => "string",
            ValueType::Uuid => "uuid",
            ValueType::Binary => "binary",
            ValueType::Fixed(size) => return write!(f, "fixed[{size}]"),
            ValueType::Decimal { precision, scale } => return write!(f, "decimal({precision}, {scale})"),
        })
    }
}

fn struct_fields(json: &Json, depth: usize) -> Result<Vec<Field>> {
    let listed = json["fields"].as_array().ok_or_else(|| Error::bad_request("a schema has no fields"))?;
    let field = |json: &Json| -> Result<Field> {
        let name = json["name"].as_str().ok_or_else(|| Error::bad_request("a field of a schema has no name"))?;
        Ok(Field {
            id: id(json, "id")?,
            name: name.to_owned(),
            required: json["required"].as_bool().unwrap_or(false),
            field_type: Type::of(&json["type"], depth)?,
            initial_default: json.get("initial-default").filter(|default| !default.is_null()).cloned(),
        })
    };
    listed.iter().map(field).collect()
}

fn id(json: &Json, name: &str) -> Result<i32> {
    let id = json[name].as_i64().and_then(|id| i32::try_from(id).ok());
    id.ok_or_else(|| Error::bad_request(format!("a field of a schema has no {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_read_and_written_back() -> Result<()> {
        let schema = json!({"type": "struct", "schema-id": 3, "fields": [
            {"id": 1, "name": "a", "required": true, "type": "decimal(9, 2)"},
            {"id": 2, "name": "b", "required": false, "type": {"type": "list", "element-id": 3, "element-required": true, "element": "fixed[16]"}},
            {"id": 4, "name": "c", "required": false, "type": {"type": "map", "key-id": 5, "key": "string", "value-id": 6, "value-required": false,
                "value": {"type": "struct", "fields": [{"id": 7, "name": "d", "required": false, "type": "timestamptz_ns"}]}}},
            {"id": 8, "name": "e", "required": false, "type": "moonphase", "initial-default": "full"},
        ]});
        let fields = fields(&schema)?;
        assert_eq!(fields[0].field_type, Type::Value(ValueType::Decimal { precision: 9, scale: 2 }));
        assert_eq!(fields[3].field_type.to_string(), "moonphase");
        assert_eq!(schema_json(3, &fields), schema);
        assert!(super::fields(&json!({"fields": [{"name": "a", "type": "int"}]})).is_err());
        Ok(())
    }
}
