//! Publishing into catalogs of three kinds, each our own embedded one under another's habits, with a fault at each write.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use serde_json::json;

use super::*;
use crate::format::metadata::table;
use crate::model::{Namespace, Operation};
use crate::testing::{Bed, request};
use crate::upstream::{Request, Response};

/// What a catalog is like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Habit {
    /// It registers over what is there.
    Overwrites,
    /// It takes commits only.
    Commits,
    /// And shows the current snapshot only, with the schema that it was written with until it is told otherwise.
    Forgets,
}

/// When a write's answer is lost.
#[derive(Debug, Clone, Copy)]
enum Lost {
    Before,
    After,
}

struct Odd {
    inner: Arc<dyn Catalog>,
    habit: Habit,
    writes: AtomicUsize,
    fault: Option<(usize, Lost)>,
}

#[async_trait]
impl Catalog for Odd {
    async fn call(&self, request: Request) -> Result<Response> {
        let operation = request.operation;
        let overwrites = operation == Operation::RegisterTable && request.json()?["overwrite"] == true;
        if overwrites && self.habit != Habit::Overwrites {
            let error = json!({ "error": { "message": "no", "type": "AlreadyExistsException", "code": 409 } });
            return Ok(Response { status: StatusCode::CONFLICT, ..Response::json(&error) });
        }
        let is_write = matches!(operation, Operation::RegisterTable | Operation::UpdateTable);
        let lost = self.fault.filter(|(at, _)| is_write && self.writes.fetch_add(1, Ordering::SeqCst) == *at);
        let unknown = || Err(Error::new(Kind::OutcomeUnknown, "the answer was lost"));
        if let Some((_, Lost::Before)) = lost {
            return unknown();
        }
        let is_load = operation == Operation::LoadTable;
        let mut response = self.inner.call(request).await?;
        if lost.is_some() {
            return unknown();
        }
        if is_load && self.habit == Habit::Forgets && response.status.is_success() {
            let mut body: Value = serde_json::from_slice(&response.body).expect("JSON");
            let mut shown = table::current_only(&body["metadata"])?;
            shown["properties"]["nessie.commit.id"] = json!("1");
            body["metadata"] = shown;
            response.headers.clear();
            response.body = Bytes::from(body.to_string());
        }
        Ok(response)
    }
}

/// A site before a catalog, and states of a primary's table as files of the overlay.
struct Case {
    bed: Bed,
    files: Vec<Pointer>,
}

impl Case {
    /// The states are those after 0, 1, ... appends; a tag and a column come with the last.
    async fn new() -> Case {
        let bed = Bed::sqlite().await;
        bed.namespace("n").await;
        bed.table("source", json!({ "properties": { "a": "1", "gone": "1" } })).await;
        let mut case = Case { files: Vec::new(), bed };
        for number in 0..4 {
            if number > 0 {
                case.bed.append("source", number).await;
            }
            if number == 3 {
                let column = json!([{"id": 1, "name": "id", "required": false, "type": "long"},
                    {"id": 2, "name": "more", "required": false, "type": "long"}]);
                let updates = json!([
                    {"action": "set-snapshot-ref", "ref-name": "t", "type": "tag", "snapshot-id": 1},
                    {"action": "add-schema", "schema": {"type": "struct", "fields": column}},
                    {"action": "set-current-schema", "schema-id": -1},
                    {"action": "set-properties", "updates": {"b": "2"}},
                    {"action": "remove-properties", "removals": ["gone"]},
                ]);
                let body = json!({ "requirements": [], "updates": updates });
                case.bed.ask(request(Operation::UpdateTable, "source", body)).await;
            }
            case.file(number).await;
        }
        case
    }

    fn overlay(&self) -> Location {
        Location::new(self.bed.location("overlay"))
    }

    async fn file(&mut self, number: i64) {
        let mut metadata = self.bed.ask(request(Operation::LoadTable, "source", Value::Null)).await["metadata"].clone();
        metadata["location"] = json!(self.bed.location("copy/n/t"));
        let place = self.overlay().join(&format!("u/0000{number}-x.metadata.json"));
        self.bed.storage.write_new(&place, Bytes::from(metadata.to_string())).await.expect("written");
        self.files.push(pointer_to(&metadata, place).expect("a pointer"));
    }

