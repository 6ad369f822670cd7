//! One table's or view's life: created, loaded, renamed, registered, unregistered, dropped.

use super::*;

fn register(name: &str, location: &Value, overwrite: bool) -> crate::upstream::Request {
    let body = json!({"name": name, "metadata-location": location, "overwrite": overwrite});
    request(Operation::RegisterTable, name, body)
}

fn view(name: &str) -> crate::upstream::Request {
    let representation = json!({"type": "sql", "sql": "select 1", "dialect": "spark"});
    let version = json!({"version-id": 1, "schema-id": 0, "timestamp-ms": 1, "summary": {},
        "representations": [representation], "default-namespace": ["n"]});
    let body = json!({"name": name, "schema": {"type": "struct", "schema-id": 0, "fields": []}, "view-version": version, "properties": {}});
    request(Operation::CreateView, name, body)
}

#[tokio::test]
async fn a_table_is_loaded_as_the_bytes_that_it_is_in() {
    for bed in beds().await {
        let created = bed.ask(create("t", json!({}))).await;
        assert_eq!(created["config"], json!({"s3.region": "nowhere"}));
        let response = bed.catalog.call(load("t")).await.expect("loaded");
        let file = created["metadata-location"].as_str().expect("a file").strip_prefix("file://").expect("local");
        let stored = std::fs::read_to_string(file).expect("read");
        assert!(String::from_utf8_lossy(&response.body).contains(&stored));
        let etag = response.headers["etag"].to_str().expect("text").to_owned();
        let again = bed.catalog.call(with_header(load("t"), "if-none-match", &etag)).await.expect("asked");
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
        let refs = with_query(with_header(load("t"), "if-none-match", &etag), "snapshots", "refs");
        assert_eq!(bed.catalog.call(refs).await.expect("asked").status.as_u16(), 200);
        bed.ask(request(Operation::UpdateTable, "t", set("k", "v"))).await;
        let changed = bed.catalog.call(with_header(load("t"), "if-none-match", &etag)).await.expect("asked");
        assert_eq!(changed.status.as_u16(), 200);
    }
}

#[tokio::test]
async fn a_table_whose_metadata_was_taken_away_is_not_served_from_memory() {
    let bed = &beds().await[0];
    let created = bed.catalog.call(create("t", json!({}))).await.expect("created");
    let response = bed.catalog.call(load("t")).await.expect("loaded");
    let body: Value = serde_json::from_slice(&created.body).expect("JSON");
    let location = body["metadata-location"].as_str().expect("a file");
    std::fs::remove_file(&location[7..]).expect("removed");
    for request in
        [load("t"), with_header(load("t"), "if-none-match", response.headers["etag"].to_str().expect("text"))]
    {
        let error = bed.refused(request).await;
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(error.message(), format!("Failed to open input stream for file: {location}"));
    }
}

#[tokio::test]
async fn refs_leave_out_what_no_branch_leads_to() {
    let bed = &beds().await[0];
    bed.table("t", json!({})).await;
    bed.append("t", 1).await;
    bed.append("t", 2).await;
    let count = |loaded: Value| loaded["metadata"]["snapshots"].as_array().map(Vec::len);
    assert_eq!(count(bed.ask(load("t")).await), Some(2));
    for _ in 0..2 {
        assert_eq!(count(bed.ask(with_query(load("t"), "snapshots", "refs")).await), Some(1));
    }
    assert_eq!(bed.refused(with_query(load("t"), "snapshots", "some")).await.kind(), Kind::BadRequest);
}

