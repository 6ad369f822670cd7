//! The journal in storage: small objects that are written once, beside the data that they speak of, and so replicated with it.
//!
//! What must hold: nothing that was written is changed; numbers only grow, also when several servers write; what is read is checked and may still be
//! forged. What an entry means is for [`crate::model::Said`]; who writes and who follows is for others.

mod follow;

use std::sync::Arc;

use bytes::Bytes;

pub use follow::Follower;

use crate::error::{Error, Kind, Result};
use crate::model::{Entry, Event};
use crate::storage::{Location, Storage};
use crate::upstream::pointer::now_ms;

/// The largest object.
const ENTRY_BYTES_MAX: u64 = 64 << 20;
/// Numbers that are tried for one entry, while other servers take them.
const TRIES_MAX: u64 = 10_000;
/// Entries from one checkpoint to the next.
pub const ENTRIES_A_CHECKPOINT: u64 = 1_000;

/// One catalog's journal.
#[derive(Debug, Clone)]
pub struct Journal {
    storage: Arc<Storage>,
    folder: Location,
}

impl Journal {
    /// The journal in a folder, which may not be there yet.
    pub fn new(storage: Arc<Storage>, folder: Location) -> Self {
        Journal { storage, folder }
    }

    /// Where it is.
    pub fn folder(&self) -> &Location {
        &self.folder
    }

    /// Writes the next entry, whose number is `next` unless other servers were quicker. Returns it as it is there now.
    pub async fn append(&self, next: u64, events: Vec<Event>, is_transaction: bool) -> Result<Entry> {
        let mut entry = Entry { is_transaction, ..Entry::new(next, now_ms(), events) };
        for number in (next..).take(TRIES_MAX as usize) {
            entry.number = number;
            match self.storage.write_new(&self.entry(number), to_bytes(&entry)?).await {
                Ok(()) => return Ok(entry),
                Err(e) if e.kind() == Kind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::commit_failed(format!("{}: other servers take all numbers of the journal", self.folder)))
    }

    /// Writes down all that the journal says as of an entry, for those who begin to follow. One that is there already is as good.
    pub async fn write_checkpoint(&self, number: u64, events: Vec<Event>) -> Result<()> {
        let entry = Entry { is_checkpoint: true, ..Entry::new(number, now_ms(), events) };
        self.storage.write_once(&self.checkpoint(number), to_bytes(&entry)?).await
    }

    fn entries(&self) -> Location {
        self.folder.join("entries")
    }

    fn checkpoints(&self) -> Location {
        self.folder.join("checkpoints")
    }

    fn entry(&self, number: u64) -> Location {
        self.entries().join(&name(number))
    }

    fn checkpoint(&self, number: u64) -> Location {
        self.checkpoints().join(&name(number))
    }

    async fn read(&self, location: &Location, number: u64) -> Result<Entry> {
        let bytes = self.storage.read(location, ENTRY_BYTES_MAX).await?;
        Entry::parse(&bytes, number, location.as_str())
    }
}

/// The name of an entry's object: names are in the order of numbers.
fn name(number: u64) -> String {
    format!("{number:020}.json")
}

/// The number in a name.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

fn to_bytes(entry: &Entry) -> Result<Bytes> {
    serde_json::to_vec(entry).map(Bytes::from).map_err(|e| Error::internal(e.to_string()))
}
