//! Puffin: a file of Spark's, hand-made footers, damage, and that blobs stay where they are.

#![allow(clippy::unwrap_used)]

use std::io::Write;

use lz4_flex::frame::{FrameEncoder, FrameInfo};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const SPARK: &[u8] = include_bytes!("../../tests/golden/deletes/spark-vector.puffin");
const WAREHOUSE: &str = "file:/tmp/warehouse";

fn map(from: &str, to: &str) -> LocationMap {
    LocationMap::new([(from, to)]).unwrap()
}

/// A file of these blob bytes with this footer.
fn file(blobs: &[u8], payload: &[u8], flags: u32) -> Vec<u8> {
    let size = (payload.len() as i32).to_le_bytes();
    [MAGIC, blobs, MAGIC, payload, &size, &flags.to_le_bytes(), MAGIC].concat()
}

fn payload(bytes: &[u8]) -> Value {
    let (payload, flags) = framed(bytes).unwrap();
    assert_eq!(flags, 0);
    serde_json::from_slice(&bytes[payload]).unwrap()
}

fn footer() -> Value {
    json!({
        "unknown": [1.50, {"s3://old/x": null}],
        "blobs": [
            { "type": "theta", "fields": [1], "snapshot-id": 7, "offset": 4, "length": 3, "compression-codec": "zstd" },
            { "offset": 7, "length": 5, "type": "deletion-vector-v1", "extra": "s3://old/kept",
              "properties": { "z": "s3://old/kept", "referenced-data-file": "s3://old/t/a.parquet", "cardinality": "2" } }
        ],
        "properties": { "created-by": "s3://old/kept", "referenced-data-file": "s3://old/kept" }
    })
}

#[track_caller]
fn refused(bytes: &[u8], why: &str) {
    for error in [blobs(bytes, "s3://b/x").unwrap_err(), relocate(bytes, "s3://b/x", &map("a:/", "b:/")).unwrap_err()] {
        assert!(error.message().starts_with("cannot read s3://b/x as Puffin: "), "{error}");
        assert!(error.message().contains(why), "{error}");
    }
}

#[test]
fn vectors_of_spark_go_there_and_back() {
    let map = map(WAREHOUSE, "s3://other/a much longer place");
    let there = relocate(SPARK, "x", &map).unwrap();
    assert_eq!(referenced(&there, "x").unwrap().len(), 3);
    assert!(referenced(&there, "x").unwrap().iter().all(|path| path.starts_with("s3://other/a much longer place/db/")));
    let places = |bytes: &[u8]| -> Vec<(u64, u64, String)> {
        blobs(bytes, "x").unwrap().into_iter().map(|b| (b.offset, b.length_bytes, b.blob_type)).collect()
    };
    assert_eq!(places(&there), places(SPARK));
    let last = blobs(SPARK, "x").unwrap().pop().unwrap();
    let end = (last.offset + last.length_bytes) as usize;
    assert_eq!(there[..end], SPARK[..end], "blobs are verbatim");
    assert_eq!(relocate(&there, "x", &map.inverse().unwrap()).unwrap(), SPARK);
}

#[test]
fn nothing_but_the_data_file_changes() {
    let before = file(b"abcVECTO", &serde_json::to_vec(&footer()).unwrap(), 0);
    let after = relocate(&before, "x", &map("s3://old", "s3://new")).unwrap();
    let mut expected = footer();
    expected["blobs"][1]["properties"][REFERENCED] = json!("s3://new/t/a.parquet");
    assert_eq!(serde_json::to_string(&payload(&after)).unwrap(), serde_json::to_string(&expected).unwrap());
    assert_eq!(after[..12], before[..12]);
    assert_eq!(referenced(&after, "x").unwrap(), ["s3://new/t/a.parquet"]);
}

