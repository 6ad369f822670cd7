//! The first pass over a configuration: keys are known and given once, substitutions are made, each value has its form.
//!
//! What must hold after it: every text in the tree is substituted, and every problem of a single value has been noted, so
//! that the second pass (`read.rs`) only needs to look at how values belong together.

use super::Environment;
use super::problem::Problem;
use super::schema::{self, Form};
use super::values;
use super::yaml::{Entry, Node, Value};

/// Checks a whole tree and substitutes in place. `root` is the path in the schema at which the tree stands.
pub(super) fn check(tree: &mut Node, root: &str, environment: &Environment<'_>) -> Vec<Problem> {
    let mut pass = Check { environment, problems: Vec::new() };
    match root {
        "" => pass.section(tree, "", ""),
        list => pass.list(tree, list, list),
    }
    pass.problems
}

struct Check<'a> {
    environment: &'a Environment<'a>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn note(&mut self, line: u64, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(line, key, message));
    }

    /// `path` is the key in the schema, `shown` the same with the user's own names.
    fn value(&mut self, node: &mut Node, form: Form, path: &str, shown: &str) {
        match form {
            Form::Section => self.section(node, path, shown),
            Form::Named => self.named(node, path, shown),
            Form::List => self.list(node, path, shown),
            Form::Texts => self.texts(node, shown),
            Form::ChoiceOrSection(_) if matches!(node.value, Value::Map(_)) => self.section(node, path, shown),
            _ => self.scalar(node, form, shown),
        }
    }

    fn section(&mut self, node: &mut Node, path: &str, shown: &str) {
        let Some(entries) = self.entries(node, shown, "a section with keys") else { return };
        let names = schema::names_under(path);
        for entry in entries {
            let child = joined(path, &entry.key);
            let shown = joined(shown, &entry.key);
            let plain = entry.key.strip_suffix("-file").map(|name| joined(path, name));
            if entry.key.contains(['.', '[', '<']) {
                self.note(entry.line, &shown, unknown(&entry.key, path, &names));
            } else if let Some(key) = schema::find(&child) {
                self.value(&mut entry.node, key.form, &child, &shown);
            } else if plain.and_then(|path| schema::find(&path)).is_some_and(|key| key.form == Form::Secret) {
                self.scalar(&mut entry.node, Form::Path, &shown);
            } else {
                self.note(entry.line, &shown, unknown(&entry.key, path, &names));
            }
        }
    }

    fn named(&mut self, node: &mut Node, path: &str, shown: &str) {
        let Some(entries) = self.entries(node, shown, "sections under names of your choice") else { return };
        for entry in entries {
            self.section(&mut entry.node, &format!("{path}.<name>"), &joined(shown, &entry.key));
        }
    }

    fn list(&mut self, node: &mut Node, path: &str, shown: &str) {
        match &mut node.value {
            Value::List(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    self.section(item, &format!("{path}[]"), &format!("{shown}[{at}]"));
                }
            }
            _ => {
                let message = format!("must be a list, but is {}: begin each item with \"- \"", node.what());
                self.note(node.line, shown, message);
            }
        }
    }

    fn texts(&mut self, node: &mut Node, shown: &str) {
        let Some(entries) = self.entries(node, shown, "keys with one value each") else { return };
        for entry in entries {
            self.scalar(&mut entry.node, Form::Secret, &joined(shown, &entry.key));
        }
    }

    fn scalar(&mut self, node: &mut Node, form: Form, shown: &str) {
        let Value::Text(text) = &mut node.value else {
            let message = format!("must be {}, but is {}", wanted(form), node.what());
            return self.note(node.line, shown, message);
        };
        match substitute(text, self.environment) {
            Ok(substituted) => *text = substituted,
            Err(messages) => {
                for message in messages {
                    self.note(node.line, shown, message);
                }
                return node.value = Value::Null;
            }
        }
        if let Err(message) = values::check(form, text) {
            self.note(node.line, shown, message);
        }
    }

    /// The entries of a map, each key once; duplicates are noted.
    fn entries<'n>(&mut self, node: &'n mut Node, shown: &str, wanted: &str) -> Option<&'n mut [Entry]> {
        let (line, what) = (node.line, node.what());
        let Value::Map(entries) = &mut node.value else {
            self.note(line, shown, format!("must be {wanted}, but is {what}"));
            return None;
        };
        for at in 1..entries.len() {
            let (before, rest) = entries.split_at(at);
            if let Some(first) = before.iter().find(|entry| entry.key == rest[0].key) {
                let message = format!("is given twice, first in line {}: keep one of them", first.line);
                self.note(rest[0].line, &joined(shown, &first.key), message);
            }
        }
        Some(entries)
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn wanted(form: Form) -> String {
    match form {
        Form::Choice(words) => words.join(" or "),
        Form::ChoiceOrSection(words) => format!("{} or a section", words.join(" or ")),
        Form::Integer(min, max) => format!("a whole number from {min} to {max}"),
        Form::Secret => "a single value".into(),
        Form::Bool => form.name(),
        Form::Address | Form::Uri(_) => format!("an {}", form.name().replace("URI (", "URI of scheme (")),
        _ => format!("a {}", form.name()),
    }
}

