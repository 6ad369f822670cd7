//! The second pass over a configuration: values become a [`Config`], and how they belong together is checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use percent_encoding::percent_decode_str;

use crate::format::location::LocationMap;
use crate::model::{CatalogName, Secret};

use super::problem::Problem;
use super::section::{Reading, Section};
use super::yaml::Node;
use super::{
    Catalog, ClientLocations, Config, Embedded, Environment, Keys, Limits, Log, LogFormat, OAuth2, Replica, Source,
    Storage, Tls, Upstream, UpstreamAuth, append, auth, maintenance, replica, values,
};

/// Reads a checked tree. `None` only if there are problems.
pub(super) fn config(tree: &Node, environment: &Environment<'_>, problems: &mut Vec<Problem>) -> Option<Config> {
    let reading = Reading::new(environment, problems);
    let root = Section::open(&reading, tree, 1, "", "");
    let catalogs = catalogs(&root, environment);
    let auth = root.child_if_there("auth").map(|section| auth::auth(&reading, &section, catalogs.as_ref()));
    let listen = root.text("listen").and_then(|text| values::address(text).ok());
    let judged = catalogs.as_ref().is_some_and(|catalogs| catalogs.values().all(Catalog::is_judged_upstream));
    if let Some(listen) = listen.filter(|_| !root.has("auth") && !judged) {
        closed_enough(listen, |message| root.note("listen", message));
    }
    let tls = root.child_if_there("tls").map(|section| tls(&section));
    let log = log(&root.child("log"));
    let metrics_open = root.child("metrics").flag("open");
    let limits = limits(&root.child("limits"));
    let storage = storage(&root);
    let state = root.child_if_there("state").map(|section| database(&section, environment));
    append::check_state(&root, catalogs.as_ref());
    Some(Config {
        listen: listen?,
        tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
        auth: auth.map_or(Some(None), |auth| auth.map(Some))?,
        log: log?,
        metrics_open: metrics_open?,
        limits: limits?,
        storage: storage?,
        state: state.map_or(Some(None), |state| state.map(Some))?,
        catalogs: catalogs?,
    })
}

/// A configuration of one catalog and nothing else, from command-line flags.
pub(super) fn single(
    name: &str,
    source: Source,
    listen: Option<SocketAddr>,
    problems: &mut Vec<Problem>,
) -> Option<Config> {
    let environment = Environment::new(&|_| None, ".");
    let reading = Reading::new(&environment, problems);
    let root = Section::absent(&reading, "");
    let listen = listen.or_else(|| root.text("listen").and_then(|text| values::address(text).ok()))?;
    closed_enough(listen, |message| reading.note(0, "--listen", message));
    let settings = Section::absent(&reading, "catalogs.<name>");
    let catalog = catalog(&settings, source)?;
    let name = CatalogName::parse(name).ok()?;
    Some(Config {
        listen,
        tls: None,
        auth: None,
        log: log(&root.child("log"))?,
        metrics_open: root.child("metrics").flag("open")?,
        limits: limits(&root.child("limits"))?,
        storage: Vec::new(),
        state: None,
        catalogs: BTreeMap::from([(name, catalog)]),
    })
}

/// An upstream with all its defaults, from command-line flags.
pub(super) fn plain_upstream(uri: &str, warehouse: Option<&str>, problems: &mut Vec<Problem>) -> Option<Upstream> {
    let uri = match values::uri(uri, &["http", "https"]) {
        Ok(uri) => base(&uri),
        Err(message) => {
            problems.push(Problem::new(0, "--upstream", message));
            return None;
        }
    };
    let environment = Environment::new(&|_| None, ".");
    let reading = Reading::new(&environment, problems);
    let section = Section::absent(&reading, "catalogs.<name>.upstream");
    upstream(&section, uri, warehouse.map(str::to_owned), UpstreamAuth::None)
}

/// Anywhere but loopback, a server without authentication is open to everybody.
pub(super) fn closed_enough(listen: SocketAddr, note: impl FnOnce(String)) {
    if !listen.ip().is_loopback() {
        note(format!(
            "{listen} can be reached from other machines, and nobody has to prove who they are: add \"auth\" to the \
             configuration, or listen on 127.0.0.1:{}",
            listen.port()
        ));
    }
}

