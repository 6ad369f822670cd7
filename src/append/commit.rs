//! One commit that appends files: manifests, a manifest list, the snapshot.
//!
//! What must hold: every file once, whatever happens in between. The commit stands on the head that was read, so that of two only one lands; what
//! others appended is left out before each attempt; after an answer that did not come the history is looked at, by the append's id, before
//! anything is repeated. Files that were written for nothing are removed only when it is certain that no commit names them.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::try_join_all;
use rand::Rng;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::known::{APPEND_ID, Known, Tools, snapshot_of};
use super::ledger::now_ms;
use super::look::same_table;
use super::tracked::{Key, News, size_of};
use crate::error::{Error, Kind, Result};
use crate::format::manifest::{
    DataFile, ManifestContent, NewManifest, PartitionField, SnapshotBase, SnapshotIds, Totals,
};
use crate::format::metadata::table;
use crate::model::Ident;
use crate::storage::Location;

/// How often a commit is tried when others keep winning the race.
const ATTEMPTS_MAX: u32 = 30;
/// The longest pause before a commit is tried again.
const PAUSE_MAX_MS: u64 = 400;
/// How often the history is looked at when nobody knows whether a commit landed.
const LOOKS_MAX: u32 = 6;
/// Files of one manifest, of some hundred bytes each.
const MANIFEST_FILES_MAX: usize = 5_000;

/// Files to be appended together.
pub(super) struct Batch {
    pub branch: String,
    pub files: Vec<DataFile>,
    /// The schema and spec that they were described for.
    pub described_for: (i64, i64),
    /// For the snapshot's summary.
    pub properties: Vec<(String, String)>,
    /// What else must hold of the table.
    pub requirements: Vec<Json>,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Appended {
    /// It landed.
    Landed {
        snapshot_id: i64,
        sequence_number: i64,
        /// Files that were there already.
        known: HashSet<Key>,
    },
    /// All of its files were there already.
    Nothing,
    /// The table's schema or spec is another one now: the files must be described again.
    Changed,
    /// What must hold of the table does not.
    Refused,
}

/// The schema and spec of a table.
pub(super) fn described_for(metadata: &Json) -> (i64, i64) {
    let number = |key: &str| metadata[key].as_i64().unwrap_or(0);
    (number("current-schema-id"), number("default-spec-id"))
}

/// An append under way.
struct Attempt<'a> {
    tools: &'a Tools,
    ident: &'a Ident,
    partition: &'a [PartitionField],
    append_id: Uuid,
    snapshot_id: i64,
    /// Manifests that are stored, and of how many files.
    stored: Option<(usize, Vec<NewManifest>)>,
    /// Its rows of the ledger.
    rows: Option<Vec<i64>>,
    /// Whether an attempt was made of which nobody knows whether it will still land.
    is_open: bool,
}

/// Appends a batch to the table as it is known; `partition` is its spec.
pub(super) async fn append(
    tools: &Tools,
    ident: &Ident,
    known: &mut Known,
    (mut batch, partition): (Batch, &[PartitionField]),
) -> Result<Appended> {
    let keys: Vec<(Key, u32)> = keyed(tools, &batch.files);
    let mut attempt = Attempt {
        tools,
        ident,
        partition,
        append_id: Uuid::now_v7(),
        snapshot_id: rand::random_range(1..i64::MAX),
        stored: None,
        rows: None,
        is_open: false,
    };
    let outcome = attempt.run(known, &mut batch).await;
    let rows = attempt.rows.take().unwrap_or_default();
    let left = keyed(tools, &batch.files);
    let mut news = News::default();
    let (landed, not_landed) = match &outcome {
        Ok(Appended::Landed { snapshot_id, .. }) if left.len() == keys.len() => {
            (rows.into_iter().map(|row| (row, Some(*snapshot_id))).collect(), Vec::new())
        }
        // not all that was begun: what was left out meanwhile is not to be taken for appended
        Ok(Appended::Landed { snapshot_id, .. }) => {
            news = News { files: left.clone(), snapshots: vec![*snapshot_id] };
            (Vec::new(), rows)
        }
        _ if attempt.is_open => (Vec::new(), Vec::new()),
        _ => {
            attempt.remove_stored().await;
            (Vec::new(), rows)
        }
    };
    if let Some(ledger) = &mut known.ledger
        && let Err(error) = ledger.end(&landed, &not_landed, &news).await
    {
        // the next look finds out by the history
        tracing::warn!(table.name = %ident, error = %error, "how an append ended could not be written down");
    }
    match outcome? {
        Appended::Landed { snapshot_id, sequence_number, .. } => {
            let left: HashSet<Key> = left.into_iter().map(|(key, _)| key).collect();
            let known = keys.into_iter().map(|(key, _)| key).filter(|key| !left.contains(key)).collect();
            Ok(Appended::Landed { snapshot_id, sequence_number, known })
        }
        other => Ok(other),
    }
}

