//! The job that Spark compacts with: a call of `rewrite_data_files` for the partitions that are due, and the command line around it.
//!
//! What must hold: a condition never leaves out a partition that is due (one that cannot be said widens it, and Spark leaves alone what needs nothing); no
//! name or value of a table gets out of the quotes that it is in.

use serde_json::Value;

use super::compact::{CompactionReport, PartitionPlan};
use crate::model::{CatalogName, Ident};

/// Partitions that a condition names; for more there is none.
const NAMED_MAX: usize = 200;

/// How Spark reaches the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparkTarget {
    /// Where a Lifeboat serves it.
    pub uri: String,
    /// Whether a token is needed: the command takes it from `LIFEBOAT_TOKEN`.
    pub has_tokens: bool,
}

/// What a `where` says of one partition field.
struct Field<'m> {
    name: &'m str,
    transform: &'m str,
    column: String,
    column_type: &'m str,
}

/// The statement.
pub(super) fn call(catalog: &CatalogName, ident: &Ident, metadata: &Value, report: &CompactionReport) -> String {
    let parts = ident.namespace.levels().iter().chain([&ident.name]);
    let table = parts.map(|part| identifier(part)).collect::<Vec<_>>().join(".");
    let mut arguments = vec![format!("table => {}", text(&table))];
    arguments.extend(condition(metadata, &report.plan).map(|condition| format!("where => {}", text(&condition))));
    if report.plan.iter().any(|plan| plan.deletes_are_due) {
        // files with deletes are rewritten whatever their size, and what no file needs any more goes
        let mut options = "'delete-file-threshold', '1', 'remove-dangling-deletes', 'true'".to_owned();
        // or position deletes of the newest commit would seem to be needed still; writers of equality deletes would be in its way
        if report.plan.iter().all(|plan| plan.equality_delete_files == 0) {
            options.push_str(", 'use-starting-sequence-number', 'false'");
        }
        arguments.push(format!("options => map({options})"));
    }
    format!("CALL {}.system.rewrite_data_files({})", spark_name(catalog), arguments.join(", "))
}

/// The settings of Spark's catalog, in order.
pub fn spark_conf(catalog: &CatalogName, target: &SparkTarget) -> Vec<(String, String)> {
    let name = spark_name(catalog);
    let of = |key: &str| format!("spark.sql.catalog.{name}{key}");
    let mut conf = vec![
        (
            "spark.sql.extensions".to_owned(),
            "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions".to_owned(),
        ),
        (of(""), "org.apache.iceberg.spark.SparkCatalog".to_owned()),
        (of(".type"), "rest".to_owned()),
        (of(".uri"), target.uri.clone()),
        (of(".warehouse"), catalog.to_string()),
    ];
    if target.has_tokens {
        conf.push((of(".token"), "$LIFEBOAT_TOKEN".to_owned()));
    }
    conf
}

/// The command line, for a shell.
pub fn spark_command(catalog: &CatalogName, target: &SparkTarget, sql: &str) -> String {
    let conf = spark_conf(catalog, target).into_iter().map(|(key, value)| match value.as_str() {
        // the shell is to put it in
        "$LIFEBOAT_TOKEN" => format!("--conf {key}=\"$LIFEBOAT_TOKEN\""),
        _ => format!("--conf {}", word(&format!("{key}={value}"))),
    });
    let parts = ["spark-sql".to_owned()].into_iter().chain(conf).chain([format!("-e {}", word(sql))]);
    parts.collect::<Vec<_>>().join(" \\\n  ")
}

