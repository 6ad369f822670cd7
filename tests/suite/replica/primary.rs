//! A primary's table that is written to, and somebody who copies its files elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lifeboat::format::manifest::{Codec, DataFile, FormatVersion, Status};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::relocation::{Lake, added, entry};

/// Snapshots that expiring leaves.
const KEPT: usize = 3;

/// One table with all that it ever was.
pub struct Primary {
    pub lake: Lake,
    pub folder: String,
    /// The live data files of each state, by the number in its metadata file's name.
    pub states: BTreeMap<u64, BTreeSet<String>>,
    live: BTreeMap<String, DataFile>,
    /// Files that each snapshot needs.
    snapshots: BTreeMap<i64, BTreeSet<PathBuf>>,
    /// Data files by manifest.
    named: BTreeMap<String, Vec<PathBuf>>,
    counter: u32,
    random: StdRng,
}

impl Primary {
    pub fn new(folder: &str, seed: u64) -> Primary {
        Primary {
            lake: Lake::named(FormatVersion::V2, folder),
            folder: folder.to_owned(),
            states: BTreeMap::new(),
            live: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            named: BTreeMap::new(),
            counter: 0,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// One commit of any kind.
    pub fn commit(&mut self) {
        match self.random.random_range(0..10) {
            0..=5 => self.append(),
            6 => self.delete_rows(),
            7 => self.compact(),
            _ => self.expire(),
        }
        self.save();
    }

    /// A commit whose metadata tells this time.
    pub fn append_at(&mut self, time_ms: i64) {
        self.append();
        self.lake.metadata["last-updated-ms"] = time_ms.into();
        self.save();
    }

    /// Where its files are.
    pub fn files(&self) -> PathBuf {
        self.lake.copy().join(&self.folder)
    }

    /// A metadata file that a failed commit leaves: the next number, and a state that never was.
    pub fn fail_to_commit(&mut self) {
        let next = self.states.keys().next_back().map_or(1, |last| last + 1);
        let mut metadata = self.lake.metadata.clone();
        metadata["properties"]["never"] = "committed".into();
        metadata["metadata-log"] = self.lake.log();
        let path = self.lake.path(&format!("metadata/{next:05}-orphan.metadata.json"));
        self.lake.store(&path, metadata.to_string().as_bytes());
    }

    pub fn append(&mut self) {
        let files: Vec<DataFile> = (0..self.random.random_range(1..3)).map(|_| self.new_file()).collect();
        let entries: Vec<_> = files.iter().map(|file| added(&self.lake, file.clone())).collect();
        let manifest = self.lake.manifest(&format!("m{}", self.counter), &entries, Codec::Deflate);
        self.name(&manifest.manifest_path, files.iter().map(|file| file.file_path.as_str()));
        self.live.extend(files.into_iter().map(|file| (file.file_path.clone(), file)));
        self.lake.append(vec![manifest]);
        self.keep();
    }

    fn delete_rows(&mut self) {
        let Some(of) = self.live.keys().next().cloned() else { return self.append() };
        self.counter += 1;
        let file = self.lake.position_deletes(&format!("data/d{}.avro", self.counter), &[&of]);
        let path = file.file_path.clone();
        let entries = [added(&self.lake, file)];
        let manifest = self.lake.manifest(&format!("md{}", self.counter), &entries, Codec::Deflate);
        self.name(&manifest.manifest_path, [path.as_str()].into_iter());
        self.lake.append(vec![manifest]);
        self.keep();
    }

    fn compact(&mut self) {
        let new = self.new_file();
        let mut entries = vec![added(&self.lake, new.clone())];
        let gone = std::mem::take(&mut self.live);
        entries.extend(gone.into_values().map(|file| entry(Status::Deleted, self.lake.next_id(), 1, file)));
        let manifest = self.lake.manifest(&format!("mc{}", self.counter), &entries, Codec::Null);
        self.name(&manifest.manifest_path, [new.file_path.as_str()].into_iter());
        self.live.insert(new.file_path.clone(), new);
        self.lake.commit(vec![manifest]);
        self.keep();
    }

    fn expire(&mut self) {
        while self.snapshots.len() > KEPT {
            let Some((id, files)) = self.snapshots.pop_first() else { return };
            self.lake.expire(id);
            let needed: BTreeSet<&PathBuf> = self.snapshots.values().flatten().collect();
            for file in files.iter().filter(|file| !needed.contains(file)) {
                std::fs::remove_file(file).expect("it was there");
            }
        }
    }

    fn save(&mut self) {
        let path = self.lake.save();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let version = name[..5].parse().expect("a number");
        self.states.insert(version, self.live.keys().cloned().collect());
    }

    fn new_file(&mut self) -> DataFile {
        self.counter += 1;
        self.lake.data_file(&format!("data/f{}.parquet", self.counter))
    }

    fn name<'p>(&mut self, manifest: &str, files: impl Iterator<Item = &'p str>) {
        let files = files.map(|file| self.lake.place(file)).collect();
        self.named.insert(manifest.to_owned(), files);
    }

    /// Remembers what the newest snapshot needs.
    fn keep(&mut self) {
        let id = self.lake.next_id() - 1;
        let mut files = BTreeSet::from([self.lake.place(&self.lake.path(&format!("metadata/snap-{id}.avro")))]);
        for manifest in &self.lake.manifests {
            files.insert(self.lake.place(&manifest.manifest_path));
            files.extend(self.named[&manifest.manifest_path].iter().cloned());
        }
        self.snapshots.insert(id, files);
    }
}

/// Copies one tree into another, in no order and in halves.
pub struct Replicator {
    random: StdRng,
    deletions_first: bool,
}

impl Replicator {
    pub fn new(seed: u64, deletions_first: bool) -> Replicator {
        Replicator { random: StdRng::seed_from_u64(seed), deletions_first }
    }

    /// Does one thing, if there is one left to do: half of a file, a file, or a deletion.
    pub fn step(&mut self, from: &Path, to: &Path) -> bool {
        let (there, here) = (files(from), files(to));
        let new: Vec<&String> = there.keys().filter(|name| here.get(*name) != there.get(*name)).collect();
        let gone: Vec<&String> = here.keys().filter(|name| !there.contains_key(*name)).collect();
        let deletes = !gone.is_empty() && (new.is_empty() || self.deletions_first);
        if deletes && let Some(name) = gone.choose_one(&mut self.random) {
            std::fs::remove_file(to.join(name)).expect("it is here");
            return true;
        }
        let Some(name) = new.choose_one(&mut self.random) else { return false };
        let bytes = std::fs::read(from.join(name)).expect("it is there");
        let target = to.join(name);
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("made");
        let is_half = !here.contains_key(*name) && self.random.random_bool(0.3);
        let bytes = if is_half { &bytes[..bytes.len() / 2] } else { &bytes[..] };
        std::fs::write(target, bytes).expect("copied");
        true
    }

    /// Does all that is left.
    pub fn finish(&mut self, from: &Path, to: &Path) {
        while self.step(from, to) {}
    }
}

trait ChooseOne<T> {
    fn choose_one(&self, random: &mut StdRng) -> Option<&T>;
}

impl<T> ChooseOne<T> for Vec<T> {
    fn choose_one(&self, random: &mut StdRng) -> Option<&T> {
        let mut at: Vec<usize> = (0..self.len()).collect();
        at.shuffle(random);
        self.get(*at.first()?)
    }
}

/// The files below a folder with their sizes.
pub fn files(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").to_string_lossy().into_owned();
                found.insert(name, entry.metadata().expect("its size").len());
            }
        }
    }
    found
}
