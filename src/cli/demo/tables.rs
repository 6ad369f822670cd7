//! What the demonstration holds: a harbour's ships, their voyages and their cargo.
//!
//! Pure: the same rows every time. What must hold: [`Content::rows`] is what a reader sees at the end.

use serde_json::{Value as Json, json};

use crate::format::manifest::{PartitionField, Value, ValueType};

use super::parquet::{Column, Row};

/// The namespace.
pub const NAMESPACE: &str = "harbour";
/// What engines call the catalog: a view for Trino must name it.
pub const ENGINE_CATALOG: &str = "demo";
/// The view, and its SQL, which Spark and Trino both understand.
pub const VIEW: &str = "voyages_by_ship";
/// See [`VIEW`].
pub const VIEW_SQL: &str = "SELECT s.name AS name, count(*) AS voyages FROM harbour.ships s \
                            JOIN harbour.voyages v ON v.ship_id = s.id GROUP BY s.name";
/// The tag on the first snapshot of `ships`.
pub const TAG: &str = "first_fleet";

/// 2026-03-01, in days since 1970-01-01.
const FIRST_DAY: i32 = 20_513;
const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// One table.
pub struct Content {
    /// Its name in [`NAMESPACE`].
    pub name: &'static str,
    /// What it shows, for people.
    pub shows: &'static str,
    /// The columns of the first version of the schema.
    pub columns: Vec<Column>,
    /// The default spec, as a create request has it, and typed.
    pub spec: (Json, Vec<PartitionField>),
    /// What happens to it, in order.
    pub steps: Vec<Step>,
    /// Rows that a reader sees at the end.
    pub rows: usize,
}

