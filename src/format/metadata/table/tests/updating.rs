//! Every update but those of snapshots and refs.

use super::*;
use crate::error::Kind;

#[test]
fn an_unknown_update_is_refused_by_name() {
    assert_eq!(
        refused(&table(2), json!({ "action": "fold-space" })),
        "Cannot apply unknown metadata update: fold-space"
    );
    assert_eq!(
        refused(&table(2), json!({ "action": "add-view-version" })),
        "Cannot apply update add-view-version to a table"
    );
    assert_eq!(refused(&table(2), json!({})), "Cannot parse missing string: action");
}

#[test]
fn what_we_do_not_know_survives_a_commit_at_its_place() {
    let text = r#"{"format-version":2,"x-first":1.50,"table-uuid":"u","location":"s3://b/t","last-sequence-number":0,
        "last-updated-ms":1700000000000,"last-column-id":1,"current-schema-id":0,
        "schemas":[{"type":"struct","schema-id":0,"x-schema":{"a":12345678901234567890123},"fields":[
            {"id":1,"name":"g","required":false,"type":"geometry(srid:4326)","x-field":[1,2]}]}],
        "default-spec-id":0,"partition-specs":[{"spec-id":0,"fields":[],"x-spec":true}],"last-partition-id":999,
        "default-sort-order-id":0,"sort-orders":[{"order-id":0,"fields":[]}],"properties":{"x.unknown":"y"},"x-last":null}"#;
    let base: Value = serde_json::from_str(text).unwrap();
    let mut next = update(&base, json!({ "action": "set-properties", "updates": { "a": "b" }, "x-extra": 1 }));
    assert_eq!(next["properties"], json!({ "x.unknown": "y", "a": "b" }));
    next["properties"] = base["properties"].clone();
    next["last-updated-ms"] = base["last-updated-ms"].clone();
    let members = next.as_object_mut().unwrap();
    assert!(members.shift_remove("metadata-log").is_some());
    assert_eq!(next.to_string(), base.to_string());
}

#[test]
fn a_uuid_is_assigned_once() {
    let base = table(2);
    unchanged(&base, json!({ "action": "assign-uuid", "uuid": UUID }));
    assert_eq!(refused(&base, json!({ "action": "assign-uuid", "uuid": "other" })), "Cannot reassign uuid");
}

#[test]
fn the_format_version_only_rises() {
    let upgrade = |format: i64| json!({ "action": "upgrade-format-version", "format-version": format });
    let one = update(&table(1), json!({ "action": "set-properties", "updates": { "a": "b" } }));
    let two = update(&one, upgrade(2));
    assert!(two.get("schema").is_none() && two.get("partition-spec").is_none());
    assert_eq!(two["last-sequence-number"], json!(0));
    let three = update(&two, upgrade(3));
    assert_eq!((&three["next-row-id"], &three["current-snapshot-id"]), (&json!(0), &Value::Null));
    unchanged(&three, upgrade(3));
    assert_eq!(refused(&three, upgrade(2)), "Cannot downgrade v3 table to v2");
    assert_eq!(refused(&three, upgrade(4)), "Cannot upgrade table to unsupported format version: v4 (supported: v3)");
}

#[test]
fn an_upgrade_gives_snapshots_of_version_1_the_number_that_later_versions_need() {
    let mut old = snapshot(1, 0, None);
    old.as_object_mut().unwrap().shift_remove("sequence-number");
    let one = updates(&table(1), &[add(old.clone()), set_ref("main", 1)]);
    assert_eq!(one["snapshots"], json!([old]));
    for format in [2, 3] {
        let upgraded = update(&one, json!({ "action": "upgrade-format-version", "format-version": format }));
        assert_eq!(upgraded["snapshots"][0]["sequence-number"], json!(0), "to version {format}");
    }
}

