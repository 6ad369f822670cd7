//! A table as a feed: which files came and went with each snapshot, and where its readers stand.
//!
//! What must hold: changes come from manifests, never from a listing; the changes of a snapshot make of its parent's live files exactly its own,
//! whatever its writer did; a reader that goes on from its position misses and repeats nothing. Who may read is for the server.

mod difference;
mod feeds;
mod history;
mod lags;
mod manifests;
mod page;
mod position;
mod positions;
mod watch;

pub use feeds::{Feeds, Lag};
pub use history::{History, MAIN, Snapshot, To};
pub use lags::Lags;
pub use page::{Ask, ChangedFile, Changes, LIMIT, LIMIT_MAX, Page, SnapshotChanges};
pub use position::{Next, Position, TableId};
pub use positions::{Consumer, NewPosition, Positions, check_name};
pub use watch::{Load, Seen, Watched, Watches};
