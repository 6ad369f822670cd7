//! A catalog asked as a client would, by what works behind: everything that has a name, and what has changed since it was known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Catalog, Request, Response, Target};
use crate::error::{Error, Kind, Result};
use crate::format::metadata::PATH_PROPERTIES;
use crate::model::{CatalogName, Event, Ident, Namespace, Operation, Principal, Role, Said};

/// Loads under way at once while all is compared.
const LOADS_AT_ONCE: usize = 8;
/// Pages of one listing.
const PAGES_MAX: usize = 100_000;

/// Asks the catalog as a client would.
#[derive(Clone)]
pub struct Asking {
    catalog: CatalogName,
    inner: Arc<dyn Catalog>,
    /// In logs and for who judges.
    principal: Arc<Principal>,
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

/// A table as its catalog has it, with all of its history.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Its metadata file; some catalogs keep that to themselves.
    pub metadata_location: Option<String>,
    /// What is in it.
    pub metadata: Value,
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
    pub fn new(catalog: CatalogName, inner: Arc<dyn Catalog>, who: &'static str) -> Asking {
        let principal = Arc::new(Principal::new(who, [("*".to_owned(), Role::Operator)].into()));
        Asking { catalog, inner, principal }
    }

    /// A request of ours; without a body where that is null.
    pub fn request(&self, operation: Operation, target: Target, body: &Value) -> Request {
        let mut headers = HeaderMap::new();
        if !body.is_null() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Request {
            id: format!("{}-{}", self.principal.name(), Uuid::now_v7()).into(),
            operation,
            catalog: self.catalog.clone(),
            target,
            query: Vec::new(),
            headers,
            principal: self.principal.clone(),
            body: if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) },
        }
    }

    /// The answer: a success, or 304. `conflict` is what 409 means; where something [`is_absent`], the error says so.
    pub async fn call(&self, request: Request, conflict: Kind) -> Result<Response> {
        success(self.inner.call(request).await?, conflict)
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

    /// The names of all tables and views, each with what loads it.
    pub async fn names(&self) -> Result<Vec<(Operation, Ident)>> {
        let mut names = Vec::new();
        for namespace in self.namespaces().await? {
            names.extend(self.objects(&namespace).await?);
        }
        Ok(names)
    }

    /// The places that a table or view calls its own, its location first; `None` where there is none.
    pub async fn places(&self, operation: Operation, ident: &Ident) -> Result<Option<Vec<String>>> {
        let Some(answer) = self.newest(operation, ident).await? else { return Ok(None) };
        let metadata = &answer["metadata"];
        let paths = PATH_PROPERTIES.iter().map(|name| &metadata["properties"][name]);
        Ok(Some(
            [&metadata["location"]].into_iter().chain(paths).filter_map(Value::as_str).map(str::to_owned).collect(),
        ))
    }

    /// Drops a table, and has its files deleted if `purges`.
    pub async fn drop(&self, ident: &Ident, purges: bool) -> Result<()> {
        let request = self.request(Operation::DropTable, Target::Object(ident.clone()), &Value::Null);
        let query = vec![("purgeRequested".to_owned(), purges.to_string())];
        self.call(Request { query, ..request }, Kind::CommitFailed).await.map(drop)
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
        let listed = match self.pages(Operation::ListNamespaces, Target::Catalog, query, "namespaces").await? {
            // whoever answers so is no catalog, or another one
            None if parent.is_none() => {
                return Err(Error::new(
                    Kind::BadUpstream,
                    "the catalog says that there is no such place as its namespaces",
                ));
            }
            listed => listed.unwrap_or_default(),
        };
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
                // a catalog without views; where they only cannot be listed now, they are not gone
                Err(e) if list == Operation::ListViews && matches!(e.kind(), Kind::Unsupported | Kind::BadRequest) => {
                    continue;
                }
                listed => listed?.unwrap_or_default(),
            };
            found.extend(listed.iter().filter_map(identifier).map(|ident| (load, ident)));
        }
        Ok(found)
    }

    /// The state of a table or view; `None` where there is none.
    pub async fn load(&self, operation: Operation, ident: &Ident) -> Result<Option<Committed>> {
        let answer = self.newest(operation, ident).await?;
        Ok(answer.and_then(|answer| committed(ident.clone(), &answer)))
    }

    /// A table or view, without more of its history than needs be; `None` where there is none.
    async fn newest(&self, operation: Operation, ident: &Ident) -> Result<Option<Value>> {
        let target = || Target::Object(ident.clone());
        if operation == Operation::LoadTable {
            let refs = vec![("snapshots".to_owned(), "refs".to_owned())];
            match self.ask(operation, target(), refs).await {
                // Iceberg's own server (1.11) cannot leave out snapshots that have statistics
                Err(e) if e.kind() == Kind::BadRequest => {}
                answer => return answer,
            }
        }
        self.ask(operation, target(), Vec::new()).await
    }

    /// A table with all of its history; [`Kind::NoSuchTable`] where there is none.
    pub async fn table(&self, ident: &Ident) -> Result<Loaded> {
        let loaded = self.ask(Operation::LoadTable, Target::Object(ident.clone()), Vec::new()).await?;
        loaded_of(ident, loaded.ok_or_else(|| Error::new(Kind::NoSuchTable, format!("Table does not exist: {ident}")))?)
    }

    /// Commits to a table; the table as it is then. [`Kind::CommitFailed`] where a requirement does not hold, [`Kind::OutcomeUnknown`] where nobody
    /// can tell whether it landed.
    pub async fn commit(&self, ident: &Ident, requirements: &[Value], updates: &[Value]) -> Result<Loaded> {
        let identifier = json!({ "namespace": ident.namespace.levels(), "name": ident.name });
        let body = json!({ "identifier": identifier, "requirements": requirements, "updates": updates });
        let request = self.request(Operation::UpdateTable, Target::Object(ident.clone()), &body);
        let answer = self.call(request, Kind::CommitFailed).await?;
        // it has landed: an answer that cannot be read does not undo that
        let unknown = |e: Error| Error::new(Kind::OutcomeUnknown, e.message().to_owned());
        read(&answer).and_then(|answer| loaded_of(ident, answer)).map_err(unknown)
    }

    /// Makes a table; [`Kind::AlreadyExists`] where the name is taken. `body` is what the specification's `createTable` takes.
    pub async fn create(&self, ident: &Ident, body: &Value) -> Result<Loaded> {
        let request = self.request(Operation::CreateTable, Target::Namespace(ident.namespace.clone()), body);
        loaded_of(ident, read(&self.call(request, Kind::AlreadyExists).await?)?)
    }

    /// A namespace's properties; `None` where there is none.
    pub async fn properties(&self, namespace: &Namespace) -> Result<Option<BTreeMap<String, String>>> {
        let answer = self.ask(Operation::LoadNamespace, Target::Namespace(namespace.clone()), Vec::new()).await?;
        Ok(answer.map(|answer| serde_json::from_value(answer["properties"].clone()).unwrap_or_default()))
    }

    /// `None` where that of which there should be a list is not there.
    async fn pages(
        &self,
        operation: Operation,
        target: Target,
        query: Vec<(String, String)>,
        key: &str,
    ) -> Result<Option<Vec<Value>>> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = query.clone();
            query.extend(token.take().map(|token| ("pageToken".to_owned(), token)));
            let Some(mut answer) = self.ask(operation, target.clone(), query).await? else { return Ok(None) };
            if let Some(Value::Array(listed)) = answer.get_mut(key).map(Value::take) {
                all.extend(listed);
            }
            token = answer["next-page-token"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        Ok(Some(all))
    }

    /// `None` where there is no such thing.
    async fn ask(&self, operation: Operation, target: Target, query: Vec<(String, String)>) -> Result<Option<Value>> {
        let request = Request { query, ..self.request(operation, target, &Value::Null) };
        match self.call(request, Kind::BadUpstream).await {
            Err(e) if is_absent(e.kind()) => Ok(None),
            answer => read(&answer?).map(Some),
        }
    }
}

