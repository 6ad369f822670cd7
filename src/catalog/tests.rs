//! What the layers' tests share, and the cache's rules.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::{Cache, CacheSettings};
use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Ident, Namespace, Operation, Principal};
use crate::telemetry::Metrics;
use crate::upstream::{Catalog, Request, Response, Target};

type Script = dyn Fn(&Request) -> Result<Response> + Send + Sync;

/// A catalog that does what a test says.
pub(super) struct Scripted {
    script: Box<Script>,
    seen: Mutex<Vec<Request>>,
    pause: Duration,
}

impl Scripted {
    pub(super) fn new(script: impl Fn(&Request) -> Result<Response> + Send + Sync + 'static) -> Self {
        Scripted { script: Box::new(script), seen: Mutex::default(), pause: Duration::ZERO }
    }

    pub(super) fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

#[async_trait]
impl Catalog for Scripted {
    async fn call(&self, request: Request) -> Result<Response> {
        self.seen.lock().expect("not poisoned").push(request.clone());
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        (self.script)(&request)
    }
}

pub(super) fn ident(name: &str) -> Ident {
    Ident::new(Namespace::new(vec!["a".into()]).expect("valid"), name).expect("valid")
}

pub(super) fn request(operation: Operation) -> Request {
    Request {
        id: "r".into(),
        operation,
        catalog: CatalogName::parse("lake").expect("valid"),
        target: Target::Object(ident("t")),
        query: Vec::new(),
        headers: HeaderMap::new(),
        principal: Arc::new(Principal::local()),
        body: Bytes::new(),
    }
}

fn load() -> Request {
    request(Operation::LoadTable)
}

fn by(name: &str) -> Request {
    Request { principal: Arc::new(Principal::new(name, BTreeMap::new())), ..load() }
}

fn if_none_match(mut request: Request, etag: &HeaderValue) -> Request {
    request.headers.insert(header::IF_NONE_MATCH, etag.clone());
    request
}

fn answer(body: &str) -> Result<Response> {
    Ok(Response::json_bytes(Bytes::from(body.to_owned())))
}

fn etag(response: &Response) -> HeaderValue {
    response.headers[header::ETAG].clone()
}

fn cache(inner: Scripted, max_staleness: Duration) -> (Arc<Scripted>, Cache) {
    let inner = Arc::new(inner);
    let settings = CacheSettings { max_staleness, ..CacheSettings::default() };
    (inner.clone(), Cache::new(inner, settings, Metrics::new()))
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_load_has_an_etag_and_304_is_given_only_to_who_sends_it() {
    let version = Arc::new(AtomicU64::new(1));
    let now = version.clone();
    let (inner, cache) =
        cache(Scripted::new(move |_| answer(&format!(r#"{{"v":{}}}"#, now.load(Ordering::SeqCst)))), Duration::ZERO);
    let first = cache.call(load()).await.expect("loaded");
    assert_eq!(first.status, StatusCode::OK);
    let same = cache.call(if_none_match(load(), &etag(&first))).await.expect("loaded");
    assert_eq!((same.status, same.body.len(), etag(&same)), (StatusCode::NOT_MODIFIED, 0, etag(&first)));
    assert_eq!(cache.call(load()).await.expect("loaded").body, first.body);

    version.store(2, Ordering::SeqCst);
    let changed = cache.call(if_none_match(load(), &etag(&first))).await.expect("loaded");
    assert_eq!((changed.status, &changed.body[..]), (StatusCode::OK, &br#"{"v":2}"#[..]));
    assert_ne!(etag(&changed), etag(&first));
    // every load asked, and no client's ETag went up
    assert_eq!(inner.seen().len(), 4);
    assert!(inner.seen().iter().all(|r| !r.headers.contains_key(header::IF_NONE_MATCH)));
}

#[tokio::test]
async fn an_etag_covers_the_caller_the_snapshots_and_the_mapping() {
    let (_, one) = cache(Scripted::new(|_| answer("{}")), Duration::ZERO);
    let ann = etag(&one.call(by("ann")).await.expect("loaded"));
    let bob = etag(&one.call(by("bob")).await.expect("loaded"));
    let mut refs = by("ann");
    refs.query.push(("snapshots".into(), "refs".into()));
    let refs = etag(&one.call(refs).await.expect("loaded"));
    let settings = CacheSettings { mapping_generation: 1, ..CacheSettings::default() };
    let mapped = Cache::new(Arc::new(Scripted::new(|_| answer("{}"))), settings, Metrics::new());
    let mapped = etag(&mapped.call(by("ann")).await.expect("loaded"));
    assert!(ann != bob && ann != refs && ann != mapped && bob != refs);
    assert_eq!(one.call(if_none_match(by("bob"), &ann)).await.expect("loaded").status, StatusCode::OK);
}

#[tokio::test]
async fn an_upstreams_own_etag_saves_the_body() {
    let inner = Scripted::new(|r| {
        if r.headers.get(header::IF_NONE_MATCH).is_some_and(|v| v == "\"up\"") {
            return Ok(Response { status: StatusCode::NOT_MODIFIED, headers: HeaderMap::new(), body: Bytes::new() });
        }
        let mut response = answer(r#"{"v":1}"#)?;
        response.headers.insert(header::ETAG, HeaderValue::from_static("\"up\""));
        Ok(response)
    });
    let (inner, cache) = cache(inner, Duration::ZERO);
    let first = cache.call(load()).await.expect("loaded");
    assert_ne!(etag(&first), "\"up\"");
    let second = cache.call(load()).await.expect("loaded");
    assert_eq!((second.status, &second.body, etag(&second)), (StatusCode::OK, &first.body, etag(&first)));
    assert_eq!(
        cache.call(if_none_match(load(), &etag(&first))).await.expect("loaded").status,
        StatusCode::NOT_MODIFIED
    );
    let asked = inner.seen().iter().map(|r| r.headers.contains_key(header::IF_NONE_MATCH)).collect::<Vec<_>>();
    assert_eq!(asked, [false, true, true]);
}

#[tokio::test]
async fn within_max_staleness_the_upstream_is_not_asked_and_never_for_another_caller() {
    let (inner, cache) = cache(Scripted::new(|r| answer(&format!(r#"{{"for":"{}"}}"#, r.principal.name()))), LONG);
    for name in ["ann", "bob", "ann", "bob"] {
        let response = cache.call(by(name)).await.expect("loaded");
        assert_eq!(response.body, format!(r#"{{"for":"{name}"}}"#));
    }
    assert_eq!(inner.seen().len(), 2);
}

#[tokio::test]
async fn an_answer_with_credentials_is_asked_anew_and_has_no_etag() {
    for body in [r#"{"config":{"s3.session-token":"x"}}"#, r#"{"storage-credentials":[{"prefix":"p","config":{}}]}"#] {
        let inner = Scripted::new(move |_| {
            let mut response = answer(body)?;
            response.headers.insert(header::ETAG, HeaderValue::from_static("\"up\""));
            Ok(response)
        });
        let (inner, cache) = cache(inner, LONG);
        for _ in 0..2 {
            let response =
                cache.call(if_none_match(load(), &HeaderValue::from_static("\"up\""))).await.expect("loaded");
            assert_eq!((response.status, response.headers.get(header::ETAG)), (StatusCode::OK, None));
        }
        assert_eq!(inner.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_write_voids_what_was_kept_even_when_its_outcome_is_unknown() {
    let (inner, cache) = cache(
        Scripted::new(|r| match r.operation {
            Operation::LoadTable => answer("{}"),
            _ => Err(Error::new(Kind::OutcomeUnknown, "cut")),
        }),
        LONG,
    );
    let loads = || inner.seen().iter().filter(|r| r.operation == Operation::LoadTable).count();
    let named =
        |body: &str, operation| Request { body: body.to_owned().into(), target: Target::Catalog, ..request(operation) };
    let one = r#"{"namespace":["a"],"name":"t"}"#;
    let other = r#"{"namespace":["a"],"name":"u"}"#;
    let mut expected = 1;
    cache.call(load()).await.expect("loaded");
    for write in [
        request(Operation::UpdateTable),
        request(Operation::DropTable),
        named(&format!(r#"{{"source":{other},"destination":{one}}}"#), Operation::RenameTable),
        named(&format!(r#"{{"table-changes":[{{"identifier":{one}}}]}}"#), Operation::CommitTransaction),
        Request {
            target: Target::Namespace(ident("t").namespace),
            ..named(r#"{"name":"t"}"#, Operation::RegisterTable)
        },
    ] {
        assert!(cache.call(write).await.is_err());
        cache.call(load()).await.expect("loaded");
        cache.call(load()).await.expect("loaded");
        expected += 1;
        assert_eq!(loads(), expected);
    }
}

#[tokio::test]
async fn many_loads_at_once_become_one() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let mut inner = Scripted::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        answer("{}")
    });
    inner.pause = Duration::from_millis(20);
    let (_, cache) = cache(inner, LONG);
    for response in join_all((0..32).map(|_| cache.call(load()))).await {
        assert_eq!(response.expect("loaded").status, StatusCode::OK);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failed_load_holds_up_nobody_and_is_not_kept() {
    let asked = AtomicUsize::new(0);
    let mut inner = Scripted::new(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Error::new(Kind::BadUpstream, "first")),
        _ => answer("{}"),
    });
    inner.pause = Duration::from_millis(5);
    let (_, cache) = cache(inner, LONG);
    let failed = join_all((0..4).map(|_| cache.call(load()))).await.iter().filter(|r| r.is_err()).count();
    assert_eq!(failed, 1);
}

#[tokio::test]
async fn a_table_that_is_gone_is_gone() {
    let there = Arc::new(AtomicUsize::new(1));
    let now = there.clone();
    let (_, cache) = cache(
        Scripted::new(move |_| match now.load(Ordering::SeqCst) {
            1 => answer("{}"),
            _ => Ok(Response { status: StatusCode::NOT_FOUND, ..answer("{}")? }),
        }),
        Duration::ZERO,
    );
    let first = cache.call(load()).await.expect("loaded");
    there.store(0, Ordering::SeqCst);
    assert_eq!(cache.call(if_none_match(load(), &etag(&first))).await.expect("told").status, StatusCode::NOT_FOUND);
}
