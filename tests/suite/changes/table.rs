//! A table whose snapshots are made by writers of every kind, careful and careless ones, with the live files of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use lifeboat::changes::{ChangedFile, Page};
use lifeboat::format::manifest::{
    Codec, DataFile, FileContent, FileFormat, FormatVersion, ListHeader, ManifestContent, ManifestEntry, ManifestFile,
    ManifestHeader, PartitionField, Status, Value, ValueType, write_list, write_manifest,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};

/// A file by its place and, in a Puffin file, where it begins.
pub type Key = (String, Option<i64>);

/// One table.
pub struct Table {
    pub folder: tempfile::TempDir,
    pub metadata: Json,
    /// What was live in each snapshot, also in those that expired.
    pub live: HashMap<i64, BTreeSet<Key>>,
    version: FormatVersion,
    lists: HashMap<i64, Vec<ManifestFile>>,
    entries: HashMap<String, Vec<ManifestEntry>>,
    counter: i64,
    random: StdRng,
}

pub fn key(file: &ChangedFile) -> Key {
    (file.file_path.clone(), file.content_offset)
}

/// Every change of a page: which snapshot, whether the file came, the file.
pub fn flat(page: &Page) -> Vec<(i64, bool, Key)> {
    let of =
        page.changes.iter().flat_map(|change| change.files().map(|(came, file)| (change.snapshot_id, came, key(file))));
    of.collect()
}

/// Does to a reader's files what a page says. What comes was not there, what goes was.
pub fn apply(files: &mut BTreeSet<Key>, page: &Page) {
    for (snapshot, came, key) in flat(page) {
        let is_new = if came { files.insert(key.clone()) } else { files.remove(&key) };
        assert!(is_new, "snapshot {snapshot}: {key:?} came or went twice");
    }
}

impl Table {
    pub fn new(version: FormatVersion, seed: u64) -> Table {
        let folder = tempfile::tempdir().expect("a folder");
        let schema = json!({"type": "struct", "schema-id": 0, "fields": [{"id": 1, "name": "day", "required": false, "type": "date"}]});
        let spec = json!([{"name": "day", "transform": "identity", "source-id": 1, "field-id": 1000}]);
        let metadata = json!({
            "format-version": version as i32, "table-uuid": format!("t-{seed}"), "location": place(folder.path(), ""),
            "schemas": [schema], "current-schema-id": 0, "partition-specs": [{"spec-id": 0, "fields": spec}],
            "current-snapshot-id": -1, "refs": {}, "snapshots": []});
        let random = StdRng::seed_from_u64(seed);
        let (live, lists, entries) = Default::default();
        Table { folder, metadata, live, version, lists, entries, counter: 0, random }
    }

    pub fn head(&self, branch: &str) -> Option<i64> {
        self.metadata["refs"][branch]["snapshot-id"].as_i64()
    }

    pub fn set_head(&mut self, branch: &str, id: i64) {
        self.metadata["refs"][branch] = json!({"type": "branch", "snapshot-id": id});
        if branch == "main" {
            self.metadata["current-snapshot-id"] = id.into();
        }
    }

    /// A snapshot goes, and its list with it.
    pub fn expire(&mut self, id: i64) {
        self.metadata["snapshots"].as_array_mut().expect("a list").retain(|snapshot| snapshot["snapshot-id"] != id);
        let _ = std::fs::remove_file(self.folder.path().join(format!("snap-{id}.avro")));
    }

    /// Snapshots in the order of their commits.
    pub fn snapshots(&self) -> Vec<i64> {
        let all = self.metadata["snapshots"].as_array().expect("a list").iter();
        all.map(|snapshot| snapshot["snapshot-id"].as_i64().expect("an id")).collect()
    }

    /// One commit of any kind on a branch; its snapshot.
    pub fn commit(&mut self, branch: &str) -> i64 {
        let lines = self.head(branch).map(|id| self.lists[&id].clone()).unwrap_or_default();
        let (operation, lines) = match self.random.random_range(0..10) {
            _ if lines.is_empty() => self.append(lines),
            0..=2 => self.append(lines),
            3 => self.delete(lines, true),
            4 => self.delete(lines, false),
            5 => self.forget(lines),
            6 => self.merge(lines),
            7 => self.compact(lines),
            8 => self.carry(lines),
            _ if self.version == FormatVersion::V1 => ("append", lines),
            _ => self.delete_rows(lines),
        };
        self.add_snapshot(branch, operation, lines)
    }