fn unknown(key: &str, path: &str, names: &[String]) -> String {
    if let Some(name) = schema::nearest(key, names.iter().map(String::as_str)) {
        return format!("there is no such key: did you mean {name:?}?");
    }
    match schema::elsewhere(key).filter(|place| *place != path) {
        Some(place) => format!("there is no such key here: it belongs under {place:?}"),
        None if names.is_empty() => "there is no such key, and nothing can be written here".into(),
        None => format!("there is no such key: write one of {}", names.join(", ")),
    }
}

/// Replaces `${NAME}` and `${NAME:-default}`; `$${` stands for `${`. Every variable that is missing is an error of its own.
fn substitute(text: &str, environment: &Environment<'_>) -> Result<String, Vec<String>> {
    let (mut done, mut rest, mut wrong) = (String::with_capacity(text.len()), text, Vec::new());
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            done.push_str(before);
            done.push_str("${");
            rest = &from[2..];
            continue;
        }
        done.push_str(before);
        let Some((inner, after)) = from[2..].split_once('}') else {
            wrong.push("\"${\" is not closed: write ${NAME}, or $${ for the characters themselves".into());
            rest = "";
            break;
        };
        match lookup(inner, environment) {
            Ok(value) => done.push_str(&value),
            Err(message) => wrong.push(message),
        }
        rest = after;
    }
    done.push_str(rest);
    if wrong.is_empty() { Ok(done) } else { Err(wrong) }
}

fn lookup(inner: &str, environment: &Environment<'_>) -> Result<String, String> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(
            "the name of an environment variable has letters, digits and '_' only: write ${NAME} or ${NAME:-default}"
                .into(),
        );
    }
    match (environment.variable(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            Err(format!("the environment variable {name} is not set: set it, or write ${{{name}:-default}}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn substituted(text: &str) -> Result<String, Vec<String>> {
        let variables = |name: &str| match name {
            "HOST" => Some("catalog".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        substitute(text, &Environment::new(&variables, "."))
    }

    #[test]
    fn variables_are_substituted() {
        for (text, wanted) in [
            ("plain $HOME", "plain $HOME"),
            ("http://${HOST}:1/${HOST}", "http://catalog:1/catalog"),
            ("${NONE:-fallback}", "fallback"),
            ("${EMPTY:-fallback}", "fallback"),
            ("${EMPTY}", ""),
            ("${NONE:-}", ""),
            ("$${HOST}", "${HOST}"),
            ("${NONE:-a:-b}", "a:-b"),
        ] {
            assert_eq!(substituted(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn every_missing_variable_is_named() {
        let wrong = substituted("${ONE}${TWO}${3}${").expect_err("nothing there is set");
        assert_eq!(wrong.len(), 4);
        assert!(wrong[0].contains("ONE") && wrong[1].contains("TWO"), "{wrong:?}");
    }
}
