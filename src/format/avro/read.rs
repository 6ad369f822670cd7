//! Which files a manifest list and a manifest name, read from their bytes.
//!
//! Fields are found by Iceberg's field ids in the writer's schema, never by name, and what is not asked for is not
//! looked at. A file that ends early, has no field we need, or an entry without a path is an error and never a shorter
//! list: whoever deletes or copies by these lists must have all of it. Getting the bytes, and what is done with the
//! paths, is for the callers.

use super::broken;
use super::container::{Blocks, Header, UnpackScratch};
use super::schema::{Schema, Slot};
use super::walk::Spans;
use crate::error::{Error, Result};

/// A manifest list's fields that we look at, by slot.
pub(in crate::format) mod list {
    use super::Slot;

    pub const PATH: Slot = 0;
    pub const LENGTH: Slot = 1;
    pub const CONTENT: Slot = 2;
    pub const KEY: Slot = 3;
    pub const ADDED: Slot = 4;
    pub const EXISTING: Slot = 5;
    pub const COUNT: usize = 6;
    /// Their field ids.
    pub const NOTED: [(&[i32], Slot); COUNT] =
        [(&[500], PATH), (&[501], LENGTH), (&[517], CONTENT), (&[519], KEY), (&[504], ADDED), (&[505], EXISTING)];
}

/// A manifest's fields that we look at, by slot.
pub(in crate::format) mod entry {
    use super::Slot;

    pub const STATUS: Slot = 0;
    pub const CONTENT: Slot = 1;
    pub const PATH: Slot = 2;
    pub const FORMAT: Slot = 3;
    pub const SIZE: Slot = 4;
    pub const COLUMN_SIZES: Slot = 5;
    pub const LOWER: Slot = 6;
    pub const UPPER: Slot = 7;
    pub const KEY: Slot = 8;
    pub const SPLITS: Slot = 9;
    pub const REFERENCED: Slot = 10;
    pub const OFFSET: Slot = 11;
    pub const LENGTH: Slot = 12;
    pub const RECORDS: Slot = 13;
    pub const COUNT: usize = 14;
    /// Their field ids, which lead through `data_file` (2).
    pub const NOTED: [(&[i32], Slot); COUNT] = [
        (&[0], STATUS),
        (&[2, 134], CONTENT),
        (&[2, 100], PATH),
        (&[2, 101], FORMAT),
        (&[2, 104], SIZE),
        (&[2, 108], COLUMN_SIZES),
        (&[2, 125], LOWER),
        (&[2, 128], UPPER),
        (&[2, 131], KEY),
        (&[2, 132], SPLITS),
        (&[2, 143], REFERENCED),
        (&[2, 144], OFFSET),
        (&[2, 145], LENGTH),
        (&[2, 103], RECORDS),
    ];
    /// Those that must be in the schema, with their names.
    pub const NEEDED: [(&[i32], &str); 4] =
        [(&[0], "status"), (&[2], "data_file"), (&[2, 100], "file_path"), (&[2, 104], "file_size_in_bytes")];
}

/// A manifest as its manifest list names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Where it is.
    pub path: String,
    /// Its size as the list states it.
    pub length_bytes: i64,
    /// Data (0) or deletes (1).
    pub content: i64,
    /// Whether it has key metadata, so that it is encrypted.
    pub is_encrypted: bool,
    /// How many live files it names, where the list says so.
    pub live_files: Option<i64>,
}

impl ManifestFile {
    /// One that no list names, so that nothing is said of it.
    pub fn unlisted(path: String) -> ManifestFile {
        ManifestFile { path, length_bytes: -1, content: 0, is_encrypted: false, live_files: None }
    }
}

/// Whether an entry's file was there before, is new, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 0
    Existing,
    /// 1
    Added,
    /// 2: the file may be gone from storage already.
    Deleted,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// 0
    Data,
    /// 1: position deletes, deletion vectors too.
    PositionDeletes,
    /// 2
    EqualityDeletes,
}

/// A data or delete file as its manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What the manifest says of it.
    pub status: Status,
    /// What it holds.
    pub content: Content,
    /// Where it is.
    pub path: &'a str,
    /// Its format as the writer spelled it: `PARQUET`, `avro`.
    pub format: &'a str,
    /// Its size as the manifest states it.
    pub size_bytes: i64,
    /// How many records it says it has.
    pub records: i64,
    /// Whether it has key metadata.
    pub is_encrypted: bool,
    /// The one data file that it deletes from, where it says so.
    pub referenced: Option<&'a str>,
}

