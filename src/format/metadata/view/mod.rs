//! View metadata: create it, check a commit's requirements, apply a commit's updates.
//!
//! What must hold: what [`apply`] and [`create`] return passes [`validate`], and everything in the base that no update
//! names is in the result as it was. SQL is text to us. The caller reads the base, passes the time and fresh ids, writes
//! the result to a new file and moves the pointer.

mod draft;
mod finish;
#[cfg(test)]
mod tests;

use super::json::{self, Object};
use crate::error::{Error, Kind, Result};
use draft::Draft;
use serde_json::{Value, json};

/// The newest view format version that we write.
pub const FORMAT_VERSION_MAX: i64 = 1;

/// What a commit made of a view.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The next metadata; the base itself when nothing changed.
    pub metadata: Value,
    /// Whether there is anything to commit.
    pub changed: bool,
}

/// The first metadata of a view: `request` is a CreateViewRequest, of which `schema`, `view-version` and `properties` are
/// read. The version gets id 1 and the schema id 0, whatever the request calls them.
pub fn create(request: &Value, location: &str, uuid: &str, at_ms: i64) -> Result<Value> {
    let request = json::object(request, "create view request")?;
    let mut version = json::member(request, "view-version")?.clone();
    version.insert("version-id".to_owned(), 1.into());
    version.insert("schema-id".to_owned(), (-1).into());
    if !json::has(&version, "timestamp-ms") {
        version.insert("timestamp-ms".to_owned(), at_ms.into());
    }
    let none = Object::new();
    let properties = if json::has(request, "properties") { json::string_map(request, "properties")? } else { &none };
    let updates = [
        json!({ "action": "assign-uuid", "uuid": uuid }),
        json!({ "action": "set-location", "location": location }),
        json!({ "action": "set-properties", "updates": properties }),
        json!({ "action": "add-schema", "schema": json::member(request, "schema")? }),
        json!({ "action": "add-view-version", "view-version": version }),
        json!({ "action": "set-current-view-version", "view-version-id": -1 }),
    ];
    Ok(apply(None, &updates, at_ms)?.metadata)
}

/// Checks every requirement against the view's current metadata; `None` is a view that does not exist.
pub fn check(requirements: &[Value], current: Option<&Value>) -> Result<()> {
    for requirement in requirements {
        let requirement = json::object(requirement, "update requirement")?;
        let kind = json::text(requirement, "type")?.to_ascii_lowercase();
        match kind.as_str() {
            "assert-create" if current.is_none() => {}
            "assert-create" => return Err(Error::commit_failed("Requirement failed: view already exists")),
            "assert-view-uuid" => {
                let expected = json::text(requirement, "uuid")?;
                let actual = current.and_then(|view| view.get("view-uuid")?.as_str()).unwrap_or("null");
                if !actual.eq_ignore_ascii_case(expected) {
                    let message =
                        format!("Requirement failed: view UUID does not match: expected {actual} != {expected}");
                    return Err(Error::commit_failed(message));
                }
            }
            _ => return Err(Error::bad_request(format!("Cannot validate {kind} against a view"))),
        }
    }
    Ok(())
}

/// Applies a commit's updates to a view's metadata, or builds it from them when there is no base.
///
/// `at_ms` is now. An update that cannot be applied is a bad request, a broken base is `Internal`.
pub fn apply(base: Option<&Value>, updates: &[Value], at_ms: i64) -> Result<Applied> {
    let mut draft = match base {
        Some(base) => Draft::open(base, at_ms).map_err(|error| {
            Error::new(Kind::Internal, format!("the view's metadata is not valid: {}", error.message()))
        })?,
        None => Draft::empty(at_ms),
    };
    for update in updates {
        apply_one(&mut draft, json::object(update, "metadata update")?)?;
    }
    match base {
        Some(base) if !draft.changed => Ok(Applied { metadata: base.clone(), changed: false }),
        _ => Ok(Applied { metadata: draft.finish()?, changed: true }),
    }
}

/// Checks view metadata; what is wrong is a bad request that names it.
pub fn validate(metadata: &Value) -> Result<()> {
    let draft = Draft::open(metadata, 0)?;
    draft.check_lists()
}

fn apply_one(draft: &mut Draft, update: &Object) -> Result<()> {
    let action = json::text(update, "action")?.to_ascii_lowercase();
    match action.as_str() {
        "assign-uuid" => draft.assign_uuid(update),
        "upgrade-format-version" => draft.upgrade_format_version(update),
        "set-location" => draft.set_location(update),
        "set-properties" => draft.set_properties(update),
        "remove-properties" => draft.remove_properties(update),
        "add-schema" => draft.add_schema(update),
        "add-view-version" => draft.add_version(update),
        "set-current-view-version" => draft.set_current_version(update),
        _ => Err(Error::bad_request(format!("Cannot apply update {action} to a view"))),
    }
}
