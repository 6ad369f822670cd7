//! The columns of a Parquet file, as Iceberg would type them, and how their single values are stored.
//!
//! What must hold: a column that Iceberg's readers would read as another value than it is has no type here ([`Kind::Other`] says why). Lists and
//! maps are recognised by the rules of the Parquet format, the old ones too (LogicalTypes.md, "Nested Types").

use ::parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use ::parquet::schema::types::Type as Node;

use crate::format::manifest::{Value, ValueType};

/// A column of a file or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    /// Its field id, where the writer gave one.
    pub id: Option<i32>,
    /// Its own name; of a list `element`, of a map `key` and `value`.
    pub name: String,
    /// Whether it is never null.
    pub required: bool,
    /// What it holds.
    pub kind: Kind,
}

/// What a column of a file holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Single values.
    Leaf(Leaf),
    /// Columns of its own.
    Struct(Vec<Column>),
    /// Any number of elements.
    List(Box<Column>),
    /// Keys and values.
    Map(Box<(Column, Column)>),
    /// Something that Iceberg has no type for, and what.
    Other(&'static str),
}

/// A column of single values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Its place among the file's columns of single values.
    pub at: usize,
    /// How a value is stored.
    pub stored: Stored,
    /// What it is in Iceberg.
    pub value_type: ValueType,
}

/// How a single value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Boolean,
    Int32,
    /// Without a sign; readers take one.
    Unsigned32,
    Int64,
    Millis32,
    Millis64,
    Float,
    Double,
    Bytes,
    /// Unscaled, the big end first.
    DecimalBytes,
    Decimal32,
    Decimal64,
    /// Twelve bytes of which statistics say nothing.
    Int96,
}

impl Column {
    /// All columns of a file; those of single values are numbered in order.
    pub fn all(root: &Node) -> Vec<Column> {
        let mut next = 0;
        root.get_fields().iter().map(|node| column(node, &mut next)).collect()
    }

    /// Whether this column or a part of it has a field id.
    pub fn has_ids(&self) -> bool {
        self.id.is_some() || self.parts().into_iter().any(Column::has_ids)
    }

    /// Its parts, one level down.
    pub fn parts(&self) -> Vec<&Column> {
        match &self.kind {
            Kind::Struct(columns) => columns.iter().collect(),
            Kind::List(element) => vec![element],
            Kind::Map(pair) => vec![&pair.0, &pair.1],
            Kind::Leaf(_) | Kind::Other(_) => Vec::new(),
        }
    }
}

impl Stored {
    /// A single value from its plain form, as statistics have it; `None` where there is none.
    pub fn value(self, bytes: &[u8]) -> Option<Value> {
        let four = || <[u8; 4]>::try_from(bytes).ok();
        let eight = || <[u8; 8]>::try_from(bytes).ok();
        Some(match self {
            Stored::Boolean => Value::Boolean(*bytes.first()? != 0),
            Stored::Int32 => Value::Int(i32::from_le_bytes(four()?)),
            Stored::Unsigned32 => Value::Long(i64::from(u32::from_le_bytes(four()?))),
            Stored::Int64 => Value::Long(i64::from_le_bytes(eight()?)),
            Stored::Millis32 => Value::Long(i64::from(i32::from_le_bytes(four()?)) * 1_000),
            Stored::Millis64 => Value::Long(i64::from_le_bytes(eight()?).checked_mul(1_000)?),
            Stored::Float => Value::Float(f32::from_le_bytes(four()?)),
            Stored::Double => Value::Double(f64::from_le_bytes(eight()?)),
            Stored::Bytes => Value::Bytes(bytes.to_vec()),
            Stored::DecimalBytes => Value::Decimal(unscaled(bytes)?),
            Stored::Decimal32 => Value::Decimal(i128::from(i32::from_le_bytes(four()?))),
            Stored::Decimal64 => Value::Decimal(i128::from(i64::from_le_bytes(eight()?))),
            Stored::Int96 => return None,
        })
    }

    /// Whether the order that old writers took, with a sign for every byte, is that of the values.
    pub fn has_old_order(self) -> bool {
        !matches!(self, Stored::Bytes | Stored::DecimalBytes | Stored::Unsigned32 | Stored::Int96)
    }
}