#[test]
fn metadata_of_the_oldest_writers_is_read_and_upgraded() {
    let base = json!({
        "format-version": 1, "location": "s3://bucket/t", "last-updated-ms": NOW, "last-column-id": 3, "schema": schema(),
        "partition-spec": [{ "name": "day", "transform": "day", "source-id": 3 }],
        "current-snapshot-id": 5, "snapshots": [{ "snapshot-id": 5, "timestamp-ms": NOW, "manifests": ["s3://bucket/m.avro"] }],
    });
    validate(&base).unwrap();
    let upgrade = json!({ "action": "upgrade-format-version", "format-version": 2 });
    assert_eq!(refused(&base, upgrade.clone()), "UUID is required in format v2");
    let next = updates(&base, &[json!({ "action": "assign-uuid", "uuid": UUID }), upgrade]);
    assert_eq!(next["partition-specs"][0]["fields"][0]["field-id"], json!(1000));
    assert_eq!(next["last-partition-id"], json!(1000));
    assert_eq!(next["refs"], json!({ "main": { "snapshot-id": 5, "type": "branch" } }));
    assert_eq!(next["schemas"][0]["schema-id"], json!(0));
}

#[test]
fn a_schema_is_added_once_and_minus_one_is_the_last() {
    let base = table(2);
    let mut wider = schema();
    wider["fields"].as_array_mut().unwrap().push(column(4, "more", "int"));
    let add = json!({ "action": "add-schema", "schema": wider });
    let next = updates(&base, &[add.clone(), json!({ "action": "set-current-schema", "schema-id": -1 })]);
    assert_eq!((&next["current-schema-id"], &next["last-column-id"]), (&json!(1), &json!(4)));
    assert_eq!(next["schemas"][1]["schema-id"], json!(1));
    unchanged(&next, add.clone());
    let back = updates(
        &next,
        &[
            json!({ "action": "add-schema", "schema": schema() }),
            json!({ "action": "set-current-schema", "schema-id": -1 }),
        ],
    );
    assert_eq!(back["current-schema-id"], json!(0));
    assert_eq!(
        refused(&base, json!({ "action": "set-current-schema", "schema-id": 5 })),
        "Cannot set current schema to unknown schema: 5"
    );
    assert_eq!(
        refused(&base, json!({ "action": "set-current-schema", "schema-id": -1 })),
        "Cannot set last added schema: no schema has been added"
    );
    let low = json!({ "action": "add-schema", "schema": schema(), "last-column-id": 2 });
    assert_eq!(update(&base, low)["last-column-id"], 3);
    let variant =
        json!({ "action": "add-schema", "schema": { "type": "struct", "fields": [column(4, "v", "variant")] } });
    assert!(refused(&base, variant.clone()).contains("variant is not supported until v3"));
    update(&table(3), variant);
}

#[test]
fn a_schema_is_removed_unless_it_is_current() {
    let base = table(2);
    let wider = json!({ "action": "add-schema", "schema": { "type": "struct", "fields": [column(4, "more", "int")] } });
    let two = update(&base, wider);
    let one = update(&two, json!({ "action": "remove-schemas", "schema-ids": [1, 8] }));
    assert_eq!(one["schemas"], base["schemas"]);
    assert_eq!(
        refused(&two, json!({ "action": "remove-schemas", "schema-ids": [0] })),
        "Cannot remove the current schema"
    );
    unchanged(&two, json!({ "action": "remove-schemas", "schema-ids": [] }));
}

fn by_day() -> Value {
    json!({ "action": "add-spec", "spec": { "fields": [{ "name": "day", "transform": "day", "source-id": 3 }] } })
}

#[test]
fn a_spec_is_added_once_and_its_fields_get_ids() {
    let base = table(2);
    let default = json!({ "action": "set-default-spec", "spec-id": -1 });
    let next = updates(&base, &[by_day(), default.clone()]);
    assert_eq!(next["default-spec-id"], json!(1));
    assert_eq!(
        next["partition-specs"][1],
        json!({ "fields": [{ "name": "day", "transform": "day", "source-id": 3, "field-id": 1000 }], "spec-id": 1 })
    );
    assert_eq!(next["last-partition-id"], json!(1000));
    unchanged(&next, by_day());
    let wider = json!({ "action": "add-spec", "spec": { "fields": [
        { "name": "day", "transform": "day", "source-id": 3 }, { "name": "bucket", "transform": "bucket[4]", "source-id": 1 } ] } });
    let wider = updates(&next, &[wider, default]);
    assert_eq!(wider["partition-specs"][2]["fields"][0]["field-id"], json!(1000));
    assert_eq!(wider["last-partition-id"], json!(1001));
}

