//! A look at the files that landed for a table: list, leave out, describe, commit.
//!
//! What must hold: a plan writes nothing; a file that is left out is named with the reason, and the others go on; work without news costs a listing and
//! one load of the table, whatever its size.

use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value as Json, json};

use super::commit::{Appended, Batch, append, described_for};
use super::footers::{Footers, Outcome};
use super::known::{Known, Tools};
use super::landed::{Candidate, below, is_data, settled};
use super::ledger::now_ms;
use super::report::AppendReport;
use super::settings::LandingSettings;
use super::tracked::size_of;
use super::{create, evolve};
use crate::error::{Error, Kind, Result};
use crate::format::data_file::{Reason, TableShape, reason};
use crate::format::manifest::DataFile;
use crate::model::Ident;
use crate::storage::{Listed, Location};

/// Files of a list that are asked for at once.
const LOOKS_AT_ONCE: usize = 64;
/// Files below one prefix.
const LISTED_MAX: usize = 20_000_000;
/// How often files are described again because the table changed meanwhile.
const DESCRIPTIONS_MAX: usize = 5;
/// Files that are remembered as left out, so that they are not read again before they change.
const REMEMBERED_MAX: usize = 100_000;

/// Whether a look writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Run,
    Plan,
}

/// Which files are looked at.
pub(super) enum Files {
    /// Those below the watched prefix.
    Landed,
    /// These.
    Given(Vec<Listed>),
}

/// A look under way.
pub(super) struct Look<'a> {
    pub tools: &'a Tools,
    pub footers: &'a Footers,
    pub ident: &'a Ident,
    pub settings: &'a LandingSettings,
    pub mode: Mode,
}

