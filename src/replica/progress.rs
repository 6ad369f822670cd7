//! How far a sync has come, for whoever watches it from elsewhere, and a way to stop it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How far a sync has come.
#[derive(Debug, Default)]
pub struct SyncProgress {
    /// Tables to look at; none before the storage was looked through.
    pub tables_to_do: AtomicUsize,
    /// Those that were looked at. A sync that looks again begins from nought.
    pub tables_done: AtomicUsize,
    /// How often a look published something new of a table. It only grows.
    pub published: AtomicUsize,
    stops: AtomicBool,
}

impl SyncProgress {
    /// Lets no other look begin. Those that have begun go on to their end: a table's memory would be wrong if they were cut off.
    pub fn stop(&self) {
        self.stops.store(true, Ordering::Relaxed);
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.stops.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self, tables: usize) {
        self.tables_done.store(0, Ordering::Relaxed);
        self.tables_to_do.store(tables, Ordering::Relaxed);
    }

    pub(super) fn looked(&self, published: usize) {
        self.published.fetch_add(published, Ordering::Relaxed);
        self.tables_done.fetch_add(1, Ordering::Relaxed);
    }
}
