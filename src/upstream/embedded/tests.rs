//! The contract of [`Pointers`], held by our database in both dialects.

use std::sync::Arc;

use super::*;
use crate::database::{Database, DatabaseSettings};
use crate::error::Kind;
use crate::model::{CatalogName, Ident, Namespace};
use crate::storage::Location;
use crate::upstream::pointer::{Change, Kept, Outcome, Page, Pointer, Pointers, Properties};

const ALL: Page<'static> = Page { after: "", count_max: 100 };

fn namespace(levels: &[&str]) -> Namespace {
    Namespace::new(levels.iter().map(|level| (*level).to_owned()).collect()).expect("valid")
}

fn ident(name: &str) -> Ident {
    Ident::new(namespace(&["n"]), name).expect("valid")
}

fn at(kept: Kept, file: &str) -> Pointer {
    Pointer { kept, uuid: "u".into(), location: Location::new("file:/t"), metadata_location: Location::new(file) }
}

fn outcome(key: &str, expires_at_ms: i64) -> Outcome {
    let text = str::to_owned;
    Outcome {
        principal: text("p"),
        key: text(key),
        fingerprint: text("f"),
        status: 204,
        body: text(""),
        metadata_location: None,
        expires_at_ms,
    }
}

async fn refused(pointers: &dyn Pointers, change: Change) -> Kind {
    pointers.apply(&[change], None).await.expect_err("refused").kind()
}

async fn namespaces_nest_and_keep_their_properties(pointers: &dyn Pointers) {
    let (deep, properties) = (namespace(&["n", "a.b", "ü"]), Properties::from([("k".into(), "v".into())]));
    let create = Change::CreateNamespace { namespace: deep.clone(), properties: properties.clone() };
    pointers.apply(std::slice::from_ref(&create), None).await.expect("created");
    assert_eq!(refused(pointers, create).await, Kind::AlreadyExists);
    assert_eq!(pointers.namespaces(None, ALL).await.expect("listed"), [namespace(&["n"])]);
    assert_eq!(
        pointers.namespaces(Some(&namespace(&["n", "a.b"])), ALL).await.expect("listed"),
        std::slice::from_ref(&deep)
    );
    assert_eq!(pointers.namespace(&deep).await.expect("read"), Some(properties.clone()));
    let drop = |namespace: &Namespace| Change::DropNamespace { namespace: namespace.clone() };
    assert_eq!(refused(pointers, drop(&namespace(&["n"]))).await, Kind::NamespaceNotEmpty);
    assert_eq!(refused(pointers, drop(&namespace(&["m"]))).await, Kind::NoSuchNamespace);
    let stale = Change::SetProperties { namespace: deep.clone(), from: Properties::new(), to: Properties::new() };
    assert_eq!(refused(pointers, stale).await, Kind::CommitFailed);
    let set = Change::SetProperties { namespace: deep.clone(), from: properties, to: Properties::new() };
    pointers.apply(&[set, drop(&deep)], None).await.expect("set, then dropped");
    assert_eq!(pointers.namespace(&deep).await.expect("read"), None);
}

async fn a_pointer_moves_only_from_where_it_was_seen(pointers: &dyn Pointers) {
    let create = Change::Create { ident: ident("t"), pointer: at(Kept::Table, "file:/t/0") };
    pointers.apply(std::slice::from_ref(&create), None).await.expect("created");
    assert_eq!(refused(pointers, create).await, Kind::AlreadyExists);
    let view = Change::Create { ident: ident("t"), pointer: at(Kept::View, "file:/v/0") };
    assert_eq!(refused(pointers, view).await, Kind::AlreadyExists);
    let nowhere = Ident::new(namespace(&["missing"]), "t").expect("valid");
    let homeless = Change::Create { ident: nowhere, pointer: at(Kept::Table, "file:/x") };
    assert_eq!(refused(pointers, homeless).await, Kind::NoSuchNamespace);
    let swap =
        |from: &str, to: &str| Change::Swap { ident: ident("t"), from: Location::new(from), to: at(Kept::Table, to) };
    pointers.apply(&[swap("file:/t/0", "file:/t/1")], None).await.expect("swapped");
    assert_eq!(refused(pointers, swap("file:/t/0", "file:/t/2")).await, Kind::CommitFailed);
    let both =
        [Change::Create { ident: ident("x"), pointer: at(Kept::Table, "file:/x") }, swap("file:/t/0", "file:/t/2")];
    assert_eq!(pointers.apply(&both, None).await.expect_err("half of it is stale").kind(), Kind::CommitFailed);
    assert_eq!(pointers.get(&ident("x")).await.expect("read"), None);
    assert_eq!(pointers.get(&ident("t")).await.expect("read"), Some(at(Kept::Table, "file:/t/1")));
}

