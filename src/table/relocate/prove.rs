//! Whether a table's metadata tree has arrived: which snapshots lack a file here.
//!
//! Files arrive in any order, so every file that a snapshot leads to is looked at: manifest lists, manifests with the lengths that their lists state,
//! live data and delete files with the sizes that their manifests state. A manifest list has no stated length, and Avro that was cut between two blocks
//! reads well, so its counts are held against the snapshot's own totals. Snapshots that were proven before are not walked again, nor are the manifests
//! of the proven list that a new one builds on. Heads of branches and tags come first: where one lacks a file, the rest does not matter.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::io::{Io, Progress};
use super::limits::FILES_AT_ONCE;
use super::presence::{PathHash, Presence, Stated, hash, live_files, statistics};
use super::report::{Examples, Requests};
use super::{LiveFile, Options, Source, blocking};
use crate::error::{Kind, Result};
use crate::format::avro::{self, ManifestFile};
use crate::format::relocate::{self, ManifestPlaces};
use crate::storage::{Found, Location, Storage};

/// What is here of a table.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The metadata that was looked at.
    pub metadata: Value,
    /// The bytes of its file.
    pub raw: Bytes,
    /// What heads of branches and tags lack.
    pub missing: Examples,
    /// Other snapshots that lack a file, with what they lack. Not told where a head lacks one.
    pub incomplete: BTreeMap<i64, Examples>,
    /// Statistics files, as the metadata spells them, that are not here.
    pub statistics: BTreeSet<String>,
    /// What the storage was asked, but for data and delete files.
    pub requests: Requests,
    /// Data and delete files that were asked for.
    pub files: u64,
}

impl Proof {
    /// Whether all that branches and tags lead to is here.
    pub fn heads_are_whole(&self) -> bool {
        self.missing.count == 0
    }
}

/// Manifest lists that look as if their ends were missing, and since when. Only what looks the same for the settle time is what it is: a damaged list, or
/// one of a writer that miscounts.
#[derive(Debug, Default)]
pub struct Doubtful {
    settle: Duration,
    since: HashMap<PathHash, (Found, Instant)>,
}

/// Lists that are remembered of one table.
const DOUBTFUL_MAX: usize = 10_000;

impl Doubtful {
    /// With the time for which a list must look the same.
    pub fn new(settle: Duration) -> Doubtful {
        Doubtful { settle, since: HashMap::new() }
    }

    /// Whether a list has looked like this for long enough.
    fn has_settled(&mut self, list: &str, found: &Found) -> bool {
        let list = hash(list);
        match self.since.get(&list) {
            Some((seen, since)) if seen == found => since.elapsed() >= self.settle,
            _ => {
                if self.since.len() >= DOUBTFUL_MAX {
                    self.since.clear();
                }
                self.since.insert(list, (found.clone(), Instant::now()));
                self.settle.is_zero()
            }
        }
    }
}

/// Proves the table or view whose metadata.json is at `location`. `proven` are snapshots that need not be walked.
pub async fn prove(
    storage: Arc<Storage>,
    location: &Location,
    options: &Options,
    proven: &HashSet<i64>,
    doubtful: &mut Doubtful,
) -> Result<Proof> {
    let io = Io::new(storage.clone(), Arc::new(Progress::default()), true);
    let (source, raw) = Source::fetch(&io, location, options).await?;
    if source.is_view() {
        return Ok(Proof { metadata: source.metadata, raw, requests: io.requests(), ..Proof::default() });
    }
    let presence = Presence::new(storage, &source);
    let (totals, manifests, files) = (totals(&source.metadata), HashMap::new(), HashMap::new());
    let mut walk = Walk { io, source, presence, doubtful, totals, manifests, files };
    let proof = walk.table(proven).await;
    let proof = proof.map_err(|e| e.context(format!("looking at {location}")))?;
    let files = walk.presence.asked();
    Ok(Proof { requests: walk.io.requests(), metadata: walk.source.metadata, raw, files, ..proof })
}

/// What a manifest lacks, by where it is; those of proven lists lack nothing.
type Lacks = Arc<Examples>;

