//! The append call, as writers make it, and looks at landed files, as operators ask for them.

use std::path::Path;
use std::sync::Arc;

use lifeboat::app;
use lifeboat::config::{Config, Environment};
use lifeboat::server::{Served, ServedCatalog};
use parquet::data_type::Int64Type;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

use super::fake::*;

const TABLE: &str = "/v1/main/namespaces/n/tables/t";
const APPEND: &str = "/lifeboat/v1/main/namespaces/n/tables/t/append";

/// A server of an embedded catalog with one table, `n.t`, of one column.
struct Shop {
    server: Running,
    folder: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Shop {
        Shop::open_in(tempfile::tempdir().expect("a folder")).await
    }

    async fn open_in(folder: tempfile::TempDir) -> Shop {
        let is_new = !folder.path().join("c.db").exists();
        let text = format!(
            "catalogs:\n  main:\n    embedded: {{ database: 'sqlite:{0}/c.db', warehouse: 'file://{0}/w' }}\n    append:\n      \
             tables:\n        n.t: {{ from: 'file://{0}/landing', settle: 0s }}\n        n.made: {{ from: 'file://{0}/made', \
             settle: 0s, create: true }}\n      max-staleness: 0s\n      wait: 60s\n",
            folder.path().display()
        );
        let config = Config::parse(&text, &Environment::new(&|_| None, "/")).expect("a configuration");
        let app = app::build(&config).await.expect("built");
        let feeds = app.feeds(Arc::new(app::storage_of_tables(&config)));
        let catalogs = app.catalogs.into_iter().map(|(name, catalog)| {
            let served = ServedCatalog {
                stack: catalog.stack,
                separator: None,
                kind: "embedded",
                passthrough: false,
                replica: None,
                appends: catalog.appends,
                maintained: catalog.maintained,
            };
            (name, served)
        });
        let served =
            Served { catalogs: catalogs.collect(), metrics: app.metrics, relocations: no_relocations(), feeds };
        let shop = Shop { server: start_served(served, settings()).await, folder };
        if is_new {
            shop.ask("POST", "/v1/main/namespaces", json!({"namespace": ["n"]})).await.must(200);
            let location = format!("file://{}/w/n/t", shop.folder.path().display());
            let schema =
                json!({"type": "struct", "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]});
            shop.ask(
                "POST",
                "/v1/main/namespaces/n/tables",
                json!({"name": "t", "schema": schema, "location": location}),
            )
            .await
            .must(200);
        }
        shop
    }

    async fn restart(self) -> Shop {
        let Shop { server, folder } = self;
        drop(server);
        Shop::open_in(folder).await
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.ask_with(method, path, "", body).await
    }

    async fn ask_with(&self, method: &str, path: &str, key: &str, body: Value) -> Answer {
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
        let headers: Vec<_> = headers.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.server.send(method, path, &headers, &body).await
    }

    /// A file with these ids in the table's own folder; its location and size.
    fn file(&self, name: &str, ids: &[i64]) -> (String, u64) {
        let path = self.folder.path().join("w/n/t/data").join(name);
        let size = write(&path, "message m { optional int64 id; }", ids);
        (format!("file://{}", path.display()), size)
    }

    async fn metadata(&self) -> Value {
        self.ask("GET", TABLE, Value::Null).await.must(200)["metadata"].clone()
    }

    /// Rows by the summary of the newest snapshot, and how many snapshots there are.
    async fn rows(&self) -> (String, usize) {
        let metadata = self.metadata().await;
        let snapshots = metadata["snapshots"].as_array().cloned().unwrap_or_default();
        let current = snapshots.iter().find(|s| s["snapshot-id"] == metadata["current-snapshot-id"]);
        let rows = current.and_then(|s| s["summary"]["total-records"].as_str()).unwrap_or("0").to_owned();
        (rows, snapshots.len())
    }

    async fn append(&self, files: &[&str]) -> Answer {
        let files: Vec<Value> = files.iter().map(|path| json!({"path": path})).collect();
        self.ask("POST", APPEND, json!({"data-files": files})).await
    }
}

fn write(path: &Path, message: &str, ids: &[i64]) -> u64 {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let schema = Arc::new(parse_message_type(message).expect("a schema"));
    let file = std::fs::File::create(path).expect("made");
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::default())).expect("a writer");
    let mut group = writer.next_row_group().expect("a row group");
    let mut column = group.next_column().expect("a column").expect("a column");
    column.typed::<Int64Type>().write_batch(ids, Some(&vec![1; ids.len()]), None).expect("written");
    column.close().expect("closed");
    group.close().expect("closed");
    writer.close().expect("closed");
    std::fs::metadata(path).expect("is there").len()
}

