//! Names, separators, prefixes and warehouses, as clients write them.

use lifeboat::server::ServedCatalog;
use lifeboat::upstream::Target;

use super::fake::*;

fn levels(fake: &Fake) -> Vec<String> {
    fake.last().namespace().expect("it has one").levels().to_vec()
}

#[tokio::test]
async fn odd_names_arrive_as_they_are_and_never_as_paths() {
    let fake = Fake::polite();
    let server = start(fake.clone(), settings()).await;
    let long = "x".repeat(10_000);
    for (raw, name) in [
        ("..", ".."),
        ("%2e%2e%2f", "../"),
        ("%2E%2E%2Fetc", "../etc"),
        ("a.b", "a.b"),
        ("%F0%9F%9B%9F", "🛟"),
        ("a+b%2Bc%20d", "a b+c d"),
        (long.as_str(), long.as_str()),
    ] {
        let answer = server.ask("GET", &format!("/v1/main/namespaces/{raw}/tables/{raw}")).await;
        assert_eq!(answer.status, 200, "{raw}");
        let request = fake.last();
        let ident = request.ident().expect("it names one");
        assert_eq!((ident.name.as_str(), ident.namespace.levels()), (name, &[name.to_owned()][..]));
    }
    let before = fake.count();
    for raw in ["", "%", "%zz", "%ff%fe", "%00", "a%1F"] {
        let answer = server.ask("GET", &format!("/v1/main/namespaces/{raw}")).await;
        assert_eq!((answer.status, answer.error_type().as_str()), (400, "BadRequestException"), "{raw:?}");
        let answer = server.ask("GET", &format!("/v1/main/namespaces/n/tables/{raw}")).await;
        assert_eq!(answer.status, 400, "{raw:?}");
    }
    assert_eq!(fake.count(), before);
}

#[tokio::test]
async fn both_separators_are_understood() {
    let (fake, dotted) = (Fake::polite(), Fake::polite());
    let with_dots = ServedCatalog { separator: Some(".".into()), ..plain(dotted.clone()) };
    let server = start_many([("main", plain(fake.clone())), ("dots", with_dots)], settings()).await;
    server.ask("GET", "/v1/main/namespaces/a.b%1Fc").await;
    assert_eq!(levels(&fake), ["a.b", "c"]);
    server.ask("GET", "/v1/main/namespaces/a.b").await;
    assert_eq!(levels(&fake), ["a.b"]);
    server.ask("GET", "/v1/dots/namespaces/a.b").await;
    assert_eq!(levels(&dotted), ["a", "b"]);
    server.ask("GET", "/v1/dots/namespaces/a%1Fb").await;
    assert_eq!(levels(&dotted), ["a", "b"]);
    server.ask("GET", "/v1/main/namespaces?parent=a%251Fb&pageToken=").await;
    assert_eq!(fake.last().query("parent"), Some("a\u{1f}b"));
    assert_eq!(fake.last().query("pageToken"), Some(""));
    let config = server.ask("GET", "/v1/config?warehouse=dots").await.json();
    assert_eq!(config["overrides"]["namespace-separator"], "%2E");
}

#[tokio::test]
async fn the_only_catalog_needs_no_name() {
    let fake = Fake::polite();
    let server = start(fake.clone(), settings()).await;
    for query in ["", "?warehouse=main", "?warehouse=rck_warehouse", "?warehouse=s3%3A%2F%2Fb%2Fw", "?warehouse="] {
        let config = server.ask("GET", &format!("/v1/config{query}")).await;
        assert_eq!((config.status, &config.json()["overrides"]["prefix"]), (200, &"main".into()), "{query}");
    }
    assert_eq!(server.ask("GET", "/v1/namespaces/n").await.status, 200);
    assert_eq!(server.send("POST", "/v1/transactions/commit", &[], "{}").await.status, 200);
    assert_eq!(fake.last().target, Target::Catalog);
    assert_eq!(server.ask("GET", "/v1/other/namespaces/n").await.status, 404);
}

#[tokio::test]
async fn several_catalogs_are_told_apart_by_warehouse_and_prefix() {
    let (one, two) = (Fake::polite(), Fake::polite());
    let server = start_many([("one", plain(one.clone())), ("two", plain(two.clone()))], settings()).await;
    let config = server.ask("GET", "/v1/config?warehouse=two").await.json();
    assert_eq!(config["overrides"]["prefix"], "two");
    assert_eq!((one.count(), two.count()), (0, 1));
    assert_eq!(server.ask("GET", "/v1/config?warehouse=three").await.error_type(), "NotFoundException");
    assert_eq!(server.ask("GET", "/v1/config").await.error_type(), "BadRequestException");
    assert_eq!(server.ask("GET", "/v1/namespaces").await.error_type(), "BadRequestException");
    server.ask("GET", "/v1/one/namespaces").await;
    assert_eq!((one.count(), two.count()), (1, 1));
}
