//! What a replica asks of a REST catalog, as requests of its own.
//!
//! What must hold: reads go to the catalog itself and never to what a layer has kept; writes go through the layers, so that what they have kept is void.
//! An answer that is no success is an error of the kind that its status means.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::format::metadata::table::Step;
use crate::model::{CatalogName, Ident, Operation, Principal, Role};
use crate::storage::Location;
use crate::upstream::pointer::Kept;
use crate::upstream::{Catalog, Request, Response, Target};

/// Who asks, in logs.
const NAME: &str = "replica";

/// The doors of one REST catalog.
pub(super) struct Asks {
    catalog: CatalogName,
    reads: Arc<dyn Catalog>,
    writes: Arc<dyn Catalog>,
    principal: Arc<Principal>,
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
        let principal = Principal::new(NAME, [("*".to_owned(), Role::Operator)].into());
        Asks { catalog, reads, writes, principal: Arc::new(principal) }
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
        let mut request = self.request(operation, Target::Object(ident.clone()), Value::Null);
        match extent {
            Extent::Changed(etag) => drop(request.headers.insert(header::IF_NONE_MATCH, etag.clone())),
            Extent::Heads if kept == Kept::Table => request.query.push(("snapshots".to_owned(), "refs".to_owned())),
            _ => {}
        }
        let response = match self.reads.call(request).await {
            Err(e) if matches!(e.kind(), Kind::NoSuchTable | Kind::NoSuchView | Kind::NoSuchNamespace) => {
                return Ok(Load::Absent);
            }
            other => other?,
        };
        match response.status {
            StatusCode::NOT_FOUND if !lacks_a_file(&response) => return Ok(Load::Absent),
            StatusCode::NOT_MODIFIED => return Ok(Load::Same),
            _ => {}
        }
        let etag = response.headers.get(header::ETAG).cloned();
        let mut body = read(&success(response, Kind::BadUpstream)?)?;
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
        let response = self.reads.call(self.request(operation, target, Value::Null)).await?;
        read(&success(response, Kind::BadUpstream)?)
    }

    /// Writes through the layers; `conflict` is what 409 means.
    pub(super) async fn write(&self, operation: Operation, target: Target, body: Value, conflict: Kind) -> Result<()> {
        success(self.writes.call(self.request(operation, target, body)).await?, conflict).map(drop)
    }

    fn request(&self, operation: Operation, target: Target, body: Value) -> Request {
        let mut headers = HeaderMap::new();
        if !body.is_null() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Request {
            id: format!("{NAME}-{}", uuid::Uuid::now_v7()).into(),
            operation,
            catalog: self.catalog.clone(),
            target,
            query: Vec::new(),
            headers,
            principal: self.principal.clone(),
            body: if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) },
        }
    }
}

/// Whether 404 speaks of a file: the table is there, and its metadata is not.
fn lacks_a_file(response: &Response) -> bool {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    body["error"]["type"] == "NotFoundException"
}

fn read(response: &Response) -> Result<Value> {
    let unreadable =
        |e: serde_json::Error| Error::new(Kind::BadUpstream, "the catalog's answer is not JSON").with_source(e);
    serde_json::from_slice(&response.body).map_err(unreadable)
}

/// The answer, unless it is an error; `conflict` is what 409 means.
fn success(response: Response, conflict: Kind) -> Result<Response> {
    let status = response.status;
    if status.is_success() {
        return Ok(response);
    }
    let kind = match status.as_u16() {
        401 | 403 => Kind::Forbidden,
        404 => Kind::NotFound,
        405 | 406 | 501 => Kind::Unsupported,
        409 => conflict,
        422 => Kind::Unprocessable,
        429 | 503 => Kind::Unavailable,
        400..=499 => Kind::BadRequest,
        // what was read was not read, what was written may have landed
        _ => Kind::OutcomeUnknown,
    };
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let said = body["error"]["message"].as_str().unwrap_or_default();
    Err(Error::new(kind, format!("the catalog answered {} {said}", status.as_u16())))
}
