//! Values into statements, rows out of them: text and integers, which is all that we keep.

use crate::error::{Error, Result};

/// A parameter of a statement.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A text or null.
    Maybe(Option<&'a str>),
    /// An integer.
    Integer(i64),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Value::Maybe(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Integer(number)
    }
}

/// One column of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Column {
    Null,
    Text(String),
    Integer(i64),
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(pub(super) Vec<Column>);

impl Row {
    /// The text in column `at`, counted from 0.
    pub fn text(&self, at: usize) -> Result<&str> {
        match self.0.get(at) {
            Some(Column::Text(text)) => Ok(text),
            other => Err(Error::internal(format!("column {at} of a row is {other:?}, not text"))),
        }
    }

    /// The text in column `at`, or `None` where it is null.
    pub fn maybe_text(&self, at: usize) -> Result<Option<&str>> {
        match self.0.get(at) {
            Some(Column::Null) => Ok(None),
            _ => self.text(at).map(Some),
        }
    }

    /// The integer in column `at`.
    pub fn integer(&self, at: usize) -> Result<i64> {
        match self.0.get(at) {
            Some(Column::Integer(number)) => Ok(*number),
            other => Err(Error::internal(format!("column {at} of a row is {other:?}, not an integer"))),
        }
    }
}
