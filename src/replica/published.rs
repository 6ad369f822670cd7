//! What is published of a table, read from the relocated metadata itself.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::discover::MetadataFile;
use super::status::{HistoryLost, Version};
use crate::error::{Error, Kind, Result};
use crate::format::relocate::is_view;
use crate::storage::Location;
use crate::table::relocate::uuid;
use crate::upstream::pointer::{Kept, Pointer};

/// The property that says which metadata file a published table was made of.
const SOURCE: &str = "lifeboat.source-metadata-location";
/// The property that says whether that file was confirmed by a newer one.
const IS_CONFIRMED: &str = "lifeboat.source-is-confirmed";
/// The property that says by which location map.
const MAP: &str = "lifeboat.location-map";
/// The property that says which snapshots were left out, since files of theirs were missing.
const LEFT_OUT: &str = "lifeboat.snapshots-left-out";

/// What is published of a table.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) pointer: Pointer,
    pub(super) source: MetadataFile,
    pub(super) is_confirmed: bool,
    /// The signature of the location map.
    pub(super) map: String,
    pub(super) snapshots: HashSet<i64>,
    pub(super) sequence_number: i64,
    pub(super) version: Version,
    pub(super) left_out: Vec<i64>,
    /// All but the current snapshot.
    pub(super) history: HistoryLost,
}

impl Published {
    /// From the pointer and the metadata that it leads to.
    pub(super) fn read(pointer: Pointer, metadata: &Value) -> Result<Published> {
        let property = |key: &str| metadata["properties"][key].as_str();
        let source = property(SOURCE).and_then(|source| MetadataFile::of(source.rsplit('/').next()?));
        let source = source.ok_or_else(|| {
            let message = format!(
                "{} does not say what it was made of: it was not published by a replica",
                pointer.metadata_location
            );
            Error::new(Kind::AlreadyExists, message)
        })?;
        let snapshots = metadata["snapshots"].as_array().into_iter().flatten();
        let left_out = property(LEFT_OUT).unwrap_or_default().split(',').filter_map(|id| id.parse().ok());
        Ok(Published {
            version: Version::of(&source, metadata),
            sequence_number: sequence_number(metadata),
            is_confirmed: property(IS_CONFIRMED) == Some("true"),
            map: property(MAP).unwrap_or_default().to_owned(),
            snapshots: snapshots.filter_map(|snapshot| snapshot["snapshot-id"].as_i64()).collect(),
            left_out: left_out.collect(),
            history: HistoryLost::of(metadata),
            source,
            pointer,
        })
    }
}

/// The properties of a table that is to be published, besides its own.
pub(super) fn properties(source: &Location, is_confirmed: bool, map: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        // engines must not delete what the primary has
        ("gc.enabled".to_owned(), "false".to_owned()),
        (SOURCE.to_owned(), source.to_string()),
        (IS_CONFIRMED.to_owned(), is_confirmed.to_string()),
        (MAP.to_owned(), map.to_owned()),
    ])
}

/// The property that says which snapshots are left out.
pub(super) fn left_out(snapshots: impl Iterator<Item = i64>) -> (String, String) {
    let ids: Vec<String> = snapshots.map(|id| id.to_string()).collect();
    (LEFT_OUT.to_owned(), ids.join(","))
}

/// The pointer to metadata of a table or view.
pub(super) fn pointer_to(metadata: &Value, metadata_location: Location) -> Result<Pointer> {
    let location = metadata["location"].as_str();
    let location = location.ok_or_else(|| Error::new(Kind::Unprocessable, "the metadata has no location"))?;
    let location = Location::new(location);
    // format version 1 may have none
    let uuid = uuid(metadata).unwrap_or_default().to_owned();
    Ok(Pointer { kept: kept(metadata), uuid, location, metadata_location })
}

pub(super) fn kept(metadata: &Value) -> Kept {
    if is_view(metadata) { Kept::View } else { Kept::Table }
}

pub(super) fn sequence_number(metadata: &Value) -> i64 {
    metadata["last-sequence-number"].as_i64().unwrap_or(0)
}
