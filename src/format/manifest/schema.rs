//! The Avro schemas of manifests and manifest lists, by format version.
//!
//! Names, ids, order and optionality as Iceberg 1.11 (Java) writes them, so that positional readers agree too.

use serde_json::Value as Json;

use super::{FormatVersion, PartitionField};

/// `manifest_entry`, for one partition spec.
pub(super) fn manifest_entry(version: FormatVersion, spec: &[PartitionField]) -> String {
    let mut fields = vec![required("status", 0, "int".into())];
    fields.push(optional("snapshot_id", 1, "long".into()));
    if version >= FormatVersion::V2 {
        fields.push(optional("sequence_number", 3, "long".into()));
        fields.push(optional("file_sequence_number", 4, "long".into()));
    }
    fields.push(required("data_file", 2, record("r2", data_file(version, spec))));
    record("manifest_entry", fields).to_string()
}

fn data_file(version: FormatVersion, spec: &[PartitionField]) -> Vec<Json> {
    let mut fields = Vec::new();
    if version >= FormatVersion::V2 {
        fields.push(required("content", 134, "int".into()));
    }
    fields.extend([
        required("file_path", 100, "string".into()),
        required("file_format", 101, "string".into()),
        required("partition", 102, record("r102", partition(spec))),
        required("record_count", 103, "long".into()),
        required("file_size_in_bytes", 104, "long".into()),
    ]);
    if version == FormatVersion::V1 {
        fields.push(required("block_size_in_bytes", 105, "long".into()));
    }
    fields.extend([
        optional("column_sizes", 108, map(117, 118, "long")),
        optional("value_counts", 109, map(119, 120, "long")),
        optional("null_value_counts", 110, map(121, 122, "long")),
        optional("nan_value_counts", 137, map(138, 139, "long")),
        optional("lower_bounds", 125, map(126, 127, "bytes")),
        optional("upper_bounds", 128, map(129, 130, "bytes")),
        optional("key_metadata", 131, "bytes".into()),
        optional("split_offsets", 132, array(133, "long".into())),
    ]);
    if version >= FormatVersion::V2 {
        fields.push(optional("equality_ids", 135, array(136, "int".into())));
    }
    fields.push(optional("sort_order_id", 140, "int".into()));
    if version >= FormatVersion::V3 {
        fields.push(optional("first_row_id", 142, "long".into()));
    }
    if version >= FormatVersion::V2 {
        fields.push(optional("referenced_data_file", 143, "string".into()));
    }
    if version >= FormatVersion::V3 {
        fields.push(optional("content_offset", 144, "long".into()));
        fields.push(optional("content_size_in_bytes", 145, "long".into()));
    }
    fields
}

fn partition(spec: &[PartitionField]) -> Vec<Json> {
    let mut defined: Vec<String> = Vec::new();
    let mut fields = Vec::new();
    for field in spec {
        let (schema, name) = field.value_type.avro();
        let schema = match name {
            Some(name) if defined.contains(&name) => name.into(),
            Some(name) => {
                defined.push(name);
                schema
            }
            None => schema,
        };
        let name = avro_name(&field.name);
        let mut column = optional(&name, field.field_id, schema);
        if name != field.name {
            column["iceberg-field-name"] = field.name.as_str().into();
        }
        fields.push(column);
    }
    fields
}

/// `manifest_file`: the lines of a manifest list.
pub(super) fn manifest_file(version: FormatVersion) -> String {
    let mut fields = vec![
        required("manifest_path", 500, "string".into()),
        required("manifest_length", 501, "long".into()),
        required("partition_spec_id", 502, "int".into()),
    ];
    if version >= FormatVersion::V2 {
        fields.push(required("content", 517, "int".into()));
        fields.push(required("sequence_number", 515, "long".into()));
        fields.push(required("min_sequence_number", 516, "long".into()));
    }
    fields.push(required("added_snapshot_id", 503, "long".into()));
    let count = if version >= FormatVersion::V2 { required } else { optional };
    fields.extend([
        count("added_files_count", 504, "int".into()),
        count("existing_files_count", 505, "int".into()),
        count("deleted_files_count", 506, "int".into()),
    ]);
    let rows = [
        count("added_rows_count", 512, "long".into()),
        count("existing_rows_count", 513, "long".into()),
        count("deleted_rows_count", 514, "long".into()),
    ];
    let summary = record(
        "r508",
        vec![
            required("contains_null", 509, "boolean".into()),
            optional("contains_nan", 518, "boolean".into()),
            optional("lower_bound", 510, "bytes".into()),
            optional("upper_bound", 511, "bytes".into()),
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
    fields.push(optional("key_metadata", 519, "bytes".into()));
    if version >= FormatVersion::V3 {
        fields.push(optional("first_row_id", 520, "long".into()));
    }
    record("manifest_file", fields).to_string()
}

fn record(name: &str, fields: Vec<Json>) -> Json {
    object([("type", "record".into()), ("name", name.into()), ("fields", fields.into())])
}

fn required(name: &str, id: i32, schema: Json) -> Json {
    object([("name", name.into()), ("type", schema), ("field-id", id.into())])
}

fn optional(name: &str, id: i32, schema: Json) -> Json {
    let union = vec!["null".into(), schema];
    object([("name", name.into()), ("type", union.into()), ("default", Json::Null), ("field-id", id.into())])
}

fn array(element_id: i32, items: Json) -> Json {
    object([("type", "array".into()), ("items", items), ("element-id", element_id.into())])
}

/// Avro's own map has string keys only: Iceberg writes an array of pairs.
fn map(key_id: i32, value_id: i32, value: &str) -> Json {
    let pair = record(
        &format!("k{key_id}_v{value_id}"),
        vec![required("key", key_id, "int".into()), required("value", value_id, value.into())],
    );
    object([("type", "array".into()), ("items", pair), ("logicalType", "map".into())])
}

/// Takes its values in, where `json!` would copy a schema once for each level above it.
fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
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
