//! The Iceberg format as bytes and JSON: what a commit does to metadata, and what the Avro files of a tree name and how they are written.
//!
//! Everything here only computes: no I/O, no clock, no environment, no randomness. Ids and times are passed in, and what
//! we do not know (fields, types, properties, members of an update) goes through untouched. Where bytes come from and
//! where they go, and which pointer moves, is for the callers.

pub mod avro;
pub mod data_file;
mod deflate;
pub mod deletes;
pub mod location;
pub mod manifest;
pub mod metadata;
mod parquet;
pub mod partition;
pub mod puffin;
pub mod relocate;
pub mod transform;
pub mod types;
