//! The location map: prefix pairs that say where every path of a table is at the other place.
//!
//! A path is a plain string and never normalised: `s3://` and `s3a://`, `//` and `/`, `%20` and a space are different. A pair covers the
//! path that equals its prefix and the paths below it, at a `/`; of several the longest counts. Slashes at the end of a prefix do not count,
//! except where nothing but a scheme is left (`s3a://`, `file:/`, `/`): such a pair covers what follows exactly these slashes.
//! What must hold: over the paths that are mapped the map is a bijection, so that the way back is derived. A map that could send two paths to
//! one place is refused with the pairs at fault, and a path that no pair covers but that lies under a target already is refused unless an
//! identity pair lists it. Whether a path exists is for others.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Kind, Result};

/// Most pairs and aliases of one map.
const PAIRS_MAX: usize = 1_000;

/// One prefix and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    from: Prefix,
    to: Prefix,
}

impl Pair {
    fn is_identity(&self) -> bool {
        self.from == self.to
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.from.written, self.to.written)
    }
}

/// What happens to a path that no pair covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uncovered {
    /// It stays as it is.
    #[default]
    Pass,
    /// It is an error that names it.
    Refuse,
}

/// How a path is mapped, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The pair that counts, as `from=to`; none when no pair covers the path.
    pub pair: Option<String>,
    /// The alias that was applied before, as `from=to`.
    pub alias: Option<String>,
    /// Where the path leads.
    pub path: String,
}

/// Prefix pairs, longest first.
#[derive(Debug, Clone, Default)]
pub struct LocationMap {
    /// Longest `from` first.
    pairs: Vec<Pair>,
    /// Places in `pairs`, longest `to` first.
    by_target: Vec<usize>,
    /// Other spellings of sources, each with the spelling that the pairs know; longest first.
    aliases: Vec<Pair>,
    uncovered: Uncovered,
    /// Pairs that send two places to one, which only an identity pair may.
    folded: Option<String>,
}

impl LocationMap {
    /// Builds a map from `(from, to)` pairs. Refuses pairs that name no place, the same source twice, and pairs whose targets meet.
    pub fn new<F: AsRef<str>, T: AsRef<str>>(pairs: impl IntoIterator<Item = (F, T)>) -> Result<Self> {
        let pairs = pairs.into_iter().map(|(from, to)| pair(from.as_ref(), to.as_ref())).collect::<Result<Vec<_>>>()?;
        if pairs.len() > PAIRS_MAX {
            return Err(Error::bad_request(format!("a location map of more than {PAIRS_MAX} pairs")));
        }
        let mut sources = BTreeMap::new();
        for pair in &pairs {
            if let Some(other) = sources.insert(&pair.from.head, pair) {
                return Err(Error::bad_request(format!(
                    "the location map is ambiguous: {other} and {pair} have one source"
                )));
            }
        }
        let mut map = LocationMap::ordered(pairs);
        map.folded = map.check_targets()?;
        Ok(map)
    }

    /// The same map with other spellings: a path under an alias' first prefix is read as if it were under its second.
    pub fn with_aliases<F: AsRef<str>, T: AsRef<str>>(
        mut self,
        aliases: impl IntoIterator<Item = (F, T)>,
    ) -> Result<Self> {
        self.aliases = aliases.into_iter().map(|(from, to)| pair(from.as_ref(), to.as_ref())).collect::<Result<_>>()?;
        self.aliases.sort_by_key(|alias| std::cmp::Reverse(alias.from.head.len()));
        for two in self.aliases.windows(2) {
            if two[0].from == two[1].from {
                return Err(Error::bad_request(format!("the aliases {} and {} have one source", two[0], two[1])));
            }
        }
        Ok(self)
    }

    /// The same map with another answer for what no pair covers.
    pub fn with_uncovered(mut self, uncovered: Uncovered) -> Self {
        self.uncovered = uncovered;
        self
    }

