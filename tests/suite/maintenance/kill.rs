//! `kill -9` of an expiry at moments spread over its whole run, then again: the table is whole at every moment, and in the end all is as without.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::yard::{Yard, files};

const KILLS: u32 = 24;
const SNAPSHOTS: usize = 120;
const FILES: usize = 12;

fn expiry(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.args(["expire-snapshots", "main.n.t", "--keep-for", "0s", "--keep-last", "2", "--json", "--data"]);
    command.arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp is there").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_is_killed_and_begun_again_leaves_what_it_should() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, kept) = (folder.path().join("data"), folder.path().join("kept"));
    let yard = Yard::new(&data).await;
    for _ in 0..SNAPSHOTS {
        yard.overwrite(FILES).await.expect("committed");
    }
    drop(yard);
    copy(&data, &kept);
    let began = Instant::now();
    assert!(expiry(&data).status().expect("runs").success());
    let takes = began.elapsed();
    let warehouse = data.join("warehouse");
    let wanted = files(&warehouse);
    assert_eq!(wanted.len(), 2 * (FILES + 2));
    let (mut before, mut between, mut after) = (0, 0, 0);
    for kill in 0..KILLS {
        copy(&kept, &data);
        let mut running = expiry(&data).spawn().expect("starts");
        let share = (f64::from(kill) + rand::random::<f64>()) / f64::from(KILLS);
        std::thread::sleep(Duration::from_secs_f64(takes.as_secs_f64() * share));
        running.kill().expect("killed");
        running.wait().expect("waited for");
        let yard = Yard::open(&data).await;
        let reached = yard.whole().await.unwrap_or_else(|e| panic!("after kill {kill}: {e}"));
        let snapshots = yard.metadata().await["snapshots"].as_array().expect("snapshots").len();
        assert!(snapshots == SNAPSHOTS || snapshots == 2, "all or nothing: {snapshots}");
        match (snapshots, files(&warehouse).len() - reached.len()) {
            (SNAPSHOTS, _) => before += 1,
            (_, 0) => after += 1,
            _ => between += 1,
        }
        drop(yard);
        assert!(expiry(&data).status().expect("runs").success());
        assert!(files(&warehouse) == wanted, "after kill {kill}");
        assert_eq!(Yard::open(&data).await.whole().await.expect("whole"), wanted);
    }
    println!(
        "{KILLS} kills: {before} before the commit, {between} between it and the last deletion, {after} at the end; a run takes {takes:?}"
    );
    assert!(before > 0 && between > 0, "{before} before, {between} between, {after} after");
}
