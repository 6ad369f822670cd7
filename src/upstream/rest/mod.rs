//! A REST catalog behind us: requests and answers pass as JSON text, rewritten only where they would lead a client around us.
//!
//! What must hold: what we do not know passes byte for byte; a write is repeated only when it is certain that nothing landed or
//! the upstream keeps its outcome; a client's `Authorization` leaves only where the operator said so ([`UpstreamAuth::Caller`]).
//! Left to others: who may ask (`catalog/authorise.rs`), kept answers (`catalog/cache.rs`), how errors look (server).

mod auth;
mod client;
mod exchange;
mod headers;
mod outcome;
mod path;
mod remote;
mod rewrite;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::auth::Credentials;
use self::client::{Base, Client};
use self::exchange::Call;
use self::outcome::Asked;
pub use self::path::our_route;
use self::remote::{Remote, Remotes};
use self::rewrite::Rewrite;
pub use self::rewrite::is_secret;
pub use self::settings::{OAuth2, RestSettings, Timeouts, UpstreamAuth};
use crate::error::{Error, Kind, Result};
use crate::model::{Ident, Operation};
use crate::upstream::{Catalog, Request, Response, Target};

/// One REST catalog as the floor of the stack.
pub struct RestUpstream {
    settings: RestSettings,
    base: Base,
    client: Client,
    credentials: Credentials,
    fixed_headers: HeaderMap,
    remotes: Remotes,
}

impl RestUpstream {
    /// Checks the settings; nothing is asked of the upstream before the first request.
    pub fn new(settings: RestSettings) -> Result<Self> {
        let base = Base::parse(&settings.uri)?;
        let mut fixed_headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let wrong = || Error::bad_request(format!("upstream header {name:?} is not a header"));
            let name: HeaderName = name.parse().map_err(|_| wrong())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            fixed_headers.insert(name, value);
        }
        Ok(RestUpstream {
            client: Client::new(&settings)?,
            credentials: Credentials::new(&settings.auth, &base)?,
            remotes: Remotes::new(settings.config_refresh),
            fixed_headers,
            base,
            settings,
        })
    }

    /// The upstream's description, as this caller sees it.
    async fn remote(&self, caller: &HeaderMap) -> Result<Arc<Remote>> {
        let key = match caller.get(header::AUTHORIZATION) {
            Some(value) if self.credentials.is_caller() => Some(Sha256::digest(value.as_bytes()).into()),
            _ => None,
        };
        self.remotes.get(key, async || self.ask_config(caller).await).await
    }

    async fn ask_config(&self, caller: &HeaderMap) -> Result<Remote> {
        let mut path = String::from("v1/config");
        if let Some(warehouse) = &self.settings.warehouse {
            path.push_str("?warehouse=");
            path.push_str(&path::encode(warehouse));
        }
        let mut headers = self.fixed_headers.clone();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let call = Call {
            asked: self.asked(Operation::GetConfig),
            method: Method::GET,
            uri: self.base.uri(&path)?,
            headers,
            body: Bytes::new(),
            repeatable: true,
        };
        let answer = self.exchange(call, caller).await.map_err(|e| e.context("/v1/config of the upstream"))?;
        if answer.status.is_success() {
            return Remote::parse(&self.base, &answer.body);
        }
        let kind = match answer.status {
            StatusCode::UNAUTHORIZED => Kind::NotAuthorized,
            StatusCode::FORBIDDEN => Kind::Forbidden,
            _ => Kind::Unavailable,
        };
        let said = outcome::message(&answer.body).unwrap_or_default();
        Err(Error::new(kind, format!("the upstream's /v1/config answered {} {said}", answer.status.as_u16())))
    }

    /// Our own `/v1/config` from the upstream's.
    async fn config(&self, request: &Request) -> Result<Response> {
        let remote = self.remote(&request.headers).await?;
        let rewrite = Rewrite { remote: &remote, catalog: &request.catalog, table: None };
        let mut document = rewrite.config(endpoints(&remote));
        for (key, value) in &self.settings.client_config {
            document["overrides"][key] = value.as_str().into();
        }
        Ok(Response::json(&document))
    }

    async fn pass(&self, request: Request) -> Result<Response> {
        let operation = request.operation;
        let remote = self.remote(&request.headers).await?;
        if !remote.serves(operation) {
            return match by_loading(operation) {
                Some(load) if remote.serves(load) => self.exists(&remote, load, request).await,
                _ => Err(Error::new(
                    Kind::Unsupported,
                    format!("the upstream catalog does not serve {} ({})", operation.name(), operation.endpoint()),
                )),
            };
        }
        let call = self.call_of(&remote, operation, &request)?;
        let asked = call.asked;
        let mut answer = self.exchange(call, &request.headers).await?;
        headers::down(&mut answer.headers, self.credentials.is_caller());
        if bears_config(operation) && answer.status.is_success() && !answer.body.is_empty() {
            let rewrite = Rewrite { remote: &remote, catalog: &request.catalog, table: table_of(&request) };
            answer.body =
                rewrite.answer(&answer.body).map_err(|e| outcome::unreadable(asked, "is not JSON").with_source(e))?;
        }
        Ok(Response { status: answer.status, headers: answer.headers, body: answer.body })
    }

    /// Answers a HEAD that the upstream does not serve by loading.
    async fn exists(&self, remote: &Remote, load: Operation, mut request: Request) -> Result<Response> {
        request.headers.remove(header::IF_NONE_MATCH);
        request.query.clear();
        if load == Operation::LoadTable {
            request.query.push(("snapshots".into(), "refs".into()));
        }
        let call = self.call_of(remote, load, &request)?;
        let mut answer = self.exchange(call, &request.headers).await?;
        if answer.status.is_success() {
            return Ok(Response::no_content());
        }
        headers::down(&mut answer.headers, self.credentials.is_caller());
        Ok(Response { status: answer.status, headers: answer.headers, body: answer.body })
    }

    fn call_of(&self, remote: &Remote, operation: Operation, request: &Request) -> Result<Call> {
        let relative = match request.query(path::SIGNER_PARAMETER) {
            Some(carried) if operation == Operation::SignRequest => carried_signer(carried)?.to_owned(),
            _ => remote.paths.path_and_query(operation, request)?,
        };
        let route = operation.route();
        let keyed = remote.idempotent && request.headers.contains_key(headers::IDEMPOTENCY_KEY);
        let keyed = keyed && route.access == crate::model::Access::Write && operation != Operation::CreateView;
        Ok(Call {
            asked: self.asked(operation),
            method: Method::from_bytes(route.method.as_bytes()).map_err(|_| Error::internal("a route's method"))?,
            uri: remote.base.uri(&relative)?,
            headers: headers::up(request, &self.fixed_headers, &remote.headers),
            body: request.body.clone(),
            repeatable: keyed || route.access == crate::model::Access::Read,
        })
    }

    /// The token route, for callers who have credentials of the upstream's own.
    async fn token(&self, request: Request) -> Result<Response> {
        if !self.credentials.is_caller() {
            let why = "tokens are not given out here; ask the operator for one";
            return Err(Error::new(Kind::Unsupported, why));
        }
        let call = Call {
            asked: self.asked(Operation::GetToken),
            method: Method::POST,
            uri: self.base.uri("v1/oauth/tokens")?,
            headers: headers::up(&request, &self.fixed_headers, &HeaderMap::new()),
            body: request.body.clone(),
            repeatable: false,
        };
        let mut answer = self.exchange(call, &request.headers).await?;
        headers::down(&mut answer.headers, true);
        Ok(Response { status: answer.status, headers: answer.headers, body: answer.body })
    }

    fn asked(&self, operation: Operation) -> Asked {
        Asked { operation, as_caller: self.credentials.is_caller(), in_doubt: false }
    }
}

