//! One call to the upstream with its repeats: another token after a 401, another try where that is safe.
//!
//! What must hold: once a try of a write may have landed, no later try's failure is reported as certain; the number of tries and
//! the pauses between them are bounded.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;

use super::RestUpstream;
use super::client::{Answer, Fault};
use super::outcome::{self, Asked};
use crate::error::{Error, Result};
use crate::model::Access;

/// The first pause; each further one is twice as long, less up to half by chance.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause; an upstream that asks for more by `Retry-After` is not asked again by us.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A call, ready to be sent more than once.
pub(super) struct Call {
    pub asked: Asked,
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether it may be sent again after it may have arrived.
    pub repeatable: bool,
}

impl Call {
    fn request(&self, authorization: Option<&HeaderValue>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if let Some(value) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
        request
    }
}

impl RestUpstream {
    /// Sends a call until it has an answer that can be passed on.
    pub(super) async fn exchange(&self, mut call: Call, caller: &HeaderMap) -> Result<Answer> {
        let write = call.asked.operation.access() == Access::Write;
        let limit = if write { self.settings.timeouts.write } else { self.settings.timeouts.read };
        let mut authorization = self.credentials.header(&self.client, caller).await?;
        let mut renewed = false;
        let mut tries = 0;
        loop {
            let result = self.client.send(call.request(authorization.as_ref()), limit).await;
            let pause = match &result {
                Ok(answer) if outcome::is_unauthorized(answer.status) && !renewed => {
                    // a 401 means that nothing landed, so this is safe for writes too
                    renewed = true;
                    if let Some(other) = self.renewed(&call, authorization.as_ref()).await? {
                        authorization = Some(other);
                        continue;
                    }
                    None
                }
                Ok(answer) if outcome::is_passing(answer.status) && call.repeatable && !write => {
                    pause_before(tries, answer.headers.get(header::RETRY_AFTER))
                }
                Err(Fault::NotSent(_)) => pause_before(tries, None),
                Err(Fault::Lost(_)) if call.repeatable => {
                    call.asked.in_doubt |= write;
                    pause_before(tries, None)
                }
                _ => None,
            };
            match pause {
                Some(pause) if tries < self.settings.retries_max => {
                    tries += 1;
                    tokio::time::sleep(pause).await;
                }
                _ => return self.settle(&call, result),
            }
        }
    }

    async fn renewed(&self, call: &Call, refused: Option<&HeaderValue>) -> Result<Option<HeaderValue>> {
        match self.credentials.renew(&self.client, refused).await {
            Ok(other) => Ok(other),
            Err(error) if call.asked.in_doubt => Err(Error::new(
                crate::error::Kind::OutcomeUnknown,
                "the write may have landed or not, and there is no token to ask again",
            )
            .with_source(error)),
            Err(error) => Err(error),
        }
    }

    fn settle(&self, call: &Call, result: Result<Answer, Fault>) -> Result<Answer> {
        let operation = call.asked.operation.name();
        let settled = match result {
            Ok(answer) => outcome::judge(call.asked, answer),
            Err(fault) => Err(outcome::fault(call.asked, fault)),
        };
        if let Err(error) = &settled {
            tracing::debug!(operation, error = %error, "the upstream gave no answer that could be passed on");
        }
        settled
    }
}

/// How long to wait before the next try; `None` when the upstream wants more time than we have.
fn pause_before(tries: u32, retry_after: Option<&HeaderValue>) -> Option<Duration> {
    let pause = PAUSE_FIRST.saturating_mul(1 << tries.min(16)).min(PAUSE_MAX);
    match retry_after {
        Some(value) => {
            let seconds = value.to_str().ok()?.trim().parse::<u64>().ok()?;
            let wanted = Duration::from_secs(seconds);
            (wanted <= PAUSE_MAX).then(|| wanted.max(pause))
        }
        None => Some(pause.mul_f64(rand::random_range(0.5..=1.0))),
    }
}
