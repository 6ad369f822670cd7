//! Work done twice is work done once, and user data stays what it is.

use std::collections::BTreeMap;
use std::path::Path;

use lifeboat::format::manifest::{Codec, FormatVersion};
use serde_json::json;

use super::lake::{Lake, PROD, Tree, added, fields, run};

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().to_string_lossy().into_owned();
                found.insert(name, std::fs::read(entry.path()).expect("a file"));
            }
        }
    }
    found
}

#[tokio::test]
async fn an_interrupted_relocation_goes_on_to_the_same_result() {
    let mut lake = Lake::new(FormatVersion::V2);
    for name in ["a", "b", "c"] {
        let entries = [added(&lake, lake.data_file(&format!("data/{name}.parquet")))];
        let manifests = vec![lake.manifest(name, &entries, Codec::Deflate)];
        lake.append(manifests);
    }
    let metadata = lake.save();
    let report = lake.relocate(&metadata).await.expect("relocated");
    let whole = files(&lake.beside("overlay"));
    // whatever was written before it was cut off: each file may be there or not, the metadata is last
    let others: Vec<&String> = whole.keys().filter(|name| **name != report.metadata_location).collect();
    for there in 0..1 << others.len() {
        std::fs::remove_file(&report.metadata_location).expect("it is there");
        for (at, name) in others.iter().enumerate() {
            if there & (1 << at) == 0 {
                std::fs::remove_file(name).expect("it is there");
            }
        }
        let again = lake.relocate(&metadata).await.expect("goes on");
        assert_eq!(again.files.written as u32, others.len() as u32 - u32::from((there as u32).count_ones() as u8) + 1);
        assert_eq!(files(&lake.beside("overlay")), whole);
    }
}

#[tokio::test]
async fn a_file_of_another_content_under_our_name_is_never_overwritten() {
    let mut lake = Lake::new(FormatVersion::V2);
    let entries = [added(&lake, lake.data_file("data/a.parquet"))];
    let manifests = vec![lake.manifest("a", &entries, Codec::Deflate)];
    lake.append(manifests);
    let metadata = lake.save();
    let report = lake.relocate(&metadata).await.expect("relocated");
    let list = Tree::read(&report.metadata_location).metadata["snapshots"][0]["manifest-list"]
        .as_str()
        .expect("a list")
        .to_owned();
    std::fs::remove_file(&report.metadata_location).expect("removed");
    std::fs::write(&list, b"cut").expect("damaged");
    let error = lake.relocate(&metadata).await.expect_err("refused").to_string();
    assert!(error.contains(&list) && error.contains("nothing was overwritten"), "{error}");
    assert_eq!(std::fs::read(&list).expect("still there"), b"cut");
}

#[tokio::test]
async fn user_data_that_looks_like_a_path_is_untouched() {
    let mut lake = Lake::new(FormatVersion::V2);
    let looks = format!("{PROD}/sales/orders/data/a.parquet");
    let mut file = lake.data_file("data/a.parquet");
    file.lower_bounds = [(2, looks.clone().into_bytes())].into();
    file.upper_bounds = [(2, looks.clone().into_bytes())].into();
    let manifests = vec![lake.manifest("a", &[added(&lake, file)], Codec::Deflate)];
    lake.append(manifests);
    lake.metadata["properties"] =
        json!({"owner-link": looks, "write.data.path": looks, "comment": format!("see {looks}"), "team.place": looks});
    lake.metadata["schemas"][0]["fields"][1]["doc"] = json!(looks);
    lake.metadata["schemas"][0]["fields"][1]["initial-default"] = json!(looks);
    lake.metadata["a-field-of-2031"] = json!({"location": looks, "snapshots": [{"manifest-list": looks}]});
    let options = lifeboat::table::relocate::Options { path_properties: vec!["team.place".into()], ..lake.options() };
    let report = run(&lake.save(), &options).await.expect("relocated");
    let tree = Tree::read(&report.metadata_location);
    let new = lake.place(&looks).to_string_lossy().into_owned();
    let properties =
        json!({"owner-link": looks, "write.data.path": new, "comment": format!("see {looks}"), "team.place": new});
    assert_eq!(tree.metadata["properties"], properties);
    assert_eq!(tree.metadata["schemas"], lake.metadata["schemas"]);
    assert_eq!(tree.metadata["a-field-of-2031"], lake.metadata["a-field-of-2031"]);
    assert_eq!(tree.metadata["snapshots"][0]["summary"], lake.metadata["snapshots"][0]["summary"]);
    let file = tree.files().remove(0);
    assert_eq!(file["lower_bounds"], file["upper_bounds"]);
    assert!(
        format!("{:?}", file["lower_bounds"]).len() > 10
            && fields(tree.entries.values().next().expect("one")[0].clone()).contains_key("status")
    );
    let apache_avro::types::Value::Array(bounds) = &file["lower_bounds"] else { panic!("no bounds") };
    assert_eq!(fields(bounds[0].clone())["value"], apache_avro::types::Value::Bytes(looks.into_bytes()));
    // members stay in their places
    let names = |value: &serde_json::Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&tree.metadata), names(&lake.metadata));
}
