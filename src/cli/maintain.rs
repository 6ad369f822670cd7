//! `lifeboat expire-snapshots`, `remove-orphans`, `compact` and `drop`: maintenance of one table, now.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{EXIT_CODES, Failure, What, start};
use crate::config;
use crate::error::{Error, Kind};
use crate::maintenance::{
    ExpireOptions, OrphanOptions, Progress, Retention, SparkTarget, Work, WorkReport, spark_command, spark_conf,
};
use crate::model::{CatalogName, Ident};
use crate::table::relocate::Examples;

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The examples of `--help` for a command.
pub(super) fn help(command: &str) -> String {
    let examples = match command {
        "expire-snapshots" => {
            "  lifeboat expire-snapshots main.sales.orders --plan\n  lifeboat expire-snapshots main.sales.orders --keep-for 7d --keep-last 10 --config lifeboat.yaml\n  \
             lifeboat expire-snapshots main.sales.orders --data ./lake --json"
        }
        "remove-orphans" => {
            "  lifeboat remove-orphans main.sales.orders                    says what it would delete\n  \
             lifeboat remove-orphans main.sales.orders --delete --older-than 7d --config lifeboat.yaml"
        }
        "compact" => {
            "  lifeboat compact main.sales.orders --plan\n  lifeboat compact main.sales.orders --spark --uri https://lifeboat.example > compact.sh\n  \
             lifeboat compact main.sales.orders --json --config lifeboat.yaml"
        }
        _ => {
            "  lifeboat drop main.sales.orders                    the files stay\n  lifeboat drop main.sales.orders --purge --yes --config lifeboat.yaml"
        }
    };
    format!("Examples:\n{examples}\n\n{EXIT_CODES}")
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// CATALOG.NAMESPACE.TABLE
    #[arg(value_name = "TABLE", value_parser = parse_table)]
    table: (CatalogName, Ident),
    #[command(flatten)]
    what: What,
    /// Print JSON for scripts instead of a report for people
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExpireSnapshots {
    #[command(flatten)]
    common: Common,
    /// How long snapshots are kept where neither a branch nor the table itself says it; 5d if nobody does
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration)]
    keep_for: Option<Duration>,
    /// How many snapshots of each branch are kept at least, where neither the branch nor the table itself says it; 1 if nobody does
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    keep_last: Option<u32>,
    /// Change nothing; say which snapshots and which files would go
    #[arg(long)]
    plan: bool,
}

#[derive(Debug, Args)]
pub(super) struct RemoveOrphans {
    #[command(flatten)]
    common: Common,
    /// How old files must be to be judged, since their writers may not have committed yet
    #[arg(long, value_name = "DURATION", default_value = "3d", value_parser = config::parse_duration)]
    older_than: Duration,
    /// That may be less than a day: nobody is writing to the table
    #[arg(long)]
    allow_young: bool,
    /// Look through the table's data and metadata paths outside of its location, too: no table of any other catalog is there
    #[arg(long)]
    declared_paths: bool,
    /// Delete what is found; without it, it is only said
    #[arg(long)]
    delete: bool,
    /// Delete nothing, as without --delete
    #[arg(long, conflicts_with = "delete")]
    plan: bool,
}

