//! What a footer says of each column, and what of that a manifest says (specification, "Data File Fields"; Java's `ParquetMetrics`).
//!
//! What must hold: a bound is never tighter than the values, however old or careless the writer was; what is not known is left out, and never 0.

use std::collections::BTreeMap;

use ::parquet::basic::{ColumnOrder, SortOrder};
use ::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::matching::MatchedLeaf;
use super::table::{Mode, TableShape};
use crate::format::manifest::{DataFile, Value, ValueType};

/// A column over all row groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Aggregate {
    size_bytes: i64,
    /// Values and nulls.
    pub values: i64,
    pub nulls: Option<i64>,
    nans: Option<i64>,
    pub least: Option<Value>,
    pub greatest: Option<Value>,
    /// Whether the two are values of the column, rather than cut.
    pub is_exact: bool,
}

impl Aggregate {
    pub fn is_all_null(&self) -> bool {
        self.nulls == Some(self.values)
    }
}

/// The figures of one column.
pub(super) fn aggregate(metadata: &ParquetMetaData, matched: &MatchedLeaf) -> Aggregate {
    let order = metadata.file_metadata().column_order(matched.leaf.at);
    let mut all = Aggregate { nulls: Some(0), nans: Some(0), is_exact: true, ..Aggregate::default() };
    let (mut has_bounds, mut least, mut greatest) = (true, None, None);
    for group in metadata.row_groups() {
        let Some(chunk) = group.columns().get(matched.leaf.at) else { continue };
        let values = chunk.num_values();
        all.size_bytes = all.size_bytes.saturating_add(chunk.compressed_size());
        all.values = all.values.saturating_add(values);
        if values == 0 {
            continue;
        }
        let statistics = chunk.statistics();
        let count =
            |count: Option<u64>| count.and_then(|count| i64::try_from(count).ok()).filter(|count| *count <= values);
        let nulls = count(statistics.and_then(|s| s.null_count_opt()));
        all.nulls = all.nulls.zip(nulls).map(|(all, more)| all.saturating_add(more));
        all.nans =
            all.nans.zip(count(statistics.and_then(|s| s.nan_count_opt()))).map(|(all, more)| all.saturating_add(more));
        if nulls == Some(values) || !has_bounds {
            continue;
        }
        let Some(bounds) = bounds(chunk, matched, order) else {
            has_bounds = false;
            continue;
        };
        all.is_exact &= bounds.is_exact;
        least = Some(extreme(least, bounds.least, std::cmp::Ordering::Less));
        greatest = Some(extreme(greatest, bounds.greatest, std::cmp::Ordering::Greater));
    }
    if has_bounds {
        (all.least, all.greatest) = (least, greatest);
    }
    all
}

fn extreme(so_far: Option<Value>, next: Value, keep: std::cmp::Ordering) -> Value {
    match so_far {
        Some(so_far) if next.compare(&so_far) != Some(keep) => so_far,
        _ => next,
    }
}

struct ChunkBounds {
    least: Value,
    greatest: Value,
    is_exact: bool,
}

/// The bounds of one column of a row group, if they can be believed.
fn bounds(chunk: &ColumnChunkMetaData, matched: &MatchedLeaf, order: ColumnOrder) -> Option<ChunkBounds> {
    let statistics = chunk.statistics()?;
    let (min, max) = (statistics.min_bytes_opt()?, statistics.max_bytes_opt()?);
    let stored = matched.leaf.stored;
    let has_order = match order {
        ColumnOrder::TYPE_DEFINED_ORDER(SortOrder::UNDEFINED) => false,
        ColumnOrder::TYPE_DEFINED_ORDER(_) | ColumnOrder::IEEE_754_TOTAL_ORDER => {
            !statistics.is_min_max_deprecated() || stored.has_old_order()
        }
        ColumnOrder::UNDEFINED => stored.has_old_order(),
        ColumnOrder::INT96_TIMESTAMP_ORDER | ColumnOrder::UNKNOWN => false,
    };
    if !has_order {
        return None;
    }
    let value = |bytes: &[u8], is_upper: bool| {
        converted(stored.value(bytes)?, matched.leaf.value_type, matched.value_type, is_upper)
    };
    let (least, greatest) = (value(min, false)?, value(max, true)?);
    // the least of two NaNs is nothing that a reader could use
    if least.is_nan() || greatest.is_nan() || greatest.compare(&least)? == std::cmp::Ordering::Less {
        return None;
    }
    let is_exact = statistics.min_is_exact() && statistics.max_is_exact();
    Some(ChunkBounds { least: signed_zero(least, false), greatest: signed_zero(greatest, true), is_exact })
}

/// The two zeros are one to writers of Parquet, and two to readers of Iceberg.
fn signed_zero(value: Value, is_upper: bool) -> Value {
    match value {
        Value::Float(0.0) => Value::Float(if is_upper { 0.0 } else { -0.0 }),
        Value::Double(0.0) => Value::Double(if is_upper { 0.0 } else { -0.0 }),
        other => other,
    }
}