struct Walk<'d> {
    io: Io,
    source: Source,
    presence: Presence,
    doubtful: &'d mut Doubtful,
    /// By snapshot.
    totals: HashMap<i64, Totals>,
    manifests: HashMap<PathHash, Lacks>,
    /// Files that were asked for, and whether they are here.
    files: HashMap<PathHash, bool>,
}

impl Walk<'_> {
    async fn table(&mut self, proven: &HashSet<i64>) -> Result<Proof> {
        let places = relocate::manifest_places(&self.source.metadata, self.source.location.as_str())?;
        let heads = relocate::heads(&self.source.metadata);
        self.believe(&places, proven).await?;
        let mut proof = Proof::default();
        let new = || places.iter().filter(|place| !proven.contains(&place.snapshot_id));
        for place in new().filter(|place| heads.contains(&place.snapshot_id)) {
            proof.missing.add_those(self.snapshot(place).await?);
        }
        if let Some(id) = heads.iter().find(|id| !places.iter().any(|place| place.snapshot_id == **id)) {
            proof.missing.add(&format!("snapshot {id}, which a branch or tag leads to"));
        }
        if proof.missing.count > 0 {
            return Ok(proof);
        }
        for place in new().filter(|place| !heads.contains(&place.snapshot_id)) {
            let lacks = self.snapshot(place).await?;
            if lacks.count > 0 {
                proof.incomplete.insert(place.snapshot_id, lacks);
            }
        }
        proof.statistics = self.statistics().await?;
        Ok(proof)
    }

    /// The manifests of the proven lists that new snapshots build on need not be looked at.
    async fn believe(&mut self, places: &[ManifestPlaces], proven: &HashSet<i64>) -> Result<()> {
        let is_proven = |id: &i64| proven.contains(id);
        let newest = places.iter().rev().map(|place| place.snapshot_id).find(is_proven);
        let new = places.iter().filter(|place| !is_proven(&place.snapshot_id));
        let bases: BTreeSet<i64> = new.filter_map(|place| place.parent_id.filter(is_proven).or(newest)).collect();
        for place in places.iter().filter(|place| bases.contains(&place.snapshot_id)) {
            let mut manifests = place.manifests.clone();
            if let Some(list) = &place.list
                && let Some((name, bytes, _)) = self.read(list).await?
            {
                let named = blocking(move || avro::manifests(&bytes, name.as_str())).await?;
                manifests.extend(named.into_iter().map(|manifest| manifest.path));
            }
            let whole = Lacks::default();
            self.manifests.extend(manifests.iter().map(|path| (hash(path), whole.clone())));
        }
        Ok(())
    }

    /// What a snapshot lacks.
    async fn snapshot(&mut self, place: &ManifestPlaces) -> Result<Examples> {
        let mut lacks = Examples::default();
        let mut manifests: Vec<ManifestFile> = place.manifests.iter().cloned().map(ManifestFile::unlisted).collect();
        if let Some(list) = &place.list {
            match self.list(list, place.snapshot_id).await? {
                Some(named) => manifests.extend(named),
                None => lacks.add(&self.shown(list)),
            }
        }
        let new = manifests.iter().filter(|manifest| !self.manifests.contains_key(&hash(&manifest.path)));
        let new: Vec<ManifestFile> = new.cloned().collect();
        for some in new.chunks(FILES_AT_ONCE) {
            let reads: Vec<_> = some.iter().map(|manifest| self.manifest(manifest)).collect();
            let reads: Vec<_> = stream::iter(reads).buffered(FILES_AT_ONCE).try_collect().await?;
            for (manifest, files) in some.iter().zip(reads) {
                let lacks = match files {
                    Some(files) => self.files(files).await?,
                    None => Examples::one(self.shown(&manifest.path)),
                };
                self.manifests.insert(hash(&manifest.path), Arc::new(lacks));
            }
        }
        for manifest in &manifests {
            if let Some(known) = self.manifests.get(&hash(&manifest.path)) {
                lacks.add_those(Examples::clone(known));
            }
        }
        Ok(lacks)
    }

    /// The manifests of a list that has arrived.
    async fn list(&mut self, list: &str, snapshot_id: i64) -> Result<Option<Vec<ManifestFile>>> {
        let Some((name, bytes, found)) = self.read(list).await? else { return Ok(None) };
        let manifests = match blocking(move || avro::manifests(&bytes, name.as_str())).await {
            Ok(manifests) => manifests,
            Err(e) if e.kind() == Kind::Unprocessable && !self.doubtful.has_settled(list, &found) => return Ok(None),
            Err(e) => return Err(e),
        };
        let is_cut = self.totals.get(&snapshot_id).is_some_and(|totals| is_cut(&manifests, totals));
        Ok((!is_cut || self.doubtful.has_settled(list, &found)).then_some(manifests))
    }

    /// The live files of a manifest; `None` if it has not arrived.
    async fn manifest(&self, manifest: &ManifestFile) -> Result<Option<Vec<Stated>>> {
        let Some((name, bytes, _)) = self.read(&manifest.path).await? else { return Ok(None) };
        if manifest.length_bytes >= 0 && manifest.length_bytes.unsigned_abs() != bytes.len() as u64 {
            return Ok(None);
        }
        blocking(move || live_files(&bytes, name.as_str(), |_| true)).await.map(Some)
    }

    /// What of these is not here; each is asked for once.
    async fn files(&mut self, files: Vec<Stated>) -> Result<Examples> {
        let mut new = Vec::new();
        for (path, size_bytes) in &files {
            if self.files.insert(hash(path), true).is_none() {
                let target = self.source.paths.target(path)?;
                new.push(LiveFile { source: path.clone(), target, size_bytes: *size_bytes });
            }
        }
        for missing in self.presence.missing(new).await? {
            self.files.insert(hash(&missing.source), false);
        }
        let mut lacks = Examples::default();
        let missing = files.iter().filter(|(path, _)| self.files.get(&hash(path)) == Some(&false));
        missing.for_each(|(path, _)| lacks.add(&self.shown(path)));
        Ok(lacks)
    }

    /// Statistics files that are not here.
    async fn statistics(&mut self) -> Result<BTreeSet<String>> {
        let paths = &self.source.paths;
        let file = |(source, size_bytes): Stated| Ok(LiveFile { target: paths.target(&source)?, source, size_bytes });
        let files = statistics(&self.source.metadata).into_iter().map(file).collect::<Result<_>>()?;
        Ok(self.presence.missing(files).await?.into_iter().map(|file| file.source).collect())
    }

    /// A metadata file; `None` where it is not here.
    async fn read(&self, path: &str) -> Result<Option<(Location, Bytes, Found)>> {
        let name = self.source.place(path)?;
        Ok(self.io.read(&name).await?.map(|(bytes, found)| (name, bytes, found)))
    }

    /// Where a file should be, for people.
    fn shown(&self, path: &str) -> String {
        self.source.paths.target(path).unwrap_or_else(|_| path.to_owned())
    }
}

/// How many live data and delete files a snapshot's summary counts, where it does.
type Totals = [Option<i64>; 2];

fn totals(metadata: &Value) -> HashMap<i64, Totals> {
    let of = |snapshot: &Value| {
        let total = |key: &str| snapshot["summary"][key].as_str().and_then(|count| count.parse().ok());
        Some((snapshot["snapshot-id"].as_i64()?, ["total-data-files", "total-delete-files"].map(total)))
    };
    metadata["snapshots"].as_array().into_iter().flatten().filter_map(of).collect()
}

/// Whether a manifest list names fewer files than its snapshot's summary counts: then its end has not arrived.
fn is_cut(manifests: &[ManifestFile], totals: &Totals) -> bool {
    let live = |content: i64| {
        let of = manifests.iter().filter(|manifest| manifest.content == content);
        of.map(|manifest| manifest.live_files).sum::<Option<i64>>()
    };
    (0..).zip(totals).any(|(content, total)| total.zip(live(content)).is_some_and(|(total, live)| live < total))
}
