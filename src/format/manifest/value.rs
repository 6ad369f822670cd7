//! Typed single values: of partition fields and of bounds.
//!
//! Two serialised forms: Avro's, inside an entry's partition record, and Iceberg's single-value form, in bounds
//! (specification, appendices A and D).

use std::cmp::Ordering;

use serde_json::{Value as Json, json};

use super::avro::Encoder;

/// The primitive types that a partition field may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ValueType {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Date,
    Time,
    /// Microseconds.
    Timestamp {
        utc: bool,
    },
    /// Nanoseconds (v3).
    TimestampNs {
        utc: bool,
    },
    String,
    Uuid,
    Fixed(u32),
    Binary,
    Decimal {
        precision: u32,
        scale: u32,
    },
}

impl ValueType {
    /// The Avro schema of a value, and the name that it defines, if any: a name may be defined once only.
    pub(super) fn avro(self) -> (Json, Option<String>) {
        let plain = |schema| (schema, None);
        match self {
            ValueType::Boolean => plain(json!("boolean")),
            ValueType::Int => plain(json!("int")),
            ValueType::Long => plain(json!("long")),
            ValueType::Float => plain(json!("float")),
            ValueType::Double => plain(json!("double")),
            ValueType::Date => plain(json!({"type": "int", "logicalType": "date"})),
            ValueType::Time => plain(json!({"type": "long", "logicalType": "time-micros"})),
            ValueType::Timestamp { utc } => {
                plain(json!({"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": utc}))
            }
            ValueType::TimestampNs { utc } => {
                plain(json!({"type": "long", "logicalType": "timestamp-nanos", "adjust-to-utc": utc}))
            }
            ValueType::String => plain(json!("string")),
            ValueType::Binary => plain(json!("bytes")),
            ValueType::Uuid => (
                json!({"type": "fixed", "name": "uuid_fixed", "size": 16, "logicalType": "uuid"}),
                Some("uuid_fixed".into()),
            ),
            ValueType::Fixed(size) => {
                let name = format!("fixed_{size}");
                (json!({"type": "fixed", "name": name, "size": size}), Some(name))
            }
            ValueType::Decimal { precision, scale } => {
                let name = format!("decimal_{precision}_{scale}");
                let schema = json!({
                    "type": "fixed", "name": name, "size": decimal_bytes(precision), "logicalType": "decimal",
                    "precision": precision, "scale": scale,
                });
                (schema, Some(name))
            }
        }
    }
}

/// Bytes of a `fixed` that holds every decimal of this precision.
fn decimal_bytes(precision: u32) -> usize {
    (1..=16).find(|bytes| (8 * bytes - 1) as f64 >= f64::from(precision) * 10f64.log2()).unwrap_or(16)
}

/// A value; which types it may stand for is said at each.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `boolean`.
    Boolean(bool),
    /// `int`, `date` (days since 1970-01-01).
    Int(i32),
    /// `long`, `time`, `timestamp` and its kin.
    Long(i64),
    /// `float`.
    Float(f32),
    /// `double`.
    Double(f64),
    /// `string`.
    String(String),
    /// `uuid`, `fixed`, `binary`.
    Bytes(Vec<u8>),
    /// `decimal`, unscaled.
    Decimal(i128),
}

impl Value {
    /// Iceberg's single-value form, for bounds.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Value::Boolean(value) => vec![u8::from(*value)],
            Value::Int(value) => value.to_le_bytes().to_vec(),
            Value::Long(value) => value.to_le_bytes().to_vec(),
            Value::Float(value) => value.to_le_bytes().to_vec(),
            Value::Double(value) => value.to_le_bytes().to_vec(),
            Value::String(value) => value.clone().into_bytes(),
            Value::Bytes(value) => value.clone(),
            Value::Decimal(value) => shortest_decimal(*value),
        }
    }

    /// Whether this value is one of `value_type`.
    pub fn is(&self, value_type: ValueType) -> bool {
        use ValueType as T;
        match (self, value_type) {
            (Value::Boolean(_), T::Boolean)
            | (Value::Int(_), T::Int | T::Date)
            | (Value::Long(_), T::Long | T::Time | T::Timestamp { .. } | T::TimestampNs { .. })
            | (Value::Float(_), T::Float)
            | (Value::Double(_), T::Double)
            | (Value::String(_), T::String)
            | (Value::Bytes(_), T::Binary) => true,
            (Value::Bytes(bytes), T::Uuid) => bytes.len() == 16,
            (Value::Bytes(bytes), T::Fixed(size)) => bytes.len() == size as usize,
            (Value::Decimal(value), T::Decimal { precision, .. }) => {
                shortest_decimal(*value).len() <= decimal_bytes(precision)
            }
            _ => false,
        }
    }

    /// Whether it is not a number.
    pub fn is_nan(&self) -> bool {
        matches!(self, Value::Float(value) if value.is_nan()) || matches!(self, Value::Double(value) if value.is_nan())
    }

    /// The order of bounds; values of different kinds have none.
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Boolean(a), Value::Boolean(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Long(a), Value::Long(b)) => Some(a.cmp(b)),
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
            (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Decimal(a), Value::Decimal(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// Avro's form; `value_type` must be one that this value [`is`](Value::is).
    pub(super) fn encode(&self, value_type: ValueType, to: &mut Encoder) {
        match self {
            Value::Boolean(value) => to.boolean(*value),
            Value::Int(value) => to.long(i64::from(*value)),
            Value::Long(value) => to.long(*value),
            Value::Float(_) | Value::Double(_) => to.raw(&self.to_bytes()),
            Value::String(value) => to.string(value),
            Value::Bytes(value) if value_type == ValueType::Binary => to.bytes(value),
            Value::Bytes(value) => to.raw(value),
            Value::Decimal(value) => {
                let ValueType::Decimal { precision, .. } = value_type else {
                    unreachable!("types are checked before an entry is encoded")
                };
                to.raw(&value.to_be_bytes()[16 - decimal_bytes(precision)..]);
            }
        }
    }
}

/// Two's complement, big end first, as few bytes as hold the sign.
fn shortest_decimal(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let mut from = 0;
    while from < 15 {
        let sign_only = if value < 0 { 0xff } else { 0 };
        let sign_kept = (bytes[from + 1] & 0x80 != 0) == (value < 0);
        if bytes[from] != sign_only || !sign_kept {
            break;
        }
        from += 1;
    }
    bytes[from..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_values_are_those_of_the_specification() {
        assert_eq!(Value::Int(1).to_bytes(), [1, 0, 0, 0]);
        assert_eq!(Value::Long(-2).to_bytes(), [0xfe, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(Value::Decimal(0).to_bytes(), [0]);
        assert_eq!(Value::Decimal(127).to_bytes(), [127]);
        assert_eq!(Value::Decimal(128).to_bytes(), [0, 128]);
        assert_eq!(Value::Decimal(-128).to_bytes(), [128]);
        assert_eq!(Value::Decimal(-129).to_bytes(), [0xff, 0x7f]);
    }

    #[test]
    fn a_decimal_takes_as_many_bytes_as_javas_table_says() {
        // TypeUtil.REQUIRED_LENGTH of Iceberg's Java
        let expected = [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (9, 4), (10, 5), (18, 8), (19, 9), (38, 16)];
        for (precision, bytes) in expected {
            assert_eq!(decimal_bytes(precision), bytes, "{precision}");
        }
    }
}
