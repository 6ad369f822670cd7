//! Streams of every kind, edited at random and unpacked by a library that has nothing to do with ours.

#![allow(clippy::unwrap_used)]

use libdeflater::{CompressionLvl, Compressor, Decompressor};
use proptest::prelude::*;

use super::*;

const SIZE_MAX: usize = 16 << 20;

/// Start, end, and what stands there instead.
type Edit = (usize, usize, Vec<u8>);

fn packed(text: &[u8], level: i32) -> Vec<u8> {
    let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap());
    let mut out = vec![0; compressor.deflate_compress_bound(text.len())];
    let size = compressor.deflate_compress(text, &mut out).unwrap();
    out.truncate(size);
    out
}

fn unpacked(stored: &[u8], size: usize) -> Vec<u8> {
    let mut raw = vec![0; size];
    let unpacked = Decompressor::new().deflate_decompress(stored, &mut raw).expect("it is a stream");
    assert_eq!(unpacked, size);
    raw
}

/// The text with edits, by the plainest way.
fn edited(text: &[u8], edits: &[Edit]) -> Vec<u8> {
    let (mut out, mut copied) = (Vec::new(), 0);
    for (start, end, new) in edits {
        out.extend_from_slice(&text[copied..*start]);
        out.extend_from_slice(new);
        copied = *end;
    }
    out.extend_from_slice(&text[copied..]);
    out
}

/// Takes streams apart, edits them, and writes all of them as one; returns its size.
fn check(streams: &[(Vec<u8>, Vec<Edit>)], stored: &[Vec<u8>]) -> usize {
    let (mut inflater, mut raw, mut tokens, mut splice) =
        (Inflater::default(), Vec::new(), Tokens::default(), Splice::default());
    let mut expected = Vec::new();
    for ((text, edits), stored) in streams.iter().zip(stored) {
        inflater.inflate(stored, SIZE_MAX, &mut raw, &mut tokens).expect("it is a stream");
        assert!(raw == *text);
        splice.add(&raw, &tokens, edits.iter().map(|(start, end, new)| (*start, *end, new.as_slice())));
        expected.extend(edited(text, edits));
    }
    assert!(splice.text() == expected);
    let mut out = Vec::new();
    splice.write(&mut out);
    assert!(unpacked(&out, expected.len()) == expected);
    out.len()
}

/// Records as manifests have them: the same with small differences, a place, and noise.
fn records(count: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for at in 0..count {
        let noise = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        text.extend_from_slice(
            format!("\u{2}file:/prod/lake/sales/data/day={}/{noise:016x}.parquet", at % 7).as_bytes(),
        );
        text.extend_from_slice(&noise.to_le_bytes());
        text.extend_from_slice(&[0, 2, 4, 6, (at % 250) as u8, 0, 0, 8]);
    }
    text
}

/// The place in each of them becomes another one.
fn moved(text: &[u8], from: &str, to: &str) -> Vec<Edit> {
    let places = text.windows(from.len()).enumerate().filter(|(_, window)| *window == from.as_bytes());
    places.map(|(at, _)| (at, at + from.len(), to.as_bytes().to_vec())).collect()
}

#[test]
fn places_of_records_are_changed_at_every_level() {
    let text = records(3_000);
    for to in [
        "s3://standby/lake",
        "/x",
        "file:/prod/lake",
        "file:/prod/lake2",
        "hdfs://a-much-longer-name.example:8020/warehouse/of/another/site",
    ] {
        let edits = moved(&text, "file:/prod/lake", to);
        assert_eq!(edits.len(), 3_000);
        let anew = packed(&edited(&text, &edits), 6).len();
        for level in 0..=12 {
            let size = check(&[(text.clone(), edits.clone())], &[packed(&text, level)]);
            assert!(level < 6 || size < anew * 11 / 10, "{to} at level {level}: {size}, anew {anew}");
        }
    }
}

