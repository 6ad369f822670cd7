//! What a catalog's journal says: one entry for each change, and what all entries together say of each name.
//!
//! The journal is written beside the data of the primary and replicated with it, so what is read here may be forged, lag or miss entries: an entry is
//! believed to say what a name stood for, never that a file is what it should be. The format is described in `docs/format.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Ident, Namespace, sha256};
use crate::error::{Error, Kind, Result};

/// The version of the format that is written, and the newest that is read.
pub const JOURNAL_FORMAT_VERSION: u32 = 1;
/// Events of one entry.
const EVENTS_MAX: usize = 200_000;
/// How long checkpoints tell of names that are gone.
const DROPS_KEPT_MS: i64 = 90 * 24 * 3600 * 1000;
/// Metadata files that are remembered of one table: those of its last commits.
const FILES_MAX: usize = 128;

/// One object of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// [`JOURNAL_FORMAT_VERSION`].
    pub format_version: u32,
    /// Its place in the journal, from 1 on.
    pub number: u64,
    /// When it was written, since 1970.
    pub time_ms: i64,
    /// How often the right to commit had changed sites by then.
    pub epoch: u64,
    /// Whether it says all that is there, and not only what changed.
    #[serde(default)]
    pub is_checkpoint: bool,
    /// Whether all of it happened at once, so that it must not be split.
    #[serde(default)]
    pub is_transaction: bool,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// What happened to one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Event {
    /// A table or view has this state.
    Commit {
        /// Its name.
        #[serde(flatten)]
        ident: Ident,
        /// Its uuid.
        uuid: String,
        /// Its metadata file.
        metadata: MetadataDigest,
    },
    /// A name is gone.
    Drop {
        /// The name.
        #[serde(flatten)]
        ident: Ident,
        /// Since when, where that was not just now.
        #[serde(default, rename = "time-ms", skip_serializing_if = "Option::is_none")]
        time_ms: Option<i64>,
    },
    /// A name is another.
    Rename {
        /// The old one.
        #[serde(flatten)]
        ident: Ident,
        /// The new one.
        to: Ident,
    },
    /// A namespace has these properties.
    Namespace {
        /// Its levels.
        namespace: Namespace,
        /// All of them.
        properties: BTreeMap<String, String>,
    },
    /// A namespace is gone.
    DropNamespace {
        /// Its levels.
        namespace: Namespace,
    },
}

/// A metadata file, and what it is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MetadataDigest {
    /// Where the primary has it.
    pub location: String,
    /// Its size; absent when the primary's server could not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Its SHA-256 in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl MetadataDigest {
    /// Of a metadata file, whose bytes may not be known.
    pub fn new(location: String, bytes: Option<&[u8]>) -> MetadataDigest {
        MetadataDigest { location, size_bytes: bytes.map(|bytes| bytes.len() as u64), sha256: bytes.map(sha256) }
    }

    /// The file's name in its folder.
    pub fn file_name(&self) -> &str {
        self.location.rsplit('/').next().unwrap_or_default()
    }

    /// Whether these can be the file's bytes.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        self.size_bytes.is_none_or(|size| size == bytes.len() as u64)
            && self.sha256.as_ref().is_none_or(|digest| *digest == sha256(bytes))
    }
}

impl Entry {
    /// An entry of the format that is written now.
    pub fn new(number: u64, time_ms: i64, events: Vec<Event>) -> Entry {
        Entry {
            format_version: JOURNAL_FORMAT_VERSION,
            number,
            time_ms,
            epoch: 0,
            is_checkpoint: false,
            is_transaction: false,
            events,
        }
    }

    /// Reads an entry that the file `name` holds, and checks all that can be checked by itself.
    pub fn parse(bytes: &[u8], number: u64, name: &str) -> Result<Entry> {
        let bad = |what: String| Error::new(Kind::Unprocessable, format!("journal entry {name}: {what}"));
        let entry: Entry = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if entry.format_version == 0 || entry.format_version > JOURNAL_FORMAT_VERSION {
            let version = entry.format_version;
            return Err(bad(format!("format version {version} is not known here; is the primary's Lifeboat newer?")));
        }
        if entry.number != number {
            return Err(bad(format!("it says that it is number {}", entry.number)));
        }
        if entry.events.len() > EVENTS_MAX {
            return Err(bad(format!("{} events", entry.events.len())));
        }
        for event in &entry.events {
            event.check().map_err(|e| bad(e.message().to_owned()))?;
        }
        Ok(entry)
    }
}

