//! Position delete files: the same deletes with the data files' paths mapped.
//!
//! A position delete names a row by its data file's path and its position there, and a reader compares that path to the manifest's as
//! plain text (specification, "Position Delete Files"). What must hold: every path is mapped and nothing else of the content changes;
//! the rows are sorted by path and position, also where the map changes the order of the paths. A file that cannot be read whole is
//! an error and never a shorter file. What manifests say of the new file is for others.

pub mod avro;
pub mod parquet;
