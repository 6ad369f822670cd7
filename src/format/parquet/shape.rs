//! Walks a footer before the `parquet` crate reads it.
//!
//! The crate allocates by the counts that it finds and descends into a schema recursively, and a stack that overflows cannot be caught.
//! What must hold: a footer that passes has no more of anything than the limits allow, and the crate sees the same schema in it, because
//! every field up to there has the kind that the format gives it (parquet.thrift); the crate looks at ids only. A schema that nests as it
//! should is all that is known of it then.

use super::thrift::{BINARY, BYTE, FALSE, I32, I64, LIST, STRUCT, TRUE, Thrift};
use super::{ENCRYPTED, Fault, damaged, refused};

/// What a footer may have at most, so that a file of a few kilobytes does not take all memory.
#[derive(Debug, Clone)]
pub(in crate::format) struct ShapeLimits {
    /// Elements of the schema, nested ones too.
    pub(in crate::format) schema_elements: usize,
    /// How deep the schema nests; the crate descends recursively.
    pub(in crate::format) schema_depth: usize,
    /// Columns of all row groups together.
    pub(in crate::format) chunks: usize,
}

/// The kinds of the fields of `FileMetaData`, from the first; the list of row groups and what is behind it cannot change the schema.
const FILE_KINDS: [u8; 4] = [I32, LIST, I64, LIST];
/// The kinds of the fields of `SchemaElement`, from the first.
const ELEMENT_KINDS: [u8; 10] = [I32, I32, I32, BINARY, I32, I32, I32, I32, I32, STRUCT];

/// Refuses a footer that the crate must not see.
pub(in crate::format) fn check(footer: &[u8], limits: &ShapeLimits) -> Result<(), Fault> {
    let (mut last, mut chunks) = (0, 0);
    Thrift::new(footer).fields(|thrift, id, kind| {
        if id <= last || (last < 2 && id > 2) {
            return damaged("its footer's fields are out of order");
        }
        last = id;
        expect(&FILE_KINDS, id, kind)?;
        match id {
            2 => schema(thrift, limits).map(|()| true),
            4 => thrift.structs(|group| row_group(group, &mut chunks, limits)).map(|()| true),
            // encryption_algorithm: the footer is plain, its columns are not
            8 => refused(ENCRYPTED),
            _ => Ok(false),
        }
    })
}

fn expect(kinds: &[u8], id: i16, kind: u8) -> Result<(), Fault> {
    let expected = usize::try_from(id).ok().and_then(|id| kinds.get(id.checked_sub(1)?));
    match expected {
        Some(expected) if *expected != kind => damaged("a field of its footer is of another kind"),
        _ => Ok(()),
    }
}

/// The schema's elements are a tree in depth-first order, each with the number of its children.
fn schema(thrift: &mut Thrift<'_>, limits: &ShapeLimits) -> Result<(), Fault> {
    // how many children each group that is open still has
    let mut open: Vec<usize> = Vec::new();
    let (mut elements, mut ended) = (0, false);
    thrift.structs(|thrift| {
        let (children, repeats) = element(thrift)?;
        elements += 1;
        if elements > limits.schema_elements || open.len() >= limits.schema_depth {
            return refused("its schema has too many elements, or nests too deep");
        }
        if ended || (elements > 1 && !repeats) {
            return damaged("its schema is no tree");
        }
        if children > 0 {
            open.push(children);
            return Ok(());
        }
        while let Some(left) = open.last_mut() {
            *left -= 1;
            if *left > 0 {
                break;
            }
            open.pop();
        }
        ended = open.is_empty();
        Ok(())
    })?;
    if ended { Ok(()) } else { damaged("its schema is no tree") }
}

/// How many children an element has, and whether it says how often it occurs.
fn element(thrift: &mut Thrift<'_>) -> Result<(usize, bool), Fault> {
    let (mut children, mut repeats) = (0, false);
    thrift.fields(|thrift, id, kind| {
        expect(&ELEMENT_KINDS, id, kind)?;
        match id {
            3 => repeats = true,
            5 => {
                children = usize::try_from(thrift.i32()?).or_else(|_| damaged("its schema is no tree"))?;
                return Ok(true);
            }
            10 => return logical_type(thrift).map(|()| true),
            _ => {}
        }
        Ok(false)
    })?;
    Ok((children, repeats))
}

/// A union with one member, which is a struct.
fn logical_type(thrift: &mut Thrift<'_>) -> Result<(), Fault> {
    thrift.fields(|thrift, of, kind| match kind {
        STRUCT => logical_type_members(thrift, of).map(|()| true),
        _ => damaged("a logical type of its schema is of another kind"),
    })
}

fn logical_type_members(thrift: &mut Thrift<'_>, of: i16) -> Result<(), Fault> {
    thrift.fields(|_, id, kind| {
        let fits = match (of, id) {
            // decimal, geography
            (5, 1 | 2) | (18, 2) => kind == I32,
            // time, timestamp, integer
            (7 | 8, 1) | (10, 2) => matches!(kind, TRUE | FALSE),
            (7 | 8, 2) => kind == STRUCT,
            // integer, variant
            (10 | 16, 1) => kind == BYTE,
            // geometry, geography
            (17 | 18, 1) => kind == BINARY,
            _ => true,
        };
        if fits { Ok(false) } else { damaged("a logical type of its schema is of another kind") }
    })
}

fn row_group(thrift: &mut Thrift<'_>, chunks: &mut usize, limits: &ShapeLimits) -> Result<(), Fault> {
    thrift.fields(|thrift, id, _| match id {
        1 => thrift.structs(|chunk| column_chunk(chunk, chunks, limits)).map(|()| true),
        _ => Ok(false),
    })
}

fn column_chunk(thrift: &mut Thrift<'_>, chunks: &mut usize, limits: &ShapeLimits) -> Result<(), Fault> {
    *chunks += 1;
    if *chunks > limits.chunks {
        return refused(format!("it has more than {} columns in its row groups", limits.chunks));
    }
    thrift.fields(|_, id, _| match id {
        1 => refused("its columns are in other files"),
        // crypto_metadata, encrypted_column_metadata
        8 | 9 => refused(ENCRYPTED),
        _ => Ok(false),
    })
}
