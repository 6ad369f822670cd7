//! Work in the background: what may be begun again at any time, and is, until it is done.

mod purge;

pub use purge::PurgeWorker;
