//! A standby: what clients read is looked at first, and nothing that they say changes anything.
//!
//! What must hold: while standby, no request writes, and none has a write signed; a table of which a file is gone is answered 503, never in part.

use std::sync::Arc;

use async_trait::async_trait;

use super::authorise::signs_a_read;
use crate::error::{Error, Kind, Result};
use crate::model::{Access, Operation};
use crate::replica::Replica;
use crate::upstream::{Catalog, Request, Response, Target};

/// Looks before it answers, and refuses to write.
pub struct Standby {
    inner: Arc<dyn Catalog>,
    replica: Replica,
    primary: Option<String>,
}

impl Standby {
    /// Around a catalog into which `replica` publishes. `primary` is told to who tries to write.
    pub fn new(inner: Arc<dyn Catalog>, replica: Replica, primary: Option<String>) -> Self {
        Standby { inner, replica, primary }
    }

    fn refuse(&self, request: &Request) -> Error {
        let primary = self.primary.as_deref().unwrap_or("its primary");
        let message = format!(
            "{} is refused: catalog {} is a standby here; write at {primary}",
            request.operation.name(),
            request.catalog
        );
        Error::new(Kind::Forbidden, message)
    }
}

#[async_trait]
impl Catalog for Standby {
    async fn call(&self, request: Request) -> Result<Response> {
        let writes = request.operation.access() == Access::Write
            || request.operation == Operation::SignRequest && !signs_a_read(&request.body);
        if writes {
            return Err(self.refuse(&request));
        }
        match &request.target {
            // a client's word on what it has read needs no look
            _ if request.operation == Operation::ReportMetrics => {}
            Target::Object(ident) | Target::Plan(ident, _) => self.replica.refresh(ident).await?,
            Target::Namespace(_) => self.replica.refresh_names().await,
            Target::Catalog if request.operation == Operation::ListNamespaces => self.replica.refresh_names().await,
            Target::Catalog => {}
        }
        self.inner.call(request).await
    }

    async fn ready(&self) -> Result<()> {
        self.inner.ready().await
    }
}
