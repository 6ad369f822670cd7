//! Who asks, and what they may do.
//!
//! Roles are per catalog and ordered: whoever may write may read, and an operator may do all.
//! How a caller proves who they are is the server's business; finer rights would be rules beside [`Role`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::CatalogName;

/// What a caller may do with a catalog; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// List and load.
    Read,
    /// And create, commit, rename, drop.
    Write,
    /// And operate Lifeboat itself.
    Operator,
}

/// A caller, as far as we know them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: String,
    roles: BTreeMap<String, Role>,
    everywhere: Option<Role>,
}

impl Principal {
    /// The only caller of a server without authentication (loopback only): may do all.
    pub fn local() -> Self {
        Principal { name: "local".into(), roles: BTreeMap::new(), everywhere: Some(Role::Operator) }
    }

    /// A caller by name with a role per catalog; the key `*` stands for every catalog.
    pub fn new(name: impl Into<String>, mut roles: BTreeMap<String, Role>) -> Self {
        let everywhere = roles.remove("*");
        Principal { name: name.into(), roles, everywhere }
    }

    /// The name to log and to keep cached answers apart by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role in one catalog, if any.
    pub fn role(&self, catalog: &CatalogName) -> Option<Role> {
        self.roles.get(catalog.as_str()).copied().max(self.everywhere)
    }

    /// The role in Lifeboat as a whole (admin routes): what holds in every catalog.
    pub fn role_everywhere(&self) -> Option<Role> {
        self.everywhere
    }
}
