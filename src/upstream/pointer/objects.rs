//! What tables and views have in common: list, load, exist, drop, rename, register.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::Answer;
use super::once::Once;
use super::paging::Paging;
use super::port::{Change, Kept, Page, Pointer};
use super::{PointerCatalog, check_ident, files, places};
use crate::error::{Error, Kind, Result};
use crate::format::metadata::{table, view};
use crate::model::{Ident, Namespace, hex};
use crate::storage::Location;
use crate::upstream::{Request, Response};

/// How often a drop is tried again after a commit came first.
const DROP_ATTEMPTS_MAX: u32 = 10;

impl PointerCatalog {
    pub(super) async fn list(&self, request: &Request, kept: Kept) -> Result<Response> {
        let namespace = request.namespace()?;
        self.namespace(namespace).await?;
        let paging = Paging::of(request)?;
        let page = Page { after: &paging.after, count_max: paging.count_max + 1 };
        let (names, next) = paging.cut(self.pointers.list(namespace, kept, page).await?, String::clone);
        let identifiers: Vec<Value> = names.iter().map(|name| json!({"namespace": namespace, "name": name})).collect();
        let mut body = json!({"identifiers": identifiers});
        if let Some(token) = next {
            body["next-page-token"] = json!(token);
        }
        Ok(Response::json(&body))
    }

    pub(super) async fn exists(&self, request: &Request, kept: Kept) -> Result<Response> {
        self.pointer(request.ident()?, kept).await?;
        Ok(Response::no_content())
    }

    pub(super) async fn load(&self, request: &Request, kept: Kept) -> Result<Response> {
        let pointer = self.pointer(request.ident()?, kept).await?;
        let refs_only = match request.query("snapshots") {
            None | Some("" | "all") => false,
            Some("refs") => kept == Kept::Table,
            Some(other) => return Err(Error::bad_request(format!("snapshots={other:?} is neither all nor refs"))),
        };
        let etag = self.etag(request, &pointer.metadata_location, refs_only);
        // before the tag is believed: a file that somebody took away must not look unchanged
        let metadata = match refs_only {
            false => self.files.read(&pointer.metadata_location).await?,
            true => self.files.read_refs_only(&pointer.metadata_location).await?,
        };
        if request.header("if-none-match").is_some_and(|known| known.split(',').any(|k| k.trim() == etag)) {
            let mut response = Response::no_content();
            response.status = http::StatusCode::NOT_MODIFIED;
            return Ok(with_etag(response, &etag));
        }
        let answer = Answer::Load { metadata_location: Some(pointer.metadata_location), metadata };
        Ok(with_etag(answer.into_response(&self.client_config)?, &etag))
    }

    /// What a load result is known by: the metadata shown, how much of it, what is sent beside it, and to whom.
    fn etag(&self, request: &Request, metadata_location: &Location, refs_only: bool) -> String {
        let mut hasher = Sha256::new();
        for part in [metadata_location.as_str(), request.principal.name(), &self.client_config_text] {
            hasher.update(part.as_bytes());
            hasher.update([0]);
        }
        hasher.update([u8::from(refs_only)]);
        format!("\"{}\"", hex(&hasher.finalize()[..16]))
    }

    pub(super) async fn drop(&self, request: &Request, kept: Kept, once: Option<&Once>) -> Result<Response> {
        let ident = request.ident()?;
        let _turn = self.locks.take([ident]).await;
        let asked = request.query("purgeRequested").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        for attempt in 1.. {
            let from = self.pointer(ident, kept).await?;
            let purge = asked && kept == Kept::Table && self.may_purge(&from).await?;
            let change = Change::Drop { ident: ident.clone(), from, purge };
            match self.land(vec![change], Answer::NoContent, once).await {
                // another server has committed to it: it is to go all the same
                Err(error) if error.kind() == Kind::CommitFailed && attempt < DROP_ATTEMPTS_MAX => {}
                other => return other,
            }
        }
        Err(Error::internal("unreachable: the last attempt returns"))
    }

