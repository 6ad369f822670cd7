//! Candidates become data files: their last bytes are read in parallel, and single columns where a partition cannot be told otherwise.
//!
//! What must hold: a candidate is described whole or has a reason; only a store that fails is an error. Memory is bounded by what is in flight.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::Semaphore;

use super::landed::Candidate;
use crate::error::{Error, Kind, Result};
use crate::format::data_file::{
    Described, Difference, Footer, FooterRead, OneValue, Reason, TableShape, folders, read_footer, reason,
};
use crate::format::manifest::DataFile;
use crate::format::types::Field;
use crate::storage::{Location, Storage};

/// Files that are read at once.
const FILES_AT_ONCE: usize = 32;
/// Files whose reading is prepared at once.
const FILES_PLANNED: usize = 1_000;
/// Bytes of footers and columns in memory at once; what a footer is unpacked to takes a few times its size.
const BYTES_AT_ONCE: u64 = 48 << 20;
/// What is read of the end of a file at first.
const TAIL_BYTES: u64 = 64 << 10;
/// Largest column of a file that is read to tell its partition.
const COLUMN_BYTES_MAX: u64 = 40 << 20;
const ROOM_UNIT: u64 = 1 << 10;

/// What became of a candidate.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It can be appended.
    File(Box<DataFile>),
    /// It has no rows.
    Empty,
    /// It is left out.
    LeftOut(Reason),
}

fn cut_off(e: tokio::task::JoinError) -> Error {
    Error::internal("a file was not read").with_source(e)
}

/// Reads footers.
#[derive(Clone)]
pub(super) struct Footers {
    storage: Arc<Storage>,
    room: Arc<Semaphore>,
}

impl Footers {
    pub fn new(storage: Arc<Storage>) -> Footers {
        Footers { storage, room: Arc::new(Semaphore::new((BYTES_AT_ONCE / ROOM_UNIT) as usize)) }
    }

