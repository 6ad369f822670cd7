//! The ledger of appended files, in the state database: what a table has or ever had, and appends that have begun.
//!
//! What must hold: an append is written down as pending before it is committed; what is done is never forgotten, so that files stay appended when
//! the snapshot that brought them has expired. Rows are only added, and merged when there are many; several servers write into one ledger.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use futures::FutureExt;
use uuid::Uuid;

use super::tracked::{KEY_BYTES, Key, News};
use crate::database::{Database, Row, Transaction};
use crate::error::{Error, Result};
use crate::model::CatalogName;

/// Files of one row, 22 bytes each.
const ROW_FILES_MAX: usize = 100_000;
/// Rows of a table from which on they are merged.
const ROWS_MERGED_FROM: usize = 200;
/// Bytes of a file in a row: its key and the low half of its size.
const ENTRY_BYTES: usize = KEY_BYTES + 4;

/// One table's part of the ledger.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    database: Database,
    catalog: CatalogName,
    table_uuid: String,
    /// Rows up to this number are known.
    read_to: i64,
    rows: usize,
}

/// An append that has begun, and of which nobody wrote down how it ended.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub number: i64,
    pub append_id: String,
    pub base_sequence_number: i64,
    pub files: Vec<(Key, u32)>,
    pub made_at_ms: i64,
}

/// What was written since it was last read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub done: News,
    pub pending: Vec<Pending>,
}

impl Ledger {
    pub fn new(database: Database, catalog: CatalogName, table_uuid: String) -> Ledger {
        Ledger { database, catalog, table_uuid, read_to: 0, rows: 0 }
    }

    /// What is new in it; everything the first time. What is pending is told every time.
    pub async fn read(&mut self) -> Result<Read> {
        let sql = "SELECT number, append_id, state, base_sequence_number, snapshots, files, made_at_ms FROM appended \
                   WHERE catalog = $1 AND table_uuid = $2 AND (number > $3 OR state = 'pending') ORDER BY number";
        let values = [self.catalog.as_str().into(), (&self.table_uuid).into(), self.read_to.into()];
        let rows = self.database.read(sql, &values).await?;
        let mut read = Read::default();
        for row in &rows {
            let number = row.integer(0)?;
            if row.text(2)? == "pending" {
                read.pending.push(pending(row)?);
                continue;
            }
            self.rows += 1;
            self.read_to = self.read_to.max(number);
            read.done.files.extend(unpacked(row.text(5)?)?);
            read.done.snapshots.extend(row.text(4)?.split(',').filter_map(|id| id.parse::<i64>().ok()));
        }
        Ok(read)
    }

    /// Writes down that an append begins; its row.
    pub async fn begin(
        &mut self,
        append_id: Uuid,
        base_sequence_number: i64,
        files: &[(Key, u32)],
    ) -> Result<Vec<i64>> {
        let mut numbers = Vec::new();
        for files in files.chunks(ROW_FILES_MAX) {
            let row = NewRow {
                append_id: Some(append_id.to_string()),
                state: "pending",
                base_sequence_number,
                snapshots: String::new(),
                files: packed(files),
            };
            numbers.push(self.insert(vec![row]).await?);
        }
        Ok(numbers)
    }

    /// Writes down how appends ended, each that landed with the snapshot that it made, and what else became known.
    pub async fn end(&mut self, landed: &[(i64, Option<i64>)], not_landed: &[i64], news: &News) -> Result<()> {
        let rows = rows_of(news);
        if landed.is_empty() && not_landed.is_empty() && rows.is_empty() {
            return Ok(());
        }
        self.rows += rows.len() + landed.len();
        // owned and shared, since the work may be repeated
        let work = Arc::new((self.clone(), landed.to_vec(), not_landed.to_vec(), rows));
        self.database
            .write(move |t| {
                let work = work.clone();
                async move {
                    let (this, landed, not_landed, rows) = &*work;
                    this.mark(t, landed, not_landed).await?;
                    if rows.is_empty() { Ok(()) } else { this.insert_in(t, rows).await.map(drop) }
                }
                .boxed()
            })
            .await
    }

    async fn mark(&self, t: &mut Transaction, landed: &[(i64, Option<i64>)], not_landed: &[i64]) -> Result<()> {
        let (catalog, uuid) = (self.catalog.as_str(), self.table_uuid.as_str());
        let sql =
            "UPDATE appended SET state = 'done', snapshots = $1 WHERE catalog = $2 AND table_uuid = $3 AND number = $4";
        for (number, snapshot) in landed {
            let snapshots = snapshot.map(|id| id.to_string()).unwrap_or_default();
            t.execute(sql, &[(&snapshots).into(), catalog.into(), uuid.into(), (*number).into()]).await?;
        }
        let sql = "DELETE FROM appended WHERE catalog = $1 AND table_uuid = $2 AND number = $3 AND state = 'pending'";
        for number in not_landed {
            t.execute(sql, &[catalog.into(), uuid.into(), (*number).into()]).await?;
        }
        Ok(())
    }

