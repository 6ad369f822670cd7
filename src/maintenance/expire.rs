//! Expiring snapshots: metadata first, in one commit, and files after.
//!
//! What must hold: `docs/decisions/0013-maintenance.md` has the steps and what a crash between any two of them leaves. All that can fail by reading fails
//! before the commit; a file is deleted only when the table as it is after the commit does not reach it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::notes::{Note, Notes};
use super::reach::{Deleted, Reach};
use super::report::{ExpiryReport, Progress};
use super::retention::{self, Expiry, Retention};
use super::site::{Places, Site};
use crate::error::{Error, Kind, Result};
use crate::model::Ident;
use crate::storage::Location;
use crate::table::relocate::Examples;
use crate::upstream::asking::Loaded;
use crate::upstream::pointer::{now_ms, unpack};

/// How often an expiry is planned when others commit in between.
const ATTEMPTS_MAX: u32 = 10;
/// The pause before it is planned again.
const PAUSE: Duration = Duration::from_millis(200);
/// Ids of snapshots that a report names.
const NAMED_MAX: usize = 1_000;
/// The largest metadata file that is read.
const METADATA_BYTES_MAX: u64 = 512 << 20;

/// What is asked of an expiry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpireOptions {
    /// What is kept where neither a ref nor the table itself says it.
    pub retention: Retention,
    /// Whether to say only what would go.
    pub plan: bool,
}

/// What a commit that was made meant.
struct Landed {
    /// The table as the commit's answer or a load afterwards shows it.
    table: Loaded,
}

impl Site {
    /// Expires what has had its time; with `plan` it only says what that would be. What an earlier expiry left is deleted first.
    /// `places` are those of the catalog's tables, where they are known.
    pub async fn expire(
        &self,
        ident: &Ident,
        ExpireOptions { retention, plan }: ExpireOptions,
        places: Option<&Places>,
        progress: &Progress,
    ) -> Result<ExpiryReport> {
        let done = self.expire_table(ident, (retention, plan), places, progress).await;
        if !plan {
            let (files, bytes) = done.as_ref().map_or((0, 0), |report| (report.files_deleted, report.files.bytes));
            self.metrics.maintenance(&self.catalog, "expire-snapshots", done.is_ok(), files, bytes);
        }
        done.map_err(|e| e.context(format!("expiring snapshots of {}.{ident}", self.catalog)))
    }

