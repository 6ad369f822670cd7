//! Partition transforms applied to values (specification, "Partition Transforms" and appendix B).
//!
//! What must hold: a value that a reader computes for the same input is the same here, since files are skipped by it. A transform or a pair of
//! types that is not known is `None`, never a guess.

use super::manifest::{Value, ValueType};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// How a partition field is made of its source column.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Transform {
    Identity,
    Bucket(u32),
    Truncate(u32),
    Year,
    Month,
    Day,
    Hour,
    Void,
}

impl Transform {
    /// By the specification's name, such as `bucket[16]`; `None` for one that is not known.
    pub fn parse(text: &str) -> Option<Transform> {
        let lower = text.to_ascii_lowercase();
        let width = |name: &str| lower.strip_prefix(name)?.strip_suffix(']')?.parse().ok().filter(|width| *width > 0);
        Some(match lower.as_str() {
            "identity" => Transform::Identity,
            "year" => Transform::Year,
            "month" => Transform::Month,
            "day" => Transform::Day,
            "hour" => Transform::Hour,
            "void" => Transform::Void,
            _ => match width("bucket[") {
                Some(count) => Transform::Bucket(count),
                None => Transform::Truncate(width("truncate[")?),
            },
        })
    }

    /// The type of what it makes of a column of this type.
    pub fn result_type(&self, source: ValueType) -> Option<ValueType> {
        use ValueType as T;
        let is_time = matches!(source, T::Timestamp { .. } | T::TimestampNs { .. });
        Some(match self {
            Transform::Identity | Transform::Void => source,
            Transform::Bucket(_) if !matches!(source, T::Boolean | T::Float | T::Double) => T::Int,
            Transform::Truncate(_)
                if matches!(source, T::Int | T::Long | T::String | T::Binary | T::Decimal { .. }) =>
            {
                source
            }
            Transform::Year | Transform::Month if is_time || source == T::Date => T::Int,
            Transform::Day if is_time || source == T::Date => T::Date,
            Transform::Hour if is_time => T::Int,
            _ => return None,
        })
    }

    /// Whether values between two that it makes one of are made the same of.
    pub fn keeps_order(&self) -> bool {
        !matches!(self, Transform::Bucket(_))
    }

    /// What it makes of a value of a column of this type; `None` where it has no business there, and for `void` always null.
    pub fn apply(&self, value: &Value, source: ValueType) -> Option<Option<Value>> {
        self.result_type(source)?;
        if !value.is(source) {
            return None;
        }
        Some(Some(match self {
            Transform::Identity => value.clone(),
            Transform::Void => return Some(None),
            Transform::Bucket(count) => Value::Int(((hash(value, source)? & i32::MAX) as u32 % count) as i32),
            Transform::Truncate(width) => truncated(value, *width)?,
            Transform::Year => Value::Int(year_and_month(days(value, source)?).0 - 1970),
            Transform::Month => {
                let (year, month) = year_and_month(days(value, source)?);
                Value::Int((year - 1970) * 12 + month - 1)
            }
            Transform::Day => Value::Int(days(value, source)?),
            Transform::Hour => Value::Int(micros(value, source)?.div_euclid(HOUR).try_into().ok()?),
        }))
    }
}

fn micros(value: &Value, source: ValueType) -> Option<i64> {
    match (value, source) {
        (Value::Long(value), ValueType::Timestamp { .. }) => Some(*value),
        (Value::Long(value), ValueType::TimestampNs { .. }) => Some(value.div_euclid(1_000)),
        _ => None,
    }
}

fn days(value: &Value, source: ValueType) -> Option<i32> {
    match (value, source) {
        (Value::Int(days), ValueType::Date) => Some(*days),
        _ => micros(value, source)?.div_euclid(DAY).try_into().ok(),
    }
}

/// Year and month (1 to 12) of a day since 1970-01-01, in the Gregorian calendar without an end ("days from civil", H. Hinnant).
fn year_and_month(days: i32) -> (i32, i32) {
    let (year, month, _) = civil(days.into());
    (year as i32, month)
}

/// Year, month and day of a day since 1970-01-01.
pub(in crate::format) fn civil(days: i64) -> (i64, i32, i32) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as i32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as i32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The day since 1970-01-01 of a date; `None` where there is no such date.
pub(in crate::format) fn days_of(year: i32, month: i32, day: i32) -> Option<i32> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted = i64::from(year) - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let from_march = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = i32::try_from(era * 146_097 + day_of_era - 719_468).ok()?;
    // the 31st of a month with 30 days is a day of the next one
    (civil(days.into()) == (year.into(), month, day)).then_some(days)
}

fn truncated(value: &Value, width: u32) -> Option<Value> {
    let wide = i64::from(width);
    Some(match value {
        Value::Int(value) => Value::Int(value.wrapping_sub(i64::from(*value).rem_euclid(wide) as i32)),
        Value::Long(value) => Value::Long(value.wrapping_sub(value.rem_euclid(wide))),
        Value::Decimal(value) => Value::Decimal(value - value.rem_euclid(i128::from(width))),
        Value::String(value) => Value::String(value.chars().take(width as usize).collect()),
        Value::Bytes(value) => Value::Bytes(value.iter().copied().take(width as usize).collect()),
        Value::Boolean(_) | Value::Float(_) | Value::Double(_) => return None,
    })
}