impl Event {
    /// Whether the names are names: what was read has not been checked.
    fn check(&self) -> Result<()> {
        let check = |ident: &Ident| {
            Ident::new(Namespace::new(ident.namespace.levels().to_vec())?, ident.name.clone()).map(drop)
        };
        match self {
            Event::Commit { ident, .. } | Event::Drop { ident, .. } => check(ident),
            Event::Rename { ident, to } => check(ident).and_then(|()| check(to)),
            Event::Namespace { namespace, .. } | Event::DropNamespace { namespace } => {
                Namespace::new(namespace.levels().to_vec()).map(drop)
            }
        }
    }
}

/// What the journal says of one name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// The number of the entry that spoke of it last.
    pub number: u64,
    /// The uuid of what has the name.
    pub uuid: String,
    /// Its metadata files, oldest first, and the numbers of the entries that named them.
    pub files: Vec<(u64, MetadataDigest)>,
}

/// All that a journal says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// The last entry's number.
    pub number: u64,
    /// When that was written.
    pub time_ms: i64,
    /// What has a name.
    pub named: BTreeMap<Ident, Named>,
    /// Names that are gone: the number of the entry that says so, and when it was written.
    pub dropped: BTreeMap<Ident, (u64, i64)>,
    /// Namespaces with their properties.
    pub namespaces: BTreeMap<Namespace, BTreeMap<String, String>>,
    /// Namespaces that are gone.
    pub dropped_namespaces: BTreeSet<Namespace>,
    /// Tables that committed together, by the number of the entry.
    pub together: BTreeMap<u64, Vec<Ident>>,
}

impl Said {
    /// What these entries say, in the order of their numbers.
    pub fn of<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Said {
        let mut said = Said::default();
        entries.into_iter().for_each(|entry| said.take(entry));
        said
    }

    /// Whether its last word on a name is this metadata file.
    pub fn names(&self, ident: &Ident, metadata_location: &str) -> bool {
        let last = self.named.get(ident).and_then(|named| named.files.last());
        last.is_some_and(|(_, metadata)| metadata.location == metadata_location)
    }

    /// Takes in the next entry.
    pub fn take(&mut self, entry: &Entry) {
        if entry.is_checkpoint {
            self.begin_anew(entry);
        }
        (self.number, self.time_ms) = (entry.number, entry.time_ms);
        let mut committed = Vec::new();
        for event in &entry.events {
            match event {
                Event::Commit { ident, uuid, metadata } => {
                    self.commit(ident, uuid, metadata, entry.number);
                    committed.push(ident.clone());
                }
                Event::Drop { ident, time_ms } => {
                    self.named.remove(ident);
                    self.dropped.insert(ident.clone(), (entry.number, time_ms.unwrap_or(entry.time_ms)));
                }
                Event::Rename { ident, to } => {
                    if let Some(named) = self.named.remove(ident) {
                        self.named.insert(to.clone(), Named { number: entry.number, ..named });
                        self.dropped.remove(to);
                    }
                    self.dropped.insert(ident.clone(), (entry.number, entry.time_ms));
                }
                Event::Namespace { namespace, properties } => {
                    self.dropped_namespaces.remove(namespace);
                    self.namespaces.insert(namespace.clone(), properties.clone());
                }
                Event::DropNamespace { namespace } => {
                    self.namespaces.remove(namespace);
                    self.dropped_namespaces.insert(namespace.clone());
                }
            }
        }
        if committed.len() > 1 && entry.is_transaction {
            self.together.insert(entry.number, committed);
            while self.together.len() > FILES_MAX {
                self.together.pop_first();
            }
        }
    }

