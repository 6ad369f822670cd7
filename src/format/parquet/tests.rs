//! Packed pages and lengths that do not add up.

#![allow(clippy::unwrap_used)]

use ::parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};

use super::{codec, lengths};

#[test]
fn pages_that_unpack_to_other_than_they_state_are_an_error() {
    let plain = vec![0; 2 << 20];
    let pack = |codec| {
        let rows: Vec<u8> = plain.clone();
        match codec {
            Compression::SNAPPY => snap::raw::Encoder::new().compress_vec(&rows).unwrap(),
            Compression::ZSTD(_) => zstd::bulk::compress(&rows, 3).unwrap(),
            Compression::LZ4_RAW => lz4_flex::block::compress(&rows),
            Compression::GZIP(_) => {
                let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                std::io::Write::write_all(&mut to, &rows).unwrap();
                to.finish().unwrap()
            }
            Compression::LZ4 => {
                let mut to = lz4_flex::frame::FrameEncoder::new(Vec::new());
                std::io::Write::write_all(&mut to, &rows).unwrap();
                to.finish().unwrap()
            }
            _ => {
                let mut to = Vec::new();
                brotli::BrotliCompress(&mut &rows[..], &mut to, &Default::default()).unwrap();
                to
            }
        }
    };
    for codec in [
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let packed = pack(codec);
        assert_eq!(codec::unpack(codec, &packed, plain.len()).unwrap(), plain, "{codec}");
        for length in [0, 100, plain.len() - 1, plain.len() + 1] {
            assert!(codec::unpack(codec, &packed, length).is_err(), "{codec} {length}");
        }
        assert!(codec::unpack(codec, &packed[..packed.len() / 2], plain.len()).is_err(), "{codec}");
    }
}

#[test]
fn lengths_that_do_not_add_up_are_an_error() {
    // 1000 prefixes of 0, 1000, 1000, …: a page of a few bytes would unpack to a megabyte
    let numbers = |count: u64, first: u8, least: u8, rest: &[u8]| -> Vec<u8> {
        [&[0x80, 1, 1], &[(count & 0x7f) as u8 | 0x80, (count >> 7) as u8][..], &[first, least], rest].concat()
    };
    let check = |encoding, section: &[u8], count, most| lengths::check(encoding, section, count, most);
    let (delta, plain) = (Encoding::DELTA_BYTE_ARRAY, Encoding::DELTA_LENGTH_BYTE_ARRAY);
    // two values of 3 bytes: first length 3, then a block whose least difference is 0 and whose widths are 0
    let two = numbers(2, 6, 0, b"\0abcdef");
    assert!(check(plain, &two, 2, 6).is_ok());
    assert!(check(plain, &two, 1, 6).is_err(), "more lengths than values");
    assert!(check(plain, &two, 2, 5).is_err(), "over the limit");
    assert!(check(plain, &two[..two.len() - 1], 2, 6).is_err(), "less bytes than lengths");
    assert!(check(plain, &numbers(2, 5, 0, b"\0abcdef"), 2, 9).is_err(), "a length below zero");
    // prefixes 0, 3 and suffixes 3, 3
    let prefixes = numbers(2, 0, 6, b"\0");
    assert!(check(delta, &[prefixes.clone(), two.clone()].concat(), 2, 9).is_ok());
    assert!(check(delta, &[prefixes, two].concat(), 2, 8).is_err(), "over the limit");
    assert!(check(delta, &[numbers(2, 0, 8, b"\0"), numbers(2, 6, 0, b"\0abcdef")].concat(), 2, 99).is_err());
    for cut in 0..8 {
        assert!(check(plain, &numbers(2, 6, 0, b"\0abcdef")[..cut], 2, 99).is_err(), "{cut}");
    }
    for header in [
        &b"\0\x01\x02\0"[..],
        b"\x80\x01\0\x02\0",
        b"\x80\x01\x03\x02\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        assert!(check(plain, header, 99, 99).is_err());
    }
}
