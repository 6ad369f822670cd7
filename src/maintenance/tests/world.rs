//! A table with a random history, written to a folder, of which it is known what every snapshot reaches.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::format::manifest::{
    Codec, DataFile, FileContent, FormatVersion, ListHeader, ManifestContent, ManifestEntry, ManifestFile,
    ManifestHeader, Status, write_list, write_manifest,
};
use crate::model::Operation;
use crate::storage::Location;
use crate::testing::{Bed, request};
use crate::upstream::pointer::now_ms;

pub const DAY_MS: i64 = 24 * 3_600_000;

/// A manifest with its live files.
#[derive(Clone)]
struct Held {
    line: ManifestFile,
    files: Vec<DataFile>,
}

#[derive(Clone)]
pub struct Snapshot {
    pub id: i64,
    pub parent: Option<i64>,
    pub at_ms: i64,
    manifests: Vec<Held>,
    list: String,
    statistics: Option<String>,
}

impl Snapshot {
    /// Every file that it reaches.
    pub fn reaches(&self) -> BTreeSet<String> {
        let files = self
            .manifests
            .iter()
            .flat_map(|m| m.files.iter().map(|file| file.file_path.clone()).chain([m.line.manifest_path.clone()]));
        files.chain([self.list.clone()]).chain(self.statistics.clone()).collect()
    }
}

#[derive(Clone)]
pub struct Ref {
    pub head: i64,
    pub is_branch: bool,
    pub keep_for_ms: Option<i64>,
    pub keep_last: Option<usize>,
    pub age_max_ms: Option<i64>,
}

/// The table.
pub struct World {
    pub location: String,
    pub now_ms: i64,
    pub snapshots: Vec<Snapshot>,
    pub refs: BTreeMap<String, Ref>,
    pub properties: BTreeMap<String, String>,
    pub metadata: Value,
    files: u32,
    random: StdRng,
}

impl World {
    /// Writes a history to a folder of the bed and registers it as `n.t`.
    pub async fn new(bed: &Bed, seed: u64) -> World {
        let mut world = World {
            location: bed.location(&format!("warehouse/world-{seed}")),
            now_ms: now_ms(),
            snapshots: Vec::new(),
            refs: BTreeMap::new(),
            properties: BTreeMap::new(),
            metadata: Value::Null,
            files: 0,
            random: StdRng::seed_from_u64(seed),
        };
        let count = world.random.random_range(1..14);
        for number in 1..=count {
            world.snapshot(bed, number, count).await;
        }
        world.name();
        world.metadata = world.write();
        let at = format!("{}/metadata/00000-a.metadata.json", world.location);
        world.store(bed, &at, world.metadata.to_string().into_bytes()).await;
        bed.ask(request(Operation::RegisterTable, "t", json!({"name": "t", "metadata-location": at}))).await;
        world
    }

    async fn store(&self, bed: &Bed, path: &str, bytes: Vec<u8>) {
        bed.storage.write_new(&Location::new(path), Bytes::from(bytes)).await.expect("written");
    }

    async fn file(&mut self, bed: &Bed, content: FileContent) -> DataFile {
        self.files += 1;
        let path = format!("{}/data/{}.parquet", self.location, self.files);
        self.store(bed, &path, path.clone().into_bytes()).await;
        DataFile::parquet(content, path.clone(), 1, path.len() as i64)
    }

    async fn manifest(&mut self, bed: &Bed, id: i64, live: Vec<DataFile>, gone: Vec<DataFile>, is_added: bool) -> Held {
        let entry = |file: &DataFile, status| ManifestEntry {
            status,
            snapshot_id: Some(id),
            sequence_number: Some(id),
            file_sequence_number: Some(id),
            data_file: file.clone(),
        };
        let added = if is_added { Status::Added } else { Status::Existing };
        let entries: Vec<ManifestEntry> = live
            .iter()
            .map(|file| entry(file, added))
            .chain(gone.iter().map(|file| entry(file, Status::Deleted)))
            .collect();
        let is_data = entries.first().is_none_or(|entry| entry.data_file.content == FileContent::Data);
        let schema = schema();
        let header = ManifestHeader {
            version: FormatVersion::V2,
            content: if is_data { ManifestContent::Data } else { ManifestContent::Deletes },
            schema: &schema,
            spec_id: 0,
            spec_fields: &json!([]),
            partition: &[],
            codec: Codec::Deflate,
        };
        let written = write_manifest(&header, &entries).expect("a manifest");
        self.files += 1;
        let path = format!("{}/metadata/m{}.avro", self.location, self.files);
        let line = written.at(&path, id, id);
        self.store(bed, &path, written.bytes).await;
        Held { line, files: live }
    }

