//! `lifeboat relocate`: one table's paths, from one place to another.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tokio::task::JoinHandle;

use super::{EXIT_CODES, Failure, start};
use crate::config::Config;
use crate::error::Error;
use crate::jobs::{PrefixPair, RelocationRequest, Relocations};
use crate::storage::Storage;
use crate::table::copy_plan::{CopyPlan, CopyPlanFormat};
use crate::table::relocate::{Examples, LiveFile, Progress, ReadFrom, Report};

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The examples of `--help`.
pub(super) fn help() -> String {
    format!(
        "Examples:\n  lifeboat relocate /ifs/dr/lake/sales/orders --map /ifs/prod=/ifs/dr --into /ifs/dr-overlay --plan\n  \
         lifeboat relocate s3://dr/lake/t/metadata/00042-….metadata.json --map hdfs://nn/lake=s3://dr/lake --into s3://dr/overlay\n  \
         lifeboat relocate /ifs/dr/lake/sales/orders --map /ifs/prod=/ifs/dr --into /ifs/dr-overlay --config lifeboat.yaml --register lake.sales.orders\n  \
         lifeboat relocate s3://prod/lake/t --map s3://prod/lake=s3://dr/lake --into s3://dr/overlay --copy-plan t.s5cmd --copy-plan-format s5cmd\n\n\
         {EXIT_CODES}; files that are missing are a failure, unless a copy plan has them all"
    )
}

