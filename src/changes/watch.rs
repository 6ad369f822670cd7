//! Readers that wait for a table to change.
//!
//! What must hold: however many wait for a table, it is asked for once at a time; a change between a reader's own look and its waiting is not missed;
//! nobody waits longer than was asked for, and nothing is asked when nobody waits. Asking the table is the callers'.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Ident};
use crate::upstream::Response;

/// How often a table is asked for while somebody waits.
const INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two questions.
const PAUSE: Duration = Duration::from_millis(20);
/// Readers that wait at once.
const WAITING_MAX: usize = 1_000;

/// Loads a table, unless it is as this ETag says.
pub type Load = Arc<dyn Fn(Option<HeaderValue>) -> BoxFuture<'static, Result<Response>> + Send + Sync>;

/// A table, and on whose behalf it is asked for where that matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Watched {
    /// The catalog.
    pub catalog: CatalogName,
    /// The table.
    pub table: Ident,
    /// The caller, where callers bring tokens of the upstream.
    pub caller: Option<String>,
}

/// What tells one state of a table from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen(String);

impl Seen {
    /// Of an answer to a load.
    pub fn of(body: &Bytes) -> Result<Seen> {
        #[derive(Deserialize)]
        struct Loaded<'a> {
            #[serde(rename = "metadata-location")]
            location: Option<String>,
            #[serde(borrow)]
            metadata: Option<&'a RawValue>,
        }
        let unreadable = |e| Error::new(Kind::BadUpstream, "the catalog's answer is not JSON").with_source(e);
        let loaded: Loaded<'_> = serde_json::from_slice(body).map_err(unreadable)?;
        Ok(Seen(loaded.location.unwrap_or_else(|| {
            let digest = Sha256::digest(loaded.metadata.map_or("", RawValue::get));
            digest.iter().map(|byte| format!("{byte:02x}")).collect()
        })))
    }
}

/// All that wait.
#[derive(Clone)]
pub struct Watches {
    shared: Arc<Shared>,
}

impl Default for Watches {
    fn default() -> Self {
        Self::asking_every(INTERVAL)
    }
}

struct Shared {
    interval: Duration,
    tables: Mutex<HashMap<Watched, Asked>>,
    waiting: AtomicUsize,
}

/// A table that is asked for.
#[derive(Clone)]
struct Asked {
    seen: watch::Sender<Option<Seen>>,
    now: Arc<Notify>,
}