    fn site(&self, habit: Habit, fault: Option<(usize, Lost)>) -> RestSite {
        let odd = Odd { inner: self.bed.catalog.clone(), habit, writes: AtomicUsize::new(0), fault };
        let odd: Arc<dyn Catalog> = Arc::new(odd);
        let name = CatalogName::parse("main").expect("valid");
        RestSite::new(name, (odd.clone(), odd), self.bed.storage.clone(), self.overlay())
    }

    async fn held(&self, habit: Habit) -> Found {
        self.site(habit, None).load(&ident(), None).await.expect("loaded").expect("there")
    }
}

fn ident() -> Ident {
    Ident::new(Namespace::new(vec!["m".into(), "n".into()]).expect("valid"), "t").expect("valid")
}

const HABITS: [Habit; 3] = [Habit::Overwrites, Habit::Commits, Habit::Forgets];

#[tokio::test]
async fn states_are_published_one_after_the_other_into_each_kind_of_catalog() {
    for habit in HABITS {
        let case = Case::new().await;
        let site = case.site(habit, None);
        assert_eq!(site.published(&ident()).await.expect("asked"), None);
        let mut from: Option<Pointer> = None;
        // from the first to the last but one, and so over two heads of main
        for to in [&case.files[0], &case.files[1], &case.files[3]] {
            site.publish(&ident(), from.as_ref(), to.clone()).await.unwrap_or_else(|e| panic!("{habit:?}: {e}"));
            for asked in [&site, &case.site(habit, None)] {
                assert_eq!(asked.published(&ident()).await.expect("asked").as_ref(), Some(to), "{habit:?}");
            }
            from = Some(to.clone());
        }
        assert_eq!(site.keeps_history(), habit != Habit::Forgets);
        let (found, wanted) =
            (case.held(habit).await, site.read(&case.files[3].metadata_location).await.expect("read"));
        let in_place = found.metadata["location"] == wanted["location"];
        assert_eq!(in_place, habit == Habit::Overwrites);
        assert!(
            in_place || Location::new(found.metadata["location"].as_str().expect("one")).leads_into(&case.overlay())
        );
        assert!(found.metadata_location.leads_into(&case.overlay()), "{habit:?}: {}", found.metadata_location);
        let mut wanted = if habit == Habit::Forgets { table::current_only(&wanted).expect("cut") } else { wanted };
        for member in ["location", "properties"] {
            wanted[member] = found.metadata[member].clone();
        }
        assert_eq!(table::unlike(&found.metadata, &wanted).expect("compared"), Vec::<String>::new(), "{habit:?}");
        let property = |name: &str| found.metadata["properties"][name].as_str();
        assert_eq!((property("a"), property("b"), property("gone")), (Some("1"), Some("2"), None), "{habit:?}");
        assert_eq!(property(image::ADVANCING), None);
    }
}

