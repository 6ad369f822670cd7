//! Manifest lists: a few at a time are read, what they name is relocated, and they are written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::limits::{FILES_AT_ONCE, LISTS_AT_ONCE, MANIFESTS_MAX};
use super::manifests::Manifests;
use super::report::Examples;
use super::{NewManifests, Run, blocking};
use crate::error::{Error, Kind, Result};
use crate::format::avro::{self, ManifestFile};
use crate::format::relocate::{self, ManifestPlaces, NewDelete, NewNames};
use crate::storage::Location;

/// A manifest list that was read and is not written yet.
pub(super) struct Pending {
    /// As the metadata spells it.
    path: String,
    name: Location,
    snapshot_id: i64,
    bytes: Bytes,
    pub(super) manifests: Vec<ManifestFile>,
}

/// A table's tree while it is relocated.
pub(super) struct Tree<'r> {
    run: &'r Run<'r>,
    manifests: Manifests<'r>,
    names: NewNames,
    known: NewManifests,
}

impl<'r> Tree<'r> {
    pub(super) fn new(run: &'r Run<'r>) -> Self {
        Tree { run, manifests: Manifests::new(run), names: NewNames::default(), known: NewManifests::new() }
    }

    /// The files that are in the folder of relocated files already, with their sizes.
    pub(super) fn there(&mut self, there: HashMap<String, u64>) {
        self.manifests.there(there);
    }

    /// A manifest list that was relocated before.
    pub(super) fn list_is_done(&mut self, source: &str, new: &str) {
        self.names.lists.insert(self.run.source.paths.resolve(source).into_owned(), new.to_owned());
    }

    /// Manifests that were relocated before.
    pub(super) fn manifests_are_done(&mut self, done: NewManifests) {
        self.known.extend(done);
    }

    /// Relocates what is not done of the snapshots' lists and manifests.
    pub(super) async fn relocate(&mut self, places: &[ManifestPlaces]) -> Result<()> {
        let embedded: Vec<&String> = places.iter().flat_map(|place| &place.manifests).collect();
        for some in embedded.chunks(LISTS_AT_ONCE) {
            self.embedded(some).await?;
        }
        let paths = self.run.source.paths.clone();
        // several snapshots may share one
        let mut seen = HashSet::new();
        let lists = places.iter().filter_map(|place| Some((place.list.as_deref()?, place.snapshot_id)));
        let wanted: Vec<(&str, i64)> = lists
            .filter(|(list, _)| !self.names.lists.contains_key(&*paths.resolve(list)) && seen.insert(*list))
            .collect();
        for some in wanted.chunks(LISTS_AT_ONCE) {
            // collected, so that the compiler sees that the whole may move between threads
            let reads: Vec<_> = some.iter().map(|(list, id)| self.read(list, *id)).collect();
            let reads = stream::iter(reads).buffered(FILES_AT_ONCE);
            let pending: Vec<Pending> = reads.try_filter_map(|read| async { Ok(read) }).try_collect().await?;
            let new = self.unknown(pending.iter().flat_map(|list| &list.manifests));
            self.manifests(new).await?;
            let writes = stream::iter(pending.into_iter().map(|list| self.write(list))).buffer_unordered(FILES_AT_ONCE);
            let written: Vec<(String, String)> = writes.try_filter_map(|done| async { Ok(done) }).try_collect().await?;
            self.names.lists.extend(written);
        }
        // whoever names these files next may rely on their names
        self.run.io.publish().await
    }

    /// Delete files that need not be written anew.
    pub(super) fn deletes_are_done(&mut self, done: HashMap<String, NewDelete>) {
        self.manifests.deletes_are_done(done);
    }

    /// Relocates one list and what is not done of its manifests; its new place, and where manifests went.
    pub(super) async fn relocate_one(mut self, list: Pending) -> Result<(String, NewManifests)> {
        let new = self.unknown(list.manifests.iter());
        self.manifests(new).await?;
        let name = list.name.clone();
        let written = self.write(list).await?;
        let (_, place) = written.ok_or_else(|| Error::internal(format!("{name} was not written anew")))?;
        self.run.io.publish().await?;
        Ok((place, self.known))
    }

    /// Paths that no pair covers.
    pub(super) fn unmapped(&self) -> Examples {
        self.manifests.unmapped()
    }

    pub(super) fn into_names(self) -> NewNames {
        self.names
    }

    /// Manifests that the metadata itself names; it says nothing of their lengths.
    async fn embedded(&mut self, paths: &[&String]) -> Result<()> {
        self.manifests(paths.iter().map(|path| ManifestFile::unlisted((*path).clone())).collect()).await?;
        for path in paths {
            let source = self.run.source.paths.resolve(path).into_owned();
            if let Some(new) = self.known.get(&source) {
                self.names.manifests.insert(source, new.path.clone());
            }
        }
        Ok(())
    }

    /// Those that are not relocated yet, each once.
    fn unknown<'m>(&self, manifests: impl Iterator<Item = &'m ManifestFile>) -> Vec<ManifestFile> {
        let paths = &self.run.source.paths;
        let mut seen = HashSet::new();
        let new = manifests.filter(|manifest| {
            seen.insert(manifest.path.as_str()) && !self.known.contains_key(&*paths.resolve(&manifest.path))
        });
        new.cloned().collect()
    }

    async fn manifests(&mut self, manifests: Vec<ManifestFile>) -> Result<()> {
        if self.known.len() + manifests.len() > MANIFESTS_MAX {
            return Err(Error::new(Kind::Unprocessable, format!("the table has more than {MANIFESTS_MAX} manifests")));
        }
        self.known.extend(self.manifests.relocate(manifests).await?);
        Ok(())
    }

    pub(super) async fn read(&self, list: &str, snapshot_id: i64) -> Result<Option<Pending>> {
        let name = self.run.source.place(list)?;
        let Some((bytes, _)) = self.run.io.read(&name).await? else { return Ok(None) };
        let (text, of) = (bytes.clone(), name.clone());
        let manifests = blocking(move || avro::manifests(&text, of.as_str())).await?;
        if let Some(manifest) = manifests.iter().find(|manifest| manifest.is_encrypted) {
            let message = format!("{} is encrypted; encrypted metadata files cannot be relocated", manifest.path);
            return Err(Error::new(Kind::Unprocessable, message));
        }
        Ok(Some(Pending { path: list.to_owned(), name, snapshot_id, bytes, manifests }))
    }

    /// Writes a list whose manifests are all written; `None` where a plan missed one of them.
    async fn write(&self, list: Pending) -> Result<Option<(String, String)>> {
        let paths = self.run.source.paths.clone();
        let mut manifests = NewManifests::with_capacity(list.manifests.len());
        for manifest in &list.manifests {
            let source = paths.resolve(&manifest.path);
            let Some(new) = self.known.get(&*source) else { return Ok(None) };
            manifests.insert(source.into_owned(), new.clone());
        }
        let source = paths.resolve(&list.path).into_owned();
        let shared = Arc::clone(&paths);
        let bytes =
            blocking(move || relocate::relocate_list(&list.bytes, list.name.as_str(), &shared, &manifests)).await?;
        let location = self.run.source.folder.join(&self.run.names.list(&source, list.snapshot_id, &bytes));
        self.run.io.count_list();
        self.run.io.stage(&location, bytes.into()).await?;
        Ok(Some((source, location.to_string())))
    }
}
