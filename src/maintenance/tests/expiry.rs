//! Expiries of tables in an embedded catalog.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::model::{kept, retention};
use super::world::{World, files};
use super::{Readers, ident, site, site_of};
use crate::error::{Error, Kind, Result};
use crate::maintenance::{ExpireOptions, ExpiryReport, Progress, Site};
use crate::model::Operation;
use crate::storage::Location;
use crate::testing::{Bed, create, request};
use crate::upstream::{Catalog, Request, Response};

async fn bed() -> Bed {
    let bed = Bed::sqlite().await;
    bed.namespace("n").await;
    bed
}

async fn load(bed: &Bed) -> Value {
    bed.ask(request(Operation::LoadTable, "t", Value::Null)).await["metadata"].clone()
}

fn ids(metadata: &Value) -> BTreeSet<i64> {
    metadata["snapshots"].as_array().into_iter().flatten().filter_map(|s| s["snapshot-id"].as_i64()).collect()
}

async fn expire(site: &Site, days: Option<i64>, last: Option<u32>) -> Result<ExpiryReport> {
    site.expire(
        &ident("t"),
        ExpireOptions { retention: retention(days, last), plan: false },
        None,
        &Progress::default(),
    )
    .await
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads").block_on(work)
}

async fn one(seed: u64, days: Option<i64>, last: Option<u32>, holds: usize) {
    let bed = bed().await;
    let world = World::new(&bed, seed).await;
    let held: Vec<i64> =
        world.snapshots.iter().map(|s| s.id).filter(|id| (*id as usize + seed as usize) % 5 < holds).collect();
    let (stay, refs) = kept(&world, retention(days, last), &held);
    let site = Site { holds: vec![Arc::new(Readers(held))], ..site(&bed) };
    let planned = site
        .expire(&ident("t"), ExpireOptions { retention: retention(days, last), plan: true }, None, &Progress::default())
        .await
        .expect("planned");
    assert_eq!(ids(&load(&bed).await).len(), world.snapshots.len(), "a plan changes nothing");
    let before = files(&bed, &world.location).await;
    let report = expire(&site, days, last).await.expect("expired");
    let after = load(&bed).await;
    assert_eq!(ids(&after), stay);
    let named: BTreeSet<String> = after["refs"].as_object().expect("refs").keys().cloned().collect();
    assert_eq!(named, refs);
    let there = files(&bed, &world.location).await;
    assert_eq!(there, world.reached(&stay), "exactly what remains is there");
    assert_eq!((planned.files, planned.snapshots_expired), (report.files, report.snapshots_expired));
    assert_eq!(report.files_deleted as usize, before.len() - there.len());
    assert_eq!(report.files_deleted, report.files.files());
    assert_eq!(
        after["statistics"].as_array().map_or(0, Vec::len),
        there.iter().filter(|path| path.ends_with(".stats")).count()
    );
    let again = expire(&site, days, last).await.expect("nothing to do");
    assert_eq!((again.snapshots_expired, again.files_deleted), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn what_the_rules_keep_stays_and_nothing_else(
        seed in any::<u64>(), days in prop::option::of(0..9_i64), last in prop::option::of(1..5_u32), holds in 0..3_usize,
    ) {
        block_on(one(seed, days, last, holds));
    }
}

/// Stops the expiry where it is told to, as a crash would.
struct Cut {
    inner: Arc<dyn Catalog>,
    /// What is done before a commit is passed on, and after: an error of this kind is then the answer.
    before: Option<Kind>,
    after: Option<Kind>,
    commits: AtomicUsize,
}

#[async_trait]
impl Catalog for Cut {
    async fn call(&self, request: Request) -> Result<Response> {
        if request.operation != Operation::UpdateTable || self.commits.fetch_add(1, Ordering::Relaxed) > 0 {
            return self.inner.call(request).await;
        }
        let fails = |kind: Option<Kind>| kind.map_or(Ok(()), |kind| Err(Error::new(kind, "cut off")));
        fails(self.before)?;
        let answer = self.inner.call(request).await;
        fails(self.after)?;
        answer
    }
}

fn cut(bed: &Bed, before: Option<Kind>, after: Option<Kind>) -> Site {
    site_of(bed, Arc::new(Cut { inner: bed.catalog.clone(), before, after, commits: AtomicUsize::new(0) }))
}

/// A history of which something expires.
async fn world(bed: &Bed) -> (World, BTreeSet<i64>) {
    for seed in 0.. {
        let found = World::new(bed, seed).await;
        let (stay, _) = kept(&found, retention(Some(0), None), &[]);
        if found.snapshots.len() > stay.len() + 4
            && found.reached(&stay).len() + 4 < files(bed, &found.location).await.len()
        {
            return (found, stay);
        }
        bed.ask(request(Operation::DropTable, "t", Value::Null)).await;
    }
    unreachable!("there is one")
}

#[tokio::test]
async fn a_commit_whose_outcome_is_unknown_is_looked_at() {
    for (before, after) in
        [(Some(Kind::OutcomeUnknown), None), (None, Some(Kind::OutcomeUnknown)), (Some(Kind::CommitFailed), None)]
    {
        let bed = bed().await;
        let (world, stay) = world(&bed).await;
        let report = expire(&cut(&bed, before, after), Some(0), None).await.expect("expired");
        assert_eq!((ids(&load(&bed).await), files(&bed, &world.location).await), (stay.clone(), world.reached(&stay)));
        assert_eq!(report.snapshots_expired as usize, world.snapshots.len() - stay.len());
    }
}

#[tokio::test]
async fn what_an_expiry_left_that_was_cut_off_goes_with_the_next() {
    let bed = bed().await;
    let (world, stay) = world(&bed).await;
    let before = files(&bed, &world.location).await;
    // as after a crash between the commit and the first deletion
    let error = expire(&cut(&bed, None, Some(Kind::Unavailable)), Some(0), None).await.expect_err("cut off");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!((ids(&load(&bed).await), files(&bed, &world.location).await), (stay.clone(), before.clone()));
    // and then in the middle of the deletions
    let gone: Vec<String> =
        before.difference(&world.reached(&stay)).filter(|path| path.contains("/data/")).cloned().collect();
    for path in gone.iter().take(gone.len().div_ceil(2)) {
        bed.storage.delete(&Location::new(path)).await.expect("deleted");
    }
    let report = expire(&site(&bed), Some(0), None).await.expect("finished");
    assert_eq!(files(&bed, &world.location).await, world.reached(&stay));
    assert_eq!(
        (report.snapshots_expired, report.files_deleted as usize),
        (0, before.len() - world.reached(&stay).len())
    );
    let rows = bed.database.read("SELECT uuid FROM expiries", &[]).await.expect("read");
    assert!(rows.is_empty(), "no note is left");
}

/// Tags an expiring snapshot in the very moment before the commit.
struct Tags {
    bed: Arc<Bed>,
    id: i64,
    commits: AtomicUsize,
}

#[async_trait]
impl Catalog for Tags {
    async fn call(&self, asked: Request) -> Result<Response> {
        if asked.operation == Operation::UpdateTable && self.commits.fetch_add(1, Ordering::Relaxed) == 0 {
            let tag = json!({"action": "set-snapshot-ref", "ref-name": "late", "type": "tag", "snapshot-id": self.id});
            self.bed.ask(request(Operation::UpdateTable, "t", json!({"requirements": [], "updates": [tag]}))).await;
        }
        self.bed.catalog.call(asked).await
    }
}

#[tokio::test]
async fn a_tag_that_came_in_the_last_moment_loses_no_file() {
    let bed = Arc::new(bed().await);
    let (world, stay) = world(&bed).await;
    let before = files(&bed, &world.location).await;
    let id = world.snapshots.iter().map(|s| s.id).find(|id| !stay.contains(id)).expect("one expires");
    let site = site_of(&bed, Arc::new(Tags { bed: bed.clone(), id, commits: AtomicUsize::new(0) }));
    let error = expire(&site, Some(0), None).await.expect_err("it says so");
    assert_eq!(error.kind(), Kind::CommitFailed);
    assert!(error.message().contains("\"late\""), "{error}");
    expire(&super::site(&bed), Some(0), None).await.expect("nothing is left to do");
    assert_eq!(files(&bed, &world.location).await, before);
}

#[tokio::test]
async fn a_branch_that_moved_in_between_is_planned_again() {
    let bed = Arc::new(bed().await);
    bed.table("t", json!({})).await;
    for number in 1..=3 {
        bed.append("t", number).await;
    }
    struct Appends(Arc<Bed>, AtomicUsize);
    #[async_trait]
    impl Catalog for Appends {
        async fn call(&self, asked: Request) -> Result<Response> {
            if asked.operation == Operation::UpdateTable && self.1.fetch_add(1, Ordering::Relaxed) == 0 {
                self.0.append("t", 4).await;
            }
            self.0.catalog.call(asked).await
        }
    }
    let site = site_of(&bed, Arc::new(Appends(bed.clone(), AtomicUsize::new(0))));
    let report = expire(&site, Some(0), Some(1)).await.expect("expired");
    assert_eq!(report.snapshots_expired, 3);
    assert_eq!(ids(&load(&bed).await), [4].into());
}

#[tokio::test]
async fn what_must_not_be_deleted_is_refused() {
    let bed = bed().await;
    bed.ask(create("t", json!({"properties": {"gc.enabled": "false"}}))).await;
    bed.append("t", 1).await;
    let error = expire(&site(&bed), Some(0), None).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Unprocessable);
    let fence = "UPDATE catalogs SET role = 'standby'";
    bed.database.write(|t| Box::pin(async move { t.execute(fence, &[]).await })).await.expect("fenced");
    let error = expire(&site(&bed), Some(0), None).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Forbidden);
}

