//! Manifests and manifest lists read with all that a reader of changes is told: statuses, sequence numbers, partitions, deletion vectors.
//!
//! What must hold: what the specification lets an entry inherit, it has inherited here (snapshot id, sequence numbers, first row id), in every format
//! version; damage is an error that names the file, and never fewer entries. Whoever needs only paths reads them by `read`, which is faster.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::broken;
use super::container::{Blocks, UnpackScratch};
use super::read::{Content, Entry, Status, entry, list, needed, open, read_entry};
use super::schema::{Node, Schema, Slot};
use super::walk::{Cursor, Spans};
use crate::error::Result;
use crate::format::partition::{Column, Columns, Raw};

/// Fields of a manifest list's line beyond those of `read::list`.
mod line {
    use super::{Slot, list};

    pub const SPEC: Slot = list::COUNT;
    pub const SEQUENCE: Slot = list::COUNT + 1;
    pub const SNAPSHOT: Slot = list::COUNT + 2;
    pub const FIRST_ROW: Slot = list::COUNT + 3;
    pub const COUNT: usize = list::COUNT + 4;
    pub const NOTED: [(&[i32], Slot); 4] =
        [(&[502], SPEC), (&[515], SEQUENCE), (&[503], SNAPSHOT), (&[520], FIRST_ROW)];
}

/// Fields of an entry beyond those of `read::entry`.
mod more {
    use super::{Slot, entry};

    pub const SNAPSHOT: Slot = entry::COUNT;
    pub const SEQUENCE: Slot = entry::COUNT + 1;
    pub const FILE_SEQUENCE: Slot = entry::COUNT + 2;
    pub const PARTITION: Slot = entry::COUNT + 3;
    pub const EQUALITY_IDS: Slot = entry::COUNT + 4;
    pub const FIRST_ROW: Slot = entry::COUNT + 5;
    pub const COUNT: usize = entry::COUNT + 6;
    pub const NOTED: [(&[i32], Slot); 6] = [
        (&[1], SNAPSHOT),
        (&[3], SEQUENCE),
        (&[4], FILE_SEQUENCE),
        (&[2, 102], PARTITION),
        (&[2, 135], EQUALITY_IDS),
        (&[2, 142], FIRST_ROW),
    ];
}

/// A manifest as its list names it, with what its entries inherit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestLine {
    /// Where it is.
    pub path: String,
    /// Data (0) or deletes (1).
    pub content: i64,
    /// The partition spec of its entries; those of the first format version need not say.
    pub spec_id: Option<i32>,
    /// Sequence number of the snapshot that added it; 0 in the first format version.
    pub sequence_number: i64,
    /// The snapshot that added it.
    pub added_snapshot_id: Option<i64>,
    /// Its first row id, in version 3.
    pub first_row_id: Option<i64>,
    /// Whether it has key metadata, so that it is encrypted.
    pub is_encrypted: bool,
    /// How many live files it names, where the list says so.
    pub live_files: Option<i64>,
}

impl ManifestLine {
    /// One that no list names: the first format version may name manifests in the metadata itself.
    pub fn unlisted(path: String) -> ManifestLine {
        ManifestLine {
            path,
            content: 0,
            spec_id: None,
            sequence_number: 0,
            added_snapshot_id: None,
            first_row_id: None,
            is_encrypted: false,
            live_files: None,
        }
    }
}

/// An entry with what it inherits.
pub struct FullEntry<'a> {
    /// The file.
    pub file: Entry<'a>,
    /// Which snapshot added or deleted it.
    pub snapshot_id: Option<i64>,
    /// Data sequence number.
    pub sequence_number: Option<i64>,
    /// File sequence number.
    pub file_sequence_number: Option<i64>,
    /// The partition spec.
    pub spec_id: i32,
    /// Where a deletion vector begins in its file.
    pub content_offset: Option<i64>,
    /// A deletion vector's length.
    pub content_size_bytes: Option<i64>,
    /// The first row's id.
    pub first_row_id: Option<i64>,
    at: At<'a>,
}

