//! Request bodies: within the limit, in time, and of the kind that the route takes.
//!
//! What must hold: a body that says it is over the limit is refused before a byte of it is read, and one that does not say so is cut
//! at the limit. Compressed bodies are refused, so that the limit bounds memory too.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Body;
use serde::de::IgnoredAny;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Kind, Result};

use super::ServerSettings;

/// Longest pause between two pieces of a body.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// A JSON object, or nothing.
    Json,
    /// A form, as the token route does.
    Form,
}

/// What bodies may take: how much memory, one of them and all together, and how long.
pub(super) struct Budget {
    bytes_max: usize,
    whole_max: Duration,
    left: Arc<Semaphore>,
}

/// The unit in which the budget is given out, in bytes.
const UNIT_BYTES: usize = 1 << 10;

/// A part of the budget, given back when it is dropped.
pub(super) type Reserved = Option<OwnedSemaphorePermit>;

impl Budget {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        let units = (settings.bodies_bytes_max / UNIT_BYTES).clamp(1, u32::MAX as usize);
        let left = Arc::new(Semaphore::new(units));
        Budget { bytes_max: settings.body_bytes_max, whole_max: settings.body_timeout, left }
    }

    /// Makes `held` enough for a body of `bytes`.
    fn reserve(&self, held: &mut Reserved, bytes: usize) -> Result<()> {
        let missing =
            bytes.div_ceil(UNIT_BYTES).saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if missing == 0 {
            return Ok(());
        }
        let more = u32::try_from(missing).ok().and_then(|units| self.left.clone().try_acquire_many_owned(units).ok());
        let more =
            more.ok_or_else(|| Error::new(Kind::TooManyRequests, "too much is being sent at once, try again"))?;
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }

    /// Reads a request's body; what it holds of the budget lasts as long as the second part of the answer.
    pub(super) async fn read<B>(&self, headers: &HeaderMap, body: B, takes: Takes) -> Result<(Bytes, Reserved)>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        self.read_at_most(self.bytes_max, headers, body, takes).await
    }

    /// As [`Budget::read`], of a route with a smaller limit of its own.
    pub(super) async fn read_at_most<B>(
        &self,
        bytes_max: usize,
        headers: &HeaderMap,
        body: B,
        takes: Takes,
    ) -> Result<(Bytes, Reserved)>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let bytes_max = bytes_max.min(self.bytes_max);
        let stated = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if stated.is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(too_large(bytes_max));
        }
        if stated != Some(0) {
            check_type(headers, takes)?;
        }
        let mut reserved = None;
        self.reserve(&mut reserved, stated.unwrap_or(0) as usize)?;
        let whole = tokio::time::timeout(self.whole_max, self.collect(bytes_max, body, &mut reserved));
        let bytes = whole.await.map_err(|_| too_slow())??;
        if takes == Takes::Json && !bytes.is_empty() {
            check_json(&bytes)?;
        }
        Ok((bytes, reserved))
    }

    async fn collect<B>(&self, bytes_max: usize, mut body: B, reserved: &mut Reserved) -> Result<Bytes>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        loop {
            let frame = tokio::time::timeout(PAUSE_MAX, body.frame()).await.map_err(|_| too_slow())?;
            let Some(frame) = frame else { break };
            let frame = frame
                .map_err(|error| Error::bad_request("the request body broke off").with_source(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let bytes = first.len() + whole.len() + data.len();
            if bytes > bytes_max {
                return Err(too_large(bytes_max));
            }
            self.reserve(reserved, bytes)?;
            if first.is_empty() && whole.is_empty() {
                first = data; // most bodies come in one piece, which is passed on as it is
            } else {
                whole.extend_from_slice(&std::mem::take(&mut first));
                whole.extend_from_slice(&data);
            }
        }
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    }
}

fn too_large(bytes_max: usize) -> Error {
    Error::new(Kind::PayloadTooLarge, format!("the request body is over the limit of {bytes_max} bytes"))
}

fn too_slow() -> Error {
    Error::bad_request("the request body did not arrive in time")
}

fn check_type(headers: &HeaderMap, takes: Takes) -> Result<()> {
    let unsupported = |message: String| Err(Error::new(Kind::UnsupportedMediaType, message));
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return unsupported("compressed request bodies are not taken here".to_owned());
    }
    let expected = match takes {
        Takes::Json => "application/json",
        Takes::Form => "application/x-www-form-urlencoded",
    };
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.is_empty() || essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    unsupported(format!("the content type must be {expected}"))
}

/// Whether it is one JSON object. Nothing is kept of it: what it means is for those who act on it.
fn check_json(bytes: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::bad_request("the request body is not UTF-8"))?;
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|error| Error::bad_request(format!("the request body is not valid JSON: {error}")))?;
    if text.trim_ascii_start().starts_with('{') {
        return Ok(());
    }
    Err(Error::bad_request("the request body must be a JSON object"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_whole_json_objects_pass() {
        for good in [&b"{}"[..], b" {\"a\": [1.10, null]}\n"] {
            assert!(check_json(good).is_ok());
        }
        for bad in [&b"{"[..], b"[]", b"null", b"{} {}", b"{\"a\":\"\xff\"}", b"{\"a\":1,}"] {
            assert_eq!(check_json(bad).expect_err("is broken").kind(), Kind::BadRequest);
        }
        assert!(check_json("[".repeat(1 << 20).as_bytes()).is_err(), "and depth is no trap");
    }

    #[test]
    fn json_routes_take_json_of_any_charset_and_nothing_else() {
        let check = |content_type: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).expect("a header"));
            check_type(&headers, Takes::Json)
        };
        for good in ["application/json", "Application/JSON; charset=utf-8", ""] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
            assert_eq!(check(bad).expect_err(bad).kind(), Kind::UnsupportedMediaType);
        }
        assert!(check_type(&HeaderMap::new(), Takes::Json).is_ok());
    }
}
