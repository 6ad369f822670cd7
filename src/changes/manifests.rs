//! Manifest lists and manifests, read where the metadata names them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::history::{Named, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::format::avro::{ManifestLine, manifest_lines};
use crate::storage::{Location, Storage};

/// The largest manifest list or manifest that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Manifests of one snapshot.
const MANIFESTS_MAX: usize = 1_000_000;
/// Manifests that are read at once for one page.
pub(super) const READS_AT_ONCE: usize = 4;

/// The manifests of one page's snapshots.
pub(super) struct Manifests {
    storage: Arc<Storage>,
    /// The lists of the last two snapshots: the next one's parent is among them.
    lists: tokio::sync::Mutex<Vec<(i64, Vec<Arc<ManifestLine>>)>>,
    bytes_read: AtomicU64,
}

impl Manifests {
    pub(super) fn new(storage: Arc<Storage>) -> Manifests {
        Manifests { storage, lists: tokio::sync::Mutex::default(), bytes_read: AtomicU64::new(0) }
    }

    /// Bytes of manifests and lists that were read so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// A snapshot's manifests, each once.
    pub(super) async fn lines(&self, snapshot: &Snapshot) -> Result<Vec<Arc<ManifestLine>>> {
        const LISTS_KEPT: usize = 2;
        let mut lists = self.lists.lock().await;
        if let Some((_, lines)) = lists.iter().find(|(id, _)| *id == snapshot.id) {
            return Ok(lines.clone());
        }
        let lines = match &snapshot.named {
            Named::Here(paths) => paths.iter().cloned().map(ManifestLine::unlisted).collect(),
            Named::List(list) => {
                let (bytes, name) = (self.fetch(list).await?, list.clone());
                blocking(move || manifest_lines(&bytes, &name)).await?
            }
        };
        if lines.len() > MANIFESTS_MAX {
            let message = format!("snapshot {} has more than {MANIFESTS_MAX} manifests", snapshot.id);
            return Err(Error::new(Kind::Unprocessable, message));
        }
        let mut seen = HashSet::new();
        let lines: Vec<_> = lines.into_iter().filter(|line| seen.insert(line.path.clone())).map(Arc::new).collect();
        lists.truncate(LISTS_KEPT - 1);
        lists.insert(0, (snapshot.id, lines.clone()));
        Ok(lines)
    }

    /// A manifest's bytes.
    pub(super) async fn read(&self, line: Arc<ManifestLine>) -> Result<(Arc<ManifestLine>, Bytes)> {
        if line.is_encrypted {
            let message =
                format!("{} is encrypted; changes of tables with encrypted manifests cannot be read", line.path);
            return Err(Error::new(Kind::Unprocessable, message));
        }
        let bytes = self.fetch(&line.path).await?;
        Ok((line, bytes))
    }

    async fn fetch(&self, path: &str) -> Result<Bytes> {
        let bytes = self.storage.read(&Location::new(path), FILE_BYTES_MAX).await?;
        self.bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Runs work that takes its time where it does not hold up others.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::internal("reading a table's manifests was cut off").with_source(e))?
}
