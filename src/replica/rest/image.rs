//! What a REST catalog holds of what was published, and how that is told from what others did.
//!
//! What is published is always a file of the overlay. A catalog that is told to register it holds it, or its own copy; one that takes commits only holds a
//! file of its own. Either way the table's properties name the published file, and the table is ours as long as it is what that file says.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::asks::Found;
use crate::error::{Error, Kind, Result};
use crate::format::metadata::table::{self, Step};
use crate::format::relocate::is_view;
use crate::storage::Location;
use crate::table::relocate::METADATA_ENDINGS;

/// The property that names the file of the overlay that a table is the image of.
pub(super) const PUBLISHED: &str = "lifeboat.published-metadata-location";
/// The property that names the file that a table is on the way to, while that takes more than one commit.
pub(super) const ADVANCING: &str = "lifeboat.advancing-to";
/// The property that says that the catalog keeps the current snapshot only.
pub(super) const KEEPS_HISTORY: &str = "lifeboat.keeps-history";

/// What decides which rows a table has.
const ESSENTIAL: [&str; 8] = [
    "table-uuid",
    "format-version",
    "current-schema-id",
    "schemas",
    "partition-specs",
    "current-snapshot-id",
    "snapshots",
    "refs",
];

/// What decides which rows a view has.
const VIEW: [&str; 2] = ["view-uuid", "current-version-id"];

/// How a published file is written for a catalog to register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// With the table's location, where the copy is.
    InPlace,
    /// With a location in the overlay: a catalog that takes commits writes metadata of its own below the table's location, and below the copy nothing
    /// is ever written.
    Housed,
}

impl Form {
    /// What the published file becomes in this form.
    pub(super) fn file(self, published: &Location) -> Location {
        let text = published.as_str();
        let stem = METADATA_ENDINGS.iter().find_map(|ending| text.strip_suffix(ending)).unwrap_or(text);
        let form = if self == Form::InPlace { "in-place" } else { "housed" };
        Location::new(format!("{stem}-{form}.metadata.json"))
    }

    /// Its metadata.
    pub(super) fn metadata(self, wanted: &Value, published: &Location) -> Result<Value> {
        let mut metadata = named(wanted, published)?;
        if self == Form::Housed {
            metadata["location"] = house(published).into();
        }
        Ok(metadata)
    }
}

/// The table's own folder in the overlay.
fn house(published: &Location) -> &str {
    published.as_str().rsplit_once('/').map_or(published.as_str(), |(folder, _)| folder)
}

/// Whether what the catalog holds is a file that we wrote and it took.
pub(super) fn is_registered(found: &Found, published: &Location) -> bool {
    // however the catalog spells it
    let is = |file: Location| file.leads_into(&found.metadata_location) && found.metadata_location.leads_into(&file);
    [Form::InPlace, Form::Housed].into_iter().any(|form| is(form.file(published)))
}

/// The published file that a table says it is the image of.
pub(super) fn published(metadata: &Value) -> Option<Location> {
    property(metadata, PUBLISHED)
}

/// The published file that a table is on the way to.
pub(super) fn advancing(metadata: &Value) -> Option<Location> {
    property(metadata, ADVANCING)
}

fn property(metadata: &Value, name: &str) -> Option<Location> {
    metadata["properties"][name].as_str().map(Location::new)
}

/// With the property that names the published file.
fn named(wanted: &Value, published: &Location) -> Result<Value> {
    let mut metadata = wanted.clone();
    properties(&mut metadata)?.insert(PUBLISHED.to_owned(), published.as_str().into());
    Ok(metadata)
}

fn properties(metadata: &mut Value) -> Result<&mut Map<String, Value>> {
    let object = metadata.as_object_mut().ok_or_else(|| Error::internal("metadata is no JSON object"))?;
    let properties = object.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    properties.as_object_mut().ok_or_else(|| Error::internal("properties are no JSON object"))
}

/// How a table must look that is the image of a published file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aim<'a> {
    pub(super) published: &'a Location,
    /// What is in that file.
    pub(super) wanted: &'a Value,
    /// Of the properties that the table has besides, those that are to go.
    pub(super) outdated: &'a BTreeSet<String>,
    pub(super) keeps_history: bool,
}

