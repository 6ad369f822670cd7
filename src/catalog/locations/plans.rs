//! Scan plans that the upstream makes: the files in them.
//!
//! What must hold: a data file is named as clients name it. Position deletes hold paths inside, which are the upstream's, so that a client would
//! silently not apply them: a plan with such files is refused, and the client is told to plan by itself.

use serde_json::Value;

use super::naming::{Naming, Way};
use crate::error::{Error, Kind, Result};
use crate::format::relocate::DELETED_PATH_ID;

/// The members of a plan that hold locations.
pub(super) const MEMBERS: [&str; 3] = ["file-scan-tasks", "delete-files", "storage-credentials"];

/// Maps one of [`MEMBERS`].
pub(super) fn member(naming: &Naming, at: usize, value: &mut Value) -> Result<bool> {
    match at {
        0 => {
            let tasks = value.as_array_mut().into_iter().flatten();
            tasks
                .filter_map(|task| task.get_mut("data-file"))
                .try_fold(false, |changed, file| Ok(mapped(naming, file)? | changed))
        }
        1 => {
            let mut files = value.as_array_mut().into_iter().flatten();
            files.try_fold(false, |changed, file| Ok(mapped(naming, file)? | changed))
        }
        _ => naming.credentials(value),
    }
}

fn mapped(naming: &Naming, file: &mut Value) -> Result<bool> {
    let is_deletes = file["content"].as_str().is_some_and(|content| content.eq_ignore_ascii_case("position-deletes"));
    let covered = file["file-path"].as_str().is_some_and(|path| naming.down.covers(path));
    if is_deletes && covered {
        let message = "the upstream's plan has position deletes, which name data files as the upstream does; scan without server-side planning";
        return Err(Error::new(Kind::Unsupported, message));
    }
    let mut changed = naming.value(Way::Down, file.get_mut("file-path"))?;
    changed |= naming.value(Way::Down, file.get_mut("referenced-data-file"))?;
    for bounds in ["lower-bounds", "upper-bounds"] {
        if let Some(bounds) = file.get_mut(bounds) {
            changed |= without_path(bounds);
        }
    }
    Ok(changed)
}

/// Bounds of a deleted path may be cut and are written in several ways: none are safe, stale ones switch a delete off.
fn without_path(bounds: &mut Value) -> bool {
    let at = bounds["keys"]
        .as_array()
        .and_then(|keys| keys.iter().position(|key| key.as_i64() == Some(i64::from(DELETED_PATH_ID))));
    let Some(at) = at else { return false };
    for list in ["keys", "values"] {
        if let Some(list) = bounds.get_mut(list).and_then(Value::as_array_mut).filter(|list| at < list.len()) {
            list.remove(at);
        }
    }
    true
}
