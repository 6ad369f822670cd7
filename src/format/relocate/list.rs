//! Manifest lists: each manifest's new place (500) and exact new length (501).

use std::collections::HashMap;

use super::{Paths, encrypted};
use crate::error::Result;
use crate::format::avro::{Blocks, Patch, Scratch, Spans, broken, encode_bytes, encode_long, list, open};

/// Where a manifest was written, and its length there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewManifest {
    /// Its new location.
    pub path: String,
    /// Its new length.
    pub length_bytes: i64,
}

/// The manifest list `name` with every manifest at its new place. `manifests` is by resolved source path, and has all of them.
pub fn relocate_list(
    bytes: &[u8],
    name: &str,
    paths: &Paths,
    manifests: &HashMap<String, NewManifest>,
) -> Result<Vec<u8>> {
    let needed: [(&[i32], &str); 2] = [(&[500], "manifest_path"), (&[501], "manifest_length")];
    let (header, schema) = open(bytes, name, &list::NOTED, &needed)?;
    let Scratch { mut unpack, mut pack, mut edits } = Scratch::default();
    let mut patch = Patch::new(bytes, &header, name, &mut pack);
    let mut blocks = Blocks::for_patch(bytes, &header, name, &mut unpack);
    let mut spans = Spans::new(list::COUNT);
    while let Some(block) = blocks.next_block()? {
        edits.clear();
        block.each_record(&schema, &mut spans, name, |spans, _| {
            let path = spans.text(&schema, block.raw, list::PATH).map_err(|e| broken(name, e))?.unwrap_or_default();
            if spans.get(list::KEY).is_there() {
                return Err(encrypted(path, "the manifest list has key metadata for it"));
            }
            let new = manifests
                .get(&*paths.resolve(path))
                .ok_or_else(|| broken(name, format!("it names {path:?}, which was not relocated")))?;
            let first = edits.len();
            let (place, length) = (spans.get(list::PATH), spans.get(list::LENGTH));
            edits.replace(place.value, place.end, |out| encode_bytes(out, new.path.as_bytes()));
            edits.replace(length.value, length.end, |out| encode_long(out, new.length_bytes));
            edits.sort_from(first);
            Ok(())
        })?;
        patch.add(block.records, block.raw, block.tokens, &edits)?;
    }
    patch.finish()
}
