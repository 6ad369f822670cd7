//! A table made for the files that landed: their columns, and their folders as partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::footers::Footers;
use super::known::Tools;
use super::landed::Candidate;
use crate::error::{Error, Kind, Result};
use crate::format::data_file::{Difference, TableShape, folders, type_of};
use crate::format::types::{Field, Type, schema_json};
use crate::model::{Ident, Operation};
use crate::upstream::Target;

/// What `createTable` is asked for, from the columns and folders of these files.
pub(super) async fn body(footers: &Footers, ident: &Ident, candidates: &[Candidate]) -> Result<Json> {
    let nothing = TableShape::of(&empty())?;
    let all = footers.fields(candidates, &Arc::new(nothing.clone())).await?;
    // column by column, so that a file that lacks some or has narrower ones does not decide
    let mut shape = nothing;
    for (_, fields) in &all {
        let new = fields.iter().map(|field| Difference::New { parent: None, field: field.clone() });
        shape = shape.evolved(&new.collect::<Vec<_>>());
    }
    let shape = Arc::new(shape);
    let examples: Vec<Candidate> = all.into_iter().map(|(candidate, _)| candidate).collect();
    let wider = footers.differences(&examples, &shape).await?;
    let mut shape = (*shape).clone().evolved(&wider);
    if shape.fields.is_empty() {
        let message = "no file that landed can be read, so that nobody knows what columns the table should have";
        return Err(Error::new(Kind::Unprocessable, message));
    }
    let partitions = partitions(candidates);
    let new: Vec<Difference> = partitions
        .iter()
        .filter(|(name, _)| shape.fields.iter().all(|field| field.name != **name))
        .map(|(name, field_type)| Difference::New {
            parent: None,
            field: Field::optional(0, name.clone(), field_type.clone()),
        })
        .collect();
    shape = shape.evolved(&new);
    let spec: Vec<Json> = partitions
        .keys()
        .filter_map(|name| shape.fields.iter().find(|field| field.name == *name))
        .enumerate()
        .map(|(at, field)| json!({"source-id": field.id, "field-id": 1000 + at, "name": field.name, "transform": "identity"}))
        .collect();
    Ok(json!({
        "name": ident.name,
        "schema": schema_json(0, &shape.fields),
        "partition-spec": {"spec-id": 0, "fields": spec},
        // the catalog numbers columns anew: their names are mapped once that is done
        "properties": {},
    }))
}

/// The folders that every file lies in, outermost first by their names, with the types of their values.
fn partitions(candidates: &[Candidate]) -> BTreeMap<String, Type> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for candidate in candidates {
        for (name, text) in folders(candidate.below()) {
            texts.entry(name).or_default().push(text);
        }
    }
    let everywhere = texts.into_iter().filter(|(_, texts)| texts.len() == candidates.len());
    everywhere.map(|(name, texts)| (name, Type::Value(type_of(texts.iter().map(String::as_str))))).collect()
}

/// Makes the table, and its namespace where there is none. That somebody else made it first is fine.
pub(super) async fn create(tools: &Tools, ident: &Ident, body: &Json) -> Result<()> {
    let namespace = json!({"namespace": ident.namespace.levels(), "properties": {}});
    let request = tools.tables.request(Operation::CreateNamespace, Target::Catalog, &namespace);
    for made in [
        tools.tables.call(request, Kind::AlreadyExists).await.map(drop),
        tools.tables.create(ident, body).await.map(drop),
    ] {
        match made {
            Err(e) if e.kind() == Kind::AlreadyExists => {}
            made => made?,
        }
    }
    Ok(())
}

/// Metadata of the table as it would be made.
pub(super) fn planned(body: &Json) -> Result<Json> {
    let mut metadata = empty();
    let fields = crate::format::types::fields(&body["schema"])?;
    metadata["schemas"] = json!([body["schema"]]);
    metadata["partition-specs"] = json!([body["partition-spec"]]);
    metadata["properties"] = body["properties"].clone();
    metadata["last-column-id"] = json!(fields.len());
    Ok(metadata)
}

fn empty() -> Json {
    json!({
        "format-version": 2, "last-column-id": 0, "current-schema-id": 0, "default-spec-id": 0, "properties": {},
        "schemas": [{"type": "struct", "schema-id": 0, "fields": []}], "partition-specs": [{"spec-id": 0, "fields": []}],
    })
}
