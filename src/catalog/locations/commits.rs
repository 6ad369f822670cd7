//! Snapshots that clients add: their manifest lists and manifests in the upstream's naming, before the commit goes on.
//!
//! A client's list names its own new manifests and, for all that was there before, manifests that we once relocated for it. The first are relocated
//! back. The others become again what they were, by the lists of the snapshots that the client built upon; a relocated manifest that no snapshot of
//! the table has is refused. What must hold: nothing that the upstream is given leads to the overlay.

use std::collections::HashMap;
use std::sync::Arc;

use http::header;
use serde_json::Value;

use super::naming::Way;
use super::trees::Tree;
use super::{ClientLocations, Stop, before_commit};
use crate::error::{Error, Result};
use crate::format::relocate::{NewManifest, Paths};
use crate::model::{Ident, Operation};
use crate::storage::Location;
use crate::table::relocate::{Known, NewManifests, SharedPaths, Snapshot, delete_pairs, folder_name};
use crate::upstream::{Request, Target};

/// Snapshots whose manifests are looked at when the parent does not have one that is wanted.
const SNAPSHOTS_SEARCHED_MAX: usize = 1_000;
/// The folder beside a client's manifest list where its relocated form goes.
const BESIDE: &str = "relocated";

/// The snapshots of one change to one table.
struct Adding<'a> {
    request: &'a Request,
    ident: &'a Ident,
    uuid: Option<String>,
    /// Manifests that are known by now.
    manifests: NewManifests,
}

impl ClientLocations {
    /// Relocates every snapshot that a change adds; whether anything changed.
    pub(super) async fn snapshots(&self, request: &Request, ident: &Ident, change: &mut Value) -> Result<bool, Stop> {
        let mut adding = Adding { request, ident, uuid: uuid(change), manifests: NewManifests::new() };
        let mut changed = false;
        for update in change.get_mut("updates").and_then(Value::as_array_mut).into_iter().flatten() {
            if update["action"].as_str() == Some("add-snapshot")
                && let Some(snapshot) = update.get_mut("snapshot")
            {
                changed |= self.snapshot(&mut adding, snapshot).await?;
            }
        }
        Ok(changed)
    }

    async fn snapshot(&self, adding: &mut Adding<'_>, snapshot: &mut Value) -> Result<bool, Stop> {
        let (id, parent) = (snapshot["snapshot-id"].as_i64().unwrap_or(0), snapshot["parent-snapshot-id"].as_i64());
        let Some(Value::String(list)) = snapshot.get_mut("manifest-list") else { return Ok(false) };
        let paths = self.client_paths(adding, list).await?;
        let folder = self.upstream_folder(adding, &paths, list)?;
        let opened = Snapshot::open(self.storage.clone(), list, id, paths.clone(), folder).await;
        let opened = opened.map_err(before_commit)?;
        let is_known = |path: &str, known: &NewManifests| known.contains_key(&*paths.resolve(path));
        let relocated: Vec<&str> = opened
            .manifests()
            .iter()
            .map(|manifest| manifest.path.as_str())
            .filter(|path| self.naming.is_in_overlay(path) && !is_known(path, &adding.manifests))
            .collect();
        let mut trees = Vec::new();
        if !relocated.is_empty() {
            let wanted: Vec<String> = relocated.into_iter().map(str::to_owned).collect();
            trees = self.learn(adding, parent, &wanted).await?;
        }
        let new_deletes = |manifest: &crate::format::avro::ManifestFile| {
            manifest.content != 0 && !is_known(&manifest.path, &adding.manifests)
        };
        let mut known = Known { manifests: adding.manifests.clone(), ..Known::default() };
        if opened.manifests().iter().any(new_deletes) {
            let kept: Vec<&str> = opened.manifests().iter().map(|manifest| manifest.path.as_str()).collect();
            known.deletes = self.deletes(adding, &trees, parent, &kept).await?;
        }
        let (place, manifests) = opened.relocate(known).await.map_err(before_commit)?;
        adding.manifests = manifests;
        *list = place;
        Ok(true)
    }

    /// The client's paths of a table: where paths are relative, its location is needed.
    async fn client_paths(&self, adding: &Adding<'_>, list: &str) -> Result<SharedPaths, Stop> {
        let relative = !list.starts_with('/') && !list.contains(":/");
        let up = self.naming.up.clone();
        Ok(Arc::new(if relative {
            let tree = self.current(adding).await?;
            Paths::relative(up, &self.naming.text(Way::Down, &tree.location)?)?
        } else {
            Paths::absolute(up)
        }))
    }

    /// Where what a client committed is written in the upstream's naming.
    fn upstream_folder(&self, adding: &Adding<'_>, paths: &Paths, list: &str) -> Result<Location> {
        let place = paths.target(list)?;
        if self.naming.upstream_overlay.is_none() && !self.naming.up.covers(&paths.resolve(list)) {
            return Err(Error::bad_request(format!(
                "no pair of client-locations covers the manifest list {list}: add one, an identity pair if both sides name it alike"
            )));
        }
        let own = place.rsplit_once('/').map_or("", |(folder, _)| folder);
        let Some(overlay) = &self.naming.upstream_overlay else { return Ok(Location::new(own).join(BESIDE)) };
        Ok(overlay.join(&folder_name(adding.uuid.as_deref(), own)))
    }