/// Whether an error says that there is no such table, view or namespace. A file that is missing is [`Kind::NotFound`]: its table is there.
pub fn is_absent(kind: Kind) -> bool {
    matches!(kind, Kind::NoSuchNamespace | Kind::NoSuchTable | Kind::NoSuchView)
}

/// An answer's body.
pub fn read(response: &Response) -> Result<Value> {
    let unreadable =
        |e: serde_json::Error| Error::new(Kind::BadUpstream, "the catalog's answer is not JSON").with_source(e);
    serde_json::from_slice(&response.body).map_err(unreadable)
}

/// The answer, unless it is an error.
fn success(response: Response, conflict: Kind) -> Result<Response> {
    let status = response.status;
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let kind = match status.as_u16() {
        401 | 403 => Kind::Forbidden,
        404 if body["error"]["type"] == "NotFoundException" => Kind::NotFound,
        404 => Kind::NoSuchTable,
        405 | 406 | 501 => Kind::Unsupported,
        409 => conflict,
        422 => Kind::Unprocessable,
        429 | 503 => Kind::Unavailable,
        400..=499 => Kind::BadRequest,
        // what was read was not read, what was written may have landed
        _ => Kind::OutcomeUnknown,
    };
    let said = body["error"]["message"].as_str().unwrap_or_default();
    Err(Error::new(kind, format!("the catalog answered {} {said}", status.as_u16())))
}

