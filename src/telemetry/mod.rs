//! Logs and metrics: how they are set up, and the name of every metric there is.
//!
//! What must hold: no log line and no label holds a secret or a text of unbounded variety (labels are catalogs from the config,
//! operations from the table and outcomes from fixed lists; tables and their readers where readers have committed positions, which are bounded). [`Metrics`] is a cheap handle; every module takes a clone.

mod labels;
mod logs;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::model::{CatalogName, Ident, Operation};
use labels::{
    CacheLabels, CatalogLabels, ConsumerLabels, OperationLabels, OutcomeLabels, PolicyLabels, RequestLabels,
    StateLabels, TableLabels, UpstreamLabels, WorkLabels, WorkOutcomeLabels,
};

pub use logs::{LogFormat, LogSettings, init_logs, panic_text};

/// The result of a look into the cache of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheLookup {
    /// Answered from the cache.
    Hit,
    /// Answered from the cache after the upstream said that nothing changed.
    Revalidated,
    /// Asked the upstream.
    Miss,
}

impl CacheLookup {
    fn label(self) -> &'static str {
        match self {
            CacheLookup::Hit => "hit",
            CacheLookup::Revalidated => "revalidated",
            CacheLookup::Miss => "miss",
        }
    }
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Landed.
    Committed,
    /// A true conflict; nothing landed.
    Conflict,
    /// Refused for another reason; nothing landed.
    Refused,
    /// Nobody can tell.
    Unknown,
}

impl CommitOutcome {
    fn label(self) -> &'static str {
        match self {
            CommitOutcome::Committed => "committed",
            CommitOutcome::Conflict => "conflict",
            CommitOutcome::Refused => "refused",
            CommitOutcome::Unknown => "unknown",
        }
    }
}

/// Upper bounds of the latency buckets: from a cached answer to a commit that waits for its upstream.
const SECONDS_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

#[derive(Clone)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS_BUCKETS)
    }
}

struct Series {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<OperationLabels, Histogram, Seconds>,
    requests_in_flight: Gauge<i64, AtomicI64>,
    requests_shed: Counter,
    upstream_seconds: Family<UpstreamLabels, Histogram, Seconds>,
    cache_lookups: Family<CacheLabels, Counter>,
    commits: Family<OutcomeLabels, Counter>,
    purge_jobs: Family<OutcomeLabels, Counter>,
    purge_files: Family<CatalogLabels, Counter>,
    maintenance_runs: Family<WorkOutcomeLabels, Counter>,
    maintenance_files: Family<WorkLabels, Counter>,
    maintenance_bytes: Family<WorkLabels, Counter>,
    maintenance_due: Family<PolicyLabels, Gauge<i64, AtomicI64>>,
    reloads: Family<OperationLabels, Counter>,
    replica_tables: Family<StateLabels, Gauge<i64, AtomicI64>>,
    replica_lag_seconds: Family<CatalogLabels, Gauge<f64, AtomicU64>>,
    replica_published: Family<CatalogLabels, Counter>,
    replica_looks: Family<CatalogLabels, Counter>,
    replica_sweep_seconds: Family<CatalogLabels, Gauge<f64, AtomicU64>>,
    changes_pages: Family<CatalogLabels, Counter>,
    changes_files: Family<CatalogLabels, Counter>,
    consumer_lag_snapshots: Family<ConsumerLabels, Gauge<i64, AtomicI64>>,
    consumer_lag_seconds: Family<ConsumerLabels, Gauge<f64, AtomicU64>>,
    storage_requests: Family<OperationLabels, Counter>,
    storage_bytes: Family<OperationLabels, Counter>,
    appended_files: Family<CatalogLabels, Counter>,
    appended_rows: Family<CatalogLabels, Counter>,
    append_failures: Family<CatalogLabels, Counter>,
    append_left_out_files: Family<TableLabels, Gauge<i64, AtomicI64>>,
}

