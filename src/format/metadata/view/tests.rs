//! Views through the doors that callers use: create, check, apply, validate.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;
const UUID: &str = "9c12d441-03fe-4693-9a96-a0705ddf69c1";

fn schema(column: &str) -> Value {
    json!({ "type": "struct", "schema-id": 5, "fields": [{ "id": 1, "name": column, "required": false, "type": "long" }] })
}

fn version(id: i64, dialects: &[&str], sql: &str) -> Value {
    let sql: Vec<Value> =
        dialects.iter().map(|dialect| json!({ "type": "sql", "sql": sql, "dialect": dialect })).collect();
    json!({ "version-id": id, "timestamp-ms": NOW + id, "schema-id": 0, "summary": { "engine-name": "x" },
            "default-namespace": ["ns"], "representations": sql, "x-version": 1 })
}

fn view() -> Value {
    let request = json!({
        "name": "v", "schema": schema("id"), "view-version": version(7, &["spark"], "select 1"),
        "properties": { "comment": "c" },
    });
    create(&request, "s3://bucket/v", UUID, NOW).unwrap()
}

fn updates(base: &Value, updates: &[Value]) -> Value {
    let applied = apply(Some(base), updates, NOW + 100).unwrap();
    validate(&applied.metadata).unwrap();
    applied.metadata
}

fn refused(base: &Value, updates: &[Value]) -> String {
    apply(Some(base), updates, NOW + 100).unwrap_err().message().to_owned()
}

fn add(version: Value) -> Value {
    json!({ "action": "add-view-version", "view-version": version })
}

fn current(id: i64) -> Value {
    json!({ "action": "set-current-view-version", "view-version-id": id })
}

#[test]
fn a_new_view_has_version_one_of_schema_zero() {
    let view = view();
    validate(&view).unwrap();
    let mut first = version(1, &["spark"], "select 1");
    first["timestamp-ms"] = json!(NOW + 7);
    assert_eq!(
        view,
        json!({
            "view-uuid": UUID, "format-version": 1, "location": "s3://bucket/v", "properties": { "comment": "c" },
            "schemas": [{ "type": "struct", "schema-id": 0, "fields": [{ "id": 1, "name": "id", "required": false, "type": "long" }] }],
            "current-version-id": 1, "versions": [first],
            "version-log": [{ "timestamp-ms": NOW + 7, "version-id": 1 }],
        })
    );
    let names: Vec<&str> = view.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names[..3], ["view-uuid", "format-version", "location"]);
}

#[test]
fn a_create_request_without_what_a_view_needs_is_refused() {
    let whole = json!({ "schema": schema("id"), "view-version": version(1, &["spark"], "select 1") });
    for (left_out, why) in [("schema", "missing field: schema"), ("view-version", "missing field: view-version")] {
        let mut request = whole.clone();
        request.as_object_mut().unwrap().shift_remove(left_out);
        assert!(create(&request, "s3://bucket/v", UUID, NOW).unwrap_err().message().contains(why));
    }
    let mut twice = whole;
    twice["view-version"] = version(1, &["spark", "SPARK"], "select 1");
    let error = create(&twice, "s3://bucket/v", UUID, NOW).unwrap_err();
    assert_eq!(error.message(), "Invalid view version: Cannot add multiple queries for dialect spark");
}

#[test]
fn a_requirement_is_checked_or_refused() {
    let view = view();
    check(&[json!({ "type": "assert-view-uuid", "uuid": UUID.to_uppercase() })], Some(&view)).unwrap();
    check(&[json!({ "type": "assert-create" })], None).unwrap();
    let conflict = |requirement: Value| check(&[requirement], Some(&view)).unwrap_err();
    let error = conflict(json!({ "type": "assert-view-uuid", "uuid": "x" }));
    assert_eq!(error.kind(), Kind::CommitFailed);
    assert_eq!(error.message(), format!("Requirement failed: view UUID does not match: expected {UUID} != x"));
    assert_eq!(conflict(json!({ "type": "assert-create" })).kind(), Kind::CommitFailed);
    assert_eq!(conflict(json!({ "type": "assert-table-uuid", "uuid": UUID })).kind(), Kind::BadRequest);
}

#[test]
fn a_replacement_adds_a_version_and_an_entry_to_the_log() {
    let next = updates(
        &view(),
        &[
            json!({ "action": "add-schema", "schema": schema("other") }),
            add({
                let mut version = version(1, &["spark", "trino"], "select 2");
                version["schema-id"] = json!(-1);
                version
            }),
            current(-1),
        ],
    );
    assert_eq!(next["current-version-id"], json!(2));
    assert_eq!(next["versions"][1]["schema-id"], json!(1));
    assert_eq!(next["versions"][1]["x-version"], json!(1));
    assert_eq!(next["version-log"][1], json!({ "timestamp-ms": NOW + 1, "version-id": 2 }));
}

#[test]
fn an_equal_version_and_an_equal_schema_are_used_again() {
    let base = view();
    let applied = apply(
        Some(&base),
        &[
            json!({ "action": "add-schema", "schema": schema("id") }),
            add(version(4, &["spark"], "select 1")),
            current(-1),
        ],
        NOW,
    )
    .unwrap();
    assert!(!applied.changed);
    assert_eq!(applied.metadata, base);
    let two = updates(&base, &[add(version(1, &["spark"], "select 2")), current(-1)]);
    let back = updates(&two, &[add(version(9, &["spark"], "select 1")), current(-1)]);
    assert_eq!(back["current-version-id"], json!(1));
    assert_eq!(back["version-log"][2], json!({ "timestamp-ms": NOW + 100, "version-id": 1 }));
}

