//! That nothing in an answer leads a client around us.

use serde_json::{Value, json};

use super::*;
use crate::error::Kind;
use crate::upstream::Catalog;

async fn loaded(answer: Value, operation: Operation) -> Value {
    let fake = Fake::start(&full_config().replace("\"prefix\"", "\"uri\":\"{uri}/\",\"prefix\""), move |s| {
        let uri = format!("http://{}/iceberg", s.headers["host"].to_str().expect("text"));
        Reply::json(200, answer.to_string().replace("{uri}", &uri))
    })
    .await;
    let response = upstream(&fake).call(request(operation, table(), "")).await.expect("answered");
    serde_json::from_slice(&response.body).expect("json")
}

#[tokio::test]
async fn the_configs_answer_names_neither_the_upstream_nor_its_secrets() {
    let config = json!({
        "defaults": {
            "warehouse": "s3://w", "prefix": "x", "clients": "4", "s3.secret-access-key": "s", "s3.access-key-id": "a",
            "gcs.oauth2.token": "g", "adls.sas-token.acc": "s", "rest.sigv4-enabled": "true", "nessie.core-base-uri": "{uri}/../api",
            "s3.endpoint": "http://store:9000", "rest-page-size": "200"
        },
        "overrides": {
            "uri": "{uri}/", "prefix": "main|wh", "token": "t", "credential": "c:d", "oauth2-server-uri": "{uri}/v1/oauth/tokens",
            "namespace-separator": "%2E", "s3.signer.uri": "{uri}/", "signer.uri": "{uri}/", "s3.signer.endpoint": "v1/aws/s3/sign",
            "client.refresh-credentials-endpoint": "v1/main%7Cwh/creds", "header.authorization": "Bearer x",
            "urn:ietf:params:oauth:token-type:jwt": "j", "audience": "a"
        },
        "idempotency-key-lifetime": "PT1H", "unheard-of": {"kept": true}
    });
    let fake = Fake::start(&config.to_string(), |_| Reply::json(200, "{}")).await;
    let response = upstream(&fake).call(request(Operation::GetConfig, Target::Catalog, "")).await.expect("ours");
    let ours: Value = serde_json::from_slice(&response.body).expect("json");
    assert_eq!(ours["defaults"], json!({"clients": "4", "s3.endpoint": "http://store:9000", "rest-page-size": "200"}));
    assert_eq!(ours["overrides"], json!({"prefix": "lake"}));
    assert_eq!(ours["idempotency-key-lifetime"], "PT1H");
    assert_eq!(ours["unheard-of"], json!({"kept": true}));
    assert!(ours["endpoints"].as_array().is_some_and(|lines| lines.len() == 16), "14 defaults and 2 HEADs: {ours}");
}

#[tokio::test]
async fn a_tables_answer_signs_and_refreshes_through_us() {
    let ours = "v1/lake/namespaces/a%1Fb/tables/t";
    let answer = json!({
        "metadata": {"location": "{uri}/left-alone", "properties": {"token": "a property"}},
        "config": {
            "token": "t", "uri": "{uri}", "s3.session-token": "kept", "s3.signer": "S3V4RestSigner",
            "s3.signer.uri": "{uri}", "s3.signer.endpoint": "v1/main%7Cwh/namespaces/a%2Eb/tables/t/sign?k=v",
            "client.refresh-credentials-endpoint": "{uri}/v1/main|wh/namespaces/a%2Eb/tables/t/credentials",
        },
        "storage-credentials": [{"prefix": "s3://w", "config": {
            "s3.access-key-id": "kept", "adls.refresh-credentials-endpoint": "http://elsewhere/v1/credentials",
            "gcs.oauth2.refresh-credentials-endpoint": "/v1/main%7Cwh/namespaces/a%2Eb/tables/t/credentials",
        }}],
        "remote-signing-config": {"signer-uri": "{uri}", "properties": {"endpoint": "v1/main%7Cwh/namespaces/a%2Eb/tables/t/sign"}},
    });
    let got = loaded(answer, Operation::LoadTable).await;
    assert_eq!(
        got["config"],
        json!({
            "s3.session-token": "kept", "s3.signer": "S3V4RestSigner", "s3.signer.endpoint": format!("{ours}/sign?k=v"),
            "client.refresh-credentials-endpoint": format!("{ours}/credentials"),
        })
    );
    assert_eq!(
        got["storage-credentials"],
        json!([{"prefix": "s3://w", "config": {
            "s3.access-key-id": "kept", "gcs.oauth2.refresh-credentials-endpoint": format!("{ours}/credentials"),
        }}])
    );
    assert_eq!(got["remote-signing-config"], json!({"properties": {"endpoint": format!("{ours}/sign")}}));
    assert!(got["metadata"]["location"].as_str().is_some_and(|l| l.ends_with("/left-alone")));
    assert_eq!(got["metadata"]["properties"]["token"], "a property");
}

