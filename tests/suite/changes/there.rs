//! What is there to be read: history that expires, branches, a head that was set back, positions that are none.

use std::collections::BTreeSet;

use lifeboat::changes::{Ask, History, Position, To};
use lifeboat::error::Kind;
use lifeboat::format::manifest::FormatVersion;

use super::paging::{all, ask, changes, page};
use super::table::{Table, apply};

fn table(commits: usize) -> Table {
    let mut table = Table::new(FormatVersion::V2, 17);
    for _ in 0..commits {
        table.commit("main");
    }
    table
}

#[tokio::test]
async fn a_position_holds_as_long_as_its_snapshot_is_there() {
    let mut table = table(10);
    let ids = table.snapshots();
    let changes = changes();
    let position = |at: usize| Some(Position::After(ids[at]));
    for expired in 0..5 {
        table.expire(ids[expired]);
        let mut files = table.live[&ids[5]].clone();
        for page in all(&changes, &table, position(5), 2).await {
            apply(&mut files, &page);
        }
        assert_eq!(files, table.live[&ids[9]]);
        for gone in 0..=expired {
            let error = page(&changes, &table, &ask(position(gone), 1)).await.expect_err("it expired");
            assert_eq!(error.kind(), Kind::Gone);
            let oldest = format!("begin after is {} of 2023-11-14T22:13:21", ids[expired + 1]);
            assert!(error.message().contains(&oldest), "{}", error.message());
        }
    }
    // and from the beginning there is what is live in the oldest
    let pages = all(&changes, &table, None, 2).await;
    assert!(pages[0].changes[0].is_base && pages[0].changes[0].snapshot_id == ids[5]);
    let mut files = BTreeSet::new();
    pages.iter().for_each(|page| apply(&mut files, page));
    assert_eq!(files, table.live[&ids[9]]);
}

#[tokio::test]
async fn a_position_within_a_snapshot_needs_the_one_before_it() {
    let mut table = table(12);
    let ids = table.snapshots();
    let changes = changes();
    let pages = all(&changes, &table, Some(Position::After(ids[0])), 1).await;
    let within = pages.iter().map(|page| page.next).find(|next| matches!(next, Position::Within { .. }));
    let within = within.expect("a snapshot with two files");
    let Some(parent) = within.needs() else { panic!("{within:?}") };
    page(&changes, &table, &ask(Some(within), 1)).await.expect("its parent is there");
    ids.iter().take_while(|id| **id <= parent).for_each(|id| table.expire(*id));
    assert_eq!(page(&changes, &table, &ask(Some(within), 1)).await.expect_err("it is gone").kind(), Kind::Gone);
    let pages = all(&changes, &table, None, 1).await;
    let within = pages.iter().map(|page| page.next).find(|next| matches!(next, Position::Base(..)));
    let within = within.expect("a base with two files");
    page(&changes, &table, &ask(Some(within), 1)).await.expect("it is there");
    table.expire(within.needs().expect("a snapshot"));
    assert_eq!(page(&changes, &table, &ask(Some(within), 1)).await.expect_err("it is gone").kind(), Kind::Gone);
}

#[tokio::test]
async fn branches_are_followed_each_for_itself() {
    let mut table = table(5);
    let fork = table.head("main").expect("a head");
    table.set_head("dev", fork);
    for at in 0..8 {
        table.commit(if at % 2 == 0 { "dev" } else { "main" });
    }
    table.metadata["refs"]["v1"] = serde_json::json!({"type": "tag", "snapshot-id": fork});
    let changes = changes();
    for branch in ["main", "dev"] {
        let on = |position| Ask { to: To::Branch(branch.into()), ..ask(position, 10_000) };
        let mut files = table.live[&fork].clone();
        let page = page(&changes, &table, &on(Some(Position::After(fork)))).await.expect("a page");
        assert_eq!(page.changes.len(), 4);
        apply(&mut files, &page);
        assert_eq!(files, table.live[&table.head(branch).expect("a head")], "{branch}");
    }
    let other = table.head("dev").map(Position::After);
    let error = page(&changes, &table, &ask(other, 1)).await.expect_err("of another branch");
    assert!(error.kind() == Kind::Gone && error.message().contains(&format!("both have is {fork}")), "{error}");
    for (name, kind) in [("none", Kind::NotFound), ("v1", Kind::BadRequest)] {
        let ask = Ask { to: To::Branch(name.into()), ..ask(None, 1) };
        assert_eq!(page(&changes, &table, &ask).await.expect_err(name).kind(), kind);
    }
    let tagged = Ask { to: To::Snapshot(fork), ..ask(None, 10_000) };
    let page = page(&changes, &table, &tagged).await.expect("a page");
    assert!(page.is_level && page.next == Position::After(fork));
}

