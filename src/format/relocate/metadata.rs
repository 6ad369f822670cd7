//! Table metadata: which snapshots are taken along, and every location in the JSON at its new place.
//!
//! What must hold: only members that the specification says are locations change, besides the properties that hold locations; all else, known or
//! not, stays as it is and where it is.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use super::{Paths, encrypted};
use crate::error::{Error, Kind, Result};
use crate::format::metadata::PATH_PROPERTIES;

/// The newest format version that is understood: version 4's relative paths in metadata, lists and manifests of Avro.
const FORMAT_VERSION_MAX: i64 = 4;

/// Which snapshots of a table are relocated. Heads of branches and tags always are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Selection {
    /// All that are there.
    #[default]
    All,
    /// Only what branches and tags lead to.
    RefsOnly,
    /// This one and all that were committed after it.
    Since(i64),
    /// All but these, and without statistics whose files are named here. A head among them is an error.
    Without {
        /// Snapshots.
        snapshots: BTreeSet<i64>,
        /// Paths of statistics files.
        statistics: BTreeSet<String>,
    },
}

/// What manifest lists and manifests are called after relocation, by their resolved source paths.
#[derive(Debug, Clone, Default)]
pub struct NewNames {
    /// Manifest lists.
    pub lists: HashMap<String, String>,
    /// Manifests that the metadata itself names (format version 1).
    pub manifests: HashMap<String, String>,
}

/// Where a snapshot's manifests are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestPlaces {
    /// The snapshot.
    pub snapshot_id: i64,
    /// Its parent, if it has one.
    pub parent_id: Option<i64>,
    /// Its manifest list, as the metadata spells it.
    pub list: Option<String>,
    /// Its manifests, where it has no list (format version 1).
    pub manifests: Vec<String>,
}

/// The metadata with the selected snapshots only, and how many were left out. Statistics and log entries of those left out go with them.
pub fn select(metadata: &Value, selection: &Selection) -> Result<(Value, usize)> {
    let kept: HashSet<i64> = match selection {
        Selection::All => return Ok((metadata.clone(), 0)),
        Selection::RefsOnly => heads(metadata),
        Selection::Since(id) => {
            let first = snapshots(metadata).find(|s| s["snapshot-id"].as_i64() == Some(*id));
            let first = first.ok_or_else(|| Error::bad_request(format!("the table has no snapshot {id}")))?;
            let order = |snapshot: &Value| {
                (snapshot["sequence-number"].as_i64().unwrap_or(0), snapshot["timestamp-ms"].as_i64().unwrap_or(0))
            };
            let since = order(first);
            let later = snapshots(metadata).filter(|s| order(s) >= since).filter_map(|s| s["snapshot-id"].as_i64());
            later.chain(heads(metadata)).collect()
        }
        Selection::Without { snapshots: without, .. } => {
            if let Some(head) = heads(metadata).iter().find(|id| without.contains(id)) {
                return Err(Error::internal(format!("snapshot {head} is a branch's or tag's and cannot be left out")));
            }
            let ids = snapshots(metadata).filter_map(|snapshot| snapshot["snapshot-id"].as_i64());
            ids.filter(|id| !without.contains(id)).collect()
        }
    };
    let unwanted = match selection {
        Selection::Without { statistics, .. } => Some(statistics),
        _ => None,
    };
    let mut metadata = metadata.clone();
    let keeps = |entry: &Value| entry["snapshot-id"].as_i64().is_none_or(|id| kept.contains(&id));
    let before = snapshots(&metadata).count();
    let wanted = |entry: &Value| {
        let path = entry["statistics-path"].as_str();
        !path.is_some_and(|path| unwanted.is_some_and(|unwanted| unwanted.contains(path)))
    };
    for member in ["snapshots", "statistics", "partition-statistics"] {
        if let Some(entries) = metadata.get_mut(member).and_then(Value::as_array_mut) {
            entries.retain(|entry| keeps(entry) && wanted(entry));
        }
    }
    if let Some(log) = metadata.get_mut("snapshot-log").and_then(Value::as_array_mut) {
        // a log with a hole in it would lie about what was current when
        let from = log.iter().rposition(|entry| !keeps(entry)).map_or(0, |at| at + 1);
        log.drain(..from);
    }
    let left_out = before - snapshots(&metadata).count();
    Ok((metadata, left_out))
}

