//! `lifeboat changes`: which files came and went in a table, snapshot by snapshot.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{EXIT_CODES, Failure, start};
use crate::changes::{Ask, ChangedFile, History, LIMIT, MAIN, Position, SnapshotChanges, To};
use crate::config::{self, Config};
use crate::error::{Error, Kind};
use crate::model::Ident;
use crate::upstream::asking::Asking;

/// How often the table is asked for with `--follow`.
const INTERVAL: Duration = Duration::from_secs(1);

/// The examples of `--help`.
pub(super) fn help() -> String {
    format!(
        "Examples:\n  lifeboat changes main.sales.orders                                all files that are live in the oldest snapshot, then what came and went\n  \
         lifeboat changes main.sales.orders --from 3051729675574597004 --json   what came after a snapshot, one JSON object a snapshot\n  \
         lifeboat changes main.sales.orders --follow --config lifeboat.yaml     and on and on\n\n\
         {EXIT_CODES}; history that has expired is a failure"
    )
}

#[derive(Debug, Args)]
pub(super) struct ChangesOptions {
    /// CATALOG.NAMESPACE.TABLE of the configuration
    table: String,
    /// What came after this snapshot; everything from the oldest one on if not given
    #[arg(long, value_name = "SNAPSHOT", allow_negative_numbers = true)]
    from: Option<i64>,
    /// The branch that is followed
    #[arg(long, default_value = MAIN)]
    branch: String,
    /// Leave out snapshots that only put files in the place of others with the same rows
    #[arg(long)]
    skip_replace: bool,
    /// Go on with what is committed from now on, until it is ended
    #[arg(long)]
    follow: bool,
    /// The configuration; by default lifeboat.yaml in the working directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON for scripts, one object a line, instead of lines for people
    #[arg(long)]
    json: bool,
}

/// Prints the changes of a table.
pub(super) async fn run(options: ChangesOptions) -> Result<(), Failure> {
    let file = options.config.clone().unwrap_or_else(|| config::FILE_NAME.into());
    let app = start::open(&Config::load(&file)?).await?;
    let named = |name: &str| options.table.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    // a catalog's name may have dots itself: the longest that fits
    let found = app.catalogs.iter().filter_map(|(name, catalog)| Some((name, catalog, named(name.as_str())?)));
    let Some((name, catalog, table)) = found.max_by_key(|(name, ..)| name.as_str().len()) else {
        return Err(Failure::Usage(format!(
            "{} has no catalog of {}: name CATALOG.NAMESPACE.TABLE",
            file.display(),
            options.table
        )));
    };
    if catalog.passthrough {
        return Err(Failure::Usage(format!(
            "callers of catalog {name} bring their own tokens: ask the server, see docs/changes.md"
        )));
    }
    let table = Ident::from_dotted(table)?;
    let tables = Asking::new(name.clone(), catalog.stack.clone(), "lifeboat");
    let changes = app.feeds(app.storage.clone()).changes;
    let mut position = options.from.map(Position::After);
    loop {
        let history = tables.table(&table).await?.metadata;
        let history = History::read(&history)?;
        let ask =
            Ask { position, to: To::Branch(options.branch.clone()), limit: LIMIT, skip_replace: options.skip_replace };
        let page = changes.page(&history, &ask).await?;
        if !print(&page.changes, options.json)? || page.is_level && !options.follow {
            return Ok(());
        }
        position = Some(page.next);
        if page.is_level {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Prints a page; whether somebody still reads.
fn print(changes: &[SnapshotChanges], as_json: bool) -> Result<bool, Error> {
    let mut text = String::new();
    for change in changes {
        if as_json {
            text += &serde_json::to_string(change).map_err(|e| Error::internal(e.to_string()))?;
            text.push('\n');
            continue;
        }
        if !change.is_continued {
            let base = if change.is_base { ", all that is live in it" } else { "" };
            text += &format!("snapshot {} {}{base}\n", change.snapshot_id, change.operation);
        }
        change.files().for_each(|(came, file)| text += &line(came, file));
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        done => done.map(|()| true).map_err(|e| Error::new(Kind::Internal, e.to_string())),
    }
}

fn line(came: bool, file: &ChangedFile) -> String {
    let sign = if came { '+' } else { '-' };
    let partition: Vec<String> = file.partition.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let partition = if partition.is_empty() { String::new() } else { format!(" {}", partition.join(" ")) };
    format!(
        "{sign} {} {} {} records, {} bytes{partition}\n",
        file.content, file.file_path, file.record_count, file.file_size_in_bytes
    )
}
