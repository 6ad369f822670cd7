//! What is relocated: the metadata.json, the table's paths, and where its files are read and written.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::io::Io;
use super::{BESIDE, Options, SharedPaths};
use crate::error::{Error, Kind, Result};
use crate::format::location::LocationMap;
use crate::format::relocate::{self, Paths};
use crate::storage::{Found, Location, Storage};
use crate::upstream::pointer::{GZIP_SUFFIX, unpack};

/// Names in a metadata folder that are looked at.
const FOLDER_FILES_MAX: usize = 1_000_000;
const METADATA_SUFFIX: &str = ".metadata.json";
/// How the names of gzipped metadata files ended once.
const OLD_GZIP_SUFFIX: &str = ".metadata.json.gz";
/// How the names of metadata files end.
pub const METADATA_ENDINGS: [&str; 3] = [METADATA_SUFFIX, GZIP_SUFFIX, OLD_GZIP_SUFFIX];
const VERSION_HINT: &str = "version-hint.text";

/// Where the files of a tree are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadFrom {
    /// Where the metadata says that they are.
    Source,
    /// Where the location map puts them: the copy is read.
    Target,
}

/// The metadata.json that is relocated, and what follows from it.
pub struct Source {
    /// Where it is.
    pub location: Location,
    /// What the store says of it.
    pub found: Found,
    /// What is in it.
    pub metadata: Value,
    /// The table's paths.
    pub paths: SharedPaths,
    /// Where its files are read.
    pub read: ReadFrom,
    /// Where relocated files go.
    pub folder: Location,
}

impl Source {
    pub(super) async fn read(io: &Io, location: &Location, options: &Options) -> Result<Source> {
        Ok(Self::fetch(io, location, options).await?.0)
    }

    /// The same, with the bytes of the metadata file, zipped or not.
    pub(super) async fn fetch(io: &Io, location: &Location, options: &Options) -> Result<(Source, Bytes)> {
        let (raw, found) = io.read(location).await?.ok_or_else(|| missing(location))?;
        let metadata = parse(raw.clone(), location)?;
        if !metadata.is_object() {
            return Err(Error::new(
                Kind::Unprocessable,
                format!("cannot read {location} as metadata: it is no JSON object"),
            ));
        }
        let map = Arc::new(options.map.clone());
        let own = metadata["location"].as_str();
        let paths = match own {
            Some(own) if metadata["format-version"].as_i64().is_some_and(|version| version >= 4) => {
                Paths::relative(map, own)?
            }
            _ => Paths::absolute(map),
        };
        let read = match options.read {
            Some(read) => read,
            None => derive(location, &options.map)?,
        };
        let folder = match &options.into {
            Some(into) => into.join(&folder_name(uuid(&metadata), own.unwrap_or(location.as_str()))),
            None => beside(location, own, &paths),
        };
        let source = Source { location: location.clone(), found, metadata, paths: Arc::new(paths), read, folder };
        Ok((source, raw))
    }

    pub(super) fn is_view(&self) -> bool {
        relocate::is_view(&self.metadata)
    }

    /// Where a file of the tree is read.
    pub(super) fn place(&self, path: &str) -> Result<Location> {
        Ok(match self.read {
            ReadFrom::Source => Location::new(self.paths.resolve(path)),
            ReadFrom::Target => Location::new(self.paths.target(path)?),
        })
    }
}

/// Where the copy is, told by where its metadata.json was found.
fn derive(location: &Location, map: &LocationMap) -> Result<ReadFrom> {
    let leads = |mut prefixes: Box<dyn Iterator<Item = &str> + '_>| {
        prefixes.any(|prefix| location.leads_into(&Location::new(prefix)))
    };
    match (leads(Box::new(map.sources())), leads(Box::new(map.targets()))) {
        (true, false) => Ok(ReadFrom::Source),
        (false, true) => Ok(ReadFrom::Target),
        (under_both, _) => Err(Error::bad_request(format!(
            "{location} lies under {} of the location map, so it cannot be told where the table's files are read: say --read source (where the \
             metadata says they are) or --read target (where the map puts them)",
            if under_both { "a source and a target" } else { "no prefix" }
        ))),
    }
}

