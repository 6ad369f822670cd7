//! Metadata files: read through a cache, written once.
//!
//! A metadata file never changes once it is written, so its bytes are cached by location without asking again. The cache is bounded in bytes.

use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use moka::future::Cache;
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::format::metadata::table;
use crate::storage::{Location, Storage};

/// The largest metadata file that is read, uncompressed.
const METADATA_BYTES_MAX: u64 = 512 << 20;
/// Metadata up to this size is worked on at once, a larger one on a thread of its own.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// What a cached entry costs beside its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// The metadata files of one catalog.
pub(super) struct Files {
    storage: Arc<Storage>,
    cache: Cache<Location, Bytes>,
}

impl Files {
    pub(super) fn new(storage: Arc<Storage>, cache_bytes: u64) -> Self {
        let weigh = |_: &Location, bytes: &Bytes| u32::try_from(bytes.len() + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX);
        Files { storage, cache: Cache::builder().max_capacity(cache_bytes).weigher(weigh).build() }
    }

    /// The JSON text of a metadata file, uncompressed; from the cache where it may be.
    pub(super) async fn read(&self, location: &Location) -> Result<Bytes> {
        let Some(bytes) = self.cache.get(location).await else { return self.read_anew(location).await };
        // to look for a local file costs microseconds, and who loads a table had better hear at once that it is gone
        if location.is_local() && self.storage.size_bytes(location).await?.is_none() {
            self.cache.invalidate(location).await;
            return Err(missing(location));
        }
        Ok(bytes)
    }

    /// The same without the snapshots that no branch or tag leads to.
    pub(super) async fn read_refs_only(&self, location: &Location) -> Result<Bytes> {
        let whole = self.read(location).await?;
        // no metadata file of anybody's has such a name
        let key = Location::new(format!("{location}\u{1f}refs"));
        if let Some(bytes) = self.cache.get(&key).await {
            return Ok(bytes);
        }
        let (name, size_bytes) = (location.clone(), whole.len());
        let cut = move || Ok(Bytes::from(table::refs_only(&parse(&whole, &name)?).to_string()));
        let bytes = compute(size_bytes, cut).await?;
        self.cache.insert(key, bytes.clone()).await;
        Ok(bytes)
    }

    /// The JSON text of a metadata file as it is in storage now.
    pub(super) async fn read_anew(&self, location: &Location) -> Result<Bytes> {
        let raw = self.storage.read(location, METADATA_BYTES_MAX).await.map_err(|e| match e.kind() {
            Kind::NotFound => missing(location),
            _ => e,
        })?;
        let bytes = unpack(raw, location)?;
        self.cache.insert(location.clone(), bytes.clone()).await;
        Ok(bytes)
    }

    /// A metadata file as JSON.
    pub(super) async fn read_json(&self, location: &Location) -> Result<Value> {
        parse(&self.read(location).await?, location)
    }

    /// Writes a new metadata file, compressed when its name says so; returns its JSON text.
    pub(super) async fn write(&self, location: &Location, metadata: &Value) -> Result<Bytes> {
        let bytes = Bytes::from(serde_json::to_vec(metadata).map_err(|e| Error::internal(e.to_string()))?);
        let raw = if location.as_str().ends_with(GZIP_SUFFIX) { zip(&bytes)? } else { bytes.clone() };
        match self.storage.write_new(location, raw.clone()).await {
            // the name is ours alone: a request that was repeated on its way had arrived the first time
            Err(e)
                if e.kind() == Kind::AlreadyExists && self.storage.read(location, METADATA_BYTES_MAX).await? == raw => {
            }
            other => other.map_err(|e| e.context("writing new metadata"))?,
        }
        Ok(bytes)
    }

    /// Keeps the text of a file that has become current.
    pub(super) async fn keep(&self, location: Location, bytes: Bytes) {
        self.cache.insert(location, bytes).await;
    }

    /// Removes a file that nothing points at; a failure only leaves it behind.
    pub(super) async fn remove(&self, location: &Location) {
        self.cache.invalidate(location).await;
        if let Err(error) = self.storage.delete(location).await {
            tracing::warn!(metadata.location = %location, error = %error, "a metadata file that nothing points at stays behind");
        }
    }
}

/// How every gzip file begins.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// How the names of compressed metadata files end, as Java writes them.
pub const GZIP_SUFFIX: &str = ".gz.metadata.json";

/// Metadata bytes as a JSON object; the error never quotes the bytes, which may be of any file.
pub(super) fn parse(bytes: &[u8], location: &Location) -> Result<Value> {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) if value.is_object() => Ok(value),
        _ => Err(Error::bad_request(format!("not a metadata file: {location} is no JSON object"))),
    }
}

/// In the words of Iceberg's Java library, which its compatibility kit knows.
fn missing(location: &Location) -> Error {
    Error::new(Kind::NotFound, format!("Failed to open input stream for file: {location}"))
}

/// Work on metadata of this size: a large one goes where it does not hold up other requests.
pub async fn compute<T: Send + 'static>(
    size_bytes: usize,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if size_bytes <= INLINE_BYTES_MAX {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal("work on metadata was cut off").with_source(e))?
}

/// The text of a metadata file, uncompressed if it is gzip, whatever its name is.
pub fn unpack(raw: Bytes, location: &Location) -> Result<Bytes> {
    if raw.starts_with(&GZIP_MAGIC) { unzip(&raw, location) } else { Ok(raw) }
}

fn unzip(raw: &[u8], location: &Location) -> Result<Bytes> {
    let mut bytes = Vec::new();
    let read = MultiGzDecoder::new(raw).take(METADATA_BYTES_MAX + 1).read_to_end(&mut bytes);
    match read {
        Ok(count) if count as u64 <= METADATA_BYTES_MAX => Ok(Bytes::from(bytes)),
        Ok(_) => {
            Err(Error::bad_request(format!("metadata file {location} unpacks to more than {METADATA_BYTES_MAX} bytes")))
        }
        Err(e) => Err(Error::bad_request(format!("metadata file {location} is damaged: {e}"))),
    }
}

/// The bytes of a metadata file whose name ends in [`GZIP_SUFFIX`].
pub fn zip(bytes: &[u8]) -> Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let zipped = encoder.write_all(bytes).and_then(|()| encoder.finish());
    zipped.map(Bytes::from).map_err(|e| Error::internal(e.to_string()))
}
