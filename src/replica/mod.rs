//! The replica: storage that somebody else replicated becomes tables of this site's catalog.
//!
//! A table's folder is looked at ([`discover`]), of its metadata files those are chosen that are confirmed ([`confirm`]) and whose tree has arrived, and
//! the newest of them is relocated into the overlay and published ([`advance`]). What must hold: nothing is published of which a file is missing; what is
//! published never goes back; only what we published is replaced; not one byte is written outside of the overlay. The pointer and the overlay are all
//! that is kept (`docs/decisions/0009-replica.md`); what is remembered here only saves work. Who asks, and when, is for the callers.

mod advance;
mod choose;
mod confirm;
mod discover;
mod gone;
mod group;
mod looks;
mod memory;
mod names;
mod progress;
mod published;
mod recheck;
mod rest;
mod settings;
mod site;
mod status;
mod tables;
mod teller;
mod told;

pub use discover::Folder;
pub use looks::Replica;
pub use names::{Layout, Names};
pub use progress::SyncProgress;
pub use recheck::Recheck;
pub use rest::RestSite;
pub use settings::{Confirm, ReplicaSettings};
pub use site::SiteCatalog;
pub use status::{Action, HistoryLost, State, TableStatus, Version};
