//! Manifests: the paths of data and delete files (100, 143), the bounds of position deletes' paths (125, 128), and the sizes of delete files that
//! were written anew (104, 108, 132).
//!
//! What must hold: statuses, sequence numbers, row ids, partition values, statistics of columns and whatever we do not know are copied as bytes. A
//! bound that was truncated cannot be mapped and is dropped: a stale one would switch the delete off.

use std::collections::HashMap;

use super::{DELETED_PATH_ID, Paths, encrypted};
use crate::error::{Error, Kind, Result};
use crate::format::avro::{
    Blocks, Content, Cursor, Edits, Entry, Flat, PairSpan, Patch, Schema, Scratch, Span, Spans, Status, broken,
    encode_bytes, encode_long, entry, for_each_entry, open, pairs, read_entry,
};

/// Fields under which bounds of the deleted path are found: its own, and that of the `_file` column, which DuckDB writes.
const PATH_IDS: [i64; 2] = [DELETED_PATH_ID as i64, 2_147_483_646];

/// A live position-delete file or deletion vector that a manifest names: it holds paths, so it is written anew before its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeleteFile {
    /// Where it is, as the manifest spells it.
    pub path: String,
    /// Its size as the manifest states it.
    pub size_bytes: i64,
    /// How it is written.
    pub format: DeleteFormat,
}

/// How a position-delete file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum DeleteFormat {
    Parquet,
    Avro,
    Puffin,
}

impl DeleteFormat {
    /// How names of such files end.
    pub fn extension(self) -> &'static str {
        match self {
            DeleteFormat::Parquet => "parquet",
            DeleteFormat::Avro => "avro",
            DeleteFormat::Puffin => "puffin",
        }
    }
}

/// A delete file that was written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelete {
    /// Its new location.
    pub path: String,
    /// Its new size.
    pub size_bytes: i64,
    /// Bytes of each column by field id; none where the format has no columns.
    pub column_sizes: Vec<(i32, i64)>,
    /// Where a reader may split it.
    pub split_offsets: Vec<i64>,
}

/// A relocated manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patched {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Its entries.
    pub entries: u64,
    /// How many of their paths are others now.
    pub paths_changed: u64,
    /// How many of their paths no pair of the map covers.
    pub unmapped: u64,
    /// One of these.
    pub unmapped_example: Option<String>,
}

/// The live position deletes of the manifest `name`. ORC and encrypted ones are refused by name: nobody here can write them anew.
pub fn position_deletes(bytes: &[u8], name: &str) -> Result<Vec<DeleteFile>> {
    let mut found = Vec::new();
    for_each_entry(bytes, name, |entry| {
        if entry.content != Content::PositionDeletes || entry.status == Status::Deleted {
            return Ok(());
        }
        if entry.is_encrypted {
            return Err(encrypted(entry.path, "it has key metadata"));
        }
        found.push(DeleteFile {
            path: entry.path.to_owned(),
            size_bytes: entry.size_bytes,
            format: delete_format(&entry)?,
        });
        Ok(())
    })?;
    // one Puffin file holds many deletion vectors
    found.sort();
    found.dedup();
    Ok(found)
}

fn delete_format(entry: &Entry<'_>) -> Result<DeleteFormat> {
    match entry.format.to_ascii_lowercase().as_str() {
        "parquet" => Ok(DeleteFormat::Parquet),
        "avro" => Ok(DeleteFormat::Avro),
        "puffin" => Ok(DeleteFormat::Puffin),
        other => {
            let message = format!(
                "position deletes {:?} are {other:?}, which cannot be written anew; compact the table's deletes into Parquet at the source \
                 (Spark: CALL system.rewrite_position_delete_files)",
                entry.path
            );
            Err(Error::new(Kind::Unprocessable, message))
        }
    }
}

/// The manifest `name` with every path at its new place. `deletes` is by the path as the manifest spells it, and has all of [`position_deletes`].
pub fn relocate_manifest(
    bytes: &[u8],
    name: &str,
    paths: &Paths,
    deletes: &HashMap<String, NewDelete>,
    scratch: &mut Scratch,
) -> Result<Patched> {
    let needed: [(&[i32], &str); 4] =
        [(&[0], "status"), (&[2], "data_file"), (&[2, 100], "file_path"), (&[2, 104], "file_size_in_bytes")];
    let (header, schema) = open(bytes, name, &entry::NOTED, &needed)?;
    let Scratch { unpack, pack, edits } = scratch;
    let mut patch = Patch::new(bytes, &header, name, pack);
    let mut blocks = Blocks::for_patch(bytes, &header, name, unpack);
    let mut patcher = Patcher { name, schema: &schema, paths, deletes, edits, patched: Patched::empty() };
    let mut spans = Spans::new(entry::COUNT);
    while let Some(block) = blocks.next_block()? {
        patcher.edits.clear();
        block.each_record(&schema, &mut spans, name, |spans, _| {
            let first = patcher.edits.len();
            patcher.entry(block.raw, spans)?;
            patcher.edits.sort_from(first);
            Ok(())
        })?;
        patch.add(block.records, block.raw, block.tokens, patcher.edits)?;
        patcher.patched.entries += block.records;
    }
    Ok(Patched { bytes: patch.finish()?, ..patcher.patched })
}

impl Patched {
    fn empty() -> Self {
        Patched { bytes: Vec::new(), entries: 0, paths_changed: 0, unmapped: 0, unmapped_example: None }
    }
}

struct Patcher<'a> {
    name: &'a str,
    schema: &'a Schema,
    paths: &'a Paths,
    deletes: &'a HashMap<String, NewDelete>,
    edits: &'a mut Edits,
    patched: Patched,
}

