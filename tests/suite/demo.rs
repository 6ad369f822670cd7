//! `lifeboat demo`: it says what to type, what it says is true, and it leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::hammer::audit;

/// How long files may take to arrive at the standby.
const ARRIVAL_MAX: Duration = Duration::from_secs(60);
/// The last line of the welcome.
const LAST_LINE: &str = "Serving until Ctrl-C.";

struct Demo {
    child: Child,
    uri: String,
    welcome: Vec<String>,
}

impl Demo {
    /// Starts it and reads what it has to say.
    fn start(temporary: &Path, more: &[&str]) -> Demo {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let mut child = Command::new(env!("CARGO_BIN_EXE_lifeboat"))
            .args(["demo", "--listen", &free.to_string()])
            .args(more)
            .env("TMPDIR", temporary)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut welcome = Vec::new();
        for line in out.lines() {
            welcome.push(line.expect("it writes text"));
            if welcome.last().is_some_and(|line| line == LAST_LINE) {
                break;
            }
        }
        Demo { child, uri: format!("http://{free}"), welcome }
    }

    async fn load(&self, path: &str) -> Json {
        let answer = ask(&self.uri, path).await;
        answer.unwrap_or_else(|status| panic!("{path}: {status}"))
    }

    /// Where the standby says that it is.
    fn standby(&self) -> String {
        let line =
            self.welcome.iter().find_map(|line| line.strip_prefix("The standby is ready at ")).expect("a standby");
        line.split_once(": ").expect("what it does").0.to_owned()
    }

    /// Ctrl-C; whether it ended well.
    fn stop(mut self) -> bool {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-INT", &pid]).status().expect("kill is there");
        told.success() && self.child.wait().expect("it is our child").success()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn ask(uri: &str, path: &str) -> Result<Json, reqwest::StatusCode> {
    let answer = reqwest::get(format!("{uri}/v1/main/namespaces/harbour/{path}")).await.expect("it answers");
    if answer.status().is_success() { Ok(answer.json().await.expect("JSON")) } else { Err(answer.status()) }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

#[tokio::test]
async fn the_demonstration_holds_what_it_says_and_leaves_nothing_behind() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let temporary = tempfile::tempdir().expect("a folder");
    let demo = Demo::start(temporary.path(), &[]);
    let text = demo.welcome.join("\n");
    for engine in ["PyIceberg", "DuckDB", "Spark", "Trino"] {
        assert!(text.contains(engine), "{engine} is missing:\n{text}");
    }
    assert_eq!(text.matches(&demo.uri).count(), 5, "once for people and once for each engine:\n{text}");
    for (table, rows, files, snapshots) in [("ships", 10, 3, 3), ("voyages", 12, 6, 3), ("cargo", 8, 2, 2)] {
        let metadata = demo.load(&format!("tables/{table}")).await["metadata"].take();
        assert_eq!(audit::rows(&metadata).expect(table).len(), rows, "{table}");
        assert_eq!(audit::whole(&metadata, &mut audit::Known::default()).expect(table), files, "{table}");
        assert_eq!(audit::history(&metadata).expect(table), snapshots, "{table}");
    }
    let view = demo.load("views/voyages_by_ship").await;
    assert_eq!(view["metadata"]["versions"][0]["representations"].as_array().map(Vec::len), Some(2));
    assert_eq!(entries(temporary.path()).len(), 1);
    assert!(demo.stop());
    assert_eq!(entries(temporary.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn the_standby_of_the_demonstration_has_its_tables_and_takes_no_writes() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let temporary = tempfile::tempdir().expect("a folder");
    let demo = Demo::start(temporary.path(), &[]);
    let (standby, began) = (demo.standby(), Instant::now());
    for path in ["tables/ships", "tables/voyages", "tables/cargo", "views/voyages_by_ship"] {
        let there = demo.load(path).await["metadata"].take();
        let arrived = |here: &Json| here["metadata"]["current-snapshot-id"] == there["current-snapshot-id"];
        // its files arrive by and by
        while !ask(&standby, path).await.is_ok_and(|here| arrived(&here)) {
            assert!(began.elapsed() < ARRIVAL_MAX, "{path} has not arrived");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let client = reqwest::Client::new();
    let drop = client.delete(format!("{standby}/v1/main/namespaces/harbour/tables/ships")).send().await;
    assert_eq!(drop.expect("it answers").status(), 403);
    assert!(demo.stop());
}

#[tokio::test]
async fn a_demonstration_with_a_folder_can_be_gone_on_with() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kept = tempfile::tempdir().expect("a folder");
    let folder = kept.path().join("harbour").display().to_string();
    let mut locations = Vec::new();
    for _ in 0..2 {
        let demo = Demo::start(kept.path(), &["--data", &folder]);
        assert_eq!(demo.welcome.last().map(String::as_str), Some(LAST_LINE));
        locations.push(demo.load("tables/cargo").await["metadata-location"].take());
        assert!(demo.stop());
    }
    assert_eq!(locations[0], locations[1], "the second run changed something");
}
