//! What is known of a table between two appends: its state, its files, the lines of its manifest list.
//!
//! What must hold: before a file is appended, everything that any snapshot brought meanwhile is known, and how earlier appends ended. An append of
//! which nobody can tell any more whether it landed blocks its files: they are named, and never appended a second time.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value as Json;

use super::ledger::{Ledger, Pending, now_ms};
use super::tracked::{Key, News, Spelling, Tracked, read_lines};
use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::format::manifest::ManifestFile;
use crate::model::{CatalogName, Ident};
use crate::storage::{Location, Storage};
use crate::upstream::asking::{Asking, Loaded};

/// In a snapshot's summary: which append it is.
pub(super) const APPEND_ID: &str = "lifeboat.append-id";
/// How long an append may be under way before it is taken for one that never landed.
const PENDING_MAX_MS: i64 = 60 * 60 * 1000;

/// What all appends of a catalog share.
#[derive(Clone)]
pub(super) struct Tools {
    pub catalog: CatalogName,
    pub storage: Arc<Storage>,
    pub tables: Asking,
    pub state: Option<Database>,
    pub spelling: Spelling,
}

/// One table as appends know it.
#[derive(Default)]
pub(super) struct Known {
    /// As it was last loaded or committed.
    pub loaded: Option<Loaded>,
    pub tracked: Arc<Tracked>,
    pub ledger: Option<Ledger>,
    uuid: String,
    /// The lines of a snapshot's manifest list.
    lines: Option<(i64, Vec<ManifestFile>)>,
    /// Files of appends of which nobody can tell how they ended.
    pub blocked: HashSet<Key>,
}

impl Known {
    /// Loads the table and reads what is new in it.
    pub async fn refresh(&mut self, tools: &Tools, ident: &Ident) -> Result<()> {
        let loaded = tools.tables.table(ident).await?;
        self.take(tools, loaded).await
    }

    /// Reads what is new in a state of the table.
    pub async fn take(&mut self, tools: &Tools, loaded: Loaded) -> Result<()> {
        let uuid = loaded.metadata["table-uuid"].as_str().unwrap_or_default();
        if uuid.is_empty() {
            return Err(Error::new(Kind::Unprocessable, "the table has no uuid, by which it would be known again"));
        }
        let is_first = self.uuid != uuid;
        if is_first {
            let ledger = tools.state.clone().map(|state| Ledger::new(state, tools.catalog.clone(), uuid.to_owned()));
            *self = Known { uuid: uuid.to_owned(), ledger, ..Known::default() };
        }
        let has_new = {
            let snapshots = loaded.metadata["snapshots"].as_array().into_iter().flatten();
            snapshots.filter_map(|s| s["snapshot-id"].as_i64()).any(|id| !self.tracked.has_seen(id))
        };
        if is_first || has_new {
            self.read(tools, &loaded.metadata).await?;
        }
        self.loaded = Some(loaded);
        Ok(())
    }

    async fn read(&mut self, tools: &Tools, metadata: &Json) -> Result<()> {
        let tracked = Arc::make_mut(&mut self.tracked);
        let mut pending = Vec::new();
        if let Some(ledger) = &mut self.ledger {
            let read = ledger.read().await?;
            tracked.extend(&read.done);
            pending = read.pending;
        }
        let news = tracked.update(&tools.storage, &tools.spelling, metadata).await?;
        let (mut landed, mut not_landed) = (Vec::new(), Vec::new());
        self.blocked.clear();
        for append in pending {
            match ended(&append, tracked, metadata) {
                Ended::Landed => landed.push((append.number, None)),
                Ended::NotYet => {}
                Ended::Never => not_landed.push(append.number),
                Ended::Unknown => {
                    tracing::error!(append.id = %append.append_id, files = append.files.len(), "nobody can tell whether an append landed, since its snapshot would have expired: its files are left out");
                    self.blocked.extend(append.files.iter().map(|(key, _)| *key));
                }
            }
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.end(&landed, &not_landed, &news).await?;
            let tracked = &self.tracked;
            ledger.merge_if_many(|| tracked.all()).await?;
        }
        Ok(())
    }

    /// The table as it was last loaded.
    pub fn metadata(&self) -> Result<&Json> {
        let loaded = self.loaded.as_ref().map(|loaded| &loaded.metadata);
        loaded.ok_or_else(|| Error::internal("the table was not loaded yet"))
    }

    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The lines of the manifest list that a commit stands on.
    pub async fn lines(
        &mut self,
        tools: &Tools,
        list: Option<&str>,
        snapshot_id: Option<i64>,
    ) -> Result<Vec<ManifestFile>> {
        let (Some(list), Some(id)) = (list, snapshot_id) else { return Ok(Vec::new()) };
        if let Some((known, lines)) = self.lines.take().filter(|(known, _)| *known == id) {
            self.lines = Some((known, lines.clone()));
            return Ok(lines);
        }
        read_lines(tools.storage.clone(), Location::new(list)).await
    }

