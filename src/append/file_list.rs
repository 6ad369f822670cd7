//! Lists of files that somebody else made, where a listing would be too big: plain lines, S3 Inventory, `hdfs oiv`.
//!
//! What must hold: a line that cannot be understood is an error that names its number, never a file less.

use std::io::{BufRead, Read, Seek};
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
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
    /// S3 Inventory, as Parquet or as CSV: bucket, key (percent-encoded in CSV), and size where it is there.
    S3Inventory,
    /// `hdfs oiv -p Delimited`: path, replication, modification time, access time, block size, blocks, bytes, …, separated by tabs.
    Oiv,
}

/// Reads the files of a list that lie below a prefix and are data. A size that the list does not have is 0.
pub fn read_list(path: &Path, format: FileListFormat, prefix: &Location) -> Result<Vec<Listed>> {
    let failed = |e: std::io::Error| Error::bad_request(format!("{}: {e}", path.display()));
    let mut files = Files { files: Vec::new(), prefix };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut first = [0; 4];
    let is_parquet = file.read(&mut first).map_err(failed)? == 4 && &first == b"PAR1";
    if is_parquet {
        let unreadable = |e: ParquetError| Error::bad_request(format!("{}: {e}", path.display()));
        inventory_rows(file, |listed| files.add(path, listed)).map_err(unreadable)??;
        return Ok(files.files);
    }
    file.rewind().map_err(failed)?;
    let reader: Box<dyn BufRead> = match path.extension().is_some_and(|extension| extension == "gz") {
        true => Box::new(std::io::BufReader::new(flate2::read::MultiGzDecoder::new(file))),
        false => Box::new(std::io::BufReader::new(file)),
    };
    for (at, line) in reader.lines().enumerate() {
        let line = line.map_err(failed)?;
        let read = match format {
            FileListFormat::Lines => plain(&line),
            FileListFormat::S3Inventory => inventory(&line),
            FileListFormat::Oiv => oiv(&line, prefix),
        };
        let named = |why| Error::bad_request(format!("{} line {}: {why}", path.display(), at + 1));
        if let Some(found) = read.map_err(named)? {
            files.add(path, found)?;
        }
    }
    Ok(files.files)
}

/// What was found of a list.
struct Files<'p> {
    files: Vec<Listed>,
    prefix: &'p Location,
}

impl Files<'_> {
    /// Takes a file that is data below the prefix.
    fn add(&mut self, path: &Path, found: Listed) -> Result<()> {
        let location = found.location.in_scheme_of(self.prefix);
        if location.is_under(self.prefix) && is_data(below(&location, self.prefix)) {
            self.files.push(Listed { location, ..found });
        }
        if self.files.len() > FILES_MAX {
            let message = format!("{} names more than {FILES_MAX} files", path.display());
            return Err(Error::new(Kind::Unprocessable, message));
        }
        Ok(())
    }
}

/// The rows of an inventory in Parquet; what is no current object is passed over.
fn inventory_rows(
    file: std::fs::File,
    mut each: impl FnMut(Listed) -> Result<()>,
) -> std::result::Result<Result<()>, ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    for row in reader.get_row_iter(None)? {
        let row = row?;
        let (mut bucket, mut key, mut size, mut is_current) = (None, None, 0, true);
        for (name, value) in row.get_column_iter() {
            match (name.as_str(), value) {
                ("bucket", Field::Str(text)) => bucket = Some(text.clone()),
                ("key", Field::Str(text)) => key = Some(text.clone()),
                ("size", Field::Long(bytes)) => size = u64::try_from(*bytes).unwrap_or(0),
                ("size", Field::Int(bytes)) => size = u64::try_from(*bytes).unwrap_or(0),
                ("is_latest", Field::Bool(false)) | ("is_delete_marker", Field::Bool(true)) => is_current = false,
                _ => {}
            }
        }
        let (Some(bucket), Some(key)) = (bucket, key) else {
            return Err(ParquetError::General("it has no columns bucket and key: it is no S3 Inventory".to_owned()));
        };
        let location = Location::new(format!("s3://{bucket}/{key}"));
        if is_current && let Err(error) = each(Listed { location, size_bytes: size, changed_ms: None }) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
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
fn inventory(line: &str) -> Line {
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
    // an inventory with versions has flags before the size: the first number counts
    let size = rest.iter().find_map(|field| field.parse().ok()).unwrap_or(0);
    if rest.iter().take(3).any(|field| field == "true") && rest.len() > 3 && rest[2] == "true" {
        return Ok(None); // a delete marker
    }
    listed(format!("s3://{bucket}/{key}"), size)
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
    fn an_inventory_in_parquet_names_current_objects() {
        use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
        let message = "message m { required binary bucket (UTF8); required binary key (UTF8); optional int64 size; optional boolean is_latest; }";
        let schema = parquet::schema::parser::parse_message_type(message).expect("a schema");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("inventory.parquet");
        let file = std::fs::File::create(&path).expect("made");
        let mut writer = parquet::file::writer::SerializedFileWriter::new(file, schema.into(), Default::default())
            .expect("a writer");
        let mut group = writer.next_row_group().expect("a row group");
        let texts = |texts: [&str; 2]| texts.map(ByteArray::from);
        for texts in [texts(["b", "b"]), texts(["in/a b.parquet", "in/old.parquet"])] {
            let mut column = group.next_column().expect("a column").expect("a column");
            column.typed::<ByteArrayType>().write_batch(&texts, None, None).expect("written");
            column.close().expect("closed");
        }
        let mut column = group.next_column().expect("a column").expect("a column");
        column.typed::<Int64Type>().write_batch(&[5, 6], Some(&[1, 1]), None).expect("written");
        column.close().expect("closed");
        let mut column = group.next_column().expect("a column").expect("a column");
        column.typed::<BoolType>().write_batch(&[true, false], Some(&[1, 1]), None).expect("written");
        column.close().expect("closed");
        group.close().expect("closed");
        writer.close().expect("closed");
        let files = read_list(&path, FileListFormat::S3Inventory, &Location::new("s3a://b/in")).expect("read");
        let expected = Listed { location: Location::new("s3a://b/in/a b.parquet"), size_bytes: 5, changed_ms: None };
        assert_eq!(files, [expected]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let error = read("s3://b/a\tx\n", FileListFormat::Lines, "s3://b").expect_err("no size");
        assert!(error.message().ends_with("line 1: \"x\" is no size"), "{error}");
        assert!(read("\"b\",\"k", FileListFormat::S3Inventory, "s3://b").is_err());
        assert!(read("/in\t1", FileListFormat::Oiv, "hdfs://nn/in").is_err());
    }
}
