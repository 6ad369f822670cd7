//! Which column of a file is which of a table, and how the two differ.
//!
//! What must hold: a column is matched as Iceberg's readers match it, by field id where the file has ids and else by the name mapping; a file
//! whose ids were given by another table, or whose values a reader would see as others, is refused.

use super::columns::{Column, Kind, Leaf, Stored};
use super::mapping::NameMapping;
use super::table::TableShape;
use super::{Reason, reason};
use crate::format::manifest::ValueType;
use crate::format::types::{Field, Type};

/// What a table would have to become for a file to fit.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// A column that the table lacks.
    New {
        /// The struct that it belongs to; none for a column of the table's own.
        parent: Option<i32>,
        /// The column; its ids mean nothing.
        field: Field,
    },
    /// A type that is too narrow.
    Wider {
        /// The column.
        id: i32,
        /// Its name.
        name: String,
        /// What it is.
        from: ValueType,
        /// What it would have to be.
        to: ValueType,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Difference::New { field, .. } => write!(f, "new column {} of type {}", field.name, field.field_type),
            Difference::Wider { name, from, to, .. } => write!(f, "column {name} from {from} to {to}"),
        }
    }
}

/// A column of single values that is one of the table's.
#[derive(Debug, Clone)]
pub(super) struct MatchedLeaf {
    pub leaf: Leaf,
    pub field_id: i32,
    /// Its full name in the table.
    pub name: String,
    /// Its type in the table.
    pub value_type: ValueType,
    /// Whether it is a column of the table's own that is never null there, and may be in the file.
    pub must_have_no_nulls: bool,
    /// Whether it is in a list or a map.
    pub is_repeated: bool,
}

/// How a file and a table fit.
#[derive(Debug, Default)]
pub(super) struct Matched {
    pub leaves: Vec<MatchedLeaf>,
    pub differences: Vec<Difference>,
    /// Columns of the table's own that the file lacks.
    pub missing: Vec<i32>,
}

/// Matches all columns of a file.
pub(super) fn matched(columns: &[Column], table: &TableShape) -> Result<Matched, Reason> {
    let matching = Matching { table, by_id: columns.iter().any(Column::has_ids) };
    let mut found = Matched::default();
    let place = Place { prefix: String::new(), parent: None, is_repeated: false };
    let fields: Vec<&Field> = table.fields.iter().collect();
    matching.columns(&columns.iter().collect::<Vec<_>>(), &fields, &table.mapping, &place, &mut found)?;
    let has = |id: i32| found.leaves.iter().any(|leaf| leaf.field_id == id);
    let leaf = |field: &&Field| matches!(field.field_type, Type::Value(_)) && !has(field.id);
    found.missing.extend(table.fields.iter().filter(leaf).map(|field| field.id));
    Ok(found)
}

struct Matching<'t> {
    table: &'t TableShape,
    by_id: bool,
}

struct Place {
    prefix: String,
    parent: Option<i32>,
    is_repeated: bool,
}

impl Place {
    fn name(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }
}

