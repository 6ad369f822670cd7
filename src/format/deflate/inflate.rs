//! Unpacks a stream and keeps what it is made of.

use super::code::Table;
use super::{DISTANCE_BASES, DISTANCES, END, LENGTH_BASES, LENGTH_MAX, LENGTHS_ORDER, LITERALS};

/// Bits of the first part of the table of literals and lengths.
const LITERAL_BITS: usize = 11;
/// The same of the table of distances.
const DISTANCE_BITS: usize = 8;
/// The same of the table of code lengths, which has no longer codes.
const LENGTH_BITS: usize = 7;
/// What bits that are no code stand for: a length of nothing, a distance of nothing, no code length.
const NO_LITERAL: u32 = IS_LENGTH;
const NO_DISTANCE: u32 = 0;
const NO_LENGTH: u32 = 31;
/// Values of the table of literals that are lengths have this bit.
const IS_LENGTH: u32 = 1 << 16;
/// The value of a block's end.
const IS_END: u32 = 1 << 17;
/// The first room for what comes out, as a multiple of what goes in.
const RATIO_GUESS: usize = 5;
/// Room that is always kept ahead: for the longest repetition and two literals.
const AHEAD: usize = LENGTH_MAX + 2;

/// What a text is made of: runs of literals, and repetitions.
#[derive(Debug, Default)]
pub(in crate::format) struct Tokens(pub(super) Vec<u32>);

/// A token of this bit is a repetition: its length above [`LENGTH_AT`], its distance below. Any other is a run of so many literals.
const REPEATS: u32 = 1 << 31;
const LENGTH_AT: u32 = 16;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// So many bytes as they stand.
    Literals(usize),
    /// So many bytes from so far back.
    Repeat(usize, usize),
}

impl Tokens {
    #[inline(always)]
    pub(super) fn literals(&mut self, count: usize) {
        if count > 0 {
            self.0.push(count as u32);
        }
    }

    #[inline(always)]
    pub(super) fn repeat(&mut self, length: usize, distance: usize) {
        self.0.push(REPEATS | (length as u32) << LENGTH_AT | distance as u32);
    }

    /// The length and distance of the last one, if it is a repetition.
    #[inline(always)]
    pub(super) fn last_repeat(&self) -> Option<(usize, usize)> {
        match Tokens::read(*self.0.last()?) {
            Token::Repeat(length, distance) => Some((length, distance)),
            Token::Literals(_) => None,
        }
    }

    #[inline(always)]
    pub(super) fn read(token: u32) -> Token {
        match token & REPEATS {
            0 => Token::Literals(token as usize),
            _ => Token::Repeat((token >> LENGTH_AT & 0x7fff) as usize, (token & 0xffff) as usize),
        }
    }
}

/// Unpacks streams, with memory that is used again.
#[derive(Default)]
pub(in crate::format) struct Inflater {
    literals: Table<LITERAL_BITS, { 1 << LITERAL_BITS }>,
    distances: Table<DISTANCE_BITS, { 1 << DISTANCE_BITS }>,
    lengths: Table<LENGTH_BITS, { 1 << LENGTH_BITS }>,
}

/// Why a stream cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::format) enum Refused {
    /// It is no deflate stream, or its end is missing.
    Damaged,
    /// It unpacks to more than is allowed.
    TooLarge,
}

impl Inflater {
    /// Fills `raw` with what `stored` unpacks to, `size_max` bytes at most, and `tokens` with what that is made of. What follows the stream is left alone.
    pub(in crate::format) fn inflate(
        &mut self,
        stored: &[u8],
        size_max: usize,
        raw: &mut Vec<u8>,
        tokens: &mut Tokens,
    ) -> Result<(), Refused> {
        tokens.0.clear();
        let guess = stored.len().saturating_mul(RATIO_GUESS).max(raw.len()).max(4096).min(size_max + AHEAD);
        // only what is new is zeroed: the buffer keeps its length between streams
        raw.resize(guess, 0);
        let mut out = Out { raw, at: 0, run_from: 0, tokens, size_max };
        let mut bits = Bits { stored, at: 0, bits: 0, count: 0 };
        loop {
            bits.fill();
            let head = bits.take(3)?;
            match head >> 1 {
                0 => store(&mut bits, &mut out)?,
                1 => {
                    self.fixed();
                    self.block(&mut bits, &mut out)?;
                }
                2 => {
                    self.dynamic(&mut bits)?;
                    self.block(&mut bits, &mut out)?;
                }
                _ => return Err(Refused::Damaged),
            }
            if head & 1 == 1 {
                break;
            }
        }
        let Out { raw, at, run_from, tokens, .. } = out;
        if at > size_max {
            return Err(Refused::TooLarge);
        }
        tokens.literals(at - run_from);
        raw.truncate(at);
        Ok(())
    }

