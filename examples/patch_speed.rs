//! How fast manifests are patched on one core, beside what only unpacking and packing their blocks again takes with the same library.
//!
//! `cargo run --release --example patch_speed -- FOLDER FROM TO [ROUNDS]` reads every `.avro` file of a folder into memory, maps FROM to TO, and prints
//! the medians as one JSON object.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lifeboat::format::avro::{self, Scratch};
use lifeboat::format::location::LocationMap;
use lifeboat::format::relocate::{Paths, relocate_manifest};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, from, to, rest @ ..] = arguments.as_slice() else {
        return Err("give a folder of manifests, a prefix and what takes its place".into());
    };
    let rounds: usize = rest.first().map_or(Ok(5), |text| text.parse())?;
    let files = read(Path::new(folder))?;
    let paths = Paths::absolute(Arc::new(LocationMap::new([(from, to)])?));
    let mut scratch = Scratch::default();
    let (mut patching, mut packing, mut entries) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let began = Instant::now();
        for (name, bytes) in &files {
            avro::repack(bytes, name, &mut scratch)?;
        }
        packing.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        entries = 0;
        for (name, bytes) in &files {
            let patched = relocate_manifest(bytes, name, &paths, &HashMap::new(), &mut scratch)?;
            entries += patched.entries;
        }
        patching.push(began.elapsed().as_secs_f64());
    }
    let (patch_seconds, codec_seconds) = (median(patching), median(packing));
    println!(
        "{{\"files\": {}, \"entries\": {entries}, \"patch_seconds\": {patch_seconds:.4}, \"codec_seconds\": {codec_seconds:.4}, \
         \"ratio\": {:.3}, \"entries_per_second\": {:.0}}}",
        files.len(),
        patch_seconds / codec_seconds,
        entries as f64 / patch_seconds
    );
    Ok(())
}

fn read(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".avro") && !name.starts_with("snap-") {
            files.push((name, std::fs::read(&path)?));
        }
    }
    Ok(files)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
