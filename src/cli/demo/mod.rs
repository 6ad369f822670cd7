//! `lifeboat demo`: a catalog with something in it, and how to reach it from each engine.
//!
//! What must hold: it needs nothing that is not in this program, and leaves nothing behind unless `--data` says so. What it holds
//! is in `tables`, how that gets into a catalog in `fill`, what users type in `engines`.

mod engines;
mod fill;
pub mod parquet;
mod tables;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{self, Config};
use crate::error::{Error, Kind};

use super::{Failure, start};

pub use fill::{Report, fill};

/// Where to put it.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where to listen, instead of 127.0.0.1:8181
    #[arg(long, value_name = "HOST:PORT", value_parser = config::parse_address)]
    listen: Option<SocketAddr>,
    /// A folder that stays; without it everything is deleted at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Fills a catalog and serves it until it is told to stop.
pub(super) async fn demo(options: Options) -> Result<(), Failure> {
    let Some(folder) = &options.data else {
        let folder = tempfile::Builder::new().prefix("lifeboat-demo-").tempdir();
        let folder =
            folder.map_err(|e| Error::new(Kind::Internal, "no temporary folder can be made").with_source(e))?;
        let whereabouts = format!("{}, which is deleted at the end", folder.path().display());
        return run(folder.path(), &whereabouts, options.listen).await;
    };
    run(folder, &folder.display().to_string(), options.listen).await
}

async fn run(folder: &Path, whereabouts: &str, listen: Option<SocketAddr>) -> Result<(), Failure> {
    let config = Config::embedded(folder, listen)?;
    let app = start::build(&config).await?;
    let (name, catalog) =
        app.catalogs.iter().next().ok_or_else(|| Error::internal("the configuration has no catalog"))?;
    let report = fill(catalog.stack.as_ref(), name, &app.storage, &|done| eprintln!("filled {done}")).await?;
    start::serve_app(app, &config, |uri| {
        // that nobody reads it is no reason not to serve
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(welcome(uri, whereabouts, &report).as_bytes()).and_then(|()| out.flush());
    })
    .await?;
    Ok(())
}

/// What the user reads once the catalog answers at `uri`.
fn welcome(uri: &str, whereabouts: &str, report: &Report) -> String {
    let mut text = format!("\nThree tables and a view, in {whereabouts}:\n\n{report}\nLifeboat is ready at {uri}\n");
    for (engine, needs, lines) in engines::lines(uri) {
        let _ = write!(text, "\n{engine} ({needs}):\n");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    text.push_str("\nServing until Ctrl-C.\n");
    text
}
