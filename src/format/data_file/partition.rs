//! The partition of a file: from its folders, its statistics, or the values themselves.
//!
//! What must hold: a file gets a partition only when every row of it belongs there; what the name of a folder says is believed only where the file
//! has no such column, as readers do.

use super::matching::MatchedLeaf;
use super::statistics::Aggregate;
use super::table::SpecField;
use super::text::{self, NULL};
use super::{Reason, reason};
use crate::format::manifest::{Value, ValueType};
use crate::format::transform::Transform;

/// What the rows of a file make of a partition field.
#[derive(Debug, Clone, PartialEq)]
pub enum OneValue {
    /// All the same.
    One(Option<Value>),
    /// More than one.
    Many,
}

/// A folder's name, its text and its value.
type Named<'f> = (&'f str, &'f str, Option<Value>);

/// What is known of a partition field of a file.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Known(Option<Value>),
    /// The values of the column must be read.
    Unread,
}

/// What a file's rows make of a partition field. `leaf` is the source column in the file, `read` what its values were found to make.
pub(super) fn part(
    field: &SpecField,
    leaf: Option<&(&MatchedLeaf, Aggregate)>,
    folders: &[(String, String)],
    read: Option<&OneValue>,
) -> Result<Part, Reason> {
    if field.transform == Transform::Void {
        return Ok(Part::Known(None));
    }
    let named = folder_value(field, folders)?;
    let Some((_, all)) = leaf else { return absent(field, named) };
    let found = match read {
        Some(OneValue::One(value)) => value.clone(),
        Some(OneValue::Many) => return Err(spans(field, "its rows belong to more than one")),
        None => match by_statistics(field, all)? {
            Part::Known(value) => value,
            Part::Unread => return Ok(Part::Unread),
        },
    };
    match named {
        Some((name, text, value)) if value != found => {
            let found = found.map_or("null".to_owned(), |value| shown(&value));
            Err(reason("partition", format!("its folder says {name}={text}, its rows {found}")))
        }
        _ => Ok(Part::Known(found)),
    }
}

/// A column that the file does not have.
fn absent(field: &SpecField, named: Option<Named<'_>>) -> Result<Part, Reason> {
    match (&field.transform, named) {
        (Transform::Identity, Some((_, _, value))) => Ok(Part::Known(value)),
        (_, Some((name, text, Some(_)))) => {
            let message = format!("its folder says {name}={text}, and it has no column {} to tell", field.source_name);
            Err(reason("partition", message))
        }
        _ => Ok(Part::Known(None)),
    }
}

fn by_statistics(field: &SpecField, all: &Aggregate) -> Result<Part, Reason> {
    if all.is_all_null() {
        return Ok(Part::Known(None));
    }
    if all.nulls.is_some_and(|nulls| nulls > 0) {
        return Err(spans(field, "some of its rows have null"));
    }
    let (Some(0), Some(least), Some(greatest)) = (all.nulls, &all.least, &all.greatest) else {
        return Ok(Part::Unread);
    };
    let made = |value: &Value| field.transform.apply(value, field.source_type).flatten();
    // not a number may be among the values, and no statistics say so
    if !all.is_exact || matches!(field.source_type, ValueType::Float | ValueType::Double) {
        return Ok(Part::Unread);
    }
    match (made(least), made(greatest)) {
        (Some(one), Some(other)) if one == other && (field.transform.keeps_order() || least == greatest) => {
            Ok(Part::Known(Some(one)))
        }
        (Some(_), Some(_)) if field.transform.keeps_order() => {
            Err(spans(field, &format!("its rows have from {} to {}", shown(least), shown(greatest))))
        }
        // two that fall into one bucket leave those between
        _ => Ok(Part::Unread),
    }
}

fn spans(field: &SpecField, why: &str) -> Reason {
    reason("partition", format!("it spans partitions of {}: {why}", field.partition.name))
}

/// What a folder says of a partition field: its name, its text and its value.
fn folder_value<'f>(field: &SpecField, folders: &'f [(String, String)]) -> Result<Option<Named<'f>>, Reason> {
    // a transformed value's folder is only looked at where it is one of a column itself
    if field.transform != Transform::Identity {
        return Ok(None);
    }
    let named = folders.iter().rev().find(|(name, _)| *name == field.source_name || *name == field.partition.name);
    let Some((name, text)) = named else { return Ok(None) };
    if text == NULL {
        return Ok(Some((name, text, None)));
    }
    match text::value(text, field.source_type) {
        Some(value) => Ok(Some((name, text, Some(value)))),
        None => Err(reason("partition", format!("its folder says {name}={text}, which is no {}", field.source_type))),
    }
}

/// A value for a message.
fn shown(value: &Value) -> String {
    match value {
        Value::Boolean(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::String(value) => format!("{:?}", value.chars().take(40).collect::<String>()),
        Value::Bytes(value) => format!("{} bytes", value.len()),
        Value::Decimal(value) => format!("{value} unscaled"),
    }
}
