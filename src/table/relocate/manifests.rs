//! Manifests and the delete files that they name, many at a time.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, Semaphore};

use super::limits::FILES_AT_ONCE;
use super::report::Examples;
use super::{NewManifests, Run, blocking};
use crate::error::{Error, Kind, Result};
use crate::format::avro::{ManifestFile, Scratch};
use crate::format::relocate::{self, DeleteFile, DeleteFormat, NewDelete, NewManifest};
use crate::format::{deletes, puffin};
use crate::storage::{Found, Location};

/// A delete file takes this much more room than its bytes while it is written anew.
const DELETE_ROOM_FACTOR: u64 = 8;
/// A manifest takes this much more room than its bytes.
const MANIFEST_ROOM_FACTOR: u64 = 3;

/// A delete file's new form, made once however many manifests name it; none where a plan did not find it.
type Once = Arc<OnceCell<Option<NewDelete>>>;

/// Relocates manifests.
pub(super) struct Manifests<'r> {
    run: &'r Run<'r>,
    there: HashMap<String, u64>,
    known_deletes: HashMap<String, NewDelete>,
    deletes: Mutex<HashMap<DeleteFile, Once>>,
    unmapped: Mutex<Examples>,
    scratches: Arc<Scratches>,
    /// More than two patches a core, of which one may wait for the other's thread, would only take more memory.
    turns: Semaphore,
}

/// Memory for patching that is not in use.
#[derive(Default)]
struct Scratches(Mutex<Vec<Scratch>>);

impl Scratches {
    fn take(&self) -> Scratch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give(&self, scratch: Scratch) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }
}

impl<'r> Manifests<'r> {
    pub(super) fn new(run: &'r Run<'r>) -> Self {
        Manifests {
            run,
            there: HashMap::new(),
            known_deletes: HashMap::new(),
            deletes: Mutex::default(),
            unmapped: Mutex::default(),
            scratches: Arc::default(),
            turns: Semaphore::new(2 * std::thread::available_parallelism().map_or(1, NonZero::get)),
        }
    }

    pub(super) fn there(&mut self, there: HashMap<String, u64>) {
        self.there = there;
    }

    /// Delete files, by path, that have their other form already.
    pub(super) fn deletes_are_done(&mut self, done: HashMap<String, NewDelete>) {
        self.known_deletes = done;
    }