#[tokio::test]
async fn what_lies_in_the_place_of_another_table_stays() {
    let bed = bed().await;
    let (world, stay) = world(&bed).await;
    let before = files(&bed, &world.location).await;
    bed.ask(create("inner", json!({"location": format!("{}/data", world.location)}))).await;
    let report = expire(&site(&bed), Some(0), None).await.expect("expired");
    let there = files(&bed, &world.location).await;
    assert!(before.iter().filter(|path| path.contains("/data/")).all(|path| there.contains(path)));
    assert_eq!(report.files_spared.count, report.files.data_files + report.files.delete_files);
    let metadata: Vec<String> = before.iter().filter(|path| path.contains("/metadata/")).cloned().collect();
    assert_eq!(
        metadata.iter().filter(|path| there.contains(*path)).count(),
        world.reached(&stay).iter().filter(|p| p.contains("/metadata/")).count()
    );
}

/// A file by another spelling is the same file.
#[tokio::test]
async fn a_file_that_a_remaining_snapshot_spells_otherwise_stays() {
    let bed = bed().await;
    bed.table("t", json!({})).await;
    let first = bed.append("t", 1).await;
    let location = first["metadata"]["location"].as_str().expect("a location");
    let (body, written) =
        bed.append_naming(&first["metadata"], 2, &format!("{location}/data/1.parquet").replace("file:///", "file:/"));
    for (path, bytes) in written.into_iter().filter(|(path, _)| !path.contains("/data/")) {
        bed.storage.write_new(&Location::new(path), bytes).await.expect("written");
    }
    bed.ask(request(Operation::UpdateTable, "t", body)).await;
    let report = expire(&site(&bed), Some(0), None).await.expect("expired");
    assert_eq!((report.snapshots_expired, report.files.data_files, report.files.manifests), (1, 0, 1));
    assert!(files(&bed, location).await.contains(&format!("{location}/data/1.parquet")));
}

#[tokio::test]
async fn what_cannot_be_read_to_its_end_expires_nothing() {
    let bed = bed().await;
    let (world, _) = world(&bed).await;
    let list = world.metadata["snapshots"].as_array().and_then(|all| all.last()).expect("one")["manifest-list"].clone();
    bed.storage.delete(&Location::new(list.as_str().expect("text"))).await.expect("deleted");
    let before = files(&bed, &world.location).await;
    expire(&site(&bed), Some(0), None).await.expect_err("the head cannot be read");
    assert_eq!((files(&bed, &world.location).await, ids(&load(&bed).await).len()), (before, world.snapshots.len()));
}