#[derive(Debug, Args)]
pub(super) struct Compact {
    #[command(flatten)]
    common: Common,
    /// Say which partitions need it, as without any flag
    #[arg(long, conflicts_with = "spark")]
    plan: bool,
    /// Print a job for spark-sql that does it; nothing where nothing is due
    #[arg(long)]
    spark: bool,
    /// Where Spark reaches this catalog, if not where the configuration listens
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct DropTable {
    #[command(flatten)]
    common: Common,
    /// Have the table's files deleted, too
    #[arg(long)]
    purge: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Expires snapshots of a table.
pub(super) async fn expire_snapshots(options: ExpireSnapshots) -> Result<(), Failure> {
    let retention = Retention { keep_for: options.keep_for, keep_last: options.keep_last };
    work(options.common, Work::ExpireSnapshots(ExpireOptions { retention, plan: options.plan })).await
}

/// Looks for orphans of a table, and deletes them.
pub(super) async fn remove_orphans(options: RemoveOrphans) -> Result<(), Failure> {
    let RemoveOrphans { common, older_than, allow_young, declared_paths, delete, plan: _ } = options;
    let options = OrphanOptions { older_than, allow_young, declared_paths, delete };
    options.check().map_err(|e| Failure::Usage(e.message().replace("allow-young", "--allow-young")))?;
    work(common, Work::RemoveOrphans(options)).await
}

/// Says what compaction a table needs, or prints the job that does it.
pub(super) async fn compact(options: Compact) -> Result<(), Failure> {
    let Compact { common, plan: _, spark, uri } = options;
    let (json, config) = (common.json, common.what.config()?);
    let (catalog, ident) = common.table.clone();
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let uri = uri.unwrap_or_else(|| format!("{scheme}://{}", config.listen));
    let target = SparkTarget { uri, has_tokens: config.auth.is_some() };
    let report = report(common, &Work::Compact).await?;
    let sql = match &report {
        WorkReport::Compaction(report) => report.sql.as_deref(),
        _ => None,
    };
    let command = sql.map(|sql| spark_command(&catalog, &target, sql));
    match (json, spark) {
        (true, _) => {
            let mut said = json!(report);
            let conf = spark_conf(&catalog, &target).into_iter().map(|(key, value)| (key, json!(value)));
            said["spark-conf"] = conf.collect::<serde_json::Map<_, _>>().into();
            said["spark-command"] = json!(command);
            (said["catalog"], said["table"]) = (json!(catalog), json!(ident.to_string()));
            written(&format!("{said}\n"))?;
        }
        (false, true) => match command {
            Some(command) => written(&format!("{command}\n"))?,
            None => eprintln!("nothing of {catalog}.{ident} needs compaction"),
        },
        (false, false) => print(&report, (&catalog, &ident), false)?,
    }
    Ok(())
}

/// Drops a table.
pub(super) async fn drop_table(options: DropTable) -> Result<(), Failure> {
    if options.purge && !options.yes {
        let (catalog, ident) = &options.common.table;
        confirm(&format!("Drop {catalog}.{ident} and delete all of its files? They cannot be had back. Type yes: "))?;
    }
    work(options.common, Work::Drop { purge: options.purge }).await
}

/// Asks on a terminal; elsewhere nobody could answer.
fn confirm(question: &str) -> Result<(), Failure> {
    let refused = || Failure::Usage("nothing was dropped: say --yes if the files are to be deleted".to_owned());
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(refused());
    }
    eprint!("{question}");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|_| refused())?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refused()) }
}

async fn work(common: Common, work: Work) -> Result<(), Failure> {
    let (json, (catalog, ident)) = (common.json, common.table.clone());
    let report = report(common, &work).await?;
    print(&report, (&catalog, &ident), json)?;
    Ok(())
}

/// Does the work, and shows how far it has come.
async fn report(common: Common, work: &Work) -> Result<WorkReport, Failure> {
    let Common { table: (name, ident), what, .. } = common;
    let app = start::open(&what.config()?).await?;
    let catalog = app.catalogs.get(&name).ok_or_else(|| {
        let names: Vec<String> = app.catalogs.keys().map(ToString::to_string).collect();
        Failure::Usage(format!("there is no catalog {name} in the configuration: it has {}", names.join(", ")))
    })?;
    let site = catalog.maintained.site(&name).map_err(|e| Failure::Usage(e.message().to_owned()))?;
    let progress = Arc::new(Progress::default());
    let shown = show(progress.clone());
    let report = site.work(&ident, work, None, &progress).await;
    shown.abort();
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    Ok(report?)
}