/// Where each snapshot's manifests are named, oldest first as the metadata has them. Encrypted ones are refused.
pub fn manifest_places(metadata: &Value, name: &str) -> Result<Vec<ManifestPlaces>> {
    let version = metadata["format-version"].as_i64().ok_or_else(|| not_metadata(name, "it has no format-version"))?;
    if !(1..=FORMAT_VERSION_MAX).contains(&version) {
        return Err(not_metadata(
            name,
            &format!("format version {version} is not known here; up to {FORMAT_VERSION_MAX} is"),
        ));
    }
    snapshots(metadata)
        .map(|snapshot| {
            let id =
                snapshot["snapshot-id"].as_i64().ok_or_else(|| not_metadata(name, "a snapshot has no snapshot-id"))?;
            if !snapshot["key-id"].is_null() {
                return Err(encrypted(name, &format!("snapshot {id} has a key-id")));
            }
            let texts =
                snapshot["manifests"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            let places = ManifestPlaces {
                snapshot_id: id,
                parent_id: snapshot["parent-snapshot-id"].as_i64(),
                list: snapshot["manifest-list"].as_str().map(str::to_owned),
                manifests: texts.collect(),
            };
            if places.list.is_none() && !snapshot["manifests"].is_array() {
                return Err(not_metadata(name, &format!("snapshot {id} names neither a manifest list nor manifests")));
            }
            Ok(places)
        })
        .collect()
}

/// The metadata `name` with every location at its new place. `also` names further properties that hold locations.
pub fn relocate_metadata(
    mut metadata: Value,
    name: &str,
    paths: &Paths,
    names: &NewNames,
    also: &[String],
) -> Result<Value> {
    let map = |value: &mut Value| map_text(value, name, paths);
    let object = metadata.as_object_mut().ok_or_else(|| not_metadata(name, "it is no JSON object"))?;
    if let Some(Value::String(location)) = object.get_mut("location") {
        // absolute also where paths may be relative to it
        *location = paths.target(location)?;
    }
    each(object, "metadata-log", "metadata-file", &map)?;
    each(object, "statistics", "statistics-path", &map)?;
    each(object, "partition-statistics", "statistics-path", &map)?;
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        let mut held =
            properties.iter_mut().filter(|(key, _)| PATH_PROPERTIES.contains(&key.as_str()) || also.contains(key));
        held.try_for_each(|(_, value)| map(value))?;
    }
    for snapshot in object.get_mut("snapshots").and_then(Value::as_array_mut).into_iter().flatten() {
        let renamed = |value: &mut Value, names: &HashMap<String, String>| -> Result<()> {
            let Value::String(text) = value else { return Ok(()) };
            let new = names.get(&*paths.resolve(text));
            *text = new
                .ok_or_else(|| Error::internal(format!("metadata {name} names {text:?}, which was not relocated")))?
                .clone();
            Ok(())
        };
        if let Some(list) = snapshot.get_mut("manifest-list") {
            renamed(list, &names.lists)?;
        } else if let Some(manifests) = snapshot.get_mut("manifests").and_then(Value::as_array_mut) {
            manifests.iter_mut().try_for_each(|manifest| renamed(manifest, &names.manifests))?;
        }
    }
    Ok(metadata)
}

/// Maps a text that is a location; anything else is left alone.
pub(super) fn map_text(value: &mut Value, name: &str, paths: &Paths) -> Result<()> {
    if let Value::String(text) = value {
        *text = paths.map(text).map_err(|e| e.context(format!("metadata {name}")))?.into_owned();
    }
    Ok(())
}

fn each(
    object: &mut Map<String, Value>,
    list: &str,
    member: &str,
    map: &impl Fn(&mut Value) -> Result<()>,
) -> Result<()> {
    let entries = object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
    entries.filter_map(|entry| entry.get_mut(member)).try_for_each(map)
}

fn snapshots(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["snapshots"].as_array().into_iter().flatten()
}

/// What branches, tags and the current pointer lead to.
pub fn heads(metadata: &Value) -> HashSet<i64> {
    let refs = metadata["refs"].as_object().into_iter().flat_map(Map::values);
    let ids = refs.filter_map(|to| to["snapshot-id"].as_i64());
    ids.chain(metadata["current-snapshot-id"].as_i64().filter(|id| *id >= 0)).collect()
}

fn not_metadata(name: &str, why: &str) -> Error {
    Error::new(Kind::Unprocessable, format!("cannot relocate {name}: {why}"))
}
