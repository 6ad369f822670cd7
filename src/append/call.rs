//! The append call: a writer names data files, with the statistics that it has, and they become rows.
//!
//! What must hold: a file that is named lies in a place of the table and is there with the size that was said; a repeated Idempotency-Key gets the
//! answer of the first time, and files that are in the table already are told, not appended again.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use utoipa::ToSchema;
use uuid::Uuid;

use super::commit::described_for;
use super::footers::Outcome;
use super::landed::{Candidate, is_data};
use super::queue::{Answered, KEYS, Queue, Waiting};
use super::{Appends, Table};
use crate::error::{Error, Kind, Result};
use crate::format::data_file::{TableShape, partition_value};
use crate::format::manifest::{DataFile, FileContent};
use crate::model::{Ident, hex, unhex};
use crate::storage::Location;

/// Files of one call.
const FILES_MAX: usize = 10_000;
/// Files that are asked for at once.
const LOOKS_AT_ONCE: usize = 32;
/// How often files are described again because the table changed meanwhile.
const DESCRIPTIONS_MAX: usize = 5;
/// Answers that are remembered.
const ANSWERS_MAX: u64 = 100_000;
/// How long they are; the table's history remembers them longer.
const ANSWERS_KEPT: Duration = Duration::from_secs(30 * 60);

/// What a writer asks for.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AppendCall {
    /// The files, 10,000 at most.
    pub data_files: Vec<CallFile>,
    /// The specification's `requirements` that must hold when the files are committed, such as `assert-ref-snapshot-id`.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub requirements: Vec<Json>,
    /// The branch, `main` if not said; made at the head of `main` where there is none.
    #[serde(default)]
    pub branch: Option<String>,
    /// Whether statistics that are given are held against the files' footers.
    #[serde(default)]
    pub verify: bool,
}

/// A data file, with as much as the writer knows of it. Without `record-count` its footer is read.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CallFile {
    /// Where it is, as the table is to name it.
    #[schema(example = "s3://lake/orders/data/0001.parquet")]
    pub path: String,
    /// Rows in it.
    #[serde(default)]
    pub record_count: Option<i64>,
    /// Its length; needed with `record-count`.
    #[serde(default)]
    pub file_size_in_bytes: Option<i64>,
    /// Its partition by the names of the spec's fields, in the specification's JSON for single values; needed for a partitioned table.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub partition: BTreeMap<String, Json>,
    /// Bytes by column id.
    #[serde(default)]
    pub column_sizes: BTreeMap<i32, i64>,
    /// Values by column id, nulls included.
    #[serde(default)]
    pub value_counts: BTreeMap<i32, i64>,
    /// Nulls by column id.
    #[serde(default)]
    pub null_value_counts: BTreeMap<i32, i64>,
    /// NaNs by column id.
    #[serde(default)]
    pub nan_value_counts: BTreeMap<i32, i64>,
    /// Lower bounds by column id: the specification's single-value bytes in hexadecimal.
    #[serde(default)]
    pub lower_bounds: BTreeMap<i32, String>,
    /// Upper bounds by column id, likewise.
    #[serde(default)]
    pub upper_bounds: BTreeMap<i32, String>,
    /// Where it can be split.
    #[serde(default)]
    pub split_offsets: Vec<i64>,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AppendAnswer {
    /// The snapshot that brought the files; none where all of them were there before.
    pub snapshot_id: Option<i64>,
    /// Its sequence number.
    pub sequence_number: Option<i64>,
    /// How many of the files it brought.
    pub added_data_files: usize,
    /// Files that the table had, or ever had: they were not appended again.
    pub already_appended: Vec<String>,
}

/// Answers by who asked and the key.
pub(super) struct Answers(moka::future::Cache<(String, Uuid), Arc<(String, AppendAnswer)>>);

impl Answers {
    pub fn new() -> Answers {
        Answers(moka::future::Cache::builder().max_capacity(ANSWERS_MAX).time_to_live(ANSWERS_KEPT).build())
    }

