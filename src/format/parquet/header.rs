//! The header of a page (`PageHeader` of parquet.thrift).
//!
//! What must hold: a [`Header`] that exists lies in its column's bytes, and its values are encoded in a way that fits their type. Which
//! pages follow which, and what is in them, is for [`super::pages`].

use std::ops::Range;

use ::parquet::basic::{Encoding, Type as Physical};
use ::parquet::schema::types::ColumnDescPtr;

use super::thrift::{I32, STRUCT, TRUE, Thrift};
use super::{Fault, damaged, refused};

/// The widest values that may be split into streams: the decoder allocates by the width before it looks at the page.
const SPLIT_WIDTH_MAX: i32 = 1024;
/// The code of [`Encoding::RLE`].
const RLE: i32 = 3;

/// A page's header, and where its body is.
pub(super) struct Header {
    pub(super) kind: PageKind,
    pub(super) body: Range<usize>,
    pub(super) unpacked_bytes: usize,
    pub(super) checksum: Option<u32>,
    /// Values of a dictionary; values and nulls of data.
    pub(super) count: u32,
    pub(super) encoding: Encoding,
}

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Dictionary,
    /// Levels are part of what is compressed.
    V1,
    V2(V2),
}

/// What only the second version of a data page's header states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct V2 {
    pub(super) nulls: u32,
    pub(super) rows: u32,
    pub(super) definition_bytes: u32,
    pub(super) repetition_bytes: u32,
    pub(super) compressed: bool,
}

impl V2 {
    /// Levels are in front and never compressed.
    pub(super) fn levels_bytes(self) -> usize {
        self.definition_bytes as usize + self.repetition_bytes as usize
    }
}

impl Header {
    /// Reads the header at `at`, which is moved behind its page; none when the page holds neither data nor a dictionary.
    pub(super) fn read(bytes: &[u8], at: &mut usize, column: &ColumnDescPtr) -> Result<Option<Header>, Fault> {
        let mut thrift = Thrift::new(bytes.get(*at..).unwrap_or_default());
        let raw = Raw::read(&mut thrift)?;
        let begin = bytes.len() - thrift.left();
        let (Ok(stored), Ok(unpacked_bytes)) = (usize::try_from(raw.stored), usize::try_from(raw.unpacked)) else {
            return damaged("a page's header states no size");
        };
        let Some(end) = begin.checked_add(stored).filter(|end| *end <= bytes.len()) else {
            return damaged("a page is longer than its column");
        };
        *at = end;
        let (kind, values) = match (raw.kind, raw.v1, raw.dictionary, raw.v2) {
            (0, Some(values), ..) => (PageKind::V1, values),
            (2, _, Some(values), _) => (PageKind::Dictionary, values),
            (3, .., Some((values, v2))) => (PageKind::V2(v2), values),
            // an index, or a kind that is yet to come
            (1 | 4.., ..) => return Ok(None),
            _ => return damaged("a page's header is not of its kind"),
        };
        if let PageKind::V2(v2) = kind
            && (v2.levels_bytes() > stored.min(unpacked_bytes) || v2.nulls > values.count)
        {
            return damaged("a page's header contradicts itself");
        }
        let levels = [(values.definition, column.max_def_level()), (values.repetition, column.max_rep_level())];
        if kind == PageKind::V1 && levels.iter().any(|(encoding, max)| *max > 0 && *encoding != RLE) {
            return refused("its levels are in the deprecated encoding BIT_PACKED");
        }
        let encoding = encoding(values.encoding, kind == PageKind::Dictionary, column)?;
        let (checksum, count) = (raw.checksum, values.count);
        Ok(Some(Header { kind, body: begin..end, unpacked_bytes, checksum, count, encoding }))
    }
}

/// Whether values of this encoding are places in a dictionary.
pub(super) fn is_dictionary(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY)
}

