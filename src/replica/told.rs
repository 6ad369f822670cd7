//! What the primary's journal tells of tables: their folders, which states they had, and the names that are gone.
//!
//! The journal is not trusted: it says which of the files that are here are states of which table, and each of them is proven as if it had been found.

use std::collections::BTreeMap;

use super::discover::{Folder, METADATA};
use crate::error::{Error, Kind, Result};
use crate::format::location::LocationMap;
use crate::model::{Ident, MetadataDigest, Named, Said};
use crate::storage::Location;

/// What the journal says of the tables that are wanted.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) folders: Vec<Folder>,
    /// Tables that it says something of that cannot be, and what.
    pub(super) blocked: BTreeMap<Ident, String>,
}

impl Told {
    pub(super) fn of(said: &Said, map: &LocationMap, wants: impl Fn(&Ident) -> bool) -> Told {
        let mut told = Told::default();
        let mut named: Vec<(&Ident, &Named)> = said.named.iter().filter(|(ident, _)| wants(ident)).collect();
        // who had a folder first keeps it
        named.sort_by_key(|(_, named)| named.files.first().map(|(number, _)| *number));
        let mut taken: BTreeMap<Location, &Ident> = BTreeMap::new();
        for (ident, named) in named {
            let Some((_, metadata)) = named.files.last() else { continue };
            match folder(metadata, map) {
                Ok(location) => {
                    if let Some(other) = taken.insert(location.clone(), ident) {
                        let message =
                            format!("the journal says that it lies in {location}, which is the folder of {other}");
                        told.blocked.insert(ident.clone(), message);
                        taken.insert(location.clone(), other);
                    }
                    told.folders.push(Folder { ident: ident.clone(), location });
                }
                Err(error) => {
                    told.blocked.insert(ident.clone(), error.told());
                    let location = Location::new(&metadata.location);
                    told.folders.push(Folder { ident: ident.clone(), location });
                }
            }
        }
        told.folders.sort_by(|a, b| a.ident.cmp(&b.ident));
        told
    }
}

/// The folder of a table at this site.
fn folder(metadata: &MetadataDigest, map: &LocationMap) -> Result<Location> {
    let unprocessable = |message: String| Error::new(Kind::Unprocessable, message);
    let here = map.map(&metadata.location)?.into_owned();
    if !map.covers(&metadata.location) {
        let message = format!(
            "the journal says that its metadata is {here}, which the replica's map does not cover: add a pair to it, or exclude the table"
        );
        return Err(unprocessable(message));
    }
    let ending = format!("/{METADATA}/{}", metadata.file_name());
    let location = here.strip_suffix(&ending).map(Location::new);
    let location = location.ok_or_else(|| {
        unprocessable(format!("the journal says that its metadata is {here}, which is not in a folder {METADATA:?}"))
    })?;
    location.check()?;
    Ok(location)
}

/// Fails when a file is not the one that the journal speaks of.
pub(super) fn check(named: &Named, file_name: &str, bytes: &[u8], uuid: Option<&str>) -> Result<()> {
    let Some((number, digest)) = named.files.iter().find(|(_, digest)| digest.file_name() == file_name) else {
        return Ok(());
    };
    if !digest.is_of(bytes) {
        let message = format!(
            "{file_name} is not the file that entry {number} of the journal speaks of: its size or digest is another; one of the two was damaged or forged"
        );
        return Err(Error::new(Kind::Unprocessable, message));
    }
    match uuid {
        Some(uuid) if !named.uuid.is_empty() && uuid != named.uuid => {
            let message =
                format!("the journal says that the table's uuid is {}, and {file_name} says {uuid}", named.uuid);
            Err(Error::new(Kind::Unprocessable, message))
        }
        _ => Ok(()),
    }
}

/// The names of the files that the journal speaks of.
pub(super) fn names(named: &Named) -> impl Iterator<Item = String> + '_ {
    named.files.iter().map(|(_, digest)| digest.file_name().to_owned())
}
