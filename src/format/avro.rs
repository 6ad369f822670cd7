//! Which files a manifest list and a manifest name, read from their bytes.
//!
//! Fields are found by Iceberg's field ids in the writer's schema, never by name, and what is not asked for is not
//! looked at. A file that ends early, has no field we need, or an entry without a path is an error and never a shorter
//! list: whoever deletes or copies by these lists must have all of it. Getting the bytes, and what is done with the
//! paths, is for the callers.

use crate::error::{Error, Result};
use apache_avro::Reader;
use apache_avro::schema::{RecordSchema, Schema};
use apache_avro::types::Value;

const MANIFEST_PATH: i64 = 500;
const MANIFEST_LENGTH: i64 = 501;
const MANIFEST_CONTENT: i64 = 517;
const ENTRY_STATUS: i64 = 0;
const ENTRY_FILE: i64 = 2;
const FILE_PATH: i64 = 100;
const FILE_SIZE: i64 = 104;
const FILE_CONTENT: i64 = 134;

/// A manifest as its manifest list names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Where it is.
    pub path: String,
    /// Its size as the list states it.
    pub length_bytes: i64,
    /// Data (0) or deletes (1).
    pub content: i64,
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

/// A data or delete file as its manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentFile {
    /// What the manifest says of it.
    pub status: Status,
    /// Where it is.
    pub path: String,
    /// Its size as the manifest states it.
    pub size_bytes: i64,
    /// Data (0), position deletes (1) or equality deletes (2).
    pub content: i64,
}

/// The manifests of a manifest list; `name` is the list's location, for errors.
pub fn manifests(bytes: &[u8], name: &str) -> Result<Vec<ManifestFile>> {
    let reader = open(bytes, name)?;
    let schema = record(reader.writer_schema(), name)?;
    let path = needed(schema, MANIFEST_PATH, "manifest_path", name)?;
    let length = needed(schema, MANIFEST_LENGTH, "manifest_length", name)?;
    let content = position(schema, MANIFEST_CONTENT);
    records(reader, name)
        .map(|fields| {
            let fields = fields?;
            Ok(ManifestFile {
                path: text(&fields, path, "manifest_path", name)?,
                length_bytes: number(&fields, length, "manifest_length", name)?,
                content: content.map_or(Ok(0), |at| number(&fields, at, "content", name))?,
            })
        })
        .collect()
}

/// The data and delete files of a manifest, one at a time; `name` is the manifest's location, for errors.
pub fn content_files<'a>(bytes: &'a [u8], name: &'a str) -> Result<impl Iterator<Item = Result<ContentFile>> + 'a> {
    let reader = open(bytes, name)?;
    let schema = record(reader.writer_schema(), name)?;
    let status = needed(schema, ENTRY_STATUS, "status", name)?;
    let file = needed(schema, ENTRY_FILE, "data_file", name)?;
    let file_schema = schema.fields.get(file).map(|field| &field.schema);
    let file_schema = record(file_schema.unwrap_or(&Schema::Null), name)?;
    let path = needed(file_schema, FILE_PATH, "file_path", name)?;
    let size = needed(file_schema, FILE_SIZE, "file_size_in_bytes", name)?;
    let content = position(file_schema, FILE_CONTENT);
    Ok(records(reader, name).map(move |entry| {
        let entry = entry?;
        let Some(Value::Record(fields)) = entry.get(file).map(|(_, value)| inner(value)) else {
            return Err(broken(name, "an entry's data_file is not a record"));
        };
        Ok(ContentFile {
            status: match number(&entry, status, "status", name)? {
                0 => Status::Existing,
                1 => Status::Added,
                2 => Status::Deleted,
                other => return Err(broken(name, &format!("an entry has the unknown status {other}"))),
            },
            path: text(fields, path, "file_path", name)?,
            size_bytes: number(fields, size, "file_size_in_bytes", name)?,
            content: content.map_or(Ok(0), |at| number(fields, at, "content", name))?,
        })
    }))
}

type Fields = Vec<(String, Value)>;

fn open<'a>(bytes: &'a [u8], name: &str) -> Result<Reader<'a, &'a [u8]>> {
    Reader::new(bytes).map_err(|error| broken(name, &error.to_string()))
}

fn records<'a>(reader: Reader<'a, &'a [u8]>, name: &'a str) -> impl Iterator<Item = Result<Fields>> + 'a {
    reader.map(move |value| match value {
        Ok(Value::Record(fields)) => Ok(fields),
        Ok(_) => Err(broken(name, "an entry is not a record")),
        Err(error) => Err(broken(name, &error.to_string())),
    })
}

fn record<'a>(schema: &'a Schema, name: &str) -> Result<&'a RecordSchema> {
    match schema {
        Schema::Record(record) => Ok(record),
        _ => Err(broken(name, "its schema is not a record")),
    }
}

/// Where in a record the field with this id is.
fn position(schema: &RecordSchema, id: i64) -> Option<usize> {
    schema
        .fields
        .iter()
        .position(|field| field.custom_attributes.get("field-id").and_then(serde_json::Value::as_i64) == Some(id))
}

fn needed(schema: &RecordSchema, id: i64, what: &str, name: &str) -> Result<usize> {
    position(schema, id).ok_or_else(|| broken(name, &format!("it has no field {id} ({what})")))
}

fn text(fields: &Fields, at: usize, what: &str, name: &str) -> Result<String> {
    match fields.get(at).map(|(_, value)| inner(value)) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        _ => Err(broken(name, &format!("an entry has no {what}"))),
    }
}

fn number(fields: &Fields, at: usize, what: &str, name: &str) -> Result<i64> {
    match fields.get(at).map(|(_, value)| inner(value)) {
        Some(Value::Int(number)) => Ok(i64::from(*number)),
        Some(Value::Long(number)) => Ok(*number),
        _ => Err(broken(name, &format!("an entry has no {what}"))),
    }
}

/// What is in an optional value.
fn inner(value: &Value) -> &Value {
    match value {
        Value::Union(_, inner) => inner,
        other => other,
    }
}

fn broken(name: &str, why: &str) -> Error {
    Error::internal(format!("cannot read {name} as Avro: {why}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
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
        let second = ManifestFile { path: "s3://b/m2.avro".to_owned(), length_bytes: 7, content: 1 };
        assert_eq!((manifests.len(), &manifests[1]), (2, &second));
    }

    #[test]
    fn a_manifest_of_the_first_version_holds_data_files() {
        let bytes = manifest("s3://b/data.parquet", 2);
        let files: Vec<_> = content_files(&bytes, "m").unwrap().collect::<Result<_>>().unwrap();
        let file =
            ContentFile { status: Status::Deleted, path: "s3://b/data.parquet".to_owned(), size_bytes: 9, content: 0 };
        assert_eq!(files, [file]);
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
        let failed =
            |bytes: &[u8]| content_files(bytes, "m").unwrap().find_map(Result::err).unwrap().message().to_owned();
        assert!(failed(&manifest("", 1)).contains("an entry has no file_path"));
        assert!(failed(&manifest("p", 3)).contains("unknown status 3"));
    }
}
