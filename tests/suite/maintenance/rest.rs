//! Maintenance asked for by HTTP: done, planned, raced, refused.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat::maintenance::Maintained;
use lifeboat::model::{CatalogName, Role};
use lifeboat::server::{Auth, Served, ServedCatalog, ServerSettings, TokenRule};
use serde_json::{Value, json};

use super::yard::{Yard, files, path, put};
use crate::server::fake::*;

const PATH: &str = "/lifeboat/v1/maintenance";

/// A server of the yard's catalog, `main`, and of one that cannot be maintained, `dr`.
async fn serve(yard: &Yard, settings: ServerSettings) -> Running {
    let catalog = yard.app.catalogs.values().next().expect("one catalog");
    let main = ServedCatalog {
        stack: yard.stack.clone(),
        separator: None,
        kind: catalog.kind,
        passthrough: false,
        replica: None,
        appends: None,
        maintained: catalog.maintained.clone(),
    };
    let standby = ServedCatalog { maintained: Maintained::No("it is a standby"), ..main.clone() };
    let name = |name: &str| CatalogName::parse(name).expect("valid");
    let served = Served {
        catalogs: [(name("main"), main), (name("dr"), standby)].into(),
        metrics: yard.app.metrics.clone(),
        relocations: no_relocations(),
        feeds: Default::default(),
    };
    start_served(served, settings).await
}

async fn post(server: &Running, token: &str, body: &Value) -> Answer {
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend((!token.is_empty()).then_some(("Authorization", token)));
    server.send("POST", PATH, &headers, &body.to_string()).await
}

