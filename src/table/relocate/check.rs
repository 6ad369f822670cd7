//! Whether the files that a relocated table leads to are where the map puts them, with the sizes that the manifests state.
//!
//! Live files are those of entries that are not deleted, whichever snapshot added them and whether that one is there still. Position deletes are left
//! out: they are written anew. A few files are asked for one by one; from [`ASKED_MAX`] on the table's target is listed once. What is kept per file
//! is a hash of its path, not the path.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::io::{Io, Progress};
use super::limits::{FILES_AT_ONCE, LISTED_MAX};
use super::report::Examples;
use super::{Options, Source, blocking};
use crate::error::Result;
use crate::format::avro::{self, Content, Status};
use crate::format::relocate;
use crate::storage::{Location, Storage};

/// Files that are asked for one by one; for more, the table's target is listed.
pub const ASKED_MAX: u64 = 2_000;
/// Questions under way at once.
const ASKED_AT_ONCE: usize = 64;

/// A file that the relocated table leads to and that is not written by the relocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFile {
    /// Where the metadata says that it is.
    pub source: String,
    /// Where the relocated metadata says that it is.
    pub target: String,
    /// Its size, where the metadata states one.
    pub size_bytes: Option<u64>,
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Live files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that are not at their target, or not with their size.
    pub missing: Examples,
    /// Metadata files that could not be read: what they name was not looked for.
    pub unread: Examples,
    /// The bytes of those that are missing.
    pub bytes_missing: u64,
}

/// Looks for every live file of the table whose metadata.json is at `source`; `missing` is called with each that is not there.
pub async fn check(
    storage: Arc<Storage>,
    source: &Location,
    options: &Options,
    missing: &mut (dyn FnMut(&LiveFile) -> Result<()> + Send),
) -> Result<Checked> {
    let io = Io::new(storage.clone(), Arc::new(Progress::default()), true);
    let source = Source::read(&io, source, options).await?;
    if source.is_view() {
        return Ok(Checked::default());
    }
    let mut check = Check {
        io,
        storage,
        source,
        seen: HashSet::new(),
        listed: None,
        checked: Checked::default(),
        missing: Mutex::new(missing),
    };
    check.tree(options).await.map_err(|e| e.context(format!("checking {}", check.source.location)))?;
    let Check { io, mut checked, .. } = check;
    checked.unread = io.missing();
    Ok(checked)
}

struct Check<'c> {
    io: Io,
    storage: Arc<Storage>,
    source: Source,
    seen: HashSet<PathHash>,
    /// What is below the table's target, once it was listed.
    listed: Option<HashMap<PathHash, u64>>,
    checked: Checked,
    /// Never contended; it lets threads share the rest.
    missing: Mutex<&'c mut Hears<'c>>,
}

type PathHash = [u8; 16];
/// Who hears of files that are missing.
type Hears<'c> = dyn FnMut(&LiveFile) -> Result<()> + Send + 'c;

