//! Deflate streams whose text is edited without compressing it anew.
//!
//! To compress is to search for repetitions, and a stream says where its writer found them. [`inflate`] keeps that as [`Tokens`]; [`Splice`] carries them over
//! to the edited text, where distances change that reach across an edit, and codes them anew. That is several times as fast as to search again, and the
//! result is about as small as the source was. Source: RFC 1951.
//!
//! What must hold: whatever the stream says, memory grows only with what it really unpacks to; damage is an error; what is written unpacks to
//! exactly the edited text.

mod code;
mod encode;
mod inflate;
mod splice;
#[cfg(test)]
mod tests;

pub(super) use inflate::{Inflater, Refused, Tokens};
pub(super) use splice::Splice;

/// The farthest that a repetition may reach back.
const DISTANCE_MAX: usize = 32 << 10;
/// The shortest repetition.
const LENGTH_MIN: usize = 3;
/// The longest one.
const LENGTH_MAX: usize = 258;
/// Symbols of literals, lengths and the end of a block.
const LITERALS: usize = 286;
/// The symbol of a block's end.
const END: usize = 256;
/// Symbols of distances.
const DISTANCES: usize = 30;
/// The longest code.
const CODE_BITS_MAX: usize = 15;
/// In what order the lengths of the code of code lengths are written.
const LENGTHS_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The least length that each length symbol (257 and on) stands for, and how many bits are added to it.
const LENGTH_BASES: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// The least distance that each distance symbol stands for, and how many bits are added to it.
const DISTANCE_BASES: [(u16, u8); DISTANCES] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];
