//! Files that landed below a prefix: which of them are data that may be appended now.
//!
//! What must hold: what is hidden, temporary or still growing is not touched, and says nothing; what the table has or ever had is not looked at.

use crate::storage::{Listed, Location};

/// Endings of files that are not finished, or not data.
const ENDINGS: [&str; 10] =
    [".tmp", ".temp", ".crc", "._copying_", ".inprogress", ".partial", ".filepart", ".crdownload", "_$folder$", ".swp"];
/// Parts of names that tools give to files in the making.
const PARTS: [&str; 1] = [".distcp.tmp."];

/// A file that may be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Where it is.
    pub location: Location,
    /// Its size.
    pub size_bytes: u64,
    /// How much of that is the watched prefix; of a file that somebody names, nothing.
    pub prefix_bytes: usize,
}

impl Candidate {
    /// Its place below the watched prefix.
    pub fn below(&self) -> &str {
        self.location.as_str().get(self.prefix_bytes..).unwrap_or_default()
    }
}

/// Whether a file's place below the watched prefix is that of data: names with `_` or `.` in front are hidden, but for folders that are
/// partitions, and so is what tools name while they write it.
pub(super) fn is_data(below: &str) -> bool {
    let is_hidden = |name: &str| name.starts_with('.') || name.starts_with('_') && !name.contains('=');
    if below.is_empty() || below.split('/').any(is_hidden) {
        return false;
    }
    let lower = below.to_ascii_lowercase();
    !ENDINGS.iter().any(|ending| lower.ends_with(ending)) && !PARTS.iter().any(|part| lower.contains(part))
}

/// The place of a file below a prefix.
pub(super) fn below<'l>(location: &'l Location, prefix: &Location) -> &'l str {
    let rest = location.as_str().strip_prefix(prefix.as_str().trim_end_matches('/')).unwrap_or_default();
    rest.trim_start_matches('/')
}

/// A listed file, if it has not changed for `settle_ms`.
pub(super) fn settled(file: Listed, prefix: &Location, settle_ms: i64, now_ms: i64) -> Option<Candidate> {
    // a store that does not say when has its objects whole at once
    if file.changed_ms.is_some_and(|changed| changed.saturating_add(settle_ms) > now_ms) {
        return None;
    }
    let prefix_bytes = file.location.as_str().len() - below(&file.location, prefix).len();
    Some(Candidate { location: file.location, size_bytes: file.size_bytes, prefix_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finished_data_is_seen() {
        for data in ["a.parquet", "day=1/part-0", "_day=1/a.parquet", "x/y/000000_0"] {
            assert!(is_data(data), "{data}");
        }
        let hidden = ["_SUCCESS", "_temporary/0/a.parquet", ".a.parquet.crc", "day=1/.hive-staging/a", "a.parquet.tmp"];
        for hidden in hidden.into_iter().chain([".distcp.tmp.attempt_1", "x.distcp.tmp.7", "a.parquet._COPYING_", ""]) {
            assert!(!is_data(hidden), "{hidden}");
        }
    }

    #[test]
    fn a_file_that_changed_just_now_waits() {
        let prefix = Location::new("s3://b/in/");
        let file = |changed_ms| Listed { location: Location::new("s3://b/in/x/a"), size_bytes: 1, changed_ms };
        assert_eq!(settled(file(Some(950)), &prefix, 100, 1_000), None);
        assert_eq!(
            settled(file(Some(900)), &prefix, 100, 1_000).map(|found| found.below().to_owned()),
            Some("x/a".to_owned())
        );
        assert!(settled(file(None), &prefix, 100, 1_000).is_some());
    }
}
