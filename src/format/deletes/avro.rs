//! Position deletes in Avro: every path mapped, records sorted by path and position as the specification wants them.
//!
//! Where the map keeps the order the file is patched as a stream; else it is sorted in memory, up to a limit.

use crate::error::{Error, Kind, Result};
use crate::format::avro::{Blocks, Edits, Patch, Scratch, Spans, broken, encode_bytes, open};
use crate::format::location::LocationMap;
use crate::format::relocate::DELETED_PATH_ID;

const DELETED_POSITION_ID: i32 = 2_147_483_545;
const PATH: usize = 0;
const POSITION: usize = 1;
const SLOTS: usize = 2;
const NOTED: [(&[i32], usize); SLOTS] = [(&[DELETED_PATH_ID], PATH), (&[DELETED_POSITION_ID], POSITION)];
const NEEDED: [(&[i32], &str); SLOTS] = [(&[DELETED_PATH_ID], "file_path"), (&[DELETED_POSITION_ID], "pos")];

/// The largest file, decompressed, that is sorted anew.
pub const SORTED_BYTES_MAX: usize = 512 << 20;
/// Records of a sorted file are packed when they fill this.
const BLOCK_BYTES: usize = 64 << 10;

/// The file `name` with every path at its new place.
pub fn rewrite(bytes: &[u8], name: &str, map: &LocationMap) -> Result<Vec<u8>> {
    match patched(bytes, name, map)? {
        Some(patched) => Ok(patched),
        None => sorted(bytes, name, map),
    }
}

/// The file as a patched stream; `None` when its records would be out of order.
fn patched(bytes: &[u8], name: &str, map: &LocationMap) -> Result<Option<Vec<u8>>> {
    let (header, _) = open(bytes, name, &NOTED, &NEEDED)?;
    let mut scratch = Scratch::default();
    let mut patch = Patch::new(bytes, &header, name, &mut scratch.pack);
    let mut last: (String, i64) = (String::new(), i64::MIN);
    let mut in_order = true;
    for_each_block(bytes, name, map, |records, raw, edits, rows| {
        for row in rows {
            in_order &= (last.0.as_str(), last.1) <= (row.path.as_str(), row.position);
            last = (std::mem::take(&mut row.path), row.position);
        }
        if in_order { patch.add(records, raw, None, edits).map(|()| true) } else { Ok(false) }
    })?;
    if in_order { patch.finish().map(Some) } else { Ok(None) }
}

fn sorted(bytes: &[u8], name: &str, map: &LocationMap) -> Result<Vec<u8>> {
    let (header, _) = open(bytes, name, &NOTED, &NEEDED)?;
    let mut all: Vec<(String, i64, Vec<u8>)> = Vec::new();
    let mut held = 0;
    for_each_block(bytes, name, map, |_, raw, edits, rows| {
        for row in rows {
            let record = edits.applied(raw, row.start, row.end, row.edit);
            held += record.len() + row.path.len();
            all.push((std::mem::take(&mut row.path), row.position, record));
        }
        if held > SORTED_BYTES_MAX {
            let message = format!("{name} must be sorted anew and takes more than {SORTED_BYTES_MAX} bytes");
            return Err(Error::new(Kind::Unprocessable, message));
        }
        Ok(true)
    })?;
    all.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let mut scratch = Scratch::default();
    let mut patch = Patch::new(bytes, &header, name, &mut scratch.pack);
    let (mut block, mut records) = (Vec::new(), 0);
    for (_, _, record) in all {
        block.extend_from_slice(&record);
        records += 1;
        if block.len() >= BLOCK_BYTES {
            patch.add(std::mem::take(&mut records), &block, None, &Edits::default())?;
            block.clear();
        }
    }
    patch.add(records, &block, None, &Edits::default())?;
    patch.finish()
}

/// One record of a block.
struct Row {
    /// Where its file is now.
    path: String,
    position: i64,
    start: usize,
    end: usize,
    /// The edit that is its own.
    edit: usize,
}

/// Calls `each` with every block, its edits and its records, until it says false.
fn for_each_block(
    bytes: &[u8],
    name: &str,
    map: &LocationMap,
    mut each: impl FnMut(u64, &[u8], &Edits, &mut [Row]) -> Result<bool>,
) -> Result<()> {
    let (header, schema) = open(bytes, name, &NOTED, &NEEDED)?;
    let Scratch { mut unpack, mut edits, .. } = Scratch::default();
    let mut blocks = Blocks::new(bytes, &header, name, &mut unpack);
    let (mut spans, mut rows) = (Spans::new(SLOTS), Vec::new());
    while let Some(block) = blocks.next_block()? {
        edits.clear();
        rows.clear();
        let damaged = |e| broken(name, e);
        block.each_record(&schema, &mut spans, name, |spans, record| {
            let path = spans.text(&schema, block.raw, PATH).map_err(damaged)?;
            let path = path.ok_or_else(|| broken(name, "a record has no file_path"))?;
            let position = spans.long(&schema, block.raw, POSITION).map_err(damaged)?;
            let position = position.ok_or_else(|| broken(name, "a record has no pos"))?;
            let path = map.map(path).map_err(|e| e.context(format!("position deletes {name}")))?.into_owned();
            let place = spans.get(PATH);
            rows.push(Row { path: path.clone(), position, start: record.start, end: record.end, edit: edits.len() });
            edits.replace(place.value, place.end, |out| encode_bytes(out, path.as_bytes()));
            Ok(())
        })?;
        if !each(block.records, block.raw, &edits, &mut rows)? {
            return Ok(());
        }
    }
    Ok(())
}
