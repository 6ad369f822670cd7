//! The two namings of one storage, and single values in either of them.
//!
//! What must hold: only what is known to be a location is mapped, and what no pair covers stays as it is.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::format::location::LocationMap;
use crate::format::metadata::PATH_PROPERTIES;
use crate::format::relocate::TRANSFORM_VERSION;
use crate::storage::Location;

/// Bytes of the digest by which one naming is told from another.
const TAG_BYTES: usize = 6;

/// How clients and the upstream name the same places.
#[derive(Debug, Clone)]
pub struct ClientLocationsSettings {
    /// From the upstream's naming to the clients'.
    pub map: LocationMap,
    /// Where metadata relocated for clients is written, in their naming.
    pub overlay: Location,
    /// Where clients' commits are relocated to, in the upstream's naming; without it beside what the client wrote.
    pub upstream_overlay: Option<Location>,
}

/// Which way a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the upstream to a client.
    Down,
    /// From a client to the upstream.
    Up,
}

/// The maps of both ways.
#[derive(Debug)]
pub(super) struct Naming {
    pub down: Arc<LocationMap>,
    pub up: Arc<LocationMap>,
    pub overlay: Location,
    pub upstream_overlay: Option<Location>,
    /// Another one whenever the same answer of the upstream would be told otherwise.
    pub tag: String,
}

impl Naming {
    /// Refuses a map without a way back, and overlays in the wrong naming.
    pub fn new(settings: ClientLocationsSettings) -> Result<Self> {
        let ClientLocationsSettings { map: down, overlay, upstream_overlay } = settings;
        let up = down.inverse()?;
        overlay.check()?;
        if down.covers(overlay.as_str()) && !up.covers(overlay.as_str()) {
            return Err(Error::bad_request(format!(
                "the overlay {overlay} is in the upstream's naming: write it as clients name it"
            )));
        }
        if let Some(place) = &upstream_overlay {
            place.check()?;
            if up.covers(place.as_str()) && !down.covers(place.as_str()) {
                return Err(Error::bad_request(format!(
                    "the upstream-overlay {place} is in the clients' naming: write it as the upstream names it"
                )));
            }
        }
        let digest = Sha256::digest(format!("{}{overlay}\n{TRANSFORM_VERSION}", down.signature()));
        let tag = digest[..TAG_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Naming { down: Arc::new(down), up: Arc::new(up), overlay, upstream_overlay, tag })
    }

    /// A location in the other naming; one that no pair covers stays as it is.
    pub fn text(&self, way: Way, text: &str) -> Result<String> {
        let map = match way {
            Way::Down => &self.down,
            Way::Up => &self.up,
        };
        if map.covers(text) { Ok(map.map(text)?.into_owned()) } else { Ok(text.to_owned()) }
    }

    /// Maps a value that is a text; whether it changed.
    pub fn value(&self, way: Way, value: Option<&mut Value>) -> Result<bool> {
        let Some(Value::String(text)) = value else { return Ok(false) };
        let mapped = self.text(way, text)?;
        let changed = mapped != *text;
        *text = mapped;
        Ok(changed)
    }

    /// A table's or view's properties that hold locations.
    pub fn properties(&self, way: Way, properties: Option<&mut Value>) -> Result<bool> {
        let properties = properties.and_then(Value::as_object_mut);
        self.values(way, properties, |key| PATH_PROPERTIES.contains(&key))
    }

    /// A namespace's properties.
    pub fn namespace(&self, way: Way, properties: Option<&mut Value>) -> Result<bool> {
        self.values(way, properties.and_then(Value::as_object_mut), |key| key == "location")
    }

    /// A client's configuration: the warehouse, and defaults and overrides of tables' path properties.
    pub fn config(&self, config: Option<&mut Value>) -> Result<bool> {
        let held = |key: &str| {
            key == "warehouse"
                || PATH_PROPERTIES.iter().any(|name| key == *name || key.ends_with(&format!("-default.{name}")))
                || PATH_PROPERTIES.iter().any(|name| key.ends_with(&format!("-override.{name}")))
        };
        self.values(Way::Down, config.and_then(Value::as_object_mut), held)
    }

    /// The places that storage credentials are for, and their configuration.
    pub fn credentials(&self, credentials: &mut Value) -> Result<bool> {
        let mut changed = false;
        for credential in credentials.as_array_mut().into_iter().flatten() {
            changed |= self.value(Way::Down, credential.get_mut("prefix"))?;
            changed |= self.config(credential.get_mut("config"))?;
        }
        Ok(changed)
    }

    /// Whether a client names a file of the overlay.
    pub fn is_in_overlay(&self, path: &str) -> bool {
        Location::new(path).is_under(&self.overlay)
    }

    fn values(&self, way: Way, values: Option<&mut Map<String, Value>>, held: impl Fn(&str) -> bool) -> Result<bool> {
        let mut changed = false;
        for (_, value) in values.into_iter().flatten().filter(|(key, _)| held(key)) {
            changed |= self.value(way, Some(value))?;
        }
        Ok(changed)
    }
}
