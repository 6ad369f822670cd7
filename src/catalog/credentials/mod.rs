//! A standby's credentials: what a client gets to reach storage with is this site's, and cannot write.
//!
//! What must hold: no answer has a credential that an upstream vended or that came with a table from the primary; what is vended here reads a
//! table's own places at this site and nothing else, is behind no ETag, and is kept by nobody on its way. All else in an answer stays byte for
//! byte. How credentials are made is `storage::Vending`'s business.

mod answers;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use serde_json::{Map, Value, json};

use self::answers::{Answered, by_place, config_of, edit, no_answer};
use crate::error::Result;
use crate::model::{Ident, Operation};
use crate::storage::{Location, Vended, Vending};
use crate::upstream::members;
use crate::upstream::pointer::compute;
use crate::upstream::rest::our_route;
use crate::upstream::{Catalog, Request, Response};

/// The header by which clients ask for credentials, and what they write in it.
const DELEGATION: &str = "x-iceberg-access-delegation";
const VENDED: &str = "vended-credentials";
/// The prefix that stands for all of S3 in a credential.
const ALL_OF_S3: &str = "s3";

/// What clients get.
pub enum Given {
    /// Nothing: they bring their own.
    Nothing,
    /// What the site's configuration tells them.
    ClientConfig(BTreeMap<String, String>),
    /// Credentials for a while.
    Vended(Vending),
}

/// What vended credentials read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The places that the table itself names.
    Table,
    /// Every place of the standby: for tables with files outside of their own places.
    Standby,
}

/// What the layer is told.
pub struct SiteCredentialsSettings {
    /// What clients get.
    pub given: Given,
    /// What is read with it, where that is vended.
    pub scope: Scope,
    /// The places of replicated tables: of those nothing outside of them is ever opened.
    pub replicated: Vec<Location>,
    /// Where their relocated metadata is, one folder a table.
    pub overlay: Location,
    /// The place of tables that are this site's own, where it has any.
    pub own: Option<Location>,
}

/// Takes foreign credentials out of answers, and puts this site's in.
pub struct SiteCredentials {
    inner: Arc<dyn Catalog>,
    settings: Arc<SiteCredentialsSettings>,
}

impl SiteCredentials {
    /// Around a standby.
    pub fn new(inner: Arc<dyn Catalog>, settings: SiteCredentialsSettings) -> Self {
        SiteCredentials { inner, settings: Arc::new(settings) }
    }

    async fn load(&self, mut request: Request) -> Result<Response> {
        let Given::Vended(vending) = &self.settings.given else { return self.pass(request).await };
        if request.operation != Operation::LoadTable || !asks(&request) {
            return self.pass(request).await;
        }
        let ident = request.ident()?.clone();
        let route = our_route(request.catalog.as_str(), &ident, "credentials");
        // who is told that nothing has changed would stay with credentials that end
        request.headers.remove(header::IF_NONE_MATCH);
        let mut response = self.ask(request).await?;
        if response.status.is_success() {
            let vended = self.vended(vending, &ident, &response.body).await?;
            let given = Answered::new(&vended, (vended.len() == 1).then_some(route));
            response.body = self.changed(response.body, Some(given)).await?;
            response.headers.remove(header::ETAG);
            unkept(&mut response);
        }
        Ok(response)
    }

    /// Asks below, where nobody need vend what would not be passed on.
    async fn ask(&self, mut request: Request) -> Result<Response> {
        let others: Vec<String> = ways(&request).filter(|way| !is_vended(way)).map(str::to_owned).collect();
        request.headers.remove(DELEGATION);
        if let Ok(others) = HeaderValue::try_from(others.join(","))
            && !others.is_empty()
        {
            request.headers.insert(DELEGATION, others);
        }
        self.inner.call(request).await
    }

    async fn vended(&self, vending: &Vending, ident: &Ident, loaded: &Bytes) -> Result<Vec<Vended>> {
        let (settings, body) = (self.settings.clone(), loaded.clone());
        let places = compute(body.len(), move || settings.places(&body)).await?;
        vending.read_only(&places).await.map_err(|e| e.context(format!("credentials for {ident}")))
    }

    /// An answer without what is not this site's.
    async fn pass(&self, request: Request) -> Result<Response> {
        let mut response = self.ask(request).await?;
        if response.status.is_success() && !response.body.is_empty() {
            response.body = self.changed(response.body, None).await?;
        }
        Ok(response)
    }

    /// `GET …/credentials`: fresh ones, for the places that the table has now.
    async fn credentials(&self, request: Request) -> Result<Response> {
        let Given::Vended(vending) = &self.settings.given else {
            let mut response = self.inner.call(request).await?;
            if response.status.is_success() {
                response.body = json!({"storage-credentials": []}).to_string().into();
            }
            return Ok(response);
        };
        let ident = request.ident()?.clone();
        let query = request.query.iter().filter(|(key, _)| key == "referenced-by").cloned();
        let query = query.chain([("snapshots".to_owned(), "refs".to_owned())]).collect();
        let mut load = Request { operation: Operation::LoadTable, query, ..request };
        load.headers.remove(header::IF_NONE_MATCH);
        let mut response = self.ask(load).await?;
        if !response.status.is_success() {
            return Ok(response);
        }
        let vended = self.vended(vending, &ident, &response.body).await?;
        let credentials: Vec<Value> = match vended.as_slice() {
            // Java's clients take exactly one
            [only] => vec![json!({"prefix": ALL_OF_S3, "config": config_of(&only.keys)})],
            several => several.iter().flat_map(by_place).collect(),
        };
        response = Response::json(&json!({"storage-credentials": credentials}));
        unkept(&mut response);
        Ok(response)
    }

    async fn config(&self, request: Request) -> Result<Response> {
        let mut response = self.inner.call(request).await?;
        if response.status.is_success() {
            let found = members::find(&response.body, &["defaults", "overrides"]).map_err(no_answer)?;
            let strip = |config: &mut Map<String, Value>| self.settings.strip(config);
            response.body = edit(&response.body, found.into_iter().map(|member| member.range), strip)?;
        }
        Ok(response)
    }

    async fn changed(&self, body: Bytes, given: Option<Answered>) -> Result<Bytes> {
        let settings = self.settings.clone();
        compute(body.len(), move || settings.changed(&body, given.as_ref())).await
    }
}

#[async_trait]
impl Catalog for SiteCredentials {
    async fn call(&self, request: Request) -> Result<Response> {
        use Operation as O;
        match request.operation {
            O::GetConfig => self.config(request).await,
            O::LoadCredentials => self.credentials(request).await,
            O::LoadTable | O::CreateTable | O::RegisterTable | O::UpdateTable | O::UnregisterTable => {
                self.load(request).await
            }
            O::LoadView | O::CreateView | O::RegisterView | O::ReplaceView => self.pass(request).await,
            O::PlanTableScan | O::FetchPlanningResult => self.pass(request).await,
            _ => self.inner.call(request).await,
        }
    }

    async fn ready(&self) -> Result<()> {
        self.inner.ready().await
    }
}

fn asks(request: &Request) -> bool {
    ways(request).any(is_vended)
}

/// The ways to storage that a client can go.
fn ways(request: &Request) -> impl Iterator<Item = &str> {
    let values = request.headers.get_all(DELEGATION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn is_vended(way: &str) -> bool {
    way.eq_ignore_ascii_case(VENDED)
}

fn unkept(response: &mut Response) {
    response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests;
