//! Follows a journal, wherever it has come to: entries arrive in any order, and some never.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};

use super::{Journal, name, number};
use crate::error::{Kind, Result};
use crate::model::{Entry, Said};

/// Names that one listing gives.
const NAMES_MAX: usize = 1_000;
/// Entries that are read at once.
const READS_AT_ONCE: usize = 16;
/// Messages of bad entries that are kept.
const BAD_MAX: usize = 100;
/// Entries beyond one that is missing, which are kept until it comes.
const AHEAD_MAX: usize = 10_000;

/// What was read of a journal so far.
#[derive(Debug)]
pub struct Follower {
    journal: Journal,
    /// How long an entry may be in pieces or missing before the next checkpoint, or going on without it, has to do.
    settle: Duration,
    /// All up to where one is missing.
    said: Said,
    /// Those that came before one that is missing.
    ahead: BTreeMap<u64, Entry>,
    /// Since when one is missing or cannot be read.
    stuck: Option<(u64, Instant)>,
    has_begun: bool,
    /// All of it together, as of the last look.
    now: Arc<Said>,
    /// Entries that are no entries: damaged or forged.
    bad: Vec<String>,
}

impl Follower {
    /// Begins to follow.
    pub fn new(journal: Journal, settle: Duration) -> Self {
        Follower {
            journal,
            settle,
            said: Said::default(),
            ahead: BTreeMap::new(),
            stuck: None,
            has_begun: false,
            now: Arc::default(),
            bad: Vec::new(),
        }
    }

    /// What it says as of the last look.
    pub fn said(&self) -> Arc<Said> {
        self.now.clone()
    }

    /// Messages of entries that could not be read, though they had settled.
    pub fn bad(&self) -> &[String] {
        &self.bad
    }

    /// Reads on. One listing when nothing is new.
    pub async fn look(&mut self) -> Result<Arc<Said>> {
        if !self.has_begun {
            self.begin().await?;
            self.has_begun = true;
        }
        loop {
            let begun = self.said.number;
            let names = self.journal.storage.names_after(&self.journal.entries(), &name(begun), NAMES_MAX).await?;
            let new: Vec<u64> = names.iter().filter_map(|name| number(name)).filter(|n| *n > begun).collect();
            let unread = new.iter().copied().filter(|number| !self.ahead.contains_key(number));
            let reads = unread.map(|number| {
                let journal = self.journal.clone();
                async move { (number, journal.read(&journal.entry(number), number).await) }
            });
            // collected, so that the compiler sees that the whole may move between threads
            let reads: Vec<_> = reads.collect();
            let reads: Vec<_> = stream::iter(reads).buffered(READS_AT_ONCE).collect().await;
            let mut damaged = BTreeMap::new();
            for (number, read) in reads {
                match read {
                    Ok(entry) => drop(self.ahead.insert(number, entry)),
                    Err(e) if matches!(e.kind(), Kind::Unprocessable | Kind::NotFound) => {
                        damaged.insert(number, e.told());
                    }
                    Err(e) => return Err(e),
                }
            }
            self.go_on(&damaged);
            if new.len() < NAMES_MAX || self.said.number == begun {
                break;
            }
        }
        self.see();
        Ok(self.now.clone())
    }

