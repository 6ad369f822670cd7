//! SQLite: one writer, several readers, write-ahead log, synced at every commit.
//!
//! All writes go through one connection and begin with `BEGIN IMMEDIATE`, so within this process they queue instead of failing; another
//! process that holds the file is waited for (`busy_timeout`) and then reported as busy.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Column as _, Executor, Row as _, TypeInfo, ValueRef};

use super::row::{Column, Row, Value};
use super::{ACQUIRE_TIMEOUT, READERS_MAX, fault, migrations, repeat};
use crate::error::{Error, Kind, Result};

/// How long another process' write is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// An open SQLite database.
#[derive(Debug, Clone)]
pub struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Sqlite {
    pub(super) async fn open(path: &Path) -> Result<Self> {
        let open = async {
            if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
                tokio::fs::create_dir_all(folder).await.map_err(sqlx::Error::Io)?;
            }
            let options = SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(BUSY_TIMEOUT);
            let pool = || SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).test_before_acquire(false);
            let writer = pool().max_connections(1).connect_with(options.clone()).await?;
            let readers = pool().max_connections(READERS_MAX).connect_lazy_with(options.read_only(true));
            Ok(Sqlite { writer, readers })
        };
        let named = |e: Error| e.context(format!("opening the SQLite database {}", path.display()));
        let sqlite = open.await.map_err(fault).map_err(named)?;
        migrations::run(migrations::SQLITE, &sqlite.writer).await.map_err(named)?;
        Ok(sqlite)
    }

    pub(super) async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failure)
    }

    pub(super) async fn read(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        read(&self.readers, sql, values).await
    }
}

pub(super) async fn read<'c>(
    connection: impl Executor<'c, Database = sqlx::Sqlite>,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<Vec<Row>> {
    let rows = bound(sql, values).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(row).collect()
}

pub(super) async fn execute(
    transaction: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<u64> {
    let done = bound(sql, values).execute(&mut **transaction).await.map_err(failure)?;
    Ok(done.rows_affected())
}

fn bound<'q>(
    sql: &'static str,
    values: &[Value<'_>],
) -> sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
    values.iter().fold(sqlx::query(sql), |query, value| match *value {
        Value::Text(text) => query.bind(text.to_owned()),
        Value::Maybe(text) => query.bind(text.map(str::to_owned)),
        Value::Integer(number) => query.bind(number),
    })
}

fn row(row: &SqliteRow) -> Result<Row> {
    let columns = (0..row.columns().len()).map(|at| {
        let raw = row.try_get_raw(at)?;
        Ok(match (raw.is_null(), raw.type_info().name()) {
            (true, _) => Column::Null,
            (_, "INTEGER") => Column::Integer(row.try_get(row.columns()[at].ordinal())?),
            _ => Column::Text(row.try_get(at)?),
        })
    });
    columns.collect::<Result<_, sqlx::Error>>().map(Row).map_err(fault)
}

/// A failure before the commit: nothing landed.
fn failure(e: sqlx::Error) -> Error {
    match e.as_database_error() {
        Some(error) if error.is_foreign_key_violation() || error.is_unique_violation() => {
            Error::new(Kind::CommitFailed, "another change came first").with_source(e)
        }
        // SQLITE_BUSY and SQLITE_LOCKED with their extended codes
        Some(error) if error.code().and_then(|c| c.parse::<u32>().ok()).is_some_and(|c| matches!(c & 0xff, 5 | 6)) => {
            repeat(e)
        }
        _ if matches!(e, sqlx::Error::PoolTimedOut) => repeat(e),
        _ => fault(e),
    }
}

/// A failure of the commit itself. Busy or a broken constraint: it has not happened. Anything else, such as a log that could not be synced, may
/// turn out to have happened when the database is opened the next time.
pub(super) fn commit_failure(e: sqlx::Error) -> Error {
    match failure(e) {
        e if matches!(e.kind(), Kind::CommitFailed | Kind::Unavailable) => e,
        e => Error::new(Kind::OutcomeUnknown, "the database failed while the change was committed").with_source(e),
    }
}
