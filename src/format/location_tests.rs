//! The location map: what it covers, what it refuses, and that the way back is exact.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn map(pairs: &[(&str, &str)]) -> LocationMap {
    LocationMap::new(pairs.iter().copied()).unwrap()
}

fn refused(pairs: &[(&str, &str)]) -> String {
    LocationMap::new(pairs.iter().copied()).unwrap_err().message().to_owned()
}

#[track_caller]
fn maps(map: &LocationMap, from: &str, to: &str) {
    assert_eq!(map.map(from).unwrap(), to);
    assert_eq!(map.inverse().unwrap().map(to).unwrap(), from, "the way back");
}

#[test]
fn a_prefix_covers_itself_and_what_is_below_it_at_a_slash() {
    for (from, to) in [("hdfs://a/w", "s3://b/w2"), ("hdfs://a/w/", "s3://b/w2"), ("hdfs://a/w", "s3://b/w2//")] {
        let map = map(&[(from, to)]);
        maps(&map, "hdfs://a/w/t/f.parquet", "s3://b/w2/t/f.parquet");
        maps(&map, "hdfs://a/w", "s3://b/w2");
        maps(&map, "hdfs://a/w/", "s3://b/w2/");
        maps(&map, "hdfs://a/w//t%20/./f", "s3://b/w2//t%20/./f");
        maps(&map, "hdfs://a/w2/f", "hdfs://a/w2/f");
        maps(&map, "HDFS://a/w/f", "HDFS://a/w/f");
    }
}

#[test]
fn the_longest_prefix_counts() {
    let map = map(&[("/ifs/prod", "/ifs/dr"), ("/ifs/prod/cold", "s3://cold"), ("/ifs/prod/cold/hot", "/hot")]);
    maps(&map, "/ifs/prod/x", "/ifs/dr/x");
    maps(&map, "/ifs/prod/cold/x", "s3://cold/x");
    maps(&map, "/ifs/prod/cold/hot/x", "/hot/x");
    maps(&map, "/ifs/prod/colder/x", "/ifs/dr/colder/x");
    let explained = map.explain("/ifs/prod/cold/x").unwrap();
    assert_eq!((explained.pair.as_deref(), explained.path.as_str()), (Some("/ifs/prod/cold=s3://cold"), "s3://cold/x"));
    // nothing comes from there, so nothing goes back there
    assert!(map.inverse().unwrap().map("/ifs/dr/cold/x").unwrap_err().message().contains("/ifs/prod/cold"));
}

#[test]
fn schemes_and_roots_may_be_swapped() {
    let schemes = map(&[("s3a://", "s3://")]);
    maps(&schemes, "s3a://b/k", "s3://b/k");
    assert!(!schemes.covers("s3a:/b") && !schemes.covers("s3a:///b"));
    let files = map(&[("file:/", "s3://b/one"), ("file:///", "s3://b/three")]);
    maps(&files, "file:/w/f", "s3://b/one/w/f");
    maps(&files, "file:///w/f", "s3://b/three/w/f");
    maps(&map(&[("/", "s3://b/")]), "/w/f", "s3://b/w/f");
    maps(&map(&[("s3://b", "/")]), "s3://b/w", "/w");
    assert!(!map(&[("s3://b", "/")]).covers("s3://b//w"));
}

#[test]
fn a_prefix_is_never_a_regular_expression() {
    let map = map(&[("s3://b/a.c(1)+[x]$^|\\d", "s3://c/$1\\1")]);
    maps(&map, "s3://b/a.c(1)+[x]$^|\\d/f", "s3://c/$1\\1/f");
    assert!(!map.covers("s3://b/abc(1)+[x]$^|\\d/f"));
}

#[test]
fn maps_that_fold_two_places_into_one_are_refused_with_the_pairs_at_fault() {
    assert_eq!(
        refused(&[("/a", "/x"), ("/a/", "/y")]),
        "the location map is ambiguous: /a=/x and /a/=/y have one source"
    );
    for (pairs, fault) in [
        (vec![("/a", "/x"), ("/b", "/x/")], "/a=/x and /b=/x/"),
        (vec![("/a", "/x"), ("/b", "/x/c")], "/b=/x/c and /a=/x"),
        (vec![("/a", "/x"), ("/a/b", "/x/c")], "/a/b=/x/c and /a=/x"),
        (vec![("/a/b", "/y"), ("/a", "/y/z")], "/a=/y/z and /a/b=/y"),
    ] {
        let message = refused(&pairs);
        assert!(message.contains(fault), "{message}");
    }
    for text in ["", "s3:", "a\0b"] {
        assert!(LocationMap::new([(text, "/x")]).is_err(), "{text:?}");
    }
}

