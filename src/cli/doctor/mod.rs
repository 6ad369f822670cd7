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

use super::{Failure, start};

use finding::{Finding, print};

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
    let opened = start::catalogs(&alone).await;
    match opened.map(|catalogs| catalogs.into_values().next()) {
        Ok(Some(opened)) => {
            let ready = opened.ready().await;
            findings.push(opens(name, catalog, ready));
            if !findings.iter().any(Finding::is_failure) {
                findings.extend(tables::examine(name, opened.as_ref()).await);
            }
        }
        Ok(None) => findings.push(Finding::skipped("tables", name.as_str(), "there is no catalog to look at")),
        Err(error) => findings.push(opens(name, catalog, Err(error))),
    }
    findings
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
