//! Plans of several lists and a script that gives each to its tool: DistCp has one per target folder, rclone one per pair of roots.
//!
//! What must hold: the script appears last, so that it is never there without its lists; of the lists a bounded number is open at once. Both tools
//! skip what has arrived, so a script may be run again.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::parts::{Place, quoted, unsayable};
use super::{UNFINISHED, Unfinished, failure, folder, is_ours};
use crate::error::{Error, Kind, Result};
use crate::table::relocate::LiveFile;

/// Lists of one plan.
pub(super) const LISTS_MAX: usize = 200_000;
/// Lists that are open at once.
const OPEN_MAX: usize = 64;
/// How names of lists end.
pub(super) const LIST_SUFFIX: &str = ".txt";
/// What DistCp takes for a pattern in the lines of a list.
const PATTERNS: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

/// Who reads the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Distcp,
    Rclone,
}

/// What a list is for: the roots of all files on it. DistCp's lists have no source root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Roots {
    source: String,
    target: String,
}

/// A plan's lists in the making.
pub(super) struct Lists {
    tool: Tool,
    folder: TempDir,
    numbers: HashMap<Roots, usize>,
    /// The one that was used last comes last.
    open: Vec<(usize, BufWriter<File>)>,
}

impl Lists {
    pub(super) fn beside(path: &Path, tool: Tool) -> Result<Lists> {
        let lists = lists_of(path)?;
        if lists.exists() && !(lists.is_dir() && is_ours(&lists)?) {
            let message = format!("{} is there and holds more than the lists of a copy plan: move it", lists.display());
            return Err(Error::bad_request(message));
        }
        let made = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(folder(path));
        let made = made.map_err(|e| failure(path, &e))?;
        Ok(Lists { tool, folder: made, numbers: HashMap::new(), open: Vec::new() })
    }

    pub(super) fn add(&mut self, file: &LiveFile) -> Result<()> {
        let (roots, line) = match self.tool {
            Tool::Distcp => distcp(file)?,
            Tool::Rclone => rclone(file)?,
        };
        let next = self.numbers.len();
        let number = *self.numbers.entry(roots).or_insert(next);
        if number >= LISTS_MAX {
            let message = format!(
                "the plan would have more than {LISTS_MAX} lists: the files are spread over too many folders; use another format"
            );
            return Err(Error::new(Kind::Unprocessable, message));
        }
        let path = list(self.folder.path(), number);
        let out = self.open(number, &path)?;
        let written = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n"));
        written.map_err(|e| failure(&path, &e))
    }

    /// The list of this number, open; the one that has waited longest is closed for it.
    fn open(&mut self, number: usize, path: &Path) -> Result<&mut BufWriter<File>> {
        let found = match self.open.iter().rposition(|(open, _)| *open == number) {
            Some(at) => self.open.remove(at),
            None => {
                if self.open.len() >= OPEN_MAX {
                    let (_, mut oldest) = self.open.remove(0);
                    oldest.flush().map_err(|e| failure(path, &e))?;
                }
                let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| failure(path, &e))?;
                (number, BufWriter::new(file))
            }
        };
        self.open.push(found);
        self.open.last_mut().map(|(_, out)| out).ok_or_else(|| Error::internal("a list was closed"))
    }

    pub(super) fn publish(self, path: &Path) -> Result<()> {
        let lists = lists_of(path)?;
        let failed = |e: std::io::Error| failure(&lists, &e);
        for (_, mut out) in self.open {
            out.flush().map_err(failed)?;
        }
        let mut roots: Vec<(&Roots, usize)> = self.numbers.iter().map(|(roots, number)| (roots, *number)).collect();
        roots.sort_by_key(|(_, number)| *number);
        for (_, number) in &roots {
            File::open(list(self.folder.path(), *number)).and_then(|file| file.sync_all()).map_err(failed)?;
        }
        let mut script = Unfinished::beside(path)?;
        let name = lists.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        for line in head(self.tool, name) {
            script.line(&line)?;
        }
        for (roots, number) in roots {
            for line in commands(self.tool, roots, number)? {
                script.line(&line)?;
            }
        }
        // from here on there is no plan, until the new one is whole
        for old in [path, &lists] {
            let gone = if old == path { fs::remove_file(old) } else { fs::remove_dir_all(old) };
            gone.or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }).map_err(failed)?;
        }
        let made = self.folder.keep();
        fs::set_permissions(&made, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(failed)?;
        fs::rename(&made, &lists).map_err(failed)?;
        script.publish_as(path, 0o755)
    }
}

/// The folder of a plan's lists.
fn lists_of(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.contains(['\n', '\r']));
    let name = name.ok_or_else(|| Error::bad_request("the copy plan's name must be UTF-8 on one line"))?;
    Ok(path.with_file_name(format!("{name}.lists")))
}

