//! Any bytes as a manifest, a manifest list and position deletes in Avro: an error or a file that can be read again, never a panic or a hang.
#![no_main]

use std::collections::HashMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use lifeboat::format::avro::{self, Scratch};
use lifeboat::format::deletes;
use lifeboat::format::location::LocationMap;
use lifeboat::format::partition::Columns;
use lifeboat::format::relocate::{self, NewDelete, NewManifest, Paths};

fuzz_target!(|bytes: &[u8]| {
    let map = LocationMap::new([("s3://prod", "s3://dr/x"), ("/p", "/q")]).expect("a map");
    let paths = Paths::absolute(Arc::new(map.clone()));
    let _ = deletes::avro::rewrite(bytes, "d", &map);
    if let Ok(files) = relocate::position_deletes(bytes, "m") {
        let new = |path: String| NewDelete { path, size_bytes: 5, column_sizes: vec![(1, 2)], split_offsets: vec![4] };
        let new: HashMap<String, NewDelete> = files.into_iter().map(|file| (file.path.clone(), new(file.path + "x"))).collect();
        if let Ok(patched) = relocate::relocate_manifest(bytes, "m", &paths, &new, &mut Scratch::default()) {
            let mut entries = 0;
            let read = avro::for_each_entry(&patched.bytes, "m", |_| {
                entries += 1;
                Ok(())
            });
            read.expect("what was patched can be read");
            assert_eq!(entries, patched.entries);
        }
    }
    let _ = avro::manifest_lines(bytes, "l");
    let line = avro::ManifestLine::unlisted("m".to_owned());
    let _ = avro::for_each_full_entry(bytes, &line, &Columns::default(), |_, entry| {
        entry.equality_ids()?;
        entry.partition().map(drop)
    });
    if let Ok(manifests) = avro::manifests(bytes, "l") {
        let new = |path: &str| NewManifest { path: format!("{path}y"), length_bytes: 77 };
        let new: HashMap<String, NewManifest> = manifests.iter().map(|manifest| (manifest.path.clone(), new(&manifest.path))).collect();
        if let Ok(list) = relocate::relocate_list(bytes, "l", &paths, &new) {
            let again = avro::manifests(&list, "l").expect("what was patched can be read");
            assert!(again.len() == manifests.len() && again.iter().all(|manifest| manifest.length_bytes == 77));
        }
    }
});
