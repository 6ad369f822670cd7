//! Partition values as JSON, in Iceberg's single-value form (specification, appendix D).
//!
//! What must hold: the name and type of a value are those of the table's own spec, found by field id; where the metadata does not know the field, the
//! writer's schema says what it is. A value that is not of its type is shown as what it is, never left out.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::manifest::ValueType;
use super::transform::civil;
use crate::model::hex;

const MICROS_A_SECOND: i64 = 1_000_000;
const NANOS_A_SECOND: i64 = 1_000_000_000;
const SECONDS_A_DAY: i64 = 86_400;

/// A value as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raw<'a> {
    /// None, or nothing that has a form here.
    Null,
    /// `int`, `long` and what is counted in them.
    Number(i64),
    /// Text, bytes, and what has a fixed size.
    Bytes(&'a [u8]),
}

/// One field of a partition spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The type of its values, where that is known.
    pub value_type: Option<ValueType>,
}

/// The partition fields of all specs of a table: by spec, then by field id.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    by_spec: BTreeMap<i32, BTreeMap<i32, Column>>,
}

impl Columns {
    /// Those of a table's metadata.
    pub fn new(metadata: &Json) -> Columns {
        let mut by_spec = BTreeMap::new();
        let specs = metadata["partition-specs"].as_array().into_iter().flatten();
        for spec in specs {
            let Some(id) = spec["spec-id"].as_i64().and_then(|id| i32::try_from(id).ok()) else { continue };
            by_spec.insert(id, fields(&spec["fields"], metadata));
        }
        if by_spec.is_empty() && metadata["partition-spec"].is_array() {
            by_spec.insert(0, fields(&metadata["partition-spec"], metadata));
        }
        Columns { by_spec }
    }

    /// The fields of one spec; what the metadata does not know of it is taken from the writer's schema.
    pub fn of(&self, spec_id: i32, written: &Json) -> BTreeMap<i32, Column> {
        let mut found = self.by_spec.get(&spec_id).cloned().unwrap_or_default();
        for field in written_fields(written) {
            let Some(id) = field["field-id"].as_i64().and_then(|id| i32::try_from(id).ok()) else { continue };
            let value_type = written_type(&field["type"]);
            match found.get_mut(&id) {
                Some(column) => column.value_type = column.value_type.or(value_type),
                None => {
                    let name = field["iceberg-field-name"].as_str().or(field["name"].as_str());
                    found.insert(id, Column { name: name.unwrap_or_default().to_owned(), value_type });
                }
            }
        }
        found
    }
}

/// A spec's fields. Old metadata of the first format version states no ids: they count from 1000.
fn fields(spec: &Json, metadata: &Json) -> BTreeMap<i32, Column> {
    let fields = spec.as_array().into_iter().flatten().zip(1000i64..);
    let column = |(field, counted): (&Json, i64)| {
        let id = i32::try_from(field["field-id"].as_i64().unwrap_or(counted)).ok()?;
        let value_type = match field["transform"].as_str().unwrap_or_default() {
            "day" => Some(ValueType::Date),
            "year" | "month" | "hour" => Some(ValueType::Int),
            bucket if bucket.starts_with("bucket") => Some(ValueType::Int),
            _ => source_type(metadata, field["source-id"].as_i64()?).and_then(ValueType::parse),
        };
        Some((id, Column { name: field["name"].as_str()?.to_owned(), value_type }))
    };
    fields.filter_map(column).collect()
}

/// The type of a column in the newest schema that has it.
fn source_type(metadata: &Json, id: i64) -> Option<&str> {
    let schemas = metadata["schemas"].as_array().into_iter().flatten().rev();
    schemas.chain([&metadata["schema"]]).find_map(|schema| find_type(&schema["fields"], id, 0))
}

fn find_type(fields: &Json, id: i64, depth: usize) -> Option<&str> {
    const DEPTH_MAX: usize = 64;
    if depth > DEPTH_MAX {
        return None;
    }
    fields.as_array()?.iter().find_map(|field| match &field["type"] {
        Json::String(name) if field["id"].as_i64() == Some(id) => Some(name.as_str()),
        kind => find_type(&kind["fields"], id, depth + 1),
    })
}

/// The fields of the partition record (102) of the data file (2) in a writer's schema.
fn written_fields(schema: &Json) -> impl Iterator<Item = &Json> {
    let inside = |schema: &'_ Json, id: i64| -> Option<usize> {
        schema["fields"].as_array()?.iter().position(|field| field["field-id"].as_i64() == Some(id))
    };
    let file = inside(schema, 2).map(|at| &schema["fields"][at]["type"]);
    let partition = file.and_then(|file| Some(&file["fields"][inside(file, 102)?]["type"]["fields"]));
    partition.and_then(Json::as_array).into_iter().flatten()
}

