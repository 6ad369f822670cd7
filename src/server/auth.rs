//! Who a request comes from: bearer tokens of our own, or the caller's own token for its upstream.
//!
//! What must hold: a token is never kept, logged or compared as text (only SHA-256 digests, in constant time), and a broken token
//! file never takes away the tokens that work. Another way to prove oneself (OIDC) would be another [`Authenticator`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{Error, Kind, Result};
use crate::model::{CatalogName, Principal, Role};

/// Shorter secrets are taken with a warning.
const SECRET_BYTES_ADVISED: usize = 16;

/// Digits of a caller's token digest in its name: enough to keep two callers' cached answers apart for good.
const CALLER_DIGITS: usize = 32;

/// A way to find out who sends a request.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The caller, or [`Kind::NotAuthorized`].
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Principal>>;
}

/// One token: whose it is and what it may do. The secret itself is not kept.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRule {
    digest: [u8; 32],
    principal: Arc<Principal>,
}

impl TokenRule {
    /// A token by its secret; `roles` by catalog name, or `*` for all.
    pub fn new(name: &str, secret: &str, roles: BTreeMap<String, Role>) -> Result<Self> {
        if secret.is_empty() || secret.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(Error::bad_request(format!(
                "the secret of token {name:?} must be visible ASCII, and not empty"
            )));
        }
        if secret.len() < SECRET_BYTES_ADVISED {
            tracing::warn!(token.name = name, "a token's secret is short; `openssl rand -hex 32` makes a good one");
        }
        Self::with_digest(name, Sha256::digest(secret).into(), roles)
    }

    /// A token by the SHA-256 digest of its secret.
    pub fn with_digest(name: &str, digest: [u8; 32], roles: BTreeMap<String, Role>) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::bad_request("a token needs a name, to be known by in the logs"));
        }
        for catalog in roles.keys().filter(|key| *key != "*") {
            CatalogName::parse(catalog).map_err(|error| error.context(format!("token {name:?}")))?;
        }
        if roles.is_empty() {
            return Err(Error::bad_request(format!("token {name:?} needs a role, such as {{\"*\": read}}")));
        }
        Ok(TokenRule { digest, principal: Arc::new(Principal::new(name, roles)) })
    }
}

impl fmt::Debug for TokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // a digest of a weak secret can be guessed from, so it is not shown either
        write!(f, "TokenRule({:?})", self.principal.name())
    }
}

/// Reads a file of tokens whole, or says what is wrong with it.
pub type ReadTokens = dyn Fn(&Path) -> Result<Vec<TokenRule>> + Send + Sync;

/// A file of tokens. What it looks like is the business of who reads it.
#[derive(Clone)]
pub struct TokensFile {
    /// Where it is.
    pub path: PathBuf,
    /// How it is read.
    pub read: Arc<ReadTokens>,
}

impl fmt::Debug for TokensFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokensFile({:?})", self.path)
    }
}

/// The tokens that are good now.
pub(super) struct Tokens {
    file: Option<TokensFile>,
    current: ArcSwap<Vec<TokenRule>>,
}

impl Tokens {
    /// Tokens that stay as they are.
    pub(super) fn fixed(rules: Vec<TokenRule>) -> Result<Self> {
        check_distinct(&rules)?;
        Ok(Tokens { file: None, current: ArcSwap::from_pointee(rules) })
    }

    /// The tokens of a file, which can be read again.
    pub(super) fn of_file(file: TokensFile) -> Result<Self> {
        let tokens = Tokens { file: Some(file), current: ArcSwap::default() };
        tokens.reload()?;
        Ok(tokens)
    }

    /// Reads the file again, if there is one, and tells whether that changed anything. On an error the tokens stay as they are.
    ///
    /// The tokens are compared, not the file's date: what it refers to (files of secrets, say) may have changed instead.
    pub(super) fn reload(&self) -> Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let rules = (file.read)(&file.path).map_err(|error| error.context(format!("token file {:?}", file.path)))?;
        check_distinct(&rules)?;
        let changed = **self.current.load() != rules;
        if changed {
            self.current.store(Arc::new(rules));
        }
        Ok(changed)
    }

    /// Whether nobody could come in by these.
    pub(super) fn is_empty(&self) -> bool {
        self.current.load().is_empty()
    }

    /// The owner of a secret. Every rule is compared, in constant time.
    pub(super) fn find(&self, secret: &str) -> Option<Arc<Principal>> {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let rules = self.current.load();
        let mut found = None;
        for rule in rules.iter() {
            if bool::from(rule.digest.ct_eq(&digest)) {
                found = Some(&rule.principal);
            }
        }
        found.cloned()
    }
}

