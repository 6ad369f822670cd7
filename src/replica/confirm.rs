//! Which of a table's metadata files are states that the table really had.
//!
//! A commit that failed may leave a metadata file that looks newest, and two files may carry one number. A file is confirmed when the log of a newer one
//! names it, for whoever wrote the newer one had found the older one in the catalog, even if that writer's own commit failed.

use std::collections::HashSet;

use super::discover::MetadataFile;

/// A metadata file that may be a state of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The file.
    pub(super) file: MetadataFile,
    /// Whether a newer one names it; else it is only trusted.
    pub(super) is_confirmed: bool,
}

/// The files to try, newest first. `named` are the names in the logs of the newest files that could be read, which `readable` are; `trusted` says of the
/// newest file whether it may be believed by itself.
pub(super) fn candidates(
    found: &[MetadataFile],
    readable: &[MetadataFile],
    named: &HashSet<String>,
    trusted: impl Fn(&MetadataFile) -> bool,
) -> Vec<Candidate> {
    let newest = readable.iter().map(|file| file.version).max();
    let alone = |file: &MetadataFile| found.iter().filter(|other| other.version == file.version).count() == 1;
    let mut candidates: Vec<Candidate> = found
        .iter()
        .filter_map(|file| {
            let is_confirmed = file.is_hadoop() || named.contains(&file.name);
            let is_trusted = Some(file.version) == newest && alone(file) && trusted(file);
            (is_confirmed || is_trusted).then(|| Candidate { file: file.clone(), is_confirmed })
        })
        .collect();
    candidates.sort_by(|a, b| b.file.cmp(&a.file));
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> MetadataFile {
        MetadataFile::of(&format!("{name}.metadata.json")).expect("a metadata file")
    }

    fn chosen(found: &[&str], readable: &[&str], named: &[&str], trusts: bool) -> Vec<(String, bool)> {
        let files = |names: &[&str]| names.iter().map(|name| file(name)).collect::<Vec<_>>();
        let named = files(named).into_iter().map(|file| file.name).collect();
        let candidates = candidates(&files(found), &files(readable), &named, |_| trusts);
        candidates.into_iter().map(|c| (c.file.name.replace(".metadata.json", ""), c.is_confirmed)).collect()
    }

    #[test]
    fn the_newest_is_not_believed_by_itself() {
        let yes = |name: &str| (name.to_owned(), true);
        assert_eq!(chosen(&["00001-a"], &["00001-a"], &[], false), []);
        assert_eq!(chosen(&["00001-a", "00002-b"], &["00002-b"], &["00001-a"], false), [yes("00001-a")]);
        // an orphan of the same number is never named
        let found = ["00001-a", "00002-b", "00002-orphan", "00003-c"];
        assert_eq!(chosen(&found, &["00003-c"], &["00001-a", "00002-b"], false), [yes("00002-b"), yes("00001-a")]);
    }

    #[test]
    fn the_newest_is_trusted_when_it_is_alone() {
        let named = ["00001-a"];
        let trusted = ("00002-b".to_owned(), false);
        assert_eq!(chosen(&["00001-a", "00002-b"], &["00002-b"], &named, true)[0], trusted);
        let two = ["00001-a", "00002-b", "00002-orphan"];
        assert_eq!(chosen(&two, &two[1..], &named, true), [("00001-a".to_owned(), true)]);
        // one that cannot be read yet is not, and its number is nobody's
        assert_eq!(chosen(&["00001-a", "00002-b"], &["00001-a"], &[], true), [("00001-a".to_owned(), false)]);
    }

    #[test]
    fn hadoop_tables_have_no_orphans() {
        assert_eq!(chosen(&["v1", "v2"], &["v2"], &[], false), [("v2".to_owned(), true), ("v1".to_owned(), true)]);
    }
}