    /// Where `path` is at the other place; borrowed when it stays as it is.
    pub fn map<'a>(&self, path: &'a str) -> Result<Cow<'a, str>> {
        let spelled = self.spelled(path);
        match self.covering(spelled.as_deref().unwrap_or(path)) {
            Some((pair, rest)) => self.swapped(path, pair, rest),
            None => self.passed(path),
        }
    }

    /// Whether a pair covers `path`, be it an identity pair.
    pub fn covers(&self, path: &str) -> bool {
        self.covering(self.spelled(path).as_deref().unwrap_or(path)).is_some()
    }

    /// Whether `path` lies under a target.
    pub fn is_target(&self, path: &str) -> bool {
        self.targeting(path).is_some()
    }

    /// The way back, with the same answer for what no pair covers. Aliases have none: what they name comes back as the pairs spell it.
    pub fn inverse(&self) -> Result<LocationMap> {
        if let Some(folded) = &self.folded {
            return Err(Error::bad_request(format!("the location map has no way back: {folded}")));
        }
        let turned = self.pairs.iter().map(|pair| Pair { from: pair.to.clone(), to: pair.from.clone() }).collect();
        Ok(LocationMap { uncovered: self.uncovered, ..LocationMap::ordered(turned) })
    }

    /// Which pair maps `path`, and where.
    pub fn explain(&self, path: &str) -> Result<Explanation> {
        let spelled = self.spelled(path);
        let covering = self.covering(spelled.as_deref().unwrap_or(path));
        Ok(Explanation {
            pair: covering.map(|(pair, _)| pair.to_string()),
            alias: spelled.is_some().then(|| self.alias(path).map(|(alias, _)| alias.to_string())).flatten(),
            path: self.map(path)?.into_owned(),
        })
    }

    /// The map as one line of text that says all of it, in the order in which it counts.
    pub fn signature(&self) -> String {
        let pairs = self.pairs.iter().map(|pair| format!("{pair}\n"));
        let aliases = self.aliases.iter().map(|alias| format!("alias {alias}\n"));
        pairs.chain(aliases).collect()
    }

    /// The prefixes that are mapped, as they were written.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|pair| pair.from.written.as_str())
    }

    /// The prefixes that they are mapped to, as they were written.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|pair| pair.to.written.as_str())
    }

    /// Whether it has no pair at all.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn ordered(mut pairs: Vec<Pair>) -> LocationMap {
        // the text too, so that the order, and with it the signature, does not hang on the order of the flags
        pairs.sort_by(|a, b| b.from.head.len().cmp(&a.from.head.len()).then_with(|| a.from.head.cmp(&b.from.head)));
        let mut by_target: Vec<usize> = (0..pairs.len()).collect();
        by_target.sort_by_key(|&at| std::cmp::Reverse(pairs[at].to.head.len()));
        LocationMap { pairs, by_target, ..LocationMap::default() }
    }

    /// The path as the pairs spell it, if an alias covers it.
    fn spelled(&self, path: &str) -> Option<String> {
        self.alias(path).map(|(alias, rest)| alias.to.with(rest))
    }

    fn alias<'a>(&self, path: &'a str) -> Option<(&Pair, Rest<'a>)> {
        self.aliases.iter().find_map(|alias| Some((alias, rest(&alias.from, &alias.to, path)?)))
    }

    fn covering<'a>(&self, path: &'a str) -> Option<(&Pair, Rest<'a>)> {
        self.pairs.iter().find_map(|pair| Some((pair, rest(&pair.from, &pair.to, path)?)))
    }

    fn targeting<'a>(&self, path: &'a str) -> Option<(&Pair, Rest<'a>)> {
        let pairs = self.by_target.iter().filter_map(|&at| self.pairs.get(at));
        pairs.into_iter().find_map(|pair| Some((pair, rest(&pair.to, &pair.from, path)?)))
    }

    fn swapped<'a>(&self, path: &'a str, pair: &Pair, rest: Rest<'_>) -> Result<Cow<'a, str>> {
        if pair.is_identity() && self.aliases.is_empty() {
            return Ok(Cow::Borrowed(path));
        }
        let mapped = pair.to.with(rest);
        // one pair alone cannot collide with itself; of several, another one may own this place
        if self.pairs.len() > 1
            && self.folded.is_none()
            && let Some((owner, _)) = self.targeting(&mapped)
            && owner != pair
            && owner.from.with(rest_or_whole(&owner.to, &mapped)) != pair.from.with(rest)
        {
            let message = format!("{path:?} would be mapped by {pair} to {mapped:?}, which is a place of {owner}");
            return Err(Error::new(Kind::Unprocessable, message));
        }
        Ok(Cow::Owned(mapped))
    }

    fn passed<'a>(&self, path: &'a str) -> Result<Cow<'a, str>> {
        if let Some((pair, _)) = self.targeting(path) {
            let prefix = &pair.to.written;
            let message = format!(
                "{path:?} lies under {prefix:?} already, the target of {pair}; if it is there, list the identity pair {prefix}={prefix}"
            );
            return Err(Error::new(Kind::Unprocessable, message));
        }
        match self.uncovered {
            Uncovered::Pass => Ok(Cow::Borrowed(path)),
            Uncovered::Refuse => {
                let message =
                    format!("no pair of the location map covers {path:?}; add one, or an identity pair if it stays");
                Err(Error::new(Kind::Unprocessable, message))
            }
        }
    }

    /// Refuses pairs whose targets meet: a target that lies at or under another one's is fine only where the other never puts anything,
    /// because longer sources take those paths. An identity pair may; then there is no way back, and what it says why is returned.
    fn check_targets(&self) -> Result<Option<String>> {
        let mut folded = None;
        for (at, inner) in self.pairs.iter().enumerate() {
            for (other, outer) in self.pairs.iter().enumerate() {
                if at == other {
                    continue;
                }
                // the same target, a bare one too, which is no path below itself
                let same = (inner.to.head == outer.to.head).then_some(Rest::Below(""));
                let Some(below) = same.or_else(|| rest(&outer.to, &outer.from, &inner.to.head)) else { continue };
                let source = outer.from.with(below);
                let taken = |pair: &Pair| {
                    pair.from.head.len() > outer.from.head.len() && rest(&pair.from, &pair.to, &source).is_some()
                };
                if self.pairs.iter().any(taken) {
                    continue;
                }
                let why = format!("{inner} and {outer} can lead to one place below {:?}", inner.to.written);
                if !inner.is_identity() && !outer.is_identity() {
                    return Err(Error::bad_request(format!("the location map is ambiguous: {why}")));
                }
                folded = Some(why);
            }
        }
        Ok(folded)
    }
}

