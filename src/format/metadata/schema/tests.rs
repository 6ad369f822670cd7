//! Schemas: what is accepted, what is refused and why, and how ids are given.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

fn nested() -> Value {
    json!({
        "type": "struct", "schema-id": 7, "identifier-field-ids": [10], "x-note": "kept",
        "fields": [
            { "id": 10, "name": "id", "required": true, "type": "long", "x-mask": true },
            { "id": 20, "name": "points", "required": false, "type": {
                "type": "list", "element-id": 30, "element-required": true,
                "element": { "type": "struct", "fields": [
                    { "id": 31, "name": "x", "required": true, "type": "double" },
                    { "id": 32, "name": "y", "required": true, "type": "double" } ] } } },
            { "id": 40, "name": "tags", "required": false, "type": {
                "type": "map", "key-id": 41, "key": "string", "value-id": 42, "value": "string", "value-required": false } },
            { "id": 50, "name": "data", "required": false, "type": "variant" },
        ]
    })
}

#[test]
fn fresh_ids_go_level_by_level_and_keep_what_is_unknown() {
    let fresh = assign_fresh_ids(&nested()).unwrap();
    assert_eq!(fresh.last_column_id, 9);
    assert_eq!(fresh.schema["schema-id"], json!(0));
    assert_eq!(fresh.schema["x-note"], json!("kept"));
    assert_eq!(fresh.schema["identifier-field-ids"], json!([1]));
    let fields = &fresh.schema["fields"];
    assert_eq!(fields[0]["x-mask"], json!(true));
    assert_eq!((&fields[1]["id"], &fields[2]["id"], &fields[3]["id"]), (&json!(2), &json!(3), &json!(4)));
    assert_eq!(fields[1]["type"]["element-id"], json!(5));
    assert_eq!(fields[1]["type"]["element"]["fields"][1]["id"], json!(7));
    assert_eq!((&fields[2]["type"]["key-id"], &fields[2]["type"]["value-id"]), (&json!(8), &json!(9)));
    assert_eq!(fresh.new_ids[&32], 7);
}

#[test]
fn columns_know_their_full_names_and_parents() {
    let schema = nested();
    let columns = Columns::of(&schema).unwrap();
    assert_eq!(columns.id_of("points.element.x"), Some(31));
    assert_eq!(columns.highest_id(), 50);
    let parents: Vec<_> = columns.parents(columns.get(31).unwrap()).map(|column| column.name.as_str()).collect();
    assert_eq!(parents, ["points.element", "points"]);
}

#[test]
fn types_of_a_newer_format_are_refused_by_name() {
    let schema = nested();
    let columns = Columns::of(&schema).unwrap();
    assert!(columns.check_format(3).is_ok());
    let error = columns.check_format(2).unwrap_err();
    assert_eq!(error.message(), "Invalid schema for v2:\n- Invalid type for data: variant is not supported until v3");
    let schema = json!({ "type": "struct", "fields": [{ "id": 1, "name": "a", "required": false, "type": "int", "initial-default": 5 }] });
    let error = Columns::of(&schema).unwrap().check_format(2).unwrap_err();
    assert!(error.message().contains("Invalid initial default for a: non-null default (5) is not supported until v3"));
}

#[test]
fn a_type_nobody_has_heard_of_passes() {
    let schema = json!({ "type": "struct", "fields": [
        { "id": 1, "name": "a", "required": false, "type": "quaternion" },
        { "id": 2, "name": "b", "required": false, "type": { "type": "tensor", "shape": [2, 2] } } ] });
    assert!(Columns::of(&schema).unwrap().check_format(1).is_ok());
}

#[test]
fn an_identifier_field_must_be_a_required_primitive_that_is_no_float_in_required_structs() {
    let mut schema = nested();
    for (id, why) in [
        (99, "field does not exist"),
        (20, "not a primitive type field"),
        (31, "must not be float or double field"),
        (42, "not a required field"),
        (41, "must not be nested in tags"),
    ] {
        schema["identifier-field-ids"] = json!([id]);
        let error = Columns::of(&schema).err().unwrap();
        assert!(error.message().contains(why), "{}", error.message());
    }
}

#[test]
fn names_and_ids_given_twice_are_refused() {
    let field = |id: i64, name: &str| json!({ "id": id, "name": name, "required": false, "type": "int" });
    let schema = json!({ "type": "struct", "fields": [field(1, "a"), field(2, "a")] });
    assert_eq!(Columns::of(&schema).err().unwrap().message(), "Invalid schema: multiple fields for name a: 1 and 2");
    let schema = json!({ "type": "struct", "fields": [field(1, "a"), field(1, "b")] });
    assert_eq!(Columns::of(&schema).err().unwrap().message(), "Invalid schema: field id 1 is used by both a and b");
}

#[test]
fn schemas_are_the_same_whatever_their_own_ids() {
    let one = nested();
    assert!(same_schema(&one, &with_id(one.clone(), 3)));
    let mut two = one.clone();
    two["fields"][0]["doc"] = json!("new");
    assert!(!same_schema(&one, &two));
    assert_eq!(reuse_or_next_id(std::slice::from_ref(&one), &two, 0).unwrap(), (8, false));
    assert_eq!(reuse_or_next_id(std::slice::from_ref(&one), &one, 0).unwrap(), (7, true));
}
