//! What is really in a table: its current snapshot's manifest list, manifests and Parquet files, read by other code than wrote them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use apache_avro::Reader;
use apache_avro::types::Value as Avro;
use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::Value as Json;

const STATUS_DELETED: i32 = 2;

/// What manifests say, by location: a manifest never changes, so one that was read need only be there still.
#[derive(Default)]
pub struct Known(HashMap<String, Vec<Listed>>);

/// A file of a table's current snapshot.
#[derive(Clone)]
struct Listed {
    location: String,
    size_bytes: i64,
    /// 0 for rows, else deletes.
    content: i64,
}

/// The ids (the first column) of every row of the current snapshot, deleted ones included. An error names the file that is
/// missing, of another size or unreadable.
pub fn rows(metadata: &Json) -> Result<Vec<i64>, String> {
    let mut rows = Vec::new();
    for file in files(metadata, &mut Known::default())?.iter().filter(|file| file.content == 0) {
        let bytes = Bytes::from(read(file)?);
        let failed = |e: parquet::errors::ParquetError| format!("{}: {e}", file.location);
        let reader = SerializedFileReader::new(bytes).map_err(failed)?;
        for row in reader.get_row_iter(None).map_err(failed)? {
            rows.push(row.map_err(failed)?.get_long(0).map_err(failed)?);
        }
    }
    Ok(rows)
}

/// That every file of the current snapshot is there, with the size that the tree states; how many files that are.
pub fn whole(metadata: &Json, known: &mut Known) -> Result<usize, String> {
    let files = files(metadata, known)?;
    for file in &files {
        let found = std::fs::metadata(local(&file.location)?).map_err(|e| format!("{}: {e}", file.location))?;
        if found.len() as i64 != file.size_bytes {
            return Err(format!("{} has {} bytes, {} are stated", file.location, found.len(), file.size_bytes));
        }
    }
    Ok(files.len())
}

/// That the snapshots follow each other, each with the next sequence number; returns the newest number, which is the count of
/// commits. The oldest snapshots may have been removed.
pub fn history(metadata: &Json) -> Result<i64, String> {
    let snapshots = metadata["snapshots"].as_array().map(Vec::as_slice).unwrap_or_default();
    let by_id: HashMap<i64, &Json> =
        snapshots.iter().filter_map(|snapshot| Some((snapshot["snapshot-id"].as_i64()?, snapshot))).collect();
    let newest = metadata["last-sequence-number"].as_i64().ok_or("no last-sequence-number")?;
    let mut at = metadata["current-snapshot-id"].as_i64();
    let mut ancestors = 0;
    while let Some(snapshot) = at.and_then(|id| by_id.get(&id)) {
        if snapshot["sequence-number"] != newest - ancestors {
            return Err(format!("{snapshot} has not the sequence number {}", newest - ancestors));
        }
        ancestors += 1;
        at = snapshot["parent-snapshot-id"].as_i64();
    }
    if ancestors as usize != snapshots.len() {
        return Err(format!("of {} snapshots only {ancestors} are ancestors of the current one", snapshots.len()));
    }
    Ok(newest)
}

/// A location as a path of this machine.
pub fn local(location: &str) -> Result<PathBuf, String> {
    let path = location.strip_prefix("file:").unwrap_or(location);
    let path = format!("/{}", path.trim_start_matches('/'));
    if location.contains("://") && !location.starts_with("file:///") {
        return Err(format!("{location} is not on this machine"));
    }
    Ok(Path::new(&path).to_owned())
}

fn files(metadata: &Json, known: &mut Known) -> Result<Vec<Listed>, String> {
    let Some(current) = metadata["current-snapshot-id"].as_i64().filter(|id| *id != -1) else {
        return Ok(Vec::new());
    };
    let snapshots = metadata["snapshots"].as_array().ok_or("no snapshots")?;
    let snapshot = snapshots.iter().find(|snapshot| snapshot["snapshot-id"].as_i64() == Some(current));
    let list = snapshot.and_then(|s| s["manifest-list"].as_str()).ok_or(format!("no manifest list of {current}"))?;
    let bytes = std::fs::read(local(list)?).map_err(|e| format!("{list}: {e}"))?;
    let mut files = Vec::new();
    for line in records(list, &bytes)? {
        let location = text(&line, "manifest_path")?;
        let manifest = Listed { size_bytes: long(&line, "manifest_length")?, location, content: 0 };
        let bytes = read(&manifest)?;
        let listed = match known.0.get(&manifest.location) {
            Some(listed) => listed,
            None => known.0.entry(manifest.location.clone()).or_insert(entries(&manifest.location, &bytes)?),
        };
        files.extend_from_slice(listed);
    }
    Ok(files)
}

fn entries(manifest: &str, bytes: &[u8]) -> Result<Vec<Listed>, String> {
    let mut files = Vec::new();
    for entry in records(manifest, bytes)? {
        let Some(Avro::Record(file)) = entry.get("data_file") else {
            return Err(format!("{manifest}: an entry without a file"));
        };
        let file: HashMap<String, Avro> = file.iter().cloned().collect();
        if long(&entry, "status")? != i64::from(STATUS_DELETED) {
            files.push(Listed {
                location: text(&file, "file_path")?,
                size_bytes: long(&file, "file_size_in_bytes")?,
                content: long(&file, "content")?,
            });
        }
    }
    Ok(files)
}

/// A file that must have the stated size.
fn read(file: &Listed) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(local(&file.location)?).map_err(|e| format!("{}: {e}", file.location))?;
    if bytes.len() as i64 != file.size_bytes {
        return Err(format!("{} has {} bytes, {} are stated", file.location, bytes.len(), file.size_bytes));
    }
    Ok(bytes)
}

fn records(location: &str, bytes: &[u8]) -> Result<Vec<HashMap<String, Avro>>, String> {
    let failed = |e: apache_avro::Error| format!("{location}: {e}");
    let mut records = Vec::new();
    for record in Reader::new(bytes).map_err(failed)? {
        match record.map_err(failed)? {
            Avro::Record(fields) => records.push(fields.into_iter().collect()),
            other => return Err(format!("{location}: {other:?} is not a record")),
        }
    }
    Ok(records)
}

fn long(record: &HashMap<String, Avro>, field: &str) -> Result<i64, String> {
    match record.get(field) {
        Some(Avro::Long(value)) => Ok(*value),
        Some(Avro::Int(value)) => Ok(i64::from(*value)),
        other => Err(format!("{field} is {other:?}")),
    }
}

fn text(record: &HashMap<String, Avro>, field: &str) -> Result<String, String> {
    match record.get(field) {
        Some(Avro::String(value)) => Ok(value.clone()),
        other => Err(format!("{field} is {other:?}")),
    }
}
