//! The `iceberg` crate as an oracle of the commit engine: it is given the same updates, and makes the same of them.
//!
//! What must hold: both refuse or both accept a commit, and then both results are equal, but for what `comparable` lists
//! with its reason, the times at which nothing but a clock decides, and the metadata log, which `iceberg` extends even
//! where nothing changed.

use iceberg::TableUpdate;
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use lifeboat::format::metadata::table::{apply, create};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

const UUID: &str = "9c12d441-03fe-4693-9a96-a0705ddf69c1";
const FILE: &str = "s3://bucket/t/metadata/00000-a.metadata.json";
/// Snapshots are this much younger than the clock, so that a time tells where it is from; less than any skew allowed.
const AHEAD_MS: i64 = 30_000;
/// Not void: where its column is gone `iceberg` refuses, while we keep such fields, as version 1 needs them.
const TRANSFORMS: [&str; 3] = ["identity", "bucket[4]", "truncate[2]"];

/// One draw: what to do, and two numbers to choose things with.
type Choice = (u8, usize, usize);

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_millis()).expect("it is long before the end of time")
}

/// What updates to draw from, of a table as it is; `turn` is another number each time.
struct Table<'a> {
    meta: &'a Value,
    turn: i64,
    at_ms: i64,
}

impl Table<'_> {
    fn number(&self, name: &str) -> i64 {
        self.meta[name].as_i64().unwrap_or(-1)
    }

    fn list(&self, name: &str) -> &[Value] {
        self.meta[name].as_array().map_or(&[], Vec::as_slice)
    }

    fn pick<'b>(list: &'b [Value], at: usize, id: &str) -> Option<&'b Value> {
        list.get(at % list.len().max(1)).map(|found| &found[id])
    }

    fn schema(&self) -> Value {
        let is_current = |schema: &&Value| schema["schema-id"] == self.meta["current-schema-id"];
        self.list("schemas").iter().find(is_current).expect("the current schema is listed").clone()
    }

    /// The updates that a choice stands for; some of them no table allows.
    fn updates(&self, (kind, a, b): Choice) -> Vec<Value> {
        let named = |action: &str, member: &str, value: Value| vec![json!({ "action": action, member: value })];
        let id = i64::try_from(a % 5).unwrap_or_default();
        match kind {
            0 | 1 => self.evolve(kind == 0, a, b),
            2 => named("set-current-schema", "schema-id", id.into()),
            3 => self.derive("add-spec", "spec", a, b),
            4 => named("set-default-spec", "spec-id", id.into()),
            5 => self.derive("add-sort-order", "sort-order", a, b),
            6 => named("set-default-sort-order", "sort-order-id", id.into()),
            7..=9 => self.snapshot(a, b),
            10 => self.move_ref(a, b),
            11 => named("remove-snapshot-ref", "ref-name", ["main", "r0", "r1", "r2"][a % 4].into()),
            12 => self.remove_snapshot(a),
            13 => named("set-properties", "updates", json!({ format!("k{}", a % 3): b.to_string() })),
            14 => named("remove-properties", "removals", json!([format!("k{}", a % 3)])),
            15 => self.statistics(a, b),
            16 => {
                let action = ["remove-statistics", "remove-partition-statistics"][b % 2];
                let id = Self::pick(self.list("snapshots"), a, "snapshot-id").cloned().unwrap_or(json!(1));
                named(action, "snapshot-id", id)
            }
            17 => named("remove-schemas", "schema-ids", json!([id])),
            18 => named("remove-partition-specs", "spec-ids", json!([id])),
            19 => named("set-location", "location", format!("s3://bucket/t{}{}", a % 2, "/".repeat(b % 2)).into()),
            20 => named("upgrade-format-version", "format-version", (a % 3 + 1).into()),
            _ => named("assign-uuid", "uuid", UUID.into()),
        }
    }

    fn evolve(&self, adds: bool, a: usize, b: usize) -> Vec<Value> {
        let mut schema = self.schema();
        let fields = schema["fields"].as_array_mut().expect("a schema has fields");
        if adds {
            let kind = ["long", "string", "date", "decimal(9, 2)"][a % 4];
            let field = json!({ "id": self.number("last-column-id") + 1, "name": format!("c{}", self.turn), "required": false, "type": kind });
            fields.insert(b % (fields.len() + 1), field);
        } else if fields.len() > 1 {
            let at = a % fields.len();
            match b % 2 {
                0 => drop(fields.remove(at)),
                _ => fields[at]["name"] = format!("c{}", self.turn).into(),
            }
        }
        let add = json!({ "action": "add-schema", "schema": schema });
        vec![add, json!({ "action": "set-current-schema", "schema-id": -1 })]
    }

    /// A spec or a sort order by one column or none.
    fn derive(&self, action: &str, member: &str, a: usize, b: usize) -> Vec<Value> {
        let schema = self.schema();
        let source = Self::pick(schema["fields"].as_array().map_or(&[], Vec::as_slice), a, "id").cloned();
        let mut field = json!({ "source-id": source, "transform": TRANSFORMS[b % TRANSFORMS.len()] });
        let is_spec = member == "spec";
        if is_spec {
            field["name"] = format!("p{}", self.turn).into();
            if self.number("format-version") == 1 {
                // Without an id `iceberg` gives one that version 1 does not allow, and refuses.
                field["field-id"] = 1000.into();
            }
        } else {
            field["direction"] = "asc".into();
            field["null-order"] = "nulls-first".into();
        }
        let mut made = json!({ "fields": if b % 5 == 4 { vec![] } else { vec![field] } });
        made[if is_spec { "spec-id" } else { "order-id" }] =
            if b % 5 == 4 { 0 } else { 1 + i64::try_from(b).unwrap_or_default() }.into();
        let (default, id) = match is_spec {
            true => ("set-default-spec", "spec-id"),
            false => ("set-default-sort-order", "sort-order-id"),
        };
        vec![json!({ "action": action, member: made }), json!({ "action": default, id: -1 })]
    }

    fn snapshot(&self, a: usize, b: usize) -> Vec<Value> {
        let id = self.turn + 1000;
        let mut snapshot = json!({
            "snapshot-id": id, "timestamp-ms": self.at_ms + AHEAD_MS + self.turn, "manifest-list": "s3://bucket/t/l.avro",
            "summary": { "operation": "append" }, "schema-id": self.meta["current-schema-id"],
        });
        if self.number("format-version") > 1 {
            snapshot["sequence-number"] =
                (self.number("last-sequence-number") + i64::from(!a.is_multiple_of(8))).into();
        }
        if self.number("format-version") > 2 {
            snapshot["first-row-id"] = (self.number("next-row-id") - i64::from(a.is_multiple_of(7))).max(0).into();
            snapshot["added-rows"] = b.into();
        }
        let current = self.number("current-snapshot-id");
        if current != -1 {
            snapshot["parent-snapshot-id"] = current.into();
        }
        let mut updates = vec![json!({ "action": "add-snapshot", "snapshot": snapshot })];
        let name = ["main", "main", if self.has_refs() { "r0" } else { "" }, ""][b % 4];
        if !name.is_empty() {
            updates
                .push(json!({ "action": "set-snapshot-ref", "ref-name": name, "type": "branch", "snapshot-id": id }));
        }
        updates
    }

    /// Of version 1 `iceberg` reads the current snapshot and no refs, so there is only a plain main.
    fn has_refs(&self) -> bool {
        self.number("format-version") > 1
    }

    fn move_ref(&self, a: usize, b: usize) -> Vec<Value> {
        let id = Self::pick(self.list("snapshots"), a, "snapshot-id").cloned().unwrap_or(json!(7));
        if !self.has_refs() {
            return vec![
                json!({ "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": id }),
            ];
        }
        let (name, kind) = [("main", "branch"), ("r0", "branch"), ("r1", "tag"), ("r2", "tag")][b % 4];
        vec![
            json!({ "action": "set-snapshot-ref", "ref-name": name, "type": kind, "snapshot-id": id, "max-ref-age-ms": 9 }),
        ]
    }

    /// Not the current one: `iceberg` then leaves the table with a current snapshot that is gone, and refuses it.
    fn remove_snapshot(&self, a: usize) -> Vec<Value> {
        let id = Self::pick(self.list("snapshots"), a, "snapshot-id").and_then(Value::as_i64).unwrap_or(7);
        if id == self.number("current-snapshot-id") {
            return vec![];
        }
        vec![json!({ "action": "remove-snapshots", "snapshot-ids": [id, 5] })]
    }

    fn statistics(&self, a: usize, b: usize) -> Vec<Value> {
        let Some(id) = Self::pick(self.list("snapshots"), a, "snapshot-id") else { return vec![] };
        let mut file =
            json!({ "snapshot-id": id, "statistics-path": format!("s3://bucket/{b}"), "file-size-in-bytes": 4 });
        if b.is_multiple_of(2) {
            return vec![json!({ "action": "set-partition-statistics", "partition-statistics": file })];
        }
        file["file-footer-size-in-bytes"] = 2.into();
        file["blob-metadata"] = json!([]);
        vec![json!({ "action": "set-statistics", "statistics": file })]
    }
}

