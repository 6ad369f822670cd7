//! The pages of one column of a row group, unpacked one at a time for the `parquet` crate to decode.
//!
//! The crate's own reader of pages trusts their headers. What must hold here: every header is read before any page is unpacked; a page
//! unpacks to what its header states and has that checksum, if it states one; what a decoder takes on trust (a dictionary's size,
//! lengths) was checked.

use std::sync::Arc;

use ::parquet::basic::{Compression, Encoding, Type as Physical};
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::schema::types::ColumnDescPtr;
use bytes::Bytes;

use super::header::{Header, PageKind, is_dictionary};
use super::{Budget, Fault, codec, damaged, lengths, refused};

/// What all pages of a file share.
pub(in crate::format) struct Bounds {
    pub(in crate::format) pages: Budget,
    pub(in crate::format) values: Budget,
    pub(in crate::format) unpacked: Budget,
    pub(in crate::format) page_bytes: u64,
    pub(in crate::format) repeated_values: u64,
}

/// One column of a row group: its bytes, and where its pages are in them.
pub(in crate::format) struct Chunk {
    bytes: Bytes,
    codec: Compression,
    column: ColumnDescPtr,
    rows: u64,
    levels: u64,
    pages: Vec<Header>,
    page_bytes_max: u64,
}

impl Chunk {
    /// Reads the headers of the pages in `bytes`, which are those of a row group with `rows` rows.
    pub(in crate::format) fn open(
        bytes: Bytes,
        meta: &ColumnChunkMetaData,
        rows: u64,
        bounds: &mut Bounds,
    ) -> Result<Chunk, Fault> {
        let (column, codec) = (meta.column_descr_ptr(), meta.compression());
        if codec == Compression::LZO {
            return refused("it is compressed with LZO");
        }
        let page_bytes_max = bounds.page_bytes;
        let mut chunk = Chunk { bytes, codec, column, rows, levels: 0, pages: Vec::new(), page_bytes_max };
        let levels = u64::try_from(meta.num_values()).unwrap_or_default();
        bounds.values.take(levels)?;
        let repeats = chunk.column.max_rep_level() > 0;
        if repeats && levels > bounds.repeated_values {
            return refused(format!("a nested column of it has more than {} values", bounds.repeated_values));
        }
        let mut at = 0;
        // old writers padded what is behind the last page
        while at < chunk.bytes.len() && (chunk.levels < levels || levels == 0) {
            bounds.pages.take(1)?;
            if let Some(header) = Header::read(&chunk.bytes, &mut at, &chunk.column)? {
                let bytes = header.unpacked_bytes.max(header.body.len()) as u64;
                if bytes > page_bytes_max {
                    return refused(format!("it has a page of more than {page_bytes_max} bytes"));
                }
                bounds.unpacked.take(bytes)?;
                chunk.push(header)?;
            }
        }
        if chunk.levels != levels || (!repeats && levels != rows) {
            return damaged(format!("its column {} has other rows than its row group", chunk.column.path().string()));
        }
        Ok(chunk)
    }

    fn push(&mut self, header: Header) -> Result<(), Fault> {
        if header.kind == PageKind::Dictionary {
            if !self.pages.is_empty() {
                return damaged("a dictionary is not the first page of its column");
            }
        } else if header.count == 0 {
            // the crate would take it for the last one
            return Ok(());
        } else if is_dictionary(header.encoding) && !self.has_dictionary() {
            return damaged("a page's dictionary is missing");
        }
        if header.kind != PageKind::Dictionary {
            self.levels += u64::from(header.count);
        }
        self.pages.push(header);
        Ok(())
    }

    pub(in crate::format) fn column(&self) -> &ColumnDescPtr {
        &self.column
    }

    pub(in crate::format) fn rows(&self) -> u64 {
        self.rows
    }

    pub(in crate::format) fn codec(&self) -> Compression {
        self.codec
    }

    /// How many values and nulls it has; if the column does not repeat, that is rows.
    pub(in crate::format) fn levels(&self) -> u64 {
        self.levels
    }

    /// The same, page by page.
    pub(in crate::format) fn page_levels(&self) -> Vec<u32> {
        self.data().map(|page| page.count).collect()
    }

    pub(in crate::format) fn has_dictionary(&self) -> bool {
        self.pages.first().is_some_and(|page| page.kind == PageKind::Dictionary)
    }

    /// The encodings of its values.
    pub(in crate::format) fn encodings(&self) -> impl Iterator<Item = Encoding> {
        self.data().map(|page| page.encoding)
    }

    /// Its pages, unpacked when they are asked for.
    pub(in crate::format) fn reader(self: &Arc<Self>) -> Box<dyn PageReader> {
        Box::new(Pages { chunk: self.clone(), next: 0 })
    }

