//! Relocations asked for by HTTP: begun, watched, done, failed, cancelled, bounded and forgotten.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeboat::error::{Error, Kind, Result};
use lifeboat::jobs::{RelocationJobs, RelocationLimits, Relocations};
use lifeboat::model::{CatalogName, Operation, Role};
use lifeboat::server::{Served, ServerSettings};
use lifeboat::storage::{Location, Storage};
use lifeboat::telemetry::Metrics;
use lifeboat::upstream::{Catalog, Response};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::fake::*;
use crate::hammer::audit;
use crate::harbour::{self, VOYAGES_FILES};

const PATH: &str = "/lifeboat/v1/relocations";

/// Limits that no test meets by chance.
fn limits() -> RelocationLimits {
    RelocationLimits { running_max: 8, finished_max: 100, finished_kept: Duration::from_secs(3600) }
}

/// A server that may relocate what is in these folders; `stack` is its catalog `main`.
async fn serve(
    stack: Arc<dyn Catalog>,
    roots: &[&Path],
    limits: RelocationLimits,
    settings: ServerSettings,
) -> Running {
    let roots = roots.iter().map(|root| Location::new(format!("file://{}", root.display()))).collect();
    let storage = Arc::new(Storage::new(Vec::new()).with_local_roots(roots));
    let main = CatalogName::parse("main").expect("valid");
    let relocations = Relocations::new(storage, [(main.clone(), stack)].into());
    let relocations = RelocationJobs::new(relocations, limits);
    let served = Served {
        catalogs: [(main, plain(Fake::polite()))].into(),
        metrics: Metrics::new(),
        relocations,
        feeds: Default::default(),
    };
    start_served(served, settings).await
}

/// A catalog that never answers: a relocation of its table runs until it is cancelled.
fn silent() -> Arc<Fake> {
    Fake::new(|_| std::future::pending::<Result<Response>>())
}

fn endless() -> Value {
    json!({"source": "main.n.t", "map": [{"from": "s3://a", "to": "s3://b"}]})
}

async fn post(server: &Running, body: &Value) -> Answer {
    server.send("POST", PATH, &[("Content-Type", "application/json")], &body.to_string()).await
}

