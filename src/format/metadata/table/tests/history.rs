//! Snapshots, refs and the two logs.

use super::*;
use crate::error::Kind;

#[test]
fn a_commit_adds_a_snapshot_and_moves_main() {
    let base = table(2);
    let mut first = snapshot(1, 1, None);
    first["x-unknown"] = json!({ "deep": [1, 2.50] });
    let next = updates(&base, &[add(first.clone()), set_ref("main", 1)]);
    assert_eq!(next["snapshots"], json!([first]));
    assert_eq!((&next["current-snapshot-id"], &next["last-sequence-number"]), (&json!(1), &json!(1)));
    assert_eq!(next["refs"], json!({ "main": { "type": "branch", "snapshot-id": 1 } }));
    assert_eq!(next["snapshot-log"], json!([{ "timestamp-ms": NOW + 1, "snapshot-id": 1 }]));
    assert_eq!(next["last-updated-ms"], json!(NOW + 1));
    assert_eq!(
        next["metadata-log"],
        json!([{ "timestamp-ms": NOW, "metadata-file": "s3://bucket/t/metadata/0.json" }])
    );
}

#[test]
fn a_snapshot_that_comes_too_late_is_a_conflict() {
    let base = with_history(2);
    let error = apply(Some(&base), None, &[add(snapshot(3, 2, Some(1)))], NOW).unwrap_err();
    assert_eq!(error.kind(), Kind::CommitFailed);
    assert_eq!(
        error.message(),
        "Validation failed, please retry: Cannot add snapshot with sequence number 2 older than last sequence number 2"
    );
    update(&base, add(snapshot(3, 2, None)));
    assert!(refused(&base, add(snapshot(3, 1, None))).contains("greater than last sequence number 1"));
}

#[test]
fn a_snapshot_that_is_there_or_broken_is_refused() {
    let base = with_history(1);
    assert_eq!(refused(&base, add(snapshot(1, 2, Some(1)))), "Snapshot already exists for id: 1");
    for (member, value, why) in [
        ("snapshot-id", json!("x"), "Cannot parse to a long value: snapshot-id"),
        ("timestamp-ms", Value::Null, "missing long: timestamp-ms"),
        ("manifest-list", Value::Null, "missing string: manifest-list"),
        ("summary", json!({ "operation": 1 }), "Cannot parse to a string value: operation: 1"),
        ("first-row-id", json!(-1), "cannot be negative"),
    ] {
        let mut broken = snapshot(2, 2, Some(1));
        broken[member] = value;
        let message = refused(&base, add(broken));
        assert!(message.contains(why), "{message}");
    }
    assert_eq!(refused(&table(1), add(snapshot(1, 1, None))), "Sequence number must be 0 in v1: 1");
}

#[test]
fn rows_of_version_three_are_numbered_on() {
    let rows = |id: i64, first: i64, added: i64| {
        let mut snapshot = snapshot(id, id, None);
        snapshot["first-row-id"] = first.into();
        snapshot["added-rows"] = added.into();
        snapshot
    };
    let next = update(&table(3), add(rows(1, 0, 30)));
    assert_eq!(next["next-row-id"], json!(30));
    assert_eq!(update(&next, add(rows(2, 30, 12)))["next-row-id"], json!(42));
    assert_eq!(
        refused(&next, add(rows(2, 29, 1))),
        "Validation failed, please retry: Cannot add a snapshot, first-row-id is behind table next-row-id: 29 < 30"
    );
    assert_eq!(refused(&next, add(snapshot(2, 2, None))), "Cannot add a snapshot: first-row-id is null");
    assert!(refused(&next, add(rows(2, 30, i64::MAX))).contains("too many"));
    let mut uncounted = rows(2, 30, 1);
    uncounted.as_object_mut().unwrap().shift_remove("added-rows");
    assert!(refused(&next, add(uncounted)).contains("required when first-row-id is set"));
}

