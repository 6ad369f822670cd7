//! The updates of statistics files and of encryption keys: lists in the metadata of which each element has a key.
//!
//! A snapshot has one file of each kind; a newer one takes the older one's place. A key that is there is not replaced.
//! What is in the files, and what the keys open, is for engines.

use super::super::json::{self, Object};
use super::draft::Draft;
use crate::error::{Error, Result};
use serde_json::Value;

impl Draft {
    /// `set-statistics`: `statistics`.
    pub fn set_statistics(&mut self, update: &Object) -> Result<()> {
        let file = json::member(update, "statistics")?;
        check_statistics(file)?;
        self.set_file("statistics", file)
    }

    /// `set-partition-statistics`: `partition-statistics`.
    pub fn set_partition_statistics(&mut self, update: &Object) -> Result<()> {
        let file = json::member(update, "partition-statistics")?;
        check_partition_statistics(file)?;
        self.set_file("partition-statistics", file)
    }

    /// `remove-statistics` and `remove-partition-statistics`: `snapshot-id`; `list` is the one to remove from.
    pub fn remove_files(&mut self, list: &str, update: &Object) -> Result<()> {
        let id = json::long(update, "snapshot-id")?;
        if let Some(files) = self.meta.get_mut(list).and_then(Value::as_array_mut) {
            let before = files.len();
            files.retain(|file| snapshot_of(file) != Some(id));
            self.changes.any |= files.len() != before;
        }
        Ok(())
    }

    /// `add-encryption-key`: `encryption-key`.
    pub fn add_encryption_key(&mut self, update: &Object) -> Result<()> {
        let key = json::member(update, "encryption-key")?;
        let id = json::text(key, "key-id")?;
        json::text(key, "encrypted-key-metadata")?;
        let keys = self.list_mut("encryption-keys")?;
        if !keys.iter().any(|other| key_id(other) == Some(id)) {
            keys.push(Value::Object(key.clone()));
            self.changes.any = true;
        }
        Ok(())
    }

    /// `remove-encryption-key`: `key-id`.
    pub fn remove_encryption_key(&mut self, update: &Object) -> Result<()> {
        let id = json::text(update, "key-id")?;
        if let Some(keys) = self.meta.get_mut("encryption-keys").and_then(Value::as_array_mut) {
            let before = keys.len();
            keys.retain(|key| key_id(key) != Some(id));
            self.changes.any |= keys.len() != before;
        }
        Ok(())
    }

    fn set_file(&mut self, list: &str, file: &Object) -> Result<()> {
        let id = json::long(file, "snapshot-id")?;
        let file = Value::Object(file.clone());
        let files = self.list_mut(list)?;
        match files.iter().position(|other| snapshot_of(other) == Some(id)) {
            Some(at) => files[at] = file,
            None => files.push(file),
        }
        self.changes.any = true;
        Ok(())
    }

    /// A list of the metadata, made if it is not there.
    fn list_mut(&mut self, name: &str) -> Result<&mut Vec<Value>> {
        let value = self.meta.entry(name).or_insert(Value::Null);
        if value.is_null() {
            *value = Value::Array(Vec::new());
        }
        value.as_array_mut().ok_or_else(|| Error::internal(format!("the table's {name} is not a list")))
    }
}

/// Checks the members of a statistics file that readers need.
pub(super) fn check_statistics(file: &Object) -> Result<()> {
    check_partition_statistics(file)?;
    json::long(file, "file-footer-size-in-bytes")?;
    json::list(file, "blob-metadata")?;
    Ok(())
}

/// Checks the members of a partition statistics file that readers need.
pub(super) fn check_partition_statistics(file: &Object) -> Result<()> {
    json::long(file, "snapshot-id")?;
    json::text(file, "statistics-path")?;
    json::long(file, "file-size-in-bytes")?;
    Ok(())
}

fn snapshot_of(file: &Value) -> Option<i64> {
    file.get("snapshot-id")?.as_i64()
}

fn key_id(key: &Value) -> Option<&str> {
    key.get("key-id")?.as_str()
}
