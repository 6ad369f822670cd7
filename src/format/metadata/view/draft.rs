//! The next metadata of a view while updates are applied to it, and the updates.
//!
//! An equal schema or version is not added twice: what is equal keeps its id, what is new gets one after the highest.
//! What must hold at the end, and which versions are kept, is in `finish`.

use super::super::json::{self, Object};
use super::super::schema::{self, Columns};
use super::FORMAT_VERSION_MAX;
use crate::error::{Error, Kind, Result};
use serde_json::{Value, json};
use std::collections::HashSet;

/// The order in which a new view's metadata is written, which is that of Iceberg's Java library.
const MEMBERS: &[&str] = &[
    "view-uuid",
    "format-version",
    "location",
    "properties",
    "schemas",
    "current-version-id",
    "versions",
    "version-log",
];

/// A view's metadata, taken apart.
#[derive(Default)]
pub(super) struct Draft {
    /// All members of the metadata; those taken out below are put back at their places.
    pub meta: Object,
    pub format: i64,
    pub properties: Object,
    pub schemas: Vec<Value>,
    pub versions: Vec<Value>,
    pub current: Option<i64>,
    pub log: Vec<Value>,
    /// The version that was current before, whose dialects a replacement must keep.
    pub before: Option<Value>,
    pub changed: bool,
    /// The versions that this commit added.
    pub added: HashSet<i64>,
    last_schema: Option<i64>,
    last_version: Option<i64>,
    /// The log entry of the version that this commit makes current.
    pub entry: Option<Value>,
    at_ms: i64,
}

impl Draft {
    /// A draft of a view that does not exist yet.
    pub fn empty(at_ms: i64) -> Self {
        let meta = MEMBERS.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
        Draft { meta, format: 1, changed: true, at_ms, ..Draft::default() }
    }

    /// A draft of the metadata that follows this one.
    pub fn open(base: &Value, at_ms: i64) -> Result<Self> {
        let meta = json::object(base, "view metadata")?.clone();
        let format = json::int(&meta, "format-version")?;
        if !(1..=FORMAT_VERSION_MAX).contains(&format) {
            return Err(Error::bad_request(format!("Unsupported format version: {format}")));
        }
        json::text(&meta, "view-uuid")?;
        json::text(&meta, "location")?;
        let properties =
            if json::has(&meta, "properties") { json::string_map(&meta, "properties")?.clone() } else { Object::new() };
        let mut draft = Draft {
            format,
            properties,
            schemas: json::list(&meta, "schemas")?.to_vec(),
            versions: json::list(&meta, "versions")?.to_vec(),
            current: Some(json::int(&meta, "current-version-id")?),
            log: json::list(&meta, "version-log")?.to_vec(),
            at_ms,
            ..Draft::default()
        };
        draft.meta = meta;
        draft.before = draft.current.and_then(|id| draft.version(id)).cloned();
        if draft.before.is_none() {
            let id = draft.current.unwrap_or_default();
            return Err(Error::bad_request(format!("Cannot find current version {id} in view versions")));
        }
        Ok(draft)
    }

    /// The version with this id.
    pub fn version(&self, id: i64) -> Option<&Value> {
        self.versions.iter().find(|version| version_id(version) == Some(id))
    }

    /// `assign-uuid`: `uuid`.
    pub fn assign_uuid(&mut self, update: &Object) -> Result<()> {
        let uuid = json::text(update, "uuid")?;
        match self.meta.get("view-uuid").and_then(Value::as_str) {
            Some(existing) if existing.eq_ignore_ascii_case(uuid) => return Ok(()),
            Some(_) => return Err(Error::bad_request("Cannot reassign uuid")),
            None => {}
        }
        self.meta.insert("view-uuid".to_owned(), uuid.into());
        self.changed = true;
        Ok(())
    }

    /// `upgrade-format-version`: `format-version`.
    pub fn upgrade_format_version(&mut self, update: &Object) -> Result<()> {
        let format = json::int(update, "format-version")?;
        if format < self.format {
            return Err(Error::bad_request(format!("Cannot downgrade v{} view to v{format}", self.format)));
        }
        if format > FORMAT_VERSION_MAX {
            return Err(Error::bad_request(format!("Unsupported format version: {format}")));
        }
        self.changed |= format != self.format;
        self.format = format;
        Ok(())
    }

    /// `set-location`: `location`.
    pub fn set_location(&mut self, update: &Object) -> Result<()> {
        let location = json::text(update, "location")?;
        if self.meta.get("location").and_then(Value::as_str) != Some(location) {
            self.meta.insert("location".to_owned(), location.into());
            self.changed = true;
        }
        Ok(())
    }

