//! A running server, a stack that does as it is told, and a client that sends exactly what it is given.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use lifeboat::catalog::Authorise;
use lifeboat::error::Result;
use lifeboat::jobs::{RelocationJobs, RelocationLimits, Relocations};
use lifeboat::maintenance::Maintained;
use lifeboat::model::{CatalogName, Operation, Role};
use lifeboat::server::{Auth, Bound, Served, ServedCatalog, ServerSettings, TokenRule, serve};
use lifeboat::storage::Storage;
use lifeboat::telemetry::Metrics;
use lifeboat::upstream::{Catalog, Request, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

type Behaviour = dyn Fn(Request) -> BoxFuture<'static, Result<Response>> + Send + Sync;

/// A stack that keeps what it was asked and behaves as it is told.
pub struct Fake {
    pub asked: Mutex<Vec<Request>>,
    behaviour: Box<Behaviour>,
}

impl Fake {
    /// Answers everything with an empty object.
    pub fn polite() -> Arc<Self> {
        Self::new(|_| async { Ok(Response::json(&json!({}))) })
    }

    pub fn new<F>(behaviour: impl Fn(Request) -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        Arc::new(Fake { asked: Mutex::default(), behaviour: Box::new(move |request| Box::pin(behaviour(request))) })
    }

    /// What was asked last.
    pub fn last(&self) -> Request {
        self.asked.lock().expect("not poisoned").last().cloned().expect("something was asked")
    }

    pub fn count(&self) -> usize {
        self.asked.lock().expect("not poisoned").len()
    }
}

#[async_trait]
impl Catalog for Fake {
    async fn call(&self, request: Request) -> Result<Response> {
        self.asked.lock().expect("not poisoned").push(request.clone());
        (self.behaviour)(request).await
    }
}

/// A server that runs until it is stopped or dropped.
pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// Asks it to stop.
    pub fn stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).expect("it runs");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Result<()> {
        within(&mut self.task).await.expect("no panic")
    }

    pub async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, &[], "").await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.raw(&format!("{head}\r\n{body}")).await
    }

    /// Sends bytes as they are and reads one answer to the end of the connection.
    pub async fn raw(&self, bytes: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(bytes.as_bytes()).await.expect("it reads");
        read_answer(&mut stream).await
    }
}

/// Reads one answer to the end of the connection.
pub async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.expect("an answer");
    Answer::parse(&String::from_utf8(bytes).expect("text"))
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn must(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    pub fn refusal(&self, status: u16, says: &str) {
        let body = self.must(status);
        assert!(body["error"]["message"].as_str().is_some_and(|message| message.contains(says)), "{says}: {body}");
    }

    fn parse(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole head in {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let headers = lines.filter_map(|line| line.split_once(": "));
        Answer {
            status: status.parse().expect("a number"),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Holds that this is an error in Iceberg's model, and gives its type.
    pub fn error_type(&self) -> String {
        let body = self.json();
        assert_eq!(body["error"]["code"], self.status, "{self:?}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        body["error"]["type"].as_str().expect("a type").to_owned()
    }
}

/// Waits, but not without end.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Settings on a free port.
pub fn settings() -> ServerSettings {
    ServerSettings { listen: "127.0.0.1:0".into(), ..Default::default() }
}

/// A catalog as most tests want it.
pub fn plain(stack: Arc<Fake>) -> ServedCatalog {
    let stack = Arc::new(Authorise::new(stack));
    ServedCatalog {
        stack,
        separator: None,
        kind: "embedded",
        passthrough: false,
        replica: None,
        appends: None,
        maintained: Maintained::No("it is a test's"),
    }
}

/// Starts a server with one catalog, `main`.
pub async fn start(stack: Arc<Fake>, settings: ServerSettings) -> Running {
    start_many([("main", plain(stack))], settings).await
}

/// Starts a server.
pub async fn start_many<const N: usize>(catalogs: [(&str, ServedCatalog); N], settings: ServerSettings) -> Running {
    let catalogs = catalogs.map(|(name, catalog)| (CatalogName::parse(name).expect("valid"), catalog)).into();
    start_served(
        Served { catalogs, metrics: Metrics::new(), relocations: no_relocations(), feeds: Default::default() },
        settings,
    )
    .await
}

/// Relocations that can reach nothing.
pub fn no_relocations() -> RelocationJobs {
    let storage = Arc::new(Storage::new(Vec::new()).with_local_roots(Vec::new()));
    RelocationJobs::new(Relocations::new(storage, BTreeMap::new()), RelocationLimits::default())
}

/// Starts a server of what is built already.
pub async fn start_served(served: Served, settings: ServerSettings) -> Running {
    let (stop, stopped) = oneshot::channel();
    let (tell, told) = oneshot::channel::<Bound>();
    let task = tokio::spawn(serve(served, settings, move |bound| tell.send(bound).expect("somebody waits"), async {
        drop(stopped.await)
    }));
    match within(told).await {
        Ok(bound) => Running { address: bound.address, stop: Some(stop), task },
        Err(_) => panic!("the server did not start: {:?}", task.await),
    }
}

/// A token whose secret is its name, twice.
/// Where a store answers that refuses everything; its address.
pub async fn refusing_store() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 8192]).await;
            let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

pub fn token(name: &str, catalog: &str, role: Role) -> TokenRule {
    TokenRule::new(name, &secret(name), BTreeMap::from([(catalog.to_owned(), role)])).expect("valid")
}

pub fn secret(name: &str) -> String {
    format!("{name}-{name}-secret")
}

pub fn bearer(name: &str) -> String {
    format!("Bearer {}", secret(name))
}

/// Settings with authentication by these tokens.
pub fn guarded(tokens: Vec<TokenRule>) -> ServerSettings {
    ServerSettings { auth: Auth::Tokens(tokens), ..settings() }
}

/// The path of an operation in catalog `main`.
pub fn path_of(operation: Operation) -> String {
    let path = operation.route().path.replace("{prefix}", "main").replace("{namespace}", "n");
    path.replace("{table}", "t").replace("{view}", "t").replace("{function}", "t").replace("{plan-id}", "p")
}
