//! What unit tests of several modules share. Not part of the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::database::{Database, DatabaseSettings};
use crate::error::Error;
use crate::format::manifest::{DataFile, FileContent, SnapshotIds, draft_snapshot};
use crate::model::{CatalogName, Ident, Namespace, Operation, Principal, Secret};
use crate::storage::{Location, Storage};
use crate::upstream::embedded::DatabasePointers;
use crate::upstream::pointer::{PointerCatalog, PointerSettings};
use crate::upstream::{Catalog, Request, Target};

/// A new, empty database on the server that `LIFEBOAT_TEST_POSTGRES` names, or `None` where it names none.
/// With `LIFEBOAT_REQUIRE_ALL=1` a missing server fails the test.
pub async fn postgres() -> Option<Secret> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Ok(server) = std::env::var("LIFEBOAT_TEST_POSTGRES") else {
        assert!(
            std::env::var("LIFEBOAT_REQUIRE_ALL").is_err(),
            "LIFEBOAT_TEST_POSTGRES must name a server: run `make suite`"
        );
        eprintln!("left out: LIFEBOAT_TEST_POSTGRES names no server");
        return None;
    };
    let name = format!("unit_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut connection = sqlx::PgConnection::connect(&server).await.expect("the server answers");
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a new database");
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    Some(Secret::new(format!("{base}/{name}")))
}

/// An embedded catalog on a folder of its own, asked as the server asks it.
pub struct Bed {
    /// Everything is in here.
    pub folder: tempfile::TempDir,
    /// The database.
    pub database: Database,
    /// The storage.
    pub storage: Arc<Storage>,
    /// The catalog.
    pub catalog: Arc<PointerCatalog>,
}

impl Bed {
    /// On SQLite.
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = DatabaseSettings::Sqlite { path: folder.path().join("lifeboat.db") };
        Self::on(folder, &settings, false).await
    }

    /// On PostgreSQL, where a server is named.
    pub async fn postgres() -> Option<Self> {
        let url = postgres().await?;
        Some(Self::on(tempfile::tempdir().expect("a folder"), &DatabaseSettings::Postgres { url }, false).await)
    }

    /// On any database; with locations restricted to the warehouse or not.
    pub async fn on(folder: tempfile::TempDir, settings: &DatabaseSettings, restrict_locations: bool) -> Self {
        let database = Database::open(settings).await.expect("opened");
        let storage = Arc::new(Storage::new(Vec::new()));
        let catalog = Arc::new(catalog(&folder, &database, &storage, restrict_locations).await);
        Bed { folder, database, storage, catalog }
    }

    /// Another server on the same database, with nothing in memory.
    pub async fn another(&self) -> Arc<PointerCatalog> {
        Arc::new(catalog(&self.folder, &self.database, &self.storage, false).await)
    }

    /// The warehouse.
    pub fn warehouse(&self) -> String {
        format!("file://{}/warehouse", self.folder.path().display())
    }

    /// A path below the folder, as a location.
    pub fn location(&self, below: &str) -> String {
        format!("file://{}/{below}", self.folder.path().display())
    }

    /// Asks and expects an answer.
    pub async fn ask(&self, request: Request) -> Value {
        let said = format!("{:?} {:?}", request.operation, request.target);
        let response = self.catalog.call(request).await.unwrap_or_else(|e| panic!("{said}: {e}"));
        if response.body.is_empty() { Value::Null } else { serde_json::from_slice(&response.body).expect("JSON") }
    }

    /// Asks and expects a refusal.
    pub async fn refused(&self, request: Request) -> Error {
        let said = format!("{:?} {:?}", request.operation, request.target);
        match self.catalog.call(request).await {
            Ok(response) => panic!("{said} was answered: {:?}", response.body),
            Err(error) => error,
        }
    }

    /// Makes the namespace.
    pub async fn namespace(&self, name: &str) {
        self.ask(request(Operation::CreateNamespace, "", json!({"namespace": [name]}))).await;
    }

    /// Makes a table of one column; its metadata.
    pub async fn table(&self, name: &str, more: Value) -> Value {
        self.ask(create(name, more)).await["metadata"].clone()
    }

    /// Appends one file to a table; the snapshot's id is the file's number.
    pub async fn append(&self, name: &str, number: i64) -> Value {
        let metadata = self.ask(request(Operation::LoadTable, name, Value::Null)).await["metadata"].clone();
        let (body, files) = self.append_to(&metadata, number);
        for (path, bytes) in files {
            self.storage.write_new(&Location::new(path), bytes).await.expect("written");
        }
        self.ask(request(Operation::UpdateTable, name, body)).await
    }

    /// What a client writes and commits to append a file of the table's own.
    pub fn append_to(&self, metadata: &Value, number: i64) -> (Value, Vec<(String, Bytes)>) {
        let location = metadata["location"].as_str().expect("a location");
        self.append_naming(metadata, number, &format!("{location}/data/{number}.parquet"))
    }

    /// What a client writes and commits to append a file from anywhere.
    pub fn append_naming(&self, metadata: &Value, number: i64, path: &str) -> (Value, Vec<(String, Bytes)>) {
        append_all(metadata, number, &[path.to_owned()])
    }

    /// What a client writes and commits to append so many files of the table's own at once.
    pub fn append_many(&self, metadata: &Value, number: i64, count: usize) -> (Value, Vec<(String, Bytes)>) {
        let location = metadata["location"].as_str().expect("a location");
        let paths: Vec<String> = (0..count).map(|at| format!("{location}/data/{number}-{at}.parquet")).collect();
        append_all(metadata, number, &paths)
    }
}

