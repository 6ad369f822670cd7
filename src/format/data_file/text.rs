//! Values as names of folders have them (`day=2026-11-22`), percent-encoded as Hive and Spark do.

use percent_encoding::percent_decode_str;
use serde_json::Value as Json;

use crate::format::manifest::{Value, ValueType};
use crate::format::transform::days_of;
use crate::model::unhex;

/// What stands for null.
pub(super) const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

const SECOND: i64 = 1_000_000;

/// The names and values of the folders that a file lies in, below a prefix, outermost first.
pub fn folders(below: &str) -> Vec<(String, String)> {
    let folders = below.rsplit_once('/').map_or("", |(folders, _)| folders);
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pair = |folder: &str| folder.split_once('=').map(|(name, value)| (decoded(name), decoded(value)));
    folders.split('/').filter_map(pair).filter(|(name, _)| !name.is_empty()).collect()
}

/// A value from its text; `None` where that is none of this type.
pub(super) fn value(text: &str, value_type: ValueType) -> Option<Value> {
    Some(match value_type {
        ValueType::Boolean => Value::Boolean(text.to_ascii_lowercase().parse().ok()?),
        ValueType::Int => Value::Int(text.parse().ok()?),
        ValueType::Long => Value::Long(text.parse().ok()?),
        ValueType::Float => Value::Float(text.parse().ok()?),
        ValueType::Double => Value::Double(text.parse().ok()?),
        ValueType::Date => Value::Int(date(text)?),
        ValueType::Timestamp { utc: false } => Value::Long(timestamp(text)?),
        ValueType::String => Value::String(text.to_owned()),
        ValueType::Uuid => Value::Bytes(uuid::Uuid::parse_str(text).ok()?.as_bytes().to_vec()),
        ValueType::Decimal { precision, scale } => Value::Decimal(decimal(text, precision, scale)?),
        // what a zone's time was is not in the name, and bytes have no text of their own
        ValueType::Timestamp { utc: true }
        | ValueType::TimestampNs { .. }
        | ValueType::Time
        | ValueType::Binary
        | ValueType::Fixed(_) => return None,
    })
}

/// A partition's value from the specification's JSON for single values (appendix D); `None` where it is none of this type.
pub fn partition_value(json: &Json, value_type: ValueType) -> Option<Option<Value>> {
    let bytes = || unhex(json.as_str()?);
    let value = match (json, value_type) {
        (Json::Null, _) => return Some(None),
        (Json::Bool(value), ValueType::Boolean) => Value::Boolean(*value),
        (Json::Number(number), ValueType::Int) => Value::Int(number.as_i64()?.try_into().ok()?),
        (Json::Number(number), ValueType::Long) => Value::Long(number.as_i64()?),
        (Json::Number(number), ValueType::Float) => Value::Float(number.as_f64()? as f32),
        (Json::Number(number), ValueType::Double) => Value::Double(number.as_f64()?),
        (Json::String(_), ValueType::Binary | ValueType::Fixed(_)) => Value::Bytes(bytes()?),
        (Json::String(text), ValueType::Timestamp { utc: true }) => {
            Value::Long(timestamp(text.strip_suffix("+00:00").or_else(|| text.strip_suffix('Z'))?)?)
        }
        (Json::String(text), ValueType::Timestamp { utc: false }) => Value::Long(timestamp(text)?),
        (Json::String(text), ValueType::Time) => Value::Long(timestamp(&format!("1970-01-01T{text}"))?),
        (Json::String(text), ValueType::String | ValueType::Uuid | ValueType::Date | ValueType::Decimal { .. }) => {
            value(text, value_type)?
        }
        _ => return None,
    };
    value.is(value_type).then_some(Some(value))
}

/// The type that fits all of these best: whole numbers, dates, else text.
pub fn type_of<'t>(texts: impl Iterator<Item = &'t str> + Clone) -> ValueType {
    let known = || texts.clone().filter(|text| *text != NULL);
    // what has leading zeros is a name
    let plain = |text: &str| text == "0" || !text.trim_start_matches('-').starts_with('0') && !text.starts_with('+');
    let all = |value_type| known().next().is_some() && known().all(|text| value(text, value_type).is_some());
    if known().all(plain) && all(ValueType::Int) {
        ValueType::Int
    } else if known().all(plain) && all(ValueType::Long) {
        ValueType::Long
    } else if all(ValueType::Date) {
        ValueType::Date
    } else {
        ValueType::String
    }
}