    fn data(&self) -> impl Iterator<Item = &Header> {
        self.pages.iter().filter(|page| page.kind != PageKind::Dictionary)
    }

    fn page(&self, header: &Header) -> Result<Page, Fault> {
        let body = self.bytes.slice(header.body.clone());
        if let Some(checksum) = header.checksum {
            let mut crc = flate2::Crc::new();
            crc.update(&body);
            if crc.sum() != checksum {
                return damaged("a page does not have the checksum that its header states");
            }
        }
        let buf = self.unpack(header, body)?;
        let Header { count: num_values, encoding, .. } = *header;
        if header.kind == PageKind::Dictionary {
            if u64::from(num_values) > most_values(&self.column, buf.len() as u64) {
                return damaged("a dictionary is shorter than its header states");
            }
            return Ok(Page::DictionaryPage { buf, num_values, encoding, is_sorted: false });
        }
        let Some(values) = self.values(header, &buf) else {
            return damaged("a page's levels are longer than the page");
        };
        lengths::check(encoding, values, u64::from(num_values), self.page_bytes_max).or_else(damaged)?;
        let (def_level_encoding, rep_level_encoding, statistics) = (Encoding::RLE, Encoding::RLE, None);
        Ok(match header.kind {
            PageKind::V2(v2) => Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls: v2.nulls,
                num_rows: v2.rows,
                def_levels_byte_len: v2.definition_bytes,
                rep_levels_byte_len: v2.repetition_bytes,
                is_compressed: v2.compressed,
                statistics,
            },
            _ => Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics },
        })
    }

    fn unpack(&self, header: &Header, body: Bytes) -> Result<Bytes, Fault> {
        let levels_bytes = match header.kind {
            PageKind::V2(v2) if !v2.compressed => return Ok(body),
            PageKind::V2(v2) => v2.levels_bytes(),
            _ => 0,
        };
        if self.codec == Compression::UNCOMPRESSED {
            return Ok(body);
        }
        let (levels, packed) = body.split_at_checked(levels_bytes).unwrap_or_default();
        match header.unpacked_bytes.saturating_sub(levels_bytes) {
            // without values there need not even be an empty frame
            0 => Ok(body.slice(..levels.len())),
            length if levels.is_empty() => Ok(codec::unpack(self.codec, packed, length)?.into()),
            length => Ok([levels, &codec::unpack(self.codec, packed, length)?].concat().into()),
        }
    }

    /// What is behind the levels of a data page.
    fn values<'a>(&self, header: &Header, buf: &'a Bytes) -> Option<&'a [u8]> {
        let mut start = 0_usize;
        if let PageKind::V2(v2) = header.kind {
            start = v2.levels_bytes();
        } else {
            for _ in [self.column.max_rep_level(), self.column.max_def_level()].iter().filter(|max| **max > 0) {
                let length = buf.get(start..)?.first_chunk::<4>()?;
                start = start.checked_add(4)?.checked_add(u32::from_le_bytes(*length) as usize)?;
            }
        }
        buf.get(start..)
    }
}

/// How many values a dictionary of this size can have at most.
fn most_values(column: &ColumnDescPtr, bytes: u64) -> u64 {
    bytes
        / match column.physical_type() {
            Physical::BOOLEAN | Physical::INT32 | Physical::FLOAT | Physical::BYTE_ARRAY => 4,
            Physical::INT64 | Physical::DOUBLE => 8,
            Physical::INT96 => 12,
            Physical::FIXED_LEN_BYTE_ARRAY => u64::from(column.type_length().unsigned_abs().max(1)),
        }
}

/// Hands out the pages in turn.
struct Pages {
    chunk: Arc<Chunk>,
    next: usize,
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let Some(header) = self.chunk.pages.get(self.next) else { return Ok(None) };
        self.next += 1;
        match self.chunk.page(header) {
            Ok(page) => Ok(Some(page)),
            Err(Fault::Damaged(why) | Fault::Refused(why)) => Err(ParquetError::General(why)),
            Err(Fault::Other(error)) => Err(ParquetError::General(error.to_string())),
        }
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        Ok(self.chunk.pages.get(self.next).map(|header| {
            let num_rows = match header.kind {
                PageKind::V2(v2) => Some(v2.rows as usize),
                _ => None,
            };
            let is_dict = header.kind == PageKind::Dictionary;
            PageMetadata { num_rows, num_levels: (!is_dict).then_some(header.count as usize), is_dict }
        }))
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.next += 1;
        Ok(())
    }
}

impl Iterator for Pages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
