//! Where the readers of tables stand, kept for them in the database.
//!
//! What must hold: a position moves by compare-and-swap of its version; it belongs to a table by its uuid, so that a rename changes nothing; what a
//! position that holds back still needs is always told to whoever expires. Whether a new position is further on is for who knows the history.

use futures::FutureExt;

use crate::database::{Database, Row, Transaction, Value};
use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Ident, Namespace};

use super::position::{Position, TableId};

/// Readers of one table.
const CONSUMERS_MAX: usize = 100;
/// Longest name of a reader.
const NAME_CHARS_MAX: usize = 128;
/// Stands where a position needs no snapshot; Iceberg has no snapshot of this id.
const NEEDS_NONE: i64 = -1;

/// A statement that reads whole rows.
macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT table_uuid, consumer, version, position, snapshot_id, holds_back, branch, namespace, table_name, committed_by, \
             committed_at_ms FROM positions WHERE ",
            $which
        )
    };
}

/// The positions of the tables of one database.
#[derive(Debug, Clone)]
pub struct Positions {
    database: Database,
}

/// A reader of a table, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// What the table is known by.
    pub table_uuid: String,
    /// The reader.
    pub name: String,
    /// Another one with every commit, from 1.
    pub version: i64,
    /// As it was committed.
    pub position: String,
    /// The snapshot that it still needs, with all that are newer.
    pub needs: Option<i64>,
    /// Whether it keeps what it needs from expiry.
    pub holds_back: bool,
    /// The branch that it follows.
    pub branch: String,
    /// What the table was called then.
    pub table: Ident,
    /// Who committed it.
    pub committed_by: String,
    /// When.
    pub committed_at_ms: i64,
}

/// A position to be committed.
#[derive(Debug, Clone)]
pub struct NewPosition {
    /// The reader.
    pub name: String,
    /// Where it stands now.
    pub position: Position,
    /// The same as the reader gave it.
    pub text: String,
    /// See [`Consumer::holds_back`].
    pub holds_back: bool,
    /// See [`Consumer::branch`].
    pub branch: String,
    /// What the table is called.
    pub table: Ident,
    /// Who commits it.
    pub committed_by: String,
    /// Now.
    pub committed_at_ms: i64,
}

impl Consumer {
    /// As it is kept when a commit has made it this version.
    pub fn committed(table: &TableId, new: NewPosition, version: i64) -> Consumer {
        Consumer {
            table_uuid: table.as_str().to_owned(),
            name: new.name,
            version,
            position: new.text,
            needs: new.position.needs(),
            holds_back: new.holds_back,
            branch: new.branch,
            table: new.table,
            committed_by: new.committed_by,
            committed_at_ms: new.committed_at_ms,
        }
    }
}

/// Whether this can be a reader's name; it becomes a part of paths and metrics.
pub fn check_name(name: &str) -> Result<()> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !plain {
        let message = format!("a consumer's name must be 1 to {NAME_CHARS_MAX} letters, digits, '-', '_' or '.'");
        return Err(Error::bad_request(message));
    }
    Ok(())
}

impl Positions {
    /// Those in this database.
    pub fn new(database: Database) -> Self {
        Positions { database }
    }

    /// The snapshots that positions of a table hold back: each of them, and all that are newer on their branches, must be kept.
    pub async fn held(&self, catalog: &CatalogName, table_uuid: &str) -> Result<Vec<i64>> {
        let sql = "SELECT DISTINCT snapshot_id FROM positions WHERE catalog = $1 AND table_uuid = $2 AND holds_back = 1 AND snapshot_id <> -1";
        let uuid = table_uuid.to_lowercase();
        let rows = self.database.read(sql, &[catalog.as_str().into(), (&uuid).into()]).await?;
        rows.iter().map(|row| row.integer(0)).collect()
    }

    /// One reader.
    pub async fn get(&self, catalog: &CatalogName, table: &TableId, name: &str) -> Result<Option<Consumer>> {
        let sql = select!("catalog = $1 AND table_uuid = $2 AND consumer = $3");
        let rows = self.database.read(sql, &[catalog.as_str().into(), table.as_str().into(), name.into()]).await?;
        rows.first().map(consumer).transpose()
    }