/// One that waits.
struct Waiting(Arc<Shared>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Watches {
    fn asking_every(interval: Duration) -> Self {
        Watches { shared: Arc::new(Shared { interval, tables: Mutex::default(), waiting: AtomicUsize::new(0) }) }
    }

    /// A table was changed through this server: whoever waits for it hears of it at once. Without a table, any may have been.
    pub fn changed(&self, catalog: &CatalogName, table: Option<&Ident>) {
        if self.shared.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let tables = self.shared.lock();
        let of = |watched: &Watched| watched.catalog == *catalog && table.is_none_or(|table| watched.table == *table);
        tables.iter().filter(|(watched, _)| of(watched)).for_each(|(_, asked)| asked.now.notify_one());
    }

    /// Comes when a table is not any more as it was `seen`, or at the deadline, or when `is_over`.
    pub async fn wait(
        &self,
        watched: &Watched,
        load: &Load,
        seen: &Seen,
        deadline: Instant,
        is_over: impl Fn() -> bool,
    ) -> Result<()> {
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            drop(Waiting(self.shared.clone()));
            return Err(Error::new(
                Kind::TooManyRequests,
                format!("{WAITING_MAX} readers wait already; ask without wait"),
            ));
        }
        let _waiting = Waiting(self.shared.clone());
        // also where the table is told to be another one again and again, it is not asked for more often than so
        tokio::time::sleep(PAUSE).await;
        let mut receiver = self.shared.subscribe(watched, load);
        while Instant::now() < deadline && !is_over() {
            let step = (Instant::now() + self.shared.interval).min(deadline);
            let is_other = |now: &Option<Seen>| now.as_ref().is_some_and(|now| now != seen);
            if tokio::time::timeout_at(step, receiver.wait_for(is_other)).await.is_ok() {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Watched, Asked>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(self: &Arc<Self>, watched: &Watched, load: &Load) -> watch::Receiver<Option<Seen>> {
        let mut tables = self.lock();
        if let Some(asked) = tables.get(watched) {
            asked.now.notify_one();
            return asked.seen.subscribe();
        }
        let asked = Asked { seen: watch::Sender::new(None), now: Arc::new(Notify::new()) };
        let receiver = asked.seen.subscribe();
        tables.insert(watched.clone(), asked.clone());
        tokio::spawn(ask(self.clone(), watched.clone(), asked, load.clone()));
        receiver
    }
}

/// Asks for a table as long as somebody waits for it.
async fn ask(shared: Arc<Shared>, watched: Watched, asked: Asked, load: Load) {
    let mut etag: Option<HeaderValue> = None;
    loop {
        match load(etag.clone()).await {
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => {}
            Ok(answer) => {
                etag = answer.headers.get(header::ETAG).cloned();
                let seen = Seen::of(&answer.body).unwrap_or_else(|e| Seen(e.to_string()));
                asked.seen.send_if_modified(|last| last.replace(seen.clone()) != Some(seen));
            }
            // whoever waits asks by itself and hears what is wrong
            Err(e) => {
                asked.seen.send_if_modified(|last| last.replace(Seen(e.to_string())) != Some(Seen(e.to_string())));
            }
        }
        let _ = tokio::time::timeout(shared.interval, asked.now.notified()).await;
        tokio::time::sleep(PAUSE).await;
        let mut tables = shared.lock();
        if asked.seen.receiver_count() == 0 {
            tables.remove(&watched);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use serde_json::json;

    use super::*;

    fn watched() -> Watched {
        let catalog = CatalogName::parse("main").expect("valid");
        Watched { catalog, table: Ident::from_dotted("n.t").expect("valid"), caller: None }
    }

    #[tokio::test]
    async fn many_that_wait_are_one_that_asks_and_hear_of_a_change() {
        let (asked, state) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let load: Load = {
            let (asked, state) = (asked.clone(), state.clone());
            Arc::new(move |_| {
                asked.fetch_add(1, Ordering::Relaxed);
                let location = format!("m{}", state.load(Ordering::Relaxed));
                async move { Ok(Response::json(&json!({ "metadata-location": location }))) }.boxed()
            })
        };
        let interval = Duration::from_millis(50);
        let watches = Watches::asking_every(interval);
        let seen = Seen("m0".into());
        let begun = Instant::now();
        let readers = (0..50).map(|_| {
            let (watches, load, seen) = (watches.clone(), load.clone(), seen.clone());
            let deadline = begun + Duration::from_secs(60);
            tokio::spawn(async move { watches.wait(&watched(), &load, &seen, deadline, || false).await })
        });
        let readers: Vec<_> = readers.collect();
        tokio::time::sleep(10 * interval).await;
        assert!(asked.load(Ordering::Relaxed) < 20, "{asked:?} questions for 50 readers in 10 intervals");
        state.store(1, Ordering::Relaxed);
        watches.changed(&watched().catalog, Some(&watched().table));
        for reader in readers {
            reader.await.expect("no panic").expect("it waited");
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        while !watches.shared.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        let before = asked.load(Ordering::Relaxed);
        tokio::time::sleep(3 * interval).await;
        assert_eq!(asked.load(Ordering::Relaxed), before, "nobody waits");
        // what changed before one waits is heard of, too
        let later = Instant::now() + Duration::from_secs(60);
        watches.wait(&watched(), &load, &seen, later, || false).await.expect("waited");
        assert!(Instant::now() < later);
        let deadline = Instant::now() + 3 * interval;
        watches.wait(&watched(), &load, &Seen("m1".into()), deadline, || false).await.expect("waited");
        assert!(Instant::now() >= deadline, "nothing changed");
        watches.wait(&watched(), &load, &Seen("m1".into()), later, || true).await.expect("it is over at once");
    }
}