    /// Adds rows; the last one's number.
    async fn insert(&self, rows: Vec<NewRow>) -> Result<i64> {
        let (this, rows): (_, Arc<[NewRow]>) = (self.clone(), rows.into());
        self.database
            .write(move |t| {
                let (this, rows) = (this.clone(), rows.clone());
                async move { this.insert_in(t, &rows).await }.boxed()
            })
            .await
    }

    async fn insert_in(&self, t: &mut Transaction, rows: &[NewRow]) -> Result<i64> {
        let last = "SELECT COALESCE(MAX(number), 0) FROM appended WHERE catalog = $1 AND table_uuid = $2";
        let (catalog, uuid) = (self.catalog.as_str(), self.table_uuid.as_str());
        let read = t.read(last, &[catalog.into(), uuid.into()]).await?;
        let mut number = read.first().map_or(Ok(0), |row| row.integer(0))?;
        let sql = "INSERT INTO appended (catalog, table_uuid, number, append_id, state, base_sequence_number, snapshots, files, made_at_ms) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        for row in rows {
            number += 1;
            let values = [
                catalog.into(),
                uuid.into(),
                number.into(),
                row.append_id.as_deref().into(),
                row.state.into(),
                row.base_sequence_number.into(),
                (&row.snapshots).into(),
                (&row.files).into(),
                now_ms().into(),
            ];
            t.execute(sql, &values).await?;
        }
        Ok(number)
    }

    /// Makes few rows of many; `all` is everything that is done. What is pending stays.
    pub async fn merge_if_many(&mut self, all: impl FnOnce() -> News) -> Result<()> {
        if self.rows < ROWS_MERGED_FROM {
            return Ok(());
        }
        let all = all();
        let rows = rows_of(&all);
        let (this, read_to, count) = (self.clone(), self.read_to, rows.len());
        let rows: Arc<[NewRow]> = rows.into();
        self.database
            .write(move |t| {
                let (this, rows) = (this.clone(), rows.clone());
                async move {
                    // what others wrote meanwhile has higher numbers
                    let sql = "DELETE FROM appended WHERE catalog = $1 AND table_uuid = $2 AND number <= $3 AND state = 'done'";
                    this.insert_in(t, &rows).await?;
                    t.execute(sql, &[this.catalog.as_str().into(), (&this.table_uuid).into(), read_to.into()]).await?;
                    Ok(())
                }
                .boxed()
            })
            .await?;
        self.rows = count;
        Ok(())
    }
}

#[derive(Debug, Clone)]
struct NewRow {
    append_id: Option<String>,
    state: &'static str,
    base_sequence_number: i64,
    snapshots: String,
    files: String,
}

impl NewRow {
    fn done(files: String) -> NewRow {
        NewRow { append_id: None, state: "done", base_sequence_number: 0, snapshots: String::new(), files }
    }
}

/// Everything that became known, in rows; the snapshots in the last one, when all of their files are written down.
fn rows_of(news: &News) -> Vec<NewRow> {
    let mut rows: Vec<NewRow> = news.files.chunks(ROW_FILES_MAX).map(|files| NewRow::done(packed(files))).collect();
    if rows.is_empty() && !news.snapshots.is_empty() {
        rows.push(NewRow::done(String::new()));
    }
    if let Some(last) = rows.last_mut() {
        last.snapshots = news.snapshots.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    }
    rows
}

fn pending(row: &Row) -> Result<Pending> {
    Ok(Pending {
        number: row.integer(0)?,
        append_id: row.maybe_text(1)?.unwrap_or_default().to_owned(),
        base_sequence_number: row.integer(3)?,
        files: unpacked(row.text(5)?)?,
        made_at_ms: row.integer(6)?,
    })
}

fn packed(files: &[(Key, u32)]) -> String {
    let bytes: Vec<u8> = files.iter().flat_map(|(key, size)| key.iter().copied().chain(size.to_le_bytes())).collect();
    STANDARD_NO_PAD.encode(bytes)
}

fn unpacked(text: &str) -> Result<Vec<(Key, u32)>> {
    let damaged = || Error::internal("a row of the ledger of appended files is damaged");
    let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| damaged())?;
    if bytes.len() % ENTRY_BYTES != 0 {
        return Err(damaged());
    }
    let entry = |entry: &[u8]| {
        let (key, size) = entry.split_first_chunk::<KEY_BYTES>()?;
        Some((*key, u32::from_le_bytes(size.try_into().ok()?)))
    };
    bytes.chunks_exact(ENTRY_BYTES).map(|chunk| entry(chunk).ok_or_else(damaged)).collect()
}

/// Now, in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}