fn unscaled(bytes: &[u8]) -> Option<i128> {
    let first = *bytes.first()?;
    let (sign, spare) = if first & 0x80 == 0 { (0, 0_u8) } else { (-1_i128, 0xff) };
    let start = bytes.iter().take(bytes.len().saturating_sub(16)).take_while(|byte| **byte == spare).count();
    let rest = &bytes[start..];
    (rest.len() <= 16).then(|| rest.iter().fold(sign, |value, byte| value << 8 | i128::from(*byte)))
}

fn column(node: &Node, next: &mut usize) -> Column {
    let info = node.get_basic_info();
    let repeats = info.has_repetition() && info.repetition() == Repetition::REPEATED;
    let kind = match kind(node, next) {
        // without a list around it, as protocol buffers have it
        kind if repeats => match kind {
            Kind::Other(_) => kind,
            _ => Kind::Other("a repeated field outside of a list"),
        },
        kind => kind,
    };
    Column {
        id: info.has_id().then(|| info.id()),
        name: info.name().to_owned(),
        required: info.has_repetition() && info.repetition() == Repetition::REQUIRED,
        kind,
    }
}

fn kind(node: &Node, next: &mut usize) -> Kind {
    if node.is_primitive() {
        let at = *next;
        *next += 1;
        return leaf(node, at);
    }
    let info = node.get_basic_info();
    let is_list =
        matches!(info.logical_type_ref(), Some(LogicalType::List)) || info.converted_type() == ConvertedType::LIST;
    let is_map = matches!(info.logical_type_ref(), Some(LogicalType::Map))
        || matches!(info.converted_type(), ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE);
    let is_variant = matches!(info.logical_type_ref(), Some(LogicalType::Variant(_)));
    let inner = match node.get_fields() {
        [inner] if inner.get_basic_info().has_repetition() => {
            (inner.get_basic_info().repetition() == Repetition::REPEATED).then_some(inner)
        }
        _ => None,
    };
    match inner {
        Some(inner) if is_list => Kind::List(Box::new(element(node, inner, next))),
        Some(inner) if is_map && inner.is_group() && inner.get_fields().len() == 2 => {
            let (mut key, mut value) = (column(&inner.get_fields()[0], next), column(&inner.get_fields()[1], next));
            (key.name, value.name) = ("key".to_owned(), "value".to_owned());
            Kind::Map(Box::new((key, value)))
        }
        _ => {
            let columns = node.get_fields().iter().map(|field| column(field, next)).collect();
            match (is_list || is_map, is_variant) {
                (true, _) => Kind::Other("a list or map of another shape than the format's"),
                (_, true) => Kind::Other("a variant"),
                _ => Kind::Struct(columns),
            }
        }
    }
}

/// The element of a list whose only child, which repeats, is `inner`; old writers left out the level between.
fn element(list: &Node, inner: &Node, next: &mut usize) -> Column {
    let is_old = inner.is_primitive()
        || inner.get_fields().len() != 1
        || inner.name() == "array"
        || inner.name() == format!("{}_tuple", list.name());
    if is_old {
        let info = inner.get_basic_info();
        let kind = kind(inner, next);
        return Column { id: info.has_id().then(|| info.id()), name: "element".to_owned(), required: true, kind };
    }
    Column { name: "element".to_owned(), ..column(&inner.get_fields()[0], next) }
}

fn leaf(node: &Node, at: usize) -> Kind {
    let info = node.get_basic_info();
    let logical = info.logical_type_ref();
    let found = match node.get_physical_type() {
        Physical::BOOLEAN => Ok((Stored::Boolean, ValueType::Boolean)),
        Physical::INT32 => int32(node, logical),
        Physical::INT64 => int64(node, logical),
        Physical::INT96 => Ok((Stored::Int96, ValueType::Timestamp { utc: true })),
        Physical::FLOAT => Ok((Stored::Float, ValueType::Float)),
        Physical::DOUBLE => Ok((Stored::Double, ValueType::Double)),
        Physical::BYTE_ARRAY => bytes(node, logical),
        Physical::FIXED_LEN_BYTE_ARRAY => fixed(node, logical),
    };
    match found {
        // Spark, Trino and PyIceberg refuse to read it as a column of any type
        _ if matches!(logical, Some(LogicalType::Unknown)) => {
            Kind::Other("a column of nulls without a type: write it with one")
        }
        Ok((stored, value_type)) => Kind::Leaf(Leaf { at, stored, value_type }),
        Err(what) => Kind::Other(what),
    }
}

