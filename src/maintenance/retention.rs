//! Which snapshots and refs of a table have had their time. Only computes.
//!
//! What must hold: the rules are those of Iceberg's own `RemoveSnapshots` (specification, "Snapshot Retention Policy"): `main` stays; a ref over its age goes; a
//! branch keeps its newest ancestors by count and by age, a tag its snapshot; what no ref leads to goes by age. Beyond that, what a reader's position
//! holds stays: its snapshot and all newer ones on the way to the branch's head. Nothing is removed that is not in the metadata.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Kind, Result};

/// Iceberg's own: five days.
const KEEP_FOR_MS: i64 = 5 * 24 * 3_600_000;
/// Iceberg's own.
const KEEP_LAST: usize = 1;
/// The branch that never goes.
pub const MAIN: &str = "main";
/// Whether files of a table may be deleted at all.
const GC_ENABLED: &str = "gc.enabled";
/// The newest format whose files we know all of.
const FORMAT_MAX: i64 = 3;

/// What is kept where neither a ref nor the table itself says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long snapshots are kept.
    pub keep_for: Option<Duration>,
    /// How many of each branch are kept at least.
    pub keep_last: Option<u32>,
}

/// What has had its time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Expiry {
    /// Branches and tags.
    pub refs: Vec<String>,
    /// Snapshots, as the metadata orders them.
    pub snapshots: Vec<i64>,
}

impl Expiry {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty() && self.snapshots.is_empty()
    }
}

/// A branch or tag.
#[derive(Debug, Clone)]
struct Ref {
    head: i64,
    is_branch: bool,
    keep_for_ms: Option<i64>,
    keep_last: Option<usize>,
    ref_age_max_ms: Option<i64>,
}

struct Snapshot {
    parent: Option<i64>,
    at_ms: i64,
}

/// Refuses tables whose files must not be deleted, or of which we do not know all files.
pub fn check(metadata: &Value) -> Result<()> {
    if metadata["properties"][GC_ENABLED].as_str().is_some_and(|text| text.eq_ignore_ascii_case("false")) {
        let message = "files of this table must not be deleted (gc.enabled=false), since other tables may have them";
        return Err(Error::new(Kind::Unprocessable, message));
    }
    match metadata["format-version"].as_i64() {
        Some(1..=FORMAT_MAX) => Ok(()),
        version => {
            let message = format!("format version {version:?} is not known here: versions 1 to {FORMAT_MAX} are");
            Err(Error::new(Kind::Unprocessable, message))
        }
    }
}

/// The refs of a table with the snapshots that they stand at. Metadata without refs has its current snapshot as `main`.
pub fn heads(metadata: &Value) -> BTreeMap<String, i64> {
    refs(metadata).into_iter().map(|(name, to)| (name, to.head)).collect()
}

/// What of a table has had its time. `held` are snapshots that readers stand at.
pub fn expired(metadata: &Value, retention: Retention, held: &[i64], now_ms: i64) -> Expiry {
    let snapshots = snapshots(metadata);
    let refs = refs(metadata);
    let rules = Rules::of(metadata, retention);
    let held: BTreeSet<i64> = held.iter().copied().filter(|id| snapshots.contains_key(id)).collect();
    let mut kept: BTreeSet<i64> = held.clone();
    let mut reached: BTreeSet<i64> = BTreeSet::new();
    let mut gone = Vec::new();
    for (name, to) in &refs {
        let line = if to.is_branch { line(&snapshots, to.head) } else { vec![to.head] };
        let holds = to.is_branch.then(|| line.iter().rposition(|id| held.contains(id))).flatten();
        if holds.is_none() && !rules.keeps_ref(name, to, snapshots.get(&to.head), now_ms) {
            gone.push(name.clone());
            continue;
        }
        kept.insert(to.head);
        if to.is_branch {
            kept.extend(rules.kept_of(to, &line, &snapshots, now_ms));
            kept.extend(holds.into_iter().flat_map(|last| &line[..=last]));
        }
        reached.extend(line);
    }
    let young =
        |id: &i64| snapshots.get(id).is_some_and(|snapshot| snapshot.at_ms >= now_ms.saturating_sub(rules.keep_for_ms));
    let ids = metadata["snapshots"].as_array().into_iter().flatten().filter_map(id);
    let expired = ids.filter(|id| !kept.contains(id) && (reached.contains(id) || !young(id)));
    Expiry { snapshots: expired.collect(), refs: gone }
}

