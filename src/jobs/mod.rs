//! Work in the background, and work that users start: each step may be cut off and begun again.

mod append;
mod maintenance;
mod purge;
mod relocation;
mod relocation_jobs;
mod store;
mod sync;

pub use append::{AppendJob, AppendJobs, AppendRequest, AppendWork, AppendsReport};
pub use maintenance::{Maintenance, MaintenanceJob, MaintenanceJobs, MaintenanceRequest, MaintenanceWork};
pub use purge::PurgeWorker;
pub use relocation::{PrefixPair, RelocationRequest, Relocations};
pub use relocation_jobs::{Relocation, RelocationJobs, RelocationLimits};
pub use store::{Job, JobLimits, JobState, Jobs, Work};
pub use sync::{Sync, SyncJobs, SyncReport, SyncRequest, Syncs, sync};
