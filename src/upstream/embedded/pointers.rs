//! [`Pointers`] on our own database.
//!
//! Foreign keys keep tables and namespaces together whoever comes first: a conflict that they report means that another change did.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;

use crate::database::{Database, Row, Transaction};
use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Ident, Namespace};
use crate::storage::Location;
use crate::upstream::pointer::{Change, Kept, Outcome, Page, Pointer, Pointers, Properties};

/// The pointers of one catalog; several catalogs may share a database.
#[derive(Debug, Clone)]
pub struct DatabasePointers {
    database: Database,
    catalog: CatalogName,
}

impl DatabasePointers {
    /// The pointers of `catalog`, whose row is made when it is missing.
    pub async fn open(database: Database, catalog: CatalogName) -> Result<Self> {
        let sql = "INSERT INTO catalogs (name) VALUES ($1) ON CONFLICT DO NOTHING";
        let name = catalog.clone();
        database
            .write(move |t| {
                let name = name.clone();
                async move { t.execute(sql, &[name.as_str().into()]).await }.boxed()
            })
            .await?;
        Ok(DatabasePointers { database, catalog })
    }

    async fn apply_in(&self, t: &mut Transaction, changes: &[Change], outcome: Option<&Outcome>) -> Result<()> {
        let catalog = self.catalog.as_str();
        let rows = t.read_and_hold("SELECT role FROM catalogs WHERE name = $1", &[catalog.into()]).await?;
        let role = rows.first().map_or(Ok("missing"), |row| row.text(0))?;
        if role != "primary" && !changes.is_empty() {
            return Err(Error::new(Kind::Forbidden, format!("catalog {catalog} is {role} here; write at its primary")));
        }
        if let Some(outcome) = outcome {
            keep_outcome(t, catalog, outcome).await?;
        }
        for change in changes {
            apply_one(t, catalog, change).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Pointers for DatabasePointers {
    async fn get(&self, ident: &Ident) -> Result<Option<Pointer>> {
        let sql = "SELECT kind, uuid, location, metadata_location FROM pointers WHERE catalog = $1 AND namespace = $2 AND name = $3";
        let namespace = ident.namespace.joined();
        let rows =
            self.database.read(sql, &[self.catalog.as_str().into(), (&namespace).into(), (&ident.name).into()]).await?;
        rows.first().map(pointer).transpose()
    }

    async fn list(&self, namespace: &Namespace, kept: Kept, page: Page<'_>) -> Result<Vec<String>> {
        let sql = "SELECT name FROM pointers WHERE catalog = $1 AND namespace = $2 AND kind = $3 AND name > $4 ORDER BY name LIMIT $5";
        let joined = namespace.joined();
        let values = [
            self.catalog.as_str().into(),
            (&joined).into(),
            kind(kept).into(),
            page.after.into(),
            page.count_max.into(),
        ];
        let rows = self.database.read(sql, &values).await?;
        rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
    }

    async fn namespace(&self, namespace: &Namespace) -> Result<Option<Properties>> {
        let sql = "SELECT properties FROM namespaces WHERE catalog = $1 AND path = $2";
        let rows = self.database.read(sql, &[self.catalog.as_str().into(), (&namespace.joined()).into()]).await?;
        rows.first().map(|row| parse_properties(row.text(0)?)).transpose()
    }

    async fn namespaces(&self, parent: Option<&Namespace>, page: Page<'_>) -> Result<Vec<Namespace>> {
        let catalog = self.catalog.as_str();
        let rows = match parent.map(Namespace::joined) {
            Some(parent) => {
                let sql = "SELECT path FROM namespaces WHERE catalog = $1 AND parent = $2 AND path > $3 ORDER BY path LIMIT $4";
                let values = [catalog.into(), (&parent).into(), page.after.into(), page.count_max.into()];
                self.database.read(sql, &values).await?
            }
            None => {
                let sql = "SELECT path FROM namespaces WHERE catalog = $1 AND parent IS NULL AND path > $2 ORDER BY path LIMIT $3";
                self.database.read(sql, &[catalog.into(), page.after.into(), page.count_max.into()]).await?
            }
        };
        rows.iter().map(|row| Namespace::from_joined(row.text(0)?)).collect()
    }

    async fn apply(&self, changes: &[Change], outcome: Option<&Outcome>) -> Result<()> {
        // owned, since the work may be repeated after this call's borrows could end
        let (this, changes, outcome): (_, Arc<[Change]>, _) = (self.clone(), changes.into(), outcome.cloned());
        self.database
            .write(move |t| {
                let (this, changes, outcome) = (this.clone(), changes.clone(), outcome.clone());
                async move { this.apply_in(t, &changes, outcome.as_ref()).await }.boxed()
            })
            .await
    }

    async fn outcome(&self, principal: &str, key: &str, now_ms: i64) -> Result<Option<Outcome>> {
        let sql = "SELECT fingerprint, status, body, metadata_location, kept_at_ms, expires_at_ms FROM outcomes \
                   WHERE catalog = $1 AND principal = $2 AND key = $3 AND expires_at_ms > $4";
        let values = [self.catalog.as_str().into(), principal.into(), key.into(), now_ms.into()];
        let rows = self.database.read(sql, &values).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Outcome {
            principal: principal.to_owned(),
            key: key.to_owned(),
            fingerprint: row.text(0)?.to_owned(),
            status: u16::try_from(row.integer(1)?).unwrap_or_default(),
            body: row.text(2)?.to_owned(),
            metadata_location: row.maybe_text(3)?.map(Location::new),
            kept_at_ms: row.integer(4)?,
            expires_at_ms: row.integer(5)?,
        }))
    }

    async fn ready(&self) -> Result<()> {
        self.database.ready().await
    }
}

/// Keeps an outcome; a second one under the same key is a conflict. Those that have expired go, whosever they are.
async fn keep_outcome(t: &mut Transaction, catalog: &str, outcome: &Outcome) -> Result<()> {
    t.execute("DELETE FROM outcomes WHERE expires_at_ms <= $1", &[outcome.kept_at_ms.into()]).await?;
    let sql = "INSERT INTO outcomes (catalog, principal, key, fingerprint, status, body, metadata_location, kept_at_ms, expires_at_ms) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let values = [
        catalog.into(),
        (&outcome.principal).into(),
        (&outcome.key).into(),
        (&outcome.fingerprint).into(),
        i64::from(outcome.status).into(),
        (&outcome.body).into(),
        outcome.metadata_location.as_ref().map(Location::as_str).into(),
        outcome.kept_at_ms.into(),
        outcome.expires_at_ms.into(),
    ];
    t.execute(sql, &values).await.map(|_| ())
}

