//! Places in storage: locations to bytes, on local folders and S3.
//!
//! What must hold: a location is a plain string that is never normalised; a file is written once, whole and durable, and never
//! over another one; nothing outside of what a location names is touched. What the bytes mean is for others.

mod local;
mod local_watch;
mod location;
mod object;
mod vending;
mod watch;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, stream};

pub use location::Location;
pub use object::StoreSettings;
#[cfg(test)]
pub(crate) use vending::tests as vending_tests;
pub use vending::{SessionKeys, Vended, Vending, VendingSettings};
pub use watch::Watch;

use crate::error::{Error, Kind, Result};
use crate::telemetry::Metrics;
use location::Place;
use object::Bucket;

/// Most clients of buckets that are kept.
const BUCKETS_MAX: usize = 256;
/// Deletions under way at once.
const DELETES_AT_ONCE_MAX: usize = 16;

/// A file found by [`Storage::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is, spelled as the listed prefix is.
    pub location: Location,
    /// Its size.
    pub size_bytes: u64,
    /// When it last changed, in milliseconds since 1970, where that is known: the later of a local file's two times, of which nobody can set one.
    pub changed_ms: Option<i64>,
}

/// What is directly in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Children {
    /// Names of the folders in it.
    pub folders: Vec<String>,
    /// Names of the files in it.
    pub files: Vec<String>,
}

/// What a store says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its size.
    pub size_bytes: u64,
    /// Another one whenever its bytes may be others: the store's ETag, or a local file's size and time of change.
    pub etag: Option<String>,
}

/// A file that was written and may not have its name yet. Dropped before that, it is gone.
#[derive(Debug)]
pub struct Staged {
    location: Location,
    size_bytes: u64,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Done(Result<()>),
    Local(Result<local::Staged>),
}

/// Everything that can be read and written, by location.
#[derive(Debug)]
pub struct Storage {
    settings: Vec<StoreSettings>,
    buckets: Mutex<BTreeMap<(String, usize), Arc<Bucket>>>,
    local_roots: Option<Vec<Location>>,
    metrics: Metrics,
}

impl Storage {
    /// Takes the stores' settings; a place's store is the one with the longest prefix. S3 without settings is reached with the environment's.
    pub fn new(settings: Vec<StoreSettings>) -> Self {
        Storage { settings, buckets: Mutex::default(), local_roots: None, metrics: Metrics::new() }
    }

    /// The same, but of this machine's file system only what lies at and below `roots` is open; all else is [`Kind::Forbidden`].
    pub fn with_local_roots(mut self, roots: Vec<Location>) -> Self {
        self.local_roots = Some(roots);
        self
    }

