//! Namespaces: list, create, load, drop, change properties.

use serde_json::{Value, json};

use super::answer::Answer;
use super::once::Once;
use super::paging::Paging;
use super::port::{Change, Page, Properties};
use super::{PointerCatalog, check_namespace, strings};
use crate::error::{Error, Kind, Result};
use crate::model::Namespace;
use crate::upstream::{Request, Response};

/// How often a change of properties is tried again after another came first.
const ATTEMPTS_MAX: u32 = 10;

impl PointerCatalog {
    pub(super) async fn list_namespaces(&self, request: &Request) -> Result<Response> {
        let parent =
            request.query("parent").filter(|parent| !parent.is_empty()).map(Namespace::from_joined).transpose()?;
        if let Some(parent) = &parent {
            self.namespace(parent).await?;
        }
        let paging = Paging::of(request)?;
        let page = Page { after: &paging.after, count_max: paging.count_max + 1 };
        let (found, next) = paging.cut(self.pointers.namespaces(parent.as_ref(), page).await?, Namespace::joined);
        let mut body = json!({"namespaces": found});
        if let Some(token) = next {
            body["next-page-token"] = json!(token);
        }
        Ok(Response::json(&body))
    }

    pub(super) async fn create_namespace(&self, request: &Request, once: Option<&Once>) -> Result<Response> {
        let body = request.json()?;
        let levels: Vec<String> = serde_json::from_value(body["namespace"].clone())
            .map_err(|_| Error::bad_request("namespace must be a list of texts"))?;
        let namespace = Namespace::new(levels)?;
        check_namespace(&namespace)?;
        let properties = properties(&body["properties"])?;
        let answer = Answer::Json(json!({"namespace": namespace, "properties": properties}));
        self.land(vec![Change::CreateNamespace { namespace, properties }], answer, once).await
    }

    pub(super) async fn load_namespace(&self, request: &Request) -> Result<Response> {
        let namespace = request.namespace()?;
        let properties = self.namespace(namespace).await?;
        Ok(Response::json(&json!({"namespace": namespace, "properties": properties})))
    }

    pub(super) async fn namespace_exists(&self, request: &Request) -> Result<Response> {
        self.namespace(request.namespace()?).await?;
        Ok(Response::no_content())
    }

    pub(super) async fn drop_namespace(&self, request: &Request, once: Option<&Once>) -> Result<Response> {
        let namespace = request.namespace()?.clone();
        self.land(vec![Change::DropNamespace { namespace }], Answer::NoContent, once).await
    }

    pub(super) async fn update_properties(&self, request: &Request, once: Option<&Once>) -> Result<Response> {
        let namespace = request.namespace()?;
        let body = request.json()?;
        let removals = strings(&body["removals"], "removals")?;
        let updates = properties(&body["updates"])?;
        if let Some(key) = removals.iter().find(|key| updates.contains_key(*key)) {
            return Err(Error::new(Kind::Unprocessable, format!("property {key:?} is both updated and removed")));
        }
        for attempt in 1.. {
            let from = self.namespace(namespace).await?;
            let mut to = from.clone();
            let (removed, missing): (Vec<&String>, Vec<&String>) =
                removals.iter().partition(|key| to.remove(*key).is_some());
            to.extend(updates.clone());
            let answer = json!({"updated": updates.keys().collect::<Vec<_>>(), "removed": removed, "missing": missing});
            let change = Change::SetProperties { namespace: namespace.clone(), from, to };
            match self.land(vec![change], Answer::Json(answer), once).await {
                Err(error) if error.kind() == Kind::CommitFailed && attempt < ATTEMPTS_MAX => continue,
                other => return other,
            }
        }
        Err(Error::internal("unreachable: the last attempt returns"))
    }

    /// A namespace's properties; `NoSuchNamespace` where there is none.
    pub(super) async fn namespace(&self, namespace: &Namespace) -> Result<Properties> {
        let found = self.pointers.namespace(namespace).await?;
        found.ok_or_else(|| Error::new(Kind::NoSuchNamespace, format!("Namespace does not exist: {namespace}")))
    }
}

/// Properties of a request: an object of texts, or nothing.
fn properties(value: &Value) -> Result<Properties> {
    if value.is_null() {
        return Ok(Properties::new());
    }
    serde_json::from_value(value.clone()).map_err(|_| Error::bad_request("properties must be an object of texts"))
}
