//! Table locations as a whole: one place written in two ways, and one table inside another.
//!
//! Pure. Locations are plain strings to every engine, so `s3://b/t` and `s3a://b/t` are two places to Iceberg and one to the
//! store: deletes, caches and location maps miss one another. A table inside another's location loses files when the outer
//! one removes its orphans or is purged.

use std::collections::BTreeMap;

use super::finding::Finding;

/// At most this many cases are named in one finding.
const CASES_SHOWN_MAX: usize = 5;

/// A table and where it says that it lies.
pub(super) struct Placed {
    pub(super) table: String,
    pub(super) location: String,
}

/// Whether one bucket (or the local file system) is written with more than one scheme.
pub(super) fn aliases(subject: &str, tables: &[Placed]) -> Finding {
    const CHECK: &str = "scheme aliases";
    let mut seen: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
    for placed in tables {
        let (scheme, bucket, _) = parts(&placed.location);
        *seen.entry(bucket).or_default().entry(scheme).or_default() += 1;
    }
    let mixed = seen.iter().filter(|(_, schemes)| schemes.len() > 1);
    let cases: Vec<String> = mixed
        .map(|(bucket, schemes)| {
            let counts: Vec<String> = schemes.iter().map(|(scheme, count)| format!("{scheme} by {count}")).collect();
            format!("{bucket} is written {}", counts.join(", "))
        })
        .collect();
    if cases.is_empty() {
        return Finding::ok(CHECK, subject, format!("none in {} locations", tables.len()));
    }
    let advice =
        "write one scheme in new tables; engines, location maps and orphan removal take the others for other places";
    Finding::warning(CHECK, subject, shown(&cases), advice)
}

/// Whether a table lies inside the location of another, or at the same.
pub(super) fn overlaps(subject: &str, tables: &[Placed]) -> Finding {
    const CHECK: &str = "overlapping tables";
    let place = |placed: &Placed| {
        let (_, bucket, path) = parts(&placed.location);
        // the slash makes `t1` no part of `t10`, and sorts what is inside directly after what holds it
        format!("{bucket}/{}/", path.trim_matches('/'))
    };
    let mut places: Vec<(String, &str)> = tables.iter().map(|placed| (place(placed), placed.table.as_str())).collect();
    places.sort();
    let mut cases = Vec::new();
    let mut around: Vec<&(String, &str)> = Vec::new();
    for inner in &places {
        while around.last().is_some_and(|outer| !inner.0.starts_with(&outer.0)) {
            around.pop();
        }
        if let Some(outer) = around.last() {
            cases.push(match outer.0 == inner.0 {
                true => format!("{} and {} are at the same location", outer.1, inner.1),
                false => format!("{} is inside {}", inner.1, outer.1),
            });
        }
        around.push(inner);
    }
    if cases.is_empty() {
        return Finding::ok(CHECK, subject, format!("none in {} tables", tables.len()));
    }
    let advice = "never purge the outer table nor remove its orphan files; move one of them by copying it to a location of its own";
    Finding::failed(CHECK, subject, shown(&cases), advice)
}

fn shown(cases: &[String]) -> String {
    let more = cases.len().saturating_sub(CASES_SHOWN_MAX);
    let first = cases[..cases.len() - more].join("; ");
    if more > 0 { format!("{first}; and {more} more") } else { first }
}

/// How a location is written, which bucket it means, and the rest. The ways to write one place have one bucket.
fn parts(location: &str) -> (&str, String, &str) {
    match location.split_once("://") {
        Some((scheme @ ("s3" | "s3a" | "s3n"), rest)) => {
            let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
            (scheme, format!("bucket {bucket}"), path)
        }
        Some(("file", path)) => ("file:///", "the local file system".into(), path),
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            (scheme, format!("{scheme}://{authority}"), path)
        }
        None => match location.strip_prefix("file:") {
            Some(path) => ("file:/", "the local file system".into(), path),
            None => ("a bare path", "the local file system".into(), location),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    fn placed(locations: &[&str]) -> Vec<Placed> {
        let named = locations.iter().enumerate();
        named.map(|(at, location)| Placed { table: format!("t{at}"), location: (*location).to_owned() }).collect()
    }

    #[test]
    fn one_bucket_with_two_schemes_is_worth_a_look() {
        let finding = aliases("x", &placed(&["s3://a/1", "s3a://a/2", "s3a://b/3", "file:/d/1", "file:///d/2"]));
        assert_eq!(finding.status, Status::Warning);
        assert_eq!(
            finding.message,
            "bucket a is written s3 by 1, s3a by 1; the local file system is written file:/ by 1, file:/// by 1"
        );
        assert_eq!(aliases("x", &placed(&["s3://a/1", "s3a://b/1", "gs://a/1"])).status, Status::Ok);
    }

    #[test]
    fn tables_inside_tables_fail() {
        let overlapping = |locations: &[&str]| overlaps("x", &placed(locations)).message;
        assert_eq!(overlapping(&["s3://a/t", "s3://a/t1", "s3://b/t", "file:/t"]), "none in 4 tables");
        assert_eq!(overlapping(&["s3://a/t/", "s3a://a/t/inner"]), "t1 is inside t0");
        assert_eq!(overlapping(&["s3://a/t", "s3://a/t-x", "s3://a/t/y"]), "t2 is inside t0");
        assert_eq!(overlapping(&["file:/d/t", "file:///d/t"]), "t0 and t1 are at the same location");
        let many: Vec<String> = (0..10).map(|n| format!("s3://a/t/{n}")).collect();
        let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
        many.push("s3://a/t");
        assert!(overlapping(&many).ends_with("and 5 more"));
    }
}
