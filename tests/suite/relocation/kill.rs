//! `kill -9` of a relocation at random moments, then again: the same result as without.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lifeboat::format::manifest::{Codec, FormatVersion};

use super::lake::{Lake, PROD, added};

const KILLS: u32 = 30;
const MANIFESTS: usize = 320;
const FILES: usize = 10;
/// Files in the making, which a killed process leaves and which nobody reads.
const UNFINISHED: &str = ".lifeboat-unfinished-";

/// A table whose relocation takes long enough to be killed in the middle.
fn lake() -> Lake {
    let mut lake = Lake::new(FormatVersion::V2);
    for manifest in 0..MANIFESTS {
        let files = (0..FILES).map(|file| lake.data_file(&format!("data/{manifest}-{file}.parquet")));
        let entries: Vec<_> = files.map(|file| added(&lake, file)).collect();
        let mut manifests = vec![lake.manifest(&format!("m{manifest}"), &entries, Codec::Deflate)];
        if manifest % 16 == 0 {
            let of = [entries[0].data_file.file_path.as_str(), entries[1].data_file.file_path.as_str()];
            let deletes = added(&lake, lake.position_deletes(&format!("data/{manifest}-deletes.avro"), &of));
            manifests.push(lake.manifest(&format!("d{manifest}"), &[deletes], Codec::Deflate));
        }
        lake.append(manifests);
    }
    lake
}

fn relocation(lake: &Lake, metadata: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    let map = format!("{PROD}={}", lake.copy().display());
    command.args([
        "relocate",
        &metadata.to_string_lossy(),
        "--map",
        &map,
        "--into",
        &lake.beside("overlay").to_string_lossy(),
        "--json",
    ]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Every finished file below a folder, by its path.
fn finished(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.path().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if !name.contains(UNFINISHED) {
                found.insert(name, std::fs::read(entry.path()).expect("a file"));
            }
        }
    }
    found
}

#[test]
fn a_relocation_that_is_killed_and_begun_again_has_the_same_result() {
    let mut lake = lake();
    let metadata = lake.save();
    let overlay = lake.beside("overlay");
    let began = Instant::now();
    assert!(relocation(&lake, &metadata).status().expect("runs").success());
    let takes = began.elapsed();
    let whole = finished(&overlay);
    assert!(whole.len() > MANIFESTS * 2);
    let (mut cut_off, mut half_done) = (0, 0);
    for kill in 0..KILLS {
        std::fs::remove_dir_all(&overlay).expect("removed");
        let mut running = relocation(&lake, &metadata).spawn().expect("starts");
        // spread over the whole time, and by chance within each part of it
        let share = (f64::from(kill) + rand::random::<f64>()) / f64::from(KILLS);
        std::thread::sleep(Duration::from_secs_f64(takes.as_secs_f64() * share));
        running.kill().expect("killed");
        let died = !running.wait().expect("waited for").success();
        let left = finished(&overlay);
        assert!(left.iter().all(|(name, bytes)| whole.get(name) == Some(bytes)), "what is there is as it must be");
        assert!(
            !died || left.len() == whole.len() || !left.keys().any(|name| name.ends_with(".metadata.json")),
            "metadata is last"
        );
        cut_off += u32::from(died);
        half_done += u32::from(!left.is_empty() && left.len() < whole.len());
        assert!(relocation(&lake, &metadata).status().expect("runs").success());
        assert!(finished(&overlay) == whole, "the same files with the same bytes after kill {kill}");
    }
    println!(
        "{KILLS} kills, {cut_off} before the end, {half_done} with some files written; a whole run takes {takes:?}"
    );
    assert!(cut_off >= KILLS / 2, "only {cut_off} of {KILLS} were killed before they ended");
}
