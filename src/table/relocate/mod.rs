//! Relocates a table: reads its metadata tree where the copy is, writes every file that holds paths anew, and names the new metadata.json.
//!
//! What must hold: a file is written before what names it, metadata.json last of all, so that a relocation that was cut off has published nothing
//! and the next one goes on; nothing is overwritten, and what is there already is not written again; files of entries that are deleted are never
//! opened; a file that cannot be read is an error that names it and never a shorter table. Memory is bounded by [`limits`], whatever the table's
//! size, but for one place per manifest. Whether data files are there is `table::files`' question, and the catalog is the caller's.

mod check;
mod earlier;
mod io;
mod lists;
mod manifests;
mod names;
mod presence;
mod prove;
mod report;
mod snapshot;
mod source;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

pub use check::{Checked, LiveFile, check};
pub use io::Progress;
pub use prove::{Doubtful, Proof, prove};
pub use report::{Examples, FileCounts, Report, Requests};
pub use snapshot::{Known, Snapshot, delete_pairs, manifest_pairs};
pub use source::{METADATA_ENDINGS, ReadFrom, Source, find_metadata, folder_name, number, parse, uuid};

use super::blocking;
use crate::error::{Error, Kind, Result};
use crate::format::location::LocationMap;
use crate::format::relocate::{self, NewNames, Paths, Selection};
use crate::storage::{Found, Location, Storage};
use crate::upstream::pointer::{GZIP_SUFFIX, zip};
use io::Io;
use names::Names;

/// What bounds a relocation.
pub mod limits {
    /// The largest metadata.json, manifest list, manifest or delete file.
    pub const FILE_BYTES_MAX: u64 = 1 << 30;
    /// Bytes of files that are worked on at once; a larger file is worked on alone.
    pub const BYTES_AT_ONCE: u64 = 64 << 20;
    /// Files that are worked on at once.
    pub const FILES_AT_ONCE: usize = 16;
    /// Manifest lists that are kept while their manifests are written.
    pub const LISTS_AT_ONCE: usize = 64;
    /// Manifests of one table, over all of its snapshots.
    pub const MANIFESTS_MAX: usize = 5_000_000;
    /// Files in the folder of relocated files that are looked at in one listing.
    pub const LISTED_MAX: usize = 5_000_000;
    /// Earlier metadata files after which no earlier relocation is looked for.
    pub const EARLIER_MAX: usize = 8;
    /// Missing or unmapped paths that are kept as examples.
    pub const EXAMPLES_MAX: usize = 10;
}

/// The folder beside the source's metadata where relocated files go when no overlay is named.
const BESIDE: &str = "relocated";

/// What is to be relocated, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where paths lead.
    pub map: LocationMap,
    /// The overlay below which relocated files are written; without one they go beside the source's metadata.
    pub into: Option<Location>,
    /// Where files are read; derived from where the source lies if not said.
    pub read: Option<ReadFrom>,
    /// Which snapshots.
    pub selection: Selection,
    /// Further properties that hold locations.
    pub path_properties: Vec<String>,
    /// Names of catalogs in views, as `(from, to)`.
    pub catalogs: Vec<(String, String)>,
    /// Properties that the relocated table has besides its own, or instead of them.
    pub properties: BTreeMap<String, String>,
    /// A relocated metadata.json of the same table and map, on which this one builds; without one it is looked for.
    pub base: Option<Location>,
    /// Nothing is written; what would be is counted, and what is missing is collected instead of being an error.
    pub is_plan: bool,
}

impl Options {
    /// All snapshots by `map`, written beside the source.
    pub fn new(map: LocationMap) -> Self {
        Options {
            map,
            into: None,
            read: None,
            selection: Selection::All,
            path_properties: Vec::new(),
            catalogs: Vec::new(),
            properties: BTreeMap::new(),
            base: None,
            is_plan: false,
        }
    }
}

/// Relocates the table or view whose metadata.json is at `source`. The report has the new metadata's location.
pub async fn relocate(
    storage: Arc<Storage>,
    source: &Location,
    options: &Options,
    progress: Arc<Progress>,
) -> Result<Report> {
    Ok(run(storage, source, options, progress).await?.1)
}

/// A table or view in both namings.
#[derive(Debug)]
pub struct Relocated {
    /// Where the relocated metadata.json is.
    pub location: Location,
    /// The metadata that was relocated.
    pub source: Value,
    /// The relocated metadata.
    pub target: Value,
    /// What the storage was asked, and how many files were written.
    pub requests: Requests,
    /// Files that were written.
    pub written: u64,
}

/// As [`relocate`], for who goes on with the metadata.
pub async fn relocate_tree(storage: Arc<Storage>, source: &Location, options: &Options) -> Result<Relocated> {
    let (run, report, target) = run(storage, source, options, Arc::default()).await?;
    let location = Location::new(report.metadata_location);
    let target = match target {
        Some(target) => target,
        None => {
            let found = run.io.read(&location).await?;
            let (raw, _) = found.ok_or_else(|| Error::new(Kind::NotFound, format!("there is no {location}")))?;
            parse(raw, &location)?
        }
    };
    let (requests, written) = (run.io.requests(), report.files.written);
    Ok(Relocated { location, source: run.source.metadata, target, requests, written })
}