async fn apply_one(t: &mut Transaction, catalog: &str, change: &Change) -> Result<()> {
    match change {
        Change::CreateNamespace { namespace, properties } => create_namespace(t, catalog, namespace, properties).await,
        Change::SetProperties { namespace, from, to } => {
            let sql = "UPDATE namespaces SET properties = $1 WHERE catalog = $2 AND path = $3 AND properties = $4";
            let (path, from, to) = (namespace.joined(), properties_text(from)?, properties_text(to)?);
            let count = t.execute(sql, &[(&to).into(), catalog.into(), (&path).into(), (&from).into()]).await?;
            must(count, || Error::commit_failed(format!("the properties of {namespace} were changed by somebody else")))
        }
        Change::DropNamespace { namespace } => drop_namespace(t, catalog, namespace).await,
        Change::Create { ident, pointer } => create(t, catalog, ident, pointer).await,
        Change::Swap { ident, from, to } => swap(t, catalog, ident, from, to).await,
        Change::Drop { ident, from, purge } => drop(t, catalog, ident, from, *purge).await,
        Change::Rename { kept, from, to } => rename(t, catalog, *kept, from, to).await,
    }
}

async fn create_namespace(
    t: &mut Transaction,
    catalog: &str,
    namespace: &Namespace,
    properties: &Properties,
) -> Result<()> {
    let sql =
        "INSERT INTO namespaces (catalog, path, parent, properties) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    let levels = namespace.levels();
    for depth in 1..levels.len() {
        let (path, parent) = (levels[..depth].join(SEPARATOR), levels[..depth - 1].join(SEPARATOR));
        let parent = (depth > 1).then_some(parent.as_str());
        t.execute(sql, &[catalog.into(), (&path).into(), parent.into(), "{}".into()]).await?;
    }
    let parent = namespace.parent().map(|parent| parent.joined());
    let (path, properties) = (namespace.joined(), properties_text(properties)?);
    let values = [catalog.into(), (&path).into(), parent.as_deref().into(), (&properties).into()];
    let count = t.execute(sql, &values).await?;
    must(count, || Error::new(Kind::AlreadyExists, format!("Namespace already exists: {namespace}")))
}

