//! What changes in the catalog is written into its journal, for sites that get the storage replicated.
//!
//! What must hold: no answer waits for the journal, and none fails with it. So an entry may be missing after a crash, and what goes around us is never
//! seen here: the writer holds the journal against the catalog when it begins, and now and then.

mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::mpsc;

pub use writer::JournalWriter;

use crate::error::Result;
use crate::journal::Journal;
use crate::model::{CatalogName, Ident, Namespace, Operation};
use crate::storage::Storage;
use crate::upstream::asking::{Asking, Committed, committed, identifier, namespace};
use crate::upstream::{Catalog, Request, Response};

/// Changes that wait to be written; of more, the next comparison with the catalog finds what was missed.
const WAITING_MAX: usize = 10_000;

/// Tells the writer of the journal what changed.
pub struct Journaled {
    inner: Arc<dyn Catalog>,
    sender: mpsc::Sender<Change>,
    /// Changes were missed.
    has_missed: Arc<AtomicBool>,
}

/// One change, as far as a request and its answer say.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// A table or view has this state.
    Commit(Committed),
    /// What a name stands for must be asked: all of one transaction.
    Transaction(Vec<Ident>),
    Drop(Ident),
    Rename(Ident, Ident),
    Namespace(Namespace),
    DropNamespace(Namespace),
}

impl Journaled {
    /// Around the catalog `name`, with the one who writes its journal.
    pub fn new(
        name: CatalogName,
        inner: Arc<dyn Catalog>,
        journal: Journal,
        storage: Arc<Storage>,
    ) -> (Journaled, JournalWriter) {
        let (sender, changes) = mpsc::channel(WAITING_MAX);
        let has_missed = Arc::new(AtomicBool::new(false));
        let asking = Asking::new(name, inner.clone(), "journal");
        let writer = JournalWriter::new(asking, journal, storage, changes, has_missed.clone());
        (Journaled { inner, sender, has_missed }, writer)
    }
}

#[async_trait]
impl Catalog for Journaled {
    async fn call(&self, request: Request) -> Result<Response> {
        let asked = Asked::of(&request);
        let answer = self.inner.call(request).await?;
        if answer.status.is_success()
            && let Some(change) = asked.and_then(|asked| asked.change(&answer))
            && self.sender.try_send(change).is_err()
        {
            self.has_missed.store(true, Ordering::Relaxed);
        }
        Ok(answer)
    }

    async fn ready(&self) -> Result<()> {
        self.inner.ready().await
    }
}

/// What is kept of a request that may change something.
enum Asked {
    /// A table or view by the answer's state; its name.
    State(Ident),
    /// By the request alone.
    Known(Change),
    /// The namespace that the answer names.
    NewNamespace,
}

impl Asked {
    fn of(request: &Request) -> Option<Asked> {
        let body = || request.json().ok();
        let named =
            || Some(Asked::State(Ident::new(request.namespace().ok()?.clone(), body()?["name"].as_str()?).ok()?));
        let ident = || request.ident().ok().cloned();
        match request.operation {
            Operation::CreateTable | Operation::RegisterTable | Operation::CreateView | Operation::RegisterView => {
                named()
            }
            Operation::UpdateTable | Operation::ReplaceView => Some(Asked::State(ident()?)),
            Operation::DropTable | Operation::UnregisterTable | Operation::DropView => {
                Some(Asked::Known(Change::Drop(ident()?)))
            }
            Operation::RenameTable | Operation::RenameView => {
                let body = body()?;
                Some(Asked::Known(Change::Rename(identifier(&body["source"])?, identifier(&body["destination"])?)))
            }
            Operation::CommitTransaction => {
                let body = body()?;
                let changes = body["table-changes"].as_array()?.iter();
                let idents = changes.filter_map(|change| identifier(&change["identifier"])).collect();
                Some(Asked::Known(Change::Transaction(idents)))
            }
            Operation::CreateNamespace => Some(Asked::NewNamespace),
            Operation::UpdateProperties => Some(Asked::Known(Change::Namespace(request.namespace().ok()?.clone()))),
            Operation::DropNamespace => Some(Asked::Known(Change::DropNamespace(request.namespace().ok()?.clone()))),
            _ => None,
        }
    }

    fn change(self, answer: &Response) -> Option<Change> {
        let body = || serde_json::from_slice::<Value>(&answer.body).ok();
        match self {
            // a table that is only staged has no metadata file
            Asked::State(ident) => Some(Change::Commit(committed(ident, &body()?)?)),
            Asked::Known(change) => Some(change),
            Asked::NewNamespace => Some(Change::Namespace(namespace(&body()?["namespace"])?)),
        }
    }
}