/// What an Avro type says of its values.
fn written_type(kind: &Json) -> Option<ValueType> {
    let utc = kind["adjust-to-utc"].as_bool().unwrap_or(false);
    let number = |name: &str| u32::try_from(kind[name].as_u64()?).ok();
    match kind {
        Json::Array(branches) => branches.iter().filter(|branch| *branch != "null").find_map(written_type),
        Json::String(name) => Some(match name.as_str() {
            "boolean" => ValueType::Boolean,
            "int" => ValueType::Int,
            "long" => ValueType::Long,
            "float" => ValueType::Float,
            "double" => ValueType::Double,
            "string" => ValueType::String,
            "bytes" => ValueType::Binary,
            _ => return None,
        }),
        _ => match kind["logicalType"].as_str() {
            Some("date") => Some(ValueType::Date),
            Some("time-micros") => Some(ValueType::Time),
            Some("timestamp-micros") => Some(ValueType::Timestamp { utc }),
            Some("timestamp-nanos") => Some(ValueType::TimestampNs { utc }),
            Some("uuid") => Some(ValueType::Uuid),
            Some("decimal") => {
                Some(ValueType::Decimal { precision: number("precision")?, scale: number("scale").unwrap_or(0) })
            }
            _ if kind["type"] == "fixed" => Some(ValueType::Fixed(number("size")?)),
            _ => written_type(kind.get("type")?),
        },
    }
}

impl Column {
    /// A value as JSON.
    pub fn json(&self, value: Raw<'_>) -> Json {
        let of_type = self.value_type.and_then(|value_type| typed(value_type, value));
        of_type.unwrap_or_else(|| match value {
            Raw::Null => Json::Null,
            Raw::Number(number) => json!(number),
            Raw::Bytes(bytes) => std::str::from_utf8(bytes).map_or_else(|_| json!(hex(bytes)), |text| json!(text)),
        })
    }
}

/// `None` where the value is not of the type.
fn typed(value_type: ValueType, value: Raw<'_>) -> Option<Json> {
    use ValueType as T;
    Some(match (value_type, value) {
        (_, Raw::Null) => Json::Null,
        (T::Boolean, Raw::Bytes([byte])) => json!(*byte != 0),
        (T::Int | T::Long, Raw::Number(number)) => json!(number),
        // a float may have become a double since
        (T::Float | T::Double, Raw::Bytes(bytes)) => match bytes.len() {
            4 => float(f32::from_le_bytes(bytes.try_into().ok()?).into(), || {
                f32::from_le_bytes(bytes.try_into().unwrap_or_default()).to_string()
            }),
            8 => float(f64::from_le_bytes(bytes.try_into().ok()?), || {
                f64::from_le_bytes(bytes.try_into().unwrap_or_default()).to_string()
            }),
            _ => return None,
        },
        (T::Date, Raw::Number(days)) => json!(date(days)),
        (T::Time, Raw::Number(micros)) => json!(time(micros, MICROS_A_SECOND, 6)),
        (T::Timestamp { utc }, Raw::Number(micros)) => json!(timestamp(micros, MICROS_A_SECOND, 6, utc)),
        (T::TimestampNs { utc }, Raw::Number(nanos)) => json!(timestamp(nanos, NANOS_A_SECOND, 9, utc)),
        (T::String, Raw::Bytes(bytes)) => json!(std::str::from_utf8(bytes).ok()?),
        (T::Uuid, Raw::Bytes(bytes)) => json!(uuid::Uuid::from_slice(bytes).ok()?.to_string()),
        (T::Fixed(_) | T::Binary, Raw::Bytes(bytes)) => json!(hex(bytes)),
        (T::Decimal { scale, .. }, Raw::Bytes(bytes)) => json!(decimal(bytes, scale)?),
        _ => return None,
    })
}