#[test]
fn refs_point_to_what_is_there_with_the_retention_of_their_kind() {
    let base = with_history(2);
    let tag = json!({ "action": "set-snapshot-ref", "ref-name": "v1", "type": "TAG", "snapshot-id": 1, "max-ref-age-ms": 5, "min-snapshots-to-keep": null, "x": "kept" });
    let next = update(&base, tag.clone());
    assert_eq!(next["refs"]["v1"], json!({ "type": "tag", "snapshot-id": 1, "max-ref-age-ms": 5, "x": "kept" }));
    assert_eq!(next["snapshot-log"], base["snapshot-log"]);
    unchanged(&next, tag);
    let with = |kind: &str, member: &str, value: i64| json!({ "action": "set-snapshot-ref", "ref-name": "x", "type": kind, "snapshot-id": 1, member: value });
    for (update, why) in [
        (set_ref("x", 9), "Cannot set x to unknown snapshot: 9"),
        (with("tag", "min-snapshots-to-keep", 1), "Tags do not support setting minSnapshotsToKeep"),
        (with("tag", "max-snapshot-age-ms", 1), "Tags do not support setting maxSnapshotAgeMs"),
        (with("branch", "min-snapshots-to-keep", 0), "Min snapshots to keep must be greater than 0"),
        (with("branch", "max-ref-age-ms", 0), "Max reference age must be greater than 0"),
        (with("twig", "x", 0), "Invalid snapshot ref type: twig"),
        (
            json!({ "action": "set-snapshot-ref", "ref-name": "main", "type": "tag", "snapshot-id": 1 }),
            "main must be a branch",
        ),
    ] {
        assert!(refused(&base, update).contains(why), "{why}");
    }
}

#[test]
fn main_set_back_is_logged_now_and_removed_leaves_no_current_snapshot() {
    let base = with_history(2);
    let back = update(&base, set_ref("main", 1));
    assert_eq!(back["snapshot-log"][2], json!({ "timestamp-ms": NOW + 1, "snapshot-id": 1 }));
    let gone = update(&base, json!({ "action": "remove-snapshot-ref", "ref-name": "main" }));
    assert_eq!((&gone["current-snapshot-id"], &gone["refs"]), (&json!(-1), &json!({})));
    assert_eq!(gone["snapshot-log"], base["snapshot-log"]);
    unchanged(&gone, json!({ "action": "remove-snapshot-ref", "ref-name": "main" }));
}

#[test]
fn removed_snapshots_take_their_refs_statistics_and_older_history_along() {
    let mut base = with_history(3);
    base["statistics"] = json!([{ "snapshot-id": 2, "statistics-path": "p", "file-size-in-bytes": 1, "file-footer-size-in-bytes": 1, "blob-metadata": [] }]);
    let base = update(&base, set_ref("audit", 2));
    let next = update(&base, json!({ "action": "remove-snapshots", "snapshot-ids": [2, 99] }));
    assert_eq!(next["snapshots"].as_array().unwrap().len(), 2);
    assert_eq!(next["statistics"], json!([]));
    assert!(next["refs"].get("audit").is_none());
    assert_eq!(next["snapshot-log"], json!([{ "timestamp-ms": NOW + 3, "snapshot-id": 3 }]));
    unchanged(&next, json!({ "action": "remove-snapshots", "snapshot-ids": [2] }));
    let headless = update(&next, json!({ "action": "remove-snapshots", "snapshot-ids": [3] }));
    assert_eq!((&headless["current-snapshot-id"], &headless["snapshot-log"]), (&json!(-1), &json!([])));
    assert!(refused(&next, json!({ "action": "remove-snapshots" })).contains("snapshot-ids"));
}

#[test]
fn snapshots_that_came_and_went_in_one_commit_were_never_current() {
    let next = updates(
        &with_history(1),
        &[add(snapshot(2, 2, Some(1))), set_ref("main", 2), add(snapshot(3, 3, Some(2))), set_ref("main", 3)],
    );
    assert_eq!(next["snapshots"].as_array().unwrap().len(), 3);
    let log: Vec<_> =
        next["snapshot-log"].as_array().unwrap().iter().map(|entry| entry["snapshot-id"].to_string()).collect();
    assert_eq!(log, ["1", "3"]);
}