    /// Takes note of a commit of ours.
    pub fn committed(
        &mut self,
        loaded: Option<Loaded>,
        snapshot_id: i64,
        files: &[(Key, u32)],
        lines: Vec<ManifestFile>,
    ) {
        Arc::make_mut(&mut self.tracked).extend(&News { files: files.to_vec(), snapshots: vec![snapshot_id] });
        self.lines = Some((snapshot_id, lines));
        self.loaded = loaded;
    }
}

/// How an append ended of which nobody wrote that down.
enum Ended {
    Landed,
    NotYet,
    Never,
    Unknown,
}

fn ended(append: &Pending, tracked: &Tracked, metadata: &Json) -> Ended {
    // a commit brings all of its files: of some that are there others brought those, and the rest may still come
    let are_tracked = append.files.iter().all(|(key, _)| tracked.has(key));
    if are_tracked || snapshot_of(metadata, &append.append_id).is_some() {
        return Ended::Landed;
    }
    // every snapshot since it began is there to be seen, so that it is none of them
    let base = append.base_sequence_number;
    let last = metadata["last-sequence-number"].as_i64().unwrap_or(0);
    let snapshots = metadata["snapshots"].as_array().into_iter().flatten();
    let since = snapshots.filter(|s| s["sequence-number"].as_i64().is_some_and(|number| number > base)).count();
    if last > base && i64::try_from(since) != Ok(last - base) {
        return Ended::Unknown;
    }
    if append.made_at_ms.saturating_add(PENDING_MAX_MS) < now_ms() { Ended::Never } else { Ended::NotYet }
}

/// The snapshot that an append made, if it is there.
pub(super) fn snapshot_of<'m>(metadata: &'m Json, append_id: &str) -> Option<&'m Json> {
    let mut snapshots = metadata["snapshots"].as_array()?.iter().rev();
    snapshots.find(|snapshot| snapshot["summary"][APPEND_ID] == append_id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pending(files: &[u8], base_sequence_number: i64, made_at_ms: i64) -> Pending {
        let files = files.iter().map(|file| ([*file; super::super::tracked::KEY_BYTES], 1)).collect();
        Pending { number: 1, append_id: "ours".to_owned(), base_sequence_number, files, made_at_ms }
    }

    fn history(sequence_numbers: &[i64], append_id: &str) -> Json {
        let snapshot =
            |number: &i64| json!({"snapshot-id": number, "sequence-number": number, "summary": {APPEND_ID: append_id}});
        json!({"last-sequence-number": sequence_numbers.last(), "snapshots": sequence_numbers.iter().map(snapshot).collect::<Vec<_>>()})
    }

    /// Another server may have appended some of the files, while those of this append still try to land: they must not be forgotten.
    #[test]
    fn an_append_of_which_others_brought_some_files_has_not_landed() {
        let mut tracked = Tracked::default();
        let [one, two] = [1, 2].map(|file| ([file; super::super::tracked::KEY_BYTES], 1));
        tracked.extend(&News { files: vec![one], snapshots: vec![5] });
        let append = pending(&[1, 2], 4, now_ms());
        assert!(matches!(ended(&append, &tracked, &history(&[4, 5], "theirs")), Ended::NotYet));
        tracked.extend(&News { files: vec![two], snapshots: vec![6] });
        assert!(matches!(ended(&append, &tracked, &history(&[4, 5, 6], "theirs")), Ended::Landed));
    }

    #[test]
    fn what_the_history_can_tell_is_believed_and_nothing_is_guessed() {
        let tracked = Tracked::default();
        let of = |append: &Pending, history: &Json| ended(append, &tracked, history);
        assert!(matches!(of(&pending(&[1], 4, now_ms()), &history(&[4, 5], "ours")), Ended::Landed));
        assert!(matches!(of(&pending(&[1], 4, now_ms()), &history(&[4, 5], "theirs")), Ended::NotYet));
        assert!(matches!(of(&pending(&[1], 4, 0), &history(&[4, 5], "theirs")), Ended::Never));
        // snapshot 5 has expired, and could have been it
        assert!(matches!(of(&pending(&[1], 4, 0), &history(&[4, 6], "theirs")), Ended::Unknown));
    }
}
