//! Puffin files that somebody else wrote: their vectors pointed elsewhere, and back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat::format::location::LocationMap;
use lifeboat::format::puffin;

fuzz_target!(|data: &[u8]| {
    let map = LocationMap::new([("file:/tmp/warehouse", "s3://elsewhere")]).expect("a map");
    let back = map.inverse().expect("a way back");
    let Ok(there) = puffin::relocate(data, "fuzzed", &map) else { return };
    let blobs = puffin::blobs(data, "fuzzed").expect("what can be relocated can be read");
    assert_eq!(puffin::blobs(&there, "there").expect("what we write can be read").len(), blobs.len());
    let again = puffin::relocate(&there, "there", &back).expect("what we write has a way back");
    assert_eq!(puffin::blobs(&again, "again").expect("and can be read"), blobs);
});