/// Shows how far the work has come, on a terminal only.
fn show(progress: Arc<Progress>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while std::io::stderr().is_terminal() {
            tokio::time::sleep(PROGRESS_EVERY).await;
            let [to_do, done, listed, deleted] =
                [&progress.manifests_to_do, &progress.manifests_done, &progress.files_listed, &progress.files_deleted]
                    .map(|count| count.load(Ordering::Relaxed));
            eprint!("\r\x1b[K{done} of {to_do} manifests, {listed} files listed, {deleted} deleted");
        }
    })
}

fn print(report: &WorkReport, (catalog, ident): (&CatalogName, &Ident), as_json: bool) -> Result<(), Error> {
    let text = if as_json {
        let mut report = json!(report);
        (report["catalog"], report["table"]) = (json!(catalog), json!(ident.to_string()));
        format!("{report}\n")
    } else {
        format!("{catalog}.{ident}\n{}", lines(report).iter().map(|line| format!("  {line}\n")).collect::<String>())
    };
    written(&text)
}

fn written(text: &str) -> Result<(), Error> {
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(|e| Error::new(Kind::Internal, e.to_string()))
}

fn lines(report: &WorkReport) -> Vec<String> {
    let mut lines = vec![report.to_string()];
    match report {
        WorkReport::Expiry(report) => {
            let files = &report.files;
            lines.extend(report.refs_removed.iter().map(|name| format!("branch or tag {name} is over its age")));
            lines.push(format!(
                "{} data files, {} delete files, {} manifests, {} manifest lists, {} statistics: {} bytes",
                files.data_files,
                files.delete_files,
                files.manifests,
                files.manifest_lists,
                files.statistics,
                files.bytes
            ));
            if report.plan {
                lines.extend(report.snapshots.iter().map(|id| format!("snapshot {id}")));
                lines.extend(report.examples.iter().map(|file| format!("file {file}")));
            } else {
                lines.push(format!("{} files deleted", report.files_deleted));
            }
            lines.extend(examples("files are not the table's own and stay", &report.files_spared));
        }
        WorkReport::Orphans(report) => {
            lines.push(format!(
                "{} bytes, {} too young to be judged, {} left alone",
                report.bytes, report.young, report.left_alone
            ));
            lines.extend(report.places.iter().map(|place| format!("looked through {place}")));
            lines.extend(examples("files that nothing reaches", &report.orphans));
            if report.plan && report.orphans.count > 0 {
                lines.push("say --delete to delete them".to_owned());
            }
        }
        WorkReport::Compaction(report) => {
            lines.push(format!(
                "{} bytes, {} delete files, files should have {} bytes",
                report.bytes, report.delete_files, report.target_bytes
            ));
            lines.extend(report.plan.iter().map(|plan| {
                let values = serde_json::Value::Object(plan.partition.clone());
                let (files, after, deletes) = (plan.files, plan.files_after, plan.delete_files);
                format!(
                    "{values}: {files} files of {} bytes, {} too small, {} too large, {deletes} delete files; about {after} files after",
                    plan.bytes, plan.small_files, plan.large_files
                )
            }));
            if report.due {
                lines.push("say --spark for a job that does it".to_owned());
            }
        }
        WorkReport::Dropped(_) => {}
    }
    lines
}

fn examples(what: &str, found: &Examples) -> Vec<String> {
    let head = (found.count > 0).then(|| format!("{} {what}:", found.count));
    head.into_iter().chain(found.examples.iter().map(|file| format!("  {file}"))).collect()
}

fn parse_table(text: &str) -> Result<(CatalogName, Ident), String> {
    let parse = |(catalog, table)| Some((CatalogName::parse(catalog).ok()?, Ident::from_dotted(table).ok()?));
    text.split_once('.')
        .and_then(parse)
        .ok_or_else(|| "write CATALOG.NAMESPACE.TABLE, such as main.sales.orders".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_with_its_catalog() {
        let (catalog, ident) = parse_table("main.a.b.orders").expect("a name");
        assert_eq!((catalog.as_str(), ident.to_string().as_str()), ("main", "a.b.orders"));
        for wrong in ["orders", "sales.orders", "main..orders", "ma/in.a.b", ""] {
            assert!(parse_table(wrong).is_err(), "{wrong}");
        }
    }
}
