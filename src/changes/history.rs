//! A table's snapshots as its metadata has them, and which of them a reader still has before it.
//!
//! What must hold: what comes next is told only where every step from the reader's position to the head is there; else the error says where one can
//! begin.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::position::{Next, Position, TableId};
use crate::error::{Error, Kind, Result};
use crate::format::partition::Columns;

/// The branch that is meant where none is named.
pub const MAIN: &str = "main";

/// Where a snapshot's manifests are named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Named {
    /// In a manifest list.
    List(String),
    /// In the metadata, as the first format version may.
    Here(Vec<String>),
}

/// One snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(super) id: i64,
    pub(super) parent_id: Option<i64>,
    pub(super) sequence_number: i64,
    pub(super) timestamp_ms: i64,
    pub(super) operation: String,
    pub(super) named: Named,
}

/// What a table's metadata says of its past.
#[derive(Debug, Clone)]
pub struct History {
    /// What the table is known by.
    pub table: TableId,
    pub(super) columns: Columns,
    snapshots: HashMap<i64, Snapshot>,
    last_sequence_number: i64,
    /// Branches and tags with their snapshots.
    heads: HashMap<String, (bool, i64)>,
}

/// Which snapshots are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// Up to a branch's head.
    Branch(String),
    /// Up to this one.
    Snapshot(i64),
}

/// One snapshot that a reader has before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead<'h> {
    pub(super) snapshot: &'h Snapshot,
    /// The snapshot that it is compared with; `None` where all that is live in it counts.
    pub(super) parent: Option<&'h Snapshot>,
    /// What is read next of it.
    pub(super) next: Next,
}

impl Ahead<'_> {
    /// The position of who reads on at `next`.
    pub(super) fn position(&self, next: Next) -> Position {
        match self.parent {
            None => Position::Base(self.snapshot.id, next),
            Some(parent) => Position::Within { snapshot_id: self.snapshot.id, parent_id: parent.id, next },
        }
    }
}

impl History {
    /// Of a table's metadata.
    pub fn read(metadata: &Value) -> Result<History> {
        let mut snapshots = HashMap::new();
        for snapshot in metadata["snapshots"].as_array().into_iter().flatten() {
            let read = read_snapshot(snapshot);
            let read = read.ok_or_else(|| {
                Error::new(Kind::Unprocessable, "the table's metadata has a snapshot that cannot be read")
            })?;
            snapshots.insert(read.id, read);
        }
        let mut heads = HashMap::new();
        for (name, head) in metadata["refs"].as_object().into_iter().flatten() {
            if let Some(id) = head["snapshot-id"].as_i64() {
                heads.insert(name.clone(), (head["type"] != "tag", id));
            }
        }
        // the first format version need not have refs
        if let Some(current) = metadata["current-snapshot-id"].as_i64().filter(|id| *id != -1) {
            heads.entry(MAIN.to_owned()).or_insert((true, current));
        }
        Ok(History {
            table: TableId::of(metadata),
            columns: Columns::new(metadata),
            snapshots,
            last_sequence_number: metadata["last-sequence-number"].as_i64().unwrap_or(0),
            heads,
        })
    }

    /// A position as a text.
    pub fn text(&self, position: Position) -> String {
        let needs = position.needs().and_then(|id| self.snapshots.get(&id));
        position.text(&self.table, needs.map_or(0, |snapshot| snapshot.sequence_number))
    }

    /// The position of a text. [`Kind::Unavailable`] where the table is older here than where the position is from: at a standby, or in a cache.
    pub fn position(&self, text: &str) -> Result<Position> {
        let (position, sequence_number) = Position::parse(text, &self.table)?;
        let is_there = position.needs().is_none_or(|id| self.snapshots.contains_key(&id));
        if !is_there && sequence_number > self.last_sequence_number {
            let message = "the table has not come as far here as the position, try again later";
            return Err(Error::new(Kind::Unavailable, message));
        }
        Ok(position)
    }

