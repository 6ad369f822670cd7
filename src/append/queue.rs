//! Append calls that wait for their commit: those that come while one is in flight join the next.
//!
//! What must hold: every call gets its own answer; one whose requirements do not hold is refused alone; a panic answers all that wait.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value as Json;
use tokio::sync::oneshot;

use super::commit::{Appended, Batch, append, described_for};
use super::known::Known;
use super::tracked::Key;
use super::{Shared, Table};
use crate::error::{Error, Kind, Result};
use crate::format::data_file::TableShape;
use crate::format::manifest::DataFile;
use crate::format::metadata::table;
use crate::model::Ident;

/// Calls of one commit.
const GROUP_CALLS_MAX: usize = 64;
/// Files of one commit.
const GROUP_FILES_MAX: usize = 20_000;
/// Calls that wait for one table.
const WAITING_MAX: usize = 10_000;
/// In a snapshot's summary: the Idempotency-Keys of the calls that made it.
pub(super) const KEYS: &str = "lifeboat.idempotency-keys";

/// The calls of one table.
#[derive(Default)]
pub(super) struct Queue(Mutex<Waitings>);

#[derive(Default)]
struct Waitings {
    calls: Vec<Waiting>,
    is_running: bool,
}

/// A call that waits.
pub(super) struct Waiting {
    pub branch: String,
    pub files: Vec<DataFile>,
    pub described_for: (i64, i64),
    pub requirements: Vec<Json>,
    /// Its Idempotency-Key with what identifies its request.
    pub key: Option<String>,
    pub answer: oneshot::Sender<Answered>,
}

/// What a call hears.
pub(super) enum Answered {
    /// Its files are in the table.
    Done {
        /// The snapshot that brought them; none where all were there before.
        snapshot: Option<(i64, i64)>,
        /// Its files that were there before.
        known: HashSet<Key>,
    },
    /// The table changed: its files must be described again.
    Again,
    Failed(Error),
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waitings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the next commit; whoever comes first begins it.
    pub fn join(shared: &Arc<Shared>, ident: &Ident, table: &Arc<Table>, waiting: Waiting) -> Result<()> {
        let mut queue = table.queue.lock();
        if queue.calls.len() >= WAITING_MAX {
            return Err(Error::new(
                Kind::TooManyRequests,
                format!("{WAITING_MAX} calls wait to append to {ident}, try again"),
            ));
        }
        queue.calls.push(waiting);
        if !std::mem::replace(&mut queue.is_running, true) {
            tokio::spawn(run(shared.clone(), ident.clone(), table.clone()));
        }
        Ok(())
    }

    /// Calls for one branch that fit into one commit, oldest first; none ends the run.
    fn next_group(&self) -> Vec<Waiting> {
        let mut queue = self.lock();
        let Some(branch) = queue.calls.first().map(|call| call.branch.clone()) else {
            queue.is_running = false;
            return Vec::new();
        };
        let (mut group, mut files) = (Vec::new(), 0);
        let mut at = 0;
        while at < queue.calls.len() && group.len() < GROUP_CALLS_MAX {
            let call = &queue.calls[at];
            let fits = group.is_empty() || files + call.files.len() <= GROUP_FILES_MAX;
            if call.branch == branch && fits {
                files += call.files.len();
                group.push(queue.calls.remove(at));
            } else {
                at += 1;
            }
        }
        group
    }
}

/// Sees to it that nobody waits for a run that ended in a panic.
struct Running<'t>(&'t Table);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        if queue.is_running {
            queue.is_running = false;
            // their senders go, which answers them
            queue.calls.clear();
        }
    }
}

async fn run(shared: Arc<Shared>, ident: Ident, table: Arc<Table>) {
    let _running = Running(&table);
    loop {
        let group = table.queue.next_group();
        if group.is_empty() {
            return;
        }
        let mut state = table.turn.lock().await;
        commit_group(&shared, &ident, &mut state.known, group).await;
    }
}

