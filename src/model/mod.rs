//! Our nouns: names of things, who asks, and the operations of the Iceberg REST API.
//!
//! Pure: values and rules about values, no I/O, no clock. A value that exists is valid.

mod access;
mod ident;
mod operation;
mod secret;

pub use access::{Principal, Role};
pub use ident::{CatalogName, Ident, Namespace, UNIT_SEPARATOR};
pub use operation::{Access, Operation, Route};
pub use secret::Secret;
