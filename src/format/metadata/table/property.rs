//! The updates of what a table has one of: uuid, format version, location, properties; and what a new table's
//! properties may be.
//!
//! The format version only rises and the uuid never changes. What a property does is for engines, but for the one that
//! bounds the metadata log.

use super::super::json::{self, Object};
use super::super::schema::Columns;
use super::draft::Draft;
use super::{FORMAT_VERSION_MAX, open};
use crate::error::{Error, Result};
use serde_json::Value;

/// Properties that say something to whoever creates a table and are not stored.
const RESERVED: &[&str] = &[
    "format-version",
    "uuid",
    "snapshot-count",
    "current-snapshot-id",
    "current-snapshot-summary",
    "current-snapshot-timestamp-ms",
    "current-schema",
    "default-partition-spec",
    "default-sort-order",
];
/// Properties that must be whole numbers and not negative when a table is created.
const COMMIT_NUMBERS: &[&str] = &[
    "commit.retry.num-retries",
    "commit.retry.min-wait-ms",
    "commit.retry.max-wait-ms",
    "commit.retry.total-timeout-ms",
];
/// What comes before a column's name in a property that chooses its metrics.
const COLUMN_METRICS: &str = "write.metadata.metrics.column.";
/// Defaults that apply only to new tables.
const NEW_TABLE_DEFAULTS: &[(&str, &str)] = &[("write.parquet.compression-codec", "zstd")];

impl Draft {
    /// `assign-uuid`: `uuid`.
    pub fn assign_uuid(&mut self, update: &Object) -> Result<()> {
        let uuid = json::text(update, "uuid")?;
        match self.meta.get("table-uuid").and_then(Value::as_str) {
            Some(existing) if existing.eq_ignore_ascii_case(uuid) => return Ok(()),
            Some(_) if !self.changes.creates => return Err(Error::bad_request("Cannot reassign uuid")),
            _ => {}
        }
        self.meta.insert("table-uuid".to_owned(), uuid.into());
        self.changes.any = true;
        Ok(())
    }

    /// `upgrade-format-version`: `format-version`. The first one sets the version of a table that is being made.
    pub fn upgrade_format_version(&mut self, update: &Object) -> Result<()> {
        let format = json::int(update, "format-version")?;
        if format > FORMAT_VERSION_MAX {
            return Err(Error::bad_request(format!(
                "Cannot upgrade table to unsupported format version: v{format} (supported: v{FORMAT_VERSION_MAX})"
            )));
        }
        let sets = self.changes.creates && !self.changes.format_set;
        if format < 1 || (format < self.format && !sets) {
            return Err(Error::bad_request(format!("Cannot downgrade v{} table to v{format}", self.format)));
        }
        if format != self.format && format > 1 {
            // Version 1 has no sequence numbers and the others need them: readers of version 3 refuse a table without.
            for snapshot in self.snapshots.iter_mut().filter_map(Value::as_object_mut) {
                if !json::has(snapshot, "sequence-number") {
                    snapshot.insert("sequence-number".to_owned(), 0.into());
                }
            }
        }
        self.changes.any |= format != self.format;
        self.changes.format_set = true;
        self.format = format;
        Ok(())
    }

    /// `set-location`: `location`.
    pub fn set_location(&mut self, update: &Object) -> Result<()> {
        let location = without_trailing_slash(json::text(update, "location")?);
        if self.meta.get("location").and_then(Value::as_str) != Some(location) {
            self.meta.insert("location".to_owned(), location.into());
            self.changes.any = true;
        }
        Ok(())
    }

    /// `set-properties`: `updates`, which old clients call `updated`.
    pub fn set_properties(&mut self, update: &Object) -> Result<()> {
        let name = if json::has(update, "updated") { "updated" } else { "updates" };
        for (key, value) in json::string_map(update, name)? {
            self.properties.insert(key.clone(), value.clone());
            self.changes.any = true;
        }
        Ok(())
    }

    /// `remove-properties`: `removals`, which old clients call `removed`.
    pub fn remove_properties(&mut self, update: &Object) -> Result<()> {
        let name = if json::has(update, "removed") { "removed" } else { "removals" };
        for key in json::texts(update, name)? {
            self.properties.shift_remove(key);
            self.changes.any = true;
        }
        Ok(())
    }
}

/// The format version that a new table's properties ask for.
pub(super) fn requested_format(properties: &Object) -> Result<i64> {
    let Some(text) = properties.get("format-version").and_then(Value::as_str) else {
        return Ok(open::FORMAT_VERSION_DEFAULT);
    };
    match text.trim().parse::<i64>() {
        Ok(format) if (1..=FORMAT_VERSION_MAX).contains(&format) => Ok(format),
        _ => Err(Error::bad_request(format!("Unsupported format version: v{text} (supported: v{FORMAT_VERSION_MAX})"))),
    }
}

/// What is stored of a new table's properties, defaults for new tables added.
pub(super) fn stored(properties: &Object, columns: &Columns<'_>) -> Result<Object> {
    for name in COMMIT_NUMBERS {
        let Some(text) = properties.get(*name).and_then(Value::as_str) else { continue };
        match text.parse::<i32>() {
            Ok(number) if number >= 0 => {}
            Ok(_) => {
                return Err(Error::bad_request(format!("Table property {name} must have non negative integer value")));
            }
            Err(_) => return Err(Error::bad_request(format!("Table property {name} must have integer value"))),
        }
    }
    for name in properties.keys() {
        if let Some(column) = name.strip_prefix(COLUMN_METRICS).filter(|column| columns.id_of(column).is_none()) {
            let message =
                format!("Invalid metrics config, could not find column {column} from table prop {name} in schema");
            return Err(Error::bad_request(message));
        }
    }
    let given = properties.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
    let mut stored: Object = given.map(|(name, value)| (name.clone(), value.clone())).collect();
    for (name, value) in NEW_TABLE_DEFAULTS {
        stored.entry(*name).or_insert_with(|| (*value).into());
    }
    Ok(stored)
}

/// A location without slashes at its end, but for those of a bare scheme such as `s3://`.
pub(super) fn without_trailing_slash(location: &str) -> &str {
    let mut end = location;
    while let Some(shorter) = end.strip_suffix('/') {
        if end.ends_with("://") || shorter.is_empty() {
            break;
        }
        end = shorter;
    }
    end
}
