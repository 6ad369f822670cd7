//! Holds what a machine can check of how this house is built: the order of dependencies, purity, headers, lengths, and docs that
//! name only what exists.
//!
//! Each test lists every offence, not the first.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of `src/`, each of which may use only those before it.
const ORDER: [&str; 19] = [
    "error",
    "model",
    "format",
    "telemetry",
    "storage",
    "database",
    "upstream",
    "table",
    "journal",
    "replica",
    "append",
    "changes",
    "maintenance",
    "catalog",
    "jobs",
    "config",
    "app",
    "server",
    "cli",
];

/// Modules that only compute.
const PURE: [&str; 2] = ["model", "format"];

/// What a pure module has no use for: I/O, clocks, the environment, chance, async.
const IMPURE: [&str; 18] = [
    "tokio",
    "async ",
    "async_trait",
    "futures::",
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "now_v7",
    "new_v4",
    "reqwest",
    "object_store",
    "sqlx",
    "rand::",
    "tracing::",
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// One file of ours, with its path from the root of the repository.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The first part of the path under `src/`: the top-level module.
    fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        let first = rest.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first)).filter(|name| !matches!(*name, "lib" | "main" | "bin"))
    }

    /// Numbered lines outside `#[cfg(test)]` modules, each without strings, characters and comments.
    fn code(&self) -> Vec<(usize, String)> {
        if self.is_test() {
            return Vec::new();
        }
        let lines: Vec<String> = blanked(&self.text).lines().map(str::to_owned).collect();
        let mut kept = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            // other attributes may stand between
            let after = lines[at + 1..].iter().find(|line| !line.trim_start().starts_with("#["));
            let opens = after.is_some_and(|next| next.trim_start().starts_with("mod ") && next.ends_with('{'));
            if lines[at].trim() == "#[cfg(test)]" && opens {
                let indent = lines[at].len() - lines[at].trim_start().len();
                let end = (at..lines.len()).find(|&line| lines[line] == format!("{:indent$}}}", ""));
                at = end.unwrap_or(lines.len());
            } else {
                kept.push((at + 1, lines[at].clone()));
            }
            at += 1;
        }
        kept
    }

    /// Whether the whole file is compiled for tests only.
    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or("");
        let folder = self.path.starts_with("tests/") || self.path.contains("/tests/");
        folder || matches!(name, "tests.rs" | "testing.rs") || name.ends_with("_tests.rs")
    }
}

/// The same text with the insides of comments, strings and characters as spaces; lines stay where they are.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |out: &mut String, from: usize, to: usize| {
        out.extend(chars[from..to].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
    };
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => ahead(&chars, at, "\n"),
            '/' if chars.get(at + 1) == Some(&'*') => ahead(&chars, at + 2, "*/") + 2,
            'r' if raw_string(&chars, at).is_some() => raw_string(&chars, at).unwrap_or(at + 1),
            '"' => quoted(&chars, at),
            '\'' if chars.get(at + 1) == Some(&'\\') => ahead(&chars, at + 3, "'") + 1,
            '\'' if chars.get(at + 2) == Some(&'\'') => at + 3,
            _ => {
                out.push(chars[at]);
                at += 1;
                continue;
            }
        };
        let end = end.min(chars.len());
        blank(&mut out, at, end);
        at = end;
    }
    out
}

/// Where a text comes next; the end if it does not.
fn ahead(chars: &[char], from: usize, wanted: &str) -> usize {
    let wanted: Vec<char> = wanted.chars().collect();
    (from..chars.len()).find(|&at| chars[at..].starts_with(&wanted)).unwrap_or(chars.len())
}

/// Behind the end of a string that begins here.
fn quoted(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Behind the end of a raw string, if one begins here.
fn raw_string(chars: &[char], from: usize) -> Option<usize> {
    let part_of_a_word =
        from > 0 && (chars[from - 1].is_alphanumeric() || chars[from - 1] == '_') && chars[from - 1] != 'b';
    let hashes = chars[from + 1..].iter().take_while(|&&c| c == '#').count();
    if part_of_a_word || chars.get(from + 1 + hashes) != Some(&'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    Some(ahead(chars, from + 2 + hashes, &close) + 1 + hashes)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file with one of the extensions under folders of the repository.
fn files(folders: &[&str], extensions: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let inside = fs::read_dir(&path).expect("a folder of the repository can be listed");
            waiting.extend(inside.map(|entry| entry.expect("an entry of it too").path()));
        } else if path.extension().is_some_and(|is| extensions.iter().any(|wanted| is == *wanted)) {
            let text = fs::read_to_string(&path).expect("a text file of the repository can be read");
            let path = path.strip_prefix(root()).expect("it is inside the repository").to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn sources() -> Vec<Source> {
    files(&["src", "tests", "examples", "benches", "fuzz/fuzz_targets"], &["rs"])
}

#[track_caller]
fn none(offences: &[String]) {
    assert!(offences.is_empty(), "{} offences:\n  {}", offences.len(), offences.join("\n  "));
}

/// The words that follow `crate::` in a line, also in `use crate::{a::b, c}`.
fn uses(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let words: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => top_level(group),
            None => vec![rest],
        };
        found.extend(
            words
                .iter()
                .map(|word| word.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()),
        );
    }
    found
}

/// The parts of a `use` group between its own commas.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[from..at]);
                return parts;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts
}

#[test]
fn dependencies_point_one_way() {
    let place = |name: &str| ORDER.iter().position(|known| *known == name);
    let mut offences = Vec::new();
    for source in sources() {
        let Some(module) = source.module().filter(|_| !source.is_test()) else { continue };
        let Some(own) = place(module) else {
            offences.push(format!("{}: the module {module} has no place in the order", source.path));
            continue;
        };
        // a group over several lines is read as one
        let code = source.code();
        let whole = code.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
        for used in uses(&whole) {
            if place(&used).is_some_and(|used| used > own) {
                offences.push(format!("{}: {module} uses {used}, which comes after it", source.path));
            }
        }
    }
    none(&offences);
}

#[test]
fn pure_modules_only_compute() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| source.module().is_some_and(|module| PURE.contains(&module))) {
        for (number, line) in source.code() {
            let impure = IMPURE.iter().filter(|word| line.contains(**word));
            offences.extend(impure.map(|word| format!("{}:{number}: {word:?} in a pure module", source.path)));
        }
    }
    none(&offences);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |source: &Source| !source.text.starts_with("//! ");
    let offences: Vec<String> = sources().into_iter().filter(silent).map(|source| source.path).collect();
    none(&offences);
}

