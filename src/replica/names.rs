//! Which tables are wanted, and what a folder's place says of its table's name.
//!
//! Catalogs lay tables out as `warehouse/namespace…/table`; Hive, Glue and Hadoop append `.db` to databases, and Trino, Nessie and others a dash and a
//! uuid to tables, so that one that is dropped and made again has another folder.

use crate::error::{Error, Result};
use crate::model::{Ident, Namespace};

/// The namespace of tables that lie at the top.
const TOP: &str = "default";
/// Hexadecimal digits of a uuid.
const UUID_DIGITS: usize = 32;

/// Which tables of a replica are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Names {
    /// Patterns of `namespace.table` in which `*` stands for any text; nothing included means everything.
    pub fn new(include: Vec<String>, exclude: Vec<String>) -> Names {
        Names { include, exclude }
    }

    /// Whether a table is wanted.
    pub fn wants(&self, ident: &Ident) -> bool {
        let name = ident.to_string();
        let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, &name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

impl Names {
    /// Whether tables of a namespace may be wanted: all of them, or one by its name's beginning.
    pub fn wants_in(&self, namespace: &Namespace) -> bool {
        let begin = format!("{namespace}.");
        let may_be_in = |pattern: &String| {
            let plain = pattern.split('*').next().unwrap_or_default();
            plain.starts_with(&begin) || begin.starts_with(plain) && plain.len() < pattern.len()
        };
        self.include.is_empty() || self.include.iter().any(may_be_in)
    }
}

/// How tables' folders lie below the places of the map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Layout {
    /// `namespace…/table`, at any depth; `.db` behind a namespace is dropped.
    #[default]
    Usual,
    /// One form for each level.
    Pattern(Vec<Level>),
}

/// What one level of a [`Layout::Pattern`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// Any name, which says nothing: `*`.
    Any,
    /// This name.
    Named(String),
    /// A level of the namespace, between these: `{namespace}.db`.
    Namespace(String, String),
    /// The table's name, between these: `{table}`.
    Table(String, String),
}

impl Layout {
    /// From a pattern such as `*/{namespace}.db/{table}`. The last level must be the table's.
    pub fn parse(pattern: &str) -> Result<Layout> {
        let levels = pattern.trim_matches('/').split('/').map(level).collect::<Result<Vec<_>>>()?;
        let is_table = |level: &Level| matches!(level, Level::Table(..));
        let tables = levels.iter().filter(|level| is_table(level)).count();
        if tables != 1 || !levels.last().is_some_and(is_table) {
            return Err(Error::bad_request(format!("layout {pattern:?} must end with {{table}}, and say it once")));
        }
        Ok(Layout::Pattern(levels))
    }

    /// The name of the table whose folder has these levels below a place of the map.
    pub(super) fn name(&self, levels: &[String]) -> Result<Ident> {
        let Layout::Pattern(forms) = self else { return of_folder(levels) };
        let other = || Error::bad_request(format!("{} is not laid out so", levels.join("/")));
        if forms.len() != levels.len() {
            return Err(other());
        }
        let (mut namespace, mut table) = (Vec::new(), None);
        for (form, level) in forms.iter().zip(levels) {
            let between = |before: &str, after: &str| Some(level.strip_prefix(before)?.strip_suffix(after)?.to_owned());
            match form {
                Level::Any => {}
                Level::Named(name) if name == level => {}
                Level::Named(_) => return Err(other()),
                Level::Namespace(before, after) => namespace.push(between(before, after).ok_or_else(other)?),
                Level::Table(before, after) => table = between(before, after),
            }
        }
        named(namespace, &table.ok_or_else(other)?)
    }
}

fn level(text: &str) -> Result<Level> {
    let around = |(before, after): (&str, &str)| (before.to_owned(), after.to_owned());
    let form = match (text.split_once("{namespace}"), text.split_once("{table}")) {
        (Some(sides), None) => Level::Namespace(around(sides).0, around(sides).1),
        (None, Some(sides)) => Level::Table(around(sides).0, around(sides).1),
        (None, None) if text == "*" => Level::Any,
        (None, None) if !text.is_empty() && !text.contains(['*', '{', '}']) => Level::Named(text.to_owned()),
        _ => {
            let message =
                format!("level {text:?} of a layout must be *, a name, or hold {{namespace}} or {{table}} once");
            return Err(Error::bad_request(message));
        }
    };
    Ok(form)
}

