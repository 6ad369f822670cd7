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
