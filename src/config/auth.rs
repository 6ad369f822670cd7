//! Tokens: the list in the configuration, or in a file of its own that is read again while the server runs.
//!
//! A token is turned into its digest here and goes no further.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::model::{CatalogName, Role};

use super::problem::{Problem, Problems};
use super::section::{Reading, Section};
use super::{Auth, Catalog, Environment, Token, check, finish, process_variable, read_file, values, yaml};

/// The key under which a list of tokens stands.
const LIST: &str = "auth.tokens";

/// Reads a file of tokens, for catalogs of these names; relative paths in it start from its folder.
pub fn read_tokens(path: &Path, catalogs: &BTreeSet<CatalogName>) -> Result<Vec<Token>, Problems> {
    let file = Some(path.display().to_string());
    read_tokens_in(path, Some(catalogs), &Environment::new(&process_variable, folder_of(path)))
        .map_err(|p| Problems { file, ..p })
}

fn read_tokens_in(
    path: &Path,
    catalogs: Option<&BTreeSet<CatalogName>>,
    environment: &Environment<'_>,
) -> Result<Vec<Token>, Problems> {
    let alone = |problem| Problems { file: None, list: vec![problem] };
    let text = read_file(path).map_err(|message| alone(Problem::new(0, "", message)))?;
    let mut tree = yaml::parse(&text).map_err(alone)?;
    let mut problems = check::check(&mut tree, LIST, environment);
    let reading = Reading::new(environment, &mut problems);
    let tokens = Section::items(&reading, &tree, LIST, LIST);
    let tokens = list(&reading, tokens, catalogs);
    finish(Some(tokens), problems)
}

/// The section `auth`; `catalogs` is `None` if they could not be read.
pub(super) fn auth(
    reading: &Reading<'_>,
    section: &Section<'_>,
    catalogs: Option<&BTreeMap<CatalogName, Catalog>>,
) -> Option<Auth> {
    let names = catalogs.map(|catalogs| catalogs.keys().cloned().collect::<BTreeSet<_>>());
    match (section.has("tokens"), section.path("tokens-file")) {
        (true, Some(_)) => {
            section.note("tokens-file", "\"tokens\" is given too: keep one of them");
            None
        }
        (false, None) => {
            section.note("", "names no tokens: write a list under \"tokens\", or \"tokens-file: tokens.yaml\"");
            None
        }
        (true, None) => {
            let tokens = list(reading, section.list("tokens"), names.as_ref());
            let judged = catalogs.is_some_and(|catalogs| catalogs.values().all(Catalog::is_judged_upstream));
            if tokens.is_empty() && !judged {
                section.note("tokens", "the list is empty, so nobody could do anything: write at least one token");
            }
            Some(Auth { tokens, tokens_file: None })
        }
        (false, Some(path)) => {
            let environment = Environment::new(reading.environment.variables, folder_of(&path));
            match read_tokens_in(&path, names.as_ref(), &environment) {
                Ok(tokens) => Some(Auth { tokens, tokens_file: Some(path) }),
                Err(problems) => {
                    for problem in problems.list {
                        section.note("tokens-file", format!("{}: {problem}", path.display()));
                    }
                    None
                }
            }
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("."))
}

/// The tokens of a list; `catalogs` are the names that roles may be given for, `None` if they could not be read.
fn list(reading: &Reading<'_>, items: Vec<Section<'_>>, catalogs: Option<&BTreeSet<CatalogName>>) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for item in items {
        let roles = roles(reading, &item, catalogs);
        let digest = digest(&item);
        let (Some(name), Some(sha256)) = (item.text("name"), digest) else { continue };
        if tokens.iter().any(|token| token.name == name) {
            item.note("name", format!("{name:?} is the name of another token too: choose another"));
        } else if let Some(twin) = tokens.iter().find(|token| token.sha256 == sha256) {
            item.note("", format!("is the same token as that of {:?}: give each caller a token of its own", twin.name));
        }
        tokens.push(Token { name: name.to_owned(), sha256, roles });
    }
    tokens
}

fn digest(item: &Section<'_>) -> Option<[u8; 32]> {
    let plain = item.has("token") || item.has("token-file");
    match (plain, item.has("token-sha256")) {
        (true, true) => {
            item.note("token-sha256", "the token itself is given too: keep one of them");
            None
        }
        (false, false) => {
            item.note("", "has no token: write \"token: ${VARIABLE}\", \"token-file: path\" or \"token-sha256: hex\"");
            None
        }
        (true, false) => Some(Sha256::digest(item.secret("token")?.expose().as_bytes()).into()),
        (false, true) => match values::digest(item.text("token-sha256")?) {
            Ok(digest) => Some(digest),
            Err(message) => {
                item.note("token-sha256", message);
                None
            }
        },
    }
}

fn roles(
    reading: &Reading<'_>,
    item: &Section<'_>,
    catalogs: Option<&BTreeSet<CatalogName>>,
) -> BTreeMap<String, Role> {
    let mut roles = BTreeMap::new();
    for (catalog, role, line) in item.free("roles") {
        let key = format!("{}.roles.{catalog}", item.shown);
        let known = catalog == "*" || catalogs.is_none_or(|names| names.iter().any(|name| name.as_str() == catalog));
        if !known {
            let names: Vec<&str> = catalogs.into_iter().flatten().map(CatalogName::as_str).chain(["\"*\""]).collect();
            reading.note(line, &key, format!("there is no catalog {catalog:?}: write one of {}", names.join(", ")));
        }
        let role = match role {
            "read" => Role::Read,
            "write" => Role::Write,
            "operator" => Role::Operator,
            _ => {
                reading.note(line, &key, format!("{role:?} is not a role: write read, write or operator"));
                continue;
            }
        };
        roles.insert(catalog.to_owned(), role);
    }
    roles
}
