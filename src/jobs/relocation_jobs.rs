//! Relocations that users start and look after.
//!
//! What must hold: one that is cancelled, or cut off by the server's end, has published nothing, and the same request goes on where it was; a
//! registration that has begun is not cut off by us.

use std::sync::Arc;

use super::store::{Begun, Job, JobLimits, Jobs, Outcome, Work};
use super::{RelocationRequest, Relocations};
use crate::error::{Error, Kind, Result};
use crate::table::relocate::{LiveFile, Progress, Report};

impl Work for Relocations {
    const NOUN: &'static str = "relocation";
    type About = String;
    type Progress = Progress;
    type Report = Report;
}

/// A relocation as it is now; what it is about is the source, as it was asked for.
pub type Relocation = Job<Relocations>;

/// What bounds [`RelocationJobs`].
pub type RelocationLimits = JobLimits;

/// The relocations of a server.
pub struct RelocationJobs {
    relocations: Relocations,
    /// Those that run, and those that ended not long ago.
    pub jobs: Jobs<Relocations>,
}

impl RelocationJobs {
    /// Runs them with `relocations`.
    pub fn new(relocations: Relocations, limits: RelocationLimits) -> Self {
        RelocationJobs { relocations, jobs: Jobs::new(limits) }
    }

    /// Begins one. What can be refused at once is.
    pub fn start(&self, request: RelocationRequest, principal: &str) -> Result<Relocation> {
        self.relocations.check(&request)?;
        let relocations = self.relocations.clone();
        self.jobs.begin((principal, None), request.source.clone(), |begun| run(relocations, request, begun))
    }
}

async fn run(relocations: Relocations, request: RelocationRequest, begun: Begun<Relocations>) -> Outcome<Relocations> {
    let Begun { id, progress, cancelled } = begun;
    let mut unheard = |_: &LiveFile| Ok(());
    let prepared = tokio::select! {
        biased;
        _ = cancelled => return Outcome::Cancelled,
        prepared = relocations.prepare(&request, progress, &mut unheard) => prepared,
    };
    let mut report = match prepared {
        Ok(report) => report,
        Err(error) => return Outcome::Failed(None, Arc::new(error)),
    };
    let published = relocations.publish(&request, &mut report).await;
    let missing = report.missing_files.as_ref().map_or(0, |missing| missing.count);
    match published {
        Ok(()) if report.is_whole() => {
            let (size_bytes, at) = (report.bytes_written, &report.metadata_location);
            tracing::info!(job.id = %id, size_bytes, "a relocation is done: {at}");
            Outcome::Done(Arc::new(report))
        }
        Ok(()) => {
            let but = if request.register.is_some() { ", so nothing was registered" } else { "" };
            let message = format!("{missing} files are missing{but}: copy them and ask again");
            Outcome::Failed(Some(Arc::new(report)), Arc::new(Error::new(Kind::Unprocessable, message)))
        }
        Err(error) => Outcome::Failed(Some(Arc::new(report)), Arc::new(error)),
    }
}