fn tls(section: &Section<'_>) -> Option<Tls> {
    for name in ["certificate", "key"] {
        if let Some(path) = section.path(name).filter(|path| !path.is_file()) {
            section.note(name, format!("there is no file {}: write the path of a PEM file", path.display()));
        }
    }
    Some(Tls { certificate: section.path("certificate")?, key: section.path("key")? })
}

fn log(section: &Section<'_>) -> Option<Log> {
    let format = if section.text("format") == Some("json") { LogFormat::Json } else { LogFormat::Plain };
    Some(Log { format, level: section.text("level")?.to_owned(), requests: section.flag("requests")? })
}

fn limits(section: &Section<'_>) -> Option<Limits> {
    let (body_bytes, bodies_bytes) = (section.size("body-bytes")?, section.size("bodies-bytes")?);
    if bodies_bytes < body_bytes {
        section
            .note("bodies-bytes", "is smaller than \"body-bytes\", so that no large request could run: make it larger");
    }
    Some(Limits {
        body_bytes,
        bodies_bytes,
        concurrent_requests: section.integer("concurrent-requests")?,
        connections: section.integer("connections")?,
        answer_timeout: section.duration("answer-timeout")?,
        stop_timeout: section.duration("stop-timeout")?,
        cache_bytes: section.size("cache-bytes")?,
        upstream_body_bytes: section.size("upstream-body-bytes")?,
        idempotency_lifetime: section.duration("idempotency-lifetime")?,
    })
}

fn storage(root: &Section<'_>) -> Option<Vec<Storage>> {
    let mut places: Vec<Storage> = Vec::new();
    for section in root.list("storage") {
        let keys = keys(&section);
        let place = (|| {
            Some(Storage {
                prefix: section.uri("prefix")?,
                endpoint: section.uri("endpoint"),
                region: section.text("region").map(str::to_owned),
                keys: keys?,
                path_style: section.flag("path-style")?,
            })
        })();
        let Some(place) = place else { continue };
        if places.iter().any(|other| other.prefix == place.prefix) {
            section.note("prefix", format!("{:?} is given twice: keep one of them", place.prefix));
        }
        places.push(place);
    }
    Some(places)
}

/// The keys of a store: `Some(None)` if it has none, `None` if something is wrong with them.
fn keys(section: &Section<'_>) -> Option<Option<Keys>> {
    let there = |name: &str| section.has(name) || section.has(&format!("{name}-file"));
    match (there("access-key-id"), there("secret-access-key")) {
        (false, false) => Some(None),
        (true, false) => {
            section.note("access-key-id", "is given without \"secret-access-key\": write both or neither");
            None
        }
        (false, true) => {
            section.note("secret-access-key", "is given without \"access-key-id\": write both or neither");
            None
        }
        (true, true) => {
            let (id, key) = (section.secret("access-key-id"), section.secret("secret-access-key"));
            Some(Some(Keys { access_key_id: id?, secret_access_key: key? }))
        }
    }
}

fn catalogs(root: &Section<'_>, environment: &Environment<'_>) -> Option<BTreeMap<CatalogName, Catalog>> {
    let mut catalogs = BTreeMap::new();
    let mut whole = root.has("catalogs");
    let named = root.named("catalogs");
    if named.is_empty() && whole {
        root.note("catalogs", "names no catalog: write at least one, such as \"main: { embedded: … }\"");
    }
    for (name, section) in named {
        let source = source(&section, environment);
        let parsed = match CatalogName::parse(name) {
            Ok(name) => Some(name),
            Err(error) => {
                section.note("", error.message());
                None
            }
        };
        match parsed.zip(source.and_then(|source| catalog(&section, source))) {
            Some((name, catalog)) => drop(catalogs.insert(name, catalog)),
            None => whole = false,
        }
    }
    for (name, section) in root.named("catalogs") {
        let asked = catalogs.iter().find(|(known, _)| known.as_str() == name);
        let asked = asked.and_then(|(_, catalog)| catalog.replica.as_ref()?.primary_catalog.clone());
        let can_be_asked = |asked: &String| {
            let catalog = catalogs.iter().find(|(known, _)| known.as_str() == asked).map(|(_, catalog)| catalog);
            catalog
                .is_some_and(|catalog| matches!(catalog.source, Source::Upstream(_)) && !catalog.is_judged_upstream())
        };
        if let Some(asked) = asked.filter(|asked| !can_be_asked(asked)) {
            let message = format!(
                "{asked:?} must be a catalog of this configuration with \"upstream\", and not with \"auth: caller\""
            );
            section.note("replica.primary-catalog", message);
        }
    }
    whole.then_some(catalogs)
}