    /// From the newest checkpoint that can be read.
    async fn begin(&mut self) -> Result<()> {
        let names = self.journal.storage.children(&self.journal.checkpoints()).await?.files;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number(name)).collect();
        numbers.sort_unstable();
        for number in numbers.into_iter().rev() {
            match self.journal.read(&self.journal.checkpoint(number), number).await {
                Ok(entry) => {
                    self.said = Said::of([&entry]);
                    return Ok(());
                }
                Err(e) if matches!(e.kind(), Kind::Unprocessable | Kind::NotFound) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Takes in what follows without a gap; one that stays missing or damaged is passed over in the end.
    fn go_on(&mut self, damaged: &BTreeMap<u64, String>) {
        loop {
            let next = self.said.number + 1;
            if let Some(entry) = self.ahead.remove(&next) {
                self.said.take(&entry);
                self.stuck = None;
                continue;
            }
            if self.ahead.is_empty() && !damaged.contains_key(&next) {
                self.stuck = None;
                return;
            }
            let since = match self.stuck {
                Some((at, since)) if at == next => since,
                _ => Instant::now(),
            };
            self.stuck = Some((next, since));
            if since.elapsed() < self.settle && self.ahead.len() < AHEAD_MAX {
                return;
            }
            let message = damaged.get(&next).cloned();
            if self.bad.len() >= BAD_MAX {
                self.bad.remove(0);
            }
            self.bad.push(message.unwrap_or_else(|| format!("journal entry {next} has not arrived")));
            self.said.number = next;
        }
    }

    /// All together, with those that came before one that is missing.
    fn see(&mut self) {
        let mut now = self.said.clone();
        self.ahead.values().for_each(|entry| now.take(entry));
        self.now = Arc::new(now);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{Event, Ident, MetadataDigest, Namespace};
    use crate::storage::{Location, Storage};

    fn commit(name: &str) -> Vec<Event> {
        let ident = Ident::new(Namespace::new(vec!["sales".into()]).unwrap(), name).unwrap();
        let metadata = MetadataDigest { location: format!("s3://l/{name}"), size_bytes: None, sha256: None };
        vec![Event::Commit { ident, uuid: "1".into(), metadata }]
    }

    #[tokio::test]
    async fn entries_are_followed_in_any_order_and_from_a_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| Location::new(folder.path().join(name).display().to_string());
        let storage = Arc::new(Storage::new(Vec::new()));
        let journal = Journal::new(storage.clone(), place("a"));
        let names = |said: &Said| said.named.keys().map(|ident| ident.name.clone()).collect::<Vec<_>>();
        for (at, table) in ["t1", "t2", "t3", "t4"].iter().enumerate() {
            // both begin with the same number, as servers do that know nothing of each other
            let entry = journal.append(at as u64 / 2 * 2 + 1, commit(table), false).await.unwrap();
            assert_eq!(entry.number, at as u64 + 1);
        }
        let mut all = Follower::new(journal.clone(), Duration::ZERO);
        let said = all.look().await.unwrap();
        assert_eq!(names(&said), ["t1", "t2", "t3", "t4"]);
        journal.write_checkpoint(4, said.checkpoint()).await.unwrap();

        // at the other site: the third has not arrived, the fourth in half
        let other = Journal::new(storage.clone(), place("b"));
        let copy = |number: u64, part: usize| {
            let (from, to) = (folder.path().join("a/entries"), folder.path().join("b/entries"));
            let bytes = std::fs::read(from.join(name(number))).unwrap();
            std::fs::create_dir_all(&to).unwrap();
            std::fs::write(to.join(name(number)), &bytes[..bytes.len() / part]).unwrap();
        };
        copy(1, 1);
        copy(2, 1);
        copy(4, 2);
        let mut late = Follower::new(other.clone(), Duration::from_secs(600));
        assert_eq!(names(&late.look().await.unwrap()), ["t1", "t2"]);
        copy(4, 1);
        assert_eq!(names(&late.look().await.unwrap()), ["t1", "t2", "t4"]);
        copy(3, 1);
        assert_eq!(late.look().await.unwrap().number, 4);
        // one that is damaged is passed over, and named
        std::fs::write(folder.path().join("b/entries").join(name(5)), "{").unwrap();
        let mut hasty = Follower::new(other, Duration::ZERO);
        assert_eq!(hasty.look().await.unwrap().number, 5);
        assert!(hasty.bad()[0].contains("00005.json"), "{:?}", hasty.bad());
        // whoever begins with the checkpoint needs no entry
        std::fs::remove_dir_all(folder.path().join("a/entries")).unwrap();
        let mut new = Follower::new(journal, Duration::ZERO);
        assert_eq!(names(&new.look().await.unwrap()), ["t1", "t2", "t3", "t4"]);
    }
}
