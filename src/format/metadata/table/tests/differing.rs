//! Two states of a table and the commits between them.

use super::*;

/// Takes the steps, and says how many they were.
fn take(from: &Value, to: &Value) -> usize {
    let steps = steps(from, to).unwrap();
    let mut state = from.clone();
    for step in &steps {
        check(&step.requirements, Some(&state)).unwrap();
        state =
            apply(Some(&state), Some("s3://bucket/t/metadata/9.json"), &step.updates, NOW + 90_000).unwrap().metadata;
    }
    assert_eq!(unlike(&state, to).unwrap(), Vec::<String>::new());
    steps.len()
}

fn why_not(from: &Value, to: &Value) -> String {
    let error = steps(from, to).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Unprocessable);
    error.message().to_owned()
}

#[test]
fn states_that_are_alike_need_no_commit() {
    let state = with_history(3);
    let mut other = state.clone();
    other["last-updated-ms"] = json!(5);
    other["metadata-log"] = json!([]);
    other["snapshots"].as_array_mut().unwrap().reverse();
    other["schemas"][0]["identifier-field-ids"] = json!([]);
    other["statistics"] = Value::Null;
    assert_eq!(take(&state, &other), 0);
}

#[test]
fn one_append_is_one_commit_and_each_further_head_one_more() {
    let states: Vec<Value> = (0..5).map(with_history).collect();
    assert_eq!(take(&states[0], &states[1]), 1);
    assert_eq!(take(&states[1], &states[2]), 1);
    // for the history that time travel goes by
    assert_eq!(take(&states[1], &states[4]), 3);
}

#[test]
fn schema_spec_order_refs_statistics_properties_and_removals_are_one_commit() {
    let from = updates(
        &with_history(3),
        &[
            json!({ "action": "set-snapshot-ref", "ref-name": "old", "type": "tag", "snapshot-id": 1 }),
            json!({ "action": "set-properties", "updates": { "gone": "1", "stays": "1" } }),
        ],
    );
    let evolved = json!({ "type": "struct", "fields": [column(1, "id", "long"), column(4, "more", "string"), column(3, "ts", "timestamptz")] });
    let to = updates(
        &from,
        &[
            json!({ "action": "add-schema", "schema": evolved }),
            json!({ "action": "set-current-schema", "schema-id": -1 }),
            json!({ "action": "add-spec", "spec": { "fields": [{ "name": "d", "transform": "day", "source-id": 3 }] } }),
            json!({ "action": "set-default-spec", "spec-id": -1 }),
            json!({ "action": "add-sort-order", "sort-order": { "order-id": 1, "fields": [
                { "transform": "identity", "source-id": 1, "direction": "asc", "null-order": "nulls-first" }] } }),
            json!({ "action": "set-default-sort-order", "sort-order-id": -1 }),
            add(snapshot(4, 4, Some(3))),
            set_ref("main", 4),
            json!({ "action": "remove-snapshot-ref", "ref-name": "old" }),
            json!({ "action": "set-snapshot-ref", "ref-name": "new", "type": "tag", "snapshot-id": 2, "max-ref-age-ms": 5 }),
            json!({ "action": "remove-snapshots", "snapshot-ids": [1] }),
            json!({ "action": "set-statistics", "statistics": { "snapshot-id": 4, "statistics-path": "p", "file-size-in-bytes": 1,
                "file-footer-size-in-bytes": 1, "blob-metadata": [] } }),
            json!({ "action": "set-properties", "updates": { "new": "1" } }),
            json!({ "action": "remove-properties", "removals": ["gone"] }),
        ],
    );
    assert_eq!(take(&from, &to), 1);
}

#[test]
fn a_commit_requires_what_it_was_made_from() {
    let (from, to) = (with_history(1), with_history(2));
    let steps = steps(&from, &to).unwrap();
    let meanwhile = updates(&from, &[add(snapshot(9, 9, Some(1))), set_ref("main", 9)]);
    let error = check(&steps[0].requirements, Some(&meanwhile)).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::CommitFailed);
}

#[test]
fn ids_and_numbers_that_would_not_survive_are_refused() {
    let from = with_history(2);
    let mut to = with_history(3);
    let extra = json!({ "type": "struct", "schema-id": 7, "fields": [column(1, "id", "long")] });
    to["schemas"].as_array_mut().unwrap().push(extra);
    assert!(why_not(&from, &to).contains("schemas"));
    let mut to = with_history(3);
    to["last-sequence-number"] = json!(9);
    assert!(why_not(&from, &to).contains("last-sequence-number"));
    let mut to = with_history(3);
    to["table-uuid"] = json!("9c12d441-03fe-4693-9a96-a0705ddf69c2");
    assert!(why_not(&from, &to).contains("table-uuid"));
    let mut to = with_history(3);
    to["from-the-future"] = json!({ "a": 1 });
    assert!(why_not(&from, &to).contains("from-the-future"));
    assert!(why_not(&with_history(3), &from).contains("last-sequence-number"));
}

#[test]
fn rows_are_numbered_as_they_were_or_not_at_all() {
    let row = |id: i64, first: i64| {
        let mut snapshot = snapshot(id, id, (id > 1).then_some(id - 1));
        snapshot["first-row-id"] = json!(first);
        snapshot["added-rows"] = json!(10);
        snapshot
    };
    let states: Vec<Value> = (1..=3)
        .scan(table(3), |state, id| {
            *state = updates(state, &[add(row(id, 10 * (id - 1))), set_ref("main", id)]);
            Some(state.clone())
        })
        .collect();
    assert_eq!(take(&states[0], &states[2]), 2);
    // the second was left out, or has expired: its rows' numbers would be given again
    let pruned = updates(&states[2], &[json!({ "action": "remove-snapshots", "snapshot-ids": [2] })]);
    assert!(why_not(&states[0], &pruned).contains("next-row-id"));
}

#[test]
fn a_roll_back_has_a_time_that_no_commit_can_repeat() {
    let from = with_history(2);
    let to = updates(&from, &[set_ref("main", 1)]);
    assert!(why_not(&from, &to).contains("snapshot-log"));
}

#[test]
fn a_catalog_without_history_holds_the_current_snapshot() {
    let full = updates(
        &with_history(3),
        &[json!({ "action": "set-snapshot-ref", "ref-name": "t", "type": "tag", "snapshot-id": 1 })],
    );
    let kept = current_only(&full).unwrap();
    validate(&kept).unwrap();
    assert_eq!(kept["snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(kept["refs"], json!({ "main": { "snapshot-id": 3, "type": "branch" } }));
    // whatever came between, and back again: each is one commit
    assert_eq!(take(&current_only(&with_history(1)).unwrap(), &kept), 1);
    assert_eq!(take(&kept, &current_only(&with_history(2)).unwrap()), 1);
    assert_eq!(take(&current_only(&table(2)).unwrap(), &kept), 1);
}
