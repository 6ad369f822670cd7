//! No token, a wrong one, one of too small a role: on every route.

use std::sync::Arc;

use lifeboat::model::{Operation, Role};
use lifeboat::server::{Auth, ServedCatalog, ServerSettings, openapi_json};
use serde_json::Value;

use super::fake::*;

fn three_tokens() -> ServerSettings {
    guarded(vec![
        token("reader", "main", Role::Read),
        token("writer", "main", Role::Write),
        token("elsewhere", "other", Role::Operator),
        token("chief", "*", Role::Operator),
    ])
}

#[tokio::test]
async fn every_operation_wants_a_known_token_of_the_right_role() {
    let fake = Fake::polite();
    let server = start(fake.clone(), three_tokens()).await;
    for route in Operation::ROUTES {
        let path = path_of(route.operation);
        let ask = async |authorization: &str| {
            let headers: &[_] = if authorization.is_empty() { &[] } else { &[("Authorization", authorization)] };
            // signing anything but a read would need more
            let body = if route.operation == Operation::SignRequest { "{\"method\": \"GET\"}" } else { "" };
            server.send(route.method, &path, headers, body).await
        };
        let Some(role) = route.operation.role() else {
            assert_eq!(ask("").await.status, 200, "{path}");
            continue;
        };
        let before = fake.count();
        for wrong in ["", "Bearer", "Bearer nobody-knows-this", "Basic YTpi", &format!("Token {}", secret("chief"))] {
            let answer = ask(wrong).await;
            assert_eq!(
                (answer.status, &*answer.headers["www-authenticate"]),
                (401, "Bearer"),
                "{} {path}",
                route.method
            );
            if route.method != "HEAD" {
                assert_eq!(answer.error_type(), "NotAuthorizedException");
            }
        }
        let small = if role == Role::Write { vec!["reader", "elsewhere"] } else { vec!["elsewhere"] };
        for name in small {
            let answer = ask(&bearer(name)).await;
            assert_eq!(answer.status, 403, "{} {path} as {name}", route.method);
            if route.method != "HEAD" {
                assert_eq!(answer.error_type(), "ForbiddenException");
            }
        }
        assert_eq!(fake.count(), before, "{path} reached the catalog");
        let enough = if role == Role::Write { vec!["writer", "chief"] } else { vec!["reader", "writer", "chief"] };
        for name in enough {
            assert_eq!(ask(&bearer(name)).await.status, 200, "{} {path} as {name}", route.method);
            assert_eq!(fake.last().principal.name(), name);
        }
    }
}

#[tokio::test]
async fn every_route_of_our_own_wants_a_known_token_of_the_right_role() {
    let server = start(Fake::polite(), three_tokens()).await;
    let description: Value = serde_json::from_str(&openapi_json()).expect("JSON");
    let mut walked = 0;
    for (path, methods) in description["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let method = method.to_uppercase();
            for wrong in ["Bearer nobody-knows-this", "Basic YTpi", ""] {
                let answer = server.send(&method, path, &[("Authorization", wrong)], "").await;
                assert_eq!((answer.status, answer.error_type().as_str()), (401, "NotAuthorizedException"), "{path}");
            }
            let responses = operation["responses"].as_object().expect("responses");
            let (_, good) = responses.iter().find(|(status, _)| status.starts_with('2')).expect("one is good");
            let wants = good["description"].as_str().expect("a description");
            let small = if wants.contains("operator on `*`") { "reader" } else { "elsewhere" };
            let answer = server.send(&method, path, &[("Authorization", &bearer(small))], "").await;
            assert_eq!((answer.status, answer.error_type().as_str()), (403, "ForbiddenException"), "{path}");
            let answer = server.send(&method, path, &[("Authorization", &bearer("chief"))], "").await;
            // what is behind the door is for other tests: here nothing has that id, and no body was sent
            let status = answer.status;
            assert!(!matches!(status, 401 | 403) && responses.contains_key(&status.to_string()), "{answer:?}");
            walked += 1;
        }
    }
    assert!(walked >= 7);
}

#[tokio::test]
async fn without_authentication_everybody_on_loopback_may_do_all() {
    let server = start(Fake::polite(), settings()).await;
    assert_eq!(server.ask("DELETE", "/v1/main/namespaces/n").await.status, 200);
    let status = server.ask("GET", "/lifeboat/v1/status").await.json();
    assert_eq!(status["catalogs"][0]["ready"], true);
    assert_eq!(server.ask("GET", "/metrics").await.status, 200);
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(server.ask("GET", path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_caller_with_a_token_of_the_upstream_is_passed_on_and_one_of_ours_is_not() {
    let fake = Fake::polite();
    let catalog = ServedCatalog { passthrough: true, kind: "rest", ..plain(fake.clone()) };
    let server = start_many([("main", catalog)], three_tokens()).await;
    let ask =
        async |authorization: &str| server.send("GET", "/v1/namespaces", &[("Authorization", authorization)], "").await;
    assert_eq!(ask("").await.status, 401);
    assert_eq!(ask(&bearer("chief")).await.status, 401);
    assert_eq!(fake.count(), 0);
    assert_eq!(ask("Bearer theirs").await.status, 200);
    let request = fake.last();
    assert_eq!(request.header("authorization"), Some("Bearer theirs"));
    assert!(request.principal.name().starts_with("caller:") && !request.principal.name().contains("theirs"));
    let admin = server.send("GET", "/lifeboat/v1/status", &[("Authorization", "Bearer theirs")], "").await;
    assert_eq!(admin.status, 401);
}

#[tokio::test]
async fn a_token_of_ours_never_reaches_the_catalog() {
    let fake = Fake::polite();
    let server = start(fake.clone(), three_tokens()).await;
    let headers =
        [("Authorization", &*bearer("reader")), ("X-Client-Version", "t"), ("TE", "x"), ("Connection", "x-mine")];
    let answer = server.send("GET", "/v1/main/namespaces", &headers, "").await;
    assert_eq!(answer.status, 200);
    let request = fake.last();
    assert_eq!(request.header("x-client-version"), Some("t"));
    for gone in ["authorization", "te", "connection", "host"] {
        assert_eq!(request.header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_server_that_nobody_could_enter_does_not_start() {
    let served = |stack: Arc<Fake>| lifeboat::server::Served {
        catalogs: [(lifeboat::model::CatalogName::parse("main").expect("valid"), plain(stack))].into(),
        metrics: Default::default(),
        relocations: no_relocations(),
        feeds: Default::default(),
    };
    let never = |_| panic!("it listens");
    let open = ServerSettings { listen: "0.0.0.0:0".into(), ..settings() };
    let refused = lifeboat::server::serve(served(Fake::polite()), open, never, std::future::pending()).await;
    assert!(refused.expect_err("is open to others").message().contains("without authentication"));
    let empty = ServerSettings { auth: Auth::Tokens(vec![]), ..settings() };
    let refused = lifeboat::server::serve(served(Fake::polite()), empty, never, std::future::pending()).await;
    assert!(refused.expect_err("has no token").message().contains("no token"));
}