fn date(text: &str) -> Option<i32> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let is_plain = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    if !is_plain(year, 4) || !is_plain(month, 2) || !is_plain(day, 2) {
        return None;
    }
    days_of(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
}

/// `2026-11-22 01:02:03.5`, and with `T` for the space.
fn timestamp(text: &str) -> Option<i64> {
    let (day, time) = text.split_once([' ', 'T'])?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let parts: Vec<i64> = clock.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[hours @ 0..24, minutes @ 0..60, seconds @ 0..60] = parts.as_slice() else { return None };
    if fraction.is_empty() || fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let micros = format!("{fraction:0<6}").parse::<i64>().ok()?;
    Some(i64::from(date(day)?) * 86_400 * SECOND + ((hours * 60 + minutes) * 60 + seconds) * SECOND + micros)
}

fn decimal(text: &str, precision: u32, scale: u32) -> Option<i128> {
    let (digits, is_negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction_digits = fraction.trim_end_matches('0');
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !is_plain(whole) || !is_plain(fraction) || whole.is_empty() || fraction_digits.len() > scale as usize {
        return None;
    }
    let unscaled: i128 = format!("{whole}{fraction_digits:0<width$}", width = scale as usize).parse().ok()?;
    (unscaled < 10_i128.pow(precision)).then_some(if is_negative { -unscaled } else { unscaled })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_name_values() {
        let found = folders("region=north%20east/day=2026-11-22/odd/=x/part-0=1.parquet");
        assert_eq!(found, [("region".into(), "north east".into()), ("day".into(), "2026-11-22".into())]);
        assert!(folders("part.parquet").is_empty());
    }

    #[test]
    fn texts_become_values() {
        let timestamp = ValueType::Timestamp { utc: false };
        for (text, value_type, expected) in [
            ("7", ValueType::Int, Some(Value::Int(7))),
            ("true", ValueType::Boolean, Some(Value::Boolean(true))),
            ("1970-01-02", ValueType::Date, Some(Value::Int(1))),
            ("1970-02-30", ValueType::Date, None),
            ("1970-01-01 00:00:01.5", timestamp, Some(Value::Long(1_500_000))),
            ("1970-01-01 25:00:00", timestamp, None),
            ("-1.5", ValueType::Decimal { precision: 5, scale: 2 }, Some(Value::Decimal(-150))),
            ("1.555", ValueType::Decimal { precision: 5, scale: 2 }, None),
            ("12345.00", ValueType::Decimal { precision: 5, scale: 2 }, None),
            ("x", ValueType::Long, None),
        ] {
            assert_eq!(value(text, value_type), expected, "{text} as {value_type}");
        }
    }

    #[test]
    fn single_values_are_read_from_json() {
        let of = |json: &str, value_type| partition_value(&serde_json::from_str(json).expect("JSON"), value_type);
        assert_eq!(of("null", ValueType::Int), Some(None));
        assert_eq!(of("\"1970-01-02\"", ValueType::Date), Some(Some(Value::Int(1))));
        let at = of("\"1970-01-01T00:00:01+00:00\"", ValueType::Timestamp { utc: true });
        assert_eq!(at, Some(Some(Value::Long(1_000_000))));
        assert_eq!(of("\"0aff\"", ValueType::Binary), Some(Some(Value::Bytes(vec![10, 255]))));
        assert_eq!((of("3000000000", ValueType::Int), of("\"x\"", ValueType::Int)), (None, None));
    }

    #[test]
    fn types_are_told_by_all_texts() {
        let of = |texts: &[&str]| type_of(texts.iter().copied());
        assert_eq!(of(&["1", "2", NULL]), ValueType::Int);
        assert_eq!(of(&["1", "3000000000"]), ValueType::Long);
        assert_eq!(of(&["01", "02"]), ValueType::String);
        assert_eq!(of(&["2026-11-22"]), ValueType::Date);
        assert_eq!(of(&["2026-11-22", "x"]), ValueType::String);
        assert_eq!(of(&[NULL]), ValueType::String);
    }
}
