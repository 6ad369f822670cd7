//! Folders that are looked through again and again: only those are read whose times changed.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::local::{blocking, failure, stamp};
use super::watch::hash;
use crate::error::Result;

/// Folders that are asked for in one piece.
const FOLDERS_A_PIECE: usize = 1_000;
/// Folders that are kept; beyond, all is forgotten, and begun again.
const FOLDERS_MAX: usize = 200_000;

/// The folders at and below a place.
#[derive(Debug)]
pub(super) struct Folders {
    root: PathBuf,
    all: Vec<Seen>,
    /// The one that is looked at next.
    at: usize,
    count: usize,
}

/// A folder as it was read.
#[derive(Debug)]
struct Seen {
    path: PathBuf,
    /// Its times then; `None` when it must be read anyway.
    stamp: Option<String>,
    /// Hashes of the names of its files, in order.
    files: Vec<u64>,
    /// And of all folders that were ever in it.
    folders: HashSet<u64>,
}

impl Seen {
    fn new(path: PathBuf) -> Seen {
        Seen { path, stamp: None, files: Vec::new(), folders: HashSet::new() }
    }
}

impl Folders {
    pub(super) fn new(root: PathBuf) -> Folders {
        Folders { all: vec![Seen::new(root.clone())], root, at: 0, count: 0 }
    }

    /// How many files are remembered.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Looks at the next folders; true when a file went.
    pub(super) async fn look_on(mut self, is_wanted: fn(&str) -> bool) -> Result<(Folders, bool)> {
        blocking(move || {
            let mut went = false;
            for _ in 0..FOLDERS_A_PIECE {
                let Some(seen) = self.all.get_mut(self.at) else { break };
                let counted = seen.files.len();
                let (lost, new) = look(seen, is_wanted)?;
                went |= lost;
                self.count = self.count + seen.files.len() - counted;
                self.all.extend(new.into_iter().map(Seen::new));
                self.at += 1;
            }
            if self.all.len() > FOLDERS_MAX {
                return Ok((Folders::new(self.root), went));
            }
            if self.at >= self.all.len() {
                self.at = 0;
            }
            Ok((self, went))
        })
        .await
    }
}

/// Whether a file went from a folder, and the folders that came into it.
fn look(seen: &mut Seen, is_wanted: fn(&str) -> bool) -> Result<(bool, Vec<PathBuf>)> {
    let now = match fs::metadata(&seen.path) {
        Ok(metadata) => stamp(&metadata),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        Err(e) => return Err(failure(e)),
    };
    if now.is_some() && now == seen.stamp {
        return Ok((false, Vec::new()));
    }
    let (files, folders) = read(&seen.path, is_wanted)?;
    let went = seen.files.iter().any(|file| files.binary_search(file).is_err());
    // a folder that is gone is kept, and asked for, in case that it comes back
    let new = folders.iter().filter(|name| seen.folders.insert(hash(name))).map(|name| seen.path.join(name)).collect();
    (seen.files, seen.stamp) = (files, now);
    Ok((went, new))
}

/// Hashes of the files in a folder, in order, and the names of the folders.
fn read(folder: &Path, is_wanted: fn(&str) -> bool) -> Result<(Vec<u64>, Vec<String>)> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok((files, folders)),
        Err(e) => return Err(failure(e)),
    };
    for entry in entries {
        let entry = entry.map_err(failure)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type().map_err(failure)?.is_dir() {
            folders.push(name.into_owned());
        } else if is_wanted(&name) {
            files.push(hash(&name));
        }
    }
    files.sort_unstable();
    Ok((files, folders))
}
