//! The section `replica` of a catalog.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::format::location::LocationMap;
use crate::replica::Layout;
use crate::storage::Location;

use super::section::Section;
use super::{Replica, SiteCredentials, Sts};

/// How long credentials can last, by what AWS takes.
const STS_DURATION: RangeInclusive<Duration> = Duration::from_secs(15 * 60)..=Duration::from_secs(12 * 3600);

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
    Some(Replica {
        map,
        overlay: overlay?,
        journal: section.folder("journal"),
        primary_catalog: section.text("primary-catalog").map(str::to_owned),
        drop_after: section.duration("drop-after")?,
        primary: section.text("primary").map(str::to_owned),
        include: texts(section.text("include").unwrap_or_default()),
        exclude: texts(section.text("exclude").unwrap_or_default()),
        layout: layout(section),
        held: held(section),
        consistency_groups: section.texts("consistency-groups").values().map(|text| texts(text.expose())).collect(),
        trusts_newest: section.text("confirm")? == "trust-newest",
        settle: section.duration("settle")?,
        max_staleness: section.duration("max-staleness")?,
        wait: section.duration("wait")?,
        interval: section.duration("interval")?,
        recheck: section.duration("recheck")?,
        properties: section.texts("properties"),
        credentials: credentials(section)?,
    })
}

fn credentials(section: &Section<'_>) -> Option<SiteCredentials> {
    let word = section.text("credentials")?;
    if word != "sts" && section.has("sts") {
        section.note("sts", "is for \"credentials: sts\": write that too, or leave this out");
    }
    let sts = section.child("sts");
    let duration = sts.duration("duration")?;
    if !STS_DURATION.contains(&duration) {
        sts.note("duration", "credentials last from 15m to 12h: write a duration between them");
    }
    Some(match word {
        "none" => SiteCredentials::None,
        "sts" => SiteCredentials::Sts(Sts {
            endpoint: sts.uri("endpoint"),
            role_arn: sts.text("role-arn").map(str::to_owned),
            duration,
            kms_keys: texts(sts.text("kms-keys").unwrap_or_default()),
            is_standby_wide: sts.text("scope")? == "standby",
        }),
        _ => SiteCredentials::ClientConfig,
    })
}

fn layout(section: &Section<'_>) -> Option<Layout> {
    let parsed = Layout::parse(section.text("layout")?);
    parsed.map_err(|error| section.note("layout", error.message())).ok()
}

fn held(section: &Section<'_>) -> Vec<(Vec<String>, Option<u64>)> {
    let mut held = Vec::new();
    if let Some(paused) = section.text("paused") {
        held.push((texts(paused), None));
    }
    for (pattern, number) in section.texts("pinned") {
        match number.expose().parse() {
            Ok(number) => held.push((vec![pattern], Some(number))),
            Err(_) => section.note("pinned", format!("{pattern} needs the number of a metadata file, such as 12")),
        }
    }
    held
}

/// Texts that are separated by commas.
pub(super) fn texts(text: &str) -> Vec<String> {
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
