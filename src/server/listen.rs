//! Listening and stopping: the socket, HTTP's own limits, TLS, and the way out.
//!
//! What must hold: on a stop no new connection is taken, requests in flight are answered and writes that began are finished, both
//! within the limit that the settings name.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum_server::accept::{Accept, NoDelayAcceptor};
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server as Listener};
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::error::{Error, Result};

use super::ServerSettings;
use super::connection::Guard;
use super::service::{Front, answer};

/// Largest request head, in bytes: twice the longest path that the `http` crate takes (65,534 bytes; a longer one is a 414).
const HEAD_BYTES_MAX: usize = 128 << 10;

/// Most requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// How often a silent HTTP/2 connection is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(60);

/// Longest TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Takes the address, or says what to do.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::bad_request(format!("cannot listen on {address}: choose another address, or end what listens there"))
            .with_source(error)
    })
}

/// Answers until `stop` comes and everything that began is done.
pub(super) async fn run(
    front: Arc<Front>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let server = &front.server;
    let handle = Handle::new();
    let limit = server.settings.stop_timeout;
    let stopped_at = Arc::new(OnceLock::new());
    let stopping = {
        let (handle, server, stopped_at) = (handle.clone(), server.clone(), stopped_at.clone());
        tokio::spawn(async move {
            stop.await;
            stopped_at.get_or_init(Instant::now);
            tracing::info!("stopping: waiting for {} writes in flight", server.writes.count());
            server.stopping();
            handle.graceful_shutdown(Some(limit));
        })
    };
    let listener = Listener::<SocketAddr>::from_listener(listener).handle(handle);
    let ServerSettings { connections_max, head_timeout, .. } = server.settings;
    let done = match &server.reloader.certificates {
        Some(certificates) => {
            let tls = RustlsAcceptor::new(certificates.config()).handshake_timeout(HANDSHAKE_MAX);
            let acceptor = Guard::new(tls.acceptor(NoDelayAcceptor::new()), connections_max, head_timeout);
            accept(listener.acceptor(acceptor), front.clone()).await
        }
        None => {
            let acceptor = Guard::new(NoDelayAcceptor::new(), connections_max, head_timeout);
            accept(listener.acceptor(acceptor), front.clone()).await
        }
    };
    stopping.abort();
    let left = || limit.saturating_sub(stopped_at.get().map_or(Duration::ZERO, Instant::elapsed));
    done.map_err(|error| Error::internal("the listener failed").with_source(error))?;
    if !server.relocations.jobs.ended(left()).await {
        tracing::error!("stopped while a relocation was being registered; whether it landed is unknown");
    }
    if !server.maintenance.jobs.ended(left()).await {
        tracing::error!("stopped while a table was being maintained; the same request goes on with it");
    }
    if !server.writes.finished(left()).await {
        tracing::error!("stopped with {} writes still running; their outcome is unknown", server.writes.count());
    }
    Ok(())
}

async fn accept<A>(mut listener: Listener<SocketAddr, A>, front: Arc<Front>) -> std::io::Result<()>
where
    A: Accept<TcpStream, AnswerService> + Clone + Send + Sync + 'static,
    A::Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
    A::Service: axum_server::service::SendService<http::Request<hyper::body::Incoming>> + Send,
    A::Future: Send,
{
    let head_timeout = front.server.settings.head_timeout;
    let builder = listener.http_builder();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32);
    let make = tower::service_fn(move |peer: SocketAddr| {
        let service = AnswerService { front: front.clone(), peer };
        async move { Ok::<_, Infallible>(service) }
    });
    listener.serve(make).await
}

/// One connection's service.
#[derive(Clone)]
pub(super) struct AnswerService {
    front: Arc<Front>,
    peer: SocketAddr,
}

impl tower::Service<http::Request<hyper::body::Incoming>> for AnswerService {
    type Response = http::Response<super::service::Body>;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let (front, peer) = (self.front.clone(), self.peer);
        Box::pin(async move { Ok(answer(front, peer, request).await) })
    }
}

/// The writes that have begun. They run to their end whether or not their client waits, and a stop waits for them.
pub(super) struct Writes(watch::Sender<usize>);

impl Writes {
    pub(super) fn new() -> Self {
        Writes(watch::Sender::new(0))
    }

    /// Counts one until the guard is dropped.
    pub(super) fn begin(&self) -> WriteGuard {
        self.0.send_modify(|count| *count += 1);
        WriteGuard(self.0.clone())
    }

    pub(super) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until none is left; whether that came within `limit`.
    async fn finished(&self, limit: Duration) -> bool {
        let mut count = self.0.subscribe();
        tokio::time::timeout(limit, count.wait_for(|count| *count == 0)).await.is_ok()
    }
}

pub(super) struct WriteGuard(watch::Sender<usize>);

impl Drop for WriteGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Resolves when the process is asked to end: SIGTERM or SIGINT.
pub async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
