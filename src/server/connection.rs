//! Connections: how many there are, and how long one may take for its first bytes.
//!
//! What must hold: a client that connects and says nothing, or says it very slowly, does not keep its place. Silence later on is
//! bounded by the time-outs of HTTP itself, which `listen` sets.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// A connection's first bytes, by which HTTP's version is told: as many as the preface of HTTP/2 has.
const FIRST_BYTES: usize = 24;

/// Accepts as `inner` does, within the limits.
#[derive(Clone)]
pub(super) struct Guard<A> {
    inner: A,
    places: Arc<Semaphore>,
    silence_max: Duration,
}

impl<A> Guard<A> {
    pub(super) fn new(inner: A, connections_max: usize, silence_max: Duration) -> Self {
        Guard { inner, places: Arc::new(Semaphore::new(connections_max)), silence_max }
    }
}

impl<I, S, A> Accept<I, S> for Guard<A>
where
    A: Accept<I, S>,
    A::Stream: Send + 'static,
    A::Service: Send + 'static,
    A::Future: Send + 'static,
    A: Clone + Send + 'static,
    I: Send + 'static,
    S: Send + 'static,
{
    type Stream = Guarded<A::Stream>;
    type Service = A::Service;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let place = this.places.acquire_owned().await.map_err(io::Error::other)?;
            let (stream, service) = this.inner.accept(stream, service).await?;
            let deadline = Some(Box::pin(tokio::time::sleep(this.silence_max)));
            Ok((Guarded { stream, deadline, missing: FIRST_BYTES, _place: place }, service))
        })
    }
}

/// A connection that has a place, and a deadline for its first bytes, or until it is answered.
pub(super) struct Guarded<I> {
    stream: I,
    deadline: Option<Pin<Box<Sleep>>>,
    missing: usize,
    _place: OwnedSemaphorePermit,
}

impl<I: AsyncRead + Unpin> AsyncRead for Guarded<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.deadline.is_none() {
            return read;
        }
        if read.is_ready() {
            self.missing = self.missing.saturating_sub(buf.filled().len() - before);
            if self.missing == 0 {
                self.deadline = None;
            }
            return read;
        }
        if let Some(deadline) = &mut self.deadline {
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guarded<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.deadline = None;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.deadline = None;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
