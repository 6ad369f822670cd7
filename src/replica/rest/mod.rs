//! This site's catalog where that is a REST catalog: a state is registered, or brought about by commits.
//!
//! What must hold: nothing is replaced that is not the image of what we published; nothing is written below the replicated storage, not by the catalog
//! either; what was published is loaded back and compared, and any difference blocks the table. A register with overwrite is no compare-and-swap: the table
//! is loaded right before and right after, and what comes in between is lost (`docs/replica.md`).

mod asks;
mod image;
mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::HeaderValue;
use serde_json::Value;

use self::asks::{Asks, Extent, Found, Load};
use self::image::{Aim, Form, Way};
use super::published::pointer_to;
use super::site::{Move, SiteCatalog};
use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Ident, Namespace};
use crate::storage::{Location, Storage};
use crate::table::relocate::{limits, parse};
use crate::upstream::Catalog;
use crate::upstream::pointer::{Kept, Pointer, Properties};

/// Loads and rounds of commits until a table is what it is to be.
const ROUNDS_MAX: usize = 3;
/// What Nessie says of itself. It keeps the current snapshot only, by design.
const IS_NESSIE: &str = "nessie.is-nessie-catalog";

/// A REST catalog into which a replica publishes.
pub struct RestSite {
    asks: Asks,
    storage: Arc<Storage>,
    overlay: Location,
    traits: Mutex<Traits>,
    tables: Mutex<HashMap<Ident, Known>>,
    /// Tables that were registered and are not yet what they are to be.
    unfinished: Mutex<HashSet<Ident>>,
}

/// What is known of the catalog; nothing tells it ahead.
#[derive(Debug, Default, Clone, Copy)]
struct Traits {
    /// Whether its description was read.
    is_asked: bool,
    overwrites: Option<bool>,
    keeps_history: Option<bool>,
}

/// What was found of a table, and how to see that it is still so.
#[derive(Debug, Clone)]
struct Known {
    kept: Kept,
    etag: Option<HeaderValue>,
    metadata_location: Location,
    pointer: Pointer,
}

impl RestSite {
    /// `reads` is the catalog itself, `writes` the same with the layers above it that keep answers.
    pub fn new(
        catalog: CatalogName,
        (reads, writes): (Arc<dyn Catalog>, Arc<dyn Catalog>),
        storage: Arc<Storage>,
        overlay: Location,
    ) -> RestSite {
        let asks = Asks::new(catalog, reads, writes);
        let (traits, tables, unfinished) = (Mutex::default(), Mutex::default(), Mutex::default());
        RestSite { asks, storage, overlay, traits, tables, unfinished }
    }

    fn traits(&self) -> MutexGuard<'_, Traits> {
        self.traits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Ident, Known>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unfinished(&self) -> MutexGuard<'_, HashSet<Ident>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the catalog says of itself, once.
    async fn ask(&self) -> Result<()> {
        if self.traits().is_asked {
            return Ok(());
        }
        let config = self.asks.config().await?;
        let says = |part: &str| config[part][IS_NESSIE].as_str() == Some("true");
        let mut traits = self.traits();
        if says("overrides") || says("defaults") {
            traits.keeps_history = Some(false);
        }
        traits.is_asked = true;
        Ok(())
    }

    fn keeps(&self) -> bool {
        self.traits().keeps_history.unwrap_or(true)
    }

    async fn read(&self, location: &Location) -> Result<Value> {
        parse(self.storage.read(location, limits::FILE_BYTES_MAX).await?, location)
    }

    async fn load(&self, ident: &Ident, kept: Option<Kept>) -> Result<Option<Found>> {
        match self.asks.load(ident, kept, &Extent::All).await? {
            Load::Found(found) => Ok(Some(*found)),
            Load::Absent => Ok(None),
            Load::Same => {
                Err(Error::new(Kind::BadUpstream, "the catalog answered 304 to a load without If-None-Match"))
            }
        }
    }

