//! The requirements of a commit.

use super::*;
use crate::error::Kind;

fn holds(current: &Value, requirement: Value) {
    check(&[requirement], Some(current)).unwrap();
}

fn conflicts(current: Option<&Value>, requirement: Value) -> String {
    let error = check(&[requirement], current).unwrap_err();
    assert_eq!(error.kind(), Kind::CommitFailed);
    error.message().to_owned()
}

#[test]
fn a_requirement_that_holds_lets_the_commit_pass() {
    let table = with_history(2);
    holds(&table, json!({ "type": "assert-table-uuid", "uuid": UUID.to_uppercase() }));
    holds(&table, json!({ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 2 }));
    holds(&table, json!({ "type": "assert-ref-snapshot-id", "ref": "audit", "snapshot-id": null }));
    holds(&table, json!({ "type": "assert-last-assigned-field-id", "last-assigned-field-id": 3 }));
    holds(&table, json!({ "type": "assert-current-schema-id", "current-schema-id": 0 }));
    holds(&table, json!({ "type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 999 }));
    holds(&table, json!({ "type": "assert-default-spec-id", "default-spec-id": 0 }));
    holds(&table, json!({ "type": "assert-default-sort-order-id", "default-sort-order-id": 0 }));
    check(&[json!({ "type": "assert-create" })], None).unwrap();
}

#[test]
fn a_requirement_that_does_not_hold_is_a_conflict_in_the_usual_words() {
    let table = with_history(2);
    let found = Some(&table);
    for (requirement, why) in [
        (json!({ "type": "assert-create" }), "table already exists".to_owned()),
        (
            json!({ "type": "assert-table-uuid", "uuid": "other" }),
            format!("UUID does not match: expected {UUID} != other"),
        ),
        (
            json!({ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 1 }),
            "branch main has changed: expected id 1 != 2".to_owned(),
        ),
        (json!({ "type": "assert-ref-snapshot-id", "ref": "main" }), "branch main was created concurrently".to_owned()),
        (
            json!({ "type": "assert-ref-snapshot-id", "ref": "x", "snapshot-id": 5 }),
            "branch or tag x is missing, expected 5".to_owned(),
        ),
        (
            json!({ "type": "assert-last-assigned-field-id", "last-assigned-field-id": 2 }),
            "last assigned field id changed: expected id 2 != 3".to_owned(),
        ),
        (
            json!({ "type": "assert-current-schema-id", "current-schema-id": 1 }),
            "current schema changed: expected id 1 != 0".to_owned(),
        ),
        (
            json!({ "type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 1 }),
            "last assigned partition id changed: expected id 1 != 999".to_owned(),
        ),
        (
            json!({ "type": "assert-default-spec-id", "default-spec-id": 1 }),
            "default partition spec changed: expected id 1 != 0".to_owned(),
        ),
        (
            json!({ "type": "assert-default-sort-order-id", "default-sort-order-id": 1 }),
            "default sort order changed: expected id 1 != 0".to_owned(),
        ),
    ] {
        assert_eq!(conflicts(found, requirement), format!("Requirement failed: {why}"));
    }
    assert!(conflicts(None, json!({ "type": "assert-table-uuid", "uuid": UUID })).contains("expected null"));
}

#[test]
fn a_requirement_we_do_not_know_is_never_passed_over() {
    let table = table(2);
    for (requirement, why) in [
        (json!({ "type": "assert-moon-phase" }), "unknown update requirement: assert-moon-phase"),
        (json!({ "type": "assert-view-uuid", "uuid": UUID }), "against a table"),
        (json!({ "type": "assert-current-schema-id" }), "missing int: current-schema-id"),
        (json!({}), "missing string: type"),
        (json!(7), "non-object value: 7"),
    ] {
        let error = check(&[requirement], Some(&table)).unwrap_err();
        assert_eq!(error.kind(), Kind::BadRequest);
        assert!(error.message().contains(why), "{}", error.message());
    }
}

#[test]
fn main_of_metadata_without_refs_is_its_current_snapshot() {
    let mut table = with_history(1);
    table.as_object_mut().unwrap().shift_remove("refs");
    holds(&table, json!({ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 1 }));
    table["current-snapshot-id"] = json!(-1);
    holds(&table, json!({ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": null }));
}
