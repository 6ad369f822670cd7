//! Relocations as users ask for them, by command line and by REST: find the source, relocate, look for what is missing, register.
//!
//! What must hold: nothing is registered of which a file is missing; every step may be repeated and costs little when it is done already.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Error, Kind, Result};
use crate::format::location::{LocationMap, Uncovered};
use crate::format::relocate::Selection;
use crate::model::{CatalogName, Ident, Operation, Principal};
use crate::storage::{Location, Storage};
use crate::table::relocate::{self, LiveFile, Options, Progress, ReadFrom, Report};
use crate::upstream::{Catalog, Request, Target};

/// One prefix and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrefixPair {
    /// The prefix in the metadata.
    pub from: String,
    /// What takes its place.
    pub to: String,
}

/// What a user asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct RelocationRequest {
    /// A metadata.json, a table's folder, or `catalog.namespace.table`.
    pub source: String,
    /// Where paths lead.
    pub map: Vec<PrefixPair>,
    /// Other spellings of sources: a path under `from` is read as if it were under `to`.
    pub aliases: Vec<PrefixPair>,
    /// The overlay below which relocated files are written; without one they go beside the source's metadata.
    pub into: Option<String>,
    /// Where files are read: `source` or `target`; derived from where the source lies if not said.
    #[schema(value_type = Option<String>)]
    pub read: Option<ReadFrom>,
    /// A path that no pair covers is an error.
    pub strict: bool,
    /// Only what branches and tags lead to.
    pub refs_only: bool,
    /// Only this snapshot and later ones, besides what branches and tags lead to.
    pub since: Option<i64>,
    /// Further properties that hold locations.
    pub path_properties: Vec<String>,
    /// Names of catalogs in views.
    pub catalogs: Vec<PrefixPair>,
    /// Nothing is written.
    pub plan: bool,
    /// Every data file is looked for at its target. Always done for a plan and before registering.
    pub check: bool,
    /// `catalog.namespace.table`: where the relocated table is registered.
    pub register: Option<String>,
}

/// Runs relocations.
#[derive(Clone)]
pub struct Relocations {
    storage: Arc<Storage>,
    catalogs: BTreeMap<CatalogName, Arc<dyn Catalog>>,
}

impl Relocations {
    /// With the storage and catalogs that sources and targets may name.
    pub fn new(storage: Arc<Storage>, catalogs: BTreeMap<CatalogName, Arc<dyn Catalog>>) -> Self {
        Relocations { storage, catalogs }
    }

    /// Refuses what cannot be done, as far as that can be told without reading anything.
    pub fn check(&self, request: &RelocationRequest) -> Result<()> {
        request.options()?;
        match request.source.contains('/') {
            true => self.storage.check(&Location::new(&request.source))?,
            false => self.object(&request.source).map(drop)?,
        }
        if let Some(into) = &request.into {
            self.storage.check(&Location::new(into))?;
        }
        request.register.as_deref().map_or(Ok(()), |name| self.object(name).map(drop))
    }

    /// Does what is asked; `missing` hears of every file that is not there when that is looked for.
    pub async fn run(
        &self,
        request: &RelocationRequest,
        progress: Arc<Progress>,
        missing: &mut (dyn FnMut(&LiveFile) -> Result<()> + Send),
    ) -> Result<Report> {
        let mut report = self.prepare(request, progress, missing).await?;
        self.publish(request, &mut report).await?;
        Ok(report)
    }

    /// Does all but registering. It may be dropped at any moment: the next one goes on where it was.
    pub async fn prepare(
        &self,
        request: &RelocationRequest,
        progress: Arc<Progress>,
        missing: &mut (dyn FnMut(&LiveFile) -> Result<()> + Send),
    ) -> Result<Report> {
        let options = request.options()?;
        request.register.as_deref().map(|name| self.object(name)).transpose()?;
        let source = self.source(&request.source).await?;
        let mut report = relocate::relocate(self.storage.clone(), &source, &options, progress).await?;
        if request.plan || request.check || request.register.is_some() {
            let checked = relocate::check(self.storage.clone(), &source, &options, missing).await?;
            // a plan looks for delete files as well, the check for files that a plan need not read
            let mut unread = report.missing_files.take().unwrap_or_default();
            if checked.unread.count > unread.count {
                unread = checked.unread;
            }
            report.unread_files = unread.count;
            unread.add_those(checked.missing);
            report.missing_files = Some(unread);
        }
        Ok(report)
    }

    /// Registers what was prepared, if that was asked for and nothing is missing. It should not be dropped: whether it landed would be unknown.
    pub async fn publish(&self, request: &RelocationRequest, report: &mut Report) -> Result<()> {
        let Some(name) = request.register.as_ref().filter(|_| report.is_whole() && !request.plan) else {
            return Ok(());
        };
        let (catalog, ident) = self.object(name)?;
        self.register(&catalog, &ident, report).await?;
        report.registered = Some(name.clone());
        Ok(())
    }

    /// The metadata.json that a user's word leads to.
    async fn source(&self, text: &str) -> Result<Location> {
        if text.contains('/') {
            return relocate::find_metadata(&self.storage, &Location::new(text)).await;
        }
        let (catalog, ident) = self.object(text)?;
        let table = self.load(&catalog, Operation::LoadTable, &ident).await?;
        let table = table.ok_or_else(|| Error::new(Kind::NoSuchTable, format!("there is no table {text}")))?;
        let location = table["metadata-location"].as_str();
        location
            .map(Location::new)
            .ok_or_else(|| Error::new(Kind::BadUpstream, format!("{text} has no metadata-location")))
    }