    fn fixed(&mut self) {
        let mut lengths = [8u8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        self.literals.fill(&lengths, NO_LITERAL, literal_value);
        self.distances.fill(&[5; 32], NO_DISTANCE, distance_value);
    }

    fn dynamic(&mut self, bits: &mut Bits<'_>) -> Result<(), Refused> {
        let (literals, distances) = (bits.take(5)? as usize + 257, bits.take(5)? as usize + 1);
        let count = bits.take(4)? as usize + 4;
        let mut of_lengths = [0u8; 19];
        for at in LENGTHS_ORDER.iter().take(count) {
            bits.fill();
            of_lengths[*at] = bits.take(3)? as u8;
        }
        if literals > LITERALS
            || distances > DISTANCES
            || !self.lengths.fill(&of_lengths, NO_LENGTH, |symbol| symbol as u32)
        {
            return Err(Refused::Damaged);
        }
        let mut lengths = [0u8; LITERALS + DISTANCES];
        let all = &mut lengths[..literals + distances];
        let mut at = 0;
        while at < all.len() {
            bits.fill();
            let (symbol, size) = self.lengths.look(bits.bits);
            bits.skip(size)?;
            let (length, times) = match symbol {
                16 => (*at.checked_sub(1).and_then(|last| all.get(last)).ok_or(Refused::Damaged)?, 3 + bits.take(2)?),
                17 => (0, 3 + bits.take(3)?),
                18 => (0, 11 + bits.take(7)?),
                NO_LENGTH => return Err(Refused::Damaged),
                length => (length as u8, 1),
            };
            all.get_mut(at..at + times as usize).ok_or(Refused::Damaged)?.fill(length);
            at += times as usize;
        }
        let (of_literals, of_distances) = all.split_at(literals);
        let is_code = of_literals[END] > 0
            && self.literals.fill(of_literals, NO_LITERAL, literal_value)
            && self.distances.fill(of_distances, NO_DISTANCE, distance_value);
        if is_code { Ok(()) } else { Err(Refused::Damaged) }
    }

    fn block(&self, bits: &mut Bits<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
        while !self.quickly(bits, out)? {
            // near the end of either, one by one
            out.make_room()?;
            bits.fill();
            let (value, size) = self.literals.look(bits.bits);
            bits.skip(size)?;
            if value < IS_LENGTH {
                out.raw[out.at] = value as u8;
                out.at += 1;
                continue;
            }
            if value & IS_END != 0 {
                return Ok(());
            }
            let length = (value & 0x1ff) + bits.take(value >> 9 & 0x1f)?;
            let (value, size) = self.distances.look(bits.bits);
            bits.skip(size)?;
            let distance = (value & 0xffff) + bits.take(value >> 16)?;
            out.repeat(length as usize, distance as usize)?;
        }
        Ok(())
    }

    /// As long as there is plenty of both, so that nothing need be asked. True when the block has ended.
    #[inline(always)]
    fn quickly(&self, bits: &mut Bits<'_>, out: &mut Out<'_>) -> Result<bool, Refused> {
        // by themselves, so that they stay in registers
        let Bits { stored, at: mut from, bits: mut word, mut count } = *bits;
        let mut at = out.at;
        let raw = out.raw.as_mut_slice();
        let last = raw.len().saturating_sub(AHEAD);
        let mut ended = Ok(false);
        while at < last
            && let Some(next) = stored.get(from..).and_then(|rest| rest.first_chunk::<16>())
        {
            let fill = |word: &mut u64, count: &mut u32, taken: usize| {
                let next =
                    next.get(taken..).and_then(|next| next.first_chunk::<8>()).map_or(0, |n| u64::from_le_bytes(*n));
                *word |= next << *count;
                let bytes = ((63 - *count) >> 3) as usize;
                *count += 8 * bytes as u32;
                taken + bytes
            };
            let mut taken = fill(&mut word, &mut count, 0);
            let (mut value, mut size) = self.literals.look(word);
            let mut literals = 0;
            // three codes fit into what was taken in
            while value < IS_LENGTH && literals < 3 {
                raw[at] = value as u8;
                at += 1;
                (word, count) = (word >> size, count - size);
                literals += 1;
                (value, size) = self.literals.look(word);
            }
            if literals < 3 {
                (word, count) = (word >> size, count - size);
                if value & IS_END != 0 {
                    from += taken;
                    ended = Ok(true);
                    break;
                }
                if literals > 0 {
                    taken = fill(&mut word, &mut count, taken);
                }
                let more = value >> 9 & 0x1f;
                let length = (value & 0x1ff) as usize + (word & ((1 << more) - 1)) as usize;
                (word, count) = (word >> more, count - more);
                let (value, size) = self.distances.look(word);
                (word, count) = (word >> size, count - size);
                let more = value >> 16;
                let distance = (value & 0xffff) as usize + (word & ((1 << more) - 1)) as usize;
                (word, count) = (word >> more, count - more);
                if distance == 0 || distance > at || length == 0 {
                    ended = Err(Refused::Damaged);
                    break;
                }
                out.tokens.literals(at - out.run_from);
                out.tokens.repeat(length, distance);
                copy(raw, at, length, distance);
                at += length;
                out.run_from = at;
            }
            from += taken;
        }
        out.at = at;
        (bits.at, bits.bits, bits.count) = (from, word, count);
        ended
    }
}

/// Repeats what was so far back.
#[inline(always)]
fn copy(raw: &mut [u8], at: usize, length: usize, distance: usize) {
    let from = at - distance;
    if distance >= length {
        raw.copy_within(from..from + length, at);
    } else {
        for place in 0..length {
            raw[at + place] = raw[from + place];
        }
    }
}

/// A literal itself, or a length's base, its further bits above 9 and [`IS_LENGTH`]; symbols that mean nothing are a length of nothing.
fn literal_value(symbol: usize) -> u32 {
    match symbol.checked_sub(END + 1) {
        Some(at) => {
            let (base, bits) = LENGTH_BASES.get(at).copied().unwrap_or_default();
            IS_LENGTH | u32::from(bits) << 9 | u32::from(base)
        }
        None if symbol == END => IS_LENGTH | IS_END,
        None => symbol as u32,
    }
}

/// A distance's base, and its further bits above 16; symbols that mean nothing are a distance of nothing.
fn distance_value(symbol: usize) -> u32 {
    let (base, bits) = DISTANCE_BASES.get(symbol).copied().unwrap_or_default();
    u32::from(bits) << 16 | u32::from(base)
}

fn store(bits: &mut Bits<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    let bytes = bits.rest();
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(Refused::Damaged)?;
    let size = u16::from_le_bytes([head[0], head[1]]);
    if size != !u16::from_le_bytes([head[2], head[3]]) {
        return Err(Refused::Damaged);
    }
    let text = rest.get(..usize::from(size)).ok_or(Refused::Damaged)?;
    out.store(text)?;
    bits.go_on_at(bits.stored.len() - rest.len() + text.len());
    Ok(())
}

/// What comes out.
struct Out<'o> {
    raw: &'o mut Vec<u8>,
    at: usize,
    /// Where the last repetition ended.
    run_from: usize,
    tokens: &'o mut Tokens,
    size_max: usize,
}

