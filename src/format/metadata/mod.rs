//! Table and view metadata as JSON, and the commit protocol on it.
//!
//! All functions take and give `serde_json::Value` and are lossless: a member they do not know survives, at its place
//! and with its number's digits. What they accept and refuse, and the words they refuse with, follow Iceberg's Java
//! library, because clients and Iceberg's compatibility kit know those. Reading the metadata file, writing the next one
//! and moving the pointer are for the callers.

mod json;
mod schema;
pub mod table;
mod transform;
pub mod view;

/// The property that names the place of metadata files.
pub const METADATA_PATH: &str = "write.metadata.path";
/// The properties that name places of a table's or view's files.
pub const PATH_PROPERTIES: [&str; 4] =
    [METADATA_PATH, "write.data.path", "write.object-storage.path", "write.folder-storage.path"];