#[tokio::test]
async fn a_fault_at_each_write_ends_as_if_there_had_been_none() {
    for habit in HABITS {
        for fault in (0..5).flat_map(|at| [(at, Lost::Before), (at, Lost::After)]) {
            let case = Case::new().await;
            let mut site = case.site(habit, Some(fault));
            for to in [&case.files[0], &case.files[3]] {
                let (mut tries, mut said) = (0, String::new());
                loop {
                    let from = site.published(&ident()).await.unwrap_or_else(|e| panic!("{habit:?} {fault:?}: {e}"));
                    site.mend(&ident()).await.unwrap_or_else(|e| panic!("{habit:?} {fault:?}: {e}"));
                    if from.as_ref() == Some(to) {
                        break;
                    }
                    if let Err(error) = site.publish(&ident(), from.as_ref(), to.clone()).await {
                        said = error.to_string();
                        // begun anew, with nothing in memory
                        site = case.site(habit, None);
                    }
                    tries += 1;
                    assert!(tries < 4, "{habit:?} {fault:?}: {said}");
                }
            }
            let (found, other) = (case.held(habit).await, Case::new().await);
            let plain = other.site(habit, None);
            plain.publish(&ident(), None, other.files[0].clone()).await.expect("published");
            plain.publish(&ident(), Some(&other.files[0]), other.files[3].clone()).await.expect("published");
            let wanted = other.held(habit).await;
            for member in ["current-snapshot-id", "refs", "current-schema-id"] {
                assert_eq!(found.metadata[member], wanted.metadata[member], "{habit:?} {fault:?} {member}");
            }
            let count = |found: &Found, member: &str| found.metadata[member].as_array().map(Vec::len);
            for member in ["snapshots", "snapshot-log", "schemas"] {
                assert_eq!(count(&found, member), count(&wanted, member), "{habit:?} {fault:?} {member}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_the_image_of_what_was_published_is_left_alone() {
    for habit in HABITS {
        let case = Case::new().await;
        let site = case.site(habit, None);
        site.publish(&ident(), None, case.files[0].clone()).await.expect("published");
        // somebody else's commit
        let mut commit = request(
            Operation::UpdateTable,
            "t",
            json!({ "requirements": [], "updates": [
            {"action": "set-properties", "updates": {"a": "another"}}] }),
        );
        commit.target = crate::upstream::Target::Object(ident());
        case.bed.ask(commit).await;
        for asked in [&site, &case.site(habit, None)] {
            let error = asked.published(&ident()).await.expect_err("it is no longer ours");
            assert_eq!(error.kind(), Kind::AlreadyExists, "{habit:?}: {error}");
            assert!(error.message().contains("properties differ"), "{error}");
        }
        let before = case.held(habit).await.metadata_location;
        let error = site.publish(&ident(), Some(&case.files[0]), case.files[1].clone()).await.expect_err("not ours");
        assert_eq!(error.kind(), Kind::AlreadyExists, "{habit:?}: {error}");
        assert_eq!(case.held(habit).await.metadata_location, before);
    }
}

#[tokio::test]
async fn a_state_is_published_only_over_the_one_that_was_seen() {
    for habit in HABITS {
        let case = Case::new().await;
        let (site, other) = (case.site(habit, None), case.site(habit, None));
        site.publish(&ident(), None, case.files[0].clone()).await.expect("published");
        let error = other.publish(&ident(), None, case.files[1].clone()).await.expect_err("it is there");
        assert_eq!(error.kind(), Kind::AlreadyExists);
        site.publish(&ident(), Some(&case.files[0]), case.files[3].clone()).await.expect("published");
        let error =
            other.publish(&ident(), Some(&case.files[0]), case.files[1].clone()).await.expect_err("it moved on");
        assert_eq!(error.kind(), Kind::CommitFailed);
        assert_eq!(other.published(&ident()).await.expect("asked"), Some(case.files[3].clone()));
    }
}

#[tokio::test]
async fn settings_that_the_site_gave_a_table_stay() {
    let case = Case::new().await;
    let site = case.site(Habit::Commits, None);
    site.publish(&ident(), None, case.files[0].clone()).await.expect("published");
    let mut commit = request(
        Operation::UpdateTable,
        "t",
        json!({ "requirements": [], "updates": [
        {"action": "set-properties", "updates": {"read.split.target-size": "1"}}] }),
    );
    commit.target = crate::upstream::Target::Object(ident());
    case.bed.ask(commit).await;
    site.publish(&ident(), Some(&case.files[0]), case.files[3].clone()).await.expect("published");
    let found = case.held(Habit::Commits).await;
    assert_eq!(found.metadata["properties"]["read.split.target-size"], "1");
    assert_eq!(found.metadata["properties"]["gone"], Value::Null);
}

#[tokio::test]
async fn a_view_is_registered_and_stays() {
    let case = Case::new().await;
    let version = json!({ "version-id": 1, "timestamp-ms": 1, "schema-id": 0, "summary": {}, "default-namespace": ["n"],
        "representations": [{ "type": "sql", "sql": "SELECT 1 AS id", "dialect": "spark" }] });
    let fields = json!([{ "id": 1, "name": "id", "required": false, "type": "int" }]);
    let view = json!({ "name": "source_view", "schema": { "type": "struct", "schema-id": 0, "fields": fields }, "view-version": version,
        "properties": {} });
    let metadata = case.bed.ask(request(Operation::CreateView, "", view)).await["metadata"].clone();
    let site = case.site(Habit::Overwrites, None);
    let mut pointers = Vec::new();
    for number in 0..2 {
        let place = case.overlay().join(&format!("v/0000{number}-x.metadata.json"));
        let mut metadata = metadata.clone();
        metadata["properties"] = json!({ "number": number.to_string() });
        case.bed.storage.write_new(&place, Bytes::from(metadata.to_string())).await.expect("written");
        pointers.push(pointer_to(&metadata, place).expect("a pointer"));
    }
    site.publish(&ident(), None, pointers[0].clone()).await.expect("published");
    for asked in [&site, &case.site(Habit::Overwrites, None)] {
        assert_eq!(asked.published(&ident()).await.expect("asked").as_ref(), Some(&pointers[0]));
    }
    let error = site.publish(&ident(), Some(&pointers[0]), pointers[1].clone()).await.expect_err("nothing moves it");
    assert_eq!(error.kind(), Kind::Unprocessable, "{error}");
}

#[tokio::test]
async fn names_are_taken_away_and_given_to_what_was_published_only() {
    for habit in HABITS {
        let case = Case::new().await;
        let site = case.site(habit, None);
        let other = Ident::new(Namespace::new(vec!["o".into()]).expect("valid"), "u").expect("valid");
        site.publish(&ident(), None, case.files[0].clone()).await.expect("published");
        let error = site.rename(&ident(), &case.files[1], &other).await.expect_err("it is another state");
        assert_eq!(error.kind(), Kind::CommitFailed, "{habit:?}");
        site.rename(&ident(), &case.files[0], &other).await.expect("renamed");
        assert_eq!(site.published(&ident()).await.expect("asked"), None);
        assert_eq!(site.published(&other).await.expect("asked").as_ref(), Some(&case.files[0]));
        site.publish(&other, Some(&case.files[0]), case.files[1].clone()).await.expect("advanced");
        assert_eq!(site.unpublish(&other, &case.files[0]).await.expect_err("older").kind(), Kind::CommitFailed);
        site.unpublish(&other, &case.files[1]).await.expect("taken away");
        assert_eq!(site.published(&other).await.expect("asked"), None);
        // and back again
        site.publish(&other, None, case.files[1].clone()).await.expect("published");
        assert_eq!(site.drop_namespace(&other.namespace).await.expect_err("full").kind(), Kind::NamespaceNotEmpty);
        site.unpublish(&other, &case.files[1]).await.expect("taken away");
        site.drop_namespace(&other.namespace).await.expect("dropped");
        assert_eq!(SiteCatalog::namespace(&site, &other.namespace).await.expect("asked"), None);
        let properties = |pairs: &[(&str, &str)]| -> Properties {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (one, two) = (properties(&[("a", "1"), ("b", "1")]), properties(&[("a", "2"), ("c", "1")]));
        site.set_namespace(&other.namespace, None, one.clone()).await.expect("made");
        let made = SiteCatalog::namespace(&site, &other.namespace).await.expect("asked").expect("there");
        let with = |own: &Properties| -> Properties {
            made.clone().into_iter().filter(|(key, _)| !one.contains_key(key)).chain(own.clone()).collect()
        };
        site.set_namespace(&other.namespace, Some(made.clone()), with(&two)).await.expect("set");
        assert_eq!(SiteCatalog::namespace(&site, &other.namespace).await.expect("asked"), Some(with(&two)));
        let error = site.set_namespace(&other.namespace, Some(made.clone()), with(&one)).await.expect_err("changed");
        assert_eq!(error.kind(), Kind::CommitFailed);
    }
}
