//! Encodes entries into manifests and manifests into manifest lists.
//!
//! What must hold: counts, bounds and the smallest sequence number of a manifest come from its entries, never from the caller.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::error::{Error, Result};

use super::avro::{Codec, Container, Encoder};
use super::{
    Counts, DataFile, FieldSummary, FormatVersion, ManifestContent, ManifestEntry, ManifestFile, PartitionField,
    Status, Value, schema,
};

/// What v1's `block_size_in_bytes` has always been.
const V1_BLOCK_SIZE_BYTES: i64 = 64 * 1024 * 1024;

/// What a manifest is written for.
#[derive(Debug, Clone)]
pub struct ManifestHeader<'a> {
    /// Which fields are written.
    pub version: FormatVersion,
    /// Data or deletes.
    pub content: ManifestContent,
    /// The table's schema as its metadata has it.
    pub schema: &'a Json,
    /// The spec's id.
    pub spec_id: i32,
    /// The spec's `fields` as the metadata has them.
    pub spec_fields: &'a Json,
    /// The same fields, typed.
    pub partition: &'a [PartitionField],
    /// Compression.
    pub codec: Codec,
}

/// A manifest that was written, and what its manifest list must say about it.
#[derive(Debug, Clone)]
pub struct Written {
    /// The file.
    pub bytes: Vec<u8>,
    /// Files and rows by status.
    pub counts: Counts,
    content: ManifestContent,
    spec_id: i32,
    partitions: Vec<FieldSummary>,
    /// Of the live entries that state one; `None` when all inherit theirs.
    min_sequence_number: Option<i64>,
    inherits: bool,
}

impl Written {
    /// The manifest list's line: stored at `path`, added by a snapshot with this id and sequence number.
    pub fn at(&self, path: impl Into<String>, snapshot_id: i64, sequence_number: i64) -> ManifestFile {
        let stated = self.min_sequence_number.unwrap_or(sequence_number);
        ManifestFile {
            manifest_path: path.into(),
            manifest_length_bytes: self.bytes.len() as i64,
            partition_spec_id: self.spec_id,
            content: self.content,
            sequence_number,
            min_sequence_number: if self.inherits { stated.min(sequence_number) } else { stated },
            added_snapshot_id: snapshot_id,
            counts: self.counts,
            partitions: Some(self.partitions.clone()),
            key_metadata: None,
            first_row_id: None,
        }
    }
}

/// Writes one manifest. An entry that the header's version, content or spec does not allow is an internal error.
pub fn write_manifest(header: &ManifestHeader<'_>, entries: &[ManifestEntry]) -> Result<Written> {
    let metadata = [
        ("schema", header.schema.to_string()),
        ("partition-spec", header.spec_fields.to_string()),
        ("partition-spec-id", header.spec_id.to_string()),
        ("format-version", (header.version as i32).to_string()),
        ("content", if header.content == ManifestContent::Data { "data" } else { "deletes" }.to_owned()),
    ];
    let avro_schema = schema::manifest_entry(header.version, header.partition);
    let mut container = Container::new(&avro_schema, &metadata, header.codec);
    let mut counts = Counts::default();
    let mut live_sequence_numbers = Vec::new();
    for entry in entries {
        check(header, entry).map_err(|e| e.context(format!("manifest entry of {}", entry.data_file.file_path)))?;
        container.record(|to| encode_entry(header, entry, to));
        count(&mut counts, entry);
        if entry.status != Status::Deleted {
            live_sequence_numbers.push(entry.sequence_number);
        }
    }
    Ok(Written {
        bytes: container.finish(),
        counts,
        content: header.content,
        spec_id: header.spec_id,
        partitions: summaries(header.partition, entries),
        min_sequence_number: live_sequence_numbers.iter().flatten().min().copied(),
        inherits: live_sequence_numbers.contains(&None),
    })
}

fn check(header: &ManifestHeader<'_>, entry: &ManifestEntry) -> Result<()> {
    let file = &entry.data_file;
    if file.content.manifest() != header.content {
        return Err(Error::internal("data and delete files must not share a manifest"));
    }
    if header.version == FormatVersion::V1
        && (header.content == ManifestContent::Deletes || entry.snapshot_id.is_none())
    {
        return Err(Error::internal("version 1 has no delete files and no inherited snapshot ids"));
    }
    if entry.status != Status::Added && header.version > FormatVersion::V1 && entry.sequence_number.is_none() {
        return Err(Error::internal("only added files inherit their sequence number"));
    }
    if file.partition.len() != header.partition.len() {
        return Err(Error::internal(format!(
            "{} partition values for {} fields",
            file.partition.len(),
            header.partition.len()
        )));
    }
    for (value, field) in file.partition.iter().zip(header.partition) {
        if value.as_ref().is_some_and(|value| !value.is(field.value_type)) {
            return Err(Error::internal(format!("partition field {} must be {:?}", field.name, field.value_type)));
        }
    }
    Ok(())
}

