//! Pointer catalogs: those in which a table is one pointer to a metadata file, and the commit engine does the rest.
//!
//! [`PointerCatalog`] handles the operations of the REST API over the port [`Pointers`]. What must hold: an answer of success means that the
//! pointer has moved durably; everything a client sent survives in the metadata; no handler writes but through [`Pointers::apply`].

mod answer;
mod commit;
mod create;
mod files;
mod locks;
mod namespaces;
mod objects;
mod once;
mod paging;
mod places;
mod port;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};

pub use files::{GZIP_SUFFIX, compute, unpack, zip};
pub use port::{Change, Kept, Outcome, Page, Pointer, Pointers, Properties};

use crate::error::{Error, Kind, Result};
use crate::model::{Ident, Namespace, Operation};
use crate::storage::{Location, Storage};
use crate::upstream::{Catalog, Request, Response, Target};
use answer::Answer;
use files::Files;
use locks::Locks;
use once::Once;

/// The longest name of a namespace level, table or view, in bytes.
pub const NAME_BYTES_MAX: usize = 512;

/// The longest namespace, its levels joined: what fits an index entry of PostgreSQL together with a name.
pub const NAMESPACE_BYTES_MAX: usize = 1024;

/// The operations that a pointer catalog does not serve, and therefore does not advertise.
const UNSERVED: [Operation; 8] = [
    Operation::GetToken,
    Operation::ListFunctions,
    Operation::LoadFunction,
    Operation::PlanTableScan,
    Operation::FetchPlanningResult,
    Operation::CancelPlanning,
    Operation::FetchScanTasks,
    Operation::SignRequest,
];

/// Whether pointer catalogs serve an operation.
pub fn serves(operation: Operation) -> bool {
    !UNSERVED.contains(&operation)
}

/// What a pointer catalog needs to know.
#[derive(Debug, Clone)]
pub struct PointerSettings {
    /// Where new tables go.
    pub warehouse: Location,
    /// What clients are told beside tables: properties of their FileIO.
    pub client_config: BTreeMap<String, String>,
    /// Refuse locations outside of the warehouse.
    pub restrict_locations: bool,
    /// How long the outcome of a write with an Idempotency-Key is kept: what `idempotency-key-lifetime` promises.
    pub outcome_lifetime: Duration,
    /// Memory for metadata that was read.
    pub cache_bytes: u64,
}

/// A catalog over pointers.
pub struct PointerCatalog {
    pointers: Arc<dyn Pointers>,
    files: Arc<Files>,
    /// Turns with tables and views.
    locks: Locks,
    /// Turns with Idempotency-Keys; taken before those with names, and apart from them, so that no turn waits for itself.
    keys: Locks,
    warehouse: Location,
    restrict_locations: bool,
    outcome_lifetime: Duration,
    client_config: Value,
    client_config_text: String,
}

impl PointerCatalog {
    /// A catalog over `pointers` whose files are in `storage`.
    pub fn new(pointers: Arc<dyn Pointers>, storage: Arc<Storage>, settings: PointerSettings) -> Self {
        let client_config = json!(settings.client_config);
        PointerCatalog {
            pointers,
            files: Arc::new(Files::new(storage, settings.cache_bytes)),
            locks: Locks::new(),
            keys: Locks::new(),
            warehouse: settings.warehouse,
            restrict_locations: settings.restrict_locations,
            outcome_lifetime: settings.outcome_lifetime,
            client_config_text: client_config.to_string(),
            client_config,
        }
    }

    async fn handle(&self, request: &Request, once: Option<&Once>) -> Result<Response> {
        use Operation as O;
        match request.operation {
            O::GetConfig => Ok(self.config()),
            O::ListNamespaces => self.list_namespaces(request).await,
            O::CreateNamespace => self.create_namespace(request, once).await,
            O::LoadNamespace => self.load_namespace(request).await,
            O::NamespaceExists => self.namespace_exists(request).await,
            O::DropNamespace => self.drop_namespace(request, once).await,
            O::UpdateProperties => self.update_properties(request, once).await,
            O::ListTables => self.list(request, Kept::Table).await,
            O::CreateTable => self.create_table(request, once).await,
            O::RegisterTable => self.register(request, Kept::Table, once).await,
            O::LoadTable => self.load(request, Kept::Table).await,
            O::TableExists => self.exists(request, Kept::Table).await,
            O::UpdateTable => self.update_table(request, once).await,
            O::DropTable => self.drop(request, Kept::Table, once).await,
            O::UnregisterTable => self.unregister(request, once).await,
            O::LoadCredentials => self.credentials(request).await,
            O::ReportMetrics => self.exists(request, Kept::Table).await,
            O::RenameTable => self.rename(request, Kept::Table, once).await,
            O::CommitTransaction => self.commit_transaction(request, once).await,
            O::ListViews => self.list(request, Kept::View).await,
            O::CreateView => self.create_view(request, once).await,
            O::RegisterView => self.register(request, Kept::View, once).await,
            O::LoadView => self.load(request, Kept::View).await,
            O::ViewExists => self.exists(request, Kept::View).await,
            O::ReplaceView => self.replace_view(request, once).await,
            O::DropView => self.drop(request, Kept::View, once).await,
            O::RenameView => self.rename(request, Kept::View, once).await,
            _ => {
                Err(Error::new(Kind::Unsupported, format!("this catalog does not serve {}", request.operation.name())))
            }
        }
    }

