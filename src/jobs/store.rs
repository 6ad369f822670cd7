//! Jobs that users start and look after: begun, watched, cancelled and forgotten. One [`Jobs`] for each kind of work.
//!
//! They live in memory only. What must hold: running and finished ones are bounded; work that panics is a job that failed; once the server stops, all
//! that run are cancelled and none begins. What a job leaves behind when it is cancelled is its work's business.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::error::{Error, Kind, Result};
use crate::model::CatalogName;
use crate::telemetry::panic_text;
use crate::upstream::pointer::now_ms;

/// Jobs of a kind that run at once.
pub const RUNNING_MAX: usize = 4;
/// Finished jobs of a kind that are remembered.
pub const FINISHED_MAX: usize = 200;
/// How long a finished job is remembered.
pub const FINISHED_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// What bounds [`Jobs`].
#[derive(Debug, Clone, Copy)]
pub struct JobLimits {
    /// [`RUNNING_MAX`].
    pub running_max: usize,
    /// [`FINISHED_MAX`].
    pub finished_max: usize,
    /// [`FINISHED_KEPT`].
    pub finished_kept: Duration,
}

impl Default for JobLimits {
    fn default() -> Self {
        JobLimits { running_max: RUNNING_MAX, finished_max: FINISHED_MAX, finished_kept: FINISHED_KEPT }
    }
}

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Under way.
    Running,
    /// It did all that was asked.
    Done,
    /// It did not, and the error says why.
    Failed,
    /// Somebody, or the server's end, stopped it.
    Cancelled,
}

/// What is about one catalog.
pub trait OfCatalog {
    /// That catalog.
    fn catalog(&self) -> &CatalogName;
}

/// A kind of work.
pub trait Work: 'static {
    /// What one job of it is called.
    const NOUN: &'static str;
    /// What is asked for.
    type About: Display + PartialEq + Send + Sync;
    /// How far it has come.
    type Progress: Default + Send + Sync;
    /// What it did.
    type Report: Send + Sync;
}

/// A job as it is now.
pub struct Job<W: Work> {
    /// Newer ones sort after older ones.
    pub id: Uuid,
    /// How it is.
    pub state: JobState,
    /// What was asked for.
    pub about: Arc<W::About>,
    /// Who asked.
    pub principal: String,
    /// When it began, since 1970.
    pub began_at_ms: u64,
    /// How long it ran, or has run so far.
    pub took: Duration,
    /// How far it has come; it moves on while the job runs.
    pub progress: Arc<W::Progress>,
    /// What it did; one that failed may have it, too.
    pub report: Option<Arc<W::Report>>,
    /// Why it failed.
    pub error: Option<Arc<Error>>,
}

/// What a job's work is given.
pub(super) struct Begun<W: Work> {
    pub(super) id: Uuid,
    pub(super) progress: Arc<W::Progress>,
    /// Comes when the job is to stop.
    pub(super) cancelled: oneshot::Receiver<()>,
}

/// How a job ends.
pub(super) enum Outcome<W: Work> {
    Done(Arc<W::Report>),
    Failed(Option<Arc<W::Report>>, Arc<Error>),
    Cancelled,
}

/// The jobs of one kind.
pub struct Jobs<W: Work> {
    limits: JobLimits,
    shared: Arc<Shared<W>>,
}

struct Shared<W: Work> {
    kept: Mutex<Kept<W>>,
    running: watch::Sender<usize>,
}

struct Kept<W: Work> {
    by_id: BTreeMap<Uuid, Entry<W>>,
    stops: bool,
}

struct Entry<W: Work> {
    key: Option<Uuid>,
    about: Arc<W::About>,
    principal: String,
    began: Instant,
    began_at_ms: u64,
    progress: Arc<W::Progress>,
    cancel: Option<oneshot::Sender<()>>,
    end: Option<End<W>>,
}

struct End<W: Work> {
    at: Instant,
    outcome: Outcome<W>,
}

impl<W: Work> Jobs<W> {
    pub(super) fn new(limits: JobLimits) -> Self {
        let kept = Mutex::new(Kept { by_id: BTreeMap::new(), stops: false });
        Jobs { limits, shared: Arc::new(Shared { kept, running: watch::Sender::new(0) }) }
    }

