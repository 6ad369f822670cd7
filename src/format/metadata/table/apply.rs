//! A commit's updates, applied in order: the table of all actions.
//!
//! An action that we do not know is refused by name: to pass over it would be to lose what the client meant.

use super::super::json;
use super::Applied;
use super::draft::Draft;
use crate::error::{Error, Kind, Result};
use serde_json::Value;

/// Applies a commit's updates to a table's metadata.
///
/// `base` is the current metadata and `base_location` the file it is in, which goes into the metadata log. Without a base
/// the table is built from the updates alone, as when a staged create is committed: they must assign a uuid and set a
/// location, so a caller with defaults for those puts such updates before the client's. `at_ms` is now.
///
/// An update that cannot be applied is a bad request, a snapshot that comes too late is `CommitFailed`, a broken base is
/// `Internal`.
pub fn apply(base: Option<&Value>, base_location: Option<&str>, updates: &[Value], at_ms: i64) -> Result<Applied> {
    let mut draft = match base {
        Some(base) => Draft::open(base, at_ms).map_err(|error| {
            Error::new(Kind::Internal, format!("the table's metadata is not valid: {}", error.message()))
        })?,
        None => Draft::empty(at_ms),
    };
    for update in updates {
        draft.apply(update)?;
    }
    match base {
        Some(base) if !draft.changes.any => {
            Ok(Applied { metadata: base.clone(), changed: false, removed_metadata_files: Vec::new() })
        }
        Some(_) => draft.finish(base_location),
        None => draft.finish(None),
    }
}

impl Draft {
    fn apply(&mut self, update: &Value) -> Result<()> {
        let update = json::object(update, "metadata update")?;
        let action = json::text(update, "action")?.to_ascii_lowercase();
        match action.as_str() {
            "assign-uuid" => self.assign_uuid(update),
            "upgrade-format-version" => self.upgrade_format_version(update),
            "add-schema" => self.add_schema(update),
            "set-current-schema" => self.set_current_schema(update),
            "remove-schemas" => self.remove_schemas(update),
            "add-spec" => self.add_spec(update),
            "set-default-spec" => self.set_default_spec(update),
            "remove-partition-specs" => self.remove_specs(update),
            "add-sort-order" => self.add_sort_order(update),
            "set-default-sort-order" => self.set_default_sort_order(update),
            "add-snapshot" => self.add_snapshot(update),
            "remove-snapshots" => self.remove_snapshots(update),
            "set-snapshot-ref" => self.set_ref(update),
            "remove-snapshot-ref" => self.remove_snapshot_ref(update),
            "set-location" => self.set_location(update),
            "set-properties" => self.set_properties(update),
            "remove-properties" => self.remove_properties(update),
            "set-statistics" => self.set_statistics(update),
            "remove-statistics" => self.remove_files("statistics", update),
            "set-partition-statistics" => self.set_partition_statistics(update),
            "remove-partition-statistics" => self.remove_files("partition-statistics", update),
            "add-encryption-key" => self.add_encryption_key(update),
            "remove-encryption-key" => self.remove_encryption_key(update),
            "add-view-version" | "set-current-view-version" => {
                Err(Error::bad_request(format!("Cannot apply update {action} to a table")))
            }
            _ => Err(Error::bad_request(format!("Cannot apply unknown metadata update: {action}"))),
        }
    }
}
