//! What passes through, and under which name.

use super::*;
use crate::error::Kind;
use crate::upstream::Catalog;

#[tokio::test]
async fn names_arrive_as_the_upstream_writes_them() {
    let fake = Fake::start(&full_config(), |_| Reply::json(200, "{}")).await;
    let upstream = upstream(&fake);
    let mut load = request(Operation::LoadTable, table(), "");
    load.query = vec![
        ("snapshots".into(), "refs".into()),
        ("warehouse".into(), "lake".into()),
        ("referenced-by".into(), "a\u{1f}v".into()),
        ("x".into(), "a b&c".into()),
    ];
    upstream.call(load).await.expect("answered");
    let mut list = request(Operation::ListNamespaces, Target::Catalog, "");
    list.query = vec![("parent".into(), "a\u{1f}b".into()), ("pageToken".into(), "".into())];
    upstream.call(list).await.expect("answered");
    let paths: Vec<_> = fake.seen().into_iter().map(|s| s.path).collect();
    assert_eq!(
        paths,
        [
            "/iceberg/v1/main%7Cwh/namespaces/a%2Eb/tables/t?snapshots=refs&referenced-by=a.v&x=a%20b%26c",
            "/iceberg/v1/main%7Cwh/namespaces?parent=a.b&pageToken=",
        ]
    );
}

#[tokio::test]
async fn only_headers_meant_for_the_catalog_pass() {
    let fake = Fake::start(&full_config(), |_| {
        let headers =
            [("etag", "\"e\""), ("set-cookie", "c=1"), ("retry-after", "7"), ("x-iceberg-new", "n"), ("via", "1.1 x")];
        Reply::Answer(200, headers.map(|(k, v)| (k, v.to_owned())).to_vec(), "{}".into())
    })
    .await;
    let mut load = request(Operation::LoadTable, table(), "");
    for (name, value) in [
        ("authorization", "Bearer client"),
        ("cookie", "c=1"),
        ("host", "us"),
        ("x-iceberg-access-delegation", "vended-credentials"),
        ("x-client-version", "1.11"),
        ("if-none-match", "\"e\""),
        ("idempotency-key", "k"),
        ("user-agent", "engine"),
        ("accept-encoding", "gzip"),
    ] {
        load = with_header(load, name, value);
    }
    let response = upstream(&fake).call(load).await.expect("answered");
    let up = &fake.seen()[0].headers;
    for name in ["x-iceberg-access-delegation", "x-client-version", "if-none-match", "idempotency-key", "user-agent"] {
        assert!(up.contains_key(name), "{name}");
    }
    assert!(!up.contains_key("authorization") && !up.contains_key("cookie"));
    assert_ne!(up["host"], "us");
    assert_eq!(up["accept-encoding"], "identity");
    assert_eq!(up["x-request-id"], "r-1");
    let mut down: Vec<_> = response.headers.keys().map(|k| k.as_str()).collect();
    down.sort_unstable();
    assert_eq!(down, ["etag", "retry-after", "x-iceberg-new"]);
}

#[tokio::test]
async fn what_is_not_known_passes_byte_for_byte() {
    let body = "{\"metadata\" :{\"new\":1.50e3,\"snapshots\":[ ], \"a\":\"\\u00e9\"},\n\"config\":{\"s3.endpoint\":\"x\"},\"later\":[1]}";
    let fake = Fake::start(&full_config(), move |_| Reply::json(201, body)).await;
    let up = upstream(&fake);
    let sent = "{ \"name\":\"t\", \"unheard-of\": 1e2 }";
    let create = request(Operation::CreateTable, Target::Namespace(namespace(&["a"])), sent);
    let response = up.call(create).await.expect("created");
    assert_eq!((response.status.as_u16(), text(&response)), (200, body));
    assert_eq!(fake.seen()[0].body, sent);
}

