//! Which files only some snapshots of a table reach, and their deletion.
//!
//! What must hold: a file goes only if an expired snapshot reaches it as live and no remaining one does, compared by the place that it leads to; of remaining
//! snapshots everything is read, and what cannot be read is an error before anything is deleted; content goes before the manifests that name it, these
//! before their lists, so that a deletion that was cut off is found again. A file is remembered by 16 bytes of a digest and its size. Which snapshots
//! are expired, and which files are the table's own, is for the callers.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::report::{Counts, Progress};
use super::walk::{Candidate, Missing, PlaceHash, READS_AT_ONCE, hash, listed, live, live_hashes, live_paths, named};
use crate::error::{Error, Kind, Result};
use crate::format::avro::ManifestFile;
use crate::storage::{Location, Storage};
use crate::table::purge::Own;
use crate::table::relocate::Examples;

/// Files that may be found to be deleted in one run.
const CANDIDATES_MAX: usize = 50_000_000;
/// Files that a plan names.
const EXAMPLES_MAX: usize = 20;
/// Files that are deleted together.
const BATCH_COUNT: usize = 1000;

/// What the expired snapshots of a table reach and the remaining ones do not.
#[derive(Debug)]
pub(super) struct Reach<'s> {
    storage: &'s Storage,
    progress: &'s Progress,
    /// Manifests of expired snapshots only, by path.
    manifests: BTreeMap<String, ManifestFile>,
    /// Lists of expired snapshots only.
    lists: Vec<String>,
    /// Statistics of expired snapshots only, with their sizes.
    statistics: Vec<(String, u64)>,
    candidates: HashMap<PlaceHash, Candidate>,
    /// Manifests of remaining snapshots that were read or need not be.
    spared: HashSet<PlaceHash>,
}

