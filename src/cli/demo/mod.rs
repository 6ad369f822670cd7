//! `lifeboat demo`: a catalog with something in it, and how to reach it from each engine.
//!
//! What must hold: it needs nothing that is not in this program, and leaves nothing behind unless `--data` says so.
//! Opening the catalog and serving it are the composition root's; this folder fills it and talks to the user.

mod engines;
mod fill;
pub mod parquet;
mod tables;

use std::fmt::Write;

pub use fill::{Report, fill};

/// What the user reads once the catalog answers at `uri`.
pub fn welcome(uri: &str, folder: &str, report: &Report) -> String {
    let mut text = format!("\nA catalog with three tables and a view, in {folder}:\n\n{report}\nIts URI: {uri}\n");
    for (engine, needs, lines) in engines::lines(uri) {
        let _ = write!(text, "\n{engine} ({needs}):\n");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    text.push_str("\nServing until Ctrl-C.\n");
    text
}
