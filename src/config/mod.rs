//! The configuration: a YAML file and the environment become a [`Config`], or every problem at once.
//!
//! A `Config` that exists is valid and is plain data: it knows no adapter and no adapter knows it; `app.rs` turns it into
//! their settings. The schema is data in `schema.rs`; the page for users is `docs/configuration.md`.

mod append;
mod auth;
mod check;
mod maintenance;
mod problem;
mod read;
mod replica;
pub mod schema;
mod section;
#[cfg(test)]
mod tests;
mod values;
mod write;
mod yaml;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::maintenance::Work;
use crate::model::{CatalogName, Role, Secret};

pub use append::{Append, Landing};
pub use auth::read_tokens;
pub use problem::{Problem, Problems};
pub use replica::{Replica, SiteCredentials, Sts};

/// A configuration file larger than this is not one.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file that `lifeboat serve` looks for in the working directory.
pub const FILE_NAME: &str = "lifeboat.yaml";

/// Everything that a server is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where it listens; anywhere but loopback only with `auth`.
    pub listen: SocketAddr,
    /// HTTPS instead of HTTP.
    pub tls: Option<Tls>,
    /// Who may do what. Without it everybody may do all, on loopback only; but where each catalog is judged upstream
    /// ([`Catalog::is_judged_upstream`]), callers prove themselves there.
    pub auth: Option<Auth>,
    /// What is logged and how.
    pub log: Log,
    /// Whether `/metrics` needs no token beyond loopback.
    pub metrics_open: bool,
    /// Every bound of the server.
    pub limits: Limits,
    /// How places are reached; the longest prefix wins.
    pub storage: Vec<Storage>,
    /// The database in which is kept what we remember of the tables of upstreams; `sqlite:/path` or `postgres://…`. An embedded catalog has its own.
    pub state: Option<Secret>,
    /// The catalogs that are served; at least one.
    pub catalogs: BTreeMap<CatalogName, Catalog>,
}

/// Certificate chain and key, PEM files, read again when they change.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Who may do what.
#[derive(Debug, Clone, PartialEq)]
pub struct Auth {
    /// The tokens as of now.
    pub tokens: Vec<Token>,
    /// Where they came from, when from a file: to be read again by [`read_tokens`] when it changes.
    pub tokens_file: Option<PathBuf>,
}

/// One caller's token; only its digest is kept.
#[derive(Clone, PartialEq)]
pub struct Token {
    /// The caller's name in logs.
    pub name: String,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What the caller may do in each catalog; `*` is every catalog.
    pub roles: BTreeMap<String, Role>,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Whether each request is a line.
    pub requests: bool,
}

/// Every bound of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Largest request body.
    pub body_bytes: u64,
    /// Memory for the bodies of all requests that run at once.
    pub bodies_bytes: u64,
    /// Requests at once; more are answered 429.
    pub concurrent_requests: u64,
    /// Open connections; more wait in the system's queue.
    pub connections: u64,
    /// How long a client waits for an answer.
    pub answer_timeout: Duration,
    /// How long a stopping server waits for requests and writes in flight.
    pub stop_timeout: Duration,
    /// Memory for cached answers, all catalogs together.
    pub cache_bytes: u64,
    /// Largest answer that is taken from an upstream.
    pub upstream_body_bytes: u64,
    /// How long the outcome of a request with an Idempotency-Key is kept.
    pub idempotency_lifetime: Duration,
}

/// How one place is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// Locations that begin with it, at a `/` boundary; without a trailing slash.
    pub prefix: String,
    /// Another endpoint than AWS.
    pub endpoint: Option<String>,
    /// Its region; without one the environment's.
    pub region: Option<String>,
    /// Keys; without them the environment's.
    pub keys: Option<Keys>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
}

/// Access keys of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct Keys {
    /// Its id.
    pub access_key_id: Secret,
    /// The key.
    pub secret_access_key: Secret,
}