/// Every metric of this process.
#[derive(Clone)]
pub struct Metrics(Arc<Series>);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// All series, empty.
    pub fn new() -> Self {
        let mut series = Series {
            registry: Registry::with_prefix("lifeboat"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(Seconds),
            requests_in_flight: Gauge::default(),
            requests_shed: Counter::default(),
            upstream_seconds: Family::new_with_constructor(Seconds),
            cache_lookups: Family::default(),
            commits: Family::default(),
            purge_jobs: Family::default(),
            purge_files: Family::default(),
            maintenance_runs: Family::default(),
            maintenance_files: Family::default(),
            maintenance_bytes: Family::default(),
            maintenance_due: Family::default(),
            reloads: Family::default(),
            replica_tables: Family::default(),
            replica_lag_seconds: Family::default(),
            replica_published: Family::default(),
            replica_looks: Family::default(),
            replica_sweep_seconds: Family::default(),
            changes_pages: Family::default(),
            changes_files: Family::default(),
            consumer_lag_snapshots: Family::default(),
            consumer_lag_seconds: Family::default(),
            storage_requests: Family::default(),
            storage_bytes: Family::default(),
            appended_files: Family::default(),
            appended_rows: Family::default(),
            append_failures: Family::default(),
            append_left_out_files: Family::default(),
        };
        series.register();
        Metrics(Arc::new(series))
    }

    /// One answered request. `operation` is a specification's `operationId`, or a fixed word for what is not an operation.
    pub fn request(&self, catalog: &str, operation: &'static str, code: u16, took: Duration) {
        self.0.requests.get_or_create(&RequestLabels { catalog: catalog.to_owned(), operation, code }).inc();
        self.0.request_seconds.get_or_create(&OperationLabels { operation }).observe(took.as_secs_f64());
    }

    /// A request begins (`1`) or ends (`-1`).
    pub fn in_flight(&self, change: i64) {
        self.0.requests_in_flight.inc_by(change);
    }

    /// A request was turned away since too many were running.
    pub fn request_shed(&self) {
        self.0.requests_shed.inc();
    }

    /// One exchange with an upstream.
    pub fn upstream(&self, catalog: &CatalogName, operation: Operation, took: Duration) {
        let labels = UpstreamLabels { catalog: catalog.to_string(), operation: operation.name() };
        self.0.upstream_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// One look into the cache.
    pub fn cache_lookup(&self, catalog: &CatalogName, result: CacheLookup) {
        let labels = CacheLabels { catalog: catalog.to_string(), result: result.label() };
        self.0.cache_lookups.get_or_create(&labels).inc();
    }

    /// One commit that ended.
    pub fn commit(&self, catalog: &CatalogName, outcome: CommitOutcome) {
        let labels = OutcomeLabels { catalog: catalog.to_string(), outcome: outcome.label() };
        self.0.commits.get_or_create(&labels).inc();
    }

    /// One purge job that ended, and how many files it deleted.
    pub fn purge(&self, catalog: &CatalogName, whole: bool, files: u64) {
        let outcome = if whole { "done" } else { "failed" };
        self.0.purge_jobs.get_or_create(&OutcomeLabels { catalog: catalog.to_string(), outcome }).inc();
        self.0.purge_files.get_or_create(&CatalogLabels { catalog: catalog.to_string() }).inc_by(files);
    }

    /// One run of maintenance on a table, and what it deleted.
    pub fn maintenance(&self, catalog: &CatalogName, work: &'static str, is_done: bool, files: u64, bytes: u64) {
        let (catalog, outcome) = (catalog.to_string(), if is_done { "done" } else { "failed" });
        let labels = WorkLabels { catalog: catalog.clone(), work };
        self.0.maintenance_runs.get_or_create(&WorkOutcomeLabels { catalog, work, outcome }).inc();
        self.0.maintenance_files.get_or_create(&labels).inc_by(files);
        self.0.maintenance_bytes.get_or_create(&labels).inc_by(bytes);
    }

    /// How many tables of a policy need this work, as of the last look.
    pub fn maintenance_due(&self, catalog: &CatalogName, policy: &str, work: &'static str, tables: usize) {
        let labels = PolicyLabels { catalog: catalog.to_string(), policy: policy.to_owned(), work };
        self.0.maintenance_due.get_or_create(&labels).set(i64::try_from(tables).unwrap_or(i64::MAX));
    }

    /// One reload of tokens or certificates; `operation` says of what and how it went.
    pub fn reload(&self, operation: &'static str) {
        self.0.reloads.get_or_create(&OperationLabels { operation }).inc();
    }

    /// Data files were appended.
    pub fn appended(&self, catalog: &CatalogName, files: u64, rows: u64) {
        let labels = CatalogLabels { catalog: catalog.to_string() };
        self.0.appended_files.get_or_create(&labels).inc_by(files);
        self.0.appended_rows.get_or_create(&labels).inc_by(rows);
    }

    /// Files that landed for a table could not be looked at or committed.
    pub fn append_failed(&self, catalog: &CatalogName) {
        self.0.append_failures.get_or_create(&CatalogLabels { catalog: catalog.to_string() }).inc();
    }

    /// So many files that landed for a table are left out.
    pub fn append_left_out(&self, catalog: &CatalogName, table: &Ident, files: u64) {
        let labels = TableLabels { catalog: catalog.to_string(), table: table.to_string() };
        self.0.append_left_out_files.get_or_create(&labels).set(i64::try_from(files).unwrap_or(i64::MAX));
    }

    /// How many of a replica's tables stand so.
    pub fn replica_tables(&self, catalog: &CatalogName, state: &'static str, count: usize) {
        let labels = StateLabels { catalog: catalog.to_string(), state };
        self.0.replica_tables.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How far the table that is furthest behind is behind its newest known state.
    pub fn replica_lag(&self, catalog: &CatalogName, lag_seconds: f64) {
        self.0.replica_lag_seconds.get_or_create(&CatalogLabels { catalog: catalog.to_string() }).set(lag_seconds);
    }

    /// A state of a replicated table was published.
    pub fn replica_published(&self, catalog: &CatalogName) {
        self.0.replica_published.get_or_create(&CatalogLabels { catalog: catalog.to_string() }).inc();
    }

    /// A replicated table was looked at.
    pub fn replica_looked(&self, catalog: &CatalogName) {
        self.0.replica_looks.get_or_create(&CatalogLabels { catalog: catalog.to_string() }).inc();
    }

    /// All replicated tables of a catalog were looked at.
    pub fn replica_swept(&self, catalog: &CatalogName, took: Duration) {
        let labels = CatalogLabels { catalog: catalog.to_string() };
        self.0.replica_sweep_seconds.get_or_create(&labels).set(took.as_secs_f64());
    }

    /// A page of a table's changes was answered, with so many files.
    pub fn changes_page(&self, catalog: &CatalogName, files: u64) {
        let labels = CatalogLabels { catalog: catalog.to_string() };
        self.0.changes_pages.get_or_create(&labels).inc();
        self.0.changes_files.get_or_create(&labels).inc_by(files);
    }

    /// How far a reader of a table is behind: snapshots that it has before it, and how long the oldest of them has waited.
    pub fn consumer_lag(&self, consumer: (&CatalogName, &Ident, &str), snapshots: i64, seconds: f64) {
        let labels = ConsumerLabels::of(consumer);
        self.0.consumer_lag_snapshots.get_or_create(&labels).set(snapshots);
        self.0.consumer_lag_seconds.get_or_create(&labels).set(seconds);
    }

    /// A reader of a table is there no more.
    pub fn consumer_gone(&self, consumer: (&CatalogName, &Ident, &str)) {
        let labels = ConsumerLabels::of(consumer);
        self.0.consumer_lag_snapshots.remove(&labels);
        self.0.consumer_lag_seconds.remove(&labels);
    }

    /// What a storage was asked, in so many requests, and the bytes that this moved.
    pub fn storage(&self, operation: &'static str, requests: u64, size_bytes: u64) {
        self.0.storage_requests.get_or_create(&OperationLabels { operation }).inc_by(requests);
        self.0.storage_bytes.get_or_create(&OperationLabels { operation }).inc_by(size_bytes);
    }

    /// Everything in the text format of OpenMetrics.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.0.registry) {
            let _ = write!(text, "# incomplete: {error}\n# EOF\n");
        }
        text
    }

    /// The content type of [`Metrics::encode`].
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

impl Series {
    /// Gives every series its name. `_total` and `_seconds` are appended on encoding.
    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("build", "The running version", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        to.register("requests", "Requests answered", self.requests.clone());
        let latency = self.request_seconds.clone();
        to.register_with_unit("request", "Time from a request's head to its answer", Unit::Seconds, latency);
        to.register("requests_in_flight", "Requests running now", self.requests_in_flight.clone());
        to.register("requests_shed", "Requests refused since too many were running", self.requests_shed.clone());
        let latency = self.upstream_seconds.clone();
        to.register_with_unit("upstream", "Time of one exchange with an upstream", Unit::Seconds, latency);
        to.register("cache_lookups", "Looks into the cache of answers", self.cache_lookups.clone());
        to.register("commits", "Commits by how they ended", self.commits.clone());
        to.register("appended_files", "Data files that were appended", self.appended_files.clone());
        to.register("appended_rows", "Rows of data files that were appended", self.appended_rows.clone());
        to.register("append_failures", "Appends that failed", self.append_failures.clone());
        let left_out = self.append_left_out_files.clone();
        to.register("append_left_out_files", "Files that landed and are left out", left_out);
        to.register("replica_tables", "Replicated tables by how they stand", self.replica_tables.clone());
        let lag = self.replica_lag_seconds.clone();
        to.register_with_unit("replica_lag", "How far the table furthest behind is behind", Unit::Seconds, lag);
        to.register("replica_looks", "Looks at replicated tables", self.replica_looks.clone());
        let sweep = self.replica_sweep_seconds.clone();
        to.register_with_unit("replica_sweep", "How long the last look at all tables took", Unit::Seconds, sweep);
        to.register(
            "replica_published",
            "States of replicated tables that were published",
            self.replica_published.clone(),
        );
        to.register("changes_pages", "Pages of tables' changes that were answered", self.changes_pages.clone());
        to.register("changes_files", "Files on pages of tables' changes", self.changes_files.clone());
        let snapshots = self.consumer_lag_snapshots.clone();
        to.register("consumer_lag_snapshots", "Snapshots that a reader of a table has before it", snapshots);
        let seconds = self.consumer_lag_seconds.clone();
        let help = "How long the oldest snapshot has waited that a reader of a table has before it";
        to.register_with_unit("consumer_lag", help, Unit::Seconds, seconds);
        to.register(
            "storage_requests",
            "Requests to storage: get, head, list, put, delete",
            self.storage_requests.clone(),
        );
        to.register_with_unit(
            "storage",
            "Bytes of files that were read and written",
            Unit::Bytes,
            self.storage_bytes.clone(),
        );
        to.register("purge_jobs", "Purge jobs by how they ended", self.purge_jobs.clone());
        to.register("purge_files", "Files deleted by purge jobs", self.purge_files.clone());
        to.register("maintenance_runs", "Runs of maintenance on tables", self.maintenance_runs.clone());
        to.register("maintenance_files", "Files deleted by maintenance", self.maintenance_files.clone());
        let bytes = self.maintenance_bytes.clone();
        to.register_with_unit("maintenance", "Bytes deleted by maintenance", Unit::Bytes, bytes);
        to.register("maintenance_due_tables", "Tables that need this work", self.maintenance_due.clone());
        to.register("reloads", "Reloads of tokens and certificates", self.reloads.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_the_name_that_the_docs_give_it() {
        let metrics = Metrics::new();
        let catalog = CatalogName::parse("main").expect("valid");
        let took = Duration::from_millis(3);
        metrics.request("main", "loadTable", 200, took);
        metrics.upstream(&catalog, Operation::LoadTable, took);
        metrics.cache_lookup(&catalog, CacheLookup::Hit);
        metrics.commit(&catalog, CommitOutcome::Conflict);
        metrics.purge(&catalog, true, 7);
        metrics.maintenance(&catalog, "expire-snapshots", true, 5, 500);
        metrics.maintenance_due(&catalog, "all", "compact", 2);
        metrics.reload("tokens");
        metrics.appended(&catalog, 2, 20);
        metrics.append_failed(&catalog);
        metrics.append_left_out(&catalog, &Ident::from_dotted("a.t").expect("a name"), 1);
        metrics.replica_tables(&catalog, "behind", 3);
        metrics.replica_lag(&catalog, 1.5);
        metrics.replica_published(&catalog);
        metrics.replica_looked(&catalog);
        metrics.replica_swept(&catalog, Duration::from_secs(2));
        metrics.storage("get", 1, 7);
        let orders = Ident::from_dotted("sales.orders").expect("valid");
        metrics.changes_page(&catalog, 3);
        metrics.consumer_lag((&catalog, &orders, "etl"), 2, 1.5);
        metrics.consumer_lag((&catalog, &orders, "old"), 2, 1.5);
        metrics.consumer_gone((&catalog, &orders, "old"));
        let text = metrics.encode();
        assert!(!text.contains("\"old\""));
        for line in [
            r#"lifeboat_changes_pages_total{catalog="main"} 1"#,
            r#"lifeboat_changes_files_total{catalog="main"} 3"#,
            r#"lifeboat_consumer_lag_snapshots{catalog="main",table="sales.orders",consumer="etl"} 2"#,
            r#"lifeboat_consumer_lag_seconds{catalog="main",table="sales.orders",consumer="etl"} 1.5"#,
            r#"lifeboat_requests_total{catalog="main",operation="loadTable",code="200"} 1"#,
            r#"lifeboat_request_seconds_count{operation="loadTable"} 1"#,
            r#"lifeboat_requests_in_flight 0"#,
            r#"lifeboat_replica_tables{catalog="main",state="behind"} 3"#,
            r#"lifeboat_replica_lag_seconds{catalog="main"} 1.5"#,
            r#"lifeboat_replica_published_total{catalog="main"} 1"#,
            r#"lifeboat_upstream_seconds_count{catalog="main",operation="loadTable"} 1"#,
            r#"lifeboat_cache_lookups_total{catalog="main",result="hit"} 1"#,
            r#"lifeboat_commits_total{catalog="main",outcome="conflict"} 1"#,
            r#"lifeboat_purge_jobs_total{catalog="main",outcome="done"} 1"#,
            r#"lifeboat_purge_files_total{catalog="main"} 7"#,
            r#"lifeboat_maintenance_runs_total{catalog="main",work="expire-snapshots",outcome="done"} 1"#,
            r#"lifeboat_maintenance_files_total{catalog="main",work="expire-snapshots"} 5"#,
            r#"lifeboat_maintenance_bytes_total{catalog="main",work="expire-snapshots"} 500"#,
            r#"lifeboat_maintenance_due_tables{catalog="main",policy="all",work="compact"} 2"#,
            r#"lifeboat_reloads_total{operation="tokens"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing from\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
