//! Commits: requirements checked, updates applied, metadata written, pointers swapped; one table, a view, or several tables at once.
//!
//! What must hold: all tables of a commit change or none does; a lost race is tried again only while all requirements still
//! hold, a bounded number of times; nothing in a client's updates is changed by us, so what the new base does not allow
//! is a conflict; a metadata file that did not become current is removed only when that is certain.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use serde_json::Value;
use uuid::Uuid;

use super::answer::Answer;
use super::objects::ident;
use super::once::Once;
use super::port::{Change, Kept, Pointer};
use super::{PointerCatalog, files, now_ms, objects, places};
use crate::error::{Error, Kind, Result};
use crate::format::metadata::{table, view};
use crate::model::Ident;
use crate::storage::Location;
use crate::upstream::{Request, Response};

/// How often a commit is tried when others keep winning the race.
const ATTEMPTS_MAX: u32 = 20;
/// The longest pause before a commit is tried again.
const PAUSE_MAX_MS: u64 = 250;
/// How often the pointers are looked at when the database did not say whether a commit landed.
const LOOKS_MAX: u32 = 5;
/// Most tables of one transaction.
const TABLES_MAX: usize = 1000;

/// What a client asks for one table or view.
#[derive(Debug, Clone)]
struct Wanted {
    kept: Kept,
    ident: Ident,
    requirements: Vec<Value>,
    updates: Vec<Value>,
}

/// A change that is ready to land.
struct Prepared {
    /// `None` where the updates change nothing.
    change: Option<Change>,
    /// The current metadata after the change.
    metadata_location: Location,
    metadata: Bytes,
    /// Metadata files that the table wants deleted.
    leftover: Vec<Location>,
}

impl PointerCatalog {
    pub(super) async fn update_table(&self, request: &Request, once: Option<&Once>) -> Result<Response> {
        let wanted = Wanted::of(Kept::Table, request.ident()?.clone(), &request.json()?)?;
        self.commit(vec![wanted], once, false).await
    }

    pub(super) async fn replace_view(&self, request: &Request, once: Option<&Once>) -> Result<Response> {
        let wanted = Wanted::of(Kept::View, request.ident()?.clone(), &request.json()?)?;
        self.commit(vec![wanted], once, false).await
    }

    pub(super) async fn commit_transaction(&self, request: &Request, once: Option<&Once>) -> Result<Response> {
        let body = request.json()?;
        let changes =
            body["table-changes"].as_array().ok_or_else(|| Error::bad_request("table-changes must be a list"))?;
        if changes.is_empty() || changes.len() > TABLES_MAX {
            return Err(Error::bad_request(format!("table-changes must hold 1 to {TABLES_MAX} tables")));
        }
        let mut wanted = Vec::with_capacity(changes.len());
        let mut seen = BTreeSet::new();
        for change in changes {
            let ident = ident(&change["identifier"], "identifier")?;
            if !seen.insert(ident.clone()) {
                return Err(Error::bad_request(format!("table {ident} is in the transaction twice")));
            }
            wanted.push(Wanted::of(Kept::Table, ident, change)?);
        }
        self.commit(wanted, once, true).await
    }

    async fn commit(&self, wanted: Vec<Wanted>, once: Option<&Once>, many: bool) -> Result<Response> {
        let _turn = self.locks.take(wanted.iter().map(|w| &w.ident)).await;
        for attempt in 1.. {
            let prepared = self.prepare_all(&wanted).await?;
            let answer = match prepared.as_slice() {
                [one] if !many => Answer::Load {
                    metadata_location: Some(one.metadata_location.clone()),
                    metadata: one.metadata.clone(),
                },
                _ => Answer::NoContent,
            };
            let changes: Vec<Change> = prepared.iter().filter_map(|p| p.change.clone()).collect();
            let mut landed = self.land(changes, answer.clone(), once).await;
            if landed.as_ref().is_err_and(|e| e.kind() == Kind::OutcomeUnknown)
                && self.have_landed(&wanted, &prepared).await
            {
                landed = answer.into_response(&self.client_config);
            }
            self.settle(&landed, &written(&prepared)).await;
            match landed {
                Err(error) if error.kind() == Kind::CommitFailed && attempt < ATTEMPTS_MAX => {
                    tracing::debug!(attempt, error = %error, "another commit came first");
                    // another server may be that other, with the same key
                    if let Some(once) = once
                        && let Some(response) = self.replayed(once).await?
                    {
                        return Ok(response);
                    }
                    pause(attempt).await;
                }
                Err(error) => return Err(error),
                Ok(response) => {
                    self.remove_leftovers(prepared);
                    return Ok(response);
                }
            }
        }
        Err(Error::internal("unreachable: the last attempt returns"))
    }