    async fn expire_table(
        &self,
        ident: &Ident,
        (retention, plan): (Retention, bool),
        places: Option<&Places>,
        progress: &Progress,
    ) -> Result<ExpiryReport> {
        self.check_primary().await?;
        let notes = self.state.clone().map(|state| Notes::new(state, self.catalog.clone()));
        let (mut files_deleted, mut files_spared) = (0, Examples::default());
        if let Some(notes) = notes.as_ref().filter(|_| !plan) {
            let left = self.finish(ident, notes, places, progress).await?;
            (files_deleted, files_spared) = (left.files, left.spared);
        }
        for attempt in 1..=ATTEMPTS_MAX {
            let before = self.tables.table(ident).await?;
            retention::check(&before.metadata)?;
            let held = self.held(uuid(&before.metadata)?).await?;
            let expiry = retention::expired(&before.metadata, retention, &held, now_ms());
            let mut report = said(&before, &expiry);
            if expiry.is_empty() {
                return Ok(ExpiryReport { plan, files_deleted, files_spared, ..report });
            }
            let gone: HashSet<i64> = expiry.snapshots.iter().copied().collect();
            let is_expired = |id: i64| gone.contains(&id);
            let mut reach = Reach::of(&self.storage, &before.metadata, &is_expired, progress).await?;
            (report.files, report.examples) = (reach.counts(), reach.examples().await?);
            if plan {
                return Ok(ExpiryReport { plan, ..report });
            }
            let own = self.own(ident, &before.metadata, places).await?;
            progress.check()?;
            let note = Note::of(ident, &before);
            if let Some((notes, note)) = notes.as_ref().zip(note.as_ref()) {
                notes.begin(note, now_ms()).await?;
            }
            let Some(landed) = self.commit_expiry(ident, &before, &expiry).await? else {
                if let Some((notes, note)) = notes.as_ref().zip(note.as_ref()) {
                    notes.end(note).await?;
                }
                if attempt < ATTEMPTS_MAX {
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            };
            let lost = self.check_refs(&before, &landed, &gone).await;
            if let (Err(_), Some((notes, note))) = (&lost, notes.as_ref().zip(note.as_ref())) {
                // or the next expiry would delete what is kept now
                notes.end(note).await?;
            }
            lost?;
            let after = self.again(ident, &before).await?;
            let known: HashSet<i64> = ids(&before.metadata).collect();
            reach.spare_newer(&after.metadata, &|id| known.contains(&id)).await?;
            let deleted = reach.delete(&own).await?;
            if let Some((notes, note)) = notes.as_ref().zip(note.as_ref()) {
                notes.end(note).await?;
            }
            files_spared.add_those(deleted.spared);
            report.metadata_location = landed.table.metadata_location;
            return Ok(ExpiryReport { files_deleted: files_deleted + deleted.files, files_spared, ..report });
        }
        Err(Error::commit_failed(format!(
            "others committed {ATTEMPTS_MAX} times in between: try again when the table is less busy"
        )))
    }

    /// Makes the commit; `None` when it is to be planned again.
    async fn commit_expiry(&self, ident: &Ident, before: &Loaded, expiry: &Expiry) -> Result<Option<Landed>> {
        let (requirements, updates) = changes(before, expiry)?;
        match self.tables.commit(ident, &requirements, &updates).await {
            Ok(table) => Ok(Some(Landed { table })),
            Err(e) if e.kind() == Kind::CommitFailed => Ok(None),
            Err(e) if e.kind() == Kind::OutcomeUnknown => {
                let table = self.again(ident, before).await?;
                let there: HashSet<i64> = ids(&table.metadata).collect();
                let refs = retention::heads(&table.metadata);
                let still = expiry.snapshots.iter().any(|id| there.contains(id))
                    || expiry.refs.iter().any(|name| refs.contains_key(name));
                Ok((!still).then_some(Landed { table }))
            }
            Err(e) => Err(e),
        }
    }

    /// The table as it is now; an error when it is another one.
    async fn again(&self, ident: &Ident, before: &Loaded) -> Result<Loaded> {
        let table = self.tables.table(ident).await?;
        if uuid(&table.metadata)? != uuid(&before.metadata)? {
            let message = "the table was dropped and another one made of its name: nothing more is deleted";
            return Err(Error::new(Kind::NoSuchTable, message));
        }
        Ok(table)
    }

    /// Looks at what the commit replaced: no requirement says that there are no other refs, and a ref goes with its snapshot.
    async fn check_refs(&self, before: &Loaded, landed: &Landed, gone: &HashSet<i64>) -> Result<()> {
        let log = landed.table.metadata["metadata-log"].as_array();
        let Some(replaced) = log.and_then(|log| log.last()?["metadata-file"].as_str()) else { return Ok(()) };
        if before.metadata_location.as_deref() == Some(replaced) {
            return Ok(());
        }
        let replaced = Location::new(replaced);
        let metadata = match self.storage.read(&replaced, METADATA_BYTES_MAX).await {
            Ok(bytes) => unpack(bytes, &replaced)?,
            // it may be gone or out of our reach: then there is nothing to learn from it
            Err(_) => return Ok(()),
        };
        let metadata: Value = serde_json::from_slice(&metadata)
            .map_err(|e| Error::internal(format!("{replaced} is not JSON")).with_source(e))?;
        let known = retention::heads(&before.metadata);
        let lost =
            retention::heads(&metadata).into_iter().find(|(name, id)| known.get(name) != Some(id) && gone.contains(id));
        match lost {
            None => Ok(()),
            Some((name, id)) => {
                let message = format!(
                    "{name:?} was set to snapshot {id} in the very moment in which that expired, and went with it; no file was deleted: {replaced} still has both"
                );
                Err(Error::commit_failed(message))
            }
        }
    }

    /// Deletes what expiries that were cut off after their commit have left.
    async fn finish(
        &self,
        ident: &Ident,
        notes: &Notes,
        places: Option<&Places>,
        progress: &Progress,
    ) -> Result<Deleted> {
        let mut all = Deleted::default();
        let waiting = notes.of(ident).await?;
        if waiting.is_empty() {
            return Ok(all);
        }
        let table = self.tables.table(ident).await?;
        for note in waiting {
            if uuid(&table.metadata)? == note.uuid
                && let Some(before) = self.noted(&note).await?
            {
                let there: HashSet<i64> = ids(&table.metadata).collect();
                let is_expired = |id: i64| !there.contains(&id);
                if ids(&before).any(is_expired) {
                    retention::check(&table.metadata)?;
                    let mut reach = Reach::of(&self.storage, &before, &is_expired, progress).await?;
                    let known: HashSet<i64> = ids(&before).collect();
                    reach.spare_newer(&table.metadata, &|id| known.contains(&id)).await?;
                    let deleted = reach.delete(&self.own(ident, &table.metadata, places).await?).await?;
                    tracing::info!(table.name = %ident, deleted = deleted.files, "finished an expiry that had been cut off");
                    all.files += deleted.files;
                    all.spared.add_those(deleted.spared);
                }
            }
            notes.end(&note).await?;
        }
        Ok(all)
    }

    /// The metadata that a noted expiry began at; `None` when it is gone, so that its files are orphans now.
    async fn noted(&self, note: &Note) -> Result<Option<Value>> {
        let location = Location::new(&note.metadata_location);
        let bytes = match self.storage.read(&location, METADATA_BYTES_MAX).await {
            Ok(bytes) => unpack(bytes, &location)?,
            Err(e) if e.kind() == Kind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let metadata = serde_json::from_slice(&bytes);
        metadata.map(Some).map_err(|e| Error::internal(format!("{location} is not JSON")).with_source(e))
    }
}

/// What the commit asserts and changes.
fn changes(before: &Loaded, expiry: &Expiry) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut requirements = vec![json!({ "type": "assert-table-uuid", "uuid": uuid(&before.metadata)? })];
    let heads: BTreeMap<String, i64> = retention::heads(&before.metadata);
    requirements.extend(
        heads.iter().map(|(name, id)| json!({ "type": "assert-ref-snapshot-id", "ref": name, "snapshot-id": id })),
    );
    let refs = expiry.refs.iter().map(|name| json!({ "action": "remove-snapshot-ref", "ref-name": name }));
    let mut updates: Vec<Value> = refs.collect();
    let gone: HashSet<i64> = expiry.snapshots.iter().copied().collect();
    for (list, action) in [("statistics", "remove-statistics"), ("partition-statistics", "remove-partition-statistics")]
    {
        let entries = before.metadata[list].as_array().into_iter().flatten();
        let of: Vec<i64> =
            entries.filter_map(|entry| entry["snapshot-id"].as_i64()).filter(|id| gone.contains(id)).collect();
        updates.extend(of.into_iter().map(|id| json!({ "action": action, "snapshot-id": id })));
    }
    // one by one: servers of Iceberg before 1.10 take no more
    updates.extend(expiry.snapshots.iter().map(|id| json!({ "action": "remove-snapshots", "snapshot-ids": [id] })));
    Ok((requirements, updates))
}

fn said(before: &Loaded, expiry: &Expiry) -> ExpiryReport {
    let all = ids(&before.metadata).count();
    ExpiryReport {
        snapshots_expired: expiry.snapshots.len() as u64,
        snapshots: expiry.snapshots.iter().copied().take(NAMED_MAX).collect(),
        snapshots_kept: (all - expiry.snapshots.len()) as u64,
        refs_removed: expiry.refs.clone(),
        ..ExpiryReport::default()
    }
}

fn uuid(metadata: &Value) -> Result<&str> {
    let uuid = metadata["table-uuid"].as_str();
    uuid.ok_or_else(|| {
        Error::new(
            Kind::Unprocessable,
            "the table has no uuid, so it cannot be told from another one: commit to it once",
        )
    })
}

fn ids(metadata: &Value) -> impl Iterator<Item = i64> + '_ {
    metadata["snapshots"].as_array().into_iter().flatten().filter_map(|snapshot| snapshot["snapshot-id"].as_i64())
}
