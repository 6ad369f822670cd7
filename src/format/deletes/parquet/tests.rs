//! Position deletes in Parquet: files of pyarrow, DuckDB and Spark there and back, order, limits and damage.

#![allow(clippy::unwrap_used)]

use std::cmp::Ordering;
use std::sync::Arc;

use ::parquet::basic::{
    BrotliLevel, Compression, Encoding, GzipLevel, LogicalType, Repetition, Type as Physical, ZstdLevel,
};
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::file::statistics::Statistics;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::record::RowAccessor;
use ::parquet::schema::types::Type;
use proptest::prelude::*;

use super::*;

macro_rules! golden {
    ($($name:literal),*) => {
        &[$(($name, include_bytes!(concat!("../../../../tests/golden/deletes/", $name, ".parquet")))),*]
    };
}

/// Files of real writers, all sorted but one.
const GOLDEN: &[(&str, &[u8])] = golden!(
    "duckdb",
    "duckdb-unsorted",
    "pyarrow-brotli",
    "pyarrow-delta",
    "pyarrow-empty",
    "pyarrow-gzip",
    "pyarrow-lz4",
    "pyarrow-no-ids",
    "pyarrow-none",
    "pyarrow-row",
    "pyarrow-row-v1",
    "pyarrow-snappy",
    "pyarrow-split",
    "pyarrow-v2-pages",
    "pyarrow-zstd",
    "spark",
    "spark-gzip"
);

fn golden(name: &str) -> &'static [u8] {
    GOLDEN.iter().find(|(is, _)| *is == name).unwrap().1
}

fn map(pairs: &[(&str, &str)]) -> LocationMap {
    LocationMap::new(pairs.iter().copied()).unwrap()
}

/// To a longer place, in the same order.
fn elsewhere() -> LocationMap {
    map(&[("s3://warehouse", "abfss://other@store.example/a long way"), ("file:/tmp/warehouse", "gs://w")])
}

/// The order of the days in the files of pyarrow turned round.
fn turned() -> LocationMap {
    let days = (1..=6)
        .map(|day| (format!("s3://warehouse/db/events/data/day=2026-01-0{day}"), format!("s3://new/{}", 9 - day)));
    LocationMap::new(days).unwrap()
}

fn rewritten(bytes: &[u8], map: &LocationMap) -> Rewritten {
    rewrite(Bytes::copy_from_slice(bytes), "s3://b/d.parquet", map).unwrap()
}

#[track_caller]
fn fails(bytes: &[u8]) -> Error {
    rewrite(Bytes::copy_from_slice(bytes), "s3://b/d.parquet", &elsewhere()).unwrap_err()
}

#[track_caller]
fn is_damaged(bytes: &[u8], why: &str) {
    let error = fails(bytes);
    assert!(error.message().starts_with("cannot read s3://b/d.parquet as Parquet: "), "{error}");
    assert!(error.message().contains(why), "{error}");
}

#[track_caller]
fn is_refused(error: &Error, why: &str) {
    assert_eq!(error.kind(), Kind::Unprocessable, "{error}");
    assert!(error.message().starts_with("cannot rewrite s3://b/d.parquet: "), "{error}");
    assert!(error.message().contains(why), "{error}");
}

fn reader(bytes: &[u8]) -> SerializedFileReader<Bytes> {
    SerializedFileReader::new(Bytes::copy_from_slice(bytes)).unwrap()
}

/// With the page indexes.
fn metadata(bytes: &[u8]) -> ParquetMetaData {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    reader.parse_and_finish(&Bytes::copy_from_slice(bytes)).unwrap()
}

/// The rows as the crate's own reader puts them together: path, position, and the whole row as text with the path mapped.
fn rows(bytes: &[u8], map: &LocationMap) -> Vec<(String, i64, String)> {
    let reader = reader(bytes);
    let columns = reader.metadata().file_metadata().schema_descr().columns().to_vec();
    let place = |name: &str| columns.iter().position(|column| column.name() == name).unwrap();
    let (path, pos) = (place("file_path"), place("pos"));
    let row = |row: ::parquet::record::Row| {
        let from = row.get_string(path).unwrap().clone();
        let to = map.map(&from).unwrap().into_owned();
        let text = row.to_string().replace(&from, &to);
        (to, row.get_long(pos).unwrap(), text)
    };
    reader.get_row_iter(None).unwrap().map(|next| row(next.unwrap())).collect()
}

fn sorted(mut rows: Vec<(String, i64, String)>) -> Vec<(String, i64, String)> {
    rows.sort_by(|a, b| (a.0.as_bytes(), a.1).cmp(&(b.0.as_bytes(), b.1)));
    rows
}

