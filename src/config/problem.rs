//! What is wrong with a configuration: every problem with its file, line, key, and what to write instead.
//!
//! No message holds the value of a secret.

use std::fmt;

use crate::error::{Error, Kind};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line in the file, from 1; 0 where there is no file (command-line flags).
    pub line: u64,
    /// The key by its full path, such as `catalogs.main.upstream.uri`; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Problem {
    /// A problem of a key.
    pub(super) fn new(line: u64, key: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { line, key: key.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Every problem of one configuration, in the order of lines; never empty when it is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file's name as it was given, if there is a file.
    pub file: Option<String>,
    /// The problems.
    pub list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or("the configuration");
        let count = self.list.len();
        write!(f, "{file} has {count} problem{}", if count == 1 { "" } else { "s" })?;
        for problem in &self.list {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Error {
        Error::new(Kind::BadRequest, problems.to_string())
    }
}
