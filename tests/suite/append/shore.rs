//! A folder into which files land, and the catalog whose tables they become.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use lifeboat::app::{self, App};
use lifeboat::append::{AppendReport, AppendSettings, Appends, LandingSettings, LookOptions};
use lifeboat::config::{Config, Environment};
use lifeboat::error::Result;
use lifeboat::format::avro::{Status, for_each_entry};
use lifeboat::format::manifest::read_list;
use lifeboat::model::{Ident, Operation};
use lifeboat::storage::Location;
use lifeboat::telemetry::Metrics;
use lifeboat::upstream::asking::Asking;
use lifeboat::upstream::{Catalog, Target};
use parquet::basic::Compression;
use parquet::data_type::Int64Type;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use crate::replica::ask;

/// One site.
pub struct Shore {
    pub folder: Arc<tempfile::TempDir>,
    pub app: App,
    config: PathBuf,
}

impl Shore {
    /// Tables of these names for which files land, so many of them in one commit; on SQLite or another database.
    pub async fn open(tables: &[String], files_per_commit: usize, database: Option<&str>) -> Shore {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("landing")).expect("made");
        let at = folder.path().display().to_string();
        let database = database.map_or_else(|| format!("sqlite:{at}/catalog.db"), str::to_owned);
        let line = |name: &String| {
            format!(
                "        n.{name}: {{ from: {at}/landing, create: true, settle: 0s, files-per-commit: {files_per_commit} }}\n"
            )
        };
        let lines: String = tables.iter().map(line).collect();
        let append = if tables.is_empty() { String::new() } else { format!("    append:\n      tables:\n{lines}") };
        let text = format!(
            "storage: [{{ prefix: \"file://{at}\" }}]\ncatalogs:\n  main:\n    embedded:\n      database: \"{database}\"\n      \
             warehouse: file://{at}/lake\n{append}"
        );
        let config = folder.path().join("lifeboat.yaml");
        std::fs::write(&config, text).expect("written");
        let app = build(&config).await;
        Shore { folder: Arc::new(folder), app, config }
    }

    /// A second server of the same site.
    pub async fn beside(&self) -> Shore {
        Shore { folder: self.folder.clone(), app: build(&self.config).await, config: self.config.clone() }
    }

    pub fn landing(&self) -> PathBuf {
        self.folder.path().join("landing")
    }

    /// Files of one row each, with these numbers, that land now.
    pub fn land(&self, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let unfinished = self.landing().join(format!(".{number}"));
            std::fs::write(&unfinished, file(&[number])).expect("written");
            std::fs::rename(unfinished, self.landing().join(format!("{number:05}.parquet"))).expect("renamed");
        }
    }

    /// `lifeboat append` of one table.
    pub fn command(&self, table: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.args(["append", &format!("n.{table}"), "--json", "--config"]).arg(&self.config);
        command
    }

    /// What it says, and its exit code.
    pub fn append(&self, table: &str) -> (Value, Option<i32>) {
        let done: Output = self.command(table).output().expect("runs");
        let told: Value = serde_json::from_slice(&done.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&done.stderr)));
        (told["appends"][0].clone(), done.status.code())
    }

    pub fn appends(&self) -> &Appends {
        self.app.catalogs.values().next().and_then(|catalog| catalog.appends.as_ref()).expect("it appends")
    }

    /// What appends before another stack, with a state database or without.
    pub fn appends_over(&self, stack: Arc<dyn Catalog>, has_state: bool, files_per_commit: usize) -> Appends {
        let (name, catalog) = self.app.catalogs.iter().next().expect("one catalog");
        let from = Location::new(format!("file://{}", self.landing().display()));
        let landing =
            LandingSettings { create: true, settle: Duration::ZERO, files_per_commit, ..LandingSettings::new(from) };
        Appends::new(
            self.app.storage.clone(),
            Asking::new(name.clone(), stack, "append"),
            catalog.state.clone().filter(|_| has_state),
            AppendSettings::for_calls(name.clone(), None),
            BTreeMap::from([(ident("t"), landing)]),
            Metrics::new(),
        )
    }

    pub async fn look(&self, table: &str) -> Result<AppendReport> {
        self.appends().look(&ident(table), LookOptions::default()).await
    }

    pub async fn load(&self, table: &str) -> Value {
        let target = Target::Object(ident(table));
        ask(&self.app, Operation::LoadTable, target, "").await.expect("loaded")["metadata"].clone()
    }

    /// The names of the files in the head of a table, in order; a file that is there twice is told twice.
    pub async fn live(&self, table: &str) -> Vec<String> {
        let metadata = self.load(table).await;
        let head = &metadata["current-snapshot-id"];
        let snapshots = metadata["snapshots"].as_array().expect("snapshots");
        let Some(snapshot) = snapshots.iter().find(|snapshot| snapshot["snapshot-id"] == *head) else {
            return Vec::new();
        };
        let read = |location: &str| std::fs::read(location.trim_start_matches("file://")).expect("there");
        let list = snapshot["manifest-list"].as_str().expect("a list");
        let mut names = Vec::new();
        for manifest in read_list(&read(list), list).expect("a list") {
            for_each_entry(&read(&manifest.manifest_path), &manifest.manifest_path, |entry| {
                if entry.status != Status::Deleted {
                    names.push(entry.path.rsplit('/').next().unwrap_or_default().to_owned());
                }
                Ok(())
            })
            .expect("a manifest");
        }
        names.sort();
        names
    }
}

/// The names of these files.
pub fn names(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers.map(|number| format!("{number:05}.parquet")).collect()
}

/// A Parquet file with these ids.
pub fn file(ids: &[i64]) -> Vec<u8> {
    write("message m { optional int64 id; }", ids)
}

/// A Parquet file all columns of which have these values.
pub fn write(message: &str, values: &[i64]) -> Vec<u8> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let schema = Arc::new(parse_message_type(message).expect("a schema"));
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    while let Some(mut column) = group.next_column().expect("a column") {
        let levels = vec![1; values.len()];
        column.typed::<Int64Type>().write_batch(values, Some(&levels), None).expect("written");
        column.close().expect("closed");
    }
    group.close().expect("closed");
    writer.into_inner().expect("a file")
}

pub fn ident(table: &str) -> Ident {
    crate::replica::ident(&format!("n/{table}"))
}

async fn build(config: &Path) -> App {
    let text = std::fs::read_to_string(config).expect("a configuration");
    let config = Config::parse(&text, &Environment::new(&|_| None, "/")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    app::build(&config).await.expect("built")
}
