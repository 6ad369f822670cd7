//! The difference of two states of one table, as commits that lead from one to the other.
//!
//! What must hold: applied by this crate's own commit engine, the steps make exactly the wanted state, ids, sequence numbers and row ids among it, but
//! for what [`super::alike`] names; where no commit can, that is an error that says what would differ, and nobody has committed anything. A catalog of
//! another make may still do otherwise: who commits loads back and asks [`unlike`].

use std::collections::HashSet;

use serde_json::{Value, json};

use super::super::json::{self, Object};
use super::alike::unlike;
use super::draft::Draft;
use super::snapshot::sequence_number;
use super::{MAIN, apply};
use crate::error::{Error, Kind, Result};

/// One commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What must still hold of the table.
    pub requirements: Vec<Value>,
    /// What is changed.
    pub updates: Vec<Value>,
}

/// The commits that make `to` of `from`; none if they are alike. Each further head of main takes a commit of its own, for catalogs forget a head that came
/// and went within one.
pub fn steps(from: &Value, to: &Value) -> Result<Vec<Step>> {
    let between = Between { from: open(from)?, to: open(to)? };
    let mut all = Vec::new();
    let mut state = from.clone();
    // a head that is set once more is logged with the time of its commit, which nobody can choose: this one is nobody's
    let at_ms = json::long(json::object(to, "table metadata")?, "last-updated-ms")?.saturating_add(1);
    for updates in between.commits()? {
        let requirements = requirements(&state, &between.to)?;
        let applied = apply(Some(&state), None, &updates, at_ms).map_err(|e| refused(e.message()))?;
        if applied.changed {
            state = applied.metadata;
            all.push(Step { requirements, updates });
        }
    }
    match unlike(&state, to)? {
        differs if differs.is_empty() => Ok(all),
        differs => Err(refused(&format!("{} would differ", differs.join(", ")))),
    }
}

fn refused(why: &str) -> Error {
    Error::new(Kind::Unprocessable, format!("commits cannot bring the table to this state: {why}"))
}

fn open(metadata: &Value) -> Result<Draft> {
    Draft::open(metadata, 0)
        .map_err(|e| Error::new(Kind::Unprocessable, format!("the metadata is not valid: {}", e.message())))
}

struct Between {
    from: Draft,
    to: Draft,
}

impl Between {
    fn commits(&self) -> Result<Vec<Vec<Value>>> {
        let added = self.added()?;
        let mut left = added.as_slice();
        let mut commits = vec![self.shape()?];
        for head in self.heads_between()? {
            let Some(upto) = left.iter().position(|snapshot| id(snapshot) == Some(head)) else { continue };
            let (now, later) = left.split_at(upto + 1);
            left = later;
            let mut updates: Vec<Value> = now.iter().map(|snapshot| add_snapshot(snapshot)).collect();
            updates
                .push(json!({ "action": "set-snapshot-ref", "ref-name": MAIN, "type": "branch", "snapshot-id": head }));
            commits.push(updates);
        }
        let mut last: Vec<Value> = left.iter().map(|snapshot| add_snapshot(snapshot)).collect();
        last.extend(self.refs());
        if !last.is_empty() {
            // some catalogs go back to the schema of the snapshot that they are given
            last.push(json!({ "action": "set-current-schema", "schema-id": self.to.current_schema }));
        }
        last.extend(self.files("statistics", "set-statistics", "remove-statistics")?);
        last.extend(self.files("partition-statistics", "set-partition-statistics", "remove-partition-statistics")?);
        last.extend(self.removals()?);
        last.extend(self.settings()?);
        commits.push(last);
        // the shape needs no commit of its own
        let shape = commits.remove(0);
        commits[0].splice(0..0, shape);
        Ok(commits)
    }

