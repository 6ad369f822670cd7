//! Files of every kind described for tables that fit and that do not; a file that was damaged on purpose has a reason.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use serde_json::{Value as Json, json};

use super::*;
use crate::format::manifest::Value;

struct Writer(SerializedFileWriter<Vec<u8>>, WriterProperties);

impl Writer {
    fn new(message: &str, statistics: EnabledStatistics) -> Writer {
        let properties = WriterProperties::builder().set_statistics_enabled(statistics).build();
        let schema = Arc::new(parse_message_type(message).unwrap());
        let kept = properties.clone();
        Writer(SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap(), kept)
    }

    fn group(mut self, columns: &[&dyn Fill]) -> Writer {
        let mut group = self.0.next_row_group().unwrap();
        for column in columns {
            let mut writer = group.next_column().unwrap().unwrap();
            column.fill(&mut writer);
            writer.close().unwrap();
        }
        group.close().unwrap();
        self
    }

    fn bytes(self) -> Bytes {
        let _ = self.1;
        self.0.into_inner().unwrap().into()
    }
}

trait Fill {
    fn fill(&self, to: &mut ::parquet::file::writer::SerializedColumnWriter<'_>);
}

struct Of<T: DataType>(Vec<Option<T::T>>);

impl<T: DataType> Fill for Of<T> {
    fn fill(&self, to: &mut ::parquet::file::writer::SerializedColumnWriter<'_>) {
        let levels: Vec<i16> = self.0.iter().map(|value| i16::from(value.is_some())).collect();
        let values: Vec<T::T> = self.0.iter().flatten().cloned().collect();
        to.typed::<T>().write_batch(&values, Some(&levels), None).unwrap();
    }
}

fn longs(values: &[i64]) -> Of<Int64Type> {
    Of(values.iter().map(|value| Some(*value)).collect())
}

fn texts(values: &[&str]) -> Of<ByteArrayType> {
    Of(values.iter().map(|value| Some(ByteArray::from(*value))).collect())
}

const MESSAGE: &str = "message m { optional int64 id; optional binary region (UTF8); }";

fn metadata(fields: Json, spec: Json, properties: Json) -> Json {
    json!({
        "format-version": 2, "last-column-id": 20, "current-schema-id": 0, "default-spec-id": 0,
        "schemas": [{"type": "struct", "schema-id": 0, "fields": fields}],
        "partition-specs": [{"spec-id": 0, "fields": spec}], "properties": properties,
    })
}

fn column(id: i32, name: &str, kind: &str) -> Json {
    json!({"id": id, "name": name, "required": false, "type": kind})
}

fn by(source: i32, name: &str, transform: &str) -> Json {
    json!({"source-id": source, "field-id": 1000, "name": name, "transform": transform})
}

fn table(fields: Json, spec: Json) -> TableShape {
    TableShape::of(&metadata(fields, spec, json!({}))).unwrap()
}

fn usual(spec: Json) -> TableShape {
    table(json!([column(1, "id", "long"), column(2, "region", "string")]), spec)
}

fn footer(bytes: &Bytes) -> Footer {
    match read_footer(bytes, bytes.len() as u64).unwrap() {
        FooterRead::Footer(footer) => *footer,
        FooterRead::Needs(_) => panic!("all of it is there"),
    }
}

fn described(bytes: &Bytes, table: &TableShape, below: &str) -> Result<DataFile, Reason> {
    let (footer, folders, mut read) = (footer(bytes), folders(below), BTreeMap::new());
    loop {
        match footer.describe("file:/t/f.parquet", table, &folders, &read)? {
            Described::File(file) => return Ok(*file),
            Described::Needs(needs) => {
                for (at, column) in needs {
                    let ranges = footer.ranges(column)?;
                    let chunks: Vec<Bytes> =
                        ranges.iter().map(|range| bytes.slice(range.start as usize..range.end as usize)).collect();
                    read.insert(at, footer.one_value(column, &table.spec.fields[at], &chunks)?);
                }
            }
        }
    }
}

#[test]
fn a_file_is_described_by_its_footer() {
    let bytes = Writer::new(MESSAGE, EnabledStatistics::Chunk)
        .group(&[&longs(&[3, 7]), &Of::<ByteArrayType>(vec![None, Some("a name that is too long".into())])])
        .group(&[&longs(&[-1]), &texts(&["b"])])
        .bytes();
    let file = described(&bytes, &usual(json!([])), "f.parquet").unwrap();
    assert_eq!((file.record_count, file.file_size_bytes, file.split_offsets.len()), (3, bytes.len() as i64, 2));
    assert_eq!(file.value_counts, [(1, 3), (2, 3)].into());
    assert_eq!(file.null_value_counts, [(1, 0), (2, 1)].into());
    assert_eq!(file.lower_bounds[&1], Value::Long(-1).to_bytes());
    assert_eq!(file.upper_bounds[&1], Value::Long(7).to_bytes());
    assert_eq!(
        (file.lower_bounds[&2].as_slice(), file.upper_bounds[&2].as_slice()),
        (&b"a name that is t"[..], &b"b"[..])
    );
    assert_eq!(file.split_offsets[0], 4);
    assert!(file.column_sizes[&1] > 0 && file.nan_value_counts.is_empty());
}

#[test]
fn modes_of_metrics_are_the_tables() {
    let bytes = Writer::new(MESSAGE, EnabledStatistics::Chunk).group(&[&longs(&[3]), &texts(&["b"])]).bytes();
    let properties =
        json!({"write.metadata.metrics.default": "counts", "write.metadata.metrics.column.region": "none"});
    let fields = json!([column(1, "id", "long"), column(2, "region", "string")]);
    let table = TableShape::of(&metadata(fields, json!([]), properties)).unwrap();
    let file = described(&bytes, &table, "f.parquet").unwrap();
    assert_eq!((file.value_counts, file.lower_bounds.len(), file.column_sizes.len()), ([(1, 1)].into(), 0, 2));
}

#[test]
fn partitions_come_from_statistics_folders_or_the_values_themselves() {
    let file = |statistics, ids: &[i64], regions: &[&str]| {
        Writer::new(MESSAGE, statistics).group(&[&longs(ids), &texts(regions)]).bytes()
    };
    let (with, without) = (EnabledStatistics::Chunk, EnabledStatistics::None);
    let region = || usual(json!([by(2, "region", "identity")]));
    let partition =
        |bytes: &Bytes, table: &TableShape, below: &str| described(bytes, table, below).map(|file| file.partition);
    let north = || vec![Some(Value::String("north".into()))];
    for statistics in [with, without] {
        let one = file(statistics, &[1, 2], &["north", "north"]);
        assert_eq!(partition(&one, &region(), "f"), Ok(north()));
        assert_eq!(partition(&one, &region(), "region=north/f"), Ok(north()));
        assert_eq!(partition(&one, &region(), "region=south/f").unwrap_err().word, "partition");
        assert_eq!(partition(&one, &usual(json!([by(1, "b", "bucket[1]")])), "f"), Ok(vec![Some(Value::Int(0))]));
        assert_eq!(partition(&one, &usual(json!([by(1, "t", "truncate[10]")])), "f"), Ok(vec![Some(Value::Long(0))]));
        let two = file(statistics, &[1, 2], &["north", "south"]);
        let error = partition(&two, &region(), "f").unwrap_err();
        assert!(error.message.contains("spans partitions of region"), "{error}");
        let nulls = Writer::new(MESSAGE, statistics).group(&[&longs(&[1]), &Of::<ByteArrayType>(vec![None])]).bytes();
        assert_eq!(partition(&nulls, &region(), "region=__HIVE_DEFAULT_PARTITION__/f"), Ok(vec![None]));
        let mixed = Of::<ByteArrayType>(vec![None, Some("north".into())]);
        let mixed = Writer::new(MESSAGE, statistics).group(&[&longs(&[1, 2]), &mixed]).bytes();
        assert_eq!(partition(&mixed, &region(), "f").unwrap_err().word, "partition");
    }
    let bare = Writer::new("message m { optional int64 id; }", with).group(&[&longs(&[1])]).bytes();
    assert_eq!(partition(&bare, &region(), "region=north/f"), Ok(north()));
    assert_eq!(partition(&bare, &region(), "f"), Ok(vec![None]));
    let error = partition(&bare, &usual(json!([])), "region=north/f").unwrap_err();
    assert!(error.message.contains("its rows would have null"), "{error}");
}

#[test]
fn what_does_not_fit_has_a_reason() {
    let bytes = Writer::new(MESSAGE, EnabledStatistics::Chunk).group(&[&longs(&[1]), &texts(&["b"])]).bytes();
    let reason = |fields: Json| described(&bytes, &table(fields, json!([])), "f").unwrap_err().to_string();
    assert_eq!(
        reason(json!([column(1, "id", "string"), column(2, "region", "string")])),
        "column id is long in the file and string in the table"
    );
    assert!(reason(json!([column(1, "id", "long")])).starts_with("new column region of type string"));
    assert!(
        reason(json!([column(1, "id", "int"), column(2, "region", "string")]))
            .starts_with("column id from int to long")
    );
    let required = json!({"id": 3, "name": "must", "required": true, "type": "int"});
    assert_eq!(
        reason(json!([column(1, "id", "long"), column(2, "region", "string"), required])),
        "it lacks the required column must"
    );
}

#[test]
fn field_ids_of_another_table_are_not_believed() {
    let message = "message m { optional int64 id = 1; optional binary region (UTF8) = 2; }";
    let bytes = Writer::new(message, EnabledStatistics::Chunk).group(&[&longs(&[1]), &texts(&["b"])]).bytes();
    assert!(described(&bytes, &usual(json!([])), "f").is_ok());
    let other = table(json!([column(1, "size", "long"), column(2, "region", "string")]), json!([]));
    let error = described(&bytes, &other, "f").unwrap_err();
    assert!(error.message.starts_with("field id 1 is id in the file and size in the table"), "{error}");
    let mut renamed = metadata(json!([column(1, "size", "long"), column(2, "region", "string")]), json!([]), json!({}));
    renamed["schemas"].as_array_mut().unwrap().push(json!({"schema-id": 1, "fields": [column(1, "id", "long")]}));
    assert!(described(&bytes, &TableShape::of(&renamed).unwrap(), "f").is_ok());
}

#[test]
fn a_table_can_become_what_a_file_needs() {
    let message =
        "message m { optional int64 id; optional group more { optional double x; optional binary y (UTF8); } }";
    let bytes = Writer::new(message, EnabledStatistics::Chunk)
        .group(&[&longs(&[1]), &Of::<DoubleType>(vec![None]), &texts(&["b"])])
        .bytes();
    let nested = json!({"id": 2, "name": "more", "required": false, "type": {"type": "struct", "fields": [column(3, "x", "float")]}});
    let table = table(json!([column(1, "id", "int"), nested]), json!([]));
    let differences = footer(&bytes).differences(&table).unwrap();
    let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["column id from int to long", "column more.x from float to double", "new column y of type string"]
    );
    let evolved = table.evolved(&differences);
    assert_eq!(described(&bytes, &evolved, "f").unwrap().value_counts.keys().copied().collect::<Vec<_>>(), [1, 3, 21]);
    assert_eq!(evolved.mapping.get("more").and_then(|(_, parts)| parts.get("y")).map(|(id, _)| id), Some(21));
}