    /// Learns what `wanted` manifests of the overlay were made of. Returns the tree that knew.
    async fn learn(
        &self,
        adding: &mut Adding<'_>,
        parent: Option<i64>,
        wanted: &[String],
    ) -> Result<Vec<Arc<Tree>>, Stop> {
        let remembered = self.trees.latest(adding.ident).await;
        if let Some(tree) = remembered
            && self.search(adding, &tree, parent, wanted).await?.is_none()
        {
            return Ok(vec![tree]);
        }
        // another server may have moved it on, or it was never loaded here
        let tree = self.current(adding).await?;
        match self.search(adding, &tree, parent, wanted).await? {
            None => Ok(vec![tree]),
            Some(unknown) => Err(Stop::Error(Error::bad_request(format!(
                "the manifest {unknown} was made for clients, but no snapshot of {} has it; load the table again",
                adding.ident
            )))),
        }
    }

    /// Looks through a table's snapshots, the parent first; returns a manifest that none of them has.
    async fn search(
        &self,
        adding: &mut Adding<'_>,
        tree: &Tree,
        parent: Option<i64>,
        wanted: &[String],
    ) -> Result<Option<String>> {
        let first = tree.lists.iter().filter(|(id, _, _)| Some(*id) == parent);
        let others = tree.lists.iter().rev().filter(|(id, _, _)| Some(*id) != parent);
        for (_, upstream, client) in first.chain(others).take(SNAPSHOTS_SEARCHED_MAX) {
            for (one, other) in self.trees.pairs(upstream, client).await.map_err(before_commit)?.iter() {
                let new = NewManifest { path: other.path.clone(), length_bytes: other.length_bytes };
                adding.manifests.insert(one.path.clone(), new);
            }
            if wanted.iter().all(|path| adding.manifests.contains_key(path)) {
                return Ok(None);
            }
        }
        Ok(wanted.iter().find(|path| !adding.manifests.contains_key(*path)).cloned())
    }

    /// The delete files of the parent's manifests that are not among the kept ones: their entries may be in the new manifests.
    async fn deletes(
        &self,
        adding: &Adding<'_>,
        trees: &[Arc<Tree>],
        parent: Option<i64>,
        kept: &[&str],
    ) -> Result<HashMap<String, crate::format::relocate::NewDelete>, Stop> {
        let mut known = HashMap::new();
        let Some(parent) = parent else { return Ok(known) };
        let has = |tree: &Arc<Tree>| tree.lists.iter().any(|(id, _, _)| *id == parent);
        let remembered = trees.first().cloned().or(self.trees.latest(adding.ident).await);
        let tree = match remembered.filter(has) {
            Some(tree) => tree,
            None => self.current(adding).await?,
        };
        let Some((_, upstream, client)) = tree.lists.iter().find(|(id, _, _)| *id == parent) else {
            // it is one of this very commit's, or the upstream refuses it
            return Ok(known);
        };
        for (one, other) in self.trees.pairs(upstream, client).await.map_err(before_commit)?.iter() {
            if one.content != 0 && !kept.contains(&one.path.as_str()) {
                let (one, other) = (Location::new(&one.path), Location::new(&other.path));
                known.extend(delete_pairs(&self.storage, &one, &other).await.map_err(before_commit)?);
            }
        }
        Ok(known)
    }

    /// The table as the upstream has it now.
    async fn current(&self, adding: &Adding<'_>) -> Result<Arc<Tree>, Stop> {
        let mut headers = adding.request.headers.clone();
        for name in [header::IF_NONE_MATCH, header::CONTENT_TYPE, header::CONTENT_LENGTH] {
            headers.remove(name);
        }
        headers.remove("idempotency-key");
        let load = Request {
            operation: Operation::LoadTable,
            target: Target::Object(adding.ident.clone()),
            query: Vec::new(),
            headers,
            body: bytes::Bytes::new(),
            ..adding.request.clone()
        };
        let response = self.inner.call(load).await?;
        if !response.status.is_success() {
            return Err(Stop::Answer(response));
        }
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let location = answer["metadata-location"].as_str();
        let location = location.ok_or_else(|| Error::bad_request(format!("{} has no metadata.json", adding.ident)))?;
        let tree = self.trees.of(location).await.map_err(before_commit)?;
        self.trees.is_latest(adding.ident, tree.clone()).await;
        Ok(tree)
    }
}

/// The table's uuid, as a change's requirements or updates say it.
fn uuid(change: &Value) -> Option<String> {
    let requirements = change["requirements"].as_array().into_iter().flatten();
    let updates = change["updates"].as_array().into_iter().flatten();
    let stated = requirements
        .filter(|requirement| requirement["type"] == "assert-table-uuid")
        .chain(updates.filter(|update| update["action"] == "assign-uuid"));
    stated.filter_map(|one| one["uuid"].as_str()).next().map(str::to_owned)
}