    /// What is found under a name as what was published, which it must be the image of.
    async fn judge(&self, ident: &Ident, found: &Found) -> Result<Pointer> {
        let published = image::published(&found.metadata).filter(|file| file.leads_into(&self.overlay));
        let Some(published) = published else {
            if found.metadata_location.leads_into(&self.overlay) {
                let message = format!(
                    "{ident} in this catalog does not say what it was made of: it was not published by this replica"
                );
                return Err(Error::new(Kind::AlreadyExists, message));
            }
            return pointer_to(&found.metadata, found.metadata_location.clone());
        };
        let wanted = self.read(&published).await?;
        let is_registered = image::is_registered(found, &published);
        self.learn(found, &wanted, is_registered);
        let outdated = BTreeSet::new();
        let aim = Aim { published: &published, wanted: &wanted, outdated: &outdated, keeps_history: self.keeps() };
        let unlike = aim.unlike(found)?;
        if !unlike.is_empty() && is_registered {
            // registered as we said; the rest has yet to be said
            self.unfinished().insert(ident.clone());
        } else if !unlike.is_empty() && !self.is_on_the_way(&aim, &found.metadata).await? {
            let message = format!(
                "{ident} in this catalog is no longer what was published ({} differ): somebody changed it; restore it, or drop it (without purge) to have \
                 it published anew",
                unlike.join(", ")
            );
            return Err(Error::new(Kind::AlreadyExists, message));
        }
        pointer_to(&wanted, published)
    }

    async fn is_on_the_way(&self, aim: &Aim<'_>, found: &Value) -> Result<bool> {
        let Some(next) = image::advancing(found).filter(|file| file.leads_into(&self.overlay)) else {
            return Ok(false);
        };
        let wanted = self.read(&next).await?;
        let outdated = outdated(aim.wanted, &wanted);
        // it may have been begun before it was known that there is no history
        for keeps_history in [aim.keeps_history, true] {
            let next = Aim { published: &next, wanted: &wanted, outdated: &outdated, keeps_history };
            match (Aim { keeps_history, ..*aim }).on_the_way(&next, found)? {
                Way::On => return Ok(true),
                Way::WithoutHistory => {
                    self.traits().keeps_history = Some(false);
                    return Ok(true);
                }
                Way::Off => {}
            }
        }
        Ok(false)
    }

    /// Learns what the catalog keeps from what it holds of something that we gave it.
    fn learn(&self, found: &Found, wanted: &Value, is_given: bool) {
        let says = found.metadata["properties"][image::KEEPS_HISTORY].as_str() == Some("false");
        if says || is_given && found.kept == Kept::Table && image::forgets_history(&found.metadata, wanted) {
            self.traits().keeps_history = Some(false);
        }
    }

    fn remember(&self, ident: &Ident, found: Found, pointer: Pointer) {
        let Found { kept, metadata_location, etag, .. } = found;
        self.known().insert(ident.clone(), Known { kept, etag, metadata_location, pointer });
    }

    /// Writes the published file in a form; what is there already is the same.
    async fn write(&self, form: Form, wanted: &Value, published: &Location) -> Result<Location> {
        let file = form.file(published);
        let bytes =
            serde_json::to_vec(&form.metadata(wanted, published)?).map_err(|e| Error::internal(e.to_string()))?;
        self.storage.write_once(&file, Bytes::from(bytes)).await?;
        Ok(file)
    }

    async fn create(&self, ident: &Ident, to: &Pointer, wanted: &Value) -> Result<()> {
        self.asks.make_namespace(&ident.namespace).await?;
        let overwrites = self.traits().overwrites;
        let form = if overwrites == Some(true) || to.kept == Kept::View { Form::InPlace } else { Form::Housed };
        let file = self.write(form, wanted, &to.metadata_location).await?;
        landed(self.asks.register(ident, to.kept, &file, false).await)?;
        if overwrites.is_none() && to.kept == Kept::Table {
            self.overwrite(ident, to, wanted).await?;
        }
        Ok(())
    }

