//! Name mappings: which field a column is that has no id (specification, "Column Projection" and appendix C).

use serde_json::{Value as Json, json};

use crate::error::{Error, Result};
use crate::format::types::Field;

/// The property that a table keeps it under.
pub const NAME_MAPPING: &str = "schema.name-mapping.default";

/// Names of fields, each with those of its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameMapping(Vec<Mapped>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapped {
    id: Option<i32>,
    names: Vec<String>,
    parts: NameMapping,
}

impl NameMapping {
    /// Reads one; what cannot be read is a bad request.
    pub fn parse(text: &str) -> Result<NameMapping> {
        let json: Json = serde_json::from_str(text)
            .map_err(|e| Error::bad_request(format!("the property {NAME_MAPPING} is not JSON: {e}")))?;
        NameMapping::of_json(&json)
    }

    fn of_json(json: &Json) -> Result<NameMapping> {
        let listed =
            json.as_array().ok_or_else(|| Error::bad_request(format!("the property {NAME_MAPPING} is no list")))?;
        let mapped = |json: &Json| {
            let names = json["names"].as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned);
            Ok(Mapped {
                id: json["field-id"].as_i64().and_then(|id| i32::try_from(id).ok()),
                names: names.collect(),
                parts: json.get("fields").map_or_else(|| Ok(NameMapping::default()), NameMapping::of_json)?,
            })
        };
        listed.iter().map(mapped).collect::<Result<_>>().map(NameMapping)
    }

    /// One in which every field has its own name.
    pub fn of(fields: &[Field]) -> NameMapping {
        NameMapping::of_parts(fields.iter().collect())
    }

    fn of_parts(fields: Vec<&Field>) -> NameMapping {
        let mapped = |field: &Field| Mapped {
            id: Some(field.id),
            names: vec![field.name.clone()],
            parts: NameMapping::of_parts(field.parts()),
        };
        NameMapping(fields.into_iter().map(mapped).collect())
    }

    /// The field of this name and the mapping of its parts.
    pub fn get(&self, name: &str) -> Option<(i32, &NameMapping)> {
        let mapped = self.0.iter().find(|mapped| mapped.names.iter().any(|known| known == name))?;
        Some((mapped.id?, &mapped.parts))
    }

    /// The same with every field of these that it does not have, by its name.
    pub fn with(&self, fields: &[Field]) -> NameMapping {
        self.with_parts(fields.iter().collect())
    }

    fn with_parts(&self, fields: Vec<&Field>) -> NameMapping {
        let mut all = self.0.clone();
        for field in fields {
            match all.iter_mut().find(|mapped| mapped.id == Some(field.id)) {
                Some(mapped) => mapped.parts = mapped.parts.with_parts(field.parts()),
                None => all.extend(NameMapping::of_parts(vec![field]).0),
            }
        }
        NameMapping(all)
    }

    /// As the property has it.
    pub fn to_json(&self) -> Json {
        let mapped = |mapped: &Mapped| {
            let mut json = json!({"names": mapped.names});
            if let Some(id) = mapped.id {
                json["field-id"] = id.into();
            }
            if !mapped.parts.0.is_empty() {
                json["fields"] = mapped.parts.to_json();
            }
            json
        };
        self.0.iter().map(mapped).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::types;

    #[test]
    fn a_mapping_finds_fields_and_takes_new_ones() -> Result<()> {
        let schema = json!({"fields": [
            {"id": 1, "name": "a", "required": false, "type": "int"},
            {"id": 2, "name": "b", "required": false, "type": {"type": "list", "element-id": 3, "element-required": false, "element": "int"}}]});
        let fields = types::fields(&schema)?;
        let whole = NameMapping::of(&fields);
        assert_eq!(NameMapping::parse(&whole.to_json().to_string())?, whole);
        let (id, parts) = whole.get("b").expect("is there");
        assert_eq!((id, parts.get("element").map(|(id, _)| id)), (2, Some(3)));
        let old = NameMapping::parse(r#"[{"field-id": 1, "names": ["a", "was"]}, {"names": ["gone"]}]"#)?;
        assert_eq!((old.get("was").map(|(id, _)| id), old.get("gone")), (Some(1), None));
        assert_eq!(old.with(&fields).get("b").map(|(id, _)| id), Some(2));
        assert_eq!(old.with(&fields).get("was").map(|(id, _)| id), Some(1));
        assert!(NameMapping::parse("{}").is_err() && NameMapping::parse("[").is_err());
        Ok(())
    }
}
