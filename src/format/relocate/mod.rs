//! Relocation of single files: every path in them is where the location map puts it, and everything else is as it was.
//!
//! Metadata and views are JSON values, manifest lists and manifests are Avro streams that are patched by field id. What must hold: user data that
//! looks like a path (columns, partition values, properties, SQL text) is never touched; a file that cannot be relocated wholly is an error that
//! names it. Walking a tree, and what is read and written where, is `table::relocate`'s.

mod list;
mod manifest;
mod metadata;
#[cfg(test)]
mod tests;
mod view;

use std::borrow::Cow;
use std::sync::Arc;

pub use list::{NewManifest, relocate_list};
pub use manifest::{DeleteFile, DeleteFormat, NewDelete, Patched, position_deletes, relocate_manifest};
pub use metadata::{ManifestPlaces, NewNames, Selection, heads, manifest_places, relocate_metadata, select};
pub use view::{PathInSql, is_view, relocate_view};

use super::location::LocationMap;
use crate::error::{Error, Kind, Result};

/// Raised whenever the same input would give other bytes: relocated files are named by it, so that an upgrade never changes a file that somebody cached.
pub const TRANSFORM_VERSION: u32 = 2;

/// The field of a position delete that names its data file.
pub const DELETED_PATH_ID: i32 = 2_147_483_546;

/// The location map as it applies to one table.
#[derive(Debug, Clone)]
pub struct Paths {
    map: Arc<LocationMap>,
    /// Format version 4 and later: relative paths begin at the table's location, here and there.
    base: Option<(String, String)>,
}

impl Paths {
    /// For a table whose paths are absolute: format versions 1 to 3, and views.
    pub fn absolute(map: Arc<LocationMap>) -> Self {
        Paths { map, base: None }
    }

    /// For a table whose paths may be relative to `location`: format version 4.
    pub fn relative(map: Arc<LocationMap>, location: &str) -> Result<Self> {
        let target = map.map(location)?.into_owned();
        Ok(Paths { map, base: Some((location.to_owned(), target)) })
    }

    /// The path with nothing left to resolve.
    pub fn resolve<'a>(&self, path: &'a str) -> Cow<'a, str> {
        match &self.base {
            Some((location, _)) if is_relative(path) => {
                Cow::Owned(format!("{}/{path}", location.trim_end_matches('/')))
            }
            _ => Cow::Borrowed(path),
        }
    }

    /// Where `path` is at the other place; a relative path stays as it is where the new location leads there.
    pub fn map<'a>(&self, path: &'a str) -> Result<Cow<'a, str>> {
        let Some((location, target)) = self.base.as_ref().filter(|_| is_relative(path)) else {
            return self.map.map(path);
        };
        let whole = format!("{}/{path}", location.trim_end_matches('/'));
        let mapped = self.map.map(&whole)?;
        let follows =
            mapped.strip_prefix(target.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/')) == Some(path);
        Ok(if follows { Cow::Borrowed(path) } else { Cow::Owned(mapped.into_owned()) })
    }

    /// Where `path` is at the other place, with nothing left to resolve.
    pub fn target(&self, path: &str) -> Result<String> {
        Ok(self.map.map(&self.resolve(path))?.into_owned())
    }

    /// The map itself.
    pub fn location_map(&self) -> &LocationMap {
        &self.map
    }
}

/// Whether a path of format version 4 begins at the table's location: it has no scheme and is not absolute either.
fn is_relative(path: &str) -> bool {
    let scheme = path.split_once(':').is_some_and(|(scheme, rest)| {
        let plain = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        rest.starts_with('/') && plain && !scheme.is_empty()
    });
    !scheme && !path.starts_with('/')
}

fn encrypted(name: &str, what: &str) -> Error {
    Error::new(
        Kind::Unprocessable,
        format!("{name} is encrypted ({what}); encrypted metadata and delete files cannot be relocated"),
    )
}
