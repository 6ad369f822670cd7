//! The REST upstream against a fake one on a real socket.

mod auth;
mod commit;
mod fake;
mod passing;
mod rewriting;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use self::fake::{Fake, Reply, Seen};
use super::{RestSettings, RestUpstream};
use crate::model::{CatalogName, Ident, Namespace, Operation, Principal};
use crate::upstream::{Request, Response, Target};

/// Everything served, prefix and separator of its own.
fn full_config() -> String {
    let endpoints: Vec<String> = Operation::ROUTES.iter().map(|r| r.operation.endpoint()).collect();
    let endpoints = serde_json::to_string(&endpoints).expect("json");
    format!(
        r#"{{"defaults":{{}},"overrides":{{"prefix":"main|wh","namespace-separator":"%2E"}},"endpoints":{endpoints}}}"#
    )
}

fn settings(fake: &Fake) -> RestSettings {
    RestSettings::new(&fake.uri)
}

fn upstream(fake: &Fake) -> RestUpstream {
    RestUpstream::new(settings(fake)).expect("valid settings")
}

fn namespace(levels: &[&str]) -> Namespace {
    Namespace::new(levels.iter().map(|l| l.to_string()).collect()).expect("valid")
}

fn table() -> Target {
    Target::Object(Ident::new(namespace(&["a", "b"]), "t").expect("valid"))
}

fn request(operation: Operation, target: Target, body: &str) -> Request {
    Request {
        id: "r-1".into(),
        operation,
        catalog: CatalogName::parse("lake").expect("valid"),
        target,
        query: Vec::new(),
        headers: HeaderMap::new(),
        principal: Arc::new(Principal::local()),
        body: Bytes::from(body.to_owned()),
    }
}

fn with_header(mut request: Request, name: &str, value: &str) -> Request {
    request.headers.insert(name.parse::<HeaderName>().expect("name"), HeaderValue::from_str(value).expect("value"));
    request
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(&response.body).expect("utf-8")
}