#[test]
fn a_spec_that_does_not_fit_is_refused() {
    let base = table(2);
    let spec = |fields: Value| json!({ "action": "add-spec", "spec": { "fields": fields } });
    for (update, why) in [
        (
            spec(json!([{ "name": "x", "transform": "day", "source-id": 9, "field-id": 1000 }])),
            "Cannot find source column for partition field: 1000: x: day(9)",
        ),
        (
            spec(json!([{ "name": "x", "transform": "day", "source-id": 2 }])),
            "Invalid source type string for transform: day",
        ),
        (
            spec(
                json!([{ "name": "x", "transform": "day", "source-id": 3 }, { "name": "x", "transform": "hour", "source-id": 3 }]),
            ),
            "more than once: x",
        ),
        (
            spec(
                json!([{ "name": "x", "transform": "day", "source-id": 3, "field-id": 1000 }, { "name": "y", "transform": "hour", "source-id": 3, "field-id": 1000 }]),
            ),
            "field id 1000 is used twice",
        ),
        (json!({ "action": "set-default-spec", "spec-id": 4 }), "unknown spec: 4"),
        (json!({ "action": "set-default-spec", "spec-id": -1 }), "Cannot set last added spec: no spec has been added"),
        (json!({ "action": "remove-partition-specs", "spec-ids": [0] }), "Cannot remove the default partition spec"),
    ] {
        let message = refused(&base, update);
        assert!(message.contains(why), "{message}");
    }
    let gaps = spec(json!([{ "name": "x", "transform": "day", "source-id": 3, "field-id": 1005 }]));
    update(&base, gaps.clone());
    assert!(refused(&table(1), gaps).starts_with("Spec does not use sequential IDs that are required in v1"));
}

#[test]
fn a_schema_that_lacks_what_the_default_spec_or_order_needs_is_refused() {
    let narrow = [
        json!({ "action": "add-schema", "schema": { "type": "struct", "fields": [column(1, "id", "long")] } }),
        json!({ "action": "set-current-schema", "schema-id": -1 }),
    ];
    let by_day = updates(&table(2), &[by_day(), json!({ "action": "set-default-spec", "spec-id": -1 })]);
    assert!(all_refused(&by_day, &narrow).contains("Cannot find source column for partition field: 1000: day: day(3)"));
    let sorted = updates(&table(2), &[sort_by(2), json!({ "action": "set-default-sort-order", "sort-order-id": -1 })]);
    assert_eq!(all_refused(&sorted, &narrow), "Cannot find source column for sort field: identity(2) ASC NULLS LAST");
    updates(&table(2), &narrow);
    let clash = [
        json!({ "action": "add-schema", "schema": { "type": "struct", "fields": [column(3, "ts", "timestamptz"), column(4, "day", "int")] } }),
        json!({ "action": "set-current-schema", "schema-id": -1 }),
    ];
    assert!(all_refused(&by_day, &clash).contains("partition sourced from different field in schema: day"));
}

#[test]
fn a_spec_is_removed_unless_it_is_the_default() {
    let two = update(&table(2), by_day());
    let one = update(&two, json!({ "action": "remove-partition-specs", "spec-ids": [1] }));
    assert_eq!(one["partition-specs"], json!([{ "spec-id": 0, "fields": [] }]));
    assert_eq!(one["last-partition-id"], json!(1000));
}

fn sort_by(source: i64) -> Value {
    json!({ "action": "add-sort-order", "sort-order": { "order-id": 1, "fields": [
        { "transform": "identity", "source-id": source, "direction": "asc", "null-order": "nulls-last" } ] } })
}

