//! Which headers pass, in each direction.
//!
//! What must hold: upwards only headers on the list below, so neither a client's `Authorization` nor a cookie leaves by
//! accident; downwards everything but what concerns one connection, one host or our own credentials.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::upstream::Request;

/// The request id, for the upstream's log.
pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The specification's key that makes a write repeatable.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

const UP: [&str; 8] = [
    "accept",
    "content-encoding",
    "content-type",
    IDEMPOTENCY_KEY,
    "if-none-match",
    "traceparent",
    "tracestate",
    "user-agent",
];
const UP_PREFIXES: [&str; 2] = ["x-iceberg-", "x-client-"];

const NOT_DOWN: [&str; 20] = [
    "accept-ranges",
    "alt-svc",
    "connection",
    "content-encoding",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "server",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "www-authenticate",
    "x-request-id",
];

/// The headers of a request to the upstream: the operator's and the upstream's own first, a client's may not replace them.
pub(super) fn up(request: &Request, fixed: &HeaderMap, stated: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(16);
    for (name, value) in request.headers.iter().filter(|(name, _)| passes_up(name.as_str())) {
        out.append(name.clone(), value.clone());
    }
    for (name, value) in stated {
        out.entry(name.clone()).or_insert_with(|| value.clone());
    }
    for (name, value) in fixed {
        out.insert(name.clone(), value.clone());
    }
    out.entry(header::ACCEPT).or_insert(HeaderValue::from_static("application/json"));
    out.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Ok(id) = HeaderValue::from_str(&request.id) {
        out.insert(REQUEST_ID.clone(), id);
    }
    out
}

/// Removes from an upstream's answer what is not the client's business.
pub(super) fn down(headers: &mut HeaderMap, authenticate: bool) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in named {
        headers.remove(name.as_str());
    }
    for name in NOT_DOWN {
        if !(authenticate && name == "www-authenticate") {
            headers.remove(name);
        }
    }
}

fn passes_up(name: &str) -> bool {
    UP.contains(&name) || UP_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
