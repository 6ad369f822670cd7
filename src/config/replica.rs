//! The section `replica` of a catalog.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::format::location::LocationMap;
use crate::model::Secret;
use crate::replica::Layout;
use crate::storage::Location;

use super::section::Section;

/// How long credentials can last, by what AWS takes.
const STS_DURATION: RangeInclusive<Duration> = Duration::from_secs(15 * 60)..=Duration::from_secs(12 * 3600);

/// Replicated storage that becomes tables of a catalog.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    /// Prefixes of the primary's places and of this site's.
    pub map: Vec<(String, String)>,
    /// Where relocated metadata is written, outside of the replicated storage.
    pub overlay: String,
    /// Where the primary's journal arrives.
    pub journal: Option<String>,
    /// Another catalog of the configuration, which is asked about the primary's tables.
    pub primary_catalog: Option<String>,
    /// How long a table that was dropped at the primary is kept here.
    pub drop_after: Duration,
    /// Who is primary, for people who try to write here.
    pub primary: Option<String>,
    /// Patterns of tables; none is all.
    pub include: Vec<String>,
    /// Patterns of tables that are left out.
    pub exclude: Vec<String>,
    /// How tables' folders lie, if not as usual.
    pub layout: Option<Layout>,
    /// Patterns of tables that stay as they are, or go no further than to the metadata file of this number.
    pub held: Vec<(Vec<String>, Option<u64>)>,
    /// Patterns of tables that are published together, by the groups' names.
    pub consistency_groups: Vec<Vec<String>>,
    /// Whether the newest metadata file is trusted once it has settled, rather than confirmed by its successor.
    pub trusts_newest: bool,
    /// How long a file must have been seen to have settled.
    pub settle: Duration,
    /// How old a look may be when a client asks.
    pub max_staleness: Duration,
    /// How long a client waits for a look.
    pub wait: Duration,
    /// How often all tables are looked at.
    pub interval: Duration,
    /// How often what is published is proven anew.
    pub recheck: Duration,
    /// Properties of the tables at this site.
    pub properties: BTreeMap<String, Secret>,
    /// What clients get to reach the storage with.
    pub credentials: SiteCredentials,
}

/// What a standby's clients get to reach its storage with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteCredentials {
    /// Nothing.
    None,
    /// What `client-config` has.
    ClientConfig,
    /// Short-lived ones that can only read.
    Sts(Sts),
}

/// How short-lived credentials are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sts {
    /// Where STS answers, unless where the store does.
    pub endpoint: Option<String>,
    /// The role whose rights are narrowed.
    pub role_arn: Option<String>,
    /// How long they last.
    pub duration: Duration,
    /// Keys of AWS KMS that the storage is encrypted with.
    pub kms_keys: Vec<String>,
    /// Whether they read every place of the standby rather than a table's own.
    pub is_standby_wide: bool,
}

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
