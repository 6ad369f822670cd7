//! There and back is the same: manifests, manifest lists and metadata that proptest makes up, by maps that it makes up.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use apache_avro::types::Value as Avro;
use apache_avro::{DeflateSettings, Reader, Writer};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::format::avro::Scratch;
use crate::format::manifest::{
    Codec, DataFile, FileContent, FileFormat, FormatVersion, ListHeader, ManifestContent, ManifestEntry,
    ManifestHeader, Status, write_list, write_manifest,
};

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9=%. +$()-]{1,12}",
        Just("data".to_owned()),
        "\\PC{1,4}".prop_map(|text| text.replace(['/', '\0'], "_"))
    ]
}

/// Prefixes that are not prefixes of each other.
fn prefixes() -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    let schemes = prop::sample::select(vec!["s3://", "hdfs://nn:8020/", "/", "file:/", "file:///", "abfss://c@a.dfs/"]);
    let side = || prop::collection::vec((schemes.clone(), segment()), 1..4);
    (side(), side()).prop_map(|(from, to)| {
        let count = from.len().min(to.len());
        let named = |side: Vec<(&str, String)>, letter: char| {
            let each = side.into_iter().take(count).enumerate();
            each.map(|(at, (scheme, name))| format!("{scheme}{letter}{at}{name}")).collect::<Vec<_>>()
        };
        (named(from, 'f'), named(to, 't'))
    })
}

#[derive(Debug, Clone)]
struct Made {
    under: usize,
    below: Vec<String>,
    status: u8,
    content: u8,
    counts: BTreeMap<i32, i64>,
    bounds: BTreeMap<i32, Vec<u8>>,
    referenced: bool,
    splits: Vec<i64>,
    key: Option<Vec<u8>>,
}

fn made() -> impl Strategy<Value = Made> {
    let counts = prop::collection::btree_map(1..200i32, any::<i64>(), 0..6);
    let bounds = prop::collection::btree_map(1..200i32, prop::collection::vec(any::<u8>(), 0..20), 0..6);
    (
        (0..4usize, prop::collection::vec(segment(), 1..4), 0..3u8, 0..3u8),
        (
            counts,
            bounds,
            any::<bool>(),
            prop::collection::vec(0..1_000_000i64, 0..3),
            prop::option::of(prop::collection::vec(any::<u8>(), 1..5)),
        ),
    )
        .prop_map(|((under, below, status, content), (counts, bounds, referenced, splits, key))| Made {
            under,
            below,
            status,
            content,
            counts,
            bounds,
            referenced,
            splits,
            key,
        })
}

fn entry(made: &Made, from: &[String], is_deletes: bool) -> ManifestEntry {
    // one in four lies outside of what is mapped
    let prefix = from.get(made.under).map_or("gs://outside/x", String::as_str);
    let path = format!("{prefix}/{}", made.below.join("/"));
    // live position deletes are written anew, which is another test's matter
    let (content, status) = match (is_deletes, made.content, made.status) {
        (false, _, status) => (FileContent::Data, status),
        (true, 1, _) => (FileContent::PositionDeletes, 2),
        (true, _, status) => (FileContent::EqualityDeletes, status),
    };
    let mut file = DataFile::parquet(content, path.clone(), made.splits.len() as i64, 7);
    file.column_sizes.clone_from(&made.counts);
    file.value_counts.clone_from(&made.counts);
    file.lower_bounds.clone_from(&made.bounds);
    file.upper_bounds.clone_from(&made.bounds);
    file.split_offsets.clone_from(&made.splits);
    file.key_metadata.clone_from(&made.key);
    if content == FileContent::PositionDeletes && made.referenced {
        file.referenced_data_file = Some(path.clone());
        file.lower_bounds.insert(DELETED_PATH_ID, path.clone().into_bytes());
        file.upper_bounds.insert(DELETED_PATH_ID, path.into_bytes());
    }
    file.file_format = FileFormat::Parquet;
    ManifestEntry {
        status: [Status::Existing, Status::Added, Status::Deleted][usize::from(status)],
        snapshot_id: Some(made.splits.iter().sum()),
        sequence_number: Some(i64::from(made.status)),
        file_sequence_number: Some(1),
        data_file: file,
    }
}

