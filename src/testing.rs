//! What unit tests of several modules share. Not part of the program.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::model::Secret;

/// A new, empty database on the server that `LIFEBOAT_TEST_POSTGRES` names, or `None` where it names none.
/// With `LIFEBOAT_REQUIRE_ALL=1` a missing server fails the test.
pub async fn postgres() -> Option<Secret> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Ok(server) = std::env::var("LIFEBOAT_TEST_POSTGRES") else {
        assert!(
            std::env::var("LIFEBOAT_REQUIRE_ALL").is_err(),
            "LIFEBOAT_TEST_POSTGRES must name a server: run `make suite`"
        );
        eprintln!("left out: LIFEBOAT_TEST_POSTGRES names no server");
        return None;
    };
    let name = format!("unit_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut connection = sqlx::PgConnection::connect(&server).await.expect("the server answers");
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a new database");
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    Some(Secret::new(format!("{base}/{name}")))
}
