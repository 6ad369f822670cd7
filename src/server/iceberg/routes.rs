//! From a method and a raw path to an operation, by the table of operations alone.
//!
//! A catalog's routes are `/v1/{prefix}/…`, where the prefix is the catalog's name; without a prefix the first word is one that no
//! catalog may be named, so the two cannot be mistaken for each other. Nothing is decoded here: an encoded `/` stays within its segment.

use std::sync::LazyLock;

use crate::model::Operation;

/// What a path is made of after `/v1` and the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Word(&'static str),
    Namespace,
    Object,
    Plan,
}

#[derive(Debug)]
struct Pattern {
    operation: Operation,
    method: &'static str,
    prefixed: bool,
    parts: Vec<Part>,
}

/// Most segments after `/v1`, the prefix included: `{prefix}/namespaces/{namespace}/tables/{table}/plan/{plan-id}`.
const SEGMENTS_MAX: usize = 7;

/// The patterns by how many segments they have after the prefix.
static PATTERNS: LazyLock<[Vec<Pattern>; SEGMENTS_MAX + 1]> = LazyLock::new(|| {
    let mut by_length: [Vec<Pattern>; SEGMENTS_MAX + 1] = Default::default();
    for route in Operation::ROUTES {
        let mut words = route.path.split('/').skip(2).peekable();
        let prefixed = words.next_if_eq(&"{prefix}").is_some();
        let parts: Vec<Part> = words
            .map(|word| match word {
                "{namespace}" => Part::Namespace,
                "{table}" | "{view}" | "{function}" => Part::Object,
                "{plan-id}" => Part::Plan,
                word => Part::Word(word),
            })
            .collect();
        by_length[parts.len()].push(Pattern { operation: route.operation, method: route.method, prefixed, parts });
    }
    by_length
});

/// The raw segments that name something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Captures<'a> {
    pub(super) namespace: Option<&'a str>,
    pub(super) object: Option<&'a str>,
    pub(super) plan: Option<&'a str>,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// To an operation; `prefix` is the raw segment, if there is one.
    Operation { operation: Operation, prefix: Option<&'a str>, captures: Captures<'a> },
    /// To a route that has other methods.
    WrongMethod { allow: String },
    /// Nowhere.
    Nothing,
}

/// Finds the operation of a method and a raw path.
pub(super) fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    let Some(rest) = path.strip_prefix("/v1/") else { return Found::Nothing };
    let mut segments = [""; SEGMENTS_MAX];
    let mut count = 0;
    for segment in rest.split('/') {
        if count == SEGMENTS_MAX {
            return Found::Nothing;
        }
        segments[count] = segment;
        count += 1;
    }
    let segments = &segments[..count];
    let (prefix, segments) = match segments[0] {
        "config" | "oauth" | "namespaces" | "tables" | "views" | "transactions" => (None, segments),
        prefix => (Some(prefix), &segments[1..]),
    };
    let mut allow = String::new();
    for pattern in &PATTERNS[segments.len()] {
        if prefix.is_some() && !pattern.prefixed {
            continue;
        }
        let Some(captures) = capture(&pattern.parts, segments) else { continue };
        if pattern.method == method {
            return Found::Operation { operation: pattern.operation, prefix, captures };
        }
        if !allow.is_empty() {
            allow.push_str(", ");
        }
        allow.push_str(pattern.method);
    }
    if allow.is_empty() { Found::Nothing } else { Found::WrongMethod { allow } }
}

fn capture<'a>(parts: &[Part], segments: &[&'a str]) -> Option<Captures<'a>> {
    let mut captures = Captures::default();
    for (part, segment) in parts.iter().zip(segments) {
        match part {
            Part::Word(word) if word == segment => {}
            Part::Word(_) => return None,
            Part::Namespace => captures.namespace = Some(segment),
            Part::Object => captures.object = Some(segment),
            Part::Plan => captures.plan = Some(segment),
        }
    }
    Some(captures)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_route_of_the_table_is_found_with_and_without_prefix() {
        for route in Operation::ROUTES {
            let named = route.path.replace("{namespace}", "n%1Fm").replace("{plan-id}", "p");
            let named = named.replace("{table}", "t").replace("{view}", "t").replace("{function}", "t");
            let with = named.replace("{prefix}", "main");
            let without = named.replace("/{prefix}", "");
            for (path, expected) in [(with, Some("main")), (without, None)] {
                let Found::Operation { operation, prefix, captures } = find(route.method, &path) else {
                    panic!("{} {path} leads nowhere", route.method)
                };
                assert_eq!(operation, route.operation);
                assert_eq!(prefix, expected.filter(|_| route.path.contains("{prefix}")));
                assert_eq!(captures.namespace.is_some(), route.path.contains("{namespace}"));
                assert_eq!(captures.plan.is_some(), route.path.contains("{plan-id}"));
            }
        }
    }

    #[test]
    fn a_wrong_method_names_the_right_ones() {
        assert_eq!(find("PATCH", "/v1/main/namespaces"), Found::WrongMethod { allow: "GET, POST".into() });
        assert_eq!(find("DELETE", "/v1/config"), Found::WrongMethod { allow: "GET".into() });
        for path in
            ["/v1", "/v1/", "/v2/config", "/v1/main", "/v1/main/config", "/v1/a/b/c/d/e/f/g/h/i", "/v1/main/tables"]
        {
            assert_eq!(find("GET", path), Found::Nothing, "{path}");
        }
    }

    proptest! {
        #[test]
        fn finding_never_panics(path in "(/v1)?(/[ -~]{0,6}){0,9}", method in "[A-Z]{0,7}") {
            let _ = find(&method, &path);
        }

        #[test]
        fn a_segment_is_captured_as_it_is(name in "[^/]{0,30}") {
            let path = format!("/v1/main/namespaces/{name}/tables/{name}");
            let Found::Operation { operation, captures, .. } = find("GET", &path) else { panic!("{path}") };
            prop_assert_eq!(operation, Operation::LoadTable);
            prop_assert_eq!((captures.namespace, captures.object), (Some(name.as_str()), Some(name.as_str())));
        }
    }
}
