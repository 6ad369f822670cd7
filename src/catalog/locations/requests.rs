//! What clients ask, as the upstream is to hear it.
//!
//! What must hold: only members that hold locations change; files that the request leads to are in the upstream's naming before it goes on.

use bytes::Bytes;
use serde_json::Value;

use super::naming::Way;
use super::{ClientLocations, Stop};
use crate::error::{Error, Result};
use crate::model::{Ident, Operation};
use crate::storage::Location;
use crate::table::relocate::{self, Options, ReadFrom};
use crate::upstream::Request;
use crate::upstream::asking::identifier;

impl ClientLocations {
    /// The same request in the upstream's naming.
    pub(super) async fn request(&self, mut request: Request) -> Result<Request, Stop> {
        use Operation as O;
        let bears = matches!(
            request.operation,
            O::CreateNamespace
                | O::UpdateProperties
                | O::CreateTable
                | O::CreateView
                | O::RegisterTable
                | O::RegisterView
                | O::UpdateTable
                | O::ReplaceView
                | O::CommitTransaction
        );
        if !bears {
            return Ok(request);
        }
        // what is no JSON object the upstream refuses in its own words
        let Ok(mut body) = request.json() else { return Ok(request) };
        let naming = &self.naming;
        let changed = match request.operation {
            O::CreateNamespace => naming.namespace(Way::Up, body.get_mut("properties"))?,
            O::UpdateProperties => naming.namespace(Way::Up, body.get_mut("updates"))?,
            O::CreateTable => {
                naming.value(Way::Up, body.get_mut("location"))?
                    | naming.properties(Way::Up, body.get_mut("properties"))?
            }
            O::CreateView => {
                let version = body.get_mut("view-version").and_then(|version| version.get_mut("location"));
                naming.value(Way::Up, version)?
                    | naming.value(Way::Up, body.get_mut("location"))?
                    | naming.properties(Way::Up, body.get_mut("properties"))?
            }
            O::RegisterTable | O::RegisterView => self.register(&mut body).await?,
            O::CommitTransaction => self.transaction(&request, &mut body).await?,
            _ => {
                let ident = request.ident()?.clone();
                self.change(&request, &ident, &mut body).await?
            }
        };
        if changed {
            request.body = Bytes::from(serde_json::to_vec(&body).map_err(|e| Error::internal(e.to_string()))?);
        }
        Ok(request)
    }

    async fn transaction(&self, request: &Request, body: &mut Value) -> Result<bool, Stop> {
        let mut changed = false;
        for change in body.get_mut("table-changes").and_then(Value::as_array_mut).into_iter().flatten() {
            let named = identifier(&change["identifier"]);
            if let Some(ident) = named {
                changed |= self.change(request, &ident, change).await?;
            }
        }
        Ok(changed)
    }

    /// One table's or view's updates.
    async fn change(&self, request: &Request, ident: &Ident, change: &mut Value) -> Result<bool, Stop> {
        let adds = |update: &Value| update["action"].as_str() == Some("add-snapshot");
        let mut changed = false;
        if change["updates"].as_array().is_some_and(|updates| updates.iter().any(adds)) {
            changed |= self.snapshots(request, ident, change).await?;
        }
        for update in change.get_mut("updates").and_then(Value::as_array_mut).into_iter().flatten() {
            changed |= self.update(update)?;
        }
        Ok(changed)
    }

    fn update(&self, update: &mut Value) -> Result<bool> {
        let naming = &self.naming;
        let statistics = |update: &mut Value, member: &str| {
            naming.value(Way::Up, update.get_mut(member).and_then(|file| file.get_mut("statistics-path")))
        };
        match update["action"].as_str().unwrap_or_default() {
            "set-location" => naming.value(Way::Up, update.get_mut("location")),
            "set-properties" => naming.properties(Way::Up, update.get_mut("updates")),
            "set-statistics" => statistics(update, "statistics"),
            "set-partition-statistics" => statistics(update, "partition-statistics"),
            _ => Ok(false),
        }
    }

    /// A metadata.json that becomes a table or view: one that we made for clients is what it was made of, any other one is relocated.
    async fn register(&self, body: &mut Value) -> Result<bool> {
        let Some(Value::String(location)) = body.get_mut("metadata-location") else { return Ok(false) };
        if let Some(origin) = self.trees.origin(location).await {
            *location = origin;
            return Ok(true);
        }
        if !self.naming.up.covers(location) && !self.naming.is_in_overlay(location) {
            return Ok(false);
        }
        let source = Location::new(self.naming.text(Way::Up, location)?);
        let into = self.naming.upstream_overlay.clone();
        let options = Options { into, read: Some(ReadFrom::Target), ..Options::new((*self.naming.up).clone()) };
        let done = relocate::relocate(self.storage.clone(), &source, &options, Default::default()).await;
        *location = done.map_err(super::before_commit)?.metadata_location;
        Ok(true)
    }
}
