//! Copy plans: the files that a relocated table needs and that are not at their target yet, as a file that a copying tool takes.
//!
//! What must hold: a plan is streamed, so that a table of any size takes the same memory, but for one name per list where a tool wants several; it
//! appears under its name only when it is whole; a name that a format cannot say is an error that says so, never another name. Which files are
//! missing is `table::relocate::check`'s question, and the copying is the tool's.

mod batch;
mod lists;
mod parts;
#[cfg(test)]
mod tests;

use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

use super::relocate::LiveFile;
use crate::error::{Error, Kind, Result};
use batch::Batch;
use lists::{Lists, Tool};
use parts::{Place, quoted};

/// What is not whole yet begins with this.
const UNFINISHED: &str = ".lifeboat-unfinished-";

/// Which tool is to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CopyPlanFormat {
    /// `source,target,size_bytes`, for scripts.
    #[default]
    Csv,
    /// Commands for `s5cmd run`.
    S5cmd,
    /// A manifest for S3 Batch Operations.
    S3Batch,
    /// A script of `hadoop distcp`, with a folder of lists.
    Distcp,
    /// A script of `rclone copy`, with a folder of lists.
    Rclone,
}

/// A plan that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CopyPlanned {
    /// Where it is.
    pub file: String,
    /// Files to copy.
    pub files: u64,
    /// Their bytes, as far as the metadata states them.
    pub bytes: u64,
    /// What there is to know for using it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A plan in the making. Dropped before it is finished, it leaves nothing behind.
pub struct CopyPlan {
    path: PathBuf,
    body: Body,
    files: u64,
    bytes: u64,
}

enum Body {
    Csv(Unfinished),
    S5cmd(Unfinished),
    S3Batch(Unfinished, Batch),
    Lists(Lists),
}

impl CopyPlan {
    /// Begins a plan that will be at `path`, in a folder that is there.
    pub fn create(path: &Path, format: CopyPlanFormat) -> Result<CopyPlan> {
        let path = std::path::absolute(path).map_err(|e| failure(path, &e))?;
        if path.is_dir() {
            return Err(Error::bad_request(format!("{} is a folder: name a file for the copy plan", path.display())));
        }
        let body = match format {
            CopyPlanFormat::Csv => {
                let mut file = Unfinished::beside(&path)?;
                file.line("source,target,size_bytes")?;
                Body::Csv(file)
            }
            CopyPlanFormat::S5cmd => Body::S5cmd(Unfinished::beside(&path)?),
            CopyPlanFormat::S3Batch => Body::S3Batch(Unfinished::beside(&path)?, Batch::default()),
            CopyPlanFormat::Distcp => Body::Lists(Lists::beside(&path, Tool::Distcp)?),
            CopyPlanFormat::Rclone => Body::Lists(Lists::beside(&path, Tool::Rclone)?),
        };
        Ok(CopyPlan { path, body, files: 0, bytes: 0 })
    }

    /// One more file to copy; false where there is nothing to copy it from, since source and target are one place.
    pub fn add(&mut self, file: &LiveFile) -> Result<bool> {
        if file.source == file.target {
            return Ok(false);
        }
        match &mut self.body {
            Body::Csv(out) => out.line(&csv(file)),
            Body::S5cmd(out) => s5cmd(file).and_then(|line| out.line(&line)),
            Body::S3Batch(out, batch) => batch.line(file).and_then(|line| out.line(&line)),
            Body::Lists(lists) => lists.add(file),
        }
        .map_err(|e| e.context(format!("copy plan {}", self.path.display())))?;
        self.files += 1;
        self.bytes += file.size_bytes.unwrap_or(0);
        Ok(true)
    }

    /// Puts the plan under its name, in place of one that is there.
    pub fn finish(self) -> Result<CopyPlanned> {
        let CopyPlan { path, body, files, bytes } = self;
        let notes = match body {
            Body::Csv(out) | Body::S5cmd(out) => out.publish(&path).map(|()| Vec::new()),
            Body::S3Batch(out, batch) => out.publish(&path).map(|()| batch.notes()),
            Body::Lists(lists) => lists.publish(&path).map(|()| Vec::new()),
        };
        let notes = notes.map_err(|e| e.context(format!("copy plan {}", path.display())))?;
        Ok(CopyPlanned { file: path.display().to_string(), files, bytes, notes })
    }
}

/// One line of RFC 4180, without its end.
fn csv(file: &LiveFile) -> String {
    let field = |text: &str| match text.contains(['"', ',', '\r', '\n']) || text != text.trim() {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let size = file.size_bytes.map(|size| size.to_string()).unwrap_or_default();
    format!("{},{},{size}", field(&file.source), field(&file.target))
}

/// One command of `s5cmd run`, which splits a line as a shell would.
fn s5cmd(file: &LiveFile) -> Result<String> {
    let side = |location: &str| {
        let place = Place::of(location, "s5cmd")?;
        place.check_plain(location, "s5cmd")?;
        match place {
            // it tells the two by this alone
            Place::Local(path) if !path.contains("://") => Ok(path.to_owned()),
            Place::S3 { bucket, key } if !key.contains("://") => Ok(format!("s3://{bucket}/{key}")),
            _ => Err(parts::unsayable(location, "s5cmd")),
        }
    };
    let (source, target) = (side(&file.source)?, side(&file.target)?);
    if !source.starts_with("s3://") && !target.starts_with("s3://") {
        let message =
            format!("{source:?} and {target:?} are both local, and s5cmd copies to or from S3 only; use csv or rclone");
        return Err(Error::new(Kind::Unprocessable, message));
    }
    // without it these would be patterns
    let raw = if [&source, &target].iter().any(|name| name.contains(['*', '?'])) { " --raw" } else { "" };
    Ok(format!("cp{raw} {} {}", quoted(&source), quoted(&target)))
}

/// A file that has no name yet.
struct Unfinished(BufWriter<NamedTempFile>);

impl Unfinished {
    fn beside(path: &Path) -> Result<Unfinished> {
        let file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder(path));
        let file = file.map_err(|e| failure(path, &e))?;
        Ok(Unfinished(BufWriter::new(file)))
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let written = self.0.write_all(line.as_bytes()).and_then(|()| self.0.write_all(b"\n"));
        written.map_err(|e| failure(self.0.get_ref().path(), &e))
    }

    fn publish(self, path: &Path) -> Result<()> {
        self.publish_as(path, 0o644)
    }

    fn publish_as(self, path: &Path, mode: u32) -> Result<()> {
        let failed = |e: std::io::Error| failure(path, &e);
        let file = self.0.into_inner().map_err(|e| failed(e.into_error()))?;
        file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|e| failed(e.error))?;
        File::open(folder(path)).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failure(path: &Path, e: &std::io::Error) -> Error {
    Error::bad_request(format!("the copy plan {} cannot be written: {e}", path.display()))
}

/// Whether nothing but what an earlier plan left is in a folder.
fn is_ours(folder: &Path) -> Result<bool> {
    let entries = fs::read_dir(folder).map_err(|e| failure(folder, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| failure(folder, &e))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(lists::LIST_SUFFIX));
        if number.is_none_or(|number| number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit())) {
            return Ok(false);
        }
    }
    Ok(true)
}
