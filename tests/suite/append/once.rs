//! Every file once: repeated, killed, raced, and with answers that never come.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lifeboat::append::LookOptions;
use lifeboat::error::{Error, Kind, Result};
use lifeboat::model::Operation;
use lifeboat::upstream::{Catalog, Request, Response};

use super::shore::{Shore, ident, names};
use crate::hammer::{Store, say};

const KILLS: usize = 30;
const FILES: i64 = 120;
const FILES_PER_COMMIT: usize = 6;

#[tokio::test]
async fn an_append_that_is_killed_and_begun_again_has_every_file_once() {
    let tables: Vec<String> = (0..=KILLS).map(|number| format!("t{number}")).collect();
    let shore = Shore::open(&tables, FILES_PER_COMMIT, None).await;
    shore.land(0..FILES);
    let began = Instant::now();
    let (told, _) = shore.append(&tables[KILLS]);
    assert_eq!(told["snapshots"].as_array().map(Vec::len), Some(FILES as usize / FILES_PER_COMMIT), "{told}");
    let takes = began.elapsed();
    let (mut cut_off, mut half_way) = (0, 0);
    for (kill, table) in tables[..KILLS].iter().enumerate() {
        let mut command = shore.command(table);
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        let share = (kill as f64 + rand::random::<f64>()) / KILLS as f64;
        std::thread::sleep(Duration::from_secs_f64(takes.as_secs_f64() * share));
        running.kill().expect("killed");
        cut_off += u32::from(!running.wait().expect("waited for").success());
        let (told, status) = shore.append(table);
        assert_eq!((status, &told["left-out-files"]), (Some(0), &0.into()), "after kill {kill}: {told}");
        half_way += u32::from((1..FILES as u64).contains(&told["appended-files"].as_u64().unwrap_or(0)));
        assert_eq!(shore.live(table).await, names(0..FILES), "after kill {kill}");
        let (told, status) = shore.append(table);
        assert_eq!((status, &told["appended-files"]), (Some(0), &0.into()), "repeated after kill {kill}: {told}");
    }
    say(&format!(
        "{KILLS} kills, {cut_off} before the end, {half_way} with some commits done; a whole append takes {takes:?}"
    ));
    assert!(cut_off >= KILLS as u32 / 3 && half_way > 0, "{cut_off} of {KILLS} were killed before they ended");
}

async fn race(store: Store) {
    let url = if let Store::Postgres(database) = &store { Some(database.url()) } else { None };
    let shore = Shore::open(&["t".to_owned()], 7, url.as_deref()).await;
    let other = shore.beside().await;
    let (mut landed, mut appended) = (0, 0);
    for round in 1..=6 {
        shore.land(landed..landed + 10 * round);
        landed += 10 * round;
        let (one, two) = tokio::join!(shore.look("t"), other.look("t"));
        let reports = [one.expect("looked"), two.expect("looked")];
        assert!(reports.iter().all(|report| report.left_out_files == 0), "{reports:?}");
        appended += reports.iter().map(|report| report.appended_files).sum::<u64>();
        assert_eq!(shore.live("t").await, names(0..landed), "{}, round {round}", store.name());
    }
    assert_eq!(appended, landed as u64, "{}: each was appended by one of the two", store.name());
    drop((shore, other));
    store.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_that_find_the_same_files_append_each_once() {
    race(Store::Sqlite).await;
    if let Some(store) = Store::postgres().await {
        race(store).await;
    }
}

/// An upstream whose answers to commits do not come, of two thirds of them: it has done one half of those, and not the other.
struct Silent {
    inner: Arc<dyn Catalog>,
    commits: AtomicU32,
}

#[async_trait]
impl Catalog for Silent {
    async fn call(&self, request: Request) -> Result<Response> {
        if request.operation != Operation::UpdateTable {
            return self.inner.call(request).await;
        }
        let lost = || Error::new(Kind::OutcomeUnknown, "the connection broke");
        match self.commits.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => Err(lost()),
            1 => self.inner.call(request).await.and_then(|_| Err(lost())),
            _ => self.inner.call(request).await,
        }
    }
}

#[tokio::test]
async fn an_append_whose_answers_are_lost_is_not_repeated() {
    for has_state in [true, false] {
        let shore = Shore::open(&[], 1, None).await;
        let inner = shore.app.catalogs.values().next().expect("one catalog").stack.clone();
        let silent = Arc::new(Silent { inner, commits: AtomicU32::new(0) });
        let appends = shore.appends_over(silent.clone(), has_state, 5);
        shore.land(0..20);
        let mut appended = 0;
        for _ in 0..4 {
            // what changes the table before the files may fail; the next look goes on
            if let Ok(report) = appends.look(&ident("t"), LookOptions::default()).await {
                appended += report.appended_files;
            }
        }
        assert_eq!((shore.live("t").await, appended), (names(0..20), 20), "with a ledger: {has_state}");
        assert!(silent.commits.load(Ordering::Relaxed) > 6);
    }
}
