//! Many writers at once against the real program: what was acknowledged is there, once.

pub mod audit;
mod client;
mod server;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub use client::Client;
pub use server::{Server, Store};

const CLIENTS: usize = 16;
const TABLES: usize = 4;
const COMMITS: usize = 2_000;
/// Rows of one client; ids of two clients never meet.
const ROWS_MAX: i64 = 1_000_000;

/// Prints what is to be seen of a test that passes too.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The tables of a run.
pub fn tables() -> Vec<String> {
    (0..TABLES).map(|at| format!("t{at}")).collect()
}

/// Rows by table: what writers know to be there.
pub type Ledger = Arc<Mutex<BTreeMap<String, Vec<i64>>>>;

/// Writers that append until they have done their share or are told to stop.
pub struct Writers {
    tasks: Vec<tokio::task::JoinHandle<Result<(), String>>>,
    stop: Arc<AtomicBool>,
    pub acknowledged: Ledger,
}

impl Writers {
    /// Starts them; each commits `share` rows, to all tables in turn.
    pub fn start(client: &Client, share: usize) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Ledger::default();
        let tasks = (0..CLIENTS).map(|writer| {
            let (client, stop, acknowledged) = (client.clone(), stop.clone(), acknowledged.clone());
            tokio::spawn(async move {
                let tables = tables();
                let mut bases: Vec<_> = tables.iter().map(|_| None).collect();
                for nth in 0..share {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let at = (writer + nth) % tables.len();
                    let row = writer as i64 * ROWS_MAX + nth as i64;
                    client.append(&tables[at], row, &mut bases[at]).await?;
                    let mut acknowledged = acknowledged.lock().map_err(|e| e.to_string())?;
                    acknowledged.entry(tables[at].clone()).or_default().push(row);
                }
                Ok(())
            })
        });
        Writers { tasks: tasks.collect(), stop, acknowledged }
    }

    /// How many rows are acknowledged by now.
    pub fn acknowledged_rows(&self) -> usize {
        self.acknowledged.lock().expect("no writer panicked").values().map(Vec::len).sum()
    }

    /// Whether one gave up, or has done its share.
    pub fn any_ended(&self) -> bool {
        self.tasks.iter().any(tokio::task::JoinHandle::is_finished)
    }

    /// Lets them finish what they have begun.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for all of them.
    pub async fn join(&mut self) -> Result<(), String> {
        for task in self.tasks.drain(..) {
            task.await.map_err(|e| e.to_string())??;
        }
        Ok(())
    }
}

/// That each table has the acknowledged rows once and no others, in a history without gaps.
pub async fn check(client: &Client, acknowledged: &Ledger) -> Result<(), String> {
    for table in tables() {
        let metadata = client.load(&table, true).await?;
        let mut expected = acknowledged.lock().map_err(|e| e.to_string())?.remove(&table).unwrap_or_default();
        let mut found = audit::rows(&metadata).map_err(|e| format!("{table}: {e}"))?;
        expected.sort_unstable();
        found.sort_unstable();
        if found != expected {
            let lost: Vec<_> = expected.iter().filter(|row| found.binary_search(row).is_err()).collect();
            let more: Vec<_> = found.iter().filter(|row| expected.binary_search(row).is_err()).collect();
            let (has, acknowledged) = (found.len(), expected.len());
            return Err(format!(
                "{table} has {has} rows, {acknowledged} were acknowledged; lost {lost:?}, unknown to us {more:?}"
            ));
        }
        let commits = audit::history(&metadata).map_err(|e| format!("{table}: {e}"))?;
        if commits != expected.len() as i64 {
            return Err(format!("{table} had {commits} commits for {} rows", expected.len()));
        }
    }
    Ok(())
}

/// That each table loads and no file of its current snapshot is missing.
pub async fn check_whole(client: &Client, known: &mut audit::Known) -> Result<(), String> {
    for table in tables() {
        let metadata = client.load(&table, false).await?;
        audit::whole(&metadata, known).map_err(|e| format!("{table}: {e}"))?;
    }
    Ok(())
}

/// The figures of a run, by the one who writes them down.
async fn hammer(uri: &str, store: &str) -> Result<(), String> {
    let client = Client::connect(uri).await?;
    client.create(&tables()).await?;
    let began = Instant::now();
    let mut writers = Writers::start(&client, COMMITS / CLIENTS);
    writers.join().await?;
    let took = began.elapsed().as_secs_f64();
    let acknowledged = writers.acknowledged_rows();
    if acknowledged != COMMITS {
        return Err(format!("{acknowledged} of {COMMITS} commits were acknowledged"));
    }
    check(&client, &writers.acknowledged).await?;
    let conflicts = client.tally.conflicts.load(Ordering::Relaxed);
    let unknown = client.tally.unknown.load(Ordering::Relaxed);
    say(&format!(
        "{store}: {COMMITS} commits of {CLIENTS} clients to {TABLES} tables in {took:.1} s, {:.0}/s; {conflicts} conflicts",
        COMMITS as f64 / took
    ));
    if unknown != 0 {
        return Err(format!("{unknown} commits had no answer"));
    }
    if conflicts == 0 {
        return Err("no two writers ever met: nothing was proven".into());
    }
    Ok(())
}

async fn hammer_on(store: Store) {
    let server = Server::start(store).await;
    let outcome = hammer(&server.uri(), server.store().name()).await;
    assert!(outcome.is_ok(), "{}: {outcome:?}\n{}", server.store().name(), server.log());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_commits_from_sixteen_clients_are_each_there_once() {
    hammer_on(Store::Sqlite).await;
    if let Some(store) = Store::postgres().await {
        hammer_on(store).await;
    }
}
