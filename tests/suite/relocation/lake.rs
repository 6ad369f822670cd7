//! A table whose metadata names a place that is gone, and the copy of its files that is left in a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apache_avro::types::Value as Avro;
use lifeboat::error::Result;
use lifeboat::format::location::LocationMap;
use lifeboat::format::manifest::{
    Codec, DataFile, FileContent, FileFormat, FormatVersion, ListHeader, ManifestContent, ManifestEntry, ManifestFile,
    ManifestHeader, Status, write_list, write_manifest,
};
use lifeboat::storage::{Location, Storage};
use lifeboat::table::relocate::{Options, Progress, Report, relocate};
use serde_json::{Value, json};

/// Where the metadata says that everything is.
pub const PROD: &str = "s3://prod/lake.v1+(x)";
/// The table's folder below that.
pub const TABLE: &str = "sales/orders";

/// One table.
pub struct Lake {
    folder: tempfile::TempDir,
    table: String,
    pub version: FormatVersion,
    pub metadata: Value,
    /// What the newest snapshot's list holds.
    pub manifests: Vec<ManifestFile>,
    sequence_number: i64,
    commits: u32,
    log: Vec<Value>,
}

impl Lake {
    pub fn new(version: FormatVersion) -> Self {
        Lake::named(version, TABLE)
    }