    fn config(&self) -> Response {
        let served = Operation::ROUTES.iter().map(|route| route.operation).filter(|operation| serves(*operation));
        let endpoints: Vec<String> = served.filter(|o| *o != Operation::GetConfig).map(Operation::endpoint).collect();
        Response::json(&json!({
            "defaults": self.client_config,
            "overrides": {},
            "endpoints": endpoints,
            "idempotency-key-lifetime": format!("PT{}S", self.outcome_lifetime.as_secs()),
        }))
    }

    /// Takes a table out of the catalog and leaves its files to whoever asked.
    async fn unregister(&self, request: &Request, once: Option<&Once>) -> Result<Response> {
        let ident = request.ident()?;
        let _turn = self.locks.take([ident]).await;
        let from = self.pointer(ident, Kept::Table).await?;
        let metadata_location = Some(from.metadata_location.clone());
        let metadata = self.files.read(&from.metadata_location).await?;
        let change = Change::Drop { ident: ident.clone(), from, purge: false };
        self.land(vec![change], Answer::Load { metadata_location, metadata }, once).await
    }

    /// No short-lived credentials are made here; clients use their own, or what `client-config` says.
    async fn credentials(&self, request: &Request) -> Result<Response> {
        self.pointer(request.ident()?, Kept::Table).await?;
        Ok(Response::json(&json!({"storage-credentials": []})))
    }

    /// Makes the changes, keeps the outcome beside them, and answers.
    async fn land(&self, changes: Vec<Change>, answer: Answer, once: Option<&Once>) -> Result<Response> {
        let outcome = once.map(|once| once.outcome(&answer));
        if !changes.is_empty() || outcome.is_some() {
            self.pointers.apply(&changes, outcome.as_ref()).await?;
        }
        answer.into_response(&self.client_config)
    }

    /// What becomes of metadata files that were written for a change: kept at hand when it landed, removed when it certainly did not.
    async fn settle(&self, landed: &Result<Response>, written: &[(Location, Bytes)]) {
        for (location, bytes) in written {
            match landed {
                Ok(_) => self.files.keep(location.clone(), bytes.clone()).await,
                // a fault of ours is not certain either
                Err(error) if matches!(error.kind(), Kind::OutcomeUnknown | Kind::Internal) => {}
                Err(_) => self.files.remove(location).await,
            }
        }
    }

    /// The prefixes that places are restricted to, if they are.
    fn allowed(&self) -> Option<Vec<&Location>> {
        self.restrict_locations.then(|| vec![&self.warehouse])
    }
}

/// Refuses a namespace that is too long to be kept.
fn check_namespace(namespace: &Namespace) -> Result<()> {
    namespace.levels().iter().try_for_each(|level| check_name(level))?;
    match namespace.joined().len() {
        length if length > NAMESPACE_BYTES_MAX => {
            Err(Error::bad_request(format!("a namespace of {length} bytes is longer than {NAMESPACE_BYTES_MAX}")))
        }
        _ => Ok(()),
    }
}

/// Refuses a name that is too long to be kept.
fn check_ident(ident: &Ident) -> Result<()> {
    check_namespace(&ident.namespace)?;
    check_name(&ident.name)
}

fn check_name(name: &str) -> Result<()> {
    match name.len() {
        length if length > NAME_BYTES_MAX => {
            Err(Error::bad_request(format!("a name of {length} bytes is longer than {NAME_BYTES_MAX}")))
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Catalog for PointerCatalog {
    async fn call(&self, request: Request) -> Result<Response> {
        match &request.target {
            Target::Catalog => {}
            Target::Namespace(namespace) => check_namespace(namespace)?,
            Target::Object(ident) | Target::Plan(ident, _) => check_ident(ident)?,
        }
        match Once::of(&request, self.outcome_lifetime)? {
            Some(once) => self.call_once(once, &request).await,
            None => self.handle(&request, None).await,
        }
    }

    async fn ready(&self) -> Result<()> {
        self.pointers.ready().await
    }
}

/// A list of texts in a request body, or nothing.
fn strings(value: &Value, what: &str) -> Result<Vec<String>> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    serde_json::from_value(value.clone()).map_err(|_| Error::bad_request(format!("{what} must be a list of texts")))
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
