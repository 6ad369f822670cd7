//! The next metadata of a table while updates are applied to it.
//!
//! The lists and numbers that updates work on are taken out of the metadata and put back when the draft is finished;
//! all other members stay where they are, untouched. Reading a base into a draft is in `open`, what must hold at the end
//! in `finish`, and each update beside the thing it changes.

use super::super::json::Object;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// A table's metadata, taken apart.
#[derive(Default)]
pub(super) struct Draft {
    /// All members of the metadata; those taken out below are null at their places.
    pub meta: Object,
    /// The format version; none only while a table is made from updates and none has named one.
    pub format: i64,
    pub schemas: Vec<Value>,
    pub current_schema: i64,
    pub last_column: i64,
    pub specs: Vec<Value>,
    pub default_spec: i64,
    pub last_partition: i64,
    pub orders: Vec<Value>,
    pub default_order: i64,
    pub properties: Object,
    pub snapshots: Vec<Value>,
    /// Where each snapshot stands in the list.
    pub snapshot_at: HashMap<i64, usize>,
    pub current_snapshot: Option<i64>,
    pub last_sequence: i64,
    pub next_row: i64,
    pub refs: Object,
    pub snapshot_log: Vec<Value>,
    /// What the updates did so far.
    pub changes: Changes,
    /// The time of this commit.
    pub at_ms: i64,
    /// The time of the newest snapshot that this commit added, or of its first move of main.
    pub last_updated_ms: Option<i64>,
}

/// What later updates and the end of a commit must know of earlier ones.
#[derive(Default)]
pub(super) struct Changes {
    /// Whether anything changed at all.
    pub any: bool,
    /// Whether the table is made by these updates.
    pub creates: bool,
    /// Whether an update has set the format version of a table that is being made.
    pub format_set: bool,
    /// What `-1` stands for in `set-current-schema`, `set-default-spec` and `set-default-sort-order`.
    pub last_schema: Option<i64>,
    pub last_spec: Option<i64>,
    pub last_order: Option<i64>,
    pub added_snapshots: HashSet<i64>,
    /// Every snapshot that main was set to, in order.
    pub main_heads: Vec<i64>,
    pub removed_snapshots: bool,
    pub moved_schema: bool,
}

impl Draft {
    /// The schema with this id.
    pub fn schema(&self, id: i64) -> Option<&Value> {
        find_by_id(&self.schemas, "schema-id", id)
    }

    /// The partition spec with this id.
    pub fn spec(&self, id: i64) -> Option<&Value> {
        find_by_id(&self.specs, "spec-id", id)
    }

    /// The sort order with this id.
    pub fn order(&self, id: i64) -> Option<&Value> {
        find_by_id(&self.orders, "order-id", id)
    }

    /// The snapshot with this id.
    pub fn snapshot(&self, id: i64) -> Option<&Value> {
        self.snapshots.get(*self.snapshot_at.get(&id)?)
    }
}

/// Finds the element with this id; one without an id has id 0, as in metadata of version 1.
fn find_by_id<'a>(list: &'a [Value], name: &str, id: i64) -> Option<&'a Value> {
    list.iter().find(|value| value.get(name).map_or(Some(0), Value::as_i64) == Some(id))
}
