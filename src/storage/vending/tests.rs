//! Vending against an STS that does what a test says.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::model::Secret;

type Requests = Arc<Mutex<Vec<String>>>;

/// A server that answers each request by `script`, which is told how many came before. It is a store as well, which refuses uploads or, if it is
/// lax, takes any.
pub(crate) struct FakeSts {
    pub(crate) endpoint: String,
    asked: Requests,
    uploads: Requests,
}

impl FakeSts {
    pub(crate) async fn start(script: impl Fn(usize) -> (u16, String) + Send + 'static) -> FakeSts {
        Self::with_store(script, false).await
    }

    async fn with_store(script: impl Fn(usize) -> (u16, String) + Send + 'static, is_lax: bool) -> FakeSts {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let (asked, uploads): (Requests, Requests) = Default::default();
        let (seen, tried) = (asked.clone(), uploads.clone());
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !is_whole(&request) {
                    connection.read_buf(&mut request).await.expect("a request");
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let (status, body) = if request.starts_with("POST / ") {
                    let mut seen = seen.lock().expect("not poisoned");
                    seen.push(request);
                    script(seen.len() - 1)
                } else {
                    tried.lock().expect("not poisoned").push(request);
                    upload(is_lax)
                };
                let head =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                connection.write_all(format!("{head}{body}").as_bytes()).await.expect("an answer");
            }
        });
        FakeSts { endpoint, asked, uploads }
    }

    fn uploads(&self) -> Vec<String> {
        self.uploads.lock().expect("not poisoned").clone()
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

fn upload(is_lax: bool) -> (u16, String) {
    let begun = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
    if is_lax { (200, begun.to_owned()) } else { (403, "<Error><Code>AccessDenied</Code></Error>".to_owned()) }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// An answer with the `number`th keys, which end after `life`.
pub(crate) fn given(number: usize, life: Duration) -> (u16, String) {
    let ends = humantime::format_rfc3339_seconds(SystemTime::now() + life);
    let keys = format!(
        "<AccessKeyId>id{number}</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey><SessionToken>token{number}</SessionToken>\
         <Expiration>{ends}</Expiration>"
    );
    let result = format!("<AssumeRoleResult><Credentials>{keys}</Credentials></AssumeRoleResult>");
    (
        200,
        format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">{result}</AssumeRoleResponse>"
        ),
    )
}

pub(crate) fn store(prefix: &str, endpoint: &str) -> StoreSettings {
    StoreSettings {
        prefix: Location::new(prefix),
        endpoint: Some(endpoint.to_owned()),
        region: Some("here-1".to_owned()),
        access_key_id: Some(Secret::from("OURS")),
        secret_access_key: Some(Secret::from("our-secret")),
        path_style: true,
    }
}

pub(crate) fn vending(stores: Vec<StoreSettings>) -> Vending {
    let settings = VendingSettings {
        endpoint: None,
        role_arn: None,
        session_name: "lifeboat-dr".into(),
        duration: Duration::from_secs(3600),
        kms_keys: Vec::new(),
    };
    Vending::new(Arc::new(Storage::new(stores)), settings).expect("a client")
}

fn at(places: &[&str]) -> Vec<Location> {
    places.iter().copied().map(Location::new).collect()
}

fn ids(vended: &[Vended]) -> Vec<&str> {
    vended.iter().map(|vended| vended.keys.access_key_id.expose()).collect()
}

#[tokio::test]
async fn sts_is_asked_for_reading_below_the_places() {
    let sts = FakeSts::start(|count| given(count, Duration::from_secs(3600))).await;
    let vending = vending(vec![store("s3://lake", &sts.endpoint)]);
    let places = at(&[
        "s3a://lake/dr/t",
        "s3://lake/overlay/u",
        "s3://lake/dr/t/data",
        "s3://lake/dr/t/",
        "/local/x",
        "gs://b/x",
    ]);
    let vended = vending.read_only(&places).await.expect("credentials");
    assert_eq!(vended.len(), 1);
    assert_eq!(vended[0].places, at(&["s3a://lake/dr/t", "s3://lake/overlay/u"]));
    let asked = sts.asked().concat();
    assert!(asked.starts_with("POST / HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("Credential=OURS/") && asked.contains("/here-1/sts/aws4_request"), "{asked}");
    let policy = policy::read_only(&[("lake", "dr/t"), ("lake", "overlay/u")], &[], None).expect("a policy");
    let (_, form) = asked.split_once("&Policy=").expect("a policy");
    assert_eq!(percent_encoding::percent_decode_str(form).decode_utf8_lossy(), policy);
    assert!(vending.read_only(&at(&["/local/x"])).await.expect("nothing").is_empty());
    assert_eq!(sts.asked().len(), 1);
}

/// What is kept, changed.
async fn age(vending: &Vending, change: impl Fn(&mut Kept)) {
    let (session, mut kept) = vending.kept.iter().next().expect("is kept");
    change(&mut kept);
    vending.kept.insert(session.as_ref().clone(), kept).await;
}

#[tokio::test]
async fn credentials_are_kept_for_half_of_their_life() {
    let sts = FakeSts::start(|count| given(count, Duration::from_secs(3600))).await;
    let vending = vending(vec![store("s3://lake", &sts.endpoint)]);
    let places = at(&["s3://lake/t"]);
    for _ in 0..2 {
        assert_eq!(ids(&vending.read_only(&places).await.expect("credentials")), ["id0"]);
    }
    age(&vending, |kept| {
        let left = kept.renew_at.duration_since(Instant::now());
        assert!((1700..=1800).contains(&left.as_secs()), "{left:?}");
        kept.renew_at = Instant::now();
    })
    .await;
    let together = (0..8).map(|_| vending.read_only(&places));
    for vended in futures::future::join_all(together).await {
        assert_eq!(ids(&vended.expect("credentials")), ["id1"]);
    }
    assert_eq!(ids(&vending.read_only(&at(&["s3://lake/t2"])).await.expect("credentials")), ["id2"]);
    assert_eq!(sts.asked().len(), 3);
}

#[tokio::test]
async fn old_credentials_serve_while_sts_is_away() {
    let sts =
        FakeSts::start(|count| if count == 0 { given(0, Duration::from_secs(3600)) } else { (503, String::new()) });
    let sts = sts.await;
    let vending = vending(vec![store("s3://lake", &sts.endpoint)]);
    let places = at(&["s3://lake/t"]);
    vending.read_only(&places).await.expect("credentials");
    age(&vending, |kept| kept.renew_at = Instant::now()).await;
    for _ in 0..3 {
        assert_eq!(ids(&vending.read_only(&places).await.expect("old ones")), ["id0"]);
    }
    assert_eq!(sts.asked().len(), 2, "between attempts there is a pause");
    age(&vending, |kept| kept.keys.expires_at = SystemTime::now() + LEFT_MIN / 2).await;
    let error = vending.read_only(&places).await.expect_err("what ends within the minute is not given out");
    let message = format!("STS at {} did not answer", sts.endpoint);
    assert_eq!((error.kind(), error.message()), (Kind::Unavailable, message.as_str()));
}

#[tokio::test]
async fn a_refusal_is_an_error_that_says_where_to_look() {
    let refusal = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>arn:aws:iam::42:user/x may not</Message></Error></ErrorResponse>";
    let sts = FakeSts::start(move |_| (403, refusal.to_owned())).await;
    let error =
        vending(vec![store("s3://lake", &sts.endpoint)]).read_only(&at(&["s3://lake/t"])).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Internal);
    assert!(error.message().contains("AccessDenied") && error.message().contains("replica.sts"), "{error}");
    assert!(!error.message().contains("42"), "who we are is for the log only");
    assert!(error.to_string().contains("arn:aws:iam::42:user/x"), "{error}");
}

#[tokio::test]
async fn each_account_has_its_own_credentials() {
    let one = FakeSts::start(|_| given(1, Duration::from_secs(3600))).await;
    let two = FakeSts::start(|_| given(2, Duration::from_secs(3600))).await;
    let stores = vec![store("s3://a", &one.endpoint), store("s3://b", &two.endpoint), store("s3://c", &one.endpoint)];
    let vended = vending(stores).read_only(&at(&["s3://b/t", "s3://a/t", "s3://c/t"])).await.expect("credentials");
    assert_eq!(ids(&vended), ["id2", "id1"]);
    assert_eq!(vended[1].places, at(&["s3://a/t", "s3://c/t"]));
}

#[tokio::test]
async fn a_store_must_be_seen_to_hold_the_policy() {
    let sts = FakeSts::start(|count| given(count, Duration::from_secs(3600))).await;
    let strict = vending(vec![store("s3://lake", &sts.endpoint)]);
    for place in ["s3://lake/t", "s3://lake/t2"] {
        strict.read_only(&at(&[place])).await.expect("credentials");
    }
    let uploads = sts.uploads();
    assert_eq!(uploads.len(), 1, "it is looked once");
    assert!(
        uploads[0].starts_with("POST /lake/t/lifeboat-probe-") && uploads[0].contains("?uploads"),
        "{}",
        uploads[0]
    );
    assert!(uploads[0].contains("token0") && uploads[0].contains("Credential=id0/"), "as a client would");

    let sts = FakeSts::with_store(|count| given(count, Duration::from_secs(3600)), true).await;
    let lax = vending(vec![store("s3://lake", &sts.endpoint)]);
    for _ in 0..2 {
        let error = lax.read_only(&at(&["s3://lake/t"])).await.expect_err("they could write");
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.message().contains("s3://lake/t") && error.message().contains("client-config"), "{error}");
    }
    let methods: Vec<_> = sts.uploads().iter().map(|it| it.split(' ').next().unwrap_or_default().to_owned()).collect();
    assert_eq!(methods, ["POST", "DELETE", "POST", "DELETE"], "what was begun is aborted");
}

#[test]
fn aws_needs_a_role() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let vending = vending(vec![store("s3://lake", "http://store")]);
    assert!(vending.check(&Location::new("s3a://lake/x")).is_ok() && vending.check(&Location::new("/x")).is_ok());
    let error = vending.check(&Location::new("s3://other/x")).expect_err("no role");
    assert!(error.message().contains("role-arn"), "{error}");
}

#[test]
fn long_names_of_sessions_are_cut() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let base = vending(Vec::new());
    let settings = VendingSettings { session_name: "x".repeat(80), ..base.settings.clone() };
    let vending = Vending::new(base.storage.clone(), settings).expect("a client");
    assert_eq!(vending.settings.session_name.len(), NAME_BYTES_MAX);
}
