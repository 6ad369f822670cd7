//! One whole table in storage: everything that its metadata leads to.

pub mod copy_plan;
pub mod purge;
pub mod relocate;

use crate::error::{Error, Result};

/// Runs work that takes its time where it does not hold up others.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::internal("work on a table was cut off").with_source(e))?
}