fn list(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{number:06}{LIST_SUFFIX}"))
}

/// DistCp puts every file of a list into one folder, under its own name.
fn distcp(file: &LiveFile) -> Result<(Roots, String)> {
    let side = |location: &str| {
        let place = Place::of(location, "DistCp")?;
        place.check_plain(location, "DistCp")?;
        if location.contains(PATTERNS) {
            return Err(unsayable(location, "DistCp"));
        }
        Ok(match place {
            // Hadoop's own S3 is spelled so; a bare path is what its default file system says it is
            Place::S3 { bucket, key } => format!("s3a://{bucket}/{key}"),
            _ => location.to_owned(),
        })
    };
    let (source, target) = (side(&file.source)?, side(&file.target)?);
    let names = (source.rsplit_once('/'), target.rsplit_once('/'));
    match names {
        (Some((_, name)), Some((folder, same))) if name == same => {
            Ok((Roots { source: String::new(), target: folder.to_owned() }, source))
        }
        _ => {
            let message = format!("DistCp keeps the names of files, and {source:?} would become {target:?}; use csv");
            Err(Error::new(Kind::Unprocessable, message))
        }
    }
}

/// rclone copies what is below one root to the same place below another one.
fn rclone(file: &LiveFile) -> Result<(Roots, String)> {
    let (source, target) = (Place::of(&file.source, "rclone")?, Place::of(&file.target, "rclone")?);
    source.check_plain(&file.source, "rclone")?;
    target.check_plain(&file.target, "rclone")?;
    let shared = source.path().rsplit('/').zip(target.path().rsplit('/')).take_while(|(here, there)| here == there);
    let line: Vec<&str> = shared.map(|(here, _)| here).collect();
    if line.is_empty() {
        let message =
            format!("rclone keeps the names of files, and {:?} would become {:?}; use csv", file.source, file.target);
        return Err(Error::new(Kind::Unprocessable, message));
    }
    let line = line.into_iter().rev().collect::<Vec<_>>().join("/");
    let root = |location: &str| location[..location.len() - line.len()].to_owned();
    Ok((Roots { source: root(&file.source), target: root(&file.target) }, line))
}

/// How a script begins.
fn head(tool: Tool, lists: &str) -> Vec<String> {
    let mut head = vec![
        "#!/bin/sh".to_owned(),
        "# Copies what a relocated table needs and is not at its target yet. Written by lifeboat; may be run again."
            .to_owned(),
    ];
    head.push(match tool {
        Tool::Distcp => "# Arguments are passed on to every `hadoop distcp`.".to_owned(),
        Tool::Rclone => {
            "# Arguments are passed on to every `rclone copy`; remotes can be set by the variables below.".to_owned()
        }
    });
    head.push("set -eu".to_owned());
    head.push(format!("lists=$(cd \"$(dirname \"$0\")\" && pwd)/{}", quoted(lists)));
    if tool == Tool::Rclone {
        for side in ["SOURCE", "TARGET"] {
            head.push(format!("{side}_S3=${{{side}_S3:-:s3,provider=AWS,env_auth=true:}}"));
        }
    }
    head
}

/// What a script does with one list.
fn commands(tool: Tool, roots: &Roots, number: usize) -> Result<Vec<String>> {
    let list = format!("{number:06}{LIST_SUFFIX}");
    Ok(match tool {
        Tool::Distcp => {
            let target = quoted(&roots.target);
            vec![
                // into a folder that is not there, a list of one file would be copied as that folder
                format!("hadoop fs -mkdir -p {target}"),
                format!("hadoop distcp -update \"$@\" -f \"file://$lists/{list}\" {target}"),
            ]
        }
        Tool::Rclone => {
            let (source, target) = (remote(&roots.source, "SOURCE")?, remote(&roots.target, "TARGET")?);
            vec![format!("rclone copy \"$@\" --files-from-raw \"$lists/{list}\" {source} {target}")]
        }
    })
}

/// A root as rclone names it, as one word of a shell.
fn remote(root: &str, side: &str) -> Result<String> {
    Ok(match Place::of(root, "rclone")? {
        Place::Local(path) => quoted(path),
        Place::S3 { bucket, key } => format!("\"${side}_S3\"{}", quoted(&format!("{bucket}/{key}"))),
        Place::Other { scheme, authority, path } => {
            let plain = |text: &str| {
                text.chars()
                    .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
                    .collect::<String>()
            };
            let name = format!("{side}_{}_{}", plain(scheme), plain(authority));
            // of a file system the authority is the remote's own, of an object store it is the bucket
            let path = if scheme == "hdfs" { format!("/{path}") } else { format!("{authority}/{path}") };
            format!("\"${{{name}:?the rclone remote for {scheme}, with its colon}}\"{}", quoted(&path))
        }
    })
}
