//! Puts the new file together: row groups as large as before, in the order that was found.
//!
//! What must hold: schema, metadata and codecs are the source's, and so are dictionaries and encodings where the source's pages have
//! them; bloom filters are left out, because they hold the paths of before and nothing needs them.

use std::ops::Range;
use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::file::metadata::{KeyValue, RowGroupMetaData, SortingColumn};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter};

use super::column::{self, Loaded};
use super::footer::{Group, Source};
use super::order::{Order, Piece};
use super::{FILE_PATH, Limits, POS, Rewritten};
use crate::format::parquet::{BATCH_ROWS, Budget, Fault, damaged};

/// As other writers name themselves, so that readers can parse it.
const CREATED_BY: &str = concat!("lifeboat version ", env!("CARGO_PKG_VERSION"));
/// Longer values are cut in statistics; a path is not.
const STATISTICS_BYTES_MAX: usize = 4096;
/// The level at which Iceberg's writers pack by default.
const ZSTD_LEVEL: i32 = 3;
/// The source's schema in Arrow's words: it may know types that the columns do not have any more.
const ARROW_SCHEMA: &str = "ARROW:schema";

/// Writes the file.
pub(super) fn write(source: &Source, mut order: Order, limits: &Limits) -> Result<Rewritten, Fault> {
    let schema = source.metadata.file_metadata().schema_descr().root_schema_ptr();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties(source, limits)?))?;
    let loaded = if order.resorted { load(source, &mut order.memory)? } else { Vec::new() };
    let paths = order.paths.iter().map(|path| path.as_str().into()).collect();
    let values = Budget::new(limits.value_bytes, "its values take more than {} bytes when each is written out");
    let mut rows = Rows { source, paths, loaded, values };
    let mut pieces = order.pieces.iter().cloned();
    let mut rest = None;
    for group in &source.groups {
        let of_group = take(&mut rest, &mut pieces, group.rows);
        let mut to = writer.next_row_group()?;
        rows.write(group, &of_group, &mut to)?;
        to.close()?;
    }
    let groups = writer.flushed_row_groups().to_vec();
    let bytes = writer.into_inner()?;
    let rows = groups.iter().map(|group| group.num_rows().unsigned_abs()).sum();
    if rows != source.rows() {
        return damaged("not all of its rows could be written");
    }
    let path = |piece: Option<&Piece>| piece.and_then(|piece| order.paths.get(piece.path)).cloned();
    Ok(Rewritten {
        bytes,
        rows,
        resorted: order.resorted,
        column_sizes: column_sizes(source, &groups),
        split_offsets: groups.iter().filter_map(|group| Some(group.columns().first()?.byte_range().0 as i64)).collect(),
        first_path: path(order.pieces.first()),
        last_path: path(order.pieces.last()),
    })
}

/// The next pieces with so many rows; `rest` is what is left of a piece that ends behind them.
fn take(rest: &mut Option<Piece>, pieces: &mut impl Iterator<Item = Piece>, mut rows: u64) -> Vec<Piece> {
    let mut taken = Vec::new();
    while rows > 0
        && let Some(Piece { path, rows: Range { start, end } }) = rest.take().or_else(|| pieces.next())
    {
        let cut = end.min(start.saturating_add(rows));
        taken.push(Piece { path, rows: start..cut });
        *rest = (cut < end).then_some(Piece { path, rows: cut..end });
        rows -= cut - start;
    }
    taken
}

/// All columns but the paths, in memory.
fn load(source: &Source, memory: &mut Budget) -> Result<Vec<Option<Box<dyn Loaded>>>, Fault> {
    let columns = 0..source.columns().len();
    let load = |column| match column {
        column if column == source.file_path => Ok(None),
        column => column::load(&source.chunks(column).collect::<Vec<_>>(), memory),
    };
    columns.map(load).collect()
}

/// Where the rows of the new file come from.
struct Rows<'a> {
    source: &'a Source,
    paths: Vec<ByteArray>,
    /// By column; empty when rows stay in their order.
    loaded: Vec<Option<Box<dyn Loaded>>>,
    /// What all values but the paths may take.
    values: Budget,
}

