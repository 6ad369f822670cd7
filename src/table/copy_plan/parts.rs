//! Locations as copying tools take them apart, and names that their formats cannot say.

use crate::error::{Error, Kind, Result};
use crate::storage::Location;

/// Where a location is, as tools see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// An absolute path.
    Local(&'a str),
    /// A key in a bucket, however its scheme is spelled.
    S3 { bucket: &'a str, key: &'a str },
    /// Anything else; the path is without its first slash.
    Other { scheme: &'a str, authority: &'a str, path: &'a str },
}

impl<'a> Place<'a> {
    /// Takes a location apart for `tool`, which is named in the error.
    pub(super) fn of(location: &'a str, tool: &str) -> Result<Place<'a>> {
        let Some(scheme) = Location::new(location).scheme().map(str::len).map(|end| &location[..end]) else {
            return if location.starts_with('/') { Ok(Place::Local(location)) } else { Err(unsayable(location, tool)) };
        };
        let rest = &location[scheme.len() + 1..];
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        match scheme {
            "file" if authority.is_empty() || authority == "localhost" => Ok(Place::Local(path)),
            "s3" | "s3a" | "s3n" if !authority.is_empty() => {
                Ok(Place::S3 { bucket: authority, key: path.strip_prefix('/').unwrap_or(path) })
            }
            _ => Ok(Place::Other { scheme, authority, path: path.strip_prefix('/').unwrap_or(path) }),
        }
    }

    /// Its path below bucket, authority or root.
    pub(super) fn path(self) -> &'a str {
        match self {
            Place::Local(path) => path.strip_prefix('/').unwrap_or(path),
            Place::S3 { key: path, .. } | Place::Other { path, .. } => path,
        }
    }

    /// Refuses what is not one line, and what a tool that joins and cleans paths would change.
    pub(super) fn check_plain(self, location: &str, tool: &str) -> Result<()> {
        let changes = self.path().split('/').any(|segment| matches!(segment, "" | "." | ".."));
        match changes || location.contains(['\n', '\r', '\0']) {
            true => Err(unsayable(location, tool)),
            false => Ok(()),
        }
    }
}

/// A name that a format has no way to say.
pub(super) fn unsayable(location: &str, tool: &str) -> Error {
    let message = format!("{location:?} cannot be said to {tool} as it is; use --copy-plan-format csv");
    Error::new(Kind::Unprocessable, message)
}

/// One word of a POSIX shell.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
