//! Moves the values of a column as they are: batch by batch in their order, or all of them in another.
//!
//! What must hold: values, nulls and nesting come out as they went in; what is moved at once is a batch or within a limit. The paths are
//! not moved here, because they change.

use std::ops::Range;
use std::sync::Arc;

use ::parquet::basic::Type as Physical;
use ::parquet::data_type::DataType;
use ::parquet::file::writer::SerializedColumnWriter;

use crate::format::parquet::{BATCH_ROWS, Batch, Batches, Budget, Chunk, Fault, damaged, typed};

fn write<T: DataType>(
    batch: &Batch<T>,
    chunk: &Chunk,
    to: &mut SerializedColumnWriter<'_>,
    values: &mut Budget,
) -> Result<(), Fault> {
    values.take(batch.bytes())?;
    let definition = (chunk.column().max_def_level() > 0).then_some(batch.definition.as_slice());
    let repetition = (chunk.column().max_rep_level() > 0).then_some(batch.repetition.as_slice());
    to.typed::<T>().write_batch(&batch.values, definition, repetition)?;
    Ok(())
}

/// Copies a column of a row group; `values` is what all values may take.
pub(super) fn copy(chunk: &Arc<Chunk>, to: &mut SerializedColumnWriter<'_>, values: &mut Budget) -> Result<(), Fault> {
    typed!(chunk.column().physical_type(), T => {
        let mut batches = Batches::<T>::open(chunk);
        while let Some(batch) = batches.next_batch()? {
            write(&batch, chunk, to, values)?;
        }
        Ok(())
    })
}

/// All rows of a column, to be written in another order.
pub(super) trait Loaded {
    /// Writes these rows; `values` is what all values may take.
    fn write(&self, rows: &[Range<u64>], to: &mut SerializedColumnWriter<'_>, values: &mut Budget)
    -> Result<(), Fault>;
}

/// Loads a column of all row groups into memory, of which there is `memory`.
pub(super) fn load(chunks: &[&Arc<Chunk>], memory: &mut Budget) -> Result<Option<Box<dyn Loaded>>, Fault> {
    let Some(first) = chunks.first() else { return Ok(None) };
    typed!(first.column().physical_type(), T => Ok(Some(Box::new(All::<T>::load(first, chunks, memory)?))))
}

struct All<T: DataType> {
    chunk: Arc<Chunk>,
    batch: Batch<T>,
    /// Where each row's levels begin, and at last where they end; empty when each row has one.
    levels_at: Vec<usize>,
    /// The same for values; empty when each row has one.
    values_at: Vec<usize>,
}

impl<T: DataType> All<T> {
    fn load(first: &Arc<Chunk>, chunks: &[&Arc<Chunk>], memory: &mut Budget) -> Result<Self, Fault> {
        let (optional, repeats) = (first.column().max_def_level() > 0, first.column().max_rep_level() > 0);
        let sum = |of: fn(&Chunk) -> u64| chunks.iter().map(|chunk| of(chunk)).sum::<u64>();
        let (levels, rows) = (sum(Chunk::levels), sum(Chunk::rows));
        let level_bytes = size_of::<T::T>() as u64 + 2 * u64::from(optional) + 2 * u64::from(repeats);
        let row_bytes = 8 * u64::from(optional) + 8 * u64::from(repeats);
        memory.take(levels.saturating_mul(level_bytes).saturating_add(rows.saturating_mul(row_bytes)))?;
        let varies = matches!(T::get_physical_type(), Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY);
        let mut all = Batch::<T>::default();
        for chunk in chunks {
            let mut batches = Batches::<T>::open(chunk);
            while let Some(batch) = batches.next_batch()? {
                if varies {
                    memory.take(batch.bytes())?;
                }
                all.values.extend(batch.values);
                all.definition.extend(batch.definition);
                all.repetition.extend(batch.repetition);
            }
        }
        let (mut levels_at, mut values_at) = (Vec::new(), Vec::new());
        if optional {
            let (most, mut values) = (first.column().max_def_level(), 0);
            for (level, definition) in all.definition.iter().enumerate() {
                if !repeats || all.repetition.get(level) == Some(&0) {
                    levels_at.push(level);
                    values_at.push(values);
                }
                values += usize::from(*definition == most);
            }
            levels_at.push(all.definition.len());
            values_at.push(values);
            if !repeats {
                levels_at = Vec::new();
            }
        }
        Ok(All { chunk: (*first).clone(), batch: all, levels_at, values_at })
    }

    /// Adds rows to a batch; none when they are not there.
    fn add(&self, rows: Range<usize>, to: &mut Batch<T>) -> Option<()> {
        let place = |at: &[usize]| match at {
            [] => Some(rows.clone()),
            at => Some(*at.get(rows.start)?..*at.get(rows.end)?),
        };
        to.values.extend_from_slice(self.batch.values.get(place(&self.values_at)?)?);
        if self.chunk.column().max_def_level() > 0 {
            to.definition.extend_from_slice(self.batch.definition.get(place(&self.levels_at)?)?);
        }
        if self.chunk.column().max_rep_level() > 0 {
            to.repetition.extend_from_slice(self.batch.repetition.get(place(&self.levels_at)?)?);
        }
        Some(())
    }
}

impl<T: DataType> Loaded for All<T> {
    fn write(
        &self,
        rows: &[Range<u64>],
        to: &mut SerializedColumnWriter<'_>,
        values: &mut Budget,
    ) -> Result<(), Fault> {
        let mut batch = Batch::<T>::default();
        let mut batched = 0;
        for rows in rows {
            let (mut start, end) = (rows.start as usize, rows.end as usize);
            while start < end {
                let next = end.min(start + (BATCH_ROWS - batched));
                if self.add(start..next, &mut batch).is_none() {
                    return damaged(format!("its column {} ends early", self.chunk.column().path().string()));
                }
                batched += next - start;
                start = next;
                if batched == BATCH_ROWS {
                    write(&batch, &self.chunk, to, values)?;
                    (batch, batched) = (Batch::default(), 0);
                }
            }
        }
        if batched > 0 {
            write(&batch, &self.chunk, to, values)?;
        }
        Ok(())
    }
}
