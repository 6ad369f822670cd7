//! S3 and what speaks like it, through `object_store`.
//!
//! Keys are taken as written; one that `object_store` would have to change (an empty or `.` segment) is refused by name.

use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredentialProvider};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::{Children, Found, Listed, Location, SessionKeys, check_size};
use crate::error::{Error, Kind, Result};
use crate::model::Secret;

/// Keys that a store gives in one answer.
pub(super) const KEYS_A_PAGE: usize = 1_000;

/// How to reach the places under a prefix.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The places that these settings are for.
    pub prefix: Location,
    /// Where the store answers, unless it is AWS.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The key; without one the environment's credentials are used.
    pub access_key_id: Option<Secret>,
    /// The key's secret.
    pub secret_access_key: Option<Secret>,
    /// Bucket in the path rather than in the host name.
    pub path_style: bool,
}

/// One bucket's client.
#[derive(Debug)]
pub(super) struct Bucket {
    store: AmazonS3,
}

impl Bucket {
    pub(super) fn open(name: &str, settings: Option<&StoreSettings>) -> Result<Self> {
        let store = builder(name, settings).build().map_err(failure)?;
        Ok(Bucket { store })
    }

    /// The same, asked with keys that end.
    pub(super) fn open_with(name: &str, settings: Option<&StoreSettings>, keys: &SessionKeys) -> Result<Self> {
        let builder = builder(name, settings)
            .with_access_key_id(keys.access_key_id.expose())
            .with_secret_access_key(keys.secret_access_key.expose())
            .with_token(keys.session_token.expose());
        Ok(Bucket { store: builder.build().map_err(failure)? })
    }

    /// Whether these keys may write `key`. Nothing is written: an upload is begun, and aborted where that succeeds.
    pub(super) async fn may_write(&self, key: &str) -> Result<bool> {
        match self.store.put_multipart(&path(key)?).await {
            Ok(mut upload) => {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(error = %error, "an upload that was begun on trial could not be aborted");
                }
                Ok(true)
            }
            Err(object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) => {
                Ok(false)
            }
            Err(e) => Err(failure(e)),
        }
    }

    /// As whom the store is asked.
    pub(super) fn credentials(&self) -> AwsCredentialProvider {
        self.store.credentials().clone()
    }

    pub(super) async fn read(&self, key: &str, size_bytes_max: u64) -> Result<(Bytes, Found)> {
        let found = self.store.get(&path(key)?).await.map_err(failure)?;
        check_size(found.meta.size, size_bytes_max)?;
        let described = described(&found.meta);
        Ok((found.bytes().await.map_err(failure)?, described))
    }

    pub(super) async fn read_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.store.get_range(&path(key)?, range).await.map_err(failure)
    }

    pub(super) async fn write_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.put_opts(&path(key)?, bytes.into(), options).await.map_err(failure)?;
        Ok(())
    }

    pub(super) async fn look(&self, key: &str) -> Result<Option<Found>> {
        match self.store.head(&path(key)?).await {
            Ok(found) => Ok(Some(described(&found))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(failure(e)),
        }
    }

    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        match self.store.delete(&path(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(failure(e)),
        }
    }

    pub(super) async fn list(
        &self,
        prefix: &Location,
        key: &str,
        mut each: impl FnMut(Listed) -> Result<()> + Send,
    ) -> Result<()> {
        let below = path(key)?;
        let mut listing = self.store.list(Some(&below));
        while let Some(object) = listing.try_next().await.map_err(failure)? {
            let key = object.location.as_ref();
            let rest = key.strip_prefix(below.as_ref()).unwrap_or(key).trim_start_matches('/');
            let changed_ms = Some(object.last_modified.timestamp_millis());
            each(Listed { location: prefix.join(rest), size_bytes: object.size, changed_ms })?;
        }
        Ok(())
    }
}

impl Bucket {
    pub(super) async fn children(&self, key: &str) -> Result<Children> {
        let found = self.store.list_with_delimiter(Some(&path(key)?)).await.map_err(failure)?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        Ok(Children {
            folders: found.common_prefixes.iter().filter_map(name).collect(),
            files: found.objects.iter().filter_map(|object| name(&object.location)).collect(),
        })
    }

