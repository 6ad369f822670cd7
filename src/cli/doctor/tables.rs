//! Every table's location, asked from the catalog as a client would ask.
//!
//! At most [`TABLES_MAX`] tables are loaded and [`REQUESTS_MAX`] requests made; a look that stopped there says so.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::HeaderMap;
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Ident, Namespace, Operation, Principal};
use crate::upstream::{Catalog, Request, Target};

use super::finding::Finding;
use super::locations::{self, Placed};

/// Most tables that are loaded.
const TABLES_MAX: usize = 2_000;
/// Most requests to list namespaces and tables.
const REQUESTS_MAX: usize = 5_000;
/// Tables loaded at once.
const LOADS_AT_ONCE: usize = 8;
/// Between the levels of a namespace in the query parameter `parent`.
const SEPARATOR: &str = "\u{1f}";

/// Looks at the locations of a catalog's tables.
pub(super) async fn examine(name: &CatalogName, catalog: &dyn Catalog) -> Vec<Finding> {
    const CHECK: &str = "tables";
    let advice = "load the table with an engine and look into the log";
    let mut look = Look { name, catalog, requests: 0 };
    let (tables, whole) = match look.tables().await {
        Ok(found) => found,
        Err(error) => return vec![Finding::failed(CHECK, name.as_str(), error.to_string(), advice)],
    };
    let loads = tables.iter().map(|ident| look.location(ident));
    let loaded: Vec<_> = futures::stream::iter(loads).buffered(LOADS_AT_ONCE).collect().await;
    let (mut placed, mut broken) = (Vec::new(), Vec::new());
    for (ident, loaded) in tables.iter().zip(loaded) {
        match loaded {
            Ok(Some(location)) => placed.push(Placed { table: ident.to_string(), location }),
            // dropped since it was listed
            Err(error) if error.kind() == Kind::NoSuchTable => {}
            Ok(None) => broken.push(format!("{ident} has no location")),
            Err(error) => broken.push(format!("{ident}: {error}")),
        }
    }
    let mut findings = vec![match (broken.first(), whole) {
        (Some(first), _) => {
            let message = format!("{} of {} cannot be loaded: {first}", broken.len(), tables.len());
            Finding::failed(CHECK, name.as_str(), message, advice)
        }
        (None, false) => {
            let message = format!("the first {} can be loaded; there are more, which were not looked at", placed.len());
            Finding::ok(CHECK, name.as_str(), message)
        }
        (None, true) => Finding::ok(CHECK, name.as_str(), format!("all {} can be loaded", placed.len())),
    }];
    findings.push(locations::aliases(name.as_str(), &placed));
    findings.push(locations::overlaps(name.as_str(), &placed));
    findings
}

struct Look<'a> {
    name: &'a CatalogName,
    catalog: &'a dyn Catalog,
    requests: usize,
}

