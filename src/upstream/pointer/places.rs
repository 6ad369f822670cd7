//! Where a new table or view goes, and where its metadata files go.
//!
//! What must hold: no name leads outside the warehouse, and no two objects ever share a folder, not even one that was dropped
//! and one that was made anew under its name: the folder's name ends with the object's uuid.

use std::fmt::Write;

use serde_json::Value;
use uuid::Uuid;

use super::files::GZIP_SUFFIX;
use crate::error::{Error, Result};
use crate::format::metadata::METADATA_PATH;
use crate::model::{Ident, Namespace};
use crate::storage::Location;

/// The longest part of a name that a folder's name shows.
const FOLDER_BYTES_MAX: usize = 100;

/// The folder of a new object below its namespace's.
pub(super) fn default_location(namespace: &Location, ident: &Ident, uuid: &str) -> Location {
    namespace.join(&format!("{}-{}", folder(&ident.name), uuid.replace('-', "")))
}

/// The folder of a namespace that names none of its own.
pub(super) fn namespace_location(warehouse: &Location, namespace: &Namespace) -> Location {
    let levels: Vec<String> = namespace.levels().iter().map(|level| folder(level)).collect();
    warehouse.join(&levels.join("/"))
}

/// A name as a folder's name: letters, digits, `_`, `-`, spaces' and all other bytes as `%XX`; a long one cut.
fn folder(name: &str) -> String {
    let mut folder = String::with_capacity(name.len());
    for byte in name.bytes() {
        if folder.len() >= FOLDER_BYTES_MAX {
            folder.push('~');
            break;
        }
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => folder.push(char::from(byte)),
            b'.' if !folder.is_empty() => folder.push('.'),
            // not '%': readers disagree on whether it is an escape
            _ => write!(folder, "~{byte:02x}").expect("a string takes all"),
        }
    }
    folder
}

/// The location that a client asked for, checked; trailing slashes do not count.
pub(super) fn requested(location: &str, allowed: Option<&[&Location]>) -> Result<Location> {
    let trimmed = location.trim_end_matches('/');
    let location = Location::new(if trimmed.is_empty() { location } else { trimmed });
    check(&location, allowed)?;
    Ok(location)
}

/// Refuses a place that we cannot reach or, where places are restricted, may not.
pub(super) fn check(location: &Location, allowed: Option<&[&Location]>) -> Result<()> {
    location.check()?;
    match allowed {
        Some(prefixes) if !prefixes.iter().any(|prefix| location.is_under(prefix)) => Err(Error::bad_request(format!(
            "location {location} is outside of this catalog's warehouse; leave it out, or allow it with restrict-locations: false"
        ))),
        _ => Ok(()),
    }
}

/// The next metadata file's location: one number up from the current file's, under the table's own metadata path.
pub(super) fn metadata_location(metadata: &Value, current: Option<&Location>) -> Result<Location> {
    let property = |key: &str| metadata["properties"][key].as_str();
    let folder = match property(METADATA_PATH) {
        Some(path) => Location::new(path.trim_end_matches('/')),
        None => {
            let location =
                metadata["location"].as_str().ok_or_else(|| Error::bad_request("the metadata has no location"))?;
            Location::new(location).join("metadata")
        }
    };
    let zipped = property("write.metadata.compression-codec").is_some_and(|codec| codec.eq_ignore_ascii_case("gzip"));
    let suffix = if zipped { GZIP_SUFFIX } else { ".metadata.json" };
    let number = current.map_or(0, |location| version(location) + 1);
    Ok(folder.join(&format!("{number:05}-{}{suffix}", Uuid::new_v4())))
}

/// The number that a metadata file's name begins with, or that follows its `v`; 0 when there is none.
fn version(location: &Location) -> u64 {
    let name = location.as_str().rsplit('/').next().unwrap_or_default();
    let digits: String = name.trim_start_matches('v').chars().take_while(char::is_ascii_digit).take(15).collect();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_name_leads_outside_the_warehouse() {
        let warehouse = Location::new("file:/w");
        for name in ["..", "../..", "%2e%2e/", "/etc", "a.b", ".hidden", "🛟", "a b", &"x".repeat(512)] {
            let namespace = Namespace::new(vec![name.into(), "..".into()]).expect("a name");
            let ident = Ident::new(namespace.clone(), name).expect("a name");
            let place = default_location(&namespace_location(&warehouse, &namespace), &ident, "0-1");
            let below = place.as_str().strip_prefix("file:/w/").expect("under the warehouse");
            let parts: Vec<&str> = below.split('/').collect();
            assert_eq!(parts.len(), 3, "{place}");
            assert!(
                parts.iter().all(|part| !part.starts_with('.') && !part.contains('%') && part.len() < 250),
                "{place}"
            );
        }
    }

    #[test]
    fn metadata_files_count_up_from_any_writers_names() {
        let at = |text: &str| version(&Location::new(text));
        assert_eq!(at("s3://b/t/metadata/00012-aa.metadata.json"), 12);
        assert_eq!(at("s3://b/t/metadata/v3.metadata.json"), 3);
        assert_eq!(at("s3://b/t/metadata/x.metadata.json"), 0);
        let metadata = json!({"location": "file:/w/t/", "properties": {"write.metadata.compression-codec": "gzip"}});
        let next = metadata_location(&metadata, Some(&Location::new("file:/w/t/metadata/00001-b.metadata.json")))
            .expect("a place");
        assert!(next.as_str().starts_with("file:/w/t/metadata/00002-") && next.as_str().ends_with(".gz.metadata.json"));
    }

    #[test]
    fn a_restricted_catalog_takes_no_place_outside() {
        let warehouse = Location::new("s3://b/w");
        assert!(requested("s3://b/w/x/", Some(&[&warehouse])).is_ok());
        assert!(requested("s3://b/w2", Some(&[&warehouse])).is_err());
        assert!(requested("s3://other/w2", None).is_ok());
        assert!(requested("s3://b/w/../x", None).is_err());
    }
}
