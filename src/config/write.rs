//! A configuration as the shortest file that means the same: only what is not the default.
//!
//! Secrets are never written: a `${VARIABLE}` stands in their place.

use super::schema::{self, Presence};
use super::{Catalog, Config, Source, Upstream, UpstreamAuth, values};

impl Config {
    /// The shortest file for the address and the catalogs of this configuration, which is what `lifeboat init` makes;
    /// authentication, storage and limits are not written.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        if !is_default("listen", &self.listen.to_string()) {
            text.push_str(&format!("listen: {}\n", scalar(&self.listen.to_string())));
        }
        text.push_str("catalogs:\n");
        for (name, catalog) in &self.catalogs {
            text.push_str(&format!("  {}:\n", scalar(name.as_str())));
            text.push_str(&written(catalog));
        }
        text
    }
}

fn written(catalog: &Catalog) -> String {
    let mut text = match &catalog.source {
        Source::Embedded(embedded) => {
            let mut text = "    embedded:\n".to_owned();
            // a file has no password, any other database may have one
            let database = embedded.database.expose();
            let database = if database.starts_with("sqlite:") { database } else { "${LIFEBOAT_DATABASE}" };
            line(&mut text, 6, "database", database);
            line(&mut text, 6, "warehouse", &embedded.warehouse);
            if let Some(restricted) = embedded.restrict_locations {
                line(&mut text, 6, "restrict-locations", if restricted { "true" } else { "false" });
            }
            text
        }
        Source::Upstream(upstream) => upstream_written(upstream),
    };
    let staleness = values::duration_text(catalog.max_staleness);
    if !is_default("catalogs.<name>.max-staleness", &staleness) {
        line(&mut text, 4, "max-staleness", &staleness);
    }
    if !is_default("catalogs.<name>.namespace-separator", &catalog.namespace_separator) {
        line(&mut text, 4, "namespace-separator", &catalog.namespace_separator);
    }
    text
}

fn upstream_written(upstream: &Upstream) -> String {
    let mut text = "    upstream:\n".to_owned();
    line(&mut text, 6, "uri", &upstream.uri);
    if let Some(warehouse) = &upstream.warehouse {
        line(&mut text, 6, "warehouse", warehouse);
    }
    match &upstream.auth {
        UpstreamAuth::None => {}
        UpstreamAuth::Caller => line(&mut text, 6, "auth", "caller"),
        UpstreamAuth::Bearer(_) => {
            text.push_str("      auth:\n");
            line(&mut text, 8, "bearer", "${LIFEBOAT_UPSTREAM_TOKEN}");
        }
        UpstreamAuth::OAuth2(oauth2) => {
            text.push_str("      auth:\n        oauth2:\n");
            line(&mut text, 10, "client-id", &oauth2.client_id);
            line(&mut text, 10, "client-secret", "${LIFEBOAT_UPSTREAM_CLIENT_SECRET}");
            if let Some(uri) = &oauth2.token_uri {
                line(&mut text, 10, "token-uri", uri);
            }
            if !is_default("catalogs.<name>.upstream.auth.oauth2.scope", &oauth2.scope) {
                line(&mut text, 10, "scope", &oauth2.scope);
            }
        }
    }
    text
}

fn line(text: &mut String, indent: usize, key: &str, value: &str) {
    text.push_str(&format!("{:indent$}{key}: {}\n", "", scalar(value)));
}

/// A value in quotes where YAML would take it for something else.
fn scalar(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '$' | '{' | '}' | '=' | '+');
    let safe = value.chars().all(plain)
        && value.starts_with(|c: char| c.is_alphanumeric() || c == '$' || c == '/')
        && !value.ends_with(':');
    if safe { value.to_owned() } else { serde_json::Value::from(value).to_string() }
}

fn is_default(path: &str, value: &str) -> bool {
    matches!(schema::find(path).map(|key| key.presence), Some(Presence::Default(text)) if text == value)
}
