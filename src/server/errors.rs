//! How an error looks to a client: Iceberg's error model on every route.
//!
//! What must hold (Iceberg's clients delete their files on some answers): a failed write is 4xx, 429 or 503 only when it is certain
//! that nothing landed, which its [`Kind`] guarantees; every other failure of a write is 500, 502 or 504 with the type
//! `CommitStateUnknownException`. What is inside us stays in the log: a client gets the request's id to ask by.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::error::{Error, Kind};
use crate::model::Access;
use crate::upstream::Response;

/// How long a client should wait that was turned away, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The type that tells a client that its commit may have landed.
const STATE_UNKNOWN: &str = "CommitStateUnknownException";

fn status_and_type(kind: Kind) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match kind {
        Kind::BadRequest => (S::BAD_REQUEST, "BadRequestException"),
        Kind::InvalidArgument => (S::BAD_REQUEST, "IllegalArgumentException"),
        Kind::NotAuthorized => (S::UNAUTHORIZED, "NotAuthorizedException"),
        Kind::Forbidden => (S::FORBIDDEN, "ForbiddenException"),
        Kind::NoSuchNamespace => (S::NOT_FOUND, "NoSuchNamespaceException"),
        Kind::NoSuchTable => (S::NOT_FOUND, "NoSuchTableException"),
        Kind::NoSuchView => (S::NOT_FOUND, "NoSuchViewException"),
        Kind::NotFound => (S::NOT_FOUND, "NotFoundException"),
        Kind::Gone => (S::GONE, "HistoryGoneException"),
        Kind::AlreadyExists => (S::CONFLICT, "AlreadyExistsException"),
        Kind::NamespaceNotEmpty => (S::CONFLICT, "NamespaceNotEmptyException"),
        Kind::CommitFailed => (S::CONFLICT, "CommitFailedException"),
        Kind::Unprocessable => (S::UNPROCESSABLE_ENTITY, "UnprocessableEntityException"),
        Kind::Unsupported => (S::NOT_ACCEPTABLE, "UnsupportedOperationException"),
        Kind::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "MethodNotAllowedException"),
        Kind::UnsupportedMediaType => (S::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaTypeException"),
        Kind::PayloadTooLarge => (S::PAYLOAD_TOO_LARGE, "PayloadTooLargeException"),
        Kind::TooManyRequests => (S::TOO_MANY_REQUESTS, "TooManyRequestsException"),
        Kind::Unavailable => (S::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
        Kind::OutcomeUnknown => (S::INTERNAL_SERVER_ERROR, STATE_UNKNOWN),
        Kind::BadUpstream => (S::BAD_GATEWAY, "BadGatewayException"),
        Kind::UpstreamTimeout => (S::GATEWAY_TIMEOUT, "GatewayTimeoutException"),
        Kind::Internal => (S::INTERNAL_SERVER_ERROR, "InternalServerError"),
    }
}

/// An error of work that outlived its request, in Iceberg's model, with the places that its layers know: for operators. It was logged before.
pub(super) fn model_of_job(error: &Error, job: &str) -> serde_json::Value {
    let (status, type_name) = status_and_type(error.kind());
    let message = match error.kind() {
        Kind::Internal => format!("something went wrong inside the server; its log has more under job.id {job}"),
        _ => error.told(),
    };
    json!({"message": message, "type": type_name, "code": status.as_u16()})
}

/// The answer for an error of a request, which is logged here, once; `access` is what was asked for, as far as that was known.
pub(super) fn render(error: &Error, access: Option<Access>, request_id: &str) -> Response {
    let kind = error.kind();
    let (status, mut type_name) = status_and_type(kind);
    let unsure = matches!(kind, Kind::BadUpstream | Kind::UpstreamTimeout | Kind::Internal);
    if access == Some(Access::Write) && unsure {
        type_name = STATE_UNKNOWN;
    }
    let message = match kind {
        Kind::Internal => {
            format!("something went wrong inside the server; its log has more under request {request_id}")
        }
        _ => error.message().to_owned(),
    };
    let code = status.as_u16();
    match kind {
        Kind::Internal | Kind::OutcomeUnknown => tracing::error!(status = code, "a request failed: {error}"),
        _ if status.is_server_error() => tracing::warn!(status = code, "a request failed: {error}"),
        _ => tracing::debug!(status = code, "a request was refused: {error}"),
    }
    let body = json!({"error": {"message": message, "type": type_name, "code": status.as_u16()}});
    let mut response = Response::json(&body);
    response.status = status;
    add_headers(kind, &mut response.headers);
    response
}

fn add_headers(kind: Kind, headers: &mut HeaderMap) {
    match kind {
        Kind::NotAuthorized => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Kind::Unavailable | Kind::TooManyRequests => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        // what was not read of the body cannot be told from a next request
        Kind::PayloadTooLarge => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(kind: Kind, access: Access) -> (u16, String) {
        let response = render(&Error::new(kind, "m"), Some(access), "r-1");
        let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        (response.status.as_u16(), body["error"]["type"].as_str().expect("text").to_owned())
    }

    #[test]
    fn a_write_of_unknown_fate_is_never_a_final_no() {
        for (kind, status) in
            [(Kind::OutcomeUnknown, 500), (Kind::Internal, 500), (Kind::BadUpstream, 502), (Kind::UpstreamTimeout, 504)]
        {
            assert_eq!(rendered(kind, Access::Write), (status, STATE_UNKNOWN.to_owned()));
        }
        assert_eq!(rendered(Kind::CommitFailed, Access::Write), (409, "CommitFailedException".into()));
        assert_eq!(rendered(Kind::Internal, Access::Read), (500, "InternalServerError".into()));
    }

    #[test]
    fn what_is_inside_stays_inside() {
        let error = Error::internal("password=hunter2").context("table a.b");
        let response = render(&error, Some(Access::Read), "r-1");
        let text = String::from_utf8(response.body.to_vec()).expect("text");
        assert!(!text.contains("hunter2") && text.contains("r-1"));
    }

    #[test]
    fn who_is_turned_away_learns_when_to_come_back_or_what_to_bring() {
        let unavailable = render(&Error::new(Kind::Unavailable, "busy"), Some(Access::Write), "r");
        assert_eq!(unavailable.headers[header::RETRY_AFTER], "1");
        let unauthorised = render(&Error::new(Kind::NotAuthorized, "no token"), None, "r");
        assert_eq!(unauthorised.headers[header::WWW_AUTHENTICATE], "Bearer");
    }
}
