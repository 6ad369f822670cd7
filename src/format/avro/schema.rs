//! The writer's schema, compiled for walking: what to skip, and which fields to note by their ids.

use std::collections::HashMap;

use serde_json::Value;

/// Nodes of one schema.
const NODES_MAX: usize = 100_000;
/// Nesting of one schema.
const DEPTH_MAX: usize = 64;

/// Where a noted field's span goes: a place in [`super::walk::Spans`].
pub type Slot = usize;

/// A place in the list of nodes.
pub(super) type NodeId = usize;

/// One type, as far as its length goes.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Takes no bytes.
    Nothing,
    /// `int`, `long`, `enum`.
    Varint,
    /// `bytes`, `string`.
    Bytes,
    /// `boolean`, `float`, `double`, `fixed`.
    Fixed(usize),
    Array(NodeId),
    /// An array whose items are records of values that have no values inside, as Iceberg's maps are: the fields of an item.
    FlatArray(NodeId, Flat),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<Field>),
}

/// What an item of a flat array is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flat {
    /// So many numbers.
    Numbers(u64),
    /// A number and bytes.
    NumberAndBytes,
}

/// A record's field.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) id: Option<i32>,
    pub(super) node: NodeId,
    /// Where its span is noted.
    pub(super) slot: Option<Slot>,
    /// Whether fields inside of it are noted.
    pub(super) is_opened: bool,
}

/// A compiled schema.
#[derive(Debug, Clone)]
pub struct Schema {
    nodes: Vec<Node>,
    pub(super) root: NodeId,
    /// Which nodes never take a byte.
    empty: Vec<bool>,
}

impl Schema {
    /// Compiles a record's schema. `noted` names fields by the ids that lead to them, each with its slot.
    pub fn compile(schema: &Value, noted: &[(&[i32], Slot)]) -> Result<Schema, String> {
        let mut compiler = Compiler { nodes: Vec::new(), names: HashMap::new() };
        let root = compiler.node(schema, "", 0)?;
        flatten(&mut compiler.nodes);
        let mut compiled = Schema { empty: empty(&compiler.nodes), nodes: compiler.nodes, root };
        if !matches!(compiled.nodes.get(root), Some(Node::Record(_))) {
            return Err("its schema is not a record".to_owned());
        }
        for (path, slot) in noted {
            compiled.note(path, *slot)?;
        }
        Ok(compiled)
    }

    /// Whether the field that `path` leads to is there.
    pub fn has(&self, path: &[i32]) -> bool {
        let mut node = self.root;
        for id in path {
            let Some(Node::Record(fields)) = self.nodes.get(node) else { return false };
            let Some(field) = fields.iter().find(|field| field.id == Some(*id)) else { return false };
            node = field.node;
        }
        true
    }

    /// Whether a value is an array of such items.
    pub fn is_array_of(&self, value: Option<NodeId>, items: Flat) -> bool {
        matches!(value.map(|id| self.node(id)), Some(Node::FlatArray(_, flat)) if *flat == items)
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id).unwrap_or(&Node::Nothing)
    }

    /// Whether values of this type never take a byte: there may be any number of them.
    pub(super) fn is_empty(&self, id: NodeId) -> bool {
        self.empty.get(id).copied().unwrap_or(true)
    }

    fn note(&mut self, path: &[i32], slot: Slot) -> Result<(), String> {
        let mut node = self.root;
        for (depth, id) in path.iter().enumerate() {
            let Some(Node::Record(fields)) = self.nodes.get_mut(node) else {
                return Err(format!("field {} is not a record", path[depth.saturating_sub(1)]));
            };
            let mut of_id = fields.iter_mut().filter(|field| field.id == Some(*id));
            let Some(field) = of_id.next() else { return Ok(()) };
            if of_id.next().is_some() {
                return Err(format!("two fields of its schema have the id {id}"));
            }
            if depth + 1 == path.len() {
                field.slot = Some(slot);
            } else {
                field.is_opened = true;
            }
            node = field.node;
        }
        Ok(())
    }
}

/// Finds the arrays that can be skipped without looking at the schema for every value.
fn flatten(nodes: &mut [Node]) {
    for at in 0..nodes.len() {
        let Some(Node::Array(items)) = nodes.get(at) else { continue };
        let (items, flat) = match nodes.get(*items) {
            Some(Node::Varint) => (*items, Flat::Numbers(1)),
            Some(Node::Record(fields)) => {
                match fields.iter().map(|field| nodes.get(field.node)).collect::<Vec<_>>().as_slice() {
                    [Some(Node::Varint), Some(Node::Varint)] => (*items, Flat::Numbers(2)),
                    [Some(Node::Varint), Some(Node::Bytes)] => (*items, Flat::NumberAndBytes),
                    _ => continue,
                }
            }
            _ => continue,
        };
        nodes[at] = Node::FlatArray(items, flat);
    }
}

