//! Fills a catalog with the demonstration, as any client would: files first, then the commit that names them.
//!
//! What must hold: only the [`Catalog`] port and the tables' own locations are used, so that it works before any kind of catalog; what is
//! there already is left alone, and a table that an earlier run left half filled is an error that names it.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::error::{Error, Kind, Result};
use crate::format::manifest::{DataFile, FileContent, ManifestFile, SnapshotIds, Value, draft_snapshot};
use crate::model::{CatalogName, Ident, Namespace, Operation, Principal};
use crate::storage::{Location, Storage};
use crate::upstream::{Catalog, Request, Target};

use super::parquet::{self, Column, POSITION_DELETE};
use super::tables::{self, Content, Part, Step};

/// What is in the catalog now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Name, what a reader finds, and what it shows.
    pub lines: Vec<(String, String, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
        for (name, found, shows) in &self.lines {
            writeln!(f, "  {name:width$}  {found:>7}  {shows}")?;
        }
        Ok(())
    }
}

/// Fills the catalog called `name`; `progress` hears of each table as it is done.
pub async fn fill(
    catalog: &dyn Catalog,
    name: &CatalogName,
    storage: &Storage,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Report> {
    let client = Client { catalog, name, namespace: Namespace::new(vec![tables::NAMESPACE.into()])? };
    let body = json!({"namespace": client.namespace, "properties": {"comment": "filled by lifeboat demo"}});
    client.create(Operation::CreateNamespace, Target::Catalog, &body).await?;
    let mut report = Report { lines: Vec::new() };
    for content in tables::all() {
        let full_name = format!("{}.{}", tables::NAMESPACE, content.name);
        fill_table(&client, storage, &content).await.map_err(|e| e.context(full_name.clone()))?;
        progress(&full_name);
        report.lines.push((full_name, format!("{} rows", content.rows), content.shows.into()));
    }
    let full_name = format!("{}.{}", tables::NAMESPACE, tables::VIEW);
    client.create(Operation::CreateView, Target::Namespace(client.namespace.clone()), &view()).await?;
    progress(&full_name);
    report.lines.push((full_name, "view".into(), "for Spark and Trino".into()));
    Ok(report)
}

async fn fill_table(client: &Client<'_>, storage: &Storage, content: &Content) -> Result<()> {
    let body = json!({
        "name": content.name,
        "schema": tables::schema(0, &content.columns),
        "partition-spec": content.spec.0,
        "properties": {"format-version": "2"},
    });
    let target = Target::Namespace(client.namespace.clone());
    let target_table = Target::Object(Ident::new(client.namespace.clone(), content.name)?);
    let Some(created) = client.create(Operation::CreateTable, target, &body).await? else {
        let there = client.call(Operation::LoadTable, target_table, &Json::Null).await?;
        return check_whole(content, &there["metadata"]);
    };
    let mut table = Table {
        metadata: created["metadata"].clone(),
        columns: content.columns.clone(),
        carried: Vec::new(),
        first_file: None,
    };
    for step in &content.steps {
        let commit = table.commit(storage, content, step).await?;
        let answer = client.call(Operation::UpdateTable, target_table.clone(), &commit).await?;
        table.metadata = answer["metadata"].clone();
    }
    Ok(())
}

/// What is left from an earlier run counts only when it is whole.
fn check_whole(content: &Content, metadata: &Json) -> Result<()> {
    let expected = content.steps.iter().filter(|s| matches!(s, Step::Append(_) | Step::DeleteAt(_))).count();
    if metadata["snapshots"].as_array().map_or(0, Vec::len) >= expected {
        return Ok(());
    }
    Err(Error::new(
        Kind::AlreadyExists,
        "an earlier run was stopped while filling it: drop it or choose another folder",
    ))
}

/// A table between two commits.
struct Table {
    metadata: Json,
    columns: Vec<Column>,
    carried: Vec<ManifestFile>,
    first_file: Option<DataFile>,
}

impl Table {
    /// Stores what a step needs and gives the commit that makes it so.
    async fn commit(&mut self, storage: &Storage, content: &Content, step: &Step) -> Result<Json> {
        let uuid = json!({"type": "assert-table-uuid", "uuid": self.metadata["table-uuid"]});
        let (requirement, updates) = match step {
            Step::Append(parts) => {
                let mut files = Vec::new();
                for part in parts {
                    files.push(self.store_part(storage, part).await?);
                }
                self.first_file = self.first_file.take().or_else(|| files.first().cloned());
                self.draft(storage, content, &files).await?
            }
            Step::DeleteAt(positions) => {
                let deletes = self.store_deletes(storage, positions).await?;
                self.draft(storage, content, &[deletes]).await?
            }
            Step::AddColumn(column) => {
                self.columns.push(*column);
                let schema = json!({"action": "add-schema", "schema": tables::schema(1, &self.columns)});
                let current = json!({"action": "set-current-schema", "schema-id": -1});
                let requirement = json!({"type": "assert-current-schema-id",
                    "current-schema-id": self.metadata["current-schema-id"]});
                (requirement, vec![schema, current])
            }
            Step::Tag(tag) => {
                let update = json!({"action": "set-snapshot-ref", "ref-name": tag, "type": "tag",
                    "snapshot-id": self.metadata["current-snapshot-id"]});
                (json!({"type": "assert-ref-snapshot-id", "ref": tag, "snapshot-id": null}), vec![update])
            }
        };
        Ok(json!({"requirements": [uuid, requirement], "updates": updates}))
    }

    async fn store_part(&self, storage: &Storage, part: &Part) -> Result<DataFile> {
        let path = self.new_path("")?;
        let (bytes, mut file) = parquet::write(FileContent::Data, &path, &self.columns, &part.rows)?;
        file.partition = part.partition.clone();
        storage.write_new(&Location::new(path), bytes.into()).await?;
        Ok(file)
    }

    /// A position delete of rows of the first data file.
    async fn store_deletes(&self, storage: &Storage, positions: &[i64]) -> Result<DataFile> {
        let about = self.first_file.as_ref().ok_or_else(|| Error::internal("nothing was appended yet"))?;
        let row = |at: &i64| vec![Some(Value::String(about.file_path.clone())), Some(Value::Long(*at))];
        let rows: Vec<_> = positions.iter().map(row).collect();
        let path = self.new_path("-deletes")?;
        let (bytes, mut file) = parquet::write(FileContent::PositionDeletes, &path, &POSITION_DELETE, &rows)?;
        file.referenced_data_file = Some(about.file_path.clone());
        file.partition = about.partition.clone();
        storage.write_new(&Location::new(path), bytes.into()).await?;
        Ok(file)
    }

    fn new_path(&self, suffix: &str) -> Result<String> {
        let location = self.metadata["location"].as_str();
        let location = location.ok_or_else(|| Error::new(Kind::BadUpstream, "the table has no location"))?;
        Ok(format!("{}/data/{}{suffix}.parquet", location.trim_end_matches('/'), Uuid::new_v4()))
    }

    async fn draft(&mut self, storage: &Storage, content: &Content, files: &[DataFile]) -> Result<(Json, Vec<Json>)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64);
        let ids = SnapshotIds {
            snapshot_id: rand::random_range(1..i64::MAX),
            timestamp_ms: now,
            unique: &Uuid::new_v4().to_string(),
        };
        let draft = draft_snapshot(&self.metadata, &content.spec.1, &self.carried, ids, files)?;
        for (location, bytes) in draft.files {
            storage.write_new(&Location::new(location), bytes.into()).await?;
        }
        self.carried = draft.manifests;
        let requirement =
            json!({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": draft.parent_snapshot_id});
        let add = json!({"action": "add-snapshot", "snapshot": draft.snapshot});
        let set =
            json!({"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": ids.snapshot_id});
        Ok((requirement, vec![add, set]))
    }
}

fn view() -> Json {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64);
    let sql = |dialect| json!({"type": "sql", "sql": tables::VIEW_SQL, "dialect": dialect});
    json!({
        "name": tables::VIEW,
        "schema": {"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "name", "required": false, "type": "string"},
            {"id": 2, "name": "voyages", "required": false, "type": "long"},
        ]},
        "view-version": {
            "version-id": 1, "schema-id": 0, "timestamp-ms": now, "summary": {"engine-name": "lifeboat"},
            "default-catalog": tables::ENGINE_CATALOG, "default-namespace": [tables::NAMESPACE],
            "representations": [sql("spark"), sql("trino")],
        },
        "properties": {"comment": "how often each ship went to sea"},
    })
}

