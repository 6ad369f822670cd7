//! One table moves on: its newest believed and complete state is relocated and published.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::confirm::{Candidate, candidates};
use super::discover::{Folder, MetadataFile, metadata_folder, newer_files};
use super::memory::Memory;
use super::published::{self, Published};
use super::recheck::Recheck;
use super::settings::{Confirm, ReplicaSettings};
use super::status::{Action, State, TableStatus, Version};
use super::{SiteCatalog, told};
use crate::error::{Error, Kind, Result};
use crate::format::relocate::{Selection, is_view};
use crate::model::Named;
use crate::storage::{Location, Storage};
use crate::table::relocate::{self, Examples, Options, Proof, ReadFrom, Relocated, parse, uuid};
use crate::upstream::pointer::Pointer;

/// The largest metadata.json.
const METADATA_BYTES_MAX: u64 = relocate::limits::FILE_BYTES_MAX;
/// Candidates that are tried in one look.
const TRIES_MAX: usize = 8;
/// Files of the newest number that are read for their logs.
const NEWEST_READ_MAX: usize = 4;
/// Metadata files whose first sight is remembered for one table.
const SEEN_MAX: usize = 1_000;

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

/// The newest files that can be read.
#[derive(Default)]
struct Newest {
    readable: Vec<MetadataFile>,
    /// The names in their logs.
    named: HashSet<String>,
    is_view: bool,
}

/// The end of one try.
pub(super) enum Tried {
    /// It is published now.
    Published,
    /// It has not arrived.
    Lacks(Examples),
}

impl Advance<'_> {
    /// Looks at the table once, and moves it on as far as it goes.
    pub(super) async fn look(&self, memory: &mut Memory) -> TableStatus {
        let mut status = TableStatus::new(self.folder.ident.clone(), self.folder.location.to_string());
        let looked = self.look_at(memory, &mut status).await;
        if let Err(error) = looked {
            memory.stamp = None;
            let is_passing = error.kind().is_retryable() || error.kind() == Kind::CommitFailed;
            // what is gone is not served, whatever else is the matter
            if status.state != State::Broken {
                status.state = if is_passing { State::Behind } else { State::Blocked };
            }
            status.reason = Some(error.told());
        }
        if let Some(published) = &memory.published {
            status.metadata_location = Some(published.pointer.metadata_location.to_string());
            status.published = Some(published.version.clone());
            status.is_confirmed = published.is_confirmed;
            status.left_out.clone_from(&published.left_out);
            let newest = status.newest.get_or_insert_with(|| published.version.clone());
            status.lag_ms = (newest.updated_ms - published.version.updated_ms).max(0);
        }
        status
    }

    async fn look_at(&self, memory: &mut Memory, status: &mut TableStatus) -> Result<()> {
        self.recall(memory).await?;
        self.recheck(memory, status).await?;
        let folder = metadata_folder(&self.folder.location);
        // before the files are looked at: what comes meanwhile changes it, and is looked at next time
        let stamp = self.storage.folder_stamp(&folder).await?;
        let told = self.told.map(|named| named.number);
        if stamp.is_some() && stamp == memory.stamp && told == memory.told && status.state != State::Broken {
            status.state = State::Level;
            return Ok(());
        }
        let may_rest = self.advance(memory, status).await?;
        memory.stamp = if may_rest { stamp } else { None };
        memory.told = told;
        Ok(())
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
        let current = memory.published.as_ref().map(|published| published.source.clone());
        let mut found = newer_files(self.storage, &self.folder.location, current.as_ref()).await?;
        found.sort();
        self.see(memory, &found);
        let Newest { readable, mut named, is_view } = self.newest(&found, status).await?;
        named.extend(self.told.into_iter().flat_map(told::names));
        // a view's file has no log of those before it
        let trusts = self.settings.confirm == Confirm::TrustNewest || is_view;
        let trusted = |file: &MetadataFile| {
            let seen = memory.seen.get(&file.name);
            trusts && (self.is_plan || seen.is_some_and(|at| at.elapsed() >= self.settings.settle))
        };
        let choices = candidates(&found, &readable, &named, trusted);
        let is_newest = |choice: &Candidate| choices.first() == Some(choice);
        let mut refused = None;
        for choice in choices.iter().take(TRIES_MAX) {
            match self.attempt(memory, choice, status).await {
                Ok(Tried::Published) => {
                    status.state = if is_newest(choice) { State::Level } else { State::Behind };
                    status.reason = refused.map(|error: Error| error.told());
                    let is_last = found.last().is_none_or(|last| last.version == choice.file.version);
                    return Ok(is_newest(choice) && (is_last || !trusts));
                }
                Ok(Tried::Lacks(missing)) if is_newest(choice) => status.missing = missing,
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
        status.state = match (&memory.published, choices.is_empty()) {
            (Some(_), true) => State::Level,
            (Some(_), false) => State::Behind,
            (None, _) => State::Waiting,
        };
        if choices.is_empty() && !found.is_empty() {
            status.reason = Some("its newest metadata file is not confirmed by a newer one yet".to_owned());
        } else if found.is_empty() && memory.published.is_none() {
            status.reason = Some("it has no metadata file yet".to_owned());
        }
        Ok(choices.is_empty() && (found.is_empty() || !trusts))
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
                let Ok(metadata) = self.read(&self.place(file)).await else { continue };
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

    /// Publishes one state if it has arrived.
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
        let proof = match relocate::prove(self.storage.clone(), &source, &options, &proven, has_settled).await {
            Ok(proof) => proof,
            // it is being written, or went before it was read
            Err(e) if !has_settled && matches!(e.kind(), Kind::Unprocessable | Kind::NotFound | Kind::Unavailable) => {
                return Ok(Tried::Lacks(Examples::one(source.to_string())));
            }
            Err(e) => return Err(e),
        };
        status.files_asked += proof.files;
        if let Some(named) = self.told {
            let bytes = self.storage.read(&source, METADATA_BYTES_MAX).await?;
            match told::check(named, &choice.file.name, &bytes, uuid(&proof.metadata)) {
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
        if self.is_plan {
            return Ok(Tried::Published);
        }
        select(&mut options, &proof);
        options.base = same_map.map(|base| base.pointer.metadata_location.clone());
        let relocated = relocate::relocate_tree(self.storage.clone(), &source, &options).await?;
        self.publish(memory, relocated, &choice.file.name).await?;
        memory.is_void = false;
        // what was not walked just now is due when it was before
        if proven.is_empty() {
            memory.proven_at = Some(Instant::now());
            memory.is_suspect = false;
        }
        Ok(Tried::Published)
    }

    pub(super) async fn publish(&self, memory: &mut Memory, relocated: Relocated, source: &str) -> Result<()> {
        let pointer = published::pointer_to(&relocated.target, relocated.location)?;
        let from = memory.published.as_ref().map(|published| published.pointer.clone());
        if from.as_ref() != Some(&pointer) {
            let done = self.site.publish(&self.folder.ident, from.as_ref(), pointer.clone()).await;
            self.is_there(done, &pointer).await?;
            let table = self.folder.ident.to_string();
            tracing::info!(table.name = table, metadata.file = source, "published a state of a replicated table");
        }
        memory.published = Some(Arc::new(Published::read(pointer, &relocated.target)?));
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

    async fn read(&self, location: &Location) -> Result<Value> {
        let raw = self.storage.read(location, METADATA_BYTES_MAX).await?;
        parse(raw, location)
    }
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
