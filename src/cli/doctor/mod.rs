//! `lifeboat doctor`: looks at everything that a server needs, and says what to do about what is wrong.
//!
//! What must hold: a check that could not be made is not a check that passed; nothing is changed but a probe object under the
//! warehouse's `_lifeboat/`, which is removed again, and the database's schema, which serving would bring up to date as well.

mod finding;
mod host;
mod locations;
mod storage;
mod tables;
mod upstream;

use crate::config::{Catalog, Config, Source};
use crate::error::Result;
use crate::model::CatalogName;
use crate::upstream::embedded::{Purge, Purges};

use super::{Failure, start};

use finding::{Finding, print};

/// Most purges that are looked at.
const PURGES_MAX: i64 = 1000;

/// Checks all that the flags mean, prints the findings, and fails if any of them failed.
pub(super) async fn doctor(config: Result<Config, Failure>, json: bool) -> Result<(), Failure> {
    let findings = match config {
        Ok(config) => examine(&config).await,
        Err(Failure::Usage(message)) => {
            let advice = "correct the lines that are named; docs/configuration.md lists every key";
            vec![Finding::failed("configuration", "", message, advice)]
        }
        Err(failure) => return Err(failure),
    };
    print(&findings, json);
    if findings.iter().any(Finding::is_failure) { Err(Failure::Told) } else { Ok(()) }
}

async fn examine(config: &Config) -> Vec<Finding> {
    let count = config.catalogs.len();
    let mut findings =
        vec![Finding::ok("configuration", "", format!("valid, {count} catalog{}", if count == 1 { "" } else { "s" }))];
    findings.push(host::descriptors(config.limits.concurrent_requests));
    for (name, catalog) in &config.catalogs {
        findings.extend(examine_catalog(config, name, catalog).await);
    }
    findings
}

async fn examine_catalog(config: &Config, name: &CatalogName, catalog: &Catalog) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &catalog.source {
        Source::Upstream(upstream) => {
            findings.extend(upstream::examine(name.as_str(), upstream).await);
            // of an upstream's places only those that somebody told us how to reach
            for place in &config.storage {
                findings.push(storage::readable(config, name.as_str(), &place.prefix).await);
            }
        }
        Source::Embedded(embedded) => {
            findings.push(storage::writable(config, name.as_str(), &embedded.warehouse).await);
        }
    }
    if let Some(replica) = &catalog.replica {
        findings.extend(storage::vended(config, name, replica).await);
    }
    if catalog.is_judged_upstream() {
        findings.push(Finding::skipped(
            "tables",
            name.as_str(),
            "each caller brings its own token, so there is none to look with",
        ));
        return findings;
    }
    // what is wrong already would only be told again
    if findings.iter().any(Finding::is_failure) {
        findings.push(Finding::skipped("tables", name.as_str(), "not looked at, because of what failed above"));
        return findings;
    }
    // one catalog at a time, so that one that cannot be opened does not hide the others
    let alone = Config { catalogs: [(name.clone(), catalog.clone())].into(), ..config.clone() };
    match start::open(&alone).await {
        Ok(app) => {
            for opened in app.catalogs.values() {
                findings.push(opens(name, catalog, opened.stack.ready().await));
                if !findings.iter().any(Finding::is_failure) {
                    findings.extend(tables::examine(name, opened.stack.as_ref()).await);
                }
            }
            for database in app.databases {
                findings.push(purges(name, Purges::new(database).list(PURGES_MAX).await));
            }
        }
        Err(error) => findings.push(opens(name, catalog, Err(error))),
    }
    findings
}

/// Whether dropped tables wait for their files to be deleted, and whether that fails.
fn purges(name: &CatalogName, waiting: Result<Vec<Purge>>) -> Finding {
    let waiting = match waiting {
        Ok(waiting) => waiting,
        Err(error) => return Finding::failed("purges", name.as_str(), error.to_string(), "look at the database above"),
    };
    match waiting.iter().find_map(|purge| purge.last_error.as_ref().map(|error| (purge, error))) {
        Some((purge, error)) => Finding::warning(
            "purges",
            name.as_str(),
            format!(
                "{} wait, and the one of {} has failed {} times: {error}",
                waiting.len(),
                purge.table,
                purge.attempts
            ),
            "mend what the error names; a running server tries again by itself",
        ),
        None => Finding::ok("purges", name.as_str(), format!("{} wait", waiting.len())),
    }
}

/// Whether the catalog as a server would hold it is ready: for an embedded one, its database opens and migrates.
fn opens(name: &CatalogName, catalog: &Catalog, ready: Result<()>) -> Finding {
    let (check, fine, advice) = match catalog.source {
        Source::Embedded(_) => (
            "database",
            "opens, and its schema is up to date",
            "check that the path or the server of catalogs.<name>.embedded.database exists, that it may be written, and that no \
             newer version of Lifeboat has used it",
        ),
        Source::Upstream(_) => ("catalog", "is ready to be served", "check what is said about the upstream above"),
    };
    match ready {
        Ok(()) => Finding::ok(check, name.as_str(), fine),
        Err(error) => Finding::failed(check, name.as_str(), error.to_string(), advice),
    }
}
