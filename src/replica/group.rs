//! Tables of one moment: published together, as of the newest moment at which all of them are whole.
//!
//! A moment is the number of a journal's entry, or, without a journal, the time that a state's metadata tells. A table's state at a moment is its newest
//! one not after it. Without a journal it cannot be known whether a table has a state of which nothing has arrived, so a moment after the newest state that
//! is known of one of them counts once it has been here for the settle time.

use std::collections::BTreeSet;

use super::advance::{Advance, Ready, Tried};
use super::choose::Choices;
use super::confirm::Candidate;
use super::discover::MetadataFile;
use super::memory::{Memory, Sight};
use super::site::Move;
use super::status::{State, TableStatus};
use crate::error::{Error, Kind, Result};

/// Moments that are tried in one look.
const MOMENTS_MAX: usize = 64;
/// States of one table that are considered.
const STATES_MAX: usize = 16;

/// One table of a group that is looked at.
pub(super) struct Member<'a> {
    pub(super) advance: Advance<'a>,
    pub(super) memory: &'a mut Memory,
    pub(super) status: TableStatus,
    seen: Option<(Sight, Choices)>,
    /// The states by their moments, newest first.
    states: Vec<(i64, Candidate)>,
    /// What keeps it from where it should be.
    lacks: Option<String>,
}