#[test]
fn odd_streams_are_taken_apart() {
    let ones = vec![b'1'; 100_000];
    let noise: Vec<u8> = (0..70_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for text in [Vec::new(), b"a".to_vec(), ones, noise] {
        for level in [0, 1, 6, 12] {
            let edits = if text.len() > 3 { vec![(1, 2, b"xyz".to_vec()), (3, 3, b"!".to_vec())] } else { Vec::new() };
            check(&[(text.clone(), edits)], &[packed(&text, level)]);
        }
    }
}

#[test]
fn damage_is_an_error_and_takes_no_more_memory_than_allowed() {
    let text = records(200);
    let stored = packed(&text, 6);
    let (mut inflater, mut raw, mut tokens) = (Inflater::default(), Vec::new(), Tokens::default());
    for end in 0..stored.len() {
        let refused = inflater.inflate(&stored[..end], SIZE_MAX, &mut raw, &mut tokens);
        assert_eq!(refused, Err(Refused::Damaged), "cut at {end}");
    }
    for at in 0..stored.len() * 8 {
        let mut stored = stored.clone();
        stored[at / 8] ^= 1 << (at % 8);
        // it may be another stream; then both say the same of it
        let ours = inflater.inflate(&stored, 1 << 20, &mut raw, &mut tokens);
        let mut theirs = vec![0; 1 << 20];
        match Decompressor::new().deflate_decompress(&stored, &mut theirs) {
            Ok(size) => assert!(ours == Ok(()) && raw == theirs[..size], "bit {at}"),
            Err(_) => assert!(ours.is_err(), "bit {at}"),
        }
    }
    let bomb = packed(&vec![0; 1 << 20], 9);
    for size_max in [0, 1, 1000, (1 << 20) - 1] {
        let refused = Inflater::default().inflate(&bomb, size_max, &mut Vec::new(), &mut tokens);
        assert_eq!(refused, Err(Refused::TooLarge), "{size_max}");
    }
    assert_eq!(Inflater::default().inflate(&bomb, 1 << 20, &mut Vec::new(), &mut tokens), Ok(()));
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(prop::sample::select(b"ab".to_vec()), 0..300),
        (any::<u8>(), 0..2_000usize).prop_map(|(byte, count)| vec![byte; count]),
        Just(b"file:/prod/lake/data/".to_vec()),
        (0..200usize).prop_map(records),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn stream() -> impl Strategy<Value = (Vec<u8>, Vec<Edit>, i32)> {
    let edit = (0..400usize, 0..30usize, prop_oneof![text(), Just(b"s3://x/".to_vec()), Just(Vec::new())]);
    (text(), prop::collection::vec(edit, 0..40), 0..13i32).prop_map(|(text, edits, level)| {
        let (mut at, mut placed) = (0, Vec::new());
        for (after, size, new) in edits {
            let (start, end) = (at + after, at + after + size);
            if end > text.len() {
                break;
            }
            placed.push((start, end, new));
            at = end;
        }
        (text, placed, level)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn edited_streams_unpack_to_the_edited_text(streams in prop::collection::vec(stream(), 1..4)) {
        let stored: Vec<Vec<u8>> = streams.iter().map(|(text, _, level)| packed(text, *level)).collect();
        let streams: Vec<_> = streams.into_iter().map(|(text, edits, _)| (text, edits)).collect();
        check(&streams, &stored);
    }

    #[test]
    fn codes_are_complete_and_short_enough(counts in prop::collection::vec(prop_oneof![Just(0u32), 0..50u32, any::<u32>()], 2..286), bits_max in 9..16usize) {
        let mut lengths = vec![0; counts.len()];
        code::lengths(&counts, bits_max, &mut lengths);
        let share: u32 = lengths.iter().filter(|l| **l > 0).map(|l| 1 << (bits_max - usize::from(*l))).sum();
        prop_assert_eq!(share, 1 << bits_max);
        prop_assert!(counts.iter().zip(&lengths).all(|(count, length)| *count == 0 || *length > 0));
    }
}
