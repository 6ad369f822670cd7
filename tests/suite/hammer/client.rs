//! A writer as engines are: files first, then a commit that asserts the base it stands on; a conflict means a new base.
//!
//! What must hold: an answer is judged by its status and type alone, and no answer means that the fate is unknown: then the
//! history is asked for the snapshot's id before anything is tried again. An id is one row's for ever, whatever the attempts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lifeboat::cli::demo::parquet::{Column, write};
use lifeboat::format::manifest::{DataFile, FileContent, ManifestFile, SnapshotIds, Value, ValueType, draft_snapshot};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use uuid::Uuid;

/// Attempts of one commit before the writer calls it starved.
const ATTEMPTS_MAX: u64 = 500;
/// Waits between two attempts: up to this much longer each time, so that the loser of a race is not the loser of the next.
const BACK_OFF_STEP: Duration = Duration::from_millis(60);
const BACK_OFF_MAX: Duration = Duration::from_millis(400);
/// How long a writer waits for a server that does not answer.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Between two questions to a server that does not answer.
const SILENCE_STEP: Duration = Duration::from_millis(20);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Snapshots that writers keep, as engines that expire old ones do.
const HISTORY_MAX: usize = 40;
const NAMESPACE: &str = "hammer";

const COLUMNS: [Column; 1] = [Column { id: 1, name: "id", value_type: ValueType::Long, required: true }];

/// What all writers saw.
#[derive(Debug, Default)]
pub struct Tally {
    pub conflicts: AtomicU64,
    /// Commits without an answer.
    pub unknown: AtomicU64,
    /// Of those, the ones that turned out to have landed.
    pub landed: AtomicU64,
}

/// The manifest that each snapshot added and the snapshot before it; a manifest list is built from these.
type Lineage = Arc<Mutex<HashMap<i64, (Option<i64>, ManifestFile)>>>;

/// A client of one catalog; clones share connections and figures.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    lineage: Lineage,
    pub tally: Arc<Tally>,
}

/// No answer came: the server is gone, or was in the middle of it.
#[derive(Debug)]
struct NoAnswer;

impl Client {
    /// Asks the catalog at `uri` how it wants to be asked.
    pub async fn connect(uri: &str) -> Result<Client, String> {
        // a second installation by another test of this process is refused, which is as good
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build().map_err(|e| e.to_string())?;
        let mut client = Client { http, base: format!("{uri}/v1"), lineage: Lineage::default(), tally: Arc::default() };
        let config = client.patient(Method::GET, "/config", None).await?;
        if let Some(prefix) = config["overrides"]["prefix"].as_str().or(config["defaults"]["prefix"].as_str()) {
            client.base = format!("{uri}/v1/{prefix}");
        }
        Ok(client)
    }

    /// Makes the tables.
    pub async fn create(&self, tables: &[String]) -> Result<(), String> {
        self.patient(Method::POST, "/namespaces", Some(&json!({"namespace": [NAMESPACE]}))).await?;
        for table in tables {
            let body = json!({
                "name": table,
                "schema": {"type": "struct", "schema-id": 0, "fields": [
                    {"id": 1, "name": "id", "type": "long", "required": true},
                ]},
                "properties": {
                    "format-version": "2",
                    // each commit writes the metadata anew: two thousand versions of it would take long to look through
                    "write.metadata.delete-after-commit.enabled": "true", "write.metadata.previous-versions-max": "5",
                },
            });
            self.patient(Method::POST, &format!("/namespaces/{NAMESPACE}/tables"), Some(&body)).await?;
        }
        Ok(())
    }

    /// The metadata, with the whole history or only with what refs name.
    pub async fn load(&self, table: &str, whole: bool) -> Result<Json, String> {
        let snapshots = if whole { "all" } else { "refs" };
        let path = format!("/namespaces/{NAMESPACE}/tables/{table}?snapshots={snapshots}");
        Ok(self.patient(Method::GET, &path, None).await?["metadata"].take())
    }

    /// Appends one row in a file of its own; returns once that is acknowledged or seen in the history. `base` is the metadata to
    /// begin with and the newest known afterwards.
    pub async fn append(&self, table: &str, row: i64, base: &mut Option<Json>) -> Result<(), String> {
        let snapshot_id = rand::random_range(1..i64::MAX);
        let mut data_file = None;
        for attempt in 0..ATTEMPTS_MAX {
            let metadata = match base.take() {
                Some(metadata) => metadata,
                None => self.load(table, false).await?,
            };
            let file = match &data_file {
                Some(file) => file,
                None => data_file.insert(store_row(&metadata, row).await?),
            };
            let body = self.draft(&metadata, snapshot_id, file).await?;
            match self.send(Method::POST, &format!("/namespaces/{NAMESPACE}/tables/{table}"), Some(&body)).await {
                Ok((StatusCode::OK, mut answer)) => {
                    *base = Some(answer["metadata"].take());
                    return Ok(());
                }
                Ok((StatusCode::CONFLICT, answer)) if answer["error"]["type"] == "CommitFailedException" => {
                    self.tally.conflicts.fetch_add(1, Ordering::Relaxed);
                    let longest = (BACK_OFF_STEP * (attempt as u32 + 1)).min(BACK_OFF_MAX);
                    tokio::time::sleep(rand::random_range(Duration::ZERO..longest)).await;
                }
                Ok((status, answer)) => return Err(format!("a commit to {table} was answered {status}: {answer}")),
                Err(NoAnswer) => {
                    self.tally.unknown.fetch_add(1, Ordering::Relaxed);
                    let now = self.load(table, true).await?;
                    // the lineage that all writers remember goes back further than the snapshots that are kept
                    if self.lineage(current(&now))?.iter().any(|(ancestor, _)| *ancestor == snapshot_id) {
                        self.tally.landed.fetch_add(1, Ordering::Relaxed);
                        *base = Some(now);
                        return Ok(());
                    }
                }
            }
        }
        Err(format!("row {row} of {table} was starved: {ATTEMPTS_MAX} attempts lost"))
    }

