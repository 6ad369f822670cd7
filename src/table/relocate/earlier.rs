//! What an earlier relocation of the same table wrote, so that a new snapshot costs only what is new.
//!
//! A relocated metadata.json is written last, so where it is there, all that it names is there. It is found by the name that it must have: that of one
//! of the metadata files in the metadata log. Its manifest lists have the same entries in the same order as their sources, which says where every
//! manifest went and how long it is there, without opening one.

use std::collections::HashMap;

use serde_json::Value;

use super::limits::EARLIER_MAX;
use super::lists::Tree;
use super::snapshot::paired_manifests;
use super::{NewManifests, Run, blocking};
use crate::error::Result;
use crate::format::relocate::{ManifestPlaces, NewManifest};
use crate::storage::Location;
use crate::upstream::pointer::unpack;

/// Tells the tree what an earlier relocation wrote; false when there was none.
pub(super) async fn recall(run: &Run<'_>, tree: &mut Tree<'_>, places: &[ManifestPlaces]) -> Result<bool> {
    let Some(earlier) = find(run).await? else { return Ok(false) };
    if earlier["table-uuid"] != run.source.metadata["table-uuid"] {
        return Ok(false);
    }
    let snapshots = earlier["snapshots"].as_array().into_iter().flatten();
    let known: HashMap<i64, &str> = snapshots
        .filter_map(|snapshot| Some((snapshot["snapshot-id"].as_i64()?, snapshot["manifest-list"].as_str()?)))
        .collect();
    let lists: HashMap<i64, &str> =
        places.iter().filter_map(|place| Some((place.snapshot_id, place.list.as_deref()?))).collect();
    let mut bases = Vec::new();
    for place in places {
        let Some(list) = &place.list else { continue };
        match known.get(&place.snapshot_id) {
            Some(new) => tree.list_is_done(list, new),
            // its manifests are mostly its parent's; where that is gone, the newest one's will do
            None => bases.push(place.parent_id.filter(|id| known.contains_key(id))),
        }
    }
    let newest = places.iter().rev().map(|place| place.snapshot_id).find(|id| known.contains_key(id));
    let mut bases: Vec<i64> = bases.into_iter().filter_map(|base| base.or(newest)).collect();
    bases.sort_unstable();
    bases.dedup();
    for base in bases {
        if let (Some(list), Some(new)) = (lists.get(&base), known.get(&base)) {
            tree.manifests_are_done(pairs(run, list, new).await?);
        }
    }
    Ok(true)
}

/// The relocated form of one of the metadata files before the source's.
async fn find(run: &Run<'_>) -> Result<Option<Value>> {
    if let Some(base) = &run.options.base {
        let Some((raw, _)) = run.io.read(base).await? else { return Ok(None) };
        return Ok(serde_json::from_slice(&unpack(raw, base)?).ok());
    }
    let log = run.source.metadata["metadata-log"].as_array().into_iter().flatten();
    let files = log.rev().filter_map(|entry| entry["metadata-file"].as_str());
    for file in files.take(EARLIER_MAX) {
        let Ok(source) = run.source.place(file) else { continue };
        let Some(found) = run.io.look(&source).await? else { continue };
        let location = run.metadata_location(&source, &found);
        if run.io.look(&location).await?.is_none() {
            continue;
        }
        let Some((raw, _)) = run.io.read(&location).await? else { continue };
        return Ok(serde_json::from_slice(&unpack(raw, &location)?).ok());
    }
    Ok(None)
}

/// Where the manifests of the list `source` went, read from its relocated form `new`.
async fn pairs(run: &Run<'_>, source: &str, new: &str) -> Result<NewManifests> {
    let (here, there) = (run.source.place(source)?, Location::new(new));
    let (Some((here_bytes, _)), Some((there_bytes, _))) = (run.io.read(&here).await?, run.io.read(&there).await?)
    else {
        return Ok(NewManifests::new());
    };
    let paths = run.source.paths.clone();
    blocking(move || {
        let pairs = paired_manifests((&here_bytes, &here), (&there_bytes, &there))?;
        let new = pairs.into_iter().flatten().map(|(from, to)| {
            let source = paths.resolve(&from.path).into_owned();
            (source, NewManifest { path: to.path, length_bytes: to.length_bytes })
        });
        Ok(new.collect())
    })
    .await
}
