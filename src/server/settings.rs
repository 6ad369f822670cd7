//! How the server listens and what it bounds; every limit by name, with its default.
//!
//! What must hold: beyond loopback nothing is served without authentication.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::{Error, Kind, Result};

use super::auth::{TokenRule, TokensFile};
use super::tls::TlsFiles;

/// Largest request body by default: 32 MiB.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// Most memory for the bodies of all requests that run at once, by default: 512 MiB.
pub const BODIES_BYTES_MAX: usize = 512 << 20;

/// Most requests at once by default; more are told to come back.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 1024;

/// Most open connections by default; more wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 8192;

/// Longest time for a request's head to arrive, and longest silence between two requests of an HTTP/1 connection, by default.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Longest time for a request's body to arrive, by default.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest time that a client waits for an answer, by default.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest time that a stop waits for requests and commits in flight, by default.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the files of tokens and certificates are looked at, by default.
pub const RELOAD_EVERY: Duration = Duration::from_secs(5);

/// Who may come in.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Everybody, as an operator. On loopback only.
    Off,
    /// Whoever has one of these tokens.
    Tokens(Vec<TokenRule>),
    /// Whoever has one of the tokens in a file, which is read again every now and then.
    File(TokensFile),
}

/// How the server listens and what it bounds.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// `HOST:PORT`; port 0 takes a free one.
    pub listen: String,
    /// Who may come in.
    pub auth: Auth,
    /// TLS, if it is spoken here and not by something in front of us.
    pub tls: Option<TlsFiles>,
    /// Whether `/metrics` is open beyond loopback too; otherwise it takes a token with role `read` on `*` there.
    pub metrics_open: bool,
    /// Whether each request is one log line at `info`; otherwise it is one at `debug`.
    pub access_log: bool,
    /// [`BODY_BYTES_MAX`].
    pub body_bytes_max: usize,
    /// [`BODIES_BYTES_MAX`].
    pub bodies_bytes_max: usize,
    /// [`REQUESTS_IN_FLIGHT_MAX`].
    pub requests_in_flight_max: usize,
    /// [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// [`HEAD_TIMEOUT`].
    pub head_timeout: Duration,
    /// [`BODY_TIMEOUT`].
    pub body_timeout: Duration,
    /// [`ANSWER_TIMEOUT`].
    pub answer_timeout: Duration,
    /// [`STOP_TIMEOUT`].
    pub stop_timeout: Duration,
    /// [`RELOAD_EVERY`].
    pub reload_every: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            listen: "127.0.0.1:8181".to_owned(),
            auth: Auth::Off,
            tls: None,
            metrics_open: false,
            access_log: false,
            body_bytes_max: BODY_BYTES_MAX,
            bodies_bytes_max: BODIES_BYTES_MAX,
            requests_in_flight_max: REQUESTS_IN_FLIGHT_MAX,
            connections_max: CONNECTIONS_MAX,
            head_timeout: HEAD_TIMEOUT,
            body_timeout: BODY_TIMEOUT,
            answer_timeout: ANSWER_TIMEOUT,
            stop_timeout: STOP_TIMEOUT,
            reload_every: RELOAD_EVERY,
        }
    }
}

impl ServerSettings {
    /// Finds the address to listen on, and refuses one that would be open to others without authentication.
    pub async fn validate(&self) -> Result<SocketAddr> {
        let unknown = || Error::bad_request(format!("cannot listen on {:?}: write HOST:PORT", self.listen));
        let mut addresses =
            tokio::net::lookup_host(&self.listen).await.map_err(|error| unknown().with_source(error))?;
        let address = addresses.next().ok_or_else(unknown)?;
        if !address.ip().is_loopback() {
            match &self.auth {
                Auth::Off => {
                    return Err(Error::new(
                        Kind::Forbidden,
                        format!(
                            "refusing to listen on {address} without authentication: set tokens (`auth.tokens` or \
                             `auth.tokens-file`), or listen on 127.0.0.1"
                        ),
                    ));
                }
                _ if self.tls.is_none() => {
                    tracing::warn!(
                        "listening on {address} without TLS: tokens can be read on the way, unless a proxy adds it"
                    );
                }
                _ => {}
            }
        }
        let limits = [
            ("body_bytes_max", self.body_bytes_max),
            ("bodies_bytes_max", self.bodies_bytes_max),
            ("requests_in_flight_max", self.requests_in_flight_max),
            ("connections_max", self.connections_max),
        ];
        for (name, value) in limits {
            if value == 0 {
                return Err(Error::bad_request(format!("{name} must not be 0")));
            }
        }
        if self.reload_every.is_zero() {
            return Err(Error::bad_request("reload_every must not be 0"));
        }
        if self.bodies_bytes_max < self.body_bytes_max {
            return Err(Error::bad_request("bodies_bytes_max must not be smaller than body_bytes_max"));
        }
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beyond_loopback_nothing_is_served_without_authentication() {
        let open = |listen: &str, auth| ServerSettings { listen: listen.into(), auth, ..Default::default() };
        for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
            let error = open(listen, Auth::Off).validate().await.expect_err("is open to others");
            assert!(error.message().contains("tokens"), "{error}");
            let tokens = Auth::Tokens(vec![]);
            assert!(open(listen, tokens).validate().await.is_ok());
        }
        for listen in ["127.0.0.1:0", "[::1]:0", "127.9.9.9:0"] {
            assert!(open(listen, Auth::Off).validate().await.is_ok());
        }
        assert!(open("8181", Auth::Off).validate().await.is_err());
    }
}
