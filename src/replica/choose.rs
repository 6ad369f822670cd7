//! Which states a table may move on to, newest first: those that are confirmed, of the files that have arrived.

use std::collections::HashSet;
use std::time::Instant;

use super::advance::Advance;
use super::confirm::{Candidate, candidates};
use super::discover::{MetadataFile, newer_files};
use super::memory::Memory;
use super::settings::Confirm;
use super::status::{TableStatus, Version};
use super::told;
use crate::error::{Kind, Result};
use crate::format::relocate::is_view;

/// Files of the newest number that are read for their logs.
const NEWEST_READ_MAX: usize = 4;
/// Metadata files whose first sight is remembered for one table.
const SEEN_MAX: usize = 1_000;

/// The newest files that can be read.
#[derive(Default)]
struct Newest {
    readable: Vec<MetadataFile>,
    /// There are newer ones that cannot be read: halves.
    has_torn: bool,
    /// The names in their logs.
    named: HashSet<String>,
    is_view: bool,
}

/// The states that a table may move on to.
pub(super) struct Choices {
    /// Newest first.
    pub(super) newest_first: Vec<Candidate>,
    /// Whether there are files that may be states and are none yet.
    has_others: bool,
    /// Whether the rest of one may come without another file.
    has_torn: bool,
    last: Option<u64>,
    trusts: bool,
}

impl Choices {
    pub(super) fn is_newest(&self, choice: &Candidate) -> bool {
        self.newest_first.first() == Some(choice)
    }

    /// Whether nothing is left to do before another file arrives, once a state is published, or none.
    pub(super) fn may_rest_with(&self, published: Option<&Candidate>) -> bool {
        let may_rest = match published {
            Some(choice) => {
                let is_last = self.last.is_none_or(|last| last == choice.file.version);
                self.is_newest(choice) && (is_last || !self.trusts)
            }
            None => self.newest_first.is_empty() && (!self.has_others || !self.trusts),
        };
        may_rest && !self.has_torn
    }
}

impl Advance<'_> {
    /// The states that are newer than the published one.
    pub(super) async fn choices(&self, memory: &mut Memory, status: &mut TableStatus) -> Result<Choices> {
        let current = memory.published.as_ref().map(|published| published.source.clone());
        let mut found = newer_files(self.storage, &self.folder.location, current.as_ref()).await?;
        found.sort();
        self.see(memory, &found);
        let Newest { readable, mut named, is_view, has_torn } = self.newest(&found, status).await?;
        named.extend(self.told.into_iter().flat_map(told::names));
        // a view's file has no log of those before it
        let trusts = self.settings.confirm == Confirm::TrustNewest || is_view;
        let trusted = |file: &MetadataFile| {
            let seen = memory.seen.get(&file.name);
            trusts && (self.is_plan || seen.is_some_and(|at| at.elapsed() >= self.settings.settle))
        };
        let mut newest_first = candidates(&found, &readable, &named, trusted);
        if newest_first.is_empty() && !found.is_empty() {
            status.reason = Some("its newest metadata file is not confirmed by a newer one yet".to_owned());
        } else if found.is_empty() && memory.published.is_none() {
            status.reason = Some("it has no metadata file yet".to_owned());
        }
        if let Some(version) = self.settings.held_at(&self.folder.ident) {
            newest_first.retain(|choice| choice.file.version <= version);
            status.reason = Some("the configuration holds it where it is: paused or pinned".to_owned());
        }
        let last = found.last().map(|file| file.version);
        Ok(Choices { newest_first, has_others: !found.is_empty(), has_torn, last, trusts })
    }

    fn see(&self, memory: &mut Memory, found: &[MetadataFile]) {
        let there: HashSet<&str> = found.iter().map(|file| file.name.as_str()).collect();
        memory.seen.retain(|name, _| there.contains(name.as_str()));
        memory.lacked.retain(|name, _| there.contains(name.as_str()));
        for file in found.iter().rev().take(SEEN_MAX) {
            memory.seen.entry(file.name.clone()).or_insert_with(Instant::now);
        }
    }

    /// The newest files that can be read, and the names in their logs.
    async fn newest(&self, found: &[MetadataFile], status: &mut TableStatus) -> Result<Newest> {
        let mut newest = Newest::default();
        let mut files = found.iter().rev().peekable();
        while let Some(version) = files.peek().map(|file| file.version) {
            let of_version: Vec<_> = std::iter::from_fn(|| files.next_if(|file| file.version == version)).collect();
            for file in of_version.into_iter().take(NEWEST_READ_MAX) {
                // half of a file, or one that has gone: an older one must do
                let Ok(metadata) = self.read(&self.place(file)).await else {
                    newest.has_torn = true;
                    continue;
                };
                let log = metadata["metadata-log"].as_array().into_iter().flatten();
                let names = log.filter_map(|entry| entry["metadata-file"].as_str()?.rsplit('/').next());
                newest.named.extend(names.map(str::to_owned));
                newest.is_view |= is_view(&metadata);
                if status.newest.is_none() {
                    status.newest = Some(Version::of(file, &metadata));
                }
                newest.readable.push(file.clone());
            }
            if !newest.readable.is_empty() {
                break;
            }
        }
        Ok(newest)
    }

    /// When a state was: the number of the journal's entry that names it, or else the time that it tells. `None` where that cannot be known.
    pub(super) async fn moment(&self, choice: &Candidate) -> Result<Option<i64>> {
        if let Some(named) = self.told {
            let entry = named.files.iter().find(|(_, digest)| digest.file_name() == choice.file.name);
            return Ok(entry.and_then(|(number, _)| i64::try_from(*number).ok()));
        }
        match self.read(&self.place(&choice.file)).await {
            Ok(metadata) => Ok(metadata["last-updated-ms"].as_i64()),
            // half of a file
            Err(e) if matches!(e.kind(), Kind::Unprocessable | Kind::NotFound | Kind::Unavailable) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