/// The folder of a table's files in an overlay: its uuid, or where that is none, a hash of its place.
pub fn folder_name(uuid: Option<&str>, place: &str) -> String {
    let plain = |uuid: &&str| uuid.len() <= 64 && uuid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    uuid.filter(plain)
        .map(str::to_owned)
        .unwrap_or_else(|| Sha256::digest(place.as_bytes())[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Beside the source's metadata, spelled as the map spells the table's location where that leads to the same folder.
fn beside(location: &Location, own: Option<&str>, paths: &Paths) -> Location {
    let folder = parent(location);
    let spelled = own.and_then(|own| paths.target(own).ok()).map(|own| Location::new(own).join("metadata"));
    let same = spelled.filter(|spelled| spelled.leads_into(&folder) && folder.leads_into(spelled));
    let folder = same.unwrap_or(folder);
    // relocated once more, it stays in the one folder
    if folder.as_str().ends_with(&format!("/{BESIDE}")) { folder } else { folder.join(BESIDE) }
}

/// The bytes of a metadata file, gzipped or not, as JSON.
pub fn parse(raw: Bytes, location: &Location) -> Result<Value> {
    serde_json::from_slice(&unpack(raw, location)?)
        .map_err(|e| Error::new(Kind::Unprocessable, format!("cannot read {location} as metadata: {e}")))
}

/// The uuid of a table, view or function.
pub fn uuid(metadata: &Value) -> Option<&str> {
    ["table-uuid", "view-uuid", "function-uuid"].iter().find_map(|member| metadata[member].as_str())
}

fn parent(location: &Location) -> Location {
    Location::new(location.as_str().rsplit_once('/').map_or("", |(folder, _)| folder))
}

fn missing(location: &Location) -> Error {
    Error::new(Kind::NotFound, format!("there is no {location}"))
}

/// The metadata.json that a user means: the file itself, or the newest one of a table's folder.
pub async fn find_metadata(storage: &Storage, source: &Location) -> Result<Location> {
    if source.as_str().ends_with(".json") || source.as_str().ends_with(OLD_GZIP_SUFFIX) {
        return Ok(source.clone());
    }
    let folder = source.join("metadata");
    let hint = folder.join(VERSION_HINT);
    if storage.look(&hint).await?.is_some() {
        let text = storage.read(&hint, 1024).await?;
        let version = String::from_utf8_lossy(&text).trim().to_owned();
        for ending in METADATA_ENDINGS {
            let file = folder.join(&format!("v{version}{ending}"));
            if storage.look(&file).await?.is_some() {
                return Ok(file);
            }
        }
    }
    let files = storage.list(&folder, FOLDER_FILES_MAX).await?;
    let numbered = files
        .iter()
        .filter(|file| parent(&file.location) == folder)
        .filter_map(|file| Some((version(&file.location)?, &file.location)));
    let newest = numbered.clone().map(|(version, _)| version).max();
    let mut found: Vec<&Location> =
        numbered.filter(|(version, _)| Some(*version) == newest).map(|(_, location)| location).collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Error::new(
            Kind::NotFound,
            format!("{folder} has no metadata file; name a metadata.json or a table's folder"),
        )),
        [one, other, ..] => Err(Error::bad_request(format!(
            "{one} and {other} have the same number: one of them is left of a commit that failed; say which is the table's"
        ))),
    }
}

/// The number in a metadata file's name: `00012-….metadata.json`, `v12.metadata.json`.
fn version(location: &Location) -> Option<u64> {
    let name = location.as_str().rsplit('/').next()?;
    if name.contains(METADATA_SUFFIX) { number(name) } else { None }
}

/// The number that a metadata file's name begins with, behind a `v` or not.
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('v').unwrap_or(name);
    digits[..digits.bytes().take_while(u8::is_ascii_digit).count()].parse().ok()
}
