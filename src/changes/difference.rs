//! What one snapshot changed: which manifests its changes are read from, and which of their entries do not count.
//!
//! A snapshot is its manifests. Those that its parent has, too, are the same files, since manifests never change; so what came is live in those that
//! are new in its list, and what went was live in those that are not in its list any more. A file that is live in both stayed. Statuses say the same
//! where a writer kept to the specification, and where one did not (it dropped a manifest, or carried one over from elsewhere) this holds all the same.
//! What must hold: the order of manifests and entries is that of the lists and files, for good.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::history::{Ahead, History, Named, Snapshot};
use super::manifests::{Manifests, READS_AT_ONCE, blocking};
use crate::error::{Error, Kind, Result};
use crate::format::avro::{FullEntry, ManifestLine, Status, for_each_full_entry};

/// Files that are remembered at once to compare a snapshot with its parent: 16 bytes each.
const FILES_COMPARED_MAX: usize = 4_000_000;

/// One manifest of a snapshot's changes.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Which of them it is.
    pub(super) number: u32,
    pub(super) line: Arc<ManifestLine>,
    /// Whether its files came, or went.
    pub(super) adds: bool,
}

/// Where a snapshot's changes are read.
#[derive(Debug, Clone, Default)]
pub(super) struct Difference {
    pub(super) steps: Vec<Step>,
    went: Option<Arc<Went>>,
}

/// The files of manifests that are not in the list any more.
#[derive(Debug)]
struct Went {
    hashers: [RandomState; 2],
    /// Ascending.
    keys: Vec<u128>,
    /// Those of them that are live in new manifests: bit by bit.
    stayed: Vec<u64>,
}

impl Difference {
    /// What a snapshot changed.
    pub(super) async fn find(manifests: &Manifests, history: &History, ahead: &Ahead<'_>) -> Result<Difference> {
        let own = manifests.lines(ahead.snapshot).await?;
        let Some(parent) = ahead.parent else { return Ok(Difference { steps: steps(&own, &[]), went: None }) };
        let before = manifests.lines(parent).await?;
        let paths = |lines: &[Arc<ManifestLine>]| lines.iter().map(|line| line.path.clone()).collect::<HashSet<_>>();
        let (own_paths, before_paths) = (paths(&own), paths(&before));
        let new: Vec<_> = own.into_iter().filter(|line| !before_paths.contains(&line.path)).collect();
        let gone: Vec<_> = before.into_iter().filter(|line| !own_paths.contains(&line.path)).collect();
        let steps = steps(&new, &gone);
        if new.is_empty() || gone.is_empty() {
            return Ok(Difference { steps, went: None });
        }
        compare(manifests, history, steps).await
    }

    /// Whether an entry is one of the changes.
    pub(super) fn counts(&self, step: &Step, entry: &FullEntry<'_>) -> bool {
        let is_live = entry.file.status != Status::Deleted;
        is_live
            && self.went.as_ref().is_none_or(|went| match (went.find(entry), step.adds) {
                (found, true) => found.is_none(),
                (found, false) => found.is_some_and(|at| !went.has_stayed(at)),
            })
    }

    /// What it takes to remember it.
    pub(super) fn size_bytes(&self) -> u32 {
        const STEP_BYTES: usize = 256;
        let keys = self.went.as_ref().map_or(0, |went| went.keys.len() * 17);
        u32::try_from(keys + self.steps.len() * STEP_BYTES).unwrap_or(u32::MAX)
    }

    /// Whether it took more than two lists to find.
    pub(super) fn is_costly(&self) -> bool {
        self.went.is_some()
    }
}

impl Went {
    fn key(&self, entry: &FullEntry<'_>) -> u128 {
        // deletion vectors share files
        let file = (entry.file.path, entry.content_offset);
        let [high, low] = &self.hashers;
        (u128::from(high.hash_one(file)) << 64) | u128::from(low.hash_one(file))
    }

    fn find(&self, entry: &FullEntry<'_>) -> Option<usize> {
        self.keys.binary_search(&self.key(entry)).ok()
    }

    fn has_stayed(&self, at: usize) -> bool {
        self.stayed.get(at / 64).is_some_and(|bits| bits >> (at % 64) & 1 == 1)
    }

    fn stay(&mut self, at: usize) {
        if let Some(bits) = self.stayed.get_mut(at / 64) {
            *bits |= 1 << (at % 64);
        }
    }
}

fn steps(new: &[Arc<ManifestLine>], gone: &[Arc<ManifestLine>]) -> Vec<Step> {
    let lines = new.iter().map(|line| (line, true)).chain(gone.iter().map(|line| (line, false)));
    lines.zip(0..).map(|((line, adds), number)| Step { number, line: line.clone(), adds }).collect()
}

/// Finds which files are live in manifests that went and in new ones, and leaves out the manifests in which nothing counts.
async fn compare(manifests: &Manifests, history: &History, steps: Vec<Step>) -> Result<Difference> {
    let mut went = Went { hashers: [RandomState::new(), RandomState::new()], keys: Vec::new(), stayed: Vec::new() };
    let mut with_new = HashSet::new();
    for (adds, is_last) in [(false, false), (true, true)] {
        let read = steps.iter().filter(|step| step.adds == adds).map(|step| manifests.read(step.line.clone()));
        let read: Vec<_> = read.collect();
        let mut read = stream::iter(read).buffered(READS_AT_ONCE);
        let mut numbers = steps.iter().filter(|step| step.adds == adds).map(|step| step.number);
        while let Some((line, bytes)) = read.try_next().await? {
            let columns = history.columns.clone();
            let came;
            (went, came) = blocking(move || {
                let mut came = false;
                for_each_full_entry(&bytes, &line, &columns, |_, entry| {
                    if entry.file.status == Status::Deleted {
                        return Ok(());
                    }
                    match adds {
                        false => went.keys.push(went.key(entry)),
                        true => match went.find(entry) {
                            Some(at) => went.stay(at),
                            None => came = true,
                        },
                    }
                    if went.keys.len() > FILES_COMPARED_MAX {
                        return Err(too_many());
                    }
                    Ok(())
                })?;
                Ok((went, came))
            })
            .await?;
            with_new.extend(numbers.next().filter(|_| came));
        }
        if !is_last {
            went.keys.sort_unstable();
            went.keys.dedup();
            went.stayed = vec![0; went.keys.len().div_ceil(64)];
        }
    }
    let all_stayed = (0..went.keys.len()).all(|at| went.has_stayed(at));
    let has_changes = |step: &Step| if step.adds { with_new.contains(&step.number) } else { !all_stayed };
    let steps = steps.into_iter().filter(has_changes).collect();
    Ok(Difference { steps, went: Some(Arc::new(went)) })
}

fn too_many() -> Error {
    let message = format!(
        "a snapshot replaced manifests of more than {FILES_COMPARED_MAX} files, which is more than is compared at once; where it is a replace \
         one, leave it out with skip-replace=true"
    );
    Error::new(Kind::Unprocessable, message)
}

/// What a difference is remembered by.
pub(super) fn key(history: &History, ahead: &Ahead<'_>) -> (String, Option<Named>, Named) {
    let named = |snapshot: &Snapshot| snapshot.named.clone();
    (history.table.as_str().to_owned(), ahead.parent.map(named), named(ahead.snapshot))
}