impl Look<'_> {
    /// Looks once; what is remembered between looks is in `known` and `memory`.
    pub async fn run(&self, known: &mut Known, memory: &mut Memory, files: Files) -> Result<AppendReport> {
        let began = Instant::now();
        let mut report = AppendReport {
            table: self.ident.to_string(),
            from: self.settings.from.to_string(),
            plan: self.mode == Mode::Plan,
            ..AppendReport::default()
        };
        let mut planned = None;
        match known.refresh(self.tools, self.ident).await {
            Err(e) if e.kind() == Kind::NoSuchTable && self.settings.create => {
                let candidates = self.candidates(known, &files, &mut report).await?;
                if candidates.is_empty() {
                    return Ok(report);
                }
                let body = create::body(self.footers, self.ident, &candidates).await?;
                report.created = true;
                match self.mode {
                    Mode::Run => create::create(self.tools, self.ident, &body).await?,
                    Mode::Plan => planned = Some(create::planned(&body)?),
                }
                if self.mode == Mode::Run {
                    known.refresh(self.tools, self.ident).await?;
                }
                report = AppendReport { listed_files: 0, known_files: 0, unsettled_files: 0, ..report };
            }
            refreshed => refreshed?,
        }
        let metadata = match &planned {
            Some(metadata) => metadata.clone(),
            None => known.metadata()?.clone(),
        };
        self.check_place(&metadata)?;
        memory.keep_for(&metadata);
        let candidates = self.candidates(known, &files, &mut report).await?;
        let candidates = self.leave_out_known_reasons(memory, known, candidates, &mut report);
        if !candidates.is_empty() {
            let shape = self.shape(known, &metadata, &candidates, &mut report).await?;
            for candidates in candidates.chunks(self.settings.files_per_commit.max(1)) {
                self.append(known, memory, (candidates, &shape), &mut report).await?;
            }
        }
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    /// A table's own folders hold what other writers have not committed, or have replaced.
    fn check_place(&self, metadata: &Json) -> Result<()> {
        let own = |key: &str| metadata["properties"][key].as_str();
        let places = [metadata["location"].as_str(), own("write.data.path"), own("write.object-storage.path")];
        let place = places.into_iter().flatten().find(|place| self.settings.from.leads_into(&Location::new(*place)));
        match place {
            Some(place) if !self.settings.external_only => {
                let message = format!(
                    "{} lies in the table's own place {place}, where other writers' unfinished and replaced files are: \
                     let files land elsewhere, or say `writers: external-only` where nobody else writes this table",
                    self.settings.from
                );
                Err(Error::new(Kind::Unprocessable, message))
            }
            _ => Ok(()),
        }
    }

    async fn candidates(&self, known: &Known, files: &Files, report: &mut AppendReport) -> Result<Vec<Candidate>> {
        let prefix = &self.settings.from;
        let (listed, count) = match files {
            Files::Landed => {
                let (tracked, spelling) = (known.tracked.clone(), self.tools.spelling.clone());
                let root = prefix.clone();
                let is_wanted = move |location: &Location, size: Option<u64>| {
                    let is_same = |known: u32| size.is_none_or(|size| size_of(size) == known);
                    is_data(below(location, &root))
                        && !tracked.get(&spelling.key(location.as_str())).is_some_and(is_same)
                };
                self.tools.storage.list_wanted(prefix, LISTED_MAX, is_wanted).await?
            }
            Files::Given(given) => {
                let is_known = |file: &&Listed| known.tracked.has(&self.tools.spelling.key(file.location.as_str()));
                let unknown = given.iter().filter(|file| !is_known(file)).map(|file| self.sized(file.clone()));
                let unknown: Vec<_> = unknown.collect();
                (stream::iter(unknown).buffered(LOOKS_AT_ONCE).try_collect().await?, given.len())
            }
        };
        report.listed_files = count as u64;
        report.known_files = known.tracked.len() as u64;
        let (settle_ms, now) = (self.settings.settle.as_millis() as i64, now_ms());
        let wanted = listed.len();
        let mut candidates: Vec<Candidate> =
            listed.into_iter().filter_map(|file| settled(file, prefix, settle_ms, now)).collect();
        report.unsettled_files = (wanted - candidates.len()) as u64;
        candidates.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(candidates)
    }

    /// A file of a list with its size, which the list may not have; of a file that is not there it stays 0.
    async fn sized(&self, file: Listed) -> Result<Listed> {
        if file.size_bytes > 0 {
            return Ok(file);
        }
        let size_bytes = self.tools.storage.size_bytes(&file.location).await?.unwrap_or(0);
        Ok(Listed { size_bytes, ..file })
    }

    /// Leaves out what needs no reading: files of appends that nobody can tell about, files that were rewritten, and what was left out before.
    fn leave_out_known_reasons(
        &self,
        memory: &Memory,
        known: &Known,
        candidates: Vec<Candidate>,
        report: &mut AppendReport,
    ) -> Vec<Candidate> {
        let mut left = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let key = self.tools.spelling.key(candidate.location.as_str());
            let found = if known.blocked.contains(&key) {
                Some(reason(
                    "unknown-outcome",
                    "an append of it ended without an answer, and the history that could tell has expired: look whether the table has its rows",
                ))
            } else if let Some(size) = known.tracked.get(&key) {
                let message = format!(
                    "it was appended with another size ({size}, now {}): the table's figures of it are wrong; write a new file rather than this one again",
                    size_of(candidate.size_bytes)
                );
                Some(reason("rewritten", message))
            } else {
                memory.reason(&candidate).filter(|reason| reason.word != "evolution" || !self.settings.evolve).cloned()
            };
            match found {
                Some(reason) if reason.word == EMPTY => report.empty_files += 1,
                Some(reason) => report.leave_out(&candidate, &reason),
                None => left.push(candidate),
            }
        }
        left
    }

    /// The table's shape, changed first where that is wanted and needed.
    async fn shape(
        &self,
        known: &mut Known,
        metadata: &Json,
        candidates: &[Candidate],
        report: &mut AppendReport,
    ) -> Result<Arc<TableShape>> {
        let shape = Arc::new(TableShape::of(metadata)?);
        let differences = match self.settings.evolve {
            true => self.footers.differences(candidates, &shape).await?,
            false => Vec::new(),
        };
        let (evolved, told) = evolve::evolved(&shape, &differences);
        report.evolved = told;
        if self.mode == Mode::Run && (!report.evolved.is_empty() || evolved.mapping_is_new) {
            evolve::commit(self.tools, self.ident, known, &evolved).await?;
            return Ok(Arc::new(TableShape::of(known.metadata()?)?));
        }
        Ok(Arc::new(evolved))
    }

    /// Describes and commits some candidates, again when the table changed meanwhile.
    async fn append(
        &self,
        known: &mut Known,
        memory: &mut Memory,
        (candidates, shape): (&[Candidate], &Arc<TableShape>),
        report: &mut AppendReport,
    ) -> Result<()> {
        let mut shape = shape.clone();
        for _ in 0..DESCRIPTIONS_MAX {
            let outcomes = self.footers.describe(candidates, &shape).await?;
            let mut files: Vec<DataFile> = Vec::with_capacity(candidates.len());
            let mut left_out = Vec::new();
            for (candidate, outcome) in candidates.iter().zip(outcomes) {
                match outcome {
                    Outcome::File(file) => files.push(*file),
                    Outcome::Empty => left_out.push((candidate, reason(EMPTY, "it has no rows"))),
                    Outcome::LeftOut(reason) => left_out.push((candidate, reason)),
                }
            }
            let counts = |files: &[&DataFile]| {
                let sum = |of: fn(&DataFile) -> i64| files.iter().map(|file| of(file).max(0) as u64).sum::<u64>();
                (files.len() as u64, sum(|file| file.record_count), sum(|file| file.file_size_bytes))
            };
            let appended = if self.mode == Mode::Plan || files.is_empty() {
                Some(counts(&files.iter().collect::<Vec<_>>()))
            } else {
                let sizes: Vec<DataFile> = files
                    .iter()
                    .map(|file| {
                        DataFile::parquet(file.content, &file.file_path, file.record_count, file.file_size_bytes)
                    })
                    .collect();
                let described_for = described_for(known.metadata()?);
                let batch = Batch {
                    branch: self.settings.branch.clone(),
                    files,
                    described_for,
                    properties: Vec::new(),
                    requirements: Vec::new(),
                };
                match append(self.tools, self.ident, known, (batch, &shape.spec.partition())).await? {
                    Appended::Landed { snapshot_id, known, .. } => {
                        report.snapshots.push(snapshot_id);
                        let is_new = |file: &&DataFile| !known.contains(&self.tools.spelling.key(&file.file_path));
                        Some(counts(&sizes.iter().filter(is_new).collect::<Vec<_>>()))
                    }
                    Appended::Nothing => Some((0, 0, 0)),
                    Appended::Changed | Appended::Refused => None,
                }
            };
            let Some((files, rows, bytes)) = appended else {
                shape = Arc::new(TableShape::of(known.metadata()?)?);
                continue;
            };
            report.appended_files += files;
            report.appended_rows += rows;
            report.appended_bytes += bytes;
            for (candidate, reason) in left_out {
                match reason.word {
                    EMPTY => report.empty_files += 1,
                    _ => report.leave_out(candidate, &reason),
                }
                memory.remember(candidate, reason);
            }
            return Ok(());
        }
        Err(Error::commit_failed(format!("{} changed its schema or spec again and again", self.ident)))
    }
}