#[tokio::test]
async fn a_head_that_was_set_back_is_said_and_where_one_can_go_on() {
    let mut table = table(6);
    let ids = table.snapshots();
    let changes = changes();
    table.set_head("main", ids[2]);
    let error = page(&changes, &table, &ask(Some(Position::After(ids[5])), 1)).await.expect_err("it is no ancestor");
    assert_eq!(error.kind(), Kind::Gone);
    assert!(error.message().contains(&format!("the newest that both have is {}", ids[2])), "{}", error.message());
    // what is committed then is read from there
    let new = table.commit("main");
    let mut files = table.live[&ids[2]].clone();
    let next = page(&changes, &table, &ask(Some(Position::After(ids[2])), 10_000)).await.expect("a page");
    apply(&mut files, &next);
    assert_eq!(files, table.live[&new]);
    // an end that one names oneself is one's own mistake
    let to = Ask { to: To::Snapshot(ids[1]), ..ask(Some(Position::After(ids[2])), 1) };
    assert_eq!(page(&changes, &table, &to).await.expect_err("the wrong way round").kind(), Kind::BadRequest);
    let to = Ask { to: To::Snapshot(77), ..ask(None, 1) };
    assert_eq!(page(&changes, &table, &to).await.expect_err("there is none").kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_table_without_snapshots_is_level_and_its_first_one_is_news() {
    let mut table = Table::new(FormatVersion::V2, 3);
    let changes = changes();
    let empty = page(&changes, &table, &ask(None, 1)).await.expect("a page");
    assert!(empty.is_level && empty.changes.is_empty() && empty.next == Position::Start);
    let first = table.commit("main");
    let page = page(&changes, &table, &ask(Some(empty.next), 100)).await.expect("a page");
    let mut files = BTreeSet::new();
    apply(&mut files, &page);
    assert_eq!(files, table.live[&first]);
}

#[tokio::test]
async fn positions_move_forward_only() {
    let mut table = table(6);
    table.set_head("dev", table.snapshots()[1]);
    let aside = table.commit("dev");
    let ids = table.snapshots();
    let history = History::read(&table.metadata).expect("read");
    let pages = all(&changes(), &table, None, 1).await;
    let in_order: Vec<Position> = [Position::Start].into_iter().chain(pages.iter().map(|page| page.next)).collect();
    for (at, from) in in_order.iter().enumerate() {
        for (to_at, to) in in_order.iter().enumerate() {
            let moved = history.check_forward(*from, *to);
            assert_eq!(moved.is_ok(), at <= to_at, "{from:?} to {to:?}");
        }
    }
    assert!(history.check_forward(Position::After(ids[1]), Position::After(aside)).is_ok());
    assert!(history.check_forward(Position::After(ids[2]), Position::After(aside)).is_err());
    assert!(history.check_there(Position::After(aside)).is_ok());
    assert_eq!(history.check_there(Position::After(1)).expect_err("there is none").kind(), Kind::Gone);
    assert_eq!(history.lag(Position::After(ids[2]), "main").map(|lag| lag.0), Some(3));
    assert_eq!(history.lag(Position::After(aside), "main"), None);
    let text = history.text(Position::After(ids[2]));
    assert_eq!(history.position(&text).expect("its own"), Position::After(ids[2]));
    // a standby that is behind has not lost its history
    let newest = history.text(Position::After(ids[5]));
    table.expire(ids[5]);
    table.metadata["last-sequence-number"] = 3.into();
    let behind = History::read(&table.metadata).expect("read");
    assert_eq!(behind.position(&newest).expect_err("it is older").kind(), Kind::Unavailable);
    assert!(behind.position(&text).is_ok());
}

#[tokio::test]
async fn what_is_damaged_or_missing_is_named() {
    let table = table(6);
    let changes = changes();
    let mut refused = 0;
    let manifests: Vec<_> =
        std::fs::read_dir(table.folder.path()).expect("a folder").flatten().map(|file| file.path()).collect();
    for path in manifests.iter().filter(|path| path.to_string_lossy().contains("/m")) {
        let bytes = std::fs::read(path).expect("there");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        std::fs::write(path, &bytes[..bytes.len() / 2]).expect("cut");
        if let Err(error) = page(&self::changes(), &table, &ask(None, 10_000)).await {
            refused += 1;
            assert!(error.kind() == Kind::Unprocessable && error.message().contains(&name), "{error}");
        }
        std::fs::write(path, bytes).expect("whole");
    }
    assert!(refused > 5, "{refused}");
    let first = table.snapshots()[0];
    std::fs::remove_file(table.folder.path().join(format!("snap-{first}.avro"))).expect("it was there");
    let error = page(&changes, &table, &ask(None, 1)).await.expect_err("its list is gone");
    assert!(error.kind() == Kind::NotFound && error.to_string().contains("snap-"), "{error}");
}
