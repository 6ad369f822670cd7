//! The catalog as its journal's writer asks it: everything that has a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{Committed, committed, identifier, namespace};
use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Ident, Namespace, Operation, Principal};
use crate::upstream::{Catalog, Request, Target};

/// Pages of one listing.
const PAGES_MAX: usize = 100_000;

/// Asks the catalog as a client would.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) name: CatalogName,
    pub(super) inner: Arc<dyn Catalog>,
}

impl Asking {
    /// All namespaces, those above first.
    pub(super) async fn namespaces(&self) -> Result<Vec<Namespace>> {
        let mut all = self.below(None).await?;
        let mut at = 0;
        while let Some(next) = all.get(at).cloned() {
            all.extend(self.below(Some(&next)).await?);
            at += 1;
        }
        Ok(all)
    }

    async fn below(&self, parent: Option<&Namespace>) -> Result<Vec<Namespace>> {
        let query: Vec<_> = parent.map(|parent| ("parent".to_owned(), parent.joined())).into_iter().collect();
        let listed = self.pages(Operation::ListNamespaces, Target::Catalog, query, "namespaces").await?;
        // some servers answer with the parent itself
        let below = listed.iter().filter_map(namespace);
        let depth = parent.map_or(0, |parent| parent.levels().len());
        Ok(below.filter(|namespace| namespace.levels().len() == depth + 1).collect())
    }

    /// All tables and views of a namespace.
    pub(super) async fn objects(&self, namespace: &Namespace) -> Result<Vec<(Operation, Ident)>> {
        let mut found = Vec::new();
        for (list, load) in [(Operation::ListTables, Operation::LoadTable), (Operation::ListViews, Operation::LoadView)]
        {
            let listed = match self.pages(list, Target::Namespace(namespace.clone()), Vec::new(), "identifiers").await {
                // a catalog without views
                Err(e) if list == Operation::ListViews && e.kind() != Kind::Unavailable => continue,
                listed => listed?,
            };
            found.extend(listed.iter().filter_map(identifier).map(|ident| (load, ident)));
        }
        Ok(found)
    }

    /// The state of a table or view; `None` where there is none.
    pub(super) async fn load(&self, operation: Operation, ident: &Ident) -> Result<Option<Committed>> {
        let query = match operation {
            Operation::LoadTable => vec![("snapshots".to_owned(), "refs".to_owned())],
            _ => Vec::new(),
        };
        let answer = self.ask(operation, Target::Object(ident.clone()), query).await?;
        Ok(answer.and_then(|answer| committed(ident.clone(), &answer)))
    }

    /// A namespace's properties; `None` where there is none.
    pub(super) async fn properties(&self, namespace: &Namespace) -> Result<Option<BTreeMap<String, String>>> {
        let answer = self.ask(Operation::LoadNamespace, Target::Namespace(namespace.clone()), Vec::new()).await?;
        Ok(answer.map(|answer| serde_json::from_value(answer["properties"].clone()).unwrap_or_default()))
    }

    async fn pages(
        &self,
        operation: Operation,
        target: Target,
        query: Vec<(String, String)>,
        key: &str,
    ) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = query.clone();
            query.extend(token.take().map(|token| ("pageToken".to_owned(), token)));
            let Some(mut answer) = self.ask(operation, target.clone(), query).await? else { break };
            if let Some(Value::Array(listed)) = answer.get_mut(key).map(Value::take) {
                all.extend(listed);
            }
            token = answer["next-page-token"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        Ok(all)
    }

    async fn ask(&self, operation: Operation, target: Target, query: Vec<(String, String)>) -> Result<Option<Value>> {
        let request = Request {
            id: "journal".into(),
            operation,
            catalog: self.name.clone(),
            target,
            query,
            headers: HeaderMap::new(),
            principal: Arc::new(Principal::local()),
            body: Bytes::new(),
        };
        let answer = match self.inner.call(request).await {
            Err(e) if matches!(e.kind(), Kind::NoSuchTable | Kind::NoSuchView | Kind::NoSuchNamespace) => {
                return Ok(None);
            }
            answer => answer?,
        };
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !answer.status.is_success() {
            let message = format!("{} was answered with {}", operation.name(), answer.status);
            return Err(Error::new(Kind::BadUpstream, message));
        }
        serde_json::from_slice(&answer.body)
            .map(Some)
            .map_err(|e| Error::new(Kind::BadUpstream, format!("{} was answered with no JSON: {e}", operation.name())))
    }
}