fn values(bytes: &[u8]) -> Vec<Avro> {
    Reader::new(bytes).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The same records with another codec.
fn recoded(bytes: &[u8], codec: apache_avro::Codec) -> Vec<u8> {
    let reader = Reader::new(bytes).unwrap();
    let schema = reader.writer_schema().clone();
    let mut writer = Writer::with_codec(&schema, Vec::new(), codec).unwrap();
    for value in reader {
        writer.append_value(value.unwrap()).unwrap();
    }
    writer.into_inner().unwrap()
}

fn there_and_back(from: &[String], to: &[String]) -> Option<(Paths, Paths)> {
    let map = LocationMap::new(from.iter().zip(to)).ok()?;
    let back = map.inverse().unwrap();
    Some((Paths::absolute(Arc::new(map)), Paths::absolute(Arc::new(back))))
}

fn relocated(bytes: &[u8], paths: &Paths) -> Patched {
    relocate_manifest(bytes, "m", paths, &HashMap::new(), &mut Scratch::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn manifests_there_and_back_are_equal(
        (from, to) in prefixes(),
        made in prop::collection::vec(made(), 1..40),
        version in prop::sample::select(vec![FormatVersion::V2, FormatVersion::V3]),
        is_deletes in any::<bool>(),
    ) {
        let Some((there, back)) = there_and_back(&from, &to) else { return Ok(()) };
        let entries: Vec<ManifestEntry> = made.iter().map(|made| entry(made, &from, is_deletes)).collect();
        let content = if is_deletes { ManifestContent::Deletes } else { ManifestContent::Data };
        let (schema, fields) = (json!({"type": "struct", "fields": []}), json!([]));
        let header = ManifestHeader { version, content, schema: &schema, spec_id: 0, spec_fields: &fields, partition: &[], codec: Codec::Null };
        let plain = write_manifest(&header, &entries).unwrap().bytes;
        let deflate = apache_avro::Codec::Deflate(DeflateSettings::default());
        let zstd = apache_avro::Codec::Zstandard(Default::default());
        for source in [plain.clone(), recoded(&plain, deflate), recoded(&plain, zstd), recoded(&plain, apache_avro::Codec::Snappy)] {
            let gone = relocated(&source, &there);
            let returned = relocated(&gone.bytes, &back);
            prop_assert_eq!(values(&returned.bytes), values(&source));
            prop_assert_eq!(gone.entries, entries.len() as u64);
            let paths: Vec<String> = entries.iter().map(|entry| there.map(&entry.data_file.file_path).unwrap().into_owned()).collect();
            let mut read = Vec::new();
            crate::format::avro::for_each_entry(&gone.bytes, "m", |entry| { read.push(entry.path.to_owned()); Ok(()) }).unwrap();
            prop_assert_eq!(read, paths);
        }
        // without compression it is the same file again, byte for byte
        let gone = relocated(&plain, &there);
        prop_assert_eq!(relocated(&gone.bytes, &back).bytes, plain);
    }

    #[test]
    fn manifest_lists_there_and_back_are_equal((from, to) in prefixes(), names in prop::collection::vec((0..4usize, segment(), 1..9_000_000i64), 1..30)) {
        let Some((there, back)) = there_and_back(&from, &to) else { return Ok(()) };
        let (schema, fields) = (json!({"type": "struct", "fields": []}), json!([]));
        let header = ManifestHeader {
            version: FormatVersion::V3, content: ManifestContent::Data, schema: &schema, spec_id: 0, spec_fields: &fields, partition: &[], codec: Codec::Null };
        let written = write_manifest(&header, &[]).unwrap();
        let lines: Vec<_> = names.iter().enumerate().map(|(at, (under, name, length))| {
            let prefix = from.get(*under).map_or("gs://outside/x", String::as_str);
            let mut line = written.at(format!("{prefix}/{at}-{name}"), 5, 6);
            line.manifest_length_bytes = *length;
            line
        }).collect();
        let header = ListHeader { version: FormatVersion::V3, snapshot_id: 5, parent_snapshot_id: None, sequence_number: 6, first_row_id: Some(0), codec: Codec::Deflate };
        let list = write_list(&header, &lines).unwrap();
        let mut to_new = HashMap::new();
        let mut to_old = HashMap::new();
        for line in &lines {
            let new = there.map(&line.manifest_path).unwrap().into_owned();
            to_old.insert(new.clone(), NewManifest { path: line.manifest_path.clone(), length_bytes: line.manifest_length_bytes });
            to_new.insert(line.manifest_path.clone(), NewManifest { path: new, length_bytes: line.manifest_length_bytes + 13 });
        }
        let gone = relocate_list(&list, "l", &there, &to_new).unwrap();
        let read = crate::format::avro::manifests(&gone, "l").unwrap();
        for (line, read) in lines.iter().zip(&read) {
            prop_assert_eq!((&to_new[&line.manifest_path].path, line.manifest_length_bytes + 13), (&read.path, read.length_bytes));
        }
        prop_assert_eq!(values(&relocate_list(&gone, "l", &back, &to_old).unwrap()), values(&list));
    }

    #[test]
    fn metadata_there_and_back_is_equal((from, to) in prefixes(), below in prop::collection::vec(segment(), 1..6), odd in "\\PC{0,20}") {
        let Some((there, back)) = there_and_back(&from, &to) else { return Ok(()) };
        let path = |at: usize| format!("{}/{}", from[at % from.len()], below.join("/"));
        let list = path(0);
        let metadata = json!({
            "format-version": 3, "location": path(1), "unknown": {"location": path(0), "n": 1.50},
            "properties": {"write.data.path": path(2), "write.metadata.path": path(1), "mine": path(0), "odd": odd},
            "metadata-log": [{"timestamp-ms": 1, "metadata-file": path(2)}],
            "statistics": [{"snapshot-id": 1, "statistics-path": path(1), "blob-metadata": [{"properties": {"ndv": path(0)}}]}],
            "partition-statistics": [{"snapshot-id": 1, "statistics-path": path(2)}],
            "snapshots": [{"snapshot-id": 1, "manifest-list": list, "summary": {"operation": "append", "note": path(0)}}],
        });
        let renamed = |from: &str, to: &str| NewNames { lists: HashMap::from([(from.to_owned(), to.to_owned())]), ..NewNames::default() };
        let gone = relocate_metadata(metadata.clone(), "m", &there, &renamed(&list, "s3://overlay/list"), &[]).unwrap();
        prop_assert_eq!(&gone["unknown"], &metadata["unknown"]);
        prop_assert_eq!(&gone["properties"]["mine"], &metadata["properties"]["mine"]);
        let location = path(1);
        prop_assert_eq!(gone["location"].as_str().unwrap(), there.map(&location).unwrap());
        let returned: Value = relocate_metadata(gone, "m", &back, &renamed("s3://overlay/list", &list), &[]).unwrap();
        prop_assert_eq!(returned.to_string(), metadata.to_string());
    }
}

#[test]
fn small_blocks_are_joined_and_large_ones_keep_their_bounds() {
    let file = |at: usize| ManifestEntry::added(1, DataFile::parquet(FileContent::Data, format!("/f/{at:04}"), 1, 1));
    let (schema, fields) = (json!({"type": "struct", "fields": []}), json!([]));
    let header = ManifestHeader {
        version: FormatVersion::V2,
        content: ManifestContent::Data,
        schema: &schema,
        spec_id: 0,
        spec_fields: &fields,
        partition: &[],
        codec: Codec::Null,
    };
    let entries: Vec<_> = (0..500).map(file).collect();
    let plain = write_manifest(&header, &entries).unwrap().bytes;
    let reader = Reader::new(&plain[..]).unwrap();
    let schema = reader.writer_schema().clone();
    let codec = apache_avro::Codec::Deflate(DeflateSettings::default());
    let mut writer = Writer::with_codec(&schema, Vec::new(), codec).unwrap();
    for value in reader {
        writer.append_value(value.unwrap()).unwrap();
        writer.flush().unwrap();
    }
    let one_a_block = writer.into_inner().unwrap();
    let paths = Paths::absolute(Arc::new(LocationMap::new([("/f", "/somewhere/else")]).unwrap()));
    let joined = relocated(&one_a_block, &paths).bytes;
    assert!(joined.len() * 5 < one_a_block.len(), "{} of {}", joined.len(), one_a_block.len());
    assert_eq!(values(&joined).len(), 500);
}

#[test]
fn deletes_that_cannot_be_written_anew_are_refused_by_name() {
    let (schema, fields) = (json!({"type": "struct", "fields": []}), json!([]));
    let header = ManifestHeader {
        version: FormatVersion::V2,
        content: ManifestContent::Deletes,
        schema: &schema,
        spec_id: 0,
        spec_fields: &fields,
        partition: &[],
        codec: Codec::Null,
    };
    let refused = |change: &dyn Fn(&mut DataFile)| {
        let mut file = DataFile::parquet(FileContent::PositionDeletes, "s3://b/d.orc", 1, 1);
        change(&mut file);
        let bytes = write_manifest(&header, &[ManifestEntry::added(1, file)]).unwrap().bytes;
        position_deletes(&bytes, "m").map_err(|e| e.message().to_owned())
    };
    let orc = refused(&|file| file.file_format = FileFormat::Orc).unwrap_err();
    assert!(
        orc.contains("\"s3://b/d.orc\"") && orc.contains("\"orc\"") && orc.contains("rewrite_position_delete_files"),
        "{orc}"
    );
    let key = refused(&|file| file.key_metadata = Some(vec![1])).unwrap_err();
    assert!(key.contains("s3://b/d.orc is encrypted"), "{key}");
    assert_eq!(refused(&|_| ()).unwrap().len(), 1);
}

#[test]
fn what_fuzzing_found_is_an_error() {
    let found: [(&[u8], &str); 2] = [
        (
            include_bytes!("../../../fuzz/seeds/manifest/bounds-without-values"),
            "a map's pairs are no numbers with bytes",
        ),
        (
            include_bytes!("../../../fuzz/seeds/manifest/two-fields-of-one-id"),
            "two fields of its schema have the id 132",
        ),
    ];
    for (bytes, why) in found {
        let paths = Paths::absolute(Arc::new(LocationMap::new([("s3://prod", "s3://dr/x"), ("/p", "/q")]).unwrap()));
        let new = |path: String| NewDelete { path, size_bytes: 5, column_sizes: vec![(1, 2)], split_offsets: vec![4] };
        let files = position_deletes(bytes, "m").unwrap_or_default();
        let deletes = files.into_iter().map(|file| (file.path.clone(), new(file.path)));
        let error = relocate_manifest(bytes, "m", &paths, &deletes.collect(), &mut Scratch::default()).unwrap_err();
        assert_eq!(error.message(), format!("cannot read m as Avro: {why}"));
    }
}
