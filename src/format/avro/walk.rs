//! Walks records in the writer's schema: notes where the wanted fields are and skips everything else.
//!
//! What must hold: no length or count that the bytes claim is believed beyond what the bytes hold, and no record takes more steps than it has
//! bytes (an array of a billion nulls is damage, not work).

use super::schema::{Flat, Node, NodeId, Schema, Slot};

/// Why bytes cannot be walked.
pub(in crate::format) type Damage = &'static str;

/// Nesting of one record's values.
const DEPTH_MAX: usize = 128;

/// A place in bytes.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    raw: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At `at` in `raw`.
    pub fn new(raw: &'a [u8], at: usize) -> Self {
        Cursor { raw, at }
    }

    /// How far it has come.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.raw.len()
    }

    /// A zigzag varint.
    #[inline]
    pub fn long(&mut self) -> Result<i64, Damage> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = *self.raw.get(self.at).ok_or(ENDS)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
            if shift > 63 {
                return Err("a number has more than ten bytes");
            }
        }
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let end = self.at.checked_add(count).ok_or(ENDS)?;
        let taken = self.raw.get(self.at..end).ok_or(ENDS)?;
        self.at = end;
        Ok(taken)
    }

    /// Bytes or text behind their length.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Damage> {
        let length = usize::try_from(self.long()?).map_err(|_| "a length is negative")?;
        self.take(length)
    }

    /// The count of an array's or map's next block, 0 at its end.
    #[inline]
    fn block(&mut self) -> Result<u64, Damage> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    #[inline]
    fn skip_long(&mut self) -> Result<(), Damage> {
        loop {
            let byte = *self.raw.get(self.at).ok_or(ENDS)?;
            self.at += 1;
            if byte < 0x80 {
                return Ok(());
            }
        }
    }

    /// Skips so many numbers. Only their last bytes have no high bit, so eight bytes are looked at together.
    fn skip_longs(&mut self, mut count: u64) -> Result<(), Damage> {
        const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
        while let Some(eight) = self.raw.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let ends = u64::from((!u64::from_le_bytes(*eight) & HIGH_BITS).count_ones());
            if ends >= count {
                break;
            }
            count -= ends;
            self.at += 8;
        }
        (0..count).try_for_each(|_| self.skip_long())
    }

    /// Skips a flat array.
    fn skip_flat(&mut self, flat: &Flat) -> Result<(), Damage> {
        loop {
            let count = self.block()?;
            match flat {
                _ if count == 0 => return Ok(()),
                Flat::Numbers(each) => self.skip_longs(count.saturating_mul(*each))?,
                Flat::NumberAndBytes => {
                    for _ in 0..count {
                        self.skip_long()?;
                        self.bytes()?;
                    }
                }
            }
        }
    }

    /// Skips one value.
    #[inline]
    pub(super) fn skip(&mut self, schema: &Schema, node: NodeId, depth: usize) -> Result<(), Damage> {
        match schema.node(node) {
            Node::Nothing => Ok(()),
            Node::Varint => self.skip_long(),
            Node::Bytes => self.bytes().map(drop),
            Node::Fixed(size) => self.take(*size).map(drop),
            Node::FlatArray(_, flat) => self.skip_flat(flat),
            Node::Union(branches) => {
                let branch = *branch(branches, self.long()?)?;
                self.skip_deep(schema, branch, depth + 1)
            }
            _ => self.skip_deep(schema, node, depth + 1),
        }
    }

    fn skip_deep(&mut self, schema: &Schema, node: NodeId, depth: usize) -> Result<(), Damage> {
        if depth > DEPTH_MAX {
            return Err("its values are nested too deep");
        }
        match schema.node(node) {
            Node::Record(fields) => fields.iter().try_for_each(|field| self.skip(schema, field.node, depth)),
            Node::Array(items) if schema.is_empty(*items) => self.blocks(|_| Ok(()), false),
            Node::Array(items) => self.blocks(|cursor| cursor.skip(schema, *items, depth), true),
            Node::Map(values) => self.blocks(
                |cursor| {
                    cursor.bytes()?;
                    cursor.skip(schema, *values, depth)
                },
                true,
            ),
            _ => self.skip(schema, node, depth),
        }
    }

    /// Runs over the items of an array or map; items without bytes are only counted, whatever the count.
    fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Damage>,
        have_bytes: bool,
    ) -> Result<(), Damage> {
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..if have_bytes { count } else { 0 } {
                item(self)?;
            }
        }
    }

    /// Walks one record of the schema's root and notes the wanted fields.
    #[inline]
    pub fn record(&mut self, schema: &Schema, spans: &mut Spans) -> Result<(), Damage> {
        spans.0.fill(Span::ABSENT);
        self.noted(schema, schema.root, spans, 0)
    }

    fn noted(&mut self, schema: &Schema, node: NodeId, spans: &mut Spans, depth: usize) -> Result<(), Damage> {
        let Node::Record(fields) = schema.node(node) else { return Err("a record is something else") };
        for field in fields {
            if field.is_opened {
                self.noted(schema, field.node, spans, depth + 1)?;
                continue;
            }
            let Some(slot) = field.slot else {
                self.skip(schema, field.node, depth)?;
                continue;
            };
            let span = self.span(schema, field.node, depth)?;
            if let Some(place) = spans.0.get_mut(slot) {
                *place = span;
            }
        }
        Ok(())
    }

    /// Skips one value and says where it is.
    #[inline]
    fn span(&mut self, schema: &Schema, node: NodeId, depth: usize) -> Result<Span, Damage> {
        let start = self.at;
        let mut span = Span { start, value: start, end: start, null: None, node: Some(node) };
        if let Node::Union(branches) = schema.node(node) {
            let taken = *branch(branches, self.long()?)?;
            let null = branches.iter().position(|branch| matches!(schema.node(*branch), Node::Nothing));
            span.null = null.and_then(|at| u8::try_from(at).ok());
            span.value = self.at;
            span.node = (!matches!(schema.node(taken), Node::Nothing)).then_some(taken);
            self.skip(schema, taken, depth)?;
        } else {
            self.skip(schema, node, depth)?;
        }
        span.end = self.at;
        Ok(span)
    }
}

