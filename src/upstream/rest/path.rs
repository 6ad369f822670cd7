//! Paths and queries as the upstream wants them: its prefix, its namespace separator, its escapes.
//!
//! What must hold: a name never becomes a path of its own: `.` and `..`, which servers resolve even when escaped, are refused.
//! Levels are escaped as Java's `RESTUtil` does it, but for a space, which is `%20` (every server reads that, not all read `+`).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Result};
use crate::model::{Ident, Namespace, Operation};
use crate::upstream::{Request, Target};

/// What may stand unescaped in a name.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// What may stand unescaped in a prefix that the upstream states: it may be escaped already.
const PREFIX: &AsciiSet =
    &NAME.remove(b'%').remove(b'/').remove(b'@').remove(b':').remove(b'=').remove(b',').remove(b'+');

/// The query parameter that carries an upstream's own signing route through ours.
pub(super) const SIGNER_PARAMETER: &str = "lifeboat-signer";

/// How an upstream writes its paths.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    /// Escaped; empty when the upstream has none.
    prefix: String,
    /// Between the levels of a namespace in a path, escaped.
    separator: String,
    /// The same unescaped, for queries.
    separator_plain: String,
}

impl Paths {
    /// From the upstream's `prefix` and `namespace-separator`.
    pub(super) fn new(prefix: &str, separator: Option<&str>) -> Result<Self> {
        let prefix = encode_prefix(prefix.trim_matches('/'));
        if prefix.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(Error::internal("the upstream's prefix holds dot segments"));
        }
        let separator = separator.filter(|s| !s.is_empty()).unwrap_or("%1F");
        let separator = utf8_percent_encode(separator, PREFIX).to_string();
        let separator_plain = percent_decode_str(&separator).decode_utf8_lossy().into_owned();
        Ok(Paths { prefix, separator, separator_plain })
    }

    /// The path of an operation from `v1/` on.
    pub(super) fn path(&self, operation: Operation, target: &Target) -> Result<String> {
        let mut out = String::with_capacity(128);
        for part in operation.route().path.split('/').filter(|part| !part.is_empty()) {
            if part == "{prefix}" && self.prefix.is_empty() {
                continue;
            }
            if !out.is_empty() {
                out.push('/');
            }
            match part {
                "{prefix}" => out.push_str(&self.prefix),
                "{namespace}" => self.push_namespace(&mut out, namespace(target)?)?,
                "{table}" | "{view}" | "{function}" => push_name(&mut out, &ident(target)?.name)?,
                "{plan-id}" => match target {
                    Target::Plan(_, plan) => push_name(&mut out, plan)?,
                    _ => return Err(Error::internal(format!("{} names no plan", operation.name()))),
                },
                fixed => out.push_str(fixed),
            }
        }
        Ok(out)
    }

    /// Path and query of a client's request. `warehouse` is ours and stays here.
    pub(super) fn path_and_query(&self, operation: Operation, request: &Request) -> Result<String> {
        let mut out = self.path(operation, &request.target)?;
        let mut separator = '?';
        for (key, value) in &request.query {
            if key == "warehouse" || key == SIGNER_PARAMETER {
                continue;
            }
            out.push(separator);
            separator = '&';
            out.extend(utf8_percent_encode(key, NAME));
            out.push('=');
            match key.as_str() {
                "parent" => out.extend(utf8_percent_encode(&self.parent(value), NAME)),
                "referenced-by" => out.extend(utf8_percent_encode(&self.referenced_by(value), NAME)),
                _ => out.extend(utf8_percent_encode(value, NAME)),
            }
        }
        Ok(out)
    }

    /// `parent` with the upstream's separator. PyIceberg escapes it twice, so it may arrive escaped.
    fn parent(&self, value: &str) -> String {
        if value.contains('\u{1f}') || !value.to_ascii_lowercase().contains("%1f") {
            return value.replace('\u{1f}', &self.separator_plain);
        }
        percent_decode_str(value).decode_utf8_lossy().replace('\u{1f}', &self.separator_plain)
    }

    /// `referenced-by` names views by levels and name, each escaped, joined by the separator.
    fn referenced_by(&self, value: &str) -> String {
        value.replace('\u{1f}', &self.separator_plain).replace("%1F", &self.separator).replace("%1f", &self.separator)
    }

    fn push_namespace(&self, out: &mut String, namespace: &Namespace) -> Result<()> {
        if let [only] = namespace.levels() {
            return push_name(out, only);
        }
        for (at, level) in namespace.levels().iter().enumerate() {
            if at > 0 {
                out.push_str(&self.separator);
            }
            out.extend(utf8_percent_encode(level, NAME));
        }
        Ok(())
    }

    /// The table of an upstream's route `v1/{prefix}/namespaces/{namespace}/tables/{table}/{leaf}`, if it is one.
    pub(super) fn table_of(&self, path: &str, leaf: &str) -> Option<Ident> {
        let rest = path.trim_start_matches('/').strip_prefix("v1/")?;
        let (before, after) = match rest.strip_prefix("namespaces/") {
            Some(after) => ("", after),
            None => rest.split_once("/namespaces/")?,
        };
        if !before.is_empty() && decode(before) != decode(&self.prefix) {
            return None;
        }
        let mut segments = after.split('/');
        let (namespace, tables, table, end) = (segments.next()?, segments.next()?, segments.next()?, segments.next()?);
        if tables != "tables" || end != leaf || segments.next().is_some() {
            return None;
        }
        let escaped = namespace.replace(&self.separator.to_ascii_lowercase(), &self.separator);
        let levels = escaped.split(self.separator.as_str()).map(decode).collect();
        Ident::new(Namespace::new(levels).ok()?, decode(table)).ok()
    }
}

