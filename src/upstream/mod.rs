//! The port to the catalog behind us, and the one shape of request and answer that every storey speaks.
//!
//! [`Catalog`] is declared here, at the floor, and worn by every layer above. What must hold: what a layer does not know
//! travels in `body` and `headers` untouched; a write whose fate is unknown is [`crate::error::Kind::OutcomeUnknown`].

pub mod asking;
pub mod embedded;
pub mod members;
pub mod pointer;
pub mod rest;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::{CatalogName, Ident, Namespace, Operation, Principal};

/// What an operation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The whole catalog.
    Catalog,
    /// One namespace.
    Namespace(Namespace),
    /// One table, view or function, as the operation says.
    Object(Ident),
    /// One scan plan of a table.
    Plan(Ident, String),
}

/// One request of a client, understood as far as its route goes.
#[derive(Debug, Clone)]
pub struct Request {
    /// For logs, and passed on to the upstream.
    pub id: Arc<str>,
    /// What is asked.
    pub operation: Operation,
    /// Of which catalog.
    pub catalog: CatalogName,
    /// About what.
    pub target: Target,
    /// Query parameters, decoded, in the client's order.
    pub query: Vec<(String, String)>,
    /// The client's headers; hop-by-hop ones and `host` removed.
    pub headers: HeaderMap,
    /// Who asks.
    pub principal: Arc<Principal>,
    /// The body as it came; empty when there was none.
    pub body: Bytes,
}

impl Request {
    /// A query parameter's first value.
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A header as text, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as a JSON object.
    pub fn json(&self) -> Result<Value> {
        let value: Value = serde_json::from_slice(&self.body)
            .map_err(|e| Error::bad_request(format!("the request body is not valid JSON: {e}")))?;
        if value.is_object() { Ok(value) } else { Err(Error::bad_request("the request body must be a JSON object")) }
    }

    /// The namespace that is asked about, or the one of the object asked about.
    pub fn namespace(&self) -> Result<&Namespace> {
        match &self.target {
            Target::Namespace(namespace) => Ok(namespace),
            Target::Object(ident) | Target::Plan(ident, _) => Ok(&ident.namespace),
            Target::Catalog => Err(Error::internal(format!("{} has no namespace", self.operation.name()))),
        }
    }

    /// The table, view or function that is asked about.
    pub fn ident(&self) -> Result<&Ident> {
        match &self.target {
            Target::Object(ident) | Target::Plan(ident, _) => Ok(ident),
            _ => Err(Error::internal(format!("{} names no table or view", self.operation.name()))),
        }
    }
}

/// One answer. Errors of ours travel as [`Error`]; an upstream's error answer travels as it came.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers, without hop-by-hop ones.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// 204 without a body.
    pub fn no_content() -> Self {
        Response { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// 200 with a JSON body.
    pub fn json(value: &Value) -> Self {
        Self::json_bytes(Bytes::from(value.to_string()))
    }

    /// 200 with a body that is JSON already.
    pub fn json_bytes(body: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Response { status: StatusCode::OK, headers, body }
    }
}

/// A catalog: the upstream itself, or a layer around one.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Answers one request.
    async fn call(&self, request: Request) -> Result<Response>;

    /// Whether it could answer now: the upstream is reachable, the database is open.
    async fn ready(&self) -> Result<()> {
        Ok(())
    }
}
