//! A place in storage, as Iceberg metadata writes it.
//!
//! What must hold: a [`Location`] is compared and joined as the plain string that it is (`file:/a`, `file:///a` and `/a` are three
//! strings), and one that could lead outside of what it names (a `..` segment) has no [`Place`].

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// The schemes of S3; the same store whatever the spelling.
const S3_SCHEMES: [&str; 3] = ["s3", "s3a", "s3n"];

/// A place in storage: a file or a prefix. Never normalised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Location(String);

/// Where a location is for the program that must go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// An absolute path of this machine.
    Local(PathBuf),
    /// A key in a bucket; a prefix' key ends without a slash.
    Object { bucket: String, key: String },
}

impl Location {
    /// Takes a location as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Location(text.into())
    }

    /// As a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The scheme before `:`, or `None` for a bare path.
    pub fn scheme(&self) -> Option<&str> {
        let (scheme, _) = self.0.split_once(":/")?;
        let plain = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        (plain && !scheme.is_empty()).then_some(scheme)
    }

    /// Whether this is `prefix` itself or lies below it, at a `/` boundary; trailing slashes of the prefix do not count.
    pub fn is_under(&self, prefix: &Location) -> bool {
        let prefix = prefix.0.trim_end_matches('/');
        match self.0.strip_prefix(prefix) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    /// As [`Location::is_under`], but the schemes of S3 are one.
    pub(super) fn is_in_store(&self, prefix: &Location) -> bool {
        let rest = self.in_store().strip_prefix(prefix.in_store().trim_end_matches('/'));
        self.is_s3() == prefix.is_s3() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// What follows the scheme where that is one of S3, else all.
    pub(super) fn in_store(&self) -> &str {
        let scheme = self.scheme().filter(|scheme| S3_SCHEMES.contains(scheme));
        &self.0[scheme.map_or(0, |scheme| scheme.len() + 1)..]
    }

    pub(super) fn is_s3(&self) -> bool {
        self.scheme().is_some_and(|scheme| S3_SCHEMES.contains(&scheme))
    }

    /// Whether going there leads into `prefix`, however the two are spelled (`s3a` or `s3`, `file:/` or `file:///`). Where one of them leads
    /// nowhere for us, the strings are compared.
    pub fn leads_into(&self, prefix: &Location) -> bool {
        match (self.place(), prefix.place()) {
            (Ok(Place::Local(path)), Ok(Place::Local(above))) => path.starts_with(above),
            (Ok(Place::Object { bucket, key }), Ok(Place::Object { bucket: bucket_above, key: above })) => {
                let below = key.strip_prefix(above.as_str());
                bucket == bucket_above
                    && below.is_some_and(|rest| above.is_empty() || rest.is_empty() || rest.starts_with('/'))
            }
            (Ok(_), Ok(_)) => false,
            _ => self.is_under(prefix),
        }
    }

    /// The same place by the scheme of another one, where both are schemes of S3.
    pub fn in_scheme_of(self, other: &Location) -> Location {
        match other.scheme() {
            Some(scheme) if self.is_s3() && other.is_s3() => Location(format!("{scheme}:{}", self.in_store())),
            _ => self,
        }
    }

    /// The same text for every spelling of a place (`s3a` or `s3`, `file:/` or `file:///`): for telling places apart, never for going there.
    pub fn place_text(&self) -> String {
        match self.place() {
            Ok(Place::Local(path)) => {
                let is_plain = |text: &str| !text.contains("//") && !text.contains("/./") && !text.ends_with('/');
                match path.to_str().filter(|text| is_plain(text)) {
                    Some(text) => format!("file:{text}"),
                    None => format!("file:{}", path.components().collect::<PathBuf>().display()),
                }
            }
            Ok(Place::Object { bucket, key }) => format!("s3://{bucket}/{key}"),
            // a key that we would not go to is a key that others may have
            Err(_) if self.is_s3() => format!("s3:{}", self.in_store()),
            Err(_) => self.0.clone(),
        }
    }

    /// Whether this is a whole file system or a whole bucket.
    pub fn is_root(&self) -> bool {
        match self.place() {
            Ok(Place::Local(path)) => path.parent().is_none(),
            Ok(Place::Object { key, .. }) => key.is_empty(),
            Err(_) => false,
        }
    }

    /// Whether it is in this machine's file system.
    pub fn is_local(&self) -> bool {
        matches!(self.place(), Ok(Place::Local(_)))
    }

    /// A place below this one.
    pub fn join(&self, below: &str) -> Location {
        Location(format!("{}/{below}", self.0.trim_end_matches('/')))
    }

    /// Whether this program can go there at all: a known scheme and no `..`.
    pub fn check(&self) -> Result<()> {
        self.place().map(|_| ())
    }

    /// Where that is for us, if it may be gone to: of this machine's file system only what lies at and below `roots` is open, where there are any
    /// said. There is no other way to a place from outside of this file.
    pub(super) fn place_within(&self, roots: Option<&[Location]>) -> Result<Place> {
        let place = self.place()?;
        if let (Place::Local(_), Some(roots)) = (&place, roots)
            && !roots.iter().any(|root| root.is_local() && self.leads_into(root))
        {
            let message = format!(
                "{self} is in a folder that the configuration does not open: name a place below an embedded warehouse, or add its folder \
                 under `storage`, such as `- prefix: file:///ifs/dr`"
            );
            return Err(Error::new(Kind::Forbidden, message));
        }
        Ok(place)
    }

    /// Where that is for us.
    fn place(&self) -> Result<Place> {
        if self.0.contains('\0') || self.0.split('/').any(|segment| segment == "..") {
            return Err(Error::bad_request(format!("location {:?} holds a '..' segment or U+0000", self.0)));
        }
        match self.scheme() {
            None if self.0.starts_with('/') => Ok(Place::Local(PathBuf::from(&self.0))),
            Some("file") => self.local(),
            Some(scheme) if S3_SCHEMES.contains(&scheme) => self.object(),
            Some(scheme) => Err(Error::bad_request(format!(
                "location {:?} has scheme {scheme:?}; file, s3, s3a and s3n are spoken",
                self.0
            ))),
            None => Err(Error::bad_request(format!("location {:?} is neither absolute nor has a scheme", self.0))),
        }
    }

    /// `file:/a`, `file:///a` and `file://localhost/a`: all the same folder here.
    fn local(&self) -> Result<Place> {
        let rest = &self.0["file:".len()..];
        let path = match rest.strip_prefix("//") {
            Some(after) => after.strip_prefix("localhost").unwrap_or(after),
            None => rest,
        };
        if !path.starts_with('/') {
            return Err(Error::bad_request(format!("location {:?} names another machine's folder", self.0)));
        }
        Ok(Place::Local(PathBuf::from(path)))
    }

    fn object(&self) -> Result<Place> {
        let rest = self.0.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(Error::bad_request(format!("location {:?} names no bucket", self.0)));
        }
        let key = key.trim_end_matches('/');
        if !key.is_empty() && key.split('/').any(|segment| segment.is_empty() || segment == ".") {
            return Err(Error::bad_request(format!("location {:?} has a key with an empty or '.' segment", self.0)));
        }
        Ok(Place::Object { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<Place> {
        Location::new(text).place().ok()
    }

    #[test]
    fn every_spelling_of_a_local_folder_leads_there() {
        for text in ["/tmp/a b%20", "file:/tmp/a b%20", "file:///tmp/a b%20", "file://localhost/tmp/a b%20"] {
            assert_eq!(place(text), Some(Place::Local("/tmp/a b%20".into())), "{text}");
        }
    }

    #[test]
    fn a_bucket_and_key_are_taken_as_written() {
        let expected = Place::Object { bucket: "b".into(), key: "x/y%2F".into() };
        for text in ["s3://b/x/y%2F", "s3a://b/x/y%2F/", "s3n://b/x/y%2F"] {
            assert_eq!(place(text), Some(expected.clone()), "{text}");
        }
    }

    #[test]
    fn places_that_lead_elsewhere_are_refused() {
        for text in ["relative/a", "", "s3:///k", "file://host/a", "/a/../b", "s3://b/../c", "gs://b/k", "/a\0b"] {
            assert_eq!(place(text), None, "{text}");
        }
    }

    #[test]
    fn the_same_place_is_known_in_every_spelling() {
        let at = |text: &str| Location::new(text);
        assert!(at("file:///w/t/data/f").leads_into(&at("file:/w/t/")));
        assert!(at("/w/./t//f").leads_into(&at("file:///w/t")));
        assert!(at("s3a://b/t/f").leads_into(&at("s3://b/t")));
        assert!(at("s3://b/t").leads_into(&at("s3n://b")));
        assert!(!at("s3a://b/t2/f").leads_into(&at("s3://b/t")));
        assert!(!at("s3://b2/t/f").leads_into(&at("s3://b/t")));
        assert!(!at("/w/t2").leads_into(&at("/w/t")));
        assert!(!at("/w/t/../x").leads_into(&at("/w/x")));
        for text in ["file:///w/t/f", "file:/w//t/./f", "/w/t/f"] {
            assert_eq!(at(text).place_text(), "file:/w/t/f", "{text}");
        }
        assert_eq!(at("s3n://b/t/f").place_text(), "s3://b/t/f");
        assert_eq!(at("hdfs://nn/t").place_text(), "hdfs://nn/t");
        assert!(at("s3://b/").is_root() && at("file:///").is_root() && !at("s3://b/t").is_root());
    }

    #[test]
    fn every_spelling_of_a_place_has_one_text() {
        let text = |text: &str| Location::new(text).place_text();
        assert_eq!(text("file:///w/./t//f"), text("/w/t/f"));
        assert_eq!(text("s3a://b/t/f"), text("s3n://b/t/f"));
        assert_eq!(text("s3a://b/t//f"), text("s3://b/t//f"));
        assert_ne!(text("s3://b/t//f"), text("s3://b/t/f"));
        assert_ne!(text("s3://b/%20"), text("s3://b/ "));
        assert_eq!(text("gs://b/x"), "gs://b/x");
    }

    #[test]
    fn a_store_is_the_same_by_every_scheme_of_s3() {
        let at = |text: &str| Location::new(text);
        assert!(at("s3a://b/t/f").is_in_store(&at("s3://b")) && at("s3://b").is_in_store(&at("s3n://b/")));
        assert!(at("file:///b/t").is_in_store(&at("file:///b")) && at("/b/t").is_in_store(&at("/b")));
        assert!(!at("s3a://b2").is_in_store(&at("s3://b")));
        assert!(!at("file:///b").is_in_store(&at("s3://b")) && !at("//b/t").is_in_store(&at("s3://b")));
    }

    #[test]
    fn below_means_at_a_slash() {
        let at = |text: &str| Location::new(text);
        assert!(at("s3://b/t/data/f").is_under(&at("s3://b/t/")));
        assert!(at("s3://b/t").is_under(&at("s3://b/t")));
        assert!(!at("s3://b/table2").is_under(&at("s3://b/table")));
        assert!(!at("s3a://b/t/f").is_under(&at("s3://b/t")));
    }
}
