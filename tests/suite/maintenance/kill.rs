//! `kill -9` of an expiry at moments spread over its whole run, then again: the table is whole at every moment, and in the end all is as without.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lifeboat::config::Config;

use super::yard::{Yard, files};

const KILLS: u32 = 24;
const SNAPSHOTS: usize = 120;
const FILES: usize = 12;

/// A database of its own beside the one warehouse. A new one each time: connections of this process may close theirs late.
fn config(folder: &Path, name: &str) -> PathBuf {
    let database = folder.join(name);
    let folder = folder.display();
    std::fs::create_dir_all(&database).expect("made");
    let text = format!(
        "catalogs: {{ main: {{ embedded: {{ database: 'sqlite:{folder}/{name}/catalog.db', warehouse: 'file://{folder}/warehouse' }} }} }}"
    );
    let file = database.join("lifeboat.yaml");
    std::fs::write(&file, text).expect("written");
    file
}

fn expiry(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.args(["expire-snapshots", "main.n.t", "--keep-for", "0s", "--keep-last", "2", "--json", "--config"]);
    command.arg(config).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Puts the warehouse back as it was, with a database as it was.
fn restore(folder: &Path, name: &str) -> PathBuf {
    let _ = std::fs::remove_dir_all(folder.join("warehouse"));
    copy(&folder.join("kept"), &folder.join("warehouse"));
    let file = config(folder, name);
    for part in
        ["catalog.db", "catalog.db-wal"].map(|part| folder.join("first").join(part)).iter().filter(|part| part.exists())
    {
        copy(part, &folder.join(name));
    }
    file
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp is there").success());
}

async fn open(config: &Path) -> Yard {
    Yard::of(&Config::load(config).expect("valid")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_is_killed_and_begun_again_leaves_what_it_should() {
    let held = tempfile::tempdir().expect("a folder");
    let (folder, warehouse) = (held.path(), held.path().join("warehouse"));
    // it stays open, so that nothing moves in its database while that is copied
    let first = open(&config(folder, "first")).await;
    first.fill().await;
    for _ in 0..SNAPSHOTS {
        first.overwrite(FILES).await.expect("committed");
    }
    copy(&warehouse, &folder.join("kept"));
    let whole = restore(folder, "whole");
    let began = Instant::now();
    assert!(expiry(&whole).status().expect("runs").success());
    let takes = began.elapsed();
    let wanted = files(&warehouse);
    assert_eq!(wanted.len(), 2 * (FILES + 2));
    let (mut before, mut between, mut after) = (0, 0, 0);
    for kill in 0..KILLS {
        let config = restore(folder, &format!("kill-{kill}"));
        let mut running = expiry(&config).spawn().expect("starts");
        let share = (f64::from(kill) + rand::random::<f64>()) / f64::from(KILLS);
        std::thread::sleep(Duration::from_secs_f64(takes.as_secs_f64() * share));
        running.kill().expect("killed");
        running.wait().expect("waited for");
        let yard = open(&config).await;
        let reached = yard.whole().await.unwrap_or_else(|e| panic!("after kill {kill}: {e}"));
        let snapshots = yard.metadata().await["snapshots"].as_array().expect("snapshots").len();
        assert!(snapshots == SNAPSHOTS || snapshots == 2, "all or nothing: {snapshots}");
        match (snapshots, files(&warehouse).len() - reached.len()) {
            (SNAPSHOTS, _) => before += 1,
            (_, 0) => after += 1,
            _ => between += 1,
        }
        assert!(expiry(&config).status().expect("runs").success());
        let there = files(&warehouse);
        let other: Vec<_> = there.symmetric_difference(&wanted).collect();
        assert!(other.is_empty(), "after kill {kill}: {other:?}");
        assert_eq!(open(&config).await.whole().await.expect("whole"), wanted);
    }
    println!(
        "{KILLS} kills: {before} before the commit, {between} between it and the last deletion, {after} at the end; a run takes {takes:?}"
    );
    assert!(before > 0 && between > 0, "{before} before, {between} between, {after} after");
}