impl Check<'_> {
    async fn tree(&mut self, options: &Options) -> Result<()> {
        let (metadata, _) = relocate::select(&self.source.metadata, options.selection)?;
        let places = relocate::manifest_places(&metadata, self.source.location.as_str())?;
        let mut statistics = Vec::new();
        for list in ["statistics", "partition-statistics"] {
            for entry in metadata[list].as_array().into_iter().flatten() {
                if let Some(path) = entry["statistics-path"].as_str() {
                    statistics.push((path.to_owned(), entry["file-size-in-bytes"].as_u64()));
                }
            }
        }
        self.files(statistics).await?;
        let mut done = HashSet::new();
        for place in places {
            let mut manifests = place.manifests.clone();
            if let Some(list) = place.list.filter(|list| done.insert(hash(list))) {
                let name = self.source.place(&list)?;
                let Some((bytes, _)) = self.io.read(&name).await? else { continue };
                let named = blocking(move || avro::manifests(&bytes, name.as_str())).await?;
                manifests.extend(named.into_iter().map(|manifest| manifest.path));
            }
            manifests.retain(|manifest| done.insert(hash(manifest)));
            for some in manifests.chunks(FILES_AT_ONCE) {
                let reads: Vec<_> = some.iter().map(|manifest| self.manifest(manifest)).collect();
                let live: Vec<_> = stream::iter(reads).buffered(FILES_AT_ONCE).try_collect().await?;
                for files in live {
                    self.files(files).await?;
                }
            }
        }
        Ok(())
    }

    /// The live files of a manifest that are not written anew.
    async fn manifest(&self, path: &str) -> Result<Vec<(String, Option<u64>)>> {
        let name = self.source.place(path)?;
        let Some((bytes, _)) = self.io.read(&name).await? else { return Ok(Vec::new()) };
        blocking(move || {
            let mut live = Vec::new();
            avro::for_each_entry(&bytes, name.as_str(), |entry| {
                if entry.status != Status::Deleted && entry.content != Content::PositionDeletes {
                    live.push((entry.path.to_owned(), u64::try_from(entry.size_bytes).ok()));
                }
                Ok(())
            })?;
            Ok(live)
        })
        .await
    }

    async fn files(&mut self, files: Vec<(String, Option<u64>)>) -> Result<()> {
        let mut new = Vec::new();
        for (path, size_bytes) in files {
            if self.seen.insert(hash(&path)) {
                let target = self.source.paths.target(&path)?;
                let source = self.source.paths.resolve(&path).into_owned();
                self.checked.bytes += size_bytes.unwrap_or(0);
                new.push(LiveFile { source, target, size_bytes });
            }
        }
        self.checked.files += new.len() as u64;
        if self.checked.files > ASKED_MAX && self.listed.is_none() {
            self.listed = Some(self.list().await?);
        }
        let asked = new.into_iter().map(|file| async {
            let there = self.size_of(&file.target).await?;
            let is_there = there.is_some_and(|there| file.size_bytes.is_none_or(|size| size == there));
            Ok::<_, crate::error::Error>((file, is_there))
        });
        let asked: Vec<(LiveFile, bool)> = stream::iter(asked).buffered(ASKED_AT_ONCE).try_collect().await?;
        for (file, _) in asked.into_iter().filter(|(_, is_there)| !is_there) {
            self.checked.bytes_missing += file.size_bytes.unwrap_or(0);
            self.checked.missing.add(&file.target);
            (self.missing.get_mut().unwrap_or_else(PoisonError::into_inner))(&file)?;
        }
        Ok(())
    }

    async fn size_of(&self, target: &str) -> Result<Option<u64>> {
        if let Some(size_bytes) = self.listed.as_ref().and_then(|listed| listed.get(&hash(target))) {
            return Ok(Some(*size_bytes));
        }
        let location = Location::new(target);
        // a place that we cannot go to holds nothing that we could have seen
        let listed = self.listed.is_some() && self.base().is_some_and(|base| location.is_under(&base));
        if listed || location.check().is_err() { Ok(None) } else { self.storage.size_bytes(&location).await }
    }

    fn base(&self) -> Option<Location> {
        let own = self.source.metadata["location"].as_str()?;
        self.source.paths.target(own).ok().map(Location::new)
    }

    async fn list(&self) -> Result<HashMap<PathHash, u64>> {
        let mut listed = HashMap::new();
        if let Some(base) = self.base().filter(|base| base.check().is_ok()) {
            let each = |file: crate::storage::Listed| {
                listed.insert(hash(file.location.as_str()), file.size_bytes);
                Ok(())
            };
            self.storage.list_each(&base, LISTED_MAX, each).await?;
        }
        Ok(listed)
    }
}

fn hash(path: &str) -> PathHash {
    let mut short = PathHash::default();
    short.copy_from_slice(&Sha256::digest(path.as_bytes())[..16]);
    short
}
