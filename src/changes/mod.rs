//! A table as a feed: which files came and went with each snapshot, and where its readers stand.
//!
//! What must hold: changes come from manifests, never from a listing; the changes of a snapshot make of its parent's live files exactly its own,
//! whatever its writer did; a reader that goes on from its position misses and repeats nothing. Who may read is for the server.

mod position;
mod positions;

pub use position::{Next, Position, TableId};
pub use positions::{Consumer, NewPosition, Positions, check_name};
