//! Tables as clients see them: each relocated once for every metadata.json of the upstream, and remembered.
//!
//! What must hold: what is remembered was written before; a metadata.json is relocated by one caller at a time, and the others wait for it; memory is
//! bounded. A metadata file never changes, so what is remembered of it never is wrong, but a file of the overlay that somebody removed is missed only
//! after a restart.

use std::collections::HashMap;
use std::sync::Arc;

use moka::future::Cache;
use serde_json::Value;

use super::naming::Naming;
use crate::error::{Error, Kind, Result};
use crate::format::avro::ManifestFile;
use crate::format::relocate::{NewNames, Paths};
use crate::model::Ident;
use crate::storage::{Location, Storage};
use crate::table::relocate::{self, Options, ReadFrom, Relocated, SharedPaths};

/// Memory for what is known of tables.
const TREES_BYTES_MAX: u64 = 64 << 20;
/// Memory for which manifests are which.
const PAIRS_BYTES_MAX: u64 = 32 << 20;
/// Tables of which the newest tree is remembered by name.
const LATEST_MAX: u64 = 10_000;
/// What an entry weighs beside its texts.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// A table or view in both namings.
#[derive(Debug)]
pub(super) struct Tree {
    /// Where clients find its metadata.json.
    pub client: String,
    /// Where it is, in the upstream's naming.
    pub location: String,
    /// What its manifest lists (and in format version 1 manifests) are called for clients, by their resolved upstream paths.
    pub names: NewNames,
    /// Each snapshot's manifest list, upstream's and clients', oldest first.
    pub lists: Vec<(i64, String, String)>,
}

/// The manifests of a list, clients' and upstream's.
pub(super) type Pairs = Arc<Vec<(ManifestFile, ManifestFile)>>;

/// What is known of tables.
pub(super) struct Trees {
    storage: Arc<Storage>,
    naming: Arc<Naming>,
    kept: Cache<String, Arc<Tree>>,
    origins: Cache<String, String>,
    latest: Cache<Ident, Arc<Tree>>,
    pairs: Cache<String, Pairs>,
}

impl Trees {
    pub fn new(storage: Arc<Storage>, naming: Arc<Naming>) -> Self {
        let weight = |bytes: usize| u32::try_from(bytes + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX);
        let tree = move |key: &String, tree: &Arc<Tree>| weight(key.len() + tree.bytes());
        let pair = |(one, other): &(ManifestFile, ManifestFile)| one.path.len() + other.path.len() + 96;
        let pairs = move |key: &String, pairs: &Pairs| weight(key.len() + pairs.iter().map(pair).sum::<usize>());
        Trees {
            storage,
            naming,
            kept: Cache::builder().max_capacity(TREES_BYTES_MAX).weigher(tree).build(),
            origins: Cache::builder().max_capacity(LATEST_MAX).build(),
            latest: Cache::builder().max_capacity(LATEST_MAX).build(),
            pairs: Cache::builder().max_capacity(PAIRS_BYTES_MAX).weigher(pairs).build(),
        }
    }

    /// The table or view whose metadata.json the upstream has here; relocated if it is not known to be.
    pub async fn of(&self, metadata_location: &str) -> Result<Arc<Tree>> {
        let made = self.kept.try_get_with_by_ref(metadata_location, self.relocate(metadata_location));
        let tree = made.await.map_err(|e: Arc<Error>| Error::new(e.kind(), e.to_string()))?;
        Ok(tree)
    }

    /// Remembers a table by its name.
    pub async fn is_latest(&self, ident: &Ident, tree: Arc<Tree>) {
        self.latest.insert(ident.clone(), tree).await;
    }

    /// The newest tree that is remembered of a table.
    pub async fn latest(&self, ident: &Ident) -> Option<Arc<Tree>> {
        self.latest.get(ident).await
    }

    /// Which metadata.json of the upstream a client's was made of, if that is remembered.
    pub async fn origin(&self, client: &str) -> Option<String> {
        self.origins.get(client).await
    }

    /// The manifests of a list as clients and the upstream name them.
    pub async fn pairs(&self, upstream: &str, client: &str) -> Result<Pairs> {
        let read = async {
            let (upstream, client) = (Location::new(upstream), Location::new(client));
            relocate::manifest_pairs(&self.storage, &client, &upstream).await.map(Arc::new)
        };
        let pairs = self.pairs.try_get_with_by_ref(client, read).await;
        pairs.map_err(|e: Arc<Error>| Error::new(e.kind(), e.to_string()))
    }

