//! The two histories in a table's metadata: which snapshot was current when, and which metadata files came before.
//!
//! The snapshot log says at any time which snapshot was current, or says nothing about that time: an entry whose snapshot
//! is gone takes all older ones with it, and a snapshot that came and went within one commit was never current. The
//! metadata log is bounded by a property; deleting the files that fall out is for the caller.

use super::super::json::{self, Object};
use super::draft::Draft;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashSet;

/// How far a clock may run behind the one that wrote the entry before.
const CLOCK_SKEW_MS_MAX: i64 = 60_000;
/// The property that bounds the metadata log, and its default.
const PREVIOUS_VERSIONS_MAX: (&str, usize) = ("write.metadata.previous-versions-max", 100);

impl Draft {
    /// Takes out of the snapshot log what did not happen or can no longer be told.
    pub fn correct_snapshot_log(&mut self) -> Result<()> {
        let (added, current) = (&self.changes.added_snapshots, self.current_snapshot);
        let heads = self.changes.main_heads.iter().copied();
        let intermediate: HashSet<i64> = heads.filter(|id| added.contains(id) && Some(*id) != current).collect();
        if intermediate.is_empty() && !self.changes.removed_snapshots {
            return Ok(());
        }
        let mut kept = Vec::with_capacity(self.snapshot_log.len());
        for entry in std::mem::take(&mut self.snapshot_log) {
            let id = json::long(json::object(&entry, "snapshot log entry")?, "snapshot-id")?;
            if !self.snapshot_at.contains_key(&id) {
                if self.changes.removed_snapshots {
                    kept.clear();
                }
            } else if !intermediate.contains(&id) {
                kept.push(entry);
            }
        }
        let last = kept.last().and_then(|entry| entry.get("snapshot-id")?.as_i64());
        if current.is_some() && last.is_some() && last != current {
            return Err(Error::bad_request(
                "Cannot set invalid snapshot log: latest entry is not the current snapshot",
            ));
        }
        self.snapshot_log = kept;
        Ok(())
    }

    /// Adds the base's file to the metadata log and returns the files that fall out of it.
    pub fn log_base(&mut self, base_location: &str, base_updated_ms: i64) -> Result<Vec<String>> {
        let (name, default) = PREVIOUS_VERSIONS_MAX;
        let max = match self.properties.get(name).and_then(Value::as_str) {
            Some(text) => text
                .trim()
                .parse::<i32>()
                .map_err(|_| Error::bad_request(format!("Table property {name} must have integer value")))?
                .max(1) as usize,
            None => default,
        };
        let mut log = json::list_or_empty(&self.meta, "metadata-log")?.to_vec();
        let surplus = (log.len() + 1).saturating_sub(max);
        let removed =
            log.drain(..surplus).filter_map(|entry| Some(entry.get("metadata-file")?.as_str()?.to_owned())).collect();
        log.push(json!({ "timestamp-ms": base_updated_ms, "metadata-file": base_location }));
        self.meta.insert("metadata-log".to_owned(), Value::Array(log));
        Ok(removed)
    }

    /// Refuses logs that run backwards, and a commit that is older than what they already tell.
    pub fn check_logs(&self, last_updated_ms: i64) -> Result<()> {
        let last = check_order(&self.snapshot_log, "snapshot log")?;
        if last.is_some_and(|last| last_updated_ms.saturating_sub(last) < -CLOCK_SKEW_MS_MAX) {
            let last = last.unwrap_or_default();
            return Err(Error::bad_request(format!(
                "Invalid update timestamp {last_updated_ms}: before last snapshot log entry at {last}"
            )));
        }
        let last = check_order(json::list_or_empty(&self.meta, "metadata-log")?, "metadata log")?;
        if last.is_some_and(|last| last_updated_ms.saturating_sub(last) < -CLOCK_SKEW_MS_MAX) {
            let last = last.unwrap_or_default();
            return Err(Error::bad_request(format!(
                "Invalid update timestamp {last_updated_ms}: before the latest metadata log entry timestamp {last}"
            )));
        }
        Ok(())
    }
}

/// Refuses a log that runs backwards and returns its last time.
fn check_order(log: &[Value], what: &str) -> Result<Option<i64>> {
    let mut last: Option<i64> = None;
    for entry in log {
        let entry: &Object = json::object(entry, what)?;
        let at_ms = json::long(entry, "timestamp-ms")?;
        if last.is_some_and(|last| at_ms.saturating_sub(last) < -CLOCK_SKEW_MS_MAX) {
            return Err(Error::bad_request(format!(
                "Expected sorted {what} entries: {at_ms} comes after {}",
                last.unwrap_or_default()
            )));
        }
        last = Some(at_ms);
    }
    Ok(last)
}
