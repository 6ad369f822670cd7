//! A load generator for `make bench`: closed loop (throughput) and open loop (latency at a given rate), one JSON line a run.
//!
//! In open loop a request's time counts from the moment it was due, so a server that stalls is charged for all that queued
//! behind the stall. Speaks plain HTTP/1.1 over kept-alive connections to loopback only, bounded in time, and counts every answer that is not
//! the expected one as an error. It leaves comparing and judging to `tests/bench/run.py`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// Longest run that is accepted.
const SECONDS_MAX: u64 = 600;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let options = Options::parse(&arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.number("threads", 1)? as usize)
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        match options.mode.as_str() {
            "closed" => closed(&options).await,
            "open" => open(&options).await,
            "fill" => fill(&options).await,
            "catalog" => catalog(&options).await,
            other => Err(format!("unknown mode {other:?}: closed, open, fill or catalog").into()),
        }
    })?;
    println!("{report}");
    Ok(())
}

struct Options {
    mode: String,
    pairs: Vec<(String, String)>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let (mode, rest) = arguments.split_first().ok_or("usage: load closed|open|fill|catalog --key value …")?;
        let mut pairs = Vec::new();
        for pair in rest.chunks(2) {
            let [key, value] = pair else { return Err("options come as --key value".into()) };
            pairs.push((key.trim_start_matches('-').to_owned(), value.clone()));
        }
        Ok(Options { mode: mode.clone(), pairs })
    }

    fn text(&self, key: &str) -> Result<&str, Failure> {
        self.pairs
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
            .ok_or_else(|| format!("--{key} is missing").into())
    }

    fn number(&self, key: &str, default: u64) -> Result<u64, Failure> {
        match self.pairs.iter().find(|(k, _)| k == key) {
            Some((_, v)) => Ok(v.parse()?),
            None => Ok(default),
        }
    }

    fn seconds(&self) -> Result<Duration, Failure> {
        Ok(Duration::from_secs(self.number("seconds", 10)?.min(SECONDS_MAX)))
    }
}

/// `http://127.0.0.1:PORT/path` taken apart.
fn address(url: &str) -> Result<(String, String), Failure> {
    let rest = url.strip_prefix("http://").ok_or("only http:// is spoken")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let local = authority.starts_with("127.0.0.1:") || authority.starts_with("localhost:");
    if !local {
        return Err(format!("{authority} is not on loopback").into());
    }
    Ok((authority.to_owned(), format!("/{path}")))
}

struct Connection {
    authority: String,
    stream: TcpStream,
    buffer: Vec<u8>,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    size_bytes: usize,
}

impl Connection {
    async fn open(authority: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { authority: authority.to_owned(), stream, buffer: vec![0; 256 << 10] })
    }

    /// Sends one request and reads the whole answer; keeps the body only when asked to.
    async fn call(&mut self, method: &str, path: &str, body: Option<&str>, keep: bool) -> Result<Answer, Failure> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.authority);
        if let Some(body) = body {
            text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body.unwrap_or_default());
        self.stream.write_all(text.as_bytes()).await?;
        let mut filled = 0;
        let (status, head, length) = loop {
            let count = self.stream.read(&mut self.buffer[filled..]).await?;
            if count == 0 {
                return Err("connection closed".into());
            }
            filled += count;
            if let Some(at) = self.buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") {
                let (status, length) = parse_head(std::str::from_utf8(&self.buffer[..at])?)?;
                break (status, at + 4, length);
            }
        };
        let mut kept = Vec::new();
        let mut body = Body { length, read: 0, tail: Vec::new() };
        let mut piece = head..filled;
        loop {
            let bytes = &self.buffer[piece];
            if keep {
                kept.extend_from_slice(bytes);
            }
            if body.is_whole_with(bytes) {
                break;
            }
            let count = self.stream.read(&mut self.buffer).await?;
            if count == 0 {
                return Err("answer cut short".into());
            }
            piece = 0..count;
        }
        if keep && length.is_none() {
            kept = unchunked(&kept)?;
        }
        Ok(Answer { status, body: kept, size_bytes: head + body.read })
    }
}