    /// The answer that was given to this key, or the one that `work` gives; work under one key is done once at a time.
    async fn once(
        &self,
        key: (String, Uuid),
        fingerprint: &str,
        work: impl Future<Output = Result<AppendAnswer>>,
    ) -> Result<AppendAnswer> {
        let kept =
            self.0.try_get_with(key, async { work.await.map(|answer| Arc::new((fingerprint.to_owned(), answer))) });
        let kept = kept.await.map_err(|e: Arc<Error>| Error::new(e.kind(), e.to_string()))?;
        if kept.0 != fingerprint {
            return Err(Error::new(Kind::Unprocessable, "this Idempotency-Key was used for another request"));
        }
        Ok(kept.1.clone())
    }
}

impl Appends {
    /// Appends the files of a call; `who` asks, and `key` is the call's Idempotency-Key.
    pub async fn call(
        &self,
        ident: &Ident,
        call: AppendCall,
        (who, key): (&str, Option<Uuid>),
    ) -> Result<AppendAnswer> {
        if call.data_files.is_empty() || call.data_files.len() > FILES_MAX {
            return Err(Error::bad_request(format!("data-files must hold 1 to {FILES_MAX} files")));
        }
        let fingerprint = fingerprint(ident, &call);
        match key {
            None => self.call_once(ident, &call, None).await,
            Some(key) => {
                let mark = format!("{key}:{fingerprint}");
                let work = self.call_once(ident, &call, Some(mark));
                self.0.answers.once((who.to_owned(), key), &fingerprint, work).await
            }
        }
    }

    async fn call_once(&self, ident: &Ident, call: &AppendCall, key: Option<String>) -> Result<AppendAnswer> {
        let table = self.0.table(ident);
        for _ in 0..DESCRIPTIONS_MAX {
            let seen = self.seen(ident, &table, call, key.as_deref()).await?;
            if let Some(snapshot) = seen.answered {
                return Ok(answer(call, Some(snapshot), |_| false));
            }
            let (files, known) = (self.files(call, &seen).await?, &seen.known);
            if files.is_empty() {
                return Ok(answer(call, None, |_| true));
            }
            let (sender, answered) = oneshot::channel();
            let waiting = Waiting {
                branch: call.branch.clone().unwrap_or_else(|| "main".to_owned()),
                files,
                described_for: seen.described_for,
                requirements: call.requirements.clone(),
                key: key.clone(),
                answer: sender,
            };
            Queue::join(&self.0, ident, &table, waiting)?;
            match answered.await {
                Ok(Answered::Done { snapshot, known: there }) => {
                    let key_of = |path: &str| self.0.tools.spelling.key(path);
                    return Ok(answer(call, snapshot, |path| known.contains(path) || there.contains(&key_of(path))));
                }
                Ok(Answered::Again) => {}
                Ok(Answered::Failed(error)) => return Err(error.context(format!("table {ident}"))),
                Err(_) => return Err(Error::internal("the commit was cut off; repeat the call with the same key")),
            }
        }
        Err(Error::commit_failed(format!("{ident} changed its schema or spec again and again, try again")))
    }

    /// The table as it is known, or loaded.
    async fn seen(&self, ident: &Ident, table: &Arc<Table>, call: &AppendCall, key: Option<&str>) -> Result<Seen> {
        let mut state = table.turn.lock().await;
        if state.known.loaded.is_none() {
            state.known.refresh(&self.0.tools, ident).await.map_err(|e| e.context(format!("table {ident}")))?;
        }
        let metadata = state.known.metadata()?;
        let own = |name: &str| metadata["properties"][name].as_str();
        let properties = ["write.data.path", "write.object-storage.path", "write.folder-storage.path"];
        let places = properties.into_iter().filter_map(own).chain(metadata["location"].as_str());
        let landing = self.0.landings.get(ident).map(|landing| landing.from.clone());
        let is_known = |path: &str| state.known.tracked.has(&self.0.tools.spelling.key(path));
        Ok(Seen {
            shape: Arc::new(TableShape::of(metadata)?),
            described_for: described_for(metadata),
            places: places.map(Location::new).chain(landing).collect(),
            known: call
                .data_files
                .iter()
                .map(|file| &file.path)
                .filter(|path| is_known(path.as_str()))
                .cloned()
                .collect(),
            answered: key.and_then(|key| answered(metadata, key)),
        })
    }

