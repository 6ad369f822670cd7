//! What a replica asks of a REST catalog, as requests of its own.
//!
//! What must hold: reads go to the catalog itself and never to what a layer has kept; writes go through the layers, so that what they have kept is void.
//! An answer that is no success is an error of the kind that its status means.

use std::sync::Arc;

use http::StatusCode;
use http::header::{self, HeaderValue};
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::format::metadata::table::Step;
use crate::model::{CatalogName, Ident, Operation};
use crate::storage::Location;
use crate::upstream::asking::{Asking, is_absent, read};
use crate::upstream::pointer::Kept;
use crate::upstream::{Catalog, Target};

/// The doors of one REST catalog.
pub(super) struct Asks {
    reads: Asking,
    writes: Asking,
}

/// A table or view as the catalog holds it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) kept: Kept,
    pub(super) metadata_location: Location,
    pub(super) metadata: Value,
    pub(super) etag: Option<HeaderValue>,
}

/// What became of a load.
pub(super) enum Load {
    Absent,
    /// It is as it was when it was given this ETag.
    Same,
    Found(Box<Found>),
}

/// How much of a table is loaded.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Extent {
    All,
    /// All, unless it still has this ETag.
    Changed(HeaderValue),
    /// With the snapshots of branches and tags only: enough to see whether it moved.
    Heads,
}

impl Asks {
    pub(super) fn new(catalog: CatalogName, reads: Arc<dyn Catalog>, writes: Arc<dyn Catalog>) -> Asks {
        let asking = |door| Asking::new(catalog.clone(), door, "replica");
        Asks { reads: asking(reads), writes: asking(writes) }
    }

    /// The catalog's description of itself.
    pub(super) async fn config(&self) -> Result<Value> {
        self.read(Operation::GetConfig, Target::Catalog).await
    }

    /// A table, or the view of that name where there is no table.
    pub(super) async fn load(&self, ident: &Ident, kept: Option<Kept>, extent: &Extent) -> Result<Load> {
        if kept != Some(Kept::View) {
            let load = self.load_one(ident, Kept::Table, extent).await?;
            if kept.is_some() || !matches!(load, Load::Absent) {
                return Ok(load);
            }
        }
        match self.load_one(ident, Kept::View, extent).await {
            // it has no views
            Err(error) if error.kind() == Kind::Unsupported => Ok(Load::Absent),
            other => other,
        }
    }

    async fn load_one(&self, ident: &Ident, kept: Kept, extent: &Extent) -> Result<Load> {
        let operation = match kept {
            Kept::Table => Operation::LoadTable,
            Kept::View => Operation::LoadView,
        };
        let mut request = self.reads.request(operation, Target::Object(ident.clone()), &Value::Null);
        match extent {
            Extent::Changed(etag) => drop(request.headers.insert(header::IF_NONE_MATCH, etag.clone())),
            Extent::Heads if kept == Kept::Table => request.query.push(("snapshots".to_owned(), "refs".to_owned())),
            _ => {}
        }
        let response = match self.reads.call(request, Kind::BadUpstream).await {
            Err(e) if is_absent(e.kind()) => return Ok(Load::Absent),
            other => other?,
        };
        if response.status == StatusCode::NOT_MODIFIED {
            return Ok(Load::Same);
        }
        let etag = response.headers.get(header::ETAG).cloned();
        let mut body = read(&response)?;
        let location = body["metadata-location"].as_str();
        let location =
            location.ok_or_else(|| Error::new(Kind::BadUpstream, format!("{ident} has no metadata-location")))?;
        let (metadata_location, metadata) = (Location::new(location), body["metadata"].take());
        Ok(Load::Found(Box::new(Found { kept, metadata_location, metadata, etag })))
    }

    /// [`Kind::AlreadyExists`] where the name is taken, or taken and not to be overwritten.
    pub(super) async fn register(&self, ident: &Ident, kept: Kept, location: &Location, overwrite: bool) -> Result<()> {
        let operation = match kept {
            Kept::Table => Operation::RegisterTable,
            Kept::View => Operation::RegisterView,
        };
        let mut body = json!({ "name": ident.name, "metadata-location": location.as_str() });
        if overwrite {
            body["overwrite"] = true.into();
        }
        self.write(operation, Target::Namespace(ident.namespace.clone()), body, Kind::AlreadyExists).await
    }

    /// [`Kind::CommitFailed`] where a requirement does not hold any more.
    pub(super) async fn commit(&self, ident: &Ident, kept: Kept, step: &Step) -> Result<()> {
        let operation = match kept {
            Kept::Table => Operation::UpdateTable,
            Kept::View => Operation::ReplaceView,
        };
        let identifier = json!({ "namespace": ident.namespace.levels(), "name": ident.name });
        let body = json!({ "identifier": identifier, "requirements": step.requirements, "updates": step.updates });
        self.write(operation, Target::Object(ident.clone()), body, Kind::CommitFailed).await
    }

    /// What the catalog itself answers.
    pub(super) async fn read(&self, operation: Operation, target: Target) -> Result<Value> {
        read(&self.reads.call(self.reads.request(operation, target, &Value::Null), Kind::BadUpstream).await?)
    }

    /// Writes through the layers; `conflict` is what 409 means.
    pub(super) async fn write(&self, operation: Operation, target: Target, body: Value, conflict: Kind) -> Result<()> {
        self.writes.call(self.writes.request(operation, target, &body), conflict).await.map(drop)
    }
}
