//! What a commit's fate is called, whatever happens to it on the way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::error::Kind;
use crate::upstream::Catalog;

fn commit() -> Request {
    request(Operation::UpdateTable, table(), r#"{"requirements":[],"updates":[]}"#)
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_commit_leaves_its_outcome_unknown_and_is_not_repeated() {
    let fake = Fake::start(&full_config(), |_| Reply::Cut).await;
    let error = upstream(&fake).call(commit()).await.expect_err("no answer came");
    assert_eq!(error.kind(), Kind::OutcomeUnknown);
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_commit_without_an_answer_in_time_has_an_unknown_outcome() {
    let fake = Fake::start(&full_config(), |_| Reply::Hang).await;
    let mut settings = settings(&fake);
    settings.timeouts.write = Duration::from_millis(50);
    settings.timeouts.read = Duration::from_millis(50);
    let upstream = RestUpstream::new(settings).expect("valid");
    assert_eq!(upstream.call(commit()).await.expect_err("none").kind(), Kind::OutcomeUnknown);
    let load = request(Operation::LoadTable, table(), "");
    assert_eq!(upstream.call(load).await.expect_err("none").kind(), Kind::UpstreamTimeout);
}

#[tokio::test]
async fn a_refused_connection_is_certain_that_nothing_landed() {
    let fake = Fake::start(&full_config(), |_| Reply::Cut).await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut settings = settings(&fake);
    settings.uri = format!("http://{}", gone.local_addr().expect("bound"));
    drop(gone);
    let error = RestUpstream::new(settings).expect("valid").call(commit()).await.expect_err("nobody there");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn the_catalogs_own_errors_pass_as_they_came() {
    for status in [400, 404, 409, 422, 429, 500, 503] {
        let fake = Fake::start(&full_config(), move |_| Reply::error(status, "AnyException")).await;
        let response = upstream(&fake).call(commit()).await.expect("passed on");
        assert_eq!(response.status.as_u16(), status);
        assert!(text(&response).contains("AnyException"));
        assert_eq!(fake.seen().len(), 1, "{status} was repeated");
    }
}

#[tokio::test]
async fn an_intermediarys_word_on_a_commit_is_no_word_on_its_outcome() {
    for (status, kind) in [
        (302, Kind::OutcomeUnknown),
        (404, Kind::OutcomeUnknown),
        (408, Kind::OutcomeUnknown),
        (429, Kind::OutcomeUnknown),
        (500, Kind::OutcomeUnknown),
        (502, Kind::OutcomeUnknown),
        (503, Kind::OutcomeUnknown),
        (504, Kind::OutcomeUnknown),
        (520, Kind::OutcomeUnknown),
        (400, Kind::BadRequest),
        (401, Kind::Unavailable),
        (403, Kind::Forbidden),
        (409, Kind::CommitFailed),
        (413, Kind::PayloadTooLarge),
    ] {
        let fake = Fake::start(&full_config(), move |_| Reply::Answer(status, vec![], "<html>".into())).await;
        let error = upstream(&fake).call(commit()).await.expect_err("not passed on");
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(fake.seen().len(), 1, "{status} was repeated");
    }
}

#[tokio::test]
async fn a_gateways_json_is_not_taken_for_the_catalogs() {
    let gateway = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
    let fake = Fake::start(&full_config(), move |_| Reply::json(503, gateway)).await;
    assert_eq!(upstream(&fake).call(commit()).await.expect_err("in doubt").kind(), Kind::OutcomeUnknown);
}

#[tokio::test]
async fn a_broken_answer_of_success_leaves_the_outcome_unknown() {
    let fake = Fake::start(&full_config(), |_| Reply::json(200, r#"{"metadata":"#)).await;
    assert_eq!(upstream(&fake).call(commit()).await.expect_err("cut").kind(), Kind::OutcomeUnknown);
    let load = request(Operation::LoadTable, table(), "");
    assert_eq!(upstream(&fake).call(load).await.expect_err("cut").kind(), Kind::BadUpstream);
}

/// Cuts the first `cuts` requests.
async fn cutting(config: &str, cuts: usize) -> Fake {
    let count = AtomicUsize::new(0);
    Fake::start(config, move |_| match count.fetch_add(1, Ordering::SeqCst) < cuts {
        true => Reply::Cut,
        false => Reply::json(200, "{}"),
    })
    .await
}

#[tokio::test]
async fn a_commit_is_repeated_only_with_a_key_that_the_upstream_keeps() {
    let keeps = full_config().replacen('{', r#"{"idempotency-key-lifetime":"PT30M","#, 1);
    let keyed = || with_header(commit(), "idempotency-key", "01890a5d-ac96-774b-bcce-b302099a8057");

    let fake = cutting(&keeps, 1).await;
    assert_eq!(upstream(&fake).call(keyed()).await.expect("repeated").status, 200);
    assert_eq!(fake.seen().len(), 2);
    assert_eq!(fake.seen()[1].headers["idempotency-key"], "01890a5d-ac96-774b-bcce-b302099a8057");

    let fake = cutting(&keeps, usize::MAX).await;
    assert_eq!(upstream(&fake).call(keyed()).await.expect_err("cut").kind(), Kind::OutcomeUnknown);

    for (fake, request) in [(cutting(&keeps, 1).await, commit()), (cutting(&full_config(), 1).await, keyed())] {
        assert_eq!(upstream(&fake).call(request).await.expect_err("cut").kind(), Kind::OutcomeUnknown);
        assert_eq!(fake.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_repeat_that_fails_does_not_make_the_first_try_certain() {
    let count = AtomicUsize::new(0);
    let keeps = full_config().replacen('{', r#"{"idempotency-key-lifetime":"PT30M","#, 1);
    let fake = Fake::start(&keeps, move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Cut,
        _ => Reply::error(409, "CommitFailedException"),
    })
    .await;
    let request = with_header(commit(), "idempotency-key", "01890a5d-ac96-774b-bcce-b302099a8057");
    assert_eq!(upstream(&fake).call(request).await.expect_err("in doubt").kind(), Kind::OutcomeUnknown);
}

#[tokio::test]
async fn a_read_is_repeated_after_a_cut_and_a_passing_failure() {
    let count = AtomicUsize::new(0);
    let fake = Fake::start(&full_config(), move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Cut,
        1 => Reply::Answer(502, vec![], "<html>".into()),
        _ => Reply::json(200, "{}"),
    })
    .await;
    let response = upstream(&fake).call(request(Operation::LoadTable, table(), "")).await.expect("third time");
    assert_eq!(response.status, 200);

    let fake = cutting(&full_config(), usize::MAX).await;
    let error = upstream(&fake).call(request(Operation::LoadTable, table(), "")).await.expect_err("always cut");
    assert_eq!(error.kind(), Kind::BadUpstream);
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test]
async fn a_report_is_not_repeated_and_its_loss_is_no_commits() {
    let fake = Fake::start(&full_config(), |_| Reply::Cut).await;
    let error = upstream(&fake).call(request(Operation::ReportMetrics, table(), "{}")).await.expect_err("cut");
    assert_eq!(error.kind(), Kind::BadUpstream);
    assert_eq!(fake.seen().len(), 1);
}