type Found = Result<(Stored, ValueType), &'static str>;

const UNKNOWN: &str = "a type that is not known here";

fn int32(node: &Node, logical: Option<&LogicalType>) -> Found {
    Ok(match (logical, node.get_basic_info().converted_type()) {
        (Some(LogicalType::Date), _) | (None, ConvertedType::DATE) => (Stored::Int32, ValueType::Date),
        (Some(LogicalType::Time(time)), _) if time.unit == TimeUnit::MILLIS => (Stored::Millis32, ValueType::Time),
        (None, ConvertedType::TIME_MILLIS) => (Stored::Millis32, ValueType::Time),
        (Some(LogicalType::Decimal(_)), _) | (None, ConvertedType::DECIMAL) => (Stored::Decimal32, decimal(node)?),
        (Some(LogicalType::Integer(int)), _) if int.bit_width == 32 && !int.is_signed => {
            (Stored::Unsigned32, ValueType::Long)
        }
        (None, ConvertedType::UINT_32) => (Stored::Unsigned32, ValueType::Long),
        (None | Some(LogicalType::Integer(_)), _) => (Stored::Int32, ValueType::Int),
        _ => return Err(UNKNOWN),
    })
}

fn int64(node: &Node, logical: Option<&LogicalType>) -> Found {
    Ok(match (logical, node.get_basic_info().converted_type()) {
        (Some(LogicalType::Timestamp(at)), _) => {
            let utc = at.is_adjusted_to_u_t_c;
            match at.unit {
                TimeUnit::MILLIS => (Stored::Millis64, ValueType::Timestamp { utc }),
                TimeUnit::MICROS => (Stored::Int64, ValueType::Timestamp { utc }),
                TimeUnit::NANOS => (Stored::Int64, ValueType::TimestampNs { utc }),
            }
        }
        (None, ConvertedType::TIMESTAMP_MILLIS) => (Stored::Millis64, ValueType::Timestamp { utc: true }),
        (None, ConvertedType::TIMESTAMP_MICROS) => (Stored::Int64, ValueType::Timestamp { utc: true }),
        (Some(LogicalType::Time(time)), _) if time.unit == TimeUnit::MICROS => (Stored::Int64, ValueType::Time),
        (Some(LogicalType::Time(_)), _) => return Err("a time in nanoseconds"),
        (None, ConvertedType::TIME_MICROS) => (Stored::Int64, ValueType::Time),
        (Some(LogicalType::Decimal(_)), _) | (None, ConvertedType::DECIMAL) => (Stored::Decimal64, decimal(node)?),
        (Some(LogicalType::Integer(int)), _) if !int.is_signed => return Err("an unsigned integer of 64 bits"),
        (None, ConvertedType::UINT_64) => return Err("an unsigned integer of 64 bits"),
        (None | Some(LogicalType::Integer(_)), _) => (Stored::Int64, ValueType::Long),
        _ => return Err(UNKNOWN),
    })
}

fn bytes(node: &Node, logical: Option<&LogicalType>) -> Found {
    Ok(match (logical, node.get_basic_info().converted_type()) {
        (Some(LogicalType::String | LogicalType::Enum | LogicalType::Json), _)
        | (None, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON) => (Stored::Bytes, ValueType::String),
        (Some(LogicalType::Decimal(_)), _) | (None, ConvertedType::DECIMAL) => (Stored::DecimalBytes, decimal(node)?),
        (None | Some(LogicalType::Bson), _) => (Stored::Bytes, ValueType::Binary),
        _ => return Err(UNKNOWN),
    })
}

fn fixed(node: &Node, logical: Option<&LogicalType>) -> Found {
    let Node::PrimitiveType { type_length, .. } = node else { return Err(UNKNOWN) };
    let Ok(length @ 1..) = u32::try_from(*type_length) else { return Err("bytes without a width") };
    Ok(match (logical, node.get_basic_info().converted_type()) {
        (Some(LogicalType::Uuid), _) if length == 16 => (Stored::Bytes, ValueType::Uuid),
        (Some(LogicalType::Decimal(_)), _) | (None, ConvertedType::DECIMAL) => (Stored::DecimalBytes, decimal(node)?),
        (None, ConvertedType::INTERVAL) => return Err("an interval"),
        (None, _) => (Stored::Bytes, ValueType::Fixed(length)),
        (Some(LogicalType::Float16), _) => return Err("a float of 16 bits"),
        _ => return Err(UNKNOWN),
    })
}

