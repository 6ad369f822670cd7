//! One table moves on: its newest believed and complete state is relocated and published.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::confirm::Candidate;
use super::discover::{Folder, MetadataFile, metadata_folder};
use super::memory::{Memory, Sight};
use super::published::{self, Published};
use super::recheck::Recheck;
use super::settings::ReplicaSettings;
use super::status::{Action, HistoryLost, State, TableStatus};
use super::{SiteCatalog, told};
use crate::error::{Error, Kind, Result};
use crate::format::relocate::Selection;
use crate::model::Named;
use crate::storage::{Location, Storage};
use crate::table::relocate::{self, Examples, Options, Proof, ReadFrom, Relocated, parse, uuid};
use crate::upstream::pointer::Pointer;

/// The largest metadata.json.
const METADATA_BYTES_MAX: u64 = relocate::limits::FILE_BYTES_MAX;
/// Candidates that are tried in one look.
const TRIES_MAX: usize = 8;

/// What a table's looks have in common.
pub(super) struct Advance<'r> {
    pub(super) storage: &'r Arc<Storage>,
    pub(super) site: &'r dyn SiteCatalog,
    pub(super) settings: &'r ReplicaSettings,
    pub(super) folder: &'r Folder,
    /// What the primary's journal says of it.
    pub(super) told: Option<&'r Named>,
    /// Nothing is written.
    pub(super) is_plan: bool,
    pub(super) recheck: Recheck,
}

/// A state that is whole, proven and relocated; or only proven, where it is planned.
pub(super) struct Ready {
    relocated: Option<Relocated>,
    file_name: String,
    /// All of it was walked.
    is_proven_anew: bool,
}

impl Ready {
    /// What is published already, with less.
    pub(super) fn again(relocated: Relocated, file_name: &str) -> Ready {
        Ready { relocated: Some(relocated), file_name: file_name.to_owned(), is_proven_anew: false }
    }

    pub(super) fn pointer(&self) -> Result<Option<Pointer>> {
        let relocated = self.relocated.as_ref();
        relocated.map(|done| published::pointer_to(&done.target, done.location.clone())).transpose()
    }
}

/// The end of one try.
pub(super) enum Tried {
    /// It is whole.
    Ready(Box<Ready>),
    /// It has not arrived.
    Lacks(Examples),
}

