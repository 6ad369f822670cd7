//! The updates of a table's schemas: add one, make one current, remove some.
//!
//! An equal schema is not added twice. That the default spec and sort order fit the current schema is seen to at the end
//! of the commit, when all updates are in.

use super::super::json::{self, Object};
use super::super::schema::{Columns, id_of, reuse_or_next_id, with_id};
use super::draft::Draft;
use crate::error::{Error, Result};
use serde_json::Value;

impl Draft {
    /// `add-schema`: `schema`, and the `last-column-id` that older clients send.
    pub fn add_schema(&mut self, update: &Object) -> Result<()> {
        let schema = Value::Object(json::member(update, "schema")?.clone());
        let columns = Columns::of(&schema)?;
        let highest = self.last_column.max(columns.highest_id());
        // a schema that lost its last column comes with a lower number from Java clients; ids are never used again all the same
        let last_column = json::int_or_none(update, "last-column-id")?.unwrap_or(highest);
        columns.check_format(self.format)?;
        self.add_schema_with(schema, last_column.max(highest))
    }

    /// Adds a schema that is known to be valid.
    pub fn add_schema_with(&mut self, schema: Value, last_column: i64) -> Result<()> {
        let (id, exists) = reuse_or_next_id(&self.schemas, &schema, self.current_schema)?;
        self.changes.last_schema = Some(id);
        if exists && last_column == self.last_column {
            return Ok(());
        }
        self.last_column = last_column;
        if !exists {
            self.schemas.push(with_id(schema, id));
        }
        self.changes.any = true;
        Ok(())
    }

    /// `set-current-schema`: `schema-id`, -1 for the one added last.
    pub fn set_current_schema(&mut self, update: &Object) -> Result<()> {
        let mut id = json::int(update, "schema-id")?;
        if id == -1 {
            id = self
                .changes
                .last_schema
                .ok_or_else(|| Error::bad_request("Cannot set last added schema: no schema has been added"))?;
        }
        if id == self.current_schema {
            return Ok(());
        }
        if self.schema(id).is_none() {
            return Err(Error::bad_request(format!("Cannot set current schema to unknown schema: {id}")));
        }
        self.current_schema = id;
        self.changes.moved_schema = true;
        self.changes.any = true;
        Ok(())
    }

    /// `remove-schemas`: `schema-ids`.
    pub fn remove_schemas(&mut self, update: &Object) -> Result<()> {
        let ids = json::ints(update, "schema-ids")?;
        if ids.contains(&self.current_schema) {
            return Err(Error::bad_request("Cannot remove the current schema"));
        }
        if !ids.is_empty() {
            self.schemas.retain(|schema| !id_of(schema).is_ok_and(|id| ids.contains(&id)));
            self.changes.last_schema = self.changes.last_schema.filter(|id| !ids.contains(id));
            self.changes.any = true;
        }
        Ok(())
    }
}