const ENDS: Damage = "it ends in the middle of a record or block";

#[inline]
fn branch(branches: &[NodeId], index: i64) -> Result<&NodeId, Damage> {
    usize::try_from(index).ok().and_then(|index| branches.get(index)).ok_or("a union has no such branch")
}

/// Where a noted field is in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it begins, with a union's branch.
    pub start: usize,
    /// Where its value begins.
    pub value: usize,
    /// Behind its end.
    pub end: usize,
    /// The branch that means null, if it may be null.
    pub null: Option<u8>,
    /// The type of its value; none when it is null or the schema lacks it.
    pub(in crate::format) node: Option<NodeId>,
}

impl Span {
    const ABSENT: Span = Span { start: 0, value: 0, end: 0, null: None, node: None };

    /// Whether there is a value.
    #[inline]
    pub fn is_there(&self) -> bool {
        self.node.is_some()
    }
}

/// The noted fields of one record, by slot.
#[derive(Debug, Clone)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// Room for `count` slots.
    pub fn new(count: usize) -> Self {
        Spans(vec![Span::ABSENT; count])
    }

    /// Where a field is.
    #[inline]
    pub fn get(&self, slot: Slot) -> Span {
        self.0.get(slot).copied().unwrap_or(Span::ABSENT)
    }

    /// A text's or bytes' value.
    #[inline]
    pub fn bytes<'a>(&self, schema: &Schema, raw: &'a [u8], slot: Slot) -> Result<Option<&'a [u8]>, Damage> {
        let span = self.get(slot);
        match span.node.map(|node| schema.node(node)) {
            None => Ok(None),
            Some(Node::Bytes) => Cursor::new(raw, span.value).bytes().map(Some),
            Some(_) => Err("a field that should be text or bytes is something else"),
        }
    }

    /// A text's value.
    #[inline]
    pub fn text<'a>(&self, schema: &Schema, raw: &'a [u8], slot: Slot) -> Result<Option<&'a str>, Damage> {
        let bytes = self.bytes(schema, raw, slot)?;
        bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| "a path is not UTF-8")).transpose()
    }

    /// A number's value.
    #[inline]
    pub fn long(&self, schema: &Schema, raw: &[u8], slot: Slot) -> Result<Option<i64>, Damage> {
        let span = self.get(slot);
        match span.node.map(|node| schema.node(node)) {
            None => Ok(None),
            Some(Node::Varint) => Cursor::new(raw, span.value).long().map(Some),
            Some(_) => Err("a field that should be a number is something else"),
        }
    }
}