    /// One more: an append, a delete of files, a merge of manifests, or an overwrite of all.
    async fn snapshot(&mut self, bed: &Bed, number: i64, count: i64) {
        let id = 1000 + number;
        // mostly on the newest, sometimes on any
        let parent = match self.snapshots.last() {
            Some(last) if self.random.random_bool(0.75) => Some(last.clone()),
            _ => self.snapshots.choose(&mut self.random).cloned(),
        };
        let mut manifests = parent.as_ref().map(|parent| parent.manifests.clone()).unwrap_or_default();
        match self.random.random_range(0..10) {
            0 => manifests.clear(),
            1..=3 if !manifests.is_empty() => {
                let at = self.random.random_range(0..manifests.len());
                let mut old = manifests.swap_remove(at).files;
                let gone = old.split_off(self.random.random_range(0..=old.len()));
                if !(old.is_empty() && gone.is_empty()) {
                    manifests.push(self.manifest(bed, id, old, gone, false).await);
                }
            }
            4 | 5 if manifests.len() > 1 => {
                let (data, rest): (Vec<Held>, Vec<Held>) =
                    manifests.into_iter().partition(|m| m.line.content == ManifestContent::Data);
                let merged: Vec<DataFile> = data.into_iter().flat_map(|m| m.files).collect();
                manifests = rest;
                if !merged.is_empty() {
                    manifests.push(self.manifest(bed, id, merged, Vec::new(), false).await);
                }
            }
            kind => {
                let content = if kind == 6 { FileContent::PositionDeletes } else { FileContent::Data };
                let mut files = Vec::new();
                for _ in 0..self.random.random_range(1..4) {
                    files.push(self.file(bed, content).await);
                }
                manifests.push(self.manifest(bed, id, files, Vec::new(), true).await);
            }
        }
        let header = ListHeader {
            version: FormatVersion::V2,
            snapshot_id: id,
            parent_snapshot_id: parent.as_ref().map(|parent| parent.id),
            sequence_number: id,
            first_row_id: None,
            codec: Codec::Deflate,
        };
        let list = format!("{}/metadata/snap-{id}.avro", self.location);
        let lines: Vec<ManifestFile> = manifests.iter().map(|m| m.line.clone()).collect();
        self.store(bed, &list, write_list(&header, &lines).expect("a list")).await;
        let statistics = self.random.random_bool(0.3).then(|| format!("{}/metadata/{id}.stats", self.location));
        if let Some(path) = &statistics {
            self.store(bed, path, b"PFA1".to_vec()).await;
        }
        // half a day off full days, so that no age is at its limit
        let at_ms = self.now_ms - (count - number) * DAY_MS - DAY_MS / 2;
        let parent = parent.map(|parent| parent.id);
        self.snapshots.push(Snapshot { id, parent, at_ms, manifests, list, statistics });
    }

