//! Moves the values of a column as they are: batch by batch in their order, or all of them in another.
//!
//! What must hold: values, nulls and nesting come out as they went in; what is moved at once is a batch or within a limit. The paths are
//! not moved here, because they change.

use std::ops::Range;
use std::sync::Arc;

use ::parquet::basic::Type as Physical;
use ::parquet::column::reader::{ColumnReaderImpl, get_column_reader, get_typed_column_reader};
use ::parquet::data_type::{
    AsBytes, BoolType, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type, Int64Type,
    Int96Type,
};
use ::parquet::file::writer::SerializedColumnWriter;

use super::pages::Chunk;
use super::{Budget, Fault, damaged};

/// Most rows that are moved at once.
pub(super) const BATCH_ROWS: usize = 4096;
/// The same for columns whose rows have any number of values.
const BATCH_ROWS_REPEATED: usize = 256;

/// Names the type of a column's values for an expression.
macro_rules! typed {
    (@ $is:ident, $type:ident => $body:expr) => {{
        type $type = $is;
        $body
    }};
    ($physical:expr, $type:ident => $body:expr) => {
        match $physical {
            Physical::BOOLEAN => typed!(@ BoolType, $type => $body),
            Physical::INT32 => typed!(@ Int32Type, $type => $body),
            Physical::INT64 => typed!(@ Int64Type, $type => $body),
            Physical::INT96 => typed!(@ Int96Type, $type => $body),
            Physical::FLOAT => typed!(@ FloatType, $type => $body),
            Physical::DOUBLE => typed!(@ DoubleType, $type => $body),
            Physical::BYTE_ARRAY => typed!(@ ByteArrayType, $type => $body),
            Physical::FIXED_LEN_BYTE_ARRAY => typed!(@ FixedLenByteArrayType, $type => $body),
        }
    };
}

/// Rows of a column: a level for each value and null, a value for each that is not null.
pub(super) struct Batch<T: DataType> {
    pub(super) values: Vec<T::T>,
    pub(super) definition: Vec<i16>,
    pub(super) repetition: Vec<i16>,
}

impl<T: DataType> Default for Batch<T> {
    fn default() -> Self {
        Batch { values: Vec::new(), definition: Vec::new(), repetition: Vec::new() }
    }
}

impl<T: DataType> Batch<T> {
    /// What its values take when each is written out.
    fn bytes(&self) -> u64 {
        self.values.iter().map(|value| value.as_bytes().len() as u64).sum()
    }

    fn write(&self, chunk: &Chunk, to: &mut SerializedColumnWriter<'_>, values: &mut Budget) -> Result<(), Fault> {
        values.take(self.bytes())?;
        let definition = (chunk.column().max_def_level() > 0).then_some(self.definition.as_slice());
        let repetition = (chunk.column().max_rep_level() > 0).then_some(self.repetition.as_slice());
        to.typed::<T>().write_batch(&self.values, definition, repetition)?;
        Ok(())
    }
}

/// Reads a column of a row group batch by batch.
pub(super) struct Batches<T: DataType> {
    reader: ColumnReaderImpl<T>,
    chunk: Arc<Chunk>,
    /// Rows that are still to come, page by page from the last; a page is not left within a batch, so that no two are in memory.
    pages: Vec<u32>,
    rows_left: u64,
}

impl<T: DataType> Batches<T> {
    pub(super) fn open(chunk: &Arc<Chunk>) -> Batches<T> {
        let reader = get_typed_column_reader(get_column_reader(chunk.column().clone(), chunk.reader()));
        let mut pages = if chunk.column().max_rep_level() > 0 { Vec::new() } else { chunk.page_levels() };
        pages.reverse();
        Batches { reader, chunk: chunk.clone(), pages, rows_left: chunk.rows() }
    }

    /// The next rows; none behind the last.
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch<T>>, Fault> {
        let repeats = self.chunk.column().max_rep_level() > 0;
        if self.rows_left == 0 {
            return if repeats { self.end() } else { Ok(None) };
        }
        let most = if repeats { BATCH_ROWS_REPEATED } else { self.page_rows() };
        let rows = most.min(usize::try_from(self.rows_left).unwrap_or(most));
        let mut batch = Batch::default();
        let (definition, repetition) = (Some(&mut batch.definition), Some(&mut batch.repetition));
        let (read, _, _) = self.reader.read_records(rows, definition, repetition, &mut batch.values)?;
        if read != rows {
            return damaged(format!("its column {} ends early", self.chunk.column().path().string()));
        }
        let column = self.chunk.column();
        let over = |levels: &[i16], max: i16| levels.iter().any(|level| *level > max);
        if over(&batch.definition, column.max_def_level()) || over(&batch.repetition, column.max_rep_level()) {
            return damaged(format!("its column {} nests deeper than its schema", column.path().string()));
        }
        self.rows_left -= rows as u64;
        Ok(Some(batch))
    }

    /// How many rows of the page that is being read make a batch.
    fn page_rows(&mut self) -> usize {
        let Some(page) = self.pages.last_mut() else { return BATCH_ROWS };
        let rows = (*page).min(BATCH_ROWS as u32);
        *page -= rows;
        if *page == 0 {
            self.pages.pop();
        }
        rows as usize
    }

    /// Only where rows repeat can a page hide more of them than the row group has.
    fn end(&mut self) -> Result<Option<Batch<T>>, Fault> {
        let mut batch = Batch::<T>::default();
        let (definition, repetition) = (Some(&mut batch.definition), Some(&mut batch.repetition));
        match self.reader.read_records(1, definition, repetition, &mut batch.values)? {
            (_, _, 0) => Ok(None),
            _ => {
                damaged(format!("its column {} has more rows than its row group", self.chunk.column().path().string()))
            }
        }
    }
}

/// Copies a column of a row group; `values` is what all values may take.
pub(super) fn copy(chunk: &Arc<Chunk>, to: &mut SerializedColumnWriter<'_>, values: &mut Budget) -> Result<(), Fault> {
    typed!(chunk.column().physical_type(), T => {
        let mut batches = Batches::<T>::open(chunk);
        while let Some(batch) = batches.next_batch()? {
            batch.write(chunk, to, values)?;
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
                    batch.write(&self.chunk, to, values)?;
                    (batch, batched) = (Batch::default(), 0);
                }
            }
        }
        if batched > 0 {
            batch.write(&self.chunk, to, values)?;
        }
        Ok(())
    }
}
