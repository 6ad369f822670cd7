//! What a check found, and how findings are printed: a table for people, JSON for scripts.

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// How wide the table is where the terminal does not say (`COLUMNS`).
const TABLE_COLUMNS: u16 = 120;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    /// It works, and somebody should look.
    Warning,
    Failed,
    /// Could not be looked at.
    Skipped,
}

/// One check of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) check: &'static str,
    /// Of which catalog or place; empty for the whole.
    pub(super) subject: String,
    pub(super) status: Status,
    /// What was found.
    pub(super) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, subject: &str, message: impl Into<String>) -> Self {
        Finding { check, subject: subject.into(), status: Status::Ok, message: message.into(), advice: None }
    }

    pub(super) fn skipped(check: &'static str, subject: &str, message: impl Into<String>) -> Self {
        Finding { status: Status::Skipped, ..Self::ok(check, subject, message) }
    }

    pub(super) fn warning(
        check: &'static str,
        subject: &str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Finding { status: Status::Warning, advice: Some(advice.into()), ..Self::ok(check, subject, message) }
    }

    pub(super) fn failed(
        check: &'static str,
        subject: &str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Finding { status: Status::Failed, ..Self::warning(check, subject, message, advice) }
    }

    pub(super) fn is_failure(&self) -> bool {
        self.status == Status::Failed
    }
}

/// Prints findings to standard output.
pub(super) fn print(findings: &[Finding], json: bool) {
    if json {
        let failed = findings.iter().any(Finding::is_failure);
        println!("{:#}", serde_json::json!({ "ok": !failed, "checks": findings }));
    } else {
        println!("{}", table(findings));
    }
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(TABLE_COLUMNS));
    table.set_header(["", "check", "of", "found"]);
    for finding in findings {
        let mark = match finding.status {
            Status::Ok => "ok",
            Status::Warning => "look",
            Status::Failed => "FAIL",
            Status::Skipped => "-",
        };
        let advice = finding.advice.as_ref().map(|advice| format!("\n→ {advice}")).unwrap_or_default();
        table.add_row([mark, finding.check, &finding.subject, &format!("{}{advice}", finding.message)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_to_do_in_both_forms() {
        let finding = Finding::failed("clock", "main", "is 9 s behind", "set the clock");
        assert!(table(std::slice::from_ref(&finding)).to_string().contains("→ set the clock"));
        let json = serde_json::to_value(&finding).expect("is JSON");
        assert_eq!(json["status"], "failed");
        assert_eq!(json["advice"], "set the clock");
    }
}