    /// The same, counting what is asked among a server's other figures.
    pub fn counted_by(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Whether a location may be gone to.
    pub fn check(&self, location: &Location) -> Result<()> {
        self.place(location).map(drop)
    }

    fn place(&self, location: &Location) -> Result<Place> {
        location.place_within(self.local_roots.as_deref())
    }

    /// The whole file. [`Kind::NotFound`] names the location; more than `size_bytes_max` is refused before it is read.
    pub async fn read(&self, location: &Location, size_bytes_max: u64) -> Result<Bytes> {
        Ok(self.fetch(location, size_bytes_max).await?.0)
    }

    /// The whole file, with what the store says of it.
    pub async fn fetch(&self, location: &Location, size_bytes_max: u64) -> Result<(Bytes, Found)> {
        let read = match self.place(location)? {
            Place::Local(path) => local::read(path, size_bytes_max).await,
            Place::Object { bucket, key } => self.bucket(location, &bucket)?.read(&key, size_bytes_max).await,
        };
        self.metrics.storage("get", 1, read.as_ref().map_or(0, |(bytes, _)| bytes.len() as u64));
        read.map_err(|e| e.context(format!("reading {location}")))
    }

    /// A part of a file, which must have all of it.
    pub async fn read_range(&self, location: &Location, range: Range<u64>) -> Result<Bytes> {
        let size_bytes = range.end.saturating_sub(range.start);
        self.metrics.storage("get", 1, size_bytes);
        let read = match self.place(location)? {
            Place::Local(path) => local::read_range(path, range).await,
            Place::Object { bucket, key } => self.bucket(location, &bucket)?.read_range(&key, range).await,
        };
        let whole = |bytes: Bytes| match bytes.len() as u64 == size_bytes {
            true => Ok(bytes),
            false => Err(Error::new(Kind::Unavailable, "the file became shorter while it was read")),
        };
        read.and_then(whole).map_err(|e| e.context(format!("reading {location}")))
    }

    /// Writes a file that must not exist; [`Kind::AlreadyExists`] when it does, and then nothing is changed. Durable when it returns.
    pub async fn write_new(&self, location: &Location, bytes: Bytes) -> Result<()> {
        self.metrics.storage("put", 1, bytes.len() as u64);
        match self.place(location)? {
            Place::Local(path) => local::write_new(path, bytes).await,
            Place::Object { bucket, key } => self.bucket(location, &bucket)?.write_new(&key, bytes).await,
        }
        .map_err(|e| e.context(format!("writing {location}")))
    }

    /// Writes a file unless it is there: for one whose name says all that is in it.
    pub async fn write_once(&self, location: &Location, bytes: Bytes) -> Result<()> {
        match self.write_new(location, bytes).await {
            Err(e) if e.kind() == Kind::AlreadyExists => Ok(()),
            done => done,
        }
    }

    /// Writes a file that must not exist, for [`Storage::publish`] to give it its name together with others.
    pub async fn stage(&self, location: &Location, bytes: Bytes) -> Result<Staged> {
        let size_bytes = bytes.len() as u64;
        self.metrics.storage("put", 1, size_bytes);
        let kept = match self.place(location)? {
            Place::Local(path) => Kept::Local(local::stage(path, bytes).await),
            // a store has no way to name a file later, and its answer means that the file is safe
            Place::Object { bucket, key } => Kept::Done(self.bucket(location, &bucket)?.write_new(&key, bytes).await),
        };
        Ok(Staged { location: location.clone(), size_bytes, kept })
    }

    /// Makes staged files durable and gives them their names; says for each what [`Storage::write_new`] would have said.
    pub async fn publish(&self, staged: Vec<Staged>) -> Result<Vec<(Location, u64, Result<()>)>> {
        let mut published = Vec::with_capacity(staged.len());
        let (mut waiting, mut files) = (Vec::new(), Vec::new());
        for Staged { location, size_bytes, kept } in staged {
            match kept {
                Kept::Done(done) => published.push((location, size_bytes, done)),
                Kept::Local(Err(e)) => published.push((location, size_bytes, Err(e))),
                Kept::Local(Ok(file)) => {
                    waiting.push((location, size_bytes));
                    files.push(file);
                }
            }
        }
        let named = if files.is_empty() { Vec::new() } else { local::publish(files).await? };
        published.extend(waiting.into_iter().zip(named).map(|((location, size), named)| (location, size, named)));
        let context = |(location, size, done): (Location, u64, Result<()>)| {
            let done = done.map_err(|e| e.context(format!("writing {location}")));
            (location, size, done)
        };
        Ok(published.into_iter().map(context).collect())
    }

    /// The size of the file, or `None` where there is none.
    pub async fn size_bytes(&self, location: &Location) -> Result<Option<u64>> {
        Ok(self.look(location).await?.map(|found| found.size_bytes))
    }

    /// What the store says of a file, or `None` where there is none.
    pub async fn look(&self, location: &Location) -> Result<Option<Found>> {
        self.metrics.storage("head", 1, 0);
        match self.place(location)? {
            Place::Local(path) => local::look(path).await,
            Place::Object { bucket, key } => self.bucket(location, &bucket)?.look(&key).await,
        }
        .map_err(|e| e.context(format!("looking at {location}")))
    }

    /// Deletes a file; that there is none is fine.
    pub async fn delete(&self, location: &Location) -> Result<()> {
        self.metrics.storage("delete", 1, 0);
        match self.place(location)? {
            Place::Local(path) => local::delete(path).await,
            Place::Object { bucket, key } => self.bucket(location, &bucket)?.delete(&key).await,
        }
        .map_err(|e| e.context(format!("deleting {location}")))
    }

    /// Deletes files, several at once; goes on after a failure and returns the first one at the end.
    pub async fn delete_all(&self, locations: Vec<Location>) -> Result<()> {
        let outcomes = stream::iter(locations)
            .map(|location| async move { self.delete(&location).await })
            .buffer_unordered(DELETES_AT_ONCE_MAX)
            .collect::<Vec<_>>()
            .await;
        outcomes.into_iter().collect()
    }

    /// Removes the empty folders at and below a prefix, where there is such a thing as a folder.
    pub async fn remove_empty_folders(&self, prefix: &Location) -> Result<()> {
        match self.place(prefix)? {
            Place::Local(path) => local::remove_empty_folders(path).await,
            Place::Object { .. } => Ok(()),
        }
    }

    /// The files below a prefix (a folder), at most `count_max` of them, in no order. No such folder: an empty list.
    pub async fn list(&self, prefix: &Location, count_max: usize) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        let each = |file| {
            found.push(file);
            Ok(())
        };
        self.list_each(prefix, count_max, each).await?;
        Ok(found)
    }

