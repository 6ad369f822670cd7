//! Drafts a snapshot over a table's current one: its manifests, its manifest list, its entry in the metadata.
//!
//! What must hold: the manifests of the parent are carried on as they are, and what the commit then asserts is the very parent
//! that was drafted over. Ids, times and unique names are the caller's: nothing here is random. Summary totals are stated only
//! where the parent stated them.

use serde_json::{Map, Value as Json, json};

use crate::error::{Error, Result};

use super::{
    Codec, DataFile, FileContent, FormatVersion, ListHeader, ManifestContent, ManifestEntry, ManifestFile,
    ManifestHeader, PartitionField, write_list, write_manifest,
};

/// What only the caller can choose.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotIds<'a> {
    /// A positive number that no snapshot of the table has.
    pub snapshot_id: i64,
    /// Now, in milliseconds since 1970-01-01.
    pub timestamp_ms: i64,
    /// Becomes a part of file names: a UUID.
    pub unique: &'a str,
}

/// A snapshot that is ready to be stored and committed.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Location and content of each file, in the order in which they must be stored.
    pub files: Vec<(String, Vec<u8>)>,
    /// The snapshot's entry, for `add-snapshot`.
    pub snapshot: Json,
    /// The parent, for `assert-ref-snapshot-id`.
    pub parent_snapshot_id: Option<i64>,
    /// The lines of the manifest list, to be carried into the next draft.
    pub manifests: Vec<ManifestFile>,
}

/// Drafts a snapshot that adds `files` to the table of `metadata` on its main branch. `carried` are the lines of the current
/// snapshot's manifest list, `partition` the default spec, typed. Metadata that lacks a required field is a bad request.
pub fn draft_snapshot(
    metadata: &Json,
    partition: &[PartitionField],
    carried: &[ManifestFile],
    ids: SnapshotIds<'_>,
    files: &[DataFile],
) -> Result<Draft> {
    let table = Table::of(metadata)?;
    let mut draft =
        Draft { files: Vec::new(), snapshot: Json::Null, parent_snapshot_id: table.parent_id(), manifests: Vec::new() };
    for content in [ManifestContent::Data, ManifestContent::Deletes] {
        let entries: Vec<ManifestEntry> = files
            .iter()
            .filter(|file| file.content.manifest() == content)
            .map(|file| ManifestEntry::added(ids.snapshot_id, file.clone()))
            .collect();
        if entries.is_empty() {
            continue;
        }
        let header = ManifestHeader {
            version: table.version,
            content,
            schema: table.schema,
            spec_id: table.spec_id,
            spec_fields: table.spec_fields,
            partition,
            codec: Codec::Deflate,
        };
        let written = write_manifest(&header, &entries)?;
        let path = format!("{}/metadata/{}-m{}.avro", table.location, ids.unique, content as i32);
        let mut line = written.at(&path, ids.snapshot_id, table.sequence_number);
        if content == ManifestContent::Data {
            line.first_row_id = table.first_row_id;
        }
        draft.manifests.push(line);
        draft.files.push((path, written.bytes));
    }
    draft.manifests.extend_from_slice(carried);
    let list = format!("{}/metadata/snap-{}-1-{}.avro", table.location, ids.snapshot_id, ids.unique);
    let header = ListHeader {
        version: table.version,
        snapshot_id: ids.snapshot_id,
        parent_snapshot_id: draft.parent_snapshot_id,
        sequence_number: table.sequence_number,
        first_row_id: table.first_row_id,
        codec: Codec::Deflate,
    };
    draft.files.push((list.clone(), write_list(&header, &draft.manifests)?));
    draft.snapshot = table.entry(ids, &list, files);
    Ok(draft)
}

/// What a draft needs of the metadata.
struct Table<'a> {
    version: FormatVersion,
    location: &'a str,
    schema: &'a Json,
    spec_id: i32,
    spec_fields: &'a Json,
    sequence_number: i64,
    first_row_id: Option<i64>,
    parent: Option<&'a Json>,
}

impl<'a> Table<'a> {
    fn of(metadata: &'a Json) -> Result<Self> {
        let missing = |what: &str| Error::bad_request(format!("table metadata has no {what}"));
        let version = match metadata["format-version"].as_i64() {
            Some(1) => FormatVersion::V1,
            Some(2) => FormatVersion::V2,
            Some(3) => FormatVersion::V3,
            other => return Err(Error::bad_request(format!("format version {other:?} cannot be written, 1 to 3 can"))),
        };
        let by_id = |list: &str, id: &str, current: &str| {
            let current = metadata[current].as_i64()?;
            metadata[list].as_array()?.iter().find(|item| item[id].as_i64() == Some(current))
        };
        let spec = by_id("partition-specs", "spec-id", "default-spec-id").ok_or_else(|| missing("default spec"))?;
        let current = metadata["current-snapshot-id"].as_i64().filter(|id| *id != -1);
        let parent = match current {
            None => None,
            Some(_) => Some(
                by_id("snapshots", "snapshot-id", "current-snapshot-id").ok_or_else(|| missing("current snapshot"))?,
            ),
        };
        Ok(Table {
            version,
            location: metadata["location"].as_str().ok_or_else(|| missing("location"))?.trim_end_matches('/'),
            schema: by_id("schemas", "schema-id", "current-schema-id").ok_or_else(|| missing("current schema"))?,
            spec_id: spec["spec-id"]
                .as_i64()
                .and_then(|id| i32::try_from(id).ok())
                .ok_or_else(|| missing("spec id"))?,
            spec_fields: &spec["fields"],
            sequence_number: match version {
                FormatVersion::V1 => 0,
                _ => metadata["last-sequence-number"].as_i64().ok_or_else(|| missing("last-sequence-number"))? + 1,
            },
            first_row_id: match version {
                FormatVersion::V3 => Some(metadata["next-row-id"].as_i64().ok_or_else(|| missing("next-row-id"))?),
                _ => None,
            },
            parent,
        })
    }