/// What `iceberg` makes of updates, or why it refuses.
fn theirs(base: &Value, updates: &[Value]) -> Result<Value, String> {
    let metadata: TableMetadata = serde_json::from_value(base.clone()).map_err(|e| format!("cannot be read: {e}"))?;
    let mut builder: TableMetadataBuilder = metadata.into_builder(Some(FILE.to_owned()));
    for update in updates {
        let update: TableUpdate = serde_json::from_value(update.clone()).map_err(|e| format!("no update: {e}"))?;
        builder = update.apply(builder).map_err(|e| e.to_string())?;
    }
    let built = builder.build().map_err(|e| e.to_string())?;
    serde_json::to_value(&built.metadata).map_err(|e| e.to_string())
}

/// Our metadata as `iceberg` reads and writes it.
fn reread(ours: &Value) -> Result<Value, String> {
    let metadata: TableMetadata = serde_json::from_value(ours.clone()).map_err(|e| format!("cannot be read: {e}"))?;
    serde_json::to_value(&metadata).map_err(|e| e.to_string())
}

/// Metadata without what cannot be compared, its lists in one order.
fn comparable(mut metadata: Value, at_ms: i64) -> Value {
    let snapshots: HashSet<i64> = ids(&metadata["snapshots"]);
    let members = metadata.as_object_mut().expect("metadata is an object");
    members.remove("metadata-log");
    for (name, id) in [
        ("schemas", "schema-id"),
        ("partition-specs", "spec-id"),
        ("sort-orders", "order-id"),
        ("snapshots", "snapshot-id"),
        ("statistics", "snapshot-id"),
        ("partition-statistics", "snapshot-id"),
    ] {
        let Some(list) = members.get_mut(name).and_then(Value::as_array_mut) else { continue };
        list.sort_by_key(|value| value[id].as_i64());
        // A removed snapshot's statistics go with it, as in Iceberg's Java library; `iceberg` keeps them.
        if name.ends_with("statistics") {
            list.retain(|file| file["snapshot-id"].as_i64().is_some_and(|id| snapshots.contains(&id)));
        }
        if list.is_empty() {
            members.remove(name);
        }
    }
    let of_the_clock = |time: &Value| time.as_i64().is_some_and(|ms| ms < at_ms + AHEAD_MS);
    for entry in members.get_mut("snapshot-log").and_then(Value::as_array_mut).into_iter().flatten() {
        if of_the_clock(&entry["timestamp-ms"]) {
            entry["timestamp-ms"] = "now".into();
        }
    }
    if of_the_clock(&members["last-updated-ms"]) {
        members.insert("last-updated-ms".to_owned(), "now".into());
    }
    metadata
}

