//! Sort orders: the updates of a table's orders, and whether an order fits a schema.
//!
//! Order 0 is the unsorted one and no other. An equal order is not added twice. Sorting itself is for engines.

use super::super::json::{self, Object};
use super::super::schema::Columns;
use super::super::transform;
use super::draft::Draft;
use super::spec::sources;
use crate::error::{Error, Result};
use serde_json::Value;

impl Draft {
    /// `add-sort-order`: `sort-order`, bound to the current schema.
    pub fn add_sort_order(&mut self, update: &Object) -> Result<()> {
        let order = json::member(update, "sort-order")?.clone();
        check_id(&order)?;
        let schema = self.schema(self.current_schema);
        let schema = schema.ok_or_else(|| Error::bad_request("Cannot add a sort order before a schema is added"))?;
        check_fits(&order, &Columns::of(schema)?)?;
        self.add_sort_order_with(order)
    }

    /// Adds an order that is known to fit the schema.
    pub fn add_sort_order_with(&mut self, mut order: Object) -> Result<()> {
        let unsorted = json::list(&order, "fields")?.is_empty();
        let mut id = if unsorted { 0 } else { 1 };
        for other in &self.orders {
            let other = json::object(other, "sort order")?;
            let other_id = json::int(other, "order-id")?;
            let both_unsorted = unsorted && other_id == 0;
            if both_unsorted || (!unsorted && json::same_object(other, &order, &["order-id"])) {
                self.changes.last_order = Some(other_id);
                return Ok(());
            } else if !unsorted && other_id >= id {
                id = json::next_id(other_id, "sort order")?;
            }
        }
        order.insert("order-id".to_owned(), id.into());
        self.orders.push(Value::Object(order));
        self.changes.last_order = Some(id);
        self.changes.any = true;
        Ok(())
    }

    /// `set-default-sort-order`: `sort-order-id`, -1 for the one added last.
    pub fn set_default_sort_order(&mut self, update: &Object) -> Result<()> {
        let mut id = json::int(update, "sort-order-id")?;
        if id == -1 {
            let none = || Error::bad_request("Cannot set last added sort order: no sort order has been added");
            id = self.changes.last_order.ok_or_else(none)?;
        }
        if id == self.default_order {
            return Ok(());
        }
        if self.order(id).is_none() {
            return Err(Error::bad_request(format!("Cannot set default sort order to unknown sort order: {id}")));
        }
        self.default_order = id;
        self.changes.any = true;
        Ok(())
    }
}

/// Refuses an id that says sorted where there is nothing to sort by, and the other way round.
pub(super) fn check_id(order: &Object) -> Result<()> {
    let unsorted = json::list(order, "fields")?.is_empty();
    match json::int_or_none(order, "order-id")? {
        Some(0) if !unsorted => Err(Error::bad_request("Sort order ID 0 is reserved for unsorted order")),
        Some(id) if unsorted && id != 0 => Err(Error::bad_request("Unsorted order ID must be 0")),
        _ => Ok(()),
    }
}

/// Refuses an order whose sources are not in the schema or cannot be transformed so.
pub(super) fn check_fits(order: &Object, columns: &Columns<'_>) -> Result<()> {
    for value in json::list(order, "fields")? {
        let field = json::object(value, "sort field")?;
        let name = json::text(field, "transform")?;
        let (direction, nulls) = check_direction(field)?;
        for source in sources(field)? {
            let Some(column) = columns.get(source) else {
                let shown =
                    format!("{name}({source}) {} {}", direction.to_uppercase(), nulls.replace('-', " ").to_uppercase());
                return Err(Error::bad_request(format!("Cannot find source column for sort field: {shown}")));
            };
            if transform::primitive(column.kind).is_none() {
                let kind = transform::type_name(column.kind);
                return Err(Error::bad_request(format!("Cannot sort by non-primitive source field: {kind}")));
            }
            transform::check(name, column.kind)?;
        }
    }
    Ok(())
}

/// The direction and the place of nulls, which must be known ones.
pub(super) fn check_direction(field: &Object) -> Result<(&str, &str)> {
    let direction = one_of(field, "direction", &["asc", "desc"])?;
    Ok((direction, one_of(field, "null-order", &["nulls-first", "nulls-last"])?))
}

fn one_of<'a>(field: &'a Object, name: &str, allowed: &[&str]) -> Result<&'a str> {
    let value = json::text(field, name)?;
    if allowed.iter().any(|known| known.eq_ignore_ascii_case(value)) {
        return Ok(value);
    }
    Err(Error::bad_request(format!("Invalid sort {name}: {value}")))
}
