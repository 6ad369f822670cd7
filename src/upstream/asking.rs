//! A catalog asked as a client would, by what works behind: everything that has a name, and what has changed since it was known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{Catalog, Request, Target};
use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Event, Ident, Namespace, Operation, Principal, Role, Said};

/// Loads under way at once while all is compared.
const LOADS_AT_ONCE: usize = 8;
/// Pages of one listing.
const PAGES_MAX: usize = 100_000;

/// Asks the catalog as a client would.
#[derive(Clone)]
pub struct Asking {
    name: CatalogName,
    inner: Arc<dyn Catalog>,
    /// In logs and for who judges.
    who: &'static str,
}

/// A state of a table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its name.
    pub ident: Ident,
    /// Its uuid.
    pub uuid: String,
    /// Its metadata file.
    pub location: String,
}

/// What a catalog has that was not known.
#[derive(Debug, Default)]
pub struct Differences {
    /// States of tables and views.
    pub committed: Vec<Committed>,
    /// Namespaces, and what is gone.
    pub others: Vec<Event>,
}

impl Asking {
    /// Asks a catalog, as `who`.
    pub fn new(name: CatalogName, inner: Arc<dyn Catalog>, who: &'static str) -> Asking {
        Asking { name, inner, who }
    }

    /// Everything that the catalog has and `said` does not say.
    pub async fn differences(&self, said: &Said) -> Result<Differences> {
        let mut found = Differences::default();
        let namespaces = self.namespaces().await?;
        let mut there = BTreeSet::new();
        for namespace in &namespaces {
            let properties = self.properties(namespace).await?.unwrap_or_default();
            if said.namespaces.get(namespace) != Some(&properties) {
                found.others.push(Event::Namespace { namespace: namespace.clone(), properties });
            }
            let loads = self.objects(namespace).await?.into_iter().map(|(operation, ident)| {
                let asking = self.clone();
                async move { asking.load(operation, &ident).await }
            });
            // collected, so that the compiler sees that the whole may move between threads
            let loads: Vec<_> = loads.collect();
            let states: Vec<_> = stream::iter(loads).buffered(LOADS_AT_ONCE).try_collect().await?;
            for state in states.into_iter().flatten() {
                there.insert(state.ident.clone());
                if !said.names(&state.ident, &state.location) {
                    found.committed.push(state);
                }
            }
        }
        let gone = said.named.keys().filter(|ident| !there.contains(*ident));
        found.others.extend(gone.map(|ident| Event::Drop { ident: ident.clone(), time_ms: None }));
        let left = said.namespaces.keys().filter(|namespace| !namespaces.contains(namespace));
        found.others.extend(left.map(|namespace| Event::DropNamespace { namespace: namespace.clone() }));
        Ok(found)
    }

    /// All namespaces, those above first.
    async fn namespaces(&self) -> Result<Vec<Namespace>> {
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
    async fn objects(&self, namespace: &Namespace) -> Result<Vec<(Operation, Ident)>> {
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
    pub async fn load(&self, operation: Operation, ident: &Ident) -> Result<Option<Committed>> {
        let query = match operation {
            Operation::LoadTable => vec![("snapshots".to_owned(), "refs".to_owned())],
            _ => Vec::new(),
        };
        let answer = self.ask(operation, Target::Object(ident.clone()), query).await?;
        Ok(answer.and_then(|answer| committed(ident.clone(), &answer)))
    }

    /// A namespace's properties; `None` where there is none.
    pub async fn properties(&self, namespace: &Namespace) -> Result<Option<BTreeMap<String, String>>> {
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
            id: self.who.into(),
            operation,
            catalog: self.name.clone(),
            target,
            query,
            headers: HeaderMap::new(),
            principal: Arc::new(Principal::new(self.who, [("*".to_owned(), Role::Operator)].into())),
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

/// The state that a load result shows.
pub fn committed(ident: Ident, answer: &Value) -> Option<Committed> {
    let location = answer["metadata-location"].as_str()?.to_owned();
    let metadata = &answer["metadata"];
    let uuid = metadata["table-uuid"].as_str().or_else(|| metadata["view-uuid"].as_str()).unwrap_or_default();
    Some(Committed { ident, uuid: uuid.to_owned(), location })
}

/// A table's name as bodies spell it.
pub fn identifier(value: &Value) -> Option<Ident> {
    Ident::new(namespace(&value["namespace"])?, value["name"].as_str()?).ok()
}

/// A namespace as bodies spell it.
pub fn namespace(value: &Value) -> Option<Namespace> {
    let levels = value.as_array()?.iter().map(|level| level.as_str().map(str::to_owned));
    Namespace::new(levels.collect::<Option<Vec<_>>>()?).ok()
}
