//! A real table to work on: that of the demonstration, in a folder.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use lifeboat::app::{self, App};
use lifeboat::cli::demo;
use lifeboat::config::Config;
use lifeboat::model::{Ident, Namespace, Operation, Principal};
use lifeboat::upstream::{Request, Target};
use serde_json::Value as Json;

/// Data files of `harbour.voyages`.
pub const VOYAGES_FILES: u64 = 6;

/// Fills an embedded catalog, `main`, in a folder.
pub async fn fill(folder: &Path) -> App {
    let config = Config::embedded(folder, None).expect("a configuration");
    std::fs::create_dir_all(folder).expect("a folder");
    let app = app::build(&config).await.expect("built");
    let (name, catalog) = app.catalogs.iter().next().expect("one catalog");
    demo::fill(catalog.stack.as_ref(), name, &app.storage, &|_| {}).await.expect("filled");
    app
}

/// Where the metadata of a table in `harbour` is.
pub async fn metadata_location(app: &App, table: &str) -> String {
    let (name, catalog) = app.catalogs.iter().next().expect("one catalog");
    let namespace = Namespace::new(vec!["harbour".into()]).expect("valid");
    let request = Request {
        id: "test".into(),
        operation: Operation::LoadTable,
        catalog: name.clone(),
        target: Target::Object(Ident::new(namespace, table).expect("valid")),
        query: Vec::new(),
        headers: HeaderMap::new(),
        principal: Arc::new(Principal::local()),
        body: Bytes::new(),
    };
    let answer = catalog.stack.call(request).await.expect("it is there");
    let answer: Json = serde_json::from_slice(&answer.body).expect("JSON");
    answer["metadata-location"].as_str().expect("a location").to_owned()
}
