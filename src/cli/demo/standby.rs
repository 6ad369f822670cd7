//! The other site of the demonstration: a copy of the warehouse that somebody else keeps, and a standby over it.
//!
//! The copying stands in for what replicates storage in earnest (SyncIQ, DistCp, S3 replication, rsync): it knows nothing of tables, and files arrive in no
//! order, some of them in halves first.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;

use crate::config::{Config, Environment, Problems};
use crate::error::{Error, Kind, Result};
use crate::storage::{Location, Storage};

/// How long the copying rests between two rounds.
const ROUND: Duration = Duration::from_millis(500);
/// How long half of a file may be all that is there of it.
const HALF: Duration = Duration::from_millis(200);
/// How many in a hundred come in halves.
const HALVES_PERCENT: u32 = 20;
/// Files of a warehouse that are copied.
const FILES_MAX: usize = 1_000_000;

/// The folders of both sites.
pub(super) struct Sites {
    folder: PathBuf,
}

impl Sites {
    pub(super) fn new(folder: &Path) -> Sites {
        Sites { folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()) }
    }

    /// What is copied.
    fn warehouse(&self) -> PathBuf {
        self.folder.join("warehouse")
    }

    /// Where it is copied to.
    fn copy(&self) -> PathBuf {
        self.folder.join("standby").join("copy")
    }

    /// The standby beside a primary at this address.
    pub(super) fn config(&self, primary: SocketAddr) -> Result<Config, Problems> {
        let quoted = |path: PathBuf| serde_json::Value::from(format!("file://{}", path.display())).to_string();
        let own = self.folder.join("standby");
        let database = serde_json::Value::from(format!("sqlite:{}/catalog.db", own.display()));
        let text = format!(
            "listen: {}\ncatalogs:\n  main:\n    embedded: {{ database: {database}, warehouse: {} }}\n    replica:\n      map:\n        \
             - {{ from: {}, to: {} }}\n      overlay: {}\n      primary: http://{primary}\n      confirm: trust-newest\n      settle: 1s\n      \
             max-staleness: 1s\n      interval: 2s\n",
            beside(primary),
            quoted(own.join("warehouse")),
            quoted(self.warehouse()),
            quoted(self.copy()),
            quoted(own.join("overlay")),
        );
        Config::parse(&text, &Environment::new(&|_| None, &self.folder))
    }

    /// Copies what is new, again and again.
    pub(super) async fn replicate(self) {
        let (storage, mut copied) = (Storage::new(Vec::new()), HashMap::new());
        loop {
            if let Err(error) = self.round(&storage, &mut copied).await {
                tracing::warn!(error = %error, "the stand-in for replication could not copy");
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    async fn round(&self, storage: &Storage, copied: &mut HashMap<PathBuf, u64>) -> Result<()> {
        let warehouse = Location::new(self.warehouse().display().to_string());
        let files = storage.list(&warehouse, FILES_MAX).await?;
        let files = files.into_iter().map(|file| (PathBuf::from(file.location.as_str()), file.size_bytes));
        let mut new: Vec<_> = files.filter(|(path, size)| copied.get(path) != Some(size)).collect();
        new.shuffle(&mut rand::rng());
        for (path, size) in new {
            let below = path.strip_prefix(self.warehouse()).map_err(|e| Error::internal(e.to_string()))?;
            let target = self.copy().join(below);
            // what was removed meanwhile is not copied
            let Ok(bytes) = tokio::fs::read(&path).await else { continue };
            if let Some(folder) = target.parent() {
                tokio::fs::create_dir_all(folder).await.map_err(failure)?;
            }
            if rand::rng().random_ratio(HALVES_PERCENT, 100) {
                tokio::fs::write(&target, &bytes[..bytes.len() / 2]).await.map_err(failure)?;
                tokio::time::sleep(HALF).await;
            }
            tokio::fs::write(&target, &bytes).await.map_err(failure)?;
            copied.insert(path, size);
        }
        Ok(())
    }
}

/// The next port of the same address, or any where that is taken.
fn beside(primary: SocketAddr) -> SocketAddr {
    let next = SocketAddr::new(primary.ip(), primary.port().checked_add(1).unwrap_or(0));
    match std::net::TcpListener::bind(next) {
        Ok(_) => next,
        Err(_) => SocketAddr::new(primary.ip(), 0),
    }
}

fn failure(error: std::io::Error) -> Error {
    Error::new(Kind::Internal, error.to_string())
}
