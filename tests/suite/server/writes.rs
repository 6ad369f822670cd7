//! Writes that have begun are finished: when the client goes away, and when the server stops.

use std::sync::Arc;
use std::time::Duration;

use lifeboat::error::{Error, Kind};
use lifeboat::server::ServerSettings;
use lifeboat::upstream::Response;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::fake::*;

const COMMIT: &str = "POST /v1/main/namespaces/n/tables/t HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}";

/// A stack whose commits begin, wait for a word, and say when they are done.
struct Gate {
    begun: Semaphore,
    go: Semaphore,
    done: Semaphore,
}

fn gated() -> (Arc<Gate>, Arc<Fake>) {
    let gate = Arc::new(Gate { begun: Semaphore::new(0), go: Semaphore::new(0), done: Semaphore::new(0) });
    let inside = gate.clone();
    let fake = Fake::new(move |_| {
        let gate = inside.clone();
        async move {
            gate.begun.add_permits(1);
            let word = gate.go.acquire().await;
            word.map_err(|_| Error::new(Kind::Internal, "closed"))?.forget();
            gate.done.add_permits(1);
            Ok(Response::json(&json!({"done": true})))
        }
    });
    (gate, fake)
}

async fn one(of: &Semaphore) {
    within(of.acquire()).await.expect("open").forget();
}

async fn refuses_connections(server: &Running) {
    within(async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn commit(server: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    stream.write_all(COMMIT.as_bytes()).await.expect("it reads");
    stream
}

#[tokio::test]
async fn a_commit_whose_client_goes_away_is_finished() {
    let (gate, fake) = gated();
    let server = start(fake, settings()).await;
    let stream = commit(&server).await;
    one(&gate.begun).await;
    drop(stream);
    // the server has seen the client go once a later request of another client is answered
    let status = server.ask("GET", "/lifeboat/v1/status").await.json();
    assert_eq!(status["writes_in_flight"], 1);
    gate.go.add_permits(1);
    one(&gate.done).await;
}

#[tokio::test]
async fn a_stop_lets_a_commit_finish_and_takes_no_new_connection() {
    let (gate, fake) = gated();
    let mut server = start(fake, settings()).await;
    let mut stream = commit(&server).await;
    one(&gate.begun).await;
    server.stop();
    refuses_connections(&server).await;
    gate.go.add_permits(1);
    let answer = read_answer(&mut stream).await;
    assert_eq!((answer.status, answer.json()["done"].clone()), (200, true.into()));
    server.ended().await.expect("a clean end");
}

#[tokio::test]
async fn a_stop_waits_for_a_commit_whose_client_is_gone() {
    let (gate, fake) = gated();
    let mut server = start(fake, settings()).await;
    let stream = commit(&server).await;
    one(&gate.begun).await;
    drop(stream);
    server.stop();
    refuses_connections(&server).await;
    assert_eq!(gate.done.available_permits(), 0);
    gate.go.add_permits(1);
    server.ended().await.expect("a clean end");
    assert_eq!(gate.done.available_permits(), 1);
}

#[tokio::test]
async fn a_stop_does_not_wait_without_end() {
    let (gate, fake) = gated();
    let mut server = start(fake, ServerSettings { stop_timeout: Duration::from_millis(50), ..settings() }).await;
    let _stream = commit(&server).await;
    one(&gate.begun).await;
    server.stop();
    server.ended().await.expect("an end");
}

#[tokio::test]
async fn too_many_requests_at_once_are_turned_away_before_they_begin() {
    let (gate, fake) = gated();
    let server = start(fake.clone(), ServerSettings { requests_in_flight_max: 1, ..settings() }).await;
    let _stream = commit(&server).await;
    one(&gate.begun).await;
    let answer = server.send("POST", "/v1/main/namespaces/n/tables/t", &[], "{}").await;
    assert_eq!((answer.status, answer.error_type().as_str()), (429, "TooManyRequestsException"));
    assert_eq!((&*answer.headers["retry-after"], fake.count()), ("1", 1));
    assert_eq!(server.ask("GET", "/health/ready").await.status, 200, "but probes are answered");
    gate.go.add_permits(1);
}