/// Where the rest of an entry is read, when it is asked for.
struct At<'a> {
    schema: &'a Schema,
    raw: &'a [u8],
    spans: &'a Spans,
    name: &'a str,
    columns: &'a BTreeMap<i32, Column>,
}

impl FullEntry<'_> {
    /// Field ids that an equality delete compares.
    pub fn equality_ids(&self) -> Result<Vec<i64>> {
        let At { schema, raw, spans, name, .. } = self.at;
        spans.longs(schema, raw, more::EQUALITY_IDS).map_err(|e| broken(name, e))
    }

    /// The partition, value by name.
    pub fn partition(&self) -> Result<Map<String, Json>> {
        let At { schema, raw, spans, name, columns } = self.at;
        let mut found = Map::new();
        let span = spans.get(more::PARTITION);
        let Some(Node::Record(fields)) = span.node.map(|node| schema.node(node)) else { return Ok(found) };
        let mut cursor = Cursor::new(raw, span.value);
        for field in fields {
            let value = cursor.value(schema, field.node).map_err(|e| broken(name, e))?;
            let Some(column) = field.id.and_then(|id| columns.get(&id)) else { continue };
            found.insert(column.name.clone(), column.json(value));
        }
        Ok(found)
    }
}

impl<'a> Cursor<'a> {
    /// A value that has no values inside; others are skipped and unknown.
    fn value(&mut self, schema: &Schema, mut node: usize) -> Result<Raw<'a>, &'static str> {
        if let Node::Union(branches) = schema.node(node) {
            let branch = usize::try_from(self.long()?).ok().and_then(|branch| branches.get(branch));
            node = *branch.ok_or("a union has no such branch")?;
        }
        Ok(match schema.node(node) {
            Node::Nothing => Raw::Null,
            Node::Varint => Raw::Number(self.long()?),
            Node::Bytes => Raw::Bytes(self.bytes()?),
            Node::Fixed(size) => Raw::Bytes(self.take(*size)?),
            _ => {
                self.skip(schema, node, 0)?;
                Raw::Null
            }
        })
    }
}

/// The lines of a manifest list; `name` is its location, for errors.
pub fn manifest_lines(bytes: &[u8], name: &str) -> Result<Vec<ManifestLine>> {
    let noted: Vec<_> = list::NOTED.into_iter().chain(line::NOTED).collect();
    let (header, schema) = open(bytes, name, &noted, &[(&[500], "manifest_path"), (&[501], "manifest_length")])?;
    let mut scratch = UnpackScratch::default();
    let mut blocks = Blocks::new(bytes, &header, name, &mut scratch);
    let mut spans = Spans::new(line::COUNT);
    let mut found = Vec::new();
    while let Some(block) = blocks.next_block()? {
        block.each_record(&schema, &mut spans, name, |spans, _| {
            let long = |slot| spans.long(&schema, block.raw, slot).map_err(|e| broken(name, e));
            let path = needed(spans.text(&schema, block.raw, list::PATH), "manifest_path", name)?;
            if path.is_empty() {
                return Err(broken(name, "an entry has no manifest_path"));
            }
            let (added, existing) = (long(list::ADDED)?, long(list::EXISTING)?);
            found.push(ManifestLine {
                path: path.to_owned(),
                content: long(list::CONTENT)?.unwrap_or(0),
                spec_id: long(line::SPEC)?.and_then(|id| i32::try_from(id).ok()),
                sequence_number: long(line::SEQUENCE)?.unwrap_or(0),
                added_snapshot_id: long(line::SNAPSHOT)?,
                first_row_id: long(line::FIRST_ROW)?,
                is_encrypted: spans.get(list::KEY).is_there(),
                live_files: added.zip(existing).map(|(added, existing)| added.saturating_add(existing)),
            });
            Ok(())
        })?;
    }
    Ok(found)
}

