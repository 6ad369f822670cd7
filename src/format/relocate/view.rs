//! View metadata: locations and the default catalog; SQL text is never edited, but reported where it names a mapped path.

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

/// The view metadata `name` with its locations at their new place, and `default-catalog` renamed by `catalogs` (from, to).
pub fn relocate_view(
    mut view: Value,
    name: &str,
    paths: &Paths,
    catalogs: &[(String, String)],
) -> Result<(Value, Vec<PathInSql>)> {
    if view["view-uuid"].is_null() || !view.is_object() {
        return Err(Error::new(Kind::Unprocessable, format!("cannot relocate {name}: it is no view metadata")));
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
    for version in view.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(Value::String(catalog)) = version.get_mut("default-catalog")
            && let Some((_, to)) = catalogs.iter().find(|(from, _)| from == catalog)
        {
            catalog.clone_from(to);
        }
        let version_id = version["version-id"].as_i64().unwrap_or(0);
        for representation in version["representations"].as_array().into_iter().flatten() {
            let dialect = representation["dialect"].as_str().unwrap_or_default();
            let sql = representation["sql"].as_str().unwrap_or_default();
            found.extend(covered(sql, paths).map(|path| PathInSql { version_id, dialect: dialect.to_owned(), path }));
        }
    }
    Ok((view, found))
}

/// The words of a text that the map covers, as quotes, blanks and punctuation part them.
fn covered<'a>(sql: &'a str, paths: &'a Paths) -> impl Iterator<Item = String> + 'a {
    let words = sql.split(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | '(' | ')' | ',' | ';'));
    words.filter(|word| word.contains('/') && paths.location_map().covers(word)).map(str::to_owned)
}
