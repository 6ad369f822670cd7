//! What lies in the replicated storage: folders of tables, and the metadata files of one.
//!
//! A folder that holds a folder `metadata` is a table's or a view's. Nothing below a table's folder is looked at here but the names of its metadata files.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::names::Layout;
use crate::error::{Error, Kind, Result};
use crate::model::Ident;
use crate::storage::{Location, Storage};
use crate::table::relocate::{METADATA_ENDINGS, number};

/// How many levels below the warehouse are looked at.
const LEVELS_MAX: usize = 8;
/// Folders that are looked at in one discovery.
const FOLDERS_MAX: usize = 1_000_000;
/// Listings under way at once.
const LISTINGS_AT_ONCE: usize = 64;
/// Names of new metadata files that are taken from one listing.
const NAMES_MAX: usize = 1_000;
/// Versions of a Hadoop table that are asked for in one look.
const HADOOP_VERSIONS_MAX: u64 = 64;
/// What a table's folder has.
pub(super) const METADATA: &str = "metadata";

/// A table's or view's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The name that its place says.
    pub ident: Ident,
    /// Where it is here.
    pub location: Location,
}

/// The places below which all others lie, each once, however it is spelled.
pub(super) fn roots(places: Vec<Location>) -> Vec<Location> {
    let is_covered = |at: usize, place: &Location| {
        places
            .iter()
            .enumerate()
            .any(|(other, above)| other != at && place.leads_into(above) && (!above.leads_into(place) || other < at))
    };
    let roots = places.iter().enumerate().filter(|(at, place)| !is_covered(*at, place));
    roots.map(|(_, place)| place.clone()).collect()
}

/// The folders of tables below `roots`; those that are `known` to be one are not looked into again.
pub(super) async fn folders(
    storage: &Storage,
    roots: &[Location],
    layout: &Layout,
    known: &HashSet<String>,
) -> Result<Vec<Folder>> {
    let mut found = Vec::new();
    let mut level: Vec<(Location, Vec<String>)> = roots.iter().map(|root| (root.clone(), Vec::new())).collect();
    let mut looked = 0;
    while !level.is_empty() {
        looked += level.len();
        if looked > FOLDERS_MAX {
            let message = format!("more than {FOLDERS_MAX} folders lie below the replica's places: name narrower ones");
            return Err(Error::new(Kind::Unprocessable, message));
        }
        let looks = level.into_iter().map(|(location, levels)| async move {
            if known.contains(location.as_str()) {
                return Ok::<_, Error>((location, levels, None));
            }
            let children = storage.children(&location).await?;
            Ok((location, levels, Some(children.folders)))
        });
        let looks: Vec<_> = stream::iter(looks).buffer_unordered(LISTINGS_AT_ONCE).try_collect().await?;
        level = Vec::new();
        for (location, levels, folders) in looks {
            let is_table = folders.as_ref().is_none_or(|folders| folders.iter().any(|name| name == METADATA));
            if is_table && !levels.is_empty() {
                // what is laid out otherwise, or has a name that no catalog takes, is nobody's table
                found.extend(layout.name(&levels).ok().map(|ident| Folder { ident, location }));
                continue;
            }
            if levels.len() >= LEVELS_MAX {
                continue;
            }
            let below = folders.into_iter().flatten().filter(|name| !name.starts_with(['_', '.']));
            level.extend(below.map(|name| (location.join(&name), [levels.as_slice(), &[name]].concat())));
        }
    }
    found.sort_by(|a, b| (&a.ident, &a.location).cmp(&(&b.ident, &b.location)));
    Ok(found)
}

/// A metadata file by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MetadataFile {
    /// The number in its name.
    pub(super) version: u64,
    /// Its name in the metadata folder.
    pub(super) name: String,
}

impl MetadataFile {
    /// `00012-….metadata.json`, `v12.metadata.json`, and gzipped ones.
    pub(super) fn of(name: &str) -> Option<MetadataFile> {
        METADATA_ENDINGS.iter().any(|ending| name.ends_with(ending)).then_some(())?;
        Some(MetadataFile { version: number(name)?, name: name.to_owned() })
    }

    /// Whether its name is its table's next state by itself: Hadoop tables commit by giving a file this name.
    pub(super) fn is_hadoop(&self) -> bool {
        self.name.starts_with('v')
    }
}

/// Where a table's metadata files are.
pub(super) fn metadata_folder(table: &Location) -> Location {
    table.join(METADATA)
}

