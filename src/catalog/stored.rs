//! One kept answer: what it is kept under, its ETag, and whether it may be kept at all.
//!
//! What must hold: the key covers everything that an answer may depend on, the caller first; an answer with a credential that
//! expires, or with an opaque signing route, is nobody's second time.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{HeaderName, StatusCode};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::marks::Mark;
use crate::model::hex;
use crate::upstream::{Request, Response, members};

/// Headers whose value an answer may depend on.
const ICEBERG_HEADERS: &str = "x-iceberg-";
/// Bytes of a digest that an ETag shows: enough that two never meet.
const ETAG_BYTES: usize = 16;

/// What an answer is kept under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(Arc<[u8]>);

impl Key {
    /// Of a load. `generation` is the location map's; with `by_token` callers are told apart by their tokens too.
    pub(super) fn of(request: &Request, generation: u64, by_token: bool) -> Self {
        let mut key = Vec::with_capacity(256);
        let mut add = |part: &[u8]| {
            key.extend_from_slice(&(part.len() as u64).to_le_bytes());
            key.extend_from_slice(part);
        };
        add(&generation.to_le_bytes());
        add(request.principal.name().as_bytes());
        match request.headers.get(header::AUTHORIZATION) {
            Some(value) if by_token => add(&Sha256::digest(value.as_bytes())),
            _ => add(b""),
        }
        add(request.catalog.as_str().as_bytes());
        add(request.operation.name().as_bytes());
        if let Ok(ident) = request.ident() {
            add(ident.namespace.joined().as_bytes());
            add(ident.name.as_bytes());
        }
        for (key, value) in &request.query {
            add(key.as_bytes());
            add(value.as_bytes());
        }
        let mut headers: Vec<(&HeaderName, &HeaderValue)> =
            request.headers.iter().filter(|(name, _)| name.as_str().starts_with(ICEBERG_HEADERS)).collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        add(b"headers");
        for (name, value) in headers {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
        Key(key.into())
    }

    /// Its size in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A kept answer.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub body: Bytes,
    /// As they go to clients, our ETag among them.
    headers: HeaderMap,
    etag: HeaderValue,
    /// The upstream's own, to ask with.
    pub upstream_etag: Option<HeaderValue>,
    /// When it was asked for: it is at least as new as this.
    pub asked_at: Instant,
    /// The table's mark then.
    pub mark: Mark,
}

impl Stored {
    /// From an upstream's 200. When its body is the `old` one's, so is its ETag.
    pub(super) fn new(key: &Key, response: Response, old: Option<&Stored>, asked_at: Instant, mark: Mark) -> Self {
        let mut headers = response.headers;
        let upstream_etag = headers.remove(header::ETAG);
        headers.remove(header::RETRY_AFTER);
        let (etag, body) = match old {
            Some(old) if old.body == response.body => (old.etag.clone(), old.body.clone()),
            _ => (etag_of(key, &response.body), response.body),
        };
        headers.insert(header::ETAG, etag.clone());
        Stored { body, headers, etag, upstream_etag, asked_at, mark }
    }

    /// The same answer, found to be true again.
    pub(super) fn again(&self, asked_at: Instant, mark: Mark) -> Self {
        Stored { asked_at, mark, ..self.clone() }
    }

    /// For a client that sent these `If-None-Match`; 304 only when one of them is ours.
    pub(super) fn response(&self, wanted: &[HeaderValue]) -> Response {
        if wanted.iter().any(|value| names(value, &self.etag)) {
            let headers = HeaderMap::from_iter([(header::ETAG, self.etag.clone())]);
            return Response { status: StatusCode::NOT_MODIFIED, headers, body: Bytes::new() };
        }
        Response { status: StatusCode::OK, headers: self.headers.clone(), body: self.body.clone() }
    }
}

/// Weak comparison (RFC 9110, section 13.1.2); `*` is not taken.
fn names(if_none_match: &HeaderValue, etag: &HeaderValue) -> bool {
    let Ok(list) = if_none_match.to_str() else { return false };
    list.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one.as_bytes() == etag.as_bytes())
}