/// What JSON has no number for is a text.
fn float(value: f64, shortest: impl Fn() -> String) -> Json {
    if value.is_nan() {
        return json!("NaN");
    }
    if value.is_infinite() {
        return json!(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    // the digits of a float are not those of the double that it becomes
    serde_json::from_str(&shortest()).unwrap_or_else(|_| json!(value))
}

/// Days since 1970-01-01 as a date of the proleptic Gregorian calendar.
fn date(days: i64) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

fn time(since_midnight: i64, a_second: i64, digits: usize) -> String {
    let (seconds, fraction) = (since_midnight.div_euclid(a_second), since_midnight.rem_euclid(a_second));
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{fraction:0digits$}")
}

fn timestamp(value: i64, a_second: i64, digits: usize, utc: bool) -> String {
    let a_day = a_second * SECONDS_A_DAY;
    let (days, rest) = (value.div_euclid(a_day), value.rem_euclid(a_day));
    format!("{}T{}{}", date(days), time(rest, a_second, digits), if utc { "+00:00" } else { "" })
}

/// An unscaled value, big end first, with its point.
fn decimal(bytes: &[u8], scale: u32) -> Option<String> {
    if bytes.is_empty() || bytes.len() > 16 || scale > 38 {
        return None;
    }
    let start = if bytes[0] & 0x80 == 0 { 0 } else { -1i128 };
    let unscaled = bytes.iter().fold(start, |value, byte| (value << 8) | i128::from(*byte));
    let (sign, digits) = (if unscaled < 0 { "-" } else { "" }, unscaled.unsigned_abs().to_string());
    let scale = scale as usize;
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_single_value_form_of_the_specification() {
        let of =
            |name: &str, value: Raw<'_>| Column { name: "x".into(), value_type: ValueType::parse(name) }.json(value);
        let number = Raw::Number;
        assert_eq!(of("int", number(-3)), json!(-3));
        assert_eq!(of("date", number(17_486)), json!("2017-11-16"));
        assert_eq!(of("date", number(-1)), json!("1969-12-31"));
        assert_eq!(of("date", number(11_016)), json!("2000-02-29"));
        assert_eq!(of("time", number(81_068_123_456)), json!("22:31:08.123456"));
        assert_eq!(of("timestamp", number(1_510_871_468_123_456)), json!("2017-11-16T22:31:08.123456"));
        assert_eq!(of("timestamptz", number(-1)), json!("1969-12-31T23:59:59.999999+00:00"));
        assert_eq!(of("timestamp_ns", number(1)), json!("1970-01-01T00:00:00.000000001"));
        assert_eq!(of("decimal(9, 2)", Raw::Bytes(&[0x05, 0x8c])), json!("14.20"));
        assert_eq!(of("decimal(9,2)", Raw::Bytes(&[0xff, 0xff, 0xfb])), json!("-0.05"));
        assert_eq!(of("decimal(38,0)", Raw::Bytes(&[1, 0])), json!("256"));
        assert_eq!(of("boolean", Raw::Bytes(&[1])), json!(true));
        assert_eq!(of("float", Raw::Bytes(&0.1f32.to_le_bytes())).to_string(), "0.1");
        assert_eq!(of("double", Raw::Bytes(&0.1f32.to_le_bytes())).to_string(), "0.1");
        assert_eq!(of("double", Raw::Bytes(&f64::NAN.to_le_bytes())), json!("NaN"));
        assert_eq!(of("double", Raw::Bytes(&f64::NEG_INFINITY.to_le_bytes())), json!("-Infinity"));
        assert_eq!(of("fixed[4]", Raw::Bytes(&[0, 1, 2, 0xff])), json!("000102ff"));
        assert_eq!(of("uuid", Raw::Bytes(&[0xf7; 16])), json!("f7f7f7f7-f7f7-f7f7-f7f7-f7f7f7f7f7f7"));
        assert_eq!(of("string", Raw::Bytes("ü".as_bytes())), json!("ü"));
        // what is not of its type is shown as it is
        assert_eq!(of("string", number(5)), json!(5));
        assert_eq!(of("date", Raw::Bytes(b"x")), json!("x"));
        assert_eq!(of("variant", Raw::Bytes(&[0xff])), json!("ff"));
        for extreme in [i64::MIN, i64::MAX] {
            for name in ["date", "time", "timestamptz", "timestamp_ns"] {
                assert!(of(name, number(extreme)).is_string(), "{name}");
            }
        }
    }

    #[test]
    fn names_and_types_are_those_of_the_spec_and_else_of_the_writer() {
        let metadata = json!({
            "schemas": [
                {"fields": [{"id": 1, "name": "a", "type": "int"}, {"id": 2, "name": "t", "type": "timestamptz"}]},
                {"fields": [{"id": 1, "name": "a", "type": "long"},
                    {"id": 3, "name": "s", "type": {"type": "struct", "fields": [{"id": 4, "name": "u", "type": "uuid"}]}}]}],
            "partition-specs": [{"spec-id": 7, "fields": [
                {"name": "a b", "transform": "identity", "source-id": 1, "field-id": 1000},
                {"name": "day", "transform": "day", "source-id": 2, "field-id": 1001},
                {"name": "n", "transform": "bucket[4]", "source-id": 4, "field-id": 1002},
                {"name": "u", "transform": "identity", "source-id": 4, "field-id": 1003}]}]});
        let written = json!({"fields": [{"field-id": 2, "type": {"fields": [{"field-id": 102, "type": {"fields": [
            {"field-id": 1000, "name": "a_x20b", "type": ["null", "int"]},
            {"field-id": 1009, "name": "new", "iceberg-field-name": "n w", "type": ["null", {"type": "int", "logicalType": "date"}]},
        ]}}]}}]});
        let columns = Columns::new(&metadata).of(7, &written);
        let shown: Vec<_> = columns.values().map(|column| (column.name.as_str(), column.value_type)).collect();
        let expected = [
            ("a b", Some(ValueType::Long)),
            ("day", Some(ValueType::Date)),
            ("n", Some(ValueType::Int)),
            ("u", Some(ValueType::Uuid)),
            ("n w", Some(ValueType::Date)),
        ];
        assert_eq!(shown, expected);
    }
}