/// The path of a table's sub-route at our own door, from `v1/` on.
pub fn our_route(catalog: &str, ident: &Ident, leaf: &str) -> String {
    let levels: Vec<_> = ident.namespace.levels().iter().map(|l| utf8_percent_encode(l, NAME).to_string()).collect();
    let name = utf8_percent_encode(&ident.name, NAME);
    format!("v1/{catalog}/namespaces/{}/tables/{name}/{leaf}", levels.join("%1F"))
}

/// A text as a query's value.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NAME).to_string()
}

/// Whether `path` (from `v1/` on, without query) can only be a signing route of a kind that catalogs have besides the
/// specification's: Iceberg's old default, and Nessie's. Everything else must not be reachable through [`SIGNER_PARAMETER`].
pub(super) fn is_foreign_signer(path: &str) -> bool {
    const ROUTES: [&str; 6] = ["namespaces", "tables", "views", "transactions", "oauth", "config"];
    let segments: Vec<String> = path.split('/').map(decode).collect();
    let plain = segments.iter().all(|s| !s.is_empty() && s != "." && s != ".." && !s.contains(['/', '\\', '\0', ';']));
    if !plain || segments[0] != "v1" || segments.iter().any(|s| ROUTES.contains(&s.as_str())) {
        return false;
    }
    match segments.as_slice() {
        [_, aws, s3, sign] => {
            (aws == "aws" && s3 == "s3" && sign == "sign") || matches!(s3.as_str(), "s3sign" | "s3-sign")
        }
        [_, _, aws, s3, sign] => aws == "aws" && s3 == "s3" && sign == "sign",
        _ => false,
    }
}

fn namespace(target: &Target) -> Result<&Namespace> {
    match target {
        Target::Namespace(namespace) => Ok(namespace),
        Target::Object(ident) | Target::Plan(ident, _) => Ok(&ident.namespace),
        Target::Catalog => Err(Error::internal("the operation has no namespace")),
    }
}

fn ident(target: &Target) -> Result<&Ident> {
    match target {
        Target::Object(ident) | Target::Plan(ident, _) => Ok(ident),
        _ => Err(Error::internal("the operation names no table or view")),
    }
}

fn push_name(out: &mut String, name: &str) -> Result<()> {
    if name == "." || name == ".." {
        return Err(Error::bad_request(format!("the name {name:?} cannot be asked for at this catalog")));
    }
    out.extend(utf8_percent_encode(name, NAME));
    Ok(())
}