    /// Registers over what is there. False where the catalog does not do that.
    async fn overwrite(&self, ident: &Ident, to: &Pointer, wanted: &Value) -> Result<bool> {
        let file = self.write(Form::InPlace, wanted, &to.metadata_location).await?;
        match landed(self.asks.register(ident, to.kept, &file, true).await) {
            Ok(()) => {
                self.traits().overwrites = Some(true);
                Ok(true)
            }
            Err(error) if self.traits().overwrites == Some(true) => match error.kind() {
                Kind::AlreadyExists => {
                    Err(Error::commit_failed("the catalog has another state by now").with_source(error))
                }
                _ => Err(error),
            },
            Err(error) if matches!(error.kind(), Kind::AlreadyExists | Kind::Unsupported) => {
                tracing::info!(table.name = %ident, "the catalog does not register over a table; it is advanced by commits");
                self.traits().overwrites = Some(false);
                Ok(false)
            }
            Err(error) if matches!(error.kind(), Kind::BadRequest | Kind::Unprocessable) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Loads back, and commits what is missing, until the table is the image of what is published.
    async fn converge(&self, ident: &Ident, to: &Pointer, wanted: &Value, outdated: &BTreeSet<String>) -> Result<()> {
        let published = &to.metadata_location;
        let mut has_committed = false;
        for _ in 0..ROUNDS_MAX {
            let found = self.load(ident, Some(to.kept)).await?;
            let found = found.ok_or_else(|| Error::commit_failed(format!("{ident} is gone from the catalog")))?;
            let is_registered = image::is_registered(&found, published);
            self.learn(&found, wanted, is_registered || has_committed);
            let aim = Aim { published, wanted, outdated, keeps_history: self.keeps() };
            let unlike = aim.unlike(&found)?;
            if unlike.is_empty() && image::published(&found.metadata).as_ref() == Some(published) {
                self.unfinished().remove(ident);
                self.remember(ident, found, to.clone());
                return Ok(());
            }
            let is_anothers =
                has_committed && unlike.iter().any(|name| name == "refs" || name == "current-snapshot-id");
            if is_anothers {
                return Err(Error::commit_failed(format!("{ident} was changed by somebody else meanwhile")));
            }
            if to.kept == Kept::Table {
                self.may_commit(ident, &found)?;
            } else {
                break;
            }
            for step in aim.steps(&found.metadata)? {
                landed(self.asks.commit(ident, to.kept, &step).await)?;
                has_committed = true;
            }
        }
        let message = format!("the catalog does not hold {ident} as it was published");
        Err(Error::new(Kind::Unprocessable, message))
    }

    /// A catalog that commits writes metadata of its own below the table's location.
    fn may_commit(&self, ident: &Ident, found: &Found) -> Result<()> {
        let location = Location::new(found.metadata["location"].as_str().unwrap_or_default());
        if location.leads_into(&self.overlay) {
            return Ok(());
        }
        let message = format!(
            "the catalog does not register over {ident}, and a commit would have it write below {location}, which is not in the overlay; drop the table \
             (without purge) to have it published anew"
        );
        Err(Error::new(Kind::Unprocessable, message))
    }
}

#[async_trait]
impl SiteCatalog for RestSite {
    async fn published(&self, ident: &Ident) -> Result<Option<Pointer>> {
        self.ask().await?;
        let known = self.known().get(ident).cloned();
        if let Some(known) = &known {
            let extent = known.etag.clone().map_or(Extent::Heads, Extent::Changed);
            match self.asks.load(ident, Some(known.kept), &extent).await? {
                Load::Same => return Ok(Some(known.pointer.clone())),
                Load::Found(found) if found.metadata_location == known.metadata_location => {
                    return Ok(Some(known.pointer.clone()));
                }
                _ => {}
            }
            self.known().remove(ident);
        }
        let Some(found) = self.load(ident, None).await? else { return Ok(None) };
        let pointer = self.judge(ident, &found).await?;
        if pointer.metadata_location.leads_into(&self.overlay) && !self.unfinished().contains(ident) {
            self.remember(ident, found, pointer.clone());
        }
        Ok(Some(pointer))
    }

    async fn publish(&self, ident: &Ident, from: Option<&Pointer>, to: Pointer) -> Result<()> {
        self.ask().await?;
        self.known().remove(ident);
        let wanted = self.read(&to.metadata_location).await?;
        let Some(from) = from else {
            if self.load(ident, None).await?.is_some() {
                return Err(Error::new(Kind::AlreadyExists, format!("{ident} is in the catalog by now")));
            }
            self.create(ident, &to, &wanted).await?;
            return self.converge(ident, &to, &wanted, &BTreeSet::new()).await;
        };
        let found = self.check(ident, from).await?;
        if to.kept == Kept::View {
            let message = "views are registered once: nothing moves a view on in a REST catalog; drop it to have it published anew";
            return Err(Error::new(Kind::Unprocessable, message));
        }
        let outdated = outdated(&self.read(&from.metadata_location).await?, &wanted);
        let may_overwrite = to.kept == Kept::Table && self.traits().overwrites != Some(false);
        if may_overwrite && self.overwrite(ident, &to, &wanted).await? {
            return self.converge(ident, &to, &wanted, &outdated).await;
        }
        self.may_commit(ident, &found)?;
        self.converge(ident, &to, &wanted, &outdated).await
    }

    async fn publish_all(&self, moves: Vec<Move>) -> Result<()> {
        // no REST catalog registers several at once
        for Move { ident, from, to } in moves {
            self.publish(&ident, from.as_ref(), to).await.map_err(|e| e.context(ident.to_string()))?;
        }
        Ok(())
    }

    async fn unpublish(&self, ident: &Ident, from: &Pointer) -> Result<()> {
        self.take_away(ident, from).await
    }

    async fn rename(&self, from: &Ident, pointer: &Pointer, to: &Ident) -> Result<()> {
        self.give(from, pointer, to).await
    }

    async fn namespace(&self, namespace: &Namespace) -> Result<Option<Properties>> {
        self.asks.namespace(namespace).await
    }

    async fn set_namespace(&self, namespace: &Namespace, from: Option<Properties>, to: Properties) -> Result<()> {
        match from {
            Some(from) => self.asks.set_properties(namespace, from, to).await,
            None => self.asks.create_namespace(namespace, &to).await,
        }
    }

    async fn drop_namespace(&self, namespace: &Namespace) -> Result<()> {
        self.asks.drop_namespace(namespace).await
    }

    async fn mend(&self, ident: &Ident) -> Result<()> {
        if !self.unfinished().contains(ident) {
            return Ok(());
        }
        let Some(found) = self.load(ident, None).await? else { return Ok(()) };
        let pointer = self.judge(ident, &found).await?;
        let wanted = self.read(&pointer.metadata_location).await?;
        self.converge(ident, &pointer, &wanted, &BTreeSet::new()).await
    }

    fn keeps_history(&self) -> bool {
        self.keeps()
    }
}

/// The properties that what was published had and what is to be published has not.
fn outdated(before: &Value, after: &Value) -> BTreeSet<String> {
    let names = |metadata: &Value| -> BTreeSet<String> {
        metadata["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    names(before).difference(&names(after)).cloned().collect()
}

/// A write of which nobody can tell whether it landed is judged by what is found afterwards.
fn landed(done: Result<()>) -> Result<()> {
    match done {
        Err(e) if e.kind() == Kind::OutcomeUnknown => Ok(()),
        other => other,
    }
}
