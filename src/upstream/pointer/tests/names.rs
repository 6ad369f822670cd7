//! Names: namespaces and their properties, paging, and names that would lead elsewhere.

use super::*;
use crate::model::{Ident, Namespace};
use crate::upstream::{Request, Target};

fn about(operation: Operation, levels: &[&str], body: Value) -> Request {
    let namespace = Namespace::new(levels.iter().map(|level| (*level).to_owned()).collect()).expect("valid");
    Request { target: Target::Namespace(namespace), ..request(operation, "", body) }
}

#[tokio::test]
async fn namespaces_nest() {
    for bed in beds().await {
        let body = json!({"namespace": ["a", "b.c", "d"], "properties": {"k": "v"}});
        assert_eq!(bed.ask(request(Operation::CreateNamespace, "", body.clone())).await, body);
        assert_eq!(bed.refused(request(Operation::CreateNamespace, "", body)).await.kind(), Kind::AlreadyExists);
        let list = || request(Operation::ListNamespaces, "", Value::Null);
        assert_eq!(bed.ask(list()).await["namespaces"], json!([["a"], ["n"]]));
        let below = bed.ask(with_query(list(), "parent", "a\u{1f}b.c")).await;
        assert_eq!(below["namespaces"], json!([["a", "b.c", "d"]]));
        let nowhere = bed.refused(with_query(list(), "parent", "x")).await;
        assert_eq!((nowhere.kind(), nowhere.message()), (Kind::NoSuchNamespace, "Namespace does not exist: x"));
        let drop = |levels: &[&str]| about(Operation::DropNamespace, levels, Value::Null);
        assert_eq!(bed.refused(drop(&["a"])).await.message(), "Namespace a is not empty");
        bed.ask(drop(&["a", "b.c", "d"])).await;
        bed.ask(drop(&["a", "b.c"])).await;
        bed.ask(drop(&["a"])).await;
        assert_eq!(bed.refused(drop(&["a"])).await.kind(), Kind::NoSuchNamespace);
    }
}

#[tokio::test]
async fn properties_are_set_and_removed_and_told() {
    for bed in beds().await {
        let update = |removals: Value, updates: Value| {
            about(Operation::UpdateProperties, &["n"], json!({"removals": removals, "updates": updates}))
        };
        let both = bed.refused(update(json!(["a"]), json!({"a": "1"}))).await;
        assert_eq!(both.kind(), Kind::Unprocessable);
        bed.ask(update(json!([]), json!({"a": "1", "b": "2"}))).await;
        let told = bed.ask(update(json!(["a", "x"]), json!({"c": "3"}))).await;
        assert_eq!(told, json!({"updated": ["c"], "removed": ["a"], "missing": ["x"]}));
        let loaded = bed.ask(about(Operation::LoadNamespace, &["n"], Value::Null)).await;
        let place = loaded["properties"]["location"].as_str().expect("where its tables go").to_owned();
        assert!(place.ends_with("/n"), "{place}");
        assert_eq!(loaded["properties"], json!({"b": "2", "c": "3", "location": place}));
    }
}

#[tokio::test]
async fn a_listing_is_whole_or_paged_and_pages_stay_right_while_names_come_and_go() {
    for bed in beds().await {
        for name in ["a", "b", "c", "d"] {
            bed.table(name, json!({})).await;
        }
        let list = || about(Operation::ListTables, &["n"], Value::Null);
        let names = |page: &Value| {
            let names = page["identifiers"].as_array().expect("a list").iter().map(|i| i["name"].clone());
            Value::Array(names.collect())
        };
        let whole = bed.ask(with_query(list(), "pageSize", "1")).await;
        assert_eq!((names(&whole), &whole["next-page-token"]), (json!(["a", "b", "c", "d"]), &Value::Null));
        let first = bed.ask(with_query(with_query(list(), "pageToken", ""), "pageSize", "2")).await;
        assert_eq!(names(&first), json!(["a", "b"]));
        for gone in ["a", "b"] {
            bed.ask(request(Operation::DropTable, gone, Value::Null)).await;
        }
        bed.table("bb", json!({})).await;
        let token = first["next-page-token"].as_str().expect("a token");
        let second = bed.ask(with_query(with_query(list(), "pageToken", token), "pageSize", "2")).await;
        assert_eq!(names(&second), json!(["bb", "c"]));
        let token = second["next-page-token"].as_str().expect("a token");
        let last = bed.ask(with_query(with_query(list(), "pageToken", token), "pageSize", "2")).await;
        assert_eq!((names(&last), &last["next-page-token"]), (json!(["d"]), &Value::Null));
        for (key, value) in [("pageToken", "%%%"), ("pageSize", "0"), ("pageSize", "x")] {
            let odd = with_query(with_query(list(), key, value), "pageToken", "");
            assert_eq!(bed.refused(odd).await.kind(), Kind::BadRequest, "{key}={value}");
        }
        let missing = bed.refused(about(Operation::ListTables, &["x"], Value::Null)).await;
        assert_eq!(missing.kind(), Kind::NoSuchNamespace);
    }
}

#[tokio::test]
async fn odd_names_are_found_again_or_refused_and_stay_in_the_warehouse() {
    for bed in beds().await {
        for odd in ["..", ".", "%2e%2e/", "../../x", "a.b", "🛟", " ", "a/b", "%", "?#", "Ünïcode", &"x".repeat(512)]
        {
            bed.ask(request(Operation::CreateNamespace, "", json!({"namespace": [odd]}))).await;
            let namespace = Namespace::new(vec![odd.to_owned()]).expect("valid");
            let body = json!({"name": odd, "schema": {"type": "struct", "fields": []}});
            let created = bed.ask(about(Operation::CreateTable, &[odd], body)).await;
            let location = created["metadata"]["location"].as_str().expect("text");
            let path = std::path::Path::new(&location[7..]).canonicalize().expect("a folder");
            assert!(path.starts_with(bed.folder.path().canonicalize().expect("a folder").join("warehouse")), "{odd}");
            let ident = Ident::new(namespace, odd).expect("valid");
            let load = Request { target: Target::Object(ident), ..load("x") };
            assert_eq!(bed.ask(load).await["metadata"], created["metadata"], "{odd}");
        }
        let long = "x".repeat(10_000);
        assert_eq!(bed.refused(create(&long, json!({}))).await.kind(), Kind::BadRequest);
        assert_eq!(bed.refused(load(&long)).await.kind(), Kind::BadRequest);
        for namespace in [json!([long]), json!(["y".repeat(512), "y".repeat(512)]), json!([""]), json!([]), json!("n")]
        {
            let refused = bed.refused(request(Operation::CreateNamespace, "", json!({"namespace": namespace}))).await;
            assert_eq!(refused.kind(), Kind::BadRequest);
        }
    }
}

#[tokio::test]
async fn the_config_names_what_works() {
    let bed = &beds().await[0];
    let config = bed.ask(request(Operation::GetConfig, "", Value::Null)).await;
    assert_eq!(config["idempotency-key-lifetime"], "PT30M");
    let endpoints = config["endpoints"].as_array().expect("a list");
    assert_eq!(endpoints.len(), 26);
    assert!(endpoints.contains(&json!("POST /v1/{prefix}/transactions/commit")));
}
