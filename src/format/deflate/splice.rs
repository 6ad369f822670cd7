//! Carries the tokens of a text over to the edited text.
//!
//! A repetition whose source lies whole before the edits that are between stays one, from farther or less far; one across an edit is divided, and what
//! is left of it that is too short or too far becomes literals. New texts repeat each other (they are places below one prefix), so each is said by the one
//! before it.

use super::encode::Encoder;
use super::inflate::{Token, Tokens};
use super::{DISTANCE_MAX, LENGTH_MAX, LENGTH_MIN};

/// Bytes of the old text that share one entry of the index of edits.
const INDEX_SHIFT: u32 = 6;
/// A new text says at least so many bytes by the one before it, or none.
const SHARED_MIN: usize = 6;

/// An edit of the old text, as small as it can be.
#[derive(Debug, Clone, Copy)]
struct Cut {
    start: usize,
    end: usize,
    /// What the place behind it in the old text must be moved by to be its place in the new one.
    shift: isize,
    /// Where the new text is.
    new: (usize, usize),
}

/// A text in the making, and what it is made of.
#[derive(Default)]
pub(in crate::format) struct Splice {
    text: Vec<u8>,
    tokens: Tokens,
    /// Literals since the last repetition.
    run: usize,
    cuts: Vec<Cut>,
    index: Vec<u32>,
    encoder: Encoder,
}

impl Splice {
    /// The text so far.
    pub(in crate::format) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Forgets all.
    pub(in crate::format) fn clear(&mut self) {
        self.text.clear();
        self.tokens.0.clear();
        self.run = 0;
    }

    /// Adds `raw` with edits, which are in the order of their places and do not meet: start, end, and what stands there instead.
    pub(in crate::format) fn add<'e>(
        &mut self,
        raw: &[u8],
        tokens: &Tokens,
        edits: impl Iterator<Item = (usize, usize, &'e [u8])>,
    ) {
        let base = self.text.len() as isize;
        self.edit(raw, edits);
        let mut walk = Walk { splice: self, base, at: 0, next: 0, last: None };
        for token in &tokens.0 {
            match Tokens::read(*token) {
                Token::Literals(count) => walk.over(count, None),
                Token::Repeat(length, distance) => walk.over(length, Some(distance)),
            }
        }
        walk.end();
    }

    /// Adds the stream of the whole text to `out`.
    pub(in crate::format) fn write(&mut self, out: &mut Vec<u8>) {
        self.tokens.literals(std::mem::take(&mut self.run));
        self.encoder.write(&self.text, &self.tokens, out);
    }

    /// Writes the new text, and notes what is left of each edit without what is the same before and after.
    fn edit<'e>(&mut self, raw: &[u8], edits: impl Iterator<Item = (usize, usize, &'e [u8])>) {
        self.cuts.clear();
        let mut copied = 0;
        for (start, end, new) in edits {
            let old = &raw[start..end];
            let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
            let behind = old[same..].iter().rev().zip(new[same..].iter().rev()).take_while(|(a, b)| a == b).count();
            let (start, end, new) = (start + same, end - behind, &new[same..new.len() - behind]);
            if start == end && new.is_empty() {
                continue;
            }
            self.text.extend_from_slice(&raw[copied..start]);
            let begin = self.text.len();
            self.text.extend_from_slice(new);
            copied = end;
            let shift = self.text.len() as isize - end as isize;
            self.cuts.push(Cut { start, end, shift, new: (begin, self.text.len()) });
        }
        self.text.extend_from_slice(&raw[copied..]);
        self.index.clear();
        let mut cut = 0;
        for bucket in 0..=raw.len() >> INDEX_SHIFT {
            while self.cuts.get(cut).is_some_and(|c| c.end <= bucket << INDEX_SHIFT) {
                cut += 1;
            }
            self.index.push(cut as u32);
        }
    }

    /// Bytes of the new text that are there so far back, too: the last repetition goes on, or a new one begins where that is long enough.
    #[inline(always)]
    fn repeat(&mut self, mut length: usize, distance: usize) {
        if let Some((before, _)) = self.last_repeat().filter(|(_, last)| *last == distance) {
            let all = before + length;
            let first = if all > LENGTH_MAX { LENGTH_MAX.min(all - LENGTH_MIN) } else { all };
            if first >= before {
                self.tokens.0.pop();
                self.tokens.repeat(first, distance);
                length = all - first;
            }
        }
        while length >= LENGTH_MIN {
            // none is left that would be too short
            let taken = if length > LENGTH_MAX { LENGTH_MAX.min(length - LENGTH_MIN) } else { length };
            self.tokens.literals(std::mem::take(&mut self.run));
            self.tokens.repeat(taken, distance);
            length -= taken;
        }
        self.run += length;
    }

    /// The last repetition, if nothing came after it.
    #[inline(always)]
    fn last_repeat(&self) -> Option<(usize, usize)> {
        if self.run == 0 { self.tokens.last_repeat() } else { None }
    }
}

