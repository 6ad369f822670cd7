//! Finds members of a JSON object in its bytes, so that they can be read or replaced while all else stays byte for byte.
//!
//! What must hold: everything outside the replaced ranges is untouched; a member that occurs twice is found twice, since some
//! clients take the first and some the last.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Where a wanted member's value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its place in the list of wanted names.
    pub wanted: usize,
    /// The bytes of its value.
    pub range: Range<usize>,
}

/// The members of the object `body` whose names are `wanted`, in their order. An error when `body` is not one JSON object.
pub fn find(body: &[u8], wanted: &[&str]) -> Result<Vec<Member>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let found = deserializer.deserialize_map(Members { body, wanted })?;
    deserializer.end()?;
    Ok(found)
}

/// `body` with each range replaced; ranges in ascending order and apart. Without replacements the same bytes, uncopied.
pub fn splice(body: &Bytes, replacements: &[(Range<usize>, Vec<u8>)]) -> Bytes {
    if replacements.is_empty() {
        return body.clone();
    }
    let added: usize = replacements.iter().map(|(_, new)| new.len()).sum();
    let mut out = Vec::with_capacity(body.len() + added);
    let mut at = 0;
    for (range, new) in replacements {
        assert!(at <= range.start && range.start <= range.end, "replacements ascend");
        out.extend_from_slice(&body[at..range.start]);
        out.extend_from_slice(new);
        at = range.end;
    }
    out.extend_from_slice(&body[at..]);
    Bytes::from(out)
}

struct Members<'a, 'w> {
    body: &'a [u8],
    wanted: &'w [&'w str],
}

impl<'a> Visitor<'a> for Members<'a, '_> {
    type Value = Vec<Member>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(wanted) = map.next_key_seed(Name(self.wanted))? {
            let Some(wanted) = wanted else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value: &'a RawValue = map.next_value()?;
            // the raw value borrows from `body`, so the distance of the two addresses is its place
            let start = value.get().as_ptr() as usize - self.body.as_ptr() as usize;
            found.push(Member { wanted, range: start..start + value.get().len() });
        }
        Ok(found)
    }
}

/// Reads a member's name as its place in the list, without keeping it.
struct Name<'w>(&'w [&'w str]);

impl<'a> DeserializeSeed<'a> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| *wanted == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_wherever_and_however_they_are_written() {
        let body = br#" {"a":{"config":1}, "\u0063onfig" : {"x":"\"}"} ,"z":[1,{"config":2}],"config":null}"#;
        let found = find(body, &["config"]).expect("valid");
        let texts: Vec<_> = found.iter().map(|m| std::str::from_utf8(&body[m.range.clone()]).expect("utf-8")).collect();
        assert_eq!(texts, [r#"{"x":"\"}"}"#, "null"]);
    }

    #[test]
    fn what_is_not_one_object_is_an_error() {
        for body in ["", "[]", "null", "{\"a\":1", "{} {}", "<html>"] {
            assert!(find(body.as_bytes(), &["config"]).is_err(), "{body}");
        }
    }

    #[test]
    fn splicing_leaves_the_rest_byte_for_byte() {
        let body = Bytes::from_static(b"{\"n\": 1.10e0 , \"config\" : {} }");
        let found = find(&body, &["config"]).expect("valid");
        let out = splice(&body, &[(found[0].range.clone(), b"{\"k\":\"v\"}".to_vec())]);
        assert_eq!(&out[..], b"{\"n\": 1.10e0 , \"config\" : {\"k\":\"v\"} }");
        assert_eq!(splice(&body, &[]).as_ptr(), body.as_ptr());
    }
}