async fn drop_namespace(t: &mut Transaction, catalog: &str, namespace: &Namespace) -> Result<()> {
    let path = namespace.joined();
    let within = [
        "SELECT 1 FROM pointers WHERE catalog = $1 AND namespace = $2 LIMIT 1",
        "SELECT 1 FROM namespaces WHERE catalog = $1 AND parent = $2 LIMIT 1",
    ];
    for sql in within {
        if !t.read(sql, &[catalog.into(), (&path).into()]).await?.is_empty() {
            return Err(Error::new(Kind::NamespaceNotEmpty, format!("Namespace {namespace} is not empty")));
        }
    }
    let sql = "DELETE FROM namespaces WHERE catalog = $1 AND path = $2";
    let count = t.execute(sql, &[catalog.into(), (&path).into()]).await.map_err(|e| match e.kind() {
        Kind::CommitFailed => Error::new(Kind::NamespaceNotEmpty, format!("Namespace {namespace} is not empty")),
        _ => e,
    })?;
    must(count, || no_namespace(namespace))
}

async fn create(t: &mut Transaction, catalog: &str, ident: &Ident, pointer: &Pointer) -> Result<()> {
    let sql = "INSERT INTO pointers (catalog, namespace, name, kind, uuid, location, metadata_location) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let namespace = ident.namespace.joined();
    let values = [
        catalog.into(),
        (&namespace).into(),
        (&ident.name).into(),
        kind(pointer.kept).into(),
        (&pointer.uuid).into(),
        pointer.location.as_str().into(),
        pointer.metadata_location.as_str().into(),
    ];
    let count = t.execute(sql, &values).await.map_err(|e| namespace_missing(e, &ident.namespace))?;
    must(count, || Error::new(Kind::AlreadyExists, format!("Table or view already exists: {ident}")))
}

async fn swap(t: &mut Transaction, catalog: &str, ident: &Ident, from: &Location, to: &Pointer) -> Result<()> {
    let sql = "UPDATE pointers SET uuid = $1, location = $2, metadata_location = $3, previous_metadata_location = $4 \
               WHERE catalog = $5 AND namespace = $6 AND name = $7 AND kind = $8 AND metadata_location = $4";
    let namespace = ident.namespace.joined();
    let values = [
        (&to.uuid).into(),
        to.location.as_str().into(),
        to.metadata_location.as_str().into(),
        from.as_str().into(),
        catalog.into(),
        (&namespace).into(),
        (&ident.name).into(),
        kind(to.kept).into(),
    ];
    let count = t.execute(sql, &values).await?;
    must(count, || Error::commit_failed(format!("{ident} was changed by another commit")))
}

