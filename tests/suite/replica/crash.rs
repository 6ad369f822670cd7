//! `kill -9` of a sync at random moments, and two servers that race: the same end as without.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lifeboat::replica::State;

use super::primary::{Primary, Replicator, files};
use super::standby::{Standby, ident, yaml};
use crate::hammer::Store;

const KILLS: u32 = 30;
const TABLES: usize = 6;
const COMMITS: usize = 25;
/// Believes at once what has arrived.
const TRUSTING: &str = "      confirm: trust-newest\n      settle: 0s\n      max-staleness: 0s\n      wait: 60s\n";
/// Files in the making, which a killed process leaves and which nobody reads.
const UNFINISHED: &str = ".lifeboat-unfinished-";

fn arrived(folder: &Path) -> Vec<Primary> {
    let mut primaries = Vec::new();
    for n in 0..TABLES {
        let mut primary = Primary::new(&format!("sales/t{n}"), n as u64);
        (0..COMMITS).for_each(|_| primary.commit());
        Replicator::new(n as u64, false).finish(&primary.files(), &folder.join(&primary.folder));
        primaries.push(primary);
    }
    primaries
}

fn overlay(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = files(&folder.join("overlay"));
    found.retain(|name, _| !name.contains(UNFINISHED));
    found
}

#[tokio::test]
async fn a_sync_that_is_killed_and_begun_again_has_the_same_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let primaries = arrived(&folder.path().join("dr"));
    let config = folder.path().join("lifeboat.yaml");
    std::fs::write(&config, yaml(folder.path(), TRUSTING, "overlay", None)).expect("written");
    let sync = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.args(["sync", "--config"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let began = Instant::now();
    assert!(sync().status().expect("runs").success());
    let (takes, whole) = (began.elapsed(), overlay(folder.path()));
    let mut cut_off = 0;
    for kill in 0..KILLS {
        for gone in ["overlay", "catalog.db", "catalog.db-wal", "catalog.db-shm"] {
            let path = folder.path().join(gone);
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
        let mut running = sync().spawn().expect("starts");
        let share = (f64::from(kill) + rand::random::<f64>()) / f64::from(KILLS);
        std::thread::sleep(Duration::from_secs_f64(takes.as_secs_f64() * share));
        running.kill().expect("killed");
        cut_off += u32::from(!running.wait().expect("waited for").success());
        // what is published by now is whole: its files are there
        assert!(overlay(folder.path()).iter().all(|(name, size)| whole.get(name) == Some(size)));
        assert!(sync().status().expect("runs").success(), "after kill {kill}");
        assert_eq!(overlay(folder.path()), whole, "after kill {kill}");
    }
    println!("{KILLS} kills, {cut_off} before the end; a whole sync takes {takes:?}");
    assert!(cut_off >= KILLS / 3, "only {cut_off} of {KILLS} were killed before they ended");
    let standby = Standby::open(folder, TRUSTING, None).await;
    for primary in &primaries {
        let table = standby.load(&ident(&primary.folder)).await.expect("served");
        let newest = primary.states.keys().next_back().expect("states");
        let source = table["metadata"]["properties"]["lifeboat.source-metadata-location"].as_str().expect("a source");
        assert!(source.ends_with(&format!("{newest:05}-save.metadata.json")), "{source}");
    }
}

#[tokio::test]
async fn two_servers_over_one_postgres_race_to_the_same_end() {
    let Some(store) = Store::postgres().await else { return };
    let Store::Postgres(database) = &store else { return };
    let url = database.url();
    let folder = tempfile::tempdir().expect("a folder");
    let primaries = arrived(&folder.path().join("dr"));
    let one = Standby::open(folder, TRUSTING, Some(&url)).await;
    let other = one.beside(TRUSTING, &url).await;
    for _ in 0..3 {
        let (these, those) = tokio::join!(one.sync(), other.sync());
        assert!(these.iter().chain(&those).all(|status| status.state != State::Blocked), "{these:?} {those:?}");
    }
    for primary in &primaries {
        let (here, there) = tokio::join!(one.load_of(&primary.folder), other.load_of(&primary.folder));
        assert_eq!(here["metadata-location"], there["metadata-location"]);
        let newest = primary.states.keys().next_back().expect("states");
        let source = here["metadata"]["properties"]["lifeboat.source-metadata-location"].as_str().expect("a source");
        assert!(source.ends_with(&format!("{newest:05}-save.metadata.json")), "{source}");
    }
    store.remove().await;
}
