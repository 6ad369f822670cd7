//! Path segments and query strings: from what clients write to names.
//!
//! What must hold: nothing here panics, a malformed escape or text that is not UTF-8 is a bad request, and a decoded name is never
//! taken for a path again. Java writes a space in a path as `+`, so `+` is a space everywhere and a plus is `%2B`.

use crate::error::{Error, Result};
use crate::model::{Ident, Namespace, UNIT_SEPARATOR};
use crate::upstream::Target;

use super::routes::Captures;

/// Decodes one segment, or one key or value of a query.
pub(in crate::server) fn decode(raw: &str) -> Result<String> {
    if !raw.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Ok(raw.to_owned());
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                    return Err(Error::bad_request("a '%' in the path or query must be followed by two hex digits"));
                };
                decoded.push((high * 16 + low) as u8);
            }
            other => decoded.push(other),
        }
    }
    String::from_utf8(decoded).map_err(|_| Error::bad_request("the path or query is not UTF-8 once it is decoded"))
}

/// The levels in a decoded text: split at U+001F, or, where there is none, at the catalog's own separator.
fn levels(decoded: &str, separator: Option<&str>) -> Vec<String> {
    match separator {
        Some(own) if !own.is_empty() && !decoded.contains(UNIT_SEPARATOR) => {
            decoded.split(own).map(str::to_owned).collect()
        }
        _ => decoded.split(UNIT_SEPARATOR).map(str::to_owned).collect(),
    }
}

/// What a matched path is about.
pub(super) fn target(captures: &Captures<'_>, separator: Option<&str>) -> Result<Target> {
    let Some(namespace) = captures.namespace else { return Ok(Target::Catalog) };
    let namespace = Namespace::new(levels(&decode(namespace)?, separator))?;
    let Some(object) = captures.object else { return Ok(Target::Namespace(namespace)) };
    let ident = Ident::new(namespace, decode(object)?)?;
    let Some(plan) = captures.plan else { return Ok(Target::Object(ident)) };
    let plan = decode(plan)?;
    if plan.is_empty() {
        return Err(Error::bad_request("a plan id must not be empty"));
    }
    Ok(Target::Plan(ident, plan))
}

/// A query's parameters, decoded, in the client's order; `parent` has its levels joined by U+001F, whatever the client joined them by.
pub(super) fn query(raw: Option<&str>, separator: Option<&str>, encoded_twice: bool) -> Result<Vec<(String, String)>> {
    let pairs = raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key)?, decode(value)?);
            let value = if key == "parent" { parent(value, separator, encoded_twice)? } else { value };
            Ok((key, value))
        })
        .collect()
}

/// The `parent` parameter in one form. Some clients encode the levels, join them by an encoded U+001F and encode the whole once
/// more; that shows in a `%1F` which survives the first decoding, or is known from the client's name.
fn parent(decoded: String, separator: Option<&str>, encoded_twice: bool) -> Result<String> {
    let twice = !decoded.contains(UNIT_SEPARATOR) && (decoded.contains("%1F") || decoded.contains("%1f"));
    let decoded = match twice || encoded_twice {
        true => decode(&decoded).unwrap_or(decoded),
        false => decoded,
    };
    if decoded.is_empty() {
        return Ok(decoded); // the root, as some clients ask for it
    }
    Ok(Namespace::new(levels(&decoded, separator))?.joined())
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn encode(text: &str) -> String {
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
    }

    fn captures<'a>(namespace: &'a str, object: &'a str) -> Captures<'a> {
        Captures { namespace: Some(namespace), object: Some(object), plan: None }
    }

    #[test]
    fn both_separators_are_understood_and_the_standard_one_wins() {
        let namespace = |raw: &str, own: Option<&str>| match target(&captures(raw, "t"), own) {
            Ok(Target::Object(ident)) => ident.namespace.levels().to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(namespace("a%1Fb", None), ["a", "b"]);
        assert_eq!(namespace("a.b", None), ["a.b"]);
        assert_eq!(namespace("a.b", Some(".")), ["a", "b"]);
        assert_eq!(namespace("a.b%1Fc", Some(".")), ["a.b", "c"]);
    }

    #[test]
    fn odd_names_are_names_and_never_paths() {
        for (raw, name) in
            [("%2e%2e%2F", "../"), ("..", ".."), ("a+b", "a b"), ("a%2Bb", "a+b"), ("%F0%9F%9B%9F", "🛟")]
        {
            let Ok(Target::Object(ident)) = target(&captures("n", raw), None) else { panic!("{raw} was refused") };
            assert_eq!(ident.name, name);
        }
        for raw in ["", "%", "%zz", "%f", "%ff", "%00"] {
            assert!(target(&captures("n", raw), None).is_err(), "{raw:?} was taken");
        }
        assert!(target(&captures("a%1F%1Fb", "t"), None).is_err());
    }

    #[test]
    fn a_parent_has_one_form_however_it_was_encoded() {
        let parent = |raw: &str, twice| query(Some(&format!("parent={raw}&pageToken=")), None, twice).expect("valid");
        let expected = vec![("parent".to_owned(), "a b\u{1f}ü".to_owned()), ("pageToken".to_owned(), String::new())];
        assert_eq!(parent("a+b%1F%C3%BC", false), expected);
        assert_eq!(parent("a%2520b%251F%25C3%25BC", false), expected);
        assert_eq!(parent("a%2520b", true)[0].1, "a b");
        assert_eq!(parent("a%2520b", false)[0].1, "a%20b");
        assert_eq!(parent("", false)[0].1, "");
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in ".*") {
            prop_assert_eq!(decode(&encode(&text)).expect("was encoded by us"), text);
        }

        #[test]
        fn decoding_never_panics(raw in "[ -~]{0,40}", own in proptest::option::of("[ -~]{0,2}")) {
            let _ = decode(&raw);
            let _ = target(&captures(&raw, &raw), own.as_deref());
            let _ = query(Some(&raw), own.as_deref(), true);
        }
    }
}
