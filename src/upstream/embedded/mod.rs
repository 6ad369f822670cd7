//! The catalog that Lifeboat is by itself: pointers in one database, SQLite or PostgreSQL.
//!
//! What must hold: every transaction that changes something first checks, and holds until it ends, that this catalog is the primary.

mod pointers;
mod purges;

pub use pointers::DatabasePointers;
pub use purges::{Purge, Purges};

#[cfg(test)]
mod tests;