/// Everything but the rows is as it was.
#[track_caller]
fn same_file(name: &str, before: &[u8], after: &[u8]) {
    let (before, after) = (reader(before), reader(after));
    let (old, new) = (before.metadata(), after.metadata());
    assert_eq!(old.file_metadata().schema(), new.file_metadata().schema(), "{name}");
    let pairs = |metadata: &ParquetMetaData| -> Vec<_> {
        let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
        pairs.filter(|pair| pair.key != "ARROW:schema").cloned().collect()
    };
    assert_eq!(pairs(old), pairs(new), "{name}");
    let sizes = |metadata: &ParquetMetaData| -> Vec<i64> {
        metadata.row_groups().iter().map(|group| group.num_rows()).filter(|rows| *rows > 0).collect()
    };
    assert_eq!(sizes(old), sizes(new), "{name}");
    for (old, new) in old.row_groups().iter().zip(new.row_groups()) {
        for (old, new) in old.columns().iter().zip(new.columns()) {
            let codec = |codec| Compression::to_string(&codec).chars().take_while(|c| *c != '(').collect::<String>();
            assert_eq!(codec(old.compression()), codec(new.compression()), "{name}");
            assert!(new.bloom_filter_offset().is_none());
        }
    }
}

#[test]
fn files_of_real_writers_go_there_and_back() {
    let back = elsewhere().inverse().unwrap();
    let nowhere = map(&[("x://", "y://")]);
    for (name, before) in GOLDEN {
        let there = rewritten(before, &elsewhere());
        assert_eq!(there.resorted, *name == "duckdb-unsorted", "{name}");
        let expected = sorted(rows(before, &elsewhere()));
        assert_eq!(rows(&there.bytes, &nowhere), expected, "{name}");
        assert_eq!(there.rows, expected.len() as u64, "{name}");
        assert_eq!(there.first_path.as_ref(), expected.first().map(|row| &row.0), "{name}");
        assert_eq!(there.last_path.as_ref(), expected.last().map(|row| &row.0), "{name}");
        same_file(name, before, &there.bytes);
        let again = rewritten(&there.bytes, &back);
        assert!(!again.resorted);
        assert_eq!(rows(&again.bytes, &nowhere), sorted(rows(before, &nowhere)), "{name}");
        same_file(name, before, &again.bytes);
    }
}

#[test]
fn a_map_that_changes_the_order_sorts_all_row_groups_anew() {
    let nowhere = map(&[("x://", "y://")]);
    for name in ["pyarrow-row", "pyarrow-row-v1", "pyarrow-delta", "pyarrow-v2-pages", "pyarrow-no-ids"] {
        let there = rewritten(golden(name), &turned());
        assert!(there.resorted, "{name}");
        let found = rows(&there.bytes, &nowhere);
        assert_eq!(found, sorted(rows(golden(name), &turned())), "{name}");
        assert_eq!(there.first_path.as_ref(), found.first().map(|row| &row.0), "{name}");
        same_file(name, golden(name), &there.bytes);
        let again = rewritten(&there.bytes, &turned().inverse().unwrap());
        assert_eq!(rows(&again.bytes, &nowhere), rows(golden(name), &nowhere), "{name}");
    }
}

#[test]
fn what_a_manifest_says_of_the_new_file_is_so() {
    for name in ["pyarrow-row", "spark", "duckdb", "pyarrow-no-ids"] {
        let there = rewritten(golden(name), &turned());
        let metadata = metadata(&there.bytes);
        let groups = metadata.row_groups();
        let starts: Vec<i64> = groups.iter().map(|group| group.columns()[0].byte_range().0 as i64).collect();
        assert_eq!(there.split_offsets, starts);
        assert_eq!(starts[0], 4);
        let total: i64 = groups.iter().map(|group| group.compressed_size()).sum();
        assert_eq!(there.column_sizes.iter().map(|(_, size)| size).sum::<i64>(), total, "{name}");
        assert!(there.column_sizes.iter().any(|(id, size)| *id == FILE_PATH && *size > 0));
        assert!(there.column_sizes.iter().any(|(id, size)| *id == POS && *size > 0));
        let nested = name == "pyarrow-row";
        assert_eq!(there.column_sizes.iter().any(|(id, _)| *id == 18), nested, "leaves of the row too");
    }
}

