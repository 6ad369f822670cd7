//! The port to this site's catalog, as far as a replica writes into it.
//!
//! What must hold: a pointer moves only from where it was seen, so that what somebody else published meanwhile is never replaced.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Kind, Result};
use crate::model::{Ident, Namespace};
use crate::upstream::pointer::{Change, Pointer, Pointers, Properties};

/// One name's way from what was published to what is to be.
#[derive(Debug, Clone)]
pub struct Move {
    /// The name.
    pub ident: Ident,
    /// What was published.
    pub from: Option<Pointer>,
    /// What is to be.
    pub to: Pointer,
}

/// This site's catalog.
#[async_trait]
pub trait SiteCatalog: Send + Sync {
    /// What is published under a name.
    async fn published(&self, ident: &Ident) -> Result<Option<Pointer>>;

    /// Publishes `to` where `from` was; [`Kind::CommitFailed`] or [`Kind::AlreadyExists`] if something else is there by now.
    async fn publish(&self, ident: &Ident, from: Option<&Pointer>, to: Pointer) -> Result<()>;

    /// Publishes several at once, or none of them where the catalog can do that.
    async fn publish_all(&self, moves: Vec<Move>) -> Result<()>;

    /// Takes away the name of what is published; its files stay.
    async fn unpublish(&self, ident: &Ident, from: &Pointer) -> Result<()>;

    /// Gives what is published another name.
    async fn rename(&self, from: &Ident, pointer: &Pointer, to: &Ident) -> Result<()>;

    /// A namespace's properties, or `None` where there is no such namespace.
    async fn namespace(&self, namespace: &Namespace) -> Result<Option<Properties>>;

    /// Makes a namespace, or replaces its properties if they are still `from`.
    async fn set_namespace(&self, namespace: &Namespace, from: Option<Properties>, to: Properties) -> Result<()>;

    /// Removes a namespace if it is empty.
    async fn drop_namespace(&self, namespace: &Namespace) -> Result<()>;

    /// Goes on with a publication that was cut off after it could be seen.
    async fn mend(&self, _ident: &Ident) -> Result<()> {
        Ok(())
    }

    /// Whether it holds more than a table's current snapshot.
    fn keeps_history(&self) -> bool {
        true
    }
}

#[async_trait]
impl SiteCatalog for Arc<dyn Pointers> {
    async fn published(&self, ident: &Ident) -> Result<Option<Pointer>> {
        self.get(ident).await
    }

    async fn publish(&self, ident: &Ident, from: Option<&Pointer>, to: Pointer) -> Result<()> {
        self.publish_all(vec![Move { ident: ident.clone(), from: from.cloned(), to }]).await
    }

    async fn publish_all(&self, moves: Vec<Move>) -> Result<()> {
        let mut changes = Vec::with_capacity(moves.len());
        for Move { ident, from, to } in moves {
            match from {
                Some(from) => changes.push(Change::Swap { ident, from: from.metadata_location, to }),
                None => {
                    make_namespace(self.as_ref(), &ident.namespace).await?;
                    changes.push(Change::Create { ident, pointer: to });
                }
            }
        }
        self.apply(&changes, None).await
    }

    async fn unpublish(&self, ident: &Ident, from: &Pointer) -> Result<()> {
        self.apply(&[Change::Drop { ident: ident.clone(), from: from.clone(), purge: false }], None).await
    }

    async fn rename(&self, from: &Ident, pointer: &Pointer, to: &Ident) -> Result<()> {
        make_namespace(self.as_ref(), &to.namespace).await?;
        self.apply(&[Change::Rename { kept: pointer.kept, from: from.clone(), to: to.clone() }], None).await
    }

    async fn namespace(&self, namespace: &Namespace) -> Result<Option<Properties>> {
        self.as_ref().namespace(namespace).await
    }

    async fn set_namespace(&self, namespace: &Namespace, from: Option<Properties>, to: Properties) -> Result<()> {
        let namespace = namespace.clone();
        let change = match from {
            Some(from) => Change::SetProperties { namespace, from, to },
            None => Change::CreateNamespace { namespace, properties: to },
        };
        self.apply(&[change], None).await
    }

    async fn drop_namespace(&self, namespace: &Namespace) -> Result<()> {
        self.apply(&[Change::DropNamespace { namespace: namespace.clone() }], None).await
    }
}

async fn make_namespace(pointers: &dyn Pointers, namespace: &Namespace) -> Result<()> {
    if pointers.namespace(namespace).await?.is_some() {
        return Ok(());
    }
    let make = Change::CreateNamespace { namespace: namespace.clone(), properties: Properties::new() };
    match pointers.apply(&[make], None).await {
        // another server was quicker
        Err(e) if matches!(e.kind(), Kind::AlreadyExists | Kind::CommitFailed) => Ok(()),
        other => other,
    }
}
