//! `lifeboat plan`, `sync` and `status`: replicated storage, and the tables that it becomes.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{EXIT_CODES, Failure, start};
use crate::config::{self, Config};
use crate::error::{Error, Kind};
use crate::jobs;
use crate::model::{CatalogName, Ident};
use crate::replica::{Action, Recheck, Replica, State, SyncProgress, TableStatus, Version};

/// The examples of `--help` for a command.
pub(super) fn help(command: &str) -> String {
    format!(
        "Examples:\n  lifeboat {command}                                all tables of the replicas in ./lifeboat.yaml\n  \
         lifeboat {command} sales.orders --config dr.yaml\n  lifeboat {command} --catalog dr --json\n\n\
         {EXIT_CODES}; a table that is not level is a failure"
    )
}

#[derive(Debug, Args)]
pub(super) struct ReplicaOptions {
    /// NAMESPACE.TABLE; all tables if none is named
    tables: Vec<String>,
    /// The configuration; by default lifeboat.yaml in the working directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only this catalog's replica
    #[arg(long, value_name = "NAME")]
    catalog: Option<String>,
    /// With sync: look again until all tables are level, for so long at most, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration)]
    wait: Option<Duration>,
    /// Prove everything that is published anew, as after a loss: reads all manifests and asks for all files
    #[arg(long)]
    rebuild: bool,
    /// Print JSON for scripts instead of a table for people
    #[arg(long)]
    json: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Say what would be done.
    Plan,
    /// Do it.
    Sync,
    /// Say how tables stand.
    Status,
    /// Keep tables that were dropped at the primary.
    Undrop,
}

/// Looks at the tables of the replicas, and fails unless all are level.
pub(super) async fn run(options: ReplicaOptions, what: What) -> Result<(), Failure> {
    let file = options.config.clone().unwrap_or_else(|| config::FILE_NAME.into());
    let app = start::open(&Config::load(&file)?).await?;
    let replicas = app.catalogs.into_iter().filter_map(|(name, catalog)| Some((name, catalog.replica?)));
    let replicas: Vec<(CatalogName, Replica)> =
        replicas.filter(|(name, _)| options.catalog.as_ref().is_none_or(|wanted| wanted == name.as_str())).collect();
    if replicas.is_empty() {
        let message = "the configuration has no such replica: write a section \"replica\" in a catalog";
        return Err(Failure::Usage(format!("{}: {message}", file.display())));
    }
    let tables = options.tables.iter().map(|text| Ident::from_dotted(text)).collect::<Result<Vec<_>, _>>()?;
    if what == What::Undrop && tables.is_empty() {
        return Err(Failure::Usage("name the tables that are to be kept".to_owned()));
    }
    let recheck = if options.rebuild { Recheck::Now } else { Recheck::Never };
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for (name, replica) in replicas {
        let looked = match what {
            What::Undrop => undrop(&replica, &tables).await,
            What::Sync => {
                let wait = options.wait.unwrap_or_default();
                jobs::sync(&replica, &tables, recheck, wait, &SyncProgress::default()).await
            }
            What::Plan | What::Status => replica.plan(&tables, recheck).await,
        };
        let looked = looked.map_err(|e| e.context(format!("catalog {name}")))?;
        rows.extend(looked.into_iter().map(|status| (name.clone(), status)));
        problems.extend(replica.problems().into_iter().map(|problem| format!("catalog {name}: {problem}")));
    }
    print(&rows, &problems, what, options.json)?;
    let will_do =
        |status: &TableStatus| what == What::Plan && status.action != Action::None && status.state != State::Blocked;
    let is_well = rows.iter().all(|(_, status)| status.is_level() || will_do(status));
    if is_well && problems.is_empty() { Ok(()) } else { Err(Failure::Told) }
}

async fn undrop(replica: &Replica, tables: &[Ident]) -> Result<Vec<TableStatus>, Error> {
    for table in tables {
        replica.undrop(table).await?;
    }
    replica.sync(tables, Recheck::Never).await
}

fn print(rows: &[(CatalogName, TableStatus)], problems: &[String], what: What, as_json: bool) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let text = if as_json {
        let rows = rows.iter().map(|(catalog, status)| {
            let mut row = json!(status);
            row["catalog"] = json!(catalog);
            row
        });
        format!("{:#}\n", json!({ "tables": rows.collect::<Vec<_>>(), "problems": problems }))
    } else {
        let problems: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        format!("{}{problems}", table(rows, what))
    };
    out.write_all(text.as_bytes()).map_err(|e| Error::new(Kind::Internal, e.to_string()))
}

fn table(rows: &[(CatalogName, TableStatus)], what: What) -> String {
    let mut lines = vec![
        ["table", if what == What::Status { "state" } else { "action" }, "published", "newest", "lag", "lacks", "why"]
            .map(str::to_owned),
    ];
    for (catalog, status) in rows {
        let (state, action) = (word(&json!(status.state)), word(&json!(status.action)));
        let does = match (what, status.state, status.action) {
            (What::Status, ..) | (_, State::Blocked | State::Waiting | State::Broken, Action::None) => state,
            _ => action,
        };
        lines.push([
            format!("{catalog}.{}", status.table),
            does,
            version(status.published.as_ref()),
            version(status.newest.as_ref()),
            format!("{:.1} s, {} commits", status.lag_ms as f64 / 1000.0, status.lag_commits),
            status.missing.count.to_string(),
            status.reason.clone().or_else(|| status.missing.examples.first().cloned()).unwrap_or_default(),
        ]);
    }
    let widths: Vec<usize> =
        (0..7).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let shown = lines.iter().map(|line| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    });
    shown.collect()
}

fn word(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn version(version: Option<&Version>) -> String {
    version.map_or_else(|| "-".to_owned(), |version| format!("v{}", version.version))
}