#[test]
fn files_are_short() {
    let mut offences = Vec::new();
    for source in sources() {
        let lines = if source.is_test() { 0 } else { source.code().len() };
        if lines > FILE_LINES_MAX {
            offences.push(format!("{}: {lines} lines, {FILE_LINES_MAX} are the wall", source.path));
        }
    }
    none(&offences);
}

#[test]
fn functions_are_short() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let code = source.code();
        for (at, (number, line)) in code.iter().enumerate() {
            let trimmed = line.trim_start();
            let begins = ["fn ", "pub fn ", "async fn ", "pub async fn ", "const fn ", "pub const fn "];
            let restricted = trimmed.starts_with("pub(") && trimmed.contains(" fn ");
            if !restricted && !begins.iter().any(|begin| trimmed.starts_with(begin)) {
                continue;
            }
            let indent = line.len() - trimmed.len();
            let close = format!("{:indent$}}}", "");
            // a declaration without a body ends with a semicolon
            let end = code[at..]
                .iter()
                .position(|(_, line)| *line == close || (line.ends_with(';') && !line.contains("let ")));
            let has_body = end.is_some_and(|end| code[at + end].1 == close);
            let body =
                code[at..].iter().position(|(_, line)| *line == close).filter(|_| has_body || line.ends_with('{'));
            if let Some(lines) = body.map(|end| end + 1).filter(|lines| *lines > FUNCTION_LINES_MAX) {
                offences.push(format!("{}:{number}: {lines} lines, {FUNCTION_LINES_MAX} are the limit", source.path));
            }
        }
    }
    none(&offences);
}

#[test]
fn nothing_is_left_half_done() {
    // written in two parts, so that this file does not offend itself
    let left = [("TO", "DO"), ("FIX", "ME"), ("todo", "!("), ("unimplemented", "!("), ("#[ig", "nore"), ("dbg", "!(")];
    let mut offences = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let found = left.iter().map(|(a, b)| format!("{a}{b}")).filter(|word| line.contains(word));
            offences.extend(found.map(|word| format!("{}:{}: {word}", source.path, number + 1)));
        }
    }
    none(&offences);
}

#[test]
fn nothing_is_unwrapped() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/")) {
        let unwraps = source
            .code()
            .into_iter()
            .filter(|(_, line)| line.contains(".unwrap()") || line.contains("unwrap_unchecked"));
        offences.extend(unwraps.map(|(number, _)| format!("{}:{number}: unwrap", source.path)));
    }
    none(&offences);
}

#[test]
fn docs_name_only_what_exists() {
    let mut offences = Vec::new();
    let mut pages = files(&["docs"], &["md"]);
    pages.extend(fs::read_to_string(root().join("README.md")).map(|text| Source { path: "README.md".into(), text }));
    for page in &pages {
        for named in page.text.split('`').skip(1).step_by(2) {
            let ours =
                ["src/", "docs/", "tests/", "deploy/", "openapi/"].iter().any(|folder| named.starts_with(folder));
            let whole = !named.contains(['*', '<', '{', ' ', '…', '\n']);
            if !ours || !whole {
                continue;
            }
            let (file, symbol) = named.split_once(':').unwrap_or((named, ""));
            if symbol.starts_with(|c: char| c.is_ascii_digit()) {
                offences.push(format!("{}: {named} cites a line: name a symbol instead", page.path));
            }
            if !root().join(file).exists() {
                offences.push(format!("{}: there is no {file}", page.path));
            }
        }
        for target in page.text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let folder = Path::new(&page.path).parent().unwrap_or(Path::new(""));
            if !target.is_empty() && !target.contains(':') && !root().join(folder).join(target).exists() {
                offences.push(format!("{}: the link to {target} leads nowhere", page.path));
            }
        }
    }
    none(&offences);
}

#[test]
fn the_checks_see_what_they_should() {
    let text = "//! x\nfn a() {\n    let s = \"crate::server } // \";\n    let c = '\"'; // crate::cli\n}\n#[cfg(test)]\nmod tests {\n    use crate::cli;\n}\nuse crate::{app::b, jobs::{c, d}};\n";
    let source = Source { path: "src/model/x.rs".into(), text: text.into() };
    assert_eq!(source.module(), Some("model"));
    let code: String = source.code().iter().map(|(_, line)| format!("{line}\n")).collect();
    assert!(!code.contains("server") && !code.contains("cli") && !code.contains("tests"), "{code}");
    let used: BTreeSet<String> = uses(&code).into_iter().collect();
    assert_eq!(used, ["app", "jobs"].map(str::to_owned).into());
    assert_eq!(blanked("r#\"a\"b\"# 'x' '\\'' 'a b'"), "                  'a b'");
}
