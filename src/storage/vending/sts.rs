//! AWS STS and what speaks like it (MinIO): keys for a while that can do no more than a policy says.
//!
//! The request is signed and sent by what `object_store` signs and sends its own with. What must hold: no key and no token is in a message; an
//! answer is bounded in time and size.

use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use http::{Method, Request, Response, StatusCode, header};
use object_store::ClientOptions;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpClient, HttpConnector, HttpResponseBody, ReqwestConnector};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};
use crate::model::Secret;

/// The version of the API.
const VERSION: &str = "2011-06-15";
/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// What stays as it is in a form's value.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A client of any such service.
#[derive(Debug)]
pub(super) struct Sts {
    client: HttpClient,
}

/// Keys that expire.
#[derive(Debug, Clone)]
pub struct SessionKeys {
    /// The key's id.
    pub access_key_id: Secret,
    /// The key.
    pub secret_access_key: Secret,
    /// What goes with each request beside them.
    pub session_token: Secret,
    /// When they end.
    pub expires_at: SystemTime,
}

/// What is asked, of whom and as whom.
pub(super) struct AssumeRole<'a> {
    pub endpoint: &'a str,
    pub region: &'a str,
    pub credential: &'a AwsCredential,
    pub role_arn: Option<&'a str>,
    pub session_name: &'a str,
    pub duration: Duration,
    pub policy: &'a str,
}

impl Sts {
    pub(super) fn new() -> Result<Self> {
        let options = ClientOptions::new()
            .with_allow_http(true) // as the endpoint says
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(ANSWER_TIMEOUT);
        let client = ReqwestConnector::default()
            .connect(&options)
            .map_err(|e| Error::internal("no client of STS can be made").with_source(e))?;
        Ok(Sts { client })
    }

    /// Keys for a while. [`Kind::Unavailable`] when there was no answer, [`Kind::Internal`] when we were refused.
    pub(super) async fn assume_role(&self, asked: AssumeRole<'_>) -> Result<SessionKeys> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/", asked.endpoint.trim_end_matches('/')))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
            .body(form(&asked).into())
            .map_err(|e| Error::bad_request("the endpoint of STS is no URI").with_source(e))?;
        AwsAuthorizer::new(asked.credential, "sts", asked.region)
            .try_authorize(&mut request, None)
            .map_err(|e| Error::internal("the request to STS cannot be signed").with_source(e))?;
        let unavailable = || Error::new(Kind::Unavailable, format!("STS at {} did not answer", asked.endpoint));
        let response = self.client.execute(request).await.map_err(|e| unavailable().with_source(e))?;
        let (status, text) = whole(response).await.map_err(|e| e.context(format!("STS at {}", asked.endpoint)))?;
        match status {
            _ if status.is_success() => keys(&text),
            _ if status.is_server_error() => Err(unavailable().with_source(refusal(status, &text).1)),
            _ => {
                let (code, why) = refusal(status, &text);
                let message = format!(
                    "STS at {} gives no credentials ({code}): check the rights of the keys under `storage`, and `replica.sts`",
                    asked.endpoint
                );
                Err(Error::internal(message).with_source(why))
            }
        }
    }
}

fn form(asked: &AssumeRole<'_>) -> String {
    let seconds = asked.duration.as_secs().to_string();
    let fields = [
        ("Action", Some("AssumeRole")),
        ("Version", Some(VERSION)),
        ("RoleArn", asked.role_arn),
        ("RoleSessionName", Some(asked.session_name)),
        ("DurationSeconds", Some(&seconds)),
        ("Policy", Some(asked.policy)),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let fields: Vec<_> = fields.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, PLAIN))).collect();
    fields.join("&")
}

async fn whole(response: Response<HttpResponseBody>) -> Result<(StatusCode, String)> {
    let status = response.status();
    let mut stream = response.into_body().bytes_stream();
    let mut bytes = Vec::new();
    let cut = |e| Error::new(Kind::Unavailable, "the answer was cut off").with_source(e);
    while let Some(chunk) = stream.try_next().await.map_err(cut)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Error::internal(format!("the answer has more than {ANSWER_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    assume_role_result: Assumed,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Assumed {
    credentials: Credentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    error: Refused,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    code: String,
    #[serde(default)]
    message: String,
}

fn keys(text: &str) -> Result<SessionKeys> {
    // an error of the parser may show what it has read, so it is not kept
    let broken = || Error::internal("STS answered something that holds no credentials");
    let given = read::<Answer>(text).ok_or_else(broken)?.assume_role_result.credentials;
    Ok(SessionKeys {
        expires_at: humantime::parse_rfc3339(&given.expiration).map_err(|_| broken())?,
        access_key_id: given.access_key_id.into(),
        secret_access_key: given.secret_access_key.into(),
        session_token: given.session_token.into(),
    })
}

/// The code of an error, and all that is said of it, which is for the log: it names accounts.
fn refusal(status: StatusCode, text: &str) -> (String, String) {
    match read::<Refusal>(text) {
        Some(Refusal { error }) => (error.code.clone(), format!("{status}: {}: {}", error.code, error.message)),
        None => (status.as_u16().to_string(), status.to_string()),
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    quick_xml::de::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser><Arn></Arn></AssumedRoleUser>
<Credentials><AccessKeyId>ID</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey><SessionToken>a+b/c==</SessionToken>
<Expiration>2026-01-02T03:04:05Z</Expiration></Credentials></AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>
</AssumeRoleResponse>"#;

    #[test]
    fn an_answer_is_read() {
        let keys = keys(GIVEN).expect("credentials");
        assert_eq!((keys.access_key_id.expose(), keys.session_token.expose()), ("ID", "a+b/c=="));
        assert_eq!(humantime::format_rfc3339(keys.expires_at).to_string(), "2026-01-02T03:04:05Z");
        assert!(!format!("{keys:?}").contains("hidden"));
    }

    #[test]
    fn what_is_no_answer_is_an_error_that_shows_nothing_of_it() {
        let without_expiration = GIVEN.replace("2026-01-02T03:04:05Z", "soon");
        for text in [without_expiration.as_str(), "", "<html>hidden</html>", "{\"hidden\":1}"] {
            let error = keys(text).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_refusal_says_its_code() {
        let text = "<ErrorResponse xmlns=\"x\"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
        let told = refusal(StatusCode::FORBIDDEN, text);
        assert_eq!(told, ("AccessDenied".into(), "403 Forbidden: AccessDenied: no".into()));
        assert_eq!(refusal(StatusCode::NOT_FOUND, "gone").0, "404");
    }

    #[test]
    fn a_form_holds_what_is_asked() {
        let credential = AwsCredential { key_id: "id".into(), secret_key: "hidden".into(), token: None };
        let asked = AssumeRole {
            endpoint: "http://sts",
            region: "r",
            credential: &credential,
            role_arn: None,
            session_name: "lifeboat-dr",
            duration: Duration::from_secs(900),
            policy: "{\"a\": [1]}",
        };
        let expected = "Action=AssumeRole&Version=2011-06-15&RoleSessionName=lifeboat-dr&DurationSeconds=900&Policy=%7B%22a%22%3A%20%5B1%5D%7D";
        assert_eq!(form(&asked), expected);
        assert!(form(&AssumeRole { role_arn: Some("arn:a/b"), ..asked }).contains("&RoleArn=arn%3Aa%2Fb&"));
    }
}
