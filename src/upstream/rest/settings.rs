//! How an upstream is reached: where, as whom, with which limits.
//!
//! Plain data with defaults that have names; checked when [`super::RestUpstream`] is made.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Secret;

/// Time to open a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the whole answer of a read.
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the whole answer of a write; after it the outcome is unknown.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
/// Repeats after the first try, where a repeat is safe.
pub const RETRIES_MAX: u32 = 2;
/// Idle connections that are kept.
pub const POOL_IDLE_MAX: usize = 256;
/// How long an idle connection is kept: shorter than what servers keep (Jetty 30 s, nginx 75 s), so that a write seldom meets
/// a connection that is being closed.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// The upstream's `/v1/config` is asked again after this time.
pub const CONFIG_REFRESH: Duration = Duration::from_secs(300);
/// Largest answer that is taken from an upstream, in bytes.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;

/// As whom we ask the upstream.
#[derive(Debug, Clone, Default)]
pub enum UpstreamAuth {
    /// As nobody.
    #[default]
    None,
    /// With a fixed token.
    Bearer(Secret),
    /// With tokens by OAuth2 client credentials.
    OAuth2(OAuth2),
    /// As the caller: their own `Authorization` header is passed on.
    Caller,
}

/// OAuth2 client credentials (RFC 6749, section 4.4).
#[derive(Debug, Clone)]
pub struct OAuth2 {
    /// Where tokens are given out; `{uri}/v1/oauth/tokens` when not set.
    pub token_uri: Option<String>,
    /// Who we are.
    pub client_id: String,
    /// How we prove it.
    pub client_secret: Secret,
    /// The scope; clients of Iceberg use `catalog`.
    pub scope: Option<String>,
    /// `audience`, for servers that want it.
    pub audience: Option<String>,
    /// `resource`, for servers that want it.
    pub resource: Option<String>,
}

/// Limits in time.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To open a connection.
    pub connect: Duration,
    /// For the whole answer of a read.
    pub read: Duration,
    /// For the whole answer of a write.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: CONNECT_TIMEOUT, read: READ_TIMEOUT, write: WRITE_TIMEOUT }
    }
}

/// Everything about one REST upstream.
#[derive(Debug, Clone)]
pub struct RestSettings {
    /// The URI that a client of the upstream would be given, without `/v1`.
    pub uri: String,
    /// The upstream's `warehouse`, if it wants one.
    pub warehouse: Option<String>,
    /// As whom we ask.
    pub auth: UpstreamAuth,
    /// Limits in time.
    pub timeouts: Timeouts,
    /// Repeats after the first try, where a repeat is safe.
    pub retries_max: u32,
    /// Idle connections that are kept.
    pub pool_idle_max: usize,
    /// How long the upstream's `/v1/config` is believed.
    pub config_refresh: Duration,
    /// Largest answer, in bytes.
    pub answer_bytes_max: usize,
    /// Headers that are added to every request.
    pub headers: Vec<(String, Secret)>,
    /// What engines are told in `/v1/config` over what the upstream says.
    pub client_config: BTreeMap<String, String>,
}

impl RestSettings {
    /// Defaults for the catalog at `uri`.
    pub fn new(uri: impl Into<String>) -> Self {
        RestSettings {
            uri: uri.into(),
            warehouse: None,
            auth: UpstreamAuth::None,
            timeouts: Timeouts::default(),
            retries_max: RETRIES_MAX,
            pool_idle_max: POOL_IDLE_MAX,
            config_refresh: CONFIG_REFRESH,
            answer_bytes_max: ANSWER_BYTES_MAX,
            headers: Vec::new(),
            client_config: BTreeMap::new(),
        }
    }
}