/// One commit.
pub enum Step {
    /// One snapshot with one data file for each partition.
    Append(Vec<Part>),
    /// A new optional column, at the end.
    AddColumn(Column),
    /// A tag on the current snapshot.
    Tag(&'static str),
    /// Deletes the rows at these positions of the first data file of the first append.
    DeleteAt(Vec<i64>),
}

/// The rows of one partition.
pub struct Part {
    /// The partition's values.
    pub partition: Vec<Option<Value>>,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// All tables.
pub fn all() -> Vec<Content> {
    vec![ships(), voyages(), cargo()]
}

fn ships() -> Content {
    let columns = vec![
        column(1, "id", ValueType::Long, true),
        column(2, "name", ValueType::String, true),
        column(3, "built", ValueType::Int, false),
        column(4, "length_m", ValueType::Double, false),
    ];
    let flag = column(5, "flag", ValueType::String, false);
    let ship =
        |id, name, built, length| vec![long(id), text(name), Some(Value::Int(built)), Some(Value::Double(length))];
    let flagged = |mut row: Row, flag| {
        row.push(flag);
        row
    };
    let first = vec![
        ship(1, "Albatros", 1899, 31.5),
        ship(2, "Bernicla", 1907, 24.0),
        ship(3, "Corvina", 1911, 28.25),
        ship(4, "Delphin", 1921, 44.0),
        ship(5, "Eider", 1928, 19.75),
    ];
    let second = vec![ship(6, "Falke", 1934, 36.0), ship(7, "Grauwal", 1951, 58.5), ship(8, "Hecht", 1960, 22.0)];
    let third = vec![
        flagged(ship(9, "Iltis", 1968, 41.0), text("NO")),
        flagged(vec![long(10), text("Jolle"), None, Some(Value::Double(4.2))], None),
    ];
    Content {
        name: "ships",
        shows: "3 snapshots, a column added before the third, tag first_fleet on the first",
        columns,
        spec: (json!({"spec-id": 0, "fields": []}), Vec::new()),
        steps: vec![
            Step::Append(whole(first)),
            Step::Tag(TAG),
            Step::Append(whole(second)),
            Step::AddColumn(flag),
            Step::Append(whole(third)),
        ],
        rows: 10,
    }
}

fn voyages() -> Content {
    let columns = vec![
        column(1, "id", ValueType::Long, true),
        column(2, "ship_id", ValueType::Long, true),
        column(3, "destination", ValueType::String, false),
        column(4, "departed", ValueType::Timestamp { utc: true }, false),
        column(5, "passengers", ValueType::Int, false),
    ];
    let field = PartitionField { field_id: 1000, name: "departed_day".into(), value_type: ValueType::Date };
    let spec = json!({"spec-id": 0, "fields": [
        {"source-id": 4, "field-id": field.field_id, "transform": "day", "name": field.name},
    ]});
    let ports = ["Bergen", "Gdynia", "Turku", "Visby", "Ystad"];
    let day = |day: i32| Part {
        partition: vec![Some(Value::Int(FIRST_DAY + day))],
        rows: (0..2)
            .map(|at| {
                let id = i64::from(2 * day + at) + 1;
                let hour = 6 + 9 * i64::from(at);
                let departed = i64::from(FIRST_DAY + day) * 24 * MICROS_PER_HOUR + hour * MICROS_PER_HOUR;
                let port = ports[id as usize % ports.len()];
                vec![long(id), long(1 + id * 3 % 10), text(port), long(departed), Some(Value::Int(5 * id as i32))]
            })
            .collect(),
    };
    Content {
        name: "voyages",
        shows: "3 snapshots, partitioned by day(departed), 6 days from 2026-03-01",
        columns,
        spec: (spec, vec![field]),
        steps: [[0, 1], [2, 3], [4, 5]].into_iter().map(|days| Step::Append(days.map(day).into())).collect(),
        rows: 12,
    }
}

fn cargo() -> Content {
    let goods = ["cod", "timber", "salt", "coal", "barley", "wool", "iron", "tea"];
    let rows = (0..goods.len()).map(|at| {
        let id = at as i64 + 1;
        vec![long(id), long(1 + id % 12), text(goods[at]), Some(Value::Double(2.5 * id as f64))]
    });
    Content {
        name: "cargo",
        shows: "8 rows, 2 of them (timber and barley) removed by a position delete",
        columns: vec![
            column(1, "id", ValueType::Long, true),
            column(2, "voyage_id", ValueType::Long, true),
            column(3, "what", ValueType::String, false),
            column(4, "tonnes", ValueType::Double, false),
        ],
        spec: (json!({"spec-id": 0, "fields": []}), Vec::new()),
        steps: vec![Step::Append(whole(rows.collect())), Step::DeleteAt(vec![1, 4])],
        rows: 6,
    }
}

/// A schema as Iceberg's JSON has it.
pub fn schema(id: i32, columns: &[Column]) -> Json {
    let fields: Vec<Json> = columns
        .iter()
        .map(|c| json!({"id": c.id, "name": c.name, "required": c.required, "type": type_name(c.value_type)}))
        .collect();
    json!({"type": "struct", "schema-id": id, "fields": fields})
}

fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Int => "int",
        ValueType::Long => "long",
        ValueType::Double => "double",
        ValueType::Date => "date",
        ValueType::Timestamp { utc: true } => "timestamptz",
        ValueType::Timestamp { utc: false } => "timestamp",
        ValueType::String => "string",
        _ => unreachable!("the tables above have no such column"),
    }
}

fn whole(rows: Vec<Row>) -> Vec<Part> {
    vec![Part { partition: Vec::new(), rows }]
}

fn column(id: i32, name: &'static str, value_type: ValueType, required: bool) -> Column {
    Column { id, name, value_type, required }
}

fn long(value: i64) -> Option<Value> {
    Some(Value::Long(value))
}

fn text(value: &str) -> Option<Value> {
    Some(Value::String(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_that_are_promised_are_there() {
        for content in all() {
            let rows = content.steps.iter().fold(0, |rows, step| match step {
                Step::Append(parts) => rows + parts.iter().map(|part| part.rows.len()).sum::<usize>(),
                Step::DeleteAt(positions) => rows - positions.len(),
                Step::AddColumn(_) | Step::Tag(_) => rows,
            });
            assert_eq!(rows, content.rows, "{}", content.name);
        }
    }
}
