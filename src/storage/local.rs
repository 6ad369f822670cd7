//! Local folders: whole files, written durably.
//!
//! A new file is written beside its place, synced, linked to its name (which fails when the name is taken) and its folder synced: after a crash it
//! is there whole or not at all, and an acknowledged one is there after a power cut. Blocking work runs on the blocking pool.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tempfile::{NamedTempFile, TempPath};
use tokio::sync::mpsc;

use super::{Children, Found, Listed, Location, check_count, check_size};
use crate::error::{Error, Kind, Result};

/// From this many files on the whole file system is synced.
const SYNCED_TOGETHER_MIN: usize = 8;
/// Files that a listing hands over together.
const BATCH_COUNT: usize = 1000;
/// Batches that wait for whoever listens.
const BATCHES_WAITING: usize = 4;
/// Two changes within this time may have the same time.
const TIMES_APART: Duration = Duration::from_millis(100);
/// Files in the making begin with this; no listing shows them.
const UNFINISHED: &str = ".lifeboat-unfinished-";

pub(super) async fn read(path: PathBuf, size_bytes_max: u64) -> Result<(Bytes, Found)> {
    blocking(move || {
        // asked before it is opened: a pipe would block there, and a device has no end
        let metadata = fs::metadata(&path).map_err(failure)?;
        if !metadata.is_file() {
            return Err(Error::new(
                Kind::NotFound,
                format!("file does not exist: {} is no regular file", path.display()),
            ));
        }
        check_size(metadata.len(), size_bytes_max)?;
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        let file = File::open(&path).map_err(failure)?;
        file.take(size_bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failure)?;
        check_size(bytes.len() as u64, size_bytes_max)?;
        let found = found(&metadata);
        // somebody writes it right now: what was read is neither the one nor the other
        if bytes.len() as u64 != found.size_bytes {
            return Err(Error::new(Kind::Unavailable, format!("{} changed while it was read", path.display())));
        }
        Ok((Bytes::from(bytes), found))
    })
    .await
}

pub(super) async fn read_range(path: PathBuf, range: Range<u64>) -> Result<Bytes> {
    blocking(move || {
        let file = File::open(&path).map_err(failure)?;
        let metadata = file.metadata().map_err(failure)?;
        // before so much is allocated
        if !metadata.is_file() || range.start > range.end || range.end > metadata.len() {
            let message = format!("{} is no file of {} bytes or more", path.display(), range.end);
            return Err(Error::new(Kind::Unavailable, message));
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start).map_err(failure)?;
        Ok(Bytes::from(bytes))
    })
    .await
}

fn found(metadata: &fs::Metadata) -> Found {
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let etag = changed.map(|changed| format!("{:x}-{:x}", changed.as_nanos(), metadata.len()));
    Found { size_bytes: metadata.len(), etag }
}

pub(super) async fn write_new(path: PathBuf, bytes: Bytes) -> Result<()> {
    blocking(move || {
        let (unfinished, folder) = unfinished(&path, &bytes)?;
        unfinished.as_file().sync_all().map_err(failure)?;
        unfinished.persist_noclobber(&path).map_err(|e| failure(e.error))?;
        sync_folder(folder)
    })
    .await
}

/// A new file beside its place with all of its bytes, not synced and not named yet, and the folder that both are in.
fn unfinished<'p>(path: &'p Path, bytes: &[u8]) -> Result<(NamedTempFile, &'p Path)> {
    let folder = path.parent().ok_or_else(|| Error::bad_request("the file system's root is not a file"))?;
    make_folder(folder)?;
    let mut unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder).map_err(failure)?;
    unfinished.write_all(bytes).map_err(failure)?;
    readable_by_all(unfinished.as_file())?;
    Ok((unfinished, folder))
}

/// A new file that has all of its bytes, but neither its name nor the disk's word for it.
#[derive(Debug)]
pub(super) struct Staged {
    unfinished: TempPath,
    path: PathBuf,
}

/// Writes a new file without waiting for the disk.
pub(super) async fn stage(path: PathBuf, bytes: Bytes) -> Result<Staged> {
    blocking(move || {
        let (unfinished, _) = unfinished(&path, &bytes)?;
        Ok(Staged { unfinished: unfinished.into_temp_path(), path })
    })
    .await
}

