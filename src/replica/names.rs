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

/// The name of the table whose folder has these levels below the warehouse.
pub(super) fn of_folder(levels: &[String]) -> Result<Ident> {
    let Some((table, above)) = levels.split_last() else {
        return Err(Error::bad_request("a warehouse is no table's folder"));
    };
    let mut namespace: Vec<String> =
        above.iter().map(|level| level.strip_suffix(".db").unwrap_or(level).to_owned()).collect();
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
