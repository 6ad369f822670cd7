//! The order of the rows before and after the map.
//!
//! Rows with one path next to each other are a run, so that a sorted file is as many runs as it has paths, and moving runs sorts it anew.
//! What must hold: the pieces that come out are all rows that went in, each once, and in order of their path's bytes and then of their
//! position. Rows that agree in both keep their order.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use ::parquet::data_type::{ByteArrayType, Int64Type};

use super::Limits;
use super::footer::Source;
use crate::format::location::LocationMap;
use crate::format::parquet::{Batches, Budget, Chunk, Fault, damaged};

/// What a path takes beside its text: its place in a list and in an index.
const PATH_OVERHEAD_BYTES: u64 = 128;

/// The rows in the order in which they are written.
pub(super) struct Order {
    /// The mapped paths.
    pub(super) paths: Vec<String>,
    /// All rows.
    pub(super) pieces: Vec<Piece>,
    /// Whether the rows are in another order than before.
    pub(super) resorted: bool,
    /// What is left of the memory for sorting.
    pub(super) memory: Budget,
}

/// Rows next to each other, with one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which of the paths.
    pub(super) path: usize,
    /// Which rows of the source, counted over all row groups.
    pub(super) rows: Range<u64>,
}

/// Reads the paths and positions and finds the order of the rows.
pub(super) fn find(source: &Source, map: &LocationMap, limits: &Limits) -> Result<Order, Fault> {
    let mut runs = Runs::new(limits);
    for chunk in source.chunks(source.file_path) {
        let mut batches = Batches::<ByteArrayType>::open(chunk);
        while let Some(batch) = batches.next_batch()? {
            present(chunk, &batch.definition)?;
            batch.values.iter().try_for_each(|path| runs.add_path(path.data()))?;
        }
    }
    each_position(source, |at| runs.add_position(at))?;
    let rows = source.rows();
    runs.order(map, |memory| {
        memory.take(rows.saturating_mul(size_of::<i64>() as u64))?;
        let mut positions = Vec::new();
        each_position(source, |at| positions.push(at))?;
        Ok(positions)
    })
}

fn each_position(source: &Source, mut position: impl FnMut(i64)) -> Result<(), Fault> {
    for chunk in source.chunks(source.pos) {
        let mut batches = Batches::<Int64Type>::open(chunk);
        while let Some(batch) = batches.next_batch()? {
            present(chunk, &batch.definition)?;
            batch.values.iter().for_each(|at| position(*at));
        }
    }
    Ok(())
}

/// A delete without a path or a position deletes nothing, and nobody can have meant it.
fn present(chunk: &Chunk, definition: &[i16]) -> Result<(), Fault> {
    let column = chunk.column();
    if definition.iter().any(|level| *level < column.max_def_level()) {
        return damaged(format!("a row's {} is null", column.name()));
    }
    Ok(())
}

/// The rows as they are in the source.
struct Runs {
    paths: Vec<Arc<str>>,
    by_text: HashMap<Arc<str>, usize>,
    runs: Vec<Run>,
    /// The run and the row that the next position belongs to.
    next: (usize, u64),
    path_bytes: Budget,
    memory: Budget,
}

/// Rows with one path next to each other.
struct Run {
    piece: Piece,
    first_position: i64,
    last_position: i64,
    ascends: bool,
}

impl Run {
    /// Whether rows of `next`, which has the same path, may come right behind.
    fn precedes(&self, next: &Run) -> bool {
        self.ascends && next.ascends && self.last_position <= next.first_position
    }
}

impl Runs {
    fn new(limits: &Limits) -> Runs {
        let path_bytes = Budget::new(limits.path_bytes, "its different paths take more than {} bytes");
        let memory =
            Budget::new(limits.sort_bytes, "to sort it by path and position takes more than {} bytes of memory");
        let (paths, by_text, runs) = (Vec::new(), HashMap::new(), Vec::new());
        Runs { paths, by_text, runs, next: (0, 0), path_bytes, memory }
    }

    /// The next row's path.
    fn add_path(&mut self, path: &[u8]) -> Result<(), Fault> {
        let last =
            self.runs.last_mut().filter(|run| self.paths.get(run.piece.path).map(|is| is.as_bytes()) == Some(path));
        if let Some(run) = last {
            run.piece.rows.end += 1;
            return Ok(());
        }
        let Ok(text) = std::str::from_utf8(path) else { return damaged("a path is not UTF-8") };
        let path = match self.by_text.get(text) {
            Some(path) => *path,
            None => {
                self.path_bytes.take(text.len() as u64 + PATH_OVERHEAD_BYTES)?;
                let text: Arc<str> = text.into();
                self.paths.push(text.clone());
                self.by_text.insert(text, self.paths.len() - 1);
                self.paths.len() - 1
            }
        };
        self.memory.take(size_of::<Run>() as u64)?;
        let row = self.runs.last().map_or(0, |run| run.piece.rows.end);
        let piece = Piece { path, rows: row..row + 1 };
        self.runs.push(Run { piece, first_position: 0, last_position: 0, ascends: true });
        Ok(())
    }