    /// What is directly in a folder, in no order. No such folder: nothing.
    pub async fn children(&self, folder: &Location) -> Result<Children> {
        self.metrics.storage("list", 1, 0);
        match self.place(folder)? {
            Place::Local(path) => local::children(path).await,
            Place::Object { bucket, key } => self.bucket(folder, &bucket)?.children(&key).await,
        }
        .map_err(|e| e.context(format!("listing {folder}")))
    }

    /// The names of files directly in a folder that come after `after`, in their order, some `count_max` of them at most. A store is asked for
    /// those only, so that it costs one request however many come before.
    pub async fn names_after(&self, folder: &Location, after: &str, count_max: usize) -> Result<Vec<String>> {
        self.metrics.storage("list", 1, 0);
        match self.place(folder)? {
            Place::Local(path) => local::names_after(path, after, count_max).await,
            Place::Object { bucket, key } => self.bucket(folder, &bucket)?.names_after(&key, after, count_max).await,
        }
        .map_err(|e| e.context(format!("listing {folder}")))
    }

    /// Something that is another one whenever files came into a folder or went; `None` where there is no such thing and no other way than to list.
    pub async fn folder_stamp(&self, folder: &Location) -> Result<Option<String>> {
        match self.place(folder)? {
            Place::Local(path) => {
                self.metrics.storage("head", 1, 0);
                local::folder_stamp(path).await
            }
            Place::Object { .. } => Ok(None),
        }
        .map_err(|e| e.context(format!("looking at {folder}")))
    }

    /// The files below a prefix that are wanted, and how many there are in all, at most `count_max`. Whether one is wanted is told by its place and, where
    /// the listing has it, its size; nothing is asked of a local file that is not wanted.
    pub async fn list_wanted(
        &self,
        prefix: &Location,
        count_max: usize,
        is_wanted: impl Fn(&Location, Option<u64>) -> bool + Send + Sync + 'static,
    ) -> Result<(Vec<Listed>, usize)> {
        let (mut wanted, mut count) = (Vec::new(), 0);
        let listed = match self.place(prefix)? {
            Place::Local(path) => {
                let each = |file| {
                    wanted.push(file);
                    Ok(())
                };
                count = local::list(prefix.clone(), path, move |location| is_wanted(location, None), count_max, each)
                    .await?;
                Ok(())
            }
            Place::Object { bucket, key } => {
                let each = |file: Listed| {
                    count += 1;
                    check_count(count, count_max)?;
                    wanted.extend(is_wanted(&file.location, Some(file.size_bytes)).then_some(file));
                    Ok(())
                };
                self.bucket(prefix, &bucket)?.list(prefix, &key, each).await
            }
        };
        self.metrics.storage("list", 1 + (count / object::KEYS_A_PAGE) as u64, 0);
        listed.map_err(|e| e.context(format!("listing {prefix}")))?;
        Ok((wanted, count))
    }