fn encode_entry(header: &ManifestHeader<'_>, entry: &ManifestEntry, to: &mut Encoder) {
    to.long(entry.status as i64);
    to.optional(entry.snapshot_id, Encoder::long);
    if header.version >= FormatVersion::V2 {
        to.optional(entry.sequence_number, Encoder::long);
        to.optional(entry.file_sequence_number, Encoder::long);
    }
    encode_file(header, &entry.data_file, to);
}

fn encode_file(header: &ManifestHeader<'_>, file: &DataFile, to: &mut Encoder) {
    let version = header.version;
    if version >= FormatVersion::V2 {
        to.long(file.content as i64);
    }
    to.string(&file.file_path);
    to.string(file.file_format.as_str());
    for (value, field) in file.partition.iter().zip(header.partition) {
        to.optional(value.as_ref(), |to, value| value.encode(field.value_type, to));
    }
    to.long(file.record_count);
    to.long(file.file_size_bytes);
    if version == FormatVersion::V1 {
        to.long(V1_BLOCK_SIZE_BYTES);
    }
    for map in [&file.column_sizes, &file.value_counts, &file.null_value_counts, &file.nan_value_counts] {
        encode_map(map, to, |to, value| to.long(*value));
    }
    for map in [&file.lower_bounds, &file.upper_bounds] {
        encode_map(map, to, |to, value| to.bytes(value));
    }
    to.optional(file.key_metadata.as_deref(), Encoder::bytes);
    to.optional(some(&file.split_offsets), |to, items| to.array(items.iter(), |to, item| to.long(*item)));
    if version >= FormatVersion::V2 {
        to.optional(some(&file.equality_ids), |to, ids| to.array(ids.iter(), |to, id| to.long(i64::from(*id))));
    }
    to.optional(file.sort_order_id, |to, id| to.long(i64::from(id)));
    if version >= FormatVersion::V3 {
        to.optional(file.first_row_id, Encoder::long);
    }
    if version >= FormatVersion::V2 {
        to.optional(file.referenced_data_file.as_deref(), Encoder::string);
    }
    if version >= FormatVersion::V3 {
        to.optional(file.content_offset, Encoder::long);
        to.optional(file.content_size_bytes, Encoder::long);
    }
}

fn encode_map<V>(map: &BTreeMap<i32, V>, to: &mut Encoder, write: impl Fn(&mut Encoder, &V)) {
    to.optional((!map.is_empty()).then_some(map), |to, map| {
        to.array(map.iter(), |to, (key, value)| {
            to.long(i64::from(*key));
            write(to, value);
        });
    });
}

fn some<T>(items: &[T]) -> Option<&[T]> {
    (!items.is_empty()).then_some(items)
}

fn count(counts: &mut Counts, entry: &ManifestEntry) {
    let (files, rows) = match entry.status {
        Status::Added => (&mut counts.added_files, &mut counts.added_rows),
        Status::Existing => (&mut counts.existing_files, &mut counts.existing_rows),
        Status::Deleted => (&mut counts.deleted_files, &mut counts.deleted_rows),
    };
    *files += 1;
    *rows += entry.data_file.record_count;
}

fn summaries(spec: &[PartitionField], entries: &[ManifestEntry]) -> Vec<FieldSummary> {
    (0..spec.len())
        .map(|at| {
            let values = || entries.iter().map(|entry| entry.data_file.partition[at].as_ref());
            let numbers = || values().flatten().filter(|value| !value.is_nan());
            let bound = |keep| {
                numbers().reduce(|a: &Value, b| if b.compare(a) == Some(keep) { b } else { a }).map(Value::to_bytes)
            };
            FieldSummary {
                contains_null: values().any(|value| value.is_none()),
                contains_nan: Some(values().flatten().any(Value::is_nan)),
                lower_bound: bound(std::cmp::Ordering::Less),
                upper_bound: bound(std::cmp::Ordering::Greater),
            }
        })
        .collect()
}

/// What a manifest list is written for.
#[derive(Debug, Clone, Copy)]
pub struct ListHeader {
    /// Which fields are written.
    pub version: FormatVersion,
    /// The snapshot.
    pub snapshot_id: i64,
    /// The snapshot before it on the same branch.
    pub parent_snapshot_id: Option<i64>,
    /// The snapshot's sequence number (not in v1).
    pub sequence_number: i64,
    /// The snapshot's first row id (v3).
    pub first_row_id: Option<i64>,
    /// Compression.
    pub codec: Codec,
}