#[test]
fn a_compressed_footer_is_read_and_written_plain() {
    let info = FrameInfo::new().content_size(Some(serde_json::to_vec(&footer()).unwrap().len() as u64));
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(&serde_json::to_vec(&footer()).unwrap()).unwrap();
    let packed = encoder.finish().unwrap();
    let plain = file(b"abcVECTO", &serde_json::to_vec(&footer()).unwrap(), 0);
    let identity = map("s3://old", "s3://old");
    assert_eq!(relocate(&file(b"abcVECTO", &packed, 1), "x", &identity).unwrap(), plain);
    refused(&file(b"abcVECTO", &packed[..packed.len() - 9], 1), "its footer");
    refused(&file(b"abcVECTO", &packed, 0), "its footer");
}

#[test]
fn a_footer_that_unpacks_beyond_the_limit_is_refused() {
    let mut encoder = FrameEncoder::new(Vec::new());
    for _ in 0..=FOOTER_BYTES_MAX >> 20 {
        encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let error = blobs(&file(b"", &encoder.finish().unwrap(), 1), "x").unwrap_err();
    assert_eq!(error.kind(), Kind::Unprocessable);
}

#[test]
fn what_does_not_add_up_is_refused() {
    let text = serde_json::to_vec(&footer()).unwrap();
    let good = file(b"abcVECTO", &text, 0);
    refused(b"", "too short");
    refused(&good[1..], "does not begin with PFA1");
    refused(&good[..good.len() - 1], "does not end in PFA1");
    refused(&[&b"PFA2"[..], &good[4..]].concat(), "does not begin with PFA1");
    refused(&file(b"abc", &text, 0), "blob 1 of its footer lies outside");
    refused(&file(b"abcVECTO", &text, 2), "its flags 0x2 are unknown");
    refused(&file(b"abcVECTO", &text, 1 << 31), "its flags 0x80000000 are unknown");
    refused(&file(b"", b"{\"blobs\": {}}", 0), "lists no blobs");
    refused(&file(b"", b"{\"blobs\": [", 0), "its footer: EOF");
    for (member, value, why) in [
        ("offset", json!(3), "lies outside"),
        ("offset", json!(-1), "has no offset"),
        ("offset", json!(u64::MAX), "lies outside"),
        ("length", json!("5"), "has no length"),
        ("length", json!(7), "lies outside"),
        ("type", json!(null), "has no type"),
        ("properties", json!({ "referenced-data-file": 1 }), "no text"),
    ] {
        let mut footer = footer();
        footer["blobs"][1][member] = value;
        refused(&file(b"abcVECTO", &serde_json::to_vec(&footer).unwrap(), 0), why);
    }
    for size in [0_i32, -1, i32::MIN, i32::MAX, text.len() as i32 + 1] {
        let mut bytes = good.clone();
        let at = bytes.len() - TAIL_BYTES;
        bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
        refused(&bytes, "");
    }
}

#[test]
fn a_path_that_the_map_refuses_is_named_with_its_file() {
    let error = relocate(SPARK, "s3://b/x.puffin", &map("s3://b", WAREHOUSE)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unprocessable);
    assert!(error.to_string().starts_with("s3://b/x.puffin: "), "{error}");
    assert!(error.message().contains("file:/tmp/warehouse/db/"), "{error}");
}

proptest! {
    #[test]
    fn damage_is_an_error_or_leaves_a_file_that_adds_up(
        cut in prop::option::of(0..SPARK.len()), flips in prop::collection::vec((0..SPARK.len(), 0..8_u8), 0..4)
    ) {
        let mut bytes = SPARK.to_vec();
        for (at, bit) in flips {
            bytes[at] ^= 1 << bit;
        }
        bytes.truncate(cut.unwrap_or(SPARK.len()));
        if let Ok(after) = relocate(&bytes, "x", &map(WAREHOUSE, "s3://b")) {
            prop_assert_eq!(blobs(&after, "x").unwrap().len(), blobs(&bytes, "x").unwrap().len());
        }
    }
}
