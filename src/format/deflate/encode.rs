//! Writes a text as a stream, by the tokens that it is made of.

use super::code;
use super::inflate::{Token, Tokens};
use super::{CODE_BITS_MAX, DISTANCE_BASES, DISTANCES, END, LENGTH_BASES, LENGTH_MAX, LENGTHS_ORDER, LITERALS};

/// Symbols after which a new block has codes of its own.
const BLOCK_SYMBOLS: usize = 24 << 10;
/// The code of code lengths has no longer ones.
const LENGTH_BITS_MAX: usize = 7;
/// Where the length of a literal's code begins beside the code.
const LITERAL_SIZE_AT: u32 = 16;
/// Bits that the head of a block takes at most, and a few more.
const HEAD_BITS_MAX: usize = 8 * 1024;
/// Distances up to this are looked up by themselves, longer ones by their upper bits.
const NEAR: usize = 256;

/// Writes streams, with memory that is used again.
pub(super) struct Encoder {
    of_length: [u8; LENGTH_MAX + 1],
    of_distance: [u8; 2 * NEAR],
    counts: [u32; LITERALS],
    distance_counts: [u32; DISTANCES],
    lengths: [u8; LITERALS],
    distance_lengths: [u8; DISTANCES],
    codes: [u16; LITERALS],
    distance_codes: [u16; DISTANCES],
    /// Codes of literals, each with its length above [`LITERAL_SIZE_AT`].
    literals: [u32; 256],
}

impl Default for Encoder {
    fn default() -> Self {
        let (mut of_length, mut of_distance) = ([0; LENGTH_MAX + 1], [0; 2 * NEAR]);
        for (symbol, (base, bits)) in LENGTH_BASES.iter().enumerate() {
            let base = usize::from(*base);
            // the longest length has a symbol of its own, which comes last
            of_length[base..(base + (1 << bits)).min(LENGTH_MAX + 1)].fill(symbol as u8);
        }
        for (symbol, (base, bits)) in DISTANCE_BASES.iter().enumerate() {
            let base = usize::from(*base);
            of_distance[place(base)..=place(base + (1 << bits) - 1)].fill(symbol as u8);
        }
        Encoder {
            of_length,
            of_distance,
            counts: [0; LITERALS],
            distance_counts: [0; DISTANCES],
            lengths: [0; LITERALS],
            distance_lengths: [0; DISTANCES],
            codes: [0; LITERALS],
            distance_codes: [0; DISTANCES],
            literals: [0; 256],
        }
    }
}

/// Where a distance's symbol is looked up.
#[inline(always)]
fn place(distance: usize) -> usize {
    if distance <= NEAR { distance - 1 } else { NEAR + ((distance - 1) >> 7) }
}

impl Encoder {
    /// Adds the stream of `text` to `out`.
    pub(super) fn write(&mut self, text: &[u8], tokens: &Tokens, out: &mut Vec<u8>) {
        let mut waiting = Waiting { at: out.len(), bits: 0, count: 0 };
        let (mut at, mut rest) = (0, tokens.0.as_slice());
        loop {
            let (of_block, left) = rest.split_at(block_tokens(rest));
            rest = left;
            self.choose(text, at, of_block);
            out.resize(out.len().max(waiting.at + self.bits() / 8 + 2 * size_of::<u64>()), 0);
            let head = BitWriter { out, waiting }.put(u64::from(rest.is_empty()) | 2 << 1, 3);
            let head = self.head(head);
            (waiting, at) = self.block(text, at, of_block, head);
            if rest.is_empty() {
                break;
            }
        }
        // what waits was written already, as far as it goes
        out.truncate(waiting.at + usize::from(waiting.count > 0));
    }

    /// Chooses the codes of a block.
    fn choose(&mut self, text: &[u8], begin: usize, tokens: &[u32]) {
        self.count(text, begin, tokens);
        code::lengths(&self.counts, CODE_BITS_MAX, &mut self.lengths);
        code::lengths(&self.distance_counts, CODE_BITS_MAX, &mut self.distance_lengths);
        code::codes(&self.lengths, &mut self.codes);
        code::codes(&self.distance_lengths, &mut self.distance_codes);
        for (literal, (code, length)) in self.literals.iter_mut().zip(self.codes.iter().zip(&self.lengths)) {
            *literal = u32::from(*code) | u32::from(*length) << LITERAL_SIZE_AT;
        }
    }