    fn parent_id(&self) -> Option<i64> {
        self.parent.and_then(|parent| parent["snapshot-id"].as_i64())
    }

    fn entry(&self, ids: SnapshotIds<'_>, list: &str, files: &[DataFile]) -> Json {
        let mut entry = json!({ "snapshot-id": ids.snapshot_id });
        if let Some(parent) = self.parent_id() {
            entry["parent-snapshot-id"] = json!(parent);
        }
        if self.version >= FormatVersion::V2 {
            entry["sequence-number"] = json!(self.sequence_number);
        }
        entry["timestamp-ms"] = json!(ids.timestamp_ms);
        entry["summary"] = summary(self.parent.map(|parent| &parent["summary"]), files);
        entry["manifest-list"] = json!(list);
        entry["schema-id"] = self.schema["schema-id"].clone();
        if let Some(first) = self.first_row_id {
            let rows = files.iter().filter(|f| f.content == FileContent::Data).map(|f| f.record_count).sum::<i64>();
            entry["first-row-id"] = json!(first);
            entry["added-rows"] = json!(rows);
        }
        entry
    }
}

/// A snapshot's summary: what was added, and the totals where they can be known.
fn summary(parent: Option<&Json>, files: &[DataFile]) -> Json {
    let of = |content: FileContent| files.iter().filter(move |file| file.content == content);
    let rows = |content| of(content).map(|file| file.record_count).sum::<i64>();
    let data_files = of(FileContent::Data).count() as i64;
    let delete_files = files.len() as i64 - data_files;
    let operation = match (data_files, delete_files) {
        (_, 0) => "append",
        (0, _) => "delete",
        _ => "overwrite",
    };
    let figures = [
        ("added-data-files", "total-data-files", data_files),
        ("added-records", "total-records", rows(FileContent::Data)),
        ("added-files-size", "total-files-size", files.iter().map(|file| file.file_size_bytes).sum()),
        ("added-delete-files", "total-delete-files", delete_files),
        ("added-position-deletes", "total-position-deletes", rows(FileContent::PositionDeletes)),
        ("added-equality-deletes", "total-equality-deletes", rows(FileContent::EqualityDeletes)),
    ];
    let mut summary = Map::new();
    summary.insert("operation".into(), json!(operation));
    for (added, _, figure) in figures.iter().filter(|(_, _, figure)| *figure > 0) {
        summary.insert((*added).into(), json!(figure.to_string()));
    }
    for (_, total, figure) in figures {
        let before = match parent {
            None => Some(0),
            Some(parent) => parent[total].as_str().and_then(|text| text.parse::<i64>().ok()),
        };
        if let Some(sum) = before.and_then(|before| before.checked_add(figure)) {
            summary.insert(total.into(), json!(sum.to_string()));
        }
    }
    Json::Object(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(version: i64) -> Json {
        json!({
            "format-version": version, "location": "file:/w/t/", "last-sequence-number": 3, "next-row-id": 70,
            "current-schema-id": 1, "schemas": [{"schema-id": 1, "type": "struct", "fields": []}],
            "default-spec-id": 0, "partition-specs": [{"spec-id": 0, "fields": []}],
            "current-snapshot-id": 8,
            "snapshots": [{"snapshot-id": 8, "summary": {"operation": "append", "total-records": "70"}}],
        })
    }

    #[test]
    fn a_draft_stands_on_its_parent() {
        let ids = SnapshotIds { snapshot_id: 9, timestamp_ms: 5, unique: "u" };
        let files = [
            DataFile::parquet(FileContent::Data, "file:/w/t/data/a.parquet", 3, 100),
            DataFile::parquet(FileContent::PositionDeletes, "file:/w/t/data/d.parquet", 2, 50),
        ];
        let draft = draft_snapshot(&metadata(2), &[], &[], ids, &files).expect("drafted");
        assert_eq!(draft.parent_snapshot_id, Some(8));
        assert_eq!(draft.manifests.len(), 2);
        assert_eq!(draft.files[2].0, "file:/w/t/metadata/snap-9-1-u.avro");
        assert_eq!(draft.snapshot["sequence-number"], 4);
        assert_eq!(draft.snapshot["summary"]["operation"], "overwrite");
        assert_eq!(draft.snapshot["summary"]["total-records"], "73");
        assert_eq!(draft.snapshot["summary"].get("total-data-files"), None, "the parent does not state it");
        let next = draft_snapshot(&metadata(3), &[], &draft.manifests, ids, &files[..1]).expect("drafted");
        assert_eq!((next.manifests.len(), next.manifests[0].first_row_id), (3, Some(70)));
        assert_eq!(next.snapshot["added-rows"], 3);
    }

    #[test]
    fn metadata_without_what_is_needed_is_refused() {
        for field in ["location", "schemas", "partition-specs", "snapshots", "last-sequence-number", "format-version"] {
            let mut metadata = metadata(2);
            metadata.as_object_mut().expect("an object").remove(field);
            let ids = SnapshotIds { snapshot_id: 9, timestamp_ms: 5, unique: "u" };
            assert!(draft_snapshot(&metadata, &[], &[], ids, &[]).is_err(), "{field}");
        }
    }
}
