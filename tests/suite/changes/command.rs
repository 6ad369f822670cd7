//! `lifeboat changes`.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harbour;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lifeboat"))
        .arg("changes")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("it runs")
}

#[tokio::test]
async fn the_command_prints_what_came_and_went() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(harbour::fill(folder.path()).await);
    let at = folder.path().display();
    let config = format!(
        "catalogs:\n  main:\n    embedded: {{ database: 'sqlite:{at}/catalog.db', warehouse: 'file://{at}/warehouse' }}\n"
    );
    std::fs::write(folder.path().join("lifeboat.yaml"), config).expect("written");
    let ran = run(folder.path(), &["main.harbour.voyages"]);
    let text = String::from_utf8(ran.stdout).expect("text");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(text.lines().filter(|line| line.starts_with("+ data file:")).count() as u64, harbour::VOYAGES_FILES);
    assert!(text.lines().next().is_some_and(|line| line.ends_with("append, all that is live in it")), "{text}");
    let ran = run(folder.path(), &["main.harbour.voyages", "--json"]);
    let lines = String::from_utf8(ran.stdout).expect("text");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let first = lines[0]["snapshot-id"].to_string();
    let after = run(folder.path(), &["main.harbour.voyages", "--json", "--from", &first]).stdout;
    assert_eq!(after.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), lines.len() - 1);
    for (arguments, code, says) in [
        (&["main.harbour.voyages", "--from", "7"][..], 1, "is not in the table"),
        (&["main.harbour.none"][..], 1, "none"),
        (&["other.harbour.voyages"][..], 2, "no catalog of other.harbour.voyages"),
        (&["main.harbour.voyages", "--branch", "b"][..], 1, "no branch"),
    ] {
        let ran = run(folder.path(), arguments);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.code() == Some(code) && said.contains(says), "{arguments:?}: {said}");
    }
}