    /// Describes all candidates for a table, in their order.
    pub async fn describe(&self, candidates: &[Candidate], table: &Arc<TableShape>) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(candidates.len());
        for candidates in candidates.chunks(FILES_PLANNED) {
            let reads = candidates.iter().map(|candidate| {
                let (this, table, candidate) = (self.clone(), table.clone(), candidate.clone());
                // a task each, so that footers are unpacked on all cores
                async move { tokio::spawn(async move { this.describe_one(&candidate, &table).await }).await }
            });
            let reads: Vec<_> = reads.collect();
            let mut reads = stream::iter(reads).buffered(FILES_AT_ONCE);
            while let Some(read) = reads.next().await {
                outcomes.push(read.map_err(cut_off)??);
            }
        }
        Ok(outcomes)
    }

    /// What the table would have to become for all candidates to fit, each difference once; nothing of one that cannot be read.
    pub async fn differences(&self, candidates: &[Candidate], table: &Arc<TableShape>) -> Result<Vec<Difference>> {
        let mut all: Vec<Difference> = Vec::new();
        let each = |_: &Candidate, found: Vec<Difference>| {
            found.into_iter().for_each(|difference| {
                if !all.contains(&difference) {
                    all.push(difference);
                }
            });
        };
        self.of_each(candidates, table, |footer, table| footer.differences(table), each).await?;
        Ok(all)
    }

    /// The different columns that candidates have, each with one that has them; nothing of those that cannot be read.
    pub async fn fields(
        &self,
        candidates: &[Candidate],
        table: &Arc<TableShape>,
    ) -> Result<Vec<(Candidate, Vec<Field>)>> {
        let mut all: Vec<(Candidate, Vec<Field>)> = Vec::new();
        let each = |candidate: &Candidate, found: Vec<Field>| {
            if all.iter().all(|(_, known)| *known != found) {
                all.push((candidate.clone(), found));
            }
        };
        self.of_each(candidates, table, |footer, table| footer.fields(table), each).await?;
        Ok(all)
    }

    async fn of_each<T: Send + 'static>(
        &self,
        candidates: &[Candidate],
        table: &Arc<TableShape>,
        of: fn(&Footer, &TableShape) -> Result<T, Reason>,
        mut each: impl FnMut(&Candidate, T),
    ) -> Result<()> {
        for candidates in candidates.chunks(FILES_PLANNED) {
            let reads = candidates.iter().map(|candidate| {
                let (this, table, candidate) = (self.clone(), table.clone(), candidate.clone());
                let read = async move {
                    let footer = this.footer(&candidate).await?;
                    Ok::<_, Error>(footer.ok().and_then(|footer| of(&footer, &table).ok()))
                };
                async move { tokio::spawn(read).await.map_err(cut_off)? }
            });
            let reads: Vec<_> = reads.collect();
            let mut found = stream::iter(reads).buffered(FILES_AT_ONCE).zip(stream::iter(candidates));
            while let Some((found, candidate)) = found.next().await {
                if let Some(found) = found? {
                    each(candidate, found);
                }
            }
        }
        Ok(())
    }

    async fn describe_one(&self, candidate: &Candidate, table: &TableShape) -> Result<Outcome> {
        let footer = match self.footer(candidate).await? {
            Ok(footer) => footer,
            Err(reason) => return Ok(Outcome::LeftOut(reason)),
        };
        if footer.rows() == 0 {
            return Ok(Outcome::Empty);
        }
        let (folders, mut read) = (folders(candidate.below()), BTreeMap::new());
        loop {
            match footer.describe(candidate.location.as_str(), table, &folders, &read) {
                Ok(Described::File(file)) => return Ok(Outcome::File(file)),
                Ok(Described::Needs(needs)) => {
                    for (at, column) in needs {
                        match self.one_value(candidate, &footer, table, at, column).await? {
                            Ok(value) => drop(read.insert(at, value)),
                            Err(reason) => return Ok(Outcome::LeftOut(reason)),
                        }
                    }
                }
                Err(reason) => return Ok(Outcome::LeftOut(reason)),
            }
        }
    }

    async fn footer(&self, candidate: &Candidate) -> Result<Result<Box<Footer>, Reason>> {
        let size = candidate.size_bytes;
        if size == 0 {
            return Ok(Err(reason("unreadable", "it is empty: not even a footer is in it")));
        }
        let mut wanted = TAIL_BYTES.min(size);
        loop {
            let _room = self.room(wanted).await?;
            let last = match self.part(&candidate.location, size - wanted..size).await? {
                Ok(last) => last,
                Err(reason) => return Ok(Err(reason)),
            };
            match read_footer(&last, size) {
                Ok(FooterRead::Footer(footer)) => return Ok(Ok(footer)),
                Ok(FooterRead::Needs(needs)) => wanted = needs.min(size),
                Err(reason) => return Ok(Err(self.other_format(candidate, reason).await?)),
            }
        }
    }

    /// The same reason, or that it is of a format that is known and not taken.
    async fn other_format(&self, candidate: &Candidate, unreadable: Reason) -> Result<Reason> {
        if unreadable.word != "unreadable" || candidate.size_bytes < 4 {
            return Ok(unreadable);
        }
        let format = match self.part(&candidate.location, 0..4).await? {
            Ok(first) if first.starts_with(b"ORC") => "an ORC file",
            Ok(first) if first.starts_with(b"Obj\x01") => "an Avro file",
            _ => return Ok(unreadable),
        };
        Ok(reason("format", format!("it is {format}: only Parquet is appended; load it with an engine")))
    }

    async fn one_value(
        &self,
        candidate: &Candidate,
        footer: &Footer,
        table: &TableShape,
        at: usize,
        column: usize,
    ) -> Result<Result<OneValue, Reason>> {
        let ranges = match footer.ranges(column) {
            Ok(ranges) => ranges,
            Err(reason) => return Ok(Err(reason)),
        };
        let field = &table.spec.fields[at];
        let bytes = ranges.iter().map(|range| range.end - range.start).sum();
        if bytes > COLUMN_BYTES_MAX {
            let message = format!(
                "its column {} must be read to tell its partition, and has {bytes} bytes, more than {COLUMN_BYTES_MAX}: write it with statistics",
                field.source_name
            );
            return Ok(Err(reason("limits", message)));
        }
        let _room = self.room(bytes).await?;
        let mut chunks: Vec<Bytes> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match self.part(&candidate.location, range).await? {
                Ok(chunk) => chunks.push(chunk),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(footer.one_value(column, field, &chunks))
    }

    /// A part of a file; a file that has gone or become shorter is left out.
    async fn part(&self, location: &Location, range: std::ops::Range<u64>) -> Result<Result<Bytes, Reason>> {
        match self.storage.read_range(location, range).await {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(e) if e.kind() == Kind::NotFound => Ok(Err(reason("gone", "it is gone"))),
            Err(e) if e.kind() == Kind::Unavailable => Ok(Err(reason("unreadable", e.message().to_owned()))),
            Err(e) => Err(e),
        }
    }

    async fn room(&self, bytes: u64) -> Result<tokio::sync::OwnedSemaphorePermit> {
        let units = bytes.min(BYTES_AT_ONCE).div_ceil(ROOM_UNIT).max(1);
        let permit = self.room.clone().acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)).await;
        permit.map_err(|e| Error::internal("the room for footers is closed").with_source(e))
    }
}