impl<'s> Reach<'s> {
    /// Walks the expired snapshots of `metadata`, and all the others as far as that is needed.
    pub(super) async fn of(
        storage: &'s Storage,
        metadata: &Value,
        is_expired: &(dyn Fn(i64) -> bool + Sync),
        progress: &'s Progress,
    ) -> Result<Reach<'s>> {
        let all = || metadata["snapshots"].as_array().into_iter().flatten();
        let expired = |entry: &&Value| entry["snapshot-id"].as_i64().is_some_and(is_expired);
        let (gone, rest): (Vec<&Value>, Vec<&Value>) =
            (all().filter(expired).collect(), all().filter(|s| !expired(s)).collect());
        let mut reach = Reach {
            storage,
            progress,
            manifests: BTreeMap::new(),
            lists: Vec::new(),
            statistics: statistics(metadata, &|id| is_expired(id)),
            candidates: HashMap::new(),
            spared: HashSet::new(),
        };
        let remaining = reach.listed(&rest, Missing::Fails).await?;
        let stay: HashSet<PlaceHash> = remaining.keys().map(|path| hash(path)).collect();
        reach.manifests = reach.listed(&gone, Missing::IsGone).await?;
        reach.manifests.retain(|path, _| !stay.contains(&hash(path)));
        let kept: HashSet<PlaceHash> = rest.iter().filter_map(|s| s["manifest-list"].as_str()).map(hash).collect();
        let lists: BTreeMap<PlaceHash, &str> =
            gone.iter().filter_map(|s| s["manifest-list"].as_str()).map(|l| (hash(l), l)).collect();
        reach.lists =
            lists.into_iter().filter(|(hash, _)| !kept.contains(hash)).map(|(_, list)| list.to_owned()).collect();
        reach.find().await?;
        reach.spare_files(metadata);
        reach.spare(remaining).await?;
        Ok(reach)
    }

    /// Leaves out what the snapshots of newer metadata reach; those that were looked at already cost nothing.
    pub(super) async fn spare_newer(
        &mut self,
        metadata: &Value,
        is_known: &(dyn Fn(i64) -> bool + Sync),
    ) -> Result<()> {
        let snapshots = metadata["snapshots"].as_array().into_iter().flatten();
        let newer: Vec<&Value> = snapshots.filter(|s| !s["snapshot-id"].as_i64().is_some_and(is_known)).collect();
        let manifests = self.listed(&newer, Missing::Fails).await?;
        self.spare_files(metadata);
        let stay: HashSet<PlaceHash> = manifests.keys().map(|path| hash(path)).collect();
        // what such a manifest names stays candidate only if it is not live there, which `spare` finds
        self.manifests.retain(|path, _| !stay.contains(&hash(path)));
        self.spare(manifests).await
    }

    async fn listed(&self, snapshots: &[&Value], missing: Missing) -> Result<BTreeMap<String, ManifestFile>> {
        listed(self.storage, snapshots, missing).await
    }

    /// Finds what the manifests of expired snapshots name as live.
    async fn find(&mut self) -> Result<()> {
        let manifests: Vec<Location> = self.manifests.keys().map(Location::new).collect();
        self.progress.to_do(manifests.len());
        let reads: Vec<_> = manifests.into_iter().map(|path| live(self.storage, path, Missing::IsGone)).collect();
        let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        while let Some(files) = reads.try_next().await? {
            self.progress.check()?;
            self.progress.done();
            self.candidates.extend(files);
            if self.candidates.len() > CANDIDATES_MAX {
                let message = format!(
                    "more than {CANDIDATES_MAX} files would go at once: expire fewer snapshots, by a longer keep-for"
                );
                return Err(Error::new(Kind::Unprocessable, message));
            }
        }
        Ok(())
    }

    /// What the metadata itself names is never content, whatever a manifest says.
    fn spare_files(&mut self, metadata: &Value) {
        let log = named(metadata, "metadata-log", "metadata-file");
        let lists = named(metadata, "snapshots", "manifest-list");
        let more = ["statistics", "partition-statistics"]
            .into_iter()
            .flat_map(|list| named(metadata, list, "statistics-path"));
        for path in log.chain(lists).chain(more) {
            self.candidates.remove(&hash(path));
        }
    }

    /// Leaves out what manifests that stay name as live, and these manifests themselves.
    async fn spare(&mut self, manifests: BTreeMap<String, ManifestFile>) -> Result<()> {
        for path in manifests.keys() {
            self.candidates.remove(&hash(path));
        }
        let (mut data, mut deletes) = (false, false);
        for candidate in self.candidates.values() {
            *(if candidate.is_delete { &mut deletes } else { &mut data }) = true;
        }
        // files of data and files of deletes are never in one manifest; of one that no list names nothing is known
        let is_wanted = |manifest: &ManifestFile| if manifest.content == 0 { data } else { deletes };
        let spared = &mut self.spared;
        let wanted = manifests.into_values().filter(is_wanted).filter(|manifest| spared.insert(hash(&manifest.path)));
        let wanted: Vec<Location> = wanted.map(|manifest| Location::new(manifest.path)).collect();
        self.progress.to_do(wanted.len());
        let reads: Vec<_> = wanted.into_iter().map(|path| live_hashes(self.storage, path)).collect();
        let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        while let Some(files) = reads.try_next().await? {
            self.progress.check()?;
            self.progress.done();
            for file in files {
                self.candidates.remove(&file);
            }
        }
        Ok(())
    }

    /// What would go.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for candidate in self.candidates.values() {
            counts.bytes += candidate.size_bytes;
            *(if candidate.is_delete { &mut counts.delete_files } else { &mut counts.data_files }) += 1;
        }
        counts.manifests = self.manifests.len() as u64;
        counts.bytes += self.manifests.values().filter_map(|m| u64::try_from(m.length_bytes).ok()).sum::<u64>();
        counts.manifest_lists = self.lists.len() as u64;
        counts.statistics = self.statistics.len() as u64;
        counts.bytes += self.statistics.iter().map(|(_, size_bytes)| size_bytes).sum::<u64>();
        counts
    }

    /// Deletes it, as far as it is the table's own.
    pub(super) async fn delete(mut self, own: &Own) -> Result<Deleted> {
        let mut deleted = Deleted::default();
        let manifests: Vec<Location> = self.manifests.keys().map(Location::new).collect();
        // they are read again: to keep every path would take more memory than all else
        for manifest in &manifests {
            if self.candidates.is_empty() {
                break;
            }
            for file in live_paths(self.storage, manifest.clone()).await? {
                if self.candidates.remove(&hash(file.as_str())).is_some() {
                    deleted.batch.push(file);
                }
            }
            if deleted.batch.len() >= BATCH_COUNT {
                deleted.flush(self.storage, own, self.progress).await?;
            }
        }
        deleted.flush(self.storage, own, self.progress).await?;
        let last = [
            manifests,
            self.statistics.iter().map(|(path, _)| Location::new(path)).collect(),
            self.lists.iter().map(Location::new).collect(),
        ];
        for files in last {
            for some in files.chunks(BATCH_COUNT) {
                deleted.batch.extend_from_slice(some);
                deleted.flush(self.storage, own, self.progress).await?;
            }
        }
        Ok(deleted)
    }

    /// Some of what would go.
    pub(super) async fn examples(&self) -> Result<Vec<String>> {
        let mut examples = Vec::new();
        for manifest in self.manifests.keys() {
            if self.candidates.is_empty() || examples.len() >= EXAMPLES_MAX {
                break;
            }
            let live = live_paths(self.storage, Location::new(manifest)).await?;
            let gone = live.iter().filter(|file| self.candidates.contains_key(&hash(file.as_str())));
            examples.extend(gone.map(ToString::to_string));
        }
        let others = self.statistics.iter().map(|(path, _)| path).chain(self.manifests.keys()).chain(&self.lists);
        examples.extend(others.cloned());
        examples.truncate(EXAMPLES_MAX);
        Ok(examples)
    }
}

