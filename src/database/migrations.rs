//! The schema, release by release. A migration that was released is never edited; the next change is a new one.

use std::borrow::Cow;

use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::{Acquire, AssertSqlSafe, SqlSafeStr};

use crate::error::{Error, Result};

/// Number, name and text of each migration.
pub(super) type Migrations = &'static [(i64, &'static str, &'static str)];

pub(super) const SQLITE: Migrations = &[
    (1, "catalog", include_str!("migrations/sqlite/0001_catalog.sql")),
    (2, "appended", include_str!("migrations/sqlite/0002_appended.sql")),
    (3, "positions", include_str!("migrations/sqlite/0003_positions.sql")),
    (4, "maintenance", include_str!("migrations/sqlite/0004_maintenance.sql")),
];

pub(super) const POSTGRES: Migrations = &[
    (1, "catalog", include_str!("migrations/postgres/0001_catalog.sql")),
    (2, "appended", include_str!("migrations/postgres/0002_appended.sql")),
    (3, "positions", include_str!("migrations/postgres/0003_positions.sql")),
    (4, "maintenance", include_str!("migrations/postgres/0004_maintenance.sql")),
];

/// Brings a database to the newest schema; a database of a newer release is refused.
pub(super) async fn run<'a, A>(migrations: Migrations, database: A) -> Result<()>
where
    A: Acquire<'a>,
    <A::Connection as std::ops::Deref>::Target: Migrate,
{
    let migrations = migrations.iter().map(|&(version, name, sql)| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, AssertSqlSafe(sql).into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect()).run(database).await.map_err(|e| {
        let message = match e {
            sqlx::migrate::MigrateError::VersionMissing(_) => {
                "the database was made by a newer release of Lifeboat; use that release or a newer one"
            }
            _ => "the database's schema could not be brought up to date",
        };
        Error::internal(message).with_source(e)
    })
}
