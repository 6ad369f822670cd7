//! Deletes the files of a table that was dropped.
//!
//! What must hold: only files under the table's own prefixes go, and none under the location of a table or view that is still there;
//! what leads to a file goes after the file (data files, delete files, manifests, manifest lists, statistics, metadata), so that a purge
//! that was cut off finds the rest when it begins again; a file that is gone already is a file deleted. One manifest at a time is in
//! memory. Which tables are still there, and when to try again, is for the caller.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;

use super::blocking;
use crate::error::{Error, Kind, Result};
use crate::format::avro::{self, Status};
use crate::format::metadata::PATH_PROPERTIES;
use crate::storage::{Location, Storage};
use crate::upstream::pointer::unpack;

/// The largest metadata file, manifest list or manifest that is read.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// Manifests of one table, over all of its snapshots.
const MANIFESTS_MAX: usize = 1_000_000;
/// Files that are deleted together.
const BATCH_COUNT: usize = 1000;

/// What a purge did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Files that are gone, some of them perhaps before.
    pub deleted: u64,
    /// Files that the table named and that are not its own to delete.
    pub spared: u64,
}

/// The places that a purge may touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    prefixes: Vec<Location>,
    spared: Vec<Location>,
}

impl Own {
    /// The table's own prefixes as its metadata says; a whole bucket or file system is nobody's own.
    pub fn of(location: &Location, metadata: &Value) -> Self {
        let named = metadata["location"].as_str().into_iter();
        let paths = PATH_PROPERTIES.iter().filter_map(|name| metadata["properties"][name].as_str());
        let named = named.chain(paths).map(|path| Location::new(path.trim_end_matches('/')));
        let prefixes = [location.clone()].into_iter().chain(named).filter(|p| p.check().is_ok() && !p.is_root());
        Own { prefixes: prefixes.collect(), spared: Vec::new() }
    }

    /// Whether a table or view that lies there has to be spared: one of the two lies within the other.
    pub fn meets(&self, other: &Location) -> bool {
        self.prefixes.iter().any(|own| own.leads_into(other) || other.leads_into(own))
    }

    /// The same, but for what lies at and below the `live` places of others.
    pub fn sparing(self, live: Vec<Location>) -> Self {
        Own { spared: live, ..self }
    }

    /// The places themselves.
    pub fn prefixes(&self) -> &[Location] {
        &self.prefixes
    }

    /// Whether a file may be deleted.
    pub fn holds(&self, file: &Location) -> bool {
        file.check().is_ok()
            && self.prefixes.iter().any(|own| file.leads_into(own) && !own.leads_into(file))
            && !self.spared.iter().any(|other| file.leads_into(other))
    }
}

/// A purge that knows the table's last metadata.
#[derive(Debug)]
pub struct Tree<'a> {
    storage: &'a Storage,
    location: Location,
    metadata_location: Location,
    metadata: Value,
    own: Own,
    purged: Purged,
}

impl<'a> Tree<'a> {
    /// Reads the metadata; `None` when it is gone, which is how a purge ends.
    pub async fn open(storage: &'a Storage, location: &Location, metadata_location: &Location) -> Result<Option<Self>> {
        let Some(bytes) = read(storage, metadata_location).await? else { return Ok(None) };
        let metadata: Value = serde_json::from_slice(&unpack(bytes, metadata_location)?)
            .map_err(|e| Error::internal(format!("{metadata_location} is not JSON")).with_source(e))?;
        let own = Own::of(location, &metadata);
        let (location, metadata_location) = (location.clone(), metadata_location.clone());
        Ok(Some(Tree { storage, location, metadata_location, metadata, own, purged: Purged::default() }))
    }

    /// What it may touch.
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// Deletes everything that is the table's own, and nothing under the `live` locations.
    pub async fn purge(mut self, live: Vec<Location>) -> Result<Purged> {
        self.own = self.own.sparing(live);
        let lists = self.named("snapshots", "manifest-list");
        let manifests = self.manifests(&lists).await?;
        for deletes in [false, true] {
            for path in manifests.iter().filter(|(_, content)| (**content != 0) == deletes).map(|(path, _)| path) {
                self.delete_content(&Location::new(path)).await?;
            }
        }
        self.delete(manifests.keys().map(Location::new).collect()).await?;
        self.delete(lists).await?;
        let statistics =
            [self.named("statistics", "statistics-path"), self.named("partition-statistics", "statistics-path")];
        self.delete(statistics.concat()).await?;
        self.delete(self.named("metadata-log", "metadata-file")).await?;
        self.delete(vec![self.metadata_location.clone()]).await?;
        // other prefixes may be shared, and an empty folder there may be about to get its first file
        if self.own.spared.is_empty() && !self.location.is_root() {
            self.storage.remove_empty_folders(&self.location).await?;
        }
        Ok(self.purged)
    }

    /// The files that the entries of a list in the metadata name, each once.
    fn named(&self, list: &str, member: &str) -> Vec<Location> {
        let entries = self.metadata[list].as_array().into_iter().flatten();
        let paths: BTreeSet<&str> = entries.filter_map(|entry| entry[member].as_str()).collect();
        paths.into_iter().map(Location::new).collect()
    }

    /// The manifests of all snapshots, each with its content (0 is data). Only what is the table's own is read.
    async fn manifests(&self, lists: &[Location]) -> Result<BTreeMap<String, i64>> {
        let mut manifests = BTreeMap::new();
        let snapshots = self.metadata["snapshots"].as_array().into_iter().flatten();
        let embedded = snapshots.flat_map(|snapshot| snapshot["manifests"].as_array().into_iter().flatten());
        // format version 1 may name manifests in the metadata itself; they hold data
        manifests.extend(embedded.filter_map(Value::as_str).map(|path| (path.to_owned(), 0)));
        for list in lists.iter().filter(|list| self.own.holds(list)) {
            let Some(bytes) = read(self.storage, list).await? else { continue };
            let name = list.to_string();
            let found = blocking(move || avro::manifests(&bytes, &name)).await?;
            manifests.extend(found.into_iter().map(|manifest| (manifest.path, manifest.content)));
            if manifests.len() > MANIFESTS_MAX {
                return Err(Error::new(Kind::Unprocessable, format!("more than {MANIFESTS_MAX} manifests")));
            }
        }
        Ok(manifests)
    }

    /// Deletes the files of one manifest. What it says is deleted already is for whoever deleted it.
    async fn delete_content(&mut self, manifest: &Location) -> Result<()> {
        if !self.own.holds(manifest) {
            return Ok(());
        }
        let Some(bytes) = read(self.storage, manifest).await? else { return Ok(()) };
        let name = manifest.to_string();
        let files = blocking(move || {
            let mut live = Vec::new();
            avro::for_each_entry(&bytes, &name, |entry| {
                live.extend((entry.status != Status::Deleted).then(|| Location::new(entry.path)));
                Ok(())
            })?;
            Ok(live)
        });
        self.delete(files.await?).await
    }

    async fn delete(&mut self, files: Vec<Location>) -> Result<()> {
        let (own, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| self.own.holds(file));
        self.purged.spared += others.len() as u64;
        for batch in own.chunks(BATCH_COUNT) {
            self.storage.delete_all(batch.to_vec()).await?;
            self.purged.deleted += batch.len() as u64;
        }
        Ok(())
    }
}

/// A file, or `None` where there is none.
async fn read(storage: &Storage, location: &Location) -> Result<Option<Bytes>> {
    match storage.read(location, FILE_BYTES_MAX).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == Kind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