    /// Why a table cannot be relocated, in kinds that say to clients what they mean: that a table is missing, or its name taken, they do not.
    async fn cannot(&self, source: &Location, error: Error) -> Error {
        match error.kind() {
            Kind::AlreadyExists => Error::internal(error.to_string()),
            // its metadata.json may be missing, as without us; another file of it is damage
            Kind::NotFound if matches!(self.storage.look(source).await, Ok(Some(_))) => {
                Error::new(Kind::Unprocessable, error.to_string())
            }
            _ => error,
        }
    }

    async fn relocate(&self, metadata_location: &str) -> Result<Arc<Tree>> {
        let options = Options {
            into: Some(self.naming.overlay.clone()),
            read: Some(ReadFrom::Source),
            ..Options::new((*self.naming.down).clone())
        };
        let source = Location::new(metadata_location);
        let done = relocate::relocate_tree(self.storage.clone(), &source, &options).await;
        let relocated = match done {
            Ok(relocated) => relocated,
            Err(e) => return Err(self.cannot(&source, e).await),
        };
        let asked = relocated.requests;
        tracing::debug!(
            metadata.location = metadata_location,
            files.written = relocated.written,
            requests.get = asked.get,
            requests.head = asked.head,
            requests.put = asked.put,
            requests.list = asked.list,
            "a table was relocated for clients"
        );
        let tree = Arc::new(Tree::new(relocated, &self.naming)?);
        self.origins.insert(tree.client.clone(), metadata_location.to_owned()).await;
        Ok(tree)
    }
}

impl Tree {
    fn new(relocated: Relocated, naming: &Naming) -> Result<Self> {
        let Relocated { location, source, target, .. } = relocated;
        let paths = paths(&source, naming)?;
        let new: HashMap<i64, &Value> = snapshots(&target).collect();
        let (mut names, mut lists) = (NewNames::default(), Vec::new());
        for (id, old) in snapshots(&source) {
            let new = new.get(&id).ok_or_else(|| Error::internal(format!("{location} has no snapshot {id}")))?;
            if let (Some(old), Some(new)) = (old["manifest-list"].as_str(), new["manifest-list"].as_str()) {
                let old = paths.resolve(old).into_owned();
                names.lists.insert(old.clone(), new.to_owned());
                lists.push((id, old, new.to_owned()));
            }
            let each = |snapshot: &Value| -> Vec<String> {
                let manifests = snapshot["manifests"].as_array().into_iter().flatten();
                manifests.filter_map(Value::as_str).map(str::to_owned).collect()
            };
            let old = each(old).into_iter().map(|path| paths.resolve(&path).into_owned());
            names.manifests.extend(old.zip(each(new)));
        }
        let own = source["location"].as_str().unwrap_or_default().to_owned();
        Ok(Tree { client: location.to_string(), location: own, names, lists })
    }

    fn bytes(&self) -> usize {
        let texts =
            |texts: &HashMap<String, String>| -> usize { texts.iter().map(|(a, b)| a.len() + b.len() + 48).sum() };
        let lists: usize = self.lists.iter().map(|(_, a, b)| a.len() + b.len() + 56).sum();
        lists + texts(&self.names.lists) + texts(&self.names.manifests) + self.client.len() + self.location.len()
    }
}

/// The paths of metadata in the upstream's naming.
pub(super) fn paths(metadata: &Value, naming: &Naming) -> Result<SharedPaths> {
    let own = metadata["location"].as_str();
    Ok(Arc::new(match own.filter(|_| metadata["format-version"].as_i64().is_some_and(|version| version >= 4)) {
        Some(own) => Paths::relative(naming.down.clone(), own)?,
        None => Paths::absolute(naming.down.clone()),
    }))
}

fn snapshots(metadata: &Value) -> impl Iterator<Item = (i64, &Value)> {
    let snapshots = metadata["snapshots"].as_array().into_iter().flatten();
    snapshots.filter_map(|snapshot| Some((snapshot["snapshot-id"].as_i64()?, snapshot)))
}
