//! Huffman codes: lengths from counts, codes from lengths, and tables to decode by.

use super::CODE_BITS_MAX;

/// Lengths of a complete code for symbols with these counts, none longer than `bits_max`; 0 for symbols that do not occur. There are always two or more.
pub(super) fn lengths(counts: &[u32], bits_max: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    let mut used: Vec<(u32, usize)> = counts.iter().copied().enumerate().map(|(at, count)| (count, at)).collect();
    used.retain(|(count, _)| *count > 0);
    // a code of one symbol would not be complete
    for symbol in 0..2 {
        if used.len() < 2 && used.iter().all(|(_, at)| *at != symbol) {
            used.push((1, symbol));
        }
    }
    used.sort_unstable();
    // the two lightest are joined again and again; both the symbols and the joined come in order of weight
    let leaves = used.len();
    let mut weights: Vec<u64> = used.iter().map(|(count, _)| u64::from(*count)).collect();
    let mut parents = vec![0usize; 2 * leaves - 1];
    let (mut leaf, mut joined) = (0, leaves);
    for node in leaves..2 * leaves - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let takes_leaf = leaf < leaves && (joined >= node || weights[leaf] <= weights[joined]);
            let taken = if takes_leaf { &mut leaf } else { &mut joined };
            weight += weights[*taken];
            parents[*taken] = node;
            *taken += 1;
        }
        weights.push(weight);
    }
    let mut depths = vec![0usize; 2 * leaves - 1];
    for node in (0..2 * leaves - 2).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    limit(&mut depths[..leaves], bits_max);
    for ((_, symbol), depth) in used.iter().zip(&depths) {
        lengths[*symbol] = *depth as u8;
    }
}

/// Shortens the longest codes and lengthens others until the code is complete again. Depths come with the lightest symbol first.
fn limit(depths: &mut [usize], bits_max: usize) {
    if depths.iter().all(|depth| *depth <= bits_max) {
        return;
    }
    let whole = 1usize << bits_max;
    let share = |depth: usize| 1usize << (bits_max - depth);
    let mut taken = 0;
    for depth in depths.iter_mut() {
        *depth = (*depth).min(bits_max);
        taken += share(*depth);
    }
    while taken > whole {
        // the deepest of those that may grow costs least
        let grows = depths.iter_mut().filter(|depth| **depth < bits_max).max_by_key(|depth| **depth);
        let Some(depth) = grows else { break };
        taken -= share(*depth);
        *depth += 1;
        taken += share(*depth);
    }
    for depth in depths.iter_mut().rev() {
        while *depth > 1 && taken + share(*depth) <= whole {
            taken += share(*depth);
            *depth -= 1;
        }
    }
}

/// The code of each symbol, its bits in the order in which they are written.
pub(super) fn codes(lengths: &[u8], codes: &mut [u16]) {
    let mut next = firsts(lengths);
    for (code, length) in codes.iter_mut().zip(lengths) {
        let length = usize::from(*length);
        if length > 0 {
            *code = reversed(next[length], length);
            next[length] += 1;
        }
    }
}

/// The first code of each length.
fn firsts(lengths: &[u8]) -> [u32; CODE_BITS_MAX + 2] {
    let mut counts = [0u32; CODE_BITS_MAX + 1];
    lengths.iter().for_each(|length| counts[usize::from(*length)] += 1);
    counts[0] = 0;
    let mut firsts = [0u32; CODE_BITS_MAX + 2];
    for bits in 1..=CODE_BITS_MAX {
        firsts[bits + 1] = (firsts[bits] + counts[bits]) << 1;
    }
    firsts
}

fn reversed(code: u32, bits: usize) -> u16 {
    ((code as u16).reverse_bits()) >> (16 - bits)
}

/// A table to decode by: looked up by the next `BITS`, of which there are `SIZE`, and once more for longer codes.
pub(super) struct Table<const BITS: usize, const SIZE: usize> {
    first: Box<[u32; SIZE]>,
    second: Vec<u32>,
}

/// An entry's code length is in these bits.
const LENGTH_MASK: u32 = 0xf;
/// The entry leads to the second part, at the place that is its value.
const SECOND: u32 = 1 << 4;
/// Where an entry's value begins.
const VALUE_AT: u32 = 5;

impl<const BITS: usize, const SIZE: usize> Default for Table<BITS, SIZE> {
    fn default() -> Self {
        const { assert!(SIZE == 1 << BITS) };
        Table { first: Box::new([0; SIZE]), second: Vec::new() }
    }
}

impl<const BITS: usize, const SIZE: usize> Table<BITS, SIZE> {
    const SECOND_BITS: usize = CODE_BITS_MAX - BITS;

    /// Fills it for these code lengths, with `value` for each symbol and `nothing` for bits that are no code. False for lengths that are no code: too
    /// many, or too few but for one or none.
    pub(super) fn fill(&mut self, lengths: &[u8], nothing: u32, value: impl Fn(usize) -> u32) -> bool {
        let used = lengths.iter().filter(|length| **length > 0);
        let share: u32 = used.clone().map(|length| 1u32 << (CODE_BITS_MAX - usize::from(*length))).sum();
        let whole = 1u32 << CODE_BITS_MAX;
        if share > whole || (share < whole && used.count() > 1) {
            return false;
        }
        let nothing = nothing << VALUE_AT | 1;
        self.first.fill(nothing);
        self.second.clear();
        let mut next = firsts(lengths);
        for (symbol, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            let bits = usize::from(*length);
            let code = usize::from(reversed(next[bits], bits));
            next[bits] += 1;
            let entry = (value(symbol) << VALUE_AT) | u32::from(*length);
            if bits <= BITS {
                self.first[code..].iter_mut().step_by(1 << bits).for_each(|place| *place = entry);
                continue;
            }
            let head = &mut self.first[code & (SIZE - 1)];
            if *head & SECOND == 0 {
                *head = ((self.second.len() as u32) << VALUE_AT) | SECOND;
                self.second.resize(self.second.len() + (1 << Self::SECOND_BITS), nothing);
            }
            let begin = (*head >> VALUE_AT) as usize;
            let places = &mut self.second[begin + (code >> BITS)..begin + (1 << Self::SECOND_BITS)];
            places.iter_mut().step_by(1 << (bits - BITS)).for_each(|place| *place = entry);
        }
        true
    }

    /// What the next bits stand for, and how many of them.
    #[inline(always)]
    pub(super) fn look(&self, bits: u64) -> (u32, u32) {
        let mut entry = self.first[bits as usize & (SIZE - 1)];
        if entry & SECOND != 0 {
            let second = (bits >> BITS) as usize & ((1 << Self::SECOND_BITS) - 1);
            entry = self.second[(entry >> VALUE_AT) as usize + second];
        }
        (entry >> VALUE_AT, entry & LENGTH_MASK)
    }
}
