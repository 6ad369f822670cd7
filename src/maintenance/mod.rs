//! Maintenance of tables: snapshots that have had their time, files that nothing reaches, files too small to be read well.
//!
//! What must hold: `docs/decisions/0013-maintenance.md`. Nothing goes that a snapshot, ref, reader or another table needs; metadata changes first and files
//! go after; everything can be planned without being done, cut off at any moment and done again. When it is done, and who asks for it, is for `jobs`.

mod compact;
mod expire;
mod notes;
mod orphans;
mod policy;
mod reach;
mod report;
mod retention;
mod site;
mod spark;
mod walk;
mod work;

pub use compact::{CompactionReport, PartitionPlan};
pub use expire::ExpireOptions;
pub use orphans::{OLDER_THAN, OrphanOptions};
pub use policy::{Caretaker, Policy};
pub use report::{Counts, ExpiryReport, OrphansReport, Progress};
pub use retention::Retention;
pub use site::{Holds, Places, Site};
pub use spark::{SparkTarget, spark_command, spark_conf};
pub use work::{DropReport, Maintained, Work, WorkReport};

#[cfg(test)]
mod tests;