    /// Stores manifest and manifest list over the base, and gives the commit that names them.
    async fn draft(&self, metadata: &Json, snapshot_id: i64, file: &DataFile) -> Result<Json, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?;
        let unique = Uuid::new_v4().to_string();
        let ids = SnapshotIds { snapshot_id, timestamp_ms: now.as_millis() as i64, unique: &unique };
        let (ancestors, carried): (Vec<i64>, Vec<ManifestFile>) = self.lineage(current(metadata))?.into_iter().unzip();
        let draft = draft_snapshot(metadata, &[], &carried, ids, std::slice::from_ref(file))
            .map_err(|e| format!("{e}: {metadata}"))?;
        for (location, bytes) in draft.files {
            store(&location, bytes).await?;
        }
        let added = draft.manifests.first().ok_or("a draft without manifests")?.clone();
        let mut lineage = self.lineage.lock().map_err(|e| e.to_string())?;
        lineage.insert(snapshot_id, (draft.parent_snapshot_id, added));
        let mut updates = vec![
            json!({"action": "add-snapshot", "snapshot": draft.snapshot}),
            json!({"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": snapshot_id}),
        ];
        if let Some(oldest) = ancestors.get(HISTORY_MAX - 1) {
            updates.push(json!({"action": "remove-snapshots", "snapshot-ids": [oldest]}));
        }
        Ok(json!({
            "requirements": [
                {"type": "assert-table-uuid", "uuid": metadata["table-uuid"]},
                {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": draft.parent_snapshot_id},
            ],
            "updates": updates,
        }))
    }

    /// A snapshot and all before it, newest first, each with the manifest that it added.
    fn lineage(&self, snapshot: Option<i64>) -> Result<Vec<(i64, ManifestFile)>, String> {
        let known = self.lineage.lock().map_err(|e| e.to_string())?;
        let mut lineage = Vec::new();
        let mut at = snapshot;
        while let Some(id) = at {
            let (parent, manifest) = known.get(&id).ok_or(format!("snapshot {id} is nobody's"))?;
            lineage.push((id, manifest.clone()));
            at = *parent;
        }
        Ok(lineage)
    }

    /// Asks until there is an answer, and takes only a success for one.
    async fn patient(&self, method: Method, path: &str, body: Option<&Json>) -> Result<Json, String> {
        let began = Instant::now();
        loop {
            match self.send(method.clone(), path, body).await {
                Ok((status, answer)) if status.is_success() => return Ok(answer),
                Ok((status, answer)) => return Err(format!("{method} {path} was answered {status}: {answer}")),
                Err(NoAnswer) if began.elapsed() > SILENCE_MAX => {
                    return Err(format!("{method} {path}: no answer for {SILENCE_MAX:?}"));
                }
                Err(NoAnswer) => tokio::time::sleep(SILENCE_STEP).await,
            }
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Json>) -> Result<(StatusCode, Json), NoAnswer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|_| NoAnswer)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|_| NoAnswer)?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Json::Null)))
    }
}

fn current(metadata: &Json) -> Option<i64> {
    metadata["current-snapshot-id"].as_i64().filter(|id| *id != -1)
}

async fn store_row(metadata: &Json, row: i64) -> Result<DataFile, String> {
    let location = metadata["location"].as_str().ok_or("a table without a location")?;
    let path = format!("{}/data/{row}.parquet", location.trim_end_matches('/'));
    let rows = [vec![Some(Value::Long(row))]];
    let (bytes, file) = write(FileContent::Data, &path, &COLUMNS, &rows).map_err(|e| e.to_string())?;
    store(&path, bytes).await?;
    Ok(file)
}

async fn store(location: &str, bytes: Vec<u8>) -> Result<(), String> {
    let path = super::audit::local(location)?;
    let folder = path.parent().ok_or("a file without a folder")?;
    tokio::fs::create_dir_all(folder).await.map_err(|e| format!("{location}: {e}"))?;
    tokio::fs::write(&path, bytes).await.map_err(|e| format!("{location}: {e}"))
}
