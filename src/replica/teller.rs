//! Who tells of the primary's tables: its journal, or its catalog while that can be reached.
//!
//! Both say which metadata file is which table's state, and what is gone; neither is believed beyond that (`told`). A catalog that cannot be reached tells
//! what it told last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::journal::Follower;
use crate::model::{Entry, Event, Ident, MetadataDigest, Operation, Said};
use crate::upstream::asking::{Asking, Committed, Differences};
use crate::upstream::pointer::now_ms;

/// Who tells.
pub(super) enum Teller {
    Journal(Box<Follower>),
    Primary(Box<Primary>),
}

/// The primary's catalog, and what it has told.
pub(super) struct Primary {
    asking: Asking,
    /// How often all of it is asked for.
    interval: Duration,
    said: Arc<Said>,
    asked_at: Option<Instant>,
    /// It was reached once, at least.
    has_told: bool,
    /// Why it was not reached the last time.
    problem: Option<String>,
}

impl Teller {
    /// That is the primary's catalog.
    pub(super) fn primary(asking: Asking, interval: Duration) -> Teller {
        Teller::Primary(Box::new(Primary {
            asking,
            interval,
            said: Arc::default(),
            asked_at: None,
            has_told: false,
            problem: None,
        }))
    }

    /// All that is told, `None` from a catalog that was never reached, and what is wrong with who tells it.
    pub(super) async fn look(&mut self) -> Result<(Option<Arc<Said>>, Vec<String>)> {
        Ok(match self {
            Teller::Journal(follower) => (Some(follower.look().await?), follower.bad().to_vec()),
            Teller::Primary(primary) => (primary.look().await, primary.problem.iter().cloned().collect()),
        })
    }

    /// What is told of one table, as of now where that costs little.
    pub(super) async fn look_at(&mut self, ident: &Ident) -> Option<Arc<Said>> {
        match self {
            Teller::Journal(_) => None,
            Teller::Primary(primary) => primary.look_at(ident).await,
        }
    }
}

impl Primary {
    async fn look(&mut self) -> Option<Arc<Said>> {
        if self.asked_at.is_none_or(|at| at.elapsed() >= self.interval) {
            self.asked_at = Some(Instant::now());
            match self.asking.differences(&self.said).await {
                Ok(Differences { committed, others }) => {
                    (self.has_told, self.problem) = (true, None);
                    self.take(committed.into_iter().map(event).chain(others).collect());
                }
                Err(error) => {
                    tracing::warn!(%error, "the primary's catalog cannot be asked; what it told last is used")
                }
            }
        }
        self.has_told.then(|| self.said.clone())
    }

    async fn look_at(&mut self, ident: &Ident) -> Option<Arc<Said>> {
        // one that is not known yet is found by the next look at all
        if self.has_told && self.said.named.contains_key(ident) {
            let state = self.asking.load(Operation::LoadTable, ident).await.ok().flatten();
            if let Some(state) = state.filter(|state| !self.said.names(ident, &state.location)) {
                self.take(vec![event(state)]);
            }
        }
        self.has_told.then(|| self.said.clone())
    }

    fn take(&mut self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut said = Said::clone(&self.said);
        let number = said.number + 1;
        said.take(&Entry::new(number, now_ms(), events));
        self.said = Arc::new(said);
    }
}

fn event(state: Committed) -> Event {
    let metadata = MetadataDigest::new(state.location, None);
    Event::Commit { ident: state.ident, uuid: state.uuid, metadata }
}