async fn names_are_listed_in_pages_renamed_and_dropped(pointers: &dyn Pointers) {
    for name in ["b", "a", "🛟"] {
        let create = Change::Create { ident: ident(name), pointer: at(Kept::View, "file:/v") };
        pointers.apply(&[create], None).await.expect("created");
    }
    let n = namespace(&["n"]);
    let first = pointers.list(&n, Kept::View, Page { after: "", count_max: 2 }).await.expect("listed");
    let rest = pointers.list(&n, Kept::View, Page { after: &first[1], count_max: 2 }).await.expect("listed");
    assert_eq!((first, rest), (vec!["a".to_owned(), "b".to_owned()], vec!["🛟".to_owned()]));
    let rename = |kept, from: &str, to: &str| Change::Rename { kept, from: ident(from), to: ident(to) };
    assert_eq!(refused(pointers, rename(Kept::View, "a", "t")).await, Kind::AlreadyExists);
    assert_eq!(refused(pointers, rename(Kept::Table, "a", "c")).await, Kind::NoSuchTable);
    pointers.apply(&[rename(Kept::View, "a", "c")], None).await.expect("renamed");
    assert_eq!(pointers.list(&n, Kept::Table, ALL).await.expect("listed"), ["t"]);
    let drop = |file: &str| Change::Drop { ident: ident("t"), from: at(Kept::Table, file), purge: true };
    assert_eq!(refused(pointers, drop("file:/t/0")).await, Kind::CommitFailed);
    pointers.apply(&[drop("file:/t/1")], None).await.expect("dropped");
}

async fn an_outcome_is_kept_once_with_its_change_and_until_it_expires(pointers: &dyn Pointers) {
    let later = crate::upstream::pointer::OUTCOME_LIFETIME_MS + 1_000;
    let create = Change::CreateNamespace { namespace: namespace(&["o"]), properties: Properties::new() };
    pointers.apply(&[create], Some(&outcome("k", later))).await.expect("created");
    assert_eq!(pointers.outcome("p", "k", 1_000).await.expect("read"), Some(outcome("k", later)));
    assert_eq!(pointers.outcome("q", "k", 1_000).await.expect("read"), None);
    assert_eq!(pointers.outcome("p", "k", later).await.expect("read"), None);
    let again = Change::DropNamespace { namespace: namespace(&["o"]) };
    let error = pointers.apply(&[again], Some(&outcome("k", later))).await.expect_err("the key is used");
    assert_eq!(error.kind(), Kind::CommitFailed);
    assert!(pointers.namespace(&namespace(&["o"])).await.expect("read").is_some());
}

async fn two_catalogs_and_a_fenced_one(database: Database, pointers: &dyn Pointers) {
    let other =
        DatabasePointers::open(database.clone(), CatalogName::parse("other").expect("valid")).await.expect("opened");
    assert_eq!(other.namespaces(None, ALL).await.expect("listed"), []);
    let fence = "UPDATE catalogs SET role = 'fenced' WHERE name = 'main'";
    database.write(|t| Box::pin(async move { t.execute(fence, &[]).await })).await.expect("fenced");
    let create = Change::CreateNamespace { namespace: namespace(&["late"]), properties: Properties::new() };
    assert_eq!(refused(pointers, create.clone()).await, Kind::Forbidden);
    other.apply(&[create], None).await.expect("the other one is primary");
}

async fn contract(settings: DatabaseSettings) {
    let database = Database::open(&settings).await.expect("opened");
    let name = CatalogName::parse("main").expect("valid");
    let pointers = Arc::new(DatabasePointers::open(database.clone(), name).await.expect("opened"));
    namespaces_nest_and_keep_their_properties(&*pointers).await;
    a_pointer_moves_only_from_where_it_was_seen(&*pointers).await;
    names_are_listed_in_pages_renamed_and_dropped(&*pointers).await;
    an_outcome_is_kept_once_with_its_change_and_until_it_expires(&*pointers).await;
    two_catalogs_and_a_fenced_one(database, &*pointers).await;
}

#[tokio::test]
async fn sqlite_keeps_the_contract_of_pointers() {
    let folder = tempfile::tempdir().expect("a folder");
    contract(DatabaseSettings::Sqlite { path: folder.path().join("lifeboat.db") }).await;
}

#[tokio::test]
async fn postgres_keeps_the_contract_of_pointers() {
    let Some(url) = crate::testing::postgres().await else { return };
    contract(DatabaseSettings::Postgres { url }).await;
}