#[tokio::test]
async fn tables_and_views_share_their_names() {
    for bed in beds().await {
        bed.table("t", json!({})).await;
        bed.ask(view("v")).await;
        let message = |error: crate::error::Error| (error.kind(), error.message().to_owned());
        let taken = |what: &str| (Kind::AlreadyExists, what.to_owned());
        assert_eq!(message(bed.refused(create("t", json!({}))).await), taken("Table already exists: n.t"));
        assert_eq!(
            message(bed.refused(create("v", json!({}))).await),
            taken("View with same name already exists: n.v")
        );
        assert_eq!(message(bed.refused(view("v")).await), taken("View already exists: n.v"));
        assert_eq!(message(bed.refused(view("t")).await), taken("Table with same name already exists: n.t"));
        assert_eq!(bed.refused(load("v")).await.kind(), Kind::NoSuchTable);
        assert_eq!(bed.refused(request(Operation::LoadView, "t", Value::Null)).await.kind(), Kind::NoSuchView);
        let rename = |from: &str, to: &str| {
            let ident = |name: &str| json!({"namespace": ["n"], "name": name});
            json!({"source": ident(from), "destination": ident(to)})
        };
        let error = bed.refused(request(Operation::RenameView, "", rename("v", "t"))).await;
        assert_eq!(message(error), taken("Cannot rename n.v to n.t. Table already exists"));
        bed.ask(request(Operation::RenameView, "", rename("v", "w"))).await;
        bed.ask(request(Operation::LoadView, "w", Value::Null)).await;
        let mut elsewhere = rename("t", "t");
        elsewhere["destination"]["namespace"] = json!(["m"]);
        let error = bed.refused(request(Operation::RenameTable, "", elsewhere)).await;
        assert_eq!(message(error), (Kind::NoSuchNamespace, "Namespace does not exist: m".to_owned()));
        bed.ask(request(Operation::DropView, "w", Value::Null)).await;
        assert_eq!(bed.refused(request(Operation::DropView, "w", Value::Null)).await.kind(), Kind::NoSuchView);
    }
}

#[tokio::test]
async fn a_table_is_unregistered_and_registered_again() {
    for bed in beds().await {
        bed.table("t", json!({})).await;
        let other = bed.ask(create("other", json!({}))).await;
        let gone = bed.ask(request(Operation::UnregisterTable, "t", Value::Null)).await;
        assert_eq!(bed.refused(load("t")).await.kind(), Kind::NoSuchTable);
        let back = bed.ask(register("t", &gone["metadata-location"], false)).await;
        assert_eq!(back["metadata"], gone["metadata"]);
        let error = bed.refused(register("t", &other["metadata-location"], false)).await;
        assert_eq!(error.kind(), Kind::AlreadyExists);
        bed.ask(register("t", &other["metadata-location"], true)).await;
        assert_eq!(bed.ask(load("t")).await["metadata"]["table-uuid"], other["metadata"]["table-uuid"]);
        let missing = bed.refused(register("x", &json!(bed.location("none.json")), false)).await;
        assert_eq!(missing.kind(), Kind::NotFound);
        let path = bed.folder.path().join("secret.json");
        std::fs::write(&path, "{\"password\": \"hunter2\"}").expect("written");
        let error = bed.refused(register("x", &json!(bed.location("secret.json")), false)).await;
        assert_eq!(error.kind(), Kind::BadRequest);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn metadata_is_packed_when_the_table_says_so() {
    let bed = &beds().await[0];
    let created = bed.ask(create("t", json!({"properties": {"write.metadata.compression-codec": "gzip"}}))).await;
    let location = created["metadata-location"].as_str().expect("a file");
    assert!(location.ends_with(".gz.metadata.json"));
    assert!(std::fs::read(&location[7..]).expect("read").starts_with(&[0x1f, 0x8b]));
    let fresh = bed.another().await.call(load("t")).await.expect("read from storage");
    let fresh: Value = serde_json::from_slice(&fresh.body).expect("JSON");
    assert_eq!(fresh["metadata"], created["metadata"]);
}

#[tokio::test]
async fn where_places_are_restricted_nothing_goes_outside() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = crate::database::DatabaseSettings::Sqlite { path: folder.path().join("lifeboat.db") };
    let bed = Bed::on(folder, &settings, true).await;
    bed.namespace("n").await;
    bed.table("t", json!({"location": format!("{}/mine", bed.warehouse())})).await;
    let outside = bed.location("elsewhere");
    for more in [json!({"location": outside}), json!({"properties": {"write.data.path": outside}})] {
        assert_eq!(bed.refused(create("u", more)).await.kind(), Kind::BadRequest);
    }
    let moved = json!({"requirements": [], "updates": [{"action": "set-location", "location": outside}]});
    assert_eq!(bed.refused(request(Operation::UpdateTable, "t", moved)).await.kind(), Kind::BadRequest);
    assert!(!bed.folder.path().join("elsewhere").exists());
}
