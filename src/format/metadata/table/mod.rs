//! Table metadata: create it, check a commit's requirements, apply a commit's updates, tell two states apart.
//!
//! What must hold: what [`apply`] and [`create`] return passes [`validate`], and everything in the base that no update
//! names is in the result as it was. The caller reads the base, passes the time and fresh ids, writes the result to a new
//! file and moves the pointer; it answers `NoSuchTable` before asking here about a table that is gone.

mod alike;
mod apply;
mod create;
mod diff;
mod draft;
mod finish;
mod log;
mod open;
mod property;
mod refs;
mod requirement;
mod schema;
mod snapshot;
mod sort;
mod spec;
mod statistics;
#[cfg(test)]
mod tests;
mod validate;

pub use alike::{current_only, unlike};
pub use apply::apply;
pub use create::create;
pub use diff::{Step, steps};
pub use refs::refs_only;
pub use requirement::check;
pub use validate::validate;

use serde_json::Value;

/// The newest table format version that we write.
pub const FORMAT_VERSION_MAX: i64 = 3;
/// The branch whose head is the table's current snapshot.
const MAIN: &str = "main";

/// What a commit made of a table.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The next metadata; the base itself when nothing changed.
    pub metadata: Value,
    /// Whether there is anything to commit.
    pub changed: bool,
    /// The metadata files that fell out of the metadata log, for whoever deletes them after the commit.
    pub removed_metadata_files: Vec<String>,
}
