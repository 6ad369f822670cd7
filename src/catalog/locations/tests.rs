//! The layer on an embedded catalog: what clients see, what the upstream keeps, and what it costs.

use std::path::PathBuf;
use std::sync::Arc;

use http::StatusCode;
use http::header;
use serde_json::{Value, json};

use super::*;
use crate::catalog::tests::Scripted;
use crate::format::avro::manifests;
use crate::format::location::LocationMap;
use crate::format::manifest::{DataFile, FileContent, ManifestFile, SnapshotIds, draft_snapshot};
use crate::storage::Location;
use crate::testing::{Bed, create, request, with_header};

/// An embedded catalog whose clients go through a symbolic link.
struct Clients {
    bed: Bed,
    layer: ClientLocations,
}

impl Clients {
    async fn new() -> Self {
        let bed = Bed::sqlite().await;
        std::fs::create_dir(bed.folder.path().join("warehouse")).expect("a folder");
        std::os::unix::fs::symlink(bed.folder.path().join("warehouse"), bed.folder.path().join("client"))
            .expect("a link");
        let layer = layer(&bed, bed.catalog.clone(), "client");
        let clients = Clients { bed, layer };
        clients.ask(request(Operation::CreateNamespace, "", json!({"namespace": ["n"]}))).await;
        clients
    }

    async fn ask(&self, request: Request) -> Value {
        let said = format!("{:?} {:?}", request.operation, request.target);
        let response = self.layer.call(request).await.unwrap_or_else(|e| panic!("{said}: {e}"));
        if response.body.is_empty() { Value::Null } else { serde_json::from_slice(&response.body).expect("JSON") }
    }

    async fn refused(&self, request: Request) -> Error {
        match self.layer.call(request).await {
            Ok(response) => panic!("answered: {:?}", response.body),
            Err(error) => error,
        }
    }

    async fn load(&self, name: &str) -> Value {
        self.ask(request(Operation::LoadTable, name, Value::Null)).await
    }

    /// A client appends a file; `carried` are the lines of its list, which go on to the next one.
    async fn append(&self, name: &str, number: i64, carried: &mut Vec<ManifestFile>) -> Value {
        let metadata = self.load(name).await["metadata"].clone();
        let body = self.drafted(&metadata, number, carried).await;
        let answer = self.ask(request(Operation::UpdateTable, name, body)).await;
        let list = answer["metadata"]["snapshots"].as_array().expect("snapshots").last().expect("one")["manifest-list"]
            .as_str()
            .expect("a list")
            .to_owned();
        for (line, relocated) in carried.iter_mut().zip(self.list(&list)) {
            (line.manifest_path, line.manifest_length_bytes) = relocated;
        }
        answer
    }