    /// Prepares every table's change; when one cannot be, the files written for the others are removed.
    async fn prepare_all(&self, wanted: &[Wanted]) -> Result<Vec<Prepared>> {
        let mut prepared: Vec<Prepared> = Vec::with_capacity(wanted.len());
        for one in wanted {
            match self.prepare(one).await {
                Ok(ready) => prepared.push(ready),
                Err(error) => {
                    for ready in prepared.iter().filter(|p| p.change.is_some()) {
                        self.files.remove(&ready.metadata_location).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(prepared)
    }

    async fn prepare(&self, wanted: &Wanted) -> Result<Prepared> {
        let current = self.base(wanted).await?;
        let Some((pointer, bytes)) = current else { return self.prepare_new(wanted).await };
        let (work, raw, location) = (wanted.clone(), bytes.clone(), pointer.metadata_location.clone());
        let applied = files::compute(bytes.len(), move || work.apply(&raw, &location)).await?;
        let table::Applied { metadata, changed, removed_metadata_files: removed } = applied;
        if !changed {
            let metadata_location = pointer.metadata_location;
            return Ok(Prepared { change: None, metadata_location, metadata: bytes, leftover: Vec::new() });
        }
        self.check_paths(&metadata)?;
        let metadata_location = places::metadata_location(&metadata, Some(&pointer.metadata_location))?;
        let to = self.pointer_to(wanted.kept, &metadata, metadata_location.clone())?;
        let leftover = leftovers(&metadata, &removed, &to);
        let bytes = self.files.write(&metadata_location, &metadata).await?;
        let change = Change::Swap { ident: wanted.ident.clone(), from: pointer.metadata_location, to };
        Ok(Prepared { change: Some(change), metadata_location, metadata: bytes, leftover })
    }

    /// The end of a staged creation: nothing is there yet, and the updates make all of it.
    async fn prepare_new(&self, wanted: &Wanted) -> Result<Prepared> {
        table::check(&wanted.requirements, None)?;
        let mut updates = wanted.updates.clone();
        let has = |action: &str| updates.iter().any(|update| update["action"] == action);
        let uuid = Uuid::new_v4().to_string();
        let default = self.default_location(&wanted.ident, &uuid).await?;
        let (no_uuid, no_location) = (!has("assign-uuid"), !has("set-location"));
        if no_location {
            updates.insert(0, serde_json::json!({"action": "set-location", "location": default.as_str()}));
        }
        if no_uuid {
            updates.insert(0, serde_json::json!({"action": "assign-uuid", "uuid": uuid}));
        }
        let metadata = table::apply(None, None, &updates, now_ms())?.metadata;
        self.check_paths(&metadata)?;
        let metadata_location = places::metadata_location(&metadata, None)?;
        let pointer = self.pointer_to(Kept::Table, &metadata, metadata_location.clone())?;
        let bytes = self.files.write(&metadata_location, &metadata).await?;
        let change = Change::Create { ident: wanted.ident.clone(), pointer };
        Ok(Prepared { change: Some(change), metadata_location, metadata: bytes, leftover: Vec::new() })
    }

    /// What a commit builds on; `None` where a table is to be created by it.
    async fn base(&self, wanted: &Wanted) -> Result<Option<(Pointer, Bytes)>> {
        let creates = wanted.kept == Kept::Table && wanted.requirements.iter().any(|r| r["type"] == "assert-create");
        let pointer = match self.pointers.get(&wanted.ident).await? {
            None if creates => return Ok(None),
            Some(pointer) if pointer.kept != wanted.kept && creates => {
                return Err(objects::taken(&wanted.ident, wanted.kept, pointer.kept));
            }
            _ => self.pointer(&wanted.ident, wanted.kept).await?,
        };
        let bytes = self.files.read(&pointer.metadata_location).await?;
        Ok(Some((pointer, bytes)))
    }

    /// Whether what was to land has, whatever the connection said.
    async fn have_landed(&self, wanted: &[Wanted], prepared: &[Prepared]) -> bool {
        let changed = wanted.iter().zip(prepared).find(|(_, prepared)| prepared.change.is_some());
        match changed {
            // they land together, so one tells
            Some((wanted, prepared)) => self.has_landed(&wanted.ident, &prepared.metadata_location).await,
            None => false,
        }
    }

    /// Whether a pointer shows that a change of unknown outcome has landed. That it does not proves nothing: the database may still be about
    /// to commit.
    pub(super) async fn has_landed(&self, ident: &Ident, metadata_location: &Location) -> bool {
        for attempt in 1..=LOOKS_MAX {
            pause(attempt).await;
            if let Ok(Some(pointer)) = self.pointers.get(ident).await
                && self.leads_back(&pointer.metadata_location, metadata_location).await
            {
                return true;
            }
        }
        false
    }

    /// Whether metadata is at a place, or says that it came from there.
    async fn leads_back(&self, now: &Location, before: &Location) -> bool {
        if now == before {
            return true;
        }
        let Ok(metadata) = self.files.read_json(now).await else { return false };
        let log = metadata["metadata-log"].as_array();
        log.is_some_and(|log| log.iter().any(|entry| entry["metadata-file"] == before.as_str()))
    }

    /// Deletes, behind the answer, the old metadata files that tables want deleted.
    fn remove_leftovers(&self, prepared: Vec<Prepared>) {
        let leftover: Vec<Location> = prepared.into_iter().flat_map(|p| p.leftover).collect();
        if leftover.is_empty() {
            return;
        }
        let files = self.files.clone();
        tokio::spawn(async move {
            for location in leftover {
                files.remove(&location).await;
            }
        });
    }
}

async fn pause(attempt: u32) {
    let max_ms = (4u64 << attempt.min(10)).min(PAUSE_MAX_MS);
    let pause_ms = rand::rng().random_range(1..=max_ms);
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
}

impl Wanted {
    /// Checks and applies what is wanted on the metadata that is at `location` now.
    fn apply(&self, base: &[u8], location: &Location) -> Result<table::Applied> {
        let base = files::parse(base, location)?;
        match self.kept {
            Kept::Table => {
                table::check(&self.requirements, Some(&base))?;
                table::apply(Some(&base), Some(location.as_str()), &self.updates, now_ms())
            }
            Kept::View => {
                view::check(&self.requirements, Some(&base))?;
                let view::Applied { metadata, changed } = view::apply(Some(&base), &self.updates, now_ms())?;
                Ok(table::Applied { metadata, changed, removed_metadata_files: Vec::new() })
            }
        }
    }

    fn of(kept: Kept, ident: Ident, body: &Value) -> Result<Self> {
        let list = |key: &str| match &body[key] {
            Value::Null => Ok(Vec::new()),
            Value::Array(list) => Ok(list.clone()),
            _ => Err(Error::bad_request(format!("{key} must be a list"))),
        };
        Ok(Wanted { kept, ident, requirements: list("requirements")?, updates: list("updates")? })
    }
}

/// The metadata files that were written for changes.
fn written(prepared: &[Prepared]) -> Vec<(Location, Bytes)> {
    let changed = prepared.iter().filter(|p| p.change.is_some());
    changed.map(|p| (p.metadata_location.clone(), p.metadata.clone())).collect()
}

/// Of the files that left the metadata log those to delete: only when the table says so, and only its own.
fn leftovers(metadata: &Value, removed: &[String], pointer: &Pointer) -> Vec<Location> {
    let properties = &metadata["properties"];
    if properties["write.metadata.delete-after-commit.enabled"].as_str() != Some("true") {
        return Vec::new();
    }
    let own = [Some(pointer.location.clone()), properties["write.metadata.path"].as_str().map(Location::new)];
    let locations = removed.iter().map(Location::new);
    locations.filter(|location| own.iter().flatten().any(|prefix| location.is_under(prefix))).collect()
}