fn catalog(section: &Section<'_>, source: Source) -> Option<Catalog> {
    let separator = section.text("namespace-separator")?;
    let decoded = percent_decode_str(separator).decode_utf8().unwrap_or_default();
    if decoded.is_empty() || decoded.contains(['/', '?', '#', '\0']) {
        let message = format!("{separator:?} cannot separate the levels of a namespace: write \"%1F\" or \".\"");
        section.note("namespace-separator", message);
    }
    Some(Catalog {
        client_config: section.texts("client-config"),
        client_locations: match section.child_if_there("client-locations") {
            Some(section) => Some(client_locations(&section)?),
            None => None,
        },
        journal: journal_of(section),
        maintenance: maintenance::policies(
            section,
            matches!(&source, Source::Upstream(upstream) if upstream.auth == UpstreamAuth::Caller),
        ),
        replica: replica_of(section, &source)?,
        append: append::append(section, &source)?,
        source,
        max_staleness: section.duration("max-staleness")?,
        namespace_separator: separator.to_owned(),
    })
}

fn journal_of(section: &Section<'_>) -> Option<String> {
    let journal = section.folder("journal")?;
    if section.has("replica") {
        section.note("journal", "is written at the primary: a standby reads it, so write it as \"replica.journal\"");
    }
    Some(journal)
}

/// `None` if something is wrong with it.
fn replica_of(section: &Section<'_>, source: &Source) -> Option<Option<Replica>> {
    let Some(child) = section.child_if_there("replica") else { return Some(None) };
    if matches!(source, Source::Upstream(upstream) if upstream.auth == UpstreamAuth::Caller) {
        child.note(
            "",
            "and \"auth: caller\" exclude each other: a replica publishes by itself, so give Lifeboat credentials of its own (bearer or oauth2)",
        );
    }
    if section.has("client-locations") {
        child.note(
            "",
            "and \"client-locations\" exclude each other: the replica's map says where clients find the files",
        );
    }
    replica::replica(&child).map(Some)
}

fn client_locations(section: &Section<'_>) -> Option<ClientLocations> {
    let pairs = section.list("map");
    let pair = |pair: &Section<'_>| Some((pair.text("upstream")?.to_owned(), pair.text("client")?.to_owned()));
    let map: Vec<(String, String)> = pairs.iter().filter_map(pair).collect();
    if pairs.is_empty() && section.has("map") {
        section.note(
            "map",
            "names no pair: write at least one, such as \"- { upstream: s3://lake/w, client: s3a://lake/w }\"",
        );
    } else if let Err(error) = LocationMap::new(map.iter().cloned()).and_then(|map| map.inverse()) {
        section.note("map", error.message());
    }
    let text = |name: &str| section.text(name).map(|text| text.trim_end_matches('/').to_owned());
    Some(ClientLocations { map, overlay: text("overlay")?, upstream_overlay: text("upstream-overlay") })
}

