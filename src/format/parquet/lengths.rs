//! Adds up the lengths of a page whose values have them in front, packed as differences (Parquet, "Delta-length byte array" and "Delta
//! Strings").
//!
//! The crate allocates by the count in such a page and slices by its lengths as they are, and with delta strings a page can unpack to the
//! square of its size. What must hold: a page that passes has as many lengths as it may have values, they add up to what is there, and
//! its values take no more than a limit.

use ::parquet::basic::Encoding;

/// Values of a block at most; writers have 128.
const BLOCK_VALUES_MAX: u64 = 1 << 20;
const BAD: &str = "the lengths of a page's values do not add up";

/// Checks the values' section of a page with at most `count` values that may take at most `bytes_max`; other encodings pass.
pub(super) fn check(encoding: Encoding, section: &[u8], count: u64, bytes_max: u64) -> Result<(), &'static str> {
    let (mut prefixes, section) = match encoding {
        Encoding::DELTA_BYTE_ARRAY => {
            let end = Differences::read(section, count)?.last_byte()?;
            (Some(Differences::read(section, count)?), section.get(end..).ok_or(BAD)?)
        }
        Encoding::DELTA_LENGTH_BYTE_ARRAY => (None, section),
        _ => return Ok(()),
    };
    let end = Differences::read(section, count)?.last_byte()?;
    let mut lengths = Differences::read(section, count)?;
    if prefixes.as_ref().is_some_and(|prefixes| prefixes.left != lengths.left) {
        return Err(BAD);
    }
    let (mut stored, mut whole, mut previous) = (0_u64, 0_u64, 0_u64);
    while let Some(length) = lengths.next_value()? {
        let length = size(Some(length))?;
        let prefix = prefixes.as_mut().map_or(Ok(0), |prefixes| size(prefixes.next_value()?))?;
        if prefix > previous {
            return Err(BAD);
        }
        previous = prefix + length;
        stored += length;
        whole += previous;
        if whole > bytes_max {
            return Err("the values of a page unpack to too much");
        }
    }
    if stored > section.len().saturating_sub(end) as u64 { Err(BAD) } else { Ok(()) }
}

/// A length is a number of 31 bits.
fn size(number: Option<i64>) -> Result<u64, &'static str> {
    number.and_then(|number| i32::try_from(number).ok()).and_then(|number| u64::try_from(number).ok()).ok_or(BAD)
}

/// Numbers packed as differences (`DELTA_BINARY_PACKED`), one at a time.
struct Differences<'a> {
    bytes: &'a [u8],
    /// The next byte of a header, or behind the body of the miniblock.
    at: usize,
    /// How many numbers are to come.
    left: u64,
    miniblocks: usize,
    /// How many numbers a miniblock has.
    width_values: usize,
    /// The bits that a difference takes, for the miniblocks to come.
    widths: &'a [u8],
    body: &'a [u8],
    width: usize,
    /// Which number of the miniblock comes next.
    index: usize,
    least: i64,
    last: i64,
    first: bool,
}

impl<'a> Differences<'a> {
    fn read(bytes: &'a [u8], count: u64) -> Result<Self, &'static str> {
        let mut at = 0;
        let block = varint(bytes, &mut at)?;
        let miniblocks = varint(bytes, &mut at)?;
        let left = varint(bytes, &mut at)?;
        let last = zigzag(bytes, &mut at)?;
        let fits = (1..=BLOCK_VALUES_MAX).contains(&block) && (1..=block).contains(&miniblocks) && left <= count;
        if !fits || block % miniblocks != 0 || (block / miniblocks) % 32 != 0 {
            return Err(BAD);
        }
        let (miniblocks, width_values) = (miniblocks as usize, (block / miniblocks) as usize);
        let (widths, body): (&[u8], &[u8]) = (&[], &[]);
        // as if a miniblock had just ended
        let index = width_values;
        Ok(Self {
            bytes,
            at,
            left,
            miniblocks,
            width_values,
            widths,
            body,
            width: 0,
            index,
            least: 0,
            last,
            first: true,
        })
    }

    fn next_value(&mut self) -> Result<Option<i64>, &'static str> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if std::mem::take(&mut self.first) {
            return Ok(Some(self.last));
        }
        if self.index == self.width_values {
            self.next_miniblock()?;
        }
        let difference = bits(self.body, self.index * self.width, self.width);
        self.index += 1;
        self.last = self.last.wrapping_add(self.least).wrapping_add(difference as i64);
        Ok(Some(self.last))
    }

    fn next_miniblock(&mut self) -> Result<(), &'static str> {
        if self.widths.is_empty() {
            self.least = zigzag(self.bytes, &mut self.at)?;
            let end = self.at.checked_add(self.miniblocks).ok_or(BAD)?;
            self.widths = self.bytes.get(self.at..end).ok_or(BAD)?;
            self.at = end;
        }
        let (width, widths) = self.widths.split_first().ok_or(BAD)?;
        (self.width, self.widths, self.index) = (usize::from(*width), widths, 0);
        if self.width > 64 {
            return Err(BAD);
        }
        let end = self.at + self.width * self.width_values / 8;
        self.body = self.bytes.get(self.at..end).ok_or(BAD)?;
        self.at = end;
        Ok(())
    }

    /// Where the numbers end.
    fn last_byte(mut self) -> Result<usize, &'static str> {
        while self.next_value()?.is_some() {}
        Ok(self.at)
    }
}

/// `width` bits, at most 64, from the lowest of each byte on.
fn bits(bytes: &[u8], at: usize, width: usize) -> u64 {
    let mut window = [0; 16];
    for (to, from) in window.iter_mut().zip(bytes.get(at / 8..).unwrap_or_default()) {
        *to = *from;
    }
    let value = (u128::from_le_bytes(window) >> (at % 8)) as u64;
    if width < 64 { value & ((1 << width) - 1) } else { value }
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, &'static str> {
    let mut value = 0_u64;
    for place in 0..10_u32 {
        let byte = *bytes.get(*at).ok_or(BAD)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(BAD)
}

fn zigzag(bytes: &[u8], at: &mut usize) -> Result<i64, &'static str> {
    let raw = varint(bytes, at)?;
    Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
}
