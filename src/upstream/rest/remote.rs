//! What an upstream says about itself in `/v1/config`, asked lazily, kept, and asked again from time to time.
//!
//! What must hold: with the caller's own token each caller has an answer of their own, and how many are kept is bounded; an
//! answer once had serves on while the upstream cannot be asked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::client::Base;
use super::path::Paths;
use crate::error::{Error, Kind, Result};
use crate::model::Operation;

/// After a refresh that failed while an older answer still serves.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);
/// Callers whose answers are kept, with the caller's own tokens.
const CALLERS_MAX: u64 = 1_000;
/// A caller's answer is kept so many refresh times when it is not asked for.
const CALLER_KEPT: u32 = 4;

/// What an upstream serves that names no `endpoints`: the specification's list for old servers.
const DEFAULTS: [Operation; 14] = [
    Operation::ListNamespaces,
    Operation::LoadNamespace,
    Operation::CreateNamespace,
    Operation::UpdateProperties,
    Operation::DropNamespace,
    Operation::ListTables,
    Operation::LoadTable,
    Operation::CreateTable,
    Operation::UpdateTable,
    Operation::DropTable,
    Operation::RenameTable,
    Operation::RegisterTable,
    Operation::ReportMetrics,
    Operation::CommitTransaction,
];
/// And when it says `view-endpoints-supported`.
const DEFAULT_VIEWS: [Operation; 6] = [
    Operation::ListViews,
    Operation::LoadView,
    Operation::CreateView,
    Operation::ReplaceView,
    Operation::DropView,
    Operation::RenameView,
];

/// An upstream as it describes itself.
pub(super) struct Remote {
    /// Where its routes are.
    pub base: Base,
    /// The bases by which it may name itself in answers.
    pub names: Vec<Base>,
    /// How its paths are written.
    pub paths: Paths,
    /// The operations that it advertises.
    pub served: HashSet<Operation>,
    /// Whether it stores the outcome of writes by `Idempotency-Key`.
    pub idempotent: bool,
    /// Headers that it wants on every request.
    pub headers: HeaderMap,
    /// Its answer, whole.
    pub document: Map<String, Value>,
}

impl Remote {
    /// Reads the answer that `asked` gave.
    pub(super) fn parse(asked: &Base, body: &[u8]) -> Result<Self> {
        let wrong = |why: &str| Error::new(Kind::BadUpstream, format!("the upstream's /v1/config {why}"));
        let document: Map<String, Value> = serde_json::from_slice(body).map_err(|_| wrong("is not a JSON object"))?;
        let defaults = document.get("defaults").and_then(Value::as_object);
        let overrides = document.get("overrides").and_then(Value::as_object);
        let stated = |key: &str| overrides.and_then(|o| o.get(key)).or_else(|| defaults.and_then(|d| d.get(key)));
        let text = |key: &str| stated(key).and_then(Value::as_str);

        let mut base = asked.clone();
        let mut names = vec![asked.clone()];
        if let Some(named) = text("uri").and_then(|uri| Base::parse(uri).ok()) {
            if named.same_origin(asked) {
                base = named.clone();
            }
            names.push(named);
        }
        let served = match document.get("endpoints") {
            Some(Value::Array(lines)) if !lines.is_empty() => {
                lines.iter().filter_map(Value::as_str).filter_map(Operation::from_endpoint).collect()
            }
            _ if text("view-endpoints-supported") == Some("true") => {
                DEFAULTS.into_iter().chain(DEFAULT_VIEWS).collect()
            }
            _ => HashSet::from(DEFAULTS),
        };
        let idempotent = document.get("idempotency-key-lifetime").is_some_and(Value::is_string);
        let paths = Paths::new(text("prefix").unwrap_or_default(), text("namespace-separator"))?;
        let mut headers = HeaderMap::new();
        for (key, value) in defaults.into_iter().flatten().chain(overrides.into_iter().flatten()) {
            if let Some((name, value)) = stated_header(key, value) {
                headers.insert(name, value);
            }
        }
        Ok(Remote { base, names, paths, served, idempotent, headers, document })
    }

    /// Whether the operation may be sent there. Signing and credentials are asked for by what a table's own answer said, and
    /// older upstreams serve them without a line in `endpoints`.
    pub(super) fn serves(&self, operation: Operation) -> bool {
        matches!(operation, Operation::SignRequest | Operation::LoadCredentials) || self.served.contains(&operation)
    }
}

/// `header.X` in a config is a header that the client is to send. Who we are is not the upstream's to say.
fn stated_header(key: &str, value: &Value) -> Option<(HeaderName, HeaderValue)> {
    const NOT: [&str; 8] = [
        "authorization",
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "cookie",
        "accept-encoding",
        "te",
    ];
    let name: HeaderName = key.strip_prefix("header.")?.parse().ok()?;
    if NOT.contains(&name.as_str()) {
        return None;
    }
    Some((name, HeaderValue::from_str(value.as_str()?).ok()?))
}

