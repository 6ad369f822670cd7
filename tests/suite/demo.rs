//! `lifeboat demo`: it says what to type, what it says is true, and it leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;

use crate::hammer::audit;

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
        let uri = format!("{}/v1/main/namespaces/harbour/{path}", self.uri);
        let answer = reqwest::get(&uri).await.expect("it answers");
        assert!(answer.status().is_success(), "{uri}: {}", answer.status());
        answer.json().await.expect("JSON")
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