    /// The next row's position; all paths are there before.
    fn add_position(&mut self, at: i64) {
        let (place, row) = self.next;
        let Some(run) = self.runs.get_mut(place) else { return };
        if row == run.piece.rows.start {
            run.first_position = at;
        } else if at < run.last_position {
            run.ascends = false;
        }
        run.last_position = at;
        self.next = (place + usize::from(row + 1 == run.piece.rows.end), row + 1);
    }

    /// Maps the paths and sorts the runs by them; the rows of a path are looked at one by one, with their positions, only if its runs
    /// are not in order.
    fn order(
        mut self,
        map: &LocationMap,
        positions: impl FnOnce(&mut Budget) -> Result<Vec<i64>, Fault>,
    ) -> Result<Order, Fault> {
        let mut paths = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            let mapped = map.map(path).map_err(Fault::Other)?.into_owned();
            self.path_bytes.take(mapped.len() as u64)?;
            paths.push(mapped);
        }
        let ranks = ranks(&paths);
        let rank = |run: &Run| ranks.get(run.piece.path).copied().unwrap_or_default();
        let ordered = |two: &[Run]| match two {
            [a, b] => rank(a) < rank(b) || (rank(a) == rank(b) && a.precedes(b)),
            _ => true,
        };
        let resorted = !(self.runs.windows(2).all(ordered) && self.runs.iter().all(|run| run.ascends));
        let mut pieces = Vec::new();
        if resorted {
            self.memory.take((size_of::<Piece>() * self.runs.len()) as u64)?;
            self.runs.sort_by_key(rank);
            let (mut unread, mut read) = (Some(positions), Vec::new());
            for same in self.runs.chunk_by(|a, b| rank(a) == rank(b)) {
                if same.windows(2).all(ordered) && same.iter().all(|run| run.ascends) {
                    same.iter().for_each(|run| push(&mut pieces, run.piece.clone()));
                } else {
                    if let Some(positions) = unread.take() {
                        read = positions(&mut self.memory)?;
                    }
                    by_position(same, &read, &mut pieces, &mut self.memory)?;
                }
            }
        } else {
            pieces.extend(self.runs.into_iter().map(|run| run.piece));
        }
        Ok(Order { paths, pieces, resorted, memory: self.memory })
    }
}

/// Each path's place in the order of their bytes; paths that were mapped to one place share it.
fn ranks(paths: &[String]) -> Vec<usize> {
    let mut sorted: Vec<usize> = (0..paths.len()).collect();
    sorted.sort_by_key(|path| paths.get(*path));
    let mut ranks = vec![0; paths.len()];
    let (mut rank, mut previous) = (0, None);
    for path in sorted {
        let text = paths.get(path);
        rank += usize::from(previous.is_some_and(|previous| previous != text));
        previous = Some(text);
        if let Some(at) = ranks.get_mut(path) {
            *at = rank;
        }
    }
    ranks
}

/// Sorts the rows of runs that have one path by their position.
fn by_position(same: &[Run], positions: &[i64], to: &mut Vec<Piece>, memory: &mut Budget) -> Result<(), Fault> {
    let count: u64 = same.iter().map(|run| run.piece.rows.end - run.piece.rows.start).sum();
    memory.take(count.saturating_mul((2 * size_of::<u64>() + size_of::<Piece>()) as u64))?;
    let mut rows: Vec<u64> = same.iter().flat_map(|run| run.piece.rows.clone()).collect();
    // runs come in their order, and the sort is stable
    rows.sort_by_key(|row| usize::try_from(*row).ok().and_then(|row| positions.get(row)));
    let path = same.first().map_or(0, |run| run.piece.path);
    rows.into_iter().for_each(|row| push(to, Piece { path, rows: row..row + 1 }));
    Ok(())
}

/// Adds a piece, to the last one if it continues it.
fn push(to: &mut Vec<Piece>, piece: Piece) {
    match to.last_mut() {
        Some(last) if last.path == piece.path && last.rows.end == piece.rows.start => last.rows.end = piece.rows.end,
        _ => to.push(piece),
    }
}