fn source(section: &Section<'_>, environment: &Environment<'_>) -> Option<Source> {
    match (section.has("embedded"), section.has("upstream")) {
        (true, true) => {
            section
                .note("", "has both \"embedded\" and \"upstream\": a catalog is one of them, so make it two catalogs");
            None
        }
        (false, false) => {
            section.note("", "has neither \"embedded\" nor \"upstream\": write one of them");
            None
        }
        (true, false) => embedded(&section.child_if_there("embedded")?, environment).map(Source::Embedded),
        (false, true) => {
            let section = section.child_if_there("upstream")?;
            let auth = upstream_auth(&section);
            let (uri, warehouse) = (section.uri("uri").map(|uri| base(&uri)), section.text("warehouse"));
            let upstream = upstream(&section, uri?, warehouse.map(str::to_owned), auth?)?;
            Some(Source::Upstream(Box::new(upstream)))
        }
    }
}

fn embedded(section: &Section<'_>, environment: &Environment<'_>) -> Option<Embedded> {
    Some(Embedded {
        database: database(section, environment)?,
        warehouse: section.uri("warehouse")?,
        restrict_locations: section.flag("restrict-locations"),
    })
}

fn database(section: &Section<'_>, environment: &Environment<'_>) -> Option<Secret> {
    let database = section.secret("database")?;
    let uri = database.expose();
    Some(match uri.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path)) {
        Some(path) if path.starts_with([':', '/']) => database,
        Some(path) if !path.is_empty() => Secret::new(format!("sqlite:{}", environment.path(path).display())),
        None if uri.starts_with("postgres://") || uri.starts_with("postgresql://") => database,
        _ => {
            let key = if section.has("database") { "database" } else { "database-file" };
            section.note(key, "is not a database: write sqlite:/path/catalog.db or postgres://user@host/name");
            database
        }
    })
}

fn upstream(section: &Section<'_>, uri: String, warehouse: Option<String>, auth: UpstreamAuth) -> Option<Upstream> {
    let headers = section.texts("headers");
    for (name, value) in &headers {
        let named = http::HeaderName::try_from(name.as_str());
        if named.is_err() || http::HeaderValue::try_from(value.expose()).is_err() {
            section.note(
                "headers",
                format!("{name:?} is not a header that can be sent: use plain letters and no line ends"),
            );
        }
        if named.is_ok_and(|name| name == http::header::AUTHORIZATION) {
            section.note("headers", "\"Authorization\" is not a header to set here: use \"auth\"");
        }
    }
    Some(Upstream {
        uri,
        warehouse,
        auth,
        connect_timeout: section.duration("connect-timeout")?,
        read_timeout: section.duration("read-timeout")?,
        write_timeout: section.duration("write-timeout")?,
        retries_max: section.integer("retries-max")?,
        headers,
    })
}

fn upstream_auth(section: &Section<'_>) -> Option<UpstreamAuth> {
    let Some(keys) = section.child_if_there("auth") else {
        return match section.text("auth") {
            Some("caller") => Some(UpstreamAuth::Caller),
            _ => Some(UpstreamAuth::None),
        };
    };
    let bearer = keys.has("bearer") || keys.has("bearer-file");
    match (bearer, keys.child_if_there("oauth2")) {
        (true, Some(_)) => {
            keys.note("", "has both \"bearer\" and \"oauth2\": keep one of them");
            None
        }
        (true, None) => keys.secret("bearer").map(UpstreamAuth::Bearer),
        (false, Some(section)) => {
            let secret = section.secret("client-secret");
            Some(UpstreamAuth::OAuth2(OAuth2 {
                client_id: section.text("client-id")?.to_owned(),
                client_secret: secret?,
                token_uri: section.uri("token-uri"),
                scope: section.text("scope")?.to_owned(),
            }))
        }
        (false, None) => {
            if !keys.has("oauth2") {
                keys.note("", "is empty: write none, caller, { bearer: ${TOKEN} } or { oauth2: … }");
            }
            None
        }
    }
}

/// The base URI of a catalog: people copy it with `/v1/config` or a slash at its end.
fn base(uri: &str) -> String {
    let uri = uri.trim_end_matches('/');
    let uri = uri.strip_suffix("/config").filter(|uri| uri.ends_with("/v1")).unwrap_or(uri);
    uri.strip_suffix("/v1").unwrap_or(uri).trim_end_matches('/').to_owned()
}
