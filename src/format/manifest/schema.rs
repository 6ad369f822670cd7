//! The Avro schemas of manifests and manifest lists, by format version.
//!
//! Names, ids, order and optionality as Iceberg 1.11 (Java) writes them, so that positional readers agree too.

use serde_json::{Map, Value as Json, json};

use super::{FormatVersion, PartitionField};

/// `manifest_entry`, for one partition spec.
pub(super) fn manifest_entry(version: FormatVersion, spec: &[PartitionField]) -> String {
    let mut fields = vec![required("status", 0, json!("int"))];
    fields.push(optional("snapshot_id", 1, json!("long")));
    if version >= FormatVersion::V2 {
        fields.push(optional("sequence_number", 3, json!("long")));
        fields.push(optional("file_sequence_number", 4, json!("long")));
    }
    fields.push(required("data_file", 2, record("r2", data_file(version, spec))));
    record("manifest_entry", fields).to_string()
}

fn data_file(version: FormatVersion, spec: &[PartitionField]) -> Vec<Json> {
    let mut fields = Vec::new();
    if version >= FormatVersion::V2 {
        fields.push(required("content", 134, json!("int")));
    }
    fields.extend([
        required("file_path", 100, json!("string")),
        required("file_format", 101, json!("string")),
        required("partition", 102, record("r102", partition(spec))),
        required("record_count", 103, json!("long")),
        required("file_size_in_bytes", 104, json!("long")),
    ]);
    if version == FormatVersion::V1 {
        fields.push(required("block_size_in_bytes", 105, json!("long")));
    }
    fields.extend([
        optional("column_sizes", 108, map(117, 118, "long")),
        optional("value_counts", 109, map(119, 120, "long")),
        optional("null_value_counts", 110, map(121, 122, "long")),
        optional("nan_value_counts", 137, map(138, 139, "long")),
        optional("lower_bounds", 125, map(126, 127, "bytes")),
        optional("upper_bounds", 128, map(129, 130, "bytes")),
        optional("key_metadata", 131, json!("bytes")),
        optional("split_offsets", 132, array(133, json!("long"))),
    ]);
    if version >= FormatVersion::V2 {
        fields.push(optional("equality_ids", 135, array(136, json!("int"))));
    }
    fields.push(optional("sort_order_id", 140, json!("int")));
    if version >= FormatVersion::V3 {
        fields.push(optional("first_row_id", 142, json!("long")));
    }
    if version >= FormatVersion::V2 {
        fields.push(optional("referenced_data_file", 143, json!("string")));
    }
    if version >= FormatVersion::V3 {
        fields.push(optional("content_offset", 144, json!("long")));
        fields.push(optional("content_size_in_bytes", 145, json!("long")));
    }
    fields
}

fn partition(spec: &[PartitionField]) -> Vec<Json> {
    let mut defined: Vec<String> = Vec::new();
    let mut fields = Vec::new();
    for field in spec {
        let (schema, name) = field.value_type.avro();
        let schema = match name {
            Some(name) if defined.contains(&name) => json!(name),
            Some(name) => {
                defined.push(name);
                schema
            }
            None => schema,
        };
        let name = avro_name(&field.name);
        let mut column = optional(&name, field.field_id, schema);
        if name != field.name {
            column["iceberg-field-name"] = json!(field.name);
        }
        fields.push(column);
    }
    fields
}

