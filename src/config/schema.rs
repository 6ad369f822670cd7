//! Every key of the configuration as data: from it come the checks, "did you mean", the defaults and the test of the page
//! `docs/configuration.md`.
//!
//! In a path, `<name>` stands for a name that the user chooses and `[]` for each item of a list. A key of kind
//! [`Form::Secret`] may always be given as `<key>-file: path` instead.

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Other keys.
    Section,
    /// Sections under names that the user chooses.
    Named,
    /// A list of sections.
    List,
    /// Any keys with text as values; the values may be secret.
    Texts,
    /// Text.
    Text,
    /// Text that is never shown.
    Secret,
    /// `true` or `false`.
    Bool,
    /// A whole number between the two.
    Integer(u64, u64),
    /// `250ms`, `5s`, `2m`, `1h`, `1d`.
    Duration,
    /// `512B`, `64KiB`, `32MiB`, `1GiB`.
    Size,
    /// A URI with one of these schemes.
    Uri(&'static [&'static str]),
    /// An IP address and a port.
    Address,
    /// A file.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One of these words, or other keys.
    ChoiceOrSection(&'static [&'static str]),
}

impl Form {
    /// As the page names it.
    pub fn name(self) -> String {
        match self {
            Form::Section => "section".into(),
            Form::Named => "sections by name".into(),
            Form::List => "list of sections".into(),
            Form::Texts => "texts by name".into(),
            Form::Text => "text".into(),
            Form::Secret => "secret".into(),
            Form::Bool => "true or false".into(),
            Form::Integer(min, max) => format!("{min} to {max}"),
            Form::Duration => "duration".into(),
            Form::Size => "size".into(),
            Form::Uri(schemes) => format!("URI ({})", schemes.join(", ")),
            Form::Address => "address".into(),
            Form::Path => "path".into(),
            Form::Choice(words) => words.join(", "),
            Form::ChoiceOrSection(words) => format!("{}, section", words.join(", ")),
        }
    }
}

impl Key {
    /// The last part of its path.
    pub(super) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// What somebody could write here, for messages.
    pub(super) fn example(&self) -> String {
        let value = match self.form {
            Form::Uri(schemes) => format!("{}://…", schemes[schemes.len() - 1]),
            Form::Secret if self.name() == "database" => "sqlite:catalog.db".into(),
            Form::Secret => format!("${{{}}}", self.name().to_ascii_uppercase().replace('-', "_")),
            Form::Path => format!("{}.pem", self.name()),
            Form::Texts => "{ main: write }".into(),
            Form::Named => "{ main: … }".into(),
            _ => "…".into(),
        };
        format!("{}: {value}", self.name())
    }
}

/// Whether a key may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// No: the section that it belongs to needs it.
    Required,
    /// Yes, and there is nothing in its place.
    Optional,
    /// Yes, and then it is this.
    Default(&'static str),
}

impl Presence {
    /// As the page shows it.
    pub fn name(self) -> String {
        match self {
            Presence::Required => "required".into(),
            Presence::Optional => String::new(),
            Presence::Default(text) => format!("`{text}`"),
        }
    }
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Where it stands.
    pub path: &'static str,
    /// What it holds.
    pub form: Form,
    /// Whether it may be left out.
    pub presence: Presence,
}

const fn key(path: &'static str, form: Form, presence: Presence) -> Key {
    Key { path, form, presence }
}

use Presence::{Default as Is, Optional, Required};

const WEB: &[&str] = &["http", "https"];
const WAREHOUSE: &[&str] = &["file", "s3"];
const STORE: &[&str] = &["file", "s3", "s3a", "s3n"];
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

