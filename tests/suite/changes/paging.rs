//! Whatever the limits of its pages and wherever it is cut off, a reader gets the same files in the same order, each once.

use std::collections::BTreeSet;
use std::sync::Arc;

use lifeboat::changes::{Ask, Changes, History, Page, Position, To};
use lifeboat::error::Result;
use lifeboat::format::manifest::FormatVersion;
use lifeboat::storage::Storage;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::table::{Key, Table, apply, flat, operations};

const VERSIONS: [FormatVersion; 3] = [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3];

pub fn changes() -> Changes {
    Changes::new(Arc::new(Storage::new(Vec::new())))
}

pub fn ask(position: Option<Position>, limit: usize) -> Ask {
    Ask { position, to: To::Branch("main".into()), limit, skip_replace: false }
}

pub async fn page(changes: &Changes, table: &Table, ask: &Ask) -> Result<Page> {
    changes.page(&History::read(&table.metadata)?, ask).await
}

/// All pages from a position on.
pub async fn all(changes: &Changes, table: &Table, from: Option<Position>, limit: usize) -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    loop {
        let position = pages.last().map(|page| page.next).or(from);
        let page = page(changes, table, &ask(position, limit)).await.expect("a page");
        let (count, is_level) = (flat(&page).len(), page.is_level);
        assert!(count <= limit && pages.len() < 10_000);
        assert!(is_level || !page.changes.is_empty(), "a page that leads nowhere");
        pages.push(page);
        if is_level {
            return pages;
        }
    }
}

fn table(version: FormatVersion, seed: u64, commits: usize) -> Table {
    let mut table = Table::new(version, seed);
    for _ in 0..commits {
        table.commit("main");
    }
    table
}

#[tokio::test]
async fn replaying_the_changes_gives_the_live_files_of_every_snapshot() {
    for (version, seed) in VERSIONS.into_iter().flat_map(|version| [(version, 1), (version, 2), (version, 3)]) {
        let table = table(version, seed, 60);
        assert!(operations(&table).len() == 4, "{:?}", operations(&table));
        let changes = changes();
        let (mut files, mut position) = (BTreeSet::new(), None);
        for id in table.snapshots() {
            let to = Ask { to: To::Snapshot(id), ..ask(position, 10_000) };
            let page = page(&changes, &table, &to).await.expect("a page");
            assert!(page.is_level && page.changes.iter().all(|change| change.is_complete));
            apply(&mut files, &page);
            assert_eq!(files, table.live[&id], "snapshot {id} of version {version:?}, seed {seed}");
            assert_eq!(page.next, Position::After(id));
            position = Some(page.next);
        }
    }
}

#[tokio::test]
async fn every_limit_gives_the_same_files_in_the_same_order() {
    for version in VERSIONS {
        let table = table(version, 7, 25);
        let mut expected: Option<Vec<_>> = None;
        for limit in (1..=12).chain([50, 10_000]) {
            let pages = all(&changes(), &table, None, limit).await;
            let files: Vec<_> = pages.iter().flat_map(flat).collect();
            assert_eq!(expected.get_or_insert(files.clone()), &files, "limit {limit}");
            // a snapshot begins once and ends once, also one without files
            let parts = || pages.iter().flat_map(|page| &page.changes);
            let ends: Vec<i64> = parts().filter(|part| part.is_complete).map(|part| part.snapshot_id).collect();
            let begins: Vec<i64> = parts().filter(|part| !part.is_continued).map(|part| part.snapshot_id).collect();
            assert_eq!((&ends, &begins), (&table.snapshots(), &table.snapshots()), "limit {limit}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_is_killed_and_goes_on_misses_and_repeats_nothing() {
    let mut random = StdRng::seed_from_u64(5);
    for seed in 0..10 {
        let mut table = Table::new(FormatVersion::V2, seed);
        let (mut files, mut position): (BTreeSet<Key>, _) = (BTreeSet::new(), None);
        let mut changes = changes();
        for _ in 0..60 {
            if random.random_bool(0.4) {
                table.commit("main");
            }
            if random.random_bool(0.3) {
                changes = self::changes(); // another server, which remembers nothing
            }
            let page = page(&changes, &table, &ask(position, random.random_range(1..7))).await.expect("a page");
            if random.random_bool(0.3) {
                continue; // killed before it did anything with the page
            }
            apply(&mut files, &page);
            position = Some(page.next);
        }
        for page in all(&changes, &table, position, 3).await {
            apply(&mut files, &page);
        }
        assert_eq!(files, table.head("main").map(|id| table.live[&id].clone()).unwrap_or_default(), "seed {seed}");
    }
}

#[tokio::test]
async fn replace_snapshots_can_be_left_out_and_the_position_still_moves() {
    let table = table(FormatVersion::V2, 11, 40);
    let changes = changes();
    let mut position = None;
    let mut seen = Vec::new();
    loop {
        let page = page(&changes, &table, &Ask { skip_replace: true, ..ask(position, 2) }).await.expect("a page");
        assert!(page.changes.iter().all(|change| !change.is_replace || change.is_base));
        seen.extend(page.changes.iter().filter(|change| change.is_complete).map(|change| change.snapshot_id));
        position = Some(page.next);
        if page.is_level {
            break;
        }
    }
    let replaced = operations(&table)["replace"];
    assert!(replaced > 0);
    assert_eq!(seen.len(), table.snapshots().len() - replaced);
    assert_eq!(position, table.head("main").map(Position::After));
}

#[tokio::test]
async fn files_are_told_with_what_they_inherit() {
    for version in VERSIONS {
        let table = table(version, 13, 1);
        let page = page(&changes(), &table, &ask(None, 10)).await.expect("a page");
        let id = table.snapshots()[0];
        let (change, number) = (&page.changes[0], if version == FormatVersion::V1 { 0 } else { 1 });
        assert_eq!((change.operation.as_str(), change.is_base, change.sequence_number), ("append", true, number));
        for (at, file) in change.added_data_files.iter().enumerate() {
            assert_eq!(
                (file.added_snapshot_id, file.sequence_number, file.file_sequence_number),
                (Some(id), Some(number), Some(number))
            );
            let first_row = (version == FormatVersion::V3).then_some(1_000 + 5 * at as i64);
            assert_eq!((file.content, file.file_format.as_str(), file.first_row_id), ("data", "parquet", first_row));
            assert_eq!(file.partition["day"], format!("1970-01-{:02}", at + 2).as_str());
        }
    }
}
