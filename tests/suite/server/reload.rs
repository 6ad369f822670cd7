//! Tokens and certificates change without a restart, and a mistake changes nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeboat::error::Error;
use lifeboat::model::Role;
use lifeboat::server::{Auth, ServerSettings, TlsFiles, TokensFile};

use super::fake::*;

fn write(file: &Path, text: &str) {
    // as an operator's tools do it: the new file takes the old one's place at once
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("a writable folder");
    std::fs::rename(&new, file).expect("a writable folder");
}

/// A file that names one operator.
fn tokens_in(path: &Path) -> Auth {
    let read = |path: &Path| {
        let name = std::fs::read_to_string(path).map_err(|error| Error::bad_request(error.to_string()))?;
        if name.contains(' ') { Err(Error::bad_request("broken")) } else { Ok(vec![token(&name, "*", Role::Operator)]) }
    };
    Auth::File(TokensFile { path: path.to_owned(), read: Arc::new(read) })
}

async fn until_status(server: &Running, name: &str, status: u16) {
    within(async {
        while server.send("GET", "/v1/config", &[("Authorization", &bearer(name))], "").await.status != status {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_changed_token_file_is_taken_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens.yaml");
    write(&file, "old");
    let often = ServerSettings { auth: tokens_in(&file), reload_every: Duration::from_millis(10), ..settings() };
    let server = start(Fake::polite(), often).await;
    until_status(&server, "old", 200).await;
    write(&file, "new");
    until_status(&server, "new", 200).await;
    until_status(&server, "old", 401).await;

    write(&file, "not a name");
    let reload = server.send("POST", "/lifeboat/v1/reload", &[("Authorization", &bearer("new"))], "").await;
    assert_eq!((reload.status, reload.error_type().as_str()), (400, "BadRequestException"));
    until_status(&server, "new", 200).await;
}

#[tokio::test]
async fn an_operator_may_ask_for_a_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens.yaml");
    write(&file, "old");
    let never = ServerSettings { auth: tokens_in(&file), reload_every: Duration::from_secs(3600), ..settings() };
    let server = start(Fake::polite(), never).await;
    write(&file, "new");
    let reload = server.send("POST", "/lifeboat/v1/reload", &[("Authorization", &bearer("old"))], "").await;
    assert_eq!(reload.status, 200);
    until_status(&server, "new", 200).await;
}

/// Writes a new self-signed certificate, and gives it as a client trusts it.
fn certify(files: &TlsFiles) -> reqwest::Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    write(&files.key, &made.signing_key.serialize_pem());
    write(&files.certificate, &made.cert.pem());
    reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).expect("PEM")
}

fn client(trusted: reqwest::Certificate) -> reqwest::Client {
    // only the first call has an effect, and all would have the same
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([trusted]).build().expect("a client")
}

#[tokio::test]
async fn a_changed_certificate_is_served_to_new_connections() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = TlsFiles { certificate: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
    let first = client(certify(&files));
    let tls = ServerSettings { tls: Some(files.clone()), reload_every: Duration::from_millis(10), ..settings() };
    let server = start(Fake::polite(), tls).await;
    let url = format!("https://localhost:{}/v1/config", server.address.port());
    let answer = within(first.get(&url).send()).await.expect("a trusted certificate");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));

    let second = certify(&files);
    within(async {
        while client(second.clone()).get(&url).send().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    write(&files.certificate, "no certificate");
    let reload = client(second).post(format!("https://localhost:{}/lifeboat/v1/reload", server.address.port()));
    assert_eq!(within(reload.send()).await.expect("the one before it still serves").status(), 400);
}
