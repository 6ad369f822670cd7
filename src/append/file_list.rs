//! Lists of files that somebody else made, where a listing would be too big: plain lines, S3 Inventory, `hdfs oiv`.
//!
//! What must hold: a line that cannot be understood is an error that names its number, never a file less.

use std::io::BufRead;
use std::path::Path;

use percent_encoding::percent_decode_str;

use super::landed::{below, is_data};
use crate::error::{Error, Kind, Result};
use crate::storage::{Listed, Location};

/// Files of one list.
const FILES_MAX: usize = 20_000_000;

/// How a list of files is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileListFormat {
    /// One location a line; after a tab its size, if known.
    Lines,
    /// S3 Inventory as CSV: bucket, key (percent-encoded), size and last-modified date where they are there.
    S3Inventory,
    /// `hdfs oiv -p Delimited`: path, replication, modification time, access time, block size, blocks, bytes, …, separated by tabs.
    Oiv,
}

/// Reads the files of a list that lie below a prefix and are data. A size that the list does not have is 0.
pub fn read_list(path: &Path, format: FileListFormat, prefix: &Location) -> Result<Vec<Listed>> {
    let failed = |e: std::io::Error| Error::bad_request(format!("{}: {e}", path.display()));
    let file = std::fs::File::open(path).map_err(failed)?;
    let reader: Box<dyn BufRead> = match path.extension().is_some_and(|extension| extension == "gz") {
        true => Box::new(std::io::BufReader::new(flate2::read::MultiGzDecoder::new(file))),
        false => Box::new(std::io::BufReader::new(file)),
    };
    let mut files = Vec::new();
    for (at, line) in reader.lines().enumerate() {
        let line = line.map_err(failed)?;
        let read = match format {
            FileListFormat::Lines => plain(&line),
            FileListFormat::S3Inventory => inventory(&line, prefix),
            FileListFormat::Oiv => oiv(&line, prefix),
        };
        let Some(found) =
            read.map_err(|why| Error::bad_request(format!("{} line {}: {why}", path.display(), at + 1)))?
        else {
            continue;
        };
        if found.location.is_under(prefix) && is_data(below(&found.location, prefix)) {
            files.push(found);
        }
        if files.len() > FILES_MAX {
            return Err(Error::new(
                Kind::Unprocessable,
                format!("{} names more than {FILES_MAX} files", path.display()),
            ));
        }
    }
    Ok(files)
}

type Line = std::result::Result<Option<Listed>, String>;

fn listed(location: String, size_bytes: u64) -> Line {
    Ok(Some(Listed { location: Location::new(location), size_bytes, changed_ms: None }))
}

fn plain(line: &str) -> Line {
    match line.trim_end_matches('\r').split_once('\t') {
        _ if line.trim().is_empty() || line.starts_with('#') => Ok(None),
        Some((location, size)) => {
            listed(location.to_owned(), size.trim().parse().map_err(|_| format!("{size:?} is no size"))?)
        }
        None => listed(line.trim().to_owned(), 0),
    }
}

/// `"bucket","key","size","2026-11-22T01:02:03.000Z"`; further fields are passed over.
fn inventory(line: &str, prefix: &Location) -> Line {
    if line.trim().is_empty() {
        return Ok(None);
    }
    let fields = csv(line)?;
    let [bucket, key, rest @ ..] = fields.as_slice() else { return Err("it has no bucket and key".to_owned()) };
    if bucket.eq_ignore_ascii_case("bucket") && key.eq_ignore_ascii_case("key") {
        return Ok(None);
    }
    let key =
        percent_decode_str(&key.replace('+', " ")).decode_utf8().map_err(|_| "its key is not UTF-8")?.into_owned();
    let scheme = prefix.scheme().unwrap_or("s3");
    // an inventory with versions has flags before the size: the first number counts
    let size = rest.iter().find_map(|field| field.parse().ok()).unwrap_or(0);
    if rest.iter().take(3).any(|field| field == "true") && rest.len() > 3 && rest[2] == "true" {
        return Ok(None); // a delete marker
    }
    listed(format!("{scheme}://{bucket}/{key}"), size)
}

/// Fields of one line, in quotes or not; a quote within quotes is doubled.
fn csv(line: &str) -> std::result::Result<Vec<String>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    fields.push(field);
    Ok(fields)
}

fn oiv(line: &str, prefix: &Location) -> Line {
    let fields: Vec<&str> = line.trim_end_matches('\r').split('\t').collect();
    let [path, replication, _, _, _, _, bytes, ..] = fields.as_slice() else {
        return if line.trim().is_empty() { Ok(None) } else { Err("it has fewer than 7 fields".to_owned()) };
    };
    // the first line names the fields, and folders have no replicas
    if *path == "Path" || *replication == "0" {
        return Ok(None);
    }
    let size = bytes.parse().map_err(|_| format!("{bytes:?} is no size"))?;
    let root = match prefix.as_str().split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()),
        None => String::new(),
    };
    listed(format!("{root}{path}"), size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, format: FileListFormat, prefix: &str) -> Result<Vec<(String, u64)>> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        std::fs::write(&path, text).expect("written");
        let files = read_list(&path, format, &Location::new(prefix))?;
        Ok(files.into_iter().map(|file| (file.location.to_string(), file.size_bytes)).collect())
    }

    #[test]
    fn lists_of_every_kind_name_files() -> Result<()> {
        let lines = "# files\ns3://b/in/a.parquet\t7\n\ns3://b/in/day=1/b.parquet\ns3://b/other/c\ns3://b/in/_tmp/d\n";
        let expected = [("s3://b/in/a.parquet".to_owned(), 7), ("s3://b/in/day=1/b.parquet".to_owned(), 0)];
        assert_eq!(read(lines, FileListFormat::Lines, "s3://b/in/")?, expected);
        let inventory = "\"b\",\"in/day%3D1/a+b.parquet\",\"12\",\"2026-11-22T00:00:00.000Z\"\n\"b\",\"in/x\",\"\",\"true\",\"true\",\"\"\n";
        assert_eq!(
            read(inventory, FileListFormat::S3Inventory, "s3a://b/in")?,
            [("s3a://b/in/day=1/a b.parquet".to_owned(), 12)]
        );
        let oiv = "Path\tReplication\tModificationTime\tAccessTime\tPreferredBlockSize\tBlocksCount\tFileSize\tNSQUOTA\n\
                   /in\t0\t2026\t2026\t0\t0\t0\t-1\n/in/a.parquet\t3\t2026\t2026\t128\t1\t99\t0\n";
        assert_eq!(
            read(oiv, FileListFormat::Oiv, "hdfs://nn:8020/in")?,
            [("hdfs://nn:8020/in/a.parquet".to_owned(), 99)]
        );
        Ok(())
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let error = read("s3://b/a\tx\n", FileListFormat::Lines, "s3://b").expect_err("no size");
        assert!(error.message().ends_with("line 1: \"x\" is no size"), "{error}");
        assert!(read("\"b\",\"k", FileListFormat::S3Inventory, "s3://b").is_err());
        assert!(read("/in\t1", FileListFormat::Oiv, "hdfs://nn/in").is_err());
    }
}