/// The report, and the relocated metadata unless it was there already.
async fn run<'o>(
    storage: Arc<Storage>,
    source: &Location,
    options: &'o Options,
    progress: Arc<Progress>,
) -> Result<(Run<'o>, Report, Option<Value>)> {
    let io = Arc::new(Io::new(storage, progress, options.is_plan));
    let source = Source::read(&io, source, options).await?;
    let names = Names::new(&options.map);
    let run = Run { io, source, names, options };
    let done = match run.source.is_view() {
        true => run.view().await,
        false => run.table().await,
    };
    let (report, target) = done.map_err(|e| e.context(format!("relocating {}", run.source.location)))?;
    Ok((run, report, target))
}

/// One relocation under way.
struct Run<'o> {
    io: Arc<Io>,
    source: Source,
    names: Names,
    options: &'o Options,
}

impl Run<'_> {
    /// A view is one file.
    async fn view(&self) -> Result<(Report, Option<Value>)> {
        let name = self.source.location.to_string();
        let (mut view, paths_in_sql) =
            relocate::relocate_view(self.source.metadata.clone(), &name, &self.source.paths, &self.options.catalogs)?;
        self.set_properties(&mut view)?;
        let location = self.new_metadata_location();
        self.write_metadata(&location, &view).await?;
        let snapshots = 0;
        Ok((Report { paths_in_sql, ..Report::new(self, location, snapshots, 0) }, Some(view)))
    }

    /// Bottom-up: delete files, manifests, manifest lists, metadata.json.
    async fn table(&self) -> Result<(Report, Option<Value>)> {
        let name = self.source.location.to_string();
        let (metadata, left_out) = relocate::select(&self.source.metadata, &self.options.selection)?;
        let places = relocate::manifest_places(&metadata, &name)?;
        let location = self.new_metadata_location();
        let done = self.io.look(&location).await?.is_some();
        if done {
            self.io.skipped();
            return Ok((Report::new(self, location, places.len(), left_out), None));
        }
        let mut tree = lists::Tree::new(self);
        self.recall(&mut tree, &places).await?;
        tree.relocate(&places).await?;
        let unmapped = tree.unmapped();
        let names = tree.into_names();
        let relocated = self.metadata(metadata, &name, &names)?;
        if self.io.missing().count == 0 {
            self.write_metadata(&location, &relocated).await?;
        }
        let report = Report { unmapped_paths: unmapped, ..Report::new(self, location, places.len(), left_out) };
        Ok((report, Some(relocated)))
    }

    fn metadata(&self, metadata: Value, name: &str, names: &NewNames) -> Result<Value> {
        if self.io.missing().count > 0 {
            return Ok(Value::Null);
        }
        let also = &self.options.path_properties;
        let mut metadata = relocate::relocate_metadata(metadata, name, &self.source.paths, names, also)?;
        self.set_properties(&mut metadata)?;
        Ok(metadata)
    }

    fn set_properties(&self, metadata: &mut Value) -> Result<()> {
        if self.options.properties.is_empty() {
            return Ok(());
        }
        let object = metadata.as_object_mut().ok_or_else(|| Error::internal("metadata is no JSON object"))?;
        let properties = object.entry("properties").or_insert_with(|| Value::Object(serde_json::Map::new()));
        let properties = properties.as_object_mut().ok_or_else(|| {
            Error::new(Kind::Unprocessable, format!("properties of {} are no JSON object", self.source.location))
        })?;
        let own = self.options.properties.iter();
        properties.extend(own.map(|(key, value)| (key.clone(), Value::String(value.clone()))));
        Ok(())
    }

    /// What earlier relocations of this table wrote: by an earlier metadata.json of its if there is one, else by a listing.
    async fn recall(&self, tree: &mut lists::Tree<'_>, places: &[relocate::ManifestPlaces]) -> Result<()> {
        if earlier::recall(self, tree, places).await? {
            return Ok(());
        }
        let there = self.io.list(&self.source.folder).await?;
        tree.there(there);
        Ok(())
    }

    fn new_metadata_location(&self) -> Location {
        self.metadata_location(&self.source.location, &self.source.found)
    }

    /// Where the relocated form of a metadata.json goes.
    fn metadata_location(&self, source: &Location, found: &Found) -> Location {
        let Options { selection, path_properties, catalogs, properties, .. } = self.options;
        let mut options = format!("{selection:?}\n{path_properties:?}\n{catalogs:?}");
        if !properties.is_empty() {
            options.push_str(&format!("\n{properties:?}"));
        }
        self.source.folder.join(&self.names.metadata(source, found, &options))
    }

    async fn write_metadata(&self, location: &Location, metadata: &Value) -> Result<()> {
        let bytes = serde_json::to_vec(metadata).map_err(|e| Error::internal(e.to_string()))?;
        let bytes = if location.as_str().ends_with(GZIP_SUFFIX) { zip(&bytes)? } else { bytes.into() };
        self.io.write(location, bytes).await
    }
}

/// Where manifests went, by resolved source path.
pub type NewManifests = HashMap<String, relocate::NewManifest>;

/// The paths of one table, shared by the threads that work on it.
pub type SharedPaths = Arc<Paths>;
