//! Asking an upstream as it is, without the layers of a running server: for `init` and `doctor`.
//!
//! Nothing is repeated and nothing is hidden: what came back is what there was. No answer larger than
//! [`ANSWER_BYTES_MAX`] is taken.

use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::config::{OAuth2, Upstream, UpstreamAuth};
use crate::model::Secret;

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What is encoded in a prefix: it may be a path already, or hold escapes already.
const PREFIX_ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b'%');

/// How an upstream is asked.
pub(super) struct Probe {
    client: reqwest::Client,
    upstream: Upstream,
    token: Option<Secret>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The upstream's clock and ours, at the same moment give or take the time of the answer.
    pub(super) clocks: Option<(SystemTime, SystemTime)>,
    /// The body, if it is JSON.
    pub(super) json: Option<Value>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the upstream wants to know who we are, or knows and refuses.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.status, 401 | 403)
    }

    /// The message of an Iceberg error, if it is one.
    pub(super) fn message(&self) -> Option<&str> {
        self.json.as_ref()?.get("error")?.get("message")?.as_str()
    }

    /// The status, with the message if there is one.
    pub(super) fn said(&self) -> String {
        match self.message() {
            Some(message) => format!("{}: {message}", self.status),
            None => self.status.to_string(),
        }
    }
}

impl Probe {
    /// Makes ready to ask; with OAuth2 a token is fetched first. The error says what is wrong.
    pub(super) async fn new(upstream: &Upstream) -> Result<Probe, String> {
        let client = reqwest::Client::builder()
            .connect_timeout(upstream.connect_timeout)
            .timeout(upstream.read_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| format!("no HTTP client can be made: {}", chain(&e)))?;
        let mut probe = Probe { client, upstream: upstream.clone(), token: None };
        probe.token = match &upstream.auth {
            UpstreamAuth::None | UpstreamAuth::Caller => None,
            UpstreamAuth::Bearer(token) => Some(token.clone()),
            UpstreamAuth::OAuth2(oauth2) => Some(probe.fetch_token(oauth2).await?),
        };
        Ok(probe)
    }

    /// `GET {uri}/v1/config`, the first thing that every client asks.
    pub(super) async fn config(&self) -> Result<Answer, String> {
        let warehouse = self.upstream.warehouse.as_deref().map(|name| ("warehouse", name));
        self.get("config", warehouse.as_slice()).await
    }

    /// `GET {uri}/v1/{path}`; the error says why there was no answer at all.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, String> {
        let mut uri = format!("{}/v1/{path}", self.upstream.uri);
        for (at, (key, value)) in query.iter().enumerate() {
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            uri.push_str(&format!("{}{key}={value}", if at == 0 { '?' } else { '&' }));
        }
        let mut request = self.client.get(uri);
        for (name, value) in &self.upstream.headers {
            request = request.header(name, value.expose());
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        read(request).await
    }

    async fn fetch_token(&self, oauth2: &OAuth2) -> Result<Secret, String> {
        let own = format!("{}/v1/oauth/tokens", self.upstream.uri);
        let uri = oauth2.token_uri.as_deref().unwrap_or(&own);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &oauth2.client_id),
            ("client_secret", oauth2.client_secret.expose()),
            ("scope", &oauth2.scope),
        ];
        let answer = read(self.client.post(uri).form(&form)).await.map_err(|e| format!("no token from {uri}: {e}"))?;
        let token = answer.json.as_ref().and_then(|json| json.get("access_token")).and_then(Value::as_str);
        match token {
            Some(token) if answer.is_success() => Ok(Secret::new(token)),
            _ => Err(format!("{uri} gave no token, but {}", answer.said())),
        }
    }
}

/// The prefix of a catalog's routes, if this is the answer of an Iceberg REST catalog to `/v1/config`.
pub(super) fn prefix(answer: &Answer) -> Option<String> {
    let json = answer.json.as_ref().filter(|_| answer.is_success())?;
    let member = |name: &str| json.get(name).and_then(Value::as_object);
    let (defaults, overrides) = (member("defaults"), member("overrides"));
    // the specification wants both; a server that leaves out an empty one is understood by every client
    if defaults.is_none() && overrides.is_none() {
        return None;
    }
    let prefix = [overrides, defaults].into_iter().flatten().find_map(|map| map.get("prefix")?.as_str());
    Some(prefix.unwrap_or("").to_owned())
}

/// A route's path under a catalog's prefix.
pub(super) fn routed(prefix: &str, path: &str) -> String {
    let encoded = utf8_percent_encode(prefix, PREFIX_ENCODED);
    if prefix.is_empty() { path.to_owned() } else { format!("{encoded}/{path}") }
}

async fn read(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    let mut response = request.send().await.map_err(|e| chain(&e))?;
    let now = SystemTime::now();
    let date = response.headers().get(http::header::DATE).and_then(|value| value.to_str().ok());
    let clocks = date.and_then(parse_date).map(|theirs| (theirs, now));
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| chain(&e))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, clocks, json: serde_json::from_slice(&body).ok() })
}

/// An error with its causes on one line; the outermost says only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.contains(&text) {
            said.push_str(&format!(": {text}"));
        }
        cause = error.source();
    }
    said
}

/// An HTTP date (RFC 9110, 5.6.7) in its one current form: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.strip_suffix(" GMT")?.split([' ', ':']);
    let day: u64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut time = || parts.next().and_then(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time()?, time()?, time()?);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // days since 1970-01-01 by counting years from March, so that the leap day is the last of its year
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1 - 719_468;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + hour * 3_600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_are_read() {
        let seconds =
            |text| parse_date(text).and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|d| d.as_secs());
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for wrong in
            ["", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nox 1994 08:49:37 GMT", "Sun, 06 Nov 0 08:49:37 GMT"]
        {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