fn append_all(metadata: &Value, number: i64, paths: &[String]) -> (Value, Vec<(String, Bytes)>) {
    let unique = uuid::Uuid::new_v4().to_string();
    let ids = SnapshotIds {
        snapshot_id: number,
        timestamp_ms: metadata["last-updated-ms"].as_i64().expect("a time"),
        unique: &unique,
    };
    let named: Vec<DataFile> = paths.iter().map(|path| DataFile::parquet(FileContent::Data, path, 1, 4)).collect();
    let draft = draft_snapshot(metadata, &[], &[], ids, &named).expect("drafted");
    let mut files: Vec<(String, Bytes)> =
        paths.iter().map(|path| (path.clone(), Bytes::from_static(b"PAR1"))).collect();
    files.extend(draft.files.into_iter().map(|(path, bytes)| (path, Bytes::from(bytes))));
    let body = json!({
        "requirements": [
            {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": draft.parent_snapshot_id},
        ],
        "updates": [
            {"action": "add-snapshot", "snapshot": draft.snapshot},
            {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": number},
        ],
    });
    (body, files)
}

async fn catalog(
    folder: &tempfile::TempDir,
    database: &Database,
    storage: &Arc<Storage>,
    restrict_locations: bool,
) -> PointerCatalog {
    let name = CatalogName::parse("main").expect("valid");
    let pointers = DatabasePointers::open(database.clone(), name).await.expect("opened");
    let settings = PointerSettings {
        warehouse: Location::new(format!("file://{}/warehouse", folder.path().display())),
        client_config: [("s3.region".to_owned(), "nowhere".to_owned())].into(),
        restrict_locations,
        outcome_lifetime: Duration::from_secs(60),
        cache_bytes: 64 << 20,
    };
    PointerCatalog::new(Arc::new(pointers), storage.clone(), settings)
}

/// A request to the catalog `main` about namespace `n`, or `name` in it, as the operation needs.
pub fn request(operation: Operation, name: &str, body: Value) -> Request {
    let namespace = Namespace::new(vec!["n".into()]).expect("valid");
    let path = operation.route().path;
    let target = if ["{table}", "{view}"].iter().any(|part| path.contains(part)) {
        Target::Object(Ident::new(namespace, name).expect("valid"))
    } else if path.contains("{namespace}") {
        Target::Namespace(namespace)
    } else {
        Target::Catalog
    };
    Request {
        id: "test".into(),
        operation,
        catalog: CatalogName::parse("main").expect("valid"),
        target,
        query: Vec::new(),
        headers: http::HeaderMap::new(),
        principal: Arc::new(Principal::local()),
        body: if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) },
    }
}

/// The same request with a query parameter.
pub fn with_query(mut request: Request, key: &str, value: &str) -> Request {
    request.query.push((key.to_owned(), value.to_owned()));
    request
}

/// The same request with a header.
pub fn with_header(mut request: Request, name: &'static str, value: &str) -> Request {
    request.headers.insert(name, http::HeaderValue::from_str(value).expect("a header"));
    request
}

/// A request for a table of one column.
pub fn create(name: &str, more: Value) -> Request {
    let fields = json!([{"id": 1, "name": "id", "required": false, "type": "long"}]);
    let mut body = json!({"name": name, "schema": {"type": "struct", "fields": fields}});
    body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    request(Operation::CreateTable, name, body)
}
