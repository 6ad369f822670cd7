//! TLS by rustls: from PEM files to a server's configuration.
//!
//! The cryptography is ring, named here and not by a process-wide default. What must hold: a certificate that does not fit its key is
//! an error before anything is served with it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result};

/// Where the certificate chain and its key are, both PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The certificate that is served now, and the files that it came from.
pub(super) struct Certificates {
    files: TlsFiles,
    config: RustlsConfig,
    pem: Mutex<Pem>,
}

/// The two files as they were read last.
#[derive(PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificates {
    pub(super) fn load(files: TlsFiles) -> Result<Self> {
        let pem = read(&files)?;
        let config = RustlsConfig::from_config(configure(&files, &pem)?);
        Ok(Certificates { files, config, pem: Mutex::new(pem) })
    }

    /// What the listener serves; follows every reload.
    pub(super) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Reads the files again and tells whether they have changed. On an error the certificate stays as it is.
    pub(super) fn reload(&self) -> Result<bool> {
        let pem = read(&self.files)?;
        let mut last = self.pem.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == pem {
            return Ok(false);
        }
        self.config.reload_from_config(configure(&self.files, &pem)?);
        *last = pem;
        Ok(true)
    }
}

fn read(files: &TlsFiles) -> Result<Pem> {
    let read = |file: &Path| {
        std::fs::read(file).map_err(|error| Error::bad_request(format!("TLS file {file:?} cannot be read: {error}")))
    };
    Ok(Pem { certificate: read(&files.certificate)?, key: read(&files.key)? })
}

fn configure(files: &TlsFiles, pem: &Pem) -> Result<Arc<ServerConfig>> {
    let unreadable = |what: &str, file: &Path, error: rustls::pki_types::pem::Error| {
        Error::bad_request(format!("the TLS {what} in {file:?} cannot be read as PEM: {error}"))
    };
    let chain = CertificateDer::pem_slice_iter(&pem.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable("certificate", &files.certificate, error))?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| unreadable("private key", &files.key, error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| {
            Error::bad_request(format!("the TLS certificate in {:?} cannot be used: {error}", files.certificate))
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
