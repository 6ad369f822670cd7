//! Reading members of JSON objects that came from outside.
//!
//! A member that is missing or of another type is a bad request that names it, in the words of Iceberg's Java library.
//! Whole numbers that Java reads as `int` are held to its range here, so that arithmetic on them cannot overflow an
//! `i64`. What a member means is left to the callers.

use crate::error::{Error, Result};
use serde_json::{Map, Value};

/// A JSON object, members in the order in which they were written.
pub(super) type Object = Map<String, Value>;

/// How much of an unexpected value an error message shows.
const SHOWN_CHARS_MAX: usize = 120;

/// The value as an object; `what` names it in the error.
pub(super) fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Object> {
    value
        .as_object()
        .ok_or_else(|| Error::bad_request(format!("Cannot parse {what} from non-object value: {}", shown(value))))
}

/// A member that must be an object.
pub(super) fn member<'a>(from: &'a Object, name: &str) -> Result<&'a Object> {
    object(present(from, name, "field")?, name)
}

/// A member that must be a string.
pub(super) fn text<'a>(from: &'a Object, name: &str) -> Result<&'a str> {
    let value = present(from, name, "string")?;
    value.as_str().ok_or_else(|| mistyped("a string", name, value))
}

/// A member that must be a boolean.
pub(super) fn flag(from: &Object, name: &str) -> Result<bool> {
    let value = present(from, name, "boolean")?;
    value.as_bool().ok_or_else(|| mistyped("a boolean", name, value))
}

/// A member that must be a list.
pub(super) fn list<'a>(from: &'a Object, name: &str) -> Result<&'a [Value]> {
    let value = present(from, name, "list")?;
    value.as_array().map(Vec::as_slice).ok_or_else(|| mistyped("a list", name, value))
}

/// A member that may be absent or null, and is a list otherwise.
pub(super) fn list_or_empty<'a>(from: &'a Object, name: &str) -> Result<&'a [Value]> {
    if has(from, name) { list(from, name) } else { Ok(&[]) }
}

/// A member that must be a whole number in the range of `i32`.
pub(super) fn int(from: &Object, name: &str) -> Result<i64> {
    let value = present(from, name, "int")?;
    as_int(value).ok_or_else(|| mistyped("an integer", name, value))
}

/// A member that may be absent or null, and is a whole number in the range of `i32` otherwise.
pub(super) fn int_or_none(from: &Object, name: &str) -> Result<Option<i64>> {
    if has(from, name) { int(from, name).map(Some) } else { Ok(None) }
}

/// A member that must be a whole number in the range of `i64`.
pub(super) fn long(from: &Object, name: &str) -> Result<i64> {
    let value = present(from, name, "long")?;
    value.as_i64().ok_or_else(|| mistyped("a long", name, value))
}

/// A member that may be absent or null, and is a whole number in the range of `i64` otherwise.
pub(super) fn long_or_none(from: &Object, name: &str) -> Result<Option<i64>> {
    if has(from, name) { long(from, name).map(Some) } else { Ok(None) }
}

/// A member that must be a list of whole numbers in the range of `i32`.
pub(super) fn ints(from: &Object, name: &str) -> Result<Vec<i64>> {
    list(from, name)?.iter().map(|value| as_int(value).ok_or_else(|| mistyped("an integer", name, value))).collect()
}

/// A member that must be a list of whole numbers in the range of `i64`.
pub(super) fn longs(from: &Object, name: &str) -> Result<Vec<i64>> {
    list(from, name)?.iter().map(|value| value.as_i64().ok_or_else(|| mistyped("a long", name, value))).collect()
}

/// A member that must be a list of strings.
pub(super) fn texts<'a>(from: &'a Object, name: &str) -> Result<Vec<&'a str>> {
    list(from, name)?.iter().map(|value| value.as_str().ok_or_else(|| mistyped("a string", name, value))).collect()
}

/// A member that must be an object of strings.
pub(super) fn string_map<'a>(from: &'a Object, name: &str) -> Result<&'a Object> {
    let map = member(from, name)?;
    match map.iter().find(|(_, value)| !value.is_string()) {
        Some((key, value)) => Err(mistyped("a string", key, value)),
        None => Ok(map),
    }
}

/// Whether a member is there and not null.
pub(super) fn has(from: &Object, name: &str) -> bool {
    from.get(name).is_some_and(|value| !value.is_null())
}

/// The id after this one, or an error when ids are used up.
pub(super) fn next_id(id: i64, what: &str) -> Result<i64> {
    match id.checked_add(1).filter(|next| i32::try_from(*next).is_ok()) {
        Some(next) => Ok(next),
        None => Err(Error::bad_request(format!("Cannot assign another {what} id after {id}"))),
    }
}

/// Whether two values say the same: the order of members and members that are null make no difference.
pub(super) fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Object(one), Value::Object(two)) => same_object(one, two, &[]),
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(a, b)| same(a, b))
        }
        _ => one == two,
    }
}

/// Like [`same`], for objects, without looking at the members named in `except`.
pub(super) fn same_object(one: &Object, two: &Object, except: &[&str]) -> bool {
    let counts = |name: &str, value: &Value| !value.is_null() && !except.contains(&name);
    let within = |one: &Object, two: &Object| {
        one.iter()
            .filter(|(name, value)| counts(name, value))
            .all(|(name, value)| two.get(name).is_some_and(|other| same(value, other)))
    };
    within(one, two) && two.iter().filter(|(name, value)| counts(name, value)).all(|(name, _)| has(one, name))
}

/// A value cut to what fits into a message.
pub(super) fn shown(value: &Value) -> String {
    let whole = value.to_string();
    match whole.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => format!("{}...", &whole[..cut]),
        None => whole,
    }
}

fn present<'a>(from: &'a Object, name: &str, kind: &str) -> Result<&'a Value> {
    from.get(name)
        .filter(|value| !value.is_null())
        .ok_or_else(|| Error::bad_request(format!("Cannot parse missing {kind}: {name}")))
}

fn mistyped(kind: &str, name: &str, value: &Value) -> Error {
    Error::bad_request(format!("Cannot parse to {kind} value: {name}: {}", shown(value)))
}

fn as_int(value: &Value) -> Option<i64> {
    value.as_i64().filter(|number| i32::try_from(*number).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    #[test]
    fn a_missing_member_and_a_null_one_are_both_missing() {
        for value in [json!({}), json!({ "uuid": null })] {
            let error = text(object(&value, "update").unwrap(), "uuid").unwrap_err();
            assert_eq!(error.message(), "Cannot parse missing string: uuid");
        }
    }

    #[test]
    fn a_number_beyond_an_int_is_refused() {
        let value = json!({ "schema-id": 2147483648_i64, "ok": 2147483647 });
        let from = object(&value, "update").unwrap();
        assert!(int(from, "schema-id").is_err());
        assert_eq!(int(from, "ok").unwrap(), 2147483647);
        assert!(next_id(2147483647, "schema").is_err());
    }

    #[test]
    fn values_are_the_same_whatever_the_order_and_the_nulls() {
        assert!(same(&json!({ "a": 1, "b": null }), &json!({ "c": null, "a": 1 })));
        assert!(!same(&json!({ "a": 1 }), &json!({ "a": 1, "b": 2 })));
        assert!(!same(&json!({ "a": 1, "b": 2 }), &json!({ "a": 1 })));
    }
}
