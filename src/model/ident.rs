//! Names: catalogs, namespaces, tables and views.
//!
//! A [`Namespace`] has one level or more, none empty; the empty one is the root and has a name of its own. Levels and names
//! may hold any character but the separator U+001F and NUL, since those could not be found again.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The separator that every client may use between namespace levels (Iceberg REST spec, `namespace` parameter).
pub const UNIT_SEPARATOR: char = '\u{1f}';

/// A catalog's name: the client's `warehouse` and the prefix of its routes. Plain: letters, digits, `-`, `_`, `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CatalogName(String);

impl CatalogName {
    /// Longest name, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// Names that would be taken for a part of a route.
    const RESERVED: [&str; 6] = ["namespaces", "config", "oauth", "tables", "views", "transactions"];

    /// Checks and takes a name.
    pub fn parse(name: &str) -> Result<Self> {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if name.is_empty() || name.len() > Self::BYTES_MAX || !plain || name.starts_with('.') {
            return Err(Error::bad_request(format!(
                "catalog name {name:?} must be 1 to {} letters, digits, '-', '_' or '.', and not begin with '.'",
                Self::BYTES_MAX
            )));
        }
        if Self::RESERVED.contains(&name) {
            return Err(Error::bad_request(format!("catalog name {name:?} is part of a route, choose another")));
        }
        Ok(CatalogName(name.to_owned()))
    }

    /// As a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CatalogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A namespace by its levels, outermost first; never empty (where the root is meant, use `Option`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Namespace(Vec<String>);

impl Namespace {
    /// Checks and takes the levels. An empty level, NUL or the separator inside a level is a bad request.
    pub fn new(levels: Vec<String>) -> Result<Self> {
        if levels.is_empty() {
            return Err(Error::bad_request("a namespace needs at least one level"));
        }
        for level in &levels {
            check_name("namespace level", level)?;
        }
        Ok(Namespace(levels))
    }

    /// The levels, outermost first.
    pub fn levels(&self) -> &[String] {
        &self.0
    }

    /// The namespace that holds this one, if it is not a top one.
    pub fn parent(&self) -> Option<Namespace> {
        let (_, above) = self.0.split_last()?;
        (!above.is_empty()).then(|| Namespace(above.to_vec()))
    }

    /// One string for keys: levels joined by U+001F, so it is unambiguous.
    pub fn joined(&self) -> String {
        self.0.join("\u{1f}")
    }

    /// The inverse of [`Namespace::joined`].
    pub fn from_joined(joined: &str) -> Result<Self> {
        Self::new(joined.split(UNIT_SEPARATOR).map(str::to_owned).collect())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// A table's, view's or function's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ident {
    /// Where it is.
    pub namespace: Namespace,
    /// What it is called there.
    pub name: String,
}

impl Ident {
    /// Checks and takes a name in a namespace.
    pub fn new(namespace: Namespace, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        check_name("name", &name)?;
        Ok(Ident { namespace, name })
    }

    /// Takes `namespace.name` as people write it. Levels and names that hold a dot cannot be written so.
    pub fn from_dotted(text: &str) -> Result<Self> {
        let parts = text.rsplit_once('.').filter(|_| text.split('.').all(|part| !part.is_empty()));
        let Some((namespace, name)) = parts else {
            return Err(Error::bad_request(format!("{text:?} is no table's name: write namespace.table")));
        };
        Self::new(Namespace::new(namespace.split('.').map(str::to_owned).collect())?, name)
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::bad_request(format!("a {what} must not be empty")));
    }
    if name.contains(['\0', UNIT_SEPARATOR]) {
        return Err(Error::bad_request(format!("a {what} must not hold U+0000 or U+001F")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_survives_joining_and_splitting() {
        let namespace = Namespace::new(vec!["a.b".into(), "ü🛟".into(), "c d".into()]).expect("valid");
        assert_eq!(Namespace::from_joined(&namespace.joined()).expect("valid"), namespace);
        assert_eq!(namespace.parent().expect("has one").levels(), ["a.b", "ü🛟"]);
    }

    #[test]
    fn a_name_as_people_write_it_has_a_namespace_and_no_empty_part() {
        let ident = Ident::from_dotted("a.b.c").expect("valid");
        assert_eq!((ident.namespace.levels(), ident.name.as_str()), (&["a".to_owned(), "b".to_owned()][..], "c"));
        for wrong in ["", "c", ".c", "a.", "a..c", ".", "a\0.c"] {
            assert!(Ident::from_dotted(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_that_could_not_be_found_again_are_refused() {
        assert!(Namespace::new(vec![]).is_err());
        assert!(Namespace::new(vec!["a".into(), "".into()]).is_err());
        assert!(Namespace::new(vec!["a\u{1f}b".into()]).is_err());
        assert!(CatalogName::parse("a/b").is_err());
        assert!(CatalogName::parse("namespaces").is_err());
        assert!(CatalogName::parse("..").is_err());
    }
}
