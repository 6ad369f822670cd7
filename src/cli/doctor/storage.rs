//! Places: may we write, read, list and remove there, in the way that the server does.
//!
//! An embedded catalog's warehouse is tried with a file of a random name under `_lifeboat/`, which is removed again; places behind
//! an upstream are only listed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::app;
use crate::config::{self, Config};
use crate::error::{Error, Kind, Result};
use crate::model::CatalogName;
use crate::storage::{Location, Storage};

use super::super::start;
use super::finding::Finding;

const CHECK: &str = "storage";
/// The check of credentials for clients.
const VENDING: &str = "credentials";
/// Longest that all steps together may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What a probe holds.
const CONTENT: &[u8] = b"written by lifeboat doctor, to be removed by it at once";

/// Whether files can be written, read and removed under a location.
pub(super) async fn writable(config: &Config, subject: &str, location: &str) -> Finding {
    bounded(subject, location, async {
        let storage = start::storage(config);
        let probe = Location::new(location).join(&format!("_lifeboat/doctor-{}", Uuid::new_v4()));
        // as the server writes: never over another file, which some stores cannot promise
        storage.write_new(&probe, Bytes::from_static(CONTENT)).await?;
        let tried = try_probe(&storage, &probe).await;
        storage.delete(&probe).await?;
        tried?;
        Ok(format!("{location} can be written, read and removed from"))
    })
    .await
}

async fn try_probe(storage: &Storage, probe: &Location) -> Result<()> {
    if storage.read(probe, CONTENT.len() as u64).await? != CONTENT {
        return Err(Error::internal("what is read is not what was written"));
    }
    match storage.write_new(probe, Bytes::new()).await {
        Err(error) if error.kind() == Kind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            let message =
                "the store writes over an object that it was told not to write over (If-None-Match is not kept)";
            Err(Error::new(Kind::Unsupported, message))
        }
    }
}

/// Whether files under a location can be listed.
pub(super) async fn readable(config: &Config, subject: &str, location: &str) -> Finding {
    bounded(subject, location, async {
        start::storage(config).list(&Location::new(location), 1).await?;
        Ok(format!("{location} can be listed"))
    })
    .await
}

/// Whether credentials for clients can be made of a standby's overlay, and the store holds their policy. `None` where none are made.
pub(super) async fn vended(config: &Config, name: &CatalogName, replica: &config::Replica) -> Option<Finding> {
    let config::SiteCredentials::Sts(sts) = &replica.credentials else { return None };
    let made = tokio::time::timeout(TIMEOUT, async {
        let vending = app::vending(name, sts, &Arc::new(start::storage(config)))?;
        let overlay = Location::new(&replica.overlay);
        vending.check(&overlay)?;
        vending.read_only(&[overlay]).await
    });
    let told = match made.await {
        Ok(made) => made.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    };
    let subject = name.as_str();
    Some(match told {
        Ok(made) if made.is_empty() => Finding::warning(
            VENDING,
            subject,
            format!("none are made for {}", replica.overlay),
            "only S3 has such credentials",
        ),
        Ok(_) => Finding::ok(VENDING, subject, format!("those for {} are made, and cannot write", replica.overlay)),
        Err(message) => Finding::failed(
            VENDING,
            subject,
            message,
            "check \"replica.sts\" and the rights of the keys under \"storage\"",
        ),
    })
}

async fn bounded(subject: &str, location: &str, work: impl Future<Output = Result<String>>) -> Finding {
    let done = match tokio::time::timeout(TIMEOUT, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("{location}: no answer within {} s", TIMEOUT.as_secs())),
    };
    match done {
        Ok(message) => Finding::ok(CHECK, subject, message),
        Err(message) => {
            let advice = if location.starts_with("file:") {
                "let the user that runs Lifeboat own the folder, and see that the disk is there and not full"
            } else {
                "check the entry of this place under \"storage\": endpoint, region, keys and path-style; the keys need the rights \
                 to list, get, put and delete objects, and the store must know conditional puts (If-None-Match)"
            };
            Finding::failed(CHECK, subject, message, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[tokio::test]
    async fn a_probe_is_removed_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config::embedded(folder.path(), None).expect("is valid");
        let location = format!("file://{}", folder.path().display());
        let finding = writable(&config, "main", &location).await;
        assert_eq!(finding.status, Status::Ok, "{}", finding.message);
        let left = std::fs::read_dir(folder.path().join("_lifeboat")).map_or(0, Iterator::count);
        assert_eq!(left, 0);
        let finding = readable(&config, "main", &location).await;
        assert_eq!(finding.status, Status::Ok, "{}", finding.message);
        std::fs::write(folder.path().join("file"), "").expect("can be written");
        let finding = writable(&config, "main", &format!("{location}/file/below")).await;
        assert_eq!(finding.status, Status::Failed, "{}", finding.message);
    }
}
