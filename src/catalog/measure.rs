//! Measures how long the upstream takes, and how commits end: the layer right above it.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::StatusCode;

use crate::error::{Kind, Result};
use crate::model::Operation;
use crate::telemetry::{CommitOutcome, Metrics};
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
        let answered = self.inner.call(request).await;
        self.metrics.upstream(&catalog, operation, started.elapsed());
        if matches!(operation, Operation::UpdateTable | Operation::ReplaceView | Operation::CommitTransaction) {
            self.metrics.commit(&catalog, outcome(&answered));
        }
        answered
    }

    async fn ready(&self) -> Result<()> {
        self.inner.ready().await
    }
}

fn outcome(answered: &Result<Response>) -> CommitOutcome {
    match answered {
        Ok(response) if response.status.is_success() => CommitOutcome::Committed,
        Ok(response) if response.status == StatusCode::CONFLICT => CommitOutcome::Conflict,
        Ok(response) if response.status == StatusCode::SERVICE_UNAVAILABLE => CommitOutcome::Refused,
        Ok(response) if response.status.is_server_error() => CommitOutcome::Unknown,
        Ok(_) => CommitOutcome::Refused,
        Err(error) => match error.kind() {
            Kind::CommitFailed => CommitOutcome::Conflict,
            Kind::OutcomeUnknown | Kind::BadUpstream | Kind::UpstreamTimeout | Kind::Internal => CommitOutcome::Unknown,
            _ => CommitOutcome::Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Scripted, request};
    use super::*;
    use crate::error::Error;

    #[tokio::test]
    async fn commits_are_counted_by_how_they_end() {
        let metrics = Metrics::new();
        for (kind, label) in
            [(Kind::CommitFailed, "conflict"), (Kind::OutcomeUnknown, "unknown"), (Kind::NoSuchTable, "refused")]
        {
            let inner = Arc::new(Scripted::new(move |_| Err(Error::new(kind, "no"))));
            let measure = Measure::new(inner, metrics.clone());
            assert!(measure.call(request(Operation::UpdateTable)).await.is_err());
            let line = format!("lifeboat_commits_total{{catalog=\"lake\",outcome=\"{label}\"}} 1");
            assert!(metrics.encode().contains(&line), "{line} is not in {}", metrics.encode());
        }
        let measure = Measure::new(Arc::new(Scripted::new(|_| Ok(Response::no_content()))), metrics.clone());
        measure.call(request(Operation::CommitTransaction)).await.expect("committed");
        measure.call(request(Operation::LoadTable)).await.expect("loaded");
        assert!(metrics.encode().contains("outcome=\"committed\"} 1"));
    }
}