#[test]
fn the_metadata_log_is_bounded_and_names_what_falls_out() {
    let set = |value: &str| json!({ "action": "set-properties", "updates": { "write.metadata.previous-versions-max": value } });
    let mut base = update(&table(2), set("2"));
    for (at, falls_out) in [(1, None), (2, Some("s3://bucket/t/metadata/0.json")), (3, Some("m1"))] {
        let applied = apply(Some(&base), Some(&format!("m{at}")), &[set("2")], NOW + at).unwrap();
        assert_eq!(applied.removed_metadata_files.first().map(String::as_str), falls_out);
        base = applied.metadata;
    }
    assert_eq!(base["metadata-log"].as_array().unwrap().len(), 2);
    let applied = apply(Some(&base), Some("m4"), &[set("0")], NOW + 4).unwrap();
    assert_eq!(applied.removed_metadata_files, ["m2", "m3"]);
    assert!(refused_at(&base, set("many")).contains("must have integer value"));
}

fn refused_at(base: &Value, update: Value) -> String {
    apply(Some(base), Some("m"), &[update], NOW + 5).unwrap_err().message().to_owned()
}

#[test]
fn a_commit_from_long_before_the_last_one_is_refused() {
    let base = with_history(1);
    let mut old = snapshot(2, 2, Some(1));
    old["timestamp-ms"] = (NOW - 70_000).into();
    assert!(all_refused(&base, &[add(old), set_ref("main", 2)]).contains("Expected sorted snapshot log entries"));
    let touch = json!({ "action": "set-properties", "updates": { "a": "b" } });
    let error = apply(Some(&base), None, &[touch], NOW - 70_000).unwrap_err();
    assert!(error.message().contains("before last snapshot log entry"));
}

#[test]
fn refs_only_keeps_the_heads_of_refs_and_all_else() {
    let base = update(&with_history(4), set_ref("audit", 2));
    let few = refs_only(&base);
    let ids: Vec<_> =
        few["snapshots"].as_array().unwrap().iter().map(|snapshot| snapshot["snapshot-id"].to_string()).collect();
    assert_eq!(ids, ["2", "4"]);
    assert_eq!((&few["snapshot-log"], &few["refs"]), (&base["snapshot-log"], &base["refs"]));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&few), keys(&base));
}

#[test]
fn validation_names_what_is_wrong() {
    type Break = fn(&mut Value);
    let breaks: &[(Break, &str)] = &[
        (|t| t["format-version"] = json!(4), "unsupported version 4"),
        (|t| t["table-uuid"] = Value::Null, "missing string: table-uuid"),
        (|t| t["location"] = json!(1), "Cannot parse to a string value: location: 1"),
        (|t| t["last-column-id"] = json!("3"), "last-column-id"),
        (|t| t["current-schema-id"] = json!(7), "current-schema-id is 7, which is not listed"),
        (|t| t["default-spec-id"] = json!(7), "default-spec-id is 7, which is not listed"),
        (|t| t["schemas"][0]["fields"][1]["name"] = Value::Null, "missing string: name (in schemas[0])"),
        (|t| t["sort-orders"] = json!([]), "default-sort-order-id is 0"),
        (|t| t["snapshots"][1]["timestamp-ms"] = Value::Null, "missing long: timestamp-ms (in snapshots[1])"),
        (|t| t["snapshots"][1]["snapshot-id"] = json!(1), "snapshot 1 is listed twice"),
        (|t| t["snapshots"][1]["sequence-number"] = json!(9), "sequence number 9 greater than last sequence number 2"),
        (|t| t["current-snapshot-id"] = json!(1), "does not match main branch (1 != 2)"),
        (|t| t["current-snapshot-id"] = json!(8), "Cannot find current version"),
        (|t| t["current-snapshot-id"] = json!(-1), "Current snapshot is not set, but main branch exists"),
        (
            |t| t["refs"]["x"] = json!({ "snapshot-id": 9, "type": "tag" }),
            "Snapshot for reference x (9) does not exist",
        ),
        (|t| t["properties"]["a"] = json!(true), "Cannot parse to a string value: a: true"),
        (|t| t["metadata-log"] = json!([{}]), "metadata-log[0]"),
        (|t| *t = json!([]), "non-object value: []"),
    ];
    for (broken, why) in breaks {
        let mut table = with_history(2);
        validate(&table).unwrap();
        broken(&mut table);
        let error = validate(&table).unwrap_err();
        assert!(error.message().contains(why), "{} instead of {why}", error.message());
    }
}
