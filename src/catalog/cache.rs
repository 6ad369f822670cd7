//! The layer that keeps loaded tables and views: an ETag on every load, 304 for who has it, fewer bytes from the upstream.
//!
//! What must hold: an answer is asked of the upstream again at every load, unless within `max_staleness`; nobody gets another
//! caller's answer; an answer with credentials is never kept; a write through us, however it ended, voids what was kept.
//! Memory is bounded by `bytes_max`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::StatusCode;
use http::header::{self, HeaderValue};
use tokio::sync::watch;

use super::marks::{Marks, Touched, touched};
use super::stored::{Key, Stored, bears_credentials};
use crate::error::{Error, Kind, Result};
use crate::model::Operation;
use crate::upstream::{Catalog, Request, Response};

/// Kept bytes when nothing else is said.
pub const BYTES_MAX: u64 = 256 << 20;
/// An answer that nobody asks for is dropped after this time.
const IDLE_MAX: Duration = Duration::from_secs(3600);
/// What an entry weighs beside its body and key, in bytes.
const ENTRY_OVERHEAD: usize = 1024;

/// How answers are kept.
#[derive(Debug, Clone, Copy)]
pub struct CacheSettings {
    /// Kept bytes at most.
    pub bytes_max: u64,
    /// How old an answer may be that is given without asking the upstream; zero: always ask.
    pub max_staleness: Duration,
    /// Number of the location map in force; answers made under another one are not used.
    pub mapping_generation: u64,
    /// Whether the caller's own token goes to the upstream, so that two tokens of one name may see different things.
    pub by_token: bool,
}

impl Default for CacheSettings {
    fn default() -> Self {
        CacheSettings { bytes_max: BYTES_MAX, max_staleness: Duration::ZERO, mapping_generation: 0, by_token: false }
    }
}

/// How loads were answered since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// From what was kept, without asking.
    pub hits: u64,
    /// From what was kept, after the upstream said that it still holds.
    pub revalidated: u64,
    /// With what the upstream sent.
    pub misses: u64,
}

/// Keeps loads of the catalog below.
pub struct Cache {
    inner: Arc<dyn Catalog>,
    settings: CacheSettings,
    kept: moka::future::Cache<Key, Arc<Stored>>,
    marks: Marks,
    flights: Flights,
    hits: AtomicU64,
    revalidated: AtomicU64,
    misses: AtomicU64,
}

impl Cache {
    /// Around a catalog.
    pub fn new(inner: Arc<dyn Catalog>, settings: CacheSettings) -> Self {
        let weigh = |key: &Key, stored: &Arc<Stored>| {
            u32::try_from(stored.body.len() + key.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
        };
        let kept = moka::future::Cache::builder()
            .weigher(weigh)
            .max_capacity(settings.bytes_max)
            .time_to_idle(IDLE_MAX)
            .build();
        Cache {
            inner,
            settings,
            kept,
            marks: Marks::new(),
            flights: Flights::default(),
            hits: AtomicU64::new(0),
            revalidated: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// How loads were answered since the start.
    pub fn counts(&self) -> CacheCounts {
        CacheCounts {
            hits: self.hits.load(Ordering::Relaxed),
            revalidated: self.revalidated.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    async fn load(&self, mut request: Request) -> Result<Response> {
        // a client's ETag is ours; it says nothing to the upstream
        let wanted: Vec<HeaderValue> = request.headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect();
        request.headers.remove(header::IF_NONE_MATCH);
        let key = Key::of(&request, self.settings.mapping_generation, self.settings.by_token);
        if self.settings.max_staleness.is_zero() {
            return self.ask(key, request, &wanted).await;
        }
        if let Some(stored) = self.fresh(&key, &request).await {
            return Ok(self.hit(&stored, &wanted));
        }
        let leading = self.flights.join(&key).await;
        if leading.is_none()
            && let Some(stored) = self.fresh(&key, &request).await
        {
            return Ok(self.hit(&stored, &wanted));
        }
        self.ask(key, request, &wanted).await
    }

    fn hit(&self, stored: &Stored, wanted: &[HeaderValue]) -> Response {
        self.hits.fetch_add(1, Ordering::Relaxed);
        stored.response(wanted)
    }

    /// What may be given without asking.
    async fn fresh(&self, key: &Key, request: &Request) -> Option<Arc<Stored>> {
        let stored = self.kept.get(key).await?;
        let mark = self.marks.now(request.ident().ok()?);
        (stored.mark == mark && stored.asked_at.elapsed() < self.settings.max_staleness).then_some(stored)
    }

    async fn ask(&self, key: Key, mut request: Request, wanted: &[HeaderValue]) -> Result<Response> {
        let mark = self.marks.now(request.ident()?);
        let asked_at = Instant::now();
        let old = self.kept.get(&key).await;
        if let Some(etag) = old.as_ref().and_then(|old| old.upstream_etag.clone()) {
            request.headers.insert(header::IF_NONE_MATCH, etag);
        }
        let mut response = self.inner.call(request).await?;
        let stored = match (response.status, &old) {
            (StatusCode::NOT_MODIFIED, Some(old)) => {
                self.revalidated.fetch_add(1, Ordering::Relaxed);
                old.again(asked_at, mark)
            }
            (StatusCode::NOT_MODIFIED, None) => {
                return Err(Error::new(Kind::BadUpstream, "the upstream answered 304 to a load without If-None-Match"));
            }
            (StatusCode::OK, old) => {
                self.misses.fetch_add(1, Ordering::Relaxed);
                let same = old.as_ref().is_some_and(|old| old.body == response.body);
                if !same && bears_credentials(&response.body) {
                    self.kept.invalidate(&key).await;
                    response.headers.remove(header::ETAG);
                    return Ok(response);
                }
                Stored::new(&key, response, old.as_deref(), asked_at, mark)
            }
            _ => {
                self.kept.invalidate(&key).await;
                return Ok(response);
            }
        };
        let response = stored.response(wanted);
        self.kept.insert(key, Arc::new(stored)).await;
        Ok(response)
    }
}

#[async_trait]
impl Catalog for Cache {
    async fn call(&self, request: Request) -> Result<Response> {
        if matches!(request.operation, Operation::LoadTable | Operation::LoadView) {
            return self.load(request).await;
        }
        match touched(&request) {
            Touched::Nothing => self.inner.call(request).await,
            touched => {
                let _writing = self.marks.writing(touched);
                self.inner.call(request).await
            }
        }
    }

    async fn ready(&self) -> Result<()> {
        self.inner.ready().await
    }
}

/// Loads under way, so that many at once for the same thing become one.
#[derive(Default)]
struct Flights(Arc<Mutex<HashMap<Key, watch::Receiver<()>>>>);

/// The right to load for all; the others go on when it is dropped.
struct Leading {
    flights: Arc<Mutex<HashMap<Key, watch::Receiver<()>>>>,
    key: Key,
    _ends: watch::Sender<()>,
}

impl Flights {
    /// Leads if nobody does, else waits for whoever does. Who waited asks for itself if that brought nothing, all at once: a
    /// queue of callers before a slow upstream would be worse.
    async fn join(&self, key: &Key) -> Option<Leading> {
        let mut ended = {
            let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match flights.get(key) {
                Some(ended) => ended.clone(),
                None => {
                    let (ends, ended) = watch::channel(());
                    flights.insert(key.clone(), ended);
                    return Some(Leading { flights: self.0.clone(), key: key.clone(), _ends: ends });
                }
            }
        };
        // nothing is ever sent: this ends with an error when the sender is dropped
        let _ = ended.changed().await;
        None
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