#[test]
fn targets_may_meet_where_a_longer_source_leaves_room() {
    let swap = map(&[("/a", "/x"), ("/a/b", "/x/c"), ("/a/c", "/x/b")]);
    maps(&swap, "/a/b/f", "/x/c/f");
    maps(&swap, "/a/c/f", "/x/b/f");
    maps(&swap, "/a/d/f", "/x/d/f");
    let redundant = map(&[("/a", "/x"), ("/a/b", "/x/b")]);
    maps(&redundant, "/a/b/f", "/x/b/f");
    maps(&map(&[("/a", "/b"), ("/b", "/a")]), "/a/f", "/b/f");
}

#[test]
fn what_lies_under_a_target_already_needs_an_identity_pair() {
    let once = map(&[("/a", "/x")]);
    let message = once.map("/x/f").unwrap_err().message().to_owned();
    assert!(message.contains("\"/x/f\" lies under \"/x\" already") && message.contains("/x=/x"), "{message}");
    let listed = map(&[("/a", "/x"), ("/x", "/x")]);
    assert_eq!((listed.map("/x/f").unwrap(), listed.map("/a/f").unwrap()), ("/x/f".into(), "/x/f".into()));
    assert!(listed.inverse().unwrap_err().message().contains("no way back"));
}

#[test]
fn strict_maps_name_the_path_that_no_pair_covers() {
    let strict = map(&[("/a", "/x"), ("/keep", "/keep")]).with_uncovered(Uncovered::Refuse);
    assert!(strict.map("/b/f").unwrap_err().message().contains("covers \"/b/f\""));
    assert_eq!(strict.map("/keep/f").unwrap(), "/keep/f");
}

#[test]
fn aliases_count_only_where_they_are_listed() {
    let map = map(&[("s3://b/w", "s3://c/w")]);
    assert_eq!(map.map("s3a://b/w/f").unwrap(), "s3a://b/w/f");
    let map = map.with_aliases([("s3a://", "s3://")]).unwrap();
    assert_eq!(map.map("s3a://b/w/f").unwrap(), "s3://c/w/f");
    assert_eq!(map.map("s3a://elsewhere/f").unwrap(), "s3a://elsewhere/f");
    assert_eq!(map.explain("s3a://b/w/f").unwrap().alias.as_deref(), Some("s3a://=s3://"));
    assert!(map.with_aliases([("x:/", "/a"), ("x:/", "/b")]).is_err());
}

fn prefix() -> impl Strategy<Value = String> {
    let scheme = prop::sample::select(vec!["", "s3://", "s3a://", "file:", "file://"]);
    (scheme, prop::collection::vec("[ab]", 0..4), prop::sample::select(vec!["", "/"])).prop_map(
        |(scheme, parts, end)| {
            let slash = if scheme.ends_with("3://") || scheme.ends_with("a://") { "" } else { "/" };
            format!("{scheme}{slash}{}{end}", parts.join("/"))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn there_and_back_is_the_same_path(
        pairs in prop::collection::vec((prefix(), prefix()), 1..5),
        paths in prop::collection::vec((prefix(), "[abc/]{0,6}"), 1..20),
    ) {
        let Ok(map) = LocationMap::new(pairs) else { return Ok(()) };
        let Ok(back) = map.inverse() else { return Ok(()) };
        let mut seen = BTreeMap::new();
        for path in paths.iter().map(|(prefix, below)| format!("{prefix}{below}")) {
            let Ok(there) = map.map(&path) else { continue };
            let there = there.into_owned();
            if let Some(other) = seen.insert(there.clone(), path.clone()) {
                prop_assert_eq!(&other, &path, "two paths at one place");
            }
            if map.covers(&path) {
                prop_assert_eq!(back.map(&there).unwrap(), path);
            }
        }
    }
}

#[test]
fn one_bare_target_of_two_pairs_is_a_place_where_they_meet() {
    let folded = map(&[("file:///", "file:///"), ("s3://a/a", "file:///")]);
    assert!(folded.inverse().is_err());
    assert!(LocationMap::new([("/a", "file:///"), ("s3://a", "file:///")]).is_err());
}