fn ids(snapshots: &Value) -> HashSet<i64> {
    snapshots.as_array().into_iter().flatten().filter_map(|snapshot| snapshot["snapshot-id"].as_i64()).collect()
}

fn a_table(format: i64, at_ms: i64) -> Value {
    let field = |id: i64, name: &str, kind: &str| json!({ "id": id, "name": name, "required": false, "type": kind });
    let schema =
        json!({ "type": "struct", "schema-id": 0, "fields": [field(1, "id", "long"), field(2, "data", "string")] });
    let request = json!({ "name": "t", "schema": schema, "properties": { "format-version": format.to_string(), "owner": "ada" } });
    create(&request, "s3://bucket/t", UUID, at_ms).expect("a valid request")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn a_commit_makes_what_the_iceberg_crate_makes(
        format in 1_i64..4,
        commits in prop::collection::vec(prop::collection::vec((0_u8..22, 0_usize..40, 0_usize..40), 1..4), 1..20),
    ) {
        let at_ms = now_ms();
        let mut current = a_table(format, at_ms);
        let mut turn = 0;
        for choices in commits {
            let (mut updates, mut draft) = (Vec::new(), current.clone());
            for choice in choices {
                turn += 1;
                updates.extend(Table { meta: &draft, turn, at_ms }.updates(choice));
                if let Ok(applied) = apply(Some(&current), Some(FILE), &updates, at_ms) {
                    draft = applied.metadata;
                }
            }
            let ours = apply(Some(&current), Some(FILE), &updates, at_ms);
            match (ours, theirs(&current, &updates)) {
                (Ok(ours), Ok(theirs)) => {
                    let read = reread(&ours.metadata).map_err(TestCaseError::fail)?;
                    if ours.changed {
                        prop_assert_eq!(comparable(read, at_ms), comparable(theirs, at_ms), "after {:?}", updates);
                    }
                    current = ours.metadata;
                }
                (Err(_), Err(_)) => {}
                (Err(ours), Ok(_)) => prop_assert!(false, "only we refuse: {ours} {updates:?}"),
                (Ok(_), Err(theirs)) => prop_assert!(false, "only the crate refuses: {theirs} {updates:?}"),
            }
        }
    }
}