    fn add_snapshot(&mut self, branch: &str, operation: &str, lines: Vec<ManifestFile>) -> i64 {
        let (id, parent) = (self.next_id(), self.head(branch));
        self.counter += 1;
        let mut snapshot =
            json!({"snapshot-id": id, "timestamp-ms": 1_700_000_000_000i64 + id, "summary": {"operation": operation}});
        if let Some(parent) = parent {
            snapshot["parent-snapshot-id"] = parent.into();
        }
        let header = ListHeader {
            version: self.version,
            snapshot_id: id,
            parent_snapshot_id: parent,
            sequence_number: self.sequence_number(),
            first_row_id: Some(0),
            codec: Codec::Deflate,
        };
        if self.version > FormatVersion::V1 {
            snapshot["sequence-number"] = self.sequence_number().into();
        }
        if self.version == FormatVersion::V1 && id % 2 == 0 {
            snapshot["manifests"] = lines.iter().map(|line| line.manifest_path.as_str()).collect();
        } else {
            let bytes = write_list(&header, &lines).expect("a list");
            std::fs::write(self.folder.path().join(format!("snap-{id}.avro")), bytes).expect("stored");
            snapshot["manifest-list"] = self.place(&format!("snap-{id}.avro")).into();
        }
        let entries = lines.iter().flat_map(|line| &self.entries[&line.manifest_path]);
        let live = entries.filter(|entry| entry.status != Status::Deleted);
        let live = live.map(|entry| (entry.data_file.file_path.clone(), entry.data_file.content_offset)).collect();
        self.live.insert(id, live);
        self.lists.insert(id, lines);
        self.metadata["snapshots"].as_array_mut().expect("a list").push(snapshot);
        self.set_head(branch, id);
        id
    }

    fn append(&mut self, lines: Vec<ManifestFile>) -> (&'static str, Vec<ManifestFile>) {
        let files = self.random.random_range(1..5);
        let files: Vec<_> = (0..files).map(|_| self.new_file()).collect();
        let entries = files.into_iter().map(|file| self.added(file)).collect();
        let new = self.manifest(entries);
        ("append", [vec![new], lines].concat())
    }

    /// Files of a manifest go; a careless writer leaves no trace of them.
    fn delete(&mut self, mut lines: Vec<ManifestFile>, is_careful: bool) -> (&'static str, Vec<ManifestFile>) {
        let line = lines.swap_remove(self.random.random_range(0..lines.len()));
        let mut entries = Vec::new();
        for entry in self.existing(&line.manifest_path) {
            match self.random.random_bool(0.4) {
                true if is_careful => {
                    entries.push(ManifestEntry { status: Status::Deleted, snapshot_id: Some(self.next_id()), ..entry })
                }
                true => {}
                false => entries.push(entry),
            }
        }
        if line.content == ManifestContent::Data && self.random.random_bool(0.5) {
            let new = self.new_file();
            entries.push(self.added(new));
        }
        if !entries.is_empty() {
            lines.insert(0, self.manifest(entries));
        }
        ("overwrite", lines)
    }

    /// A manifest is not in the list any more, and nothing says why.
    fn forget(&mut self, mut lines: Vec<ManifestFile>) -> (&'static str, Vec<ManifestFile>) {
        lines.remove(self.random.random_range(0..lines.len()));
        ("delete", lines)
    }