    /// The call's files as data files, but for those that the table has.
    async fn files(&self, call: &AppendCall, seen: &Seen) -> Result<Vec<DataFile>> {
        let (mut unknown, mut paths) = (Vec::new(), HashSet::new());
        for file in &call.data_files {
            let location = Location::new(&file.path);
            if !paths.insert(file.path.as_str()) {
                return Err(Error::bad_request(format!("{} is named twice", file.path)));
            }
            if !seen.places.iter().any(|place| location.leads_into(place)) {
                let places: Vec<&str> = seen.places.iter().map(Location::as_str).collect();
                let message = format!("{} is outside of the table's places: {}", file.path, places.join(", "));
                return Err(Error::bad_request(message));
            }
            let name = file.path.rsplit('/').next().unwrap_or_default();
            if !is_data(name) {
                return Err(Error::bad_request(format!("{} has the name of a hidden or unfinished file", file.path)));
            }
            if !seen.known.contains(&file.path) {
                unknown.push(file);
            }
        }
        let looks: Vec<_> = unknown.iter().map(|file| self.candidate(file)).collect();
        let candidates: Vec<Candidate> = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
        let is_read = |file: &CallFile| file.record_count.is_none() || call.verify;
        let read: Vec<Candidate> =
            unknown.iter().zip(&candidates).filter(|(file, _)| is_read(file)).map(|(_, c)| c.clone()).collect();
        let mut outcomes = self.0.footers.describe(&read, &seen.shape).await?.into_iter();
        let mut files = Vec::with_capacity(unknown.len());
        for file in unknown {
            let found = if is_read(file) { outcomes.next() } else { None };
            let described = match found {
                Some(Outcome::File(described)) => Some(*described),
                Some(Outcome::Empty) => return Err(bad(file, "it has no rows")),
                Some(Outcome::LeftOut(reason)) => return Err(bad(file, &reason.message)),
                None => None,
            };
            files.push(match (file.record_count, described) {
                (None, Some(described)) => described,
                (_, described) => {
                    let said = said(file, &seen.shape)?;
                    if let Some(described) = described {
                        verify(file, &said, &described)?;
                    }
                    said
                }
            });
        }
        Ok(files)
    }

    /// A file that is there, with the size that was said.
    async fn candidate(&self, file: &CallFile) -> Result<Candidate> {
        let location = Location::new(&file.path);
        let found = self.0.tools.storage.look(&location).await?;
        let found = found.ok_or_else(|| Error::bad_request(format!("{}: there is no such file", file.path)))?;
        match file.file_size_in_bytes {
            Some(size) if u64::try_from(size) != Ok(found.size_bytes) => {
                let message = format!("file-size-in-bytes says {size}, and it has {}", found.size_bytes);
                Err(bad(file, &message))
            }
            _ => Ok(Candidate { location, size_bytes: found.size_bytes, prefix_bytes: 0 }),
        }
    }
}

/// The table as a call sees it.
struct Seen {
    shape: Arc<TableShape>,
    described_for: (i64, i64),
    places: Vec<Location>,
    /// The call's files that the table has, or ever had.
    known: HashSet<String>,
    /// The snapshot that an earlier call with the same key made.
    answered: Option<(i64, i64)>,
}

/// The snapshot that a call with this key and fingerprint made.
fn answered(metadata: &Json, key: &str) -> Option<(i64, i64)> {
    let has =
        |snapshot: &&Json| snapshot["summary"][KEYS].as_str().is_some_and(|keys| keys.split(',').any(|k| k == key));
    let snapshot = metadata["snapshots"].as_array()?.iter().rev().find(has)?;
    Some((snapshot["snapshot-id"].as_i64()?, snapshot["sequence-number"].as_i64().unwrap_or(0)))
}

fn answer(call: &AppendCall, snapshot: Option<(i64, i64)>, was_there: impl Fn(&str) -> bool) -> AppendAnswer {
    let already: Vec<String> =
        call.data_files.iter().filter(|file| was_there(&file.path)).map(|file| file.path.clone()).collect();
    let added = call.data_files.len() - already.len();
    let snapshot = snapshot.filter(|_| added > 0);
    AppendAnswer {
        snapshot_id: snapshot.map(|(id, _)| id),
        sequence_number: snapshot.map(|(_, number)| number),
        added_data_files: added,
        already_appended: already,
    }
}

