//! Relocations that users start and look after: begun, watched, cancelled and forgotten.
//!
//! They live in memory only. What must hold: running and finished ones are bounded; one that is cancelled, or cut off by the server's end, has
//! published nothing, and the same request goes on where it was; a registration that has begun is not cut off by us.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::{RelocationRequest, Relocations};
use crate::error::{Error, Kind, Result};
use crate::table::relocate::{LiveFile, Progress, Report};
use crate::telemetry::panic_text;
use crate::upstream::pointer::now_ms;

/// Relocations that run at once.
pub const RUNNING_MAX: usize = 4;
/// Finished relocations that are remembered.
pub const FINISHED_MAX: usize = 200;
/// How long a finished relocation is remembered.
pub const FINISHED_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// What bounds [`RelocationJobs`].
#[derive(Debug, Clone, Copy)]
pub struct RelocationLimits {
    /// [`RUNNING_MAX`].
    pub running_max: usize,
    /// [`FINISHED_MAX`].
    pub finished_max: usize,
    /// [`FINISHED_KEPT`].
    pub finished_kept: Duration,
}

impl Default for RelocationLimits {
    fn default() -> Self {
        RelocationLimits { running_max: RUNNING_MAX, finished_max: FINISHED_MAX, finished_kept: FINISHED_KEPT }
    }
}

/// How a relocation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelocationState {
    /// Under way.
    Running,
    /// It did all that was asked.
    Done,
    /// It did not, and the error says why.
    Failed,
    /// Somebody, or the server's end, stopped it.
    Cancelled,
}

/// A relocation as it is now.
#[derive(Debug, Clone)]
pub struct Relocation {
    /// Newer ones sort after older ones.
    pub id: Uuid,
    /// How it is.
    pub state: RelocationState,
    /// What is relocated, as it was asked for.
    pub source: String,
    /// Who asked.
    pub principal: String,
    /// When it began, since 1970.
    pub began_at_ms: u64,
    /// How long it ran, or has run so far.
    pub took: Duration,
    /// Bytes of manifests that are known to be there to do.
    pub bytes_to_do: u64,
    /// Bytes of manifests that are done.
    pub bytes_done: u64,
    /// Files that are done.
    pub files_done: u64,
    /// What it did; also of one that failed because files are missing.
    pub report: Option<Arc<Report>>,
    /// Why it failed.
    pub error: Option<Arc<Error>>,
}

/// The relocations of a server.
pub struct RelocationJobs {
    relocations: Relocations,
    limits: RelocationLimits,
    shared: Arc<Shared>,
}

struct Shared {
    jobs: Mutex<Jobs>,
    running: watch::Sender<usize>,
}

#[derive(Default)]
struct Jobs {
    by_id: BTreeMap<Uuid, Job>,
    stops: bool,
}

struct Job {
    source: String,
    principal: String,
    began: Instant,
    began_at_ms: u64,
    progress: Arc<Progress>,
    cancel: Option<oneshot::Sender<()>>,
    end: Option<End>,
}

struct End {
    at: Instant,
    outcome: Outcome,
}

#[derive(Clone)]
enum Outcome {
    Done(Arc<Report>),
    Failed(Option<Arc<Report>>, Arc<Error>),
    Cancelled,
}

impl RelocationJobs {
    /// Runs them with `relocations`.
    pub fn new(relocations: Relocations, limits: RelocationLimits) -> Self {
        let shared = Shared { jobs: Mutex::default(), running: watch::Sender::new(0) };
        RelocationJobs { relocations, limits, shared: Arc::new(shared) }
    }

    /// Begins one. What can be refused at once is: [`Kind::TooManyRequests`] when too many run, [`Kind::Unavailable`] when the server stops.
    pub fn start(&self, request: RelocationRequest, principal: &str) -> Result<Relocation> {
        self.relocations.check(&request)?;
        let mut jobs = self.jobs();
        if jobs.stops {
            return Err(Error::new(Kind::Unavailable, "the server is stopping"));
        }
        let running = jobs.by_id.values().filter(|job| job.end.is_none()).count();
        if running >= self.limits.running_max {
            let message = format!("{running} relocations are running, which is the most: wait for one or cancel it");
            return Err(Error::new(Kind::TooManyRequests, message));
        }
        let id = Uuid::now_v7();
        let (cancel, cancelled) = oneshot::channel();
        let job = Job {
            source: request.source.clone(),
            principal: principal.to_owned(),
            began: Instant::now(),
            began_at_ms: now_ms().unsigned_abs(),
            progress: Arc::default(),
            cancel: Some(cancel),
            end: None,
        };
        tracing::info!(job.id = %id, principal.name = principal, "a relocation of {} begins", job.source);
        let (relocations, progress, shared) = (self.relocations.clone(), job.progress.clone(), self.shared.clone());
        shared.running.send_modify(|count| *count += 1);
        tokio::spawn(async move {
            let work = AssertUnwindSafe(run(relocations, request, progress, cancelled)).catch_unwind();
            let outcome = work.await.unwrap_or_else(|panic| {
                let error = Error::internal(format!("a relocation panicked: {}", panic_text(&*panic)));
                Outcome::Failed(None, Arc::new(error))
            });
            shared.end(id, outcome);
        });
        let begun = job.seen(id);
        jobs.by_id.insert(id, job);
        Ok(begun)
    }