impl Rows<'_> {
    /// Writes the row group that has the place of `group` and these rows.
    fn write(
        &mut self,
        group: &Group,
        pieces: &[Piece],
        to: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    ) -> Result<(), Fault> {
        let rows: Vec<Range<u64>> = pieces.iter().map(|piece| piece.rows.clone()).collect();
        for (column, chunk) in group.chunks.iter().enumerate() {
            let Some(mut to) = to.next_column()? else { return damaged("a column has no place in its schema") };
            match self.loaded.get(column).and_then(Option::as_ref) {
                _ if column == self.source.file_path => {
                    self.write_paths(pieces, chunk.column().max_def_level(), &mut to)?;
                }
                Some(loaded) => loaded.write(&rows, &mut to, &mut self.values)?,
                None => column::copy(chunk, &mut to, &mut self.values)?,
            }
            to.close()?;
        }
        Ok(())
    }

    fn write_paths(&self, pieces: &[Piece], level: i16, to: &mut SerializedColumnWriter<'_>) -> Result<(), Fault> {
        let levels = [level; BATCH_ROWS];
        let mut batch = Vec::with_capacity(BATCH_ROWS);
        let mut write = |batch: &mut Vec<ByteArray>| -> Result<(), Fault> {
            let levels = levels.get(..batch.len()).filter(|_| level > 0);
            to.typed::<ByteArrayType>().write_batch(batch, levels, None)?;
            batch.clear();
            Ok(())
        };
        for Piece { path, rows } in pieces {
            let Some(path) = self.paths.get(*path) else { return damaged("a row has no path") };
            for _ in rows.clone() {
                batch.push(path.clone());
                if batch.len() == BATCH_ROWS {
                    write(&mut batch)?;
                }
            }
        }
        write(&mut batch)
    }
}

/// How the source is written, as far as its pages show it.
fn properties(source: &Source, limits: &Limits) -> Result<WriterProperties, Fault> {
    let file = source.metadata.file_metadata();
    let metadata = file.key_value_metadata().map(|all| all.iter().filter(|one| one.key != ARROW_SCHEMA));
    let metadata: Option<Vec<KeyValue>> = metadata.map(|kept| kept.cloned().collect());
    let mut properties = WriterProperties::builder()
        // the second version's pages and encodings are not read everywhere
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(CREATED_BY.to_owned())
        .set_key_value_metadata(metadata.filter(|kept| !kept.is_empty()))
        .set_sorting_columns(sorting(source))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES_MAX));
    for column in 0..source.columns().len() {
        properties = column_properties(properties, source, column, limits)?;
    }
    Ok(properties.build())
}

fn column_properties(
    properties: WriterPropertiesBuilder,
    source: &Source,
    column: usize,
    limits: &Limits,
) -> Result<WriterPropertiesBuilder, Fault> {
    let mut chunks = source.chunks(column).peekable();
    let Some(first) = chunks.peek() else { return Ok(properties) };
    let path = first.column().path().clone();
    let codec = match first.codec() {
        Compression::ZSTD(_) => Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?),
        codec => codec,
    };
    let properties = properties.set_column_compression(path.clone(), codec);
    if column == source.file_path {
        // rows in order make its places short runs, however large the dictionary
        let limit = usize::try_from(limits.path_bytes).unwrap_or(usize::MAX);
        let properties = properties.set_column_dictionary_enabled(path.clone(), true);
        return Ok(properties.set_column_dictionary_page_size_limit(path, limit));
    }
    let (mut dictionary, mut encoding) = (false, None);
    for chunk in chunks {
        dictionary |= chunk.has_dictionary();
        encoding = encoding.or_else(|| chunk.encodings().find(|encoding| is_kept(*encoding)));
    }
    let properties = properties.set_column_dictionary_enabled(path.clone(), dictionary);
    Ok(match encoding {
        Some(encoding) => properties.set_column_encoding(path, encoding),
        None => properties,
    })
}

/// Encodings that somebody chose; the others are the writer's own choice.
fn is_kept(encoding: Encoding) -> bool {
    use Encoding::{BYTE_STREAM_SPLIT, DELTA_BINARY_PACKED, DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY};
    matches!(encoding, BYTE_STREAM_SPLIT | DELTA_BINARY_PACKED | DELTA_BYTE_ARRAY | DELTA_LENGTH_BYTE_ARRAY)
}

/// What the source says that it is sorted by, if that is how the new file is.
fn sorting(source: &Source) -> Option<Vec<SortingColumn>> {
    let mut stated = source.metadata.row_groups().iter().map(|group| group.sorting_columns());
    let first = stated.next()??;
    let ours = [source.file_path, source.pos];
    let holds = |by: &SortingColumn, column: &usize| usize::try_from(by.column_idx) == Ok(*column) && !by.descending;
    let fits = first.len() <= ours.len() && first.iter().zip(&ours).all(|(by, column)| holds(by, column));
    (fits && stated.all(|other| other == Some(first))).then(|| first.clone())
}

/// What columns take in the file, by field id; paths and positions have theirs even where the file leaves it out.
fn column_sizes(source: &Source, groups: &[RowGroupMetaData]) -> Vec<(i32, i64)> {
    let size =
        |column: usize| groups.iter().filter_map(|group| Some(group.columns().get(column)?.compressed_size())).sum();
    let id = |column: usize| match source.columns().get(column)?.self_type().get_basic_info() {
        _ if column == source.file_path => Some(FILE_PATH),
        _ if column == source.pos => Some(POS),
        info => info.has_id().then(|| info.id()),
    };
    (0..source.columns().len()).filter_map(|column| Some((id(column)?, size(column)))).collect()
}