#[tokio::test]
async fn files_that_a_writer_names_are_appended_once() {
    let shop = Shop::open().await;
    let (one, _) = shop.file("one.parquet", &[1, 2]);
    let answer = shop.append(&[&one]).await.must(200);
    assert_eq!((&answer["added-data-files"], &answer["already-appended"]), (&json!(1), &json!([])));
    assert_eq!(shop.metadata().await["current-snapshot-id"], answer["snapshot-id"]);
    let (two, _) = shop.file("two.parquet", &[3]);
    let other_spelling = one.replace("file://", "file:");
    let answer = shop.append(&[&other_spelling, &two]).await.must(200);
    assert_eq!((&answer["added-data-files"], &answer["already-appended"]), (&json!(1), &json!([other_spelling])));
    let answer = shop.append(&[&one, &two]).await.must(200);
    assert_eq!((&answer["added-data-files"], &answer["snapshot-id"]), (&json!(0), &Value::Null));
    assert_eq!(shop.rows().await, ("3".to_owned(), 2));
}

#[tokio::test]
async fn a_repeated_key_gets_the_first_answer_also_after_a_restart() {
    let mut shop = Shop::open().await;
    let (one, _) = shop.file("one.parquet", &[1]);
    let (two, _) = shop.file("two.parquet", &[2]);
    let key = "019a8b3c-0000-7000-8000-000000000001";
    let body = json!({"data-files": [{"path": one}]});
    let first = shop.ask_with("POST", APPEND, key, body.clone()).await.must(200);
    for _ in 0..2 {
        assert_eq!(shop.ask_with("POST", APPEND, key, body.clone()).await.must(200), first);
        shop = shop.restart().await;
    }
    let other = json!({"data-files": [{"path": two}]});
    shop.ask_with("POST", APPEND, key, body).await.must(200);
    shop.ask_with("POST", APPEND, key, other).await.must(422);
    assert_eq!(shop.rows().await, ("1".to_owned(), 1));
}

#[tokio::test]
async fn calls_that_come_together_share_commits_and_a_bad_one_is_refused_alone() {
    let shop = Shop::open().await;
    let (first, _) = shop.file("first.parquet", &[0]);
    shop.append(&[&first]).await.must(200);
    let paths: Vec<String> = (0..40).map(|at| shop.file(&format!("{at}.parquet"), &[at]).0).collect();
    let calls = paths.iter().enumerate().map(|(at, path)| {
        let mut body = json!({"data-files": [{"path": path}]});
        match at % 10 {
            3 => body["requirements"] = json!([{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 7}]),
            4 => body["data-files"][0]["path"] = json!(format!("{path}.none")),
            _ => {}
        }
        let shop = &shop;
        async move { (at % 10, shop.ask("POST", APPEND, body).await) }
    });
    for (kind, answer) in futures::future::join_all(calls).await {
        match kind {
            3 => drop(answer.must(409)),
            4 => drop(answer.must(400)),
            _ => assert_eq!(answer.must(200)["added-data-files"], 1),
        }
    }
    let (rows, snapshots) = shop.rows().await;
    assert_eq!(rows, "33");
    assert!(snapshots < 33, "{snapshots} snapshots of 33 calls");
}

#[tokio::test]
async fn what_a_writer_says_wrongly_is_named_and_nothing_of_it_committed() {
    let shop = Shop::open().await;
    let (one, size) = shop.file("one.parquet", &[5, 9]);
    let outside = shop.folder.path().join("elsewhere/x.parquet");
    write(&outside, "message m { optional int64 id; }", &[1]);
    let outside = format!("file://{}", outside.display());
    let (other, _) = shop.file("other.parquet", &[1]);
    let other_path = other.trim_start_matches("file://").to_owned();
    write(Path::new(&other_path), "message m { optional int64 more; }", &[1]);
    let file = |body: Value| json!({"data-files": [body]});
    let verified = |mut said: Value| {
        said["path"] = json!(one);
        said["file-size-in-bytes"] = json!(size);
        json!({"data-files": [said], "verify": true})
    };
    for (body, says) in [
        (file(json!({"path": outside})), "is outside of the table's places"),
        (file(json!({"path": one.replace("one", "none")})), "there is no such file"),
        (file(json!({"path": one.replace("one", "_one")})), "hidden or unfinished"),
        (file(json!({"path": one, "file-size-in-bytes": 3})), "file-size-in-bytes says 3"),
        (file(json!({"path": one, "record-count": 2})), "belong together"),
        (file(json!({"path": other})), "new column more of type long"),
        (file(json!({"path": one, "rows": 2})), "data-files[0]"),
        (json!({"data-files": []}), "1 to 10000 files"),
        (json!({"data-files": [{"path": one}, {"path": one}]}), "named twice"),
        (verified(json!({"record-count": 3})), "record-count is 3"),
        (verified(json!({"record-count": 2, "null-value-counts": {"1": 1}})), "null-value-counts of column 1 is 1"),
        (verified(json!({"record-count": 2, "lower-bounds": {"1": "0600000000000000"}})), "lower-bounds of column 1"),
        (verified(json!({"record-count": 2, "upper-bounds": {"1": "xx"}})), "is not hexadecimal"),
        (verified(json!({"record-count": 2, "partition": {"id": 1}})), "not partitioned by id"),
    ] {
        let answer = shop.ask("POST", APPEND, body.clone()).await.must(400);
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(says), "{body}: {message}");
    }
    assert_eq!(shop.rows().await, ("0".to_owned(), 0));
    let right =
        verified(json!({"record-count": 2, "value-counts": {"1": 2}, "lower-bounds": {"1": "0500000000000000"}}));
    assert_eq!(shop.ask("POST", APPEND, right).await.must(200)["added-data-files"], 1);
    shop.ask("POST", APPEND.replace("/t/", "/none/").as_str(), file(json!({"path": one}))).await.must(404);
}