/// What counts where a ref says nothing.
struct Rules {
    keep_for_ms: i64,
    keep_last: usize,
    ref_age_max_ms: i64,
}

impl Rules {
    fn of(metadata: &Value, retention: Retention) -> Rules {
        let property = |name: &str| metadata["properties"][name].as_str().and_then(|text| text.parse::<i64>().ok());
        let keep_for = retention.keep_for.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let count = |count: i64| usize::try_from(count).unwrap_or(0);
        let keep_last = property("history.expire.min-snapshots-to-keep").map(count);
        Rules {
            keep_for_ms: property("history.expire.max-snapshot-age-ms").or(keep_for).unwrap_or(KEEP_FOR_MS),
            keep_last: keep_last.or(retention.keep_last.map(|last| last as usize)).unwrap_or(KEEP_LAST),
            ref_age_max_ms: property("history.expire.max-ref-age-ms").unwrap_or(i64::MAX),
        }
    }

    /// A ref that leads nowhere goes, as in Iceberg.
    fn keeps_ref(&self, name: &str, to: &Ref, head: Option<&Snapshot>, now_ms: i64) -> bool {
        let age_max_ms = to.ref_age_max_ms.unwrap_or(self.ref_age_max_ms);
        name == MAIN || head.is_some_and(|head| now_ms.saturating_sub(head.at_ms) <= age_max_ms)
    }

    /// What a branch keeps of its line: without a gap from its head on.
    fn kept_of(&self, to: &Ref, line: &[i64], snapshots: &HashMap<i64, Snapshot>, now_ms: i64) -> Vec<i64> {
        let (last, since_ms) =
            (to.keep_last.unwrap_or(self.keep_last), now_ms.saturating_sub(to.keep_for_ms.unwrap_or(self.keep_for_ms)));
        let is_kept = |(at, id): &(usize, &i64)| *at < last || snapshots.get(id).is_some_and(|s| s.at_ms >= since_ms);
        line.iter().enumerate().take_while(is_kept).map(|(_, id)| *id).collect()
    }
}

/// A snapshot and those that it came from, as far back as they are there.
fn line(snapshots: &HashMap<i64, Snapshot>, head: i64) -> Vec<i64> {
    let (mut line, mut seen, mut next) = (Vec::new(), BTreeSet::new(), Some(head));
    // metadata may say of a snapshot that it came from itself
    while let Some((id, snapshot)) =
        next.and_then(|id| Some((id, snapshots.get(&id)?))).filter(|(id, _)| seen.insert(*id))
    {
        line.push(id);
        next = snapshot.parent;
    }
    line
}

fn id(snapshot: &Value) -> Option<i64> {
    snapshot["snapshot-id"].as_i64()
}

fn snapshots(metadata: &Value) -> HashMap<i64, Snapshot> {
    let snapshots = metadata["snapshots"].as_array().into_iter().flatten();
    let read = |snapshot: &Value| {
        // one whose time is not known is as young as can be
        let at_ms = snapshot["timestamp-ms"].as_i64().unwrap_or(i64::MAX);
        Some((id(snapshot)?, Snapshot { parent: snapshot["parent-snapshot-id"].as_i64(), at_ms }))
    };
    snapshots.filter_map(read).collect()
}

fn refs(metadata: &Value) -> BTreeMap<String, Ref> {
    let named = metadata["refs"].as_object().into_iter().flatten();
    let read = |(name, to): (&String, &Value)| {
        let count = |count: i64| usize::try_from(count).unwrap_or(0);
        let to = Ref {
            head: id(to)?,
            // what is not a tag keeps at least as much
            is_branch: !to["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("tag")),
            keep_for_ms: to["max-snapshot-age-ms"].as_i64(),
            keep_last: to["min-snapshots-to-keep"].as_i64().map(count),
            ref_age_max_ms: to["max-ref-age-ms"].as_i64(),
        };
        Some((name.clone(), to))
    };
    let mut refs: BTreeMap<String, Ref> = named.filter_map(read).collect();
    if let Some(head) = metadata["current-snapshot-id"].as_i64().filter(|id| *id != -1) {
        let main = Ref { head, is_branch: true, keep_for_ms: None, keep_last: None, ref_age_max_ms: None };
        refs.entry(MAIN.to_owned()).or_insert(main);
    }
    refs
}
