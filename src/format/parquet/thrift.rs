//! Thrift's compact protocol, as much of it as the headers of a Parquet file need.
//!
//! What must hold: nothing is allocated, a count that cannot fit what is left is refused before it is counted to, and nesting has an end.
//! Which field means what is for the callers.

use super::{Fault, damaged};

/// The kinds of fields and elements that callers look at; the others are skipped.
pub(super) const TRUE: u8 = 1;
pub(super) const FALSE: u8 = 2;
pub(super) const BYTE: u8 = 3;
pub(super) const I32: u8 = 5;
pub(super) const I64: u8 = 6;
pub(super) const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;

const STOP: u8 = 0;
const I16: u8 = 4;
const DOUBLE: u8 = 7;
const SET: u8 = 10;
const MAP: u8 = 11;
const UUID: u8 = 13;

/// How deep what is skipped may nest.
const DEPTH_MAX: usize = 64;
/// Bytes of a number of 64 bits.
const VARINT_BYTES_MAX: u32 = 10;

/// What is left to read.
#[derive(Debug)]
pub(super) struct Thrift<'a> {
    rest: &'a [u8],
}

impl<'a> Thrift<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Thrift<'a> {
        Thrift { rest: bytes }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Reads a struct: `field` gets each field's id and kind and says whether it has read it; otherwise it is skipped.
    pub(super) fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self, i16, u8) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0f;
            if kind == STOP {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.number()?.try_into().or_else(|_| damaged("a field's id is out of range"))?,
                step => id.checked_add(i16::from(step)).map_or_else(|| damaged("a field's id is out of range"), Ok)?,
            };
            if !field(self, id, kind)? {
                self.skip(kind, DEPTH_MAX)?;
            }
        }
    }

    /// Reads the head of a list: the kind of its elements and how many follow.
    pub(super) fn list(&mut self) -> Result<(u8, usize), Fault> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            few => u64::from(few),
        };
        // an element takes a byte at least
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() => Ok((head & 0x0f, count)),
            _ => damaged("a list is longer than the file"),
        }
    }

    /// Reads a list of structs, each with `element`.
    pub(super) fn structs(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        let (kind, count) = self.list()?;
        if count > 0 && kind != STRUCT {
            return damaged("a list has elements of another kind");
        }
        (0..count).try_for_each(|_| element(self))
    }

    /// Reads a number of any width.
    pub(super) fn number(&mut self) -> Result<i64, Fault> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Reads a number that must fit 32 bits.
    pub(super) fn i32(&mut self) -> Result<i32, Fault> {
        self.number()?.try_into().or_else(|_| damaged("a number is out of range"))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), Fault> {
        let Some(depth) = depth.checked_sub(1) else { return damaged("its headers nest too deep") };
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.pass(1),
            I16 | I32 | I64 => self.varint().map(|_| ()),
            DOUBLE => self.pass(8),
            UUID => self.pass(16),
            BINARY => {
                let length = self.varint()?;
                self.pass(length)
            }
            STRUCT => self.fields(|inner, _, kind| inner.skip(kind, depth).map(|()| true)),
            LIST | SET => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(kind, depth))
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                for _ in 0..count {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0x0f, depth)?;
                }
                Ok(())
            }
            other => damaged(format!("a header has a field of the unknown kind {other}")),
        }
    }

    /// In a list a truth takes a byte, as a field it is its kind.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Result<(), Fault> {
        if matches!(kind, TRUE | FALSE) { self.pass(1) } else { self.skip(kind, depth) }
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let Some((first, rest)) = self.rest.split_first() else { return damaged("a header ends early") };
        self.rest = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for place in 0..VARINT_BYTES_MAX {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        damaged("a number has no end")
    }

    fn pass(&mut self, bytes: u64) -> Result<(), Fault> {
        let rest = usize::try_from(bytes).ok().and_then(|bytes| self.rest.get(bytes..));
        let Some(rest) = rest else { return damaged("a header ends early") };
        self.rest = rest;
        Ok(())
    }
}
