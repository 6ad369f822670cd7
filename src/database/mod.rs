//! One database for catalog and state: SQLite, the default, or PostgreSQL.
//!
//! What must hold: a [`Database::write`] happens whole or not at all, is repeated when the database asks for it, and no lock
//! error reaches a caller; only when the connection breaks while the transaction commits is the outcome unknown. SQL is the same
//! for both dialects (`$1` parameters, no upserts but `ON CONFLICT DO NOTHING`); what differs is in `sqlite.rs` and
//! `postgres.rs`. The meaning of the rows is for those who write them.

mod migrations;
mod postgres;
mod row;
mod sqlite;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rand::Rng;

pub use row::{Row, Value};

use crate::error::{Error, Kind, Result};
use crate::model::Secret;

/// How often a write is repeated when the database asks for it.
const WRITE_ATTEMPTS_MAX: u32 = 30;
/// How long it is repeated; what waited for a connection all that time is not tried again.
const WRITE_TIME_MAX: Duration = Duration::from_secs(45);
/// The longest pause between two attempts.
const WRITE_PAUSE_MAX_MS: u64 = 200;
/// Connections that read at once.
const READERS_MAX: u32 = 8;
/// How long a caller waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseSettings {
    /// A file of this machine; made when missing.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// A server.
    Postgres {
        /// `postgres://user:password@host:port/name`
        url: Secret,
    },
}

/// An open database with the newest schema.
#[derive(Debug, Clone)]
pub enum Database {
    /// SQLite.
    Sqlite(sqlite::Sqlite),
    /// PostgreSQL.
    Postgres(postgres::Postgres),
}

/// A transaction under way; dropped without [`Database::write`] finishing it, it never happened.
pub enum Transaction {
    /// On SQLite: the only writer.
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    /// On PostgreSQL.
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Database {
    /// Opens the database and brings its schema to the newest version.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self> {
        match settings {
            DatabaseSettings::Sqlite { path } => Ok(Database::Sqlite(sqlite::Sqlite::open(path).await?)),
            DatabaseSettings::Postgres { url } => Ok(Database::Postgres(postgres::Postgres::open(url).await?)),
        }
    }

    /// One statement that reads.
    pub async fn read(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        match self {
            Database::Sqlite(sqlite) => sqlite.read(sql, values).await,
            Database::Postgres(postgres) => postgres.read(sql, values).await,
        }
    }

    /// Runs `work` in a transaction and commits it; again, from the start, when the database asks for that.
    pub async fn write<T: Send>(
        &self,
        work: impl for<'t> Fn(&'t mut Transaction) -> BoxFuture<'t, Result<T>> + Send + Sync,
    ) -> Result<T> {
        let (mut attempt, began) = (1, Instant::now());
        loop {
            let outcome = self.write_once(&work).await;
            match outcome {
                Err(error)
                    if error.kind() == Kind::Unavailable
                        && attempt < WRITE_ATTEMPTS_MAX
                        && began.elapsed() < WRITE_TIME_MAX =>
                {
                    tracing::debug!(attempt, error = %error, "the database asks for the write to be repeated");
                }
                other => return other,
            }
            let pause_ms = rand::rng().random_range(1..=(5u64 << attempt.min(6)).min(WRITE_PAUSE_MAX_MS));
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            attempt += 1;
        }
    }

    async fn write_once<T: Send>(
        &self,
        work: &(impl for<'t> Fn(&'t mut Transaction) -> BoxFuture<'t, Result<T>> + Send + Sync),
    ) -> Result<T> {
        let mut transaction = match self {
            Database::Sqlite(sqlite) => Transaction::Sqlite(sqlite.begin().await?),
            Database::Postgres(postgres) => Transaction::Postgres(postgres.begin().await?),
        };
        let value = work(&mut transaction).await?;
        match transaction {
            Transaction::Sqlite(transaction) => transaction.commit().await.map_err(sqlite::commit_failure)?,
            Transaction::Postgres(transaction) => transaction.commit().await.map_err(postgres::commit_failure)?,
        }
        Ok(value)
    }

    /// Whether it answers.
    pub async fn ready(&self) -> Result<()> {
        self.read("SELECT 1", &[]).await.map(|_| ())
    }

    /// Which of the two it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Database::Sqlite(_) => "sqlite",
            Database::Postgres(_) => "postgres",
        }
    }
}

impl Transaction {
    /// One statement that writes; how many rows it touched.
    pub async fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64> {
        match self {
            Transaction::Sqlite(transaction) => sqlite::execute(transaction, sql, values).await,
            Transaction::Postgres(transaction) => postgres::execute(transaction, sql, values).await,
        }
    }

    /// One statement that reads.
    pub async fn read(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        match self {
            Transaction::Sqlite(transaction) => sqlite::read(&mut **transaction, sql, values).await,
            Transaction::Postgres(transaction) => postgres::read(&mut **transaction, sql, values).await,
        }
    }

    /// A statement that reads rows which must stay as they are until the transaction ends.
    pub async fn read_and_hold(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>> {
        match self {
            // the only writer holds everything already
            Transaction::Sqlite(transaction) => sqlite::read(&mut **transaction, sql, values).await,
            Transaction::Postgres(transaction) => {
                let held = format!("{sql} FOR SHARE");
                postgres::read(&mut **transaction, sqlx::AssertSqlSafe(held), values).await
            }
        }
    }
}

/// An error of the database that is neither a conflict nor a wish to repeat.
fn fault(e: sqlx::Error) -> Error {
    let message = match &e {
        sqlx::Error::PoolTimedOut => "no connection to the database was free in time",
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) => "the database cannot be reached",
        _ => "the database failed",
    };
    Error::internal(message).with_source(e)
}

/// The database asks for a repeat: nothing landed.
fn repeat(e: sqlx::Error) -> Error {
    Error::new(Kind::Unavailable, "the database is too busy; nothing was changed, try again").with_source(e)
}

#[cfg(test)]
mod tests;
