//! Names that are gone or are others at the primary, and namespaces, as its journal tells.
//!
//! What must hold: only what we published loses its name, its files are never touched, and it can be had back: where it was is written down in the
//! overlay before. A table that was dropped keeps its name here for a while, for a drop may be a mistake, or forged.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::settings::ReplicaSettings;
use super::site::SiteCatalog;
use super::status::{Action, State, TableStatus};
use crate::error::{Error, Kind, Result};
use crate::model::{Ident, Namespace, Said, sha256};
use crate::storage::{Location, Storage};
use crate::upstream::pointer::{Kept, Pointer, Properties, now_ms};

/// Marks namespaces that a replica made.
const MARK: &str = "lifeboat.replica";
/// The largest record of a table that lost its name.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// A name that the journal says is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone {
    /// The entry that says so.
    pub(super) number: u64,
    pub(super) time_ms: i64,
}

/// Where a table was that lost its name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    table: Ident,
    is_view: bool,
    uuid: String,
    location: Location,
    metadata_location: Location,
}

/// The names at this site, as far as they are ours: taken away, changed, given back.
pub(super) struct SiteNames<'r> {
    pub(super) storage: &'r Storage,
    pub(super) site: &'r dyn SiteCatalog,
    pub(super) settings: &'r ReplicaSettings,
}

impl SiteNames<'_> {
    /// What we published under a name.
    pub(super) async fn ours(&self, ident: &Ident) -> Result<Option<Pointer>> {
        let pointer = self.site.published(ident).await?;
        Ok(pointer.filter(|pointer| pointer.metadata_location.leads_into(&self.settings.overlay)))
    }

    /// Looks at a name that is gone at the primary. `None` when nothing of ours has it any more.
    pub(super) async fn look(
        &self,
        ident: &Ident,
        gone: Gone,
        said: &Said,
        is_plan: bool,
    ) -> Result<Option<TableStatus>> {
        let Some(pointer) = self.ours(ident).await? else { return Ok(None) };
        let mut status = TableStatus::new(ident.clone(), pointer.location.to_string());
        status.state = State::Level;
        status.metadata_location = Some(pointer.metadata_location.to_string());
        let renamed = said.named.iter().find(|(_, named)| !pointer.uuid.is_empty() && named.uuid == pointer.uuid);
        if let Some((to, _)) = renamed {
            status.action = Action::Rename;
            status.reason = Some(format!("its name is {to} at the primary"));
            if !is_plan {
                self.rename(ident, &pointer, to, gone).await?;
            }
            return Ok(Some(status));
        }
        if self.storage.look(&self.kept(ident, gone)).await?.is_some() {
            status.reason = Some("it was dropped at the primary, and is kept here since somebody said so".to_owned());
            return Ok(Some(status));
        }
        let since = Duration::from_millis(u64::try_from(now_ms() - gone.time_ms).unwrap_or(0));
        if let Some(left) = self.settings.drop_after.checked_sub(since).filter(|left| !left.is_zero()) {
            let hours = left.as_secs_f64() / 3600.0;
            status.reason = Some(format!(
                "it was dropped at the primary, and will be here in {hours:.1} h; \"lifeboat undrop {ident}\" keeps it"
            ));
            return Ok(Some(status));
        }
        status.action = Action::Drop;
        if !is_plan {
            self.take_away(ident, &pointer, gone).await?;
        }
        Ok(Some(status))
    }

    async fn rename(&self, ident: &Ident, pointer: &Pointer, to: &Ident, gone: Gone) -> Result<()> {
        if self.site.published(to).await?.is_some() {
            return self.take_away(ident, pointer, gone).await;
        }
        self.site.rename(ident, pointer, to).await?;
        tracing::info!(table.name = %ident, to = %to, "renamed a replicated table");
        Ok(())
    }

    async fn take_away(&self, ident: &Ident, pointer: &Pointer, gone: Gone) -> Result<()> {
        let record = Record {
            table: ident.clone(),
            is_view: pointer.kept == Kept::View,
            uuid: pointer.uuid.clone(),
            location: pointer.location.clone(),
            metadata_location: pointer.metadata_location.clone(),
        };
        self.write(&self.dropped().join(&file_name(ident, gone)), &record).await?;
        self.site.unpublish(ident, pointer).await?;
        tracing::info!(table.name = %ident, "dropped a replicated table, as the primary did; its files stay");
        Ok(())
    }

    /// Keeps a table that was dropped at the primary, or gives it its name back.
    pub(super) async fn undrop(&self, ident: &Ident, said: &Said) -> Result<()> {
        let none = || Error::new(Kind::NoSuchTable, format!("{ident} was not dropped at the primary"));
        let (number, time_ms) = *said.dropped.get(ident).ok_or_else(none)?;
        let gone = Gone { number, time_ms };
        if self.site.published(ident).await?.is_none() {
            let place = self.dropped().join(&file_name(ident, gone));
            let bytes = self.storage.read(&place, RECORD_BYTES_MAX).await?;
            let record: Record = serde_json::from_slice(&bytes)
                .map_err(|e| Error::new(Kind::Unprocessable, format!("{place} is damaged: {e}")))?;
            self.write(&self.kept(ident, gone), &record).await?;
            let kept = if record.is_view { Kept::View } else { Kept::Table };
            let (uuid, location) = (record.uuid, record.location);
            let pointer = Pointer { kept, uuid, location, metadata_location: record.metadata_location };
            return self.site.publish(ident, None, pointer).await;
        }
        self.write(&self.kept(ident, gone), &ident).await
    }

    /// Brings namespaces to what the journal says; those that somebody else made stay as they are.
    pub(super) async fn namespace(&self, namespace: &Namespace, properties: &Properties) -> Result<()> {
        let mut wanted = properties.clone();
        if let Some(location) = wanted.get_mut("location") {
            *location = self.settings.map.map(location)?.into_owned();
        }
        wanted.insert(MARK.to_owned(), "true".to_owned());
        let there = self.site.namespace(namespace).await?;
        if there.as_ref().is_some_and(|there| *there == wanted || !there.is_empty() && !there.contains_key(MARK)) {
            return Ok(());
        }
        self.site.set_namespace(namespace, there, wanted).await
    }

    /// Removes a namespace that is gone at the primary, if it was made by a replica and is empty. Whether nothing is left to do.
    pub(super) async fn drop_namespace(&self, namespace: &Namespace) -> Result<bool> {
        let there = self.site.namespace(namespace).await?;
        if !there.is_some_and(|there| there.contains_key(MARK)) {
            return Ok(true);
        }
        match self.site.drop_namespace(namespace).await {
            Err(e) if e.kind() == Kind::NamespaceNotEmpty => Ok(false),
            done => done.map(|()| true),
        }
    }

    async fn write(&self, location: &Location, record: &impl Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|e| Error::internal(e.to_string()))?;
        self.storage.write_once(location, Bytes::from(bytes)).await
    }

    /// Where it is written down where tables were that lost their names.
    fn dropped(&self) -> Location {
        self.settings.overlay.join("_lifeboat/dropped")
    }

    /// The mark that a table is kept.
    fn kept(&self, ident: &Ident, gone: Gone) -> Location {
        self.settings.overlay.join("_lifeboat/kept").join(&file_name(ident, gone))
    }
}

fn file_name(ident: &Ident, gone: Gone) -> String {
    let name = format!("{}\u{1f}{}", ident.namespace.joined(), ident.name);
    format!("{}-{}.json", &sha256(name.as_bytes())[..32], gone.number)
}
