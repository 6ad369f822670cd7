//! What the upstream answers, as clients are to hear it.
//!
//! What must hold: only members that hold locations are written anew, all other bytes stay as they came; a table's metadata and its metadata-location
//! are those of a metadata.json that is there.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;

use super::ClientLocations;
use super::naming::{Naming, Way};
use super::plans;
use super::trees::{Tree, paths};
use crate::error::{Error, Kind, Result};
use crate::format::relocate::{NewNames, relocate_metadata, relocate_view};
use crate::model::{Ident, Operation};
use crate::upstream::members;
use crate::upstream::pointer::compute;

impl ClientLocations {
    /// The body of an answer of success. `ident` is the table or view, where there is one.
    pub(super) async fn answer(&self, operation: Operation, ident: Option<&Ident>, body: &Bytes) -> Result<Bytes> {
        use Operation as O;
        if body.is_empty() {
            return Ok(body.clone());
        }
        let naming = &self.naming;
        let plain = |names: &[&str], change: fn(&Naming, usize, &mut Value) -> Result<bool>| {
            replace(body, names, |at, value| change(naming, at, value))
        };
        match operation {
            O::GetConfig => plain(&["defaults", "overrides"], |naming, _, value| naming.config(Some(value))),
            O::LoadNamespace | O::CreateNamespace => {
                plain(&["properties"], |naming, _, value| naming.namespace(Way::Down, Some(value)))
            }
            O::LoadCredentials => plain(&["storage-credentials"], |naming, _, value| naming.credentials(value)),
            O::LoadFunction => plain(&["metadata-location", "metadata"], |naming, at, value| match at {
                0 => naming.value(Way::Down, Some(value)),
                _ => naming.value(Way::Down, value.get_mut("location")),
            }),
            O::PlanTableScan | O::FetchPlanningResult | O::FetchScanTasks => plain(&plans::MEMBERS, plans::member),
            O::LoadTable | O::CreateTable | O::RegisterTable | O::UpdateTable | O::UnregisterTable => {
                self.loaded(ident, body, true).await
            }
            O::LoadView | O::CreateView | O::RegisterView | O::ReplaceView => self.loaded(ident, body, false).await,
            _ => Ok(body.clone()),
        }
    }

    /// A table or view that was loaded, made or committed to.
    async fn loaded(&self, ident: Option<&Ident>, body: &Bytes, is_table: bool) -> Result<Bytes> {
        const MEMBERS: [&str; 4] = ["metadata-location", "metadata", "config", "storage-credentials"];
        let found = members::find(body, &["metadata-location"]).map_err(no_json)?;
        let location = found.first().and_then(|member| serde_json::from_slice(&body[member.range.clone()]).ok());
        let location: Option<String> = location.flatten();
        let tree = match &location {
            Some(location) => Some(self.trees.of(location).await?),
            None => None,
        };
        if let (Some(ident), Some(tree)) = (ident.filter(|_| is_table), &tree) {
            self.trees.is_latest(ident, tree.clone()).await;
        }
        let (naming, body) = (self.naming.clone(), body.clone());
        let name = location.unwrap_or_else(|| "of a table that is only staged".to_owned());
        compute(body.len(), move || {
            replace(&body, &MEMBERS, |at, value| match at {
                0 => Ok(renamed(value, tree.as_deref())),
                1 if is_table => table(value, &name, &naming, tree.as_deref()),
                1 => view(value, &name, &naming),
                2 => naming.config(Some(value)),
                _ => naming.credentials(value),
            })
        })
        .await
    }
}

fn renamed(value: &mut Value, tree: Option<&Tree>) -> bool {
    let Some(tree) = tree else { return false };
    *value = Value::from(tree.client.as_str());
    true
}

fn table(value: &mut Value, name: &str, naming: &Naming, tree: Option<&Tree>) -> Result<bool> {
    if !value.is_object() {
        return Ok(false);
    }
    let none = NewNames::default();
    let paths = paths(value, naming)?;
    *value = relocate_metadata(value.take(), name, &paths, tree.map_or(&none, |tree| &tree.names), &[])?;
    Ok(true)
}

fn view(value: &mut Value, name: &str, naming: &Naming) -> Result<bool> {
    let paths = paths(value, naming)?;
    *value = relocate_view(value.take(), name, &paths, &[])?.0;
    Ok(true)
}

/// The body with some of its members changed. `change` is told a member's place in `names`, and says whether it changed.
pub(super) fn replace(
    body: &Bytes,
    names: &[&str],
    mut change: impl FnMut(usize, &mut Value) -> Result<bool>,
) -> Result<Bytes> {
    let mut replacements: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    for member in members::find(body, names).map_err(no_json)? {
        let mut value: Value = serde_json::from_slice(&body[member.range.clone()]).map_err(no_json)?;
        if change(member.wanted, &mut value)? {
            let bytes = serde_json::to_vec(&value).map_err(|e| Error::internal(e.to_string()))?;
            replacements.push((member.range, bytes));
        }
    }
    Ok(members::splice(body, &replacements))
}

fn no_json(error: serde_json::Error) -> Error {
    Error::new(Kind::BadUpstream, "the upstream's answer is no JSON object").with_source(error)
}
