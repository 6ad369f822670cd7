//! A table becomes what the files need: new optional columns, wider types, names for columns without ids. One commit, before the files.

use serde_json::json;

use super::known::{Known, Tools};
use super::look::same_table;
use crate::error::Result;
use crate::format::data_file::{Difference, NAME_MAPPING, TableShape};
use crate::format::types::schema_json;
use crate::model::Ident;

/// The table as the files need it, and what of it changed, in words.
pub(super) fn evolved(table: &TableShape, differences: &[Difference]) -> (TableShape, Vec<String>) {
    let next = table.evolved(differences);
    let mut told: Vec<String> = Vec::new();
    if next.fields != table.fields {
        for difference in differences.iter().map(ToString::to_string) {
            if !told.contains(&difference) {
                told.push(difference);
            }
        }
    }
    (next, told)
}

/// Commits a changed schema and name mapping; where somebody else changed the schema meanwhile, that is a conflict and the next look goes on.
pub(super) async fn commit(tools: &Tools, ident: &Ident, known: &mut Known, table: &TableShape) -> Result<()> {
    let metadata = known.metadata()?;
    let is_same_schema = TableShape::of(metadata)?.fields == table.fields;
    let mut requirements = vec![same_table(known.uuid())];
    let mut updates = Vec::new();
    if !is_same_schema {
        let number = |key: &str| metadata[key].clone();
        requirements
            .push(json!({"type": "assert-current-schema-id", "current-schema-id": number("current-schema-id")}));
        requirements
            .push(json!({"type": "assert-last-assigned-field-id", "last-assigned-field-id": number("last-column-id")}));
        let mut schema = schema_json(0, &table.fields);
        let schemas = metadata["schemas"].as_array().into_iter().flatten();
        let mut current = schemas.filter(|schema| schema["schema-id"] == metadata["current-schema-id"]);
        if let Some(identifiers) = current.next().and_then(|schema| schema.get("identifier-field-ids")) {
            schema["identifier-field-ids"] = identifiers.clone();
        }
        updates.push(json!({"action": "add-schema", "schema": schema, "last-column-id": table.last_column_id()}));
        updates.push(json!({"action": "set-current-schema", "schema-id": -1}));
    }
    if table.mapping_is_new {
        let mapping = table.mapping.to_json().to_string();
        updates.push(json!({"action": "set-properties", "updates": {NAME_MAPPING: mapping}}));
    }
    let loaded = tools.tables.commit(ident, &requirements, &updates).await?;
    known.take(tools, loaded).await
}