/// What tells one request from another, short enough for a summary.
fn fingerprint(ident: &Ident, call: &AppendCall) -> String {
    let digest = Sha256::digest(format!("{ident}\n{call:?}"));
    hex(&digest[..8])
}

fn bad(file: &CallFile, why: &str) -> Error {
    Error::bad_request(format!("{}: {why}", file.path))
}

/// A data file as the writer says it is.
fn said(file: &CallFile, shape: &TableShape) -> Result<DataFile> {
    let (Some(rows @ 1..), Some(size @ 1..)) = (file.record_count, file.file_size_in_bytes) else {
        return Err(bad(file, "record-count and file-size-in-bytes belong together, and both are 1 at least"));
    };
    let mut described = DataFile::parquet(FileContent::Data, &file.path, rows, size);
    for field in &shape.spec.fields {
        let name = &field.partition.name;
        let value = file.partition.get(name).ok_or_else(|| bad(file, &format!("its partition has no {name}")))?;
        let typed = partition_value(value, field.partition.value_type);
        let typed = typed.ok_or_else(|| {
            bad(file, &format!("its partition says {name}={value}, which is no {}", field.partition.value_type))
        })?;
        described.partition.push(typed);
    }
    if let Some(name) = file.partition.keys().find(|name| shape.spec.fields.iter().all(|f| f.partition.name != **name))
    {
        return Err(bad(file, &format!("the table is not partitioned by {name}")));
    }
    let counts = [&file.column_sizes, &file.value_counts, &file.null_value_counts, &file.nan_value_counts];
    if counts.iter().any(|counts| counts.values().any(|count| *count < 0)) {
        return Err(bad(file, "a count of it is less than none"));
    }
    described.column_sizes = file.column_sizes.clone();
    described.value_counts = file.value_counts.clone();
    described.null_value_counts = file.null_value_counts.clone();
    described.nan_value_counts = file.nan_value_counts.clone();
    described.lower_bounds = bounds(file, "lower-bounds", &file.lower_bounds)?;
    described.upper_bounds = bounds(file, "upper-bounds", &file.upper_bounds)?;
    described.split_offsets = file.split_offsets.clone();
    Ok(described)
}

fn bounds(file: &CallFile, what: &str, bounds: &BTreeMap<i32, String>) -> Result<BTreeMap<i32, Vec<u8>>> {
    let bytes = |(id, text): (&i32, &String)| {
        let bytes = unhex(text).ok_or_else(|| bad(file, &format!("{what} of column {id} is not hexadecimal")))?;
        Ok((*id, bytes))
    };
    bounds.iter().map(bytes).collect()
}

/// What the writer says, held against the footer: a figure that is given must be the footer's.
fn verify(file: &CallFile, said: &DataFile, found: &DataFile) -> Result<()> {
    let differs = |what: String| Err(bad(file, &format!("{what}, which is not what its footer says")));
    if said.record_count != found.record_count {
        return differs(format!("record-count is {}", said.record_count));
    }
    if said.partition != found.partition {
        return differs("its partition is another one".to_owned());
    }
    let counts = [
        ("value-counts", &said.value_counts, &found.value_counts),
        ("null-value-counts", &said.null_value_counts, &found.null_value_counts),
        ("nan-value-counts", &said.nan_value_counts, &found.nan_value_counts),
        ("column-sizes", &said.column_sizes, &found.column_sizes),
    ];
    for (name, said, found) in counts {
        if let Some((id, count)) = said.iter().find(|(id, count)| found.get(id).is_some_and(|known| known != *count)) {
            return differs(format!("{name} of column {id} is {count}"));
        }
    }
    for (name, said, found) in [
        ("lower-bounds", &said.lower_bounds, &found.lower_bounds),
        ("upper-bounds", &said.upper_bounds, &found.upper_bounds),
    ] {
        if let Some((id, _)) = said.iter().find(|(id, bound)| found.get(id).is_some_and(|known| known != *bound)) {
            return differs(format!("{name} of column {id} is another one"));
        }
    }
    match said.split_offsets.iter().all(|offset| found.split_offsets.contains(offset)) {
        true => Ok(()),
        false => differs("split-offsets are others".to_owned()),
    }
}