    /// Writes one block's text; returns where that of the next begins.
    fn block(&self, text: &[u8], begin: usize, tokens: &[u32], mut bits: BitWriter<'_>) -> (Waiting, usize) {
        let mut at = begin;
        for token in tokens {
            match Tokens::read(*token) {
                Token::Literals(count) => {
                    bits = bits.literals(&text[at..at + count], &self.literals);
                    at += count;
                }
                Token::Repeat(length, distance) => {
                    let (value, size) = self.repeat(length, distance);
                    bits = bits.put(value, size);
                    at += length;
                }
            }
        }
        let bits = bits.put(u64::from(self.codes[END]), u32::from(self.lengths[END]));
        (bits.waiting, at)
    }

    /// How many bits the counted symbols take, with their further bits and a head.
    fn bits(&self) -> usize {
        let of = |counts: &[u32], lengths: &[u8], bases: &[(u16, u8)]| -> usize {
            let more = bases.iter().map(|(_, bits)| usize::from(*bits));
            let sizes = lengths.iter().map(|length| usize::from(*length)).zip(more.chain(std::iter::repeat(0)));
            counts.iter().zip(sizes).map(|(count, (length, more))| *count as usize * (length + more)).sum()
        };
        of(&self.counts[..=END], &self.lengths[..=END], &[])
            + of(&self.counts[END + 1..], &self.lengths[END + 1..], &LENGTH_BASES)
            + of(&self.distance_counts, &self.distance_lengths, &DISTANCE_BASES)
            + HEAD_BITS_MAX
    }

    /// The codes of a repetition with their further bits, and how many these are.
    #[inline(always)]
    fn repeat(&self, length: usize, distance: usize) -> (u64, u32) {
        let symbol = usize::from(self.of_length[length]);
        let (base, more) = LENGTH_BASES[symbol];
        let mut value = u64::from(self.codes[END + 1 + symbol]);
        let mut size = u32::from(self.lengths[END + 1 + symbol]);
        value |= ((length - usize::from(base)) as u64) << size;
        size += u32::from(more);
        let symbol = usize::from(self.of_distance[place(distance)]);
        let (base, more) = DISTANCE_BASES[symbol];
        value |= u64::from(self.distance_codes[symbol]) << size;
        size += u32::from(self.distance_lengths[symbol]);
        value |= ((distance - usize::from(base)) as u64) << size;
        (value, size + u32::from(more))
    }

    fn count(&mut self, text: &[u8], begin: usize, tokens: &[u32]) {
        self.counts.fill(0);
        self.distance_counts.fill(0);
        self.counts[END] = 1;
        // of bytes that follow each other each is counted by itself, so that none waits for the one before
        let mut apart = [[0u32; 256]; 4];
        let mut at = begin;
        for token in tokens {
            match Tokens::read(*token) {
                Token::Literals(count) => {
                    let (fours, rest) = text[at..at + count].as_chunks::<4>();
                    for four in fours {
                        apart.iter_mut().zip(four).for_each(|(counts, byte)| counts[usize::from(*byte)] += 1);
                    }
                    rest.iter().for_each(|byte| self.counts[usize::from(*byte)] += 1);
                    at += count;
                }
                Token::Repeat(length, distance) => {
                    self.counts[END + 1 + usize::from(self.of_length[length])] += 1;
                    self.distance_counts[usize::from(self.of_distance[place(distance)])] += 1;
                    at += length;
                }
            }
        }
        for counts in apart {
            self.counts.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
        }
    }

    /// The lengths of both codes, themselves coded.
    fn head<'o>(&self, bits: BitWriter<'o>) -> BitWriter<'o> {
        let used = |lengths: &[u8], least: usize| {
            lengths.iter().rposition(|length| *length > 0).map_or(least, |last| (last + 1).max(least))
        };
        let (literals, distances) = (used(&self.lengths, 257), used(&self.distance_lengths, 1));
        let all: Vec<u8> = [&self.lengths[..literals], &self.distance_lengths[..distances]].concat();
        let runs = runs(&all);
        let mut counts = [0; 19];
        runs.iter().for_each(|(symbol, _, _)| counts[*symbol] += 1);
        let (mut lengths, mut codes) = ([0; 19], [0; 19]);
        code::lengths(&counts, LENGTH_BITS_MAX, &mut lengths);
        code::codes(&lengths, &mut codes);
        let written = LENGTHS_ORDER.iter().rposition(|at| lengths[*at] > 0).map_or(4, |last| (last + 1).max(4));
        let sizes = (literals - 257) as u64 | ((distances - 1) as u64) << 5 | ((written - 4) as u64) << 10;
        let bits =
            LENGTHS_ORDER[..written].iter().fold(bits.put(sizes, 14), |bits, at| bits.put(lengths[*at].into(), 3));
        runs.into_iter().fold(bits, |bits, (symbol, more, size)| {
            let length = u32::from(lengths[symbol]);
            bits.put(u64::from(codes[symbol]) | u64::from(more) << length, length + size)
        })
    }
}