/// Status and content length of an answer's head; no length means that the body comes in chunks.
fn parse_head(head: &str) -> Result<(u16, Option<usize>), Failure> {
    let status: u16 = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    let field = |name: &str| {
        head.lines().find_map(|line| {
            line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
        })
    };
    match field("content-length") {
        Some(length) => Ok((status, Some(length.parse()?))),
        None if field("transfer-encoding").is_some() => Ok((status, None)),
        None => Ok((status, Some(0))),
    }
}

/// How much of a body has come.
struct Body {
    length: Option<usize>,
    read: usize,
    tail: Vec<u8>,
}

impl Body {
    /// Takes the next bytes; whether the body ends with them.
    fn is_whole_with(&mut self, bytes: &[u8]) -> bool {
        const END: &[u8] = b"\r\n0\r\n\r\n";
        self.read += bytes.len();
        if let Some(length) = self.length {
            return self.read >= length;
        }
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(END.len())..]);
        self.tail.drain(..self.tail.len().saturating_sub(END.len()));
        self.tail == END || (self.read == 5 && self.tail == END[2..])
    }
}

/// A body without the marks of its chunks.
fn unchunked(mut bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::with_capacity(bytes.len());
    loop {
        let line = bytes.windows(2).position(|w| w == b"\r\n").ok_or("a chunk without a size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line])?, 16)?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(bytes.get(line + 2..line + 2 + size).ok_or("a chunk cut short")?);
        bytes = &bytes[line + 4 + size..];
    }
}

#[derive(Default)]
struct Tally {
    micros: Vec<u64>,
    errors: u64,
    size_bytes: u64,
    first_error: Option<String>,
}

impl Tally {
    fn add(&mut self, took: Duration, outcome: Result<Answer, Failure>, expected: u16) {
        match outcome {
            Ok(answer) if answer.status == expected => {
                self.micros.push(took.as_micros() as u64);
                self.size_bytes += answer.size_bytes as u64;
            }
            Ok(answer) => self.fail(format!("status {} {}", answer.status, String::from_utf8_lossy(&answer.body))),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn fail(&mut self, what: String) {
        self.errors += 1;
        self.first_error.get_or_insert(what);
    }

    fn join(mut self, other: Tally) -> Tally {
        self.micros.extend(other.micros);
        self.errors += other.errors;
        self.size_bytes += other.size_bytes;
        self.first_error = self.first_error.or(other.first_error);
        self
    }

    fn report(mut self, took: Duration) -> Value {
        self.micros.sort_unstable();
        let at = |q: f64| {
            self.micros
                .get(((self.micros.len() as f64 * q) as usize).min(self.micros.len().saturating_sub(1)))
                .map_or(0.0, |m| *m as f64 / 1000.0)
        };
        json!({
            "requests": self.micros.len(), "errors": self.errors, "first_error": self.first_error,
            "per_second": (self.micros.len() as f64 / took.as_secs_f64()).round(), "mb_per_second": (self.size_bytes as f64 / 1e6 / took.as_secs_f64()).round(),
            "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": at(1.0),
        })
    }
}

/// As many requests as `--connections` can carry, one after the other on each.
async fn closed(options: &Options) -> Result<Value, Failure> {
    let (authority, path) = address(options.text("url")?)?;
    let until = Instant::now() + options.seconds()?;
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..options.number("connections", 8)? {
        let (authority, path) = (authority.clone(), path.clone());
        tasks.push(tokio::spawn(async move {
            let mut tally = Tally::default();
            let mut connection = Connection::open(&authority).await?;
            while Instant::now() < until {
                let at = Instant::now();
                let outcome = connection.call("GET", &path, None, false).await;
                if outcome.is_err() {
                    connection = Connection::open(&authority).await?;
                }
                tally.add(at.elapsed(), outcome, 200);
            }
            Ok::<_, Failure>(tally)
        }));
    }
    let mut all = Tally::default();
    for task in tasks {
        all = all.join(task.await??);
    }
    Ok(all.report(started.elapsed()))
}

/// What one due request of an open loop is.
trait Work: Send + Sync + 'static {
    fn call(
        &self,
        number: u64,
        connection: &mut Connection,
    ) -> impl Future<Output = (Result<Answer, Failure>, u16)> + Send;
}

/// Requests due at fixed moments, `--rate` a second, carried by `--connections`.
async fn paced(options: &Options, authority: &str, work: Arc<impl Work>) -> Result<Value, Failure> {
    let (rate, duration) = (options.number("rate", 1000)?, options.seconds()?);
    let total = rate * duration.as_secs();
    let (next, started) = (Arc::new(AtomicU64::new(0)), Instant::now() + Duration::from_millis(200));
    let mut tasks = Vec::new();
    for _ in 0..options.number("connections", 64)? {
        let (next, work, authority) = (next.clone(), work.clone(), authority.to_owned());
        tasks.push(tokio::spawn(async move {
            let mut tally = Tally::default();
            let mut connection = Connection::open(&authority).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return Ok::<_, Failure>(tally);
                }
                let due = started + Duration::from_nanos(number * 1_000_000_000 / rate);
                tokio::time::sleep_until(due.into()).await;
                let (outcome, expected) = work.call(number, &mut connection).await;
                if outcome.is_err() {
                    connection = Connection::open(&authority).await?;
                }
                tally.add(due.elapsed(), outcome, expected);
            }
        }));
    }
    let mut all = Tally::default();
    for task in tasks {
        all = all.join(task.await??);
    }
    Ok(all.report(started.elapsed()))
}

