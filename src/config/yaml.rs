//! A configuration file as a tree in which every key and value knows its line.
//!
//! Scalars stay the text that was written (`8181`, `1.10`, `yes`), so that substitution works everywhere and nothing is
//! guessed; what a text must be is the schema's business. Nothing here is `Debug`: a tree holds secrets.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use super::problem::Problem;

/// Deepest nesting of a configuration file; the schema itself needs six levels.
const DEPTH_MAX: usize = 32;

/// A value and the line where it begins.
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) value: Value,
}

/// What a value is.
pub(super) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map with its own line.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u64,
    pub(super) node: Node,
}

impl Node {
    /// For messages: what somebody wrote instead of what was wanted.
    pub(super) fn what(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a section",
        }
    }
}

/// Parses a whole file; an empty one is an empty section. Only what is not YAML at all is an error here.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_documents: 1 },
    };
    let empty = text.lines().all(|line| line.trim_start().starts_with('#') || line.trim().is_empty());
    if empty {
        return Ok(Node { line: 1, value: Value::Map(Vec::new()) });
    }
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(settle(raw, text)),
        Err(error) => {
            let line = error.location().map_or(1, |at| at.line());
            let message = error.without_snippet().to_string();
            let said = message.split(" at line ").next().unwrap_or(&message);
            let at = usize::try_from(line).ok().and_then(|line| text.lines().nth(line.saturating_sub(1))).unwrap_or("");
            // the mistake that substitution invites
            let hint = if at.contains("${") { ": inside { … } write \"${NAME}\" in quotes" } else { "" };
            Err(Problem::new(line, "", format!("this is not valid YAML: {said}{hint}")))
        }
    }
}

/// What the deserialiser tells apart; `Typed` is a number or a boolean whose text is looked up in the source.
enum Raw {
    Null,
    Typed(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn settle(raw: Spanned<Raw>, source: &str) -> Node {
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Typed(parsed) => Value::Text(written(&raw.defined, source).unwrap_or(parsed)),
        Raw::Text(text) => Value::Text(text),
        Raw::List(items) => Value::List(items.into_iter().map(|item| settle(item, source)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry { line: key.referenced.line(), key: key.value, node: settle(value, source) })
                .collect(),
        ),
    };
    Node { line: raw.referenced.line(), value }
}

/// The text of a plain scalar as it stands in the file.
fn written(at: &Location, source: &str) -> Option<String> {
    let start = usize::try_from(at.span().byte_offset()?).ok()?;
    let length = usize::try_from(at.span().byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(length)?)?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree on one line, each key and value with its line.
    fn outline(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".into(),
            Value::Text(text) => format!("{text:?}@{}", node.line),
            Value::List(items) => format!("[{}]", items.iter().map(outline).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let inner = entries.iter().map(|e| format!("{}@{}: {}", e.key, e.line, outline(&e.node)));
                format!("{{{}}}", inner.collect::<Vec<_>>().join(", "))
            }
        }
    }

    #[test]
    fn every_key_knows_its_line_and_every_scalar_its_text() {
        let text = "# first\nport: 8181\nversion: 1.10   # why\nold: 0755\nhex: 0x1F\non: true\nnothing:\nquoted: \"yes\"\n\
                    list:\n  - a\n  - {b: 1_000}\nport: 2\n";
        let tree = parse(text).unwrap_or_else(|p| panic!("{p}"));
        assert_eq!(
            outline(&tree),
            r#"{port@2: "8181"@2, version@3: "1.10"@3, old@4: "0755"@4, hex@5: "0x1F"@5, on@6: "true"@6, nothing@7: null, quoted@8: "yes"@8, list@9: ["a"@10, {b@11: "1_000"@11}], port@12: "2"@12}"#
        );
    }

    #[test]
    fn broken_yaml_is_one_problem_with_its_line() {
        let problem = parse("a: 1\nb: [1, 2\nc: 3\n").err().map(|p| p.to_string()).unwrap_or_default();
        assert!(problem.contains("not valid YAML"), "{problem}");
    }

    #[test]
    fn an_empty_file_is_an_empty_section() {
        assert!(
            parse("\n# nothing\n").is_ok_and(|node| matches!(node.value, Value::Map(entries) if entries.is_empty()))
        );
    }
}