/// Writes one manifest list. A delete manifest in version 1 is an internal error.
pub fn write_list(header: &ListHeader, manifests: &[ManifestFile]) -> Result<Vec<u8>> {
    let mut metadata = vec![
        ("snapshot-id", header.snapshot_id.to_string()),
        ("parent-snapshot-id", header.parent_snapshot_id.map_or_else(|| "null".into(), |id| id.to_string())),
    ];
    if header.version >= FormatVersion::V2 {
        metadata.push(("sequence-number", header.sequence_number.to_string()));
    }
    if header.version >= FormatVersion::V3 {
        metadata.push(("first-row-id", header.first_row_id.map_or_else(|| "null".into(), |id| id.to_string())));
    }
    metadata.push(("format-version", (header.version as i32).to_string()));
    let mut container = Container::new(&schema::manifest_file(header.version), &metadata, header.codec);
    for manifest in manifests {
        if header.version == FormatVersion::V1 && manifest.content == ManifestContent::Deletes {
            return Err(Error::internal(format!("version 1 has no delete manifests: {}", manifest.manifest_path)));
        }
        container.record(|to| encode_manifest(header.version, manifest, to));
    }
    Ok(container.finish())
}

fn encode_manifest(version: FormatVersion, manifest: &ManifestFile, to: &mut Encoder) {
    to.string(&manifest.manifest_path);
    to.long(manifest.manifest_length_bytes);
    to.long(i64::from(manifest.partition_spec_id));
    if version >= FormatVersion::V2 {
        to.long(manifest.content as i64);
        to.long(manifest.sequence_number);
        to.long(manifest.min_sequence_number);
    }
    to.long(manifest.added_snapshot_id);
    let counts = &manifest.counts;
    let files = [counts.added_files, counts.existing_files, counts.deleted_files].map(i64::from);
    let rows = [counts.added_rows, counts.existing_rows, counts.deleted_rows];
    if version >= FormatVersion::V2 {
        files.iter().chain(&rows).for_each(|figure| to.long(*figure));
        encode_summaries(manifest.partitions.as_deref(), to);
    } else {
        files.iter().for_each(|figure| to.optional(Some(*figure), Encoder::long));
        encode_summaries(manifest.partitions.as_deref(), to);
        rows.iter().for_each(|figure| to.optional(Some(*figure), Encoder::long));
    }
    to.optional(manifest.key_metadata.as_deref(), Encoder::bytes);
    if version >= FormatVersion::V3 {
        to.optional(manifest.first_row_id, Encoder::long);
    }
}

