//! An embedded catalog in a folder with a table, `n.t`, that is overwritten again and again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use lifeboat::app::{self, App};
use lifeboat::config::Config;
use lifeboat::error::{Error, Kind, Result};
use lifeboat::format::avro::{self, Status};
use lifeboat::format::manifest::{DataFile, FileContent, SnapshotIds, draft_snapshot};
use lifeboat::model::{CatalogName, Ident, Namespace, Operation, Principal};
use lifeboat::upstream::{Catalog, Request, Target};
use serde_json::{Value, json};

pub struct Yard {
    pub app: App,
    pub stack: Arc<dyn Catalog>,
    ids: AtomicI64,
}

impl Yard {
    /// In a folder, which may have one already.
    pub async fn open(folder: &Path) -> Yard {
        Yard::of(&Config::embedded(folder, None).expect("a configuration")).await
    }

    /// As a configuration says, which may have one already.
    pub async fn of(config: &Config) -> Yard {
        let app = app::build(config).await.expect("built");
        let stack = app.catalogs.values().next().expect("one catalog").stack.clone();
        Yard { app, stack, ids: AtomicI64::new(1) }
    }

    /// In a new folder, with the empty table.
    pub async fn new(folder: &Path) -> Yard {
        let yard = Yard::open(folder).await;
        yard.fill().await;
        yard
    }

    /// Makes the table.
    pub async fn fill(&self) {
        self.ask(Operation::CreateNamespace, json!({"namespace": ["n"]})).await.expect("made");
        let fields = json!([{"id": 1, "name": "id", "required": false, "type": "long"}]);
        let body = json!({"name": "t", "schema": {"type": "struct", "fields": fields}});
        self.ask(Operation::CreateTable, body).await.expect("made");
    }

    pub async fn ask(&self, operation: Operation, body: Value) -> Result<Value> {
        let namespace = Namespace::new(vec!["n".into()]).expect("valid");
        let target = match operation {
            Operation::CreateNamespace => Target::Catalog,
            Operation::CreateTable => Target::Namespace(namespace),
            _ => Target::Object(Ident::new(namespace, "t").expect("valid")),
        };
        let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = Request {
            id: "test".into(),
            operation,
            catalog: CatalogName::parse("main").expect("valid"),
            target,
            query: Vec::new(),
            headers: if body.is_null() { HeaderMap::new() } else { HeaderMap::from_iter([json]) },
            principal: Arc::new(Principal::local()),
            body: if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) },
        };
        let response = self.stack.call(request).await?;
        Ok(serde_json::from_slice(&response.body).unwrap_or_default())
    }

    pub async fn metadata(&self) -> Value {
        self.ask(Operation::LoadTable, Value::Null).await.expect("loaded")["metadata"].take()
    }

    /// Replaces all files of the table by so many new ones.
    pub async fn overwrite(&self, files: usize) -> Result<i64> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        loop {
            let metadata = self.metadata().await;
            let location = metadata["location"].as_str().expect("a location");
            let unique = uuid::Uuid::new_v4().to_string();
            let timestamp_ms = metadata["last-updated-ms"].as_i64().expect("a time");
            let ids = SnapshotIds { snapshot_id: id, timestamp_ms, unique: &unique };
            let of = |at| DataFile::parquet(FileContent::Data, format!("{location}/data/{unique}-{at}.parquet"), 1, 4);
            let files: Vec<DataFile> = (0..files).map(of).collect();
            let draft = draft_snapshot(&metadata, &[], &[], ids, &files).expect("drafted");
            for file in &files {
                put(&file.file_path, b"PAR1");
            }
            for (path, bytes) in &draft.files {
                put(path, bytes);
            }
            let parent = draft.parent_snapshot_id;
            let body = json!({
                "requirements": [{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": parent}],
                "updates": [{"action": "add-snapshot", "snapshot": draft.snapshot},
                    {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": id}]});
            match self.ask(Operation::UpdateTable, body).await {
                Err(e) if e.kind() == Kind::CommitFailed => {}
                done => return done.map(|_| id),
            }
        }
    }

    /// Every file that the table's snapshots reach; an error where one is missing.
    pub async fn whole(&self) -> Result<BTreeSet<PathBuf>> {
        let metadata = self.metadata().await;
        let mut reached = BTreeSet::new();
        for snapshot in metadata["snapshots"].as_array().into_iter().flatten() {
            let list = snapshot["manifest-list"].as_str().expect("a list");
            for manifest in avro::manifests(&bytes(list)?, list)? {
                avro::for_each_entry(&bytes(&manifest.path)?, &manifest.path, |entry| {
                    if entry.status != Status::Deleted {
                        bytes(entry.path)?;
                        reached.insert(path(entry.path));
                    }
                    Ok(())
                })?;
                reached.insert(path(&manifest.path));
            }
            reached.insert(path(list));
        }
        Ok(reached)
    }
}

fn bytes(location: &str) -> Result<Vec<u8>> {
    std::fs::read(path(location)).map_err(|e| Error::new(Kind::NotFound, format!("{location}: {e}")))
}

pub fn path(location: &str) -> PathBuf {
    location.strip_prefix("file://").expect("a local place").into()
}

pub fn put(location: &str, bytes: &[u8]) {
    let path = path(location);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// Files in the making, which a killed process leaves and which nobody reads.
const UNFINISHED: &str = ".lifeboat-unfinished-";

/// The files below a folder but for metadata.json files, whose names are chance, and those that were never finished.
pub fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    let is_meant = |path: &Path| {
        let path = path.to_string_lossy();
        !path.ends_with(".metadata.json") && !path.contains(UNFINISHED)
    };
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if is_meant(&entry.path()) {
                found.insert(entry.path());
            }
        }
    }
    found
}