/// An encoding by its code, if the column's values can have it.
fn encoding(code: i32, dictionary: bool, column: &ColumnDescPtr) -> Result<Encoding, Fault> {
    use Physical::{BOOLEAN, BYTE_ARRAY, DOUBLE, FIXED_LEN_BYTE_ARRAY, FLOAT, INT32, INT64};
    let physical = column.physical_type();
    let (encoding, fits) = match code {
        0 => (Encoding::PLAIN, true),
        2 => (Encoding::PLAIN_DICTIONARY, physical != BOOLEAN),
        RLE => (Encoding::RLE, physical == BOOLEAN && !dictionary),
        5 => (Encoding::DELTA_BINARY_PACKED, matches!(physical, INT32 | INT64)),
        6 => (Encoding::DELTA_LENGTH_BYTE_ARRAY, physical == BYTE_ARRAY),
        7 => (Encoding::DELTA_BYTE_ARRAY, matches!(physical, BYTE_ARRAY | FIXED_LEN_BYTE_ARRAY)),
        8 => (Encoding::RLE_DICTIONARY, physical != BOOLEAN),
        9 => {
            let narrow = physical == FIXED_LEN_BYTE_ARRAY && column.type_length() <= SPLIT_WIDTH_MAX;
            (Encoding::BYTE_STREAM_SPLIT, narrow || matches!(physical, INT32 | INT64 | FLOAT | DOUBLE))
        }
        _ => return refused(format!("its column {} has the unknown encoding {code}", column.path().string())),
    };
    if !fits || (dictionary && !matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY)) {
        return damaged(format!(
            "its column {} of type {physical} cannot have the encoding {encoding}",
            column.path().string()
        ));
    }
    Ok(encoding)
}

/// A header as it is written.
struct Raw {
    kind: i32,
    unpacked: i32,
    stored: i32,
    checksum: Option<u32>,
    v1: Option<Values>,
    dictionary: Option<Values>,
    v2: Option<(Values, V2)>,
}

/// What the header of each kind of page states.
#[derive(Debug, Clone, Copy)]
struct Values {
    count: u32,
    encoding: i32,
    definition: i32,
    repetition: i32,
}

impl Raw {
    fn read(thrift: &mut Thrift<'_>) -> Result<Raw, Fault> {
        let mut raw = Raw { kind: -1, unpacked: -1, stored: -1, checksum: None, v1: None, dictionary: None, v2: None };
        thrift.fields(|thrift, id, kind| {
            match (id, kind) {
                (1, _) => raw.kind = thrift.i32()?,
                (2, _) => raw.unpacked = thrift.i32()?,
                (3, _) => raw.stored = thrift.i32()?,
                (4, _) => raw.checksum = Some(thrift.i32()? as u32),
                (5, STRUCT) => raw.v1 = Some(Values::read(thrift)?),
                (7, STRUCT) => raw.dictionary = Some(Values::read(thrift)?),
                (8, STRUCT) => raw.v2 = Some(V2::read(thrift)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(raw)
    }
}

impl Values {
    const NONE: Values = Values { count: 0, encoding: -1, definition: RLE, repetition: RLE };

    /// `DataPageHeader`, or `DictionaryPageHeader`, which has its first two fields.
    fn read(thrift: &mut Thrift<'_>) -> Result<Values, Fault> {
        let mut values = Values::NONE;
        thrift.fields(|thrift, id, kind| {
            match (id, kind) {
                (1, _) => values.count = natural(thrift)?,
                (2, _) => values.encoding = thrift.i32()?,
                // a dictionary's field 3 is whether it is sorted
                (3, I32) => values.definition = thrift.i32()?,
                (4, _) => values.repetition = thrift.i32()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(values)
    }
}

impl V2 {
    /// `DataPageHeaderV2`.
    fn read(thrift: &mut Thrift<'_>) -> Result<(Values, V2), Fault> {
        let mut values = Values::NONE;
        let mut v2 = V2 { nulls: 0, rows: 0, definition_bytes: 0, repetition_bytes: 0, compressed: true };
        thrift.fields(|thrift, id, kind| {
            match id {
                1 => values.count = natural(thrift)?,
                2 => v2.nulls = natural(thrift)?,
                3 => v2.rows = natural(thrift)?,
                4 => values.encoding = thrift.i32()?,
                5 => v2.definition_bytes = natural(thrift)?,
                6 => v2.repetition_bytes = natural(thrift)?,
                7 => {
                    // its kind is its value
                    v2.compressed = kind == TRUE;
                    return Ok(false);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok((values, v2))
    }
}

fn natural(thrift: &mut Thrift<'_>) -> Result<u32, Fault> {
    u32::try_from(thrift.i32()?).or_else(|_| damaged("a page's header has a count below zero"))
}