fn encode_summaries(partitions: Option<&[FieldSummary]>, to: &mut Encoder) {
    // an empty array, not null, for an unpartitioned spec: that is what Java writes, and null would mean unknown
    to.optional(partitions, |to, partitions| {
        to.array(partitions.iter(), |to, summary| {
            to.boolean(summary.contains_null);
            to.optional(summary.contains_nan, Encoder::boolean);
            to.optional(summary.lower_bound.as_deref(), Encoder::bytes);
            to.optional(summary.upper_bound.as_deref(), Encoder::bytes);
        });
    });
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use apache_avro::Reader;
    use apache_avro::types::Value as Avro;
    use serde_json::json;

    use super::*;
    use crate::format::manifest::{FileContent, ValueType, read_list};

    fn spec() -> Vec<PartitionField> {
        let field = |field_id, name: &str, value_type| PartitionField { field_id, name: name.into(), value_type };
        vec![field(1000, "day", ValueType::Date), field(1001, "of what", ValueType::String)]
    }

    fn entries() -> Vec<ManifestEntry> {
        let file = |day: Option<i32>, at: &str| DataFile {
            partition: vec![day.map(Value::Int), Some(Value::String(at.into()))],
            lower_bounds: [(1, Value::Long(7).to_bytes())].into(),
            value_counts: [(1, 3), (2, 3)].into(),
            split_offsets: vec![4],
            ..DataFile::parquet(FileContent::Data, format!("file:/t/{at}.parquet"), 3, 100)
        };
        let existing = ManifestEntry {
            status: Status::Existing,
            snapshot_id: Some(11),
            sequence_number: Some(2),
            file_sequence_number: Some(2),
            data_file: file(None, "b"),
        };
        vec![ManifestEntry::added(12, file(Some(20_000), "c")), existing, ManifestEntry::added(12, file(Some(3), "a"))]
    }

    fn manifest(version: FormatVersion, codec: Codec) -> Written {
        let header = ManifestHeader {
            version,
            content: ManifestContent::Data,
            schema: &json!({"type": "struct", "schema-id": 0, "fields": []}),
            spec_id: 4,
            spec_fields: &json!([]),
            partition: &spec(),
            codec,
        };
        write_manifest(&header, &entries()).expect("written")
    }

    type Record = HashMap<String, Avro>;

    fn read(bytes: &[u8]) -> (HashMap<String, Vec<u8>>, Vec<Record>) {
        let reader = Reader::new(bytes).expect("a container");
        let metadata = reader.user_metadata().clone();
        let records = reader.map(|record| match record.expect("a record") {
            Avro::Record(fields) => fields.into_iter().collect(),
            other => panic!("{other:?}"),
        });
        (metadata.into_iter().collect(), records.collect())
    }

    #[test]
    fn a_manifest_is_read_back_by_another_implementation() {
        for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
            for codec in [Codec::Null, Codec::Deflate] {
                let (metadata, records) = read(&manifest(version, codec).bytes);
                assert_eq!(metadata["partition-spec-id"], b"4");
                assert_eq!(metadata["content"], b"data");
                assert_eq!(records.len(), 3);
                let Avro::Record(file) = &records[1]["data_file"] else { panic!("{:?}", records[1]) };
                let file: HashMap<_, _> = file.iter().cloned().collect();
                assert_eq!(file["file_path"], Avro::String("file:/t/b.parquet".into()));
                let Avro::Record(partition) = &file["partition"] else { panic!("{file:?}") };
                assert_eq!(partition[0].1, Avro::Union(0, Box::new(Avro::Null)));
                assert_eq!(partition[1].0, "of_x20what");
            }
        }
    }

    #[test]
    fn a_list_says_what_its_manifests_hold() {
        let written = manifest(FormatVersion::V2, Codec::Deflate);
        let line = ManifestFile { first_row_id: Some(7), ..written.at("file:/t/m.avro", 12, 5) };
        assert_eq!((line.counts.added_files, line.counts.existing_rows), (2, 3));
        assert_eq!(line.min_sequence_number, 2);
        let partitions = line.partitions.as_deref().expect("summaries");
        assert_eq!(partitions[0].lower_bound, Some(3i32.to_le_bytes().to_vec()));
        assert_eq!(partitions[0].upper_bound, Some(20_000i32.to_le_bytes().to_vec()));
        assert!(partitions[0].contains_null && !partitions[1].contains_null);
        for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
            let header = ListHeader {
                version,
                snapshot_id: 12,
                parent_snapshot_id: None,
                sequence_number: 5,
                first_row_id: Some(0),
                codec: Codec::Deflate,
            };
            let bytes = write_list(&header, std::slice::from_ref(&line)).expect("written");
            let (metadata, records) = read(&bytes);
            assert_eq!(metadata["snapshot-id"], b"12");
            assert_eq!(metadata["parent-snapshot-id"], b"null");
            assert_eq!(records[0]["manifest_length"], Avro::Long(written.bytes.len() as i64));
            let read = read_list(&bytes, "l").expect("read");
            let same = ManifestFile { first_row_id: (version == FormatVersion::V3).then_some(7), ..line.clone() };
            let expected = match version {
                FormatVersion::V1 => ManifestFile { sequence_number: 0, min_sequence_number: 0, ..same },
                _ => same,
            };
            assert_eq!(read, [expected]);
        }
    }

    #[test]
    fn equal_input_gives_equal_bytes() {
        let written = || manifest(FormatVersion::V2, Codec::Deflate).bytes;
        assert_eq!(written(), written());
    }

    #[test]
    fn what_a_version_or_spec_does_not_allow_is_refused() {
        let header = |version, content, partition| ManifestHeader {
            version,
            content,
            schema: &Json::Null,
            spec_id: 0,
            spec_fields: &Json::Null,
            partition,
            codec: Codec::Null,
        };
        let spec = spec();
        let deletes = [ManifestEntry::added(1, DataFile::parquet(FileContent::PositionDeletes, "file:/d", 1, 1))];
        assert!(write_manifest(&header(FormatVersion::V1, ManifestContent::Deletes, &[]), &deletes).is_err());
        assert!(write_manifest(&header(FormatVersion::V2, ManifestContent::Data, &[]), &deletes).is_err());
        assert!(write_manifest(&header(FormatVersion::V2, ManifestContent::Deletes, &spec), &deletes).is_err());
        assert!(write_manifest(&header(FormatVersion::V2, ManifestContent::Deletes, &[]), &deletes).is_ok());
    }
}
