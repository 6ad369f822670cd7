//! Commits: nothing is lost, one wins, several tables change together.

use futures::future::join_all;

use super::*;

#[tokio::test]
async fn what_nobody_knows_survives_a_commit() {
    for bed in beds().await {
        let fields = r#"[{"id": 1, "name": "v", "required": false, "type": "geography-of-tomorrow", "hint": 1.50}]"#;
        let fields: Value = serde_json::from_str(fields).expect("JSON");
        let schema = json!({"schema": {"type": "struct", "fields": fields, "unheard": {"of": [1]}}});
        bed.table("t", schema).await;
        let committed = bed.ask(request(Operation::UpdateTable, "t", set("k", "v"))).await;
        let field = &committed["metadata"]["schemas"][0]["fields"][0];
        assert_eq!((&field["type"], field["hint"].to_string()), (&json!("geography-of-tomorrow"), "1.50".to_owned()));
        assert_eq!(committed["metadata"]["schemas"][0]["unheard"], json!({"of": [1]}));
        assert_eq!(committed["metadata"]["metadata-log"].as_array().map(Vec::len), Some(1));
        let file = committed["metadata-location"].as_str().expect("a file").strip_prefix("file://").expect("local");
        let stored: Value = serde_json::from_slice(&std::fs::read(file).expect("read")).expect("JSON");
        assert_eq!(stored, committed["metadata"]);
        assert_eq!(bed.ask(load("t")).await["metadata"], stored);
    }
}

#[tokio::test]
async fn of_commits_at_once_each_that_was_acknowledged_is_there() {
    const CLIENTS: i64 = 8;
    const APPENDS: i64 = 5;
    for bed in beds().await {
        bed.table("t", json!({})).await;
        let servers = [bed.catalog.clone(), bed.another().await];
        let clients = (0..CLIENTS).map(|client| {
            let (bed, server) = (&bed, &servers[client as usize % 2]);
            async move {
                for number in (1..=APPENDS).map(|n| client * APPENDS + n) {
                    loop {
                        let loaded = server.call(load("t")).await.expect("loaded");
                        let loaded: Value = serde_json::from_slice(&loaded.body).expect("JSON");
                        let (body, _) = bed.append_to(&loaded["metadata"], number);
                        match server.call(request(Operation::UpdateTable, "t", body)).await {
                            Ok(_) => break,
                            Err(error) => assert_eq!(error.kind(), Kind::CommitFailed, "{error}"),
                        }
                    }
                }
            }
        });
        join_all(clients).await;
        let metadata = bed.ask(load("t")).await["metadata"].clone();
        let mut ids: Vec<_> =
            metadata["snapshots"].as_array().expect("snapshots").iter().map(|s| s["snapshot-id"].as_i64()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (1..=CLIENTS * APPENDS).map(Some).collect::<Vec<_>>());
        assert_eq!(metadata["last-sequence-number"], json!(CLIENTS * APPENDS));
        let files = std::fs::read_dir(format!("{}/metadata", &metadata["location"].as_str().expect("text")[7..]));
        // those of lost races are gone again
        assert_eq!(files.expect("a folder").count() as i64, CLIENTS * APPENDS + 1);
    }
}

#[tokio::test]
async fn a_commit_that_asserts_nothing_that_changed_is_tried_again_for_the_client() {
    for bed in beds().await {
        bed.table("t", json!({})).await;
        let servers = [bed.catalog.clone(), bed.another().await];
        let key = |n: usize| format!("k{n}");
        let commits = (0..20).map(|n| servers[n % 2].call(request(Operation::UpdateTable, "t", set(&key(n), "v"))));
        for outcome in join_all(commits).await {
            outcome.expect("no conflict");
        }
        let properties = bed.ask(load("t")).await["metadata"]["properties"].clone();
        assert!((0..20).all(|n| properties[key(n)] == "v"), "{properties}");
    }
}