/// What was deleted.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    /// Files that are gone, some of them perhaps before.
    pub(super) files: u64,
    /// Files that are not the table's own.
    pub(super) spared: Examples,
    batch: Vec<Location>,
}

impl Deleted {
    async fn flush(&mut self, storage: &Storage, own: &Own, progress: &Progress) -> Result<()> {
        let (own, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.batch).into_iter().partition(|file| own.holds(file));
        others.iter().for_each(|file| self.spared.add(file.as_str()));
        for some in own.chunks(BATCH_COUNT) {
            progress.check()?;
            storage.delete_all(some.to_vec()).await?;
            self.files += some.len() as u64;
            progress.deleted(some.len());
        }
        Ok(())
    }
}

/// The statistics of expired snapshots, but for those that another one has, too.
fn statistics(metadata: &Value, is_expired: &dyn Fn(i64) -> bool) -> Vec<(String, u64)> {
    let entries = || {
        ["statistics", "partition-statistics"]
            .into_iter()
            .flat_map(|list| metadata[list].as_array().into_iter().flatten())
    };
    let expired = |entry: &&Value| entry["snapshot-id"].as_i64().is_some_and(is_expired);
    let path = |entry: &Value| entry["statistics-path"].as_str().map(str::to_owned);
    let kept: HashSet<PlaceHash> = entries().filter(|e| !expired(e)).filter_map(path).map(|path| hash(&path)).collect();
    let gone =
        entries().filter(expired).filter_map(|e| Some((path(e)?, e["file-size-in-bytes"].as_u64().unwrap_or(0))));
    let gone: BTreeMap<PlaceHash, (String, u64)> = gone.map(|found| (hash(&found.0), found)).collect();
    gone.into_iter().filter(|(hash, _)| !kept.contains(hash)).map(|(_, found)| found).collect()
}