    /// The newest `limit` of them, or of those before one, newest first.
    pub fn list(&self, before: Option<Uuid>, limit: usize) -> Vec<Relocation> {
        let jobs = self.jobs();
        let newest_first = jobs.by_id.iter().rev().filter(|(id, _)| before.is_none_or(|before| **id < before));
        newest_first.take(limit).map(|(id, job)| job.seen(*id)).collect()
    }

    /// One of them.
    pub fn get(&self, id: Uuid) -> Option<Relocation> {
        self.jobs().by_id.get(&id).map(|job| job.seen(id))
    }

    /// Asks one to stop and waits until it has; one that has ended stays as it is, and so does a registration that has begun.
    pub async fn cancel(&self, id: Uuid) -> Option<Relocation> {
        let mut running = self.shared.running.subscribe();
        self.jobs().by_id.get_mut(&id)?.cancel.take();
        loop {
            let seen = self.get(id)?;
            if seen.state != RelocationState::Running || running.changed().await.is_err() {
                return Some(seen);
            }
        }
    }

    /// Cancels all and lets none begin any more.
    pub fn stop(&self) {
        let mut jobs = self.jobs();
        jobs.stops = true;
        jobs.by_id.values_mut().for_each(|job| drop(job.cancel.take()));
    }

    /// Waits until none runs; whether that came within `limit`.
    pub async fn ended(&self, limit: Duration) -> bool {
        let mut running = self.shared.running.subscribe();
        tokio::time::timeout(limit, running.wait_for(|count| *count == 0)).await.is_ok()
    }

    /// How long finished ones are remembered.
    pub fn finished_kept(&self) -> Duration {
        self.limits.finished_kept
    }

    /// All of them, without those that are to be forgotten.
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        let mut jobs = self.shared.lock();
        let RelocationLimits { finished_kept, finished_max, .. } = self.limits;
        jobs.by_id.retain(|_, job| job.end.as_ref().is_none_or(|end| end.at.elapsed() < finished_kept));
        let ended = jobs.by_id.iter().filter_map(|(id, job)| Some((job.end.as_ref()?.at, *id)));
        let mut ended: Vec<(Instant, Uuid)> = ended.collect();
        if ended.len() > finished_max {
            ended.sort_unstable();
            let over = ended.len() - finished_max;
            ended[..over].iter().for_each(|(_, id)| drop(jobs.by_id.remove(id)));
        }
        jobs
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, id: Uuid, outcome: Outcome) {
        match &outcome {
            Outcome::Done(report) => tracing::info!(
                job.id = %id,
                size_bytes = report.bytes_written,
                "a relocation is done: {}",
                report.metadata_location
            ),
            Outcome::Failed(_, error) if error.kind() == Kind::Internal => {
                tracing::error!(job.id = %id, error = %error, "a relocation failed");
            }
            Outcome::Failed(_, error) => tracing::warn!(job.id = %id, error = %error, "a relocation failed"),
            Outcome::Cancelled => tracing::info!(job.id = %id, "a relocation was cancelled"),
        }
        if let Some(job) = self.lock().by_id.get_mut(&id) {
            job.cancel = None;
            job.end = Some(End { at: Instant::now(), outcome });
        }
        self.running.send_modify(|count| *count -= 1);
    }
}

impl Job {
    fn seen(&self, id: Uuid) -> Relocation {
        let [bytes_to_do, bytes_done, files_done] =
            [&self.progress.bytes_to_do, &self.progress.bytes_done, &self.progress.files_done]
                .map(|count| count.load(Ordering::Relaxed));
        let (state, report, error) = match self.end.as_ref().map(|end| end.outcome.clone()) {
            None => (RelocationState::Running, None, None),
            Some(Outcome::Done(report)) => (RelocationState::Done, Some(report), None),
            Some(Outcome::Failed(report, error)) => (RelocationState::Failed, report, Some(error)),
            Some(Outcome::Cancelled) => (RelocationState::Cancelled, None, None),
        };
        let took = self.end.as_ref().map_or_else(|| self.began.elapsed(), |end| end.at.duration_since(self.began));
        let (source, principal) = (self.source.clone(), self.principal.clone());
        let began_at_ms = self.began_at_ms;
        Relocation {
            id,
            state,
            source,
            principal,
            began_at_ms,
            took,
            bytes_to_do,
            bytes_done,
            files_done,
            report,
            error,
        }
    }
}

async fn run(
    relocations: Relocations,
    request: RelocationRequest,
    progress: Arc<Progress>,
    cancelled: oneshot::Receiver<()>,
) -> Outcome {
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
        Ok(()) if report.is_whole() => Outcome::Done(Arc::new(report)),
        Ok(()) => {
            let but = if request.register.is_some() { ", so nothing was registered" } else { "" };
            let message = format!("{missing} files are missing{but}: copy them and ask again");
            Outcome::Failed(Some(Arc::new(report)), Arc::new(Error::new(Kind::Unprocessable, message)))
        }
        Err(error) => Outcome::Failed(Some(Arc::new(report)), Arc::new(error)),
    }
}