/// The manifests of a manifest list; `name` is the list's location, for errors.
pub fn manifests(bytes: &[u8], name: &str) -> Result<Vec<ManifestFile>> {
    let mut found = Vec::new();
    let noted: Noted<'_> = (&list::NOTED, list::COUNT, &[(&[500], "manifest_path"), (&[501], "manifest_length")]);
    records(bytes, name, noted, |schema, raw, spans| {
        let path = needed(spans.text(schema, raw, list::PATH), "manifest_path", name)?;
        found.push(ManifestFile {
            path: if path.is_empty() { return Err(without("manifest_path", name)) } else { path.to_owned() },
            length_bytes: needed(spans.long(schema, raw, list::LENGTH), "manifest_length", name)?,
            content: spans.long(schema, raw, list::CONTENT).map_err(|e| broken(name, e))?.unwrap_or(0),
            is_encrypted: spans.get(list::KEY).is_there(),
            live_files: live_files(schema, raw, spans).map_err(|e| broken(name, e))?,
        });
        Ok(())
    })?;
    Ok(found)
}

fn live_files(schema: &Schema, raw: &[u8], spans: &Spans) -> Result<Option<i64>, &'static str> {
    let (added, existing) = (spans.long(schema, raw, list::ADDED)?, spans.long(schema, raw, list::EXISTING)?);
    Ok(added.zip(existing).map(|(added, existing)| added.saturating_add(existing)))
}

/// Calls `each` for every data and delete file of a manifest; `name` is the manifest's location, for errors.
pub fn for_each_entry(bytes: &[u8], name: &str, mut each: impl FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
    let noted: Noted<'_> = (&entry::NOTED, entry::COUNT, &entry::NEEDED);
    records(bytes, name, noted, |schema, raw, spans| each(read_entry(schema, raw, spans, name)?))
}

/// One entry from its noted fields.
#[inline]
pub(in crate::format) fn read_entry<'a>(
    schema: &Schema,
    raw: &'a [u8],
    spans: &Spans,
    name: &str,
) -> Result<Entry<'a>> {
    let path = needed(spans.text(schema, raw, entry::PATH), "file_path", name)?;
    if path.is_empty() {
        return Err(without("file_path", name));
    }
    Ok(Entry {
        status: match needed(spans.long(schema, raw, entry::STATUS), "status", name)? {
            0 => Status::Existing,
            1 => Status::Added,
            2 => Status::Deleted,
            other => return Err(broken(name, format!("an entry has the unknown status {other}"))),
        },
        // the first format version has data files only
        content: match spans.long(schema, raw, entry::CONTENT).map_err(|e| broken(name, e))?.unwrap_or(0) {
            0 => Content::Data,
            1 => Content::PositionDeletes,
            2 => Content::EqualityDeletes,
            other => return Err(broken(name, format!("an entry has the unknown content {other}"))),
        },
        path,
        format: spans.text(schema, raw, entry::FORMAT).map_err(|e| broken(name, e))?.unwrap_or_default(),
        size_bytes: needed(spans.long(schema, raw, entry::SIZE), "file_size_in_bytes", name)?,
        records: spans.long(schema, raw, entry::RECORDS).map_err(|e| broken(name, e))?.unwrap_or(0),
        is_encrypted: spans.get(entry::KEY).is_there(),
        referenced: spans.text(schema, raw, entry::REFERENCED).map_err(|e| broken(name, e))?,
    })
}

