//! Which data files a table has, or ever had: from its manifests, a hash and a size each.
//!
//! What must hold: a file that any snapshot mentions is known, whatever later became of it; a manifest is read once, when the first snapshot that
//! brings it is seen. Comparing is by place, so that other spellings of a path (`s3a`, `file:/`, the catalog's other naming) are the same file.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::error::{Error, Kind, Result};
use crate::format::avro::for_each_entry;
use crate::format::location::LocationMap;
use crate::format::manifest::{ManifestContent, ManifestFile, read_list};
use crate::storage::{Location, Storage};

/// Bytes of a file's key.
pub(super) const KEY_BYTES: usize = 12;
/// Data files of one table that are known at once: 17 to 34 bytes each.
const FILES_MAX: usize = 16_000_000;
/// Manifests and lists that are read at once.
const READS_AT_ONCE: usize = 16;
/// Bytes of manifests in memory at once.
const BYTES_AT_ONCE: u64 = 32 << 20;
/// Largest manifest or list.
const FILE_BYTES_MAX: u64 = 1 << 30;
const ROOM_UNIT: u64 = 1 << 10;

/// A file, by the hash of its place.
pub(super) type Key = [u8; KEY_BYTES];

/// How places are compared.
#[derive(Debug, Clone, Default)]
pub(super) struct Spelling {
    /// From the clients' naming to the upstream's.
    map: Option<Arc<LocationMap>>,
}

impl Spelling {
    pub fn new(map: Option<Arc<LocationMap>>) -> Spelling {
        Spelling { map }
    }

    pub fn key(&self, path: &str) -> Key {
        let mapped = self.map.as_ref().and_then(|map| map.map(path).ok());
        let place = Location::new(mapped.as_deref().unwrap_or(path)).place_text();
        let mut key = Key::default();
        key.copy_from_slice(&Sha256::digest(place.as_bytes())[..KEY_BYTES]);
        key
    }
}

/// The files of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Tracked {
    /// Each with the low half of its size.
    files: HashMap<Key, u32>,
    /// Snapshots all of whose files are known.
    snapshots: HashSet<i64>,
}

/// What became known.
#[derive(Debug, Default)]
pub(super) struct News {
    pub files: Vec<(Key, u32)>,
    pub snapshots: Vec<i64>,
}

impl Tracked {
    pub fn get(&self, key: &Key) -> Option<u32> {
        self.files.get(key).copied()
    }

    pub fn has(&self, key: &Key) -> bool {
        self.files.contains_key(key)
    }

    pub fn has_seen(&self, snapshot_id: i64) -> bool {
        self.snapshots.contains(&snapshot_id)
    }

    /// Everything.
    pub fn all(&self) -> News {
        let files = self.files.iter().map(|(key, size)| (*key, *size));
        News { files: files.collect(), snapshots: self.snapshots.iter().copied().collect() }
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Takes note of files and snapshots.
    pub fn extend(&mut self, news: &News) {
        self.files.extend(news.files.iter().copied());
        self.snapshots.extend(news.snapshots.iter().copied());
    }

    /// Reads what snapshots brought that were not seen yet; what that is.
    pub async fn update(&mut self, storage: &Arc<Storage>, spelling: &Spelling, metadata: &Json) -> Result<News> {
        let unseen = self.unseen(metadata);
        if unseen.is_empty() {
            return Ok(News::default());
        }
        let mut manifests: HashMap<String, u64> = HashMap::new();
        for location in unseen.iter().filter_map(|(_, snapshot)| snapshot["manifests"].as_array()).flatten() {
            // the first format version named manifests in the metadata itself
            manifests.extend(location.as_str().map(|location| (location.to_owned(), 0)));
        }
        let lists: Vec<_> = unseen
            .iter()
            .filter_map(|(_, snapshot)| snapshot["manifest-list"].as_str())
            .map(|list| read_lines(storage.clone(), Location::new(list)))
            .collect();
        let mut lists = stream::iter(lists).buffer_unordered(READS_AT_ONCE);
        while let Some(lines) = lists.try_next().await? {
            let unread = lines
                .into_iter()
                .filter(|m| m.content == ManifestContent::Data && !self.snapshots.contains(&m.added_snapshot_id));
            manifests.extend(unread.map(|m| (m.manifest_path, m.manifest_length_bytes.max(0) as u64)));
        }
        drop(lists);
        let mut news = News { files: Vec::new(), snapshots: unseen.iter().map(|(id, _)| *id).collect() };
        let room = Arc::new(Semaphore::new((BYTES_AT_ONCE / ROOM_UNIT) as usize));
        let reads: Vec<_> = manifests
            .into_iter()
            .map(|(path, bytes)| read_manifest(storage.clone(), spelling.clone(), room.clone(), path, bytes))
            .collect();
        let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        while let Some(files) = reads.try_next().await? {
            if self.files.len() + files.len() > FILES_MAX {
                let message = format!("the table has more than {FILES_MAX} data files, which are not held at once");
                return Err(Error::new(Kind::Unprocessable, message));
            }
            for (key, size) in files {
                if self.files.insert(key, size).is_none() {
                    news.files.push((key, size));
                }
            }
        }
        self.snapshots.extend(news.snapshots.iter().copied());
        Ok(news)
    }

    fn unseen<'m>(&self, metadata: &'m Json) -> Vec<(i64, &'m Json)> {
        let snapshots = metadata["snapshots"].as_array().into_iter().flatten();
        let with_id = snapshots.filter_map(|snapshot| Some((snapshot["snapshot-id"].as_i64()?, snapshot)));
        with_id.filter(|(id, _)| !self.snapshots.contains(id)).collect()
    }
}

/// The lines of a manifest list.
pub(super) async fn read_lines(storage: Arc<Storage>, list: Location) -> Result<Vec<ManifestFile>> {
    read_list(&storage.read(&list, FILE_BYTES_MAX).await?, list.as_str())
}

async fn read_manifest(
    storage: Arc<Storage>,
    spelling: Spelling,
    room: Arc<Semaphore>,
    path: String,
    size_bytes: u64,
) -> Result<Vec<(Key, u32)>> {
    let units = u32::try_from(size_bytes.min(BYTES_AT_ONCE).div_ceil(ROOM_UNIT).max(1)).unwrap_or(1);
    let _room = room.acquire_many_owned(units).await;
    let bytes = storage.read(&Location::new(&path), FILE_BYTES_MAX).await?;
    let read = move || {
        let mut files = Vec::new();
        for_each_entry(&bytes, &path, |entry| {
            files.push((spelling.key(entry.path), size_of(entry.size_bytes.max(0) as u64)));
            Ok(())
        })?;
        Ok(files)
    };
    tokio::task::spawn_blocking(read).await.map_err(|e| Error::internal("a manifest was not read").with_source(e))?
}

/// As much of a size as is kept.
pub(super) fn size_of(size_bytes: u64) -> u32 {
    size_bytes as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_key_in_every_spelling() -> Result<()> {
        let map = LocationMap::new([("hdfs://nn/lake", "s3://lake/w")])?;
        let spelling = Spelling::new(Some(Arc::new(map)));
        let key = spelling.key("s3://lake/w/a");
        assert_eq!((spelling.key("s3a://lake/w/a"), spelling.key("hdfs://nn/lake/a")), (key, key));
        assert_ne!(spelling.key("s3://lake/w/b"), key);
        Ok(())
    }
}