    /// What a client writes and commits.
    async fn drafted(&self, metadata: &Value, number: i64, carried: &mut Vec<ManifestFile>) -> Value {
        let unique = uuid::Uuid::new_v4().to_string();
        let ids = SnapshotIds {
            snapshot_id: number,
            timestamp_ms: metadata["last-updated-ms"].as_i64().expect("a time"),
            unique: &unique,
        };
        let path = format!("{}/data/{number}.parquet", metadata["location"].as_str().expect("a location"));
        let file = DataFile::parquet(FileContent::Data, &path, 1, 4);
        let draft = draft_snapshot(metadata, &[], carried, ids, &[file]).expect("drafted");
        for (path, bytes) in draft.files {
            self.bed.storage.write_new(&Location::new(path), bytes.into()).await.expect("written");
        }
        *carried = draft.manifests;
        json!({
            "requirements": [
                {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": draft.parent_snapshot_id},
            ],
            "updates": [
                {"action": "add-snapshot", "snapshot": draft.snapshot},
                {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": number},
            ],
        })
    }

    fn list(&self, location: &str) -> Vec<(String, i64)> {
        let bytes = std::fs::read(path(location)).expect("a list");
        let named = manifests(&bytes, location).expect("read");
        named.into_iter().map(|manifest| (manifest.path, manifest.length_bytes)).collect()
    }

    /// The lists of the newest snapshot: the upstream's and the clients'.
    async fn lists(&self, name: &str) -> [Vec<(String, i64)>; 2] {
        let upstream = self.bed.ask(request(Operation::LoadTable, name, Value::Null)).await;
        [upstream, self.load(name).await].map(|answer| {
            let snapshots = answer["metadata"]["snapshots"].as_array().expect("snapshots").clone();
            self.list(snapshots.last().expect("one")["manifest-list"].as_str().expect("a list"))
        })
    }
}

/// The layer around any catalog, with `client` in place of the warehouse.
fn layer(bed: &Bed, inner: Arc<dyn Catalog>, client: &str) -> ClientLocations {
    let settings = ClientLocationsSettings {
        map: LocationMap::new([(bed.warehouse(), bed.location(client))]).expect("a map"),
        overlay: Location::new(bed.location("overlay")),
        upstream_overlay: None,
    };
    ClientLocations::new(inner, bed.storage.clone(), settings).expect("a layer")
}

fn path(location: &str) -> PathBuf {
    location.strip_prefix("file://").expect("a local place").into()
}

/// Every text in a JSON value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(values) => values.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[track_caller]
fn none_under(value: &Value, prefix: &str) {
    let found: Vec<String> = texts(value).into_iter().filter(|text| text.contains(prefix)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn clients_and_upstream_each_see_their_own_naming() {
    let clients = Clients::new().await;
    let (ours, theirs) = (clients.bed.location("client"), clients.bed.warehouse());
    let made = clients
        .ask(create("t", json!({"location": format!("{ours}/x/t"), "properties": {"write.data.path": format!("{ours}/x/d"), "note": ours}})))
        .await;
    assert_eq!(made["metadata"]["location"], format!("{ours}/x/t"));
    assert_eq!(made["metadata"]["properties"]["write.data.path"], format!("{ours}/x/d"));
    let upstream = clients.bed.ask(request(Operation::LoadTable, "t", Value::Null)).await;
    assert_eq!(upstream["metadata"]["location"], format!("{theirs}/x/t"));
    assert_eq!(upstream["metadata"]["properties"]["write.data.path"], format!("{theirs}/x/d"));
    assert_eq!(upstream["metadata"]["properties"]["note"], ours, "what is no location is not mapped");
    let body = json!({"updates": [{"action": "set-location", "location": format!("{ours}/y")},
        {"action": "set-properties", "updates": {"write.metadata.path": format!("{ours}/m")}}]});
    let moved = clients.ask(request(Operation::UpdateTable, "t", body)).await;
    assert_eq!(moved["metadata"]["location"], format!("{ours}/y"));
    let upstream = clients.bed.ask(request(Operation::LoadTable, "t", Value::Null)).await;
    assert_eq!(upstream["metadata"]["location"], format!("{theirs}/y"));
    assert!(upstream["metadata-location"].as_str().expect("a place").starts_with(&format!("{theirs}/m/")));
    let properties = json!({"updates": {"location": format!("{ours}/ns")}});
    clients.ask(request(Operation::UpdateProperties, "", properties)).await;
    let of = |answer: Value| answer["properties"]["location"].as_str().expect("a place").to_owned();
    assert_eq!(of(clients.ask(request(Operation::LoadNamespace, "", Value::Null)).await), format!("{ours}/ns"));
    assert_eq!(of(clients.bed.ask(request(Operation::LoadNamespace, "", Value::Null)).await), format!("{theirs}/ns"));
}

#[tokio::test]
async fn what_a_client_commits_reaches_the_upstream_in_its_naming() {
    let clients = Clients::new().await;
    clients.ask(create("t", json!({}))).await;
    let mut carried = Vec::new();
    for number in 1..=3 {
        let answer = clients.append("t", number, &mut carried).await;
        none_under(&answer, &format!("{}/", clients.bed.warehouse()));
        let file = path(answer["metadata-location"].as_str().expect("a place"));
        let there: Value = serde_json::from_slice(&std::fs::read(file).expect("it is there")).expect("JSON");
        assert_eq!(there, answer["metadata"]);
        let upstream = clients.bed.ask(request(Operation::LoadTable, "t", Value::Null)).await;
        none_under(&upstream, &clients.bed.location("client"));
        none_under(&upstream, &clients.bed.location("overlay"));
    }
    let [upstream, ours] = clients.lists("t").await;
    assert_eq!((upstream.len(), ours.len()), (3, 3));
    assert!(upstream.iter().all(|(path, _)| path.starts_with(&clients.bed.warehouse())), "{upstream:?}");
    assert!(ours.iter().all(|(path, _)| path.starts_with(&clients.bed.location("overlay"))), "{ours:?}");
}

#[tokio::test]
async fn a_manifest_that_was_relocated_goes_back_to_what_it_was() {
    let clients = Clients::new().await;
    clients.ask(create("t", json!({}))).await;
    clients.bed.append("t", 1).await;
    let mut carried = Vec::new();
    clients.append("t", 2, &mut carried).await;
    let [before, _] = clients.lists("t").await;
    // a server with nothing in memory, as after a restart, learns it from the table
    let clients = Clients { layer: layer(&clients.bed, clients.bed.catalog.clone(), "client"), bed: clients.bed };
    clients.append("t", 3, &mut carried).await;
    let [after, _] = clients.lists("t").await;
    assert_eq!(after[1..], before[..]);
}

#[tokio::test]
async fn a_relocated_manifest_that_nobody_knows_is_refused() {
    let clients = Clients::new().await;
    clients.ask(create("t", json!({}))).await;
    let mut carried = Vec::new();
    clients.append("t", 1, &mut carried).await;
    let name = clients.bed.location("overlay/x/unknown-m.avro");
    carried[0].manifest_path.clone_from(&name);
    let metadata = clients.load("t").await["metadata"].clone();
    let body = clients.drafted(&metadata, 2, &mut carried).await;
    let error = clients.refused(request(Operation::UpdateTable, "t", body)).await;
    assert_eq!(error.kind(), Kind::BadRequest);
    assert!(error.message().contains(&name), "{error}");
    let upstream = clients.bed.ask(request(Operation::LoadTable, "t", Value::Null)).await;
    assert_eq!(upstream["metadata"]["current-snapshot-id"], 1);
}

#[tokio::test]
async fn a_list_that_is_not_there_is_a_bad_request() {
    let clients = Clients::new().await;
    clients.ask(create("t", json!({}))).await;
    let list = clients.bed.location("client/n/none.avro");
    let body = json!({"requirements": [], "updates": [{"action": "add-snapshot", "snapshot":
        {"snapshot-id": 1, "timestamp-ms": 1, "sequence-number": 1, "summary": {"operation": "append"}, "manifest-list": list}}]});
    let error = clients.refused(request(Operation::UpdateTable, "t", body)).await;
    assert_eq!(error.kind(), Kind::BadRequest);
}

#[tokio::test]
async fn a_damaged_table_is_not_called_missing() {
    let clients = Clients::new().await;
    clients.ask(create("t", json!({}))).await;
    let answer = clients.bed.append("t", 1).await;
    let list = answer["metadata"]["snapshots"][0]["manifest-list"].as_str().expect("a list");
    std::fs::remove_file(path(list)).expect("removed");
    let error = clients.refused(request(Operation::LoadTable, "t", Value::Null)).await;
    assert_eq!(error.kind(), Kind::Unprocessable);
    assert!(error.to_string().contains(list), "{error}");
}

#[tokio::test]
async fn a_table_that_has_not_changed_costs_nothing() {
    let clients = Clients::new().await;
    clients.ask(create("t", json!({}))).await;
    clients.bed.append("t", 1).await;
    let upstream = clients.bed.ask(request(Operation::LoadTable, "t", Value::Null)).await;
    let answer = upstream.clone();
    let inner = Scripted::new(move |_| Ok(Response::json(&answer)));
    let layer = layer(&clients.bed, Arc::new(inner), "client");
    let load = || request(Operation::LoadTable, "t", Value::Null);
    let first = layer.call(load()).await.expect("loaded");
    // whoever asked storage now would find nothing
    for folder in ["warehouse", "overlay"] {
        std::fs::remove_dir_all(clients.bed.folder.path().join(folder)).expect("removed");
    }
    assert_eq!(layer.call(load()).await.expect("loaded").body, first.body);
}

#[tokio::test]
async fn a_new_snapshot_costs_what_is_new() {
    let clients = Clients::new().await;
    clients.ask(create("t", json!({}))).await;
    for number in 1..=5 {
        clients.bed.append("t", number).await;
    }
    clients.load("t").await;
    let answer = clients.bed.append("t", 6).await;
    let settings = crate::table::relocate::Options {
        into: Some(clients.layer.naming.overlay.clone()),
        read: Some(crate::table::relocate::ReadFrom::Source),
        ..crate::table::relocate::Options::new((*clients.layer.naming.down).clone())
    };
    let source = Location::new(answer["metadata-location"].as_str().expect("a place"));
    let relocate = || crate::table::relocate::relocate_tree(clients.bed.storage.clone(), &source, &settings);
    let done = relocate().await.expect("relocated");
    let asked = done.requests;
    assert_eq!((asked.get, asked.head, asked.put, asked.list, done.written), (6, 3, 3, 0, 3));
    let again = relocate().await.expect("relocated").requests;
    assert_eq!((again.get, again.head, again.put, again.list), (2, 1, 0, 0));
}

#[tokio::test]
async fn an_append_costs_what_is_new() {
    let clients = Clients::new().await;
    clients.ask(create("t", json!({}))).await;
    let mut carried = Vec::new();
    for number in 1..=4 {
        clients.append("t", number, &mut carried).await;
    }
    let metadata = clients.load("t").await["metadata"].clone();
    let body = clients.drafted(&metadata, 5, &mut carried).await;
    let before = clients.bed.storage.list(&Location::new(clients.bed.warehouse()), 1000).await.expect("listed").len();
    let mapped = match clients.layer.request(request(Operation::UpdateTable, "t", body)).await {
        Ok(mapped) => mapped.json().expect("JSON"),
        Err(_) => panic!("refused"),
    };
    let after = clients.bed.storage.list(&Location::new(clients.bed.warehouse()), 1000).await.expect("listed").len();
    assert_eq!(after - before, 2, "a manifest and a list");
    let list = mapped["updates"][0]["snapshot"]["manifest-list"].as_str().expect("a list").to_owned();
    assert!(list.starts_with(&clients.bed.warehouse()) && list.contains("/metadata/relocated/"), "{list}");
}

#[tokio::test]
async fn many_loads_of_a_new_metadata_file_relocate_it_once() {
    let clients = Clients::new().await;
    clients.ask(create("t", json!({}))).await;
    clients.bed.append("t", 1).await;
    let loads = (0..8).map(|_| clients.load("t"));
    let answers = futures::future::join_all(loads).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let overlay = clients.bed.storage.list(&clients.layer.naming.overlay, 100).await.expect("listed");
    // of the empty table and of the one with a snapshot: 2 metadata files, a list, a manifest
    assert_eq!(overlay.len(), 4, "{overlay:?}");
}

#[tokio::test]
async fn an_etag_is_of_the_map_and_304_stays_right() {
    let clients = Clients::new().await;
    clients.ask(create("t", json!({}))).await;
    let load = || request(Operation::LoadTable, "t", Value::Null);
    let etag = |response: &Response| response.headers[header::ETAG].to_str().expect("text").to_owned();
    let upstreams = etag(&clients.bed.catalog.call(load()).await.expect("loaded"));
    let ours = etag(&clients.layer.call(load()).await.expect("loaded"));
    assert_ne!(ours, upstreams);
    let known = |etag: &str| with_header(load(), "if-none-match", etag);
    let same = clients.layer.call(known(&ours)).await.expect("told");
    assert_eq!((same.status, etag(&same)), (StatusCode::NOT_MODIFIED, ours.clone()));
    assert_eq!(clients.layer.call(known(&upstreams)).await.expect("loaded").status, StatusCode::OK);
    let other = layer(&clients.bed, clients.bed.catalog.clone(), "other");
    let answer = other.call(known(&ours)).await.expect("loaded");
    assert_eq!(answer.status, StatusCode::OK);
    assert_ne!(etag(&answer), ours);
    clients.bed.append("t", 1).await;
    assert_eq!(clients.layer.call(known(&ours)).await.expect("loaded").status, StatusCode::OK);
}

#[tokio::test]
async fn a_write_that_was_done_and_cannot_be_told_is_not_called_undone() {
    let clients = Clients::new().await;
    // nothing can be written below a file
    std::fs::write(clients.bed.folder.path().join("overlay"), "in the way").expect("written");
    let error = clients.refused(create("t", json!({}))).await;
    assert_eq!(error.kind(), Kind::OutcomeUnknown);
    let metadata = clients.bed.ask(request(Operation::LoadTable, "t", Value::Null)).await;
    assert!(metadata["metadata"].is_object());
}

#[tokio::test]
async fn a_table_is_registered_by_either_sides_metadata() {
    let clients = Clients::new().await;
    clients.ask(create("t", json!({}))).await;
    let answer = clients.append("t", 1, &mut Vec::new()).await;
    let before = clients.bed.ask(request(Operation::LoadTable, "t", Value::Null)).await;
    let register = |name: &str, location: &Value| {
        request(Operation::RegisterTable, "", json!({"name": name, "metadata-location": location}))
    };
    // what we made for clients is what it was made of
    let again = clients.ask(register("again", &answer["metadata-location"])).await;
    let upstream = clients.bed.ask(request(Operation::LoadTable, "again", Value::Null)).await;
    assert_eq!(upstream["metadata-location"], before["metadata-location"]);
    assert_eq!(again["metadata"], answer["metadata"]);
    // after a restart that is forgotten, and it is relocated as any other one would be
    let clients = Clients { layer: layer(&clients.bed, clients.bed.catalog.clone(), "client"), bed: clients.bed };
    clients.ask(register("other", &answer["metadata-location"])).await;
    let upstream = clients.bed.ask(request(Operation::LoadTable, "other", Value::Null)).await;
    none_under(&upstream["metadata"]["snapshots"], &clients.bed.location("client"));
    assert_eq!(upstream["metadata"]["location"], before["metadata"]["location"]);
}

#[tokio::test]
async fn a_transaction_is_mapped_table_by_table() {
    let clients = Clients::new().await;
    let mut changes = Vec::new();
    for (name, number) in [("a", 1), ("b", 2)] {
        clients.ask(create(name, json!({}))).await;
        let metadata = clients.load(name).await["metadata"].clone();
        let mut change = clients.drafted(&metadata, number, &mut Vec::new()).await;
        change["identifier"] = json!({"namespace": ["n"], "name": name});
        changes.push(change);
    }
    clients.ask(request(Operation::CommitTransaction, "", json!({"table-changes": changes}))).await;
    for name in ["a", "b"] {
        let upstream = clients.bed.ask(request(Operation::LoadTable, name, Value::Null)).await;
        none_under(&upstream, &clients.bed.location("client"));
        assert_eq!(clients.load(name).await["metadata"]["snapshots"].as_array().map(Vec::len), Some(1));
    }
}

#[tokio::test]
async fn a_staged_table_is_made_by_its_first_commit() {
    let clients = Clients::new().await;
    let staged = clients.ask(create("t", json!({"stage-create": true}))).await;
    assert!(staged["metadata-location"].is_null());
    let metadata = &staged["metadata"];
    none_under(metadata, &clients.bed.warehouse());
    let mut body = clients.drafted(metadata, 1, &mut Vec::new()).await;
    body["requirements"] = json!([{"type": "assert-create"}]);
    let mut updates = vec![
        json!({"action": "assign-uuid", "uuid": metadata["table-uuid"]}),
        json!({"action": "upgrade-format-version", "format-version": 2}),
        json!({"action": "set-location", "location": metadata["location"]}),
        json!({"action": "add-schema", "schema": metadata["schemas"][0]}),
        json!({"action": "set-current-schema", "schema-id": -1}),
        json!({"action": "add-spec", "spec": metadata["partition-specs"][0]}),
        json!({"action": "set-default-spec", "spec-id": -1}),
        json!({"action": "add-sort-order", "sort-order": metadata["sort-orders"][0]}),
        json!({"action": "set-default-sort-order", "sort-order-id": -1}),
    ];
    updates.extend(body["updates"].as_array().expect("updates").iter().cloned());
    body["updates"] = Value::from(updates);
    let answer = clients.ask(request(Operation::UpdateTable, "t", body)).await;
    assert_eq!(answer["metadata"]["location"], metadata["location"]);
    let upstream = clients.bed.ask(request(Operation::LoadTable, "t", Value::Null)).await;
    none_under(&upstream, &clients.bed.location("client"));
}

#[tokio::test]
async fn a_view_has_its_own_file_and_its_text_is_not_touched() {
    let clients = Clients::new().await;
    let sql = format!("SELECT * FROM read_parquet('{}/x')", clients.bed.warehouse());
    let body = json!({"name": "v", "location": clients.bed.location("client/v"), "properties": {},
        "schema": {"type": "struct", "schema-id": 0, "fields": []},
        "view-version": {"version-id": 1, "timestamp-ms": 1, "schema-id": 0, "summary": {}, "default-namespace": ["n"],
            "representations": [{"type": "sql", "sql": sql, "dialect": "duckdb"}]}});
    clients.ask(request(Operation::CreateView, "", body)).await;
    let view = clients.ask(request(Operation::LoadView, "v", Value::Null)).await;
    assert_eq!(view["metadata"]["location"], clients.bed.location("client/v"));
    assert_eq!(view["metadata"]["versions"][0]["representations"][0]["sql"], sql);
    let file = path(view["metadata-location"].as_str().expect("a place"));
    let there: Value = serde_json::from_slice(&std::fs::read(file).expect("it is there")).expect("JSON");
    assert_eq!(there, view["metadata"]);
    let upstream = clients.bed.ask(request(Operation::LoadView, "v", Value::Null)).await;
    assert_eq!(upstream["metadata"]["location"], format!("{}/v", clients.bed.warehouse()));
}

async fn scripted(operation: Operation, answer: Value) -> Result<Value> {
    let settings = ClientLocationsSettings {
        map: LocationMap::new([("s3://lake/w", "s3a://lake/w")]).expect("a map"),
        overlay: Location::new("s3a://lake/overlay"),
        upstream_overlay: None,
    };
    let inner = Scripted::new(move |_| Ok(Response::json(&answer)));
    let layer = ClientLocations::new(Arc::new(inner), Arc::new(Storage::new(Vec::new())), settings)?;
    let response = layer.call(request(operation, "t", Value::Null)).await?;
    Ok(serde_json::from_slice(&response.body).expect("JSON"))
}

#[tokio::test]
async fn configuration_credentials_and_plans_are_in_the_clients_naming() {
    let config = json!({"defaults": {"warehouse": "s3://lake/w", "s3.endpoint": "s3://lake/w"},
        "overrides": {"table-default.write.data.path": "s3://lake/w/d"}, "endpoints": []});
    let told = scripted(Operation::GetConfig, config).await.expect("told");
    assert_eq!(
        told,
        json!({"defaults": {"warehouse": "s3a://lake/w", "s3.endpoint": "s3://lake/w"},
            "overrides": {"table-default.write.data.path": "s3a://lake/w/d"}, "endpoints": []})
    );
    let credentials =
        json!({"storage-credentials": [{"prefix": "s3://lake/w/t", "config": {}}, {"prefix": "s3", "config": {}}]});
    let told = scripted(Operation::LoadCredentials, credentials).await.expect("told");
    assert_eq!(told["storage-credentials"][0]["prefix"], "s3a://lake/w/t");
    assert_eq!(told["storage-credentials"][1]["prefix"], "s3");
    let plan = |content: &str, path: &str| {
        json!({"status": "completed", "plan-tasks": ["s3://lake/w/opaque"],
            "file-scan-tasks": [{"data-file": {"content": "data", "file-path": "s3://lake/w/t/a.parquet"}, "residual-filter": "s3://lake/w"}],
            "delete-files": [{"content": content, "file-path": path}]})
    };
    let told =
        scripted(Operation::PlanTableScan, plan("equality-deletes", "s3://lake/w/t/d.parquet")).await.expect("told");
    assert_eq!(told["file-scan-tasks"][0]["data-file"]["file-path"], "s3a://lake/w/t/a.parquet");
    assert_eq!(told["file-scan-tasks"][0]["residual-filter"], "s3://lake/w");
    assert_eq!(told["delete-files"][0]["file-path"], "s3a://lake/w/t/d.parquet");
    assert_eq!(told["plan-tasks"][0], "s3://lake/w/opaque");
    let refused = scripted(Operation::PlanTableScan, plan("position-deletes", "s3://lake/w/t/d.parquet")).await;
    assert_eq!(refused.map_err(|e| e.kind()), Err(Kind::Unsupported));
}

#[test]
fn a_map_without_a_way_back_and_overlays_in_the_wrong_naming_are_refused() {
    let build = |pairs: &[(&str, &str)], overlay: &str, upstream_overlay: Option<&str>| {
        let map = LocationMap::new(pairs.iter().copied())?;
        let upstream_overlay = upstream_overlay.map(Location::new);
        Naming::new(ClientLocationsSettings { map, overlay: Location::new(overlay), upstream_overlay }).map(drop)
    };
    let pair = [("s3://lake/w", "s3a://lake/w")];
    assert!(build(&pair, "s3a://lake/o", Some("s3://lake/w/o")).is_ok());
    assert!(build(&pair, "s3://lake/w/o", None).is_err());
    assert!(build(&pair, "s3a://lake/o", Some("s3a://lake/w/o")).is_err());
    assert!(build(&[("/a", "/c/x"), ("/c", "/c")], "/o", None).is_err());
}
