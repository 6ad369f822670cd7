//! Which operations and updates we serve, per kind of upstream: the source of `openapi/operations.md`.

use std::fmt::Write;

use crate::model::Operation;
use crate::upstream::pointer;

/// How an operation is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// By ourselves.
    Ours,
    /// By the upstream, wherever it has it.
    PassedOn,
    /// Not at all: it is not advertised, and refused when it is asked for.
    No,
}

impl Service {
    fn word(self) -> &'static str {
        match self {
            Service::Ours => "yes",
            Service::PassedOn => "passed on",
            Service::No => "no",
        }
    }
}

/// The kinds of upstream there are.
const KINDS: [&str; 2] = ["embedded", "rest"];

/// How an operation is served in front of a kind of upstream.
pub fn served_by(operation: Operation, kind: &str) -> Service {
    match (kind, operation) {
        ("rest", Operation::GetConfig) => Service::Ours,
        ("rest", _) => Service::PassedOn,
        _ if pointer::serves(operation) => Service::Ours,
        _ => Service::No,
    }
}

/// The updates of a table that commits carry, as the specification names them.
const TABLE_UPDATES: [&str; 23] = [
    "assign-uuid",
    "upgrade-format-version",
    "add-schema",
    "set-current-schema",
    "add-spec",
    "set-default-spec",
    "add-sort-order",
    "set-default-sort-order",
    "add-snapshot",
    "set-snapshot-ref",
    "remove-snapshots",
    "remove-snapshot-ref",
    "set-location",
    "set-properties",
    "remove-properties",
    "set-statistics",
    "remove-statistics",
    "set-partition-statistics",
    "remove-partition-statistics",
    "remove-partition-specs",
    "remove-schemas",
    "add-encryption-key",
    "remove-encryption-key",
];

/// The updates of a view that commits carry.
const VIEW_UPDATES: [&str; 8] = [
    "assign-uuid",
    "upgrade-format-version",
    "add-schema",
    "set-location",
    "set-properties",
    "remove-properties",
    "add-view-version",
    "set-current-view-version",
];

/// The text of `openapi/operations.md`.
pub fn operations_table() -> String {
    let mut text = String::from(
        "# Iceberg operations and updates\n\n\
         Generated from the table of operations; a test holds it. \"Passed on\" means wherever the upstream has it: a config\n\
         answer's `endpoints` says exactly what works. An operation that is not served is refused with 406.\n\n\
         ## Operations\n\n",
    );
    let kinds = KINDS.join(" | ");
    let _ =
        writeln!(text, "| operation | route | smallest role | {kinds} |\n|---|---|---|{}", "---|".repeat(KINDS.len()));
    for route in Operation::ROUTES {
        let role = route.operation.role().map_or("none".to_owned(), |role| format!("{role:?}").to_lowercase());
        let served = KINDS.map(|kind| served_by(route.operation, kind).word()).join(" | ");
        let _ = writeln!(text, "| {} | `{} {}` | {role} | {served} |", route.name, route.method, route.path);
    }
    for (title, updates) in [("Table updates", &TABLE_UPDATES[..]), ("View updates", &VIEW_UPDATES[..])] {
        let _ = writeln!(text, "\n## {title}\n\n| update | {kinds} |\n|---|{}", "---|".repeat(KINDS.len()));
        for update in updates {
            let _ = writeln!(text, "| {update} | yes | passed on |");
        }
    }
    text
}
