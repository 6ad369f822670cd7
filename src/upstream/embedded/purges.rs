//! The queue of purges: rows that drops have written in their own transactions.
//!
//! What must hold: a purge is claimed by one worker at a time, under a lease that runs out when the worker is gone; it leaves the queue
//! only when it is done, and until then it shows why it is not. Only the primary of a catalog deletes.

use futures::FutureExt;

use crate::database::{Database, Row, Value};
use crate::error::Result;
use crate::model::{CatalogName, Ident};
use crate::storage::Location;

/// How many rows are looked at when others claim the same ones.
const CLAIMS_MAX: i64 = 16;
/// How many pointers are read at once.
const PAGE_COUNT: i64 = 5000;
/// How much of an error is kept.
const ERROR_CHARS_MAX: usize = 2000;

/// A dropped table whose files are to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// Its own id.
    pub id: String,
    /// The catalog that the table was in.
    pub catalog: String,
    /// The name that the table had.
    pub table: String,
    /// The table's location.
    pub location: Location,
    /// The table's last metadata file.
    pub metadata_location: Location,
    /// How often it was begun, this time included.
    pub attempts: i64,
    /// When it may be claimed, or until when it is.
    pub due_at_ms: i64,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// The purges of all catalogs of one database.
#[derive(Debug, Clone)]
pub struct Purges {
    database: Database,
}

impl Purges {
    /// The queue in this database.
    pub fn new(database: Database) -> Self {
        Purges { database }
    }

    /// Claims a purge that is due, until `until_ms`.
    pub async fn claim(&self, now_ms: i64, until_ms: i64) -> Result<Option<Purge>> {
        let sql = "SELECT id, catalog, table_name, location, metadata_location, attempts, due_at_ms, last_error FROM purges \
                   WHERE due_at_ms <= $1 AND catalog IN (SELECT name FROM catalogs WHERE role = 'primary') \
                   ORDER BY due_at_ms, id LIMIT $2";
        for row in self.database.read(sql, &[now_ms.into(), CLAIMS_MAX.into()]).await? {
            let mut purge = purge(&row)?;
            let sql = "UPDATE purges SET due_at_ms = $1, attempts = attempts + 1 WHERE id = $2 AND due_at_ms = $3";
            if self.change(sql, &purge, vec![Field::Integer(until_ms)]).await? == 1 {
                purge.attempts += 1;
                purge.due_at_ms = until_ms;
                return Ok(Some(purge));
            }
        }
        Ok(None)
    }

    /// Keeps a claimed purge until `until_ms`; false when the lease ran out and somebody else has it.
    pub async fn renew(&self, purge: &mut Purge, until_ms: i64) -> Result<bool> {
        let sql = "UPDATE purges SET due_at_ms = $1 WHERE id = $2 AND due_at_ms = $3";
        let kept = self.change(sql, purge, vec![Field::Integer(until_ms)]).await? == 1;
        if kept {
            purge.due_at_ms = until_ms;
        }
        Ok(kept)
    }

    /// Takes a purge that is done out of the queue.
    pub async fn finish(&self, purge: &Purge) -> Result<()> {
        self.change("DELETE FROM purges WHERE id = $1 AND due_at_ms = $2", purge, Vec::new()).await.map(drop)
    }

    /// Puts a purge that failed back into the queue, with what went wrong.
    pub async fn postpone(&self, purge: &Purge, due_at_ms: i64, error: &str) -> Result<()> {
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        let sql = "UPDATE purges SET due_at_ms = $1, last_error = $2 WHERE id = $3 AND due_at_ms = $4";
        self.change(sql, purge, vec![Field::Integer(due_at_ms), Field::Text(error)]).await.map(drop)
    }

    /// What is in the queue, the longest waiting first.
    pub async fn list(&self, count_max: i64) -> Result<Vec<Purge>> {
        let sql = "SELECT id, catalog, table_name, location, metadata_location, attempts, due_at_ms, last_error FROM purges \
                   ORDER BY id LIMIT $1";
        self.database.read(sql, &[count_max.into()]).await?.iter().map(purge).collect()
    }

    /// Where every table and view lies that is in any catalog of this database and that `wanted` picks.
    pub async fn live_locations(&self, wanted: impl Fn(&Location) -> bool) -> Result<Vec<Location>> {
        self.live_locations_beside(None, wanted).await
    }

    /// The same, without one table.
    pub async fn live_locations_beside(
        &self,
        table: Option<(&CatalogName, &Ident)>,
        wanted: impl Fn(&Location) -> bool,
    ) -> Result<Vec<Location>> {
        let table = table.map(|(catalog, ident)| (catalog.as_str(), ident.namespace.joined(), ident.name.as_str()));
        let sql = "SELECT catalog, namespace, name, location FROM pointers WHERE (catalog, namespace, name) > ($1, $2, $3) \
                   ORDER BY catalog, namespace, name LIMIT $4";
        let mut after = (String::new(), String::new(), String::new());
        let mut found = Vec::new();
        loop {
            let values = [(&after.0).into(), (&after.1).into(), (&after.2).into(), PAGE_COUNT.into()];
            let rows = self.database.read(sql, &values).await?;
            for row in &rows {
                let location = Location::new(row.text(3)?);
                let named = (row.text(0)?, row.text(1)?, row.text(2)?);
                let is_it =
                    table.as_ref().is_some_and(|(catalog, namespace, name)| named == (catalog, namespace, name));
                if !is_it && wanted(&location) {
                    found.push(location);
                }
            }
            match rows.last() {
                Some(last) if rows.len() as i64 == PAGE_COUNT => {
                    after = (last.text(0)?.to_owned(), last.text(1)?.to_owned(), last.text(2)?.to_owned());
                }
                _ => return Ok(found),
            }
        }
    }

    /// Whether this site is the primary of a catalog.
    pub async fn is_primary(&self, catalog: &CatalogName) -> Result<bool> {
        let sql = "SELECT name FROM catalogs WHERE name = $1 AND role = 'primary'";
        Ok(!self.database.read(sql, &[catalog.as_str().into()]).await?.is_empty())
    }

    /// One statement whose last parameters are the purge's id and the due time by which it is known to be ours.
    async fn change(&self, sql: &'static str, purge: &Purge, mut fields: Vec<Field>) -> Result<u64> {
        fields.extend([Field::Text(purge.id.clone()), Field::Integer(purge.due_at_ms)]);
        self.database
            .write(move |t| {
                let fields = fields.clone();
                async move {
                    let values: Vec<Value<'_>> = fields.iter().map(Field::value).collect();
                    t.execute(sql, &values).await
                }
                .boxed()
            })
            .await
    }
}

/// A parameter that is owned, since a transaction may be repeated.
#[derive(Debug, Clone)]
enum Field {
    Text(String),
    Integer(i64),
}

impl Field {
    fn value(&self) -> Value<'_> {
        match self {
            Field::Text(text) => text.into(),
            Field::Integer(number) => (*number).into(),
        }
    }
}

fn purge(row: &Row) -> Result<Purge> {
    Ok(Purge {
        id: row.text(0)?.to_owned(),
        catalog: row.text(1)?.to_owned(),
        table: row.text(2)?.to_owned(),
        location: Location::new(row.text(3)?),
        metadata_location: Location::new(row.text(4)?),
        attempts: row.integer(5)?,
        due_at_ms: row.integer(6)?,
        last_error: row.maybe_text(7)?.map(str::to_owned),
    })
}