/// The whole schema, in the order of the page.
pub const KEYS: &[Key] = &[
    key("listen", Form::Address, Is("127.0.0.1:8181")),
    key("tls", Form::Section, Optional),
    key("tls.certificate", Form::Path, Required),
    key("tls.key", Form::Path, Required),
    key("auth", Form::Section, Optional),
    key("auth.tokens", Form::List, Optional),
    key("auth.tokens[].name", Form::Text, Required),
    key("auth.tokens[].token", Form::Secret, Optional),
    key("auth.tokens[].token-sha256", Form::Text, Optional),
    key("auth.tokens[].roles", Form::Texts, Required),
    key("auth.tokens-file", Form::Path, Optional),
    key("log", Form::Section, Optional),
    key("log.format", Form::Choice(&["plain", "json"]), Is("plain")),
    key("log.level", Form::Choice(LEVELS), Is("info")),
    key("log.requests", Form::Bool, Is("false")),
    key("metrics", Form::Section, Optional),
    key("metrics.open", Form::Bool, Is("false")),
    key("limits", Form::Section, Optional),
    key("limits.body-bytes", Form::Size, Is("32MiB")),
    key("limits.bodies-bytes", Form::Size, Is("512MiB")),
    key("limits.concurrent-requests", Form::Integer(1, 1_000_000), Is("1024")),
    key("limits.connections", Form::Integer(1, 1_000_000), Is("8192")),
    key("limits.answer-timeout", Form::Duration, Is("300s")),
    key("limits.stop-timeout", Form::Duration, Is("30s")),
    key("limits.cache-bytes", Form::Size, Is("256MiB")),
    key("limits.upstream-body-bytes", Form::Size, Is("256MiB")),
    key("limits.idempotency-lifetime", Form::Duration, Is("30m")),
    key("storage", Form::List, Optional),
    key("storage[].prefix", Form::Uri(STORE), Required),
    key("storage[].endpoint", Form::Uri(WEB), Optional),
    key("storage[].region", Form::Text, Optional),
    key("storage[].access-key-id", Form::Secret, Optional),
    key("storage[].secret-access-key", Form::Secret, Optional),
    key("storage[].path-style", Form::Bool, Is("false")),
    key("state", Form::Section, Optional),
    key("state.database", Form::Secret, Required),
    key("catalogs", Form::Named, Required),
    key("catalogs.<name>.embedded", Form::Section, Optional),
    key("catalogs.<name>.embedded.database", Form::Secret, Required),
    key("catalogs.<name>.embedded.warehouse", Form::Uri(WAREHOUSE), Required),
    key("catalogs.<name>.embedded.restrict-locations", Form::Bool, Optional),
    key("catalogs.<name>.upstream", Form::Section, Optional),
    key("catalogs.<name>.upstream.uri", Form::Uri(WEB), Required),
    key("catalogs.<name>.upstream.warehouse", Form::Text, Optional),
    key("catalogs.<name>.upstream.auth", Form::ChoiceOrSection(&["none", "caller"]), Is("none")),
    key("catalogs.<name>.upstream.auth.bearer", Form::Secret, Optional),
    key("catalogs.<name>.upstream.auth.oauth2", Form::Section, Optional),
    key("catalogs.<name>.upstream.auth.oauth2.client-id", Form::Text, Required),
    key("catalogs.<name>.upstream.auth.oauth2.client-secret", Form::Secret, Required),
    key("catalogs.<name>.upstream.auth.oauth2.token-uri", Form::Uri(WEB), Optional),
    key("catalogs.<name>.upstream.auth.oauth2.scope", Form::Text, Is("catalog")),
    key("catalogs.<name>.upstream.connect-timeout", Form::Duration, Is("5s")),
    key("catalogs.<name>.upstream.read-timeout", Form::Duration, Is("30s")),
    key("catalogs.<name>.upstream.write-timeout", Form::Duration, Is("60s")),
    key("catalogs.<name>.upstream.retries-max", Form::Integer(0, 10), Is("3")),
    key("catalogs.<name>.upstream.headers", Form::Texts, Optional),
    key("catalogs.<name>.client-config", Form::Texts, Optional),
    key("catalogs.<name>.client-locations", Form::Section, Optional),
    key("catalogs.<name>.client-locations.map", Form::List, Required),
    key("catalogs.<name>.client-locations.map[].upstream", Form::Text, Required),
    key("catalogs.<name>.client-locations.map[].client", Form::Text, Required),
    key("catalogs.<name>.client-locations.overlay", Form::Text, Required),
    key("catalogs.<name>.client-locations.upstream-overlay", Form::Text, Optional),
    key("catalogs.<name>.journal", Form::Text, Optional),
    key("catalogs.<name>.maintenance", Form::Named, Optional),
    key("catalogs.<name>.maintenance.<name>.include", Form::Text, Optional),
    key("catalogs.<name>.maintenance.<name>.exclude", Form::Text, Optional),
    key("catalogs.<name>.maintenance.<name>.expire-snapshots", Form::Section, Optional),
    key("catalogs.<name>.maintenance.<name>.expire-snapshots.every", Form::Duration, Required),
    key("catalogs.<name>.maintenance.<name>.expire-snapshots.keep-for", Form::Duration, Is("5d")),
    key("catalogs.<name>.maintenance.<name>.expire-snapshots.keep-last", Form::Integer(1, 1_000_000), Is("1")),
    key("catalogs.<name>.maintenance.<name>.remove-orphans", Form::Section, Optional),
    key("catalogs.<name>.maintenance.<name>.remove-orphans.every", Form::Duration, Required),
    key("catalogs.<name>.maintenance.<name>.remove-orphans.older-than", Form::Duration, Is("3d")),
    key("catalogs.<name>.maintenance.<name>.remove-orphans.delete", Form::Bool, Is("false")),
    key("catalogs.<name>.maintenance.<name>.compact", Form::Section, Optional),
    key("catalogs.<name>.maintenance.<name>.compact.every", Form::Duration, Required),
    key("catalogs.<name>.replica", Form::Section, Optional),
    key("catalogs.<name>.replica.map", Form::List, Required),
    key("catalogs.<name>.replica.map[].from", Form::Text, Required),
    key("catalogs.<name>.replica.map[].to", Form::Text, Required),
    key("catalogs.<name>.replica.overlay", Form::Text, Required),
    key("catalogs.<name>.replica.journal", Form::Text, Optional),
    key("catalogs.<name>.replica.primary-catalog", Form::Text, Optional),
    key("catalogs.<name>.replica.drop-after", Form::Duration, Is("7d")),
    key("catalogs.<name>.replica.primary", Form::Text, Optional),
    key("catalogs.<name>.replica.include", Form::Text, Optional),
    key("catalogs.<name>.replica.exclude", Form::Text, Optional),
    key("catalogs.<name>.replica.layout", Form::Text, Optional),
    key("catalogs.<name>.replica.paused", Form::Text, Optional),
    key("catalogs.<name>.replica.pinned", Form::Texts, Optional),
    key("catalogs.<name>.replica.consistency-groups", Form::Texts, Optional),
    key("catalogs.<name>.replica.confirm", Form::Choice(&["successor", "trust-newest"]), Is("successor")),
    key("catalogs.<name>.replica.settle", Form::Duration, Is("1m")),
    key("catalogs.<name>.replica.max-staleness", Form::Duration, Is("5s")),
    key("catalogs.<name>.replica.wait", Form::Duration, Is("2s")),
    key("catalogs.<name>.replica.interval", Form::Duration, Is("30s")),
    key("catalogs.<name>.replica.recheck", Form::Duration, Is("10m")),
    key("catalogs.<name>.replica.properties", Form::Texts, Optional),
    key("catalogs.<name>.replica.credentials", Form::Choice(&["none", "client-config", "sts"]), Is("client-config")),
    key("catalogs.<name>.replica.sts", Form::Section, Optional),
    key("catalogs.<name>.replica.sts.endpoint", Form::Uri(WEB), Optional),
    key("catalogs.<name>.replica.sts.role-arn", Form::Text, Optional),
    key("catalogs.<name>.replica.sts.duration", Form::Duration, Is("1h")),
    key("catalogs.<name>.replica.sts.kms-keys", Form::Text, Optional),
    key("catalogs.<name>.replica.sts.scope", Form::Choice(&["table", "standby"]), Is("table")),
    key("catalogs.<name>.append", Form::Section, Optional),
    key("catalogs.<name>.append.tables", Form::Named, Required),
    key("catalogs.<name>.append.tables.<name>.from", Form::Text, Required),
    key("catalogs.<name>.append.tables.<name>.writers", Form::Choice(&["any", "external-only"]), Is("any")),
    key("catalogs.<name>.append.tables.<name>.create", Form::Bool, Is("false")),
    key("catalogs.<name>.append.tables.<name>.evolve", Form::Bool, Is("false")),
    key("catalogs.<name>.append.tables.<name>.branch", Form::Text, Is("main")),
    key("catalogs.<name>.append.tables.<name>.settle", Form::Duration, Is("30s")),
    key("catalogs.<name>.append.tables.<name>.files-per-commit", Form::Integer(1, 100_000), Is("20000")),
    key("catalogs.<name>.append.max-staleness", Form::Duration, Is("5s")),
    key("catalogs.<name>.append.wait", Form::Duration, Is("2s")),
    key("catalogs.<name>.append.interval", Form::Duration, Is("1m")),
    key("catalogs.<name>.max-staleness", Form::Duration, Is("0s")),
    key("catalogs.<name>.namespace-separator", Form::Text, Is("%1F")),
];