/// The answers that are kept.
pub(super) struct Remotes {
    refresh: Duration,
    shared: Slot,
    by_caller: moka::future::Cache<[u8; 32], Arc<Slot>>,
}

#[derive(Default)]
struct Slot {
    known: ArcSwapOption<Known>,
    asking: Mutex<()>,
}

struct Known {
    remote: Arc<Remote>,
    ask_at: Instant,
}

impl Remotes {
    pub(super) fn new(refresh: Duration) -> Self {
        let by_caller = moka::future::Cache::builder()
            .max_capacity(CALLERS_MAX)
            .time_to_idle(refresh.max(REFRESH_PAUSE) * CALLER_KEPT)
            .build();
        Remotes { refresh, shared: Slot::default(), by_caller }
    }

    /// The kept answer, of one caller or of all; `ask` is called when there is none or it is old.
    pub(super) async fn get<F>(&self, caller: Option<[u8; 32]>, ask: F) -> Result<Arc<Remote>>
    where
        F: AsyncFnOnce() -> Result<Remote>,
    {
        match caller {
            None => self.shared.get(self.refresh, ask).await,
            Some(caller) => {
                self.by_caller.get_with(caller, async { Arc::default() }).await.get(self.refresh, ask).await
            }
        }
    }
}

impl Slot {
    async fn get<F>(&self, refresh: Duration, ask: F) -> Result<Arc<Remote>>
    where
        F: AsyncFnOnce() -> Result<Remote>,
    {
        let old = match self.known.load().as_ref() {
            Some(known) if Instant::now() < known.ask_at => return Ok(known.remote.clone()),
            Some(known) => Some(known.remote.clone()),
            None => None,
        };
        // the old answer still serves: one caller asks, the others go on
        let _guard = match &old {
            None => self.asking.lock().await,
            Some(remote) => match self.asking.try_lock() {
                Ok(guard) => guard,
                Err(_) => return Ok(remote.clone()),
            },
        };
        if let Some(known) = self.known.load().as_ref()
            && Instant::now() < known.ask_at
        {
            return Ok(known.remote.clone());
        }
        let (remote, ask_at) = match (ask().await, old) {
            (Ok(remote), _) => (Arc::new(remote), Instant::now() + refresh),
            // whoever may not ask any more has no answer any more
            (Err(error), Some(old)) if !matches!(error.kind(), Kind::NotAuthorized | Kind::Forbidden) => {
                tracing::warn!(error = %error, "the upstream's config could not be asked again; the last one is used");
                (old, Instant::now() + REFRESH_PAUSE)
            }
            (Err(error), _) => return Err(error),
        };
        self.known.store(Some(Arc::new(Known { remote: remote.clone(), ask_at })));
        Ok(remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(body: &str) -> Remote {
        Remote::parse(&Base::parse("http://up:1/iceberg").expect("valid"), body.as_bytes()).expect("valid")
    }

    #[test]
    fn an_upstream_without_endpoints_serves_the_old_list() {
        let old = remote(r#"{"defaults":{},"overrides":{}}"#);
        assert!(
            old.serves(Operation::LoadTable) && !old.serves(Operation::LoadView) && !old.serves(Operation::TableExists)
        );
        let views = remote(r#"{"defaults":{"view-endpoints-supported":"true"},"overrides":{}}"#);
        assert!(views.serves(Operation::LoadView));
        let new = remote(r#"{"endpoints":["GET /v1/{prefix}/namespaces","GET /v9/what",7]}"#);
        assert_eq!(new.served, HashSet::from([Operation::ListNamespaces]));
    }

    #[test]
    fn a_stated_uri_is_followed_only_at_the_same_origin() {
        let same = remote(r#"{"overrides":{"uri":"http://up:1/other/"}}"#);
        assert_eq!(same.base.uri("v1/config").expect("valid").path(), "/other/v1/config");
        let elsewhere = remote(r#"{"overrides":{"uri":"http://evil/x"}}"#);
        assert_eq!(elsewhere.base.uri("v1/config").expect("valid").to_string(), "http://up:1/iceberg/v1/config");
        assert_eq!(elsewhere.names.len(), 2);
    }

    #[test]
    fn stated_headers_never_say_who_we_are() {
        let stated = remote(r#"{"overrides":{"header.Authorization":"Bearer x","header.X-Realm":"r"}}"#);
        assert_eq!(stated.headers.len(), 1);
        assert_eq!(stated.headers["x-realm"], "r");
    }
}