    /// Format, schemas, specs, sort orders and keys that are new, oldest first, for ids are given in this order.
    fn shape(&self) -> Result<Vec<Value>> {
        let Between { from, to } = self;
        let mut updates = Vec::new();
        if from.format != to.format {
            updates.push(json!({ "action": "upgrade-format-version", "format-version": to.format }));
        }
        for schema in new(&from.schemas, &to.schemas, "schema-id") {
            updates.push(json!({ "action": "add-schema", "schema": schema, "last-column-id": to.last_column }));
        }
        if from.current_schema != to.current_schema {
            updates.push(json!({ "action": "set-current-schema", "schema-id": to.current_schema }));
        }
        for spec in new(&from.specs, &to.specs, "spec-id") {
            updates.push(json!({ "action": "add-spec", "spec": spec }));
        }
        if from.default_spec != to.default_spec {
            updates.push(json!({ "action": "set-default-spec", "spec-id": to.default_spec }));
        }
        for order in new(&from.orders, &to.orders, "order-id") {
            updates.push(json!({ "action": "add-sort-order", "sort-order": order }));
        }
        if from.default_order != to.default_order {
            updates.push(json!({ "action": "set-default-sort-order", "sort-order-id": to.default_order }));
        }
        let (had, has) = (keys(&from.meta)?, keys(&to.meta)?);
        for key in has.iter().filter(|key| !had.iter().any(|other| other["key-id"] == key["key-id"])) {
            updates.push(json!({ "action": "add-encryption-key", "encryption-key": key }));
        }
        Ok(updates)
    }

    /// Snapshots that are new, in the order of their numbers.
    fn added(&self) -> Result<Vec<&Object>> {
        let is_new = |snapshot: &&Object| id(snapshot).is_some_and(|id| self.from.snapshot(id).is_none());
        let mut added: Vec<(i64, &Object)> = Vec::new();
        for snapshot in self.to.snapshots.iter().filter_map(Value::as_object).filter(is_new) {
            added.push((sequence_number(snapshot)?, snapshot));
        }
        added.sort_by_key(|(sequence, _)| *sequence);
        Ok(added.into_iter().map(|(_, snapshot)| snapshot).collect())
    }

    /// The heads that main had after `from` and before its last.
    fn heads_between(&self) -> Result<Vec<i64>> {
        let (before, after) = (&self.from.snapshot_log, &self.to.snapshot_log);
        let known = before.last().and_then(|last| after.iter().rposition(|entry| json::same(entry, last)));
        let mut heads = Vec::new();
        for entry in &after[known.map_or(0, |at| at + 1)..] {
            let head = json::long(json::object(entry, "snapshot log entry")?, "snapshot-id")?;
            if self.from.snapshot(head).is_none() {
                heads.push(head);
            }
        }
        if heads.last().copied() == self.to.current_snapshot {
            heads.pop();
        }
        Ok(heads)
    }

    fn refs(&self) -> Vec<Value> {
        let Between { from, to } = self;
        let gone = from.refs.keys().filter(|name| !to.refs.contains_key(*name));
        let mut updates: Vec<Value> =
            gone.map(|name| json!({ "action": "remove-snapshot-ref", "ref-name": name })).collect();
        for (name, at) in &to.refs {
            if from.refs.get(name).is_some_and(|was| json::same(was, at)) {
                continue;
            }
            let mut update = at.clone();
            if let Some(update) = update.as_object_mut() {
                update.retain(|_, value| !value.is_null());
                update.insert("action".to_owned(), "set-snapshot-ref".into());
                update.insert("ref-name".to_owned(), name.as_str().into());
            }
            updates.push(update);
        }
        updates
    }

    /// Statistics files; a snapshot has one of each kind.
    fn files(&self, list: &str, set: &str, remove: &str) -> Result<Vec<Value>> {
        let (had, has) = (json::list_or_empty(&self.from.meta, list)?, json::list_or_empty(&self.to.meta, list)?);
        let mut updates = Vec::new();
        for file in had.iter().filter(|file| !has.iter().any(|other| other["snapshot-id"] == file["snapshot-id"])) {
            updates.push(json!({ "action": remove, "snapshot-id": file["snapshot-id"] }));
        }
        for file in has.iter().filter(|file| !had.iter().any(|other| json::same(other, file))) {
            updates.push(json!({ "action": set, "snapshot-id": file["snapshot-id"], list: file }));
        }
        Ok(updates)
    }