/// The name of the table whose folder has these levels below the warehouse.
fn of_folder(levels: &[String]) -> Result<Ident> {
    let Some((table, above)) = levels.split_last() else {
        return Err(Error::bad_request("a warehouse is no table's folder"));
    };
    let level = |level: &String| level.strip_suffix(".db").unwrap_or(level).to_owned();
    named(above.iter().map(level).collect(), table)
}

fn named(mut namespace: Vec<String>, table: &str) -> Result<Ident> {
    if namespace.is_empty() {
        namespace.push(TOP.to_owned());
    }
    Ident::new(Namespace::new(namespace)?, without_uuid(table))
}

fn without_uuid(name: &str) -> &str {
    // the last dash before 32 digits, whether they are written with dashes or not
    for (at, _) in name.match_indices('-') {
        let rest = &name[at + 1..];
        let digits = rest.bytes().filter(|b| *b != b'-');
        if at > 0 && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') && digits.count() == UUID_DIGITS {
            return &name[..at];
        }
    }
    name
}

/// Whether a text fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> String {
        let levels: Vec<String> = path.split('/').map(str::to_owned).collect();
        of_folder(&levels).expect("is a name").to_string()
    }

    #[test]
    fn folders_say_names_as_catalogs_lay_them_out() {
        assert_eq!(name("sales/orders"), "sales.orders");
        assert_eq!(name("sales.db/orders"), "sales.orders");
        assert_eq!(name("a/b/c/orders"), "a.b.c.orders");
        assert_eq!(name("orders"), "default.orders");
        assert_eq!(name("sales/orders-0f8fad5bd9cb469fa16570867728950e"), "sales.orders");
        assert_eq!(name("sales/my-orders_0-0f8fad5b-d9cb-469f-a165-70867728950e"), "sales.my-orders_0");
        assert_eq!(name("sales/orders-2024"), "sales.orders-2024");
        assert_eq!(name("sales/-0f8fad5bd9cb469fa16570867728950e"), "sales.-0f8fad5bd9cb469fa16570867728950e");
    }

    #[test]
    fn a_layout_says_where_names_are() {
        let name = |layout: &str, path: &str| {
            let levels: Vec<String> = path.split('/').map(str::to_owned).collect();
            Layout::parse(layout).expect(layout).name(&levels).ok().map(|ident| ident.to_string())
        };
        let named = |text: &str| Some(text.to_owned());
        assert_eq!(name("*/{namespace}.db/{table}", "eu/sales.db/orders"), named("sales.orders"));
        assert_eq!(name("*/{namespace}.db/{table}", "eu/sales/orders"), None);
        assert_eq!(name("{namespace}/{namespace}/tables/t_{table}", "a/b/tables/t_orders"), named("a.b.orders"));
        assert_eq!(name("{namespace}/{namespace}/tables/t_{table}", "a/b/views/t_orders"), None);
        assert_eq!(name("{table}", "orders-0f8fad5bd9cb469fa16570867728950e"), named("default.orders"));
        for wrong in ["", "{table}/x", "{namespace}/x", "{table}{table}/{table}", "a*/{table}", "{x}/{table}"] {
            assert!(Layout::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_include_and_exclude() {
        let ident = |text: &str| of_folder(&text.split('.').map(str::to_owned).collect::<Vec<_>>()).expect("a name");
        let all = Names::default();
        assert!(all.wants(&ident("a.b")));
        let some = Names::new(vec!["sales.*".into(), "hr.people".into()], vec!["*_tmp".into(), "sales.*x*y".into()]);
        for (text, wanted) in [
            ("sales.orders", true),
            ("hr.people", true),
            ("hr.people2", false),
            ("hr.pay", false),
            ("sales.orders_tmp", false),
            ("sales.axbyy", false),
            ("sales.axbyz", true),
        ] {
            assert_eq!(some.wants(&ident(text)), wanted, "{text}");
        }
    }
}
