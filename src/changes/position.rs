//! Where a reader of a table's changes stands, as an opaque text.
//!
//! What must hold: a position means the same for good: it names a snapshot and a place among the manifests that its changes are read from, whose
//! order never changes. One of another table, or one that was changed on its way, is refused. Whether its snapshot is still there is for others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The first byte: how the rest is to be read.
const VERSION: u8 = 1;
const TABLE_BYTES: usize = 16;
const CHECK_BYTES: usize = 4;
/// Longer texts are no positions.
const CHARS_MAX: usize = 128;

/// What a table is known by, whatever it is called: its uuid; of tables that have none, a digest of where they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableId(String);

impl TableId {
    /// Of a table's metadata.
    pub fn of(metadata: &Value) -> TableId {
        match metadata["table-uuid"].as_str().filter(|uuid| !uuid.is_empty()) {
            Some(uuid) => TableId(uuid.to_lowercase()),
            None => {
                let place = Sha256::digest(metadata["location"].as_str().unwrap_or_default());
                TableId(place[..TABLE_BYTES].iter().map(|byte| format!("{byte:02x}")).collect())
            }
        }
    }

    /// As it was kept.
    pub(super) fn kept(text: &str) -> TableId {
        TableId(text.to_owned())
    }

    /// As positions are kept by.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn digest(&self) -> [u8; TABLE_BYTES] {
        let mut digest = [0; TABLE_BYTES];
        digest.copy_from_slice(&Sha256::digest(&self.0)[..TABLE_BYTES]);
        digest
    }
}

/// The next entry to be read of a snapshot's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Next {
    /// Which of the manifests that its changes are read from.
    pub manifest: u32,
    /// Which entry of that manifest.
    pub entry: u32,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Nothing: the branch had no snapshot.
    Start,
    /// All of a snapshot and of those before it.
    After(i64),
    /// A part of what was live in the oldest snapshot.
    Base(i64, Next),
    /// All up to a parent, and a part of what the snapshot after it did.
    Within {
        /// What is read next.
        snapshot_id: i64,
        /// The snapshot before it.
        parent_id: i64,
        /// Where in it.
        next: Next,
    },
}

impl Position {
    /// The snapshot that is needed to go on from here, with all that are newer.
    pub fn needs(self) -> Option<i64> {
        match self {
            Position::Start => None,
            Position::After(id) | Position::Base(id, _) | Position::Within { parent_id: id, .. } => Some(id),
        }
    }

    /// As a text, with the sequence number of the snapshot that it needs.
    pub(super) fn text(self, table: &TableId, sequence_number: i64) -> String {
        let (kind, ids, next) = match self {
            Position::Start => (0, [0, 0], Next::default()),
            Position::After(id) => (1, [id, 0], Next::default()),
            Position::Base(id, next) => (2, [id, 0], next),
            Position::Within { snapshot_id, parent_id, next } => (3, [snapshot_id, parent_id], next),
        };
        let mut bytes = vec![VERSION, kind];
        bytes.extend_from_slice(&table.digest());
        bytes.extend(sequence_number.to_be_bytes());
        // no more than the kind has
        ids.iter()
            .take(usize::from(kind).min(1) + usize::from(kind == 3))
            .for_each(|id| bytes.extend(id.to_be_bytes()));
        if kind > 1 {
            bytes.extend(next.manifest.to_be_bytes());
            bytes.extend(next.entry.to_be_bytes());
        }
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check[..CHECK_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Of a text that [`Position::text`] made for the same table, with the sequence number.
    pub(super) fn parse(text: &str, table: &TableId) -> Result<(Position, i64)> {
        let wrong = || Error::bad_request("this is no position: take one as an answer's next-position has it");
        let bytes = if text.len() <= CHARS_MAX { URL_SAFE_NO_PAD.decode(text).ok() } else { None }.ok_or_else(wrong)?;
        let (body, check) = bytes.split_at_checked(bytes.len().saturating_sub(CHECK_BYTES)).ok_or_else(wrong)?;
        if Sha256::digest(body)[..CHECK_BYTES] != *check {
            return Err(wrong());
        }
        let (&[version, kind], rest) = body.split_first_chunk::<2>().ok_or_else(wrong)?;
        if version != VERSION {
            return Err(Error::bad_request(
                "the position is of a newer release of Lifeboat; use that release or a newer one",
            ));
        }
        let (of, rest) = rest.split_at_checked(TABLE_BYTES).ok_or_else(wrong)?;
        if of != table.digest() {
            let message = "the position is of another table; where a table was made anew under its name, begin without a position";
            return Err(Error::bad_request(message));
        }
        let (sequence_number, rest) = rest.split_first_chunk().ok_or_else(wrong)?;
        let id = |at: usize| Some(i64::from_be_bytes(*rest.get(at..)?.first_chunk()?));
        let next = |at: usize| {
            let rest = rest.get(at..)?;
            let (manifest, entry) = (rest.first_chunk()?, rest.get(4..)?.first_chunk()?);
            Some(Next { manifest: u32::from_be_bytes(*manifest), entry: u32::from_be_bytes(*entry) })
        };
        let read = || match (kind, rest.len()) {
            (0, 0) => Some(Position::Start),
            (1, 8) => Some(Position::After(id(0)?)),
            (2, 16) => Some(Position::Base(id(0)?, next(8)?)),
            (3, 24) => Some(Position::Within { snapshot_id: id(0)?, parent_id: id(8)?, next: next(16)? }),
            _ => None,
        };
        Ok((read().ok_or_else(wrong)?, i64::from_be_bytes(*sequence_number)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::error::Kind;

    fn table(uuid: &str) -> TableId {
        TableId::of(&json!({ "table-uuid": uuid, "location": "s3://lake/t" }))
    }

    #[test]
    fn a_position_is_for_one_table_and_whole() {
        let next = Next { manifest: 7, entry: u32::MAX };
        let all = [
            Position::Start,
            Position::After(i64::MAX),
            Position::Base(-3, next),
            Position::Within { snapshot_id: 5, parent_id: 4, next },
        ];
        for position in all {
            let text = position.text(&table("a"), 7);
            assert_eq!(Position::parse(&text, &table("A")).expect("its own"), (position, 7));
            let other = Position::parse(&text, &table("b")).expect_err("another table's");
            assert!(other.message().contains("another table"), "{}", other.message());
            for cut in 0..text.len() {
                assert_eq!(Position::parse(&text[..cut], &table("a")).expect_err("cut").kind(), Kind::BadRequest);
            }
        }
        let placed = TableId::of(&json!({ "location": "s3://lake/t" }));
        assert_ne!(placed, TableId::of(&json!({ "location": "s3://lake/u" })));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_a_position(text in "[A-Za-z0-9_=-]{0,140}") {
            prop_assert!(Position::parse(&text, &table("a")).is_err());
        }
    }
}