impl Out<'_> {
    #[inline(always)]
    fn make_room(&mut self) -> Result<(), Refused> {
        if self.raw.len() - self.at >= AHEAD { Ok(()) } else { self.grow(AHEAD) }
    }

    #[cold]
    fn grow(&mut self, size: usize) -> Result<(), Refused> {
        if self.at > self.size_max || size > self.size_max.saturating_sub(self.at) + AHEAD {
            return Err(Refused::TooLarge);
        }
        let wanted = (self.raw.len() * 2).max(self.at + size).min(self.size_max + AHEAD);
        self.raw.resize(wanted.max(self.at + size), 0);
        Ok(())
    }

    fn repeat(&mut self, length: usize, distance: usize) -> Result<(), Refused> {
        if distance == 0 || distance > self.at || length == 0 {
            return Err(Refused::Damaged);
        }
        self.tokens.literals(self.at - self.run_from);
        self.tokens.repeat(length, distance);
        copy(self.raw, self.at, length, distance);
        self.at += length;
        self.run_from = self.at;
        Ok(())
    }

    fn store(&mut self, text: &[u8]) -> Result<(), Refused> {
        if self.raw.len() - self.at < text.len() + AHEAD {
            self.grow(text.len() + AHEAD)?;
        }
        self.raw[self.at..self.at + text.len()].copy_from_slice(text);
        self.at += text.len();
        Ok(())
    }
}

/// What goes in, the lowest bit first.
struct Bits<'s> {
    stored: &'s [u8],
    at: usize,
    bits: u64,
    count: u32,
}

impl Bits<'_> {
    /// Takes in 56 bits or more, or all that are left.
    #[inline(always)]
    fn fill(&mut self) {
        if let Some(word) = self.stored.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            self.bits |= u64::from_le_bytes(*word) << self.count;
            let bytes = (63 - self.count) >> 3;
            self.at += bytes as usize;
            self.count += bytes * 8;
        } else {
            self.fill_slowly();
        }
    }

    #[cold]
    fn fill_slowly(&mut self) {
        while self.count <= 55
            && let Some(byte) = self.stored.get(self.at)
        {
            self.bits |= u64::from(*byte) << self.count;
            self.at += 1;
            self.count += 8;
        }
    }

    /// The next bits, which must have been taken in.
    #[inline(always)]
    fn take(&mut self, size: u32) -> Result<u32, Refused> {
        let value = self.bits & ((1 << size) - 1);
        if size > self.count {
            return Err(Refused::Damaged);
        }
        self.bits >>= size;
        self.count -= size;
        Ok(value as u32)
    }

    /// Goes behind a code.
    #[inline(always)]
    fn skip(&mut self, size: u32) -> Result<(), Refused> {
        if size > self.count {
            return Err(Refused::Damaged);
        }
        self.bits >>= size;
        self.count -= size;
        Ok(())
    }

    /// The bytes from the next whole one on.
    fn rest(&self) -> &[u8] {
        self.stored.get(self.at - (self.count / 8) as usize..).unwrap_or_default()
    }

    fn go_on_at(&mut self, at: usize) {
        (self.at, self.bits, self.count) = (at, 0, 0);
    }
}
