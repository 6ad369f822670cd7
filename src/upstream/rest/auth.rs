//! As whom we ask: nobody, a fixed token, tokens by OAuth2 client credentials, or the caller.
//!
//! What must hold: one token request at a time; a token is renewed before it expires while the old one still serves; a secret
//! or a token is in no message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::client::{Base, Client};
use super::path::encode;
use super::settings::{OAuth2, UpstreamAuth};
use crate::error::{Error, Kind, Result};

/// What a token without `expires_in` is taken to last, as Iceberg's Java client does.
const EXPIRES_DEFAULT: Duration = Duration::from_secs(3600);
/// A token is renewed when this part of its life is left, or [`RENEW_BEFORE_MAX`] if that is shorter.
const RENEW_PART: u32 = 5;
const RENEW_BEFORE_MAX: Duration = Duration::from_secs(300);
/// After a renewal that failed while the old token still serves.
const RENEW_PAUSE: Duration = Duration::from_secs(5);
/// Time for a token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(15);

/// The credentials in use.
pub(super) enum Credentials {
    None,
    Bearer(HeaderValue),
    OAuth2(Box<Tokens>),
    Caller,
}

impl Credentials {
    pub(super) fn new(auth: &UpstreamAuth, base: &Base) -> Result<Self> {
        Ok(match auth {
            UpstreamAuth::None => Credentials::None,
            UpstreamAuth::Bearer(token) => Credentials::Bearer(bearer(token.expose())?),
            UpstreamAuth::OAuth2(oauth2) => Credentials::OAuth2(Box::new(Tokens::new(oauth2.clone(), base)?)),
            UpstreamAuth::Caller => Credentials::Caller,
        })
    }

    /// The `Authorization` for a request.
    pub(super) async fn header(&self, client: &Client, caller: &HeaderMap) -> Result<Option<HeaderValue>> {
        match self {
            Credentials::None => Ok(None),
            Credentials::Bearer(value) => Ok(Some(value.clone())),
            Credentials::OAuth2(tokens) => tokens.get(client).await.map(Some),
            Credentials::Caller => Ok(caller.get(header::AUTHORIZATION).cloned()),
        }
    }

    /// Another `Authorization` after `refused` was answered 401, if there can be one.
    pub(super) async fn renew(&self, client: &Client, refused: Option<&HeaderValue>) -> Result<Option<HeaderValue>> {
        match (self, refused) {
            (Credentials::OAuth2(tokens), Some(refused)) => {
                tokens.forget(refused);
                tokens.get(client).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether requests go up as whoever asks.
    pub(super) fn is_caller(&self) -> bool {
        matches!(self, Credentials::Caller)
    }
}

/// Tokens of one OAuth2 client, the current one kept.
pub(super) struct Tokens {
    uri: Uri,
    form: Bytes,
    current: ArcSwapOption<Token>,
    fetching: Mutex<()>,
}

struct Token {
    header: HeaderValue,
    renew_at: Instant,
    expires_at: Instant,
}

impl Tokens {
    fn new(oauth2: OAuth2, upstream: &Base) -> Result<Self> {
        let uri = match &oauth2.token_uri {
            Some(uri) => {
                Base::parse(uri.split('?').next().unwrap_or_default()).map_err(|e| e.context("token_uri"))?;
                uri.parse().map_err(|e| Error::bad_request("token_uri cannot be read").with_source(e))?
            }
            None => upstream.uri("v1/oauth/tokens")?,
        };
        let mut form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            encode(&oauth2.client_id),
            encode(oauth2.client_secret.expose())
        );
        let more = [("scope", &oauth2.scope), ("audience", &oauth2.audience), ("resource", &oauth2.resource)];
        for (key, value) in more {
            if let Some(value) = value {
                form.push_str(&format!("&{key}={}", encode(value)));
            }
        }
        Ok(Tokens { uri, form: Bytes::from(form), current: ArcSwapOption::empty(), fetching: Mutex::new(()) })
    }

    async fn get(&self, client: &Client) -> Result<HeaderValue> {
        let now = Instant::now();
        if let Some(token) = self.current.load().as_ref() {
            if now < token.renew_at {
                return Ok(token.header.clone());
            }
            if now < token.expires_at {
                // the old one still serves: one caller renews, the others go on
                let Ok(_guard) = self.fetching.try_lock() else { return Ok(token.header.clone()) };
                return Ok(self.renew_early(client, token).await);
            }
        }
        let _guard = self.fetching.lock().await;
        match self.current.load().as_ref() {
            Some(token) if Instant::now() < token.expires_at => Ok(token.header.clone()),
            _ => self.fetch(client).await,
        }
    }

    async fn renew_early(&self, client: &Client, old: &Token) -> HeaderValue {
        match self.fetch(client).await {
            Ok(header) => header,
            Err(error) => {
                tracing::warn!(error = %error, "the upstream's token was not renewed; the old one is used while it lasts");
                let renew_at = Instant::now() + RENEW_PAUSE;
                let kept = Token { header: old.header.clone(), renew_at, expires_at: old.expires_at };
                self.current.store(Some(Arc::new(kept)));
                old.header.clone()
            }
        }
    }

    fn forget(&self, refused: &HeaderValue) {
        let current = self.current.load();
        if current.as_ref().is_some_and(|token| token.header == *refused) {
            self.current.compare_and_swap(&*current, None);
        }
    }

    async fn fetch(&self, client: &Client) -> Result<HeaderValue> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(self.form.clone()))
            .map_err(|e| Error::internal("the token request cannot be built").with_source(e))?;
        let unavailable = |why: String| Error::new(Kind::Unavailable, format!("no token for the upstream: {why}"));
        let answer = client.send(request, TOKEN_TIMEOUT).await.map_err(|fault| unavailable(fault.to_string()))?;
        if !answer.status.is_success() {
            let refused: Refused = serde_json::from_slice(&answer.body).unwrap_or_default();
            return Err(unavailable(format!(
                "the token server answered {} {}; check client id, secret and scope",
                answer.status.as_u16(),
                refused.error.unwrap_or_default()
            )));
        }
        let given: Given = serde_json::from_slice(&answer.body)
            .map_err(|_| unavailable("the token server's answer holds no access_token".into()))?;
        let header = bearer(&given.access_token)?;
        let life = given.expires_in.filter(|s| s.is_finite() && *s > 0.0 && *s < 1e9);
        let life = life.map_or(EXPIRES_DEFAULT, Duration::from_secs_f64);
        let now = Instant::now();
        let renew_at = now + life - (life / RENEW_PART).min(RENEW_BEFORE_MAX);
        self.current.store(Some(Arc::new(Token { header: header.clone(), renew_at, expires_at: now + life })));
        Ok(header)
    }
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: Option<f64>,
}

/// RFC 6749, section 5.2; the description may repeat what was sent, so it is not shown.
#[derive(Deserialize, Default)]
struct Refused {
    error: Option<String>,
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .map_err(|_| Error::bad_request("the upstream's token holds characters that no header may hold"))?;
    value.set_sensitive(true);
    Ok(value)
}