impl<'a> Member<'a> {
    pub(super) fn new(advance: Advance<'a>, memory: &'a mut Memory) -> Member<'a> {
        let status = advance.new_status();
        Member { advance, memory, status, seen: None, states: Vec::new(), lacks: None }
    }

    async fn see(&mut self) -> Result<()> {
        let Some(sight) = self.advance.sight(self.memory, &mut self.status).await? else { return Ok(()) };
        let choices = self.advance.choices(self.memory, &mut self.status).await?;
        for choice in choices.newest_first.iter().take(STATES_MAX) {
            if let Some(moment) = self.advance.moment(choice).await? {
                self.states.push((moment, choice.clone()));
            }
        }
        self.seen = Some((sight, choices));
        Ok(())
    }

    /// The newest state that is not after a moment.
    fn at(&self, moment: i64) -> Option<&Candidate> {
        self.states.iter().find(|(at, _)| *at <= moment).map(|(_, choice)| choice)
    }

    /// The metadata file that the journal says was the table's at a moment, if it is newer than what is known here.
    fn not_here(&self, moment: i64, choice: Option<&Candidate>) -> Option<String> {
        let named = self.advance.told?;
        let moment = u64::try_from(moment).ok()?;
        let (_, digest) = named.files.iter().rfind(|(number, _)| *number <= moment)?;
        let told = MetadataFile::of(digest.file_name())?;
        let published = self.memory.published.as_ref().map(|published| &published.source);
        let known = choice.map(|choice| &choice.file).max(published);
        known.is_none_or(|known| *known < told).then_some(told.name)
    }

    /// Whether the table may have a state not after a moment of which nothing has arrived.
    fn may_lack(&self, moment: i64) -> bool {
        let (advance, memory) = (&self.advance, &self.memory);
        let published = memory.published.as_ref().map(|published| published.version.updated_ms);
        let known = self.status.newest.as_ref().map(|newest| newest.updated_ms).max(published);
        advance.told.is_none() && known.is_none_or(|known| known < moment)
    }

    /// Whether a state of this moment, if it is the table's own, has been here for the settle time.
    fn has_settled(&self, moment: i64) -> bool {
        let of_moment = self.states.iter().filter(|(at, _)| *at == moment);
        let settled = |choice: &Candidate| {
            let seen = self.memory.seen.get(&choice.file.name);
            seen.is_some_and(|at| at.elapsed() >= self.advance.settings.settle)
        };
        of_moment.clone().all(|(_, choice)| settled(choice))
    }

    /// Proves and relocates the state at a moment. `None` when it has not arrived.
    async fn ready(&mut self, moment: i64) -> Result<Option<Option<(Candidate, Ready)>>> {
        let choice = self.at(moment).cloned();
        if let Some(name) = self.not_here(moment, choice.as_ref()) {
            self.lacks = Some(format!("{name} has not arrived"));
            return Ok(None);
        }
        let Some(choice) = choice else { return Ok(Some(None)) };
        match self.advance.attempt(self.memory, &choice, &mut self.status).await {
            Ok(Tried::Ready(ready)) => Ok(Some(Some((choice, *ready)))),
            Ok(Tried::Lacks(missing)) => {
                self.lacks = Some(format!("{} files of {} have not arrived", missing.count, choice.file.name));
                self.status.missing = missing;
                Ok(None)
            }
            Err(error) if error.kind() == Kind::Unprocessable => {
                self.lacks = Some(error.told());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Looks at all, and moves them on together as far as that goes.
pub(super) async fn look(members: &mut [Member<'_>]) {
    if let Err((at, error)) = look_at(members).await {
        let name = members[at].advance.folder.ident.to_string();
        let told = error.told();
        for (other, member) in members.iter_mut().enumerate() {
            member.memory.sight = None;
            if other == at {
                member.advance.fail(&mut member.status, &error);
            } else if member.status.state != State::Broken {
                member.status.state = State::Behind;
                member.status.reason = Some(format!("it waits for {name}, with which it is of one moment: {told}"));
            }
        }
    }
    for member in members.iter_mut() {
        member.advance.tell_published(member.memory, &mut member.status);
    }
}

async fn look_at(members: &mut [Member<'_>]) -> Result<(), (usize, Error)> {
    for (at, member) in members.iter_mut().enumerate() {
        member.see().await.map_err(|e| (at, e))?;
    }
    let moments: BTreeSet<i64> =
        members.iter().flat_map(|member| member.states.iter().map(|(moment, _)| *moment)).collect();
    let mut chosen = None;
    for moment in moments.into_iter().rev().take(MOMENTS_MAX) {
        chosen = ready_at(members, moment).await?;
        if chosen.is_some() {
            break;
        }
    }
    let chosen = chosen.unwrap_or_else(|| members.iter().map(|_| None).collect());
    publish(members, &chosen).await?;
    let waits_for = members.iter().find_map(|member| {
        let lacks = member.lacks.as_ref()?;
        Some(format!("{}: {lacks}", member.advance.folder.ident))
    });
    for (at, (member, chosen)) in members.iter_mut().zip(chosen).enumerate() {
        settle(member, chosen, waits_for.as_deref()).map_err(|e| (at, e))?;
    }
    Ok(())
}

type Chosen = Option<(Candidate, Ready)>;

/// The states of all at a moment, if all of them have arrived.
async fn ready_at(members: &mut [Member<'_>], moment: i64) -> Result<Option<Vec<Chosen>>, (usize, Error)> {
    let may_lack = members.iter().find(|member| member.may_lack(moment));
    if let Some(name) = may_lack.map(|member| member.advance.folder.ident.to_string())
        && !members.iter().all(|member| member.has_settled(moment))
    {
        let waiting = members.iter_mut().filter(|member| member.states.iter().any(|(at, _)| *at == moment));
        waiting.for_each(|member| {
            member.lacks = Some(format!("it may be ahead of {name}, of which nothing as new is known"))
        });
        return Ok(None);
    }
    let mut chosen = Vec::with_capacity(members.len());
    for (at, member) in members.iter_mut().enumerate() {
        match member.ready(moment).await.map_err(|e| (at, e))? {
            Some(ready) => chosen.push(ready),
            None => return Ok(None),
        }
    }
    Ok(Some(chosen))
}

async fn publish(members: &[Member<'_>], chosen: &[Chosen]) -> Result<(), (usize, Error)> {
    let mut moves = Vec::new();
    for (at, (member, chosen)) in members.iter().zip(chosen).enumerate() {
        let Some((_, ready)) = chosen else { continue };
        let Some(to) = ready.pointer().map_err(|e| (at, e))? else { continue };
        let from = member.memory.published.as_ref().map(|published| published.pointer.clone());
        if from.as_ref() != Some(&to) {
            moves.push((at, Move { ident: member.advance.folder.ident.clone(), from, to }));
        }
    }
    let Some((first, _)) = moves.first() else { return Ok(()) };
    let first = *first;
    let moves = moves.into_iter().map(|(_, one)| one).collect();
    members[first].advance.site.publish_all(moves).await.map_err(|e| (first, e))
}

fn settle(member: &mut Member<'_>, chosen: Chosen, waits_for: Option<&str>) -> Result<()> {
    let Some((sight, choices)) = member.seen.take() else { return Ok(()) };
    let choice = chosen.as_ref().map(|(choice, _)| choice.clone());
    if let Some((_, ready)) = chosen {
        member.advance.published(member.memory, ready)?;
    }
    let is_newest = match &choice {
        Some(choice) => choices.is_newest(choice),
        None => choices.newest_first.is_empty(),
    };
    if member.status.state != State::Broken || choice.is_some() {
        member.status.state = match (&member.memory.published, is_newest) {
            (None, _) if choice.is_none() => State::Waiting,
            (_, true) => State::Level,
            (_, false) => State::Behind,
        };
    }
    if !is_newest {
        let waits = waits_for.map(|other| format!("its consistency group waits for {other}"));
        member.status.reason = waits.or(member.status.reason.take());
    }
    member.memory.rest(sight, choices.may_rest_with(choice.as_ref()));
    Ok(())
}
