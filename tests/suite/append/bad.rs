//! Files that are none: each is named with its reason, nothing of them is committed, and the good ones are.

use super::shore::{Shore, file, names, write};

const GOOD: i64 = 5;

#[tokio::test]
async fn bad_files_are_named_and_the_good_ones_appended() {
    let shore = Shore::open(&["t".to_owned()], 100, None).await;
    shore.land(0..GOOD);
    let whole = file(&[1, 2, 3]);
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let end = whole.len();
    let columns: String = (0..100_000).map(|at| format!("optional int64 c{at}; ")).collect();
    let bad: [(&str, Vec<u8>, &str, &str); 11] = [
        ("zero.parquet", Vec::new(), "unreadable", "empty"),
        ("cut-in-the-footer.parquet", whole[..end - 9].to_vec(), "unreadable", "Parquet"),
        ("cut-in-the-data.parquet", whole[end / 2..].to_vec(), "unreadable", "Parquet"),
        ("text.parquet", b"this is no Parquet file at all".to_vec(), "unreadable", "Parquet"),
        ("short.parquet", b"PAR1".to_vec(), "unreadable", "Parquet"),
        ("length.parquet", changed(end - 8, &u32::MAX.to_le_bytes()), "unreadable", "Parquet"),
        ("thrift.parquet", changed(end - 40, &[0xff; 16]), "unreadable", "Parquet"),
        ("encrypted.parquet", changed(end - 4, b"PARE"), "encrypted", "encrypted"),
        ("file.orc", [&b"ORC"[..], &[7; 64], &b"ORC\x10"[..]].concat(), "format", "ORC"),
        ("file.avro", [&b"Obj\x01"[..], &[7; 64]].concat(), "format", "Avro"),
        ("wide.parquet", write(&format!("message m {{ {columns} }}"), &[1]), "limits", "too many elements"),
    ];
    for (name, bytes, _, _) in &bad {
        std::fs::write(shore.landing().join(name), bytes).expect("written");
    }
    for appended in [GOOD, 0] {
        let (told, status) = shore.append("t");
        assert_eq!((status, &told["appended-files"]), (Some(1), &appended.into()), "{told}");
        let left_out = told["left-out"].as_array().expect("files");
        assert_eq!(left_out.len(), bad.len(), "{told}");
        for (name, _, reason, says) in &bad {
            let is_it = |file: &&serde_json::Value| {
                file["file"].as_str().is_some_and(|file| file.ends_with(&format!("/{name}")))
            };
            let named = left_out.iter().find(is_it).unwrap_or_else(|| panic!("{name} is not named: {told}"));
            assert_eq!(named["reason"], *reason, "{named}");
            assert!(named["message"].as_str().is_some_and(|message| message.contains(says)), "{named}");
        }
        assert_eq!(shore.live("t").await, names(0..GOOD));
    }
    // one that is whole later is appended then
    std::fs::write(shore.landing().join("zero.parquet"), &whole).expect("written");
    let (told, _) = shore.append("t");
    assert_eq!((&told["appended-files"], &told["appended-rows"]), (&1.into(), &3.into()), "{told}");
}
