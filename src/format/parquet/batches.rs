//! The values of one column of a row group, batch by batch.
//!
//! What must hold: values, nulls and nesting are those of the pages; what is in memory at once is a batch.

use std::sync::Arc;

use ::parquet::column::reader::{ColumnReaderImpl, get_column_reader, get_typed_column_reader};
use ::parquet::data_type::{AsBytes, DataType};

use super::pages::Chunk;
use super::{Fault, damaged};

/// Most rows that are read at once.
pub(in crate::format) const BATCH_ROWS: usize = 4096;
/// The same for columns whose rows have any number of values.
const BATCH_ROWS_REPEATED: usize = 256;

/// Names the type of a column's values for an expression.
macro_rules! typed {
    (@ $is:ty, $type:ident => $body:expr) => {{
        type $type = $is;
        $body
    }};
    ($physical:expr, $type:ident => $body:expr) => {
        match $physical {
            ::parquet::basic::Type::BOOLEAN => $crate::format::parquet::typed!(@ ::parquet::data_type::BoolType, $type => $body),
            ::parquet::basic::Type::INT32 => $crate::format::parquet::typed!(@ ::parquet::data_type::Int32Type, $type => $body),
            ::parquet::basic::Type::INT64 => $crate::format::parquet::typed!(@ ::parquet::data_type::Int64Type, $type => $body),
            ::parquet::basic::Type::INT96 => $crate::format::parquet::typed!(@ ::parquet::data_type::Int96Type, $type => $body),
            ::parquet::basic::Type::FLOAT => $crate::format::parquet::typed!(@ ::parquet::data_type::FloatType, $type => $body),
            ::parquet::basic::Type::DOUBLE => $crate::format::parquet::typed!(@ ::parquet::data_type::DoubleType, $type => $body),
            ::parquet::basic::Type::BYTE_ARRAY => $crate::format::parquet::typed!(@ ::parquet::data_type::ByteArrayType, $type => $body),
            ::parquet::basic::Type::FIXED_LEN_BYTE_ARRAY => $crate::format::parquet::typed!(@ ::parquet::data_type::FixedLenByteArrayType, $type => $body),
        }
    };
}

pub(in crate::format) use typed;

/// Rows of a column: a level for each value and null, a value for each that is not null.
pub(in crate::format) struct Batch<T: DataType> {
    pub(in crate::format) values: Vec<T::T>,
    pub(in crate::format) definition: Vec<i16>,
    pub(in crate::format) repetition: Vec<i16>,
}

impl<T: DataType> Default for Batch<T> {
    fn default() -> Self {
        Batch { values: Vec::new(), definition: Vec::new(), repetition: Vec::new() }
    }
}

impl<T: DataType> Batch<T> {
    /// What its values take when each is written out.
    pub(in crate::format) fn bytes(&self) -> u64 {
        self.values.iter().map(|value| value.as_bytes().len() as u64).sum()
    }
}

/// Reads a column of a row group batch by batch.
pub(in crate::format) struct Batches<T: DataType> {
    reader: ColumnReaderImpl<T>,
    chunk: Arc<Chunk>,
    /// Rows that are still to come, page by page from the last; a page is not left within a batch, so that no two are in memory.
    pages: Vec<u32>,
    rows_left: u64,
}

impl<T: DataType> Batches<T> {
    pub(in crate::format) fn open(chunk: &Arc<Chunk>) -> Batches<T> {
        let reader = get_typed_column_reader(get_column_reader(chunk.column().clone(), chunk.reader()));
        let mut pages = if chunk.column().max_rep_level() > 0 { Vec::new() } else { chunk.page_levels() };
        pages.reverse();
        Batches { reader, chunk: chunk.clone(), pages, rows_left: chunk.rows() }
    }

    /// The next rows; none behind the last.
    pub(in crate::format) fn next_batch(&mut self) -> Result<Option<Batch<T>>, Fault> {
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
