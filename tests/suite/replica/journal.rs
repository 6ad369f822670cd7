//! A primary that keeps a journal, and a standby that is told by it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeboat::app::{self, App};
use lifeboat::config::{Config, Environment};
use lifeboat::error::Kind;
use lifeboat::journal::{Follower, Journal};
use lifeboat::model::{Namespace, Operation, Said};
use lifeboat::replica::{Action, State};
use lifeboat::storage::{Location, Storage};
use lifeboat::upstream::Target;
use serde_json::{Value, json};

use super::primary::files;
use super::standby::{Standby, ident};
use crate::server::fake;

const PATIENCE: Duration = Duration::from_secs(30);

/// A primary with a catalog of its own.
struct Site {
    folder: tempfile::TempDir,
    app: App,
    _jobs: tokio::task::JoinSet<()>,
}

impl Site {
    async fn start() -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().display();
        let text = format!(
            "catalogs:\n  prod:\n    embedded:\n      database: sqlite:{at}/catalog.db\n      warehouse: file://{at}/prod\n    \
             journal: {at}/prod/_lifeboat/prod\n"
        );
        let config = Config::parse(&text, &Environment::new(&|_| None, "/")).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut app = app::build(&config).await.expect("built");
        let jobs = app.start_jobs();
        Site { folder, app, _jobs: jobs }
    }

    async fn ask(&self, operation: Operation, target: Target, body: Value) -> Value {
        let answer = super::standby::ask(&self.app, operation, target, &body.to_string()).await;
        answer.unwrap_or_else(|e| panic!("{}: {e}", operation.name()))
    }

    async fn create(&self, name: &str) {
        let schema = json!({"type": "struct", "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]});
        let body = json!({"name": name, "schema": schema});
        self.ask(Operation::CreateTable, Target::Namespace(namespace("sales")), body).await;
    }

    async fn set(&self, name: &str, value: &str) {
        let body = json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {"v": value}}]});
        self.ask(Operation::UpdateTable, Target::Object(ident(&format!("sales/{name}"))), body).await;
    }

    /// What its journal says, once that is what is waited for.
    async fn said(&self, is_right: impl Fn(&Said) -> bool) -> Arc<Said> {
        let storage = Arc::new(Storage::new(Vec::new()));
        let place = self.folder.path().join("prod/_lifeboat/prod").display().to_string();
        let mut follower = Follower::new(Journal::new(storage, Location::new(place)), Duration::ZERO);
        let began = Instant::now();
        loop {
            let said = follower.look().await.expect("readable");
            if is_right(&said) {
                return said;
            }
            assert!(began.elapsed() < PATIENCE, "{said:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything is copied to the other site, and what is gone here goes there.
    fn replicate(&self, to: &Path) {
        let from = self.folder.path().join("prod");
        for name in files(&from).keys() {
            let target = to.join(name);
            std::fs::create_dir_all(target.parent().expect("a folder")).expect("made");
            std::fs::copy(from.join(name), target).expect("copied");
        }
    }
}

fn namespace(name: &str) -> Namespace {
    Namespace::new(vec![name.to_owned()]).expect("valid")
}

/// A standby of a site, with further lines for the section `replica`.
async fn standby_of(site: &Site, lines: &str) -> Standby {
    let folder = tempfile::tempdir().expect("a folder");
    let (at, from) = (folder.path().display().to_string(), site.folder.path().display().to_string());
    let pair = format!("        - {{ from: \"file://{from}/prod\", to: \"{at}/dr\" }}\n");
    let lines = format!("      journal: {at}/dr/_lifeboat/prod\n      max-staleness: 0s\n      wait: 60s\n{lines}");
    Standby::with(folder, &lines, &pair).await
}

#[tokio::test]
async fn a_standby_that_is_told_follows_names_and_states_at_once() {
    let site = Site::start().await;
    let body = json!({"namespace": ["sales"], "properties": {"owner": "ada"}});
    site.ask(Operation::CreateNamespace, Target::Catalog, body).await;
    for name in ["orders", "lines", "old"] {
        site.create(name).await;
    }
    site.set("orders", "1").await;
    let standby = standby_of(&site, "      settle: 0s\n      drop-after: 0s\n").await;
    site.said(|said| said.named.len() == 3 && said.named[&ident("sales/orders")].files.len() == 2).await;
    site.replicate(&standby.arrivals());
    let statuses = standby.sync().await;
    assert_eq!(statuses.len(), 3);
    assert!(statuses.iter().all(|status| status.state == State::Level && status.is_confirmed), "{statuses:?}");
    // the newest state, though no newer one names it
    assert_eq!(standby.load_of("sales/orders").await["metadata"]["properties"]["v"], "1");
    let loaded = standby.ask(Operation::LoadNamespace, Target::Namespace(namespace("sales")), "").await.expect("there");
    assert_eq!(loaded["properties"]["owner"], "ada");

    // a rename and a drop, of which the folders tell nothing
    let name = |name: &str| json!({"namespace": ["sales"], "name": name});
    let body = json!({"source": name("orders"), "destination": name("bestellungen")});
    site.ask(Operation::RenameTable, Target::Catalog, body).await;
    site.ask(Operation::DropTable, Target::Object(ident("sales/old")), json!(null)).await;
    site.said(|said| said.dropped.len() == 2).await;
    site.replicate(&standby.arrivals());
    standby.load(&ident("sales/old")).await.expect_err("it is looked at, and gone");
    standby.sync().await;
    let names: Vec<String> = standby.sync().await.iter().map(|status| status.table.to_string()).collect();
    assert_eq!(names, ["sales.bestellungen", "sales.lines"]);
    assert_eq!(standby.load_of("sales/bestellungen").await["metadata"]["properties"]["v"], "1");

    // which was a mistake
    standby.replica().undrop(&ident("sales/old")).await.expect("had back");
    standby.sync().await;
    standby.load_of("sales/old").await;
}

#[tokio::test]
async fn a_table_that_was_dropped_stays_for_a_while_and_the_plan_says_so() {
    let site = Site::start().await;
    site.ask(Operation::CreateNamespace, Target::Catalog, json!({"namespace": ["sales"]})).await;
    site.create("orders").await;
    let standby = standby_of(&site, "      settle: 0s\n").await;
    site.said(|said| said.named.len() == 1).await;
    site.replicate(&standby.arrivals());
    standby.sync().await;
    site.ask(Operation::DropTable, Target::Object(ident("sales/orders")), json!(null)).await;
    site.said(|said| said.named.is_empty()).await;
    site.replicate(&standby.arrivals());
    let statuses = standby.sync().await;
    assert_eq!((statuses[0].state, statuses[0].action), (State::Level, Action::None));
    assert!(statuses[0].reason.as_deref().is_some_and(|reason| reason.contains("lifeboat undrop")), "{statuses:?}");
    standby.load_of("sales/orders").await;
}

#[tokio::test]
async fn a_forged_entry_blocks_the_table_that_it_speaks_of_and_no_other() {
    let site = Site::start().await;
    site.ask(Operation::CreateNamespace, Target::Catalog, json!({"namespace": ["sales"]})).await;
    for name in ["good", "changed", "other"] {
        site.create(name).await;
    }
    let standby = standby_of(&site, "      settle: 0s\n").await;
    let said = site.said(|said| said.named.len() == 3).await;
    site.replicate(&standby.arrivals());
    let digest = |name: &str| said.named[&ident(&format!("sales/{name}"))].files[0].1.clone();
    let uuid = |name: &str| said.named[&ident(&format!("sales/{name}"))].uuid.clone();
    let commit = |name: &str, uuid: String, metadata: Value| json!({"action": "commit", "namespace": ["sales"], "name": name, "uuid": uuid, "metadata": metadata});
    let with = |location: String, sha256: &str| json!({"location": location, "sha256": sha256});
    let location = |name: &str| digest(name).location;
    let events = [
        // the file's bytes are others than it says
        commit("changed", uuid("changed"), with(location("changed"), "00")),
        // a place that nobody mapped, one that leads out, and the folder of another table
        commit("outside", "1".into(), with("s3://elsewhere/t/metadata/00000-a.metadata.json".into(), "00")),
        commit(
            "upwards",
            "2".into(),
            with(format!("{}/../../x/metadata/00000-a.metadata.json", location("good")), "00"),
        ),
        commit("thief", "3".into(), with(location("good"), "00")),
    ];
    let number = said.number + 1;
    let entry = json!({"format-version": 1, "number": number, "time-ms": 1, "epoch": 0, "events": events});
    let entries = standby.arrivals().join("_lifeboat/prod/entries");
    std::fs::write(entries.join(format!("{number:020}.json")), entry.to_string()).expect("written");
    std::fs::write(entries.join(format!("{:020}.json", number + 1)), "{\"format-version\": 1, ").expect("written");
    let statuses = standby.sync().await;
    let reason = |name: &str| {
        let status = statuses.iter().find(|status| status.table.to_string() == format!("sales.{name}"));
        let status = status.unwrap_or_else(|| panic!("{name}: {statuses:?}"));
        (status.state, status.reason.clone().unwrap_or_default())
    };
    for (name, says) in [
        ("changed", "damaged or forged"),
        ("outside", "does not cover"),
        ("upwards", ".."),
        ("thief", "which is the folder of sales.good"),
    ] {
        let (state, reason) = reason(name);
        assert_eq!(state, State::Blocked, "{name}: {reason}");
        assert!(reason.contains(says), "{name}: {reason}");
    }
    for name in ["good", "other"] {
        assert_eq!(reason(name).0, State::Level, "{name}: {:?}", reason(name));
        standby.load_of(&format!("sales/{name}")).await;
    }
    assert_eq!(standby.load(&ident("sales/thief")).await.expect_err("not there").kind(), Kind::NoSuchTable);
}

#[tokio::test]
async fn what_was_committed_together_is_shown_together_or_not_at_all() {
    let site = Site::start().await;
    site.ask(Operation::CreateNamespace, Target::Catalog, json!({"namespace": ["sales"]})).await;
    for name in ["alone", "lines", "orders"] {
        site.create(name).await;
    }
    let standby = standby_of(&site, "      settle: 0s\n").await;
    site.said(|said| said.named.len() == 3).await;
    site.replicate(&standby.arrivals());
    standby.sync().await;
    let set = |name: &str, value: &str| {
        let update = json!({"action": "set-properties", "updates": {"v": value}});
        let identifier = json!({"namespace": ["sales"], "name": name});
        json!({"identifier": identifier, "requirements": [], "updates": [update]})
    };
    let both = json!({"table-changes": [set("orders", "1"), set("lines", "1")]});
    site.ask(Operation::CommitTransaction, Target::Catalog, both).await;
    site.set("alone", "1").await;
    site.said(|said| !said.together.is_empty() && said.named[&ident("sales/alone")].files.len() == 2).await;
    site.replicate(&standby.arrivals());
    // one of the two has not arrived
    let is_of_lines = |name: &&String| name.contains("/lines") && name.contains("/metadata/");
    let late = files(&standby.arrivals()).into_keys().filter(|name| is_of_lines(&name)).max().expect("a file");
    let late = standby.arrivals().join(late);
    let aside = standby.folder.path().join("aside");
    std::fs::rename(&late, &aside).expect("moved");
    standby.sync().await;
    let value =
        async |name: &str| standby.load_of(&format!("sales/{name}")).await["metadata"]["properties"]["v"].clone();
    assert_eq!((value("orders").await, value("lines").await), (Value::Null, Value::Null));
    assert_eq!(value("alone").await, "1");
    let statuses = standby.sync().await;
    let orders = statuses.iter().find(|status| status.table.name == "orders").expect("there");
    assert_eq!(orders.state, State::Behind, "{orders:?}");
    std::fs::rename(&aside, &late).expect("moved");
    standby.sync().await;
    assert_eq!((value("orders").await, value("lines").await), ("1".into(), "1".into()));
}

/// The primary has no journal, and its catalog is asked while it can be reached.
#[tokio::test]
async fn a_primary_that_can_be_reached_is_asked() {
    let site = Site::start().await;
    site.ask(Operation::CreateNamespace, Target::Catalog, json!({"namespace": ["sales"]})).await;
    site.create("orders").await;
    site.set("orders", "1").await;
    let stack = site.app.catalogs.values().next().expect("one catalog").stack.clone();
    let door = fake::Fake::new(move |request| {
        let stack = stack.clone();
        async move { stack.call(request).await }
    });
    let mut served = fake::start_many([("prod", fake::plain(door))], fake::settings()).await;
    let uri = format!("http://{}", served.address);
    let folder = tempfile::tempdir().expect("a folder");
    let (at, from) = (folder.path().display().to_string(), site.folder.path().display().to_string());
    let pair = format!("        - {{ from: \"file://{from}/prod\", to: \"{at}/dr\" }}\n");
    let lines = format!(
        "      primary-catalog: prod\n      settle: 0s\n      max-staleness: 0s\n      interval: 0s\n      wait: 60s\n      drop-after: 0s\n  \
         prod:\n    upstream: {{ uri: \"{uri}\", warehouse: prod }}\n"
    );
    let standby = Standby::with(folder, &lines, &pair).await;
    site.replicate(&standby.arrivals());
    standby.sync().await;
    assert_eq!(standby.load_of("sales/orders").await["metadata"]["properties"]["v"], "1");
    site.set("orders", "2").await;
    site.replicate(&standby.arrivals());
    assert_eq!(standby.load_of("sales/orders").await["metadata"]["properties"]["v"], "2");
    served.stop();
    fake::within(served.ended()).await.expect("stopped");
    assert_eq!(standby.load_of("sales/orders").await["metadata"]["properties"]["v"], "2");
}
