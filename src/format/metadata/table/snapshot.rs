//! The updates of a table's snapshots: add one, remove some.
//!
//! A snapshot is numbered after all that are there, unless it has no parent; from version 3 on its rows are too. A
//! snapshot that comes too late is a conflict and not a bad request: its writer may number it again and retry. What goes
//! with a removed snapshot (refs, statistics, history) goes here and in `log`; files are deleted by the client.

use super::super::json::{self, Object};
use super::draft::Draft;
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::HashSet;

/// What a conflict that numbering anew resolves begins with.
const RETRY: &str = "Validation failed, please retry";
/// The first format version in which rows have ids.
const ROW_LINEAGE_FORMAT_VERSION_MIN: i64 = 3;

impl Draft {
    /// `add-snapshot`: `snapshot`.
    pub fn add_snapshot(&mut self, update: &Object) -> Result<()> {
        let snapshot = json::member(update, "snapshot")?;
        let id = check_snapshot(snapshot)?;
        for (missing, what) in [
            (self.schemas.is_empty(), "schema"),
            (self.specs.is_empty(), "partition spec"),
            (self.orders.is_empty(), "sort order"),
        ] {
            if missing {
                return Err(Error::bad_request(format!("Attempting to add a snapshot before a {what} is added")));
            }
        }
        if self.snapshot_at.contains_key(&id) {
            return Err(Error::bad_request(format!("Snapshot already exists for id: {id}")));
        }
        let sequence = sequence_number(snapshot)?;
        if self.format > 1 && sequence <= self.last_sequence && json::has(snapshot, "parent-snapshot-id") {
            return Err(Error::commit_failed(format!(
                "{RETRY}: Cannot add snapshot with sequence number {sequence} older than last sequence number {}",
                self.last_sequence
            )));
        }
        if self.format >= ROW_LINEAGE_FORMAT_VERSION_MIN {
            self.next_row = self.row_after(snapshot)?;
        }
        self.last_updated_ms = Some(json::long(snapshot, "timestamp-ms")?);
        self.last_sequence = sequence;
        self.snapshot_at.insert(id, self.snapshots.len());
        self.snapshots.push(Value::Object(snapshot.clone()));
        self.changes.added_snapshots.insert(id);
        self.changes.any = true;
        Ok(())
    }

    /// The first row id that is free after this snapshot.
    fn row_after(&self, snapshot: &Object) -> Result<i64> {
        let Some(first) = json::long_or_none(snapshot, "first-row-id")? else {
            return Err(Error::bad_request("Cannot add a snapshot: first-row-id is null"));
        };
        if first < self.next_row {
            return Err(Error::commit_failed(format!(
                "{RETRY}: Cannot add a snapshot, first-row-id is behind table next-row-id: {first} < {}",
                self.next_row
            )));
        }
        let added = json::long_or_none(snapshot, "added-rows")?;
        let added =
            added.ok_or_else(|| Error::bad_request("Invalid added-rows (required when first-row-id is set): null"))?;
        if added < 0 {
            return Err(Error::bad_request(format!("Invalid added-rows (cannot be negative): {added}")));
        }
        let overflow =
            || Error::bad_request(format!("Invalid added-rows: {added} rows after row {} are too many", self.next_row));
        self.next_row.checked_add(added).ok_or_else(overflow)
    }

    /// `remove-snapshots`: `snapshot-ids`. Ids that are not there are passed over.
    pub fn remove_snapshots(&mut self, update: &Object) -> Result<()> {
        let removed: HashSet<i64> =
            json::longs(update, "snapshot-ids")?.into_iter().filter(|id| self.snapshot_at.contains_key(id)).collect();
        if removed.is_empty() {
            return Ok(());
        }
        let names =
            |value: &Value| value.get("snapshot-id").and_then(Value::as_i64).is_some_and(|id| removed.contains(&id));
        self.snapshots.retain(|snapshot| !names(snapshot));
        self.index_snapshots()?;
        for statistics in ["statistics", "partition-statistics"] {
            if let Some(files) = self.meta.get_mut(statistics).and_then(Value::as_array_mut) {
                files.retain(|file| !names(file));
            }
        }
        let dangling: Vec<String> =
            self.refs.iter().filter(|(_, to)| names(to)).map(|(name, _)| name.clone()).collect();
        for name in dangling {
            self.remove_ref(&name);
        }
        self.changes.removed_snapshots = true;
        self.changes.any = true;
        Ok(())
    }
}

/// Checks the members of a snapshot that we and every reader need, and returns its id.
pub(super) fn check_snapshot(snapshot: &Object) -> Result<i64> {
    let id = json::long(snapshot, "snapshot-id")?;
    if id == -1 {
        return Err(Error::bad_request("Invalid snapshot id: -1 stands for no snapshot"));
    }
    json::long(snapshot, "timestamp-ms")?;
    json::long_or_none(snapshot, "parent-snapshot-id")?;
    json::int_or_none(snapshot, "schema-id")?;
    if json::has(snapshot, "summary") {
        json::string_map(snapshot, "summary")?;
    }
    if json::has(snapshot, "manifest-list") || !json::has(snapshot, "manifests") {
        json::text(snapshot, "manifest-list")?;
    } else {
        json::texts(snapshot, "manifests")?;
    }
    for name in ["first-row-id", "added-rows"] {
        if let Some(negative) = json::long_or_none(snapshot, name)?.filter(|number| *number < 0) {
            return Err(Error::bad_request(format!("Invalid {name} (cannot be negative): {negative}")));
        }
    }
    Ok(id)
}

/// A snapshot's sequence number; snapshots of version 1 have none, which is 0.
pub(super) fn sequence_number(snapshot: &Object) -> Result<i64> {
    Ok(json::long_or_none(snapshot, "sequence-number")?.unwrap_or(0))
}