impl Aim<'_> {
    /// The whole state. What the catalog and its operator said of the table stays: further properties, and where it lies there.
    pub(super) fn state(&self, found: &Value) -> Result<Value> {
        let mut state = named(self.wanted, self.published)?;
        if !is_view(&state) && !self.keeps_history {
            state = table::current_only(&state)?;
            keep_what_it_says(&mut state, found);
            for (list, id) in [("schemas", "schema-id"), ("partition-specs", "spec-id"), ("sort-orders", "order-id")] {
                keep_others(&mut state, found, list, id);
            }
            for last in ["last-column-id", "last-partition-id"] {
                keep_higher(&mut state, found, last);
            }
            properties(&mut state)?.insert(KEEPS_HISTORY.to_owned(), "false".into());
        }
        let own = properties(&mut state)?;
        for (name, value) in found["properties"].as_object().into_iter().flatten() {
            if !own.contains_key(name) && !self.outdated.contains(name) && name != ADVANCING && name != KEEPS_HISTORY {
                own.insert(name.clone(), value.clone());
            }
        }
        state["location"] = found["location"].clone();
        Ok(state)
    }

    /// In what a table is not the image.
    pub(super) fn unlike(&self, found: &Found) -> Result<Vec<String>> {
        if is_view(self.wanted) {
            let differs = |name: &&str| found.metadata[name] != self.wanted[name];
            return Ok(VIEW.into_iter().filter(differs).map(str::to_owned).collect());
        }
        let mut metadata = found.metadata.clone();
        properties(&mut metadata)?.remove(ADVANCING);
        let mut unlike = table::unlike(&metadata, &self.state(&metadata)?)?;
        if is_registered(found, self.published) {
            unlike.retain(|name| ESSENTIAL.contains(&name.as_str()));
        }
        Ok(unlike)
    }

    /// The commits that make a table the image. While they are under way, the table says where they lead.
    pub(super) fn steps(&self, found: &Value) -> Result<Vec<Step>> {
        let mut steps = table::steps(found, &self.state(found)?)?;
        if !self.keeps_history {
            // it does that by itself, and has no word for it
            for step in &mut steps {
                step.updates.retain(|update| update["action"] != "remove-snapshots");
            }
        }
        if let [first, .., last] = steps.as_mut_slice() {
            let leads = serde_json::json!({ ADVANCING: self.published.as_str() });
            first.updates.push(serde_json::json!({ "action": "set-properties", "updates": leads }));
            let removal = serde_json::json!({ "action": "remove-properties", "removals": [ADVANCING] });
            if !last.updates.contains(&removal) {
                last.updates.push(removal);
            }
        }
        Ok(steps)
    }

    /// Whether a table is on the way from this image to that of `next`, by the commits that lead there.
    pub(super) fn on_the_way(&self, next: &Aim<'_>, found: &Value) -> Result<Way> {
        let mut state = self.state(found)?;
        let mut here = found.clone();
        properties(&mut here)?.remove(ADVANCING);
        let steps = match next.steps(&state) {
            Err(e) if e.kind() == Kind::Unprocessable => return Ok(Way::Off),
            other => other?,
        };
        for step in steps {
            state = table::apply(Some(&state), None, &step.updates, i64::MAX)?.metadata;
            properties(&mut state)?.remove(ADVANCING);
            if table::unlike(&here, &state)?.is_empty() {
                return Ok(Way::On);
            }
            if table::unlike(&here, &table::current_only(&state)?)?.is_empty() {
                return Ok(Way::WithoutHistory);
            }
        }
        Ok(Way::Off)
    }
}

/// Where a table is that says that it is on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    On,
    /// And only the current snapshot is left of what was committed.
    WithoutHistory,
    Off,
}

/// Such a catalog says that its one snapshot has the table's current schema, whatever it was told, and counts sequence numbers on when the snapshot is an
/// earlier one.
fn keep_what_it_says(state: &mut Value, found: &Value) {
    const LAST: &str = "last-sequence-number";
    let says = &found["snapshots"][0];
    let Some(is) = state.pointer_mut("/snapshots/0").filter(|is| is["snapshot-id"] == says["snapshot-id"]) else {
        return;
    };
    is["schema-id"] = says["schema-id"].clone();
    keep_higher(state, found, LAST);
}

fn keep_higher(state: &mut Value, found: &Value, number: &str) {
    if found[number].as_i64() > state[number].as_i64() {
        state[number] = found[number].clone();
    }
}

/// What such a catalog never lets go of.
fn keep_others(state: &mut Value, found: &Value, list: &str, id: &str) {
    let others = found[list].as_array().cloned().unwrap_or_default();
    let Some(own) = state[list].as_array_mut() else { return };
    for other in others {
        if !own.iter().any(|one| one[id] == other[id]) {
            own.push(other);
        }
    }
}

/// Whether a catalog that was given `wanted` holds its current snapshot only.
pub(super) fn forgets_history(found: &Value, wanted: &Value) -> bool {
    let count = |metadata: &Value, member: &str| match &metadata[member] {
        Value::Array(list) => list.len(),
        Value::Object(members) => members.len(),
        _ => 0,
    };
    let has_more = count(wanted, "snapshots") > 1 || count(wanted, "refs") > 1;
    let has_one = count(found, "snapshots") == 1 && count(found, "refs") <= 1;
    let current = "current-snapshot-id";
    has_more && has_one && found[current] == wanted[current] && found["snapshots"][0]["snapshot-id"] == wanted[current]
}