    /// The newest snapshot that is asked for; `None` for a table without one.
    pub(super) fn head(&self, to: &To) -> Result<Option<i64>> {
        match to {
            To::Snapshot(id) if self.snapshots.contains_key(id) => Ok(Some(*id)),
            To::Snapshot(id) => Err(Error::new(Kind::NotFound, format!("the table has no snapshot {id}"))),
            To::Branch(name) => match self.heads.get(name) {
                Some((true, id)) => Ok(Some(*id)),
                Some((false, id)) => {
                    Err(Error::bad_request(format!("{name} is a tag and not a branch: ask with to={id}")))
                }
                None if name == MAIN => Ok(None),
                None => Err(Error::new(Kind::NotFound, format!("the table has no branch {name:?}"))),
            },
        }
    }

    /// A snapshot and those before it that are there, newest first.
    pub(super) fn ancestry(&self, head: Option<i64>) -> Vec<&Snapshot> {
        let mut found = Vec::new();
        let mut at = head.and_then(|id| self.snapshots.get(&id));
        // no more than there are, so that a circle ends
        while let Some(snapshot) = at.filter(|_| found.len() < self.snapshots.len()) {
            found.push(snapshot);
            at = snapshot.parent_id.and_then(|id| self.snapshots.get(&id));
        }
        found
    }

    /// What is before a reader, in the order in which it was committed. [`Kind::Gone`] where a part of it is not there.
    pub(super) fn ahead(&self, position: Option<Position>, to: &To) -> Result<Vec<Ahead<'_>>> {
        let mut chain = self.ancestry(self.head(to)?);
        let base_at = |id: i64, next: Next, chain: &[&'_ Snapshot]| {
            let at = chain.iter().position(|snapshot| snapshot.id == id);
            at.map(|at| (at, next)).ok_or_else(|| self.gone(id, to, chain))
        };
        let (base, next, beyond) = match position {
            None | Some(Position::Start) if chain.is_empty() => return Ok(Vec::new()),
            None | Some(Position::Start) => (true, Next::default(), chain.len() - 1),
            Some(Position::Base(id, next)) => {
                let (at, next) = base_at(id, next, &chain)?;
                (true, next, at)
            }
            Some(Position::After(id)) => (false, Next::default(), base_at(id, Next::default(), &chain)?.0),
            Some(Position::Within { snapshot_id, parent_id, next }) => {
                let (at, next) = base_at(parent_id, next, &chain)?;
                if at == 0 || chain[at - 1].id != snapshot_id {
                    return Err(self.gone(snapshot_id, to, &chain));
                }
                (false, next, at)
            }
        };
        chain.truncate(beyond + 1);
        chain.reverse();
        let first = base.then(|| Ahead { snapshot: chain[0], parent: None, next });
        let steps = chain.windows(2).enumerate().map(|(at, pair)| {
            let next = if at == 0 && !base { next } else { Next::default() };
            Ahead { snapshot: pair[1], parent: Some(pair[0]), next }
        });
        Ok(first.into_iter().chain(steps).collect())
    }

    /// Why one cannot go on from a snapshot, and where one can begin.
    fn gone(&self, id: i64, to: &To, chain: &[&Snapshot]) -> Error {
        let asked = match to {
            To::Branch(name) => format!("branch {name}"),
            To::Snapshot(id) => format!("snapshot {id}"),
        };
        let Some(oldest) = chain.last() else {
            return Error::new(Kind::Gone, format!("{asked} has no snapshot any more; begin without a position"));
        };
        if self.snapshots.contains_key(&id) {
            let theirs = self.ancestry(Some(id));
            let common = theirs.iter().find(|theirs| chain.iter().any(|ours| ours.id == theirs.id));
            let common = common.map_or_else(
                || "they have no snapshot in common that is still there".to_owned(),
                |common| format!("the newest that both have is {}", told(common)),
            );
            let kind = if matches!(to, To::Snapshot(_)) { Kind::BadRequest } else { Kind::Gone };
            let message = format!(
                "snapshot {id} is no ancestor of {asked}: {common}; the oldest one can begin after is {}",
                told(oldest)
            );
            return Error::new(kind, message);
        }
        let message = format!(
            "snapshot {id} is not in the table (any more): snapshots expire; the oldest of {asked} that one can begin after is {}, or begin \
             without from and position: with all files that are live in it",
            told(oldest)
        );
        Error::new(Kind::Gone, message)
    }

    /// Refuses a position that is not at or behind another one, in whose history everything is there.
    pub fn check_forward(&self, from: Position, to: Position) -> Result<()> {
        let backwards = || {
            Error::new(
                Kind::Unprocessable,
                "the position is behind the one that is kept, or in another history: say reset to move there",
            )
        };
        let (Some(needs), order) = (from.needs(), order(from)) else { return Ok(()) };
        let Some(wanted) = to.needs() else { return Err(backwards()) };
        // what has expired cannot be newer than what has not
        if !self.snapshots.contains_key(&needs) || needs == wanted && order <= self::order(to) {
            return Ok(());
        }
        let is_before = needs != wanted && self.ancestry(Some(wanted)).iter().any(|snapshot| snapshot.id == needs);
        if is_before { Ok(()) } else { Err(backwards()) }
    }

    /// Whether one can go on from a position; [`Kind::Gone`] where not.
    pub fn check_there(&self, position: Position) -> Result<()> {
        match position.needs().filter(|id| !self.snapshots.contains_key(id)) {
            None => Ok(()),
            Some(id) => Err(self.gone(
                id,
                &To::Branch(MAIN.to_owned()),
                &self.ancestry(self.head(&To::Branch(MAIN.to_owned()))?),
            )),
        }
    }

    /// Refuses a name that no branch has.
    pub fn check_branch(&self, name: &str) -> Result<()> {
        self.head(&To::Branch(name.to_owned())).map(drop)
    }

    /// How many snapshots are before a reader, and when the oldest of them was committed; `None` where that cannot be told.
    pub fn lag(&self, position: Position, branch: &str) -> Option<(usize, Option<i64>)> {
        let ahead = self.ahead(Some(position), &To::Branch(branch.to_owned())).ok()?;
        Some((ahead.len(), ahead.first().map(|first| first.snapshot.timestamp_ms)))
    }
}