    /// Registers what is at a location. A table of that name that is the same one, by its uuid, is moved on; any other is left alone.
    async fn register(&self, catalog: &CatalogName, ident: &Ident, report: &Report) -> Result<()> {
        let (register, load) = match report.is_view {
            true => (Operation::RegisterView, Operation::LoadView),
            false => (Operation::RegisterTable, Operation::LoadTable),
        };
        let mut body = json!({ "name": ident.name, "metadata-location": report.metadata_location });
        if let Some(there) = self.load(catalog, load, ident).await? {
            if there["metadata-location"] == report.metadata_location {
                return Ok(());
            }
            let uuid = relocate::uuid(&there["metadata"]);
            if uuid.is_none() || uuid != report.table_uuid.as_deref() {
                let message = format!(
                    "{ident} in catalog {catalog} is another table; register under another name, or drop it without purge"
                );
                return Err(Error::new(Kind::AlreadyExists, message));
            }
            body["overwrite"] = json!(true);
        }
        let target = Target::Namespace(ident.namespace.clone());
        self.call(catalog, register, target, Bytes::from(body.to_string())).await.map(drop)
    }

    /// What a catalog answers of a table or view; `None` where there is none.
    async fn load(
        &self,
        catalog: &CatalogName,
        operation: Operation,
        ident: &Ident,
    ) -> Result<Option<serde_json::Value>> {
        match self.call(catalog, operation, Target::Object(ident.clone()), Bytes::new()).await {
            Ok(answer) => serde_json::from_slice(&answer)
                .map(Some)
                .map_err(|e| Error::new(Kind::BadUpstream, "the catalog's answer is no JSON").with_source(e)),
            Err(e) if matches!(e.kind(), Kind::NoSuchTable | Kind::NoSuchView | Kind::NotFound) => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn call(&self, catalog: &CatalogName, operation: Operation, target: Target, body: Bytes) -> Result<Bytes> {
        let stack = self.catalogs.get(catalog).ok_or_else(|| no_catalog(catalog.as_str(), &self.catalogs))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = Request {
            id: "relocation".into(),
            operation,
            catalog: catalog.clone(),
            target,
            query: Vec::new(),
            headers,
            principal: Arc::new(Principal::local()),
            body,
        };
        let answer = stack.call(request).await?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        if answer.status == http::StatusCode::NOT_FOUND {
            return Err(Error::new(Kind::NotFound, format!("catalog {catalog} has none of that name")));
        }
        let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let message = told["error"]["message"].as_str().unwrap_or("without a message");
        Err(Error::new(Kind::BadUpstream, format!("catalog {catalog} answered {}: {message}", answer.status)))
    }

    /// The catalog and object of `catalog.namespace.table`.
    fn object(&self, text: &str) -> Result<(CatalogName, Ident)> {
        let (catalog, rest) = text.split_once('.').ok_or_else(|| no_name(text))?;
        let ident = Ident::from_dotted(rest).map_err(|_| no_name(text))?;
        let found = self.catalogs.keys().find(|known| known.as_str() == catalog);
        Ok((found.ok_or_else(|| no_catalog(catalog, &self.catalogs))?.clone(), ident))
    }
}

impl RelocationRequest {
    fn options(&self) -> Result<Options> {
        if self.source.is_empty() {
            return Err(Error::bad_request(
                "name a source: a metadata.json, a table's folder or catalog.namespace.table",
            ));
        }
        if self.map.is_empty() {
            return Err(Error::bad_request("the location map is empty: give at least one pair of prefixes"));
        }
        let selection = match (self.refs_only, self.since) {
            (false, None) => Selection::All,
            (true, None) => Selection::RefsOnly,
            (false, Some(id)) => Selection::Since(id),
            (true, Some(_)) => return Err(Error::bad_request("refs-only and since exclude each other")),
        };
        let pairs =
            |pairs: &[PrefixPair]| pairs.iter().map(|pair| (pair.from.clone(), pair.to.clone())).collect::<Vec<_>>();
        let uncovered = if self.strict { Uncovered::Refuse } else { Uncovered::Pass };
        let map = LocationMap::new(pairs(&self.map))?.with_aliases(pairs(&self.aliases))?.with_uncovered(uncovered);
        Ok(Options {
            into: self.into.as_ref().map(Location::new),
            read: self.read,
            selection,
            path_properties: self.path_properties.clone(),
            catalogs: pairs(&self.catalogs),
            is_plan: self.plan,
            ..Options::new(map)
        })
    }
}

fn no_name(text: &str) -> Error {
    Error::bad_request(format!("{text:?} is no table's name: write catalog.namespace.table"))
}

fn no_catalog(name: &str, catalogs: &BTreeMap<CatalogName, Arc<dyn Catalog>>) -> Error {
    let known: Vec<&str> = catalogs.keys().map(CatalogName::as_str).collect();
    let known = if known.is_empty() { "none is configured: name a --config file".to_owned() } else { known.join(", ") };
    Error::new(Kind::NotFound, format!("there is no catalog {name:?} here ({known})"))
}