/// Asks for a relocation that must be taken; where it can be looked at.
async fn begin(server: &Running, body: &Value) -> String {
    let answer = post(server, body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let status = answer.json();
    assert_eq!(status["state"], "running");
    let location = answer.headers["location"].clone();
    assert_eq!(location, format!("{PATH}/{}", status["id"].as_str().expect("an id")));
    location
}

/// Looks until it has ended.
async fn end_of(server: &Running, location: &str) -> Value {
    within(async {
        loop {
            let status = server.ask("GET", location).await.json();
            if status["state"] != "running" {
                return status;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn ids(server: &Running, query: &str) -> (Vec<String>, Option<String>) {
    let list = server.ask("GET", &format!("{PATH}{query}")).await.json();
    let ids =
        list["relocations"].as_array().expect("a list").iter().map(|one| one["id"].as_str().expect("text").into());
    (ids.collect(), list["next-page-token"].as_str().map(str::to_owned))
}

/// A table at `prod`, its copy at `dr`.
struct Bed {
    folder: tempfile::TempDir,
    stack: Arc<dyn Catalog>,
    source: String,
}

impl Bed {
    async fn new() -> Bed {
        let folder = tempfile::tempdir().expect("a folder");
        let app = harbour::fill(&folder.path().join("prod")).await;
        let source = harbour::metadata_location(&app, "voyages").await;
        let stack = app.catalogs.into_values().next().expect("one catalog").stack;
        let copied =
            std::process::Command::new("cp").arg("-a").args(["prod", "dr"]).current_dir(folder.path()).status();
        assert!(copied.expect("cp is there").success());
        Bed { folder, stack, source }
    }

    fn at(&self, below: &str) -> String {
        format!("file://{}/{below}", self.folder.path().display())
    }

    /// The copy is relocated into an overlay.
    fn request(&self) -> Value {
        json!({
            "source": self.source.replace("/prod/", "/dr/"),
            "map": [{"from": self.at("prod"), "to": self.at("dr")}],
            "into": self.at("dr/overlay"),
            "check": true,
        })
    }
}

#[tokio::test]
async fn a_table_is_relocated_and_registered_and_a_second_request_finds_all_done() {
    let bed = Bed::new().await;
    let server = serve(bed.stack.clone(), &[bed.folder.path()], limits(), settings()).await;
    let mut request = bed.request();
    request["register"] = "main.harbour.voyages_at_dr".into();
    let status = end_of(&server, &begin(&server, &request).await).await;
    assert_eq!((&status["state"], &status["error"]), (&json!("done"), &Value::Null), "{status}");
    assert_eq!((&status["source"], &status["principal"]), (&request["source"], &json!("local")));
    let (progress, report) = (&status["progress"], &status["report"]);
    assert_eq!(report["registered"], "main.harbour.voyages_at_dr");
    assert_eq!((&report["missing-files"]["count"], &report["copy-plan"]), (&json!(0), &Value::Null));
    assert_eq!((&progress["bytes-done"], &progress["seconds-left"]), (&progress["bytes-to-do"], &Value::Null));
    assert!(progress["bytes-done"].as_u64() > Some(0) && progress["files-done"].as_u64() > Some(0), "{progress}");
    std::fs::rename(bed.folder.path().join("prod/warehouse"), bed.folder.path().join("lost")).expect("it is lost");
    let relocated = report["metadata-location"].as_str().and_then(|at| at.strip_prefix("file://")).expect("a file");
    let metadata = serde_json::from_slice(&std::fs::read(relocated).expect("it is there")).expect("JSON");
    assert_eq!(audit::whole(&metadata, &mut audit::Known::default()), Ok(VOYAGES_FILES as usize));

    let status = end_of(&server, &begin(&server, &bed.request()).await).await;
    assert_eq!((&status["state"], &status["report"]["files"]["written"]), (&json!("done"), &json!(0)), "{status}");
}

#[tokio::test]
async fn a_relocation_fails_with_what_is_missing_and_where() {
    let bed = Bed::new().await;
    let server = serve(bed.stack.clone(), &[bed.folder.path()], limits(), settings()).await;
    let data = Path::new(&bed.source.replace("/prod/", "/dr/")[7..]).with_file_name("../data");
    let file = std::fs::read_dir(data).expect("a folder").next().expect("a file").expect("an entry").path();
    std::fs::remove_file(file).expect("it is there");
    let mut request = bed.request();
    request["register"] = "main.harbour.never".into();
    let status = end_of(&server, &begin(&server, &request).await).await;
    assert_eq!((&status["state"], &status["report"]["missing-files"]["count"]), (&json!("failed"), &json!(1)));
    assert_eq!((&status["report"]["registered"], &status["error"]["code"]), (&Value::Null, &json!(422)));
    assert_eq!(status["error"]["message"], "1 files are missing, so nothing was registered: copy them and ask again");

    request["source"] = bed.at("dr/none/metadata/00000-a.metadata.json").into();
    let status = end_of(&server, &begin(&server, &request).await).await;
    assert_eq!((&status["state"], &status["report"]), (&json!("failed"), &Value::Null));
    assert_eq!((&status["error"]["code"], &status["error"]["type"]), (&json!(404), &json!("NotFoundException")));
    let message = status["error"]["message"].as_str().expect("text");
    assert!(message.contains("dr/none/metadata/00000-a.metadata.json"), "{message}");
}

#[tokio::test]
async fn a_local_folder_that_the_configuration_does_not_name_is_closed() {
    let bed = Bed::new().await;
    let dr = bed.folder.path().join("dr");
    let server = serve(bed.stack.clone(), &[&dr], limits(), settings()).await;
    for (field, outside) in
        [("source", bed.source.clone()), ("source", "/etc".into()), ("into", bed.at("overlay")), ("into", "/".into())]
    {
        let mut request = bed.request();
        request[field] = outside.into();
        let answer = post(&server, &request).await;
        assert_eq!((answer.status, answer.error_type().as_str()), (403, "ForbiddenException"), "{request}");
        assert!(answer.body.contains("under `storage`"), "{answer:?}");
    }
    // nor does a way lead there through what the metadata names
    let mut request = bed.request();
    request["read"] = "source".into();
    let status = end_of(&server, &begin(&server, &request).await).await;
    assert_eq!((&status["state"], &status["error"]["type"]), (&json!("failed"), &json!("ForbiddenException")));
    assert_eq!(end_of(&server, &begin(&server, &bed.request()).await).await["state"], "done");
}

#[tokio::test]
async fn a_wrong_request_is_told_by_its_field() {
    let server = serve(silent(), &[], limits(), settings()).await;
    let pair = json!({"from": "s3://a", "to": "s3://b"});
    for (change, said) in [
        (json!({"map": [pair, {"from": "s3://c"}]}), "field map[1]: missing field `to`"),
        (json!({"map": [{"from": "s3://a", "to": "s3://b", "too": 1}]}), "field map[0]: unknown field `too`"),
        (json!({"map": "s3://a=s3://b"}), "field map: "),
        (json!({"since": "1"}), "field since: "),
        (json!({"read": "both"}), "field read: unknown variant `both`"),
        (json!({"refs_only": true}), "field refs_only: unknown field"),
        (json!({"path-properties": ["a", 1]}), "field path-properties[1]: "),
        (json!({"map": []}), "map is empty"),
        (json!({"map": [pair, pair]}), "ambiguous"),
        (json!({"refs-only": true, "since": 1}), "exclude each other"),
        (json!({"source": ""}), "name a source"),
        (json!({"source": "main.t"}), "catalog.namespace.table"),
        (json!({"source": "a/b"}), "neither absolute"),
        (json!({"source": "gs://a/b"}), "gs"),
        (json!({"register": "main"}), "catalog.namespace.table"),
    ] {
        let mut request = endless();
        request.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let answer = post(&server, &request).await;
        assert_eq!((answer.status, answer.error_type().as_str()), (400, "BadRequestException"), "{request}");
        let message = answer.json()["error"]["message"].as_str().expect("text").to_owned();
        assert!(message.contains(said), "{message}");
    }
    let send = async |headers: &[(&str, &str)], body: &str| server.send("POST", PATH, headers, body).await.status;
    for body in ["", "[]", "{", "{\"source\": \"a\", \"source\": \"b\"}"] {
        assert_eq!(send(&[], body).await, 400, "{body}");
    }
    assert_eq!(send(&[("Content-Type", "text/plain")], "{}").await, 415);
    let large = json!({"source": "x".repeat(300 << 10)}).to_string();
    assert_eq!(send(&[], &large).await, 413);
    let mut request = endless();
    request["register"] = "elsewhere.n.t".into();
    assert_eq!(post(&server, &request).await.status, 404);
    assert_eq!(ids(&server, "").await.0.len(), 0);
}

#[tokio::test]
async fn relocations_run_until_they_are_cancelled_and_only_so_many() {
    let few = RelocationLimits { running_max: 2, ..limits() };
    let server = serve(silent(), &[], few, settings()).await;
    let first = begin(&server, &endless()).await;
    let second = begin(&server, &endless()).await;
    let answer = post(&server, &endless()).await;
    assert_eq!((answer.status, answer.error_type().as_str()), (429, "TooManyRequestsException"));
    assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    assert_eq!(server.ask("GET", &first).await.json()["state"], "running");

    let cancelled = server.ask("DELETE", &first).await;
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &json!("cancelled")));
    assert_eq!(server.ask("DELETE", &first).await.json()["state"], "cancelled", "again, to the same end");
    assert_eq!(server.ask("GET", &first).await.json()["report"], Value::Null);
    let third = begin(&server, &endless()).await;
    for unknown in ["0199f2a4-0000-7000-8000-000000000000", "nonsense", "%2e%2e"] {
        for method in ["GET", "DELETE"] {
            let answer = server.ask(method, &format!("{PATH}/{unknown}")).await;
            assert_eq!((answer.status, answer.error_type().as_str()), (404, "NotFoundException"), "{unknown}");
        }
    }
    assert_eq!(server.ask("PUT", &first).await.status, 405);

    // newest first, a page at a time
    let newest_first = [&third, &second, &first].map(|at| at.rsplit('/').next().expect("an id").to_owned());
    assert_eq!(ids(&server, "").await, (newest_first.to_vec(), None));
    let (page, token) = ids(&server, "?limit=2").await;
    assert_eq!((page.as_slice(), token.as_ref()), (&newest_first[..2], Some(&newest_first[1])));
    let (page, token) = ids(&server, &format!("?limit=2&page-token={}", newest_first[1])).await;
    assert_eq!((page.as_slice(), token), (&newest_first[2..], None));
    for wrong in ["?limit=0", "?limit=1001", "?limit=x", "?page-token=1", "?other=1"] {
        assert_eq!(server.ask("GET", &format!("{PATH}{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_server_that_stops_cancels_what_runs() {
    let mut server = serve(silent(), &[], limits(), settings()).await;
    begin(&server, &endless()).await;
    server.stop();
    server.ended().await.expect("it ends well, and without waiting");
}

#[tokio::test]
async fn finished_ones_are_forgotten_after_a_while_and_when_there_are_many() {
    let failing = || Fake::new(|_| async { Ok(Response::json(&json!({}))) });
    let briefly = RelocationLimits { finished_kept: Duration::ZERO, ..limits() };
    let server = serve(failing(), &[], briefly, settings()).await;
    let gone = begin(&server, &endless()).await;
    within(async {
        while server.ask("GET", &gone).await.status != 404 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let few = RelocationLimits { finished_max: 1, ..limits() };
    let server = serve(failing(), &[], few, settings()).await;
    let first = begin(&server, &endless()).await;
    assert_eq!(end_of(&server, &first).await["error"]["message"], "main.n.t has no metadata-location");
    let second = begin(&server, &endless()).await;
    assert_eq!(end_of(&server, &second).await["state"], "failed");
    assert_eq!((server.ask("GET", &first).await.status, server.ask("GET", &second).await.status), (404, 200));
}

#[tokio::test]
async fn a_registration_that_has_begun_is_not_cut_off() {
    let bed = Bed::new().await;
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (reached.clone(), go_on.clone());
    let slow = Fake::new(move |request| {
        let (tell, wait) = (tell.clone(), wait.clone());
        async move {
            if request.operation == Operation::LoadTable {
                return Err(Error::new(Kind::NoSuchTable, "none of that name"));
            }
            assert_eq!(request.operation, Operation::RegisterTable);
            tell.notify_one();
            wait.notified().await;
            Ok(Response::json(&json!({})))
        }
    });
    let server = serve(slow, &[bed.folder.path()], limits(), settings()).await;
    let mut request = bed.request();
    request["register"] = "main.harbour.there".into();
    let at = begin(&server, &request).await;
    within(reached.notified()).await;
    let cancel = server.ask("DELETE", &at);
    tokio::pin!(cancel);
    // the question is on its way and has no answer, while others have
    tokio::select! {
        answer = &mut cancel => panic!("it was cut off: {answer:?}"),
        status = async { server.ask("GET", &at).await.json() } => assert_eq!(status["state"], "running"),
    }
    go_on.notify_one();
    let status = cancel.await.json();
    assert_eq!((&status["state"], &status["report"]["registered"]), (&json!("done"), &json!("main.harbour.there")));
}

#[tokio::test]
async fn a_table_that_is_registered_already_is_moved_on_and_another_one_of_its_name_is_left_alone() {
    let bed = Bed::new().await;
    let uuid = Arc::new(std::sync::Mutex::new("another".to_owned()));
    let (there, registered) = (uuid.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let bodies = registered.clone();
    let fake = Fake::new(move |request| {
        let answer = match request.operation {
            Operation::LoadTable => {
                let uuid = there.lock().expect("a uuid").clone();
                json!({"metadata-location": "s3://b/old.metadata.json", "metadata": {"table-uuid": uuid}})
            }
            _ => {
                bodies.lock().expect("bodies").push(request.json().expect("JSON"));
                json!({})
            }
        };
        async move { Ok(Response::json(&answer)) }
    });
    let server = serve(fake, &[bed.folder.path()], limits(), settings()).await;
    let mut request = bed.request();
    request["register"] = "main.harbour.there".into();
    let refused = end_of(&server, &begin(&server, &request).await).await;
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(message.contains("is another table") && registered.lock().expect("bodies").is_empty(), "{message}");
    request["register"] = Value::Null;
    let report = end_of(&server, &begin(&server, &request).await).await;
    *uuid.lock().expect("a uuid") = report["report"]["table-uuid"].as_str().expect("a uuid").to_owned();
    request["register"] = "main.harbour.there".into();
    assert_eq!(end_of(&server, &begin(&server, &request).await).await["state"], "done");
    assert_eq!(registered.lock().expect("bodies")[0]["overwrite"], true);
}

#[tokio::test]
async fn only_an_operator_of_everything_may_ask_and_look() {
    let tokens = vec![token("writer", "*", Role::Write), token("main", "main", Role::Operator)];
    let chief = token("chief", "*", Role::Operator);
    let server = serve(silent(), &[], limits(), guarded(tokens.into_iter().chain([chief]).collect())).await;
    let ask = async |who: &str, method: &str, path: &str, body: &str| {
        server.send(method, path, &[("Authorization", &bearer(who))], body).await
    };
    let body = endless().to_string();
    for who in ["writer", "main"] {
        assert_eq!(ask(who, "POST", PATH, &body).await.status, 403, "{who}");
    }
    let begun = ask("chief", "POST", PATH, &body).await;
    assert_eq!((begun.status, &begun.json()["principal"]), (202, &json!("chief")));
    let at = &begun.headers["location"];
    for who in ["writer", "main"] {
        for (method, path) in [("GET", PATH), ("GET", at.as_str()), ("DELETE", at.as_str())] {
            assert_eq!(ask(who, method, path, "").await.status, 403, "{who} {method} {path}");
        }
    }
    assert_eq!(ask("chief", "DELETE", at, "").await.json()["state"], "cancelled");
}
