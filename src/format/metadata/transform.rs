//! Which transform can be applied to a column of which type.
//!
//! A transform or a type that we have never heard of is taken as possible, as Iceberg's Java library does for unknown
//! transforms: newer tables must pass. Applying a transform to values is not done here.

use crate::error::{Error, Result};
use serde_json::Value;

const TIMES: &[&str] = &["date", "timestamp", "timestamptz", "timestamp_ns", "timestamptz_ns"];
const BUCKETED: &[&str] = &[
    "int",
    "long",
    "decimal",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "timestamp_ns",
    "timestamptz_ns",
    "string",
    "uuid",
    "fixed",
    "binary",
];
const TRUNCATED: &[&str] = &["int", "long", "decimal", "string", "binary"];
const UNTRANSFORMED: &[&str] = &["geometry", "geography"];
const KNOWN: &[&str] = &[
    "unknown",
    "boolean",
    "int",
    "long",
    "float",
    "double",
    "decimal",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "timestamp_ns",
    "timestamptz_ns",
    "string",
    "uuid",
    "fixed",
    "binary",
    "geometry",
    "geography",
];

/// The name of a primitive type without its parameters; none for structs, lists, maps and variants.
pub(super) fn primitive(kind: &Value) -> Option<&str> {
    let text = kind.as_str()?;
    let name = text.split(['(', '[']).next().unwrap_or(text).trim();
    (name != "variant").then_some(name)
}

/// Whether a transform is the one that gives null for every value.
pub(super) fn is_void(transform: &str) -> bool {
    transform.eq_ignore_ascii_case("void")
}

/// Refuses a transform that cannot be applied to a column of this type.
pub(super) fn check(transform: &str, kind: &Value) -> Result<()> {
    let invalid = || Error::bad_request(format!("Invalid source type {} for transform: {transform}", type_name(kind)));
    let lower = transform.to_ascii_lowercase();
    let (name, width) = match lower.split_once('[') {
        Some((name, rest)) => (name, Some(rest.trim_end_matches(']'))),
        None => (lower.as_str(), None),
    };
    let Some(source) = primitive(kind) else { return Err(invalid()) };
    let accepted: &[&str] = match name {
        "bucket" | "truncate"
            if width.is_some_and(|width| !width.parse::<u32>().is_ok_and(|n| n > 0 && n <= i32::MAX as u32)) =>
        {
            return Err(Error::bad_request(format!("Invalid transform: {transform} (its parameter must be > 0)")));
        }
        "identity" if UNTRANSFORMED.contains(&source) => return Err(invalid()),
        "bucket" => BUCKETED,
        "truncate" => TRUNCATED,
        "year" | "month" | "day" => TIMES,
        "hour" => &TIMES[1..],
        _ => return Ok(()),
    };
    if accepted.contains(&source) || !KNOWN.contains(&source) { Ok(()) } else { Err(invalid()) }
}

/// A type as a message shows it.
pub(super) fn type_name(kind: &Value) -> String {
    match kind.as_str() {
        Some(text) => text.to_owned(),
        None => super::json::shown(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_transform_is_held_to_the_types_it_takes() {
        for (transform, kind) in [
            ("identity", "string"),
            ("bucket[16]", "decimal(9, 2)"),
            ("truncate[4]", "string"),
            ("day", "timestamptz"),
            ("hour", "timestamp_ns"),
            ("void", "double"),
            ("zorder", "double"),
            ("day", "moonphase"),
        ] {
            assert!(check(transform, &json!(kind)).is_ok(), "{transform} of {kind}");
        }
        for (transform, kind) in [
            ("hour", "date"),
            ("day", "string"),
            ("bucket[16]", "double"),
            ("bucket[0]", "int"),
            ("truncate[x]", "int"),
            ("identity", "geometry(srid:4326)"),
            ("identity", "variant"),
        ] {
            assert!(check(transform, &json!(kind)).is_err(), "{transform} of {kind}");
        }
        assert!(check("identity", &json!({ "type": "struct", "fields": [] })).is_err());
        assert_eq!(
            check("day", &json!("string")).expect_err("no day in a string").message(),
            "Invalid source type string for transform: day"
        );
    }
}