/// One catalog that is served.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    /// What is behind it.
    pub source: Source,
    /// Given to engines in the answer to `/v1/config`.
    pub client_config: BTreeMap<String, Secret>,
    /// Another naming of the storage for clients.
    pub client_locations: Option<ClientLocations>,
    /// The folder into which changes are written, for sites that get the storage replicated.
    pub journal: Option<String>,
    /// What is done to tables by itself, the first policy that wants a table counting for it.
    pub maintenance: Vec<MaintenancePolicy>,
    /// Replicated storage whose tables are published here: the catalog is a standby.
    pub replica: Option<Replica>,
    /// Folders in which data files land that become rows.
    pub append: Option<Append>,
    /// How long a table may be answered from the cache without asking; 0 asks always.
    pub max_staleness: Duration,
    /// Advertised to clients, percent-encoded.
    pub namespace_separator: String,
}

/// Another naming of the storage for clients than the upstream's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLocations {
    /// Prefixes of the upstream's naming and of the clients'; a way back exists.
    pub map: Vec<(String, String)>,
    /// Where metadata relocated for clients is written, in the clients' naming.
    pub overlay: String,
    /// Where clients' commits are relocated to, in the upstream's naming.
    pub upstream_overlay: Option<String>,
}

/// What is done to some tables by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenancePolicy {
    /// Its name.
    pub name: String,
    /// Patterns of tables; none is all.
    pub include: Vec<String>,
    /// Patterns of tables that are left out.
    pub exclude: Vec<String>,
    /// How often which work.
    pub works: Vec<(Duration, Work)>,
}

impl Catalog {
    /// The separator between namespace levels beside U+001F, decoded, if there is another.
    pub fn separator(&self) -> Option<String> {
        let decoded = percent_encoding::percent_decode_str(&self.namespace_separator).decode_utf8_lossy();
        (decoded != "\u{1f}").then(|| decoded.into_owned())
    }

    /// Whether callers bring tokens of the upstream, which judges them, instead of tokens of ours.
    pub fn is_judged_upstream(&self) -> bool {
        matches!(&self.source, Source::Upstream(upstream) if upstream.auth == UpstreamAuth::Caller)
    }
}

/// What is behind a catalog.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// We are the catalog.
    Embedded(Embedded),
    /// An Iceberg REST catalog.
    Upstream(Box<Upstream>),
}

/// A catalog of our own.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// `sqlite:/path` or `postgres://…`; may hold a password.
    pub database: Secret,
    /// `file:///…` or `s3://…`, without a trailing slash: where tables without a location of their own go.
    pub warehouse: String,
    /// Whether tables may lie outside the warehouse.
    pub restrict_locations: Option<bool>,
}

/// The catalog that we stand in front of.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its base URI, without `/v1` and without a trailing slash.
    pub uri: String,
    /// Its own `warehouse`.
    pub warehouse: Option<String>,
    /// How we prove who we are.
    pub auth: UpstreamAuth,
    /// To open a connection.
    pub connect_timeout: Duration,
    /// To answer a read.
    pub read_timeout: Duration,
    /// To answer a write.
    pub write_timeout: Duration,
    /// How often a safe request is repeated.
    pub retries_max: u64,
    /// Sent with every request.
    pub headers: BTreeMap<String, Secret>,
}

/// How we prove to an upstream who we are.
#[derive(Debug, Clone, PartialEq)]
pub enum UpstreamAuth {
    /// Not at all.
    None,
    /// By the caller's own `Authorization` header.
    Caller,
    /// By a fixed token.
    Bearer(Secret),
    /// By OAuth2 client credentials.
    OAuth2(OAuth2),
}

/// OAuth2 client credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2 {
    /// The client's id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// Where tokens are given; without it the upstream's own `/v1/oauth/tokens`.
    pub token_uri: Option<String>,
    /// What is asked for.
    pub scope: String,
}

/// What a configuration file may refer to: variables and files.
pub struct Environment<'a> {
    variables: &'a dyn Fn(&str) -> Option<String>,
    folder: PathBuf,
}

impl<'a> Environment<'a> {
    /// Variables by name, and the folder that relative paths start from.
    pub fn new(variables: &'a dyn Fn(&str) -> Option<String>, folder: impl Into<PathBuf>) -> Self {
        Environment { variables, folder: folder.into() }
    }

