//! Tables for which files land: whoever loads one sees what has landed, if that can be appended in time.
//!
//! What must hold: a load is never refused because of a look, and waits for it no longer than is allowed.

use std::sync::Arc;

use async_trait::async_trait;

use crate::append::Appends;
use crate::error::Result;
use crate::model::Operation;
use crate::upstream::{Catalog, Request, Response, Target};

/// Looks at what has landed before a table is loaded.
pub struct Landing {
    inner: Arc<dyn Catalog>,
    appends: Appends,
}

impl Landing {
    /// Around a catalog to whose tables `appends` appends.
    pub fn new(inner: Arc<dyn Catalog>, appends: Appends) -> Self {
        Landing { inner, appends }
    }
}

#[async_trait]
impl Catalog for Landing {
    async fn call(&self, request: Request) -> Result<Response> {
        let reads = matches!(request.operation, Operation::LoadTable | Operation::PlanTableScan);
        if let (true, Target::Object(ident)) = (reads, &request.target) {
            self.appends.refresh(ident).await;
        }
        self.inner.call(request).await
    }

    async fn ready(&self) -> Result<()> {
        self.inner.ready().await
    }
}
