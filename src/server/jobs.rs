//! What the routes of all jobs have in common: a strict request, where a job is found, a page of them, one of them.
//!
//! What must hold: an error names the field or parameter at fault. Who may ask is for the routes.

use http::{HeaderMap, HeaderValue, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::{Error, Kind, Result};
use crate::jobs::{Job, Jobs, Work};

/// Largest request for a job.
pub(super) const REQUEST_BYTES_MAX: usize = 256 << 10;
/// Jobs on a page unless the caller says otherwise.
const PAGE_COUNT: usize = 100;
/// Most jobs on a page.
const PAGE_COUNT_MAX: usize = 1_000;
/// The header of a request that may be repeated.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The key by which a repeated request is known.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<Uuid>> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = key.to_str().ok().and_then(|key| Uuid::parse_str(key).ok());
    key.map(Some).ok_or_else(|| Error::bad_request("the Idempotency-Key must be a UUID"))
}

/// Takes a request as it must be; the error names the field that is not.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let whole = match serde_json::from_slice::<T>(bytes) {
        Ok(request) => return Ok(request),
        Err(error) => Error::bad_request(format!("the request is wrong: {error}")),
    };
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(bytes) else { return Err(whole) };
    // one field at a time, and of a list one item at a time, since the parser does not tell which it was
    let of = |fields: Map<String, Value>| serde_json::from_value::<T>(Value::Object(fields)).map_err(|e| e.to_string());
    // that a field is not there is no fault of another
    let lacks = of(Map::new()).err();
    let others: Vec<String> = fields.keys().map(|name| format!("missing field `{name}`")).collect();
    // one that the request as a whole lacks, and not something in it: with anything in its place that is no complaint any more
    let missing = of(fields.clone()).err().filter(|error| {
        let name = error.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        name.is_some_and(|name| {
            let filled = fields.clone().into_iter().chain([(name.to_owned(), Value::Null)]).collect();
            of(filled).err().as_ref() != Some(error)
        })
    });
    let is_lack =
        |error: &String| others.contains(error) || [&lacks, &missing].into_iter().flatten().any(|lack| lack == error);
    let wrong =
        |name: &str, value: Value| of(Map::from_iter([(name.to_owned(), value)])).err().filter(|error| !is_lack(error));
    for (name, value) in fields {
        let Some(error) = wrong(&name, value.clone()) else { continue };
        let mut items = value.as_array().into_iter().flatten().enumerate();
        let item = items.find_map(|(at, item)| Some((at, wrong(&name, Value::Array(vec![item.clone()]))?)));
        let message = match item {
            Some((at, error)) => format!("field {name}[{at}]: {error}"),
            None => format!("field {name}: {error}"),
        };
        return Err(Error::bad_request(message));
    }
    Err(whole)
}

/// Says where a job that has begun can be looked at: below `path`.
pub(super) fn location(path: &str, id: Uuid) -> Result<HeaderMap> {
    let location = HeaderValue::from_str(&format!("{path}/{id}")).map_err(|e| Error::internal(e.to_string()))?;
    Ok(HeaderMap::from_iter([(header::LOCATION, location)]))
}

/// The page that a query asks for of those that the caller may see, newest first, and the token of the next one.
pub(super) fn page<W: Work>(
    jobs: &Jobs<W>,
    query: Option<&str>,
    may_see: impl Fn(&W::About) -> bool,
) -> Result<(Vec<Job<W>>, Option<String>)> {
    let (limit, before) = wanted(query)?;
    let mut found = jobs.list(before, limit + 1, may_see);
    let more = found.len() > limit;
    found.truncate(limit);
    let next_page_token = found.last().filter(|_| more).map(|last| last.id.to_string());
    Ok((found, next_page_token))
}

/// How many are wanted, and those before which one.
fn wanted(query: Option<&str>) -> Result<(usize, Option<Uuid>)> {
    let (mut limit, mut before) = (PAGE_COUNT, None);
    for parameter in query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=').unwrap_or((parameter, "")) {
            ("limit", text) => match text.parse() {
                Ok(wanted @ 1..=PAGE_COUNT_MAX) => limit = wanted,
                _ => return Err(Error::bad_request(format!("limit must be from 1 to {PAGE_COUNT_MAX}"))),
            },
            ("page-token", text) => match Uuid::parse_str(text) {
                Ok(id) => before = Some(id),
                Err(_) => return Err(Error::bad_request("page-token must be what the page before said")),
            },
            _ => return Err(Error::bad_request("there are the parameters limit and page-token")),
        }
    }
    Ok((limit, before))
}

/// One of them by its id.
pub(super) fn get<W: Work>(jobs: &Jobs<W>, id: &str) -> Result<Job<W>> {
    Uuid::parse_str(id).ok().and_then(|id| jobs.get(id)).ok_or_else(|| unknown(jobs))
}

/// Cancels one, and comes when it has stopped.
pub(super) async fn cancel<W: Work>(jobs: &Jobs<W>, id: &str) -> Result<Job<W>> {
    let found = match Uuid::parse_str(id) {
        Ok(id) => jobs.cancel(id).await,
        Err(_) => None,
    };
    found.ok_or_else(|| unknown(jobs))
}

/// What is said of an id that leads to none.
pub(super) fn unknown<W: Work>(jobs: &Jobs<W>) -> Error {
    let (noun, hours) = (W::NOUN, jobs.finished_kept().as_secs() / 3600);
    let message = format!(
        "there is no {noun} of this id; those that ended are forgotten after {hours} hours, and all of them when the server ends"
    );
    Error::new(Kind::NotFound, message)
}
