//! Files in a table's places that nothing of the table reaches.
//!
//! What must hold: the listing comes first and the metadata after it, and once more before anything is deleted, so that what is committed meanwhile is
//! reached; what is younger than the least age, or of unknown age, is never judged; a place that two tables call their own is no place to look for
//! orphans. What is remembered of a listed file is 16 bytes of a digest and its size, so the places are listed again for the names of orphans.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::report::{OrphansReport, Progress};
use super::retention;
use super::site::{Places, Site};
use super::walk::{Missing, PlaceHash, READS_AT_ONCE, hash, listed, live_paths_there, named};
use crate::error::{Error, Kind, Result};
use crate::model::Ident;
use crate::storage::{Listed, Location};
use crate::table::purge::Own;
use crate::upstream::asking::Loaded;
use crate::upstream::pointer::now_ms;

/// How old a file must be unless somebody says otherwise, as everywhere in Iceberg.
pub const OLDER_THAN: Duration = Duration::from_secs(3 * 24 * 3600);
/// How old it must be even then, unless that is said, too.
pub const OLDER_THAN_MIN: Duration = Duration::from_secs(24 * 3600);
/// Files of one table's places.
const LISTED_MAX: usize = 50_000_000;
/// Names of orphans in memory; for more the places are listed once more.
const ORPHANS_AT_ONCE: usize = 200_000;
/// Files that are deleted together.
const BATCH_COUNT: usize = 1_000;
/// How names of metadata files end.
const METADATA_ENDING: &str = ".metadata.json";
/// What tables of Hadoop's catalog have beside their metadata.
const HADOOP_HINT: &str = "metadata/version-hint.text";

/// What is asked of a look for orphans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrphanOptions {
    /// Younger files are not judged: their writers may not have committed yet.
    pub older_than: Duration,
    /// Whether that may be less than a day.
    pub allow_young: bool,
    /// Whether the table's declared data and metadata paths are looked through where they lie outside of its location.
    pub declared_paths: bool,
    /// Whether orphans are deleted.
    pub delete: bool,
}

impl Default for OrphanOptions {
    fn default() -> Self {
        OrphanOptions { older_than: OLDER_THAN, allow_young: false, declared_paths: false, delete: false }
    }
}

impl OrphanOptions {
    /// Refuses ages at which files of writers at work would go.
    pub fn check(&self) -> Result<()> {
        if self.older_than < OLDER_THAN_MIN && !self.allow_young {
            let message = "files of less than a day may belong to writers that have not committed yet: say allow-young too, if there are none";
            return Err(Error::bad_request(message));
        }
        Ok(())
    }
}

/// Whether a file below a place is no concern of ours.
type LeftAlone<'l> = dyn Fn(&Location, &Location) -> bool + Sync + 'l;

/// What was listed and may be an orphan.
type Candidates = HashMap<PlaceHash, u64>;

impl Site {
    /// Looks for files that nothing reaches, and deletes them if asked to. `places` are those of the catalog's tables, where they are known.
    pub async fn remove_orphans(
        &self,
        ident: &Ident,
        options: OrphanOptions,
        places: Option<&Places>,
        progress: &Progress,
    ) -> Result<OrphansReport> {
        let done = self.remove_orphans_of(ident, options, places, progress).await;
        if options.delete {
            let (files, bytes) = done.as_ref().map_or((0, 0), |report| (report.files_deleted, report.bytes));
            self.metrics.maintenance(&self.catalog, "remove-orphans", done.is_ok(), files, bytes);
        }
        done.map_err(|e| e.context(format!("removing orphans of {}.{ident}", self.catalog)))
    }

    async fn remove_orphans_of(
        &self,
        ident: &Ident,
        options: OrphanOptions,
        places: Option<&Places>,
        progress: &Progress,
    ) -> Result<OrphansReport> {
        options.check()?;
        self.check_primary().await?;
        let asked;
        let places = match places {
            Some(places) => places,
            None => {
                asked = self.places().await?;
                &asked
            }
        };
        let table = self.tables.table(ident).await?;
        retention::check(&table.metadata)?;
        let own = self.own(ident, &table.metadata, Some(places)).await?;
        let roots = roots(&own, &table.metadata, options.declared_paths)?;
        let mut report = OrphansReport { plan: !options.delete, ..OrphansReport::default() };
        report.places = roots.iter().map(ToString::to_string).collect();
        let before_ms = now_ms().saturating_sub(i64::try_from(options.older_than.as_millis()).unwrap_or(i64::MAX));
        let is_left_alone = |root: &Location, file: &Location| {
            // of a catalog that does not say where its metadata is, any of these may be it
            let may_be_current = table.metadata_location.is_none() && file.as_str().ends_with(METADATA_ENDING);
            let may_be_appended = self.landings.iter().any(|landing| file.leads_into(landing));
            may_be_current || may_be_appended || is_hidden(root, file) || !own.holds(file)
        };
        let mut candidates = self.list_candidates(&roots, (&is_left_alone, before_ms), &mut report, progress).await?;
        let mut known = HashSet::new();
        self.spare_reached(ident, &table, &mut candidates, &mut known, progress).await?;
        if !candidates.is_empty() {
            // once more: whoever took an old file in while we read, took it in before it is deleted
            self.spare_reached(ident, &table, &mut candidates, &mut known, progress).await?;
            self.delete_candidates(&roots, (&own, candidates, options.delete), &mut report, progress).await?;
        }
        Ok(report)
    }