/// Calls `each` for every entry of a manifest with its number, from 0. `columns` has the partition fields of the table's specs.
pub fn for_each_full_entry(
    bytes: &[u8],
    line: &ManifestLine,
    columns: &Columns,
    mut each: impl FnMut(u32, &FullEntry<'_>) -> Result<()>,
) -> Result<()> {
    let name = line.path.as_str();
    let noted: Vec<_> = entry::NOTED.into_iter().chain(more::NOTED).collect();
    let (header, schema) = open(bytes, name, &noted, &entry::NEEDED)?;
    let spec_id = line.spec_id.or(header.spec_id).unwrap_or(0);
    let columns = columns.of(spec_id, &header.schema);
    let mut scratch = UnpackScratch::default();
    let mut blocks = Blocks::new(bytes, &header, name, &mut scratch);
    let mut spans = Spans::new(more::COUNT);
    let (mut number, mut next_row_id) = (0u32, line.first_row_id);
    while let Some(block) = blocks.next_block()? {
        block.each_record(&schema, &mut spans, name, |spans, _| {
            let raw = block.raw;
            let file = read_entry(&schema, raw, spans, name)?;
            let long = |slot| spans.long(&schema, raw, slot).map_err(|e| broken(name, e));
            let inherits = file.status == Status::Added || line.sequence_number == 0;
            let inherited = inherits.then_some(line.sequence_number);
            let mut first_row_id = long(more::FIRST_ROW)?;
            if first_row_id.is_none() && file.content == Content::Data && file.status != Status::Deleted {
                first_row_id = next_row_id;
                next_row_id = next_row_id.map(|next| next.saturating_add(file.records));
            }
            let full = FullEntry {
                file,
                snapshot_id: long(more::SNAPSHOT)?.or(line.added_snapshot_id),
                sequence_number: long(more::SEQUENCE)?.or(inherited),
                file_sequence_number: long(more::FILE_SEQUENCE)?.or(inherited),
                spec_id,
                content_offset: long(entry::OFFSET)?,
                content_size_bytes: long(entry::LENGTH)?,
                first_row_id,
                at: At { schema: &schema, raw, spans, name, columns: &columns },
            };
            each(number, &full)?;
            number = number.checked_add(1).ok_or_else(|| broken(name, "it has more entries than can be counted"))?;
            Ok(())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::format::avro::for_each_entry;
    use crate::format::manifest::{
        Codec, DataFile, FileContent, FormatVersion, ListHeader, ManifestContent, ManifestEntry, ManifestHeader,
        PartitionField, Status as Written, Value, ValueType, write_list, write_manifest,
    };

    fn entries() -> Vec<ManifestEntry> {
        let file = |at: i64| DataFile {
            partition: vec![Some(Value::Int(17_486))],
            equality_ids: vec![3, 4],
            first_row_id: (at == 2).then_some(77),
            ..DataFile::parquet(FileContent::Data, format!("s3://lake/{at}.parquet"), 10 + at, 100)
        };
        let numbered = |status, at| ManifestEntry {
            status,
            sequence_number: Some(2),
            file_sequence_number: Some(1),
            ..ManifestEntry::added(at, file(at))
        };
        let inherits = ManifestEntry { snapshot_id: None, ..ManifestEntry::added(9, file(4)) };
        vec![
            ManifestEntry::added(9, file(0)),
            numbered(Written::Deleted, 1),
            numbered(Written::Existing, 2),
            numbered(Written::Existing, 3),
            inherits,
        ]
    }

    fn written(version: FormatVersion) -> (Vec<u8>, ManifestLine, Vec<u8>) {
        let mut entries = entries();
        if version == FormatVersion::V1 {
            entries.truncate(4);
        }
        let header = ManifestHeader {
            version,
            content: ManifestContent::Data,
            schema: &json!({"type": "struct", "schema-id": 0, "fields": []}),
            spec_id: 4,
            spec_fields: &json!([]),
            partition: &[PartitionField { field_id: 1000, name: "a day".into(), value_type: ValueType::Date }],
            codec: Codec::Deflate,
        };
        let manifest = write_manifest(&header, &entries).expect("written");
        let mut line = manifest.at("s3://lake/m.avro", 9, 5);
        line.first_row_id = Some(1_000);
        let header = ListHeader {
            version,
            snapshot_id: 9,
            parent_snapshot_id: None,
            sequence_number: 5,
            first_row_id: Some(0),
            codec: Codec::Null,
        };
        let list = write_list(&header, &[line]).expect("a list");
        let [line] = manifest_lines(&list, "l").expect("read").try_into().expect("one line");
        (manifest.bytes, line, list)
    }

    fn read(bytes: &[u8], line: &ManifestLine) -> Result<Vec<(String, [Option<i64>; 4])>> {
        let mut found = Vec::new();
        for_each_full_entry(bytes, line, &Columns::default(), |number, entry| {
            assert_eq!(number as usize, found.len());
            entry.partition()?;
            entry.equality_ids()?;
            let numbers = [entry.snapshot_id, entry.sequence_number, entry.file_sequence_number, entry.first_row_id];
            found.push((entry.file.path.to_owned(), numbers));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn entries_have_what_they_inherit() {
        let (bytes, line, _) = written(FormatVersion::V3);
        assert_eq!((line.spec_id, line.sequence_number, line.added_snapshot_id), (Some(4), 5, Some(9)));
        assert_eq!((line.first_row_id, line.live_files, line.is_encrypted), (Some(1_000), Some(4), false));
        let numbers: Vec<_> = read(&bytes, &line).expect("read").into_iter().map(|(_, numbers)| numbers).collect();
        let expected = [
            [9, 5, 5, 1_000],
            [1, 2, 1, -1],
            [2, 2, 1, 77],
            // behind the first file's ten rows; a deleted file and one that has an id of its own take none
            [3, 2, 1, 1_010],
            [9, 5, 5, 1_023],
        ];
        let expected = expected.map(|numbers| numbers.map(|number| Some(number).filter(|number| *number != -1)));
        assert_eq!(numbers, expected);
        let (bytes, line, _) = written(FormatVersion::V1);
        let numbers: Vec<_> = read(&bytes, &line).expect("read").into_iter().map(|(_, numbers)| numbers).collect();
        assert_eq!(numbers[2], [Some(2), Some(0), Some(0), None]);
    }

    #[test]
    fn a_partition_is_told_by_name() {
        let (bytes, line, _) = written(FormatVersion::V2);
        let mut seen = 0;
        for_each_full_entry(&bytes, &line, &Columns::default(), |_, entry| {
            assert_eq!(json!(entry.partition()?), json!({"a day": "2017-11-16"}));
            assert_eq!(entry.equality_ids()?, [3, 4]);
            seen += 1;
            Ok(())
        })
        .expect("read");
        assert_eq!(seen, 5);
    }

    proptest! {
        #[test]
        fn damage_is_an_error_and_never_a_panic(at in 0usize..4_000, byte in any::<u8>(), cut in 0usize..4_000, cuts in any::<bool>()) {
            let (bytes, line, list) = written(FormatVersion::V3);
            for whole in [bytes, list] {
                let mut damaged = whole.clone();
                let at = at % damaged.len();
                damaged[at] = byte;
                if cuts {
                    damaged.truncate(cut % whole.len());
                }
                let _ = manifest_lines(&damaged, "l");
                let full = read(&damaged, &line).map(|found| found.len());
                let mut plain = 0;
                let fast = for_each_entry(&damaged, "m", |_| { plain += 1; Ok(()) });
                if let Ok(count) = full {
                    prop_assert!(fast.is_ok() && plain == count, "both read the same entries");
                }
            }
        }
    }
}