#[test]
fn a_sort_order_is_added_once_and_minus_one_is_the_last() {
    let default = json!({ "action": "set-default-sort-order", "sort-order-id": -1 });
    let next = updates(&table(2), &[sort_by(2), default.clone()]);
    assert_eq!(next["default-sort-order-id"], json!(1));
    unchanged(&next, sort_by(2));
    let other = updates(&next, &[sort_by(1), default.clone()]);
    assert_eq!(other["sort-orders"][2]["order-id"], json!(2));
    let unsorted = updates(
        &other,
        &[json!({ "action": "add-sort-order", "sort-order": { "order-id": 0, "fields": [] } }), default],
    );
    assert_eq!(unsorted["default-sort-order-id"], json!(0));
    for (update, why) in [
        (sort_by(9), "Cannot find source column for sort field"),
        (
            json!({ "action": "add-sort-order", "sort-order": { "order-id": 3, "fields": [] } }),
            "Unsorted order ID must be 0",
        ),
        (json!({ "action": "set-default-sort-order", "sort-order-id": 7 }), "unknown sort order: 7"),
        (json!({ "action": "set-default-sort-order", "sort-order-id": -1 }), "Cannot set last added sort order"),
        (
            json!({ "action": "add-sort-order", "sort-order": { "order-id": 1, "fields": [
            { "transform": "identity", "source-id": 1, "direction": "up", "null-order": "nulls-last" } ] } }),
            "Invalid sort direction: up",
        ),
    ] {
        let message = refused(&next, update);
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn location_and_properties_are_set_and_removed() {
    let base = table(2);
    unchanged(&base, json!({ "action": "set-location", "location": "s3://bucket/t/" }));
    assert_eq!(
        update(&base, json!({ "action": "set-location", "location": "s3://bucket/u" }))["location"],
        json!("s3://bucket/u")
    );
    assert!(refused(&base, json!({ "action": "set-location" })).contains("missing string: location"));
    let next = update(&base, json!({ "action": "set-properties", "updated": { "a": "1", "b": "2" } }));
    let next = update(&next, json!({ "action": "remove-properties", "removals": ["a", "never"] }));
    assert_eq!(next["properties"]["b"], json!("2"));
    assert!(next["properties"].get("a").is_none());
    unchanged(&base, json!({ "action": "set-properties", "updates": {} }));
    unchanged(&base, json!({ "action": "remove-properties", "removals": [] }));
    assert_eq!(
        refused(&base, json!({ "action": "set-properties", "updates": { "a": 1 } })),
        "Cannot parse to a string value: a: 1"
    );
    assert!(refused(&base, json!({ "action": "remove-properties", "removals": [1] })).contains("removals"));
}

#[test]
fn a_snapshot_has_one_statistics_file_of_each_kind() {
    let base = with_history(1);
    for (list, set, remove) in [
        ("statistics", "set-statistics", "remove-statistics"),
        ("partition-statistics", "set-partition-statistics", "remove-partition-statistics"),
    ] {
        let file = |path: &str| json!({ "snapshot-id": 1, "statistics-path": path, "file-size-in-bytes": 5, "file-footer-size-in-bytes": 2, "blob-metadata": [], "x": 1 });
        let one = update(&base, json!({ "action": set, list: file("s3://bucket/a") }));
        let two = update(&one, json!({ "action": set, list: file("s3://bucket/b") }));
        assert_eq!(two[list], json!([file("s3://bucket/b")]));
        assert_eq!(update(&two, json!({ "action": remove, "snapshot-id": 1 }))[list], json!([]));
        unchanged(&two, json!({ "action": remove, "snapshot-id": 2 }));
        assert!(refused(&base, json!({ "action": set, list: { "snapshot-id": 1 } })).contains("statistics-path"));
        assert!(refused(&base, json!({ "action": remove })).contains("snapshot-id"));
    }
}

#[test]
fn an_encryption_key_is_added_once_and_removed() {
    let base = table(3);
    let key = json!({ "key-id": "k", "encrypted-key-metadata": "AAAA", "encrypted-by-id": "kms" });
    let add = json!({ "action": "add-encryption-key", "encryption-key": key });
    let next = update(&base, add.clone());
    assert_eq!(next["encryption-keys"], json!([key]));
    unchanged(&next, add);
    assert_eq!(
        update(&next, json!({ "action": "remove-encryption-key", "key-id": "k" }))["encryption-keys"],
        json!([])
    );
    unchanged(&next, json!({ "action": "remove-encryption-key", "key-id": "other" }));
    assert!(refused(&base, json!({ "action": "add-encryption-key", "encryption-key": {} })).contains("key-id"));
    assert!(refused(&base, json!({ "action": "remove-encryption-key" })).contains("key-id"));
}

#[test]
fn a_broken_base_is_no_fault_of_the_client() {
    let mut base = table(2);
    base.as_object_mut().unwrap().shift_remove("last-column-id");
    let error = apply(Some(&base), None, &[], NOW).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (Kind::Internal, "the table's metadata is not valid: Cannot parse missing int: last-column-id")
    );
}
