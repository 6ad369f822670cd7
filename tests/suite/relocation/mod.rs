//! Relocation of whole tables in folders: what Spark's procedure gets wrong, what must stay untouched, and what happens after a crash.

mod kill;
mod lake;
mod once;
mod spark_defects;

pub use lake::{Lake, PROD, Tree, added, entry, fields, text};