    fn removals(&self) -> Result<Vec<Value>> {
        let Between { from, to } = self;
        let mut updates = Vec::new();
        let gone = from.snapshots.iter().filter_map(|snapshot| snapshot["snapshot-id"].as_i64());
        let gone: Vec<i64> = gone.filter(|id| to.snapshot(*id).is_none()).collect();
        if !gone.is_empty() {
            updates.push(json!({ "action": "remove-snapshots", "snapshot-ids": gone }));
        }
        let specs: Vec<i64> = ids(&from.specs, "spec-id").filter(|id| to.spec(*id).is_none()).collect();
        if !specs.is_empty() {
            updates.push(json!({ "action": "remove-partition-specs", "spec-ids": specs }));
        }
        let schemas: Vec<i64> = ids(&from.schemas, "schema-id").filter(|id| to.schema(*id).is_none()).collect();
        if !schemas.is_empty() {
            updates.push(json!({ "action": "remove-schemas", "schema-ids": schemas }));
        }
        let (had, has) = (keys(&from.meta)?, keys(&to.meta)?);
        for key in had.iter().filter(|key| !has.iter().any(|other| other["key-id"] == key["key-id"])) {
            updates.push(json!({ "action": "remove-encryption-key", "key-id": key["key-id"] }));
        }
        Ok(updates)
    }

    /// Properties and location.
    fn settings(&self) -> Result<Vec<Value>> {
        let Between { from, to } = self;
        let mut updates = Vec::new();
        let set: Object = to
            .properties
            .iter()
            .filter(|(key, value)| from.properties.get(*key) != Some(value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !set.is_empty() {
            updates.push(json!({ "action": "set-properties", "updates": set }));
        }
        let gone: Vec<&String> = from.properties.keys().filter(|key| !to.properties.contains_key(*key)).collect();
        if !gone.is_empty() {
            updates.push(json!({ "action": "remove-properties", "removals": gone }));
        }
        if from.meta.get("location") != to.meta.get("location") {
            updates.push(json!({ "action": "set-location", "location": json::text(&to.meta, "location")? }));
        }
        Ok(updates)
    }
}

/// What a commit on `state` requires: nobody has changed it since, as far as requirements can say. Properties and statistics they cannot.
fn requirements(state: &Value, to: &Draft) -> Result<Vec<Value>> {
    let state = open(state)?;
    let mut all = Vec::new();
    if let Some(uuid) = state.meta.get("table-uuid").and_then(Value::as_str) {
        all.push(json!({ "type": "assert-table-uuid", "uuid": uuid }));
    }
    let names: HashSet<&String> = state.refs.keys().chain(to.refs.keys()).collect();
    let mut names: Vec<&String> = names.into_iter().collect();
    names.sort();
    for name in names {
        let at = state.refs.get(name).map_or(Value::Null, |to| to["snapshot-id"].clone());
        all.push(json!({ "type": "assert-ref-snapshot-id", "ref": name, "snapshot-id": at }));
    }
    for (kind, member, number) in [
        ("assert-last-assigned-field-id", "last-assigned-field-id", state.last_column),
        ("assert-current-schema-id", "current-schema-id", state.current_schema),
        ("assert-last-assigned-partition-id", "last-assigned-partition-id", state.last_partition),
        ("assert-default-spec-id", "default-spec-id", state.default_spec),
        ("assert-default-sort-order-id", "default-sort-order-id", state.default_order),
    ] {
        all.push(json!({ "type": kind, member: number }));
    }
    Ok(all)
}

/// Elements whose ids are not among the former, in the order of their ids.
fn new<'t>(had: &[Value], has: &'t [Value], name: &str) -> Vec<&'t Value> {
    let known: HashSet<i64> = ids(had, name).collect();
    let mut new: Vec<&Value> = has.iter().filter(|value| !known.contains(&number(value, name))).collect();
    new.sort_by_key(|value| number(value, name));
    new
}

fn ids<'l>(list: &'l [Value], name: &'l str) -> impl Iterator<Item = i64> + 'l {
    list.iter().map(move |value| number(value, name))
}

/// An element without an id has id 0, as in metadata of version 1.
fn number(value: &Value, name: &str) -> i64 {
    value[name].as_i64().unwrap_or(0)
}

fn keys(meta: &Object) -> Result<&[Value]> {
    json::list_or_empty(meta, "encryption-keys")
}

fn id(snapshot: &Object) -> Option<i64> {
    snapshot.get("snapshot-id")?.as_i64()
}

fn add_snapshot(snapshot: &Object) -> Value {
    json!({ "action": "add-snapshot", "snapshot": snapshot })
}
