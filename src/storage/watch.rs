//! Whether files went from a place since it was last looked through.
//!
//! A place is looked through piece by piece, round after round: one page of a store's listing, or so many folders of a file system, of which only those
//! are read whose times changed. So a piece costs the same however much lies there, and a whole round of a small place is one piece. What is kept per
//! file is a hash of its name. Nothing is said of what went before the first round: that is for whoever knows what should be there.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::local_watch::Folders;
use super::location::Place;
use super::{Location, Storage};
use crate::error::Result;

/// Files of one place that are remembered; of one with more it is not told what goes.
const FILES_MAX: usize = 2_000_000;

/// What was below a place when it was last looked through.
#[derive(Debug, Default)]
pub struct Watch(Kept);

#[derive(Debug, Default)]
enum Kept {
    #[default]
    Nothing,
    Local(Folders),
    Object(Pages),
    TooMany,
}

impl Watch {
    /// How many files are remembered, each with 8 bytes.
    pub fn count(&self) -> usize {
        match &self.0 {
            Kept::Nothing | Kept::TooMany => 0,
            Kept::Local(folders) => folders.count(),
            Kept::Object(pages) => pages.before.len() + pages.now.len(),
        }
    }

    /// Forgets all, and watches no longer.
    pub fn give_up(&mut self) {
        self.0 = Kept::TooMany;
    }
}

impl Storage {
    /// Looks through the next piece of what is below a folder; true when a file went that was there in the last round. Names for which `is_wanted` says
    /// false may come and go. One request, or some hundred questions of a file system. After an error all is forgotten, and begun anew.
    pub async fn went(&self, folder: &Location, watch: &mut Watch, is_wanted: fn(&str) -> bool) -> Result<bool> {
        if matches!(watch.0, Kept::TooMany) {
            return Ok(false);
        }
        self.metrics.storage("list", 1, 0);
        let kept = std::mem::take(&mut watch.0);
        let looked = match self.place(folder)? {
            Place::Local(path) => {
                let folders = if let Kept::Local(folders) = kept { folders } else { Folders::new(path) };
                folders.look_on(is_wanted).await.map(|(folders, went)| (Kept::Local(folders), went))
            }
            Place::Object { bucket, key } => {
                let mut pages = if let Kept::Object(pages) = kept { pages } else { Pages::default() };
                let page = self.bucket(folder, &bucket)?.page(&key, pages.after.as_deref()).await;
                page.map(|(page, is_last)| {
                    let went = pages.take(page, is_last, is_wanted);
                    (Kept::Object(pages), went)
                })
            }
        };
        let (kept, went) = looked.map_err(|e| e.context(format!("listing {folder}")))?;
        watch.0 = kept;
        if watch.count() > FILES_MAX {
            watch.give_up();
        }
        Ok(went)
    }
}

/// The hash of a name.
pub(super) fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Rounds through a store's listing, which is in the order of the keys.
#[derive(Debug, Default)]
struct Pages {
    /// The last round's keys, in order, but for those of this round's pages.
    before: Vec<u64>,
    /// How many of those this round has gone by.
    at: usize,
    /// This round's keys so far.
    now: Vec<u64>,
    /// The last key of the last page, while a round goes on.
    after: Option<String>,
}

impl Pages {
    /// Takes in the round's next page; true when one of the last round's keys is missing in it.
    fn take(&mut self, page: Vec<String>, is_last: bool, is_wanted: fn(&str) -> bool) -> bool {
        let is_wanted = |key: &String| is_wanted(key.rsplit('/').next().unwrap_or(key));
        let wanted = || page.iter().filter(|key| is_wanted(key)).map(|key| hash(key));
        let there: HashSet<u64> = wanted().collect();
        let left = &self.before[self.at..];
        // what comes after the last one that is there may be on the next page
        let passed =
            if is_last { left.len() } else { left.iter().rposition(|key| there.contains(key)).map_or(0, |at| at + 1) };
        let went = left[..passed].iter().any(|key| !there.contains(key));
        self.at += passed;
        self.now.extend(wanted());
        self.after = page.into_iter().next_back();
        if is_last {
            *self = Pages { before: std::mem::take(&mut self.now), ..Pages::default() };
        }
        went
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(from: usize, to: usize) -> Vec<String> {
        (from..to).map(|at| format!("f{at:03}")).collect()
    }

    /// A round over `keys` in pages of `size`.
    fn round(pages: &mut Pages, keys: &[String], size: usize) -> bool {
        let mut went = false;
        let chunks: Vec<_> = keys.chunks(size).collect();
        for (at, page) in chunks.iter().enumerate() {
            went |= pages.take(page.to_vec(), at + 1 == chunks.len(), |name| !name.starts_with('.'));
        }
        if keys.is_empty() {
            went |= pages.take(Vec::new(), true, |_| true);
        }
        went
    }

    #[test]
    fn a_key_that_went_is_noticed_wherever_pages_begin() {
        for gone in [0, 6, 7, 13, 99] {
            let mut pages = Pages::default();
            assert!(!round(&mut pages, &names(0, 100), 7));
            let mut more = names(0, 103);
            more.extend([".tmp".to_owned(), "f0105".to_owned(), "f0501".to_owned()]);
            more.sort();
            assert!(!round(&mut pages, &more, 10), "what comes is none that went");
            more.retain(|name| *name != format!("f{gone:03}") && name != ".tmp");
            assert!(round(&mut pages, &more, 9), "{gone}");
            assert!(!round(&mut pages, &more, 8), "it is said once");
        }
        let mut pages = Pages::default();
        assert!(!round(&mut pages, &names(0, 10), 4));
        assert!(round(&mut pages, &[], 4));
    }

    #[tokio::test]
    async fn a_file_that_went_from_a_folder_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (storage, root) = (Storage::new(Vec::new()), Location::new(folder.path().display().to_string()));
        let at = |name: &str| folder.path().join(name);
        for name in ["data/a", "data/day=1/b", "data/day=2/c", "data/.tmp"] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), "x").unwrap();
        }
        let mut watch = Watch::default();
        let wanted: fn(&str) -> bool = |name| !name.starts_with('.');
        assert!(!storage.went(&root, &mut watch, wanted).await.unwrap());
        assert_eq!(watch.count(), 3);
        std::fs::write(at("data/day=2/d"), "x").unwrap();
        std::fs::remove_file(at("data/.tmp")).unwrap();
        assert!(!storage.went(&root, &mut watch, wanted).await.unwrap());
        std::fs::remove_file(at("data/day=1/b")).unwrap();
        assert!(storage.went(&root, &mut watch, wanted).await.unwrap());
        assert!(!storage.went(&root, &mut watch, wanted).await.unwrap());
        std::fs::remove_dir_all(at("data/day=2")).unwrap();
        assert!(storage.went(&root, &mut watch, wanted).await.unwrap());
        std::fs::create_dir_all(at("data/day=2")).unwrap();
        std::fs::write(at("data/day=2/e"), "x").unwrap();
        assert!(!storage.went(&root, &mut watch, wanted).await.unwrap());
        std::fs::remove_file(at("data/day=2/e")).unwrap();
        assert!(storage.went(&root, &mut watch, wanted).await.unwrap());
    }
}
