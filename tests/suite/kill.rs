//! `kill -9` of the server while writers commit: nothing acknowledged is lost, nothing is there twice, the store opens by itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::hammer::audit::Known;
use crate::hammer::{Client, Server, Store, Writers, check, check_whole, say, tables};

const KILLS: usize = 20;
/// More than writers can commit in this test.
const SHARE: usize = 10_000;
/// A server lives this long at most; it dies at a random moment of that time, once something was acknowledged again.
const LIFE_MAX: Duration = Duration::from_millis(600);
/// How long writers may take to have something acknowledged by a server that has just started.
const PROGRESS_MAX: Duration = Duration::from_secs(60);

async fn kill_while_writing(server: &mut Server) -> Result<(), String> {
    let client = Client::connect(&server.uri()).await?;
    client.create(&tables()).await?;
    let mut writers = Writers::start(&client, SHARE);
    let mut known = Known::default();
    for kill in 0..KILLS {
        if let Err(stuck) = progress(&writers).await {
            writers.stop();
            writers.join().await?;
            return Err(format!("after {kill} kills: {stuck}"));
        }
        tokio::time::sleep(rand::random_range(Duration::ZERO..LIFE_MAX)).await;
        server.kill_and_restart().await;
        check_whole(&client, &mut known).await.map_err(|e| format!("after {} kills: {e}", kill + 1))?;
    }
    writers.stop();
    writers.join().await?;
    let acknowledged = writers.acknowledged_rows();
    check(&client, &writers.acknowledged).await?;
    say(&format!(
        "{}: {KILLS} kills, {acknowledged} commits, {} without an answer of which {} had landed, {} conflicts",
        server.store().name(),
        client.tally.unknown.load(Ordering::Relaxed),
        client.tally.landed.load(Ordering::Relaxed),
        client.tally.conflicts.load(Ordering::Relaxed),
    ));
    Ok(())
}

/// Waits until one more row is acknowledged, so that no server dies before it has done something.
async fn progress(writers: &Writers) -> Result<(), String> {
    let before = writers.acknowledged_rows();
    let more = async {
        while writers.acknowledged_rows() == before && !writers.any_ended() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    match tokio::time::timeout(PROGRESS_MAX, more).await {
        Ok(()) if !writers.any_ended() => Ok(()),
        Ok(()) => Err("a writer gave up".into()),
        Err(_) => Err(format!("nothing was acknowledged for {PROGRESS_MAX:?}")),
    }
}

async fn kill_on(store: Store) {
    let mut server = Server::start(store).await;
    let outcome = kill_while_writing(&mut server).await;
    assert!(outcome.is_ok(), "{}: {outcome:?}\n{}", server.store().name(), server.log());
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_that_it_acknowledged() {
    kill_on(Store::Sqlite).await;
    if let Some(store) = Store::postgres().await {
        kill_on(store).await;
    }
}