#[test]
fn statistics_and_indexes_are_those_of_the_new_paths() {
    let there = rewritten(golden("pyarrow-row"), &turned());
    let metadata = metadata(&there.bytes);
    let mut all = rows(&there.bytes, &map(&[("x://", "y://")])).into_iter();
    let indexes = metadata.page_index().unwrap();
    assert!(indexes.is_complete());
    for group in metadata.row_groups() {
        let rows: Vec<_> = all.by_ref().take(group.num_rows() as usize).collect();
        let Some(Statistics::ByteArray(paths)) = group.column(0).statistics() else {
            panic!("statistics of file_path")
        };
        assert_eq!(paths.min_opt().unwrap().as_utf8().unwrap(), rows.first().unwrap().0);
        assert_eq!(paths.max_opt().unwrap().as_utf8().unwrap(), rows.last().unwrap().0);
        assert!(paths.min_is_exact() && paths.max_is_exact());
        assert!(group.column(0).dictionary_page_offset().is_some());
        let Some(Statistics::Int64(positions)) = group.column(1).statistics() else { panic!("statistics of pos") };
        assert_eq!(positions.min_opt(), rows.iter().map(|row| &row.1).min());
    }
    assert!(metadata.file_metadata().created_by().unwrap().starts_with("lifeboat version "));
}

/// A file as we may need one.
struct Made<'a> {
    rows: &'a [(Option<&'a [u8]>, Option<i64>)],
    group_rows: usize,
    properties: WriterPropertiesBuilder,
    names: [&'static str; 2],
    ids: bool,
}

impl Default for Made<'_> {
    fn default() -> Self {
        Made {
            rows: &[],
            group_rows: 100,
            properties: WriterProperties::builder(),
            names: ["file_path", "pos"],
            ids: true,
        }
    }
}

impl Made<'_> {
    fn bytes(self) -> Vec<u8> {
        let field = |name: &str, physical, id| {
            let field = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
            let field = field.with_logical_type((physical == Physical::BYTE_ARRAY).then_some(LogicalType::String));
            Arc::new(field.with_id(self.ids.then_some(id)).build().unwrap())
        };
        let fields =
            vec![field(self.names[0], Physical::BYTE_ARRAY, FILE_PATH), field(self.names[1], Physical::INT64, POS)];
        let schema = Arc::new(Type::group_type_builder("table").with_fields(fields).build().unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(self.properties.build())).unwrap();
        for rows in self.rows.chunks(self.group_rows) {
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.0.is_some())).collect();
            let paths: Vec<ByteArray> = rows.iter().filter_map(|row| Some(row.0?.to_vec().into())).collect();
            column.typed::<ByteArrayType>().write_batch(&paths, Some(&levels), None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.1.is_some())).collect();
            let positions: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
            column.typed::<Int64Type>().write_batch(&positions, Some(&levels), None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.into_inner().unwrap()
    }
}

#[test]
fn every_codec_is_kept() {
    let rows: Vec<_> = (0..300).map(|pos| (Some(&b"s3://warehouse/t/a.parquet"[..]), Some(pos))).collect();
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let properties = WriterProperties::builder().set_compression(codec).set_dictionary_enabled(false);
        let before = Made { rows: &rows, properties, ..Made::default() }.bytes();
        let there = rewritten(&before, &elsewhere());
        same_file("", &before, &there.bytes);
        assert_eq!(
            super::tests::rows(&there.bytes, &map(&[("x://", "y://")])),
            super::tests::rows(&before, &elsewhere())
        );
    }
}

#[test]
fn encodings_that_somebody_chose_are_kept() {
    for (name, encoding) in
        [("pyarrow-delta", Encoding::DELTA_BINARY_PACKED), ("pyarrow-split", Encoding::BYTE_STREAM_SPLIT)]
    {
        let there = rewritten(golden(name), &elsewhere());
        let reader = reader(&there.bytes);
        let group = reader.metadata().row_group(0);
        assert!(group.column(1).encodings().any(|is| is == encoding), "{name}");
        assert!(group.column(0).encodings().any(|is| is == Encoding::RLE_DICTIONARY), "{name}");
    }
}

#[test]
fn paths_that_meet_at_one_place_are_sorted_by_position() {
    let (a, b) = (&b"s3://warehouse/a/f"[..], &b"s3://warehouse/b/f"[..]);
    let rows = [(Some(a), Some(1)), (Some(a), Some(5)), (Some(b), Some(2)), (Some(b), Some(5))];
    let bytes = Made { rows: &rows, group_rows: 3, ..Made::default() }.bytes();
    let there =
        rewritten(&bytes, &map(&[("s3://warehouse/a", "s3://warehouse/b"), ("s3://warehouse/b", "s3://warehouse/b")]));
    let positions: Vec<i64> =
        super::tests::rows(&there.bytes, &map(&[("x://", "y://")])).iter().map(|row| row.1).collect();
    assert_eq!((positions, there.resorted), (vec![1, 2, 5, 5], true));
}