impl Look<'_> {
    /// Every table, breadth first, and whether these are all.
    async fn tables(&mut self) -> Result<(Vec<Ident>, bool)> {
        let mut tables = Vec::new();
        let mut waiting = vec![None::<Namespace>];
        while let Some(parent) = waiting.pop() {
            waiting.extend(self.namespaces(parent.as_ref()).await?.into_iter().map(Some));
            if let Some(namespace) = &parent {
                tables.extend(self.tables_in(namespace).await?);
            }
            if tables.len() > TABLES_MAX || self.requests > REQUESTS_MAX {
                tables.truncate(TABLES_MAX);
                return Ok((tables, false));
            }
        }
        Ok((tables, true))
    }

    async fn namespaces(&mut self, parent: Option<&Namespace>) -> Result<Vec<Namespace>> {
        let query = parent.map(|parent| ("parent".to_owned(), parent.levels().join(SEPARATOR))).into_iter().collect();
        let pages = match self.pages(Operation::ListNamespaces, Target::Catalog, query, "namespaces").await {
            // a catalog without nesting may refuse to look below
            Err(error) if parent.is_some() && is_no(&error) => return Ok(Vec::new()),
            pages => pages?,
        };
        let mut found = Vec::new();
        for item in pages {
            let levels = levels(&item).ok_or_else(|| bad(Operation::ListNamespaces))?;
            let namespace = Namespace::new(levels)?;
            // some catalogs answer with the parent itself, or with everything below
            if namespace.levels().len() == parent.map_or(0, |parent| parent.levels().len()) + 1 {
                found.push(namespace);
            }
        }
        Ok(found)
    }

    async fn tables_in(&mut self, namespace: &Namespace) -> Result<Vec<Ident>> {
        let target = Target::Namespace(namespace.clone());
        let pages = self.pages(Operation::ListTables, target, Vec::new(), "identifiers").await?;
        let names = pages.iter().map(|item| item.get("name").and_then(Value::as_str));
        names.map(|name| Ident::new(namespace.clone(), name.ok_or_else(|| bad(Operation::ListTables))?)).collect()
    }

    /// The items of every page of a list.
    async fn pages(
        &mut self,
        operation: Operation,
        target: Target,
        query: Vec<(String, String)>,
        member: &str,
    ) -> Result<Vec<Value>> {
        let (mut items, mut token) = (Vec::new(), None::<String>);
        loop {
            self.requests += 1;
            let paged = token.map(|token| ("pageToken".to_owned(), token));
            let mut answer = self.ask(operation, target.clone(), query.iter().cloned().chain(paged).collect()).await?;
            let Some(Value::Array(page)) = answer.get_mut(member).map(Value::take) else { return Err(bad(operation)) };
            items.extend(page);
            token = answer.get("next-page-token").and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
            if token.is_none() || items.len() > TABLES_MAX || self.requests > REQUESTS_MAX {
                return Ok(items);
            }
        }
    }

    async fn location(&self, ident: &Ident) -> Result<Option<String>> {
        let query = vec![("snapshots".to_owned(), "refs".to_owned())];
        let answer = self.ask(Operation::LoadTable, Target::Object(ident.clone()), query).await?;
        Ok(answer.get("metadata").and_then(|m| m.get("location")).and_then(Value::as_str).map(str::to_owned))
    }

    async fn ask(&self, operation: Operation, target: Target, query: Vec<(String, String)>) -> Result<Value> {
        let request = Request {
            id: Arc::from("doctor"),
            operation,
            catalog: self.name.clone(),
            target,
            query,
            headers: HeaderMap::new(),
            principal: Arc::new(Principal::local()),
            body: Bytes::new(),
        };
        let response = self.catalog.call(request).await?;
        let json: Option<Value> = serde_json::from_slice(&response.body).ok();
        if response.status.is_success() {
            return json.ok_or_else(|| bad(operation));
        }
        let said = json.as_ref().and_then(|json| json.get("error")?.get("message")?.as_str()).unwrap_or("no message");
        let kind = match response.status.as_u16() {
            404 if operation == Operation::LoadTable => Kind::NoSuchTable,
            404 => Kind::NotFound,
            400 => Kind::BadRequest,
            _ => Kind::BadUpstream,
        };
        Err(Error::new(kind, format!("{} gave {}: {said}", operation.name(), response.status)))
    }
}

fn is_no(error: &Error) -> bool {
    matches!(error.kind(), Kind::BadRequest | Kind::NotFound | Kind::NoSuchNamespace | Kind::Unsupported)
}

fn bad(operation: Operation) -> Error {
    Error::new(Kind::BadUpstream, format!("the answer to {} is not what the specification says", operation.name()))
}

fn levels(item: &Value) -> Option<Vec<String>> {
    item.as_array()?.iter().map(|level| level.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use serde_json::json;

    use super::super::finding::Status;
    use super::*;
    use crate::upstream::Response;

    /// A catalog of a nested namespace with pages of one table, one of them inside another and one gone when it is loaded.
    struct Few;

    #[async_trait]
    impl Catalog for Few {
        async fn call(&self, request: Request) -> Result<Response> {
            let answer = match (request.operation, &request.target) {
                (Operation::ListNamespaces, _) => match request.query("parent") {
                    None => json!({ "namespaces": [["a"]] }),
                    Some("a") => json!({ "namespaces": [["a"], ["a", "b"], ["a", "b", "c"]] }),
                    Some(_) => return Err(Error::new(Kind::Unsupported, "no deeper")),
                },
                (Operation::ListTables, Target::Namespace(namespace)) if namespace.levels().len() == 2 => {
                    match request.query("pageToken") {
                        None => json!({ "identifiers": [{ "name": "outer" }], "next-page-token": "1" }),
                        Some("1") => json!({ "identifiers": [{ "name": "inner" }], "next-page-token": "2" }),
                        Some(_) => json!({ "identifiers": [{ "name": "gone" }] }),
                    }
                }
                (Operation::ListTables, _) => json!({ "identifiers": [], "next-page-token": null }),
                (Operation::LoadTable, Target::Object(ident)) => match ident.name.as_str() {
                    "outer" => json!({ "metadata": { "location": "s3://x/t" } }),
                    "inner" => json!({ "metadata": { "location": "s3a://x/t/in" } }),
                    _ => return Err(Error::new(Kind::NoSuchTable, "gone")),
                },
                _ => return Err(Error::internal("not asked for")),
            };
            Ok(Response::json(&answer))
        }
    }

    #[tokio::test]
    async fn every_page_of_every_namespace_is_looked_at() {
        let name = CatalogName::parse("main").expect("plain");
        let findings = examine(&name, &Few).await;
        let told: Vec<_> = findings.iter().map(|finding| (finding.check, finding.status)).collect();
        let wanted =
            [("tables", Status::Ok), ("scheme aliases", Status::Warning), ("overlapping tables", Status::Failed)];
        assert_eq!(told, wanted);
        assert_eq!(findings[0].message, "all 2 can be loaded");
        assert_eq!(findings[2].message, "a.b.inner is inside a.b.outer");
    }
}
