//! Bodies of create, commit and view requests, as a client could send them, against the commit engine.
#![no_main]

use lifeboat::format::metadata::{table, view};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// When the fuzzed commits happen.
const AT_MS: i64 = 1_700_000_000_000;
const UUID: &str = "0190c6f0-0000-7000-8000-000000000000";

fuzz_target!(|data: &[u8]| {
    let Ok(body) = serde_json::from_slice::<Value>(data) else { return };
    let made = table::create(&body, "file:/warehouse/t", UUID, AT_MS);
    if let Ok(metadata) = &made {
        table::validate(metadata).expect("what we create is valid");
    }
    let _ = view::create(&body, "file:/warehouse/v", UUID, AT_MS);
    let requirements = body["requirements"].as_array().cloned().unwrap_or_default();
    let updates = body["updates"].as_array().cloned().unwrap_or_default();
    let plain = json!({"name": "t", "schema": {"type": "struct", "fields": [{"id": 1, "name": "a", "required": false, "type": "long"}]}});
    let base = made.unwrap_or_else(|_| table::create(&plain, "file:/warehouse/t", UUID, AT_MS).expect("a plain table"));
    let _ = table::check(&requirements, Some(&base));
    let _ = table::check(&requirements, None);
    if let Ok(applied) = table::apply(Some(&base), Some("file:/warehouse/t/metadata/0.json"), &updates, AT_MS + 1) {
        table::validate(&applied.metadata).expect("what a commit makes is valid");
        let _ = table::refs_only(&applied.metadata);
    }
    let _ = table::apply(None, None, &updates, AT_MS);
});
