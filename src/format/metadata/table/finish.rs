//! The end of a commit: what must hold of the whole, and putting a draft's parts back at their places.
//!
//! Members that were absent and have nothing to say stay absent. What each update must hold is checked where it is applied.

use super::super::json::{self, Object};
use super::super::schema::Columns;
use super::draft::Draft;
use super::open::current_snapshot;
use super::snapshot::sequence_number;
use super::{Applied, MAIN, sort, spec};
use crate::error::{Error, Result};
use serde_json::Value;

impl Draft {
    /// Checks the whole, closes the histories and gives the next metadata.
    pub fn finish(mut self, base_location: Option<&str>) -> Result<Applied> {
        let last_updated_ms = self.last_updated_ms.unwrap_or(self.at_ms);
        self.check_identity()?;
        self.check_default_spec_and_order()?;
        self.check_snapshots()?;
        self.correct_snapshot_log()?;
        let removed_metadata_files = match (base_location, json::long_or_none(&self.meta, "last-updated-ms")?) {
            (Some(location), Some(base_updated_ms)) => self.log_base(location, base_updated_ms)?,
            _ => Vec::new(),
        };
        self.check_logs(last_updated_ms)?;
        Ok(Applied { metadata: self.put_back(last_updated_ms)?, changed: true, removed_metadata_files })
    }

    /// A table has a location and, from version 2 on, a uuid.
    fn check_identity(&self) -> Result<()> {
        let has = |name: &str| json::has(&self.meta, name);
        if !has("table-uuid") && (self.format > 1 || self.changes.creates) {
            return Err(Error::bad_request(format!("UUID is required in format v{}", self.format)));
        }
        if !has("location") {
            return Err(Error::bad_request("Cannot create table metadata: no location has been set"));
        }
        Ok(())
    }

    fn check_default_spec_and_order(&self) -> Result<()> {
        let unknown =
            |what: &str, id: i64| Error::bad_request(format!("Cannot find {what} with id {id}: none has been added"));
        let schema = self.schema(self.current_schema).ok_or_else(|| unknown("current schema", self.current_schema))?;
        let spec = self.spec(self.default_spec).ok_or_else(|| unknown("default partition spec", self.default_spec))?;
        let order = self.order(self.default_order).ok_or_else(|| unknown("default sort order", self.default_order))?;
        let columns = Columns::of(schema)?;
        let spec = json::object(spec, "partition spec")?;
        spec::check_fits(spec, &columns)?;
        // A base whose names clash already is not made worse by a commit that leaves the schema alone.
        if self.changes.moved_schema {
            spec::check_names(spec, &columns)?;
        }
        sort::check_fits(json::object(order, "sort order")?, &columns)
    }

    /// The current snapshot is there and is the head of main; no snapshot is numbered beyond the last number.
    pub fn check_snapshots(&self) -> Result<()> {
        if self.format == 1 && self.last_sequence != 0 {
            return Err(Error::bad_request(format!("Sequence number must be 0 in v1: {}", self.last_sequence)));
        }
        let main = self.refs.get(MAIN).and_then(|to| to.get("snapshot-id")?.as_i64());
        match (self.current_snapshot, main) {
            (Some(current), _) if !self.snapshot_at.contains_key(&current) => {
                return Err(Error::bad_request("Invalid table metadata: Cannot find current version"));
            }
            (Some(current), Some(main)) if current != main => {
                let message = format!("Current snapshot ID does not match main branch ({current} != {main})");
                return Err(Error::bad_request(message));
            }
            (None, Some(main)) => {
                return Err(Error::bad_request(format!("Current snapshot is not set, but main branch exists: {main}")));
            }
            _ => {}
        }
        for snapshot in &self.snapshots {
            let sequence = sequence_number(json::object(snapshot, "snapshot")?)?;
            if sequence > self.last_sequence {
                let last = self.last_sequence;
                let message = format!(
                    "Invalid snapshot with sequence number {sequence} greater than last sequence number {last}"
                );
                return Err(Error::bad_request(message));
            }
        }
        Ok(())
    }

    fn put_back(mut self, last_updated_ms: i64) -> Result<Value> {
        self.put_current_snapshot()?;
        let schema = self.schema(self.current_schema).cloned();
        let fields = self.spec(self.default_spec).and_then(|spec| spec.get("fields").cloned());
        let Draft { mut meta, format, .. } = self;
        let only_in = |version: i64, value: Option<Value>| value.filter(|_| format == version);
        let from = |version: i64, number: i64| Some(Value::from(number)).filter(|_| format >= version);
        put(&mut meta, "format-version", from(1, format));
        put(&mut meta, "last-sequence-number", from(2, self.last_sequence));
        put(&mut meta, "last-updated-ms", from(1, last_updated_ms));
        put(&mut meta, "last-column-id", from(1, self.last_column));
        put(&mut meta, "schema", only_in(1, schema));
        put(&mut meta, "current-schema-id", from(1, self.current_schema));
        put(&mut meta, "schemas", Some(Value::Array(self.schemas)));
        put(&mut meta, "partition-spec", only_in(1, fields));
        put(&mut meta, "default-spec-id", from(1, self.default_spec));
        put(&mut meta, "partition-specs", Some(Value::Array(self.specs)));
        put(&mut meta, "last-partition-id", from(1, self.last_partition));
        put(&mut meta, "default-sort-order-id", from(1, self.default_order));
        put(&mut meta, "sort-orders", Some(Value::Array(self.orders)));
        put(&mut meta, "next-row-id", from(3, self.next_row));
        put_content(&mut meta, "properties", Value::Object(self.properties));
        put_content(&mut meta, "refs", Value::Object(self.refs));
        put_content(&mut meta, "snapshots", Value::Array(self.snapshots));
        put_content(&mut meta, "snapshot-log", Value::Array(self.snapshot_log));
        Ok(Value::Object(meta))
    }

    /// Writes the current snapshot's id as its format version does; where nothing changed, the base's way stays.
    fn put_current_snapshot(&mut self) -> Result<()> {
        let format_before = json::int_or_none(&self.meta, "format-version")?;
        if format_before == Some(self.format) && current_snapshot(&self.meta)? == self.current_snapshot {
            return Ok(());
        }
        let none = if self.format > 2 { Value::Null } else { Value::from(-1) };
        self.meta.insert("current-snapshot-id".to_owned(), self.current_snapshot.map_or(none, Value::from));
        Ok(())
    }
}

/// Puts a member at its place, or removes it.
fn put(meta: &mut Object, name: &str, value: Option<Value>) {
    match value {
        Some(value) => meta.insert(name.to_owned(), value),
        None => meta.shift_remove(name),
    };
}

/// Puts back a list or an object, unless it is empty and was never there.
fn put_content(meta: &mut Object, name: &str, value: Value) {
    let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Object::is_empty);
    if !empty || meta.contains_key(name) {
        meta.insert(name.to_owned(), value);
    }
}
