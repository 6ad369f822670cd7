//! New tables and views.

use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::Answer;
use super::objects::taken;
use super::once::Once;
use super::port::{Change, Kept};
use super::{PointerCatalog, check_ident, now_ms, places};
use crate::error::{Error, Kind, Result};
use crate::format::metadata::{METADATA_PATH, PATH_PROPERTIES, table, view};
use crate::model::Ident;
use crate::storage::Location;
use crate::upstream::{Request, Response};

impl PointerCatalog {
    pub(super) async fn create_table(&self, request: &Request, once: Option<&Once>) -> Result<Response> {
        let body = request.json()?;
        let (ident, location, uuid) = self.new_object(request, Kept::Table, &body).await?;
        let metadata = table::create(&body, location.as_str(), &uuid, now_ms())?;
        self.check_paths(&metadata)?;
        if body["stage-create"].as_bool().unwrap_or(false) {
            // nothing is changed, but a repeat must get the same uuid and place
            let answer = Answer::Json(json!({"metadata": metadata, "config": self.client_config}));
            return self.land(Vec::new(), answer, once).await;
        }
        self.create(Kept::Table, ident, &metadata, once).await
    }

    pub(super) async fn create_view(&self, request: &Request, once: Option<&Once>) -> Result<Response> {
        let body = request.json()?;
        let (ident, location, uuid) = self.new_object(request, Kept::View, &body).await?;
        let metadata = view::create(&body, location.as_str(), &uuid, now_ms())?;
        self.check_paths(&metadata)?;
        self.create(Kept::View, ident, &metadata, once).await
    }

    /// The name, place and uuid of something new; refused when the name is taken.
    async fn new_object(&self, request: &Request, kept: Kept, body: &Value) -> Result<(Ident, Location, String)> {
        let name = body["name"].as_str().ok_or_else(|| Error::bad_request("name must be a text"))?;
        let ident = Ident::new(request.namespace()?.clone(), name)?;
        check_ident(&ident)?;
        let uuid = Uuid::new_v4().to_string();
        let default = self.default_location(&ident, &uuid).await?;
        if let Some(pointer) = self.pointers.get(&ident).await? {
            return Err(taken(&ident, kept, pointer.kept));
        }
        let location = match body["location"].as_str() {
            Some(location) if !location.is_empty() => places::requested(location, self.allowed().as_deref())?,
            _ => default,
        };
        Ok((ident, location, uuid))
    }

    /// Where an object goes when nobody says; `NoSuchNamespace` where its namespace is missing.
    pub(super) async fn default_location(&self, ident: &Ident, uuid: &str) -> Result<Location> {
        let properties = self.namespace(&ident.namespace).await?;
        let folder = match properties.get("location").filter(|location| !location.is_empty()) {
            Some(location) => places::requested(location, self.allowed().as_deref())?,
            None => places::namespace_location(&self.warehouse, &ident.namespace),
        };
        Ok(places::default_location(&folder, ident, uuid))
    }

    async fn create(&self, kept: Kept, ident: Ident, metadata: &Value, once: Option<&Once>) -> Result<Response> {
        let _turn = self.locks.take([&ident]).await;
        let metadata_location = places::metadata_location(metadata, None)?;
        let pointer = self.pointer_to(kept, metadata, metadata_location.clone())?;
        let bytes = self.files.write(&metadata_location, metadata).await?;
        let answer = Answer::Load { metadata_location: Some(metadata_location.clone()), metadata: bytes.clone() };
        let change = Change::Create { ident: ident.clone(), pointer };
        let mut landed = self.land(vec![change], answer.clone(), once).await;
        if landed.as_ref().is_err_and(|e| e.kind() == Kind::OutcomeUnknown)
            && self.has_landed(&ident, &metadata_location).await
        {
            landed = answer.into_response(&self.client_config);
        }
        self.settle(&landed, &[(metadata_location, bytes)]).await;
        landed
    }

    /// Refuses metadata that would have us or a client write outside of what is allowed here.
    pub(super) fn check_paths(&self, metadata: &Value) -> Result<()> {
        let allowed = self.allowed();
        let location = metadata["location"].as_str().ok_or_else(|| Error::bad_request("location must be a text"))?;
        places::check(&Location::new(location), allowed.as_deref())?;
        for name in PATH_PROPERTIES {
            // where any place is allowed, only the one that we write to ourselves must be one that we can reach
            let matters = allowed.is_some() || name == METADATA_PATH;
            if let Some(path) = metadata["properties"][name].as_str().filter(|_| matters) {
                places::check(&Location::new(path), allowed.as_deref())?;
            }
        }
        Ok(())
    }
}