    /// Lists the places: what may be an orphan by name, place and age.
    async fn list_candidates(
        &self,
        roots: &[Location],
        (is_left_alone, before_ms): (&LeftAlone<'_>, i64),
        report: &mut OrphansReport,
        progress: &Progress,
    ) -> Result<Candidates> {
        let mut candidates = Candidates::new();
        for root in roots {
            let each = |file: Listed| {
                progress.listed();
                report.files_listed += 1;
                if is_left_alone(root, &file.location) {
                    report.left_alone += 1;
                } else if file.changed_ms.is_none_or(|changed_ms| changed_ms >= before_ms) {
                    report.young += 1;
                } else {
                    candidates.insert(hash(file.location.as_str()), file.size_bytes);
                }
                Ok(())
            };
            self.storage.list_each(root, LISTED_MAX, each).await?;
            progress.check()?;
        }
        Ok(candidates)
    }

    /// Leaves out what the table as it is now reaches; snapshots in `known` were looked at before.
    async fn spare_reached(
        &self,
        ident: &Ident,
        before: &Loaded,
        candidates: &mut Candidates,
        known: &mut HashSet<i64>,
        progress: &Progress,
    ) -> Result<()> {
        let Loaded { metadata, metadata_location } = self.tables.table(ident).await?;
        if metadata["table-uuid"] != before.metadata["table-uuid"]
            || metadata["location"] != before.metadata["location"]
        {
            let message = "the table became another one, or went to another place, meanwhile: nothing was deleted";
            return Err(Error::new(Kind::NoSuchTable, message));
        }
        let mut spare = |path: &str| {
            for hash in self.spellings(path) {
                candidates.remove(&hash);
            }
        };
        let location = Location::new(metadata["location"].as_str().unwrap_or_default());
        spare(location.join(HADOOP_HINT).as_str());
        metadata_location.as_deref().into_iter().for_each(&mut spare);
        named(&metadata, "metadata-log", "metadata-file").for_each(&mut spare);
        for list in ["statistics", "partition-statistics"] {
            named(&metadata, list, "statistics-path").for_each(&mut spare);
        }
        named(&metadata, "snapshots", "manifest-list").for_each(&mut spare);
        let snapshots = metadata["snapshots"].as_array().into_iter().flatten();
        let new: Vec<&Value> =
            snapshots.filter(|s| s["snapshot-id"].as_i64().is_none_or(|id| known.insert(id))).collect();
        let manifests = listed(&self.storage, &new, Missing::Fails).await?;
        manifests.keys().for_each(|path| spare(path));
        progress.to_do(manifests.len());
        let reads: Vec<_> =
            manifests.into_keys().map(|path| live_paths_there(&self.storage, Location::new(path))).collect();
        let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        while let Some(files) = reads.try_next().await? {
            progress.check()?;
            progress.done();
            files.iter().for_each(|file| spare(file.as_str()));
        }
        Ok(())
    }

    /// A place under every name that it may have: as it is, and as the location map says it for clients and back.
    fn spellings(&self, path: &str) -> Vec<PlaceHash> {
        let mut hashes = vec![hash(path)];
        if let Some((there, back)) = self.client_locations.as_deref() {
            // a path that the map refuses has no other name
            hashes.extend(
                [there.map(path), back.map(path)]
                    .into_iter()
                    .flatten()
                    .filter(|other| other != path)
                    .map(|other| hash(&other)),
            );
        }
        hashes
    }

    /// Lists the places again for the names of what is left.
    async fn delete_candidates(
        &self,
        roots: &[Location],
        (own, candidates, deletes): (&Own, Candidates, bool),
        report: &mut OrphansReport,
        progress: &Progress,
    ) -> Result<()> {
        let mut left = candidates;
        for root in roots {
            loop {
                let (mut orphans, mut has_more) = (Vec::new(), false);
                let each = |file: Listed| {
                    let hash = hash(file.location.as_str());
                    if orphans.len() >= ORPHANS_AT_ONCE {
                        has_more = true;
                    // a file that changed meanwhile is another one
                    } else if left.remove(&hash).is_some_and(|size_bytes| size_bytes == file.size_bytes)
                        && own.holds(&file.location)
                    {
                        report.orphans.add(file.location.as_str());
                        report.bytes += file.size_bytes;
                        orphans.extend(deletes.then_some(file.location));
                    }
                    Ok(())
                };
                self.storage.list_each(root, LISTED_MAX, each).await?;
                for some in orphans.chunks(BATCH_COUNT) {
                    progress.check()?;
                    self.storage.delete_all(some.to_vec()).await?;
                    report.files_deleted += some.len() as u64;
                    progress.deleted(some.len());
                }
                if !has_more {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The places to look through; none lies in another one.
fn roots(own: &Own, metadata: &Value, declared_paths: bool) -> Result<Vec<Location>> {
    let location = Location::new(metadata["location"].as_str().unwrap_or_default().trim_end_matches('/'));
    let prefixes = own.prefixes().iter().filter(|prefix| declared_paths || prefix.leads_into(&location));
    let mut roots: Vec<Location> = Vec::new();
    for prefix in prefixes.filter(|prefix| own.holds(&prefix.join("x"))) {
        if !roots.iter().any(|root| prefix.leads_into(root)) {
            roots.retain(|root| !root.leads_into(prefix));
            roots.push(prefix.clone());
        }
    }
    if roots.is_empty() {
        let message = format!(
            "{location} is the place of another table or view, too, or lies in one: which files are whose cannot be told there"
        );
        return Err(Error::new(Kind::Unprocessable, message));
    }
    Ok(roots)
}

/// Whether a file or a folder on the way to it is hidden: engines' work in progress, and ours.
fn is_hidden(root: &Location, file: &Location) -> bool {
    let below = file.as_str().strip_prefix(root.as_str()).unwrap_or(file.as_str());
    below.split('/').any(|name| name.starts_with(['_', '.']))
}