/// Whether an error leaves open what became of a commit.
fn is_open(kind: Kind) -> bool {
    matches!(kind, Kind::OutcomeUnknown | Kind::Unavailable | Kind::Internal | Kind::BadUpstream)
}

fn keyed(tools: &Tools, files: &[DataFile]) -> Vec<(Key, u32)> {
    let key = |file: &DataFile| (tools.spelling.key(&file.file_path), size_of(file.file_size_bytes.max(0) as u64));
    files.iter().map(key).collect()
}

impl Attempt<'_> {
    async fn run(&mut self, known: &mut Known, batch: &mut Batch) -> Result<Appended> {
        let mut last = None;
        for attempt in 1..=ATTEMPTS_MAX {
            if let Some(landed) = self.landed(known) {
                return Ok(landed);
            }
            batch.files.retain(|file| {
                let key = self.tools.spelling.key(&file.file_path);
                !known.tracked.has(&key) && !known.blocked.contains(&key)
            });
            if batch.files.is_empty() {
                return Ok(Appended::Nothing);
            }
            if described_for(known.metadata()?) != batch.described_for {
                return Ok(Appended::Changed);
            }
            if table::check(&batch.requirements, Some(known.metadata()?)).is_err() {
                return Ok(Appended::Refused);
            }
            match self.once(known, batch).await {
                Ok(landed) => return Ok(landed),
                Err(e) if matches!(e.kind(), Kind::CommitFailed | Kind::Unavailable) => last = Some(e),
                Err(e) if e.kind() == Kind::OutcomeUnknown => {
                    for look in 1..=LOOKS_MAX {
                        pause(look).await;
                        if known.refresh(self.tools, self.ident).await.is_ok()
                            && let Some(landed) = self.landed(known)
                        {
                            return Ok(landed);
                        }
                    }
                    last = Some(e);
                }
                Err(e) => return Err(e),
            }
            pause(attempt).await;
            known.refresh(self.tools, self.ident).await?;
        }
        Err(last.unwrap_or_else(|| Error::internal("unreachable: the last attempt has an error")))
    }

    /// Whether it has landed already, whatever the answer was.
    fn landed(&self, known: &Known) -> Option<Appended> {
        let snapshot = snapshot_of(known.metadata().ok()?, &self.append_id.to_string())?;
        Some(Appended::Landed {
            snapshot_id: snapshot["snapshot-id"].as_i64()?,
            sequence_number: snapshot["sequence-number"].as_i64().unwrap_or(0),
            known: HashSet::new(),
        })
    }

    async fn once(&mut self, known: &mut Known, batch: &Batch) -> Result<Appended> {
        let metadata = known.metadata()?.clone();
        let base = SnapshotBase::of(&metadata, &batch.branch)?;
        let keys = keyed(self.tools, &batch.files);
        if let (None, Some(ledger)) = (&self.rows, &mut known.ledger) {
            self.rows = Some(ledger.begin(self.append_id, base.last_sequence_number(), &keys).await?);
        }
        let parent = base.parent_snapshot_id();
        if parent.is_some() && base.manifest_list().is_none() {
            let message = "the table names its manifests in its metadata, as the first format version could: rewrite its manifests first";
            return Err(Error::new(Kind::Unprocessable, message));
        }
        let carried = known.lines(self.tools, base.manifest_list(), parent).await?;
        let (unique, now) = (Uuid::new_v4().to_string(), now_ms());
        let timestamp_ms = now.max(metadata["last-updated-ms"].as_i64().unwrap_or(0));
        let ids = SnapshotIds { snapshot_id: self.snapshot_id, timestamp_ms, unique: &unique };
        let manifests = self.manifests(&base, ids, &batch.files).await?;
        let mut totals = Totals::default();
        batch.files.iter().for_each(|file| totals.add(file));
        let append_id = self.append_id.to_string();
        let mut properties = vec![(APPEND_ID, append_id)];
        properties.extend(batch.properties.iter().map(|(key, value)| (key.as_str(), value.clone())));
        let draft = base.draft(ids, manifests, &carried, &totals, &properties)?;
        // the manifests are stored
        let Some((list, bytes)) = draft.files.into_iter().next_back() else {
            return Err(Error::internal("a draft has no manifest list"));
        };
        let list = Location::new(list);
        self.tools.storage.write_new(&list, bytes.into()).await?;
        let head = json!({"type": "assert-ref-snapshot-id", "ref": batch.branch, "snapshot-id": base.ref_snapshot_id});
        let mut requirements = vec![same_table(known.uuid()), head];
        requirements.extend(batch.requirements.iter().cloned());
        let updates = [
            json!({"action": "add-snapshot", "snapshot": draft.snapshot}),
            json!({"action": "set-snapshot-ref", "ref-name": batch.branch, "type": "branch", "snapshot-id": self.snapshot_id}),
        ];
        let committed = self.tools.tables.commit(self.ident, &requirements, &updates).await;
        match committed {
            Ok(loaded) => {
                known.committed(Some(loaded), self.snapshot_id, &keys, draft.manifests);
                let sequence_number = draft.snapshot["sequence-number"].as_i64().unwrap_or(0);
                Ok(Appended::Landed { snapshot_id: self.snapshot_id, sequence_number, known: HashSet::new() })
            }
            Err(error) => {
                if is_open(error.kind()) {
                    self.is_open = true;
                } else {
                    self.remove(vec![list]).await;
                }
                Err(error)
            }
        }
    }

    /// The manifests of all files, stored; those of an earlier attempt where no file has been left out since.
    async fn manifests(
        &mut self,
        base: &SnapshotBase<'_>,
        ids: SnapshotIds<'_>,
        files: &[DataFile],
    ) -> Result<Vec<NewManifest>> {
        if let Some((count, manifests)) = &self.stored
            && *count == files.len()
        {
            return Ok(manifests.iter().map(|(line, _)| (base.rebased(line.clone()), Vec::new())).collect());
        }
        self.remove_stored().await;
        let (storage, partition) = (&self.tools.storage, self.partition);
        let mut manifests = Vec::new();
        let mut staged = Vec::new();
        for (number, files) in files.chunks(MANIFEST_FILES_MAX).enumerate() {
            let (line, bytes) = base.manifest(ids, number, (ManifestContent::Data, partition), files)?;
            let location = Location::new(&line.manifest_path);
            staged.push(async move { storage.stage(&location, bytes.into()).await });
            manifests.push((line, Vec::new()));
        }
        let staged = try_join_all(staged).await?;
        for (_, _, written) in storage.publish(staged).await? {
            written?;
        }
        self.stored = Some((files.len(), manifests.clone()));
        Ok(manifests)
    }

    /// Removes manifests of which it is certain that no commit names them.
    async fn remove_stored(&mut self) {
        if let Some((_, manifests)) = self.stored.take().filter(|_| !self.is_open) {
            self.remove(manifests.iter().map(|(line, _)| Location::new(&line.manifest_path)).collect()).await;
        }
    }

    async fn remove(&self, files: Vec<Location>) {
        if let Err(error) = self.tools.storage.delete_all(files).await {
            tracing::warn!(table.name = %self.ident, error = %error, "files of an append that did not land stay behind");
        }
    }
}

async fn pause(attempt: u32) {
    let max_ms = (4_u64 << attempt.min(10)).min(PAUSE_MAX_MS);
    let pause_ms = rand::rng().random_range(1..=max_ms);
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
}