#[test]
fn columns_are_found_by_id_and_else_by_name() {
    let rows = [(Some(&b"s3://warehouse/a"[..]), Some(1))];
    let renamed = Made { rows: &rows, names: ["p", "q"], ..Made::default() }.bytes();
    assert_eq!(rewritten(&renamed, &elsewhere()).first_path.unwrap(), "abfss://other@store.example/a long way/a");
    let named = Made { rows: &rows, ids: false, ..Made::default() }.bytes();
    assert_eq!(rewritten(&named, &elsewhere()).column_sizes.len(), 2);
    is_damaged(
        &Made { rows: &rows, ids: false, names: ["path", "pos"], ..Made::default() }.bytes(),
        "no column file_path",
    );
    is_damaged(
        &Made { rows: &rows, ids: false, names: ["file_path", "at"], ..Made::default() }.bytes(),
        "no column pos",
    );
    is_damaged(
        &Made { rows: &rows, ids: false, names: ["pos", "file_path"], ..Made::default() }.bytes(),
        "is not of type",
    );
}

#[test]
fn rows_without_a_path_or_a_position_are_an_error() {
    let a = &b"s3://warehouse/a"[..];
    is_damaged(
        &Made { rows: &[(Some(a), Some(1)), (None, Some(2))], ..Made::default() }.bytes(),
        "a row's file_path is null",
    );
    is_damaged(
        &Made { rows: &[(Some(a), Some(1)), (Some(a), None)], ..Made::default() }.bytes(),
        "a row's pos is null",
    );
    is_damaged(&Made { rows: &[(Some(b"s3://\xff"), Some(1))], ..Made::default() }.bytes(), "a path is not UTF-8");
}

#[test]
fn a_path_that_the_map_refuses_is_named_with_its_file() {
    let refusing = elsewhere().with_uncovered(crate::format::location::Uncovered::Refuse);
    let bytes = Made { rows: &[(Some(b"hdfs://x/y"), Some(1))], ..Made::default() }.bytes();
    let error = rewrite(bytes.into(), "s3://b/d.parquet", &refusing).unwrap_err();
    assert_eq!(error.kind(), Kind::Unprocessable);
    assert!(error.to_string().starts_with("s3://b/d.parquet: ") && error.message().contains("hdfs://x/y"), "{error}");
}

/// The same file with another footer.
fn with_footer(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let tail = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[tail..tail + 4].try_into().unwrap()) as usize;
    let mut footer = bytes[tail - length..tail].to_vec();
    change(&mut footer);
    let size = (footer.len() as u32).to_le_bytes();
    [&bytes[..tail - length], &footer, &size, b"PAR1"].concat()
}

#[test]
fn encrypted_files_are_refused() {
    let file = golden("pyarrow-none");
    let at_the_end = [&file[..file.len() - 4], b"PARE"].concat();
    let at_both = [&b"PARE"[..], &at_the_end[4..]].concat();
    // encryption_algorithm behind column_orders: the footer is plain, the columns are not
    let plain_footer = with_footer(file, |footer| {
        assert_eq!(footer.pop(), Some(0));
        footer.extend([0x1c, 0, 0]);
    });
    for bytes in [at_the_end, at_both, plain_footer] {
        is_refused(&fails(&bytes), "it is encrypted");
    }
}

#[test]
fn what_is_over_a_limit_is_refused() {
    let file = golden("pyarrow-row");
    let within = |limits: Limits| rewrite_within(&limits, Bytes::from_static(file), "s3://b/d.parquet", &turned());
    let refused = |limits: Limits, why: &str| is_refused(&within(limits).unwrap_err(), why);
    refused(Limits { footer_bytes: 1000, ..LIMITS }, "its footer is larger than 1000 bytes");
    refused(
        Limits { shape: ShapeLimits { schema_elements: 10, ..LIMITS.shape }, ..LIMITS },
        "its schema has too many elements",
    );
    refused(Limits { shape: ShapeLimits { schema_depth: 3, ..LIMITS.shape }, ..LIMITS }, "or nests too deep");
    refused(Limits { shape: ShapeLimits { chunks: 30, ..LIMITS.shape }, ..LIMITS }, "more than 30 columns");
    refused(Limits { pages: 30, ..LIMITS }, "more than 30 pages");
    refused(Limits { page_bytes: 100, ..LIMITS }, "a page of more than 100 bytes");
    refused(Limits { values: 1000, ..LIMITS }, "more than 1000 values");
    refused(Limits { repeated_values: 40, ..LIMITS }, "a nested column of it has more than 40 values");
    refused(Limits { unpacked_bytes: 1000, ..LIMITS }, "its pages unpack to more than 1000 bytes");
    refused(Limits { path_bytes: 900, ..LIMITS }, "its different paths take more than 900 bytes");
    refused(Limits { value_bytes: 1000, ..LIMITS }, "its values take more than 1000 bytes when each is written out");
    refused(Limits { sort_bytes: 8000, ..LIMITS }, "takes more than 8000 bytes of memory");
    assert!(within(LIMITS).is_ok());
    // without another order nothing but the runs is kept
    let limits = Limits { sort_bytes: 8000, ..LIMITS };
    assert!(rewrite_within(&limits, Bytes::from_static(file), "x", &elsewhere()).is_ok());
}