/// Asks for work that must be taken, and looks until it has ended.
async fn work(server: &Running, body: &Value) -> Value {
    let answer = post(server, "", body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    within(async {
        loop {
            let status = server.ask("GET", &answer.headers["location"]).await.json();
            if status["state"] != "running" {
                return status;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

fn of(work: &str, more: Value) -> Value {
    let mut body = json!({"work": work, "catalog": "main", "table": "n.t"});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

fn warehouse(folder: &Path) -> PathBuf {
    folder.join("warehouse")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_work_is_planned_done_and_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let yard = Yard::new(folder.path()).await;
    for _ in 0..6 {
        yard.overwrite(5).await.expect("committed");
    }
    let server = serve(&yard, settings()).await;
    let before = files(&warehouse(folder.path()));
    let expiry = json!({"keep-for-seconds": 0, "keep-last": 2});
    let mut planned = of("expire-snapshots", expiry.clone());
    planned["plan"] = json!(true);
    let planned = work(&server, &planned).await;
    assert_eq!((&planned["state"], &planned["report"]["plan"]), (&json!("done"), &json!(true)), "{planned}");
    assert_eq!(files(&warehouse(folder.path())), before);
    let done = work(&server, &of("expire-snapshots", expiry)).await;
    let report = &done["report"];
    assert_eq!((&report["snapshots-expired"], &report["snapshots-kept"]), (&json!(4), &json!(2)), "{done}");
    assert_eq!((&report["files"]["data-files"], &report["files-deleted"]), (&json!(20), &json!(28)), "{done}");
    assert_eq!(report["files"], planned["report"]["files"]);
    assert_eq!(files(&warehouse(folder.path())), yard.whole().await.expect("whole"));
    assert_eq!(
        (&done["work"], &done["table"], &done["principal"]),
        (&json!("expire-snapshots"), &json!("n.t"), &json!("local"))
    );

    let location = yard.metadata().await["location"].as_str().expect("text").to_owned();
    put(&format!("{location}/data/stray.parquet"), b"x");
    let all = json!({"older-than-seconds": 0, "allow-young": true});
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let found = work(&server, &of("remove-orphans", all.clone())).await;
    assert_eq!(found["report"]["orphans"]["examples"], json!([format!("{location}/data/stray.parquet")]), "{found}");
    assert!(path(&format!("{location}/data/stray.parquet")).exists());
    let mut delete = of("remove-orphans", all);
    delete["delete"] = json!(true);
    assert_eq!(work(&server, &delete).await["report"]["files-deleted"], 1);
    assert_eq!(files(&warehouse(folder.path())), yard.whole().await.expect("whole"));

    let compaction = work(&server, &of("compact", json!({}))).await;
    assert_eq!(
        (&compaction["report"]["due"], &compaction["report"]["files"]),
        (&json!(true), &json!(5)),
        "{compaction}"
    );
    assert_eq!(compaction["report"]["sql"], "CALL main.system.rewrite_data_files(table => '`n`.`t`')");

    let list = server.ask("GET", &format!("{PATH}?limit=2")).await.json();
    let jobs = list["maintenance"].as_array().expect("a list");
    assert_eq!((jobs.len(), &jobs[0]["work"], &jobs[0]["report"]), (2, &json!("compact"), &Value::Null));
    assert_eq!(list["next-page-token"], jobs[1]["id"]);
    let metrics = server.ask("GET", "/metrics").await.body;
    assert!(
        metrics.contains(r#"lifeboat_maintenance_files_total{catalog="main",work="expire-snapshots"} 28"#),
        "{metrics}"
    );

    let dropped = work(&server, &of("drop", json!({"purge": true}))).await;
    assert_eq!((&dropped["state"], &dropped["report"]["dropped"]), (&json!("done"), &json!(true)), "{dropped}");
    let gone = work(&server, &of("drop", json!({}))).await;
    assert_eq!((&gone["state"], &gone["error"]["code"]), (&json!("failed"), &json!(404)), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let yard = Yard::new(folder.path()).await;
    let server = serve(&yard, settings()).await;
    for (body, says) in [
        (of("vacuum", json!({})), "work"),
        (of("expire-snapshots", json!({"keep-last": -1})), "field keep-last"),
        (of("expire-snapshots", json!({"keep-for-seconds": u64::MAX})), "field keep-for-seconds"),
        (of("expire-snapshots", json!({"delete": true})), "field delete: it is of no meaning to expire-snapshots"),
        (of("drop", json!({"plan": true})), "field plan: it is of no meaning to drop"),
        (of("remove-orphans", json!({"older-than-seconds": 3600})), "field older-than-seconds"),
        (of("remove-orphans", json!({"older": 3600})), "older"),
        (of("compact", json!({"table": "t"})), "field table"),
        (of("compact", json!({"catalog": "dr"})), "cannot be maintained here: it is a standby"),
        (json!({"work": "compact", "catalog": "main"}), "table"),
    ] {
        let answer = post(&server, "", &body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        let message = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
        assert!(message.contains(says), "{body}: {message}");
    }
    assert_eq!(post(&server, "", &of("compact", json!({"catalog": "other"}))).await.status, 404);
    let missing = work(&server, &of("compact", json!({"table": "n.other"}))).await;
    assert_eq!((&missing["state"], &missing["error"]["code"]), (&json!("failed"), &json!(404)), "{missing}");
    assert_eq!(server.ask("GET", &format!("{PATH}/{}", uuid::Uuid::now_v7())).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_of_the_catalog_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let yard = Yard::new(folder.path()).await;
    let rule = |name: &str, catalog: &str, role| {
        TokenRule::new(name, &format!("secret-of-{name}"), [(catalog.to_owned(), role)].into()).expect("a rule")
    };
    let rules = vec![
        rule("chief", "main", Role::Operator),
        rule("writer", "main", Role::Write),
        rule("other", "dr", Role::Operator),
    ];
    let server = serve(&yard, ServerSettings { auth: Auth::Tokens(rules), ..settings() }).await;
    for (who, status) in [("chief", 202), ("writer", 403), ("other", 403), ("nobody", 401)] {
        let answer = post(&server, &format!("Bearer secret-of-{who}"), &of("compact", json!({}))).await;
        assert_eq!(answer.status, status, "{who}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_race_with_expiries_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let yard = Arc::new(Yard::new(folder.path()).await);
    let server = serve(&yard, settings()).await;
    yard.overwrite(2).await.expect("committed");
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let yard = yard.clone();
            tokio::spawn(async move {
                let mut ids = Vec::new();
                for _ in 0..12 {
                    ids.push(yard.overwrite(3).await.expect("committed"));
                }
                ids
            })
        })
        .collect();
    let mut expired = 0;
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let done = work(&server, &of("expire-snapshots", json!({"keep-for-seconds": 0, "keep-last": 3}))).await;
        // one that others always come before says so
        assert!(done["state"] == "done" || done["error"]["code"] == 409, "{done}");
        expired += done["report"]["snapshots-expired"].as_u64().unwrap_or(0);
        yard.whole().await.ok();
    }
    let mut ids = BTreeSet::new();
    for writer in writers {
        ids.extend(writer.await.expect("no panic"));
    }
    let done = work(&server, &of("expire-snapshots", json!({"keep-for-seconds": 0, "keep-last": 3}))).await;
    assert_eq!(done["state"], "done", "{done}");
    expired += done["report"]["snapshots-expired"].as_u64().expect("a number");
    assert_eq!((ids.len(), expired), (36, 34), "every commit landed, and every one but the last three expired");
    let reached = yard.whole().await.expect("whole");
    // what a writer wrote for an attempt that lost is nobody's, and stays for remove-orphans
    assert!(reached.is_subset(&files(&warehouse(folder.path()))) && reached.len() == 3 * 5);
}