    fn variable(&self, name: &str) -> Option<String> {
        (self.variables)(name)
    }

    /// A path of the file as an absolute one.
    fn path(&self, path: &str) -> PathBuf {
        let path = self.folder.join(path);
        std::path::absolute(&path).unwrap_or(path)
    }
}

/// A variable of this process.
fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Config {
    /// Reads a file; relative paths in it start from its folder.
    pub fn load(path: &Path) -> Result<Config, Problems> {
        let file = Some(path.display().to_string());
        let text = read_file(path)
            .map_err(|message| Problems { file: file.clone(), list: vec![Problem::new(0, "", message)] })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Config::parse(&text, &Environment::new(&process_variable, folder)).map_err(|p| Problems { file, ..p })
    }

    /// Reads the text of a file.
    pub fn parse(text: &str, environment: &Environment<'_>) -> Result<Config, Problems> {
        let mut tree = yaml::parse(text).map_err(|problem| Problems { file: None, list: vec![problem] })?;
        let mut problems = check::check(&mut tree, "", environment);
        let config = read::config(&tree, environment, &mut problems);
        finish(config, problems)
    }

    /// What `lifeboat serve --data` means: the catalog `main` in a folder.
    pub fn embedded(data: &Path, listen: Option<SocketAddr>) -> Result<Config, Problems> {
        let folder = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
        let mut problems = Vec::new();
        let Some(folder) = folder.to_str() else {
            problems.push(Problem::new(0, "--data", "the folder's name must be UTF-8: choose another"));
            return finish(None, problems);
        };
        let folder = folder.trim_end_matches('/');
        let source = Source::Embedded(Embedded {
            database: Secret::new(format!("sqlite:{folder}/catalog.db")),
            warehouse: format!("file://{folder}/warehouse"),
            restrict_locations: None,
        });
        let config = read::single("main", source, listen, &mut problems);
        finish(config, problems)
    }

    /// What `lifeboat serve --upstream` means: one catalog, named as the upstream's warehouse where that is a plain name.
    pub fn proxy(uri: &str, warehouse: Option<&str>, listen: Option<SocketAddr>) -> Result<Config, Problems> {
        let mut problems = Vec::new();
        let upstream = read::plain_upstream(uri, warehouse, &mut problems);
        let name = warehouse.filter(|name| CatalogName::parse(name).is_ok()).unwrap_or("main");
        let config = upstream
            .and_then(|upstream| read::single(name, Source::Upstream(Box::new(upstream)), listen, &mut problems));
        finish(config, problems)
    }
}

impl Config {
    /// Whether anybody who can reach the server may do something without proving who they are.
    pub fn is_open(&self) -> bool {
        self.auth.is_none() && !self.catalogs.values().all(Catalog::is_judged_upstream)
    }

    /// The same at another address.
    pub fn with_listen(self, listen: SocketAddr) -> Result<Config, Problems> {
        let mut problems = Vec::new();
        if self.is_open() {
            read::closed_enough(listen, |message| problems.push(Problem::new(0, "--listen", message)));
        }
        finish(Some(Config { listen, ..self }), problems)
    }
}

/// An address as `listen` takes it; the error says what to write instead.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    values::address(text)
}

/// A duration as keys take it; the error says what to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    values::duration(text)
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // a digest of a weak token can be guessed from, so it is not shown either
        f.debug_struct("Token").field("name", &self.name).field("roles", &self.roles).finish_non_exhaustive()
    }
}

fn finish<T>(value: Option<T>, mut problems: Vec<Problem>) -> Result<T, Problems> {
    problems.sort();
    problems.dedup();
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => {
            assert!(!problems.is_empty(), "a configuration without problems is whole");
            Err(Problems { file: None, list: problems })
        }
    }
}

/// A text file within [`FILE_BYTES_MAX`]; the error says what is wrong with it.
fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|e| format!("the file {shown} cannot be read: {e}"))?;
    if !size.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    if size.len() > FILE_BYTES_MAX {
        return Err(format!("the file {shown} is larger than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(path).map_err(|e| format!("the file {shown} cannot be read: {e}"))
}
