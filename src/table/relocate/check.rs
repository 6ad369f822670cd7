//! Whether the files that a relocated table leads to are where the map puts them, with the sizes that the manifests state.
//!
//! Live files are those of entries that are not deleted, whichever snapshot added them and whether that one is there still. Position deletes are left
//! out: they are written anew.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};

use super::io::{Io, Progress};
use super::limits::FILES_AT_ONCE;
use super::presence::{PathHash, Presence, Stated, hash, live_files, statistics};
use super::report::Examples;
use super::{Options, Source, blocking};
use crate::error::Result;
use crate::format::avro::{self, Content};
use crate::format::relocate;
use crate::storage::{Location, Storage};

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
    let presence = Presence::new(storage, &source);
    let mut check =
        Check { io, source, seen: HashSet::new(), presence, checked: Checked::default(), missing: Mutex::new(missing) };
    check.tree(options).await.map_err(|e| e.context(format!("checking {}", check.source.location)))?;
    let Check { io, mut checked, .. } = check;
    checked.unread = io.missing();
    Ok(checked)
}

struct Check<'c> {
    io: Io,
    source: Source,
    seen: HashSet<PathHash>,
    presence: Presence,
    checked: Checked,
    /// Never contended; it lets threads share the rest.
    missing: Mutex<&'c mut Hears<'c>>,
}

/// Who hears of files that are missing.
type Hears<'c> = dyn FnMut(&LiveFile) -> Result<()> + Send + 'c;

impl Check<'_> {
    async fn tree(&mut self, options: &Options) -> Result<()> {
        let (metadata, _) = relocate::select(&self.source.metadata, &options.selection)?;
        let places = relocate::manifest_places(&metadata, self.source.location.as_str())?;
        self.files(statistics(&metadata)).await?;
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
    async fn manifest(&self, path: &str) -> Result<Vec<Stated>> {
        let name = self.source.place(path)?;
        let Some((bytes, _)) = self.io.read(&name).await? else { return Ok(Vec::new()) };
        blocking(move || live_files(&bytes, name.as_str(), |entry| entry.content != Content::PositionDeletes)).await
    }

    async fn files(&mut self, files: Vec<Stated>) -> Result<()> {
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
        for file in self.presence.missing(new).await? {
            self.checked.bytes_missing += file.size_bytes.unwrap_or(0);
            self.checked.missing.add(&file.target);
            (self.missing.get_mut().unwrap_or_else(PoisonError::into_inner))(&file)?;
        }
        Ok(())
    }
}