fn loaded_of(ident: &Ident, mut answer: Value) -> Result<Loaded> {
    let metadata = answer["metadata"].take();
    if !metadata.is_object() {
        return Err(Error::new(Kind::BadUpstream, format!("the catalog's answer has no metadata of {ident}")));
    }
    Ok(Loaded { metadata_location: answer["metadata-location"].as_str().map(str::to_owned), metadata })
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::model::{MetadataDigest, Named};

    /// One namespace without tables; what is asked for views is answered with this status.
    struct Catalogue(StatusCode);

    #[async_trait]
    impl Catalog for Catalogue {
        async fn call(&self, request: Request) -> Result<Response> {
            let is_below = request.query("parent").is_some();
            Ok(match request.operation {
                Operation::ListNamespaces if is_below => Response::json(&json!({"namespaces": []})),
                Operation::ListNamespaces => Response::json(&json!({"namespaces": [["a"]]})),
                Operation::ListTables => Response::json(&json!({"identifiers": []})),
                Operation::ListViews => Response { status: self.0, ..Response::json(&json!({"identifiers": []})) },
                _ => Response::json(&json!({"properties": {}})),
            })
        }
    }

    /// Refuses to leave snapshots out, as Iceberg's own server does where they have statistics.
    struct Whole;

    #[async_trait]
    impl Catalog for Whole {
        async fn call(&self, request: Request) -> Result<Response> {
            let metadata =
                json!({"table-uuid": "1", "location": "s3://l/t", "properties": {"write.data.path": "s3://d/t"}});
            let answer = Response::json(&json!({"metadata-location": "s3://l/m", "metadata": metadata}));
            let refuses = request.query("snapshots").is_some();
            Ok(if refuses { Response { status: StatusCode::BAD_REQUEST, ..answer } } else { answer })
        }
    }

    #[tokio::test]
    async fn a_table_that_cannot_be_had_without_its_history_is_had_with_it() -> Result<()> {
        let asking = Asking::new(CatalogName::parse("main")?, Arc::new(Whole), "test");
        let table = Ident::from_dotted("a.t")?;
        assert_eq!(
            asking.load(Operation::LoadTable, &table).await?.map(|state| state.location),
            Some("s3://l/m".into())
        );
        let places = asking.places(Operation::LoadTable, &table).await?.expect("it is there");
        assert_eq!(places, ["s3://l/t", "s3://d/t"]);
        Ok(())
    }

    /// A name that is not seen for a moment is not gone: whoever hears that it is may drop it.
    #[tokio::test]
    async fn nothing_is_gone_only_because_it_cannot_be_listed() -> Result<()> {
        let view = Ident::new(Namespace::new(vec!["a".into()])?, "v")?;
        let files = vec![(1, MetadataDigest::new("s3://l/v".into(), None))];
        let mut said = Said::default();
        said.named.insert(view, Named { number: 1, uuid: "1".into(), files });
        for (status, is_gone) in [(200, Some(true)), (406, Some(true)), (404, Some(true)), (500, None), (503, None)] {
            let status = StatusCode::from_u16(status).expect("a status");
            let asking = Asking::new(CatalogName::parse("c")?, Arc::new(Catalogue(status)), "test");
            let found = asking.differences(&said).await.ok();
            let dropped = |found: Differences| found.others.iter().any(|event| matches!(event, Event::Drop { .. }));
            assert_eq!(found.map(dropped), is_gone, "{status}");
        }
        Ok(())
    }
}