    /// Begins one, unless the same caller has begun the same with this key: then that is the answer. [`Kind::Unprocessable`] when the key was for
    /// something else, [`Kind::TooManyRequests`] when too many run, [`Kind::Unavailable`] when the server stops.
    pub(super) fn begin<F>(
        &self,
        (principal, key): (&str, Option<Uuid>),
        about: W::About,
        work: impl FnOnce(Begun<W>) -> F,
    ) -> Result<Job<W>>
    where
        F: Future<Output = Outcome<W>> + Send + 'static,
    {
        let mut kept = self.kept();
        let has_key = |entry: &&Entry<W>| key.is_some() && entry.key == key && entry.principal == principal;
        match kept.by_id.iter().find(|(_, entry)| has_key(entry)) {
            Some((id, entry)) if *entry.about == about => return Ok(entry.seen(*id)),
            Some(_) => {
                let message = "the Idempotency-Key was used for another request; use a new one";
                return Err(Error::new(Kind::Unprocessable, message));
            }
            None => {}
        }
        if kept.stops {
            return Err(Error::new(Kind::Unavailable, "the server is stopping"));
        }
        let (noun, running) = (W::NOUN, kept.by_id.values().filter(|entry| entry.end.is_none()).count());
        if running >= self.limits.running_max {
            let message = format!("{running} {noun}s are running, which is the most: wait for one or cancel it");
            return Err(Error::new(Kind::TooManyRequests, message));
        }
        let id = Uuid::now_v7();
        let (cancel, cancelled) = oneshot::channel();
        let entry: Entry<W> = Entry {
            key,
            about: Arc::new(about),
            principal: principal.to_owned(),
            began: Instant::now(),
            began_at_ms: now_ms().unsigned_abs(),
            progress: Arc::default(),
            cancel: Some(cancel),
            end: None,
        };
        tracing::info!(job.id = %id, principal.name = principal, "a {noun} of {} begins", entry.about);
        let work = work(Begun { id, progress: entry.progress.clone(), cancelled });
        let shared = self.shared.clone();
        shared.running.send_modify(|count| *count += 1);
        tokio::spawn(async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
                let error = Error::internal(format!("a {noun} panicked: {}", panic_text(&*panic)));
                Outcome::Failed(None, Arc::new(error))
            });
            shared.end(id, outcome);
        });
        let begun = entry.seen(id);
        kept.by_id.insert(id, entry);
        Ok(begun)
    }

    /// The newest `limit` of those that are wanted, or of those of them before one, newest first.
    pub fn list(&self, before: Option<Uuid>, limit: usize, is_wanted: impl Fn(&W::About) -> bool) -> Vec<Job<W>> {
        let kept = self.kept();
        let newest_first = kept.by_id.iter().rev().filter(|(id, _)| before.is_none_or(|before| **id < before));
        let wanted = newest_first.filter(|(_, entry)| is_wanted(&entry.about));
        wanted.take(limit).map(|(id, entry)| entry.seen(*id)).collect()
    }

    /// One of them.
    pub fn get(&self, id: Uuid) -> Option<Job<W>> {
        self.kept().by_id.get(&id).map(|entry| entry.seen(id))
    }

    /// Asks one to stop and waits until it has; one that has ended stays as it is, and so does work that may not be cut off any more.
    pub async fn cancel(&self, id: Uuid) -> Option<Job<W>> {
        let mut running = self.shared.running.subscribe();
        self.kept().by_id.get_mut(&id)?.cancel.take();
        loop {
            let seen = self.get(id)?;
            if seen.state != JobState::Running || running.changed().await.is_err() {
                return Some(seen);
            }
        }
    }

    /// Cancels all and lets none begin any more.
    pub fn stop(&self) {
        let mut kept = self.kept();
        kept.stops = true;
        kept.by_id.values_mut().for_each(|entry| drop(entry.cancel.take()));
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
    fn kept(&self) -> MutexGuard<'_, Kept<W>> {
        let mut kept = self.shared.lock();
        let JobLimits { finished_kept, finished_max, .. } = self.limits;
        kept.by_id.retain(|_, entry| entry.end.as_ref().is_none_or(|end| end.at.elapsed() < finished_kept));
        let ended = kept.by_id.iter().filter_map(|(id, entry)| Some((entry.end.as_ref()?.at, *id)));
        let mut ended: Vec<(Instant, Uuid)> = ended.collect();
        if ended.len() > finished_max {
            ended.sort_unstable();
            let over = ended.len() - finished_max;
            ended[..over].iter().for_each(|(_, id)| drop(kept.by_id.remove(id)));
        }
        kept
    }
}

impl<W: Work> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, Kept<W>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an end. What was done has been told by the work itself.
    fn end(&self, id: Uuid, outcome: Outcome<W>) {
        let noun = W::NOUN;
        match &outcome {
            Outcome::Done(_) => {}
            Outcome::Failed(_, error) if error.kind() == Kind::Internal => {
                tracing::error!(job.id = %id, error = %error, "a {noun} failed");
            }
            Outcome::Failed(_, error) => tracing::warn!(job.id = %id, error = %error, "a {noun} failed"),
            Outcome::Cancelled => tracing::info!(job.id = %id, "a {noun} was cancelled"),
        }
        if let Some(entry) = self.lock().by_id.get_mut(&id) {
            entry.cancel = None;
            entry.end = Some(End { at: Instant::now(), outcome });
        }
        self.running.send_modify(|count| *count -= 1);
    }
}

impl<W: Work> Entry<W> {
    fn seen(&self, id: Uuid) -> Job<W> {
        let (state, report, error) = match self.end.as_ref().map(|end| &end.outcome) {
            None => (JobState::Running, None, None),
            Some(Outcome::Done(report)) => (JobState::Done, Some(report.clone()), None),
            Some(Outcome::Failed(report, error)) => (JobState::Failed, report.clone(), Some(error.clone())),
            Some(Outcome::Cancelled) => (JobState::Cancelled, None, None),
        };
        Job {
            id,
            state,
            about: self.about.clone(),
            principal: self.principal.clone(),
            began_at_ms: self.began_at_ms,
            took: self.end.as_ref().map_or_else(|| self.began.elapsed(), |end| end.at.duration_since(self.began)),
            progress: self.progress.clone(),
            report,
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Walks;

    impl Work for Walks {
        const NOUN: &'static str = "walk";
        type About = String;
        type Progress = ();
        type Report = ();
    }

    #[tokio::test]
    async fn work_that_panics_is_a_job_that_failed_and_makes_room() {
        let jobs = Jobs::<Walks>::new(JobLimits { running_max: 1, ..JobLimits::default() });
        for _ in 0..2 {
            let begun = jobs
                .begin(("somebody", None), "the dog".into(), |_| async { panic!("there is none") })
                .expect("has room");
            assert!(jobs.ended(Duration::from_secs(60)).await);
            let seen = jobs.get(begun.id).expect("is remembered");
            let error = seen.error.expect("an error");
            assert_eq!((seen.state, error.kind()), (JobState::Failed, Kind::Internal));
            assert_eq!(error.message(), "a walk panicked: there is none");
        }
    }
}