fn decimal(node: &Node) -> Result<ValueType, &'static str> {
    let from = match node.get_basic_info().logical_type_ref() {
        Some(LogicalType::Decimal(decimal)) => (decimal.precision, decimal.scale),
        _ => (node.get_precision(), node.get_scale()),
    };
    match (u32::try_from(from.0), u32::try_from(from.1)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => Ok(ValueType::Decimal { precision, scale }),
        _ => Err("a decimal of more than 38 digits"),
    }
}

#[cfg(test)]
mod tests {
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    fn columns(message: &str) -> Vec<Column> {
        Column::all(&parse_message_type(message).expect("a schema"))
    }

    #[test]
    fn single_values_have_the_types_of_iceberg() {
        let message = "message m { required int32 a (DATE); optional int64 b (TIMESTAMP(MILLIS, true)); optional int96 c;
            optional binary d (UTF8); optional binary e; optional fixed_len_byte_array(16) f (UUID);
            optional fixed_len_byte_array(9) g (DECIMAL(20, 3)); optional int32 h (INTEGER(32, false));
            optional int64 i (INTEGER(64, false)); optional int32 j (INTEGER(8, true)); optional int64 k (TIMESTAMP(NANOS, false));
            optional int32 l (UNKNOWN); }";
        let types: Vec<String> = columns(message)
            .iter()
            .map(|column| match &column.kind {
                Kind::Leaf(leaf) => leaf.value_type.to_string(),
                other => format!("{other:?}"),
            })
            .collect();
        let expected = ["date", "timestamptz", "timestamptz", "string", "binary", "uuid", "decimal(20, 3)", "long"];
        assert_eq!(types[..8], expected);
        assert_eq!(types[8..11], ["Other(\"an unsigned integer of 64 bits\")", "int", "timestamp_ns"]);
        assert_eq!(types[11], "Other(\"a column of nulls without a type: write it with one\")");
    }

    #[test]
    fn lists_and_maps_are_known_in_their_new_and_old_shapes() {
        let message = "message m { optional group a (LIST) { repeated group list { optional int32 element; } }
            optional group b (LIST) { repeated int32 array; }
            optional group c (LIST) { repeated group c_tuple { optional int32 x; } }
            optional group d (MAP) { repeated group key_value { required binary k (UTF8); optional int32 v; } }
            repeated int32 e; optional group f { optional int32 x; } }";
        let columns = columns(message);
        let at = |column: &Column| match &column.kind {
            Kind::Leaf(leaf) => leaf.at,
            other => panic!("{other:?}"),
        };
        let Kind::List(a) = &columns[0].kind else { panic!("{:?}", columns[0]) };
        let Kind::List(b) = &columns[1].kind else { panic!("{:?}", columns[1]) };
        let Kind::List(c) = &columns[2].kind else { panic!("{:?}", columns[2]) };
        let Kind::Map(d) = &columns[3].kind else { panic!("{:?}", columns[3]) };
        assert_eq!((at(a), at(b), a.name.as_str(), b.required), (0, 1, "element", true));
        assert!(matches!(&c.kind, Kind::Struct(parts) if at(&parts[0]) == 2));
        assert_eq!((at(&d.0), d.1.name.as_str()), (3, "value"));
        assert!(matches!(columns[4].kind, Kind::Other(_)) && matches!(columns[5].kind, Kind::Struct(_)));
    }

    #[test]
    fn stored_values_become_values() {
        assert_eq!(Stored::DecimalBytes.value(&[0xff, 0x7f]), Some(Value::Decimal(-129)));
        assert_eq!(Stored::DecimalBytes.value(&[0; 20]), Some(Value::Decimal(0)));
        assert_eq!(Stored::DecimalBytes.value(&[1; 17]), None);
        assert_eq!(Stored::Unsigned32.value(&[0xff; 4]), Some(Value::Long(4_294_967_295)));
        assert_eq!(Stored::Millis64.value(&i64::MAX.to_le_bytes()), None);
        assert_eq!(Stored::Int32.value(&[1, 2]), None);
    }
}