/// Gives staged files their names once all of them are on the disk; [`Kind::AlreadyExists`] for each whose name is taken.
pub(super) async fn publish(staged: Vec<Staged>) -> Result<Vec<Result<()>>> {
    blocking(move || {
        let mut folders: Vec<PathBuf> = staged.iter().filter_map(|file| Some(file.path.parent()?.to_owned())).collect();
        folders.sort();
        folders.dedup();
        sync_all(&staged, &folders)?;
        let named =
            staged.into_iter().map(|file| file.unfinished.persist_noclobber(&file.path).map_err(|e| failure(e.error)));
        let named = named.collect();
        folders.iter().try_for_each(|folder| sync_folder(folder))?;
        Ok(named)
    })
    .await
}

/// Waits until staged files are on the disk: a few are synced one by one, many by their file system as a whole, which is one wait for all of them.
fn sync_all(staged: &[Staged], folders: &[PathBuf]) -> Result<()> {
    if staged.len() >= SYNCED_TOGETHER_MIN && folders.iter().all(|folder| sync_file_system(folder).is_ok()) {
        return Ok(());
    }
    staged.iter().try_for_each(|file| File::open(&file.unfinished).and_then(|file| file.sync_all()).map_err(failure))
}

#[cfg(target_os = "linux")]
fn sync_file_system(folder: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_: &Path) -> std::io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) async fn look(path: PathBuf) -> Result<Option<Found>> {
    blocking(move || match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(found(&metadata))),
        Ok(_) => Ok(None),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(failure(e)),
    })
    .await
}

pub(super) async fn delete(path: PathBuf) -> Result<()> {
    blocking(move || match fs::remove_file(&path) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        Err(e) => Err(failure(e)),
    })
    .await
}

pub(super) async fn list(
    prefix: Location,
    root: PathBuf,
    is_wanted: impl Fn(&Location) -> bool + Send + 'static,
    count_max: usize,
    mut each: impl FnMut(Listed) -> Result<()> + Send,
) -> Result<usize> {
    let (sender, mut batches) = mpsc::channel(BATCHES_WAITING);
    let walk = blocking(move || {
        let (mut batch, mut count) = (Vec::new(), 0);
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
                Err(e) => return Err(failure(e)),
            };
            for entry in entries {
                let entry = entry.map_err(failure)?;
                let kind = entry.file_type().map_err(failure)?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                    count += 1;
                    check_count(count, count_max)?;
                    batch.extend(listed(&prefix, &root, &entry.path(), &is_wanted)?);
                }
                if batch.len() >= BATCH_COUNT && sender.blocking_send(std::mem::take(&mut batch)).is_err() {
                    return Ok(count); // whoever listens has heard enough
                }
            }
        }
        let _ = sender.blocking_send(batch);
        Ok(count)
    });
    let listen = async move {
        while let Some(batch) = batches.recv().await {
            batch.into_iter().try_for_each(&mut each)?;
        }
        Ok(())
    };
    let (walked, heard) = tokio::join!(walk, listen);
    heard.and(walked)
}

pub(super) async fn children(folder: PathBuf) -> Result<Children> {
    blocking(move || {
        let mut found = Children::default();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(found),
            Err(e) => return Err(failure(e)),
        };
        for entry in entries {
            let entry = entry.map_err(failure)?;
            // what is not UTF-8 is no name of a table or of one of its files
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type().map_err(failure)?;
            // links are followed here, for a replica may be mounted by one; that a listing ends is the caller's care
            let is_folder = kind.is_dir() || kind.is_symlink() && fs::metadata(entry.path()).is_ok_and(|m| m.is_dir());
            if is_folder {
                found.folders.push(name);
            } else if !name.starts_with(UNFINISHED) {
                found.files.push(name);
            }
        }
        Ok(found)
    })
    .await
}

pub(super) async fn names_after(folder: PathBuf, after: &str, count_max: usize) -> Result<Vec<String>> {
    let mut names = children(folder).await?.files;
    names.retain(|name| name.as_str() > after);
    names.sort_unstable();
    names.truncate(count_max);
    Ok(names)
}

/// Both of a folder's times: a replicator may set the one, and nobody can set the other. `None` when it changed so recently that another change may
/// leave the same time.
pub(super) fn stamp(folder: &fs::Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let (m, now) = (folder, SystemTime::now().duration_since(UNIX_EPOCH).ok()?);
    let changed = Duration::new(m.ctime().try_into().ok()?, m.ctime_nsec().try_into().ok()?);
    let stamp = || format!("{}.{:09}/{}.{:09}/{}", m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec(), m.ino());
    (changed + TIMES_APART <= now).then(stamp)
}

