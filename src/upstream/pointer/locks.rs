//! Turns within this process: commits to one table queue here instead of losing races in the database.
//!
//! Only a courtesy: what must hold is held by compare-and-swap. Names share a fixed number of locks, taken in order.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// How many locks there are.
const LOCKS: usize = 256;

/// A bounded set of locks for any number of names.
pub(super) struct Locks {
    locks: Vec<Arc<Mutex<()>>>,
    hasher: RandomState,
}

impl Locks {
    pub(super) fn new() -> Self {
        Locks { locks: (0..LOCKS).map(|_| Arc::default()).collect(), hasher: RandomState::new() }
    }

    /// Waits for its turn with all `names`.
    pub(super) async fn take(&self, names: impl IntoIterator<Item = impl Hash>) -> Vec<OwnedMutexGuard<()>> {
        let mut places: Vec<usize> =
            names.into_iter().map(|name| (self.hasher.hash_one(name) % LOCKS as u64) as usize).collect();
        places.sort_unstable();
        places.dedup();
        let mut taken = Vec::with_capacity(places.len());
        for place in places {
            taken.push(self.locks[place].clone().lock_owned().await);
        }
        taken
    }
}
