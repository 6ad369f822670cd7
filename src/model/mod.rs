//! Our nouns: names of things, who asks, and the operations of the Iceberg REST API.
//!
//! Pure: values and rules about values, no I/O, no clock. A value that exists is valid.

mod access;
mod digest;
mod ident;
mod journal;
mod operation;
mod secret;

pub use access::{Principal, Role};
pub use digest::{hex, sha256, unhex};
pub use ident::{CatalogName, Ident, Namespace, UNIT_SEPARATOR};
pub use journal::{Entry, Event, JOURNAL_FORMAT_VERSION, MetadataDigest, Named, Said};
pub use operation::{Access, Operation, Route};
pub use secret::Secret;
