//! What is wrong with one table is said of that table, and all others go on.

use std::fs;
use std::io::Write;
use std::time::Duration;

use lifeboat::error::Kind;
use lifeboat::model::{Namespace, Operation};
use lifeboat::replica::{State, TableStatus};
use lifeboat::upstream::Target;

use super::primary::{Primary, Replicator, files};
use super::standby::{Standby, ident};
use crate::relocation::PROD;

/// Believes at once what has arrived.
const TRUSTING: &str = "      confirm: trust-newest\n      settle: 0s\n      max-staleness: 0s\n      wait: 60s\n";

/// Times that a file system tells apart.
const SETTLED: Duration = Duration::from_millis(150);

fn arrive(standby: &Standby, primary: &Primary) {
    Replicator::new(1, false).finish(&primary.files(), &standby.arrivals().join(&primary.folder));
}

fn table(folder: &str) -> Primary {
    let mut primary = Primary::new(folder, 7);
    primary.append();
    primary.commit();
    primary
}

fn of<'s>(statuses: &'s [TableStatus], name: &str) -> &'s TableStatus {
    statuses.iter().find(|status| status.table.to_string() == name).unwrap_or_else(|| panic!("{name} is not there"))
}

#[tokio::test]
async fn what_is_wrong_with_one_table_does_not_stop_the_others() {
    let standby = Standby::start(TRUSTING).await;
    let (good, moved, odd) = (table("sales/good"), table("sales/moved"), table("sales/odd"));
    for primary in [&good, &moved, &odd] {
        arrive(&standby, primary);
    }
    // a table whose metadata says that it lies elsewhere
    fs::rename(standby.arrivals().join("sales/moved"), standby.arrivals().join("sales/stranger")).expect("moved");
    // metadata of a version that nobody knows
    let file = standby.arrivals().join("sales/odd/metadata/00001-save.metadata.json");
    let text = fs::read_to_string(&file).expect("metadata").replace("\"format-version\":2", "\"format-version\":99");
    fs::write(&file, text).expect("written");
    let statuses = standby.sync().await;
    assert_eq!(of(&statuses, "sales.good").state, State::Level);
    let stranger = of(&statuses, "sales.stranger");
    assert_eq!(stranger.state, State::Blocked);
    assert!(stranger.reason.as_deref().is_some_and(|reason| reason.contains("add a pair to the replica's map")));
    let odd = of(&statuses, "sales.odd");
    assert_eq!(odd.state, State::Blocked);
    assert!(odd.reason.as_deref().is_some_and(|reason| reason.contains("format version 99")), "{:?}", odd.reason);
    standby.load(&ident("sales/good")).await.expect("served");
    assert_eq!(standby.load(&ident("sales/odd")).await.expect_err("not there").kind(), Kind::NoSuchTable);
}

#[tokio::test]
async fn half_a_table_waits_and_is_told_with_what_it_lacks() {
    let standby = Standby::start(TRUSTING).await;
    let primary = table("sales/orders");
    arrive(&standby, &primary);
    let data = standby.arrivals().join("sales/orders/data");
    let file = fs::read_dir(&data).expect("files").flatten().next().expect("one").path();
    let whole = fs::read(&file).expect("its bytes");
    fs::write(&file, &whole[..3]).expect("cut");
    let statuses = standby.sync().await;
    let status = of(&statuses, "sales.orders");
    assert_eq!((status.state, status.missing.count), (State::Waiting, 1), "{status:?}");
    assert_eq!(status.missing.examples, [file.to_string_lossy()]);
    fs::write(&file, &whole).expect("whole");
    assert_eq!(of(&standby.sync().await, "sales.orders").state, State::Level);
}

#[tokio::test]
async fn another_ones_table_of_the_same_name_is_left_alone() {
    let standby = Standby::start(TRUSTING).await;
    let primary = table("sales/orders");
    arrive(&standby, &primary);
    assert_eq!(of(&standby.sync().await, "sales.orders").state, State::Level);
    let served = standby.load(&ident("sales/orders")).await.expect("served");
    // the same catalog under another overlay: what is published there is not this replica's
    let standby = standby.restart_with_overlay(TRUSTING, "overlay-2").await;
    let statuses = standby.sync().await;
    let status = of(&statuses, "sales.orders");
    assert_eq!(status.state, State::Blocked);
    assert!(status.reason.as_deref().is_some_and(|reason| reason.contains("another one's table")), "{status:?}");
    assert_eq!(
        standby.load(&ident("sales/orders")).await.expect("served")["metadata-location"],
        served["metadata-location"]
    );
}