/// The key at a path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The keys that a section at this path cannot do without.
pub(super) fn required_under(path: &str) -> impl Iterator<Item = &'static Key> {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    KEYS.iter().filter(move |key| {
        let name = key.path.strip_prefix(&prefix);
        key.presence == Presence::Required && name.is_some_and(|name| !name.contains(['.', '[']))
    })
}

/// The names of the keys directly under a path (`""` is the file itself), `-file` twins of secrets included.
pub(super) fn names_under(path: &str) -> Vec<String> {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    let mut names = Vec::new();
    for key in KEYS {
        let Some(name) = key.path.strip_prefix(&prefix).filter(|rest| !rest.contains(['.', '['])) else { continue };
        names.push(name.to_owned());
        if key.form == Form::Secret {
            names.push(format!("{name}-file"));
        }
    }
    names
}

/// What an unknown name was probably meant to be, if anything is near.
pub(super) fn nearest<'a>(unknown: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let unknown = unknown.to_ascii_lowercase().replace('_', "-");
    let far = (unknown.chars().count() / 3).max(1);
    let near = names.into_iter().map(|name| (distance(&unknown, name), name)).min()?;
    (near.0 <= far).then_some(near.1)
}

/// How many letters must be added, removed, replaced or swapped with their neighbour to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

/// Where else in the file a key of this name belongs.
pub(super) fn elsewhere(name: &str) -> Option<&'static str> {
    KEYS.iter().find_map(|key| key.path.strip_suffix(name)?.strip_suffix('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let names = ["listen", "storage", "max-staleness"];
        assert_eq!(nearest("lisen", names), Some("listen"));
        assert_eq!(nearest("sotrage", names), Some("storage"));
        assert_eq!(nearest("max_staleness", names), Some("max-staleness"));
        assert_eq!(nearest("banana", names), None);
    }

    #[test]
    fn the_schema_is_a_tree_without_twins() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS[at + 1..].iter().all(|other| other.path != key.path), "{} is there twice", key.path);
            let Some((parent, _)) = key.path.rsplit_once('.') else { continue };
            let parent = parent.trim_end_matches("[]").trim_end_matches(".<name>");
            assert!(find(parent).is_some(), "{} has no parent {parent}", key.path);
        }
    }
}
