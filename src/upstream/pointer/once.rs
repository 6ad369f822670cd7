//! Idempotency-Key: a write that is repeated with its key is answered as the first time, and done once.
//!
//! What must hold: a change and the outcome under its key are kept in one transaction, so no crash comes between them; a key is never used
//! for two requests; final refusals are kept too, 5xx never. Source: the Iceberg REST specification's `Idempotency-Key`.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::answer::Answer;
use super::port::Outcome;
use super::{PointerCatalog, now_ms};
use crate::error::{Error, Kind, Result};
use crate::model::{Access, Operation, hex};
use crate::upstream::{Request, Response};

/// The status of an [`Outcome`] that is an error.
const REFUSED: u16 = 0;

/// Refusals that a repeat would get again, by the name under which they are kept.
const FINAL: [(&str, Kind); 11] = [
    ("bad-request", Kind::BadRequest),
    ("invalid-argument", Kind::InvalidArgument),
    ("forbidden", Kind::Forbidden),
    ("no-such-namespace", Kind::NoSuchNamespace),
    ("no-such-table", Kind::NoSuchTable),
    ("no-such-view", Kind::NoSuchView),
    ("not-found", Kind::NotFound),
    ("already-exists", Kind::AlreadyExists),
    ("namespace-not-empty", Kind::NamespaceNotEmpty),
    ("commit-failed", Kind::CommitFailed),
    ("unprocessable", Kind::Unprocessable),
];

/// A write's key, and what it stands for.
#[derive(Debug, Clone)]
pub(super) struct Once {
    principal: String,
    key: String,
    fingerprint: String,
    lifetime_ms: i64,
}

impl Once {
    /// The key of a request that has one and for which one counts.
    pub(super) fn of(request: &Request, lifetime: Duration) -> Result<Option<Self>> {
        let counts = request.operation.access() == Access::Write && request.operation != Operation::CreateView;
        let Some(key) = request.header("idempotency-key").filter(|_| counts) else { return Ok(None) };
        let key = Uuid::parse_str(key).map_err(|_| Error::bad_request("the Idempotency-Key must be a UUID"))?;
        let mut hasher = Sha256::new();
        hasher.update(format!("{}\n{:?}\n{:?}\n", request.operation.name(), request.target, request.query));
        hasher.update(&request.body);
        let fingerprint = hex(&hasher.finalize());
        let lifetime_ms = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        Ok(Some(Once {
            principal: request.principal.name().to_owned(),
            key: key.to_string(),
            fingerprint,
            lifetime_ms,
        }))
    }

    /// The outcome to keep beside a change.
    pub(super) fn outcome(&self, answer: &Answer) -> Outcome {
        let (status, body, metadata_location) = match answer {
            Answer::NoContent => (204, String::new(), None),
            Answer::Json(body) => (200, body.to_string(), None),
            Answer::Load { metadata_location, .. } => (200, String::new(), metadata_location.clone()),
        };
        self.keep(status, body, metadata_location)
    }

    /// The outcome to keep for a refusal, if it is final.
    fn refusal(&self, error: &Error) -> Option<Outcome> {
        let (name, _) = FINAL.iter().find(|(_, kind)| *kind == error.kind())?;
        Some(self.keep(REFUSED, json!({"kind": name, "message": error.message()}).to_string(), None))
    }

    fn keep(&self, status: u16, body: String, metadata_location: Option<crate::storage::Location>) -> Outcome {
        let kept_at_ms = now_ms();
        Outcome {
            principal: self.principal.clone(),
            key: self.key.clone(),
            fingerprint: self.fingerprint.clone(),
            status,
            body,
            metadata_location,
            kept_at_ms,
            expires_at_ms: kept_at_ms.saturating_add(self.lifetime_ms),
        }
    }
}

impl PointerCatalog {
    /// Does a write with a key, unless it was done already.
    pub(super) async fn call_once(&self, once: Once, request: &Request) -> Result<Response> {
        let _turn = self.keys.take([(&once.principal, &once.key)]).await;
        if let Some(response) = self.replayed(&once).await.map_err(in_doubt)? {
            return Ok(response);
        }
        let error = match self.handle(request, Some(&once)).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        // another server may have done it meanwhile, which shows as a conflict here
        match self.replayed(&once).await {
            Ok(Some(response)) => return Ok(response),
            Ok(None) => {}
            // what is unknown stays unknown while nobody can look
            Err(_) if error.kind() == Kind::OutcomeUnknown => return Err(error),
            Err(refused) => return Err(in_doubt(refused)),
        }
        if let Some(outcome) = once.refusal(&error)
            && let Err(failure) = self.pointers.apply(&[], Some(&outcome)).await
        {
            tracing::warn!(request.id = %request.id, error = %failure, "a refusal could not be kept for its key");
        }
        Err(error)
    }

    /// What the key was answered before; an error when that was one, or when the key was used for something else.
    pub(super) async fn replayed(&self, once: &Once) -> Result<Option<Response>> {
        let Some(outcome) = self.pointers.outcome(&once.principal, &once.key, now_ms()).await? else { return Ok(None) };
        if outcome.fingerprint != once.fingerprint {
            let message = "the Idempotency-Key was used for another request; use a new one";
            return Err(Error::new(Kind::Unprocessable, message));
        }
        let body = || {
            serde_json::from_str::<Value>(&outcome.body)
                .map_err(|e| Error::internal("a kept outcome is damaged").with_source(e))
        };
        if outcome.status == REFUSED {
            let body = body()?;
            let kind = FINAL.iter().find(|(name, _)| body["kind"] == *name).map_or(Kind::Internal, |(_, kind)| *kind);
            return Err(Error::new(kind, body["message"].as_str().unwrap_or_default()));
        }
        let answer = match outcome.metadata_location {
            Some(location) => {
                let metadata = self.files.read(&location).await.map_err(|e| {
                    let message =
                        "this write has landed, but the metadata that it was answered with is gone; load it again";
                    Error::new(Kind::OutcomeUnknown, message).with_source(e)
                })?;
                Answer::Load { metadata, metadata_location: Some(location) }
            }
            None if outcome.status == 204 => Answer::NoContent,
            None => Answer::Json(body()?),
        };
        answer.into_response(&self.client_config).map(Some)
    }
}

/// While nobody can tell whether a key was used, neither can its write's outcome be told.
fn in_doubt(e: Error) -> Error {
    match e.kind() {
        Kind::Unavailable | Kind::Internal => {
            Error::new(Kind::OutcomeUnknown, "whether this Idempotency-Key was used before cannot be told now")
                .with_source(e)
        }
        _ => e,
    }
}