#[test]
fn a_dialect_is_not_lost_unless_the_view_allows_it() {
    let replace = [add(version(2, &["trino"], "select 1")), current(-1)];
    assert_eq!(
        refused(&view(), &replace),
        "Cannot replace view due to loss of view dialects (replace.drop-dialect.allowed=false):\nPrevious dialects: [spark]\nNew dialects: [trino]"
    );
    let allow = json!({ "action": "set-properties", "updates": { "replace.drop-dialect.allowed": "true" } });
    updates(&view(), &[vec![allow], replace.to_vec()].concat());
}

#[test]
fn old_versions_expire_but_never_the_current_one() {
    let keep = |count: &str| json!({ "action": "set-properties", "updates": { "version.history.num-entries": count } });
    let mut base = updates(&view(), &[keep("2")]);
    for at in 2..5 {
        base = updates(&base, &[add(version(at, &["spark"], &format!("select {at}"))), current(-1)]);
    }
    let ids = |view: &Value, list: &str| -> Vec<i64> {
        view[list].as_array().unwrap().iter().map(|entry| entry["version-id"].as_i64().unwrap()).collect()
    };
    assert_eq!((ids(&base, "versions"), ids(&base, "version-log")), (vec![3, 4], vec![3, 4]));
    let back = updates(&base, &[current(3)]);
    let one = updates(&back, &[keep("1")]);
    assert_eq!((ids(&one, "versions"), ids(&one, "version-log")), (vec![3], vec![3]));
    assert_eq!(refused(&base, &[keep("0")]), "version.history.num-entries must be positive but was 0");
}

#[test]
fn every_other_update_is_applied_or_refused() {
    let base = view();
    let mut next = updates(
        &base,
        &[
            json!({ "action": "assign-uuid", "uuid": UUID }),
            json!({ "action": "upgrade-format-version", "format-version": 1 }),
            json!({ "action": "set-location", "location": "s3://bucket/w" }),
            json!({ "action": "set-properties", "updated": { "a": "b" } }),
            json!({ "action": "remove-properties", "removals": ["comment"] }),
        ],
    );
    assert_eq!((&next["location"], &next["properties"]), (&json!("s3://bucket/w"), &json!({ "a": "b" })));
    next["x-unknown"] = json!(1.50);
    assert_eq!(
        updates(&next, &[json!({ "action": "set-location", "location": "s3://bucket/v" })])["x-unknown"],
        json!(1.50)
    );
    for (update, why) in [
        (json!({ "action": "assign-uuid", "uuid": "x" }), "Cannot reassign uuid"),
        (json!({ "action": "upgrade-format-version", "format-version": 2 }), "Unsupported format version: 2"),
        (json!({ "action": "upgrade-format-version", "format-version": 0 }), "Cannot downgrade v1 view to v0"),
        (json!({ "action": "set-location" }), "missing string: location"),
        (json!({ "action": "set-properties", "updates": { "a": 1 } }), "Cannot parse to a string value: a: 1"),
        (json!({ "action": "remove-properties" }), "missing list: removals"),
        (json!({ "action": "add-schema", "schema": {} }), "missing string: type"),
        (add(json!({})), "missing int: schema-id"),
        (
            add({
                let mut version = version(2, &["spark"], "x");
                version["schema-id"] = json!(4);
                version
            }),
            "Cannot add version with unknown schema: 4",
        ),
        (
            add({
                let mut version = version(2, &["spark"], "x");
                version["schema-id"] = json!(-1);
                version
            }),
            "Cannot set last added schema",
        ),
        (current(9), "Cannot set current version to unknown version: 9"),
        (current(-1), "Cannot set last version id"),
        (json!({ "action": "add-snapshot" }), "Cannot apply update add-snapshot to a view"),
    ] {
        let message = refused(&base, &[update]);
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn validation_names_what_is_wrong() {
    for (member, value, why) in [
        ("format-version", json!(2), "Unsupported format version: 2"),
        ("view-uuid", Value::Null, "missing string: view-uuid"),
        ("current-version-id", json!(5), "Cannot find current version 5"),
        ("versions", json!([]), "Cannot find current version 1"),
        ("schemas", json!([]), "unknown schema: 0"),
        ("version-log", json!([{}]), "timestamp-ms"),
    ] {
        let mut view = view();
        view[member] = value;
        let error = validate(&view).unwrap_err();
        assert!(error.message().contains(why), "{}", error.message());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn random_commits_never_panic_and_leave_valid_metadata(
        commits in prop::collection::vec(prop::collection::vec((0..5, -1_i64..6), 1..4), 1..20),
    ) {
        let mut view = view();
        for commit in commits {
            let commit: Vec<Value> = commit.into_iter().map(|(kind, number)| match kind {
                0 => add(version(number, &["spark"], &format!("select {number}"))),
                1 => current(number),
                2 => json!({ "action": "set-properties", "updates": { "version.history.num-entries": number.to_string() } }),
                3 => json!({ "action": "add-schema", "schema": schema(&number.to_string()) }),
                _ => json!({ "action": "remove-properties", "removals": ["version.history.num-entries"] }),
            }).collect();
            let Ok(applied) = apply(Some(&view), &commit, NOW) else { continue };
            prop_assert!(validate(&applied.metadata).is_ok());
            view = applied.metadata;
        }
    }
}