async fn drop(t: &mut Transaction, catalog: &str, ident: &Ident, from: &Pointer, purge: bool) -> Result<()> {
    let sql = "DELETE FROM pointers WHERE catalog = $1 AND namespace = $2 AND name = $3 AND metadata_location = $4";
    let (namespace, metadata_location) = (ident.namespace.joined(), from.metadata_location.as_str());
    let count =
        t.execute(sql, &[catalog.into(), (&namespace).into(), (&ident.name).into(), metadata_location.into()]).await?;
    must(count, || Error::commit_failed(format!("{ident} was changed by another commit")))?;
    if !purge {
        return Ok(());
    }
    let sql = "INSERT INTO purges (id, catalog, table_name, location, metadata_location, due_at_ms) VALUES ($1, $2, $3, $4, $5, 0)";
    let id = uuid::Uuid::now_v7().to_string();
    let name = ident.to_string();
    let values =
        [(&id).into(), catalog.into(), (&name).into(), from.location.as_str().into(), metadata_location.into()];
    t.execute(sql, &values).await.map(|_| ())
}

async fn rename(t: &mut Transaction, catalog: &str, kept: Kept, from: &Ident, to: &Ident) -> Result<()> {
    let (source, target) = (from.namespace.joined(), to.namespace.joined());
    let sql = "SELECT kind FROM pointers WHERE catalog = $1 AND namespace = $2 AND name = $3";
    let there = t.read(sql, &[catalog.into(), (&target).into(), (&to.name).into()]).await?;
    if !there.is_empty() {
        return Err(Error::new(Kind::AlreadyExists, format!("Table or view already exists: {to}")));
    }
    let sql = "UPDATE pointers SET namespace = $1, name = $2 WHERE catalog = $3 AND namespace = $4 AND name = $5 AND kind = $6";
    let values =
        [(&target).into(), (&to.name).into(), catalog.into(), (&source).into(), (&from.name).into(), kind(kept).into()];
    let count = t.execute(sql, &values).await.map_err(|e| match e.kind() {
        Kind::CommitFailed => {
            Error::commit_failed(format!("{to} or its namespace was changed by somebody else")).with_source(e)
        }
        _ => e,
    })?;
    let gone = if kept == Kept::Table { Kind::NoSuchTable } else { Kind::NoSuchView };
    must(count, || {
        Error::new(gone, format!("{} does not exist: {from}", if kept == Kept::Table { "Table" } else { "View" }))
    })
}

/// As [`Namespace::joined`].
const SEPARATOR: &str = "\u{1f}";

fn must(count: u64, otherwise: impl FnOnce() -> Error) -> Result<()> {
    if count == 1 { Ok(()) } else { Err(otherwise()) }
}

fn no_namespace(namespace: &Namespace) -> Error {
    Error::new(Kind::NoSuchNamespace, format!("Namespace does not exist: {namespace}"))
}

/// A broken foreign key of a pointer is a namespace that has gone.
fn namespace_missing(e: Error, namespace: &Namespace) -> Error {
    if e.kind() == Kind::CommitFailed { no_namespace(namespace).with_source(e) } else { e }
}

fn kind(kept: Kept) -> &'static str {
    match kept {
        Kept::Table => "table",
        Kept::View => "view",
    }
}

fn pointer(row: &Row) -> Result<Pointer> {
    let kept = match row.text(0)? {
        "table" => Kept::Table,
        "view" => Kept::View,
        other => return Err(Error::internal(format!("a pointer of kind {other:?}; a newer release made it"))),
    };
    let location = |at| row.text(at).map(Location::new);
    Ok(Pointer { kept, uuid: row.text(1)?.to_owned(), location: location(2)?, metadata_location: location(3)? })
}

fn properties_text(properties: &Properties) -> Result<String> {
    serde_json::to_string(properties).map_err(|e| Error::internal("properties are not JSON").with_source(e))
}

fn parse_properties(text: &str) -> Result<Properties> {
    serde_json::from_str(text).map_err(|e| Error::internal("a namespace's properties are damaged").with_source(e))
}