/// A value of a file's column as one of the table's; of text that was cut within a character what is whole of it.
pub(super) fn converted(value: Value, from: ValueType, to: ValueType, is_upper: bool) -> Option<Value> {
    Some(match (value, from, to) {
        (Value::Int(value), ValueType::Int, ValueType::Long) => Value::Long(value.into()),
        (Value::Float(value), ValueType::Float, ValueType::Double) => Value::Double(value.into()),
        (Value::Bytes(bytes), _, ValueType::String) => match String::from_utf8(bytes) {
            Ok(text) => Value::String(text),
            Err(_) if is_upper => return None,
            Err(e) => {
                let whole = e.utf8_error().valid_up_to();
                Value::String(String::from_utf8_lossy(&e.as_bytes()[..whole]).into_owned())
            }
        },
        (value, _, to) => value.is(to).then_some(value)?,
    })
}

/// Writes what the table wants said of its columns into a data file.
pub(super) fn describe(file: &mut DataFile, table: &TableShape, leaves: &[(&MatchedLeaf, Aggregate)]) {
    for (leaf, all) in leaves {
        let (id, mode) = (leaf.field_id, table.mode(leaf.field_id));
        file.column_sizes.insert(id, all.size_bytes);
        if mode == Mode::None {
            continue;
        }
        file.value_counts.insert(id, all.values);
        file.null_value_counts.extend(all.nulls.map(|nulls| (id, nulls)));
        if matches!(leaf.value_type, ValueType::Float | ValueType::Double) {
            file.nan_value_counts.extend(all.nans.map(|nans| (id, nans)));
        }
        let length = match mode {
            Mode::Truncate(length) => Some(length),
            _ => None,
        };
        if mode == Mode::Counts || leaf.is_repeated {
            continue;
        }
        put(&mut file.lower_bounds, id, all.least.as_ref().and_then(|least| lower(least, leaf.value_type, length)));
        put(&mut file.upper_bounds, id, all.greatest.as_ref().and_then(|most| upper(most, leaf.value_type, length)));
    }
}

fn put(bounds: &mut BTreeMap<i32, Vec<u8>>, id: i32, value: Option<Value>) {
    bounds.extend(value.map(|value| (id, value.to_bytes())));
}

fn lower(value: &Value, value_type: ValueType, length: Option<usize>) -> Option<Value> {
    Some(match (value, length) {
        (Value::String(text), Some(length)) => Value::String(text.chars().take(length).collect()),
        (Value::Bytes(bytes), Some(length)) if value_type == ValueType::Binary => {
            Value::Bytes(bytes.iter().copied().take(length).collect())
        }
        (value, _) => value.clone(),
    })
}

/// The smallest that is not less, of no more than `length`; `None` where there is none.
fn upper(value: &Value, value_type: ValueType, length: Option<usize>) -> Option<Value> {
    match (value, length) {
        (Value::String(text), Some(length)) if text.chars().nth(length).is_some() => {
            let mut cut: Vec<char> = text.chars().take(length).collect();
            while let Some(last) = cut.pop() {
                let next = match last {
                    '\u{d7ff}' => Some('\u{e000}'),
                    last => char::from_u32(last as u32 + 1),
                };
                if let Some(next) = next {
                    cut.push(next);
                    return Some(Value::String(cut.into_iter().collect()));
                }
            }
            None
        }
        (Value::Bytes(bytes), Some(length)) if value_type == ValueType::Binary && bytes.len() > length => {
            let mut cut = bytes[..length].to_vec();
            while let Some(last) = cut.pop() {
                if last < u8::MAX {
                    cut.push(last + 1);
                    return Some(Value::Bytes(cut));
                }
            }
            None
        }
        (value, _) => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_cut_outwards() {
        let text = |text: &str| Value::String(text.into());
        assert_eq!(lower(&text("日本語の文"), ValueType::String, Some(2)), Some(text("日本")));
        assert_eq!(upper(&text("abc"), ValueType::String, Some(2)), Some(text("ac")));
        assert_eq!(upper(&text("ab"), ValueType::String, Some(2)), Some(text("ab")));
        assert_eq!(upper(&text("a\u{10ffff}c"), ValueType::String, Some(2)), Some(text("b")));
        assert_eq!(upper(&text("\u{10ffff}\u{10ffff}c"), ValueType::String, Some(2)), None);
        assert_eq!(upper(&text("\u{d7ff}c"), ValueType::String, Some(1)), Some(text("\u{e000}")));
        assert_eq!(upper(&Value::Bytes(vec![1, 255, 3]), ValueType::Binary, Some(2)), Some(Value::Bytes(vec![2])));
        assert_eq!(upper(&Value::Bytes(vec![255, 3]), ValueType::Binary, Some(1)), None);
        assert_eq!(upper(&Value::Bytes(vec![1; 32]), ValueType::Fixed(32), Some(1)), Some(Value::Bytes(vec![1; 32])));
    }

    #[test]
    fn zeros_hold_each_other() {
        let bits = |value| if let Value::Double(value) = value { value.to_bits() } else { 1 };
        assert_eq!(bits(signed_zero(Value::Double(0.0), false)), (-0.0_f64).to_bits());
        assert_eq!(bits(signed_zero(Value::Double(-0.0), true)), 0);
    }

    #[test]
    fn text_that_was_cut_within_a_character_bounds_from_below_only() {
        let cut = Value::Bytes(vec![b'a', 0xe6, 0x97]);
        let text = |is_upper| converted(cut.clone(), ValueType::String, ValueType::String, is_upper);
        assert_eq!((text(false), text(true)), (Some(Value::String("a".into())), None));
    }
}
