//! Marks of change: what was kept before a write through us is not believed after it.
//!
//! What must hold: a mark taken before a write began, or while it ran, differs from every mark taken after it, however the write
//! ended and even if nobody waited for its end. Marks are counters in a table of fixed size, so forgetting a table costs one
//! addition; two tables that share a counter only lose a hit.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use crate::model::{Ident, Namespace, Operation};
use crate::upstream::{Request, Target};

/// Counters; more make it rarer that two tables share one.
const COUNTERS: usize = 1024;

/// What a write touches, as far as kept answers are concerned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Touched {
    Nothing,
    Objects(Vec<Ident>),
    Everything,
}

/// A moment in the life of one table or view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64, u64);

/// The counters of one catalog.
pub(super) struct Marks {
    everything: AtomicU64,
    counters: Vec<AtomicU64>,
    hasher: RandomState,
}

impl Marks {
    pub(super) fn new() -> Self {
        let counters = (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        Marks { everything: AtomicU64::new(0), counters, hasher: RandomState::new() }
    }

    /// The present mark of a table or view.
    pub(super) fn now(&self, ident: &Ident) -> Mark {
        Mark(self.everything.load(Ordering::SeqCst), self.counter(ident).load(Ordering::SeqCst))
    }

    /// Changes the marks now, and again when the answer is dropped.
    pub(super) fn writing(&self, touched: Touched) -> Writing<'_> {
        self.change(&touched);
        Writing { marks: self, touched }
    }

    fn change(&self, touched: &Touched) {
        match touched {
            Touched::Nothing => {}
            Touched::Objects(idents) => {
                for ident in idents {
                    self.counter(ident).fetch_add(1, Ordering::SeqCst);
                }
            }
            Touched::Everything => {
                self.everything.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn counter(&self, ident: &Ident) -> &AtomicU64 {
        &self.counters[self.hasher.hash_one(ident) as usize % COUNTERS]
    }
}

/// A write that is under way.
pub(super) struct Writing<'a> {
    marks: &'a Marks,
    touched: Touched,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.marks.change(&self.touched);
    }
}

/// What a request touches; where its body cannot be read, everything.
pub(super) fn touched(request: &Request) -> Touched {
    match request.operation {
        Operation::UpdateTable
        | Operation::DropTable
        | Operation::UnregisterTable
        | Operation::ReplaceView
        | Operation::DropView => match &request.target {
            Target::Object(ident) => Touched::Objects(vec![ident.clone()]),
            _ => Touched::Everything,
        },
        Operation::CreateTable | Operation::RegisterTable | Operation::CreateView | Operation::RegisterView => {
            objects(made(request))
        }
        Operation::RenameTable | Operation::RenameView => objects(renamed(&request.body)),
        Operation::CommitTransaction => objects(committed(&request.body)),
        Operation::DropNamespace => Touched::Everything,
        _ => Touched::Nothing,
    }
}

fn objects(idents: Option<Vec<Ident>>) -> Touched {
    idents.map_or(Touched::Everything, Touched::Objects)
}

#[derive(Deserialize)]
struct Named {
    namespace: Vec<String>,
    name: String,
}

impl Named {
    fn ident(self) -> Option<Ident> {
        Ident::new(Namespace::new(self.namespace).ok()?, self.name).ok()
    }
}

fn made(request: &Request) -> Option<Vec<Ident>> {
    #[derive(Deserialize)]
    struct Body {
        name: String,
    }
    let body: Body = serde_json::from_slice(&request.body).ok()?;
    Some(vec![Ident::new(request.namespace().ok()?.clone(), body.name).ok()?])
}

fn renamed(body: &[u8]) -> Option<Vec<Ident>> {
    #[derive(Deserialize)]
    struct Body {
        source: Named,
        destination: Named,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    Some(vec![body.source.ident()?, body.destination.ident()?])
}

fn committed(body: &[u8]) -> Option<Vec<Ident>> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "table-changes")]
        changes: Vec<Change>,
    }
    #[derive(Deserialize)]
    struct Change {
        identifier: Named,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    body.changes.into_iter().map(|change| change.identifier.ident()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::{ident, request};

    fn touched_by(operation: Operation, target: Target, body: &str) -> Touched {
        let mut request = request(operation);
        request.target = target;
        request.body = body.to_owned().into();
        touched(&request)
    }

    #[test]
    fn a_write_names_what_it_touches() {
        let t = || Target::Object(ident("t"));
        let n = || Target::Namespace(ident("t").namespace);
        let one = |name| Touched::Objects(vec![ident(name)]);
        assert_eq!(touched_by(Operation::UpdateTable, t(), "broken"), one("t"));
        assert_eq!(touched_by(Operation::RegisterTable, n(), r#"{"name":"u","overwrite":true}"#), one("u"));
        assert_eq!(touched_by(Operation::CreateTable, n(), "broken"), Touched::Everything);
        let rename = r#"{"source":{"namespace":["a"],"name":"t"},"destination":{"namespace":["a"],"name":"u"}}"#;
        let both = Touched::Objects(vec![ident("t"), ident("u")]);
        assert_eq!(touched_by(Operation::RenameTable, Target::Catalog, rename), both);
        let commit = r#"{"table-changes":[{"identifier":{"namespace":["a"],"name":"t"},"updates":[]},
            {"identifier":{"namespace":["a"],"name":"u"}}]}"#;
        assert_eq!(touched_by(Operation::CommitTransaction, Target::Catalog, commit), both);
        assert_eq!(touched_by(Operation::CommitTransaction, Target::Catalog, "{}"), Touched::Everything);
        assert_eq!(touched_by(Operation::LoadTable, t(), ""), Touched::Nothing);
    }

    #[test]
    fn a_mark_taken_while_a_write_ran_is_void_after_it() {
        let marks = Marks::new();
        let before = marks.now(&ident("t"));
        let writing = marks.writing(Touched::Objects(vec![ident("t")]));
        let during = marks.now(&ident("t"));
        drop(writing);
        let after = marks.now(&ident("t"));
        assert!(before != during && during != after && before != after);
        drop(marks.writing(Touched::Everything));
        assert_ne!(marks.now(&ident("t")), after);
    }
}