#[test]
fn a_schema_that_nests_without_end_does_not_overflow_the_stack() {
    // SchemaElement: repetition 0, name "a", one child
    let group = [0x35, 0, 0x18, 1, b'a', 0x15, 2, 0];
    let depth = 100_000_u32;
    let mut footer = vec![0x15, 2, 0x19, 0xfc];
    let mut count = depth;
    while count > 0x7f {
        footer.push(count as u8 | 0x80);
        count >>= 7;
    }
    footer.push(count as u8);
    for _ in 0..depth {
        footer.extend(group);
    }
    footer.extend([0x16, 0, 0x19, 0x0c, 0]);
    let size = (footer.len() as u32).to_le_bytes();
    is_refused(&fails(&[&b"PAR1"[..], &footer, &size, b"PAR1"].concat()), "nests too deep");
}

#[test]
fn headers_that_do_not_add_up_are_damage() {
    let file = golden("pyarrow-none");
    is_damaged(b"", "too short");
    is_damaged(b"PAR1PAR1", "its footer is larger than the file");
    is_damaged(b"PAR1\0\0\0\0PAR1", "ends early");
    is_damaged(&file[1..], "does not begin and end in PAR1");
    is_damaged(&file[..file.len() - 1], "does not begin and end in PAR1");
    is_damaged(
        &[&file[..file.len() - 8], &u32::MAX.to_le_bytes(), b"PAR1"].concat(),
        "its footer is larger than the file",
    );
    // without the data the pages lie elsewhere
    is_damaged(&[b"PAR1", &file[file.len() / 2..]].concat(), "");
    let flipped = |at: usize| {
        let mut bytes = file.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    // in the body of the first page
    is_damaged(&flipped(60), "checksum");
}

#[test]
fn every_single_flipped_bit_of_headers_is_survived() {
    for name in ["pyarrow-delta", "spark"] {
        let file = golden(name);
        for at in 0..file.len() {
            let mut bytes = file.to_vec();
            bytes[at] ^= 1 << (at % 8);
            survives(&bytes);
        }
    }
}

/// An error that names the file, or a file that can be read.
fn survives(bytes: &[u8]) {
    match rewrite(Bytes::copy_from_slice(bytes), "s3://b/d.parquet", &turned()) {
        Ok(there) => assert_eq!(reader(&there.bytes).metadata().file_metadata().num_rows() as u64, there.rows),
        Err(error) => assert!(error.to_string().contains("s3://b/d.parquet"), "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_is_an_error_and_nothing_else(
        file in prop::sample::select(GOLDEN),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = file.1.to_vec();
        for (at, to) in flips {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        survives(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_in_any_order_come_out_sorted(
        rows in prop::collection::vec((0..6_u8, 0..20_i64), 1..80),
        group_rows in 1..30_usize,
        turn in any::<bool>(),
    ) {
        let paths: Vec<Vec<u8>> = rows.iter().map(|(day, _)| {
            format!("s3://warehouse/db/events/data/day=2026-01-0{}/f", day + 1).into_bytes()
        }).collect();
        let given: Vec<_> = paths.iter().zip(&rows).map(|(path, row)| (Some(path.as_slice()), Some(row.1))).collect();
        let before = Made { rows: &given, group_rows, ..Made::default() }.bytes();
        let map = if turn { turned() } else { elsewhere() };
        let there = rewritten(&before, &map);
        let expected = super::tests::rows(&before, &map);
        let ordered = expected.is_sorted_by(|a, b| (a.0.as_bytes(), a.1).cmp(&(b.0.as_bytes(), b.1)) != Ordering::Greater);
        prop_assert_eq!(there.resorted, !ordered);
        prop_assert_eq!(super::tests::rows(&there.bytes, &super::tests::map(&[("x://", "y://")])), sorted(expected));
    }
}