    /// Whether there is something to purge; an error when the table forbids it.
    async fn may_purge(&self, pointer: &Pointer) -> Result<bool> {
        let metadata = match self.files.read_json(&pointer.metadata_location).await {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == Kind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if metadata["properties"]["gc.enabled"].as_str() == Some("false") {
            let message = "Cannot purge table: GC is disabled (gc.enabled=false); drop it without purge, or set gc.enabled to true";
            return Err(Error::bad_request(message));
        }
        Ok(true)
    }

    pub(super) async fn rename(&self, request: &Request, kept: Kept, once: Option<&Once>) -> Result<Response> {
        let body = request.json()?;
        let from = ident(&body["source"], "source")?;
        let to = ident(&body["destination"], "destination")?;
        self.namespace(&from.namespace).await?;
        self.pointer(&from, kept).await?;
        self.namespace(&to.namespace).await?;
        let _turn = self.locks.take([&from, &to]).await;
        if let Some(there) = self.pointers.get(&to).await? {
            let message = format!("Cannot rename {from} to {to}. {} already exists", noun(there.kept));
            return Err(Error::new(Kind::AlreadyExists, message));
        }
        self.land(vec![Change::Rename { kept, from, to }], Answer::NoContent, once).await
    }

    /// Register: a metadata file that somebody else wrote becomes a table or view.
    pub(super) async fn register(&self, request: &Request, kept: Kept, once: Option<&Once>) -> Result<Response> {
        let namespace = request.namespace()?;
        self.namespace(namespace).await?;
        let body = request.json()?;
        let text = |key: &str| body[key].as_str().ok_or_else(|| Error::bad_request(format!("{key} must be a text")));
        let ident = Ident::new(namespace.clone(), text("name")?)?;
        check_ident(&ident)?;
        let metadata_location = Location::new(text("metadata-location")?);
        places::check(&metadata_location, self.allowed().as_deref())?;
        let bytes = self.files.read_anew(&metadata_location).await?;
        let metadata = files::parse(&bytes, &metadata_location)?;
        match kept {
            Kept::Table => table::validate(&metadata),
            Kept::View => view::validate(&metadata),
        }
        .map_err(|e| Error::bad_request(format!("{metadata_location} cannot be registered: {}", e.message())))?;
        self.check_paths(&metadata)?;
        let pointer = self.pointer_to(kept, &metadata, metadata_location.clone())?;
        let _turn = self.locks.take([&ident]).await;
        let overwrite = body["overwrite"].as_bool().unwrap_or(false);
        let change = match self.pointers.get(&ident).await? {
            Some(current) if overwrite && current.kept == kept => {
                Change::Swap { ident, from: current.metadata_location, to: pointer }
            }
            Some(current) => return Err(taken(&ident, kept, current.kept)),
            None => Change::Create { ident, pointer },
        };
        let answer = Answer::Load { metadata_location: Some(metadata_location), metadata: bytes };
        self.land(vec![change], answer, once).await
    }

    /// A pointer of a kind; a name of the other kind is as good as none.
    pub(super) async fn pointer(&self, ident: &Ident, kept: Kept) -> Result<Pointer> {
        match self.pointers.get(ident).await? {
            Some(pointer) if pointer.kept == kept => Ok(pointer),
            _ => {
                // as Java answers: a missing namespace is a missing table, but creating there names the namespace
                let kind = if kept == Kept::Table { Kind::NoSuchTable } else { Kind::NoSuchView };
                Err(Error::new(kind, format!("{} does not exist: {ident}", noun(kept))))
            }
        }
    }

    /// The pointer to metadata at a place.
    pub(super) fn pointer_to(&self, kept: Kept, metadata: &Value, metadata_location: Location) -> Result<Pointer> {
        let uuid = metadata[match kept {
            Kept::Table => "table-uuid",
            Kept::View => "view-uuid",
        }]
        .as_str()
        .unwrap_or_default();
        let location =
            metadata["location"].as_str().ok_or_else(|| Error::bad_request("the metadata has no location"))?;
        Ok(Pointer { kept, uuid: uuid.to_owned(), location: Location::new(location), metadata_location })
    }
}

/// The error for a name that should become `wanted` and is in use, in Iceberg's words.
pub(super) fn taken(ident: &Ident, wanted: Kept, there: Kept) -> Error {
    let how = if wanted == there { "" } else { " with same name" };
    Error::new(Kind::AlreadyExists, format!("{}{how} already exists: {ident}", noun(there)))
}

/// The word that Iceberg's messages begin with.
fn noun(kept: Kept) -> &'static str {
    match kept {
        Kept::Table => "Table",
        Kept::View => "View",
    }
}

/// An identifier of a request body.
pub(super) fn ident(value: &Value, what: &str) -> Result<Ident> {
    let ident: Ident = serde_json::from_value(value.clone())
        .map_err(|_| Error::bad_request(format!("{what} must have a namespace (a list of texts) and a name")))?;
    let namespace = Namespace::new(ident.namespace.levels().to_vec())?;
    let ident = Ident::new(namespace, ident.name)?;
    check_ident(&ident)?;
    Ok(ident)
}

fn with_etag(mut response: Response, etag: &str) -> Response {
    if let Ok(value) = http::HeaderValue::from_str(etag) {
        response.headers.insert(http::header::ETAG, value);
    }
    response
}