async fn commit_group(shared: &Shared, ident: &Ident, known: &mut Known, mut group: Vec<Waiting>) {
    if known.loaded.is_none()
        && let Err(error) = known.refresh(&shared.tools, ident).await
    {
        return fail(group, &error);
    }
    while !group.is_empty() {
        group = match held(shared, ident, known, group).await {
            Ok(group) => group,
            Err((group, error)) => return fail(group, &error),
        };
        let Some(first) = group.first() else { return };
        let described_for = first.described_for;
        let batch = batch(shared, &group, described_for);
        let partition = match known.metadata().and_then(TableShape::of) {
            Ok(shape) => shape.spec.partition(),
            Err(error) => return fail(group, &error),
        };
        match append(&shared.tools, ident, known, (batch, &partition)).await {
            Ok(Appended::Landed { snapshot_id, sequence_number, known: there }) => {
                return land(shared, group, Some((snapshot_id, sequence_number)), Some(&there));
            }
            Ok(Appended::Nothing) => return land(shared, group, None, None),
            Ok(Appended::Changed) => return again(group),
            // somebody's requirement: each is looked at by itself
            Ok(Appended::Refused) => {}
            Err(error) => return fail(group, &error),
        }
    }
}

/// Answers those whose requirements do not hold, and those that were described for another schema; the others go on.
async fn held(
    shared: &Shared,
    ident: &Ident,
    known: &mut Known,
    group: Vec<Waiting>,
) -> std::result::Result<Vec<Waiting>, (Vec<Waiting>, Error)> {
    let holds = |known: &Known, call: &Waiting| {
        known.metadata().and_then(|metadata| table::check(&call.requirements, Some(metadata)))
    };
    if group.iter().any(|call| holds(known, call).is_err()) {
        // they may hold of a newer state
        if let Err(error) = known.refresh(&shared.tools, ident).await {
            return Err((group, error));
        }
    }
    let now = match known.metadata() {
        Ok(metadata) => described_for(metadata),
        Err(error) => return Err((group, error)),
    };
    let mut left = Vec::with_capacity(group.len());
    for call in group {
        match holds(known, &call) {
            Err(error) => answer(call, Answered::Failed(error)),
            Ok(()) if call.described_for != now => answer(call, Answered::Again),
            Ok(()) => left.push(call),
        }
    }
    Ok(left)
}

/// All files of a group, each once.
fn batch(shared: &Shared, group: &[Waiting], described_for: (i64, i64)) -> Batch {
    let mut seen = HashSet::new();
    let files = group.iter().flat_map(|call| &call.files);
    let files = files.filter(|file| seen.insert(shared.tools.spelling.key(&file.file_path))).cloned().collect();
    let keys: Vec<&str> = group.iter().filter_map(|call| call.key.as_deref()).collect();
    let properties = if keys.is_empty() { Vec::new() } else { vec![(KEYS.to_owned(), keys.join(","))] };
    let mut requirements: Vec<Json> = Vec::new();
    for requirement in group.iter().flat_map(|call| &call.requirements) {
        if !requirements.contains(requirement) {
            requirements.push(requirement.clone());
        }
    }
    let branch = group.first().map(|call| call.branch.clone()).unwrap_or_default();
    Batch { branch, files, described_for, properties, requirements }
}

/// Answers a group that landed, or all of which was there before (`there` is `None`).
fn land(shared: &Shared, group: Vec<Waiting>, snapshot: Option<(i64, i64)>, there: Option<&HashSet<Key>>) {
    let mut first: HashMap<Key, ()> = HashMap::new();
    for call in group {
        let mut known = HashSet::new();
        for file in &call.files {
            let key = shared.tools.spelling.key(&file.file_path);
            let was_there = there.is_none_or(|there| there.contains(&key));
            // of two calls of one commit with the same file the first brings it
            if was_there || first.insert(key, ()).is_some() {
                known.insert(key);
            }
        }
        answer(call, Answered::Done { snapshot, known });
    }
}

fn again(group: Vec<Waiting>) {
    group.into_iter().for_each(|call| answer(call, Answered::Again));
}

fn fail(group: Vec<Waiting>, error: &Error) {
    for call in group {
        answer(call, Answered::Failed(Error::new(error.kind(), error.to_string())));
    }
}

fn answer(call: Waiting, answered: Answered) {
    // whoever went away does not hear it
    let _ = call.answer.send(answered);
}
