//! `lifeboat append`: data files that landed become rows.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{EXIT_CODES, Failure, start};
use crate::append::{AppendReport, Appends, FileListFormat, LandingSettings, LookOptions, read_list};
use crate::config::{self, Config};
use crate::error::Error;
use crate::model::{CatalogName, Ident};
use crate::storage::Location;

/// Files that are named when they are left out.
const SHOWN_MAX: usize = 20;

/// The examples of `--help`.
pub(super) fn help() -> String {
    format!(
        "Examples:\n  lifeboat append                                     all tables under \"append\" in ./lifeboat.yaml\n  \
         lifeboat append sales.orders --plan\n  \
         lifeboat append sales.orders --from s3://landing/orders --create --config lifeboat.yaml\n  \
         lifeboat append sales.orders --from /ifs/landing/orders --evolve --data ./lake\n  \
         lifeboat append sales.orders --files inventory.csv.gz --files-format s3-inventory\n\n\
         {EXIT_CODES}; files that are left out are a failure"
    )
}

#[derive(Debug, Args)]
pub(super) struct AppendOptions {
    /// NAMESPACE.TABLE; all tables for which files land if none is named
    tables: Vec<String>,
    #[command(flatten)]
    what: super::What,
    /// Only this catalog
    #[arg(long, value_name = "NAME")]
    catalog: Option<String>,
    /// Where the files of one table landed, instead of what the configuration says
    #[arg(long, value_name = "PREFIX")]
    from: Option<String>,
    /// A list of the files of one table, instead of a listing; `.gz` is unpacked
    #[arg(long, value_name = "FILE")]
    files: Option<PathBuf>,
    /// How the list is written
    #[arg(long, value_enum, default_value_t = ListFormat::Lines, requires = "files")]
    files_format: ListFormat,
    /// Make the table from the files' columns and folders where there is none
    #[arg(long)]
    create: bool,
    /// Give the table new columns and wider types where files have them
    #[arg(long)]
    evolve: bool,
    /// Nobody else writes the table, so that a folder of its own may be looked at
    #[arg(long)]
    external_only: bool,
    /// How long a file must not have changed, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration)]
    settle: Option<std::time::Duration>,
    /// Write nothing; say what would be appended, and what is left out and why
    #[arg(long)]
    plan: bool,
    /// Print JSON for scripts instead of a table for people
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ListFormat {
    /// One location a line, and its size behind a tab
    Lines,
    /// S3 Inventory as CSV
    S3Inventory,
    /// hdfs oiv -p Delimited
    Oiv,
}

/// Looks at what landed, and fails unless everything is in the tables.
pub(super) async fn append(options: AppendOptions) -> Result<(), Failure> {
    let config: Config = options.what.config()?;
    let app = start::open(&config).await?;
    let named = options.tables.iter().map(|text| Ident::from_dotted(text)).collect::<Result<Vec<_>, _>>()?;
    if (options.from.is_some() || options.files.is_some()) && named.len() != 1 {
        return Err(Failure::Usage("--from and --files are about one table: name it".to_owned()));
    }
    let is_wanted = |name: &CatalogName| options.catalog.as_ref().is_none_or(|wanted| wanted == name.as_str());
    let appends = app.catalogs.into_iter().filter(|(name, _)| is_wanted(name));
    let appends: Vec<(CatalogName, Appends)> =
        appends.filter_map(|(name, catalog)| Some((name, catalog.appends?))).collect();
    if options.from.is_some() && appends.len() > 1 {
        return Err(Failure::Usage(
            "there are several catalogs: say with --catalog which one the table is in".to_owned(),
        ));
    }
    let mut reports = Vec::new();
    for (name, appends) in &appends {
        let lands = |ident: &Ident| options.from.is_some() || appends.tables().any(|known| known == ident);
        let tables: Vec<Ident> = match named.is_empty() {
            true => appends.tables().cloned().collect(),
            false => named.iter().filter(|ident| lands(ident)).cloned().collect(),
        };
        for ident in tables {
            let look = options.look(appends, &ident)?;
            let report = appends.look(&ident, look).await.map_err(|e| e.context(format!("catalog {name}")))?;
            reports.push((name.clone(), report));
        }
    }
    if reports.is_empty() {
        let message =
            "no files land for such a table: write it under \"append\" in the catalog, or say where with --from";
        return Err(Failure::Usage(message.to_owned()));
    }
    print(&reports, options.json)?;
    match reports.iter().all(|(_, report)| report.is_whole()) {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

impl AppendOptions {
    /// What the flags change of what is configured.
    fn look(&self, appends: &Appends, ident: &Ident) -> Result<LookOptions, Failure> {
        let configured = appends.landing(ident).cloned();
        let from = self.from.as_ref().map(|from| Location::new(from.trim_end_matches('/')));
        let mut settings = match (from, configured) {
            (Some(from), Some(configured)) => LandingSettings { from, ..configured },
            (Some(from), None) => LandingSettings::new(from),
            (None, Some(configured)) => configured,
            (None, None) => return Err(Failure::Usage(format!("say with --from where the files of {ident} landed"))),
        };
        settings.external_only |= self.external_only;
        settings.settle = self.settle.unwrap_or(settings.settle);
        let format = match self.files_format {
            ListFormat::Lines => FileListFormat::Lines,
            ListFormat::S3Inventory => FileListFormat::S3Inventory,
            ListFormat::Oiv => FileListFormat::Oiv,
        };
        let files = self.files.as_ref().map(|file| read_list(file, format, &settings.from)).transpose()?;
        let (plan, evolve, create) = (self.plan, self.evolve, self.create);
        Ok(LookOptions { plan, evolve, create, from: Some(settings), files })
    }
}

fn print(reports: &[(CatalogName, AppendReport)], json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let failed = |e: std::io::Error| Error::internal(format!("cannot write to standard output: {e}"));
    if json {
        let all: Vec<serde_json::Value> = reports
            .iter()
            .map(|(catalog, report)| {
                let mut report = serde_json::to_value(report).unwrap_or_default();
                report["catalog"] = catalog.as_str().into();
                report
            })
            .collect();
        return Ok(writeln!(out, "{}", serde_json::json!({ "appends": all })).map_err(failed)?);
    }
    for (catalog, report) in reports {
        writeln!(out, "{}", text(catalog, report)).map_err(failed)?;
    }
    Ok(())
}

/// A report for people.
fn text(catalog: &CatalogName, report: &AppendReport) -> String {
    let verb = if report.plan { "would be" } else { "were" };
    let mut lines = vec![format!("{catalog}.{} from {}", report.table, report.from)];
    if report.created {
        lines.push(format!("  the table {}", if report.plan { "would be made" } else { "was made" }));
    }
    lines.extend(
        report.evolved.iter().map(|change| format!("  {change}{}", if report.plan { " (not done yet)" } else { "" })),
    );
    lines.push(format!(
        "  {} files {verb} appended, {} rows, {:.1} MiB, in {} commits",
        report.appended_files,
        report.appended_rows,
        report.appended_bytes as f64 / f64::from(1 << 20),
        report.snapshots.len()
    ));
    lines.push(format!(
        "  {} listed, {} known to the table, {} changed too recently, {} without rows; {:.1} s",
        report.listed_files, report.known_files, report.unsettled_files, report.empty_files, report.seconds
    ));
    if report.left_out_files > 0 {
        lines.push(format!("  {} files are left out:", report.left_out_files));
        let shown = report.left_out.iter().take(SHOWN_MAX);
        lines.extend(shown.map(|file| format!("    {}: {}", file.file, file.message)));
        if report.left_out_files > SHOWN_MAX as u64 {
            lines.push("    …".to_owned());
        }
    }
    lines.join("\n")
}
