//! The section `append` of a catalog.

use std::collections::BTreeMap;
use std::time::Duration;

use super::section::Section;
use super::{Catalog, Source, UpstreamAuth};
use crate::model::{CatalogName, Ident};

/// Folders in which data files land that become rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The folders by table.
    pub tables: BTreeMap<Ident, Landing>,
    /// How old a look may be when a client loads a table.
    pub max_staleness: Duration,
    /// How long a client waits for a look.
    pub wait: Duration,
    /// How often all tables are looked at.
    pub interval: Duration,
}

/// Where data files land for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// The watched prefix.
    pub from: String,
    /// Whether nobody else writes the table, so that its own folders may be watched.
    pub external_only: bool,
    /// Whether the table is made where there is none.
    pub create: bool,
    /// Whether it may get new columns and wider types.
    pub evolve: bool,
    /// The branch that is appended to.
    pub branch: String,
    /// How long a file must not have changed.
    pub settle: Duration,
    /// Files of one commit.
    pub files_per_commit: u64,
}

/// `None` if something is wrong with it.
pub(super) fn append(section: &Section<'_>, source: &Source) -> Option<Option<Append>> {
    let Some(child) = section.child_if_there("append") else { return Some(None) };
    if section.has("replica") {
        child.note("", "and \"replica\" exclude each other: a standby's tables are written at their primary");
    }
    if matches!(source, Source::Upstream(upstream) if upstream.auth == UpstreamAuth::Caller) {
        let message = "and \"auth: caller\" exclude each other: appends are committed by Lifeboat itself, so give it credentials of its own \
                       (bearer or oauth2)";
        child.note("", message);
    }
    let mut tables = BTreeMap::new();
    let mut whole = true;
    for (name, table) in child.named("tables") {
        let ident = Ident::from_dotted(name).map_err(|e| child.note("tables", format!("{name}: {}", e.message()))).ok();
        match (ident, landing(&table)) {
            (Some(ident), Some(landing)) => drop(tables.insert(ident, landing)),
            _ => whole = false,
        }
    }
    Some(Some(Append {
        tables: whole.then_some(tables)?,
        max_staleness: child.duration("max-staleness")?,
        wait: child.duration("wait")?,
        interval: child.duration("interval")?,
    }))
}

/// What was appended must be remembered somewhere.
pub(super) fn check_state(root: &Section<'_>, catalogs: Option<&BTreeMap<CatalogName, Catalog>>) {
    if root.has("state") {
        return;
    }
    for (name, section) in root.named("catalogs") {
        let catalog =
            catalogs.and_then(|all| all.iter().find(|(known, _)| known.as_str() == name).map(|(_, catalog)| catalog));
        let needs = |catalog: &Catalog| catalog.append.is_some() && matches!(catalog.source, Source::Upstream(_));
        if catalog.is_some_and(needs) {
            let message = "needs a place to remember what was appended: write \"state: { database: sqlite:state.db }\" beside \"catalogs\"";
            section.note("append", message);
        }
    }
}

fn landing(section: &Section<'_>) -> Option<Landing> {
    Some(Landing {
        from: section.folder("from")?,
        external_only: section.text("writers")? == "external-only",
        create: section.flag("create")?,
        evolve: section.flag("evolve")?,
        branch: section.text("branch")?.to_owned(),
        settle: section.duration("settle")?,
        files_per_commit: section.integer("files-per-commit")?,
    })
}
