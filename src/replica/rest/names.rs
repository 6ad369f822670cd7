//! Names in a REST catalog: tables that are gone or renamed at the primary, and namespaces.
//!
//! What must hold: a name is taken away or given only to what was published, as far as can be seen right before; no file is ever purged. Namespaces have no
//! compare-and-swap either: their properties are read right before they are replaced.

use serde_json::{Map, Value, json};

use super::RestSite;
use super::asks::{Asks, Found};
use crate::error::{Error, Kind, Result};
use crate::model::{Ident, Namespace, Operation};
use crate::upstream::Target;
use crate::upstream::asking::is_absent;
use crate::upstream::pointer::{Kept, Pointer, Properties};

impl RestSite {
    pub(super) async fn take_away(&self, ident: &Ident, from: &Pointer) -> Result<()> {
        self.check(ident, from).await?;
        let operation = match from.kept {
            Kept::Table => Operation::DropTable,
            Kept::View => Operation::DropView,
        };
        self.known().remove(ident);
        match self.asks.write(operation, Target::Object(ident.clone()), Value::Null, Kind::CommitFailed).await {
            // gone already
            Err(e) if is_gone(e.kind()) => Ok(()),
            other => other,
        }
    }

    pub(super) async fn give(&self, from: &Ident, pointer: &Pointer, to: &Ident) -> Result<()> {
        self.check(from, pointer).await?;
        self.asks.make_namespace(&to.namespace).await?;
        let operation = match pointer.kept {
            Kept::Table => Operation::RenameTable,
            Kept::View => Operation::RenameView,
        };
        let named = |ident: &Ident| json!({ "namespace": ident.namespace.levels(), "name": ident.name });
        self.known().remove(from);
        let body = json!({ "source": named(from), "destination": named(to) });
        self.asks.write(operation, Target::Catalog, body, Kind::AlreadyExists).await
    }

    /// What was published, if it is still there.
    pub(super) async fn check(&self, ident: &Ident, pointer: &Pointer) -> Result<Found> {
        let found = self.load(ident, Some(pointer.kept)).await?;
        let found = found.ok_or_else(|| Error::commit_failed(format!("{ident} is gone from the catalog")))?;
        if self.judge(ident, &found).await? != *pointer {
            return Err(Error::commit_failed(format!("{ident} is not what it was any more")));
        }
        Ok(found)
    }
}

impl Asks {
    /// A namespace's properties, or `None` where there is no such namespace.
    pub(super) async fn namespace(&self, namespace: &Namespace) -> Result<Option<Properties>> {
        let body = match self.read(Operation::LoadNamespace, Target::Namespace(namespace.clone())).await {
            Err(e) if is_gone(e.kind()) => return Ok(None),
            other => other?,
        };
        let properties = body["properties"].as_object().into_iter().flatten();
        Ok(Some(properties.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()))
    }

    /// Makes a namespace and those above it, as far as they are missing.
    pub(super) async fn make_namespace(&self, namespace: &Namespace) -> Result<()> {
        if self.namespace(namespace).await?.is_some() {
            return Ok(());
        }
        match self.create_namespace(namespace, &Properties::new()).await {
            // another server was quicker
            Err(e) if e.kind() == Kind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    pub(super) async fn create_namespace(&self, namespace: &Namespace, properties: &Properties) -> Result<()> {
        if let Some(parent) = namespace.parent() {
            Box::pin(self.make_namespace(&parent)).await?;
        }
        let body = json!({ "namespace": namespace.levels(), "properties": properties });
        self.write(Operation::CreateNamespace, Target::Catalog, body, Kind::AlreadyExists).await
    }

    pub(super) async fn set_properties(&self, namespace: &Namespace, from: Properties, to: Properties) -> Result<()> {
        if self.namespace(namespace).await?.as_ref() != Some(&from) {
            return Err(Error::commit_failed(format!("the properties of {namespace} were changed meanwhile")));
        }
        let removals: Vec<&String> = from.keys().filter(|key| !to.contains_key(*key)).collect();
        let updates: Map<String, Value> = to
            .iter()
            .filter(|(key, value)| from.get(*key) != Some(value))
            .map(|(key, value)| (key.clone(), value.as_str().into()))
            .collect();
        let body = json!({ "removals": removals, "updates": updates });
        self.write(Operation::UpdateProperties, Target::Namespace(namespace.clone()), body, Kind::CommitFailed).await
    }

    pub(super) async fn drop_namespace(&self, namespace: &Namespace) -> Result<()> {
        let target = Target::Namespace(namespace.clone());
        match self.write(Operation::DropNamespace, target, Value::Null, Kind::NamespaceNotEmpty).await {
            Err(e) if is_gone(e.kind()) => Ok(()),
            other => other,
        }
    }
}

/// Whether there is no such thing. Some catalogs say of a namespace, too, what others say of a file only.
fn is_gone(kind: Kind) -> bool {
    kind == Kind::NotFound || is_absent(kind)
}
