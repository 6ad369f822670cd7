//! What is published is looked at again: files of it may have gone.
//!
//! A file that goes from the table's folder is noticed within a look or some ([`crate::storage::Watch`]) and has everything proven anew; and that is done
//! now and then anyway, for files may lie elsewhere. A snapshot that lost a file is left out from then on, and a table whose head did is not served.

use std::collections::HashSet;
use std::time::Instant;

use super::advance::{Advance, Ready, Tried, select};
use super::confirm::Candidate;
use super::discover::MetadataFile;
use super::memory::Memory;
use super::published::{self, Published};
use super::status::{Action, TableStatus};
use crate::error::Result;
use crate::format::location::LocationMap;
use crate::storage::Location;
use crate::table::relocate::{self, Doubtful, Examples, Options, ReadFrom};

/// Whether all of what is published is proven anew, though nothing says that something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recheck {
    /// No: what is published is believed to be whole.
    Never,
    /// When that is due: the last proof is old, or was not seen by this process.
    WhenDue,
    /// Yes.
    Now,
}

impl Advance<'_> {
    /// Looks whether files went, and whether what is published is whole still, when that is due.
    pub(super) async fn recheck(&self, memory: &mut Memory, status: &mut TableStatus) -> Result<()> {
        if !self.is_plan {
            // names of metadata files are no part of a tree, and what begins with a dot is in the making
            let is_wanted = |name: &str| !name.starts_with('.') && MetadataFile::of(name).is_none();
            let went = self.storage.went(&self.folder.location, &mut memory.watch, is_wanted).await;
            // a watch that failed begins anew, and what went meanwhile it cannot know
            memory.is_suspect |= *went.as_ref().unwrap_or(&true);
            went?;
        }
        let Some(published) = memory.published.clone() else {
            memory.is_suspect = false;
            return Ok(());
        };
        self.prove_fresh(memory, &published).await?;
        if memory.is_due(self.recheck, self.settings.recheck) {
            let began = Instant::now();
            // a file that goes from now on is seen by the next look
            memory.is_suspect = false;
            let checked = self.prove_anew(memory, &published, status).await;
            memory.rechecked = Some((Instant::now(), began.elapsed()));
            memory.is_suspect |= !matches!(checked, Ok(true));
            checked?;
        }
        if memory.is_void {
            status.set_broken(memory.gone.clone());
            memory.sight = None;
        }
        Ok(())
    }

    /// Files of what was proven in the last look may have come after the watch had looked, and gone before it looks again: now it knows them, so they are
    /// looked at once more.
    async fn prove_fresh(&self, memory: &mut Memory, published: &Published) -> Result<()> {
        let fresh = std::mem::take(&mut memory.fresh);
        if fresh.is_empty() || memory.is_suspect {
            return Ok(());
        }
        let (options, location) = (self.plain_options()?, &published.pointer.metadata_location);
        let others = published.snapshots.difference(&fresh).copied().collect();
        let proof = relocate::prove(self.storage.clone(), location, &options, &others, &mut Doubtful::default()).await;
        memory.is_suspect = !proof.is_ok_and(|proof| proof.heads_are_whole() && proof.incomplete.is_empty());
        Ok(())
    }

    /// Proves all of what is published. Snapshots that lost a file are left out from now on; false when a head did.
    async fn prove_anew(&self, memory: &mut Memory, published: &Published, status: &mut TableStatus) -> Result<bool> {
        let mut options = self.plain_options()?;
        if memory.is_void && self.still_lacks(&memory.gone).await? {
            return Ok(false);
        }
        let location = &published.pointer.metadata_location;
        let none = HashSet::new();
        let proof = relocate::prove(self.storage.clone(), location, &options, &none, &mut Doubtful::default()).await?;
        memory.is_void = !proof.heads_are_whole();
        if memory.is_void {
            memory.gone = proof.missing;
            return Ok(false);
        }
        memory.proven_at = Some(Instant::now());
        status.files_asked += proof.files;
        if proof.incomplete.is_empty() {
            self.take_in(memory, published, status).await?;
            return Ok(true);
        }
        status.action = Action::Prune;
        if self.is_plan {
            return Ok(true);
        }
        select(&mut options, &proof);
        // those of before are missing still
        let left_out = published.left_out.iter().chain(proof.incomplete.keys()).copied();
        options.properties.extend([published::left_out(left_out)]);
        options.base = Some(location.clone());
        let relocated = relocate::relocate_tree(self.storage.clone(), location, &options).await?;
        self.publish(memory, Ready::again(relocated, &published.source.name)).await?;
        Ok(true)
    }

    /// Snapshots that were left out are taken in once their files are here.
    async fn take_in(&self, memory: &mut Memory, published: &Published, status: &mut TableStatus) -> Result<()> {
        let choice = Candidate { file: published.source.clone(), is_confirmed: published.is_confirmed };
        if published.left_out.is_empty() || self.storage.look(&self.place(&choice.file)).await?.is_none() {
            return Ok(());
        }
        match self.attempt(memory, &choice, status).await? {
            Tried::Ready(ready) => self.publish(memory, *ready).await,
            Tried::Lacks(_) => Ok(()),
        }
    }

    pub(super) async fn still_lacks(&self, missing: &Examples) -> Result<bool> {
        // one that is there may be there in half; the whole is looked at then
        for example in &missing.examples {
            let location = Location::new(example);
            if location.check().is_ok() && self.storage.look(&location).await?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// For what is published already, in which every path is this site's.
    fn plain_options(&self) -> Result<Options> {
        let nothing: [(&str, &str); 0] = [];
        Ok(Options {
            into: Some(self.settings.overlay.clone()),
            read: Some(ReadFrom::Source),
            ..Options::new(LocationMap::new(nothing)?)
        })
    }
}
