//! Nothing that an upstream says to a client's configuration leads the client around us.
//!
//! What must hold: of a table's answer only `config`, `storage-credentials` and `remote-signing-config` are ever rewritten, only
//! when they hold such a key, and all other bytes stay as they came. Routes of the upstream become ours where we can serve
//! them, else the key is dropped. What the upstream says in `/v1/config` also loses every secret.

use std::ops::Range;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::client::Base;
use super::path::{SIGNER_PARAMETER, encode, is_foreign_signer, our_route};
use super::remote::Remote;
use crate::model::{CatalogName, Ident};
use crate::upstream::members;

const CONFIG: usize = 0;
const CREDENTIALS: usize = 1;
const MEMBERS: [&str; 3] = ["config", "storage-credentials", "remote-signing-config"];

/// The route of old S3 signers when no `s3.signer.endpoint` is given.
const SIGNER_DEFAULT: &str = "v1/aws/s3/sign";
const SIGNER_URIS: [&str; 2] = ["signer.uri", "s3.signer.uri"];
const SIGNER_ENDPOINTS: [&str; 2] = ["signer.endpoint", "s3.signer.endpoint"];
const SIGNING_ENABLED: &str = "s3.remote-signing-enabled";
const REFRESH_SUFFIX: &str = "refresh-credentials-endpoint";

/// Keys of the connection between a client and its catalog: ours to say, not the upstream's.
const CONNECTION: [&str; 11] = [
    "uri",
    "prefix",
    "warehouse",
    "namespace-separator",
    "token",
    "credential",
    "credentials.uri",
    "oauth2-server-uri",
    "scope",
    "audience",
    "resource",
];
const CONNECTION_PREFIXES: [&str; 5] = ["rest.", "header.", "oauth2.", "token-", "urn:ietf:params:oauth"];
/// Parts of keys whose values are secrets.
const SECRET: [&str; 12] = [
    "secret",
    "password",
    "session-token",
    "access-key",
    "sas-token",
    "connection-string",
    "private-key",
    "encryption-key",
    "sse.key",
    "account-key",
    "shared-key",
    "oauth2.token",
];
/// Keys of storage, which is reached directly by design.
const STORAGE_PREFIXES: [&str; 5] = ["s3.", "gcs.", "adls.", "client.", "io-impl"];

/// Rewrites for one upstream's answers to the clients of one of our catalogs.
pub(super) struct Rewrite<'a> {
    pub remote: &'a Remote,
    pub catalog: &'a CatalogName,
    /// The table that is spoken of, if the request says which.
    pub table: Option<Ident>,
}

