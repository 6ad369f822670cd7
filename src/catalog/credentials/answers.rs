//! Answers at a standby: which places a table names, and what an answer says of credentials.
//!
//! What must hold: only members that hold credentials are written anew; no place is opened on the word of replicated metadata alone.

use std::ops::Range;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Given, Scope, SiteCredentialsSettings};
use crate::error::{Error, Kind, Result};
use crate::format::metadata::PATH_PROPERTIES;
use crate::storage::{Location, SessionKeys, Vended};
use crate::upstream::members;
use crate::upstream::rest::is_secret;

/// Where a client gets new credentials before the old ones end.
pub(super) const REFRESH_ENDPOINT: &str = "client.refresh-credentials-endpoint";
/// What all such keys end with, whatever the store.
const REFRESH_SUFFIX: &str = "refresh-credentials-endpoint";
/// Keys by which a client proves who it is at a catalog.
const CATALOG_SECRETS: [&str; 2] = ["token", "credential"];
/// What a table's properties say to a client's storage begins with one of these.
const STORAGE_PREFIXES: [&str; 4] = ["s3.", "gcs.", "adls.", "client."];

/// What is put into a load's answer.
pub(super) struct Answered {
    /// Into `config`, for clients that look nowhere else.
    config: Map<String, Value>,
    credentials: Vec<Value>,
}

impl Answered {
    pub(super) fn new(vended: &[Vended], refresh: Option<String>) -> Self {
        let mut config = vended.first().map(|first| config_of(&first.keys)).unwrap_or_default();
        config.extend(refresh.map(|route| (REFRESH_ENDPOINT.to_owned(), Value::from(route))));
        // one a place: a client that scopes a single one by the table's location would not reach the overlay with it
        Answered { config, credentials: vended.iter().flat_map(by_place).collect() }
    }
}

pub(super) fn by_place(vended: &Vended) -> impl Iterator<Item = Value> {
    // with the slash: a neighbour's name may begin with all of this one
    let prefix = |place: &Location| format!("{}/", place.as_str().trim_end_matches('/'));
    vended.places.iter().map(move |place| json!({"prefix": prefix(place), "config": config_of(&vended.keys)}))
}

pub(super) fn config_of(keys: &SessionKeys) -> Map<String, Value> {
    let expires_ms = keys.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let entries = [
        ("s3.access-key-id", keys.access_key_id.expose().to_owned()),
        ("s3.secret-access-key", keys.secret_access_key.expose().to_owned()),
        ("s3.session-token", keys.session_token.expose().to_owned()),
        ("s3.session-token-expires-at-ms", expires_ms.to_string()),
    ];
    entries.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect()
}

impl SiteCredentialsSettings {
    /// The places at this site that a table names: its location, those of its properties, and the folder of its metadata.
    pub(super) fn places(&self, body: &Bytes) -> Result<Vec<Location>> {
        let (mut places, mut is_replicated) = (Vec::new(), false);
        for member in members::find(body, &["metadata", "metadata-location"]).map_err(no_answer)? {
            let value = body.slice(member.range);
            if member.wanted == 0 {
                self.places_of_metadata(&value, &mut places)?;
                continue;
            }
            let location: Option<String> = serde_json::from_slice(&value).map_err(no_answer)?;
            let folder = location.as_ref().and_then(|location| location.rsplit_once('/'));
            if let Some(folder) = folder.map(|(folder, _)| Location::new(folder)) {
                is_replicated |= folder.leads_into(&self.overlay);
                places.push(folder);
            }
        }
        // what leads nowhere may not be compared
        places.retain(|place| place.check().is_ok());
        match (self.scope, &self.own) {
            (Scope::Standby, _) if is_replicated => {
                Ok(self.replicated.iter().chain([&self.overlay]).cloned().collect())
            }
            (_, Some(own)) if !is_replicated => Ok(places.into_iter().filter(|it| it.leads_into(own)).collect()),
            _ => Ok(places.into_iter().filter(|place| is_replicated && self.is_open(place)).collect()),
        }
    }

    fn places_of_metadata(&self, metadata: &Bytes, places: &mut Vec<Location>) -> Result<()> {
        for member in members::find(metadata, &["location", "properties"]).map_err(no_answer)? {
            let value: Value = serde_json::from_slice(&metadata[member.range]).map_err(no_answer)?;
            let named = match member.wanted {
                0 => vec![&value],
                _ => PATH_PROPERTIES.iter().filter_map(|key| value.get(*key)).collect(),
            };
            places.extend(named.into_iter().filter_map(Value::as_str).map(Location::new));
        }
        Ok(())
    }

