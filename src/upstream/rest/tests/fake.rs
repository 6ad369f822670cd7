//! An upstream on a real socket that answers what a test says, cuts connections when told, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    /// Path and query, as on the wire.
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// What the fake does with a request.
pub enum Reply {
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Closes the connection without an answer.
    Cut,
    /// Never answers.
    Hang,
}

impl Reply {
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        Reply::Answer(status, vec![("content-type", "application/json".into())], body.into())
    }

    pub fn error(status: u16, kind: &str) -> Self {
        Self::json(status, format!(r#"{{"error":{{"message":"no","type":"{kind}","code":{status}}}}}"#))
    }
}

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

/// The fake; it stops with the test's runtime.
pub struct Fake {
    pub uri: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Starts one whose `/v1/config` is `config` and whose other answers are `script`'s.
    pub async fn start(config: &str, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let uri = format!("http://{}/iceberg", listener.local_addr().expect("bound"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let config = config.replace("{uri}", &uri);
        let script: Arc<Script> =
            Arc::new(move |request: &Seen| match request.path.starts_with("/iceberg/v1/config") {
                true => Reply::json(200, config.clone()),
                false => script(request),
            });
        tokio::spawn(serve(listener, script, seen.clone()));
        Fake { uri, seen }
    }

    /// What it was asked, without `/v1/config`.
    pub fn seen(&self) -> Vec<Seen> {
        self.all().into_iter().filter(|s| !s.path.starts_with("/iceberg/v1/config")).collect()
    }

    /// Everything that it was asked.
    pub fn all(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

async fn serve(listener: TcpListener, script: Arc<Script>, seen: Arc<Mutex<Vec<Seen>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (script, seen) = (script.clone(), seen.clone());
        let service = service_fn(move |request| answer(request, script.clone(), seen.clone()));
        tokio::spawn(async move {
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Arc<Script>,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let request = Seen {
        method: parts.method,
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let reply = script(&request);
    seen.lock().expect("not poisoned").push(request);
    match reply {
        Reply::Answer(status, headers, body) => {
            let mut response = Response::builder().status(StatusCode::from_u16(status).expect("a status"));
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(Full::new(Bytes::from(body))).expect("a response"))
        }
        Reply::Cut => Err(std::io::Error::other("cut")),
        Reply::Hang => std::future::pending().await,
    }
}
