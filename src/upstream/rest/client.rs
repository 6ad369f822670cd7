//! One HTTP exchange with the upstream over pooled connections, and what went wrong when it did.
//!
//! What must hold: [`Fault::NotSent`] only when no byte of the request left; everything after that is [`Fault::Lost`] or
//! [`Fault::TimedOut`]. HTTP/1.1 only: every Iceberg server speaks it, and one broken connection then is one broken request.
//! Redirects are not followed; repeating is the caller's business.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::settings::{POOL_IDLE_TIMEOUT, RestSettings};
use crate::error::{Error, Kind, Result};

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// No connection: certain that nothing arrived.
    NotSent(String),
    /// The connection broke after the request left.
    Lost(String),
    /// No whole answer in time.
    TimedOut(Duration),
    /// The answer is over the limit.
    TooLarge(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotSent(why) => write!(f, "no connection ({why})"),
            Fault::Lost(why) => write!(f, "the connection broke ({why})"),
            Fault::TimedOut(limit) => write!(f, "no answer within {} s", limit.as_secs_f32()),
            Fault::TooLarge(limit) => write!(f, "the answer is over {limit} bytes"),
        }
    }
}

/// A pool of connections to one upstream.
pub(super) struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    answer_bytes_max: usize,
}

impl Client {
    pub(super) fn new(settings: &RestSettings) -> Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(settings.timeouts.connect));
        let provider = rustls::crypto::ring::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let builder = match builder.with_provider_and_native_roots(provider) {
            Ok(builder) => builder,
            // a machine without root certificates: those that Mozilla's programme trusts
            Err(_) => HttpsConnectorBuilder::new()
                .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
                .map_err(|e| Error::internal("TLS cannot be set up").with_source(e))?,
        };
        let https = builder.https_or_http().enable_http1().wrap_connector(http);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(settings.pool_idle_max)
            .build(https);
        Ok(Client { inner, answer_bytes_max: settings.answer_bytes_max })
    }

    /// Sends and waits for the whole answer, at most `limit`.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>, limit: Duration) -> Result<Answer, Fault> {
        match tokio::time::timeout(limit, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(Fault::TimedOut(limit)),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let response = self.inner.request(request).await.map_err(|e| {
            let text = causes(&e);
            if e.is_connect() { Fault::NotSent(text) } else { Fault::Lost(text) }
        })?;
        let (parts, body) = response.into_parts();
        let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|bytes| bytes > self.answer_bytes_max as u64)
            && parts.status != StatusCode::NOT_MODIFIED
        {
            return Err(Fault::TooLarge(self.answer_bytes_max));
        }
        let body = match Limited::new(body, self.answer_bytes_max).collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(e) if e.is::<http_body_util::LengthLimitError>() => return Err(Fault::TooLarge(self.answer_bytes_max)),
            Err(e) => return Err(Fault::Lost(e.to_string())),
        };
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

/// An error with all its causes on one line; hyper's own text says little.
fn causes(error: &legacy::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Where an upstream's routes begin: scheme, authority and a path without the slash at its end.
#[derive(Debug, Clone)]
pub(super) struct Base {
    scheme: Scheme,
    authority: Authority,
    path: String,
}

impl Base {
    pub(super) fn parse(uri: &str) -> Result<Self> {
        let wrong = |why: &str| Error::bad_request(format!("upstream uri {why}; write it as https://host:port/path"));
        let parts = uri.trim().parse::<Uri>().map_err(|e| wrong(&format!("cannot be read ({e})")))?.into_parts();
        let scheme = parts.scheme.ok_or_else(|| wrong("has no scheme"))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(wrong("must be http or https"));
        }
        let authority = parts.authority.ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("must not hold a user or password (use auth)"));
        }
        let path_and_query = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path_and_query.query().is_some() {
            return Err(wrong("must not hold a query"));
        }
        Ok(Base { scheme, authority, path: path_and_query.path().trim_end_matches('/').to_owned() })
    }

    /// The URI of a path (from `v1/` on, query included, encoded already) under this base.
    pub(super) fn uri(&self, relative: &str) -> Result<Uri> {
        let mut path = String::with_capacity(self.path.len() + 1 + relative.len());
        path.push_str(&self.path);
        path.push('/');
        path.push_str(relative);
        let path = PathAndQuery::from_maybe_shared(Bytes::from(path))
            .map_err(|e| Error::new(Kind::BadRequest, "the name cannot be written into a path").with_source(e))?;
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|e| Error::internal("the upstream's URI cannot be built").with_source(e))
    }

    /// Whether scheme, host and port are the same.
    pub(super) fn same_origin(&self, other: &Base) -> bool {
        let port =
            |base: &Base| base.authority.port_u16().unwrap_or(if base.scheme == Scheme::HTTPS { 443 } else { 80 });
        self.scheme == other.scheme
            && self.authority.host().eq_ignore_ascii_case(other.authority.host())
            && port(self) == port(other)
    }

    /// What follows this base in an absolute URL, without the slash between; `None` when the URL is elsewhere.
    pub(super) fn strip(&self, url: &str) -> Option<String> {
        let (bare, query) = match url.split_once('?') {
            Some((bare, query)) => (bare, Some(query)),
            None => (url, None),
        };
        let other = Base::parse(bare).ok()?;
        let rest = other.path.strip_prefix(self.path.as_str())?;
        if !self.same_origin(&other) || !(rest.is_empty() || rest.starts_with('/')) {
            return None;
        }
        let rest = rest.trim_start_matches('/');
        Some(query.map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_finds_itself_in_urls() {
        let base = Base::parse("http://Host:80/iceberg/").expect("valid");
        assert_eq!(base.strip("http://host/iceberg/v1/x?q=%2F").as_deref(), Some("v1/x?q=%2F"));
        assert_eq!(base.strip("http://host/iceberg").as_deref(), Some(""));
        assert_eq!(base.strip("http://host/icebergs/v1"), None);
        assert_eq!(base.strip("https://host/iceberg/v1"), None);
        assert_eq!(base.uri("v1/config").expect("valid").to_string(), "http://Host:80/iceberg/v1/config");
    }

    #[test]
    fn uris_that_would_mislead_are_refused() {
        for uri in ["", "host:1", "ftp://host", "http://user:pass@host/", "http://host/?a=b", "/v1"] {
            assert!(Base::parse(uri).is_err(), "{uri}");
        }
    }
}
