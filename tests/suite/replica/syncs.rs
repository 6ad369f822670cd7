//! Syncs asked for by HTTP: begun, watched, done, failed with what stayed behind, cancelled and bounded.

use std::fs;
use std::path::PathBuf;

use lifeboat::model::Role;
use lifeboat::server::ServerSettings;
use serde_json::{Value, json};

use super::primary::{Primary, Replicator};
use super::standby::{Standby, ident};
use crate::server::fake::*;

const PATH: &str = "/lifeboat/v1/syncs";

/// Believes at once what has arrived.
const TRUSTING: &str = "      confirm: trust-newest\n      settle: 0s\n      max-staleness: 0s\n      wait: 60s\n";

/// A server with the standby's catalog `dr` and one without a replica, `main`.
async fn serve(standby: &Standby, settings: ServerSettings) -> Running {
    start_many([("dr", standby.served()), ("main", plain(Fake::polite()))], settings).await
}

/// A table all of which has arrived.
fn arrive(standby: &Standby, folder: &str) {
    let mut primary = Primary::new(folder, 7);
    primary.append();
    primary.commit();
    Replicator::new(1, false).finish(&primary.files(), &standby.arrivals().join(folder));
}

/// Cuts a data file of a table; where it is, and its bytes.
fn cut(standby: &Standby, folder: &str) -> (PathBuf, Vec<u8>) {
    let data = standby.arrivals().join(folder).join("data");
    let file = fs::read_dir(data).expect("files").flatten().next().expect("one").path();
    let whole = fs::read(&file).expect("its bytes");
    fs::write(&file, &whole[..3]).expect("cut");
    (file, whole)
}

async fn post(server: &Running, body: &Value) -> Answer {
    server.send("POST", PATH, &[("Content-Type", "application/json")], &body.to_string()).await
}

