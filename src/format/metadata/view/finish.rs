//! The end of a view's commit: what must hold of the whole, and which versions are kept.
//!
//! No dialect of the version before is lost unless the view allows it. Old versions expire, but never the current one nor
//! those that this commit added; the log says nothing of a time whose version is gone.

use super::super::json::{self, Object};
use super::super::schema::Columns;
use super::draft::{Draft, check_version, version_id};
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// How many versions a view keeps, and the default.
const VERSIONS_MAX: (&str, i64) = ("version.history.num-entries", 10);
/// Whether a new version may leave out a dialect that the one before had.
const DROP_DIALECT_ALLOWED: &str = "replace.drop-dialect.allowed";

impl Draft {
    /// Checks the whole and gives the next metadata.
    pub fn finish(mut self) -> Result<Value> {
        for (name, message) in [("view-uuid", "Invalid uuid: null"), ("location", "Invalid location: null")] {
            if !json::has(&self.meta, name) {
                return Err(Error::bad_request(message));
            }
        }
        if self.versions.is_empty() {
            return Err(Error::bad_request("Invalid view: no versions were added"));
        }
        let Some(current) = self.current else {
            return Err(Error::bad_request("Invalid view: no current version has been set"));
        };
        self.log.extend(self.entry.take());
        self.check_dialects(current)?;
        self.expire(current)?;
        let mut meta = self.meta;
        for (name, value) in [
            ("format-version", Value::from(self.format)),
            ("schemas", Value::Array(self.schemas)),
            ("current-version-id", Value::from(current)),
            ("versions", Value::Array(self.versions)),
            ("version-log", Value::Array(self.log)),
        ] {
            meta.insert(name.to_owned(), value);
        }
        if meta.contains_key("properties") || !self.properties.is_empty() {
            meta.insert("properties".to_owned(), Value::Object(self.properties));
        }
        Ok(Value::Object(meta))
    }

    /// Checks what a registered view's lists hold.
    pub fn check_lists(&self) -> Result<()> {
        self.schemas.iter().try_for_each(|schema| Columns::of(schema).map(drop))?;
        let mut ids = HashSet::new();
        for version in &self.versions {
            let version = json::object(version, "view version")?;
            let id = check_version(version)?;
            self.check_schema_of(version)?;
            if !ids.insert(id) {
                return Err(Error::bad_request(format!("Invalid view metadata: version {id} is listed twice")));
            }
        }
        for entry in &self.log {
            let entry = json::object(entry, "version log entry")?;
            json::long(entry, "timestamp-ms")?;
            json::int(entry, "version-id")?;
        }
        Ok(())
    }

    fn check_dialects(&self, current: i64) -> Result<()> {
        let allowed = self.properties.get(DROP_DIALECT_ALLOWED).and_then(Value::as_str);
        if allowed.is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(());
        }
        let (Some(before), Some(now)) = (&self.before, self.version(current)) else { return Ok(()) };
        let (before, now) = (dialects(before), dialects(now));
        if before.is_subset(&now) {
            return Ok(());
        }
        Err(Error::bad_request(format!(
            "Cannot replace view due to loss of view dialects ({DROP_DIALECT_ALLOWED}=false):\nPrevious dialects: [{}]\nNew dialects: [{}]",
            join(&before),
            join(&now)
        )))
    }

    /// Drops the oldest versions beyond the number to keep, and the part of the log before any that is gone.
    fn expire(&mut self, current: i64) -> Result<()> {
        let (name, default) = VERSIONS_MAX;
        let max = match self.properties.get(name).and_then(Value::as_str) {
            Some(text) => text
                .trim()
                .parse::<i32>()
                .map_err(|_| Error::bad_request(format!("{name} must be an integer but was {text}")))?
                .into(),
            None => default,
        };
        if max <= 0 {
            return Err(Error::bad_request(format!("{name} must be positive but was {max}")));
        }
        let mut kept: HashSet<i64> = self.added.iter().copied().collect();
        kept.insert(current);
        let max = kept.len().max(usize::try_from(max).unwrap_or(usize::MAX));
        if self.versions.len() <= max {
            return Ok(());
        }
        let mut ids: Vec<i64> = self.versions.iter().filter_map(version_id).collect();
        ids.sort_unstable_by(|one, two| two.cmp(one));
        for id in ids {
            if kept.len() == max {
                break;
            }
            kept.insert(id);
        }
        self.versions.retain(|version| version_id(version).is_some_and(|id| kept.contains(&id)));
        let gone = |entry: &Value| !version_id(entry).is_some_and(|id| kept.contains(&id));
        if let Some(last_gone) = self.log.iter().rposition(gone) {
            self.log.drain(..=last_gone);
        }
        Ok(())
    }
}

fn dialects(version: &Value) -> BTreeSet<String> {
    let representations = version.get("representations").and_then(Value::as_array).into_iter().flatten();
    let sql = |object: &&Object| {
        object.get("type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("sql"))
    };
    let objects = representations.filter_map(Value::as_object).filter(sql);
    objects.filter_map(|object| Some(object.get("dialect")?.as_str()?.to_lowercase())).collect()
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