pub(super) async fn folder_stamp(folder: PathBuf) -> Result<Option<String>> {
    blocking(move || match fs::metadata(&folder) {
        Ok(metadata) => Ok(stamp(&metadata)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Some(String::new())),
        Err(e) => Err(failure(e)),
    })
    .await
}

/// Removes the folders at and below `root` that hold nothing. Links are left alone, and so is what gets its first file meanwhile.
pub(super) async fn remove_empty_folders(root: PathBuf) -> Result<()> {
    blocking(move || {
        let mut folders = vec![root];
        let mut at = 0;
        while let Some(folder) = folders.get(at) {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let below: Vec<_> =
                entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|entry| entry.path()).collect();
            folders.extend(below);
            at += 1;
        }
        // the deepest come last; one that is not empty refuses
        folders.iter().rev().for_each(|folder| drop(fs::remove_dir(folder)));
        Ok(())
    })
    .await
}

/// When a file last changed: a replicator may set the one time, and nobody can set the other.
fn changed_ms(metadata: &fs::Metadata) -> Option<i64> {
    use std::os::unix::fs::MetadataExt;
    let ms = |seconds: i64, nanos: i64| seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000);
    let modified = ms(metadata.mtime(), metadata.mtime_nsec());
    modified.max(ms(metadata.ctime(), metadata.ctime_nsec()))
}

/// A file as a listing shows it; `None` when it is not wanted or has gone meanwhile.
fn listed(
    prefix: &Location,
    root: &Path,
    path: &Path,
    is_wanted: impl Fn(&Location) -> bool,
) -> Result<Option<Listed>> {
    let below = path.strip_prefix(root).map_err(|e| Error::internal(e.to_string()))?;
    let Some(below) = below.to_str() else {
        return Err(Error::new(Kind::Unprocessable, format!("the name of {} is not UTF-8", path.display())));
    };
    let location = prefix.join(below);
    if !is_wanted(&location) {
        return Ok(None);
    }
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(Listed { location, size_bytes: metadata.len(), changed_ms: changed_ms(&metadata) })),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failure(e)),
    }
}

/// Makes a folder and those above it, each durable in the one above.
fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => folder.parent().map_or(Ok(()), sync_folder),
        Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) => Err(failure(e)),
    }
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(failure)
}

/// Temporary files are private; engines that run as somebody else must read what we write.
fn readable_by_all(file: &File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644)).map_err(failure)
}

pub(super) fn failure(e: std::io::Error) -> Error {
    let kind = match e.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Kind::NotFound,
        ErrorKind::AlreadyExists => Kind::AlreadyExists,
        ErrorKind::InvalidFilename => Kind::BadRequest,
        _ => Kind::Internal,
    };
    let message = if kind == Kind::NotFound { "file does not exist".to_owned() } else { e.to_string() };
    Error::new(kind, message)
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("file work was cut off").with_source(e))?
}

#[cfg(test)]
mod tests {
    use super::super::Storage;
    use super::*;

    #[tokio::test]
    async fn a_file_is_written_once_and_never_over_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::new(Vec::new());
        let root = Location::new(format!("file:{}", folder.path().display()));
        let file = root.join("a/b c/%2e.json");
        storage.write_new(&file, Bytes::from_static(b"one")).await.expect("written");
        let error = storage.write_new(&file, Bytes::from_static(b"two")).await.expect_err("it is there");
        assert_eq!(error.kind(), Kind::AlreadyExists);
        assert_eq!(storage.read(&file, 10).await.expect("read"), "one");
        assert_eq!(storage.read(&file, 2).await.expect_err("too large").kind(), Kind::Unprocessable);
        let listed = storage.list(&root, 10).await.expect("listed");
        assert_eq!(listed.iter().map(|l| (&l.location, l.size_bytes)).collect::<Vec<_>>(), [(&file, 3)]);
        assert!(listed[0].changed_ms.is_some());
        assert_eq!(storage.read_range(&file, 1..3).await.expect("a part"), "ne");
        assert_eq!(storage.read_range(&file, 1..4).await.expect_err("too long").kind(), Kind::Unavailable);
        assert_eq!(storage.list_wanted(&root, 10, |_, _| false).await.expect("listed"), (Vec::new(), 1));
        storage.delete_all(vec![file.clone(), root.join("never-there")]).await.expect("deleted");
        assert_eq!(storage.size_bytes(&file).await.expect("looked"), None);
        assert_eq!(storage.read(&file, 10).await.expect_err("gone").kind(), Kind::NotFound);
    }
}