/// Which fields are noted, how many slots that takes, and which of them must be in the schema.
type Noted<'n> = (&'n [(&'n [i32], Slot)], usize, &'n [(&'n [i32], &'n str)]);

/// Opens a container and checks that the needed fields are there.
pub(in crate::format) fn open(
    bytes: &[u8],
    name: &str,
    noted: &[(&[i32], Slot)],
    needed: &[(&[i32], &str)],
) -> Result<(Header, Schema)> {
    let header = Header::read(bytes, name)?;
    let schema = Schema::compile(&header.schema, noted).map_err(|e| broken(name, e))?;
    for (path, what) in needed {
        if !schema.has(path) {
            let id = path.last().copied().unwrap_or_default();
            return Err(broken(name, format!("it has no field {id} ({what})")));
        }
    }
    Ok((header, schema))
}

/// Calls `each` for every record with its noted fields.
pub(in crate::format) fn records(
    bytes: &[u8],
    name: &str,
    (noted, count, needed): Noted<'_>,
    mut each: impl FnMut(&Schema, &[u8], &Spans) -> Result<()>,
) -> Result<()> {
    let (header, schema) = open(bytes, name, noted, needed)?;
    let mut scratch = UnpackScratch::default();
    let mut blocks = Blocks::new(bytes, &header, name, &mut scratch);
    let mut spans = Spans::new(count);
    while let Some(block) = blocks.next_block()? {
        block.each_record(&schema, &mut spans, name, |spans, _| each(&schema, block.raw, spans))?;
    }
    Ok(())
}

pub(super) fn needed<T>(value: Result<Option<T>, &'static str>, what: &str, name: &str) -> Result<T> {
    value.map_err(|e| broken(name, e))?.ok_or_else(|| without(what, name))
}

fn without(what: &str, name: &str) -> Error {
    broken(name, format!("an entry has no {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use apache_avro::schema::Schema;
    use apache_avro::types::Value;
    use apache_avro::{Codec, DeflateSettings, Writer};
    use serde_json::json;

    fn written(schema: serde_json::Value, records: Vec<Value>) -> Vec<u8> {
        let schema = Schema::parse_str(&schema.to_string()).unwrap();
        let codec = Codec::Deflate(DeflateSettings::default());
        let mut writer = Writer::with_codec(&schema, Vec::new(), codec).unwrap();
        for record in records {
            writer.append_value(record).unwrap();
        }
        writer.into_inner().unwrap()
    }

    fn of(fields: Vec<(&str, Value)>) -> Value {
        Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn list() -> Vec<u8> {
        let schema = json!({ "type": "record", "name": "manifest_file", "fields": [
            { "name": "odd", "type": ["null", "int"], "field-id": 9999 },
            { "name": "renamed_path", "type": "string", "field-id": 500 },
            { "name": "manifest_length", "type": "long", "field-id": 501 },
            { "name": "content", "type": "int", "field-id": 517 } ] });
        let entry = |path: &str| {
            of(vec![
                ("odd", Value::Union(0, Box::new(Value::Null))),
                ("renamed_path", Value::String(path.to_owned())),
                ("manifest_length", Value::Long(7)),
                ("content", Value::Int(1)),
            ])
        };
        written(schema, vec![entry("s3://b/m1.avro"), entry("s3://b/m2.avro")])
    }

    fn manifest(path: &str, status: i32) -> Vec<u8> {
        let schema = json!({ "type": "record", "name": "manifest_entry", "fields": [
            { "name": "status", "type": "int", "field-id": 0 },
            { "name": "data_file", "field-id": 2, "type": { "type": "record", "name": "r2", "fields": [
                { "name": "file_path", "type": "string", "field-id": 100 },
                { "name": "file_size_in_bytes", "type": "long", "field-id": 104 } ] } } ] });
        let file = of(vec![("file_path", Value::String(path.to_owned())), ("file_size_in_bytes", Value::Long(9))]);
        written(schema, vec![of(vec![("status", Value::Int(status)), ("data_file", file)])])
    }

    #[test]
    fn a_manifest_list_is_read_by_field_id() {
        let manifests = manifests(&list(), "s3://b/snap.avro").unwrap();
        let second = ManifestFile {
            path: "s3://b/m2.avro".to_owned(),
            length_bytes: 7,
            content: 1,
            is_encrypted: false,
            live_files: None,
        };
        assert_eq!((manifests.len(), &manifests[1]), (2, &second));
    }

    #[test]
    fn a_manifest_of_the_first_version_holds_data_files() {
        let bytes = manifest("s3://b/data.parquet", 2);
        let mut files = Vec::new();
        let read = |entry: Entry<'_>| {
            files.push((entry.status, entry.content, entry.path.to_owned(), entry.size_bytes));
            Ok(())
        };
        for_each_entry(&bytes, "m", read).unwrap();
        assert_eq!(files, [(Status::Deleted, Content::Data, "s3://b/data.parquet".to_owned(), 9)]);
    }

    #[test]
    fn a_file_that_is_cut_or_lacks_a_field_is_an_error_that_names_it() {
        let bytes = list();
        for cut in [0, 3, 20, bytes.len() / 2, bytes.len() - 5] {
            let error = manifests(&bytes[..cut], "s3://b/snap.avro").unwrap_err();
            assert!(error.message().starts_with("cannot read s3://b/snap.avro as Avro: "), "{}", error.message());
        }
        let error = manifests(&manifest("p", 1), "m").unwrap_err();
        assert_eq!(error.message(), "cannot read m as Avro: it has no field 500 (manifest_path)");
        let failed = |bytes: &[u8]| for_each_entry(bytes, "m", |_| Ok(())).unwrap_err().message().to_owned();
        assert!(failed(&manifest("", 1)).contains("an entry has no file_path"));
        assert!(failed(&manifest("p", 3)).contains("unknown status 3"));
    }
}