#[derive(Debug, Args)]
pub(super) struct RelocateOptions {
    /// A metadata.json, a table's folder (the one with metadata/ in it), or CATALOG.NAMESPACE.TABLE of the configuration
    source: String,
    /// A prefix in the metadata and what takes its place; may be given several times, the longest that fits counts
    #[arg(long, value_name = "FROM=TO", required = true, value_parser = parse_pair)]
    map: Vec<PrefixPair>,
    /// Another spelling of sources, such as s3a://=s3://
    #[arg(long, value_name = "FROM=TO", value_parser = parse_pair)]
    alias: Vec<PrefixPair>,
    /// The overlay: relocated metadata is written below it; by default beside the source's metadata
    #[arg(long, value_name = "PREFIX")]
    into: Option<String>,
    /// Where files are read: as the metadata names them, or where the map puts them; by default derived from where SOURCE lies
    #[arg(long, value_enum)]
    read: Option<Read>,
    /// Fail on a path that no pair covers, instead of leaving it as it is
    #[arg(long)]
    strict: bool,
    /// Only the snapshots that branches and tags lead to
    #[arg(long, conflicts_with = "since")]
    refs_only: bool,
    /// Only this snapshot and later ones, besides what branches and tags lead to
    #[arg(long, value_name = "SNAPSHOT")]
    since: Option<i64>,
    /// Write nothing; say what would be written and what is missing
    #[arg(long)]
    plan: bool,
    /// Look whether every data file is at its target; always done with --plan, --copy-plan and --register
    #[arg(long)]
    check: bool,
    /// Write every file that is not at its target yet to FILE, for a tool that copies; files that are missing are no failure then
    #[arg(long, value_name = "FILE")]
    copy_plan: Option<PathBuf>,
    /// Which tool copies: csv for scripts, s5cmd run, S3 Batch Operations, hadoop distcp, rclone
    #[arg(long, value_enum, default_value_t = PlanFormat::Csv, requires = "copy_plan")]
    copy_plan_format: PlanFormat,
    /// A further table property that holds a location
    #[arg(long, value_name = "KEY")]
    path_property: Vec<String>,
    /// A catalog's name in views and its name at the other place
    #[arg(long, value_name = "FROM=TO", value_parser = parse_pair)]
    default_catalog: Vec<PrefixPair>,
    /// Register the relocated table under this name when nothing is missing
    #[arg(long, value_name = "CATALOG.NAMESPACE.TABLE", requires = "config")]
    register: Option<String>,
    /// The configuration with the catalogs and stores that are named
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON for scripts instead of a table for people
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Read {
    Source,
    Target,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PlanFormat {
    Csv,
    S5cmd,
    S3Batch,
    Distcp,
    Rclone,
}

impl From<PlanFormat> for CopyPlanFormat {
    fn from(format: PlanFormat) -> Self {
        match format {
            PlanFormat::Csv => CopyPlanFormat::Csv,
            PlanFormat::S5cmd => CopyPlanFormat::S5cmd,
            PlanFormat::S3Batch => CopyPlanFormat::S3Batch,
            PlanFormat::Distcp => CopyPlanFormat::Distcp,
            PlanFormat::Rclone => CopyPlanFormat::Rclone,
        }
    }
}

/// Relocates, prints the report, and fails when a file is missing that no copy plan has.
pub(super) async fn relocate(options: RelocateOptions) -> Result<(), Failure> {
    let relocations = match &options.config {
        Some(file) => start::relocations(&Config::load(file)?).await?,
        None => Relocations::new(Arc::new(Storage::new(Vec::new())), Default::default()),
    };
    let request = options.request();
    let format = options.copy_plan_format.into();
    let mut plan = options.copy_plan.as_ref().map(|file| CopyPlan::create(file, format)).transpose()?;
    let progress = Arc::new(Progress::default());
    let shown = show(progress.clone());
    let mut missing = |file: &LiveFile| plan.as_mut().map_or(Ok(false), |plan| plan.add(file)).map(drop);
    let report = relocations.run(&request, progress, &mut missing).await;
    shown.abort();
    let mut report = report?;
    // of files that an unread manifest names nobody knows
    if let Some(plan) = plan.filter(|_| report.unread_files == 0) {
        report.copy_plan = Some(plan.finish()?);
    }
    print(&report, options.json)?;
    if options.copy_plan.is_some() && report.copy_plan.is_none() {
        eprintln!("no copy plan was written, since {} metadata files could not be read", report.unread_files);
    }
    if report.is_whole() || is_answered(&report, &request) { Ok(()) } else { Err(Failure::Told) }
}

/// Whether everything that is missing is in a copy plan, and nothing was wanted but that.
fn is_answered(report: &Report, request: &RelocationRequest) -> bool {
    let missing = report.missing_files.as_ref().map_or(0, |missing| missing.count);
    request.register.is_none() && report.copy_plan.as_ref().is_some_and(|plan| plan.files == missing)
}

impl RelocateOptions {
    fn request(&self) -> RelocationRequest {
        RelocationRequest {
            source: self.source.clone(),
            map: self.map.clone(),
            aliases: self.alias.clone(),
            into: self.into.clone(),
            read: self.read.map(|read| match read {
                Read::Source => ReadFrom::Source,
                Read::Target => ReadFrom::Target,
            }),
            strict: self.strict,
            refs_only: self.refs_only,
            since: self.since,
            path_properties: self.path_property.clone(),
            catalogs: self.default_catalog.clone(),
            plan: self.plan,
            check: self.check || self.copy_plan.is_some(),
            register: self.register.clone(),
        }
    }
}

fn parse_pair(text: &str) -> Result<PrefixPair, String> {
    // a prefix may hold `=` (partition folders): the first one after which a location begins parts the two
    let parts = |at: usize| (&text[..at], &text[at + 1..]);
    let equals: Vec<usize> = text.match_indices('=').map(|(at, _)| at).collect();
    let begins = |to: &str| {
        to.starts_with('/')
            || to.split_once(":/").is_some_and(|(scheme, _)| !scheme.is_empty() && !scheme.contains('/'))
    };
    let at = equals.iter().copied().find(|at| begins(parts(*at).1)).or(equals.first().copied());
    match at.map(parts) {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => {
            Ok(PrefixPair { from: from.to_owned(), to: to.to_owned() })
        }
        _ => Err("write FROM=TO, such as /ifs/prod=/ifs/dr".to_owned()),
    }
}

/// Shows how far the work has come, on a terminal only.
fn show(progress: Arc<Progress>) -> JoinHandle<()> {
    let began = Instant::now();
    tokio::spawn(async move {
        while std::io::stderr().is_terminal() {
            tokio::time::sleep(PROGRESS_EVERY).await;
            let [to_do, done, files] = [&progress.bytes_to_do, &progress.bytes_done, &progress.files_done]
                .map(|count| count.load(Ordering::Relaxed));
            let rate = done as f64 / began.elapsed().as_secs_f64();
            let left = if rate > 0.0 {
                format!("{:.0} s left", to_do.saturating_sub(done) as f64 / rate)
            } else {
                "beginning".to_owned()
            };
            eprint!(
                "\r\x1b[K{files} files, {} of {} of manifests, {}/s, {left}",
                bytes(done),
                bytes(to_do),
                bytes(rate as u64)
            );
        }
    })
}

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    if json {
        let text = serde_json::to_string(report).map_err(|e| Error::internal(e.to_string()))?;
        println!("{text}");
        return Ok(());
    }
    let files = &report.files;
    let verb = if report.plan { "would be written" } else { "written" };
    println!("{}", report.metadata_location);
    println!("  {} snapshots, {} left out", report.snapshots, report.snapshots_left_out);
    println!(
        "  {} manifest lists, {} manifests, {} delete files",
        files.manifest_lists, files.manifests, files.delete_files
    );
    println!("  {} files {verb} ({}), {} there already", files.written, bytes(report.bytes_written), files.skipped);
    println!("  {} read, {:.1} s", bytes(report.bytes_read), report.seconds);
    examples("paths are covered by no pair and stay as they are", &report.unmapped_paths);
    if let Some(missing) = &report.missing_files {
        examples("files are missing", missing);
    }
    for found in &report.paths_in_sql {
        println!(
            "  the SQL of version {} ({}) names {}, which leads to the old place: edit the view",
            found.version_id, found.dialect, found.path
        );
    }
    if let Some(plan) = &report.copy_plan {
        println!("  {} files to copy ({}) in {}", plan.files, bytes(plan.bytes), plan.file);
        plan.notes.iter().for_each(|note| println!("    {note}"));
    }
    if let Some(name) = &report.registered {
        println!("  registered as {name}");
    }
    Ok(())
}

fn examples(what: &str, found: &Examples) {
    if found.count > 0 {
        println!("  {} {what}:", found.count);
        found.examples.iter().for_each(|example| println!("    {example}"));
    }
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_parted_where_a_location_begins() {
        for (text, from, to) in [
            ("/ifs/prod=/ifs/dr", "/ifs/prod", "/ifs/dr"),
            ("s3://b/day=1/x=s3://c/day=1", "s3://b/day=1/x", "s3://c/day=1"),
            ("s3a://=s3://", "s3a://", "s3://"),
            ("prod=dr", "prod", "dr"),
        ] {
            assert_eq!(parse_pair(text), Ok(PrefixPair { from: from.to_owned(), to: to.to_owned() }), "{text}");
        }
        assert!(parse_pair("/ifs/prod").is_err() && parse_pair("=/x").is_err() && parse_pair("/x=").is_err());
    }
}
