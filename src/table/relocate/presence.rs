//! Which files a table leads to, and whether they are where the map puts them, with their sizes.
//!
//! A few files are asked for one by one; from [`ASKED_MAX`] on the table's target is listed once. What is kept per file is a hash of its path,
//! not the path.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::limits::LISTED_MAX;
use super::{LiveFile, Source};
use crate::error::{Error, Result};
use crate::format::avro::{self, Entry, Status};
use crate::storage::{Listed, Location, Storage};

/// Files that are asked for one by one; for more, the table's target is listed.
pub const ASKED_MAX: u64 = 2_000;
/// Questions under way at once.
const ASKED_AT_ONCE: usize = 64;

/// What a file is remembered by.
pub(super) type PathHash = [u8; 16];

/// What is known of where a table's files are.
pub(super) struct Presence {
    storage: Arc<Storage>,
    /// The table's own place here.
    base: Option<Location>,
    asked: u64,
    /// What is below the table's place, once it was listed.
    listed: Option<HashMap<PathHash, u64>>,
}

impl Presence {
    pub(super) fn new(storage: Arc<Storage>, source: &Source) -> Self {
        let own = source.metadata["location"].as_str();
        let base = own.and_then(|own| source.paths.target(own).ok()).map(Location::new);
        Presence { storage, base, asked: 0, listed: None }
    }

    /// How many files were asked for.
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// Those that are not at their target, or not with their size.
    pub(super) async fn missing(&mut self, files: Vec<LiveFile>) -> Result<Vec<LiveFile>> {
        self.asked += files.len() as u64;
        if self.asked > ASKED_MAX && self.listed.is_none() {
            self.listed = Some(self.list().await?);
        }
        let asked = files.into_iter().map(|file| async {
            let there = self.size_of(&file.target).await?;
            let is_there = there.is_some_and(|there| file.size_bytes.is_none_or(|size| size == there));
            Ok::<_, Error>((!is_there).then_some(file))
        });
        let asked = stream::iter(asked).buffered(ASKED_AT_ONCE);
        asked.try_filter_map(|missing| async { Ok(missing) }).try_collect().await
    }

    async fn size_of(&self, target: &str) -> Result<Option<u64>> {
        if let Some(size_bytes) = self.listed.as_ref().and_then(|listed| listed.get(&hash(target))) {
            return Ok(Some(*size_bytes));
        }
        let location = Location::new(target);
        // a place that we cannot go to holds nothing that we could have seen
        let listed = self.listed.is_some() && self.base.as_ref().is_some_and(|base| location.is_under(base));
        if listed || location.check().is_err() { Ok(None) } else { self.storage.size_bytes(&location).await }
    }

    async fn list(&self) -> Result<HashMap<PathHash, u64>> {
        let mut listed = HashMap::new();
        if let Some(base) = self.base.as_ref().filter(|base| base.check().is_ok()) {
            let each = |file: Listed| {
                listed.insert(hash(file.location.as_str()), file.size_bytes);
                Ok(())
            };
            self.storage.list_each(base, LISTED_MAX, each).await?;
        }
        Ok(listed)
    }
}

/// A path as the metadata spells it, and its size where one is stated.
pub(super) type Stated = (String, Option<u64>);

/// The statistics files of a table.
pub(super) fn statistics(metadata: &Value) -> Vec<Stated> {
    let entries = ["statistics", "partition-statistics"].iter().flat_map(|list| metadata[list].as_array());
    let stated =
        |entry: &Value| Some((entry["statistics-path"].as_str()?.to_owned(), entry["file-size-in-bytes"].as_u64()));
    entries.flatten().filter_map(stated).collect()
}

/// The live files of the manifest `name` that are wanted.
pub(super) fn live_files(bytes: &[u8], name: &str, wanted: impl Fn(&Entry<'_>) -> bool) -> Result<Vec<Stated>> {
    let mut live = Vec::new();
    avro::for_each_entry(bytes, name, |entry| {
        if entry.status != Status::Deleted && wanted(&entry) {
            live.push((entry.path.to_owned(), u64::try_from(entry.size_bytes).ok()));
        }
        Ok(())
    })?;
    Ok(live)
}

pub(super) fn hash(path: &str) -> PathHash {
    let mut short = PathHash::default();
    short.copy_from_slice(&Sha256::digest(path.as_bytes())[..16]);
    short
}