#[tokio::test]
async fn nothing_that_a_client_says_changes_a_standby() {
    let standby = Standby::start(&format!("{TRUSTING}      primary: https://prod.example/catalog\n")).await;
    let primary = table("sales/orders");
    arrive(&standby, &primary);
    let before = standby.load(&ident("sales/orders")).await.expect("served");
    let (arrivals, overlay) = (files(&standby.arrivals()), files(&standby.folder.path().join("overlay")));
    let namespace = Target::Namespace(Namespace::new(vec!["sales".into()]).expect("valid"));
    let object = Target::Object(ident("sales/orders"));
    for (operation, target, body) in [
        (Operation::UpdateTable, object.clone(), r#"{"requirements":[],"updates":[]}"#),
        (Operation::DropTable, object.clone(), ""),
        (Operation::UnregisterTable, object.clone(), ""),
        (Operation::RenameTable, Target::Catalog, "{}"),
        (Operation::CommitTransaction, Target::Catalog, "{}"),
        (Operation::CreateTable, namespace.clone(), "{}"),
        (Operation::RegisterTable, namespace.clone(), "{}"),
        (Operation::DropNamespace, namespace.clone(), ""),
        (Operation::SignRequest, object, r#"{"method":"PUT"}"#),
    ] {
        let error = standby.ask(operation, target, body).await.expect_err(operation.name());
        assert_eq!(error.kind(), Kind::Forbidden, "{}", operation.name());
        assert!(error.message().contains("write at https://prod.example/catalog"), "{}", error.message());
    }
    let tables = standby.ask(Operation::ListTables, namespace, "").await.expect("listed");
    assert_eq!(tables["identifiers"].as_array().map(Vec::len), Some(1));
    assert_eq!(before["metadata"]["properties"]["gc.enabled"], "false");
    assert_eq!(standby.load(&ident("sales/orders")).await.expect("served"), before);
    assert_eq!((files(&standby.arrivals()), files(&standby.folder.path().join("overlay"))), (arrivals, overlay));
}

#[tokio::test]
async fn two_folders_that_say_one_name_block_it_until_one_is_gone() {
    let standby = Standby::start(TRUSTING).await;
    let primary = table("sales/orders");
    arrive(&standby, &primary);
    // what is left of a table that was dropped and made again
    let left = standby.arrivals().join("sales/orders-0f8fad5bd9cb469fa16570867728950e/metadata");
    fs::create_dir_all(&left).expect("made");
    for _ in 0..2 {
        let statuses = standby.sync().await;
        let status = of(&statuses, "sales.orders");
        assert_eq!(status.state, State::Blocked);
        assert!(status.reason.as_deref().is_some_and(|reason| reason.contains("both say that they are sales.orders")));
    }
    fs::remove_dir_all(left.parent().expect("a folder")).expect("removed");
    assert_eq!(of(&standby.sync().await, "sales.orders").state, State::Level);
}

/// The rest of a half metadata file comes into the same file: its folder does not change with it.
#[tokio::test]
async fn the_second_half_of_the_newest_metadata_is_noticed_by_itself() {
    let standby = Standby::start("      settle: 0s\n      max-staleness: 0s\n      wait: 60s\n").await;
    let mut primary = table("sales/orders");
    primary.append_at(5);
    primary.append_at(6);
    arrive(&standby, &primary);
    let before = of(&standby.sync().await, "sales.orders").published.clone().expect("published").version;
    primary.append_at(7);
    let name = "sales/orders/metadata/00004-save.metadata.json";
    arrive(&standby, &primary);
    let file = standby.arrivals().join(name);
    let whole = fs::read(&file).expect("metadata");
    fs::write(&file, &whole[..whole.len() / 2]).expect("written");
    for _ in 0..3 {
        standby.sync().await;
        tokio::time::sleep(SETTLED).await;
    }
    fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .expect("there")
        .write_all(&whole[whole.len() / 2..])
        .expect("written");
    let after = of(&standby.sync().await, "sales.orders").published.clone().expect("published").version;
    assert_eq!(after, before + 1);
}

/// What was proven before is no proof once a file of it has gone: the newer state is shown without that snapshot, in the same look.
#[tokio::test]
async fn a_snapshot_that_expired_while_its_successor_arrived_is_left_out() {
    let standby = Standby::start(TRUSTING).await;
    let mut primary = table("sales/orders");
    arrive(&standby, &primary);
    standby.sync().await;
    primary.append_at(5);
    let lists = |files: Vec<String>| files.into_iter().filter(|name| name.contains("snap-")).collect::<Vec<_>>();
    let old = lists(files(&standby.arrivals()).into_keys().collect());
    arrive(&standby, &primary);
    for list in &old {
        fs::remove_file(standby.arrivals().join(list)).expect("removed");
    }
    let statuses = standby.sync().await;
    let status = of(&statuses, "sales.orders");
    assert_eq!((status.state, status.left_out.len()), (State::Level, old.len()), "{status:?}");
}

#[tokio::test]
async fn a_table_that_is_held_stays_where_it_is_and_its_layout_may_be_any() {
    let lines = format!(
        "{TRUSTING}      layout: \"{{namespace}}/{{table}}\"\n      paused: \"sales.late\"\n      pinned: {{ sales.orders: 2 }}\n"
    );
    let standby = Standby::start(&lines).await;
    let mut tables = [table("sales/orders"), table("sales/late"), table("sales/deep/er"), table("sales/free")];
    for time in 2..5 {
        for primary in &mut tables {
            primary.append_at(time);
            arrive(&standby, primary);
        }
        standby.sync().await;
    }
    let statuses = standby.sync().await;
    assert!(statuses.iter().all(|status| status.table.to_string() != "sales.deep.er"), "{statuses:?}");
    let version = |name: &str| of(&statuses, name).published.as_ref().map(|version| version.version);
    assert_eq!((version("sales.orders"), version("sales.late"), version("sales.free")), (Some(2), None, Some(4)));
    for name in ["sales.orders", "sales.late"] {
        let reason = of(&statuses, name).reason.clone().unwrap_or_default();
        assert!(reason.contains("paused or pinned"), "{name}: {reason}");
    }
}

/// One place of the map holds nothing, another cannot be reached with these keys; the tables of the third go on, and both are told.
#[tokio::test]
async fn a_place_that_is_not_there_is_told_and_the_others_go_on() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display().to_string();
    let pairs = format!(
        "        - {{ from: \"{PROD}\", to: \"{at}/dr\" }}\n        - {{ from: s3://a, to: \"{at}/nothing\" }}\n        - {{ from: s3://b, to: s3://locked/b }}\n"
    );
    let store = crate::server::fake::refusing_store().await;
    let lines = format!(
        "{TRUSTING}storage:\n  - prefix: s3://locked\n    endpoint: {store}\n    region: x\n    access-key-id: wrong\n    secret-access-key: secret-of-mine\n    path-style: true\n"
    );
    let standby = Standby::with(folder, &lines, &pairs).await;
    let primary = table("sales/orders");
    arrive(&standby, &primary);
    let statuses = standby.sync().await;
    assert_eq!(of(&statuses, "sales.orders").state, State::Level);
    let problems = standby.replica().problems();
    let says = |text: &str| problems.iter().any(|problem| problem.contains(text));
    assert!(says("nothing holds no table: is it mounted"), "{problems:?}");
    assert!(says("check the keys and rights under storage"), "{problems:?}");
    assert!(!says("secret-of-mine"), "{problems:?}");
}

#[tokio::test]
async fn an_encrypted_table_is_blocked() {
    let standby = Standby::start(TRUSTING).await;
    let mut primary = Primary::new("sales/orders", 7);
    primary.append();
    primary.lake.metadata["snapshots"][0]["key-id"] = "k1".into();
    primary.append_at(5);
    arrive(&standby, &primary);
    let statuses = standby.sync().await;
    let status = of(&statuses, "sales.orders");
    assert_eq!(status.state, State::Blocked, "{status:?}");
    assert!(status.reason.as_deref().is_some_and(|reason| reason.contains("key-id")), "{status:?}");
}