    /// A table's readers by name.
    pub async fn list(&self, catalog: &CatalogName, table: &TableId) -> Result<Vec<Consumer>> {
        let sql = select!("catalog = $1 AND table_uuid = $2 ORDER BY consumer");
        let rows = self.database.read(sql, &[catalog.as_str().into(), table.as_str().into()]).await?;
        rows.iter().map(consumer).collect()
    }

    /// The readers of all tables of a catalog, at most `count_max`, table by table.
    pub async fn all(&self, catalog: &CatalogName, count_max: i64) -> Result<Vec<Consumer>> {
        let sql = select!("catalog = $1 ORDER BY table_uuid, consumer LIMIT $2");
        let rows = self.database.read(sql, &[catalog.as_str().into(), count_max.into()]).await?;
        rows.iter().map(consumer).collect()
    }

    /// Moves a reader that is at version `expected`, 0 for one that there is not yet; its new version. [`Kind::CommitFailed`] where it is at
    /// another one.
    pub async fn commit(
        &self,
        catalog: &CatalogName,
        table: &TableId,
        new: &NewPosition,
        expected: i64,
    ) -> Result<i64> {
        check_name(&new.name)?;
        let values = (catalog.clone(), table.clone(), new.clone());
        let touched = self
            .database
            .write(move |t| {
                let (catalog, table, new) = values.clone();
                async move {
                    match expected {
                        0 => insert(t, &catalog, &table, &new).await,
                        _ => update(t, &catalog, &table, &new, expected).await,
                    }
                }
                .boxed()
            })
            .await?;
        match touched {
            1 => Ok(expected + 1),
            _ => Err(Error::commit_failed(format!(
                "consumer {} is not at version {expected} any more: read its position and decide anew",
                new.name
            ))),
        }
    }

    /// Forgets a reader that is at version `expected`, or at any; whether there was one.
    pub async fn remove(
        &self,
        catalog: &CatalogName,
        table: &TableId,
        name: &str,
        expected: Option<i64>,
    ) -> Result<bool> {
        let values = (catalog.clone(), table.clone(), name.to_owned());
        let removed = self
            .database
            .write(move |t| {
                let (catalog, table, name) = values.clone();
                async move {
                    let sql = "DELETE FROM positions WHERE catalog = $1 AND table_uuid = $2 AND consumer = $3 AND (version = $4 OR $4 = -1)";
                    let of = [catalog.as_str().into(), table.as_str().into(), (&name).into()];
                    let values: Vec<Value<'_>> = of.into_iter().chain([expected.unwrap_or(-1).into()]).collect();
                    t.execute(sql, &values).await
                }
                .boxed()
            })
            .await?;
        Ok(removed > 0)
    }
}

async fn insert(t: &mut Transaction, catalog: &CatalogName, table: &TableId, new: &NewPosition) -> Result<u64> {
    let of = [catalog.as_str().into(), table.as_str().into()];
    let count = t.read("SELECT consumer FROM positions WHERE catalog = $1 AND table_uuid = $2", &of).await?.len();
    if count >= CONSUMERS_MAX {
        let message =
            format!("the table has {count} consumers, which is the most: remove those that are not needed any more");
        return Err(Error::new(Kind::Unprocessable, message));
    }
    let sql = "INSERT INTO positions (catalog, table_uuid, consumer, position, snapshot_id, holds_back, branch, namespace, table_name, \
               committed_by, committed_at_ms, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING";
    let namespace = new.table.namespace.joined();
    t.execute(sql, &values(catalog, table, new, &namespace, 1)).await
}

async fn update(
    t: &mut Transaction,
    catalog: &CatalogName,
    table: &TableId,
    new: &NewPosition,
    expected: i64,
) -> Result<u64> {
    let sql = "UPDATE positions SET position = $4, snapshot_id = $5, holds_back = $6, branch = $7, namespace = $8, table_name = $9, \
               committed_by = $10, committed_at_ms = $11, version = $12 + 1 \
               WHERE catalog = $1 AND table_uuid = $2 AND consumer = $3 AND version = $12";
    let namespace = new.table.namespace.joined();
    t.execute(sql, &values(catalog, table, new, &namespace, expected)).await
}

fn values<'v>(
    catalog: &'v CatalogName,
    table: &'v TableId,
    new: &'v NewPosition,
    namespace: &'v str,
    version: i64,
) -> [Value<'v>; 12] {
    [
        catalog.as_str().into(),
        table.as_str().into(),
        (&new.name).into(),
        (&new.text).into(),
        new.position.needs().unwrap_or(NEEDS_NONE).into(),
        i64::from(new.holds_back).into(),
        (&new.branch).into(),
        namespace.into(),
        (&new.table.name).into(),
        (&new.committed_by).into(),
        new.committed_at_ms.into(),
        version.into(),
    ]
}

