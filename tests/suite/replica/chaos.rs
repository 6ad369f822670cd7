//! At every moment a standby shows a state that the primary really had, whole, and never goes back.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat::error::Kind;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::primary::{Primary, Replicator, files};
use super::standby::{Standby, ident};
use crate::relocation::{PROD, Tree, fields, text};

const TABLES: usize = 4;
const STEPS: usize = 700;

/// Looks as often as it is asked.
const EAGER: &str = "      settle: 0s\n      max-staleness: 0s\n      wait: 60s\n";

struct Play {
    standby: Standby,
    primaries: Vec<Primary>,
    shown: BTreeMap<String, u64>,
    missing_files: usize,
    not_served: usize,
}

impl Play {
    async fn new(seed: u64, lines: &str) -> Play {
        let primaries = (0..TABLES).map(|n| Primary::new(&format!("sales/t{n}"), seed + n as u64)).collect();
        let standby = Standby::start(lines).await;
        Play { standby, primaries, shown: BTreeMap::new(), missing_files: 0, not_served: 0 }
    }

    /// What a client sees of a table is held against what the table ever was.
    async fn query(&mut self, at: usize) {
        let primary = &self.primaries[at];
        let table = match self.standby.load(&ident(&primary.folder)).await {
            Ok(table) => table,
            Err(e) if e.kind() == Kind::NoSuchTable && !self.shown.contains_key(&primary.folder) => return,
            Err(e) if e.kind() == Kind::Unavailable => {
                self.not_served += 1;
                return;
            }
            Err(e) => panic!("{}: {e}", primary.folder),
        };
        let source = table["metadata"]["properties"]["lifeboat.source-metadata-location"].as_str().expect("a source");
        let name = source.rsplit('/').next().expect("a name");
        assert!(!name.contains("orphan") && table["metadata"]["properties"]["never"].is_null(), "{name}");
        let version: u64 = name[..5].parse().expect("a number");
        let before = self.shown.insert(primary.folder.clone(), version).unwrap_or(0);
        assert!(before <= version, "{} went back from {before} to {version}", primary.folder);
        let live = live_files(&table, &mut self.missing_files);
        assert_eq!(live, primary.states[&version], "{} at {version}", primary.folder);
    }

    /// Commits once in `every` steps; files move in the others.
    async fn run(&mut self, seed: u64, replicator: &mut Replicator, every: u32, orphans: bool) {
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..STEPS {
            let at = random.random_range(0..TABLES);
            match random.random_range(0..every) {
                0 if orphans && random.random_bool(0.3) => self.primaries[at].fail_to_commit(),
                0 => self.primaries[at].commit(),
                _ => {
                    let primary = &self.primaries[at];
                    replicator.step(&primary.files(), &self.standby.arrivals().join(&primary.folder));
                }
            }
            self.query(random.random_range(0..TABLES)).await;
        }
    }

    fn settle(&mut self, replicator: &mut Replicator) {
        for primary in &self.primaries {
            replicator.finish(&primary.files(), &self.standby.arrivals().join(&primary.folder));
        }
    }
}

/// The live data files of the current snapshot, as the primary names them; each is read.
fn live_files(table: &serde_json::Value, missing: &mut usize) -> BTreeSet<String> {
    let location = table["metadata-location"].as_str().expect("a location");
    let tree = Tree::read(location);
    let Some(list) = tree.metadata["current-snapshot-id"].as_i64().and_then(|id| tree.lists.get(&id)) else {
        return BTreeSet::new();
    };
    let mut live = BTreeSet::new();
    for line in list {
        for entry in &tree.entries[&text(&line["manifest_path"])] {
            let entry = fields(entry.clone());
            let file = fields(entry["data_file"].clone());
            let path = text(&file["file_path"]);
            if entry["status"] == apache_avro::types::Value::Int(2) {
                continue;
            }
            match std::fs::read(&path) {
                Ok(bytes) if path.ends_with(".parquet") => {
                    let source = String::from_utf8(bytes).expect("it is its own path");
                    assert!(path.ends_with(source.strip_prefix(PROD).expect("a path of the primary")));
                    live.insert(source);
                }
                Ok(_) => {}
                Err(_) => *missing += 1,
            }
        }
    }
    live
}

#[tokio::test]
async fn a_standby_shows_only_whole_states_in_their_order() {
    for seed in [1, 2] {
        let mut play = Play::new(seed, &format!("      confirm: trust-newest\n{EAGER}")).await;
        let mut replicator = Replicator::new(seed, false);
        play.run(seed, &mut replicator, 10, false).await;
        assert_eq!((play.missing_files, play.not_served), (0, 0), "seed {seed}");
        assert!(play.shown.len() == TABLES, "seed {seed}: {:?}", play.shown);
        play.settle(&mut replicator);
        let arrived = files(&play.standby.arrivals());
        for at in 0..TABLES {
            play.query(at).await;
            let newest = *play.primaries[at].states.keys().next_back().expect("states");
            assert_eq!(play.shown[&play.primaries[at].folder], newest, "seed {seed}");
        }
        assert_eq!(files(&play.standby.arrivals()), arrived, "nothing is written where the copy is");
    }
}

/// With deletions before what they make room for, a table may be not whole; then it is answered 503, until something newer is whole.
#[tokio::test]
async fn deletions_that_come_first_never_show_a_wrong_row() {
    let mut play = Play::new(3, &format!("      confirm: trust-newest\n{EAGER}")).await;
    let mut replicator = Replicator::new(3, true);
    play.run(3, &mut replicator, 4, false).await;
    assert_eq!(play.missing_files, 0);
    assert!(play.not_served > 0, "nothing was broken, so nothing was shown here");
    play.settle(&mut replicator);
    for at in 0..TABLES {
        play.query(at).await;
        let newest = *play.primaries[at].states.keys().next_back().expect("states");
        assert_eq!(play.shown[&play.primaries[at].folder], newest);
    }
}

/// Metadata of commits that failed is never shown, and the standby follows one commit behind.
#[tokio::test]
async fn orphans_of_failed_commits_are_never_published() {
    let mut play = Play::new(4, EAGER).await;
    let mut replicator = Replicator::new(4, false);
    play.run(4, &mut replicator, 10, true).await;
    play.settle(&mut replicator);
    for at in 0..TABLES {
        play.query(at).await;
        let newest = *play.primaries[at].states.keys().next_back().expect("states");
        let shown = play.shown[&play.primaries[at].folder];
        assert!(shown + 1 >= newest, "{shown} of {newest}: {:?}", play.standby.replica().statuses());
    }
}

/// What is kept is the pointer and the overlay: a lost database is made again from the storage.
#[tokio::test]
async fn a_lost_database_comes_back_by_itself() {
    let lines = format!("      confirm: trust-newest\n{EAGER}");
    let mut play = Play::new(5, &lines).await;
    let mut replicator = Replicator::new(5, false);
    play.run(5, &mut replicator, 10, false).await;
    play.settle(&mut replicator);
    for at in 0..TABLES {
        play.query(at).await;
    }
    let (shown, overlay) = (play.shown.clone(), files(&play.standby.folder.path().join("overlay")));
    for forget in [false, true] {
        play.standby = play.standby.restart(&lines, forget).await;
        for at in 0..TABLES {
            play.query(at).await;
        }
        assert_eq!(play.shown, shown);
        let again = files(&play.standby.folder.path().join("overlay"));
        assert!(overlay.keys().all(|file| again.contains_key(file)));
    }
}
