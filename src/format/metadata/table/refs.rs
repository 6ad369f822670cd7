//! Branches and tags: the updates of refs, and the view of a table that holds only what refs point to.
//!
//! A ref points to a snapshot that is there. The head of main is the current snapshot, always. Whether a client may move
//! a ref is decided by its requirements; when retention expires a ref is for engines.

use super::super::json::{self, Object};
use super::MAIN;
use super::draft::Draft;
use super::open::current_snapshot;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashSet;

impl Draft {
    /// `set-snapshot-ref`: `ref-name`, `snapshot-id`, `type` and the retention of a branch or a tag.
    pub fn set_ref(&mut self, update: &Object) -> Result<()> {
        let name = json::text(update, "ref-name")?;
        let to = read_ref(name, update)?;
        if self.refs.get(name).is_some_and(|existing| json::same(existing, &to)) {
            return Ok(());
        }
        let id = json::long(update, "snapshot-id")?;
        let Some(snapshot) = self.snapshot(id) else {
            return Err(Error::bad_request(format!("Cannot set {name} to unknown snapshot: {id}")));
        };
        if self.changes.added_snapshots.contains(&id) {
            self.last_updated_ms = Some(json::long(json::object(snapshot, "snapshot")?, "timestamp-ms")?);
        }
        if name == MAIN {
            let at_ms = *self.last_updated_ms.get_or_insert(self.at_ms);
            self.current_snapshot = Some(id);
            self.snapshot_log.push(json!({ "timestamp-ms": at_ms, "snapshot-id": id }));
            self.changes.main_heads.push(id);
        }
        self.refs.insert(name.to_owned(), to);
        self.changes.any = true;
        Ok(())
    }

    /// `remove-snapshot-ref`: `ref-name`. A ref that is not there is passed over.
    pub fn remove_snapshot_ref(&mut self, update: &Object) -> Result<()> {
        let name = json::text(update, "ref-name")?.to_owned();
        self.remove_ref(&name);
        Ok(())
    }

    /// Removes a ref by name.
    pub fn remove_ref(&mut self, name: &str) {
        if self.refs.shift_remove(name).is_some() {
            self.changes.any = true;
        }
        if name == MAIN {
            self.current_snapshot = None;
        }
    }
}

/// The ref that an update describes, as it is stored.
fn read_ref(name: &str, update: &Object) -> Result<Value> {
    json::long(update, "snapshot-id")?;
    let kind = json::text(update, "type")?.to_ascii_lowercase();
    check_retention(&kind, update)?;
    if name == MAIN && kind != "branch" {
        return Err(Error::bad_request("Cannot set main to a tag: main must be a branch"));
    }
    let unstored = |member: &str, value: &Value| member == "action" || member == "ref-name" || value.is_null();
    let mut to: Object =
        update.iter().filter(|(member, value)| !unstored(member, value)).map(|(m, v)| (m.clone(), v.clone())).collect();
    to.insert("type".to_owned(), kind.into());
    Ok(Value::Object(to))
}

/// Refuses a kind of ref that does not exist, and retention that this kind cannot have.
pub(super) fn check_retention(kind: &str, from: &Object) -> Result<()> {
    if kind != "branch" && kind != "tag" {
        return Err(Error::bad_request(format!("Invalid snapshot ref type: {kind}")));
    }
    let snapshots = json::int_or_none(from, "min-snapshots-to-keep")?;
    let snapshot_age_ms = json::long_or_none(from, "max-snapshot-age-ms")?;
    let ref_age_ms = json::long_or_none(from, "max-ref-age-ms")?;
    let problem = match kind {
        "tag" if snapshots.is_some() => "Tags do not support setting minSnapshotsToKeep",
        "tag" if snapshot_age_ms.is_some() => "Tags do not support setting maxSnapshotAgeMs",
        _ if snapshots.is_some_and(|count| count <= 0) => "Min snapshots to keep must be greater than 0",
        _ if snapshot_age_ms.is_some_and(|age| age <= 0) => "Max snapshot age must be greater than 0 ms",
        _ if ref_age_ms.is_some_and(|age| age <= 0) => "Max reference age must be greater than 0",
        _ => return Ok(()),
    };
    Err(Error::bad_request(problem))
}

/// The metadata with only those snapshots that a branch or a tag points to; everything else as it is.
///
/// This is what a client gets that asks for `snapshots=refs`. Metadata that we cannot read is given back unchanged.
pub fn refs_only(metadata: &Value) -> Value {
    let Some(object) = metadata.as_object() else { return metadata.clone() };
    let Some(snapshots) = object.get("snapshots").and_then(Value::as_array) else { return metadata.clone() };
    let refs = object.get("refs").and_then(Value::as_object);
    let mut kept: HashSet<i64> =
        refs.into_iter().flat_map(Object::values).filter_map(|to| to.get("snapshot-id")?.as_i64()).collect();
    kept.extend(current_snapshot(object).ok().flatten());
    let keeps =
        |snapshot: &&Value| snapshot.get("snapshot-id").and_then(Value::as_i64).is_none_or(|id| kept.contains(&id));
    let few: Vec<Value> = snapshots.iter().filter(keeps).cloned().collect();
    let members = object
        .iter()
        .map(|(name, value)| (name.clone(), if name == "snapshots" { Value::Null } else { value.clone() }));
    let mut members: Object = members.collect();
    members.insert("snapshots".to_owned(), Value::Array(few));
    Value::Object(members)
}
