//! Whatever a client sends: nothing panics, and what is accepted is valid.

use super::*;
use proptest::prelude::*;

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (-1_i64..6).prop_map(Value::from),
        1 => prop::sample::select(vec![i64::MAX, i64::MIN, i64::from(i32::MAX), i64::from(i32::MIN)]).prop_map(Value::from),
        1 => Just(json!("x")),
        1 => Just(Value::Null),
    ]
}

fn fields() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        json!("long"),
        json!("string"),
        json!("timestamptz"),
        json!("variant"),
        json!("decimal(9, 2)"),
        json!("odd"),
        json!(5),
        json!({ "type": "list", "element-id": 5, "element": "int", "element-required": true }),
        json!({ "type": "map", "key-id": 4 }),
    ]);
    let field = (number(), prop::sample::select(vec!["id", "data", "ts", "", "new"]), kind)
        .prop_map(|(id, name, kind)| json!({ "id": id, "name": name, "required": true, "type": kind }));
    prop::collection::vec(field, 0..4).prop_map(Value::from)
}

fn derived() -> impl Strategy<Value = Value> {
    let transform =
        prop::sample::select(vec!["identity", "day", "bucket[4]", "bucket[", "truncate[-1]", "void", "odd"]);
    let field = (number(), number(), prop::sample::select(vec!["id", "p", "q", ""]), transform).prop_map(|(source, id, name, transform)| {
        json!({ "source-id": source, "field-id": id, "name": name, "transform": transform, "direction": "asc", "null-order": "nulls-first" })
    });
    prop::collection::vec(field, 0..3).prop_map(Value::from)
}

fn any_snapshot() -> impl Strategy<Value = Value> {
    (number(), number(), number(), number(), number(), 0_i64..200_000).prop_map(|(id, sequence, parent, first, added, at)| {
        json!({ "snapshot-id": id, "sequence-number": sequence, "parent-snapshot-id": parent, "timestamp-ms": NOW - 100_000 + at,
                "manifest-list": "s3://bucket/m", "first-row-id": first, "added-rows": added })
    })
}

fn any_update() -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(vec!["main", "audit", "write.metadata.previous-versions-max"]);
    let numbered = prop::sample::select(vec![
        ("set-current-schema", "schema-id"),
        ("set-default-spec", "spec-id"),
        ("set-default-sort-order", "sort-order-id"),
        ("upgrade-format-version", "format-version"),
        ("remove-statistics", "snapshot-id"),
        ("remove-partition-statistics", "snapshot-id"),
        ("remove-encryption-key", "key-id"),
        ("fold-space", "to"),
    ]);
    let listed = prop::sample::select(vec![
        ("remove-snapshots", "snapshot-ids"),
        ("remove-schemas", "schema-ids"),
        ("remove-partition-specs", "spec-ids"),
    ]);
    prop_oneof![
        3 => (numbered, number()).prop_map(|((action, member), value)| json!({ "action": action, member: value })),
        2 => (listed, prop::collection::vec(number(), 0..3)).prop_map(|((action, member), ids)| json!({ "action": action, member: ids })),
        3 => (fields(), number()).prop_map(|(fields, last)| json!({ "action": "add-schema", "last-column-id": last, "schema": { "type": "struct", "fields": fields } })),
        2 => derived().prop_map(|fields| json!({ "action": "add-spec", "spec": { "fields": fields } })),
        2 => derived().prop_map(|fields| json!({ "action": "add-sort-order", "sort-order": { "fields": fields } })),
        5 => any_snapshot().prop_map(add),
        4 => (name(), number(), prop::sample::select(vec!["branch", "tag"]))
            .prop_map(|(name, id, kind)| json!({ "action": "set-snapshot-ref", "ref-name": name, "type": kind, "snapshot-id": id })),
        1 => name().prop_map(|name| json!({ "action": "remove-snapshot-ref", "ref-name": name })),
        1 => (name(), number()).prop_map(|(name, value)| json!({ "action": "set-properties", "updates": { name: value.to_string() } })),
        1 => number().prop_map(|id| json!({ "action": "set-partition-statistics", "partition-statistics": { "snapshot-id": id, "statistics-path": "p", "file-size-in-bytes": 1 } })),
        1 => Just(json!({ "action": "assign-uuid", "uuid": UUID })),
        1 => Just(json!(null)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn random_commits_never_panic_and_leave_valid_metadata(
        format in 1_i64..4,
        commits in prop::collection::vec(prop::collection::vec(any_update(), 1..4), 1..12),
    ) {
        let mut current = table(format);
        for (at, commit) in (0_i64..).zip(&commits) {
            let Ok(applied) = apply(Some(&current), Some("s3://bucket/m.json"), commit, NOW + at) else { continue };
            prop_assert!(validate(&applied.metadata).is_ok(), "{:?} after {commit:?}", validate(&applied.metadata));
            prop_assert_eq!(applied.changed, applied.metadata != current);
            current = applied.metadata;
        }
        let _ = refs_only(&current);
        let _ = apply(None, None, &commits.concat(), NOW);
    }

    #[test]
    fn the_commits_between_two_states_make_the_second_of_the_first_or_are_refused(
        format in 1_i64..4,
        commits in prop::collection::vec(prop::collection::vec(any_update(), 1..4), 1..12),
        skipped in 1_usize..4,
    ) {
        let mut states = vec![table(format)];
        for (at, commit) in (0_i64..).zip(&commits) {
            if let Ok(applied) = apply(states.last(), Some("s3://bucket/m.json"), commit, NOW + at) {
                states.push(applied.metadata);
            }
        }
        for pair in states.windows(skipped + 1) {
            let (from, to) = (&pair[0], &pair[skipped]);
            prop_assert!(unlike(from, from).unwrap().is_empty());
            let Ok(steps) = steps(from, to) else { continue };
            let mut state = from.clone();
            for step in steps {
                prop_assert!(check(&step.requirements, Some(&state)).is_ok());
                state = apply(Some(&state), Some("s3://bucket/x.json"), &step.updates, NOW + 7_000).unwrap().metadata;
            }
            prop_assert_eq!(unlike(&state, to).unwrap(), Vec::<String>::new());
        }
    }
}