    /// What a checkpoint does not name is gone, if it was there before.
    fn begin_anew(&mut self, entry: &Entry) {
        let there: BTreeSet<&Ident> = entry
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Commit { ident, .. } => Some(ident),
                _ => None,
            })
            .collect();
        let gone: Vec<Ident> = self.named.keys().filter(|ident| !there.contains(ident)).cloned().collect();
        for ident in gone {
            self.named.remove(&ident);
            self.dropped.insert(ident, (entry.number, entry.time_ms));
        }
        self.namespaces.clear();
    }

    fn commit(&mut self, ident: &Ident, uuid: &str, metadata: &MetadataDigest, number: u64) {
        self.dropped.remove(ident);
        let named = self.named.entry(ident.clone()).or_default();
        if named.uuid != uuid {
            *named = Named { uuid: uuid.to_owned(), ..Named::default() };
        }
        named.number = number;
        named.files.retain(|(_, known)| known.location != metadata.location);
        named.files.push((number, metadata.clone()));
        if named.files.len() > FILES_MAX {
            named.files.remove(0);
        }
    }

    /// The events of a checkpoint that says the same.
    pub fn checkpoint(&self) -> Vec<Event> {
        let namespaces = self.namespaces.iter().map(|(namespace, properties)| Event::Namespace {
            namespace: namespace.clone(),
            properties: properties.clone(),
        });
        let newest = self.named.iter().filter_map(|(ident, named)| {
            let (_, metadata) = named.files.last()?;
            Some(Event::Commit { ident: ident.clone(), uuid: named.uuid.clone(), metadata: metadata.clone() })
        });
        // who begins here must hear of what it may have published before
        let recent = self.dropped.iter().filter(|(_, (_, time_ms))| self.time_ms - time_ms < DROPS_KEPT_MS);
        let dropped = recent.map(|(ident, (_, time_ms))| Event::Drop { ident: ident.clone(), time_ms: Some(*time_ms) });
        namespaces.chain(newest).chain(dropped).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ident(name: &str) -> Ident {
        Ident::new(Namespace::new(vec!["sales".into()]).unwrap(), name).unwrap()
    }

    fn commit(name: &str, uuid: &str, file: &str) -> Event {
        let metadata = MetadataDigest { location: file.into(), size_bytes: Some(1), sha256: Some("00".into()) };
        Event::Commit { ident: ident(name), uuid: uuid.into(), metadata }
    }

    fn entry(number: u64, events: Vec<Event>) -> Entry {
        Entry { is_transaction: events.len() > 1, ..Entry::new(number, number as i64, events) }
    }

    #[test]
    fn names_are_followed_through_commits_renames_and_drops() {
        let entries = [
            entry(1, vec![commit("a", "1", "a1"), commit("b", "2", "b1")]),
            entry(2, vec![commit("a", "1", "a2")]),
            entry(3, vec![Event::Rename { ident: ident("a"), to: ident("c") }]),
            entry(4, vec![Event::Drop { ident: ident("b"), time_ms: None }]),
            entry(5, vec![commit("a", "3", "a/new")]),
        ];
        let said = Said::of(&entries);
        assert_eq!(said.named.keys().collect::<Vec<_>>(), [&ident("a"), &ident("c")]);
        assert_eq!(said.named[&ident("c")].files.len(), 2);
        assert_eq!(said.dropped, BTreeMap::from([(ident("b"), (4, 4))]));
        assert_eq!(said.together, BTreeMap::from([(1, vec![ident("a"), ident("b")])]));
        let checkpoint = Entry { is_checkpoint: true, ..entry(6, said.checkpoint()) };
        let begun = Said::of([&checkpoint]);
        assert_eq!(begun.named.keys().collect::<Vec<_>>(), said.named.keys().collect::<Vec<_>>());
        let mut all = said.clone();
        all.take(&Entry { is_checkpoint: true, ..entry(7, vec![commit("c", "1", "a2")]) });
        assert_eq!(all.named.keys().collect::<Vec<_>>(), [&ident("c")]);
        assert_eq!(all.dropped[&ident("a")], (7, 7));
    }

    #[test]
    fn an_entry_is_the_same_after_it_was_written_and_a_bad_one_is_named() {
        let events = vec![commit("a", "1", "a1"), Event::Rename { ident: ident("a"), to: ident("b") }];
        let written = serde_json::to_vec(&entry(7, events.clone())).unwrap();
        assert_eq!(Entry::parse(&written, 7, "7.json").unwrap(), entry(7, events));
        for (bytes, number, says) in [
            (&written[..], 8, "says that it is number 7"),
            (&written[..20], 7, "EOF"),
            (br#"{"format-version":9,"number":7,"time-ms":0,"epoch":0,"events":[]}"#, 7, "format version 9"),
            (
                br#"{"format-version":1,"number":7,"time-ms":0,"epoch":0,"events":[{"action":"drop","namespace":[],"name":"x"}]}"#,
                7,
                "at least one level",
            ),
        ] {
            let error = Entry::parse(bytes, number, "7.json").unwrap_err();
            assert!(error.message().contains(says), "{}", error.message());
        }
    }
}
