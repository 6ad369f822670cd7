//! The metadata tree of a table, read for what it names: manifest lists, manifests, live files.
//!
//! What must hold: whatever cannot be read is an error and never a shorter answer, except where the caller says that a missing file was deleted before; places
//! are told apart by where they lead, whatever their spelling. What is done with the answers is for the callers.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};
use crate::format::avro::{self, Content, ManifestFile, Status};
use crate::storage::{Location, Storage};
use crate::table::blocking;

/// The largest manifest list or manifest that is read.
pub(super) const FILE_BYTES_MAX: u64 = 512 << 20;
/// Manifests of one table, over all of its snapshots.
const MANIFESTS_MAX: usize = 1_000_000;
/// Reads under way at once.
pub(super) const READS_AT_ONCE: usize = 8;

/// What a place is remembered by.
pub(super) type PlaceHash = [u8; 16];

/// Any spelling of a place gives the same.
pub(super) fn hash(location: &str) -> PlaceHash {
    let mut short = PlaceHash::default();
    short.copy_from_slice(&Sha256::digest(Location::new(location).place_text().as_bytes())[..16]);
    short
}

/// The entries of a list in the metadata, by the member that names a file.
pub(super) fn named<'m>(metadata: &'m Value, list: &str, member: &'static str) -> impl Iterator<Item = &'m str> {
    metadata[list].as_array().into_iter().flatten().filter_map(move |entry| entry[member].as_str())
}

/// A live content file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) size_bytes: u64,
    pub(super) is_delete: bool,
}

/// What a missing file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// That the table is broken.
    Fails,
    /// That it was deleted before.
    IsGone,
}

/// The manifests that snapshots name, each once.
pub(super) async fn listed(
    storage: &Storage,
    snapshots: &[&Value],
    missing: Missing,
) -> Result<BTreeMap<String, ManifestFile>> {
    let mut found = BTreeMap::new();
    // format version 1 may name manifests in the metadata itself
    let embedded =
        snapshots.iter().flat_map(|s| s["manifests"].as_array().into_iter().flatten()).filter_map(Value::as_str);
    found.extend(embedded.map(|path| (path.to_owned(), ManifestFile::unlisted(path.to_owned()))));
    let lists: HashSet<&str> = snapshots.iter().filter_map(|s| s["manifest-list"].as_str()).collect();
    let reads: Vec<_> = lists.into_iter().map(|list| list_of(storage, Location::new(list), missing)).collect();
    let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
    while let Some(manifests) = reads.try_next().await? {
        for manifest in manifests {
            if manifest.is_encrypted {
                let message = format!("{} is encrypted, so nobody here knows which files it names", manifest.path);
                return Err(Error::new(Kind::Unprocessable, message));
            }
            found.insert(manifest.path.clone(), manifest);
        }
        if found.len() > MANIFESTS_MAX {
            return Err(Error::new(Kind::Unprocessable, format!("more than {MANIFESTS_MAX} manifests")));
        }
    }
    Ok(found)
}

async fn list_of(storage: &Storage, list: Location, missing: Missing) -> Result<Vec<ManifestFile>> {
    let Some(bytes) = read(storage, &list, missing).await? else { return Ok(Vec::new()) };
    blocking(move || avro::manifests(&bytes, list.as_str())).await
}

pub(super) async fn read(storage: &Storage, location: &Location, missing: Missing) -> Result<Option<Bytes>> {
    match storage.read(location, FILE_BYTES_MAX).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == Kind::NotFound && missing == Missing::IsGone => Ok(None),
        Err(e) => Err(e),
    }
}

/// The live files of a manifest, as they are remembered.
pub(super) async fn live(
    storage: &Storage,
    manifest: Location,
    missing: Missing,
) -> Result<Vec<(PlaceHash, Candidate)>> {
    let Some(bytes) = read(storage, &manifest, missing).await? else { return Ok(Vec::new()) };
    blocking(move || {
        let mut live = Vec::new();
        avro::for_each_entry(&bytes, manifest.as_str(), |entry| {
            if entry.status != Status::Deleted {
                let size_bytes = u64::try_from(entry.size_bytes).unwrap_or(0);
                live.push((hash(entry.path), Candidate { size_bytes, is_delete: entry.content != Content::Data }));
            }
            Ok(())
        })?;
        Ok(live)
    })
    .await
}

pub(super) async fn live_hashes(storage: &Storage, manifest: Location) -> Result<Vec<PlaceHash>> {
    Ok(live(storage, manifest, Missing::Fails).await?.into_iter().map(|(hash, _)| hash).collect())
}

/// The live files of a manifest that may be gone.
pub(super) async fn live_paths(storage: &Storage, manifest: Location) -> Result<Vec<Location>> {
    paths(storage, manifest, Missing::IsGone).await
}

/// The live files of a manifest that must be there.
pub(super) async fn live_paths_there(storage: &Storage, manifest: Location) -> Result<Vec<Location>> {
    paths(storage, manifest, Missing::Fails).await
}

async fn paths(storage: &Storage, manifest: Location, missing: Missing) -> Result<Vec<Location>> {
    let Some(bytes) = read(storage, &manifest, missing).await? else { return Ok(Vec::new()) };
    blocking(move || {
        let mut live = Vec::new();
        avro::for_each_entry(&bytes, manifest.as_str(), |entry| {
            live.extend((entry.status != Status::Deleted).then(|| Location::new(entry.path)));
            Ok(())
        })?;
        Ok(live)
    })
    .await
}
