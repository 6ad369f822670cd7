//! Small Parquet files with Iceberg field ids, and what a manifest says about them.
//!
//! What must hold: the figures and bounds of a [`DataFile`] are those of the rows that were written. Uncompressed, one row group,
//! flat columns: enough for a demonstration and for tests, not a writer of large data.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;

use crate::error::{Error, Result};
use crate::format::manifest::{DataFile, FileContent, Value, ValueType};

/// One column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Iceberg's field id.
    pub id: i32,
    /// Its name.
    pub name: &'static str,
    /// Its type: `int`, `long`, `double`, `date`, `timestamp` or `string`.
    pub value_type: ValueType,
    /// Whether null is forbidden.
    pub required: bool,
}

/// A row: one value a column, `None` is null.
pub type Row = Vec<Option<Value>>;

/// The columns of a position delete file (specification, "Position Delete Files").
pub const POSITION_DELETE: [Column; 2] = [
    Column { id: 2_147_483_546, name: "file_path", value_type: ValueType::String, required: true },
    Column { id: 2_147_483_545, name: "pos", value_type: ValueType::Long, required: true },
];

/// The first bytes of a Parquet file are its magic; the first row group follows.
const FIRST_ROW_GROUP_OFFSET: i64 = 4;

/// Writes `rows` and describes the file that is to be stored at `path`, unpartitioned.
pub fn write(content: FileContent, path: &str, columns: &[Column], rows: &[Row]) -> Result<(Vec<u8>, DataFile)> {
    let (bytes, column_sizes) = encode(columns, rows)
        .map_err(|e| Error::internal(format!("writing {path} as Parquet failed")).with_source(e))?;
    let mut file = DataFile::parquet(content, path, rows.len() as i64, bytes.len() as i64);
    file.column_sizes = column_sizes;
    file.split_offsets = vec![FIRST_ROW_GROUP_OFFSET];
    file.sort_order_id = (content == FileContent::Data).then_some(0);
    for (at, column) in columns.iter().enumerate() {
        let values: Vec<&Value> = rows.iter().filter_map(|row| row[at].as_ref()).collect();
        file.value_counts.insert(column.id, rows.len() as i64);
        file.null_value_counts.insert(column.id, (rows.len() - values.len()) as i64);
        let outermost = |keep: Ordering| {
            values.iter().copied().reduce(|a, b| if b.compare(a) == Some(keep) { b } else { a }).map(Value::to_bytes)
        };
        if let (Some(lower), Some(upper)) = (outermost(Ordering::Less), outermost(Ordering::Greater)) {
            file.lower_bounds.insert(column.id, lower);
            file.upper_bounds.insert(column.id, upper);
        }
    }
    Ok((bytes, file))
}

/// The file, and how many bytes each column takes, by field id.
fn encode(columns: &[Column], rows: &[Row]) -> Result<(Vec<u8>, BTreeMap<i32, i64>), ParquetError> {
    let fields = columns.iter().map(|column| field(column).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let schema = Arc::new(Type::group_type_builder("table").with_fields(fields).build()?);
    let properties = Arc::new(WriterProperties::builder().set_created_by("lifeboat".into()).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties)?;
    let mut group = writer.next_row_group()?;
    for (at, column) in columns.iter().enumerate() {
        let mut to = group.next_column()?.ok_or_else(|| ParquetError::General("a column is missing".into()))?;
        write_column(&mut to, column, rows.iter().map(|row| row[at].as_ref()))?;
        to.close()?;
    }
    let group = group.close()?;
    let sizes = columns.iter().zip(group.columns()).map(|(column, chunk)| (column.id, chunk.compressed_size()));
    let sizes = sizes.collect();
    Ok((writer.into_inner()?, sizes))
}

fn field(column: &Column) -> Result<Type, ParquetError> {
    let (physical, logical) = match column.value_type {
        ValueType::Int => (Physical::INT32, None),
        ValueType::Long => (Physical::INT64, None),
        ValueType::Double => (Physical::DOUBLE, None),
        ValueType::Date => (Physical::INT32, Some(LogicalType::Date)),
        ValueType::Timestamp { utc } => (Physical::INT64, Some(LogicalType::timestamp(utc, TimeUnit::MICROS))),
        ValueType::String => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        other => return Err(ParquetError::NYI(format!("columns of type {other:?}"))),
    };
    Type::primitive_type_builder(column.name, physical)
        .with_repetition(if column.required { Repetition::REQUIRED } else { Repetition::OPTIONAL })
        .with_logical_type(logical)
        .with_id(Some(column.id))
        .build()
}

fn write_column<'a>(
    to: &mut SerializedColumnWriter<'_>,
    column: &Column,
    values: impl Iterator<Item = Option<&'a Value>> + Clone,
) -> Result<(), ParquetError> {
    let wrong = |value: &Value| ParquetError::General(format!("{} cannot be {value:?}", column.name));
    let levels: Vec<i16> = values.clone().map(|value| i16::from(value.is_some())).collect();
    let levels = if column.required { None } else { Some(levels.as_slice()) };
    let values = values.flatten();
    match column.value_type {
        ValueType::Int | ValueType::Date => {
            let ints = values.map(|v| if let Value::Int(i) = v { Ok(*i) } else { Err(wrong(v)) });
            to.typed::<Int32Type>().write_batch(&ints.collect::<Result<Vec<_>, _>>()?, levels, None)?;
        }
        ValueType::Double => {
            let doubles = values.map(|v| if let Value::Double(d) = v { Ok(*d) } else { Err(wrong(v)) });
            to.typed::<DoubleType>().write_batch(&doubles.collect::<Result<Vec<_>, _>>()?, levels, None)?;
        }
        ValueType::String => {
            let texts =
                values.map(|v| if let Value::String(s) = v { Ok(ByteArray::from(s.as_str())) } else { Err(wrong(v)) });
            to.typed::<ByteArrayType>().write_batch(&texts.collect::<Result<Vec<_>, _>>()?, levels, None)?;
        }
        _ => {
            let longs = values.map(|v| if let Value::Long(l) = v { Ok(*l) } else { Err(wrong(v)) });
            to.typed::<Int64Type>().write_batch(&longs.collect::<Result<Vec<_>, _>>()?, levels, None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    use super::*;

    #[test]
    fn rows_are_read_back_and_described() {
        let columns = [
            Column { id: 1, name: "id", value_type: ValueType::Long, required: true },
            Column { id: 5, name: "name", value_type: ValueType::String, required: false },
        ];
        let rows = [vec![Some(Value::Long(4)), None], vec![Some(Value::Long(-1)), Some(Value::String("ü".into()))]];
        let (bytes, file) = write(FileContent::Data, "file:/a", &columns, &rows).expect("written");
        assert_eq!((file.record_count, file.file_size_bytes), (2, bytes.len() as i64));
        assert_eq!((file.null_value_counts[&5], file.null_value_counts[&1]), (1, 0));
        assert_eq!(file.lower_bounds[&1], Value::Long(-1).to_bytes());
        let reader = SerializedFileReader::new(Bytes::from(bytes)).expect("Parquet");
        let schema = reader.metadata().file_metadata().schema_descr();
        assert_eq!(schema.column(1).self_type().get_basic_info().id(), 5);
        let read: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
        assert_eq!(read[0].get_long(0).expect("a long"), 4);
        assert_eq!(read[1].get_string(1).expect("a string"), "ü");
    }
}