fn etag_of(key: &Key, body: &[u8]) -> HeaderValue {
    let digest = Sha256::new().chain_update(&key.0).chain_update(body).finalize();
    let text = format!("\"{}\"", hex(&digest[..ETAG_BYTES]));
    HeaderValue::from_str(&text).expect("hexadecimal digits are a header's text")
}

/// Whether an answer holds what must not be given out twice. One that cannot be read counts.
pub(super) fn bears_credentials(body: &[u8]) -> bool {
    const MEMBERS: [&str; 3] = ["config", "storage-credentials", "remote-signing-config"];
    let Ok(found) = members::find(body, &MEMBERS) else { return true };
    found.into_iter().any(|member| {
        let value = &body[member.range];
        match member.wanted {
            0 => {
                serde_json::from_slice::<Map<String, Value>>(value).map_or(value != b"null", |c| c.iter().any(expires))
            }
            1 => !matches!(serde_json::from_slice(value), Ok(Value::Null)) && !is_empty_list(value),
            _ => value != b"null",
        }
    })
}

fn is_empty_list(value: &[u8]) -> bool {
    matches!(serde_json::from_slice(value), Ok(Value::Array(list)) if list.is_empty())
}

fn expires((key, value): (&String, &Value)) -> bool {
    const PARTS: [&str; 5] = ["session-token", "sas-token", "expires", "expiration", "oauth2.token"];
    let key = key.to_ascii_lowercase();
    let opaque_signer = key.ends_with("signer.endpoint") && value.as_str().is_some_and(|route| route.contains('?'));
    opaque_signer || key.ends_with(".token") || PARTS.iter().any(|part| key.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::request;
    use crate::model::Operation;

    #[test]
    fn credentials_are_recognised_wherever_they_are() {
        for body in [
            r#"{"storage-credentials":[{"prefix":"s3://w","config":{}}]}"#,
            r#"{"config":{"s3.session-token":"x"}}"#,
            r#"{"config":{"adls.sas-token.account":"x"}}"#,
            r#"{"config":{"gcs.oauth2.token":"x"}}"#,
            r#"{"config":{"k":"v"},"config":{"gcs.oauth2.token-expires-at":"1"}}"#,
            r#"{"config":{"s3.signer.endpoint":"v1/x/sign?lifeboat-signer=y"}}"#,
            r#"{"config":[]}"#,
            "not json",
        ] {
            assert!(bears_credentials(body.as_bytes()), "{body}");
        }
        for body in [
            r#"{"metadata":{"config":{"s3.session-token":"x"}},"config":{"s3.endpoint":"x"},"storage-credentials":[]}"#,
            r#"{"config":null,"storage-credentials":null}"#,
            r#"{"config":{"s3.signer.endpoint":"v1/x/sign"}}"#,
        ] {
            assert!(!bears_credentials(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_key_tells_apart_what_answers_depend_on() {
        let plain = || request(Operation::LoadTable);
        let mut keys = vec![
            Key::of(&plain(), 0, false),
            Key::of(&plain(), 1, false),
            Key::of(&request(Operation::LoadView), 0, false),
        ];
        let mut with_query = plain();
        with_query.query = vec![("snapshots".into(), "refs".into())];
        keys.push(Key::of(&with_query, 0, false));
        with_query.query = vec![("snapshotsr".into(), "efs".into())];
        keys.push(Key::of(&with_query, 0, false));
        let mut delegated = plain();
        delegated.headers.insert("x-iceberg-access-delegation", HeaderValue::from_static("remote-signing"));
        keys.push(Key::of(&delegated, 0, false));
        let mut token = plain();
        token.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert_eq!(Key::of(&token, 0, false), keys[0]);
        keys.push(Key::of(&token, 0, true));
        token.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        keys.push(Key::of(&token, 0, true));
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn if_none_match_may_be_a_list_and_weak() {
        let etag = HeaderValue::from_static("\"a\"");
        for (sent, same) in
            [("\"a\"", true), ("W/\"a\"", true), ("\"b\", W/\"a\"", true), ("\"b\"", false), ("*", false)]
        {
            assert_eq!(names(&HeaderValue::from_static(sent), &etag), same, "{sent}");
        }
    }
}
