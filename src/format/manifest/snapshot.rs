//! Drafts a snapshot over a table's current one: its manifests, its manifest list, its entry in the metadata.
//!
//! What must hold: the manifests of the parent are carried on as they are, and what the commit then asserts is the very parent
//! that was drafted over. Ids, times and unique names are the caller's: nothing here is random. Summary totals are stated only
//! where the parent stated them.

use std::collections::HashSet;

use serde_json::{Map, Value as Json, json};

use crate::error::{Error, Result};

use super::{
    Codec, DataFile, FormatVersion, ListHeader, ManifestContent, ManifestEntry, ManifestFile, ManifestHeader,
    PartitionField, Value, write_list, write_manifest,
};

/// Partitions that are counted of one snapshot; of more their number is not said.
const CHANGED_PARTITIONS_MAX: usize = 100_000;

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
    let base = SnapshotBase::of(metadata, "main")?;
    let mut added = Vec::new();
    for content in [ManifestContent::Data, ManifestContent::Deletes] {
        let of_content = files.iter().filter(|file| file.content.manifest() == content).cloned();
        let files: Vec<DataFile> = of_content.collect();
        if !files.is_empty() {
            added.push(base.manifest(ids, content as usize, (content, partition), &files)?);
        }
    }
    let mut totals = Totals::default();
    files.iter().for_each(|file| totals.add(file));
    base.draft(ids, added, carried, &totals, &[])
}

/// A manifest that is ready to be stored: its line, and its bytes.
pub type NewManifest = (ManifestFile, Vec<u8>);

/// What a snapshot stands on: the head of a branch, and what its files need of the metadata.
#[derive(Debug, Clone)]
pub struct SnapshotBase<'a> {
    version: FormatVersion,
    /// Where manifests and their lists go.
    folder: String,
    schema: &'a Json,
    spec_id: i32,
    spec_fields: &'a Json,
    sequence_number: i64,
    first_row_id: Option<i64>,
    parent: Option<&'a Json>,
    /// Where the branch stands, for `assert-ref-snapshot-id`; `None` where it is not there yet.
    pub ref_snapshot_id: Option<i64>,
}

