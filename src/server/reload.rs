//! Tokens and certificates, read again without a restart: every few seconds, on SIGHUP, and when an operator asks.
//!
//! What must hold: a file with a mistake changes nothing but the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::telemetry::Metrics;

use super::auth::Tokens;
use super::tls::Certificates;

/// What can be read again.
pub(super) struct Reloader {
    pub(super) tokens: Option<Arc<Tokens>>,
    pub(super) certificates: Option<Certificates>,
    metrics: Metrics,
    /// The trouble that was logged last, of each: the same is not logged at every look.
    logged: [Mutex<Option<String>>; 2],
}

impl Reloader {
    pub(super) fn new(tokens: Option<Arc<Tokens>>, certificates: Option<Certificates>, metrics: Metrics) -> Self {
        Reloader { tokens, certificates, metrics, logged: Default::default() }
    }

    /// Reads everything again; all is tried, the first error is returned.
    pub(super) fn reload(&self) -> Result<()> {
        let tokens = self.tokens.as_ref().map_or(Ok(false), |tokens| tokens.reload());
        let certificates = self.certificates.as_ref().map_or(Ok(false), Certificates::reload);
        self.note(0, "tokens", &tokens);
        self.note(1, "certificates", &certificates);
        tokens.and(certificates).map(drop)
    }

    /// Says what has changed, and what is wrong when it was not said already.
    fn note(&self, at: usize, what: &'static str, done: &Result<bool>) {
        let mut logged = self.logged[at].lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Ok(changed) => {
                *logged = None;
                if *changed {
                    self.metrics.reload(what);
                    tracing::info!("{what} have changed and are taken");
                }
            }
            Err(error) => {
                let message = error.to_string();
                if logged.as_ref() != Some(&message) {
                    tracing::error!("{what} could not be read again, the old ones stay: {message}");
                    *logged = Some(message);
                }
            }
        }
    }

    /// Looks every `every` and on SIGHUP, until it is dropped.
    pub(super) async fn watch(self: Arc<Self>, every: Duration) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut hangups = Hangups::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = hangups.next() => {}
            }
            let this = self.clone();
            if tokio::task::spawn_blocking(move || drop(this.reload())).await.is_err() {
                tracing::error!("the look for changed tokens and certificates panicked");
            }
        }
    }
}

/// SIGHUP, where there is such a thing.
struct Hangups {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    #[cfg(unix)]
    fn new() -> Self {
        Hangups { signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok() }
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Hangups {}
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}