    pub(super) fn unmapped(&self) -> Examples {
        self.unmapped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Relocates manifests; returns where they went. Those that a plan did not find are left out.
    pub(super) async fn relocate(&self, manifests: Vec<ManifestFile>) -> Result<NewManifests> {
        let bytes: i64 = manifests.iter().map(|manifest| manifest.length_bytes.max(0)).sum();
        let progress = &self.run.io.progress;
        progress.bytes_to_do.fetch_add(bytes.unsigned_abs(), std::sync::atomic::Ordering::Relaxed);
        let each = manifests.into_iter().map(|manifest| async move {
            let length = manifest.length_bytes.max(0).unsigned_abs();
            let done = self.manifest(&manifest).await?;
            progress.bytes_done.fetch_add(length, std::sync::atomic::Ordering::Relaxed);
            let source = self.run.source.paths.resolve(&manifest.path).into_owned();
            Ok(done.map(|new| (source, new)))
        });
        let done = stream::iter(each).buffer_unordered(FILES_AT_ONCE);
        done.try_filter_map(|done| async { Ok(done) }).try_collect().await
    }

    async fn manifest(&self, manifest: &ManifestFile) -> Result<Option<NewManifest>> {
        let run = self.run;
        let place = run.source.place(&manifest.path)?;
        let source = run.source.paths.resolve(&manifest.path).into_owned();
        run.io.count_manifest();
        // what is there already need not be read, if it names no deletes that would have to be there as well
        if !self.there.is_empty() && manifest.content == 0 && manifest.length_bytes >= 0 {
            let found = run.io.look(&place).await?;
            let name = found.as_ref().map(|found| run.names.manifest(&source, found, &[]));
            if let Some((name, size_bytes)) = name.as_ref().and_then(|name| self.there.get_key_value(name)) {
                run.io.skipped();
                return Ok(Some(new_manifest(&run.source.folder.join(name), *size_bytes)));
            }
        }
        let _room = run.io.room(manifest.length_bytes.max(0).unsigned_abs() * MANIFEST_ROOM_FACTOR).await?;
        let Some((bytes, found)) = run.io.read(&place).await? else { return Ok(None) };
        check_length(&place, &found, manifest.length_bytes, "its manifest list")?;
        let Some((deletes, digest)) = self.deletes_of(&place, &bytes, manifest.content).await? else { return Ok(None) };
        let location = run.source.folder.join(&run.names.manifest(&source, &found, &digest));
        let (paths, name) = (run.source.paths.clone(), place.to_string());
        let scratches = self.scratches.clone();
        let turn = self.turns.acquire().await.map_err(|e| Error::internal("the turns are closed").with_source(e))?;
        let patched = blocking(move || {
            let mut scratch = scratches.take();
            let patched = relocate::relocate_manifest(&bytes, &name, &paths, &deletes, &mut scratch);
            scratches.give(scratch);
            patched
        })
        .await?;
        drop(turn);
        if patched.unmapped > 0 {
            let mut unmapped = self.unmapped.lock().unwrap_or_else(PoisonError::into_inner);
            unmapped.add_all(patched.unmapped, patched.unmapped_example.as_deref());
        }
        let size_bytes = patched.bytes.len() as u64;
        self.write(&location, patched.bytes).await?;
        Ok(Some(new_manifest(&location, size_bytes)))
    }

    /// The delete files of a manifest in their new form, and a digest of their names; `None` where a plan did not find one.
    async fn deletes_of(
        &self,
        place: &Location,
        bytes: &Bytes,
        content: i64,
    ) -> Result<Option<(HashMap<String, NewDelete>, Vec<u8>)>> {
        if content == 0 {
            return Ok(Some((HashMap::new(), Vec::new())));
        }
        let (text, name) = (bytes.clone(), place.to_string());
        let files = blocking(move || relocate::position_deletes(&text, &name)).await?;
        let each = files.into_iter().map(|file| async move {
            let new = match self.known_deletes.get(&file.path) {
                Some(known) => Some(known.clone()),
                None => self.delete(&file).await?,
            };
            Ok::<_, Error>(new.map(|new| (file.path, new)))
        });
        let new: Vec<Option<(String, NewDelete)>> =
            stream::iter(each).buffered(FILES_AT_ONCE / 4).try_collect().await?;
        let Some(new) = new.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let mut digest = Sha256::new();
        new.iter().for_each(|(_, new)| digest.update(format!("{}\n{}\n", new.path, new.size_bytes)));
        // entries that are deleted may name these as well
        let mut known: Vec<_> = self.known_deletes.iter().collect();
        known.sort_by_key(|(path, _)| *path);
        known.iter().for_each(|(path, new)| digest.update(format!("{path}\n{}\n", new.path)));
        let known = known.into_iter().map(|(path, new)| (path.clone(), new.clone()));
        Ok(Some((known.chain(new).collect(), digest.finalize().to_vec())))
    }

    async fn delete(&self, file: &DeleteFile) -> Result<Option<NewDelete>> {
        let once = self.deletes.lock().unwrap_or_else(PoisonError::into_inner).entry(file.clone()).or_default().clone();
        once.get_or_try_init(|| self.rewrite(file)).await.cloned()
    }

    async fn rewrite(&self, file: &DeleteFile) -> Result<Option<NewDelete>> {
        let run = self.run;
        let place = run.source.place(&file.path)?;
        let _room = run.io.room(file.size_bytes.max(0).unsigned_abs() * DELETE_ROOM_FACTOR).await?;
        let Some((bytes, found)) = run.io.read(&place).await? else { return Ok(None) };
        check_length(&place, &found, file.size_bytes, "its manifest")?;
        let source = run.source.paths.resolve(&file.path).into_owned();
        let location = run.source.folder.join(&run.names.delete(&source, &found, file.format));
        let (paths, name, format) = (run.source.paths.clone(), place.to_string(), file.format);
        let (bytes, column_sizes, split_offsets) = blocking(move || {
            let map = paths.location_map();
            Ok(match format {
                DeleteFormat::Avro => (deletes::avro::rewrite(&bytes, &name, map)?, Vec::new(), Vec::new()),
                DeleteFormat::Parquet => {
                    let new = deletes::parquet::rewrite(bytes, &name, map)?;
                    (new.bytes, new.column_sizes, new.split_offsets)
                }
                DeleteFormat::Puffin => (puffin::relocate(&bytes, &name, map)?, Vec::new(), Vec::new()),
            })
        })
        .await?;
        run.io.count_delete();
        let size_bytes = i64::try_from(bytes.len()).map_err(|_| Error::internal("a delete file is too large"))?;
        self.write(&location, bytes).await?;
        Ok(Some(NewDelete { path: location.to_string(), size_bytes, column_sizes, split_offsets }))
    }

    async fn write(&self, location: &Location, bytes: Vec<u8>) -> Result<()> {
        let name = location.as_str().rsplit('/').next().unwrap_or_default();
        if self.there.get(name).is_some_and(|size| *size == bytes.len() as u64) {
            self.run.io.skipped();
            return Ok(());
        }
        self.run.io.stage(location, bytes.into()).await
    }
}

fn new_manifest(location: &Location, size_bytes: u64) -> NewManifest {
    NewManifest { path: location.to_string(), length_bytes: i64::try_from(size_bytes).unwrap_or(i64::MAX) }
}

/// A file that is shorter than its parent says has not arrived wholly: Avro that was cut between two blocks can still be read.
fn check_length(place: &Location, found: &Found, stated: i64, by: &str) -> Result<()> {
    if stated < 0 || u64::try_from(stated) == Ok(found.size_bytes) {
        return Ok(());
    }
    let message = format!(
        "{place} has {} bytes and {by} says {stated}: it has not arrived wholly, or was changed",
        found.size_bytes
    );
    Err(Error::new(Kind::Unprocessable, message))
}
