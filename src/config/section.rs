//! A section of a checked tree, read key by key.
//!
//! Values that the first pass refused read as absent here, so that nothing is complained about twice; a required key that is
//! absent is noted when its section is opened.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::Secret;

use crate::storage::Location;

use super::problem::Problem;
use super::schema::{self, Form, Presence};
use super::values;
use super::yaml::{Entry, Node, Value};
use super::{Environment, read_file};

/// What all sections of one reading share.
pub(super) struct Reading<'a> {
    pub(super) environment: &'a Environment<'a>,
    problems: RefCell<&'a mut Vec<Problem>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(environment: &'a Environment<'a>, problems: &'a mut Vec<Problem>) -> Self {
        Reading { environment, problems: RefCell::new(problems) }
    }

    pub(super) fn note(&self, line: u64, key: &str, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem::new(line, key, message));
    }
}

/// One section, there or not.
pub(super) struct Section<'a> {
    reading: &'a Reading<'a>,
    path: String,
    pub(super) shown: String,
    pub(super) line: u64,
    entries: &'a [Entry],
}

impl<'a> Section<'a> {
    /// Opens a section that is there; `path` is its path in the schema, `shown` the same with the user's own names.
    pub(super) fn open(reading: &'a Reading<'a>, node: &'a Node, line: u64, path: &str, shown: &str) -> Self {
        let Value::Map(entries) = &node.value else { return Self::absent(reading, path) };
        let section = Section { reading, path: path.to_owned(), shown: shown.to_owned(), line, entries };
        for key in schema::required_under(path) {
            let twin = format!("{}-file", key.name());
            if !entries.iter().any(|e| e.key == key.name() || (key.form == Form::Secret && e.key == twin)) {
                let message = format!("is missing: write, for example, \"{}\"", key.example());
                reading.note(line, &section.shown_key(key.name()), message);
            }
        }
        section
    }

    /// A section that is not there: it reads as its defaults.
    pub(super) fn absent(reading: &'a Reading<'a>, path: &str) -> Self {
        Section { reading, path: path.to_owned(), shown: path.to_owned(), line: 0, entries: &[] }
    }

