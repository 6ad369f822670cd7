//! A standby over a folder into which files arrive.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use lifeboat::app::{self, App};
use lifeboat::config::{Config, Environment};
use lifeboat::error::Result;
use lifeboat::model::{CatalogName, Ident, Namespace, Operation, Principal};
use lifeboat::replica::{Replica, TableStatus};
use lifeboat::upstream::{Request, Target};
use serde_json::Value;

use crate::relocation::PROD;

/// One site.
pub struct Standby {
    pub folder: tempfile::TempDir,
    app: App,
}

impl Standby {
    /// With further lines for the section `replica`.
    pub async fn start(lines: &str) -> Standby {
        let folder = tempfile::tempdir().expect("a folder");
        let app = build(folder.path(), lines, "overlay").await;
        Standby { folder, app }
    }

    /// The same site with another overlay.
    pub async fn restart_with_overlay(self, lines: &str, overlay: &str) -> Standby {
        let Standby { folder, app } = self;
        drop(app);
        let app = build(folder.path(), lines, overlay).await;
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
        let app = build(folder.path(), lines, "overlay").await;
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
        self.replica().sync(&[]).await.expect("looked")
    }

    fn catalog(&self) -> &app::AppCatalog {
        self.app.catalogs.values().next().expect("one catalog")
    }

    /// Asks as a client does.
    pub async fn ask(&self, operation: Operation, target: Target, body: &str) -> Result<Value> {
        let request = Request {
            id: "test".into(),
            operation,
            catalog: CatalogName::parse("dr").expect("valid"),
            target,
            query: Vec::new(),
            headers: HeaderMap::new(),
            principal: Arc::new(Principal::local()),
            body: Bytes::from(body.to_owned()),
        };
        let answer = self.catalog().stack.call(request).await?;
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    pub async fn load(&self, table: &Ident) -> Result<Value> {
        self.ask(Operation::LoadTable, Target::Object(table.clone()), "").await
    }
}

async fn build(folder: &Path, lines: &str, overlay: &str) -> App {
    let at = folder.display();
    let text = format!(
        "catalogs:\n  dr:\n    embedded:\n      database: sqlite:{at}/catalog.db\n      warehouse: file://{at}/own\n    replica:\n      \
         map:\n        - {{ from: \"{PROD}\", to: \"{at}/dr\" }}\n      overlay: {at}/{overlay}\n{lines}"
    );
    let config = Config::parse(&text, &Environment::new(&|_| None, "/")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    app::build(&config).await.expect("built")
}

/// `namespace.name` of a test's table.
pub fn ident(folder: &str) -> Ident {
    let (namespace, name) = folder.split_once('/').expect("two levels");
    Ident::new(Namespace::new(vec![namespace.to_owned()]).expect("valid"), name).expect("valid")
}
