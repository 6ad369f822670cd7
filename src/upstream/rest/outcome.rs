//! What an upstream's answer, or its silence, means for the client.
//!
//! What must hold (Iceberg's commit protocol): a write is said to have failed only when it is certain that nothing landed; a
//! 429 or 503 passes only with the catalog's own error in it, since an intermediary cannot know (none says 409); everything in doubt is
//! [`Kind::OutcomeUnknown`]. An error in Iceberg's form travels as it came.

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::client::{Answer, Fault};
use crate::error::{Error, Kind, Result};
use crate::model::{Access, Operation};

/// The "authentication timeout" that Iceberg's specification lists beside 401.
const AUTHENTICATION_TIMEOUT: u16 = 419;

/// What is known about the request whose answer is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub operation: Operation,
    /// Whether the caller's own credentials went up.
    pub as_caller: bool,
    /// Whether an earlier try of the same write may have landed.
    pub in_doubt: bool,
}

/// Passes an answer on, or says what it means.
pub(super) fn judge(asked: Asked, mut answer: Answer) -> Result<Answer> {
    let status = answer.status;
    if status == StatusCode::CREATED {
        // Java's client takes 200, 202, 204 and 304 only
        answer.status = StatusCode::OK;
    }
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return encoded(asked, &answer.headers).map_or(Ok(answer), Err);
    }
    if asked.in_doubt {
        return Err(unknown(
            asked,
            format!("the upstream answered {status} to the repeat of a write that may have landed"),
        ));
    }
    if is_unauthorized(status) && !asked.as_caller {
        // the client's credentials are ours to judge; these were Lifeboat's own
        return Err(Error::new(
            Kind::Unavailable,
            "the upstream refused Lifeboat's own credentials; check upstream.auth",
        ));
    }
    if asked.operation.route().method == "HEAD" {
        return head(asked, answer);
    }
    if is_iceberg_error(asked, &answer.body) && may_pass(asked, status) {
        return Ok(answer);
    }
    Err(foreign(asked, &answer))
}

/// What no answer at all means.
pub(super) fn fault(asked: Asked, fault: Fault) -> Error {
    let write = asked.operation.access() == Access::Write;
    match fault {
        Fault::NotSent(why) if !asked.in_doubt => {
            Error::new(Kind::Unavailable, "the upstream catalog cannot be reached").with_source(why)
        }
        fault if write => unknown(asked, fault.to_string()),
        Fault::TimedOut(limit) => {
            Error::new(Kind::UpstreamTimeout, format!("the upstream did not answer within {} s", limit.as_secs_f32()))
        }
        fault => Error::new(Kind::BadUpstream, "the upstream's answer was not received").with_source(fault.to_string()),
    }
}

/// An answer of success that cannot be read.
pub(super) fn unreadable(asked: Asked, why: &str) -> Error {
    in_doubt_or(asked, Kind::BadUpstream, format!("the upstream's answer {why}"))
}

/// The message of an error in Iceberg's form.
pub(super) fn message(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        message: Option<String>,
    }
    serde_json::from_slice::<Body>(body).ok()?.error.message
}

/// 401, or the specification's 419.
pub(super) fn is_unauthorized(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || status.as_u16() == AUTHENTICATION_TIMEOUT
}

/// Whether a read is worth repeating.
pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// Statuses of which clients know what they say about a write.
fn may_pass(asked: Asked, status: StatusCode) -> bool {
    asked.operation.access() != Access::Write
        || status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT
        || matches!(status.as_u16(), 500..=504)
}

/// HEAD has no body to look at: the status is all there is.
fn head(asked: Asked, mut answer: Answer) -> Result<Answer> {
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            answer.body = bytes::Bytes::new();
            Ok(answer)
        }
        _ => Err(foreign(asked, &answer)),
    }
}

/// An error that did not come from a catalog: a proxy's page, a load balancer's word, a redirect.
fn foreign(asked: Asked, answer: &Answer) -> Error {
    let status = answer.status;
    let said = format!("the upstream answered {status} without Iceberg's error");
    match status.as_u16() {
        400 | 414 | 431 => Error::new(Kind::BadRequest, said),
        401 => Error::new(Kind::NotAuthorized, said),
        403 => Error::new(Kind::Forbidden, said),
        405 | 501 => Error::new(Kind::Unsupported, said),
        413 => Error::new(Kind::PayloadTooLarge, said),
        409 if asked.operation.access() == Access::Write => conflict(asked.operation, said),
        429 if asked.operation.access() != Access::Write => Error::new(Kind::TooManyRequests, said),
        503 if asked.operation.access() != Access::Write => Error::new(Kind::Unavailable, said),
        504 if asked.operation.access() != Access::Write => Error::new(Kind::UpstreamTimeout, said),
        300..=399 => {
            in_doubt_or(asked, Kind::BadUpstream, format!("{said}; write the address it leads to as upstream.uri"))
        }
        _ => in_doubt_or(asked, Kind::BadUpstream, said),
    }
}

/// A 409 is a catalog's own word even without its form: no intermediary says it.
fn conflict(operation: Operation, said: String) -> Error {
    match operation {
        Operation::UpdateTable | Operation::CommitTransaction | Operation::ReplaceView => {
            Error::new(Kind::CommitFailed, said)
        }
        Operation::DropNamespace => Error::new(Kind::NamespaceNotEmpty, said),
        _ => Error::new(Kind::AlreadyExists, said),
    }
}

/// A body in an encoding that was not asked for cannot be looked into.
fn encoded(asked: Asked, headers: &HeaderMap) -> Option<Error> {
    let encoding = headers.get(header::CONTENT_ENCODING)?;
    (encoding != "identity").then(|| unreadable(asked, "is compressed although that was not asked for"))
}

fn in_doubt_or(asked: Asked, kind: Kind, what: String) -> Error {
    if asked.operation.access() == Access::Write { unknown(asked, what) } else { Error::new(kind, what) }
}

fn unknown(asked: Asked, what: String) -> Error {
    let operation = asked.operation.name();
    Error::new(
        Kind::OutcomeUnknown,
        format!("{operation} may have landed or not ({what}); load it again before repeating"),
    )
}

/// Gateways write `{"error": {"code", "message"}}` too; the `type` is Iceberg's own, and for a write only that counts.
fn is_iceberg_error(asked: Asked, body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body {
        error: Map<String, Value>,
    }
    let write = asked.operation.access() == Access::Write;
    serde_json::from_slice::<Body>(body)
        .is_ok_and(|b| b.error.get("type").is_some_and(Value::is_string) || (!write && b.error.contains_key("message")))
}