/// Which nodes never take a byte. A record may hold itself only behind a union, array or map, which takes one, so that a few rounds settle it.
fn empty(nodes: &[Node]) -> Vec<bool> {
    let mut empty: Vec<bool> = nodes.iter().map(|node| matches!(node, Node::Nothing | Node::Fixed(0))).collect();
    for _ in 0..DEPTH_MAX {
        let mut settled = true;
        for (at, node) in nodes.iter().enumerate() {
            if let Node::Record(fields) = node
                && !empty[at]
                && fields.iter().all(|field| empty.get(field.node) == Some(&true))
            {
                (empty[at], settled) = (true, false);
            }
        }
        if settled {
            break;
        }
    }
    empty
}

struct Compiler {
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
}

impl Compiler {
    fn node(&mut self, schema: &Value, namespace: &str, depth: usize) -> Result<NodeId, String> {
        if depth > DEPTH_MAX || self.nodes.len() > NODES_MAX {
            return Err("its schema is too deep or too large".to_owned());
        }
        match schema {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                let branches =
                    branches.iter().map(|branch| self.node(branch, namespace, depth + 1)).collect::<Result<_, _>>()?;
                Ok(self.add(Node::Union(branches)))
            }
            Value::Object(object) => {
                let kind = object.get("type").ok_or("a type of its schema has no \"type\"")?;
                match kind.as_str() {
                    Some("record" | "error") => self.record(schema, namespace, depth),
                    Some("array") => {
                        let items = self.node(member(schema, "items")?, namespace, depth + 1)?;
                        Ok(self.add(Node::Array(items)))
                    }
                    Some("map") => {
                        let values = self.node(member(schema, "values")?, namespace, depth + 1)?;
                        Ok(self.add(Node::Map(values)))
                    }
                    Some("enum") => {
                        let id = self.add(Node::Varint);
                        self.name(schema, namespace, id)
                    }
                    Some("fixed") => {
                        let size = member(schema, "size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                        let id = self.add(Node::Fixed(size.ok_or("a fixed type has no size")?));
                        self.name(schema, namespace, id)
                    }
                    // a primitive with attributes, or a type in a wrapping of its own
                    _ => self.node(kind, namespace, depth + 1),
                }
            }
            _ => Err("its schema is no Avro schema".to_owned()),
        }
    }

    fn record(&mut self, schema: &Value, namespace: &str, depth: usize) -> Result<NodeId, String> {
        // named before its fields are read: they may refer to it
        let id = self.add(Node::Record(Vec::new()));
        self.name(schema, namespace, id)?;
        let full = full_name(schema, namespace)?;
        let inside = full.rsplit_once('.').map_or("", |(namespace, _)| namespace);
        let fields = member(schema, "fields")?.as_array().ok_or("a record's fields are no list")?;
        let fields: Vec<Field> = fields
            .iter()
            .map(|field| {
                let id = field.get("field-id").and_then(Value::as_i64).and_then(|id| i32::try_from(id).ok());
                let node = self.node(member(field, "type")?, inside, depth + 1)?;
                Ok(Field { id, node, slot: None, is_opened: false })
            })
            .collect::<Result<_, String>>()?;
        if let Some(node) = self.nodes.get_mut(id) {
            *node = Node::Record(fields);
        }
        Ok(id)
    }

    fn named(&mut self, name: &str, namespace: &str) -> Result<NodeId, String> {
        let node = match name {
            "null" => Node::Nothing,
            "boolean" => Node::Fixed(1),
            "int" | "long" => Node::Varint,
            "float" => Node::Fixed(4),
            "double" => Node::Fixed(8),
            "bytes" | "string" => Node::Bytes,
            _ => {
                let here = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") };
                let known = self.names.get(&here).or_else(|| self.names.get(name));
                return known.copied().ok_or_else(|| format!("its schema names an unknown type {name:?}"));
            }
        };
        Ok(self.add(node))
    }

    fn name(&mut self, schema: &Value, namespace: &str, id: NodeId) -> Result<NodeId, String> {
        self.names.insert(full_name(schema, namespace)?, id);
        Ok(id)
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

fn full_name(schema: &Value, namespace: &str) -> Result<String, String> {
    let name = member(schema, "name")?.as_str().ok_or("a named type's name is no text")?;
    let namespace = schema.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
    Ok(if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") })
}

fn member<'a>(schema: &'a Value, name: &str) -> Result<&'a Value, String> {
    schema.get(name).ok_or_else(|| format!("a type of its schema has no {name:?}"))
}
