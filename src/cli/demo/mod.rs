//! `lifeboat demo`: two sites, a primary with something in it and a standby that follows it, and how to reach them from each engine.
//!
//! What must hold: it needs nothing that is not in this program, and leaves nothing behind unless `--data` says so. What it holds
//! is in `tables`, how that gets into a catalog in `fill`, the other site in `standby`, what users type in `engines`.

mod engines;
mod fill;
pub mod parquet;
mod standby;
mod tables;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::sync::oneshot;

use crate::config::{self, Config};
use crate::error::{Error, Kind};

use super::{Failure, start};
use standby::Sites;

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
    let sites = Sites::new(folder);
    let standby_config = sites.config(config.listen)?;
    let standby = start::open(&standby_config).await?;
    let (ready, uris) = (&|uri: &str, to: oneshot::Sender<String>| drop(to.send(uri.to_owned())), two());
    let ((primary_is, primary_at), (standby_is, standby_at)) = uris;
    let replication = tokio::spawn(sites.replicate());
    let served = tokio::try_join!(
        start::serve_app(app, &config, move |uri| ready(uri, primary_is)),
        start::serve_app(standby, &standby_config, move |uri| ready(uri, standby_is)),
        async {
            // one that never is ready has failed, and that is said by its server
            if let (Ok(primary), Ok(standby)) = (primary_at.await, standby_at.await) {
                // that nobody reads it is no reason not to serve
                let mut out = std::io::stdout().lock();
                let text = welcome(&primary, &standby, whereabouts, &report);
                let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            }
            Ok(())
        }
    );
    replication.abort();
    served?;
    Ok(())
}

type Uri = (oneshot::Sender<String>, oneshot::Receiver<String>);

fn two() -> (Uri, Uri) {
    (oneshot::channel(), oneshot::channel())
}

/// What the user reads once both sites answer.
fn welcome(uri: &str, standby: &str, whereabouts: &str, report: &Report) -> String {
    let mut text = format!(
        "\nThree tables and a view, in {whereabouts}:\n\n{report}\nLifeboat is ready at {uri}\n\
         The standby is ready at {standby}: files of the warehouse are copied to it in no order, and its tables follow\n"
    );
    for (engine, needs, lines) in engines::lines(uri) {
        let _ = write!(text, "\n{engine} ({needs}):\n");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    text.push_str("\nServing until Ctrl-C.\n");
    text
}
