//! The real program on a folder of its own, with either database; started, killed and started again.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

/// How long it may take to answer.
const START_MAX: Duration = Duration::from_secs(60);
/// Names a PostgreSQL server for these tests.
const POSTGRES_VARIABLE: &str = "LIFEBOAT_TEST_POSTGRES";
/// With `1` what cannot be tested is a failure.
const REQUIRE_VARIABLE: &str = "LIFEBOAT_REQUIRE_ALL";

/// Where the catalog keeps its pointers.
pub enum Store {
    /// A file in the data folder.
    Sqlite,
    /// A database made for this test.
    Postgres(Database),
}

/// A database of a PostgreSQL server.
pub struct Database {
    server: String,
    name: String,
}

impl Store {
    /// A new database on the server that the environment names; `None`, said aloud, where it names none and need not.
    pub async fn postgres() -> Option<Store> {
        let Ok(server) = std::env::var(POSTGRES_VARIABLE) else {
            let how = format!(
                "set {POSTGRES_VARIABLE} to the URL of a PostgreSQL server, such as postgres://user@127.0.0.1/db"
            );
            assert!(std::env::var(REQUIRE_VARIABLE).as_deref() != Ok("1"), "{how}");
            super::say(&format!("skipped on PostgreSQL: {how}, or run `make test`"));
            return None;
        };
        let database = Database { server, name: format!("hammer_{}", Uuid::new_v4().simple()) };
        database.run("CREATE DATABASE").await;
        Some(Store::Postgres(database))
    }

    /// For people.
    pub fn name(&self) -> &'static str {
        match self {
            Store::Sqlite => "SQLite",
            Store::Postgres(_) => "PostgreSQL",
        }
    }

    /// Leaves nothing behind.
    pub async fn remove(&self) {
        if let Store::Postgres(database) = self {
            database.run("DROP DATABASE").await;
        }
    }
}

impl Database {
    async fn run(&self, statement: &str) {
        let mut server = PgConnection::connect(&self.server).await.expect("the PostgreSQL server answers");
        let force = if statement.starts_with("DROP") { " WITH (FORCE)" } else { "" };
        let statement = format!("{statement} {}{force}", self.name);
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut server).await.expect("databases may be made");
    }

    pub fn url(&self) -> String {
        let (address, _) = self.server.rsplit_once('/').expect("a URL with a database");
        format!("{address}/{}", self.name)
    }
}

/// A running server.
pub struct Server {
    child: Child,
    folder: TempDir,
    store: Store,
    address: SocketAddr,
}

impl Server {
    /// Starts one on a new folder and a free port.
    pub async fn start(store: Store) -> Server {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let child = spawn(&folder, &store, address);
        let mut server = Server { child, folder, store, address };
        server.wait().await;
        server
    }

    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// SIGKILL, and the same again on the same folder.
    pub async fn kill_and_restart(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it was our child");
        self.child = spawn(&self.folder, &self.store, self.address);
        self.wait().await;
    }

    /// Stops it for good.
    pub async fn end(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it was our child");
        self.store.remove().await;
    }

    /// What it said, for a failing test.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(log_file(&self.folder)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    async fn wait(&mut self) {
        let began = Instant::now();
        while TcpStream::connect_timeout(&self.address, START_MAX).is_err() {
            let ended = self.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "the server ended with {ended:?}:\n{}", self.log());
            assert!(began.elapsed() < START_MAX, "the server does not answer:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn spawn(folder: &TempDir, store: &Store, address: SocketAddr) -> Child {
    let log = || OpenOptions::new().create(true).append(true).open(log_file(folder)).map(Stdio::from);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.arg("serve").stdin(Stdio::null()).stdout(log().expect("a log")).stderr(log().expect("a log"));
    match store {
        Store::Sqlite => {
            command.arg("--data").arg(folder.path()).arg("--listen").arg(address.to_string());
        }
        Store::Postgres(database) => {
            let config = folder.path().join("lifeboat.yaml");
            let text = format!(
                "listen: {address}\ncatalogs:\n  main:\n    embedded:\n      database: ${{LIFEBOAT_DATABASE}}\n      \
                 warehouse: file://{}/warehouse\n",
                folder.path().display()
            );
            std::fs::write(&config, text).expect("a configuration");
            command.arg("--config").arg(config).env("LIFEBOAT_DATABASE", database.url());
        }
    }
    command.spawn().expect("the program starts")
}

fn log_file(folder: &TempDir) -> PathBuf {
    folder.path().join("server.log")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
