//! A standby over a folder into which files arrive.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use lifeboat::app::{self, App};
use lifeboat::config::{Config, Environment};
use lifeboat::error::Result;
use lifeboat::model::{Ident, Namespace, Operation, Principal};
use lifeboat::replica::{Replica, TableStatus};
use lifeboat::server::ServedCatalog;
use lifeboat::upstream::{Request, Target};
use serde_json::Value;

use crate::relocation::PROD;

/// One site.
pub struct Standby {
    pub folder: Arc<tempfile::TempDir>,
    app: App,
}

impl Standby {
    /// With further lines for the section `replica`.
    pub async fn start(lines: &str) -> Standby {
        Self::open(tempfile::tempdir().expect("a folder"), lines, None).await
    }

    /// In a folder in which files have arrived, on SQLite or another database.
    pub async fn open(folder: tempfile::TempDir, lines: &str, database: Option<&str>) -> Standby {
        let app = build(&yaml(folder.path(), lines, "overlay", database)).await;
        Standby { folder: Arc::new(folder), app }
    }

    /// With another pair in place of the usual one.
    pub async fn with(folder: tempfile::TempDir, lines: &str, pair: &str) -> Standby {
        let usual = yaml(folder.path(), lines, "overlay", None);
        let own = usual.lines().find(|line| line.contains("from:")).expect("a pair");
        let app = build(&usual.replace(&format!("{own}\n"), pair)).await;
        Standby { folder: Arc::new(folder), app }
    }

    /// A second server of the same site.
    pub async fn beside(&self, lines: &str, database: &str) -> Standby {
        let app = build(&yaml(self.folder.path(), lines, "overlay", Some(database))).await;
        Standby { folder: self.folder.clone(), app }
    }

    /// The same site with another overlay.
    pub async fn restart_with_overlay(self, lines: &str, overlay: &str) -> Standby {
        let Standby { folder, app } = self;
        drop(app);
        let app = build(&yaml(folder.path(), lines, overlay, None)).await;
        Standby { folder, app }
    }

    /// The same site, begun anew; with `forget` its database is lost.
    pub async fn restart(self, lines: &str, forget: bool) -> Standby {
        let Standby { folder, app } = self;
        drop(app);
        if forget {
            for file in std::fs::read_dir(folder.path()).expect("a folder").flatten() {
                if file.file_name().to_string_lossy().starts_with("catalog.db") {
                    std::fs::remove_file(file.path()).expect("removed");
                }
            }
        }
        let app = build(&yaml(folder.path(), lines, "overlay", None)).await;
        Standby { folder, app }
    }

    /// Where files arrive.
    pub fn arrivals(&self) -> PathBuf {
        self.folder.path().join("dr")
    }

    pub fn replica(&self) -> &Replica {
        self.catalog().replica.as_ref().expect("it is a replica")
    }

    pub async fn sync(&self) -> Vec<TableStatus> {
        self.replica().sync(&[], lifeboat::replica::Recheck::WhenDue).await.expect("looked")
    }

    /// What its server serves.
    pub fn served(&self) -> ServedCatalog {
        let catalog = self.catalog();
        ServedCatalog {
            stack: catalog.stack.clone(),
            separator: None,
            kind: catalog.kind,
            passthrough: false,
            replica: catalog.replica.clone(),
            appends: catalog.appends.clone(),
            maintained: catalog.maintained.clone(),
        }
    }

    /// What it serves of changes.
    pub fn feeds(&self, storage: Arc<lifeboat::storage::Storage>) -> lifeboat::changes::Feeds {
        self.app.feeds(storage)
    }

    fn catalog(&self) -> &app::AppCatalog {
        self.app.catalogs.values().next().expect("one catalog")
    }

    /// Asks as a client does.
    pub async fn ask(&self, operation: Operation, target: Target, body: &str) -> Result<Value> {
        ask(&self.app, operation, target, body).await
    }

    /// The table in a folder, which is served.
    pub async fn load_of(&self, folder: &str) -> Value {
        self.load(&ident(folder)).await.expect("served")
    }

    pub async fn load(&self, table: &Ident) -> Result<Value> {
        self.ask(Operation::LoadTable, Target::Object(table.clone()), "").await
    }
}

/// Asks the first catalog of a site as a client does.
pub async fn ask(app: &App, operation: Operation, target: Target, body: &str) -> Result<Value> {
    let (name, catalog) = app.catalogs.iter().next().expect("one catalog");
    let request = Request {
        id: "test".into(),
        operation,
        catalog: name.clone(),
        target,
        query: Vec::new(),
        headers: HeaderMap::new(),
        principal: Arc::new(Principal::local()),
        body: Bytes::from(body.to_owned()),
    };
    let answer = catalog.stack.call(request).await?;
    Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// A configuration whose files arrive in `dr` of the folder.
pub fn yaml(folder: &Path, lines: &str, overlay: &str, database: Option<&str>) -> String {
    let at = folder.display();
    let database = database.map_or_else(|| format!("sqlite:{at}/catalog.db"), str::to_owned);
    format!(
        "catalogs:\n  dr:\n    embedded:\n      database: \"{database}\"\n      warehouse: file://{at}/own\n    replica:\n      \
         map:\n        - {{ from: \"{PROD}\", to: \"{at}/dr\" }}\n      overlay: {at}/{overlay}\n{lines}"
    )
}

async fn build(text: &str) -> App {
    let config = Config::parse(text, &Environment::new(&|_| None, "/")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    app::build(&config).await.expect("built")
}

/// `namespace.name` of a test's table.
pub fn ident(folder: &str) -> Ident {
    let (namespace, name) = folder.split_once('/').expect("two levels");
    Ident::new(Namespace::new(vec![namespace.to_owned()]).expect("valid"), name).expect("valid")
}
