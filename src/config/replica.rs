//! The section `replica` of a catalog.

use crate::format::location::LocationMap;
use crate::storage::Location;

use super::Replica;
use super::section::Section;

pub(super) fn replica(section: &Section<'_>) -> Option<Replica> {
    let pairs = section.list("map");
    let pair = |pair: &Section<'_>| Some((pair.text("from")?.to_owned(), pair.text("to")?.to_owned()));
    let map: Vec<(String, String)> = pairs.iter().filter_map(pair).collect();
    if pairs.is_empty() && section.has("map") {
        section
            .note("map", "names no pair: write at least one, such as \"- { from: s3://prod/lake, to: s3://dr/lake }\"");
    } else if let Err(error) = LocationMap::new(map.iter().cloned()) {
        section.note("map", error.message());
    }
    let overlay = section.folder("overlay");
    if let Some(overlay) = &overlay {
        check_overlay(section, overlay, &map);
    }
    let list = |name: &str| patterns(section.text(name).unwrap_or_default());
    Some(Replica {
        map,
        overlay: overlay?,
        journal: section.folder("journal"),
        drop_after: section.duration("drop-after")?,
        primary: section.text("primary").map(str::to_owned),
        include: list("include"),
        exclude: list("exclude"),
        consistency_groups: section.texts("consistency-groups").values().map(|text| patterns(text.expose())).collect(),
        trusts_newest: section.text("confirm")? == "trust-newest",
        settle: section.duration("settle")?,
        max_staleness: section.duration("max-staleness")?,
        wait: section.duration("wait")?,
        interval: section.duration("interval")?,
        recheck: section.duration("recheck")?,
        properties: section.texts("properties"),
    })
}

/// Patterns, separated by commas.
fn patterns(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|pattern| !pattern.is_empty()).map(str::to_owned).collect()
}

/// A replicated place is somebody else's: what is written there would be deleted by their next run.
fn check_overlay(section: &Section<'_>, overlay: &str, map: &[(String, String)]) {
    let location = Location::new(overlay);
    if let Some((_, to)) = map.iter().find(|(_, to)| location.leads_into(&Location::new(to))) {
        section.note(
            "overlay",
            format!("{overlay} lies in {to}, which is replicated: name a place outside of it, for the replicator may delete there"),
        );
    }
}