    /// Calls `each` with the files below a prefix as they are found, as [`Storage::list`] does; the listing is never held as a whole.
    pub async fn list_each(
        &self,
        prefix: &Location,
        count_max: usize,
        mut each: impl FnMut(Listed) -> Result<()> + Send,
    ) -> Result<()> {
        let mut count = 0;
        let counted = |file| {
            count += 1;
            check_count(count, count_max)?;
            each(file)
        };
        let listed = match self.place(prefix)? {
            Place::Local(path) => local::list(prefix.clone(), path, |_| true, count_max, counted).await.map(drop),
            Place::Object { bucket, key } => self.bucket(prefix, &bucket)?.list(prefix, &key, counted).await,
        };
        self.metrics.storage("list", 1 + (count / object::KEYS_A_PAGE) as u64, 0);
        listed.map_err(|e| e.context(format!("listing {prefix}")))
    }

    /// The client of a bucket under the settings that cover a location; made once.
    fn bucket(&self, location: &Location, name: &str) -> Result<Arc<Bucket>> {
        let at = self.settings_for(location);
        let mut buckets = self.buckets.lock().map_err(|_| Error::internal("the list of buckets is poisoned"))?;
        if let Some(bucket) = buckets.get(&(name.to_owned(), at)) {
            return Ok(bucket.clone());
        }
        if buckets.len() >= BUCKETS_MAX {
            buckets.clear(); // they are made again as they are asked for
        }
        let bucket = Arc::new(Bucket::open(name, self.settings.get(at))?);
        buckets.insert((name.to_owned(), at), bucket.clone());
        Ok(bucket)
    }

    /// The place in the list of the settings with the longest prefix of a location; one past its end when none covers it. The schemes of S3 are
    /// one here; of two entries that differ by nothing else the one counts that is spelled as the location is.
    fn settings_for(&self, location: &Location) -> usize {
        let covering = self.settings.iter().enumerate().filter(|(_, s)| location.is_in_store(&s.prefix));
        let closest = covering.max_by_key(|(_, s)| (s.prefix.in_store().len(), location.is_under(&s.prefix)));
        closest.map_or(self.settings.len(), |(at, _)| at)
    }
}

/// Refuses a listing that is longer than the caller can take.
fn check_count(count: usize, count_max: usize) -> Result<()> {
    if count > count_max {
        return Err(Error::new(Kind::Unprocessable, format!("more than {count_max} files")));
    }
    Ok(())
}

/// Refuses a file that is larger than the caller can take.
fn check_size(size_bytes: u64, size_bytes_max: u64) -> Result<()> {
    if size_bytes > size_bytes_max {
        let message = format!("the file has {size_bytes} bytes, more than the {size_bytes_max} that are read at once");
        return Err(Error::new(Kind::Unprocessable, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_by_any_scheme_of_s3() {
        let store = |prefix: &str| StoreSettings {
            prefix: Location::new(prefix),
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            path_style: false,
        };
        let stores = ["s3a://lake", "s3://lake/w", "s3://both", "s3a://both", "file:///ifs"].map(store);
        let storage = Storage::new(stores.into());
        for (location, at) in [
            ("s3://lake/x", 0),
            ("s3n://lake/w/t", 1),
            ("s3a://lake/w2", 0),
            ("s3://both/x", 2),
            ("s3a://both/x", 3),
            ("file:///ifs/x", 4),
            ("s3://other", 5),
            ("gs://lake/x", 5),
        ] {
            assert_eq!(storage.settings_for(&Location::new(location)), at, "{location}");
        }
    }
}