/// A client of the catalog.
struct Client<'a> {
    catalog: &'a dyn Catalog,
    name: &'a CatalogName,
    namespace: Namespace,
}

impl Client<'_> {
    /// Asks, and takes only a success for an answer.
    async fn call(&self, operation: Operation, target: Target, body: &Json) -> Result<Json> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let request = Request {
            id: Uuid::new_v4().to_string().into(),
            operation,
            catalog: self.name.clone(),
            target,
            query: Vec::new(),
            headers,
            principal: Arc::new(Principal::local()),
            body: if body.is_null() { Bytes::new() } else { body.to_string().into() },
        };
        let response = self.catalog.call(request).await?;
        let answer: Json = serde_json::from_slice(&response.body).unwrap_or(Json::Null);
        if response.status.is_success() {
            return Ok(answer);
        }
        let kind = if response.status == StatusCode::CONFLICT { Kind::AlreadyExists } else { Kind::BadUpstream };
        let message = answer["error"]["message"].as_str().unwrap_or("no message").to_owned();
        Err(Error::new(kind, format!("{} was answered {}: {message}", operation.name(), response.status)))
    }

    /// As [`Client::call`]; `None` when it is there already.
    async fn create(&self, operation: Operation, target: Target, body: &Json) -> Result<Option<Json>> {
        match self.call(operation, target, body).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind() == Kind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }
}
