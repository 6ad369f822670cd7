//! Measures how long the upstream takes: the layer right above it.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use crate::error::Result;
use crate::telemetry::Metrics;
use crate::upstream::{Catalog, Request, Response};

/// Observes every exchange with the catalog below.
pub struct Measure {
    inner: Arc<dyn Catalog>,
    metrics: Metrics,
}

impl Measure {
    /// Around a catalog.
    pub fn new(inner: Arc<dyn Catalog>, metrics: Metrics) -> Self {
        Measure { inner, metrics }
    }
}

#[async_trait]
impl Catalog for Measure {
    async fn call(&self, request: Request) -> Result<Response> {
        let (started, catalog, operation) = (Instant::now(), request.catalog.clone(), request.operation);
        let outcome = self.inner.call(request).await;
        self.metrics.upstream(&catalog, operation, started.elapsed());
        outcome
    }

    async fn ready(&self) -> Result<()> {
        self.inner.ready().await
    }
}
