//! Creating a table.

use super::*;

#[test]
fn a_new_table_has_every_member_in_the_usual_order() {
    let table = table(2);
    let names: Vec<&str> = table.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "format-version",
            "table-uuid",
            "location",
            "last-sequence-number",
            "last-updated-ms",
            "last-column-id",
            "current-schema-id",
            "schemas",
            "default-spec-id",
            "partition-specs",
            "last-partition-id",
            "default-sort-order-id",
            "sort-orders",
            "properties",
            "current-snapshot-id",
            "refs",
            "snapshots",
            "statistics",
            "partition-statistics",
            "snapshot-log",
            "metadata-log",
        ]
    );
    assert_eq!(table["current-snapshot-id"], json!(-1));
    assert_eq!(table["last-partition-id"], json!(999));
    assert_eq!(table["sort-orders"], json!([{ "order-id": 0, "fields": [] }]));
    assert_eq!(table["properties"], json!({ "write.parquet.compression-codec": "zstd" }));
    validate(&table).unwrap();
}

#[test]
fn each_format_version_has_its_own_members() {
    let one = table(1);
    assert_eq!(one["schema"], one["schemas"][0]);
    assert_eq!(one["partition-spec"], json!([]));
    assert!(one.get("last-sequence-number").is_none());
    let three = table(3);
    assert_eq!(three["next-row-id"], json!(0));
    assert_eq!(three["current-snapshot-id"], Value::Null);
    assert!(three.get("schema").is_none());
    for table in [one, three] {
        validate(&table).unwrap();
    }
}

#[test]
fn spec_and_order_follow_the_columns_to_their_fresh_ids() {
    let request = json!({
        "name": "t",
        "schema": { "type": "struct", "schema-id": 4, "identifier-field-ids": [30], "fields": [
            { "id": 10, "name": "where", "required": true, "type": { "type": "struct", "fields": [column(20, "lat", "double")] } },
            { "id": 30, "name": "id", "required": true, "type": "long" },
            column(40, "ts", "timestamptz") ] },
        "partition-spec": { "spec-id": 7, "fields": [
            { "name": "ts_day", "transform": "day", "source-id": 40, "field-id": 1234, "x-hint": "kept" },
            { "name": "id", "transform": "identity", "source-id": 30 } ] },
        "write-order": { "order-id": 9, "fields": [
            { "transform": "identity", "source-id": 20, "direction": "asc", "null-order": "nulls-first" } ] },
        "properties": { "format-version": "2", "owner": "me", "uuid": "x", "write.parquet.compression-codec": "gzip" },
    });
    let table = create(&request, "s3://bucket/t/", UUID, NOW).unwrap();
    assert_eq!(table["last-column-id"], json!(4));
    assert_eq!(table["schemas"][0]["identifier-field-ids"], json!([2]));
    assert_eq!(
        table["partition-specs"],
        json!([{ "spec-id": 0, "fields": [
            { "name": "ts_day", "transform": "day", "source-id": 3, "field-id": 1000, "x-hint": "kept" },
            { "name": "id", "transform": "identity", "source-id": 2, "field-id": 1001 } ] }])
    );
    assert_eq!(table["last-partition-id"], json!(1001));
    assert_eq!(table["default-sort-order-id"], json!(1));
    assert_eq!(table["sort-orders"][0]["fields"][0]["source-id"], json!(4));
    assert_eq!(table["properties"], json!({ "owner": "me", "write.parquet.compression-codec": "gzip" }));
    assert_eq!(table["location"], json!("s3://bucket/t"));
}

#[test]
fn a_request_that_contradicts_itself_is_refused() {
    let spec = |field: Value| json!({ "schema": schema(), "partition-spec": { "fields": [field] } });
    let property = |name: &str, value: &str| json!({ "schema": schema(), "properties": { name: value } });
    for (request, why) in [
        (json!({ "name": "t" }), "Cannot parse missing field: schema"),
        (
            spec(json!({ "name": "x", "transform": "identity", "source-id": 9 })),
            "Cannot find source column for partition field: null: x: identity(9)",
        ),
        (
            spec(json!({ "name": "x", "transform": "hour", "source-id": 2 })),
            "Invalid source type string for transform: hour",
        ),
        (
            spec(json!({ "name": "data", "transform": "day", "source-id": 3 })),
            "Cannot create identity partition sourced from different field in schema: data",
        ),
        (spec(json!({ "name": "", "transform": "day", "source-id": 3 })), "Cannot use empty or null partition name"),
        (property("format-version", "4"), "Unsupported format version: v4 (supported: v3)"),
        (
            property("commit.retry.num-retries", "-1"),
            "Table property commit.retry.num-retries must have non negative integer value",
        ),
        (property("write.metadata.metrics.column.nope", "full"), "could not find column nope"),
        (json!({ "schema": schema(), "properties": { "a": 1 } }), "Cannot parse to a string value: a: 1"),
    ] {
        let error = create(&request, "s3://bucket/t", UUID, NOW).unwrap_err();
        assert!(error.message().contains(why), "{}", error.message());
    }
}

#[test]
fn a_staged_create_is_finished_by_its_updates_alone() {
    let changes = [
        json!({ "action": "assign-uuid", "uuid": UUID }),
        json!({ "action": "upgrade-format-version", "format-version": 1 }),
        json!({ "action": "add-schema", "schema": schema(), "last-column-id": 3 }),
        json!({ "action": "set-current-schema", "schema-id": -1 }),
        json!({ "action": "add-spec", "spec": { "spec-id": 0, "fields": [{ "name": "day", "transform": "day", "source-id": 3, "field-id": 1000 }] } }),
        json!({ "action": "set-default-spec", "spec-id": -1 }),
        json!({ "action": "add-sort-order", "sort-order": { "order-id": 0, "fields": [] } }),
        json!({ "action": "set-default-sort-order", "sort-order-id": -1 }),
        json!({ "action": "set-location", "location": "s3://bucket/t/" }),
        json!({ "action": "set-properties", "updates": { "a": "b" } }),
    ];
    let applied = apply(None, None, &changes, NOW).unwrap();
    assert!(applied.changed);
    validate(&applied.metadata).unwrap();
    assert_eq!(applied.metadata["format-version"], json!(1));
    assert_eq!(applied.metadata["partition-spec"][0]["name"], json!("day"));
    assert_eq!(applied.metadata["metadata-log"], json!([]));
    for (left_out, why) in [
        (0, "UUID is required"),
        (2, "Cannot set last added schema"),
        (4, "Cannot set last added spec"),
        (8, "no location"),
    ] {
        let some: Vec<Value> =
            changes.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, update)| update.clone()).collect();
        let error = apply(None, None, &some, NOW).unwrap_err();
        assert!(error.message().contains(why), "{}", error.message());
    }
}