/// `manifest_file`: the lines of a manifest list.
pub(super) fn manifest_file(version: FormatVersion) -> String {
    let mut fields = vec![
        required("manifest_path", 500, json!("string")),
        required("manifest_length", 501, json!("long")),
        required("partition_spec_id", 502, json!("int")),
    ];
    if version >= FormatVersion::V2 {
        fields.push(required("content", 517, json!("int")));
        fields.push(required("sequence_number", 515, json!("long")));
        fields.push(required("min_sequence_number", 516, json!("long")));
    }
    fields.push(required("added_snapshot_id", 503, json!("long")));
    let count = if version >= FormatVersion::V2 { required } else { optional };
    fields.extend([
        count("added_files_count", 504, json!("int")),
        count("existing_files_count", 505, json!("int")),
        count("deleted_files_count", 506, json!("int")),
    ]);
    let rows = [
        count("added_rows_count", 512, json!("long")),
        count("existing_rows_count", 513, json!("long")),
        count("deleted_rows_count", 514, json!("long")),
    ];
    let summary = record(
        "r508",
        vec![
            required("contains_null", 509, json!("boolean")),
            optional("contains_nan", 518, json!("boolean")),
            optional("lower_bound", 510, json!("bytes")),
            optional("upper_bound", 511, json!("bytes")),
        ],
    );
    let partitions = optional("partitions", 507, array(508, summary));
    if version >= FormatVersion::V2 {
        fields.extend(rows);
        fields.push(partitions);
    } else {
        fields.push(partitions);
        fields.extend(rows);
    }
    fields.push(optional("key_metadata", 519, json!("bytes")));
    if version >= FormatVersion::V3 {
        fields.push(optional("first_row_id", 520, json!("long")));
    }
    record("manifest_file", fields).to_string()
}

fn record(name: &str, fields: Vec<Json>) -> Json {
    json!({"type": "record", "name": name, "fields": fields})
}

fn required(name: &str, id: i32, schema: Json) -> Json {
    json!({"name": name, "type": schema, "field-id": id})
}

fn optional(name: &str, id: i32, schema: Json) -> Json {
    json!({"name": name, "type": ["null", schema], "default": null, "field-id": id})
}

fn array(element_id: i32, items: Json) -> Json {
    json!({"type": "array", "items": items, "element-id": element_id})
}

/// Avro's own map has string keys only: Iceberg writes an array of pairs.
fn map(key_id: i32, value_id: i32, value: &str) -> Json {
    let pair = record(
        &format!("k{key_id}_v{value_id}"),
        vec![required("key", key_id, json!("int")), required("value", value_id, json!(value))],
    );
    let mut array = Map::new();
    array.insert("type".into(), json!("array"));
    array.insert("items".into(), pair);
    array.insert("logicalType".into(), json!("map"));
    Json::Object(array)
}

/// A name that Avro takes, made as Java does (`AvroSchemaUtil.makeCompatibleName`).
fn avro_name(name: &str) -> String {
    let mut out = String::new();
    for (at, c) in name.encode_utf16().enumerate() {
        match char::from_u32(u32::from(c)).filter(char::is_ascii) {
            Some(c) if c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit()) => out.push(c),
            Some(c) if c.is_ascii_digit() => {
                out.push('_');
                out.push(c);
            }
            _ => out.push_str(&format!("_x{c:X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::ValueType;

    #[test]
    fn schemas_are_javas_word_for_word_but_for_the_docs() {
        // of Iceberg 1.11.0, `V1Metadata`, `V2Metadata` and `V3Metadata`
        let golden: Json =
            serde_json::from_str(include_str!("../../../tests/golden/manifest-schemas.json")).expect("golden file");
        let field = |field_id, name: &str, value_type| PartitionField { field_id, name: name.into(), value_type };
        let spec = [
            field(1000, "day", ValueType::Date),
            field(1001, "ts h", ValueType::Timestamp { utc: true }),
            field(1002, "dec", ValueType::Decimal { precision: 9, scale: 2 }),
        ];
        for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
            let parsed = |text: String| serde_json::from_str::<Json>(&text).expect("our own schema");
            let at = version as i32;
            assert_eq!(parsed(manifest_entry(version, &spec)), golden[format!("entry-v{at}")], "entry, version {at}");
            assert_eq!(parsed(manifest_file(version)), golden[format!("list-v{at}")], "list, version {at}");
        }
    }

    #[test]
    fn names_become_what_avro_takes() {
        assert_eq!(avro_name("day"), "day");
        assert_eq!(avro_name("9 a"), "_9_x20a");
        assert_eq!(avro_name("é"), "_xE9");
    }
}
