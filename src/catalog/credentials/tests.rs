//! What clients of a standby hear of credentials.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::catalog::tests::{Scripted, request};
use crate::storage::vending_tests::{FakeSts, given, store, vending};
use crate::testing::{with_header, with_query};

/// What an upstream may answer that vends credentials, of a table that came with some.
fn answer() -> Value {
    json!({
        "metadata-location": "s3://lake/overlay/u/00001-x.metadata.json",
        "metadata": {
            "location": "s3://lake/dr/shop/orders",
            "properties": {"owner": "ann", "s3.secret-access-key": "of-primary", "write.data.path": "s3://lake/dr/bulk", "my.secret": "x"},
            "snapshots": [{"n": 1}]
        },
        "config": {
            "s3.endpoint": "http://here", "s3.access-key-id": "UPSTREAM", "s3.secret-access-key": "of-upstream",
            "s3.session-token": "of-upstream", "adls.sas-token.account": "of-upstream", "gcs.oauth2.token": "of-upstream",
            "client.refresh-credentials-endpoint": "v1/elsewhere/credentials", "token": "of-upstream"
        },
        "storage-credentials": [{"prefix": "s3://lake", "config": {"s3.access-key-id": "UPSTREAM"}}]
    })
}

fn settings(given: Given) -> SiteCredentialsSettings {
    SiteCredentialsSettings {
        given,
        scope: Scope::Table,
        replicated: vec![Location::new("s3://lake/dr")],
        overlay: Location::new("s3://lake/overlay"),
        own: Some(Location::new("s3://lake/own")),
    }
}

fn layer(given: Given, answer: Value) -> (SiteCredentials, Arc<Scripted>) {
    let inner = Arc::new(Scripted::new(move |_| {
        let mut response = Response::json(&answer);
        response.headers.insert(header::ETAG, HeaderValue::from_static("\"e\""));
        Ok(response)
    }));
    (SiteCredentials::new(inner.clone(), settings(given)), inner)
}

async fn heard(given: Given, request: Request) -> Value {
    let response = layer(given, answer()).0.call(request).await.expect("an answer");
    serde_json::from_slice(&response.body).expect("JSON")
}

