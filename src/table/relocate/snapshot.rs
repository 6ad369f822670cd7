//! One snapshot's manifest list, relocated by itself: what a client commits, before the commit goes on.
//!
//! Most manifests of such a list are not new: they went the other way before, and go back to what they were, at their old path and with their old
//! length. Which these are, the caller says ([`Known`]); [`manifest_pairs`] and [`delete_pairs`] learn it from two lists or manifests of which one was
//! made of the other. What must hold: files are read where the map leads, and a list is written after its manifests.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::io::Io;
use super::limits::FILE_BYTES_MAX;
use super::lists::{Pending, Tree};
use super::names::Names;
use super::{NewManifests, Options, ReadFrom, Run, SharedPaths, Source, blocking};
use crate::error::{Error, Kind, Result};
use crate::format::avro::{self, Content, ManifestFile};
use crate::format::relocate::NewDelete;
use crate::storage::{Found, Location, Storage};

/// What need not be written anew, because it has its other form already.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Manifests, by path.
    pub manifests: NewManifests,
    /// Position-delete files, by path.
    pub deletes: HashMap<String, NewDelete>,
}

/// A snapshot's manifest list that was read.
pub struct Snapshot {
    io: Arc<Io>,
    source: Source,
    options: Options,
    list: Pending,
}

impl Snapshot {
    /// Reads the list `list` where `paths` lead. What is written anew goes to `folder`.
    pub async fn open(
        storage: Arc<Storage>,
        list: &str,
        snapshot_id: i64,
        paths: SharedPaths,
        folder: Location,
    ) -> Result<Snapshot> {
        let options = Options::new(paths.location_map().clone());
        let io = Arc::new(Io::new(storage, Arc::default(), false));
        let source = Source {
            location: Location::new(list),
            found: Found { size_bytes: 0, etag: None },
            metadata: Value::Null,
            paths,
            read: ReadFrom::Target,
            folder,
        };
        let run = Run { io, source, names: Names::new(&options.map), options: &options };
        let read = Tree::new(&run).read(list, snapshot_id).await?;
        let Run { io, source, .. } = run;
        let list = read.ok_or_else(|| Error::new(Kind::NotFound, format!("there is no {}", source.location)))?;
        Ok(Snapshot { io, source, options, list })
    }

    /// The manifests that it names.
    pub fn manifests(&self) -> &[ManifestFile] {
        &self.list.manifests
    }

    /// Writes the list anew, and those of its manifests that are not known. Returns its new place, and where all manifests went.
    pub async fn relocate(self, known: Known) -> Result<(String, NewManifests)> {
        let Snapshot { io, source, options, list } = self;
        let run = Run { io, source, names: Names::new(&options.map), options: &options };
        let mut tree = Tree::new(&run);
        tree.manifests_are_done(known.manifests);
        tree.deletes_are_done(known.deletes);
        tree.relocate_one(list).await.map_err(|e| e.context(format!("relocating {}", run.source.location)))
    }
}

/// The manifests of a list, each with what became of it, read from the `relocated` list.
pub async fn manifest_pairs(
    storage: &Storage,
    list: &Location,
    relocated: &Location,
) -> Result<Vec<(ManifestFile, ManifestFile)>> {
    let (here, there) = both(storage, list, relocated).await?;
    let (list, relocated) = (list.clone(), relocated.clone());
    blocking(move || {
        let pairs = paired_manifests((&here, &list), (&there, &relocated))?;
        pairs.ok_or_else(|| not_paired(&list, &relocated))
    })
    .await
}

/// The manifests of a list beside those of the list that was made of it; `None` if they cannot be its own, for they are more or fewer.
pub(super) fn paired_manifests(
    list: (&[u8], &Location),
    relocated: (&[u8], &Location),
) -> Result<Option<Vec<(ManifestFile, ManifestFile)>>> {
    let sources = avro::manifests(list.0, list.1.as_str())?;
    let targets = avro::manifests(relocated.0, relocated.1.as_str())?;
    Ok((sources.len() == targets.len()).then(|| sources.into_iter().zip(targets).collect()))
}

/// The position-delete files of a manifest, by path, each with its form in the `relocated` manifest.
pub async fn delete_pairs(
    storage: &Storage,
    manifest: &Location,
    relocated: &Location,
) -> Result<HashMap<String, NewDelete>> {
    let (here, there) = both(storage, manifest, relocated).await?;
    let (names, not_paired) = ((manifest.to_string(), relocated.to_string()), not_paired(manifest, relocated));
    blocking(move || {
        let (sources, targets) = (deletes(&here, &names.0)?, deletes(&there, &names.1)?);
        if sources.len() != targets.len() {
            return Err(not_paired);
        }
        // sizes of columns are statistics: better none than those of the other form
        let new =
            |(path, size_bytes)| NewDelete { path, size_bytes, column_sizes: Vec::new(), split_offsets: Vec::new() };
        Ok(sources.into_iter().map(|(path, _)| path).zip(targets.into_iter().map(new)).collect())
    })
    .await
}

async fn both(storage: &Storage, one: &Location, other: &Location) -> Result<(bytes::Bytes, bytes::Bytes)> {
    futures::try_join!(storage.read(one, FILE_BYTES_MAX), storage.read(other, FILE_BYTES_MAX))
}

fn deletes(bytes: &[u8], name: &str) -> Result<Vec<(String, i64)>> {
    let mut found = Vec::new();
    avro::for_each_entry(bytes, name, |entry| {
        if entry.content == Content::PositionDeletes {
            found.push((entry.path.to_owned(), entry.size_bytes));
        }
        Ok(())
    })?;
    Ok(found)
}

fn not_paired(one: &Location, other: &Location) -> Error {
    Error::new(Kind::Unprocessable, format!("{other} does not have the entries of {one}, of which it was made"))
}