/// Escapes what may not stand in a path, and `%` where it begins no escape.
fn encode_prefix(prefix: &str) -> String {
    let escaped = utf8_percent_encode(prefix, PREFIX).to_string();
    let mut out = String::with_capacity(escaped.len());
    for (at, c) in escaped.char_indices() {
        let hex = escaped.as_bytes().get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        out.push(c);
        if c == '%' && !hex {
            out.push_str("25");
        }
    }
    out
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(levels: &[&str], name: &str) -> Target {
        let namespace = Namespace::new(levels.iter().map(|l| l.to_string()).collect()).expect("valid");
        Target::Object(Ident::new(namespace, name).expect("valid"))
    }

    #[test]
    fn paths_follow_the_upstreams_prefix_and_separator() {
        let target = object(&["a b", "ü/é"], "t+1");
        let paths = Paths::new("main|wh", None).expect("valid");
        let path = paths.path(Operation::LoadTable, &target).expect("valid");
        assert_eq!(path, "v1/main%7Cwh/namespaces/a%20b%1F%C3%BC%2F%C3%A9/tables/t%2B1");
        let paths = Paths::new("", Some("%2E")).expect("valid");
        assert_eq!(
            paths.path(Operation::LoadTable, &target).expect("valid"),
            "v1/namespaces/a%20b%2E%C3%BC%2F%C3%A9/tables/t%2B1"
        );
        assert_eq!(paths.parent("a\u{1f}b"), "a.b");
        assert_eq!(paths.parent("a%1Fb"), "a.b");
        assert_eq!(paths.referenced_by("a%1Fv,c\u{1f}w"), "a%2Ev,c.w");
    }

    #[test]
    fn a_stated_prefix_may_be_escaped_already() {
        for (stated, used) in [("main%7Cwh", "main%7Cwh"), ("a/b c", "a/b%20c"), ("50%", "50%25"), ("/x/", "x")] {
            assert_eq!(Paths::new(stated, None).expect("valid").prefix, used);
        }
        assert!(Paths::new("a/../b", None).is_err());
    }

    #[test]
    fn names_that_are_dot_segments_are_refused() {
        let paths = Paths::new("p", None).expect("valid");
        assert!(paths.path(Operation::LoadTable, &object(&["a"], "..")).is_err());
        assert!(paths.path(Operation::LoadTable, &object(&[".."], "t")).is_err());
        let path = paths.path(Operation::LoadTable, &object(&["../.."], "t")).expect("valid");
        assert_eq!(path, "v1/p/namespaces/..%2F../tables/t");
    }

    #[test]
    fn a_table_is_read_back_from_the_upstreams_route() {
        let target = object(&["a b", "c"], "t+1");
        for (prefix, separator) in [("main|wh", None), ("", Some("%2E")), ("p", Some("%1f"))] {
            let paths = Paths::new(prefix, separator).expect("valid");
            let path = paths.path(Operation::SignRequest, &target).expect("valid");
            let ident = paths.table_of(&path, "sign").expect("its own");
            assert_eq!(Target::Object(ident), target);
        }
        let paths = Paths::new("p", None).expect("valid");
        assert!(paths.table_of("v1/q/namespaces/a/tables/t/sign", "sign").is_none());
        assert!(paths.table_of("v1/p/namespaces/a/tables/t/sign", "credentials").is_none());
    }

    #[test]
    fn only_signing_routes_can_be_carried_through() {
        for path in ["v1/aws/s3/sign", "v1/main/aws/s3/sign", "v1/main%7Cwh/s3sign/abc", "v1/main/s3-sign/a.b"] {
            assert!(is_foreign_signer(path), "{path}");
        }
        for path in [
            "v1/main/namespaces",
            "v1/main/namespaces/s3sign/tables",
            "v1/namespaces/s3sign/x",
            "v1/main/s3sign/..",
            "v1/main/s3sign/a%2F..%2Fb",
            "v1/transactions/s3sign/commit",
            "v2/aws/s3/sign",
            "v1/main/tables/rename",
            "",
        ] {
            assert!(!is_foreign_signer(path), "{path}");
        }
    }
}
