//! `GET /v1/config`: which catalog is meant, and what its answer must say about us.
//!
//! What must hold: a client that follows the answer comes back to the same catalog here. The prefix is the catalog's name; a namespace
//! separator is advertised only when it is understood, since clients would write namespaces by it.

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::error::{Error, Kind, Result};
use crate::upstream::Response;

use super::super::service::{Entry, Server};

/// The config key by which a catalog tells its separator, percent-encoded.
const SEPARATOR_KEY: &str = "namespace-separator";

/// The catalog that a `warehouse` parameter chooses. The only catalog is chosen by any, since clients write names and locations there
/// as it pleases them.
pub(super) fn choose<'a>(server: &'a Server, warehouse: Option<&str>) -> Result<&'a Arc<Entry>> {
    if let Some(entry) = warehouse.and_then(|name| server.catalogs.get(name)) {
        return Ok(entry);
    }
    match (server.only(), warehouse) {
        (Some(only), warehouse) => {
            if let Some(warehouse) = warehouse.filter(|name| !name.is_empty()) {
                tracing::debug!(catalog.name = %only.name, "warehouse {warehouse:?} is taken for the only catalog");
            }
            Ok(only)
        }
        (None, None | Some("")) => {
            Err(Error::bad_request("several catalogs are served here: name one by the `warehouse` parameter"))
        }
        (None, Some(warehouse)) => {
            let shown: String = warehouse.chars().take(100).collect();
            Err(Error::new(Kind::NotFound, format!("there is no catalog {shown:?} here")))
        }
    }
}

/// Puts prefix and separator into a catalog's answer; everything else in it stays.
pub(super) fn publish(response: Response, entry: &Entry) -> Result<Response> {
    if !response.status.is_success() {
        return Ok(response);
    }
    let not_an_answer = |why: String| Error::new(Kind::BadUpstream, format!("the config answer {why}"));
    let mut body: Value =
        serde_json::from_slice(&response.body).map_err(|error| not_an_answer(format!("is not JSON: {error}")))?;
    let fields = body.as_object_mut().ok_or_else(|| not_an_answer("is not an object".into()))?;
    for part in ["defaults", "overrides"] {
        let part = fields.entry(part).or_insert_with(|| Value::Object(Map::new()));
        if part.is_null() {
            *part = Value::Object(Map::new());
        }
        let part =
            part.as_object_mut().ok_or_else(|| not_an_answer("has defaults or overrides of another shape".into()))?;
        part.shift_remove(SEPARATOR_KEY);
    }
    let overrides = &mut fields["overrides"];
    overrides["prefix"] = Value::from(entry.name.as_str());
    if let Some(separator) = entry.served.separator.as_deref().filter(|separator| !separator.is_empty()) {
        overrides[SEPARATOR_KEY] = Value::from(utf8_percent_encode(separator, NON_ALPHANUMERIC).to_string());
    }
    Ok(Response { body: body.to_string().into(), ..response })
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use serde_json::json;

    use crate::model::CatalogName;
    use crate::upstream::{Catalog, Request};

    use super::super::super::ServedCatalog;
    use super::*;

    struct Nobody;

    #[async_trait]
    impl Catalog for Nobody {
        async fn call(&self, _: Request) -> Result<Response> {
            Err(Error::internal("nobody is here"))
        }
    }

    fn published(separator: Option<&str>, body: Value) -> Result<Value> {
        let name = CatalogName::parse("main").expect("valid");
        let separator = separator.map(str::to_owned);
        let served = ServedCatalog {
            stack: Arc::new(Nobody),
            separator,
            kind: "rest",
            passthrough: false,
            replica: None,
            appends: None,
            maintained: crate::maintenance::Maintained::No("it is a test's"),
        };
        let response = publish(Response::json(&body), &Entry { name, served })?;
        Ok(serde_json::from_slice(&response.body).expect("JSON"))
    }

    #[test]
    fn only_prefix_and_separator_are_ours() {
        let upstream = json!({"defaults": {"a": "1", "namespace-separator": "%2E"}, "overrides": {"prefix": "theirs", "b": "2"},
            "endpoints": ["GET /v1/config"], "idempotency-key-lifetime": "PT30M", "new": {"x": [1]}});
        let expected = json!({"defaults": {"a": "1"}, "overrides": {"prefix": "main", "b": "2"},
            "endpoints": ["GET /v1/config"], "idempotency-key-lifetime": "PT30M", "new": {"x": [1]}});
        assert_eq!(published(None, upstream).expect("an answer"), expected);
        let overrides = published(Some("."), json!({})).expect("an answer")["overrides"].clone();
        assert_eq!(overrides, json!({"prefix": "main", "namespace-separator": "%2E"}));
    }

    #[test]
    fn an_answer_that_is_none_is_the_upstreams_fault() {
        for body in [json!([]), json!({"overrides": 1})] {
            assert_eq!(published(None, body).expect_err("no answer").kind(), Kind::BadUpstream);
        }
    }
}