    /// Gives names to some of it.
    fn name(&mut self) {
        let all: Vec<i64> = self.snapshots.iter().map(|snapshot| snapshot.id).collect();
        let last = *all.last().expect("one at least");
        let random = &mut self.random;
        let some =
            |random: &mut StdRng, most: i64| random.random_bool(0.4).then(|| random.random_range(1..=most) * DAY_MS);
        let main = Ref {
            head: last,
            is_branch: true,
            keep_for_ms: some(random, 9),
            keep_last: None,
            age_max_ms: some(random, 2),
        };
        self.refs.insert("main".into(), main);
        for number in 0..random.random_range(0..4) {
            let is_branch = random.random_bool(0.6);
            let to = Ref {
                head: *all.choose(random).expect("one at least"),
                is_branch,
                keep_for_ms: some(random, 9).filter(|_| is_branch),
                keep_last: random.random_bool(0.4).then(|| random.random_range(1..5)).filter(|_| is_branch),
                age_max_ms: some(random, 6),
            };
            self.refs.insert(format!("ref-{number}"), to);
        }
        for (name, most) in [("max-snapshot-age-ms", 8), ("max-ref-age-ms", 8)] {
            if random.random_bool(0.2) {
                let days = random.random_range(1..=most);
                self.properties.insert(format!("history.expire.{name}"), (days * DAY_MS).to_string());
            }
        }
        if random.random_bool(0.2) {
            let count = random.random_range(1..4);
            self.properties.insert("history.expire.min-snapshots-to-keep".into(), count.to_string());
        }
    }

    fn write(&self) -> Value {
        let last = self.snapshots.last().expect("one at least");
        let snapshots = self.snapshots.iter().map(|s| {
            let mut snapshot = json!({"snapshot-id": s.id, "sequence-number": s.id, "timestamp-ms": s.at_ms,
                "manifest-list": s.list, "schema-id": 0, "summary": {"operation": "append"}});
            if let Some(parent) = s.parent {
                snapshot["parent-snapshot-id"] = json!(parent);
            }
            snapshot
        });
        let refs = self.refs.iter().map(|(name, to)| {
            let mut value = json!({"snapshot-id": to.head, "type": if to.is_branch { "branch" } else { "tag" }});
            for (key, number) in [("max-snapshot-age-ms", to.keep_for_ms), ("max-ref-age-ms", to.age_max_ms)] {
                if let Some(number) = number {
                    value[key] = json!(number);
                }
            }
            if let Some(count) = to.keep_last {
                value["min-snapshots-to-keep"] = json!(count);
            }
            (name.clone(), value)
        });
        let statistics = self.snapshots.iter().filter_map(|s| {
            let path = s.statistics.as_ref()?;
            Some(json!({"snapshot-id": s.id, "statistics-path": path, "file-size-in-bytes": 4, "file-footer-size-in-bytes": 1, "blob-metadata": []}))
        });
        json!({
            "format-version": 2, "table-uuid": uuid::Uuid::new_v4(), "location": self.location, "last-sequence-number": last.id,
            "last-updated-ms": last.at_ms, "last-column-id": 1, "schemas": [schema()], "current-schema-id": 0,
            "partition-specs": [{"spec-id": 0, "fields": []}], "default-spec-id": 0, "last-partition-id": 999,
            "sort-orders": [{"order-id": 0, "fields": []}], "default-sort-order-id": 0, "properties": self.properties,
            "current-snapshot-id": last.id, "refs": refs.collect::<serde_json::Map<_, _>>(), "snapshots": snapshots.collect::<Vec<_>>(),
            "statistics": statistics.collect::<Vec<_>>(), "partition-statistics": [],
            "snapshot-log": [{"snapshot-id": last.id, "timestamp-ms": last.at_ms}], "metadata-log": []})
    }

    /// A snapshot and those that it came from.
    pub fn line(&self, head: i64) -> Vec<i64> {
        let (mut line, mut next) = (Vec::new(), Some(head));
        while let Some(snapshot) = next.and_then(|id| self.snapshots.iter().find(|s| s.id == id)) {
            line.push(snapshot.id);
            next = snapshot.parent;
        }
        line
    }

    /// All that the snapshots of these ids reach.
    pub fn reached(&self, ids: &BTreeSet<i64>) -> BTreeSet<String> {
        self.snapshots.iter().filter(|s| ids.contains(&s.id)).flat_map(Snapshot::reaches).collect()
    }
}

pub fn schema() -> Value {
    json!({"type": "struct", "schema-id": 0, "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]})
}

/// The files below the table's place, as locations; metadata.json files left out.
pub async fn files(bed: &Bed, location: &str) -> BTreeSet<String> {
    let listed = bed.storage.list(&Location::new(location), 10_000).await.expect("listed");
    let files = listed.into_iter().map(|file| file.location.to_string());
    files.filter(|path| !path.ends_with(".metadata.json")).collect()
}
