//! What an append did, or would do, for people, scripts and metrics.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::landed::Candidate;
use crate::format::data_file::Reason;

/// Files that are left out and named.
const NAMED_MAX: usize = 100;

/// What became of the files that landed for one table.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AppendReport {
    /// The table.
    pub table: String,
    /// Where its files land.
    pub from: String,
    /// Whether nothing was written.
    pub plan: bool,
    /// Whether the table was made, or would be.
    pub created: bool,
    /// What of the schema was changed, or would be.
    pub evolved: Vec<String>,
    /// Files that were listed.
    pub listed_files: u64,
    /// Files that the table has, or ever had.
    pub known_files: u64,
    /// Files that changed too recently.
    pub unsettled_files: u64,
    /// Files without rows.
    pub empty_files: u64,
    /// Files that were appended, or would be.
    pub appended_files: u64,
    /// Their rows.
    pub appended_rows: u64,
    /// Their bytes.
    pub appended_bytes: u64,
    /// The snapshots that brought them.
    pub snapshots: Vec<i64>,
    /// Files that were left out.
    pub left_out_files: u64,
    /// How many for which sort of reason.
    pub left_out_by_reason: BTreeMap<String, u64>,
    /// Some of them; 100 at most.
    pub left_out: Vec<LeftOut>,
    /// How long it took.
    pub seconds: f64,
}

/// A file that is not appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LeftOut {
    /// Where it is.
    pub file: String,
    /// Of what sort the reason is.
    pub reason: String,
    /// What is the matter.
    pub message: String,
}

impl AppendReport {
    /// Whether every file that was looked at is in the table.
    pub fn is_whole(&self) -> bool {
        self.left_out_files == 0
    }

    pub(super) fn leave_out(&mut self, candidate: &Candidate, reason: &Reason) {
        self.left_out_files += 1;
        *self.left_out_by_reason.entry(reason.word.to_owned()).or_default() += 1;
        if self.left_out.len() < NAMED_MAX {
            self.left_out.push(LeftOut {
                file: candidate.location.to_string(),
                reason: reason.word.to_owned(),
                message: reason.message.clone(),
            });
        }
    }
}
