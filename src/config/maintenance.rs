//! The section `maintenance` of a catalog: policies by name.

use std::time::Duration;

use crate::maintenance::{ExpireOptions, OrphanOptions, Retention, Work};

use super::section::Section;
use super::{MaintenancePolicy, replica};

/// More often is no maintenance.
const EVERY_MIN: Duration = Duration::from_secs(60);

/// The policies of a catalog, in the order of the file. What is wrong is noted.
pub(super) fn policies(catalog: &Section<'_>, is_judged_upstream: bool) -> Vec<MaintenancePolicy> {
    let named = catalog.named("maintenance");
    if catalog.has("maintenance") {
        if catalog.has("replica") {
            catalog.note(
                "maintenance",
                "and \"replica\" exclude each other: a standby's tables are maintained at their primary",
            );
        }
        if is_judged_upstream {
            let message = "and \"auth: caller\" exclude each other: it works by itself, so give Lifeboat credentials of its own (bearer or oauth2)";
            catalog.note("maintenance", message);
        }
        if named.is_empty() {
            let message = "names no policy: write at least one, such as \"all: { expire-snapshots: { every: 1d } }\"";
            catalog.note("maintenance", message);
        }
    }
    named.into_iter().filter_map(|(name, section)| policy(name, &section)).collect()
}

fn policy(name: &str, section: &Section<'_>) -> Option<MaintenancePolicy> {
    let mut works = Vec::new();
    if let Some(section) = section.child_if_there("expire-snapshots") {
        let keep_last = u32::try_from(section.integer("keep-last")?).ok();
        let retention = Retention { keep_for: section.duration("keep-for"), keep_last };
        works.push((every(&section)?, Work::ExpireSnapshots(ExpireOptions { retention, plan: false })));
    }
    if let Some(section) = section.child_if_there("remove-orphans") {
        let (older_than, delete) = (section.duration("older-than")?, section.flag("delete")?);
        let options = OrphanOptions { older_than, delete, ..OrphanOptions::default() };
        if options.check().is_err() {
            section.note("older-than", "is less than a day: younger files may belong to writers that have not committed yet, so write 1d or more");
        }
        works.push((every(&section)?, Work::RemoveOrphans(options)));
    }
    if let Some(section) = section.child_if_there("compact") {
        works.push((every(&section)?, Work::Compact));
    }
    if works.is_empty() {
        section
            .note("", "does nothing: write \"expire-snapshots: { every: 1d }\" or \"remove-orphans: { every: 7d }\"");
    }
    let texts = |key: &str| replica::texts(section.text(key).unwrap_or_default());
    Some(MaintenancePolicy { name: name.to_owned(), include: texts("include"), exclude: texts("exclude"), works })
}

fn every(section: &Section<'_>) -> Option<Duration> {
    let every = section.duration("every")?;
    if every < EVERY_MIN {
        section.note("every", "is too often: write 1m or more");
    }
    Some(every)
}
