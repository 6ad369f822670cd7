//! Any JSON as the metadata of a table, view or function: an error or relocated metadata, never a panic.
#![no_main]

use std::collections::HashMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use lifeboat::format::location::LocationMap;
use lifeboat::format::relocate::{self, NewNames, Paths, Selection};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(metadata) = serde_json::from_slice::<Value>(bytes) else { return };
    let map = Arc::new(LocationMap::new([("s3://prod", "s3://dr/x"), ("/p", "/q")]).expect("a map"));
    let own = metadata["location"].as_str().unwrap_or_default();
    let all = [Some(Paths::absolute(map.clone())), Paths::relative(map, own).ok()];
    for paths in all.into_iter().flatten() {
        let _ = relocate::relocate_view(metadata.clone(), "v", &paths, &[("a".into(), "b".into())]);
        for selection in [Selection::All, Selection::RefsOnly, Selection::Since(1)] {
            let Ok((metadata, _)) = relocate::select(&metadata, selection) else { continue };
            let Ok(places) = relocate::manifest_places(&metadata, "m") else { continue };
            let new = |path: &String| (paths.resolve(path).into_owned(), format!("{path}x"));
            let names = NewNames {
                lists: places.iter().filter_map(|place| place.list.as_ref()).map(new).collect::<HashMap<_, _>>(),
                manifests: places.iter().flat_map(|place| &place.manifests).map(new).collect(),
            };
            let _ = relocate::relocate_metadata(metadata, "m", &paths, &names, &["owner".into()]);
        }
    }
});