#[test]
fn bounds_of_not_a_number_are_not_taken() {
    let message = "message m { optional double x; optional int32 y; }";
    let double = |values: &[f64]| Of::<DoubleType>(values.iter().map(|value| Some(*value)).collect());
    let bytes = Writer::new(message, EnabledStatistics::Chunk)
        .group(&[&double(&[f64::NAN, 0.0]), &Of::<Int32Type>(vec![Some(1), Some(2)])])
        .bytes();
    let table = table(json!([column(1, "x", "double"), column(2, "y", "int")]), json!([]));
    let file = described(&bytes, &table, "f").unwrap();
    if let Some(bytes) = file.lower_bounds.get(&1) {
        assert_eq!(bytes, &(-0.0_f64).to_le_bytes());
    }
    assert_eq!(file.lower_bounds[&2], 1_i32.to_le_bytes());
}

#[test]
fn a_file_that_is_cut_or_changed_never_panics() {
    let bytes = Writer::new(MESSAGE, EnabledStatistics::Chunk).group(&[&longs(&[1, 2]), &texts(&["b", "c"])]).bytes();
    let table = usual(json!([by(1, "b", "bucket[4]")]));
    for cut in 0..bytes.len() {
        assert!(read_footer(&bytes.slice(..cut), cut as u64).is_err(), "{cut}");
    }
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= flip;
            let changed = Bytes::from(changed);
            if let Ok(FooterRead::Footer(_)) = read_footer(&changed, changed.len() as u64) {
                let _ = described(&changed, &table, "f");
            }
        }
    }
}

#[test]
fn what_is_no_parquet_is_named() {
    let word = |bytes: &[u8]| read_footer(&Bytes::copy_from_slice(bytes), bytes.len() as u64).unwrap_err().word;
    assert_eq!(word(b""), "unreadable");
    assert_eq!(word(b"Obj\x01 is Avro, not Parquet"), "unreadable");
    assert_eq!(word(b"PAR1\0\0\0\0\0\0\0\0PARE"), "encrypted");
    let fields: String = (0..25_000).map(|at| format!("optional int32 c{at}; ")).collect();
    let wide = Writer::new(&format!("message m {{ {fields} }}"), EnabledStatistics::None).bytes();
    assert_eq!(read_footer(&wide, wide.len() as u64).unwrap_err().word, "limits");
}
