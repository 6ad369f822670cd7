//! Parquet files that somebody else wrote, described as data files of tables: footers, statistics, partitions, and columns that must be read.
#![no_main]

use std::collections::BTreeMap;
use std::panic;
use std::sync::{Once, OnceLock};

use libfuzzer_sys::fuzz_target;
use lifeboat::format::data_file::{Described, FooterRead, TableShape, folders, read_footer};
use serde_json::json;

static HOOK: Once = Once::new();

/// A panic of a library below is caught and is an error; one of ours ends the run.
fn fence() {
    HOOK.call_once(|| {
        let abort = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = |file: &str| file.contains("lifeboat") || file.contains("src/format") || file.contains("fuzz_targets");
            if info.location().is_none_or(|at| ours(at.file())) {
                abort(info);
            }
        }));
    });
}

/// Tables with columns of many kinds, partitioned by each transform.
fn tables() -> &'static [TableShape] {
    static TABLES: OnceLock<Vec<TableShape>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let column = |id: i32, name: &str, kind: &str| json!({"id": id, "name": name, "required": id == 9, "type": kind});
        let fields = json!([
            column(1, "id", "long"), column(2, "region", "string"), column(3, "at", "timestamptz"), column(4, "amount", "decimal(9, 2)"),
            column(5, "x", "double"), column(6, "day", "date"), column(7, "key", "uuid"), column(8, "raw", "binary"),
            {"id": 10, "name": "tags", "required": false, "type": {"type": "list", "element-id": 11, "element-required": false, "element": "string"}},
        ]);
        let spec = |parts: &[(i32, &str)]| -> serde_json::Value {
            let field = |(at, (source, transform)): (usize, &(i32, &str))| {
                json!({"source-id": source, "field-id": 1000 + at, "name": format!("p{at}"), "transform": transform})
            };
            parts.iter().enumerate().map(field).collect()
        };
        let specs = [
            spec(&[]),
            spec(&[(1, "bucket[4]"), (2, "truncate[2]"), (3, "day")]),
            spec(&[(2, "identity"), (4, "truncate[50]"), (5, "identity"), (6, "month"), (7, "bucket[8]"), (8, "identity")]),
        ];
        let shape = |spec: &serde_json::Value| {
            let metadata = json!({
                "format-version": 3, "last-column-id": 20, "current-schema-id": 0, "default-spec-id": 0, "properties": {},
                "schemas": [{"type": "struct", "schema-id": 0, "fields": fields}], "partition-specs": [{"spec-id": 0, "fields": spec}],
            });
            TableShape::of(&metadata).expect("a table")
        };
        specs.iter().map(shape).collect()
    })
}

fuzz_target!(|data: &[u8]| {
    fence();
    let bytes = bytes::Bytes::copy_from_slice(data);
    let Ok(FooterRead::Footer(footer)) = read_footer(&bytes, data.len() as u64) else { return };
    for table in tables() {
        let evolved = footer.differences(table).map(|differences| table.evolved(&differences));
        for table in [Some(table), evolved.as_ref().ok()].into_iter().flatten() {
            let (folders, mut read) = (folders("region=north/day=2026-11-22/f"), BTreeMap::new());
            while let Ok(described) = footer.describe("f", table, &folders, &read) {
                let Described::Needs(needs) = described else { break };
                let before = read.len();
                for (at, column) in needs {
                    let Ok(ranges) = footer.ranges(column) else { return };
                    let chunks: Vec<_> =
                        ranges.iter().map(|range| bytes.slice(range.start as usize..range.end as usize)).collect();
                    let Ok(value) = footer.one_value(column, &table.spec.fields[at], &chunks) else { return };
                    read.insert(at, value);
                }
                assert!(read.len() > before, "what was read is not asked for again");
            }
        }
    }
});