impl Matching<'_> {
    fn columns(
        &self,
        columns: &[&Column],
        fields: &[&Field],
        mapping: &NameMapping,
        place: &Place,
        found: &mut Matched,
    ) -> Result<(), Reason> {
        let mut seen = vec![false; fields.len()];
        for column in columns {
            let name = place.name(&column.name);
            let (id, mapping) = if self.by_id {
                let Some(id) = column.id else {
                    return Err(reason(
                        "schema",
                        format!("column {name} has no field id, and others of the file have"),
                    ));
                };
                (Some(id), mapping)
            } else {
                mapping.get(&column.name).map_or((None, mapping), |(id, parts)| (Some(id), parts))
            };
            let at = id.and_then(|id| fields.iter().position(|field| field.id == id));
            match at {
                Some(at) => {
                    let field = fields[at];
                    if std::mem::replace(&mut seen[at], true) {
                        return Err(reason("schema", format!("column {name} is in the file twice")));
                    }
                    self.check_name(column, field, &name)?;
                    self.column(column, field, mapping, place, found)?;
                }
                None => self.unknown(column, id, &name, place, found)?,
            }
        }
        let missing = fields.iter().zip(&seen).filter(|(_, seen)| !**seen).map(|(field, _)| field);
        match missing
            .into_iter()
            .find(|field| field.required && field.initial_default.is_none() && place.parent.is_some())
        {
            Some(field) => Err(reason("schema", format!("it lacks the required column {}", place.name(&field.name)))),
            None => Ok(()),
        }
    }

    /// Ids that another table gave would make a reader see one column as another.
    fn check_name(&self, column: &Column, field: &Field, name: &str) -> Result<(), Reason> {
        let is_part = matches!(field.name.as_str(), "element" | "key" | "value");
        if self.by_id && !is_part && !self.table.names.contains(&(field.id, column.name.clone())) {
            let message = format!(
                "field id {} is {name} in the file and {} in the table: another table's ids, perhaps; write it without field ids",
                field.id, field.name
            );
            return Err(reason("schema", message));
        }
        Ok(())
    }

    /// A column that the table does not have.
    fn unknown(
        &self,
        column: &Column,
        id: Option<i32>,
        name: &str,
        place: &Place,
        found: &mut Matched,
    ) -> Result<(), Reason> {
        match id {
            // one that was dropped: readers pass over it
            Some(id) if !self.by_id || self.table.names.iter().any(|(known, _)| *known == id) => Ok(()),
            Some(id) => Err(reason("schema", format!("field id {id} ({name}) is none of the table's"))),
            None => {
                let field = self.field(column, name)?;
                found.differences.push(Difference::New { parent: place.parent, field });
                Ok(())
            }
        }
    }

    fn column(
        &self,
        column: &Column,
        field: &Field,
        mapping: &NameMapping,
        place: &Place,
        found: &mut Matched,
    ) -> Result<(), Reason> {
        let name = place.name(&field.name);
        let below = |is_repeated| Place { prefix: name.clone(), parent: Some(field.id), is_repeated };
        match (&column.kind, &field.field_type) {
            (Kind::Leaf(leaf), Type::Value(to)) => self.leaf(*leaf, column, (field, *to), place, found),
            (Kind::Struct(columns), Type::Struct(fields)) => {
                let (columns, fields): (Vec<_>, Vec<_>) = (columns.iter().collect(), fields.iter().collect());
                self.columns(&columns, &fields, mapping, &below(place.is_repeated), found)
            }
            (Kind::List(element), Type::List(field)) => {
                self.columns(&[element], &[field], mapping, &below(true), found)
            }
            (Kind::Map(columns), Type::Map(fields)) => {
                self.columns(&[&columns.0, &columns.1], &[&fields.0, &fields.1], mapping, &below(true), found)
            }
            (Kind::Other(what), _) => Err(reason("type", format!("column {name} is {what}"))),
            (kind, to) => {
                Err(reason("type", format!("column {name} is a {} in the file and {to} in the table", kind.word())))
            }
        }
    }

    fn leaf(
        &self,
        leaf: Leaf,
        column: &Column,
        (field, to): (&Field, ValueType),
        place: &Place,
        found: &mut Matched,
    ) -> Result<(), Reason> {
        let name = place.name(&field.name);
        let from = leaf.value_type;
        match fit(leaf.stored, from, to) {
            Fit::Fits => {}
            Fit::Wider(wider) => {
                let difference = Difference::Wider { id: field.id, name: name.clone(), from: to, to: wider };
                found.differences.push(difference);
            }
            Fit::Not => {
                return Err(reason("type", format!("column {name} is {from} in the file and {to} in the table")));
            }
        }
        found.leaves.push(MatchedLeaf {
            leaf,
            field_id: field.id,
            name,
            value_type: to,
            must_have_no_nulls: field.required && !column.required && place.parent.is_none(),
            is_repeated: place.is_repeated,
        });
        Ok(())
    }

    /// A column as the table would have it.
    fn field(&self, column: &Column, name: &str) -> Result<Field, Reason> {
        let part = |column: &Column| -> Result<Field, Reason> {
            let field = self.field(column, &format!("{name}.{}", column.name))?;
            Ok(Field { required: column.required, ..field })
        };
        let field_type = match &column.kind {
            Kind::Leaf(Leaf { value_type: ValueType::TimestampNs { .. }, .. }) if !self.table.has_nanoseconds => {
                let message = format!("column {name} has nanoseconds, which tables have from format version 3 on");
                return Err(reason("type", message));
            }
            Kind::Leaf(leaf) => Type::Value(leaf.value_type),
            Kind::Struct(columns) => {
                let parts = columns.iter().map(|column| self.field(column, &format!("{name}.{}", column.name)));
                Type::Struct(parts.collect::<Result<_, _>>()?)
            }
            Kind::List(element) => Type::List(Box::new(part(element)?)),
            Kind::Map(pair) => Type::Map(Box::new((Field { required: true, ..part(&pair.0)? }, part(&pair.1)?))),
            Kind::Other(what) => return Err(reason("type", format!("column {name} is {what}"))),
        };
        Ok(Field::optional(0, &column.name, field_type))
    }
}

/// The columns that a table made for a file would have.
pub(super) fn fields(columns: &[Column], table: &TableShape) -> Result<Vec<Field>, Reason> {
    let matching = Matching { table, by_id: false };
    columns.iter().map(|column| matching.field(column, &column.name)).collect()
}

impl Kind {
    fn word(&self) -> &'static str {
        match self {
            Kind::Leaf(_) => "single value",
            Kind::Struct(_) => "struct",
            Kind::List(_) => "list",
            Kind::Map(_) => "map",
            Kind::Other(what) => what,
        }
    }
}

enum Fit {
    Fits,
    /// It would, if the table had this type.
    Wider(ValueType),
    Not,
}

/// Whether readers read values of one type as another (specification, "Schema Evolution", and what stands for the same bytes).
fn fit(stored: Stored, from: ValueType, to: ValueType) -> Fit {
    use ValueType as T;
    match (from, to) {
        (from, to) if from == to => Fit::Fits,
        (T::Int, T::Long) | (T::Float, T::Double) => Fit::Fits,
        (T::String, T::Binary) | (T::Binary, T::String) => Fit::Fits,
        (T::Uuid, T::Fixed(16)) | (T::Fixed(16), T::Uuid) => Fit::Fits,
        (T::Timestamp { .. }, T::Timestamp { .. }) if stored == Stored::Int96 => Fit::Fits,
        (T::Decimal { precision, scale }, T::Decimal { precision: wider, scale: same }) if scale == same => {
            if precision <= wider { Fit::Fits } else { Fit::Wider(from) }
        }
        (T::Long, T::Int) => Fit::Wider(T::Long),
        (T::Double, T::Float) => Fit::Wider(T::Double),
        _ => Fit::Not,
    }
}