/// Where in what follows one snapshot a position is: in the middle of the snapshot's own files, behind them, in the middle of the next one's.
fn order(position: Position) -> (u8, Next) {
    match position {
        Position::Start => (0, Next::default()),
        Position::Base(_, next) => (1, next),
        Position::After(_) => (2, Next::default()),
        Position::Within { next, .. } => (3, next),
    }
}

fn told(snapshot: &Snapshot) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(u64::try_from(snapshot.timestamp_ms).unwrap_or(0));
    format!("{} of {}", snapshot.id, humantime::format_rfc3339_millis(time))
}

fn read_snapshot(snapshot: &Value) -> Option<Snapshot> {
    let list = snapshot["manifest-list"].as_str().map(|list| Named::List(list.to_owned()));
    let here = || {
        let paths = snapshot["manifests"].as_array()?.iter().map(|path| path.as_str().map(str::to_owned));
        paths.collect::<Option<Vec<_>>>().map(Named::Here)
    };
    Some(Snapshot {
        id: snapshot["snapshot-id"].as_i64()?,
        parent_id: snapshot["parent-snapshot-id"].as_i64(),
        sequence_number: snapshot["sequence-number"].as_i64().unwrap_or(0),
        timestamp_ms: snapshot["timestamp-ms"].as_i64().unwrap_or(0),
        operation: snapshot["summary"]["operation"].as_str().unwrap_or_default().to_owned(),
        named: list.or_else(here)?,
    })
}
