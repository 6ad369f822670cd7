//! Writes the journal: one entry for what came together, and, held against the catalog, what was missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Change;
use crate::error::Result;
use crate::journal::{ENTRIES_A_CHECKPOINT, Follower, Journal};
use crate::model::{Event, MetadataDigest, Operation};
use crate::storage::{Location, Storage};
use crate::upstream::asking::{Asking, Committed, Differences};

/// Changes that one entry takes.
const CHANGES_MAX: usize = 500;
/// How often the journal is held against the catalog.
const COMPARE_EVERY: Duration = Duration::from_secs(600);
/// The same after something went wrong.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// The largest metadata file whose digest is taken.
const METADATA_BYTES_MAX: u64 = 256 << 20;
/// How long a damaged entry is waited for before it is passed over. What we write ourselves arrives at once.
const SETTLE: Duration = Duration::ZERO;

/// Writes one catalog's journal.
pub struct JournalWriter {
    asking: Asking,
    journal: Journal,
    storage: Arc<Storage>,
    changes: mpsc::Receiver<Change>,
    has_missed: Arc<AtomicBool>,
    follower: Follower,
    /// The number of the last checkpoint that was written here.
    checkpoint: u64,
}

impl JournalWriter {
    pub(super) fn new(
        asking: Asking,
        journal: Journal,
        storage: Arc<Storage>,
        changes: mpsc::Receiver<Change>,
        has_missed: Arc<AtomicBool>,
    ) -> Self {
        let follower = Follower::new(journal.clone(), SETTLE);
        JournalWriter { asking, journal, storage, changes, has_missed, follower, checkpoint: 0 }
    }

    /// Writes as long as there are changes to hear of.
    pub async fn run(mut self) {
        let mut compare_at = Instant::now();
        loop {
            let mut some = Vec::new();
            let worked = tokio::select! {
                count = self.changes.recv_many(&mut some, CHANGES_MAX) => match count {
                    0 => return,
                    _ => self.write(some).await,
                },
                () = sleep_until(compare_at) => {
                    compare_at = Instant::now() + COMPARE_EVERY;
                    self.compare().await
                }
            };
            if let Err(error) = worked {
                let folder = self.journal.folder();
                tracing::warn!(error = %error, journal = %folder, "the journal cannot be written; it is held against the catalog soon");
                self.has_missed.store(true, Ordering::Relaxed);
            }
            if self.has_missed.swap(false, Ordering::Relaxed) {
                compare_at = compare_at.min(Instant::now() + AGAIN_AFTER);
            }
        }
    }

    /// Writes what was heard. What belongs together is an entry of its own, in its turn.
    async fn write(&mut self, changes: Vec<Change>) -> Result<()> {
        let mut events = Vec::new();
        for change in changes {
            match change {
                Change::Transaction(idents) => {
                    self.append(std::mem::take(&mut events), false).await?;
                    let mut together = Vec::new();
                    for ident in idents {
                        let state = self.asking.load(Operation::LoadTable, &ident).await?;
                        together.extend(self.commit(state).await);
                    }
                    self.append(together, true).await?;
                }
                Change::Commit(state) => events.extend(self.commit(Some(state)).await),
                Change::Drop(ident) => events.push(Event::Drop { ident, time_ms: None }),
                Change::Rename(ident, to) => events.push(Event::Rename { ident, to }),
                Change::Namespace(namespace) => {
                    let properties = self.asking.properties(&namespace).await?;
                    events.extend(properties.map(|properties| Event::Namespace { namespace, properties }));
                }
                Change::DropNamespace(namespace) => events.push(Event::DropNamespace { namespace }),
            }
        }
        self.append(events, false).await
    }

    async fn append(&mut self, events: Vec<Event>, is_transaction: bool) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let said = self.follower.look().await?;
        let number = self.journal.append(said.number + 1, events, is_transaction).await?.number;
        if number >= self.checkpoint + ENTRIES_A_CHECKPOINT {
            let said = self.follower.look().await?;
            self.journal.write_checkpoint(said.number, said.checkpoint()).await?;
            self.checkpoint = said.number;
        }
        Ok(())
    }

    /// A state with its metadata file's size and digest, where that can be read from here.
    async fn commit(&self, state: Option<Committed>) -> Option<Event> {
        let Committed { ident, uuid, location } = state?;
        let place = Location::new(&location);
        let read = match place.check() {
            Ok(()) => self.storage.read(&place, METADATA_BYTES_MAX).await.ok(),
            Err(_) => None,
        };
        let metadata = MetadataDigest::new(location, read.as_deref());
        Some(Event::Commit { ident, uuid, metadata })
    }

    /// Holds the journal against the catalog, and writes down what it does not say: what was missed in a crash, and what went around us.
    async fn compare(&mut self) -> Result<()> {
        let said = self.follower.look().await?;
        self.checkpoint = self.checkpoint.max(said.number / ENTRIES_A_CHECKPOINT * ENTRIES_A_CHECKPOINT);
        let Differences { committed, others } = self.asking.differences(&said).await?;
        let mut events = Vec::with_capacity(committed.len() + others.len());
        for state in committed {
            events.extend(self.commit(Some(state)).await);
        }
        events.extend(others);
        if !events.is_empty() {
            let count = events.len();
            tracing::info!(journal = %self.journal.folder(), count, "the journal did not say all that the catalog has");
        }
        for some in events.chunks(CHANGES_MAX) {
            self.append(some.to_vec(), false).await?;
        }
        Ok(())
    }
}
