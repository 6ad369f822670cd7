//! Orphans of tables in an embedded catalog: what is one, and what only looks like one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::world::{World, files};
use super::{ident, site};
use crate::error::{Kind, Result};
use crate::format::location::LocationMap;
use crate::maintenance::{OrphanOptions, OrphansReport, Progress, Site};
use crate::storage::Location;
use crate::testing::{Bed, create};

/// Everything that is there already is old enough.
const ALL: OrphanOptions =
    OrphanOptions { older_than: Duration::ZERO, allow_young: true, declared_paths: false, delete: true };

async fn bed() -> Bed {
    let bed = Bed::sqlite().await;
    bed.namespace("n").await;
    bed
}

async fn put(bed: &Bed, path: &str) -> String {
    bed.storage.write_new(&Location::new(path), "x".into()).await.expect("written");
    path.to_owned()
}

async fn remove(site: &Site, options: OrphanOptions) -> Result<OrphansReport> {
    // a file of this very millisecond is not older than nothing
    tokio::time::sleep(Duration::from_millis(5)).await;
    site.remove_orphans(&ident("t"), options, None, &Progress::default()).await
}

#[tokio::test]
async fn what_nothing_reaches_goes_and_everything_else_stays() {
    let bed = bed().await;
    for seed in 0..12 {
        let world = World::new(&bed, seed).await;
        let all: BTreeSet<i64> = world.snapshots.iter().map(|s| s.id).collect();
        let reached = world.reached(&all);
        let unreached: BTreeSet<String> = files(&bed, &world.location).await.difference(&reached).cloned().collect();
        let stray = put(&bed, &format!("{}/data/x=1/stray.parquet", world.location)).await;
        let lost = put(&bed, &format!("{}/metadata/00007-lost.metadata.json", world.location)).await;
        for hidden in ["data/_temporary/0/a.parquet", "data/.b.parquet", "_lifeboat/c", "metadata/.d.crc"] {
            put(&bed, &format!("{}/{hidden}", world.location)).await;
        }
        put(&bed, &format!("{}/metadata/version-hint.text", world.location)).await;
        let planned = remove(&site(&bed), OrphanOptions { delete: false, ..ALL }).await.expect("planned");
        assert_eq!((planned.plan, planned.files_deleted, planned.left_alone), (true, 0, 4));
        assert_eq!(planned.orphans.count as usize, unreached.len() + 2, "{planned:?}");
        let report = remove(&site(&bed), ALL).await.expect("removed");
        assert_eq!(
            (report.files_deleted, &report.orphans, report.bytes),
            (planned.orphans.count, &planned.orphans, planned.bytes)
        );
        let there = files(&bed, &world.location).await;
        assert!(reached.is_subset(&there) && there.len() == reached.len() + 5, "{there:?}");
        for path in [stray, lost] {
            assert_eq!(bed.storage.size_bytes(&Location::new(path)).await.expect("looked"), None);
        }
        assert_eq!(remove(&site(&bed), ALL).await.expect("again").orphans.count, 0);
        bed.ask(crate::testing::request(crate::model::Operation::DropTable, "t", serde_json::Value::Null)).await;
    }
}

#[tokio::test]
async fn what_is_young_stays_and_less_than_a_day_must_be_said_twice() {
    let bed = bed().await;
    let location = bed.table("t", json!({})).await["location"].as_str().expect("text").to_owned();
    put(&bed, &format!("{location}/data/uncommitted.parquet")).await;
    let report = remove(&site(&bed), OrphanOptions { delete: true, ..OrphanOptions::default() }).await.expect("looked");
    assert_eq!((report.orphans.count, report.young), (0, report.files_listed));
    let hour = OrphanOptions { older_than: Duration::from_secs(3600), ..OrphanOptions::default() };
    assert_eq!(remove(&site(&bed), hour).await.expect_err("too young").kind(), Kind::BadRequest);
    assert_eq!(
        remove(&site(&bed), OrphanOptions { allow_young: true, ..hour }).await.expect("said twice").orphans.count,
        0
    );
}

#[tokio::test]
async fn the_places_of_other_tables_and_overlays_are_left_alone() {
    let bed = bed().await;
    let location = bed.location("warehouse/shared");
    bed.table("t", json!({"location": location})).await;
    bed.append("t", 1).await;
    // one inside, one that only says so of its data
    bed.table("inner", json!({"location": format!("{location}/inner")})).await;
    let declared = json!({"properties": {"write.data.path": format!("{location}/theirs")}});
    bed.table("declared", declared).await;
    let kept = [
        put(&bed, &format!("{location}/inner/data/1.parquet")).await,
        put(&bed, &format!("{location}/theirs/1.parquet")).await,
        put(&bed, &format!("{location}/overlay/x/metadata/1.avro")).await,
        put(&bed, &format!("{location}/landing/1.parquet")).await,
    ];
    let stray = put(&bed, &format!("{location}/data/stray.parquet")).await;
    let site = Site {
        spared: vec![Location::new(format!("{location}/overlay").replace("file:///", "file:/"))],
        landings: vec![Location::new(format!("{location}/landing"))],
        ..site(&bed)
    };
    let report = remove(&site, ALL).await.expect("removed");
    assert_eq!(report.orphans.examples, [stray]);
    for path in kept {
        assert!(bed.storage.size_bytes(&Location::new(path)).await.expect("looked").is_some());
    }
    // a table that lies in another one's place has none of its own
    let error = site.remove_orphans(&ident("inner"), ALL, None, &Progress::default()).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Unprocessable);
}

#[tokio::test]
async fn a_file_under_another_name_is_the_same_file() {
    let bed = bed().await;
    let first = bed.table("t", json!({})).await;
    let location = first["location"].as_str().expect("text").to_owned();
    let client = location.replace("/warehouse/", "/mounted/");
    // one named by another spelling, one by the clients' naming
    for (number, named) in [(1, location.replace("file:///", "file:/")), (2, client.clone())] {
        let current =
            bed.ask(crate::testing::request(crate::model::Operation::LoadTable, "t", serde_json::Value::Null)).await;
        let (body, written) =
            bed.append_naming(&current["metadata"], number, &format!("{named}/data/{number}.parquet"));
        for (path, bytes) in written.into_iter().filter(|(path, _)| !path.contains("/data/")) {
            bed.storage.write_new(&Location::new(path), bytes).await.expect("written");
        }
        bed.ask(crate::testing::request(crate::model::Operation::UpdateTable, "t", body)).await;
        put(&bed, &format!("{location}/data/{number}.parquet")).await;
    }
    let map = LocationMap::new([(bed.location("warehouse"), bed.location("mounted"))]).expect("a map");
    let back = map.inverse().expect("a way back");
    let site = Site { client_locations: Some(Arc::new((map, back))), ..site(&bed) };
    assert_eq!(remove(&site, ALL).await.expect("looked").orphans.count, 0);
}

#[tokio::test]
async fn declared_paths_outside_are_looked_through_only_when_asked() {
    let bed = bed().await;
    let outside = bed.location("elsewhere");
    bed.ask(create("t", json!({"properties": {"write.data.path": outside}}))).await;
    let stray = put(&bed, &format!("{outside}/stray.parquet")).await;
    assert_eq!(remove(&site(&bed), ALL).await.expect("looked").orphans.count, 0);
    let report = remove(&site(&bed), OrphanOptions { declared_paths: true, ..ALL }).await.expect("removed");
    assert_eq!(report.orphans.examples, [stray]);
    assert_eq!(report.places.len(), 2);
}
