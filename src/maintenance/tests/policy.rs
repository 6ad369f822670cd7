//! Rounds of policies: which tables, how often, by whom.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ident, site};
use crate::maintenance::{Caretaker, ExpireOptions, Maintained, Policy, Retention, Work};
use crate::model::{CatalogName, Operation};
use crate::replica::Names;
use crate::testing::{Bed, create, request};

async fn beds() -> Vec<Bed> {
    let mut beds = vec![Bed::sqlite().await];
    beds.extend(Bed::postgres().await);
    for bed in &beds {
        bed.namespace("n").await;
    }
    beds
}

fn policy(name: &str, include: &str, keep_last: u32, every: Duration) -> Policy {
    let retention = Retention { keep_for: Some(Duration::ZERO), keep_last: Some(keep_last) };
    let work = Work::ExpireSnapshots(ExpireOptions { retention, plan: false });
    Policy {
        name: name.to_owned(),
        tables: Names::new(vec![include.to_owned()], Vec::new()),
        works: vec![(every, work), (every, Work::Compact)],
    }
}

async fn fill(bed: &Bed, name: &str, more: Value) {
    bed.ask(create(name, more)).await;
    for number in 1..=4 {
        bed.append(name, number).await;
    }
}

async fn snapshots(bed: &Bed, name: &str) -> usize {
    let table = bed.ask(request(Operation::LoadTable, name, Value::Null)).await;
    table["metadata"]["snapshots"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn the_first_policy_that_wants_a_table_counts_and_one_server_does_the_round() {
    for bed in beds().await {
        fill(&bed, "raw_a", json!({})).await;
        fill(&bed, "b", json!({})).await;
        fill(&bed, "forbids", json!({"properties": {"gc.enabled": "false"}})).await;
        fill(&bed, "broken", json!({})).await;
        let broken = bed.ask(request(Operation::LoadTable, "broken", Value::Null)).await;
        let list = broken["metadata"]["snapshots"][3]["manifest-list"].as_str().expect("text").to_owned();
        std::fs::remove_file(list.strip_prefix("file://").expect("local")).expect("removed");
        let hour = Duration::from_secs(3600);
        let policies = || vec![policy("raw", "n.raw_*", 3, hour), policy("rest", "*", 1, hour)];
        let (one, other) = (site(&bed), site(&bed));
        let (mut one, mut other) = (Caretaker::new(one, policies()), Caretaker::new(other, policies()));
        let (first, second) = tokio::join!(one.look(), other.look());
        first.expect("looked");
        second.expect("looked");
        assert_eq!(
            [
                snapshots(&bed, "raw_a").await,
                snapshots(&bed, "b").await,
                snapshots(&bed, "forbids").await,
                snapshots(&bed, "broken").await
            ],
            [3, 1, 4, 4]
        );
        // within the hour neither does it again, and neither does one that has just begun
        fill(&bed, "c", json!({})).await;
        for caretaker in [&mut one, &mut other, &mut Caretaker::new(site(&bed), policies())] {
            caretaker.look().await.expect("nothing to do");
        }
        assert_eq!(snapshots(&bed, "c").await, 4);
        let sql = "UPDATE maintenance_rounds SET began_at_ms = 0";
        bed.database.write(|t| Box::pin(async move { t.execute(sql, &[]).await })).await.expect("an hour passed");
        Caretaker::new(site(&bed), policies()).look().await.expect("looked");
        assert_eq!(snapshots(&bed, "c").await, 1);
    }
}

#[tokio::test]
async fn how_many_tables_are_due_is_a_metric() {
    let bed = &beds().await[0];
    for name in ["one", "two", "small"] {
        bed.ask(create(name, json!({"properties": {"write.target-file-size-bytes": "1000"}}))).await;
        bed.append(name, 1).await;
    }
    for name in ["one", "two"] {
        let loaded = bed.ask(request(Operation::LoadTable, name, Value::Null)).await["metadata"].clone();
        let (body, files) = bed.append_many(&loaded, 2, 5);
        for (path, bytes) in files {
            bed.storage.write_new(&crate::storage::Location::new(path), bytes).await.expect("written");
        }
        bed.ask(request(Operation::UpdateTable, name, body)).await;
    }
    let site = site(bed);
    let metrics = site.metrics.clone();
    let policy =
        Policy { works: vec![(Duration::from_secs(60), Work::Compact)], ..policy("all", "*", 1, Duration::ZERO) };
    Caretaker::new(site.clone(), vec![policy]).look().await.expect("looked");
    let text = metrics.encode();
    assert!(
        text.contains(r#"lifeboat_maintenance_due_tables{catalog="main",policy="all",work="compact"} 2"#),
        "{text}"
    );
    let report = site.plan_compaction(&ident("one"), &Default::default()).await.expect("planned");
    assert_eq!((report.files, report.files_after, report.plan[0].small_files), (5, 1, 5));
    assert!(!site.plan_compaction(&ident("small"), &Default::default()).await.expect("planned").due);
}

#[test]
fn what_cannot_be_maintained_says_why() {
    let name = CatalogName::parse("dr").expect("valid");
    let error = Maintained::No("it is a standby").site(&name).err().expect("refused");
    assert!(error.message().contains("it is a standby"));
}
