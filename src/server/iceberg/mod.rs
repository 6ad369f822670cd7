//! The Iceberg REST API: from an HTTP request to the stack of its catalog, and back.
//!
//! Everything comes from the one table of operations (`model::Operation::ROUTES`): `routes` finds the operation of a path, `path` what
//! it is about, `config` what a client is told about us. What must hold: a caller is known before anything is told about a catalog; a
//! token of ours never reaches an upstream; a write that has begun is finished although its client goes away.

mod config;
mod path;
mod routes;
mod served;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header, request::Parts};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use crate::error::{Error, Kind, Result};
use crate::model::{Access, Ident, Operation, Principal};
use crate::telemetry::panic_text;
use crate::upstream::{Request, Response, Target};

use super::auth;
use super::body::{Reserved, Takes};
use super::errors;
use super::service::{Answered, Entry, Server, into_http, strip_hop_by_hop};
use routes::{Captures, Found};

pub(super) use path::decode;
pub use served::{Service, operations_table, served_by};

/// The table that two raw segments of a path name.
pub(super) fn table(namespace: &str, table: &str, separator: Option<&str>) -> Result<Ident> {
    match path::target(&Captures { namespace: Some(namespace), object: Some(table), plan: None }, separator)? {
        Target::Object(ident) => Ok(ident),
        other => Err(Error::internal(format!("{other:?} is no table"))),
    }
}

/// The parameters of a query of our own routes, decoded.
pub(super) fn query(raw: Option<&str>) -> Result<Vec<(String, String)>> {
    path::query(raw, None, false)
}

/// Answers one request below `/v1/`; `place` is its place among those in flight.
pub(super) async fn answer(
    server: &Arc<Server>,
    id: &Arc<str>,
    request: http::Request<Incoming>,
    place: OwnedSemaphorePermit,
) -> Answered {
    let (Parts { method, uri, version, headers, .. }, body) = request.into_parts();
    let (operation, prefix, captures) = match routes::find(method.as_str(), uri.path()) {
        Found::Operation { operation, prefix, captures } => (operation, prefix, captures),
        Found::WrongMethod { allow } => {
            let error = Error::new(Kind::MethodNotAllowed, format!("this path takes {allow}, not {method}"));
            let mut response = into_http(errors::render(&error, None, id), &method);
            let allow = HeaderValue::from_str(&allow).expect("it is made of methods");
            response.headers_mut().insert(header::ALLOW, allow);
            return Answered { response, catalog: None, operation: "unknown" };
        }
        Found::Nothing => {
            let error = Error::new(Kind::NotFound, "the Iceberg REST API has no such path");
            let response = into_http(errors::render(&error, None, id), &method);
            return Answered { response, catalog: None, operation: "unknown" };
        }
    };
    let chosen = choose(server, operation, prefix, uri.query());
    let catalog = chosen.as_ref().ok().map(|entry| Arc::clone(entry));
    let asked = Asked { server, id, operation, captures, query: uri.query() };
    let done = handle(&asked, chosen, headers, body, place).await;
    let response = done.unwrap_or_else(|error| {
        let error = match &catalog {
            Some(entry) => error.context(format!("{} on catalog {}", operation.name(), entry.name)),
            None => error,
        };
        errors::render(&error, Some(operation.access()), id)
    });
    let mut response = into_http(response, &method);
    if version > http::Version::HTTP_11 {
        response.headers_mut().remove(header::CONNECTION);
    }
    Answered { response, catalog, operation: operation.name() }
}

/// The catalog that a request is for.
fn choose<'a>(
    server: &'a Server,
    operation: Operation,
    prefix: Option<&str>,
    query: Option<&str>,
) -> Result<&'a Arc<Entry>> {
    match (operation, prefix) {
        (Operation::GetConfig, _) => {
            let query = path::query(query, None, false)?;
            let warehouse = query.iter().find(|(key, _)| key == "warehouse").map(|(_, value)| value.as_str());
            config::choose(server, warehouse)
        }
        (_, Some(prefix)) => {
            let name = path::decode(prefix)?;
            server.catalogs.get(&name).ok_or_else(|| {
                let shown: String = name.chars().take(100).collect();
                Error::new(Kind::NotFound, format!("there is no catalog {shown:?} here"))
            })
        }
        (_, None) => server.only().ok_or_else(|| {
            Error::bad_request(
                "several catalogs are served here: paths need the prefix that /v1/config?warehouse= tells",
            )
        }),
    }
}

