//! The topmost layer: whether the caller's role in the catalog covers what they ask.
//!
//! What must hold: no operation passes without its role, but for the token route; signing a request that changes storage needs
//! the right to write. Who the caller is, the server found out before.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::{Error, Kind, Result};
use crate::model::{Operation, Role};
use crate::upstream::{Catalog, Request, Response};

/// Lets through what the caller's role covers.
pub struct Authorise {
    inner: Arc<dyn Catalog>,
}

impl Authorise {
    /// Around a catalog.
    pub fn new(inner: Arc<dyn Catalog>) -> Self {
        Authorise { inner }
    }
}

#[async_trait]
impl Catalog for Authorise {
    async fn call(&self, request: Request) -> Result<Response> {
        if let Some(needed) = needed(&request)
            && request.principal.role(&request.catalog).is_none_or(|role| role < needed)
        {
            let role = format!("{needed:?}").to_lowercase();
            return Err(Error::new(
                Kind::Forbidden,
                format!("{} needs the role {role} in catalog {}", request.operation.name(), request.catalog),
            ));
        }
        self.inner.call(request).await
    }

    async fn ready(&self) -> Result<()> {
        self.inner.ready().await
    }
}

/// The smallest role for a request: its operation's, or more where the body says that storage is to be changed.
fn needed(request: &Request) -> Option<Role> {
    match request.operation {
        Operation::SignRequest if !signs_a_read(&request.body) => Some(Role::Write),
        operation => operation.role(),
    }
}

pub(super) fn signs_a_read(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Sign {
        method: String,
    }
    serde_json::from_slice::<Sign>(body).is_ok_and(|sign| matches!(sign.method.as_str(), "GET" | "HEAD"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalog::tests::{Scripted, request};
    use crate::model::Principal;

    async fn ask(role: Option<Role>, operation: Operation, body: &'static str) -> Result<Response> {
        let roles: BTreeMap<String, Role> = role.into_iter().map(|role| ("lake".to_owned(), role)).collect();
        let mut request = request(operation);
        request.principal = Arc::new(Principal::new("ann", roles));
        request.body = body.into();
        Authorise::new(Arc::new(Scripted::new(|_| Ok(Response::no_content())))).call(request).await
    }

    #[tokio::test]
    async fn every_operation_needs_its_role() {
        for route in Operation::ROUTES {
            let operation = route.operation;
            let open = operation == Operation::GetToken;
            assert_eq!(ask(None, operation, "{}").await.is_ok(), open, "{}", route.name);
            assert!(ask(Some(Role::Write), operation, "{}").await.is_ok(), "{}", route.name);
            let read = ask(Some(Role::Read), operation, r#"{"method":"GET"}"#).await;
            assert_eq!(read.is_ok(), operation.role() != Some(Role::Write), "{}", route.name);
        }
    }

    #[tokio::test]
    async fn a_reader_has_no_writes_signed() {
        for body in [r#"{"method":"PUT"}"#, r#"{"method":"POST"}"#, r#"{"method":"DELETE"}"#, "{}", "not json"] {
            let error = ask(Some(Role::Read), Operation::SignRequest, body).await.expect_err(body);
            assert_eq!(error.kind(), Kind::Forbidden);
            assert_eq!(error.message(), "signRequest needs the role write in catalog lake");
        }
        assert!(ask(Some(Role::Read), Operation::SignRequest, r#"{"method":"HEAD"}"#).await.is_ok());
    }
}