/// A prefix as it is matched.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Prefix {
    /// As the user wrote it.
    written: String,
    /// What paths below begin with: it ends in `/`.
    head: String,
    /// Nothing but a scheme or the root: it is no path itself, and what follows must not begin with another `/`.
    bare: bool,
}

/// What follows a prefix in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest<'a> {
    /// Nothing: the path is the prefix, without a slash.
    Itself,
    /// What is below, without the slash before it.
    Below(&'a str),
}

impl Prefix {
    fn parse(text: &str) -> Result<Prefix> {
        let trimmed = text.trim_end_matches('/');
        let bare = trimmed.is_empty() || trimmed.ends_with(':');
        if text.is_empty() || (bare && trimmed == text) || text.contains('\0') {
            return Err(Error::bad_request(format!(
                "{text:?} is no prefix of a location: give a path or a scheme with its slashes"
            )));
        }
        let head = if bare { text.to_owned() } else { format!("{trimmed}/") };
        Ok(Prefix { written: text.to_owned(), head, bare })
    }

    /// The path that stands at `rest` of this prefix.
    fn with(&self, rest: Rest<'_>) -> String {
        match rest {
            Rest::Itself => self.head[..self.head.len() - 1].to_owned(),
            Rest::Below(below) => {
                let mut path = String::with_capacity(self.head.len() + below.len());
                path.push_str(&self.head);
                path.push_str(below);
                path
            }
        }
    }
}

fn pair(from: &str, to: &str) -> Result<Pair> {
    Ok(Pair { from: Prefix::parse(from)?, to: Prefix::parse(to)? })
}

/// What follows `from` in `path`, if a pair of `from` and `to` covers it.
fn rest<'a>(from: &Prefix, to: &Prefix, path: &'a str) -> Option<Rest<'a>> {
    match path.strip_prefix(from.head.as_str()) {
        // a further slash behind a bare scheme is another scheme's spelling (`file:///` is not below `file:/`)
        Some(below) if (from.bare || to.bare) && below.starts_with('/') => None,
        // a root is no path of a table, and the way back could not tell it with and without its slash
        Some("") if from.bare || to.bare => None,
        Some(below) => Some(Rest::Below(below)),
        None => {
            let whole = !from.bare && !to.bare && path.len() + 1 == from.head.len() && from.head.starts_with(path);
            whole.then_some(Rest::Itself)
        }
    }
}

/// What follows a prefix that is known to cover `path`.
fn rest_or_whole<'a>(prefix: &Prefix, path: &'a str) -> Rest<'a> {
    path.strip_prefix(prefix.head.as_str()).map_or(Rest::Itself, Rest::Below)
}

#[cfg(test)]
#[path = "location_tests.rs"]
mod tests;
