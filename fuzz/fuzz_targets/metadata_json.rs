//! Metadata files that somebody else wrote: validated, and when they pass, committed to.
#![no_main]

use lifeboat::format::metadata::{table, view};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let Ok(metadata) = serde_json::from_slice::<Value>(data) else { return };
    let _ = view::validate(&metadata);
    if table::validate(&metadata).is_err() {
        return;
    }
    let _ = table::refs_only(&metadata);
    let updates = [
        json!({"action": "set-properties", "updates": {"owner": "fuzz"}}),
        json!({"action": "add-snapshot", "snapshot": {"snapshot-id": 77, "sequence-number": 77, "timestamp-ms": 1, "manifest-list": "file:/m.avro",
            "summary": {"operation": "append"}, "schema-id": 0}}),
        json!({"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 77}),
        json!({"action": "upgrade-format-version", "format-version": 3}),
    ];
    for count in 1..=updates.len() {
        let _ = table::apply(Some(&metadata), Some("file:/t/metadata/0.json"), &updates[..count], 1_700_000_000_000);
    }
});