impl Spans {
    /// A boolean's value.
    pub fn flag(&self, schema: &Schema, raw: &[u8], slot: Slot) -> Result<Option<bool>, Damage> {
        let span = self.get(slot);
        match span.node.map(|node| schema.node(node)) {
            None => Ok(None),
            Some(Node::Fixed(1)) => Ok(raw.get(span.value).map(|byte| *byte != 0)),
            Some(_) => Err("a field that should be true or false is something else"),
        }
    }

    /// The numbers of an array; none where there is no array.
    pub fn longs(&self, schema: &Schema, raw: &[u8], slot: Slot) -> Result<Vec<i64>, Damage> {
        let span = self.get(slot);
        let Some(node) = span.node else { return Ok(Vec::new()) };
        let Node::FlatArray(_, Flat::Numbers(1)) = schema.node(node) else {
            return Err("a field that should be an array of numbers is something else");
        };
        let mut found = Vec::new();
        let each = |cursor: &mut Cursor<'_>| {
            found.push(cursor.long()?);
            Ok(())
        };
        Cursor::new(raw, span.value).blocks(each, true)?;
        Ok(found)
    }
}

/// Calls `each` for the records of the array at `span`, with their fields of these ids, by place.
pub fn items(
    schema: &Schema,
    raw: &[u8],
    span: Span,
    ids: &[i32],
    mut each: impl FnMut(&Spans) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let Some(node) = span.node else { return Ok(()) };
    let (Node::Array(item) | Node::FlatArray(item, _)) = schema.node(node) else {
        return Err("a list is no array");
    };
    let Node::Record(fields) = schema.node(*item) else { return Err("a list's items are no records") };
    if schema.is_empty(*item) {
        return Err("a list's items have no fields");
    }
    let mut spans = Spans::new(ids.len());
    let item = |cursor: &mut Cursor<'_>| {
        spans.0.fill(Span::ABSENT);
        for field in fields {
            let span = cursor.span(schema, field.node, 0)?;
            if let Some(slot) = ids.iter().position(|id| field.id == Some(*id)) {
                spans.0[slot] = span;
            }
        }
        each(&spans)
    };
    Cursor::new(raw, span.value).blocks(item, true)
}

/// One item of Iceberg's map, which is an array of records of a key and a value: where the item is, its key, and where its value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairSpan {
    /// Where the item begins.
    pub start: usize,
    /// Behind its end.
    pub end: usize,
    /// The key.
    pub key: i64,
    /// Where the value begins.
    pub value: usize,
    /// Behind the value's end.
    pub value_end: usize,
}

/// The items of the map at `span`, whose keys are numbers and values bytes, with these field ids.
pub fn pairs(schema: &Schema, raw: &[u8], span: Span, ids: (i32, i32)) -> Result<Vec<PairSpan>, Damage> {
    let mut found = Vec::new();
    let Some(node) = span.node else { return Ok(found) };
    let (Node::Array(item) | Node::FlatArray(item, _)) = schema.node(node) else {
        return Err("a map is no array of pairs");
    };
    let Node::Record(fields) = schema.node(*item) else { return Err("a map is no array of pairs") };
    let of = |id: i32| fields.iter().find(|field| field.id == Some(id)).map(|field| schema.node(field.node));
    if !matches!((of(ids.0), of(ids.1)), (Some(Node::Varint), Some(Node::Bytes))) {
        return Err("a map's pairs are no numbers with bytes");
    }
    Cursor::new(raw, span.value).blocks(
        |cursor| {
            let mut pair = PairSpan { start: cursor.at, end: 0, key: 0, value: 0, value_end: 0 };
            for field in fields {
                let start = cursor.at;
                cursor.skip(schema, field.node, 0)?;
                if field.id == Some(ids.0) {
                    pair.key = Cursor::new(raw, start).long()?;
                } else if field.id == Some(ids.1) {
                    (pair.value, pair.value_end) = (start, cursor.at);
                }
            }
            pair.end = cursor.at;
            found.push(pair);
            Ok(())
        },
        !schema.is_empty(*item),
    )?;
    Ok(found)
}
