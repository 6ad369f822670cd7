//! The command line: `lifeboat demo`, `serve`, `init`, `doctor`, `relocate`, `plan`, `sync`, `status`, `append`, `changes`,
//! `expire-snapshots`, `remove-orphans`, `compact`, `drop`, `config`, `version`.
//!
//! What must hold: results go to standard output and everything else to standard error; the exit code is 0 if all is well,
//! 1 if the work failed (a check, the upstream, the server), 2 if the command or the configuration was wrong.

mod append;
mod changes;
pub mod demo;
mod doctor;
mod init;
mod maintain;
mod probe;
mod relocate;
mod replica;
mod serve;
mod start;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, Problems};
use crate::error::{Error, Kind, Result};

/// All is well.
pub const EXIT_OK: u8 = 0;
/// The work failed.
pub const EXIT_FAILED: u8 = 1;
/// The command or the configuration was wrong; nothing was tried.
pub const EXIT_USAGE: u8 = 2;

const EXIT_CODES: &str = "Exit codes: 0 all is well, 1 the work failed, 2 the command or the configuration is wrong";

#[derive(Debug, Parser)]
#[command(
    name = "lifeboat",
    version,
    about = "An Iceberg REST catalog that stands in front of the catalog you have, and is one by itself",
    after_help = "Begin with:\n  lifeboat demo                          two sites with something in them, to look around\n  \
                  lifeboat serve --data ./lake          a catalog of its own in a folder\n  \
                  lifeboat init https://catalog.example  a configuration for the catalog you have"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve two sites: a primary with a few small tables in it, a standby that follows, and say how each engine reaches them
    #[command(after_help = format!(
        "Examples:\n  lifeboat demo\n  lifeboat demo --listen 127.0.0.1:9000 --data ./harbour\n\n{EXIT_CODES}"
    ))]
    Demo(demo::Options),
    /// Serve catalogs: of its own, or in front of the one you have
    #[command(after_help = format!(
        "Examples:\n  lifeboat serve --data ./lake\n  lifeboat serve --upstream https://catalog.example/iceberg --warehouse prod\n  \
         lifeboat serve --config lifeboat.yaml\n  lifeboat serve                          with ./lifeboat.yaml\n\n{EXIT_CODES}"
    ))]
    Serve(What),
    /// Ask a catalog what it is, and write the shortest configuration that works
    #[command(after_help = format!(
        "Examples:\n  lifeboat init https://catalog.example/iceberg\n  \
         LIFEBOAT_UPSTREAM_TOKEN=… lifeboat init https://catalog.example --warehouse prod\n\n\
         Credentials come from the environment: LIFEBOAT_UPSTREAM_TOKEN, or LIFEBOAT_UPSTREAM_CLIENT_ID and\n\
         LIFEBOAT_UPSTREAM_CLIENT_SECRET. They are not written into the file.\n\n{EXIT_CODES}"
    ))]
    Init(init::Options),
    /// Check configuration, clock, upstreams, databases, storage and tables, and say what to do
    #[command(after_help = format!(
        "Examples:\n  lifeboat doctor --config lifeboat.yaml\n  lifeboat doctor --upstream https://catalog.example/iceberg\n  \
         lifeboat doctor --data ./lake --json\n\n{EXIT_CODES}"
    ))]
    Doctor(DoctorOptions),
    /// Write a table's metadata anew for another place: every path, all snapshots, without a JVM
    #[command(after_help = relocate::help())]
    Relocate(relocate::RelocateOptions),
    /// Say what a sync of replicated tables would do
    #[command(after_help = replica::help("plan"))]
    Plan(replica::ReplicaOptions),
    /// Publish the newest whole state of replicated tables, now
    #[command(after_help = replica::help("sync"))]
    Sync(replica::ReplicaOptions),
    /// Say how replicated tables stand: published and newest state, lag, what is missing
    #[command(after_help = replica::help("status"))]
    Status(replica::ReplicaOptions),
    /// Keep a table that was dropped at the primary, or give it back its name
    #[command(after_help = replica::help("undrop"))]
    Undrop(replica::ReplicaOptions),
    /// Append data files that landed without metadata, each once
    #[command(after_help = append::help())]
    Append(append::AppendOptions),
    /// Print which files came and went in a table, snapshot by snapshot
    #[command(after_help = changes::help())]
    Changes(changes::ChangesOptions),
    /// Expire a table's snapshots that have had their time, and delete what only they reach
    #[command(after_help = maintain::help("expire-snapshots"))]
    ExpireSnapshots(maintain::ExpireSnapshots),
    /// Find files in a table's place that nothing reaches, and delete them
    #[command(after_help = maintain::help("remove-orphans"))]
    RemoveOrphans(maintain::RemoveOrphans),
    /// Say which partitions of a table have files to be compacted, and make the job that Spark does it with
    #[command(after_help = maintain::help("compact"))]
    Compact(maintain::Compact),
    /// Drop a table, with its files or without
    #[command(after_help = maintain::help("drop"))]
    Drop(maintain::DropTable),
    /// Work on configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the version
    #[command(after_help = "Example:\n  lifeboat version")]
    Version,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a file and print every error with its line
    #[command(after_help = format!("Example:\n  lifeboat config check lifeboat.yaml\n\n{EXIT_CODES}"))]
    Check {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct DoctorOptions {
    #[command(flatten)]
    what: What,
    /// Print JSON for scripts instead of a table for people
    #[arg(long)]
    json: bool,
}

/// Which catalogs a command is about.
#[derive(Debug, Args)]
struct What {
    /// A folder: a catalog of its own, made there if it is not there yet
    #[arg(long, value_name = "DIR", conflicts_with_all = ["upstream", "config"])]
    data: Option<PathBuf>,
    /// The base URI of an Iceberg REST catalog to stand in front of
    #[arg(long, value_name = "URI", conflicts_with = "config")]
    upstream: Option<String>,
    /// The upstream's own warehouse
    #[arg(long, value_name = "NAME", requires = "upstream")]
    warehouse: Option<String>,
    /// A configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, instead of 127.0.0.1:8181
    #[arg(long, value_name = "HOST:PORT", value_parser = config::parse_address)]
    listen: Option<SocketAddr>,
}

impl What {
    /// The configuration that the flags mean; without any, `lifeboat.yaml` in the working directory.
    fn config(&self) -> Result<Config, Failure> {
        if let Some(data) = &self.data {
            return Ok(Config::embedded(data, self.listen)?);
        }
        if let Some(uri) = &self.upstream {
            return Ok(Config::proxy(uri, self.warehouse.as_deref(), self.listen)?);
        }
        let file = match &self.config {
            Some(file) => file.clone(),
            None if PathBuf::from(config::FILE_NAME).is_file() => config::FILE_NAME.into(),
            None => {
                return Err(Failure::Usage(format!(
                    "there is no {} here, so say what to work with: --data DIR for a catalog of its own, --upstream URI \
                     for the one you have, or --config FILE",
                    config::FILE_NAME
                )));
            }
        };
        let config = Config::load(&file)?;
        Ok(match self.listen {
            Some(listen) => config.with_listen(listen)?,
            None => config,
        })
    }
}

/// Why a command did not do its work.
#[derive(Debug)]
enum Failure {
    /// The command or the configuration is wrong.
    Usage(String),
    /// The work failed.
    Work(Error),
    /// The work failed, and what there is to say has been printed.
    Told,
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Failure::Usage(problems.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Work(error)
    }
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // the only provider that is compiled in; a second installation is refused, which is as good
    let _ = rustls::crypto::ring::default_provider().install_default();
    ExitCode::from(match run(cli.command) {
        Ok(()) => EXIT_OK,
        Err(Failure::Told) => EXIT_FAILED,
        Err(Failure::Work(error)) => {
            eprintln!("error: {error}");
            EXIT_FAILED
        }
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}");
            EXIT_USAGE
        }
    })
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(options) => block_on(demo::demo(options)),
        Command::Serve(what) => block_on(serve::serve(what.config()?)),
        Command::Init(options) => block_on(init::init(options)),
        Command::Doctor(options) => block_on(doctor::doctor(options.what.config(), options.json)),
        Command::Relocate(options) => block_on(relocate::relocate(options)),
        Command::Plan(options) => block_on(replica::run(options, replica::What::Plan)),
        Command::Sync(options) => block_on(replica::run(options, replica::What::Sync)),
        Command::Status(options) => block_on(replica::run(options, replica::What::Status)),
        Command::Undrop(options) => block_on(replica::run(options, replica::What::Undrop)),
        Command::Append(options) => block_on(append::append(options)),
        Command::Changes(options) => block_on(changes::run(options)),
        Command::ExpireSnapshots(options) => block_on(maintain::expire_snapshots(options)),
        Command::RemoveOrphans(options) => block_on(maintain::remove_orphans(options)),
        Command::Compact(options) => block_on(maintain::compact(options)),
        Command::Drop(options) => block_on(maintain::drop_table(options)),
        Command::Config(ConfigCommand::Check { file }) => {
            let config = Config::load(&file)?;
            let catalogs = config.catalogs.len();
            println!("{} is valid: {catalogs} catalog{}", file.display(), if catalogs == 1 { "" } else { "s" });
            Ok(())
        }
        Command::Version => {
            println!("lifeboat {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::new(Kind::Internal, "the threads cannot be started").with_source(e))?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_shows_an_example_and_says_what_it_does() {
        fn look(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} does not say what it does", command.get_name());
            if !command.has_subcommands() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{} shows no example", command.get_name());
            }
            command.get_subcommands().for_each(look);
        }
        Cli::command().debug_assert();
        look(&Cli::command());
    }

    #[test]
    fn flags_that_contradict_are_refused() {
        for line in [
            "serve --data x --upstream http://y",
            "serve --data x --config y",
            "serve --upstream http://x --config y",
            "serve --warehouse x",
            "serve --listen 8181",
        ] {
            let parsed = Cli::try_parse_from(["lifeboat"].into_iter().chain(line.split(' ')));
            assert!(parsed.is_err(), "{line}");
        }
    }

    #[test]
    fn flags_become_a_configuration() {
        let what = |line: &str| match Cli::try_parse_from(line.split(' ')).expect("is a command").command {
            Command::Serve(what) => what.config(),
            _ => panic!("{line} is not serve"),
        };
        let config = what("lifeboat serve --upstream http://x --listen localhost:1").expect("is valid");
        assert_eq!(config.listen.port(), 1);
        assert!(matches!(what("lifeboat serve --data x --listen 0.0.0.0:1"), Err(Failure::Usage(_))));
        assert!(matches!(what("lifeboat serve --config /nonexistent"), Err(Failure::Usage(_))));
    }
}