    /// `set-properties`: `updates`, which old clients call `updated`.
    pub fn set_properties(&mut self, update: &Object) -> Result<()> {
        let name = if json::has(update, "updated") { "updated" } else { "updates" };
        for (key, value) in json::string_map(update, name)? {
            self.properties.insert(key.clone(), value.clone());
            self.changed = true;
        }
        Ok(())
    }

    /// `remove-properties`: `removals`, which old clients call `removed`.
    pub fn remove_properties(&mut self, update: &Object) -> Result<()> {
        let name = if json::has(update, "removed") { "removed" } else { "removals" };
        for key in json::texts(update, name)? {
            self.properties.shift_remove(key);
            self.changed = true;
        }
        Ok(())
    }

    /// `add-schema`: `schema`.
    pub fn add_schema(&mut self, update: &Object) -> Result<()> {
        let added = Value::Object(json::member(update, "schema")?.clone());
        Columns::of(&added)?;
        let (id, exists) = schema::reuse_or_next_id(&self.schemas, &added, 0)?;
        if !exists {
            self.schemas.push(schema::with_id(added, id));
            self.changed = true;
        }
        self.last_schema = Some(id);
        Ok(())
    }

    /// `add-view-version`: `view-version`, whose `schema-id` -1 stands for the schema added last.
    pub fn add_version(&mut self, update: &Object) -> Result<()> {
        let mut version = json::member(update, "view-version")?.clone();
        if json::int(&version, "schema-id")? == -1 {
            let none = || Error::bad_request("Cannot set last added schema: no schema has been added");
            version.insert("schema-id".to_owned(), self.last_schema.ok_or_else(none)?.into());
        }
        let mut id = check_version(&version)?;
        for other in &self.versions {
            let other = json::object(other, "view version")?;
            let other_id = json::int(other, "version-id")?;
            if json::same_object(other, &version, &["version-id", "timestamp-ms"]) {
                self.last_version = Some(other_id);
                return Ok(());
            } else if other_id >= id {
                id = json::next_id(other_id, "view version")?;
            }
        }
        self.check_schema_of(&version)?;
        version.insert("version-id".to_owned(), id.into());
        self.versions.push(Value::Object(version));
        self.added.insert(id);
        self.last_version = Some(id);
        self.changed = true;
        Ok(())
    }

    /// `set-current-view-version`: `view-version-id`, -1 for the one added last.
    pub fn set_current_version(&mut self, update: &Object) -> Result<()> {
        let mut id = json::int(update, "view-version-id")?;
        if id == -1 {
            let none = || Error::bad_request("Cannot set last version id: no current version id has been set");
            id = self.last_version.ok_or_else(none)?;
        }
        if self.current == Some(id) {
            return Ok(());
        }
        let Some(version) = self.version(id) else {
            return Err(Error::bad_request(format!("Cannot set current version to unknown version: {id}")));
        };
        // A version that was current before becomes so again now, not when it was made.
        let made_ms = json::long(json::object(version, "view version")?, "timestamp-ms")?;
        let at_ms = if self.added.contains(&id) { made_ms } else { self.at_ms };
        self.entry = Some(json!({ "timestamp-ms": at_ms, "version-id": id }));
        self.current = Some(id);
        self.changed = true;
        Ok(())
    }

    /// Refuses a version whose schema is not there.
    pub fn check_schema_of(&self, version: &Object) -> Result<()> {
        let id = json::int(version, "schema-id")?;
        if self.schemas.iter().any(|schema| schema::id_of(schema).is_ok_and(|other| other == id)) {
            return Ok(());
        }
        Err(Error::bad_request(format!("Cannot add version with unknown schema: {id}")))
    }
}

/// A version's id.
pub(super) fn version_id(version: &Value) -> Option<i64> {
    version.get("version-id")?.as_i64()
}

/// Checks a version's members and returns its id.
pub(super) fn check_version(version: &Object) -> Result<i64> {
    json::long(version, "timestamp-ms")?;
    json::string_map(version, "summary")?;
    json::texts(version, "default-namespace")?;
    let mut seen = HashSet::new();
    for value in json::list(version, "representations")? {
        let representation = json::object(value, "view representation")?;
        if json::text(representation, "type")?.eq_ignore_ascii_case("sql") {
            json::text(representation, "sql")?;
            let dialect = json::text(representation, "dialect")?.to_lowercase();
            if seen.contains(&dialect) {
                let message = format!("Invalid view version: Cannot add multiple queries for dialect {dialect}");
                return Err(Error::new(Kind::InvalidArgument, message));
            }
            seen.insert(dialect);
        }
    }
    json::int(version, "version-id")
}