/// The reason of files without rows, which nobody misses.
const EMPTY: &str = "empty";

/// Which files were left out, and why, until they or the table change.
#[derive(Default)]
pub(super) struct Memory {
    left_out: std::collections::HashMap<String, (u64, Reason)>,
    described_for: (i64, i64),
}

impl Memory {
    /// Forgets what another schema or spec may cure.
    pub fn keep_for(&mut self, metadata: &Json) {
        let now = described_for(metadata);
        if self.described_for != now {
            *self = Memory { described_for: now, ..Memory::default() };
        }
    }

    fn reason(&self, candidate: &Candidate) -> Option<&Reason> {
        let (size, reason) = self.left_out.get(candidate.location.as_str())?;
        (*size == candidate.size_bytes).then_some(reason)
    }

    fn remember(&mut self, candidate: &Candidate, reason: Reason) {
        // what cannot be read may be whole at the next look
        let is_lasting = !matches!(reason.word, "unreadable" | "gone");
        if is_lasting && self.left_out.len() < REMEMBERED_MAX {
            self.left_out.insert(candidate.location.to_string(), (candidate.size_bytes, reason));
        }
    }
}

/// A commit's requirement that the table is the one that was read.
pub(super) fn same_table(uuid: &str) -> Json {
    json!({"type": "assert-table-uuid", "uuid": uuid})
}