impl<'a> SnapshotBase<'a> {
    /// The head of a branch. One that is not there yet begins at the head of main. Metadata that lacks a required field is a bad request.
    pub fn of(metadata: &'a Json, branch: &str) -> Result<Self> {
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
        let own = metadata["refs"][branch]["snapshot-id"].as_i64();
        let main = metadata["current-snapshot-id"].as_i64().filter(|id| *id != -1);
        let parent = match own.or(main) {
            None => None,
            Some(id) => {
                let mut snapshots = metadata["snapshots"].as_array().into_iter().flatten();
                let found = snapshots.find(|snapshot| snapshot["snapshot-id"].as_i64() == Some(id));
                Some(found.ok_or_else(|| missing("current snapshot"))?)
            }
        };
        Ok(SnapshotBase {
            version,
            ref_snapshot_id: if branch == "main" { main } else { own },
            folder: match metadata["properties"]["write.metadata.path"].as_str() {
                Some(folder) => folder.trim_end_matches('/').to_owned(),
                None => {
                    let location = metadata["location"].as_str().ok_or_else(|| missing("location"))?;
                    format!("{}/metadata", location.trim_end_matches('/'))
                }
            },
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

    /// The snapshot that is stood on.
    pub fn parent_snapshot_id(&self) -> Option<i64> {
        self.parent.and_then(|parent| parent["snapshot-id"].as_i64())
    }

    /// The manifest list whose lines are carried on.
    pub fn manifest_list(&self) -> Option<&'a str> {
        self.parent?["manifest-list"].as_str()
    }

    /// The table's last sequence number.
    pub fn last_sequence_number(&self) -> i64 {
        (self.sequence_number - 1).max(0)
    }

    /// The line of a manifest that was written for another base, on this one.
    pub fn rebased(&self, line: ManifestFile) -> ManifestFile {
        ManifestFile { sequence_number: self.sequence_number, min_sequence_number: self.sequence_number, ..line }
    }

    /// Writes a manifest of files that the snapshot adds, the `number`th; its partition fields are those of the default spec.
    pub fn manifest(
        &self,
        ids: SnapshotIds<'_>,
        number: usize,
        (content, partition): (ManifestContent, &[PartitionField]),
        files: &[DataFile],
    ) -> Result<NewManifest> {
        let header = ManifestHeader {
            version: self.version,
            content,
            schema: self.schema,
            spec_id: self.spec_id,
            spec_fields: self.spec_fields,
            partition,
            codec: Codec::Deflate,
        };
        let added = |file: &DataFile| ManifestEntry::added(ids.snapshot_id, file.clone());
        let written = write_manifest(&header, &files.iter().map(added).collect::<Vec<_>>())?;
        let path = format!("{}/{}-m{number}.avro", self.folder, ids.unique);
        Ok((written.at(&path, ids.snapshot_id, self.sequence_number), written.bytes))
    }

    /// The snapshot of these manifests in front of those that are carried on, with `properties` in its summary.
    pub fn draft(
        &self,
        ids: SnapshotIds<'_>,
        added: Vec<NewManifest>,
        carried: &[ManifestFile],
        totals: &Totals,
        properties: &[(&str, String)],
    ) -> Result<Draft> {
        let (mut manifests, mut files) = (Vec::with_capacity(added.len() + carried.len()), Vec::new());
        for (line, bytes) in added {
            files.push((line.manifest_path.clone(), bytes));
            manifests.push(line);
        }
        manifests.extend_from_slice(carried);
        let first_row_id = self.first_row_id;
        let mut next_row_id = first_row_id.unwrap_or(0);
        if first_row_id.is_some() {
            // those of an older format version have none yet
            for line in manifests.iter_mut().filter(|m| m.content == ManifestContent::Data && m.first_row_id.is_none())
            {
                line.first_row_id = Some(next_row_id);
                next_row_id += line.counts.added_rows + line.counts.existing_rows;
            }
        }
        let list = format!("{}/snap-{}-1-{}.avro", self.folder, ids.snapshot_id, ids.unique);
        let header = ListHeader {
            version: self.version,
            snapshot_id: ids.snapshot_id,
            parent_snapshot_id: self.parent_snapshot_id(),
            sequence_number: self.sequence_number,
            first_row_id,
            codec: Codec::Deflate,
        };
        files.push((list.clone(), write_list(&header, &manifests)?));
        let mut snapshot = self.entry(ids, &list, totals, properties);
        if let Some(first) = first_row_id {
            snapshot["first-row-id"] = json!(first);
            snapshot["added-rows"] = json!(next_row_id - first);
        }
        Ok(Draft { files, snapshot, parent_snapshot_id: self.parent_snapshot_id(), manifests })
    }

    fn entry(&self, ids: SnapshotIds<'_>, list: &str, totals: &Totals, properties: &[(&str, String)]) -> Json {
        let mut entry = json!({ "snapshot-id": ids.snapshot_id });
        if let Some(parent) = self.parent_snapshot_id() {
            entry["parent-snapshot-id"] = json!(parent);
        }
        if self.version >= FormatVersion::V2 {
            entry["sequence-number"] = json!(self.sequence_number);
        }
        entry["timestamp-ms"] = json!(ids.timestamp_ms);
        entry["summary"] = totals.summary(self.parent.map(|parent| &parent["summary"]), properties);
        entry["manifest-list"] = json!(list);
        entry["schema-id"] = self.schema["schema-id"].clone();
        entry
    }
}

/// What a snapshot adds, counted.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    files: [i64; 3],
    rows: [i64; 3],
    size_bytes: i64,
    partitions: HashSet<Vec<u8>>,
}

impl Totals {
    /// Counts a file.
    pub fn add(&mut self, file: &DataFile) {
        let at = file.content as usize;
        self.files[at] += 1;
        self.rows[at] += file.record_count;
        self.size_bytes += file.file_size_bytes;
        if self.partitions.len() < CHANGED_PARTITIONS_MAX {
            let mut key = Vec::new();
            for value in &file.partition {
                let bytes = value.as_ref().map(Value::to_bytes);
                key.extend_from_slice(&bytes.as_ref().map_or(-1, |bytes| bytes.len() as i64).to_le_bytes());
                key.extend(bytes.unwrap_or_default());
            }
            self.partitions.insert(key);
        }
    }

    /// The summary: what was added, and the totals where they can be known.
    fn summary(&self, parent: Option<&Json>, properties: &[(&str, String)]) -> Json {
        let [data_files, positions, equalities] = self.files;
        let operation = match (data_files, positions + equalities) {
            (_, 0) => "append",
            (0, _) => "delete",
            _ => "overwrite",
        };
        let figures = [
            ("added-data-files", "total-data-files", data_files),
            ("added-records", "total-records", self.rows[0]),
            ("added-files-size", "total-files-size", self.size_bytes),
            ("added-delete-files", "total-delete-files", positions + equalities),
            ("added-position-deletes", "total-position-deletes", self.rows[1]),
            ("added-equality-deletes", "total-equality-deletes", self.rows[2]),
        ];
        let mut summary = Map::new();
        summary.insert("operation".into(), json!(operation));
        summary.extend(properties.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
        for (added, _, figure) in figures.iter().filter(|(_, _, figure)| *figure > 0) {
            summary.insert((*added).into(), json!(figure.to_string()));
        }
        if self.partitions.len() < CHANGED_PARTITIONS_MAX {
            summary.insert("changed-partition-count".into(), json!(self.partitions.len().to_string()));
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::FileContent;

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
        // the manifest that version 2 wrote has no row ids yet
        let first_row_ids: Vec<Option<i64>> = next.manifests.iter().map(|line| line.first_row_id).collect();
        assert_eq!(first_row_ids, [Some(70), Some(73), None]);
        assert_eq!(next.snapshot["added-rows"], 6);
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
