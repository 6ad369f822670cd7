//! The layer that lets clients see one naming of the storage and the upstream another: `s3a://` here and `s3://` there, an access point, another mount.
//!
//! What a client hears is in its naming: the answers, and behind them a tree of metadata files in the overlay, relocated once for every metadata.json.
//! What it asks is in the upstream's, and the files that it committed are relocated back before. What must hold: the upstream is never given a path of
//! the overlay; a table that has not changed costs no request to storage; once the upstream has done a write, no answer says that it was not done. What
//! is not known to be a location passes: SQL text, error messages, metrics reports, signed requests.

mod answers;
mod commits;
mod etag;
mod naming;
mod plans;
mod requests;
#[cfg(test)]
mod tests;
mod trees;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

pub use naming::ClientLocationsSettings;

use crate::error::{Error, Kind, Result};
use crate::model::{Access, Ident, Operation};
use crate::storage::Storage;
use crate::upstream::{Catalog, Request, Response, Target};
use naming::Naming;
use trees::Trees;

/// Maps locations between clients and the catalog below.
pub struct ClientLocations {
    inner: Arc<dyn Catalog>,
    storage: Arc<Storage>,
    naming: Arc<Naming>,
    trees: Trees,
}

/// Why a request does not go on.
enum Stop {
    /// It is wrong, or we failed.
    Error(Error),
    /// The upstream refused what had to be asked before.
    Answer(Response),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

impl ClientLocations {
    /// Around a catalog whose files are in `storage`. Refuses a map without a way back.
    pub fn new(inner: Arc<dyn Catalog>, storage: Arc<Storage>, settings: ClientLocationsSettings) -> Result<Self> {
        let naming = Arc::new(Naming::new(settings)?);
        let trees = Trees::new(storage.clone(), naming.clone());
        Ok(ClientLocations { inner, storage, naming, trees })
    }
}

#[async_trait]
impl Catalog for ClientLocations {
    async fn call(&self, mut request: Request) -> Result<Response> {
        etag::inward(&mut request.headers, &self.naming.tag);
        let (operation, ident) = (request.operation, made(&request));
        let asked = match self.request(request).await {
            Ok(asked) => asked,
            Err(Stop::Error(error)) => return Err(error.context("mapping the request's locations")),
            Err(Stop::Answer(answer)) => return Ok(answer),
        };
        let mut response = self.inner.call(asked).await?;
        etag::outward(&mut response.headers, &self.naming.tag);
        if !response.status.is_success() {
            return Ok(response);
        }
        let mapped = self.answer(operation, ident.as_ref(), &response.body).await;
        response.body = mapped.map_err(|error| {
            let error = error.context("mapping the answer's locations");
            match operation.access() {
                Access::Write => {
                    Error::new(Kind::OutcomeUnknown, "the write was done, but cannot be told").with_source(error)
                }
                _ => error,
            }
        })?;
        Ok(response)
    }

    async fn ready(&self) -> Result<()> {
        self.inner.ready().await
    }
}

/// The table or view that an answer will be about.
fn made(request: &Request) -> Option<Ident> {
    match &request.target {
        Target::Object(ident) => Some(ident.clone()),
        Target::Namespace(namespace)
            if matches!(request.operation, Operation::CreateTable | Operation::RegisterTable) =>
        {
            let body: Value = serde_json::from_slice(&request.body).ok()?;
            Ident::new(namespace.clone(), body["name"].as_str()?).ok()
        }
        _ => None,
    }
}

/// A fault before the commit: nothing has landed, and neither a missing file nor one in the way is what these words mean to clients.
fn before_commit(error: Error) -> Error {
    match error.kind() {
        Kind::NotFound => Error::bad_request(error.to_string()),
        Kind::AlreadyExists => Error::internal(error.to_string()),
        _ => error,
    }
}