impl Patcher<'_> {
    fn entry(&mut self, raw: &[u8], spans: &Spans) -> Result<()> {
        let entry = read_entry(self.schema, raw, spans, self.name)?;
        // one that is deleted here may be known all the same
        let is_rewritten = entry.content == Content::PositionDeletes
            && (entry.status != Status::Deleted || self.deletes.contains_key(entry.path));
        if is_rewritten {
            self.rewritten(&entry, spans)?;
        } else {
            self.path(entry.path, spans.get(entry::PATH))?;
        }
        if let Some(referenced) = entry.referenced {
            self.path(referenced, spans.get(entry::REFERENCED))?;
        }
        if entry.content == Content::PositionDeletes {
            self.bounds(raw, spans)?;
        }
        Ok(())
    }

    #[inline]
    fn path(&mut self, path: &str, span: Span) -> Result<()> {
        let mapped = self.paths.map(path).map_err(|e| e.context(format!("manifest {}", self.name)))?;
        if *mapped == *path {
            if !self.paths.location_map().covers(&self.paths.resolve(path)) {
                self.patched.unmapped += 1;
                self.patched.unmapped_example.get_or_insert_with(|| path.to_owned());
            }
            return Ok(());
        }
        self.patched.paths_changed += 1;
        self.edits.replace(span.value, span.end, |out| encode_bytes(out, mapped.as_bytes()));
        Ok(())
    }

    /// A delete file that was written anew: its new place, size and what follows from it.
    fn rewritten(&mut self, entry: &Entry<'_>, spans: &Spans) -> Result<()> {
        let (path, deletes) = (entry.path, self.deletes);
        let new = deletes
            .get(path)
            .ok_or_else(|| broken(self.name, format!("it names the deletes {path:?}, which were not relocated")))?;
        let (place, size) = (spans.get(entry::PATH), spans.get(entry::SIZE));
        self.patched.paths_changed += u64::from(new.path != path);
        self.edits.replace(place.value, place.end, |out| encode_bytes(out, new.path.as_bytes()));
        self.edits.replace(size.value, size.end, |out| encode_long(out, new.size_bytes));
        let (sizes, splits) = (spans.get(entry::COLUMN_SIZES), spans.get(entry::SPLITS));
        self.must_be(sizes, Flat::Numbers(2), "column_sizes")?;
        self.array(sizes, &new.column_sizes, |out, (id, bytes)| {
            encode_long(out, i64::from(*id));
            encode_long(out, *bytes);
        })?;
        self.must_be(splits, Flat::Numbers(1), "split_offsets")?;
        self.array(splits, &new.split_offsets, |out, offset| encode_long(out, *offset))
    }

    /// Refuses a value that is no array of such items, for such are what is written in its place.
    fn must_be(&self, span: Span, items: Flat, what: &str) -> Result<()> {
        if !span.is_there() || self.schema.is_array_of(span.node, items) {
            return Ok(());
        }
        Err(broken(self.name, format!("{what} is not of the type that the specification says")))
    }

    /// Replaces an array that is there; with nothing to put there it becomes null where it may.
    fn array<T>(&mut self, span: Span, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) -> Result<()> {
        if !span.is_there() {
            return Ok(());
        }
        match span.null {
            Some(null) if items.is_empty() => {
                self.edits.replace(span.start, span.end, |out| encode_long(out, i64::from(null)))
            }
            _ => self.edits.replace(span.value, span.end, |out| {
                if !items.is_empty() {
                    encode_long(out, items.len() as i64);
                    items.iter().for_each(|item| write(out, item));
                }
                encode_long(out, 0);
            }),
        }
        Ok(())
    }

    /// The bounds of the deleted path: mapped where they are whole, which they are when they are equal, else dropped.
    fn bounds(&mut self, raw: &[u8], spans: &Spans) -> Result<()> {
        let damaged = |e| broken(self.name, e);
        let (lower, upper) = (spans.get(entry::LOWER), spans.get(entry::UPPER));
        let lowers = pairs(self.schema, raw, lower, (126, 127)).map_err(damaged)?;
        let uppers = pairs(self.schema, raw, upper, (129, 130)).map_err(damaged)?;
        let is_path = |pair: &PairSpan| PATH_IDS.contains(&pair.key);
        if !lowers.iter().chain(&uppers).any(is_path) {
            return Ok(());
        }
        let text = |pair: &PairSpan| std::str::from_utf8(Cursor::new(raw, pair.value).bytes().ok()?).ok();
        let of = |pairs: &[PairSpan], key: i64| pairs.iter().find(|pair| pair.key == key).and_then(text);
        let mut mapped: HashMap<i64, String> = HashMap::new();
        for key in PATH_IDS {
            if let (Some(low), Some(high)) = (of(&lowers, key), of(&uppers, key))
                && low == high
            {
                mapped.insert(key, self.paths.map(low)?.into_owned());
            }
        }
        for (span, all) in [(lower, lowers), (upper, uppers)] {
            let kept: Vec<PairSpan> =
                all.into_iter().filter(|pair| !is_path(pair) || mapped.contains_key(&pair.key)).collect();
            self.array(span, &kept, |out, pair| match mapped.get(&pair.key) {
                Some(path) => {
                    out.extend_from_slice(&raw[pair.start..pair.value]);
                    encode_bytes(out, path.as_bytes());
                    out.extend_from_slice(&raw[pair.value_end..pair.end]);
                }
                None => out.extend_from_slice(&raw[pair.start..pair.end]),
            })?;
        }
        Ok(())
    }
}
