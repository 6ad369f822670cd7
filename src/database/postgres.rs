//! PostgreSQL: several servers may share one database.
//!
//! Serialisation failures and deadlocks are repeated by the caller; a connection lost before the commit was sent means that nothing landed, and
//! one lost during the commit that nobody knows.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{Column as _, Executor, Row as _, SqlSafeStr, TypeInfo, ValueRef};

use super::row::{Column, Row, Value};
use super::{ACQUIRE_TIMEOUT, READERS_MAX, fault, migrations, repeat};
use crate::error::{Error, Kind, Result};
use crate::model::Secret;

/// Connections that write at once, besides those that read.
const WRITERS_MAX: u32 = 8;

/// A pool of connections to PostgreSQL.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: PgPool,
}

impl Postgres {
    pub(super) async fn open(url: &Secret) -> Result<Self> {
        let options = PgConnectOptions::from_str(url.expose())
            .map_err(|_| Error::bad_request("the database URL is not postgres://user:password@host:port/name"))?;
        let place = format!("opening the PostgreSQL database {}:{}", options.get_host(), options.get_port());
        let open = async {
            let pool = PgPoolOptions::new()
                .max_connections(READERS_MAX + WRITERS_MAX)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .connect_with(options.application_name("lifeboat"))
                .await
                .map_err(fault)?;
            migrations::run(migrations::POSTGRES, &pool).await?;
            Ok(Postgres { pool })
        };
        open.await.map_err(|e: Error| e.context(place))
    }

    pub(super) async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Postgres>> {
        self.pool.begin().await.map_err(failure)
    }

    pub(super) async fn read(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        read(&self.pool, sql, values).await
    }
}

pub(super) async fn read<'c>(
    connection: impl Executor<'c, Database = sqlx::Postgres>,
    sql: impl SqlSafeStr,
    values: &[Value<'_>],
) -> Result<Vec<Row>> {
    let rows = bound(sql, values).fetch_all(connection).await.map_err(failure)?;
    rows.iter().map(row).collect()
}

pub(super) async fn execute(
    transaction: &mut sqlx::Transaction<'static, sqlx::Postgres>,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<u64> {
    let done = bound(sql, values).execute(&mut **transaction).await.map_err(failure)?;
    Ok(done.rows_affected())
}

fn bound<'q>(
    sql: impl SqlSafeStr,
    values: &[Value<'_>],
) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    values.iter().fold(sqlx::query(sql), |query, value| match *value {
        Value::Text(text) => query.bind(text.to_owned()),
        Value::Maybe(text) => query.bind(text.map(str::to_owned)),
        Value::Integer(number) => query.bind(number),
    })
}

fn row(row: &PgRow) -> Result<Row> {
    let columns = (0..row.columns().len()).map(|at| {
        let raw = row.try_get_raw(at)?;
        Ok(match (raw.is_null(), raw.type_info().name()) {
            (true, _) => Column::Null,
            (_, "INT8") => Column::Integer(row.try_get(at)?),
            (_, "INT4") => Column::Integer(row.try_get::<i32, _>(row.columns()[at].ordinal())?.into()),
            _ => Column::Text(row.try_get(at)?),
        })
    });
    columns.collect::<Result<_, sqlx::Error>>().map(Row).map_err(fault)
}

/// A failure before the commit: nothing landed.
fn failure(e: sqlx::Error) -> Error {
    let code = e.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    match code.as_str() {
        // foreign key, unique
        "23503" | "23505" => Error::new(Kind::CommitFailed, "another change came first").with_source(e),
        // serialisation, deadlock, lock not available, too many connections, shutting down, starting up
        "40001" | "40P01" | "55P03" | "53300" | "57P01" | "57P03" => repeat(e),
        _ if matches!(e, sqlx::Error::PoolTimedOut | sqlx::Error::Io(_)) => repeat(e),
        _ => fault(e),
    }
}

/// A failure of the commit itself: only a broken constraint, a serialisation failure or a deadlock is certain not to have landed.
/// Anything else may come from something between us and the server that lost it in the middle (40003 says just that).
pub(super) fn commit_failure(e: sqlx::Error) -> Error {
    let code = e.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    if code.starts_with("23") || (code.starts_with("40") && code != "40003") {
        return failure(e);
    }
    Error::new(Kind::OutcomeUnknown, "the database went away while the change was committed").with_source(e)
}
