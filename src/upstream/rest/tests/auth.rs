//! As whom we ask, and that nobody's credentials go where they should not.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;

use super::*;
use crate::error::Kind;
use crate::model::Secret;
use crate::upstream::Catalog;
use crate::upstream::rest::{OAuth2, UpstreamAuth};

fn oauth2() -> UpstreamAuth {
    UpstreamAuth::OAuth2(OAuth2 {
        token_uri: None,
        client_id: "us".into(),
        client_secret: Secret::new("s&cret"),
        scope: Some("catalog".into()),
        audience: None,
        resource: None,
    })
}

fn with_auth(fake: &Fake, auth: UpstreamAuth) -> RestUpstream {
    let mut settings = settings(fake);
    settings.auth = auth;
    RestUpstream::new(settings).expect("valid")
}

/// Gives out tokens `t0`, `t1`, … that last `expires_in` seconds, and takes the ones that `valid` likes.
async fn guarded(expires_in: f32, valid: impl Fn(&str) -> bool + Send + Sync + 'static) -> Fake {
    let given = AtomicUsize::new(0);
    Fake::start(&full_config(), move |s: &Seen| {
        if s.path == "/iceberg/v1/oauth/tokens" {
            let token = format!("t{}", given.fetch_add(1, Ordering::SeqCst));
            return Reply::json(
                200,
                format!(r#"{{"access_token":"{token}","token_type":"bearer","expires_in":{expires_in}}}"#),
            );
        }
        let token = s.headers.get("authorization").and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
        match token.is_some_and(&valid) {
            true => Reply::json(200, "{}"),
            false => Reply::error(401, "NotAuthorizedException"),
        }
    })
    .await
}

fn tokens_given(fake: &Fake) -> Vec<Seen> {
    fake.seen().into_iter().filter(|s| s.path.ends_with("/tokens")).collect()
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many_requests_and_the_clients_never_leaves() {
    let fake = guarded(3600.0, |t| t == "t0").await;
    let up = with_auth(&fake, oauth2());
    let calls = (0..8)
        .map(|_| up.call(with_header(request(Operation::LoadTable, table(), ""), "authorization", "Bearer mine")));
    for result in join_all(calls).await {
        assert_eq!(result.expect("answered").status, 200);
    }
    let tokens = tokens_given(&fake);
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].body, "grant_type=client_credentials&client_id=us&client_secret=s%26cret&scope=catalog");
    assert!(fake.all().iter().all(|s| s.headers.get("authorization").is_none_or(|v| v != "Bearer mine")));
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_reads_and_writes() {
    let fake = guarded(3600.0, |t| t != "t0").await;
    let up = with_auth(&fake, oauth2());
    // the first request is the config's, so the first token is spent on nothing
    let commit = request(Operation::UpdateTable, table(), "{}");
    assert_eq!(up.call(commit).await.expect("with the second token").status, 200);

    let fake = guarded(3600.0, |_| false).await;
    let up = with_auth(&fake, oauth2());
    let error = up.call(request(Operation::UpdateTable, table(), "{}")).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(!format!("{error} {error:?}").contains("s&cret"));
    assert_eq!(tokens_given(&fake).len(), 2);
}

#[tokio::test]
async fn a_token_near_its_end_is_renewed() {
    let fake = guarded(0.0, |_| true).await;
    let up = with_auth(&fake, oauth2());
    // no life at all counts as not stated
    up.call(request(Operation::LoadTable, table(), "")).await.expect("answered");
    assert_eq!(tokens_given(&fake).len(), 1);

    let fake = guarded(0.05, |_| true).await;
    let up = with_auth(&fake, oauth2());
    up.call(request(Operation::LoadTable, table(), "")).await.expect("answered");
    while tokens_given(&fake).len() < 2 {
        up.call(request(Operation::LoadTable, table(), "")).await.expect("answered");
    }
}

#[tokio::test]
async fn the_callers_own_token_passes_only_where_that_was_chosen() {
    let fake = Fake::start(&full_config(), |_| Reply::json(200, r#"{"access_token":"x"}"#)).await;
    let up = with_auth(&fake, UpstreamAuth::Caller);
    for name in ["ann", "bob", "ann"] {
        let load = with_header(request(Operation::LoadTable, table(), ""), "authorization", &format!("Bearer {name}"));
        up.call(load).await.expect("answered");
    }
    let asked: Vec<_> =
        fake.all().iter().map(|s| (s.path.contains("config"), s.headers["authorization"].clone())).collect();
    let asked: Vec<_> = asked.iter().map(|(config, who)| (*config, who.to_str().expect("text"))).collect();
    let (ann, bob) = ("Bearer ann", "Bearer bob");
    assert_eq!(asked, [(true, ann), (false, ann), (true, bob), (false, bob), (false, ann)]);
    up.call(request(Operation::GetToken, Target::Catalog, "grant_type=x")).await.expect("passed on");
    assert_eq!(fake.seen().last().expect("asked").path, "/iceberg/v1/oauth/tokens");

    let up = with_auth(&fake, UpstreamAuth::Bearer("ours".into()));
    let load = with_header(request(Operation::LoadTable, table(), ""), "authorization", "Bearer ann");
    up.call(load).await.expect("answered");
    assert_eq!(fake.seen().last().expect("asked").headers["authorization"], "Bearer ours");
    let error = up.call(request(Operation::GetToken, Target::Catalog, "")).await.expect_err("not ours to give");
    assert_eq!(error.kind(), Kind::Unsupported);
}

#[tokio::test]
async fn a_callers_401_is_the_callers_to_see() {
    let fake = guarded(3600.0, |_| false).await;
    let up = with_auth(&fake, UpstreamAuth::Caller);
    let load = with_header(request(Operation::LoadTable, table(), ""), "authorization", "Bearer old");
    assert_eq!(up.call(load).await.expect("passed on").status, 401);
}
