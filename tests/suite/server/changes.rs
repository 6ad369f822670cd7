//! The changes of a table and the positions of its readers, as clients ask for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeboat::app;
use lifeboat::config::Config;
use lifeboat::format::manifest::{DataFile, FileContent, SnapshotIds, draft_snapshot};
use lifeboat::model::Role;
use lifeboat::server::{Served, ServedCatalog, ServerSettings};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::fake::*;

const TABLE: &str = "/lifeboat/v1/main/namespaces/n/tables/t";

/// A server of an embedded catalog with one table, `n.t`.
struct Shop {
    server: Running,
    _folder: tempfile::TempDir,
    ids: i64,
    token: String,
}

impl Shop {
    async fn open() -> Shop {
        Shop::open_with(settings(), "").await
    }

    async fn open_with(settings: ServerSettings, token: &str) -> Shop {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config::embedded(folder.path(), None).expect("a configuration");
        let app = app::build(&config).await.expect("built");
        let feeds = app.feeds(Arc::new(app::storage_of_tables(&config)));
        let catalogs = app.catalogs.into_iter().map(|(name, catalog)| {
            let served = ServedCatalog {
                stack: catalog.stack,
                separator: None,
                kind: "embedded",
                passthrough: false,
                replica: None,
                appends: None,
                maintained: catalog.maintained,
            };
            (name, served)
        });
        let served =
            Served { catalogs: catalogs.collect(), metrics: app.metrics, relocations: no_relocations(), feeds };
        let server = start_served(served, settings).await;
        let shop = Shop { server, _folder: folder, ids: 0, token: token.to_owned() };
        shop.ask("POST", "/v1/main/namespaces", json!({"namespace": ["n"]})).await.must(200);
        shop.create().await;
        shop
    }