    /// All manifests become one.
    fn merge(&mut self, lines: Vec<ManifestFile>) -> (&'static str, Vec<ManifestFile>) {
        let (data, deletes): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|line| line.content == ManifestContent::Data);
        let entries: Vec<_> = data.iter().flat_map(|line| self.existing(&line.manifest_path)).collect();
        let merged = if entries.is_empty() { vec![] } else { vec![self.manifest(entries)] };
        ("replace", [merged, deletes].concat())
    }

    /// All data files become one.
    fn compact(&mut self, lines: Vec<ManifestFile>) -> (&'static str, Vec<ManifestFile>) {
        let (data, deletes): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|line| line.content == ManifestContent::Data);
        let gone = data.iter().flat_map(|line| self.existing(&line.manifest_path));
        let id = Some(self.next_id());
        let mut entries: Vec<_> =
            gone.map(|entry| ManifestEntry { status: Status::Deleted, snapshot_id: id, ..entry }).collect();
        let new = self.new_file();
        entries.push(self.added(new));
        let compacted = self.manifest(entries);
        ("replace", [vec![compacted], deletes].concat())
    }

    /// A manifest of another branch's snapshot is taken over as it is.
    fn carry(&mut self, lines: Vec<ManifestFile>) -> (&'static str, Vec<ManifestFile>) {
        let entry = ManifestEntry { status: Status::Existing, ..self.with_numbers(3) };
        let mut line = self.manifest(vec![entry]);
        line.added_snapshot_id = 3;
        ("append", [lines, vec![line]].concat())
    }

    /// Delete files; deletion vectors in version 3, which share a file.
    fn delete_rows(&mut self, lines: Vec<ManifestFile>) -> (&'static str, Vec<ManifestFile>) {
        self.counter += 1;
        let path = self.place(&format!("d{}.puffin", self.counter));
        let is_v3 = self.version == FormatVersion::V3;
        let file = |at: i64| DataFile {
            file_format: if is_v3 { FileFormat::Puffin } else { FileFormat::Parquet },
            partition: vec![None],
            referenced_data_file: Some(format!("f{at}")),
            content_offset: is_v3.then_some(4 + at),
            content_size_bytes: is_v3.then_some(9),
            ..DataFile::parquet(FileContent::PositionDeletes, path.clone(), 1, 100)
        };
        let files = if is_v3 { 3 } else { 1 };
        let entries = (0..files).map(|at| self.added(file(at))).collect();
        let new = self.manifest(entries);
        ("delete", [vec![new], lines].concat())
    }

    fn new_file(&mut self) -> DataFile {
        self.counter += 1;
        let path = self.place(&format!("f{}.parquet", self.counter));
        let partition = vec![Some(Value::Int(i32::try_from(self.counter).expect("small")))];
        DataFile { partition, ..DataFile::parquet(FileContent::Data, path, 5, 100) }
    }

    fn added(&self, file: DataFile) -> ManifestEntry {
        ManifestEntry::added(self.next_id(), file)
    }

    fn with_numbers(&mut self, snapshot_id: i64) -> ManifestEntry {
        let file = self.new_file();
        ManifestEntry {
            sequence_number: Some(1),
            file_sequence_number: Some(1),
            ..ManifestEntry::added(snapshot_id, file)
        }
    }

    /// The live entries of a manifest, as another one carries them.
    fn existing(&self, path: &str) -> Vec<ManifestEntry> {
        let live = self.entries[path].iter().filter(|entry| entry.status != Status::Deleted);
        let number = |number: Option<i64>| number.or(Some(1)).filter(|_| self.version > FormatVersion::V1);
        live.map(|entry| ManifestEntry {
            status: Status::Existing,
            sequence_number: number(entry.sequence_number),
            file_sequence_number: number(entry.file_sequence_number),
            ..entry.clone()
        })
        .collect()
    }

    fn manifest(&mut self, entries: Vec<ManifestEntry>) -> ManifestFile {
        self.counter += 1;
        let header = ManifestHeader {
            version: self.version,
            content: entries[0].data_file.content.manifest(),
            schema: &self.metadata["schemas"][0],
            spec_id: 0,
            spec_fields: &self.metadata["partition-specs"][0]["fields"],
            partition: &[PartitionField { field_id: 1000, name: "day".into(), value_type: ValueType::Date }],
            codec: Codec::Deflate,
        };
        let written = write_manifest(&header, &entries).expect("a manifest");
        let name = format!("m{}.avro", self.counter);
        std::fs::write(self.folder.path().join(&name), &written.bytes).expect("stored");
        let mut line = written.at(self.place(&name), self.next_id(), self.sequence_number());
        if line.content == ManifestContent::Data && self.version == FormatVersion::V3 {
            line.first_row_id = Some(1_000);
        }
        self.entries.insert(line.manifest_path.clone(), entries);
        line
    }

    fn next_id(&self) -> i64 {
        1_000 + self.snapshots_ever() + 1
    }

    fn sequence_number(&self) -> i64 {
        if self.version == FormatVersion::V1 { 0 } else { self.snapshots_ever() + 1 }
    }

    fn snapshots_ever(&self) -> i64 {
        self.live.len() as i64
    }

    fn place(&self, name: &str) -> String {
        place(self.folder.path(), name)
    }
}

fn place(folder: &Path, name: &str) -> String {
    format!("file://{}/{name}", folder.display())
}

/// How many of each operation there are, so that a test can see that it saw all.
pub fn operations(table: &Table) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for snapshot in table.metadata["snapshots"].as_array().expect("a list") {
        *found.entry(snapshot["summary"]["operation"].as_str().expect("one").to_owned()).or_default() += 1;
    }
    found
}