#[tokio::test]
async fn tables_of_a_transaction_change_together_or_not_at_all() {
    for bed in beds().await {
        let (one, two) = (bed.table("one", json!({})).await, bed.table("two", json!({})).await);
        let change = |name: &str, uuid: &Value| {
            let mut change = set("k", "v");
            change["identifier"] = json!({"namespace": ["n"], "name": name});
            change["requirements"] = json!([{"type": "assert-table-uuid", "uuid": uuid}]);
            change
        };
        let commit = |changes: Value| request(Operation::CommitTransaction, "", json!({"table-changes": changes}));
        let wrong = json!([change("one", &one["table-uuid"]), change("two", &one["table-uuid"])]);
        assert_eq!(bed.refused(commit(wrong)).await.kind(), Kind::CommitFailed);
        let missing = json!([change("one", &one["table-uuid"]), change("three", &one["table-uuid"])]);
        assert_eq!(bed.refused(commit(missing)).await.kind(), Kind::NoSuchTable);
        let twice = json!([change("one", &one["table-uuid"]), change("one", &one["table-uuid"])]);
        assert_eq!(bed.refused(commit(twice)).await.kind(), Kind::BadRequest);
        assert_eq!(bed.ask(load("one")).await["metadata"], one);
        let files = std::fs::read_dir(format!("{}/metadata", &one["location"].as_str().expect("text")[7..]));
        assert_eq!(files.expect("a folder").count(), 1, "files of a transaction that failed are gone again");
        bed.ask(commit(json!([change("one", &one["table-uuid"]), change("two", &two["table-uuid"])]))).await;
        for name in ["one", "two"] {
            assert_eq!(bed.ask(load(name)).await["metadata"]["properties"]["k"], "v");
        }
    }
}

#[tokio::test]
async fn a_snapshot_that_comes_too_late_is_a_conflict_and_never_given_another_number() {
    let bed = &beds().await[0];
    bed.table("t", json!({})).await;
    let metadata = bed.append("t", 1).await["metadata"].clone();
    let (first, _) = bed.append_to(&metadata, 2);
    let (mut late, _) = bed.append_to(&metadata, 3);
    bed.ask(request(Operation::UpdateTable, "t", first)).await;
    late["requirements"] = json!([]);
    assert_eq!(bed.refused(request(Operation::UpdateTable, "t", late)).await.kind(), Kind::CommitFailed);
}

#[tokio::test]
async fn a_staged_table_is_there_when_it_is_committed_and_not_before() {
    for bed in beds().await {
        let staged = bed.ask(create("t", json!({"stage-create": true}))).await;
        assert_eq!(staged["metadata-location"], Value::Null);
        assert_eq!(bed.refused(load("t")).await.kind(), Kind::NoSuchTable);
        let metadata = &staged["metadata"];
        let body = json!({"requirements": [{"type": "assert-create"}], "updates": [
            {"action": "assign-uuid", "uuid": metadata["table-uuid"]},
            {"action": "upgrade-format-version", "format-version": 2},
            {"action": "add-schema", "schema": metadata["schemas"][0], "last-column-id": 1},
            {"action": "set-current-schema", "schema-id": -1},
            {"action": "add-spec", "spec": {"spec-id": 0, "fields": []}},
            {"action": "set-default-spec", "spec-id": -1},
            {"action": "add-sort-order", "sort-order": {"order-id": 0, "fields": []}},
            {"action": "set-default-sort-order", "sort-order-id": -1},
            {"action": "set-location", "location": metadata["location"]},
        ]});
        let commit = request(Operation::UpdateTable, "t", body);
        let committed = bed.ask(commit.clone()).await;
        assert_eq!(committed["metadata"]["location"], metadata["location"]);
        let error = bed.refused(commit).await;
        assert_eq!(error.kind(), Kind::CommitFailed);
        assert_eq!(error.message(), "Requirement failed: table already exists");
    }
}

#[tokio::test]
async fn old_metadata_files_go_when_the_table_says_so() {
    let bed = &beds().await[0];
    let properties = json!({"properties": {
        "write.metadata.delete-after-commit.enabled": "true", "write.metadata.previous-versions-max": "2",
    }});
    let metadata = bed.table("t", properties).await;
    for n in 0..6 {
        bed.ask(request(Operation::UpdateTable, "t", set("k", &n.to_string()))).await;
    }
    let folder = format!("{}/metadata", &metadata["location"].as_str().expect("text")[7..]);
    let left = || std::fs::read_dir(&folder).expect("a folder").count();
    // they are deleted behind the answer
    for _ in 0..200 {
        if left() == 3 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} files are left", left());
}