    /// A section inside, there or not.
    pub(super) fn child(&self, name: &str) -> Section<'a> {
        self.child_if_there(name).unwrap_or_else(|| Self::absent(self.reading, &self.schema_key(name)))
    }

    /// A section inside, if it is there.
    pub(super) fn child_if_there(&self, name: &str) -> Option<Section<'a>> {
        let entry = self.entry(name)?;
        matches!(entry.node.value, Value::Map(_)).then(|| {
            Section::open(self.reading, &entry.node, entry.line, &self.schema_key(name), &self.shown_key(name))
        })
    }

    /// The sections of a list inside.
    pub(super) fn list(&self, name: &str) -> Vec<Section<'a>> {
        let Some(entry) = self.entry(name) else { return Vec::new() };
        Self::items(self.reading, &entry.node, &self.schema_key(name), &self.shown_key(name))
    }

    /// The sections of a list; `path` is the list's own path in the schema.
    pub(super) fn items(reading: &'a Reading<'a>, node: &'a Node, path: &str, shown: &str) -> Vec<Section<'a>> {
        let Value::List(items) = &node.value else { return Vec::new() };
        let path = format!("{path}[]");
        let sections = items.iter().enumerate().filter(|(_, item)| matches!(item.value, Value::Map(_)));
        sections.map(|(at, item)| Section::open(reading, item, item.line, &path, &format!("{shown}[{at}]"))).collect()
    }

    /// The sections under names of the user's choice inside.
    pub(super) fn named(&self, name: &str) -> Vec<(&'a str, Section<'a>)> {
        let Some(Entry { node: Node { value: Value::Map(entries), .. }, .. }) = self.entry(name) else {
            return Vec::new();
        };
        let path = format!("{}.<name>", self.schema_key(name));
        let shown = self.shown_key(name);
        let maps = entries.iter().filter(|e| matches!(e.node.value, Value::Map(_)));
        maps.map(|e| {
            (e.key.as_str(), Section::open(self.reading, &e.node, e.line, &path, &format!("{shown}.{}", e.key)))
        })
        .collect()
    }

    /// Notes a problem of a key of this section, at its line if it is there.
    pub(super) fn note(&self, name: &str, message: impl Into<String>) {
        let line = self.entry(name).map_or(self.line, |entry| entry.line);
        let key = if name.is_empty() { self.shown.clone() } else { self.shown_key(name) };
        self.reading.note(line, &key, message);
    }

    /// Whether a key is there, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// A folder in storage, without slashes at its end; noted when it can be none.
    pub(super) fn folder(&self, name: &str) -> Option<String> {
        let folder = self.text(name)?.trim_end_matches('/').to_owned();
        if let Err(error) = Location::new(&folder).check() {
            self.note(name, error.message());
        }
        Some(folder)
    }

    /// A value as it was written, or the schema's default.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        match self.entry(name).map(|entry| &entry.node.value) {
            Some(Value::Text(text)) => Some(text),
            _ => match schema::find(&self.schema_key(name)).map(|key| key.presence) {
                Some(Presence::Default(text)) => Some(text),
                _ => None,
            },
        }
    }

    /// A value of the form that the schema states; one that was refused before is absent.
    fn parsed<T>(&self, name: &str, parse: impl Fn(Form, &str) -> Result<T, String>) -> Option<T> {
        let form = schema::find(&self.schema_key(name))?.form;
        self.text(name).and_then(|text| parse(form, text).ok())
    }

    /// A URI without a trailing slash.
    pub(super) fn uri(&self, name: &str) -> Option<String> {
        self.parsed(name, |form, text| match form {
            Form::Uri(schemes) => values::uri(text, schemes).map(|uri| trimmed(&uri).to_owned()),
            _ => Err("not a URI".into()),
        })
    }

    pub(super) fn integer(&self, name: &str) -> Option<u64> {
        self.parsed(name, |form, text| match form {
            Form::Integer(min, max) => values::integer(text, min, max),
            _ => Err("not a number".into()),
        })
    }

    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        self.parsed(name, |_, text| values::duration(text))
    }

    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.parsed(name, |_, text| values::size(text))
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.parsed(name, |_, text| values::flag(text))
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).filter(|text| !text.is_empty()).map(|text| self.reading.environment.path(text))
    }

    /// A secret, written here or in a file of its own (without the line end that editors add).
    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        let twin = format!("{name}-file");
        if self.has(name) && self.has(&twin) {
            self.note(&twin, format!("{name:?} is given too: keep one of them"));
            return None;
        }
        let value = match self.path(&twin) {
            Some(path) => match read_file(&path) {
                Ok(text) => text.trim_end_matches(['\n', '\r']).to_owned(),
                Err(message) => {
                    self.note(&twin, message);
                    return None;
                }
            },
            None => self.text(name)?.to_owned(),
        };
        if value.is_empty() {
            self.note(if self.has(name) { name } else { &twin }, "it is empty: write a value or leave the key out");
            return None;
        }
        Some(Secret::new(value))
    }

    /// Free keys with text as values.
    pub(super) fn texts(&self, name: &str) -> BTreeMap<String, Secret> {
        self.free(name).into_iter().map(|(key, value, _)| (key.to_owned(), Secret::new(value))).collect()
    }

    /// Free keys with their values and lines.
    pub(super) fn free(&self, name: &str) -> Vec<(&'a str, &'a str, u64)> {
        let Some(Entry { node: Node { value: Value::Map(entries), .. }, .. }) = self.entry(name) else {
            return Vec::new();
        };
        let texts = entries.iter().filter_map(|e| match &e.node.value {
            Value::Text(text) => Some((e.key.as_str(), text.as_str(), e.line)),
            _ => None,
        });
        texts.collect()
    }

    fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == name)
    }

    fn schema_key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn shown_key(&self, name: &str) -> String {
        if self.shown.is_empty() { name.to_owned() } else { format!("{}.{name}", self.shown) }
    }
}

/// A location or URI without slashes at its end.
fn trimmed(uri: &str) -> &str {
    let short = uri.trim_end_matches('/');
    // `file:///` and `s3://` would lose what makes them locations
    if short.ends_with(':') { uri } else { short }
}