    async fn create(&self) {
        let schema = json!({"type": "struct", "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]});
        let body = json!({"name": "t", "schema": schema});
        self.ask("POST", "/v1/main/namespaces/n/tables", body).await.must(200);
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.ask_as(method, path, &[], body).await
    }

    async fn ask_as(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let own = [("Content-Type", "application/json"), ("Authorization", self.token.as_str())];
        let own =
            own.iter().filter(|(name, value)| !value.is_empty() && headers.iter().all(|(given, _)| given != name));
        let headers: Vec<_> = own.chain(headers).copied().collect();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.server.send(method, path, &headers, &body).await
    }

    async fn changes(&self, query: &str) -> Value {
        self.ask("GET", &format!("{TABLE}/changes?{query}"), Value::Null).await.must(200)
    }

    /// Appends files in one commit; the snapshot.
    async fn append(&mut self, files: usize) -> i64 {
        let table = self.ask("GET", "/v1/main/namespaces/n/tables/t", Value::Null).await.must(200);
        let metadata = &table["metadata"];
        let location = metadata["location"].as_str().expect("a location");
        self.ids += 1;
        let ids = SnapshotIds {
            snapshot_id: self.ids,
            timestamp_ms: metadata["last-updated-ms"].as_i64().expect("a time"),
            unique: &format!("u{}", self.ids),
        };
        let of = |at| DataFile::parquet(FileContent::Data, format!("{location}/data/{}-{at}.parquet", self.ids), 1, 4);
        let files: Vec<DataFile> = (0..files).map(of).collect();
        let draft = draft_snapshot(metadata, &[], &[], ids, &files).expect("drafted");
        for (path, bytes) in draft.files {
            let path = std::path::PathBuf::from(path.strip_prefix("file://").expect("a local path"));
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, bytes).expect("written");
        }
        let body = json!({"requirements": [], "updates": [
            {"action": "add-snapshot", "snapshot": draft.snapshot},
            {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": self.ids}]});
        self.ask("POST", "/v1/main/namespaces/n/tables/t", body).await.must(200);
        self.ids
    }

    async fn commit(&self, consumer: &str, body: Value) -> Answer {
        self.ask("PUT", &format!("{TABLE}/consumers/{consumer}/position"), body).await
    }
}

fn paths(page: &Value) -> Vec<String> {
    let changes = page["changes"].as_array().expect("a list").iter();
    // every draft carries only its own manifests, so what was there before goes
    let files = changes.flat_map(|change| change["added-data-files"].as_array().expect("a list"));
    let name =
        |file: &Value| file["file-path"].as_str().expect("a path").rsplit('/').next().expect("a name").to_owned();
    files.map(name).collect()
}

#[tokio::test]
async fn a_table_is_read_page_by_page() {
    let mut shop = Shop::open().await;
    let empty = shop.changes("").await;
    assert_eq!((&empty["is-level"], empty["changes"].as_array().map(Vec::len)), (&json!(true), Some(0)));
    let (first, second) = (shop.append(3).await, shop.append(2).await);
    let mut position = empty["next-position"].as_str().expect("a position").to_owned();
    let mut found = Vec::new();
    loop {
        let page = shop.changes(&format!("position={position}&limit=2")).await;
        found.extend(paths(&page));
        position = page["next-position"].as_str().expect("a position").to_owned();
        if page["is-level"] == true {
            break;
        }
    }
    assert_eq!(found, ["1-0.parquet", "1-1.parquet", "1-2.parquet", "2-0.parquet", "2-1.parquet"]);
    let page = shop.changes(&format!("from={first}")).await;
    let change = &page["changes"][0];
    let expected = json!([second, first, "append", false, false, true]);
    let names = ["snapshot-id", "parent-snapshot-id", "operation", "is-replace", "is-base", "is-complete"];
    assert_eq!(names.map(|name| change[name].clone()).to_vec(), *expected.as_array().expect("a list"));
    let file = &change["added-data-files"][0];
    assert_eq!(
        (&file["content"], &file["record-count"], &file["sequence-number"]),
        (&json!("data"), &json!(1), &json!(2))
    );
    assert_eq!(shop.changes(&format!("to={first}")).await["is-level"], true);
    let metrics = shop.server.ask("GET", "/metrics").await.body;
    assert!(metrics.contains("lifeboat_changes_pages_total{catalog=\"main\"}"), "{metrics}");
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_refused_by_name() {
    let mut shop = Shop::open().await;
    shop.append(1).await;
    let position = shop.changes("").await["next-position"].as_str().expect("a position").to_owned();
    for (query, status, says) in [
        ("limit=0", 400, "limit must be from 1 to 10000"),
        ("limit=10001", 400, "limit must be"),
        ("wait=61s", 400, "wait must be"),
        ("wait=soon", 400, "wait must be"),
        ("skip-replace=maybe", 400, "skip-replace must be true or false"),
        ("from=x", 400, "from must be a snapshot's id"),
        ("page-token=x", 400, "there is no parameter"),
        ("from=1&to=1&branch=main", 400, "to and branch exclude each other"),
        (&*format!("from=1&position={position}"), 400, "from and position exclude each other"),
        (&*format!("position={}", &position[1..]), 400, "this is no position"),
        ("position=", 400, "this is no position"),
        ("from=77", 410, "the oldest of branch main that one can begin after is 1 of "),
        ("to=77", 404, "no snapshot 77"),
        ("branch=none", 404, "no branch"),
    ] {
        shop.ask("GET", &format!("{TABLE}/changes?{query}"), Value::Null).await.refusal(status, says);
    }
    for path in
        ["/lifeboat/v1/none/namespaces/n/tables/t/changes", "/lifeboat/v1/main/namespaces/n/tables/none/changes"]
    {
        assert_eq!(shop.ask("GET", path, Value::Null).await.status, 404, "{path}");
    }
    assert_eq!(shop.ask("POST", &format!("{TABLE}/changes"), Value::Null).await.status, 405);
    // a table that is made anew under the name has another history
    shop.ask("DELETE", "/v1/main/namespaces/n/tables/t", Value::Null).await.must(204);
    shop.create().await;
    shop.ask("GET", &format!("{TABLE}/changes?position={position}"), Value::Null)
        .await
        .refusal(400, "of another table");
}

/// Asks without anything that belongs to a test.
async fn get(address: std::net::SocketAddr, path: &str) -> Answer {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    read_answer(&mut stream).await
}

#[tokio::test]
async fn who_waits_hears_of_a_commit_at_once_and_else_of_the_end() {
    let mut shop = Shop::open().await;
    shop.append(1).await;
    let position = shop.changes("").await["next-position"].as_str().expect("a position").to_owned();
    let begun = Instant::now();
    let page = shop.changes(&format!("position={position}&wait=1s")).await;
    assert!(
        begun.elapsed() >= Duration::from_secs(1) && page["is-level"] == true && page["next-position"] == *position
    );
    let path = format!("{TABLE}/changes?position={position}&wait=60s");
    let address = shop.server.address;
    let waiting = (0..20).map(|_| {
        let path = path.clone();
        tokio::spawn(async move { (get(address, &path).await.must(200), Instant::now()) })
    });
    let waiting: Vec<_> = waiting.collect();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    shop.append(1).await;
    let committed = Instant::now();
    for reader in waiting {
        let (page, heard) = within(reader).await.expect("no panic");
        assert_eq!(paths(&page), ["2-0.parquet"]);
        assert!(heard.saturating_duration_since(committed) < Duration::from_secs(2));
    }
    // a server that stops does not hold who waits
    let position = shop.changes("").await["next-position"].as_str().expect("a position").to_owned();
    let path = format!("{TABLE}/changes?position={position}&wait=60s");
    let waiting = tokio::spawn(async move { get(address, &path).await.status });
    tokio::time::sleep(Duration::from_millis(500)).await;
    shop.server.stop();
    assert_eq!(within(waiting).await.expect("no panic"), 200);
    shop.server.ended().await.expect("it ended well");
}

#[tokio::test]
async fn positions_are_kept_by_compare_and_swap() {
    let mut shop = Shop::open().await;
    let start = shop.changes("").await["next-position"].clone();
    shop.append(2).await;
    let half = shop.changes("limit=1").await["next-position"].clone();
    let whole = shop.changes("").await["next-position"].clone();
    let path = format!("{TABLE}/consumers/etl/position");
    shop.ask("GET", &path, Value::Null).await.refusal(404, "no consumer etl");
    let first = shop.commit("etl", json!({"position": start, "expected-version": 0})).await;
    assert_eq!((first.headers["etag"].as_str(), &first.must(200)["version"]), ("\"1\"", &json!(1)));
    assert_eq!(first.json()["lag-snapshots"], 1);
    for wrong in [json!({"position": half, "expected-version": 0}), json!({"position": half, "expected-version": 2})] {
        shop.commit("etl", wrong).await.refusal(409, "is at version 1");
    }
    let put = async |header: (&str, &str), body: Value| shop.ask_as("PUT", &path, &[header], body).await;
    put(("If-None-Match", "*"), json!({"position": half})).await.refusal(409, "is at version 1");
    put(("If-Match", "\"x\""), json!({"position": half})).await.refusal(400, "If-Match");
    put(("If-Match", "\"1\""), json!({"position": half, "expected-version": 2})).await.refusal(400, "contradict");
    let second = put(("If-Match", "\"1\""), json!({"position": half, "holds-back": true})).await.must(200);
    assert_eq!(
        (&second["version"], &second["holds-back"], &second["lag-snapshots"]),
        (&json!(2), &json!(true), &json!(1))
    );
    let third = shop.commit("etl", json!({"position": whole})).await.must(200);
    assert_eq!(
        (&third["version"], &third["holds-back"], &third["lag-seconds"]),
        (&json!(3), &json!(true), &json!(0.0))
    );
    shop.commit("etl", json!({"position": half})).await.refusal(422, "say reset");
    let back = shop.commit("etl", json!({"position": half, "reset": true, "holds-back": false})).await.must(200);
    assert_eq!((&back["version"], &back["holds-back"]), (&json!(4), &json!(false)));
    for (body, says) in [
        (json!({"position": "AAAA"}), "this is no position"),
        (json!({}), "position"),
        (json!({"position": half, "more": 1}), "more"),
    ] {
        shop.commit("etl", body).await.refusal(400, says);
    }
    shop.commit("a%2Fb", json!({"position": half})).await.refusal(400, "name");
    shop.commit("etl", json!({"position": half, "branch": "none"})).await.refusal(404, "no branch");
    let metrics = shop.server.ask("GET", "/metrics").await.body;
    assert!(
        metrics.contains("lifeboat_consumer_lag_snapshots{catalog=\"main\",table=\"n.t\",consumer=\"etl\"} 1"),
        "{metrics}"
    );
    // it is the table's, whatever the table is called
    let rename = json!({"source": {"namespace": ["n"], "name": "t"}, "destination": {"namespace": ["n"], "name": "u"}});
    shop.ask("POST", "/v1/main/tables/rename", rename).await.must(204);
    let path = path.replace("/tables/t/", "/tables/u/");
    assert_eq!(shop.ask("GET", &path, Value::Null).await.must(200)["position"], half);
    let all = shop.ask("GET", "/lifeboat/v1/main/namespaces/n/tables/u/consumers", Value::Null).await.must(200);
    assert_eq!((all["consumers"].as_array().map(Vec::len), &all["consumers"][0]["name"]), (Some(1), &json!("etl")));
    shop.ask_as("DELETE", &path, &[("If-Match", "\"1\"")], Value::Null).await.refusal(409, "is at version 4");
    shop.ask("DELETE", &path, Value::Null).await.must(204);
    shop.ask("DELETE", &path, Value::Null).await.refusal(404, "no consumer");
    assert!(!shop.server.ask("GET", "/metrics").await.body.contains("consumer=\"etl\""));
}

#[tokio::test]
async fn of_racing_commits_of_a_position_one_wins_each_time() {
    let mut shop = Shop::open().await;
    shop.append(1).await;
    let position = shop.changes("").await["next-position"].clone();
    for version in 0..5 {
        let racing = (0..8).map(|_| shop.commit("etl", json!({"position": position, "expected-version": version})));
        let mut ended: Vec<u16> = futures::future::join_all(racing).await.iter().map(|answer| answer.status).collect();
        ended.sort_unstable();
        assert_eq!(ended, [200, 409, 409, 409, 409, 409, 409, 409]);
    }
    // and who does not say what it expects is not refused
    let racing = (0..8).map(|_| shop.commit("etl", json!({"position": position})));
    let ended = futures::future::join_all(racing).await;
    assert!(ended.iter().all(|answer| answer.status == 200), "{ended:?}");
    assert_eq!(shop.commit("etl", json!({"position": position})).await.must(200)["version"], 14);
}

#[tokio::test]
async fn a_reader_reads_and_only_a_writer_commits_positions() {
    let tokens = vec![
        token("reader", "main", Role::Read),
        token("writer", "main", Role::Write),
        token("other", "elsewhere", Role::Operator),
    ];
    let mut shop = Shop::open_with(guarded(tokens), &bearer("writer")).await;
    shop.append(1).await;
    let position = shop.changes("").await["next-position"].clone();
    let (changes, own) = (format!("{TABLE}/changes"), format!("{TABLE}/consumers/etl/position"));
    let ask = async |name: &str, method: &str, path: &str, body: Value| {
        shop.ask_as(method, path, &[("Authorization", &bearer(name))], body).await.status
    };
    assert_eq!(ask("reader", "GET", &changes, Value::Null).await, 200);
    assert_eq!(ask("other", "GET", &changes, Value::Null).await, 403);
    assert_eq!(ask("nobody", "GET", &changes, Value::Null).await, 401);
    assert_eq!(ask("reader", "PUT", &own, json!({"position": position})).await, 403);
    assert_eq!(ask("writer", "PUT", &own, json!({"position": position})).await, 200);
    assert_eq!(ask("reader", "GET", &own, Value::Null).await, 200);
    assert_eq!(ask("reader", "DELETE", &own, Value::Null).await, 403);
}

#[tokio::test]
async fn callers_of_an_upstream_that_judges_them_load_with_their_own_headers() {
    let metadata = json!({"table-uuid": "u", "location": "s3://l/t", "snapshots": [], "refs": {}});
    let fake = Fake::new(move |_| {
        let answer = json!({"metadata-location": "s3://l/t/m.json", "metadata": metadata});
        async move { Ok(lifeboat::upstream::Response::json(&answer)) }
    });
    let catalog = ServedCatalog { passthrough: true, kind: "rest", ..plain(fake.clone()) };
    let server = start_many([("main", catalog)], guarded(vec![token("chief", "*", Role::Operator)])).await;
    let ask = async |path: &str, authorization: &str| {
        let headers = [
            ("Authorization", authorization),
            ("Polaris-Realm", "r"),
            ("If-None-Match", "\"x\""),
            ("X-Iceberg-Access-Delegation", "vended-credentials"),
        ];
        server.send("GET", path, &headers, "").await
    };
    let changes = format!("{TABLE}/changes");
    assert_eq!(ask(&changes, &bearer("chief")).await.status, 401, "a token of ours never goes to an upstream");
    assert_eq!(ask(&changes, "").await.status, 401);
    assert_eq!(fake.count(), 0);
    assert_eq!(ask(&changes, "Bearer theirs").await.must(200)["is-level"], true);
    let asked = fake.last();
    assert_eq!((asked.header("authorization"), asked.header("polaris-realm")), (Some("Bearer theirs"), Some("r")));
    assert!(asked.header("if-none-match").is_none() && asked.header("x-iceberg-access-delegation").is_none());
    // and there is no place for positions
    ask(&format!("{TABLE}/consumers"), "Bearer theirs").await.refusal(406, "state.database");
}
