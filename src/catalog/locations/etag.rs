//! ETags of answers whose locations were mapped: the upstream's with the map's tag in them.
//!
//! What must hold: an ETag changes when the map does, and what a client sends back reaches the upstream as the upstream gave it; one of another map
//! does not reach it at all, so that 304 is only ever said of what the client has.

use http::header::{self, HeaderMap, HeaderValue};

/// The answer's ETag with the tag in it.
pub(super) fn outward(headers: &mut HeaderMap, tag: &str) {
    let Some(etag) = headers.remove(header::ETAG) else { return };
    let tagged = etag.to_str().ok().and_then(|text| text.strip_suffix('"')).map(|text| format!("{text}-{tag}\""));
    if let Some(value) = tagged.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(header::ETAG, value);
    }
}

/// The request's If-None-Match without the tag; what has another one is left out.
pub(super) fn inward(headers: &mut HeaderMap, tag: &str) {
    let suffix = format!("-{tag}\"");
    let sent: Vec<HeaderValue> = headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    headers.remove(header::IF_NONE_MATCH);
    let known = sent.iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    let ours = known.filter_map(|one| one.trim().strip_suffix(&suffix)).map(|text| format!("{text}\""));
    let list = ours.collect::<Vec<_>>().join(", ");
    if let Some(value) = HeaderValue::from_str(&list).ok().filter(|value| !value.is_empty()) {
        headers.insert(header::IF_NONE_MATCH, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(name: header::HeaderName, value: &str, change: fn(&mut HeaderMap, &str)) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(&name, HeaderValue::from_str(value).expect("a header"));
        change(&mut headers, "0a1b");
        headers.get(&name).map(|value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn an_etag_comes_back_as_it_was_given_and_others_do_not() {
        assert_eq!(through(header::ETAG, "\"x\"", outward).as_deref(), Some("\"x-0a1b\""));
        assert_eq!(through(header::ETAG, "W/\"x\"", outward).as_deref(), Some("W/\"x-0a1b\""));
        assert_eq!(through(header::IF_NONE_MATCH, "\"x-0a1b\"", inward).as_deref(), Some("\"x\""));
        assert_eq!(through(header::IF_NONE_MATCH, "\"y-ffff\", W/\"x-0a1b\"", inward).as_deref(), Some("W/\"x\""));
        for foreign in ["\"x\"", "\"x-ffff\"", "*"] {
            assert_eq!(through(header::IF_NONE_MATCH, foreign, inward), None, "{foreign}");
        }
    }
}
