//! What relocated files are called: hashes of all that decides what is in them.
//!
//! What must hold: equal names have equal bytes, whoever writes them and when. So a file is created only if it is absent, racing relocations are
//! harmless, and nobody's cache ever holds an old file under a new file's name.

use sha2::{Digest, Sha256};

use crate::format::location::LocationMap;
use crate::format::relocate::{DeleteFormat, TRANSFORM_VERSION};
use crate::storage::{Found, Location};
use crate::upstream::pointer::GZIP_SUFFIX;

/// Bytes of a hash in a name.
const HASH_BYTES: usize = 16;

/// Names for the files of one relocation.
#[derive(Debug, Clone)]
pub(super) struct Names {
    map: String,
}

impl Names {
    pub(super) fn new(map: &LocationMap) -> Self {
        Names { map: map.signature() }
    }

    /// A metadata.json, with the number that its source had.
    pub(super) fn metadata(&self, source: &Location, found: &Found, options: &str) -> String {
        let file = source.as_str().rsplit('/').next().unwrap_or_default();
        let digits = file.trim_start_matches('v');
        let digits = &digits[..digits.bytes().take_while(u8::is_ascii_digit).count()];
        let version: u64 = digits.parse().unwrap_or(0);
        // by its own name only: a user may spell the folder otherwise than the map does
        let hash = self.hash("metadata", file, found, options.as_bytes());
        let ending = if file.ends_with(GZIP_SUFFIX) { GZIP_SUFFIX } else { ".metadata.json" };
        format!("{version:05}-{hash}{ending}")
    }

    /// A manifest list, by what is in it: the names of its manifests are part of that.
    pub(super) fn list(&self, source: &str, snapshot_id: i64, bytes: &[u8]) -> String {
        let found = Found { size_bytes: bytes.len() as u64, etag: None };
        format!("snap-{snapshot_id}-{}.avro", self.hash("list", source, &found, &Sha256::digest(bytes)))
    }

    /// A manifest; `deletes` says which files its delete files have become.
    pub(super) fn manifest(&self, source: &str, found: &Found, deletes: &[u8]) -> String {
        format!("{}-m.avro", self.hash("manifest", source, found, deletes))
    }

    /// A delete file.
    pub(super) fn delete(&self, source: &str, found: &Found, format: DeleteFormat) -> String {
        format!("{}-deletes.{}", self.hash("deletes", source, found, &[]), format.extension())
    }

    fn hash(&self, kind: &str, source: &str, found: &Found, more: &[u8]) -> String {
        let mut hash = Sha256::new();
        let size = found.size_bytes.to_string();
        let etag = found.etag.as_deref().unwrap_or_default();
        for part in [kind.as_bytes(), source.as_bytes(), size.as_bytes(), etag.as_bytes(), self.map.as_bytes(), more] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(TRANSFORM_VERSION.to_le_bytes());
        hash.finalize()[..HASH_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