fn consumer(row: &Row) -> Result<Consumer> {
    Ok(Consumer {
        table_uuid: row.text(0)?.to_owned(),
        name: row.text(1)?.to_owned(),
        version: row.integer(2)?,
        position: row.text(3)?.to_owned(),
        needs: Some(row.integer(4)?).filter(|id| *id != NEEDS_NONE),
        holds_back: row.integer(5)? != 0,
        branch: row.text(6)?.to_owned(),
        table: Ident::new(Namespace::from_joined(row.text(7)?)?, row.text(8)?)?,
        committed_by: row.text(9)?.to_owned(),
        committed_at_ms: row.integer(10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bed;

    fn new(name: &str, position: Position, holds_back: bool) -> NewPosition {
        NewPosition {
            name: name.into(),
            position,
            text: "as given".into(),
            holds_back,
            branch: "main".into(),
            table: Ident::from_dotted("n.t").expect("a name"),
            committed_by: "ann".into(),
            committed_at_ms: 7,
        }
    }

    async fn positions_move_by_their_versions(bed: Bed) {
        let positions = Positions::new(bed.database.clone());
        let catalog = CatalogName::parse("main").expect("valid");
        let table = TableId::of(&serde_json::json!({"table-uuid": "AB"}));
        let commit = async |new: &NewPosition, expected| positions.commit(&catalog, &table, new, expected).await;
        assert_eq!(commit(&new("a", Position::After(5), true), 0).await.expect("the first"), 1);
        for wrong in [0, 2, 7] {
            let error = commit(&new("a", Position::After(6), true), wrong).await.expect_err("another version");
            assert_eq!(error.kind(), Kind::CommitFailed);
        }
        assert_eq!(commit(&new("a", Position::After(6), true), 1).await.expect("the next"), 2);
        assert_eq!(commit(&new("b", Position::Start, true), 0).await.expect("another"), 1);
        assert_eq!(commit(&new("c", Position::After(7), false), 0).await.expect("another"), 1);
        assert!(commit(&new("a/b", Position::Start, false), 0).await.is_err());
        assert_eq!(positions.held(&catalog, "ab").await.expect("read"), [6]);
        let other = CatalogName::parse("other").expect("valid");
        assert!(positions.held(&other, "ab").await.expect("read").is_empty());
        let kept = positions.get(&catalog, &table, "a").await.expect("read").expect("is there");
        assert_eq!((kept.version, kept.needs, kept.table.to_string()), (2, Some(6), "n.t".to_owned()));
        assert_eq!(kept.position, "as given");
        let names: Vec<String> =
            positions.list(&catalog, &table).await.expect("read").into_iter().map(|consumer| consumer.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(!positions.remove(&catalog, &table, "a", Some(1)).await.expect("asked"));
        assert!(positions.remove(&catalog, &table, "a", Some(2)).await.expect("asked"));
        assert!(positions.remove(&catalog, &table, "b", None).await.expect("asked"));
        assert_eq!(positions.all(&catalog, 10).await.expect("read").len(), 1);
    }

    #[tokio::test]
    async fn positions_move_by_their_versions_on_sqlite() {
        positions_move_by_their_versions(Bed::sqlite().await).await;
    }

    #[tokio::test]
    async fn positions_move_by_their_versions_on_postgres() {
        let Some(bed) = Bed::postgres().await else { return };
        positions_move_by_their_versions(bed).await;
    }

    #[tokio::test]
    async fn of_racing_commits_one_wins() {
        let bed = Bed::sqlite().await;
        let positions = Positions::new(bed.database.clone());
        let catalog = CatalogName::parse("main").expect("valid");
        let table = TableId::of(&serde_json::json!({"table-uuid": "x"}));
        for expected in 0..3 {
            let racing = (0..8).map(|at| {
                let (positions, catalog, table) = (positions.clone(), catalog.clone(), table.clone());
                async move { positions.commit(&catalog, &table, &new("a", Position::After(at), false), expected).await }
            });
            let ended = futures::future::join_all(racing).await;
            assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 1);
        }
    }
}