fn check_distinct(rules: &[TokenRule]) -> Result<()> {
    let (mut names, mut digests) = (BTreeSet::new(), BTreeSet::new());
    for rule in rules {
        let name = rule.principal.name();
        if !names.insert(name) {
            return Err(Error::bad_request(format!("two tokens are named {name:?}")));
        }
        if !digests.insert(rule.digest) {
            return Err(Error::bad_request(format!("token {name:?} has the same secret as another")));
        }
    }
    Ok(())
}

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Principal>> {
        let secret = bearer(headers)?;
        self.find(secret).ok_or_else(|| Error::new(Kind::NotAuthorized, "the bearer token is not known here"))
    }
}

/// Authentication is off: everybody who reaches us may do all. Loopback only.
pub(super) struct Everybody(pub(super) Arc<Principal>);

#[async_trait]
impl Authenticator for Everybody {
    async fn authenticate(&self, _: &HeaderMap) -> Result<Arc<Principal>> {
        Ok(self.0.clone())
    }
}

/// The bearer token of a request, or [`Kind::NotAuthorized`].
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, secret) = value.and_then(|value| value.split_once(' ')).unwrap_or_default();
    let secret = secret.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || secret.is_empty() {
        return Err(Error::new(Kind::NotAuthorized, "this needs a bearer token in the Authorization header"));
    }
    Ok(secret)
}

/// The caller of a catalog whose upstream judges the caller's own token: known by a digest of it.
pub(super) fn caller(headers: &HeaderMap, catalog: &CatalogName) -> Result<Arc<Principal>> {
    let digest = Sha256::digest(bearer(headers)?);
    let mut name = String::from("caller:");
    for byte in digest.iter().take(CALLER_DIGITS / 2) {
        name.push_str(&format!("{byte:02x}"));
    }
    Ok(Arc::new(Principal::new(name, BTreeMap::from([(catalog.to_string(), Role::Write)]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, secret: &str, role: Role) -> TokenRule {
        TokenRule::new(name, secret, [("*".to_owned(), role)].into()).expect("valid")
    }

    #[test]
    fn a_secret_leads_to_its_owner_and_is_not_kept() {
        let tokens =
            Tokens::fixed(vec![rule("ann", "first-secret", Role::Read), rule("bob", "second-secret", Role::Operator)]);
        let tokens = tokens.expect("distinct");
        let bob = tokens.find("second-secret").expect("known");
        assert_eq!((bob.name(), bob.role_everywhere()), ("bob", Some(Role::Operator)));
        assert!(tokens.find("third-secret").is_none() && tokens.find("").is_none());
        assert!(!format!("{:?}", tokens.current.load()).contains("secret"));
    }

    #[test]
    fn tokens_that_could_not_be_told_apart_are_refused() {
        for (one, two) in [(("a", "secret-1"), ("a", "secret-2")), (("a", "secret-1"), ("b", "secret-1"))] {
            let rules = vec![rule(one.0, one.1, Role::Read), rule(two.0, two.1, Role::Write)];
            let error = Tokens::fixed(rules).err().expect("the same").to_string();
            assert!(!error.contains("secret-"), "{error}");
        }
        let roles = BTreeMap::from([("*".to_owned(), Role::Read)]);
        for (name, secret) in [("", "secret"), ("a", ""), ("a", "two words")] {
            assert!(TokenRule::new(name, secret, roles.clone()).is_err());
        }
        assert!(TokenRule::new("a", "secret", BTreeMap::new()).is_err());
        assert!(TokenRule::new("a", "secret", [("no/catalog".to_owned(), Role::Read)].into()).is_err());
    }

    #[test]
    fn a_caller_is_known_by_a_digest_only() {
        let mut headers = HeaderMap::new();
        let main = CatalogName::parse("main").expect("valid");
        assert_eq!(caller(&headers, &main).expect_err("no token").kind(), Kind::NotAuthorized);
        headers.insert(header::AUTHORIZATION, http::HeaderValue::from_static("bearer  abc"));
        let caller = caller(&headers, &main).expect("a token");
        assert_eq!(caller.name(), "caller:ba7816bf8f01cfea414140de5dae2223");
        assert_eq!(caller.role(&main), Some(Role::Write));
    }
}