/// The specification's 32-bit hash.
fn hash(value: &Value, source: ValueType) -> Option<i32> {
    Some(match value {
        Value::Int(value) => murmur3(&i64::from(*value).to_le_bytes()),
        Value::Long(_) if matches!(source, ValueType::TimestampNs { .. }) => {
            murmur3(&micros(value, source)?.to_le_bytes())
        }
        Value::Long(value) => murmur3(&value.to_le_bytes()),
        Value::String(value) => murmur3(value.as_bytes()),
        Value::Bytes(value) => murmur3(value),
        Value::Decimal(_) => murmur3(&value.to_bytes()),
        Value::Boolean(_) | Value::Float(_) | Value::Double(_) => return None,
    })
}

/// MurmurHash3, x86, 32 bits, seed 0.
fn murmur3(bytes: &[u8]) -> i32 {
    let mix = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = 0_u32;
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        hash ^= mix(chunk.iter().rev().fold(0, |k, byte| k << 8 | u32::from(*byte)));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        hash ^= mix(rest.iter().rev().fold(0, |k, byte| k << 8 | u32::from(*byte)));
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    (hash ^ hash >> 16) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> i32 {
        let parts: Vec<i32> = text.split('-').map(|part| part.parse().expect("a number")).collect();
        days_of(parts[0], parts[1], parts[2]).expect("a date")
    }

    #[test]
    fn hashes_are_those_of_the_specification() {
        // appendix B, "32-bit Hash Requirements"
        let decimal = ValueType::Decimal { precision: 9, scale: 2 };
        let uuid: Vec<u8> = 0xf79c_3e09_677c_4bbd_a479_3f34_9cb7_85e7_u128.to_be_bytes().into();
        let at = i64::from(day("2017-11-16")) * DAY + (22 * 3_600 + 31 * 60 + 8) * SECOND;
        for (value, source, expected) in [
            (Value::Int(34), ValueType::Int, 2_017_239_379),
            (Value::Long(34), ValueType::Long, 2_017_239_379),
            (Value::Decimal(1420), decimal, -500_754_589),
            (Value::Int(day("2017-11-16")), ValueType::Date, -653_330_422),
            (Value::Long((22 * 3_600 + 31 * 60 + 8) * SECOND), ValueType::Time, -662_762_989),
            (Value::Long(at), ValueType::Timestamp { utc: false }, -2_047_944_441),
            (Value::Long(at * 1_000 + 1), ValueType::TimestampNs { utc: true }, -2_047_944_441),
            (Value::String("iceberg".into()), ValueType::String, 1_210_000_089),
            (Value::Bytes(uuid), ValueType::Uuid, 1_488_055_340),
            (Value::Bytes(vec![0, 1, 2, 3]), ValueType::Binary, -188_683_207),
        ] {
            assert_eq!(hash(&value, source), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn values_are_cut_down_as_the_specification_says() {
        let cut = |value, width, source| Transform::Truncate(width).apply(&value, source).flatten();
        let decimal = ValueType::Decimal { precision: 9, scale: 2 };
        assert_eq!(cut(Value::Int(-1), 10, ValueType::Int), Some(Value::Int(-10)));
        assert_eq!(cut(Value::Long(1), 10, ValueType::Long), Some(Value::Long(0)));
        assert_eq!(cut(Value::Decimal(1065), 50, decimal), Some(Value::Decimal(1050)));
        assert_eq!(cut(Value::String("iceberg".into()), 3, ValueType::String), Some(Value::String("ice".into())));
        assert_eq!(cut(Value::String("日本語".into()), 2, ValueType::String), Some(Value::String("日本".into())));
        assert_eq!(cut(Value::Bytes(vec![1, 2, 3]), 2, ValueType::Binary), Some(Value::Bytes(vec![1, 2])));
    }

    #[test]
    fn times_are_counted_from_1970_also_before() {
        let of = |transform: Transform, days| {
            let made = transform.apply(&Value::Int(days), ValueType::Date).flatten();
            made.map(|value| if let Value::Int(value) = value { value } else { panic!("{value:?}") })
        };
        assert_eq!(of(Transform::Year, day("2017-11-16")), Some(47));
        assert_eq!(of(Transform::Month, day("2017-11-16")), Some(574));
        assert_eq!((of(Transform::Year, -1), of(Transform::Month, -1)), (Some(-1), Some(-1)));
        let hour = Transform::Hour.apply(&Value::Long(-1), ValueType::Timestamp { utc: true });
        assert_eq!(hour, Some(Some(Value::Int(-1))));
        assert_eq!(days_of(2023, 2, 29), None);
        for days in (-1_000_000..1_000_000).step_by(997) {
            let (year, month, at) = civil(days.into());
            assert_eq!(days_of(year as i32, month, at), Some(days));
        }
    }

    #[test]
    fn only_what_is_known_is_transformed() {
        assert_eq!(Transform::parse("bucket[16]"), Some(Transform::Bucket(16)));
        assert_eq!(Transform::parse("zorder"), None);
        assert_eq!(Transform::parse("bucket[0]"), None);
        assert_eq!(Transform::Bucket(4).result_type(ValueType::Double), None);
        assert_eq!(Transform::Day.apply(&Value::String("x".into()), ValueType::String), None);
        assert_eq!(Transform::Void.apply(&Value::Int(1), ValueType::Int), Some(None));
    }
}