/// A request whose operation is known.
struct Asked<'a> {
    server: &'a Server,
    id: &'a Arc<str>,
    operation: Operation,
    captures: Captures<'a>,
    query: Option<&'a str>,
}

async fn handle(
    asked: &Asked<'_>,
    chosen: Result<&Arc<Entry>>,
    mut headers: HeaderMap,
    body: Incoming,
    place: OwnedSemaphorePermit,
) -> Result<Response> {
    let Asked { server, id, operation, ref captures, query } = *asked;
    let catalog = chosen.as_ref().ok().copied();
    let principal = authenticate(server, operation, catalog, &headers).await?;
    let entry = chosen?;
    let separator = entry.served.separator.as_deref();
    let target = path::target(captures, separator)?;
    let query = path::query(query, separator, encodes_parent_twice(&headers))?;
    let (body, reserved) = match operation.route().method {
        "POST" => server.budget.read(&headers, body, takes(operation)).await?,
        _ => Default::default(),
    };
    strip_hop_by_hop(&mut headers)?;
    if !entry.served.passthrough {
        headers.remove(header::AUTHORIZATION);
    }
    let request =
        Request { id: Arc::clone(id), operation, catalog: entry.name.clone(), target, query, headers, principal, body };
    let about = match &request.target {
        Target::Object(ident) if operation.access() == Access::Write => Some(ident.clone()),
        _ => None,
    };
    let response = call(server, entry, request, (place, reserved)).await?;
    if operation.access() == Access::Write {
        server.feeds.watches.changed(&entry.name, about.as_ref());
    }
    if operation == Operation::GetConfig { config::publish(response, entry) } else { Ok(response) }
}

/// PyIceberg encodes the levels of `parent`, and its HTTP library the whole once more.
fn encodes_parent_twice(headers: &HeaderMap) -> bool {
    let names = [headers.get("x-client-version"), headers.get(header::USER_AGENT)];
    names.into_iter().flatten().any(|name| name.as_bytes().starts_with(b"PyIceberg"))
}

fn takes(operation: Operation) -> Takes {
    if operation == Operation::GetToken { Takes::Form } else { Takes::Json }
}

/// Who calls. A catalog that passes callers' tokens on takes only such, so that a token of ours is never shown to its upstream.
pub(super) async fn authenticate(
    server: &Server,
    operation: Operation,
    catalog: Option<&Arc<Entry>>,
    headers: &HeaderMap,
) -> Result<Arc<Principal>> {
    let open = operation.access() == Access::Open;
    match catalog {
        Some(entry) if entry.served.passthrough => {
            let tokens = server.reloader.tokens.as_ref();
            if tokens.is_some_and(|tokens| auth::bearer(headers).is_ok_and(|secret| tokens.find(secret).is_some())) {
                let message = "this catalog takes tokens of its upstream, not Lifeboat's own";
                return Err(Error::new(Kind::NotAuthorized, message));
            }
            if open { Ok(anonymous()) } else { auth::caller(headers, &entry.name) }
        }
        _ if open => Ok(anonymous()),
        _ => server.authenticator.authenticate(headers).await,
    }
}

fn anonymous() -> Arc<Principal> {
    Arc::new(Principal::new("anonymous", Default::default()))
}

/// Calls the stack. A write runs in a task of its own, which a client that goes away does not end; what it `holds` stays with it.
async fn call(
    server: &Server,
    entry: &Arc<Entry>,
    request: Request,
    holds: (OwnedSemaphorePermit, Reserved),
) -> Result<Response> {
    let limit = server.settings.answer_timeout;
    let stack = entry.served.stack.clone();
    let too_late = || Error::new(Kind::UpstreamTimeout, "the catalog did not answer in time");
    if request.operation.access() != Access::Write {
        return tokio::time::timeout(limit, stack.call(request)).await.unwrap_or_else(|_| Err(too_late()));
    }
    let guard = server.writes.begin();
    let task = tokio::spawn(
        async move {
            let _until_the_end = (guard, holds);
            stack.call(request).await
        }
        .in_current_span(),
    );
    match tokio::time::timeout(limit, task).await {
        Ok(Ok(done)) => done,
        Ok(Err(ended)) => match ended.try_into_panic() {
            Ok(panic) => Err(Error::internal(format!("a write panicked: {}", panic_text(&*panic)))),
            Err(_) => Err(Error::new(Kind::OutcomeUnknown, "the server stopped in the middle of this write")),
        },
        Err(_) => Err(too_late()),
    }
}