/// The metadata files of a table after `current`, or all of them, in no order.
pub(super) async fn newer_files(
    storage: &Storage,
    table: &Location,
    current: Option<&MetadataFile>,
) -> Result<Vec<MetadataFile>> {
    let folder = metadata_folder(table);
    let of = |names: Vec<String>| names.iter().filter_map(|name| MetadataFile::of(name)).collect::<Vec<_>>();
    let Some(current) = current else { return Ok(of(storage.children(&folder).await?.files)) };
    if current.is_hadoop() {
        return hadoop_files(storage, &folder, current.version).await;
    }
    let mut found = Vec::new();
    for after in begins_of_newer(current.version) {
        found.extend(of(storage.names_after(&folder, &after, NAMES_MAX).await?));
    }
    found.retain(|file| file.version > current.version);
    found.sort();
    found.dedup();
    Ok(found)
}

/// What the names of newer versions come after. Numbers have five digits or more, so a new digit begins a second stretch.
fn begins_of_newer(version: u64) -> Vec<String> {
    let next = version + 1;
    let digits = next.to_string().len().max(5) as u32;
    let mut begins = vec![format!("{next:05}-")];
    if let Some(longer) = 10u64.checked_pow(digits).filter(|longer| *longer <= next.saturating_add(NAMES_MAX as u64)) {
        begins.push(format!("{longer}-"));
    }
    begins
}

async fn hadoop_files(storage: &Storage, folder: &Location, current: u64) -> Result<Vec<MetadataFile>> {
    let mut found = Vec::new();
    for version in (current + 1)..=current.saturating_add(HADOOP_VERSIONS_MAX) {
        let mut name = None;
        for ending in METADATA_ENDINGS {
            let file = format!("v{version}{ending}");
            if storage.look(&folder.join(&file)).await?.is_some() {
                name = Some(file);
                break;
            }
        }
        let Some(name) = name else { break };
        found.push(MetadataFile { version, name });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn metadata_files_are_known_by_their_names() {
        let version = |name: &str| MetadataFile::of(name).map(|file| file.version);
        assert_eq!(version("00012-0f8fad5b.metadata.json"), Some(12));
        assert_eq!(version("v7.gz.metadata.json"), Some(7));
        assert_eq!(version("v7.metadata.json.gz"), Some(7));
        assert_eq!(version("100000-x.metadata.json"), Some(100_000));
        assert_eq!(version("snap-1-1-x.avro"), None);
        assert_eq!(version("00012-x.metadata.json.tmp"), None);
        assert_eq!(version("x.metadata.json"), None);
    }

    #[test]
    fn a_place_that_is_spelled_in_several_ways_is_one_root() {
        let places = [
            "file:///ifs/dr/a",
            "file:///ifs/dr",
            "file:/ifs/dr",
            "/ifs/dr",
            "s3://dr/lake",
            "s3a://dr/lake",
            "s3://dr/lake2",
        ];
        let found = roots(places.map(Location::new).into());
        assert_eq!(found, ["file:///ifs/dr", "s3://dr/lake", "s3://dr/lake2"].map(Location::new));
    }

    #[test]
    fn a_new_digit_is_looked_for_in_time() {
        assert_eq!(begins_of_newer(12), ["00013-"]);
        assert_eq!(begins_of_newer(99_998), ["99999-", "100000-"]);
        assert_eq!(begins_of_newer(99_999), ["100000-"]);
    }

    #[tokio::test]
    async fn folders_and_newer_files_are_found() {
        let lake = tempfile::tempdir().unwrap();
        for file in [
            "sales/orders/metadata/00009-a.metadata.json",
            "sales/orders/metadata/00010-b.metadata.json",
            "sales/orders/metadata/00011-c.metadata.json",
            "sales/orders/metadata/0a0-m0.avro",
            "sales/orders/data/day=1/x.parquet",
            "deep/er/x/metadata/v9.metadata.json",
            "deep/er/x/metadata/v10.metadata.json",
            "_lifeboat/y/metadata/v1.metadata.json",
        ] {
            let path = lake.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}").unwrap();
        }
        let root = Location::new(format!("file:{}", lake.path().display()));
        let storage = Storage::new(Vec::new());
        let found = folders(&storage, std::slice::from_ref(&root), &Layout::Usual, &HashSet::new()).await.unwrap();
        let names: Vec<String> = found.iter().map(|folder| folder.ident.to_string()).collect();
        assert_eq!(names, ["deep.er.x", "sales.orders"]);
        let current = MetadataFile::of("00009-a.metadata.json").unwrap();
        let newer = newer_files(&storage, &root.join("sales/orders"), Some(&current)).await.unwrap();
        assert_eq!(newer.iter().map(|file| file.version).collect::<Vec<_>>(), [10, 11]);
        let current = MetadataFile::of("v9.metadata.json").unwrap();
        let newer = newer_files(&storage, &root.join("deep/er/x"), Some(&current)).await.unwrap();
        assert_eq!(newer, [MetadataFile { version: 10, name: "v10.metadata.json".into() }]);
    }
}