/// The catalog's name in Spark, where a dash or a dot would need quotes.
fn spark_name(catalog: &CatalogName) -> String {
    catalog.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Which partitions are meant; `None` for all.
fn condition(metadata: &Value, plans: &[PartitionPlan]) -> Option<String> {
    if plans.len() > NAMED_MAX {
        return None;
    }
    let mut conditions = Vec::new();
    for plan in plans {
        let said = fields(metadata, plan.spec_id)
            .into_iter()
            .filter_map(|field| said(&field, plan.partition.get(field.name)?));
        let said: Vec<String> = said.collect();
        if said.is_empty() {
            return None;
        }
        let condition = format!("({})", said.join(" AND "));
        if !conditions.contains(&condition) {
            conditions.push(condition);
        }
    }
    (!conditions.is_empty()).then(|| conditions.join(" OR "))
}

/// What a partition's value says of its column; `None` where that cannot be said for sure.
fn said(field: &Field<'_>, value: &Value) -> Option<String> {
    if field.transform != "identity" {
        return None;
    }
    let column = &field.column;
    let literal = match (field.column_type, value) {
        (_, Value::Null) => return Some(format!("{column} IS NULL")),
        ("boolean", Value::Bool(value)) => value.to_string(),
        ("int", Value::Number(number)) => number.to_string(),
        ("long", Value::Number(number)) => format!("{number}L"),
        ("string", Value::String(value)) => text(value),
        ("date", Value::String(value)) => format!("DATE '{value}'"),
        _ => return None,
    };
    Some(format!("{column} = {literal}"))
}

/// The fields of a partition spec whose columns are at the top of the current schema.
fn fields(metadata: &Value, spec_id: i32) -> Vec<Field<'_>> {
    let by_id = |list: &str, member: &str, id: i64| {
        metadata[list].as_array().into_iter().flatten().find(|one| one[member].as_i64() == Some(id))
    };
    let schema = metadata["current-schema-id"].as_i64().and_then(|id| by_id("schemas", "schema-id", id));
    let columns = schema.unwrap_or(&metadata["schema"])["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let spec = by_id("partition-specs", "spec-id", spec_id.into());
    let fields = spec.and_then(|spec| spec["fields"].as_array()).into_iter().flatten();
    let read = |field| {
        let field: &Value = field;
        let column = columns.iter().find(|column| column["id"].is_i64() && column["id"] == field["source-id"])?;
        Some(Field {
            name: field["name"].as_str()?,
            transform: field["transform"].as_str()?,
            column: identifier(column["name"].as_str()?),
            column_type: column["type"].as_str()?,
        })
    };
    fields.filter_map(read).collect()
}

/// A name in Spark's SQL.
fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text in Spark's SQL.
fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('\'');
    for c in value.chars() {
        match c {
            '\'' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            // spark-sql ends a statement here, quoted or not
            ';' => out.push_str("\\u003B"),
            _ => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// One word of a POSIX shell.
fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Namespace;

    fn report(partitions: Vec<Value>) -> CompactionReport {
        let plan = |partition: Value| PartitionPlan {
            spec_id: 1,
            partition: partition.as_object().expect("an object").clone(),
            files: 9,
            bytes: 9,
            small_files: 9,
            large_files: 0,
            delete_files: 0,
            equality_delete_files: 0,
            files_after: 1,
            deletes_are_due: false,
        };
        CompactionReport { plan: partitions.into_iter().map(plan).collect(), ..CompactionReport::default() }
    }

    fn sql(name: &str, report: &CompactionReport) -> String {
        let metadata = json!({
            "current-schema-id": 0,
            "schemas": [{"schema-id": 0, "fields": [
                {"id": 1, "name": "who", "type": "string"}, {"id": 2, "name": "day", "type": "date"},
                {"id": 3, "name": "n", "type": "long"}, {"id": 4, "name": "at", "type": "timestamptz"}]}],
            "partition-specs": [{"spec-id": 0, "fields": []}, {"spec-id": 1, "fields": [
                {"name": "who", "source-id": 1, "transform": "identity"}, {"name": "day", "source-id": 2, "transform": "identity"},
                {"name": "n_bucket", "source-id": 3, "transform": "bucket[4]"}, {"name": "at_day", "source-id": 4, "transform": "day"}]}],
        });
        let ident = Ident::new(Namespace::new(vec!["a b".into()]).expect("valid"), name).expect("valid");
        call(&CatalogName::parse("my-lake").expect("valid"), &ident, &metadata, report)
    }

    #[test]
    fn partitions_are_said_as_far_as_they_can_be() {
        let plan = report(vec![
            json!({"who": "ada", "day": "2024-02-29", "n_bucket": 3}),
            json!({"who": null, "day": "2024-03-01", "n_bucket": 1}),
            json!({"who": null, "day": "2024-03-01", "n_bucket": 2}),
        ]);
        assert_eq!(
            sql("t", &plan),
            r"CALL my_lake.system.rewrite_data_files(table => '`a b`.`t`', where => '(`who` = \'ada\' AND `day` = DATE \'2024-02-29\') OR (`who` IS NULL AND `day` = DATE \'2024-03-01\')')"
        );
        let all = sql("t", &report(vec![json!({"who": "ada"}), json!({"n_bucket": 1, "at_day": "2024-01-01"})]));
        assert_eq!(all, "CALL my_lake.system.rewrite_data_files(table => '`a b`.`t`')");
    }

    #[test]
    fn names_and_values_stay_in_their_quotes() {
        let plan = report(vec![json!({"who": "O'Brien\\') OR 1=1; --\n"})]);
        assert_eq!(
            sql("t`x'y", &plan),
            r"CALL my_lake.system.rewrite_data_files(table => '`a b`.`t``x\'y`', where => '(`who` = \'O\\\'Brien\\\\\\\') OR 1=1\\u003B --\\n\')')"
        );
        let target = SparkTarget { uri: "http://127.0.0.1:8181".into(), has_tokens: true };
        let command = spark_command(&CatalogName::parse("main").expect("valid"), &target, "CALL 'x'");
        assert!(command.contains("--conf spark.sql.catalog.main.token=\"$LIFEBOAT_TOKEN\""), "{command}");
        assert!(command.ends_with(r"-e 'CALL '\''x'\'''"), "{command}");
    }
}