#[tokio::test]
async fn a_config_written_twice_or_with_escapes_is_rewritten_each_time() {
    let body = r#"{"config":{"token":"1"},"\u0063onfig":{"tok\u0065n":"2"},"metadata":{ }}"#;
    let fake = Fake::start(&full_config(), move |_| Reply::json(200, body)).await;
    let response = upstream(&fake).call(request(Operation::LoadTable, table(), "")).await.expect("answered");
    assert_eq!(text(&response), r#"{"config":{},"\u0063onfig":{},"metadata":{ }}"#);
}

#[tokio::test]
async fn signers_of_other_catalogs_are_carried_through_our_route() {
    for (config, carried) in [
        (
            json!({"s3.signer.uri": "{uri}/", "s3.signer.endpoint": "v1/main%7Cwh/s3sign/blob+1"}),
            "v1/main%7Cwh/s3sign/blob+1",
        ),
        (json!({"s3.signer.endpoint": "{uri}/v1/main/s3-sign/a.t?e=1&s=x%2F"}), "v1/main/s3-sign/a.t?e=1&s=x%2F"),
        (json!({"s3.remote-signing-enabled": "true"}), "v1/aws/s3/sign"),
    ] {
        let got = loaded(json!({ "config": config }), Operation::LoadTable).await;
        let endpoint = got["config"]["s3.signer.endpoint"].as_str().expect("a route");
        let (route, query) = endpoint.split_once('?').expect("a query");
        assert_eq!(route, "v1/lake/namespaces/a%1Fb/tables/t/sign");
        let value = query.strip_prefix("lifeboat-signer=").expect("ours");
        assert_eq!(percent_encoding::percent_decode_str(value).decode_utf8_lossy(), carried);
        assert!(got["config"].get("s3.signer.uri").is_none());

        let fake = Fake::start(&full_config(), |_| Reply::json(200, r#"{"uri":"signed"}"#)).await;
        let mut sign = request(Operation::SignRequest, table(), r#"{"method":"GET"}"#);
        sign.query.push(("lifeboat-signer".into(), carried.into()));
        assert_eq!(text(&upstream(&fake).call(sign).await.expect("signed")), r#"{"uri":"signed"}"#);
        assert_eq!(fake.seen()[0].path, format!("/iceberg/{carried}"));
    }
}

#[tokio::test]
async fn a_signing_route_cannot_be_bent_to_another() {
    let fake = Fake::start(&full_config(), |_| Reply::json(200, "{}")).await;
    let up = upstream(&fake);
    for bent in [
        "v1/main/transactions/commit",
        "v1/main/namespaces",
        "v1/x/s3sign/../../namespaces",
        "http://evil/v1/aws/s3/sign",
        "",
    ] {
        let mut sign = request(Operation::SignRequest, table(), "{}");
        sign.query.push(("lifeboat-signer".into(), bent.into()));
        assert_eq!(up.call(sign).await.expect_err("refused").kind(), Kind::BadRequest, "{bent}");
    }
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn credentials_and_plain_signing_pass() {
    let answer = json!({"storage-credentials": [{"prefix": "s3://w", "config": {"s3.session-token": "x"}}]});
    assert_eq!(loaded(answer.clone(), Operation::LoadCredentials).await, answer);
    let fake =
        Fake::start(r#"{"endpoints":["GET /v1/{prefix}/namespaces"]}"#, |_| Reply::json(200, r#"{"uri":"u"}"#)).await;
    let response =
        upstream(&fake).call(request(Operation::SignRequest, table(), "{}")).await.expect("not gated by endpoints");
    assert_eq!(text(&response), r#"{"uri":"u"}"#);
}

#[tokio::test]
async fn views_and_commits_lose_tokens_too() {
    for operation in
        [Operation::LoadView, Operation::ReplaceView, Operation::UpdateTable, Operation::FetchPlanningResult]
    {
        let target = match operation {
            Operation::FetchPlanningResult => {
                Target::Plan(Ident::new(namespace(&["a"]), "t").expect("valid"), "p".into())
            }
            _ => table(),
        };
        let fake = Fake::start(&full_config(), |_| Reply::json(200, r#"{"config":{"token":"t","k":"v"}}"#)).await;
        let response = upstream(&fake).call(request(operation, target, "{}")).await.expect("answered");
        assert_eq!(text(&response), r#"{"config":{"k":"v"}}"#);
    }
}
