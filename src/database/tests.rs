//! Both dialects held to one suite. PostgreSQL's part runs where `LIFEBOAT_TEST_POSTGRES` names a server.

use super::*;

async fn sqlite() -> (tempfile::TempDir, Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = DatabaseSettings::Sqlite { path: folder.path().join("lifeboat.db") };
    let database = Database::open(&settings).await.expect("opened");
    (folder, database)
}

async fn add_catalog(database: &Database, name: &'static str) -> Result<u64> {
    let sql = "INSERT INTO catalogs (name) VALUES ($1)";
    database.write(|t| Box::pin(async move { t.execute(sql, &[name.into()]).await })).await
}

async fn a_write_is_whole_or_absent(database: Database) {
    add_catalog(&database, "one").await.expect("added");
    let error = add_catalog(&database, "one").await.expect_err("it is there");
    assert_eq!(error.kind(), Kind::CommitFailed);
    let refused: Result<()> = database
        .write(|t| {
            Box::pin(async move {
                t.execute("INSERT INTO catalogs (name) VALUES ($1)", &["two".into()]).await?;
                Err(Error::bad_request("no"))
            })
        })
        .await;
    assert!(refused.is_err());
    let rows = database.read("SELECT name, epoch FROM catalogs WHERE name IN ('one', 'two')", &[]).await.expect("read");
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].text(0).expect("text"), rows[0].integer(1).expect("integer")), ("one", 1));
}

#[tokio::test]
async fn sqlite_writes_are_whole_or_absent() {
    let (_folder, database) = sqlite().await;
    a_write_is_whole_or_absent(database).await;
}

#[tokio::test]
async fn postgres_writes_are_whole_or_absent() {
    let Some(url) = crate::testing::postgres().await else { return };
    let settings = DatabaseSettings::Postgres { url };
    a_write_is_whole_or_absent(Database::open(&settings).await.expect("opened")).await;
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_refused_and_left_alone() {
    let (folder, database) = sqlite().await;
    database
        .write(|t| {
            Box::pin(async move {
                let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (999, 'x', 1, 'x', 1)";
                t.execute(sql, &[]).await
            })
        })
        .await
        .expect("written");
    let settings = DatabaseSettings::Sqlite { path: folder.path().join("lifeboat.db") };
    let error = Database::open(&settings).await.expect_err("newer");
    assert!(error.message().contains("newer release"), "{error}");
}

#[tokio::test]
async fn a_database_of_the_first_release_is_brought_up_to_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lifeboat.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("opened");
    migrations::run(&migrations::SQLITE[..1], &pool).await.expect("first schema");
    sqlx::query("INSERT INTO catalogs (name) VALUES ('kept')").execute(&pool).await.expect("a row");
    pool.close().await;
    let database = Database::open(&DatabaseSettings::Sqlite { path }).await.expect("opened");
    let rows = database.read("SELECT name FROM catalogs", &[]).await.expect("read");
    assert_eq!(rows[0].text(0).expect("text"), "kept");
}
