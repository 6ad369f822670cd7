//! Places: may we write, read, list and remove there, with what the configuration says.
//!
//! An embedded catalog's warehouse is tried with an object of a random name under `_lifeboat/`, which is removed again;
//! places behind an upstream are only listed.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as ObjectPath;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig};
use uuid::Uuid;

use crate::config::{Config, Storage};

use super::finding::Finding;

const CHECK: &str = "storage";
/// What a probe object holds.
const CONTENT: &[u8] = b"written by lifeboat doctor, to be removed by it at once";
/// Longest that all steps together may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Repeats of one request.
const RETRIES_MAX: usize = 1;

/// Whether objects can be written, read and removed under a location.
pub(super) async fn writable(config: &Config, subject: &str, location: &str) -> Finding {
    bounded(subject, location, async {
        match folder(location) {
            Some(folder) => try_folder(&folder).await?,
            None => try_bucket(config, location).await?,
        }
        Ok(format!("{location} can be written, read and removed from"))
    })
    .await
}

/// Whether objects under a location can be listed.
pub(super) async fn readable(config: &Config, subject: &str, location: &str) -> Finding {
    bounded(subject, location, async {
        if let Some(folder) = folder(location) {
            let _ = tokio::fs::read_dir(folder).await.map_err(step("listing"))?;
        } else {
            let (store, root) = open(config, location)?;
            if let Some(first) = store.list(Some(&root)).next().await {
                first.map_err(step("listing"))?;
            }
        }
        Ok(format!("{location} can be listed"))
    })
    .await
}

/// The path of a local location.
fn folder(location: &str) -> Option<PathBuf> {
    location.strip_prefix("file:").map(|path| PathBuf::from(format!("/{}", path.trim_start_matches('/'))))
}

async fn try_folder(folder: &Path) -> Result<(), String> {
    let made = folder.join("_lifeboat");
    tokio::fs::create_dir_all(&made).await.map_err(step("making a folder"))?;
    let name = made.join(format!("doctor-{}", Uuid::new_v4()));
    tokio::fs::write(&name, CONTENT).await.map_err(step("writing a file"))?;
    let read = tokio::fs::read(&name).await;
    let removed = tokio::fs::remove_file(&name).await;
    // only goes if it is empty, that is, if it was made here
    let _ = tokio::fs::remove_dir(&made).await;
    judge(&read.map_err(step("reading back what was written"))?)?;
    removed.map_err(step("removing what was written"))
}

async fn try_bucket(config: &Config, location: &str) -> Result<(), String> {
    let (store, root) = open(config, location)?;
    let name = root.join("_lifeboat").join(format!("doctor-{}", Uuid::new_v4()));
    // as the server writes: never over another object, which some stores cannot promise
    let put = store.put_opts(&name, PutPayload::from_static(CONTENT), PutMode::Create.into());
    put.await.map_err(step("writing an object that must not be there yet"))?;
    let read = async { store.get(&name).await?.bytes().await }.await;
    let removed = store.delete(&name).await;
    judge(&read.map_err(step("reading back what was written"))?)?;
    removed.map_err(step("removing what was written"))
}

fn judge(read: &[u8]) -> Result<(), String> {
    if read == CONTENT { Ok(()) } else { Err("what is read is not what was written".into()) }
}

async fn bounded(subject: &str, location: &str, work: impl Future<Output = Result<String, String>>) -> Finding {
    let done = tokio::time::timeout(TIMEOUT, work).await;
    let done = done.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())));
    match done {
        Ok(message) => Finding::ok(CHECK, subject, message),
        Err(message) => {
            let advice = if location.starts_with("file:") {
                "let the user that runs Lifeboat own the folder, and see that the disk is there and not full"
            } else {
                "check the entry of this place under \"storage\": endpoint, region, keys and path-style; the keys need the rights \
                 to list, get, put and delete objects under the prefix, and the store must know conditional puts (If-None-Match)"
            };
            Finding::failed(CHECK, subject, format!("{location}: {message}"), advice)
        }
    }
}

fn step<E: Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what} failed: {error}")
}

/// The bucket of a location and the path in it.
fn open(config: &Config, location: &str) -> Result<(AmazonS3, ObjectPath), String> {
    let (_, rest) = location.split_once("://").ok_or("this is not a location")?;
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = ObjectPath::parse(path).map_err(step("taking the path"))?;
    let place = place(&config.storage, location);
    // without keys in the configuration those of the environment or the machine count
    let keys = place.and_then(|place| place.keys.as_ref());
    let mut builder = if keys.is_some() { AmazonS3Builder::new() } else { AmazonS3Builder::from_env() };
    builder = builder.with_bucket_name(bucket);
    builder = builder.with_retry(RetryConfig { max_retries: RETRIES_MAX, ..RetryConfig::default() });
    if let Some(place) = place {
        builder = builder.with_virtual_hosted_style_request(!place.path_style);
        if let Some(region) = &place.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &place.endpoint {
            let plain = endpoint.starts_with("http://");
            builder = builder.with_endpoint(endpoint).with_client_options(ClientOptions::new().with_allow_http(plain));
        }
    }
    if let Some(keys) = keys {
        builder = builder.with_access_key_id(keys.access_key_id.expose());
        builder = builder.with_secret_access_key(keys.secret_access_key.expose());
        if let Some(token) = &keys.session_token {
            builder = builder.with_token(token.expose());
        }
    }
    Ok((builder.build().map_err(step("making a client"))?, path))
}

/// The entry with the longest prefix of a location.
fn place<'a>(storage: &'a [Storage], location: &str) -> Option<&'a Storage> {
    let covers = |place: &&Storage| {
        let rest = location.strip_prefix(&place.prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || place.prefix.ends_with('/'))
    };
    storage.iter().filter(covers).max_by_key(|place| place.prefix.len())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn the_longest_prefix_counts() {
        let entry = |prefix: &str| Storage {
            prefix: prefix.into(),
            endpoint: None,
            region: None,
            keys: None,
            path_style: false,
        };
        let storage = [entry("s3://a"), entry("s3://a/b"), entry("s3://ab")];
        let chosen = |location| place(&storage, location).map(|place| place.prefix.as_str());
        assert_eq!(chosen("s3://a/b/c"), Some("s3://a/b"));
        assert_eq!(chosen("s3://a/bc"), Some("s3://a"));
        assert_eq!(chosen("s3://abc"), None);
    }

    #[tokio::test]
    async fn a_folder_is_tried_and_left_as_it_was() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config::embedded(folder.path(), None).expect("is valid");
        let location = format!("file://{}", folder.path().display());
        let finding = writable(&config, "main", &location).await;
        assert_eq!(finding.status, Status::Ok, "{}", finding.message);
        assert_eq!(std::fs::read_dir(folder.path()).expect("is there").count(), 0);
        std::fs::write(folder.path().join("file"), "").expect("can be written");
        let finding = writable(&config, "main", &format!("{location}/file/below")).await;
        assert_eq!(finding.status, Status::Failed, "{}", finding.message);
    }
}