#[tokio::test]
async fn what_the_upstream_does_not_advertise_is_not_asked() {
    let config = r#"{"endpoints":["GET /v1/{prefix}/namespaces/{namespace}/tables/{table}","GET /v1/{prefix}/namespaces","GET /new"]}"#;
    let fake = Fake::start(config, |s| match s.path.contains("gone") {
        true => Reply::error(404, "NoSuchTableException"),
        false => Reply::json(200, "{}"),
    })
    .await;
    let up = upstream(&fake);
    let error = up.call(request(Operation::CommitTransaction, Target::Catalog, "{}")).await.expect_err("not served");
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(up.call(request(Operation::LoadView, table(), "")).await.is_err());
    assert!(fake.seen().is_empty());

    // a HEAD is answered by loading
    assert_eq!(up.call(request(Operation::TableExists, table(), "")).await.expect("there").status, 204);
    let gone = Target::Object(Ident::new(namespace(&["a"]), "gone").expect("valid"));
    assert_eq!(up.call(request(Operation::TableExists, gone, "")).await.expect("told").status, 404);
    assert!(fake.seen().iter().all(|s| s.method == "GET" && s.path.ends_with("?snapshots=refs")));
    assert_eq!(up.call(request(Operation::ViewExists, table(), "")).await.expect_err("none").kind(), Kind::Unsupported);

    let config = up.call(request(Operation::GetConfig, Target::Catalog, "")).await.expect("ours").body;
    let config: serde_json::Value = serde_json::from_slice(&config).expect("json");
    let lines: Vec<_> = config["endpoints"].as_array().expect("a list").iter().filter_map(|l| l.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/{prefix}/namespaces",
            "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
            "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
        ]
    );
}

#[tokio::test]
async fn heads_and_empty_answers_pass() {
    let fake = Fake::start(&full_config(), |s| match (s.method.as_str(), s.path.contains("gone")) {
        ("HEAD", true) => Reply::Answer(404, vec![], String::new()),
        _ => Reply::Answer(204, vec![], String::new()),
    })
    .await;
    let up = upstream(&fake);
    assert_eq!(up.call(request(Operation::TableExists, table(), "")).await.expect("there").status, 204);
    let gone = Target::Object(Ident::new(namespace(&["a"]), "gone").expect("valid"));
    assert_eq!(up.call(request(Operation::TableExists, gone, "")).await.expect("told").status, 404);
    assert_eq!(up.call(request(Operation::DropTable, table(), "")).await.expect("dropped").status, 204);
    let plan = Target::Plan(Ident::new(namespace(&["a"]), "t").expect("valid"), "p/1".into());
    up.call(request(Operation::CancelPlanning, plan, "")).await.expect("cancelled");
    assert_eq!(fake.seen()[3].path, "/iceberg/v1/main%7Cwh/namespaces/a/tables/t/plan/p%2F1");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_taken() {
    let fake = Fake::start(&full_config(), |_| Reply::json(200, " ".repeat(2000))).await;
    let mut settings = settings(&fake);
    settings.answer_bytes_max = 1500;
    let up = RestUpstream::new(settings).expect("valid");
    let error = up.call(request(Operation::LoadTable, table(), "")).await.expect_err("too large");
    assert_eq!(error.kind(), Kind::BadUpstream);
}

#[tokio::test]
async fn the_config_is_asked_once_with_the_warehouse_and_again_when_it_is_old() {
    let fake = Fake::start(&full_config(), |_| Reply::json(200, "{}")).await;
    let mut settings = settings(&fake);
    settings.warehouse = Some("s3://w/ä".into());
    let up = RestUpstream::new(settings.clone()).expect("valid");
    for _ in 0..3 {
        up.call(request(Operation::LoadTable, table(), "")).await.expect("answered");
    }
    let configs: Vec<_> = fake.all().into_iter().filter(|s| s.path.contains("/v1/config")).collect();
    assert_eq!(configs.len(), 1);
    assert_eq!(configs[0].path, "/iceberg/v1/config?warehouse=s3%3A%2F%2Fw%2F%C3%A4");
    settings.config_refresh = std::time::Duration::ZERO;
    let up = RestUpstream::new(settings).expect("valid");
    for _ in 0..3 {
        up.call(request(Operation::LoadTable, table(), "")).await.expect("answered");
    }
    assert_eq!(fake.all().iter().filter(|s| s.path.contains("/v1/config")).count(), 4);
    up.ready().await.expect("reachable");
}