struct OneUrl(String);

impl Work for OneUrl {
    async fn call(&self, _: u64, connection: &mut Connection) -> (Result<Answer, Failure>, u16) {
        (connection.call("GET", &self.0, None, false).await, 200)
    }
}

async fn open(options: &Options) -> Result<Value, Failure> {
    let (authority, path) = address(options.text("url")?)?;
    paced(options, &authority, Arc::new(OneUrl(path))).await
}

/// One table of a generated catalog: the ids of its snapshots, oldest first, and its last sequence number.
struct Table {
    name: String,
    state: Mutex<(VecDeque<u64>, u64)>,
}

struct Mixed {
    base: String,
    tables: Vec<Table>,
    snapshots: usize,
}

impl Mixed {
    fn path(&self, table: &Table) -> String {
        format!("{}/namespaces/bench/tables/{}", self.base, table.name)
    }

    /// Adds a snapshot to `table` and removes its oldest one when there are enough.
    async fn commit(&self, table: &Table, connection: &mut Connection) -> (Result<Answer, Failure>, u16) {
        let mut state = table.state.lock().await;
        let (id, sequence_number) = (1_000_000 + state.1 + 1, state.1 + 1);
        let parent = state.0.back().copied();
        let at_ms =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let mut snapshot = json!({
            "snapshot-id": id, "sequence-number": sequence_number, "timestamp-ms": at_ms, "schema-id": 0,
            "manifest-list": format!("file:/bench/{}/metadata/snap-{id}-1-00000000-0000-4000-8000-000000000000.avro", table.name),
            "summary": {"operation": "append", "added-data-files": "1", "added-records": "1000", "added-files-size": "123456",
                "total-records": "1000", "total-files-size": "123456", "total-data-files": "1", "total-delete-files": "0",
                "total-position-deletes": "0", "total-equality-deletes": "0", "engine-name": "bench", "engine-version": "1"},
        });
        if let Some(parent) = parent {
            snapshot["parent-snapshot-id"] = json!(parent);
        }
        let mut updates = vec![
            json!({"action": "add-snapshot", "snapshot": snapshot}),
            json!({"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": id}),
        ];
        if state.0.len() >= self.snapshots {
            updates.push(json!({"action": "remove-snapshots", "snapshot-ids": [state.0.front()]}));
        }
        let requirement = json!({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": parent});
        let body = json!({"requirements": [requirement], "updates": updates}).to_string();
        let outcome = connection.call("POST", &self.path(table), Some(&body), false).await;
        if outcome.as_ref().is_ok_and(|a| a.status == 200) {
            state.0.push_back(id);
            state.1 = sequence_number;
            if state.0.len() > self.snapshots {
                state.0.pop_front();
            }
        }
        (outcome, 200)
    }
}

impl Work for Mixed {
    async fn call(&self, number: u64, connection: &mut Connection) -> (Result<Answer, Failure>, u16) {
        // a fixed shuffle of 0..100, so that the mix is exact and commits are spread out
        let (kind, table) = (number * 37 % 100, &self.tables[(number * 7919) as usize % self.tables.len()]);
        match kind {
            0 => self.commit(table, connection).await,
            1..10 => {
                (connection.call("GET", &format!("{}/namespaces/bench/tables", self.base), None, false).await, 200)
            }
            _ => (connection.call("GET", &self.path(table), None, false).await, 200),
        }
    }
}

/// Creates the tables of the mixed load: `--tables` tables with `--snapshots` snapshots each.
async fn filled(options: &Options) -> Result<(String, Mixed), Failure> {
    let (authority, _) = address(options.text("uri")?)?;
    let mut connection = Connection::open(&authority).await?;
    let config: Value = serde_json::from_slice(&connection.call("GET", "/v1/config", None, true).await?.body)?;
    let base = match config["overrides"]["prefix"].as_str() {
        Some(prefix) => format!("/v1/{prefix}"),
        None => "/v1".to_owned(),
    };
    let made = connection.call("POST", &format!("{base}/namespaces"), Some(r#"{"namespace":["bench"]}"#), true).await?;
    if made.status != 200 {
        return Err(format!("namespace bench: {}", String::from_utf8_lossy(&made.body)).into());
    }
    let snapshots = options.number("snapshots", 100)? as usize;
    let mut mixed = Mixed { base, tables: Vec::new(), snapshots };
    for number in 0..options.number("tables", 50)? {
        let name = format!("t{number}");
        let fields: Vec<Value> = (1..=20).map(|i| json!({"id": i, "name": format!("column_{i}"), "required": false, "type": if i % 2 == 0 { "string" } else { "long" }})).collect();
        let body = json!({"name": name, "schema": {"type": "struct", "schema-id": 0, "fields": fields}}).to_string();
        let made =
            connection.call("POST", &format!("{}/namespaces/bench/tables", mixed.base), Some(&body), true).await?;
        if made.status != 200 {
            return Err(format!("table {name}: {}", String::from_utf8_lossy(&made.body)).into());
        }
        let table = Table { name, state: Mutex::new((VecDeque::new(), 0)) };
        for _ in 0..snapshots {
            let (outcome, _) = mixed.commit(&table, &mut connection).await;
            let answer = outcome?;
            if answer.status != 200 {
                return Err(format!("filling {}: status {}", table.name, answer.status).into());
            }
        }
        mixed.tables.push(table);
    }
    Ok((authority, mixed))
}

/// Only creates the tables; prints the path of the first one.
async fn fill(options: &Options) -> Result<Value, Failure> {
    let (_, mixed) = filled(options).await?;
    Ok(json!({"path": mixed.path(&mixed.tables[0]), "tables": mixed.tables.len()}))
}

/// 90 % loadTable, 9 % list, 1 % commit at `--rate`.
async fn catalog(options: &Options) -> Result<Value, Failure> {
    let (authority, mixed) = filled(options).await?;
    paced(options, &authority, Arc::new(mixed)).await
}
