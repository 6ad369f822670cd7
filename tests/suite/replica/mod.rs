//! Replicated storage becomes tables: a primary whose files arrive late, in halves and in any order, and a standby that is asked all the time.

mod bad;
mod chaos;
mod crash;
mod follow;
mod groups;
mod journal;
mod primary;
mod standby;
mod syncs;

pub use standby::{ask, ident};