impl Advance<'_> {
    /// Looks at the table once, and moves it on as far as it goes.
    pub(super) async fn look(&self, memory: &mut Memory) -> TableStatus {
        let mut status = self.new_status();
        if let Err(error) = self.look_at(memory, &mut status).await {
            memory.sight = None;
            self.fail(&mut status, &error);
        }
        self.tell_published(memory, &mut status);
        status
    }

    pub(super) fn new_status(&self) -> TableStatus {
        TableStatus::new(self.folder.ident.clone(), self.folder.location.to_string())
    }

    pub(super) fn fail(&self, status: &mut TableStatus, error: &Error) {
        let is_passing = error.kind().is_retryable() || is_passing(error.kind());
        // what is gone is not served, whatever else is the matter
        if status.state != State::Broken {
            status.state = if is_passing { State::Behind } else { State::Blocked };
        }
        status.reason = Some(error.told());
    }

    pub(super) fn tell_published(&self, memory: &Memory, status: &mut TableStatus) {
        self.tell_history(memory, status);
        let Some(published) = &memory.published else { return };
        status.metadata_location = Some(published.pointer.metadata_location.to_string());
        status.published = Some(published.version.clone());
        status.is_confirmed = published.is_confirmed;
        status.left_out.clone_from(&published.left_out);
        let newest = status.newest.get_or_insert_with(|| published.version.clone());
        status.lag_ms = (newest.updated_ms - published.version.updated_ms).max(0);
        status.lag_commits = newest.version.saturating_sub(published.version.version);
    }

    /// What is lost of a table's history is said where it is lost.
    fn tell_history(&self, memory: &Memory, status: &mut TableStatus) {
        let published = memory.published.as_ref().map(|published| published.history.clone());
        let lost = status.history_lost.take().or(published).filter(|lost| *lost != HistoryLost::default());
        status.history_lost = lost.filter(|_| !self.site.keeps_history());
        if let Some(lost) = &status.history_lost {
            status.reason.get_or_insert_with(|| lost.told());
        }
    }

    async fn look_at(&self, memory: &mut Memory, status: &mut TableStatus) -> Result<()> {
        let Some(sight) = self.sight(memory, status).await? else { return Ok(()) };
        let may_rest = self.advance(memory, status).await?;
        memory.rest(sight, may_rest);
        Ok(())
    }

    /// What there is to see, before it is looked at: what comes meanwhile is another sight. `None` when it is as it was when the table was level.
    pub(super) async fn sight(&self, memory: &mut Memory, status: &mut TableStatus) -> Result<Option<Sight>> {
        self.recall(memory).await?;
        if !self.is_plan {
            self.site.mend(&self.folder.ident).await?;
        }
        self.recheck(memory, status).await?;
        let stamp = self.storage.folder_stamp(&metadata_folder(&self.folder.location)).await?;
        let sight = Sight { stamp, told: self.told.map(|named| named.number) };
        if sight.stamp.is_some() && memory.sight.as_ref() == Some(&sight) && status.state != State::Broken {
            status.state = State::Level;
            return Ok(None);
        }
        Ok(Some(sight))
    }

    /// What the catalog has under the name. Anything that we did not publish blocks the table.
    async fn recall(&self, memory: &mut Memory) -> Result<()> {
        let Some(pointer) = self.site.published(&self.folder.ident).await? else {
            memory.published = None;
            return Ok(());
        };
        if memory.published.as_ref().is_some_and(|known| known.pointer == pointer) {
            return Ok(());
        }
        memory.published = None;
        if !pointer.metadata_location.leads_into(&self.settings.overlay) {
            let message = format!(
                "{} in this catalog is another one's table: its metadata is {}; drop it or rename it (without purge), or exclude it from the replica",
                self.folder.ident, pointer.metadata_location
            );
            return Err(Error::new(Kind::AlreadyExists, message));
        }
        let metadata = self.read(&pointer.metadata_location).await?;
        memory.published = Some(Arc::new(Published::read(pointer, &metadata)?));
        // whoever published it had proven it
        memory.is_void = false;
        Ok(())
    }

    /// Tries the newer states, newest first. True when there is nothing to do before another file arrives.
    async fn advance(&self, memory: &mut Memory, status: &mut TableStatus) -> Result<bool> {
        let choices = self.choices(memory, status).await?;
        let mut refused = None;
        for choice in choices.newest_first.iter().take(TRIES_MAX) {
            match self.attempt(memory, choice, status).await {
                Ok(Tried::Ready(ready)) => {
                    self.publish(memory, *ready).await?;
                    status.state = if choices.is_newest(choice) { State::Level } else { State::Behind };
                    status.reason = refused.map(|error: Error| error.told());
                    return Ok(choices.may_rest_with(Some(choice)));
                }
                // of one that is broken it is told what is gone
                Ok(Tried::Lacks(missing)) if choices.is_newest(choice) && status.state != State::Broken => {
                    status.missing = missing;
                }
                Ok(Tried::Lacks(_)) => {}
                // an older state may do
                Err(error) if error.kind() == Kind::Unprocessable => drop(refused.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        if status.state == State::Broken {
            return Ok(false);
        }
        status.state = match (&memory.published, choices.newest_first.is_empty()) {
            (Some(_), true) => State::Level,
            (Some(_), false) => State::Behind,
            (None, _) => State::Waiting,
        };
        Ok(choices.may_rest_with(None))
    }

    /// Proves and relocates one state if it has arrived.
    pub(super) async fn attempt(
        &self,
        memory: &mut Memory,
        choice: &Candidate,
        status: &mut TableStatus,
    ) -> Result<Tried> {
        let source = self.place(&choice.file);
        if let Some(lacked) = memory.lacked.get(&choice.file.name)
            && self.still_lacks(lacked).await?
        {
            return Ok(Tried::Lacks(lacked.clone()));
        }
        let base = memory.published.clone();
        let same_map = base.clone().filter(|base| base.map == self.settings.map.signature());
        let believed = same_map.as_ref().filter(|_| !memory.is_void && !memory.is_suspect);
        let proven = believed.map(|base| base.snapshots.clone()).unwrap_or_default();
        let has_settled = memory.seen.get(&choice.file.name).is_some_and(|at| at.elapsed() >= self.settings.settle);
        let mut options = self.options(choice);
        let proof = relocate::prove(self.storage.clone(), &source, &options, &proven, &mut memory.doubtful).await;
        let proof = match proof {
            Ok(proof) => proof,
            // it is being written, or went before it was read
            Err(e) if !has_settled && matches!(e.kind(), Kind::Unprocessable | Kind::NotFound | Kind::Unavailable) => {
                return Ok(Tried::Lacks(Examples::one(source.to_string())));
            }
            Err(e) => return Err(e),
        };
        status.files_asked += proof.files;
        if let Some(named) = self.told {
            match told::check(named, &choice.file.name, &proof.raw, uuid(&proof.metadata)) {
                // it is being written
                Err(_) if !has_settled => return Ok(Tried::Lacks(Examples::one(source.to_string()))),
                checked => checked?,
            }
        }
        self.check(&proof, base.as_deref(), choice)?;
        if !proof.heads_are_whole() {
            let missing = proof.missing;
            memory.lacked.insert(choice.file.name.clone(), missing.clone());
            return Ok(Tried::Lacks(missing));
        }
        status.action = if base.is_some() { Action::Advance } else { Action::Create };
        let (file_name, is_proven_anew) = (choice.file.name.clone(), proven.is_empty());
        if self.is_plan {
            status.history_lost = Some(HistoryLost::of(&proof.metadata));
            return Ok(Tried::Ready(Box::new(Ready { relocated: None, file_name, is_proven_anew })));
        }
        select(&mut options, &proof);
        options.base = same_map.map(|base| base.pointer.metadata_location.clone());
        let relocated = match relocate::relocate_tree(self.storage.clone(), &source, &options).await {
            // files of what was proven before have gone: that is no proof any more
            Err(e) if e.kind() == Kind::NotFound && !is_proven_anew => {
                memory.is_suspect = true;
                return Box::pin(self.attempt(memory, choice, status)).await;
            }
            relocated => Some(relocated?),
        };
        Ok(Tried::Ready(Box::new(Ready { relocated, file_name, is_proven_anew })))
    }

    /// Makes a state what this site's catalog has under the table's name.
    pub(super) async fn publish(&self, memory: &mut Memory, ready: Ready) -> Result<()> {
        let Some(pointer) = ready.pointer()? else { return Ok(()) };
        let from = memory.published.as_ref().map(|published| published.pointer.clone());
        if from.as_ref() != Some(&pointer) {
            let done = self.site.publish(&self.folder.ident, from.as_ref(), pointer.clone()).await;
            self.is_there(done, &pointer).await?;
        }
        self.published(memory, ready)
    }

    /// Takes note of what is published now.
    pub(super) fn published(&self, memory: &mut Memory, ready: Ready) -> Result<()> {
        let (Some(pointer), Some(relocated)) = (ready.pointer()?, ready.relocated) else { return Ok(()) };
        if memory.published.as_ref().is_none_or(|published| published.pointer != pointer) {
            let table = self.folder.ident.to_string();
            tracing::info!(
                table.name = table,
                metadata.file = ready.file_name,
                "published a state of a replicated table"
            );
        }
        let published = Published::read(pointer, &relocated.target)?;
        let known = memory.published.as_ref().filter(|_| !ready.is_proven_anew).map(|published| &published.snapshots);
        let is_new = |id: &&i64| known.is_none_or(|known| !known.contains(id));
        memory.fresh.extend(published.snapshots.iter().filter(is_new));
        memory.published = Some(Arc::new(published));
        memory.is_void = false;
        // what was not walked just now is due when it was before
        if ready.is_proven_anew {
            memory.proven_at = Some(Instant::now());
            memory.is_suspect = false;
        }
        Ok(())
    }

    /// Another server may have been quicker with the same state; with another one, the next look begins from that.
    async fn is_there(&self, done: Result<()>, pointer: &Pointer) -> Result<()> {
        match done {
            Err(e) if matches!(e.kind(), Kind::AlreadyExists | Kind::CommitFailed) => {
                if self.site.published(&self.folder.ident).await?.as_ref() == Some(pointer) {
                    return Ok(());
                }
                let message = "something else was published meanwhile; it is looked at again";
                Err(Error::commit_failed(message).with_source(e))
            }
            other => other,
        }
    }

    /// Whether a state may take the place of what is published.
    fn check(&self, proof: &Proof, base: Option<&Published>, choice: &Candidate) -> Result<()> {
        let (file, metadata) = (&choice.file.name, &proof.metadata);
        let own = metadata["location"].as_str().unwrap_or_default();
        let here = Location::new(self.settings.map.map(own)?);
        if !(here.leads_into(&self.folder.location) && self.folder.location.leads_into(&here)) {
            let message = format!(
                "{file} says that its table lies at {own}, which is {here} here, and it was found in {}: add a pair to the replica's map, or exclude the table",
                self.folder.location
            );
            return Err(Error::new(Kind::Unprocessable, message));
        }
        let Some(base) = base else { return Ok(()) };
        let kept = published::kept(metadata);
        if kept != base.pointer.kept {
            return Err(Error::new(
                Kind::Unprocessable,
                format!("{file} is no longer of the same kind as what is published"),
            ));
        }
        if uuid(metadata).unwrap_or_default() != base.pointer.uuid {
            // another table in the same place: only when it is certain that it came later
            return match choice.is_confirmed {
                true => Ok(()),
                false => {
                    Err(Error::new(Kind::Unprocessable, format!("{file} is another table's, and not confirmed yet")))
                }
            };
        }
        let (sequence, updated) =
            (published::sequence_number(metadata), metadata["last-updated-ms"].as_i64().unwrap_or(0));
        if sequence < base.sequence_number || updated < base.version.updated_ms {
            let message =
                format!("{file} is older than what is published ({}), though its number is higher", base.source.name);
            return Err(Error::new(Kind::Unprocessable, message));
        }
        Ok(())
    }

    fn options(&self, choice: &Candidate) -> Options {
        let mut properties = self.settings.properties.clone();
        let map = self.settings.map.signature();
        properties.extend(published::properties(&self.place(&choice.file), choice.is_confirmed, &map));
        Options {
            into: Some(self.settings.overlay.clone()),
            read: Some(ReadFrom::Target),
            properties,
            ..Options::new(self.settings.map.clone())
        }
    }

    pub(super) fn place(&self, file: &MetadataFile) -> Location {
        metadata_folder(&self.folder.location).join(&file.name)
    }

    pub(super) async fn read(&self, location: &Location) -> Result<Value> {
        let raw = self.storage.read(location, METADATA_BYTES_MAX).await?;
        parse(raw, location)
    }
}

/// What another look may find otherwise.
fn is_passing(kind: Kind) -> bool {
    matches!(kind, Kind::CommitFailed | Kind::OutcomeUnknown | Kind::BadUpstream | Kind::UpstreamTimeout)
}

/// Takes along what is whole of a proven state.
pub(super) fn select(options: &mut Options, proof: &Proof) {
    if proof.incomplete.is_empty() && proof.statistics.is_empty() {
        return;
    }
    options.properties.extend([published::left_out(proof.incomplete.keys().copied())]);
    let snapshots = proof.incomplete.keys().copied().collect();
    options.selection = Selection::Without { snapshots, statistics: proof.statistics.clone() };
}