/// How many tokens go into the next block. A long run of literals is not divided.
fn block_tokens(tokens: &[u32]) -> usize {
    let mut symbols = 0;
    for (at, token) in tokens.iter().enumerate() {
        if symbols >= BLOCK_SYMBOLS {
            return at;
        }
        symbols += match Tokens::read(*token) {
            Token::Literals(count) => count,
            Token::Repeat(..) => 1,
        };
    }
    tokens.len()
}

/// Code lengths as symbols, each with further bits and how many these are.
fn runs(lengths: &[u8]) -> Vec<(usize, u32, u32)> {
    let mut runs = Vec::with_capacity(lengths.len());
    let mut rest = lengths;
    while let Some(length) = rest.first() {
        let count = rest.iter().take_while(|next| *next == length).count();
        rest = &rest[count..];
        let mut left = count;
        if *length > 0 {
            runs.push((usize::from(*length), 0, 0));
            left -= 1;
        }
        while left > 0 {
            let taken = match (length, left) {
                (0, 11..) => left.min(138),
                (0, 3..) => left,
                (1.., 3..) => left.min(6),
                _ => 1,
            };
            runs.push(match (length, taken) {
                (0, 11..) => (18, taken as u32 - 11, 7),
                (0, 3..) => (17, taken as u32 - 3, 3),
                (_, 3..) => (16, taken as u32 - 3, 2),
                _ => (usize::from(*length), 0, 0),
            });
            left -= taken;
        }
    }
    runs
}

/// What comes out, the lowest bit first. It is handed on by value, so that what waits stays in registers.
struct BitWriter<'o> {
    /// What is written is before the place of what waits; behind it is room.
    out: &'o mut [u8],
    waiting: Waiting,
}

/// Bits that do not fill a byte yet, and where they go.
#[derive(Clone, Copy)]
struct Waiting {
    at: usize,
    bits: u64,
    count: u32,
}

impl<'o> BitWriter<'o> {
    /// Adds so many bits, 48 at most.
    #[inline(always)]
    fn put(self, value: u64, size: u32) -> BitWriter<'o> {
        self.wait(value, size).flush()
    }

    /// Adds the codes of literals.
    #[inline(always)]
    fn literals(self, text: &[u8], codes: &[u32; 256]) -> BitWriter<'o> {
        let (threes, rest) = text.as_chunks::<3>();
        let wait = |bits: Self, byte: &u8| {
            let code = codes[usize::from(*byte)];
            bits.wait(u64::from(code & 0xffff), code >> LITERAL_SIZE_AT)
        };
        // seven bits may wait, and three codes have 45 at most
        let bits = threes.iter().fold(self, |bits, [a, b, c]| wait(wait(wait(bits, a), b), c).flush());
        rest.iter().fold(bits, wait).flush()
    }

    /// Adds bits to what waits.
    #[inline(always)]
    fn wait(mut self, value: u64, size: u32) -> BitWriter<'o> {
        self.waiting.bits |= value << self.waiting.count;
        self.waiting.count += size;
        self
    }

    /// Writes the whole bytes of what waits.
    #[inline(always)]
    fn flush(self) -> BitWriter<'o> {
        let BitWriter { out, waiting: Waiting { at, bits, count } } = self;
        if let Some(room) = out.get_mut(at..).and_then(|room| room.first_chunk_mut::<8>()) {
            *room = bits.to_le_bytes();
        }
        let waiting = Waiting { at: at + (count / 8) as usize, bits: bits >> (count & !7), count: count & 7 };
        BitWriter { out, waiting }
    }
}