fn site() -> BTreeMap<String, String> {
    let pairs = [("s3.endpoint", "http://here"), ("s3.access-key-id", "UPSTREAM"), ("s3.session-token", "of-the-site")];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn asking() -> Request {
    with_header(request(Operation::LoadTable), DELEGATION, "remote-signing, Vended-Credentials")
}

#[tokio::test]
async fn what_is_not_this_sites_is_taken_out() {
    for operation in [Operation::LoadTable, Operation::LoadView, Operation::PlanTableScan] {
        let nothing = heard(Given::Nothing, request(operation)).await;
        assert_eq!(nothing["config"], json!({"s3.endpoint": "http://here"}), "{operation:?}");
        assert_eq!(nothing["storage-credentials"], json!([]));
        let mut metadata = answer()["metadata"].take();
        metadata["properties"].as_object_mut().expect("an object").shift_remove("s3.secret-access-key");
        assert_eq!(nothing["metadata"], metadata, "a table's own words stay, but for keys to storage");
        assert_eq!(nothing["metadata-location"], answer()["metadata-location"]);
    }
    let configured = heard(Given::ClientConfig(site()), asking()).await;
    let expected = json!({"s3.endpoint": "http://here", "s3.access-key-id": "UPSTREAM"});
    assert_eq!(configured["config"], expected, "only what the site says itself, and as it says it");
    let credentials = heard(Given::ClientConfig(site()), request(Operation::LoadCredentials)).await;
    assert_eq!(credentials, json!({"storage-credentials": []}));
}

#[tokio::test]
async fn an_answer_without_credentials_stays_byte_for_byte() {
    let body = "{ \"metadata\":{\"n\":1.50, \"properties\":{\"my.secret\":\"x\"}} ,\"config\":{\"s3.endpoint\":\"x\"},\"storage-credentials\":[]}";
    let inner = Scripted::new(move |_| Ok(Response::json_bytes(Bytes::from_static(body.as_bytes()))));
    let layer = SiteCredentials::new(Arc::new(inner), settings(Given::Nothing));
    assert_eq!(layer.call(request(Operation::LoadTable)).await.expect("an answer").body, body);
}

#[tokio::test]
async fn a_config_answer_has_no_keys_where_others_are_given() {
    let config = json!({"defaults": {"s3.endpoint": "x", "s3.access-key-id": "UPSTREAM"}, "overrides": {"token": "t", "prefix": "p"}});
    for (given, keys) in
        [(Given::Nothing, json!({"s3.endpoint": "x"})), (Given::ClientConfig(site()), config["defaults"].clone())]
    {
        let response = layer(given, config.clone()).0.call(request(Operation::GetConfig)).await.expect("an answer");
        let heard: Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(heard, json!({"defaults": keys, "overrides": {"prefix": "p"}}));
    }
}

#[tokio::test]
async fn who_asks_gets_credentials_for_the_tables_places() {
    let sts = FakeSts::start(|_| given(7, Duration::from_secs(3600))).await;
    let (layer, inner) = layer(Given::Vended(vending(vec![store("s3://lake", &sts.endpoint)])), answer());
    let response = layer.call(with_header(asking(), "if-none-match", "\"e\"")).await.expect("an answer");
    assert!(response.headers.get(header::ETAG).is_none() && response.headers[header::CACHE_CONTROL] == "no-store");
    let heard: Value = serde_json::from_slice(&response.body).expect("JSON");
    let config = &heard["config"];
    let told =
        ["s3.endpoint", "s3.access-key-id", "s3.session-token"].map(|key| config[key].as_str().unwrap_or("none"));
    assert_eq!(told, ["http://here", "id7", "token7"]);
    assert_eq!(config[answers::REFRESH_ENDPOINT], "v1/lake/namespaces/a/tables/t/credentials");
    let credentials = heard["storage-credentials"].as_array().expect("a list");
    let prefixes: Vec<_> = credentials.iter().map(|credential| &credential["prefix"]).collect();
    assert_eq!(prefixes, ["s3://lake/overlay/u/", "s3://lake/dr/shop/orders/", "s3://lake/dr/bulk/"]);
    assert!(credentials.iter().all(|credential| credential["config"]["s3.access-key-id"] == "id7"));
    let text = heard.to_string();
    assert!(!text.contains("of-upstream") && !text.contains("of-primary"), "{text}");

    let fresh = layer.call(with_query(request(Operation::LoadCredentials), "planId", "1")).await.expect("an answer");
    let fresh: Value = serde_json::from_slice(&fresh.body).expect("JSON");
    assert_eq!(fresh["storage-credentials"].as_array().map(Vec::len), Some(1));
    assert_eq!((&fresh["storage-credentials"][0]["prefix"], sts.asked().len()), (&json!("s3"), 1));
    let seen = inner.seen();
    assert_eq!(seen[0].headers[DELEGATION], "remote-signing", "nobody below need vend");
    assert!(seen[0].headers.get(header::IF_NONE_MATCH).is_none());
    assert_eq!((seen[1].operation, seen[1].query.len()), (Operation::LoadTable, 1));

    let unasked = layer.call(request(Operation::LoadTable)).await.expect("an answer");
    let unasked_body: Value = serde_json::from_slice(&unasked.body).expect("JSON");
    assert_eq!(unasked_body["config"], json!({"s3.endpoint": "http://here"}));
    assert_eq!(unasked.headers[header::ETAG], "\"e\"");
}

#[test]
fn no_place_is_opened_on_the_word_of_replicated_metadata_alone() {
    let places = |location: &str, metadata_location: &str, scope: Scope| {
        let body = json!({"metadata": {"location": location, "properties": {"write.data.path": "s3://lake/dr/d"}},
            "metadata-location": metadata_location})
        .to_string();
        let settings = SiteCredentialsSettings { scope, ..settings(Given::Nothing) };
        let places = settings.places(&Bytes::from(body)).expect("places");
        places.into_iter().map(|place| place.to_string()).collect::<Vec<_>>()
    };
    let (published, d) = ("s3://lake/overlay/u/1.json", "s3://lake/dr/d");
    assert_eq!(places("s3a://lake/dr/t", published, Scope::Table), ["s3a://lake/dr/t", d, "s3://lake/overlay/u"]);
    for elsewhere in
        ["s3://lake", "s3://lake/home/t", "s3://other/t", "s3://lake/overlay", "s3://lake/own/t", "s3://lake/dr/../x"]
    {
        assert_eq!(places(elsewhere, published, Scope::Table), [d, "s3://lake/overlay/u"], "{elsewhere}");
    }
    // straight in the overlay there is no folder of the table's own
    assert_eq!(places("s3://x/t", "s3://lake/overlay/1.json", Scope::Table), [d]);
    assert_eq!(places("s3://x/t", published, Scope::Standby), ["s3://lake/dr", "s3://lake/overlay"]);
    // a table of this site's own
    for scope in [Scope::Table, Scope::Standby] {
        let own = "s3://lake/own/t/metadata/1.json";
        assert_eq!(places("s3://lake/own/t", own, scope), ["s3://lake/own/t", "s3://lake/own/t/metadata"]);
    }
}

#[tokio::test]
async fn what_goes_wrong_below_is_passed_on() {
    let failing = |status: u16| {
        let inner = Scripted::new(move |_| {
            Ok(Response { status: status.try_into().expect("a status"), ..Response::json_bytes("not json".into()) })
        });
        SiteCredentials::new(Arc::new(inner), settings(Given::Vended(vending(Vec::new()))))
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    for request in [asking(), request(Operation::LoadCredentials), request(Operation::LoadTable)] {
        let response = failing(404).call(request.clone()).await.expect("an answer");
        assert_eq!((response.status.as_u16(), &response.body[..]), (404, &b"not json"[..]));
        assert!(failing(200).call(request).await.is_err(), "what cannot be read is not passed on");
    }
}