impl Rewrite<'_> {
    /// A table's, view's or plan's answer. An error when it is no JSON object.
    pub(super) fn answer(&self, body: &Bytes) -> Result<Bytes, serde_json::Error> {
        let mut replacements: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
        for member in members::find(body, &MEMBERS)? {
            let mut value: Value = serde_json::from_slice(&body[member.range.clone()])?;
            let changed = match member.wanted {
                CONFIG => value.as_object_mut().is_some_and(|config| self.table_config(config)),
                CREDENTIALS => self.credentials(&mut value),
                _ => self.signing(&mut value),
            };
            if changed {
                replacements.push((member.range, value.to_string().into_bytes()));
            }
        }
        Ok(members::splice(body, &replacements))
    }

    /// The upstream's `/v1/config` as ours: `endpoints` are `served`.
    pub(super) fn config(&self, served: Vec<String>) -> Value {
        let mut document = self.remote.document.clone();
        for part in ["defaults", "overrides"] {
            let entry = document.entry(part).or_insert_with(|| Value::Object(Map::new()));
            match entry.as_object_mut() {
                Some(config) => {
                    self.table_config(config);
                    config.retain(|key, value| !is_secret(key) && !self.is_ours_to_say(key, value));
                }
                None => *entry = Value::Object(Map::new()),
            }
        }
        document["overrides"]["prefix"] = Value::from(self.catalog.as_str());
        document.insert("endpoints".into(), Value::from(served));
        Value::Object(document)
    }

    /// Whether a value leads to the upstream's host, other than for storage: catalogs name further doors of theirs there.
    fn is_ours_to_say(&self, key: &str, value: &Value) -> bool {
        let storage = STORAGE_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
        let base = value.as_str().filter(|text| is_url(text)).and_then(|url| Base::parse(url.split('?').next()?).ok());
        !storage && base.is_some_and(|base| self.remote.names.iter().any(|name| name.same_origin(&base)))
    }

    fn credentials(&self, value: &mut Value) -> bool {
        let mut changed = false;
        for credential in value.as_array_mut().into_iter().flatten() {
            if let Some(config) = credential.get_mut("config").and_then(Value::as_object_mut) {
                changed |= self.table_config(config);
            }
        }
        changed
    }

    /// Any text in the newer signing configuration that names the upstream's route.
    fn signing(&self, value: &mut Value) -> bool {
        match value {
            Value::Object(object) => {
                let mut changed = false;
                object.retain(|key, value| match value.as_str() {
                    Some(text) if key == "uri" || key.ends_with("-uri") || key.ends_with(".uri") => {
                        let kept = self.relative(text).is_none() && !is_url(text);
                        changed |= !kept;
                        kept
                    }
                    Some(text) if key.ends_with("endpoint") => {
                        changed = true;
                        let route = self.relative(text).and_then(|relative| self.route(&relative, "sign"));
                        route.map(|route| *value = Value::from(route)).is_some()
                    }
                    _ => true,
                });
                object.values_mut().fold(changed, |changed, value| self.signing(value) | changed)
            }
            Value::Array(values) => values.iter_mut().fold(false, |changed, value| self.signing(value) | changed),
            _ => false,
        }
    }

    /// Rewrites one map of configuration; whether anything changed.
    fn table_config(&self, config: &mut Map<String, Value>) -> bool {
        let signer = self.signer(config);
        let mut changed = false;
        let mut signed = false;
        config.retain(|key, value| {
            let kept = if is_connection(key) || SIGNER_URIS.contains(&key.as_str()) {
                None
            } else if SIGNER_ENDPOINTS.contains(&key.as_str()) {
                signed |= signer.is_some();
                signer.clone()
            } else if key.ends_with(REFRESH_SUFFIX) {
                let endpoint = value.as_str().and_then(|text| self.relative(text));
                endpoint.and_then(|relative| self.route(&relative, "credentials"))
            } else {
                return true;
            };
            changed = true;
            match kept {
                Some(route) => {
                    *value = Value::from(route);
                    true
                }
                None => false,
            }
        });
        if let (false, Some(route)) = (signed, signer) {
            config.insert(SIGNER_ENDPOINTS[1].into(), Value::from(route));
            changed = true;
        }
        changed
    }

    /// Our route for the signer that a config names, or leaves to the default.
    fn signer(&self, config: &Map<String, Value>) -> Option<String> {
        let text = |keys: [&str; 2]| keys.iter().find_map(|key| config.get(*key)).and_then(Value::as_str);
        let endpoint = match text(SIGNER_ENDPOINTS) {
            Some(endpoint) => endpoint,
            None if config.get(SIGNING_ENABLED).and_then(Value::as_str) == Some("true") => SIGNER_DEFAULT,
            None => return None,
        };
        let relative = match text(SIGNER_URIS) {
            Some(uri) if !is_url(endpoint) => {
                self.relative(&format!("{}/{}", uri.trim_end_matches('/'), endpoint.trim_start_matches('/')))
            }
            _ => self.relative(endpoint),
        }?;
        self.route(&relative, "sign")
    }

    /// What the upstream means by a URL or a relative endpoint: a path from `v1/` on; `None` when it is somewhere else.
    fn relative(&self, endpoint: &str) -> Option<String> {
        if is_url(endpoint) {
            return self.remote.names.iter().find_map(|name| name.strip(endpoint));
        }
        Some(endpoint.trim_start_matches('/').to_owned()).filter(|path| path.starts_with("v1/"))
    }

    /// Our route in place of the upstream's `relative` one.
    fn route(&self, relative: &str, leaf: &str) -> Option<String> {
        let (path, query) = match relative.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (relative, None),
        };
        if let Some(ident) = self.remote.paths.table_of(path, leaf) {
            let ours = our_route(self.catalog.as_str(), &ident, leaf);
            return Some(query.map_or_else(|| ours.clone(), |query| format!("{ours}?{query}")));
        }
        let table = self.table.as_ref().filter(|_| leaf == "sign" && is_foreign_signer(path))?;
        let ours = our_route(self.catalog.as_str(), table, leaf);
        Some(format!("{ours}?{SIGNER_PARAMETER}={}", encode(relative)))
    }
}

fn is_url(text: &str) -> bool {
    let start = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    start.starts_with("http://") || start.starts_with("https://")
}

fn is_connection(key: &str) -> bool {
    CONNECTION.contains(&key) || CONNECTION_PREFIXES.iter().any(|p| key.starts_with(p))
}

/// Whether a key of a client's configuration holds a secret, by its name.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET.iter().any(|part| key.contains(part))
}
