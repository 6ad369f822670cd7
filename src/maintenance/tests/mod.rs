//! Retention against a simple model, and expiries of random tables: what goes, what stays, what happens when it is cut off or raced.

mod expiry;
mod model;
mod orphans;
mod policy;
pub mod world;

use std::sync::Arc;

use async_trait::async_trait;

use super::{Holds, Site};
use crate::error::Result;
use crate::model::{CatalogName, Ident, Namespace};
use crate::telemetry::Metrics;
use crate::testing::Bed;
use crate::upstream::Catalog;
use crate::upstream::asking::Asking;
use crate::upstream::embedded::Purges;

/// The bed's catalog, to be maintained.
pub fn site(bed: &Bed) -> Site {
    site_of(bed, bed.catalog.clone())
}

/// The same, asked through something.
pub fn site_of(bed: &Bed, catalog: Arc<dyn Catalog>) -> Site {
    let name = CatalogName::parse("main").expect("valid");
    Site {
        catalog: name.clone(),
        tables: Asking::new(name, catalog, "test"),
        storage: bed.storage.clone(),
        databases: [Purges::new(bed.database.clone())].into(),
        is_embedded: true,
        state: Some(bed.database.clone()),
        client_locations: None,
        spared: Vec::new(),
        landings: Vec::new(),
        holds: Vec::new(),
        metrics: Metrics::new(),
    }
}

/// `n.NAME`.
pub fn ident(name: &str) -> Ident {
    Ident::new(Namespace::new(vec!["n".into()]).expect("valid"), name).expect("valid")
}

/// A reader that stands at these snapshots.
pub struct Readers(pub Vec<i64>);

#[async_trait]
impl Holds for Readers {
    async fn held(&self, _: &CatalogName, _: &str) -> Result<Vec<i64>> {
        Ok(self.0.clone())
    }
}
