//! Bad input: every wrong request is answered in Iceberg's error model, before it can do harm.

use std::time::Duration;

use lifeboat::error::{Error, Kind};
use lifeboat::server::ServerSettings;
use lifeboat::upstream::Response;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fake::*;

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[tokio::test]
async fn what_is_not_there_is_an_error_in_the_same_model() {
    let server = start(Fake::polite(), settings()).await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/main",
        "/v1/main/nothing",
        "/v2/config",
        "/lifeboat/v1/nothing",
        "/v1/a/b/c/d/e/f/g/h",
    ] {
        let answer = server.ask("GET", path).await;
        assert_eq!((answer.status, answer.error_type().as_str()), (404, "NotFoundException"), "{path}");
    }
    for (method, path, allow) in [
        ("PUT", "/v1/config", "GET"),
        ("PATCH", "/v1/main/namespaces", "GET, POST"),
        ("GET", "/v1/tables/rename", "POST"),
        ("DELETE", "/lifeboat/v1/status", "GET,HEAD"),
        ("POST", "/health", "GET,HEAD"),
    ] {
        let answer = server.ask(method, path).await;
        assert_eq!((answer.status, &*answer.headers["allow"]), (405, allow), "{path}");
        assert_eq!(answer.error_type(), "MethodNotAllowedException");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_the_route_takes_never_reaches_the_catalog() {
    let fake = Fake::polite();
    let server = start(fake.clone(), settings()).await;
    let path = "/v1/main/namespaces";
    for body in ["{", "[]", "nonsense", "{\"a\": 1,}", "\"{}\""] {
        let answer = server.send("POST", path, &[JSON], body).await;
        assert_eq!((answer.status, answer.error_type().as_str()), (400, "BadRequestException"), "{body}");
    }
    for (name, value) in [
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Encoding", "gzip"),
    ] {
        let answer = server.send("POST", path, &[(name, value)], "{}").await;
        assert_eq!((answer.status, answer.error_type().as_str()), (415, "UnsupportedMediaTypeException"), "{value}");
    }
    let answer = server.send("POST", "/v1/oauth/tokens", &[JSON], "{}").await;
    assert_eq!(answer.status, 415);
    assert_eq!(fake.count(), 0);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(server.send("POST", "/v1/oauth/tokens", &form, "grant_type=client_credentials").await.status, 200);
    for headers in [&[][..], &[("Content-Type", "application/json; charset=UTF-8")]] {
        assert_eq!(server.send("POST", path, headers, "{\"namespace\": [\"n\"]}").await.status, 200);
        assert_eq!(fake.last().json().expect("JSON"), json!({"namespace": ["n"]}));
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_without_being_read() {
    let fake = Fake::polite();
    let server = start(fake.clone(), settings()).await;
    let head = "POST /v1/main/namespaces HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n";
    let answer = server.raw(&format!("{head}Content-Length: {}\r\n\r\n", 200 << 20)).await;
    assert_eq!((answer.status, answer.error_type().as_str()), (413, "PayloadTooLargeException"));
    assert_eq!(answer.headers["connection"], "close");
    let answer = server.raw(&format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", 200 << 20)).await;
    assert_eq!(answer.status, 413, "and is not asked for either");
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn a_client_that_sends_too_much_regardless_is_cut_off_and_told() {
    let server = start(Fake::polite(), settings()).await;
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    let head = format!("POST /v1/main/namespaces HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", 200 << 20);
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let piece = vec![b' '; 64 << 10];
    let mut sent = 0;
    while sent < 200 << 20 && stream.write_all(&piece).await.is_ok() {
        sent += piece.len();
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    assert_eq!(read_answer(&mut stream).await.status, 413);
}

#[tokio::test]
async fn slow_clients_do_not_keep_their_place() {
    let impatient = ServerSettings {
        head_timeout: Duration::from_millis(50),
        body_timeout: Duration::from_millis(50),
        ..settings()
    };
    let fake = Fake::polite();
    let server = start(fake.clone(), impatient).await;
    for said in ["", "P", "POST /v1/main/namespaces HTTP/1.1\r\nHost:"] {
        let mut stream = TcpStream::connect(server.address).await.expect("it listens");
        stream.write_all(said.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        // whether it is closed or reset, it is over
        let _ = within(stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"", "after {said:?}");
    }
    let half = "POST /v1/main/namespaces HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n{";
    let answer = server.raw(half).await;
    assert_eq!((answer.status, answer.error_type().as_str()), (400, "BadRequestException"));
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn a_streamed_body_is_cut_at_the_limit() {
    let fake = Fake::polite();
    let server = start(fake.clone(), ServerSettings { body_bytes_max: 10, ..settings() }).await;
    let head =
        "POST /v1/main/namespaces HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let fits = server.raw(&format!("{head}5\r\n{{\"a\":\r\n5\r\n   1}}\r\n0\r\n\r\n")).await;
    assert_eq!((fits.status, fake.last().body.len()), (200, 10));
    let answer = server.raw(&format!("{head}5\r\n{{\"a\":\r\n6\r\n    1}}\r\n")).await;
    assert_eq!((answer.status, fake.count()), (413, 1));
}

#[tokio::test]
async fn bodies_together_are_bounded_too() {
    let tight = ServerSettings { body_bytes_max: 4096, bodies_bytes_max: 4096, ..settings() };
    let fake = Fake::polite();
    let server = start(fake.clone(), tight).await;
    let head = "POST /v1/main/namespaces HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 4096\r\n\r\n";
    let mut slow = TcpStream::connect(server.address).await.expect("it listens");
    slow.write_all(head.as_bytes()).await.expect("it reads");
    // until the slow one holds the budget; what comes before that is answered as it should be
    within(async {
        while server.send("POST", "/v1/main/namespaces", &[], "{}").await.status != 429 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let body = format!("{{{}}}", " ".repeat(4094));
    slow.write_all(body.as_bytes()).await.expect("it reads");
    assert_eq!(read_answer(&mut slow).await.status, 200);
    assert_eq!(server.send("POST", "/v1/main/namespaces", &[], "{}").await.status, 200);
}

#[tokio::test]
async fn errors_of_the_stack_have_their_own_status_and_type() {
    for (kind, status, read, write) in [
        (Kind::NoSuchTable, 404, "NoSuchTableException", "NoSuchTableException"),
        (Kind::CommitFailed, 409, "CommitFailedException", "CommitFailedException"),
        (Kind::Unsupported, 406, "UnsupportedOperationException", "UnsupportedOperationException"),
        (Kind::Unprocessable, 422, "UnprocessableEntityException", "UnprocessableEntityException"),
        (Kind::Unavailable, 503, "ServiceUnavailableException", "ServiceUnavailableException"),
        (Kind::OutcomeUnknown, 500, "CommitStateUnknownException", "CommitStateUnknownException"),
        (Kind::BadUpstream, 502, "BadGatewayException", "CommitStateUnknownException"),
        (Kind::UpstreamTimeout, 504, "GatewayTimeoutException", "CommitStateUnknownException"),
        (Kind::Internal, 500, "InternalServerError", "CommitStateUnknownException"),
    ] {
        let fake = Fake::new(move |_| async move { Err(Error::new(kind, "as told")) });
        let server = start(fake, settings()).await;
        let path = "/v1/main/namespaces/n/tables/t";
        let (loaded, committed) = (server.ask("GET", path).await, server.send("POST", path, &[], "{}").await);
        assert_eq!((loaded.status, loaded.error_type().as_str()), (status, read));
        assert_eq!((committed.status, committed.error_type().as_str()), (status, write));
        assert_eq!(committed.headers.contains_key("retry-after"), kind == Kind::Unavailable);
        assert_eq!(loaded.json()["error"]["message"] == "as told", kind != Kind::Internal);
        let head = server.ask("HEAD", path).await;
        assert_eq!((head.status, head.body.as_str()), (status, ""));
    }
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_server_goes_on() {
    let fake = Fake::new(|request| async move {
        match request.query("calm") {
            Some(_) => Ok(Response::json(&json!({}))),
            None => panic!("as told"),
        }
    });
    let server = start(fake, settings()).await;
    let path = "/v1/main/namespaces/n/tables/t";
    let (loaded, committed) = (server.ask("GET", path).await, server.send("POST", path, &[], "{}").await);
    assert_eq!((loaded.status, loaded.error_type().as_str()), (500, "InternalServerError"));
    assert_eq!((committed.status, committed.error_type().as_str()), (500, "CommitStateUnknownException"));
    assert!(!loaded.body.contains("as told"));
    assert_eq!(server.ask("GET", &format!("{path}?calm=")).await.status, 200);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_time_out() {
    let fake = Fake::new(|_| std::future::pending());
    let server = start(fake, ServerSettings { answer_timeout: Duration::from_millis(50), ..settings() }).await;
    let path = "/v1/main/namespaces/n/tables/t";
    let (loaded, committed) = (server.ask("GET", path).await, server.send("POST", path, &[], "{}").await);
    assert_eq!((loaded.status, loaded.error_type().as_str()), (504, "GatewayTimeoutException"));
    assert_eq!((committed.status, committed.error_type().as_str()), (504, "CommitStateUnknownException"));
}

#[tokio::test]
async fn a_request_can_be_found_again_and_is_counted() {
    let server = start(Fake::polite(), settings()).await;
    let given = server.send("GET", "/v1/config", &[("X-Request-ID", "abc-1")], "").await;
    assert_eq!(given.headers["x-request-id"], "abc-1");
    let odd = server.send("GET", "/v1/config", &[("X-Request-ID", "a b\"c")], "").await;
    assert!(!odd.headers["x-request-id"].contains('"'));
    assert!(!server.ask("GET", "/v1/nothing").await.headers["x-request-id"].is_empty());
    let metrics = server.ask("GET", "/metrics").await.body;
    assert!(
        metrics.contains(r#"lifeboat_requests_total{catalog="main",operation="getConfig",code="200"} 2"#),
        "{metrics}"
    );
    assert!(metrics.contains(r#"lifeboat_requests_total{catalog="-",operation="unknown",code="404"} 1"#), "{metrics}");
}

#[tokio::test]
async fn answers_of_the_stack_pass_as_they_are() {
    let fake = Fake::new(|_| async {
        let mut response = Response::no_content();
        response.status = http::StatusCode::NOT_MODIFIED;
        response.headers.insert("etag", http::HeaderValue::from_static("\"1\""));
        Ok(response)
    });
    let server = start(fake, settings()).await;
    let answer = server.ask("GET", "/v1/main/namespaces/n/tables/t").await;
    assert_eq!((answer.status, &*answer.headers["etag"], answer.body.as_str()), (304, "\"1\"", ""));
}
