//! `lifeboat relocate --copy-plan`: what is copied by the plan makes the relocated table whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value as Json;

use crate::hammer::audit;
use crate::harbour::{self, VOYAGES_FILES};

/// A table at `prod`, whose copy is to be at `dr`.
struct Bed {
    folder: tempfile::TempDir,
    source: String,
}

impl Bed {
    async fn new() -> Bed {
        let folder = tempfile::tempdir().expect("a folder");
        let app = harbour::fill(&folder.path().join("prod")).await;
        let source = harbour::metadata_location(&app, "voyages").await;
        Bed { folder, source }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn relocate(&self, more: &[&str]) -> (Output, Json) {
        let at = |below: &str| format!("file://{}", self.path(below).display());
        let map = format!("{}={}", at("prod"), at("dr"));
        let ran = Command::new(env!("CARGO_BIN_EXE_lifeboat"))
            .args(["relocate", &self.source, "--map", &map, "--into", &at("overlay"), "--json"])
            .args(more)
            .output()
            .expect("the program starts");
        let report = serde_json::from_slice(&ran.stdout).unwrap_or(Json::Null);
        (ran, report)
    }

    /// Copies the files of a plan that is CSV without quotes.
    fn copy_by(&self, plan: &Path) -> usize {
        let text = std::fs::read_to_string(plan).expect("the plan is there");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("source,target,size_bytes"));
        let copied = lines.map(|line| {
            let [source, target, size] = line.split(',').collect::<Vec<_>>().try_into().expect("three fields");
            let local = |location: &str| PathBuf::from(location.strip_prefix("file://").expect("a file"));
            std::fs::create_dir_all(local(target).parent().expect("a folder")).expect("made");
            let bytes = std::fs::copy(local(source), local(target)).expect("copied");
            assert_eq!(bytes.to_string(), size);
        });
        copied.count()
    }
}

#[tokio::test]
async fn a_table_is_whole_once_everything_was_copied_by_its_plan() {
    let bed = Bed::new().await;
    let plan = bed.path("plan.csv");
    let flags = ["--copy-plan", plan.to_str().expect("text")];
    let (ran, report) = bed.relocate(&flags);
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(report["copy-plan"]["files"], VOYAGES_FILES);
    assert_eq!(report["copy-plan"]["file"], plan.display().to_string());
    assert_eq!(report["missing-files"]["count"], VOYAGES_FILES);
    let (ran, checked) = bed.relocate(&["--check"]);
    assert_eq!(ran.status.code(), Some(1), "without a plan it is a failure");
    assert_eq!(checked["copy-plan"], Json::Null);

    // one arrived, but not wholly
    assert_eq!(bed.copy_by(&plan), VOYAGES_FILES as usize);
    let text = std::fs::read_to_string(&plan).expect("the plan is there");
    let target = text.lines().nth(1).and_then(|line| line.split(',').nth(1)).expect("a target");
    std::fs::write(target.trim_start_matches("file://"), "cut off").expect("written");
    let (ran, report) = bed.relocate(&flags);
    assert_eq!((ran.status.code(), &report["copy-plan"]["files"]), (Some(0), &Json::from(1)));
    assert_eq!(bed.copy_by(&plan), 1);

    let (ran, report) = bed.relocate(&flags);
    assert_eq!((ran.status.code(), &report["copy-plan"]["files"]), (Some(0), &Json::from(0)));
    assert_eq!(report["missing-files"]["count"], 0);
    std::fs::rename(bed.path("prod"), bed.path("lost")).expect("the site is lost");
    let relocated = report["metadata-location"].as_str().and_then(|at| at.strip_prefix("file://")).expect("a file");
    let metadata = serde_json::from_slice(&std::fs::read(relocated).expect("it is there")).expect("JSON");
    assert_eq!(audit::whole(&metadata, &mut audit::Known::default()), Ok(VOYAGES_FILES as usize));
    assert_eq!(audit::rows(&metadata).map(|rows| rows.len()), Ok(12));
}

#[tokio::test]
async fn a_plan_without_all_metadata_is_a_failure_and_no_plan() {
    let bed = Bed::new().await;
    let plan = bed.path("plan.csv");
    let flags = ["--plan", "--copy-plan", plan.to_str().expect("text")];
    let (ran, report) = bed.relocate(&flags);
    assert_eq!((ran.status.code(), &report["copy-plan"]["files"]), (Some(0), &Json::from(VOYAGES_FILES)));
    assert!(!bed.path("overlay").exists(), "something was written");
    std::fs::remove_file(&plan).expect("it is there");

    let metadata = Path::new(bed.source.strip_prefix("file://").expect("a file")).parent().expect("a folder");
    let entries = std::fs::read_dir(metadata).expect("a folder").map(|entry| entry.expect("an entry").path());
    let manifests: BTreeMap<String, PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|is| is == "avro"))
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), path))
        .collect();
    let (_, manifest) = manifests.iter().find(|(name, _)| !name.starts_with("snap-")).expect("a manifest");
    std::fs::remove_file(manifest).expect("it is there");
    let (ran, report) = bed.relocate(&flags);
    assert_eq!((ran.status.code(), &report["copy-plan"]), (Some(1), &Json::Null));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("no copy plan was written"), "{ran:?}");
    assert!(!plan.exists());
}

#[tokio::test]
async fn a_plan_is_no_excuse_for_registering_what_is_not_whole() {
    let bed = Bed::new().await;
    let config = bed.path("lifeboat.yaml");
    let dr = bed.path("dr-catalog");
    std::fs::create_dir_all(&dr).expect("a folder");
    let dr = dr.display();
    let text =
        format!("catalogs:\n  dr:\n    embedded:\n      database: sqlite:{dr}/c.db\n      warehouse: file://{dr}/w\n");
    std::fs::write(&config, text).expect("written");
    let plan = bed.path("plan.csv");
    let flags = [
        "--register",
        "dr.harbour.voyages",
        "--config",
        config.to_str().expect("text"),
        "--copy-plan",
        plan.to_str().expect("text"),
    ];
    let (ran, report) = bed.relocate(&flags);
    assert_eq!((ran.status.code(), &report["registered"]), (Some(1), &Json::Null), "{ran:?}");
    assert_eq!(report["copy-plan"]["files"], VOYAGES_FILES);
    assert!(plan.exists());
}
