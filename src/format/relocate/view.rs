//! Metadata of views and functions: locations and the default catalog; SQL text is never edited, but reported where it names a mapped path.

use serde_json::Value;

use super::{Paths, metadata};
use crate::error::{Error, Kind, Result};
use crate::format::metadata::PATH_PROPERTIES;

/// A path in a view's SQL that the map covers and that therefore leads to the old place still.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PathInSql {
    /// The view version.
    pub version_id: i64,
    /// The SQL dialect.
    pub dialect: String,
    /// The path as the text has it.
    pub path: String,
}

/// The metadata `name` of a view or function with its locations at their new place, and `default-catalog` renamed by `catalogs` (from, to).
pub fn relocate_view(
    mut view: Value,
    name: &str,
    paths: &Paths,
    catalogs: &[(String, String)],
) -> Result<(Value, Vec<PathInSql>)> {
    if !is_view(&view) {
        return Err(Error::new(Kind::Unprocessable, format!("cannot relocate {name}: it is no view's metadata")));
    }
    let map = |value: &mut Value| metadata::map_text(value, name, paths);
    if let Some(location) = view.get_mut("location") {
        map(location)?;
    }
    if let Some(properties) = view.get_mut("properties").and_then(Value::as_object_mut) {
        let mut held = properties.iter_mut().filter(|(key, _)| PATH_PROPERTIES.contains(&key.as_str()));
        held.try_for_each(|(_, value)| map(value))?;
    }
    let mut found = Vec::new();
    if let Some(members) = view.as_object_mut() {
        let lists = members.values_mut().filter(|value| value.is_array());
        lists.for_each(|list| versions(list, paths, catalogs, &mut found));
    }
    Ok((view, found))
}

/// Whether it is the metadata of a view or of a function.
pub fn is_view(metadata: &Value) -> bool {
    metadata["view-uuid"].is_string() || metadata["function-uuid"].is_string()
}

/// The versions in a list: a view's are its items, a function's are in lists of theirs.
fn versions(list: &mut Value, paths: &Paths, catalogs: &[(String, String)], found: &mut Vec<PathInSql>) {
    for item in list.as_array_mut().into_iter().flatten() {
        if !item["representations"].is_array() {
            if let Some(inner) = item.get_mut("versions") {
                versions(inner, paths, catalogs, found);
            }
            continue;
        }
        if let Some(Value::String(catalog)) = item.get_mut("default-catalog")
            && let Some((_, to)) = catalogs.iter().find(|(from, _)| from == catalog)
        {
            catalog.clone_from(to);
        }
        let version_id = item["version-id"].as_i64().unwrap_or(0);
        for representation in item["representations"].as_array().into_iter().flatten() {
            let dialect = representation["dialect"].as_str().unwrap_or_default();
            let sql = representation["sql"].as_str().unwrap_or_default();
            found.extend(covered(sql, paths).map(|path| PathInSql { version_id, dialect: dialect.to_owned(), path }));
        }
    }
}

/// The paths in a text that the map covers, each up to the next quote or blank.
fn covered<'a>(sql: &'a str, paths: &'a Paths) -> impl Iterator<Item = String> + 'a {
    let map = paths.location_map();
    let places = map.sources().flat_map(|prefix| sql.match_indices(prefix.trim_end_matches('/')));
    let mut starts: Vec<usize> = places.map(|(at, _)| at).collect();
    starts.sort_unstable();
    starts.dedup();
    let to_end = |at: usize| sql[at..].split(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`')).next();
    starts.into_iter().filter_map(to_end).filter(|path| map.covers(path)).map(str::to_owned)
}