#[tokio::test]
async fn a_branch_of_its_own_begins_at_the_head_of_main() {
    let shop = Shop::open().await;
    let (one, _) = shop.file("one.parquet", &[1]);
    let (two, _) = shop.file("two.parquet", &[2]);
    shop.append(&[&one]).await.must(200);
    let body = json!({"data-files": [{"path": two}], "branch": "audit"});
    let answer = shop.ask("POST", APPEND, body).await.must(200);
    let metadata = shop.metadata().await;
    assert_eq!(metadata["refs"]["audit"]["snapshot-id"], answer["snapshot-id"]);
    assert_ne!(metadata["current-snapshot-id"], answer["snapshot-id"]);
    assert_eq!(shop.rows().await, ("1".to_owned(), 2));
}

#[tokio::test]
async fn what_landed_is_there_when_the_table_is_loaded() {
    let shop = Shop::open().await;
    let landing = shop.folder.path().join("landing");
    write(&landing.join("a.parquet"), "message m { optional int64 id; }", &[1, 2]);
    std::fs::write(landing.join("b.parquet"), "not yet whole").expect("written");
    assert_eq!(shop.rows().await, ("2".to_owned(), 1));
    write(&landing.join("b.parquet"), "message m { optional int64 id; }", &[3]);
    assert_eq!(shop.rows().await, ("3".to_owned(), 2));
    assert_eq!(shop.rows().await, ("3".to_owned(), 2));
}

#[tokio::test]
async fn an_operator_asks_for_a_look_and_hears_what_is_left_out() {
    let shop = Shop::open().await;
    let made = shop.folder.path().join("made");
    write(&made.join("day=2026-11-22/a.parquet"), "message m { optional int64 id; }", &[1, 2]);
    std::fs::write(made.join("day=2026-11-22/b.parquet"), "ORC, or so it says: no Parquet").expect("written");
    let ended = |body: Value| {
        let shop = &shop;
        async move {
            let begun = shop.ask("POST", "/lifeboat/v1/appends", body).await.must(202);
            let path = format!("/lifeboat/v1/appends/{}", begun["id"].as_str().expect("an id"));
            loop {
                let seen = shop.ask("GET", &path, Value::Null).await.must(200);
                if seen["state"] != "running" {
                    return seen;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    };
    let planned = ended(json!({"catalog": "main", "tables": ["n.made"], "plan": true})).await;
    assert_eq!(planned["report"]["tables"][0]["created"], true);
    shop.ask("HEAD", "/v1/main/namespaces/n/tables/made", Value::Null).await.must(404);
    let seen = ended(json!({"catalog": "main", "tables": ["n.made"]})).await;
    let report = &seen["report"]["tables"][0];
    assert_eq!((&seen["state"], &report["appended-rows"]), (&json!("failed"), &json!(2)), "{seen}");
    assert_eq!(report["left-out-by-reason"], json!({"format": 1}));
    let landings = shop.ask("GET", "/lifeboat/v1/landings", Value::Null).await.must(200);
    assert_eq!(landings["landings"][0]["report"]["left-out"][0]["reason"], "format");
    let table = shop.ask("GET", "/v1/main/namespaces/n/tables/made", Value::Null).await.must(200);
    let spec = &table["metadata"]["partition-specs"][0]["fields"][0];
    assert_eq!((&spec["name"], &spec["transform"]), (&json!("day"), &json!("identity")));
    let wrong = shop.ask("POST", "/lifeboat/v1/appends", json!({"catalog": "main", "tables": ["n.x"]})).await.must(400);
    assert!(wrong["error"]["message"].as_str().is_some_and(|m| m.contains("no files land for n.x")), "{wrong}");
}