/// Where in the old text we are.
struct Walk<'w> {
    splice: &'w mut Splice,
    /// Where the new text begins that the old one becomes.
    base: isize,
    at: usize,
    /// The next cut.
    next: usize,
    /// Where the new text of the last cut is.
    last: Option<(usize, usize)>,
}

impl Walk<'_> {
    /// Goes over so many bytes of the old text, which are literals or from so far back.
    #[inline(always)]
    fn over(&mut self, mut length: usize, distance: Option<usize>) {
        while length > 0 {
            let until = self.splice.cuts.get(self.next).map_or(usize::MAX, |cut| cut.start);
            if self.at + length <= until {
                return self.keep(length, distance);
            }
            if until > self.at {
                let before = until - self.at;
                self.keep(before, distance);
                length -= before;
            }
            length -= self.drop(length);
        }
    }

    /// Bytes of the old text that stay.
    #[inline(always)]
    fn keep(&mut self, length: usize, distance: Option<usize>) {
        let Some(distance) = distance else {
            self.splice.run += length;
            self.at += length;
            return;
        };
        let from = self.at - distance;
        // no cut between: as far as before
        if length >= LENGTH_MIN
            && self.next.checked_sub(1).and_then(|last| self.splice.cuts.get(last)).is_none_or(|cut| cut.end <= from)
        {
            self.splice.repeat(length, distance);
        } else {
            self.keep_across(length, from);
        }
        self.at += length;
    }

    /// Bytes that stay and whose source has cuts behind or in it.
    fn keep_across(&mut self, length: usize, mut from: usize) {
        let (mut at, end) = (self.at, self.at + length);
        let shift = self.shift(self.next);
        let mut cut = self.splice.index.get(from >> INDEX_SHIFT).map_or(0, |cut| *cut as usize);
        while at < end {
            while cut < self.next && self.splice.cuts[cut].end <= from {
                cut += 1;
            }
            let next = (cut < self.next).then(|| self.splice.cuts[cut]);
            if let Some(gone) = next.filter(|next| next.start <= from) {
                // its source is no more
                let taken = (gone.end - from).min(end - at);
                self.splice.run += taken;
                (at, from) = (at + taken, from + taken);
                continue;
            }
            let taken = next.map_or(end - at, |next| (next.start - from).min(end - at));
            let distance = (at as isize + shift) - (from as isize + self.shift(cut));
            match usize::try_from(distance) {
                Ok(distance) if distance <= DISTANCE_MAX => self.splice.repeat(taken, distance),
                _ => self.splice.run += taken,
            }
            (at, from) = (at + taken, from + taken);
        }
    }

    /// Goes over what the next cut takes away of so many bytes; with its end comes the new text.
    fn drop(&mut self, length: usize) -> usize {
        let Some(cut) = self.splice.cuts.get(self.next).copied() else { return length };
        let taken = (cut.end - self.at).min(length);
        self.at += taken;
        if self.at == cut.end {
            self.insert(cut);
        }
        taken
    }

    fn insert(&mut self, cut: Cut) {
        let (start, end) = cut.new;
        let Splice { text, .. } = &*self.splice;
        let goes_on = self.splice.last_repeat().map(|(_, distance)| distance).filter(|distance| {
            start.checked_sub(*distance).is_some_and(|from| text[from..from + (end - start)] == text[start..end])
        });
        let shared = self.last.map_or(0, |(_, last)| {
            let before = self.splice.text[..last].iter().rev();
            let most = self.last.map_or(0, |(from, to)| to - from).min(end - start);
            before.zip(self.splice.text[start..end].iter().rev()).take(most).take_while(|(a, b)| a == b).count()
        });
        let distance = self.last.map_or(0, |(_, last)| end - last);
        if let Some(distance) = goes_on {
            self.splice.repeat(end - start, distance);
        } else if shared >= SHARED_MIN && distance <= DISTANCE_MAX {
            self.splice.run += end - start - shared;
            self.splice.repeat(shared, distance);
        } else {
            self.splice.run += end - start;
        }
        self.last = Some(cut.new);
        self.next += 1;
    }

    /// New texts that stand where nothing of the old one is left to go over.
    fn end(&mut self) {
        while let Some(cut) = self.splice.cuts.get(self.next).copied() {
            self.insert(cut);
        }
    }

    /// What places behind so many cuts are moved by.
    fn shift(&self, cuts: usize) -> isize {
        match cuts.checked_sub(1) {
            Some(last) => self.splice.cuts[last].shift,
            None => self.base,
        }
    }
}
