//! Lifeboat: an Iceberg REST catalog that stands in front of the catalog you have, and is one by itself.
//!
//! `docs/architecture.md` has the words, the code map and the invariants. Modules depend on those above them in its code map only.

pub mod app;
pub mod append;
pub mod catalog;
pub mod changes;
pub mod cli;
pub mod config;
pub mod database;
pub mod error;
pub mod format;
pub mod jobs;
pub mod journal;
pub mod maintenance;
pub mod model;
pub mod replica;
pub mod server;
pub mod storage;
pub mod table;
pub mod telemetry;
pub mod upstream;

#[cfg(test)]
mod testing;
