//! Position deletes in Parquet that somebody else wrote: rewritten, and back.
#![no_main]

use std::panic;
use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use lifeboat::format::deletes::parquet::rewrite;
use lifeboat::format::location::LocationMap;

static HOOK: Once = Once::new();

/// A panic of a library below is caught and is an error; one of ours ends the run.
fn fence() {
    HOOK.call_once(|| {
        let abort = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = |file: &str| file.contains("format/deletes") || file.contains("format/parquet") || file.contains("fuzz_targets");
            if info.location().is_none_or(|at| ours(at.file())) {
                abort(info);
            }
        }));
    });
}

fuzz_target!(|data: &[u8]| {
    fence();
    // two days change places, so that files with both are sorted anew
    let map = LocationMap::new([
        ("s3://warehouse/db/events/data/day=2026-01-01", "s3://elsewhere/2"),
        ("s3://warehouse/db/events/data/day=2026-01-02", "s3://elsewhere/1"),
        ("file:/tmp/warehouse", "s3://other"),
    ]);
    let map = map.expect("a map");
    let Ok(there) = rewrite(data.to_vec().into(), "fuzzed", &map) else { return };
    let again = rewrite(there.bytes.clone().into(), "there", &map.inverse().expect("a way back"));
    let again = again.expect("what we write can be read and has a way back");
    assert_eq!((again.rows, again.column_sizes.len()), (there.rows, there.column_sizes.len()));
    let third = rewrite(again.bytes.into(), "again", &map).expect("and so has that");
    assert_eq!((third.rows, third.first_path, third.last_path), (there.rows, there.first_path, there.last_path));
});
