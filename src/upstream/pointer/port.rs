//! The port to where pointers are kept.
//!
//! What must hold: [`Pointers::apply`] makes all of its changes or none, in one transaction that also checks that this catalog may
//! be written here and keeps the outcome when it is given one; a pointer moves only from the location that the caller saw.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::error::Result;
use crate::model::{Ident, Namespace};
use crate::storage::Location;

/// A namespace's properties.
pub type Properties = BTreeMap<String, String>;

/// What a pointer points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kept {
    /// A table's metadata.
    Table,
    /// A view's metadata.
    View,
}

/// A name's pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Table or view.
    pub kept: Kept,
    /// The metadata's uuid.
    pub uuid: String,
    /// The metadata's own location.
    pub location: Location,
    /// The current metadata file.
    pub metadata_location: Location,
}

/// One change of a transaction; its fields are named in what each does.
#[allow(missing_docs)]
#[derive(Debug, Clone)]
pub enum Change {
    /// Makes a namespace, and those above it that are missing. Taken: `AlreadyExists`.
    CreateNamespace { namespace: Namespace, properties: Properties },
    /// Replaces a namespace's properties, if they are still `from`; else `CommitFailed`.
    SetProperties { namespace: Namespace, from: Properties, to: Properties },
    /// Removes an empty namespace. Not empty: `NamespaceNotEmpty`.
    DropNamespace { namespace: Namespace },
    /// Makes a name. Taken: `AlreadyExists`; no such namespace: `NoSuchNamespace`.
    Create { ident: Ident, pointer: Pointer },
    /// Moves a pointer, if it is still at `from`; else `CommitFailed`.
    Swap { ident: Ident, from: Location, to: Pointer },
    /// Removes a name, if its pointer is still at `from`; else `CommitFailed`. With `purge` its files are to be deleted.
    Drop { ident: Ident, from: Pointer, purge: bool },
    /// Gives a pointer another name. No source: `NoSuchTable` or `NoSuchView`; target taken: `AlreadyExists`.
    Rename { kept: Kept, from: Ident, to: Ident },
}

/// Where in a listing to go on, and how far.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Only names after this one.
    pub after: &'a str,
    /// At most so many.
    pub count_max: i64,
}

/// What a write with an Idempotency-Key was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whose key it is.
    pub principal: String,
    /// The client's key.
    pub key: String,
    /// What was asked, so that a key is not used for two things.
    pub fingerprint: String,
    /// HTTP status; 0 stands for an error whose kind and message are in `body`.
    pub status: u16,
    /// The answer's body, where it is not a load result.
    pub body: String,
    /// The metadata that a load result showed.
    pub metadata_location: Option<Location>,
    /// Since when it is kept.
    pub kept_at_ms: i64,
    /// Until when it is kept.
    pub expires_at_ms: i64,
}

/// Where pointers are kept: one catalog of a database, a metastore.
#[async_trait]
pub trait Pointers: Send + Sync {
    /// The pointer of a name, whatever it points at.
    async fn get(&self, ident: &Ident) -> Result<Option<Pointer>>;

    /// The names of one kind in a namespace, in order.
    async fn list(&self, namespace: &Namespace, kept: Kept, page: Page<'_>) -> Result<Vec<String>>;

    /// A namespace's properties, or `None` where there is no such namespace.
    async fn namespace(&self, namespace: &Namespace) -> Result<Option<Properties>>;

    /// The namespaces directly below `parent`, or at the top, in order of [`Namespace::joined`], which is what a page goes by.
    async fn namespaces(&self, parent: Option<&Namespace>, page: Page<'_>) -> Result<Vec<Namespace>>;

    /// Makes all changes or none.
    async fn apply(&self, changes: &[Change], outcome: Option<&Outcome>) -> Result<()>;

    /// The outcome that was kept for a key, unless it has expired.
    async fn outcome(&self, principal: &str, key: &str, now_ms: i64) -> Result<Option<Outcome>>;

    /// Whether it answers.
    async fn ready(&self) -> Result<()>;
}