    /// Whether a replicated table may have a place opened: what its metadata says is somebody else's word.
    fn is_open(&self, place: &Location) -> bool {
        let is_its_overlay = place.leads_into(&self.overlay) && !self.overlay.leads_into(place);
        is_its_overlay || self.replicated.iter().any(|root| place.leads_into(root))
    }

    /// A load's answer with this site's credentials, or with none.
    pub(super) fn changed(&self, body: &Bytes, given: Option<&Answered>) -> Result<Bytes> {
        const MEMBERS: [&str; 3] = ["config", "storage-credentials", "metadata"];
        let mut edits: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
        let mut missing = given.map(|_| [true; 2]).unwrap_or_default();
        for member in members::find(body, &MEMBERS).map_err(no_answer)? {
            let value = &body[member.range.clone()];
            match member.wanted {
                0 => {
                    missing[0] = false;
                    edits.extend(self.config_edit(value, given)?.map(|new| (member.range.clone(), new)));
                }
                1 => {
                    missing[1] = false;
                    let new = given.map_or(json!([]), |given| json!(given.credentials)).to_string();
                    edits.extend((value != new.as_bytes()).then_some((member.range.clone(), new.into_bytes())));
                }
                _ => edits.extend(properties_edits(body, member.range.clone())?),
            }
        }
        if let Some(given) = given {
            let end = body.iter().rposition(|byte| *byte == b'}').unwrap_or_default();
            let mut new = String::new();
            if missing[0] {
                new.push_str(&format!(",\"config\":{}", json!(given.config)));
            }
            if missing[1] {
                new.push_str(&format!(",\"storage-credentials\":{}", json!(given.credentials)));
            }
            edits.push((end..end, new.into_bytes()));
        }
        Ok(members::splice(body, &edits))
    }

    fn config_edit(&self, value: &[u8], given: Option<&Answered>) -> Result<Option<Vec<u8>>> {
        let config: Option<Map<String, Value>> = serde_json::from_slice(value).map_err(no_answer)?;
        let mut config = config.unwrap_or_default();
        let mut changed = self.strip(&mut config);
        if let Some(given) = given {
            config.extend(given.config.clone());
            changed = true;
        }
        Ok(changed.then(|| Value::Object(config).to_string().into_bytes()))
    }

    /// Takes out what is not this site's; whether there was anything.
    pub(super) fn strip(&self, config: &mut Map<String, Value>) -> bool {
        let before = config.len();
        config.retain(|key, value| {
            !is_credential(key)
                || matches!(&self.given, Given::ClientConfig(site) if site.get(key).is_some_and(|own| *value == own.as_str()))
        });
        config.len() != before
    }
}

/// Credentials among a table's own properties, which some clients take for configuration.
fn properties_edits(body: &Bytes, metadata: Range<usize>) -> Result<Vec<(Range<usize>, Vec<u8>)>> {
    let start = metadata.start;
    let Ok(found) = members::find(&body[metadata], &["properties"]) else { return Ok(Vec::new()) };
    let ranges = found.into_iter().map(|member| start + member.range.start..start + member.range.end);
    let is_of_storage = |key: &str| STORAGE_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
    edits(body, ranges, |properties| {
        let before = properties.len();
        properties.retain(|key, _| !(is_of_storage(key) && is_credential(key)));
        properties.len() != before
    })
}

/// The objects at these ranges, where `change` says that it changed them.
fn edits(
    body: &Bytes,
    ranges: impl Iterator<Item = Range<usize>>,
    change: impl Fn(&mut Map<String, Value>) -> bool,
) -> Result<Vec<(Range<usize>, Vec<u8>)>> {
    let mut edits = Vec::new();
    for range in ranges {
        let object: Option<Map<String, Value>> = serde_json::from_slice(&body[range.clone()]).map_err(no_answer)?;
        let mut object = object.unwrap_or_default();
        if change(&mut object) {
            edits.push((range, Value::Object(object).to_string().into_bytes()));
        }
    }
    Ok(edits)
}

pub(super) fn edit(
    body: &Bytes,
    ranges: impl Iterator<Item = Range<usize>>,
    change: impl Fn(&mut Map<String, Value>) -> bool,
) -> Result<Bytes> {
    Ok(members::splice(body, &edits(body, ranges, change)?))
}

fn is_credential(key: &str) -> bool {
    is_secret(key) || key.ends_with(REFRESH_SUFFIX) || CATALOG_SECRETS.contains(&key)
}

pub(super) fn no_answer(error: serde_json::Error) -> Error {
    Error::new(Kind::BadUpstream, "the catalog's answer is no JSON object").with_source(error)
}
