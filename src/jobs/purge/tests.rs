//! Purges of real tables: what goes, what stays, what happens when it is cut off or fails.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::error::Kind;
use crate::model::Operation;
use crate::storage::Location;
use crate::testing::{Bed, create, request, with_query};

async fn beds() -> Vec<Bed> {
    let mut beds = vec![Bed::sqlite().await];
    beds.extend(Bed::postgres().await);
    for bed in &beds {
        bed.namespace("n").await;
    }
    beds
}

fn worker(bed: &Bed) -> PurgeWorker {
    let purges = Purges::new(bed.database.clone());
    PurgeWorker::new(purges.clone(), [purges].into(), bed.storage.clone(), Metrics::new())
}

fn purge(name: &str) -> crate::upstream::Request {
    with_query(request(Operation::DropTable, name, Value::Null), "purgeRequested", "true")
}

fn path(location: &Value) -> PathBuf {
    location.as_str().expect("text").strip_prefix("file://").expect("local").into()
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

/// What is in the queue, without waiting for its time.
async fn due(bed: &Bed) -> Vec<Purge> {
    let sql = "UPDATE purges SET due_at_ms = 0";
    bed.database.write(|t| Box::pin(async move { t.execute(sql, &[]).await })).await.expect("written");
    Purges::new(bed.database.clone()).list(10).await.expect("listed")
}

#[tokio::test]
async fn a_purged_table_leaves_nothing_and_its_successor_alone() {
    for bed in beds().await {
        let folder = path(&bed.table("t", json!({})).await["location"]);
        for number in 1..=3 {
            bed.append("t", number).await;
        }
        let stray = folder.join("data/not-in-any-snapshot.parquet");
        std::fs::write(&stray, "x").expect("written");
        bed.ask(purge("t")).await;
        let successor = path(&bed.table("t", json!({})).await["location"]);
        bed.append("t", 1).await;
        let before = files(&successor);
        assert!(worker(&bed).run_next().await.expect("worked"));
        assert!(!worker(&bed).run_next().await.expect("nothing is left to do"));
        assert_eq!((files(&folder), files(&successor)), (1, before), "only what no snapshot names is left");
        assert!(due(&bed).await.is_empty());
        std::fs::remove_file(stray).expect("still there");
    }
}

#[tokio::test]
async fn a_drop_without_purge_leaves_the_files() {
    let bed = &beds().await[0];
    let folder = path(&bed.table("t", json!({})).await["location"]);
    bed.append("t", 1).await;
    let before = files(&folder);
    bed.ask(request(Operation::DropTable, "t", Value::Null)).await;
    assert!(!worker(bed).run_next().await.expect("nothing to do"));
    assert_eq!(files(&folder), before);
}

#[tokio::test]
async fn files_outside_and_files_of_living_tables_stay() {
    let bed = &beds().await[0];
    let outside = bed.location("elsewhere/data.parquet");
    let metadata = bed.table("t", json!({"location": bed.location("warehouse/shared")})).await;
    let inner = bed.table("inner", json!({"location": bed.location("warehouse/shared/inner")})).await;
    bed.append("inner", 1).await;
    let kept = files(&path(&inner["location"]));
    // a table whose manifests name the files of others: one outside of its prefixes, one of a table that lives inside them
    for (number, file) in
        [(1, outside.clone()), (2, format!("{}/data/1.parquet", inner["location"].as_str().expect("text")))]
    {
        let current = bed.ask(request(Operation::LoadTable, "t", Value::Null)).await["metadata"].clone();
        let (body, files) = bed.append_naming(&current, number, &file);
        for (path, bytes) in files.into_iter().filter(|(path, _)| path != &file) {
            bed.storage.write_new(&Location::new(path), bytes).await.expect("written");
        }
        bed.ask(request(Operation::UpdateTable, "t", body)).await;
    }
    bed.storage.write_new(&Location::new(&outside), "x".into()).await.expect("written");
    bed.ask(purge("t")).await;
    assert!(worker(bed).run_next().await.expect("worked"));
    assert!(path(&json!(outside)).exists());
    assert_eq!(files(&path(&metadata["location"])), kept, "only the inner table is left");
    bed.ask(request(Operation::LoadTable, "inner", Value::Null)).await;
}

#[tokio::test]
async fn a_table_that_was_registered_again_keeps_its_files() {
    let bed = &beds().await[0];
    bed.table("t", json!({})).await;
    let appended = bed.append("t", 1).await;
    let folder = path(&appended["metadata"]["location"]);
    let before = files(&folder);
    let again = json!({"name": "copy", "metadata-location": appended["metadata-location"]});
    bed.ask(request(Operation::RegisterTable, "copy", again)).await;
    bed.ask(purge("t")).await;
    assert!(worker(bed).run_next().await.expect("worked"));
    assert_eq!(files(&folder), before);
}

#[tokio::test]
async fn a_purge_that_was_cut_off_goes_on_and_one_that_fails_is_seen() {
    for bed in beds().await {
        let appended = {
            bed.table("t", json!({})).await;
            bed.append("t", 1).await
        };
        let folder = path(&appended["metadata"]["location"]);
        bed.ask(purge("t")).await;
        let purges = Purges::new(bed.database.clone());
        let claimed = purges.claim(1, i64::MAX).await.expect("claimed").expect("there is one");
        assert!(!worker(&bed).run_next().await.expect("it is claimed"));
        let list = path(&appended["metadata"]["snapshots"][0]["manifest-list"]);
        let whole = std::fs::read(&list).expect("read");
        std::fs::write(&list, &whole[..whole.len() / 2]).expect("broken");
        due(&bed).await;
        assert!(worker(&bed).run_next().await.expect("tried"));
        let failed = purges.list(10).await.expect("listed");
        assert!(failed[0].last_error.is_some() && failed[0].attempts == 2, "{failed:?}");
        assert!(folder.join("data/1.parquet").exists(), "what cannot be read to its end is not deleted in part");
        purges.finish(&claimed).await.expect("a lost lease ends nothing");
        std::fs::write(&list, whole).expect("mended");
        std::fs::remove_file(folder.join("data/1.parquet")).expect("as if an attempt had been cut off");
        assert_eq!(due(&bed).await.len(), 1);
        assert!(worker(&bed).run_next().await.expect("worked"));
        assert_eq!((files(&folder), folder.exists(), due(&bed).await.len()), (0, false, 0));
    }
}

#[tokio::test]
async fn a_table_that_forbids_it_is_not_purged() {
    let bed = &beds().await[0];
    bed.ask(create("t", json!({"properties": {"gc.enabled": "false"}}))).await;
    let error = bed.refused(purge("t")).await;
    assert_eq!(error.kind(), Kind::BadRequest);
    assert!(error.message().starts_with("Cannot purge table: GC is disabled"));
    bed.ask(request(Operation::DropTable, "t", Value::Null)).await;
}

#[tokio::test]
async fn a_site_that_is_not_primary_deletes_nothing() {
    let bed = &beds().await[0];
    bed.table("t", json!({})).await;
    bed.ask(purge("t")).await;
    let fence = "UPDATE catalogs SET role = 'standby'";
    bed.database.write(|t| Box::pin(async move { t.execute(fence, &[]).await })).await.expect("fenced");
    assert!(!worker(bed).run_next().await.expect("nothing to do here"));
    assert_eq!(due(bed).await.len(), 1);
}
