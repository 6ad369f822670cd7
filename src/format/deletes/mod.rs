//! Position deletes: files that name the data files whose rows are gone, so they are written anew when these move.

pub mod avro;