    /// One page of the keys below a prefix that come after `after`, in their order, and whether it is the last.
    pub(super) async fn page(&self, key: &str, after: Option<&str>) -> Result<(Vec<String>, bool)> {
        let below = path(key)?;
        let listing = match after {
            Some(after) => self.store.list_with_offset(Some(&below), &path(after)?),
            None => self.store.list(Some(&below)),
        };
        let keys = listing.map_ok(|object| object.location.to_string()).take(KEYS_A_PAGE);
        let keys: Vec<String> = keys.try_collect().await.map_err(failure)?;
        let is_last = keys.len() < KEYS_A_PAGE;
        Ok((keys, is_last))
    }

    pub(super) async fn names_after(&self, key: &str, after: &str, count_max: usize) -> Result<Vec<String>> {
        let below = path(key)?;
        let mut names = Vec::new();
        let mut listing = self.store.list_with_offset(Some(&below), &path(&format!("{key}/{after}"))?);
        while names.len() < count_max
            && let Some(object) = listing.try_next().await.map_err(failure)?
        {
            let rest = object.location.as_ref().strip_prefix(below.as_ref()).unwrap_or_default();
            let name = rest.trim_start_matches('/');
            names.extend((!name.contains('/')).then(|| name.to_owned()));
        }
        Ok(names)
    }
}

fn builder(name: &str, settings: Option<&StoreSettings>) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(name);
    if let Some(settings) = settings {
        builder = builder.with_virtual_hosted_style_request(!settings.path_style);
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(region) = &settings.region {
            builder = builder.with_region(region);
        }
        if let Some(id) = &settings.access_key_id {
            builder = builder.with_access_key_id(id.expose());
        }
        if let Some(secret) = &settings.secret_access_key {
            builder = builder.with_secret_access_key(secret.expose());
        }
    }
    builder
}

fn described(object: &ObjectMeta) -> Found {
    Found { size_bytes: object.size, etag: object.e_tag.clone() }
}

fn path(key: &str) -> Result<Path> {
    let path = Path::parse(key).map_err(|e| Error::bad_request(format!("key {key:?} cannot be kept as it is: {e}")))?;
    if path.as_ref() != key {
        return Err(Error::bad_request(format!("key {key:?} cannot be kept as it is")));
    }
    Ok(path)
}

const REFUSED: &str = "the store refused us; check the keys and rights under storage in the config";

/// Of a listing the library tells only in words that it was refused.
fn is_refusal(e: &object_store::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(e);
    while let Some(error) = cause {
        let text = error.to_string();
        if ["401 Unauthorized", "403 Forbidden"].iter().any(|status| text.contains(status)) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn failure(e: object_store::Error) -> Error {
    let (kind, message) = match &e {
        object_store::Error::NotFound { .. } => (Kind::NotFound, "file does not exist"),
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            (Kind::AlreadyExists, "the file is there already")
        }
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            (Kind::Internal, REFUSED)
        }
        e if is_refusal(e) => (Kind::Internal, REFUSED),
        _ => (Kind::Internal, "the store did not answer as it should"),
    };
    Error::new(kind, message).with_source(e)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[tokio::test]
    async fn a_store_is_really_asked() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let store = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let size = connection.read(&mut asked).unwrap();
            connection.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            String::from_utf8_lossy(&asked[..size]).into_owned()
        });
        let settings = StoreSettings {
            prefix: Location::new("s3://lake"),
            endpoint: Some(endpoint),
            region: None,
            access_key_id: Some(Secret::from("id")),
            secret_access_key: Some(Secret::from("key")),
            path_style: true,
        };
        let bucket = Bucket::open("lake", Some(&settings)).unwrap();
        assert_eq!(bucket.look("a/b").await.unwrap(), None);
        assert!(store.join().unwrap().starts_with("HEAD /lake/a/b "));
    }
}