/// Asks for a sync that must be taken; where it can be looked at.
async fn begin(server: &Running, body: &Value) -> String {
    let answer = post(server, body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let (status, location) = (answer.json(), answer.headers["location"].clone());
    assert_eq!((&status["state"], &status["report"]), (&json!("running"), &Value::Null));
    assert_eq!(location, format!("{PATH}/{}", status["id"].as_str().expect("an id")));
    location
}

/// Looks until something is so.
async fn when(server: &Running, location: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    within(async {
        loop {
            let status = server.ask("GET", location).await.json();
            if is_so(&status) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn end_of(server: &Running, location: &str) -> Value {
    when(server, location, |status| status["state"] != "running").await
}

/// A sync of a table of which a file is cut, which waits for the rest.
fn endless() -> Value {
    json!({"catalog": "dr", "wait-seconds": 600})
}

fn has_looked(status: &Value) -> bool {
    let progress = &status["progress"];
    progress["tables-to-do"] != 0 && progress["tables-to-do"] == progress["tables-done"]
}

#[tokio::test]
async fn what_has_arrived_is_published_and_reported() {
    let standby = Standby::start(TRUSTING).await;
    let server = serve(&standby, settings()).await;
    let status = end_of(&server, &begin(&server, &json!({"catalog": "dr"})).await).await;
    assert_eq!((&status["state"], &status["report"]["tables-count"]), (&json!("failed"), &json!(0)), "{status}");
    assert!(status["error"]["message"].as_str().is_some_and(|text| text.contains("is it mounted")), "{status}");
    for folder in ["sales/a", "sales/b", "sales/c"] {
        arrive(&standby, folder);
    }
    let named = json!({"catalog": "dr", "tables": ["sales.b"], "rebuild": true});
    let status = end_of(&server, &begin(&server, &named).await).await;
    assert_eq!(
        (&status["state"], &status["error"], &status["principal"]),
        (&json!("done"), &Value::Null, &json!("local"))
    );
    assert_eq!((&status["tables"], &status["rebuild"]), (&json!(["sales.b"]), &json!(true)));
    assert_eq!(status["progress"], json!({"tables-to-do": 1, "tables-done": 1, "published": 1}));

    let at = begin(&server, &json!({"catalog": "dr"})).await;
    let status = end_of(&server, &at).await;
    assert_eq!(status["progress"], json!({"tables-to-do": 3, "tables-done": 3, "published": 2}));
    let report = &status["report"];
    assert_eq!((&report["tables-count"], &report["level-count"]), (&json!(3), &json!(3)));
    // as the replicas' own route tells it, what was published first
    let of_report = report["tables"].as_array().expect("tables");
    let names: Vec<&Value> = of_report.iter().map(|table| &table["table"]).collect();
    assert_eq!(names, ["sales.a", "sales.c", "sales.b"]);
    let replicas = server.ask("GET", "/lifeboat/v1/replicas").await.json();
    let known = replicas["replicas"][0]["tables"].as_array().expect("tables");
    assert!(of_report.iter().all(|table| known.contains(table)), "{report} {known:?}");
    standby.load(&ident("sales/a")).await.expect("served");

    // newest first, without reports
    let list = server.ask("GET", &format!("{PATH}?limit=2")).await.json();
    let newest = list["syncs"].as_array().expect("a list");
    assert_eq!((newest.len(), &newest[0]["report"], &newest[0]["state"]), (2, &Value::Null, &json!("done")));
    assert!(at.ends_with(newest[0]["id"].as_str().expect("an id")) && list["next-page-token"] == newest[1]["id"]);
    assert_eq!(server.ask("GET", &format!("{PATH}?other=1")).await.status, 400);
}

#[tokio::test]
async fn a_sync_fails_with_what_stayed_behind() {
    let standby = Standby::start(TRUSTING).await;
    let server = serve(&standby, settings()).await;
    for folder in ["sales/a", "sales/b"] {
        arrive(&standby, folder);
    }
    let (file, whole) = cut(&standby, "sales/b");
    let status = end_of(&server, &begin(&server, &json!({"catalog": "dr"})).await).await;
    assert_eq!((&status["state"], &status["error"]["code"]), (&json!("failed"), &json!(422)), "{status}");
    let said = format!("1 of 2 tables are not level: sales.b is waiting ({} has not arrived)", file.display());
    assert_eq!(status["error"]["message"], said);
    let report = &status["report"];
    assert_eq!((&report["level-count"], &report["tables"][0]["table"]), (&json!(1), &json!("sales.b")), "{report}");
    assert_eq!(report["tables"][0]["missing"]["examples"], json!([file.to_string_lossy()]));

    // one that waits is done when the rest has come
    let at = begin(&server, &json!({"catalog": "dr", "tables": ["sales.b"], "wait-seconds": 60})).await;
    let status = when(&server, &at, has_looked).await;
    assert_eq!((&status["state"], &status["progress"]["published"]), (&json!("running"), &json!(0)), "{status}");
    fs::write(&file, &whole).expect("whole");
    let status = end_of(&server, &at).await;
    assert_eq!((&status["state"], &status["progress"]["published"]), (&json!("done"), &json!(1)), "{status}");

    let status = end_of(&server, &begin(&server, &json!({"catalog": "dr", "tables": ["sales.none"]})).await).await;
    assert_eq!((&status["state"], &status["report"]), (&json!("failed"), &Value::Null));
    assert_eq!(status["error"]["message"], "the replicated storage has no table sales.none");
}

#[tokio::test]
async fn a_wrong_request_is_told_by_its_field() {
    let standby = Standby::start(TRUSTING).await;
    let server = serve(&standby, settings()).await;
    for (body, code, said) in [
        (json!({}), 400, "missing field `catalog`"),
        (json!({"tables": ["a.b"]}), 400, "missing field `catalog`"),
        (json!({"tables": ["a.b", "b"]}), 400, "field tables[1]: \"b\" is no table's name: write namespace.table"),
        (json!({"catalog": "dr", "tables": "a.b"}), 400, "field tables: "),
        (json!({"catalog": "dr", "tables": vec!["a.b"; 1001]}), 400, "field tables: 1000 tables at most"),
        (json!({"catalog": "dr", "rebuild": 1}), 400, "field rebuild: "),
        (json!({"catalog": "dr", "wait-seconds": -1}), 400, "field wait-seconds: "),
        (json!({"catalog": "dr", "wait-seconds": 86_401}), 400, "field wait-seconds: 86400 at most"),
        (json!({"catalog": "dr", "wait_seconds": 1}), 400, "field wait_seconds: unknown field"),
        (json!({"catalog": "a/b"}), 400, "field catalog: catalog name \"a/b\" must be"),
        (json!({"catalog": "main"}), 400, "field catalog: main has no replica"),
        (json!({"catalog": "elsewhere"}), 404, "field catalog: there is no catalog elsewhere here"),
    ] {
        let answer = post(&server, &body).await;
        let message = answer.json()["error"]["message"].as_str().expect("text").to_owned();
        assert!(answer.status == code && message.contains(said), "{body}: {answer:?}");
    }
    assert_eq!(server.ask("GET", PATH).await.json()["syncs"], json!([]));
}

#[tokio::test]
async fn syncs_run_until_they_are_cancelled_and_only_so_many() {
    let standby = Standby::start(TRUSTING).await;
    let mut server = serve(&standby, settings()).await;
    arrive(&standby, "sales/a");
    cut(&standby, "sales/a");
    let first = begin(&server, &endless()).await;
    for _ in 0..3 {
        begin(&server, &endless()).await;
    }
    let answer = post(&server, &endless()).await;
    assert_eq!((answer.status, answer.error_type().as_str()), (429, "TooManyRequestsException"));
    let cancelled = server.ask("DELETE", &first).await;
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &json!("cancelled")));
    assert_eq!(server.ask("DELETE", &first).await.json()["report"], Value::Null, "again, to the same end");
    begin(&server, &endless()).await;
    for unknown in ["0199f2a4-0000-7000-8000-000000000000", "nonsense"] {
        for method in ["GET", "DELETE"] {
            let answer = server.ask(method, &format!("{PATH}/{unknown}")).await;
            assert_eq!((answer.status, answer.error_type().as_str()), (404, "NotFoundException"), "{unknown}");
        }
    }
    server.stop();
    server.ended().await.expect("it ends well, and without waiting");
}

#[tokio::test]
async fn a_request_that_is_repeated_with_its_key_is_one_sync() {
    let standby = Standby::start(TRUSTING).await;
    let chiefs = ["chief", "deputy"].map(|name| token(name, "*", Role::Operator));
    let server = serve(&standby, guarded(chiefs.into())).await;
    let ask = async |who: &str, key: &str, body: Value| {
        let headers = [("Authorization", &*bearer(who)), ("Idempotency-Key", key)];
        server.send("POST", PATH, &headers, &body.to_string()).await
    };
    let key = uuid::Uuid::now_v7().to_string();
    let body = json!({"catalog": "dr", "rebuild": true});
    let first = ask("chief", &key, body.clone()).await;
    assert_eq!(first.status, 202, "{first:?}");
    // also when it has ended, and however it is written
    within(async {
        while ask("chief", &key, body.clone()).await.json()["state"] == "running" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let again = ask("chief", &key, json!({"rebuild": true, "tables": [], "catalog": "dr"})).await;
    assert_eq!((again.status, &again.headers["location"]), (202, &first.headers["location"]));
    let other = ask("chief", &key, json!({"catalog": "dr"})).await;
    assert_eq!((other.status, other.error_type().as_str()), (422, "UnprocessableEntityException"));
    let others = ask("deputy", &key, body.clone()).await;
    assert!(others.status == 202 && others.headers["location"] != first.headers["location"], "{others:?}");
    assert_eq!(ask("chief", "not a key", body).await.status, 400);
}

#[tokio::test]
async fn only_an_operator_of_the_catalog_may_ask_and_look() {
    let standby = Standby::start(TRUSTING).await;
    let server = serve(
        &standby,
        guarded(vec![
            token("writer", "*", Role::Write),
            token("elsewhere", "main", Role::Operator),
            token("keeper", "dr", Role::Operator),
        ]),
    )
    .await;
    let ask = async |who: &str, method: &str, path: &str, body: &str| {
        server.send(method, path, &[("Authorization", &bearer(who))], body).await
    };
    let body = json!({"catalog": "dr"}).to_string();
    for who in ["writer", "elsewhere"] {
        assert_eq!(ask(who, "POST", PATH, &body).await.status, 403, "{who}");
    }
    // who may not know what catalogs there are learns nothing
    let unknown = json!({"catalog": "none"}).to_string();
    assert_eq!(ask("elsewhere", "POST", PATH, &unknown).await.status, 403);
    let begun = ask("keeper", "POST", PATH, &body).await;
    assert_eq!((begun.status, &begun.json()["principal"]), (202, &json!("keeper")));
    let at = &begun.headers["location"];
    for (who, list, one) in [("writer", 403, 403), ("elsewhere", 200, 404), ("keeper", 200, 200)] {
        assert_eq!(ask(who, "GET", PATH, "").await.status, list, "{who}");
        assert_eq!(ask(who, "GET", at, "").await.status, one, "{who}");
        assert_eq!(ask(who, "DELETE", at, "").await.status, one, "{who}");
    }
    assert_eq!(ask("elsewhere", "GET", PATH, "").await.json()["syncs"], json!([]));
    assert_eq!(ask("keeper", "GET", PATH, "").await.json()["syncs"].as_array().map(Vec::len), Some(1));
}
