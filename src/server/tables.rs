//! What the routes below `/lifeboat/v1/{catalog}/namespaces/{namespace}/tables/{table}` have in common: who asks, about which table, and that table as they see it.
//!
//! What must hold: a caller is known before anything is told about a catalog; a table is loaded through the catalog's whole stack, with the caller's
//! rights and, where the upstream judges callers, with their own headers.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use serde_json::Value;

use super::iceberg;
use super::service::{Entry, Server, strip_hop_by_hop};
use crate::changes::{History, Load, Seen, Watched};
use crate::error::{Error, Kind, Result};
use crate::model::{Ident, Operation, Principal, Role};
use crate::upstream::asking::Asking;
use crate::upstream::{Request, Response, Target};

/// Where these routes are, for a router.
pub(super) const PATH: &str = "/lifeboat/v1/{catalog}/namespaces/{namespace}/tables/{table}";

/// Headers that are about this request only, and not about loading a table.
const OWN_HEADERS: [HeaderName; 8] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::ACCEPT_ENCODING,
    header::RANGE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("x-iceberg-access-delegation"),
];

/// A table that a caller asks about.
pub(super) struct AskedTable {
    pub(super) entry: Arc<Entry>,
    pub(super) ident: Ident,
    pub(super) principal: Arc<Principal>,
    /// Raw segments of the path behind the table.
    pub(super) rest: Vec<String>,
    request: Request,
}

/// A table as its caller sees it.
pub(super) struct LoadedTable {
    pub(super) history: History,
    pub(super) seen: Seen,
}

impl AskedTable {
    /// Finds out who asks about what; they need at least this role.
    pub(super) async fn new(server: &Server, headers: &HeaderMap, uri: &Uri, role: Role) -> Result<AskedTable> {
        let segments: Vec<&str> = uri.path().split('/').collect();
        let ["", "lifeboat", "v1", catalog, "namespaces", namespace, "tables", table, ref rest @ ..] = segments[..]
        else {
            return Err(Error::internal("a route of tables has another path"));
        };
        let name = iceberg::decode(catalog)?;
        let entry = server.catalogs.get(&name);
        let principal = iceberg::authenticate(server, Operation::LoadTable, entry, headers).await?;
        let wanted = format!("{role:?}").to_lowercase();
        let forbidden = || Error::new(Kind::Forbidden, format!("this needs the role {wanted} in the catalog"));
        let Some(entry) = entry else {
            // who has no right everywhere does not hear which catalogs there are
            principal.role_everywhere().ok_or_else(forbidden)?;
            let shown: String = name.chars().take(100).collect();
            return Err(Error::new(Kind::NotFound, format!("there is no catalog {shown:?} here")));
        };
        if principal.role(&entry.name) < Some(role) {
            return Err(forbidden());
        }
        let ident = iceberg::table(namespace, table, entry.served.separator.as_deref())?;
        let mut headers = headers.clone();
        strip_hop_by_hop(&mut headers)?;
        OWN_HEADERS.iter().for_each(|name| drop(headers.remove(name)));
        if !entry.served.passthrough {
            headers.remove(header::AUTHORIZATION);
        }
        let request = Request {
            id: "changes".into(),
            operation: Operation::LoadTable,
            catalog: entry.name.clone(),
            target: Target::Object(ident.clone()),
            query: Vec::new(),
            headers,
            principal: principal.clone(),
            body: Bytes::new(),
        };
        let rest = rest.iter().map(|segment| (*segment).to_owned()).collect();
        Ok(AskedTable { entry: entry.clone(), ident, principal, rest, request })
    }

    /// Loads it.
    pub(super) async fn load(&self) -> Result<LoadedTable> {
        let response = load(&self.entry, self.request.clone()).await?;
        let seen = Seen::of(&response.body)?;
        let read = move || {
            let unreadable = |e| Error::new(Kind::BadUpstream, "the catalog's answer is not JSON").with_source(e);
            let answer: Value = serde_json::from_slice(&response.body).map_err(unreadable)?;
            match &answer["metadata"] {
                metadata @ Value::Object(_) => History::read(metadata),
                _ => Err(Error::new(Kind::BadUpstream, "the catalog's answer has no metadata")),
            }
        };
        let history = tokio::task::spawn_blocking(read).await;
        let history =
            history.map_err(|e| Error::internal("reading a table's metadata was cut off").with_source(e))??;
        Ok(LoadedTable { history, seen })
    }

    /// How it is watched.
    pub(super) fn watched(&self) -> (Watched, Load) {
        let caller = self.entry.served.passthrough.then(|| self.principal.name().to_owned());
        let watched = Watched { catalog: self.entry.name.clone(), table: self.ident.clone(), caller };
        let (entry, request) = (self.entry.clone(), self.request.clone());
        let again: Load = Arc::new(move |etag: Option<HeaderValue>| {
            let (entry, mut request) = (entry.clone(), request.clone());
            if let Some(etag) = etag {
                request.headers.insert(header::IF_NONE_MATCH, etag);
            }
            Box::pin(async move { load(&entry, request).await })
        });
        (watched, again)
    }
}

/// A load's answer, or 304; what is no success is an error.
async fn load(entry: &Entry, request: Request) -> Result<Response> {
    let asking = Asking::new(entry.name.clone(), entry.served.stack.clone(), "changes");
    let response = asking.call(request, Kind::BadUpstream).await?;
    match response.status {
        StatusCode::OK | StatusCode::NOT_MODIFIED => Ok(response),
        other => Err(Error::new(
            Kind::BadUpstream,
            format!("the catalog answered {} to the load of a table", other.as_u16()),
        )),
    }
}