#[async_trait]
impl Catalog for RestUpstream {
    async fn call(&self, request: Request) -> Result<Response> {
        match request.operation {
            Operation::GetConfig => self.config(&request).await,
            Operation::GetToken => self.token(request).await,
            _ => self.pass(request).await,
        }
    }

    async fn ready(&self) -> Result<()> {
        match self.ask_config(&HeaderMap::new()).await {
            // it answers; it just wants a caller
            Err(e) if self.credentials.is_caller() && matches!(e.kind(), Kind::NotAuthorized | Kind::Forbidden) => {
                Ok(())
            }
            result => result.map(|_| ()),
        }
    }
}

/// What we advertise before an upstream: what it serves and we know, and the HEADs that we answer by loading.
fn endpoints(remote: &Remote) -> Vec<String> {
    let served = |operation: Operation| {
        let stated = remote.served.contains(&operation);
        let spoken_for = matches!(operation, Operation::GetConfig | Operation::GetToken);
        (stated && !spoken_for) || by_loading(operation).is_some_and(|load| remote.served.contains(&load))
    };
    Operation::ROUTES.iter().map(|route| route.operation).filter(|o| served(*o)).map(Operation::endpoint).collect()
}

fn by_loading(operation: Operation) -> Option<Operation> {
    match operation {
        Operation::NamespaceExists => Some(Operation::LoadNamespace),
        Operation::TableExists => Some(Operation::LoadTable),
        Operation::ViewExists => Some(Operation::LoadView),
        _ => None,
    }
}

/// Operations whose answers can hold configuration for the client.
fn bears_config(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::CreateTable
            | Operation::RegisterTable
            | Operation::LoadTable
            | Operation::UpdateTable
            | Operation::UnregisterTable
            | Operation::LoadCredentials
            | Operation::PlanTableScan
            | Operation::FetchPlanningResult
            | Operation::CreateView
            | Operation::RegisterView
            | Operation::LoadView
            | Operation::ReplaceView
            | Operation::LoadFunction
    )
}

/// The table that a request is about; where it is only being made, its name is in the body.
fn table_of(request: &Request) -> Option<Ident> {
    match &request.target {
        Target::Object(ident) | Target::Plan(ident, _) => Some(ident.clone()),
        Target::Namespace(namespace) => {
            let body: Value = serde_json::from_slice(&request.body).ok()?;
            Ident::new(namespace.clone(), body.get("name")?.as_str()?).ok()
        }
        Target::Catalog => None,
    }
}

/// The upstream's own signing route that an answer of ours carried; a client could have written anything there.
fn carried_signer(carried: &str) -> Result<&str> {
    let path = carried.split('?').next().unwrap_or_default();
    if carried.contains('#') || !path::is_foreign_signer(path) {
        return Err(Error::bad_request(format!("{} names no signing route", path::SIGNER_PARAMETER)));
    }
    Ok(carried)
}
