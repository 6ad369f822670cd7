//! What a process remembers of a table between looks: it saves work, and nothing is lost with it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::published::Published;
use super::recheck::Recheck;
use crate::storage::Watch;
use crate::table::relocate::{Doubtful, Examples};

/// A recheck that takes longer is not begun again before as long has passed, however often files go: a large table's looks would do nothing else.
const LONG: Duration = Duration::from_secs(30);

/// What there is to see of a table without looking at its files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// The metadata folder's, where it has one.
    pub(super) stamp: Option<String>,
    /// The journal's last word.
    pub(super) told: Option<u64>,
}

/// What is remembered of a table between looks; without it only more is asked.
#[derive(Debug)]
pub(super) struct Memory {
    /// What was to see when the last look found nothing left to do.
    pub(super) sight: Option<Sight>,
    pub(super) published: Option<Arc<Published>>,
    /// When metadata files were first seen, by name.
    pub(super) seen: HashMap<String, Instant>,
    /// Examples of what candidates lacked, by name.
    pub(super) lacked: HashMap<String, Examples>,
    /// Manifest lists that may be in pieces.
    pub(super) doubtful: Doubtful,
    /// When all of what is published was last found to be here.
    pub(super) proven_at: Option<Instant>,
    /// Files of what is published are gone, so that it proves nothing of what builds on it.
    pub(super) is_void: bool,
    /// Those files.
    pub(super) gone: Examples,
    /// What lies in the table's folder, to see what goes.
    pub(super) watch: Watch,
    /// Snapshots that were proven after the watch looked: it may not know their files.
    pub(super) fresh: HashSet<i64>,
    /// A file went that may have been one of what is published.
    pub(super) is_suspect: bool,
    /// How long the last recheck took, and when it ended.
    pub(super) rechecked: Option<(Instant, Duration)>,
}

impl Memory {
    /// Nothing yet.
    pub(super) fn new(settle: Duration) -> Memory {
        Memory {
            sight: None,
            published: None,
            seen: HashMap::new(),
            lacked: HashMap::new(),
            doubtful: Doubtful::new(settle),
            proven_at: None,
            is_void: false,
            gone: Examples::default(),
            watch: Watch::default(),
            fresh: HashSet::new(),
            is_suspect: false,
            rechecked: None,
        }
    }

    /// The look at what was seen is over.
    pub(super) fn rest(&mut self, sight: Sight, may_rest: bool) {
        self.sight = may_rest.then_some(sight);
    }

    /// Whether all of what is published should be proven anew now.
    pub(super) fn is_due(&self, recheck: Recheck, every: Duration) -> bool {
        let rests = self.rechecked.is_some_and(|(at, took)| took > LONG && at.elapsed() < took);
        match recheck {
            Recheck::Now => true,
            _ if self.is_suspect => !rests,
            Recheck::WhenDue => self.proven_at.is_none_or(|at| at.elapsed() >= every),
            Recheck::Never => false,
        }
    }
}