    /// A table in another folder.
    pub fn named(version: FormatVersion, table: &str) -> Self {
        let location = format!("{PROD}/{table}");
        let schema = json!({"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "id", "required": false, "type": "long"}, {"id": 2, "name": "link", "required": false, "type": "string"}]});
        let mut metadata = json!({
            "format-version": version as i32, "table-uuid": uuid_of(table), "location": location,
            "last-updated-ms": 1, "last-column-id": 2, "schema": schema, "schemas": [schema], "current-schema-id": 0,
            "partition-spec": [], "partition-specs": [{"spec-id": 0, "fields": []}], "default-spec-id": 0, "last-partition-id": 999,
            "sort-orders": [{"order-id": 0, "fields": []}], "default-sort-order-id": 0, "properties": {}, "current-snapshot-id": -1,
            "refs": {}, "snapshots": [], "snapshot-log": [], "metadata-log": []});
        if version >= FormatVersion::V2 {
            metadata["last-sequence-number"] = json!(0);
        }
        if version >= FormatVersion::V3 {
            metadata["next-row-id"] = json!(0);
        }
        let folder = tempfile::tempdir().expect("a folder");
        Lake {
            folder,
            table: table.to_owned(),
            version,
            metadata,
            manifests: Vec::new(),
            sequence_number: 0,
            commits: 0,
            log: Vec::new(),
        }
    }

    /// Where the copy is.
    pub fn copy(&self) -> PathBuf {
        self.folder.path().join("dr")
    }

    /// A folder beside the copy.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a path of the table is, in the metadata's words.
    pub fn path(&self, below: &str) -> String {
        format!("{PROD}/{}/{below}", self.table)
    }

    /// Where the copy of a path is.
    pub fn place(&self, path: &str) -> PathBuf {
        self.copy().join(path.strip_prefix(PROD).expect("a path of the table").trim_start_matches('/'))
    }

    /// Stores a file of the copy.
    pub fn store(&self, path: &str, bytes: &[u8]) {
        let place = self.place(path);
        std::fs::create_dir_all(place.parent().expect("a folder")).expect("made");
        std::fs::write(place, bytes).expect("stored");
    }

    /// A data file that is really there.
    pub fn data_file(&self, below: &str) -> DataFile {
        let path = self.path(below);
        self.store(&path, path.as_bytes());
        DataFile::parquet(FileContent::Data, path.clone(), 1, path.len() as i64)
    }

    /// Position deletes in Avro of the given files' first rows; really there.
    pub fn position_deletes(&self, below: &str, of: &[&str]) -> DataFile {
        let path = self.path(below);
        let bytes = position_deletes(of);
        self.store(&path, &bytes);
        DataFile {
            file_format: FileFormat::Avro,
            ..DataFile::parquet(FileContent::PositionDeletes, path, of.len() as i64, bytes.len() as i64)
        }
    }

    /// Writes a manifest of entries; its line is not in a list yet.
    pub fn manifest(&self, name: &str, entries: &[ManifestEntry], codec: Codec) -> ManifestFile {
        let content = entries.first().map_or(ManifestContent::Data, |entry| entry.data_file.content.manifest());
        let header = ManifestHeader {
            version: self.version,
            content,
            schema: &self.metadata["schema"],
            spec_id: 0,
            spec_fields: &json!([]),
            partition: &[],
            codec,
        };
        let written = write_manifest(&header, entries).expect("a manifest");
        let path = self.path(&format!("metadata/{name}.avro"));
        self.store(&path, &written.bytes);
        let mut line = written.at(path, self.next_id(), self.sequence_number + 1);
        if content == ManifestContent::Data && self.version >= FormatVersion::V3 {
            line.first_row_id = Some(0);
        }
        line
    }

    /// The next snapshot's id.
    pub fn next_id(&self) -> i64 {
        1000 + self.sequence_number + 1
    }

    /// Commits a snapshot with the manifests of the one before and new ones.
    pub fn append(&mut self, new: Vec<ManifestFile>) -> i64 {
        let mut manifests = new;
        manifests.append(&mut self.manifests);
        self.commit(manifests)
    }

    /// Commits a snapshot with exactly these manifests.
    pub fn commit(&mut self, manifests: Vec<ManifestFile>) -> i64 {
        let parent = (self.sequence_number > 0).then(|| self.next_id() - 1);
        let id = self.next_id();
        self.sequence_number += 1;
        let header = ListHeader {
            version: self.version,
            snapshot_id: id,
            parent_snapshot_id: parent,
            sequence_number: self.sequence_number,
            first_row_id: (self.version >= FormatVersion::V3).then_some(0),
            codec: Codec::Deflate,
        };
        let list = self.path(&format!("metadata/snap-{id}.avro"));
        self.store(&list, &write_list(&header, &manifests).expect("a list"));
        self.manifests = manifests;
        let mut snapshot = json!({"snapshot-id": id, "timestamp-ms": id, "manifest-list": list, "schema-id": 0,
            "summary": {"operation": "append", "custom": format!("{PROD}/user")}});
        if let Some(parent) = parent {
            snapshot["parent-snapshot-id"] = json!(parent);
        }
        if self.version >= FormatVersion::V2 {
            snapshot["sequence-number"] = json!(self.sequence_number);
            self.metadata["last-sequence-number"] = json!(self.sequence_number);
        }
        if self.version >= FormatVersion::V3 {
            (snapshot["first-row-id"], snapshot["added-rows"]) = (json!(0), json!(1));
        }
        push(&mut self.metadata["snapshots"], snapshot);
        push(&mut self.metadata["snapshot-log"], json!({"snapshot-id": id, "timestamp-ms": id}));
        self.metadata["current-snapshot-id"] = json!(id);
        self.metadata["refs"]["main"] = json!({"snapshot-id": id, "type": "branch"});
        id
    }

    /// Takes a snapshot away, as expiring it does.
    pub fn expire(&mut self, id: i64) {
        let snapshots = self.metadata["snapshots"].as_array_mut().expect("snapshots");
        snapshots.retain(|snapshot| snapshot["snapshot-id"] != json!(id));
    }

    /// Writes the next metadata.json; returns where its copy is.
    pub fn save(&mut self) -> PathBuf {
        self.commits += 1;
        let path = self.path(&format!("metadata/{:05}-save.metadata.json", self.commits));
        self.metadata["metadata-log"] = self.log();
        self.store(&path, self.metadata.to_string().as_bytes());
        self.log.push(json!({"timestamp-ms": self.commits, "metadata-file": path}));
        self.place(&path)
    }

    /// What the next metadata.json says of those before it.
    pub fn log(&self) -> Value {
        Value::Array(self.log.clone())
    }

    /// From the place that is gone to where the copy is.
    pub fn map(&self) -> LocationMap {
        LocationMap::new([(PROD.to_owned(), self.copy().to_string_lossy().into_owned())]).expect("a map")
    }

    /// The usual options: into an overlay beside the copy.
    pub fn options(&self) -> Options {
        Options { into: Some(Location::new(self.beside("overlay").to_string_lossy())), ..Options::new(self.map()) }
    }

    /// Saves the metadata and relocates it with the usual options.
    pub async fn relocate_now(&mut self) -> Result<Report> {
        let metadata = self.save();
        self.relocate(&metadata).await
    }

    /// Relocates with the usual options.
    pub async fn relocate(&self, metadata: &Path) -> Result<Report> {
        run(metadata, &self.options()).await
    }
}

/// The same for the same table.
fn uuid_of(table: &str) -> String {
    if table == TABLE {
        return "9c12d441-03fe-4693-9a96-a0705ddf69c1".to_owned();
    }
    let digits = table.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    format!("{:08x}-03fe-4693-9a96-{:012x}", digits >> 32, digits & 0xffff_ffff)
}

fn push(array: &mut Value, value: Value) {
    array.as_array_mut().expect("an array").push(value);
}

/// Relocates what is at a path.
pub async fn run(metadata: &Path, options: &Options) -> Result<Report> {
    relocate(storage(), &Location::new(metadata.to_string_lossy()), options, Arc::new(Progress::default())).await
}

pub fn storage() -> Arc<Storage> {
    Arc::new(Storage::new(Vec::new()))
}

/// An entry that adds a file; sequence numbers inherited.
pub fn added(lake: &Lake, file: DataFile) -> ManifestEntry {
    ManifestEntry::added(lake.next_id(), file)
}

/// An entry of another status with sequence numbers of its own.
pub fn entry(status: Status, snapshot_id: i64, sequence_number: i64, data_file: DataFile) -> ManifestEntry {
    let explicit = Some(sequence_number);
    ManifestEntry {
        status,
        snapshot_id: Some(snapshot_id),
        sequence_number: explicit,
        file_sequence_number: explicit,
        data_file,
    }
}

/// Position deletes in Avro of the given files' first rows.
pub fn position_deletes(of: &[&str]) -> Vec<u8> {
    let schema = json!({"type": "record", "name": "delete", "fields": [
        {"name": "file_path", "type": "string", "field-id": 2147483546}, {"name": "pos", "type": "long", "field-id": 2147483545}]});
    let schema = apache_avro::Schema::parse_str(&schema.to_string()).expect("a schema");
    let mut writer = apache_avro::Writer::new(&schema, Vec::new()).expect("a writer");
    for path in of {
        let record =
            vec![("file_path".to_owned(), Avro::String((*path).to_owned())), ("pos".to_owned(), Avro::Long(0))];
        writer.append_value(Avro::Record(record)).expect("written");
    }
    writer.into_inner().expect("bytes")
}

/// A relocated tree, read by an Avro library that has nothing to do with ours.
pub struct Tree {
    pub metadata: Value,
    /// Manifest lists by snapshot, each line as the library reads it.
    pub lists: BTreeMap<i64, Vec<BTreeMap<String, Avro>>>,
    /// Entries by manifest.
    pub entries: BTreeMap<String, Vec<Avro>>,
}

impl Tree {
    pub fn read(metadata_location: &str) -> Tree {
        let metadata: Value =
            serde_json::from_slice(&std::fs::read(metadata_location).expect("metadata")).expect("JSON");
        let (mut lists, mut entries) = (BTreeMap::new(), BTreeMap::new());
        for snapshot in metadata["snapshots"].as_array().expect("snapshots") {
            let Some(list) = snapshot["manifest-list"].as_str() else { continue };
            let lines: Vec<BTreeMap<String, Avro>> = records(list).into_iter().map(fields).collect();
            for line in &lines {
                let path = text(&line["manifest_path"]);
                let size = std::fs::metadata(&path).expect("the manifest is there").len();
                assert_eq!(line["manifest_length"], Avro::Long(size as i64), "manifest_length of {path}");
                entries.entry(path.clone()).or_insert_with(|| records(&path));
            }
            lists.insert(snapshot["snapshot-id"].as_i64().expect("an id"), lines);
        }
        Tree { metadata, lists, entries }
    }

    /// Every data and delete file that any entry names, as fields by name.
    pub fn files(&self) -> Vec<BTreeMap<String, Avro>> {
        self.entries.values().flatten().map(|entry| fields(fields(entry.clone())["data_file"].clone())).collect()
    }

    /// The paths of these.
    pub fn paths(&self) -> Vec<String> {
        self.files().iter().map(|file| text(&file["file_path"])).collect()
    }
}

pub fn records(path: &str) -> Vec<Avro> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let reader = apache_avro::Reader::new(&bytes[..]).expect("Avro");
    reader.collect::<Result<_, _>>().expect("records")
}

pub fn fields(record: Avro) -> BTreeMap<String, Avro> {
    let Avro::Record(fields) = inner(record) else { panic!("no record") };
    fields.into_iter().map(|(name, value)| (name, inner(value))).collect()
}

fn inner(value: Avro) -> Avro {
    match value {
        Avro::Union(_, value) => *value,
        other => other,
    }
}

pub fn text(value: &Avro) -> String {
    match value {
        Avro::String(text) => text.clone(),
        other => panic!("{other:?} is no text"),
    }
}
