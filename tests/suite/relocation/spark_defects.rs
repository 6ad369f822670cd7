//! One test for each line of what Spark's `rewrite_table_path` is known to get wrong; the numbers are those of apache/iceberg's issues.

use apache_avro::types::Value as Avro;
use lifeboat::format::location::{LocationMap, Uncovered};
use lifeboat::format::manifest::{Codec, DataFile, FileContent, FileFormat, FormatVersion, ManifestEntry, Status};
use lifeboat::storage::Location;
use lifeboat::table::relocate::{LiveFile, Options, check};
use serde_json::json;

use super::lake::{Lake, PROD, Tree, added, entry, fields, records, run, storage, text};

fn appended(lake: &mut Lake, name: &str) -> i64 {
    let entry = added(lake, lake.data_file(&format!("data/{name}.parquet")));
    let manifest = lake.manifest(name, &[entry], Codec::Deflate);
    lake.append(vec![manifest])
}

#[tokio::test]
async fn manifest_length_is_exact_also_in_incremental_runs_13719_16905() {
    let mut lake = Lake::new(FormatVersion::V2);
    appended(&mut lake, "a");
    let report = lake.relocate_now().await.expect("relocated");
    Tree::read(&report.metadata_location);
    appended(&mut lake, "b");
    let report = lake.relocate_now().await.expect("relocated again");
    // reading checks every length of every list
    assert_eq!(Tree::read(&report.metadata_location).entries.len(), 2);
    assert_eq!(
        (report.files.manifests, report.files.manifest_lists),
        (1, 1),
        "only what is new was worked on: {report:?}"
    );
}

#[tokio::test]
async fn the_size_of_a_delete_file_is_that_of_the_relocated_one_12554() {
    let mut lake = Lake::new(FormatVersion::V2);
    let data = lake.data_file("data/a.parquet");
    let deletes = lake.position_deletes("data/d.avro", &[&data.file_path]);
    let before = deletes.file_size_bytes;
    let manifests = vec![
        lake.manifest("d", &[added(&lake, deletes)], Codec::Deflate),
        lake.manifest("a", &[added(&lake, data)], Codec::Deflate),
    ];
    lake.append(manifests);
    let report = lake.relocate_now().await.expect("relocated");
    let files = Tree::read(&report.metadata_location).files();
    let deletes = files.iter().find(|file| file["content"] == Avro::Int(1)).expect("the deletes");
    let size = std::fs::metadata(text(&deletes["file_path"])).expect("the delete file").len() as i64;
    assert_eq!(deletes["file_size_in_bytes"], Avro::Long(size));
    assert_ne!(size, before, "the paths' lengths differ, so this shows something");
}

#[tokio::test]
async fn files_of_deleted_entries_are_never_opened_16662_17498() {
    let mut lake = Lake::new(FormatVersion::V2);
    let gone = DataFile {
        file_format: FileFormat::Avro,
        ..DataFile::parquet(FileContent::PositionDeletes, lake.path("data/gone-deletes.avro"), 1, 99)
    };
    let gone_data = DataFile::parquet(FileContent::Data, lake.path("data/gone.parquet"), 1, 99);
    let manifests = vec![
        lake.manifest("d", &[entry(Status::Deleted, 1001, 1, gone)], Codec::Deflate),
        lake.manifest(
            "a",
            &[entry(Status::Deleted, 1001, 1, gone_data), added(&lake, lake.data_file("data/a.parquet"))],
            Codec::Deflate,
        ),
    ];
    lake.append(manifests);
    let metadata = lake.save();
    let report = lake.relocate(&metadata).await.expect("a healthy table is relocated");
    assert_eq!(report.files.delete_files, 0);
    let tree = Tree::read(&report.metadata_location);
    assert!(tree.paths().iter().all(|path| !path.starts_with(PROD)), "their paths are mapped all the same");
    let location = Location::new(metadata.to_string_lossy());
    let checked = check(storage(), &location, &lake.options(), &mut |_| Ok(())).await.expect("checked");
    assert_eq!((checked.files, checked.missing.count), (1, 0), "and nobody misses them");
}

#[tokio::test]
async fn live_files_of_expired_snapshots_are_in_the_copy_plan_14458() {
    let mut lake = Lake::new(FormatVersion::V2);
    let first = appended(&mut lake, "a");
    // the next snapshot carries the file as an existing one, in a manifest of its own
    let carried = entry(Status::Existing, first, 1, lake.data_file("data/a.parquet"));
    let manifest = lake.manifest("merged", &[carried, added(&lake, lake.data_file("data/b.parquet"))], Codec::Deflate);
    lake.commit(vec![manifest]);
    lake.expire(first);
    let metadata = lake.save();
    for name in ["a", "b"] {
        std::fs::remove_file(lake.place(&lake.path(&format!("data/{name}.parquet")))).expect("it was there");
    }
    let mut missing = Vec::new();
    let location = Location::new(metadata.to_string_lossy());
    let mut note = |file: &LiveFile| {
        missing.push(file.source.clone());
        Ok(())
    };
    let checked = check(storage(), &location, &lake.options(), &mut note).await.expect("checked");
    assert_eq!(checked.missing.count, 2);
    missing.sort();
    assert_eq!(missing, [lake.path("data/a.parquet"), lake.path("data/b.parquet")]);
}

#[tokio::test]
async fn encrypted_tables_are_refused_and_plaintext_manifests_of_encrypted_data_pass_17992() {
    let mut lake = Lake::new(FormatVersion::V3);
    let mut file = lake.data_file("data/a.parquet");
    file.key_metadata = Some(vec![1, 2, 3]);
    let mut manifest = lake.manifest("a", &[added(&lake, file)], Codec::Deflate);
    lake.append(vec![manifest.clone()]);
    let report = lake.relocate_now().await.expect("key metadata of data files passes");
    let files = Tree::read(&report.metadata_location).files();
    assert_eq!(files[0]["key_metadata"], Avro::Bytes(vec![1, 2, 3]));
    manifest.key_metadata = Some(vec![9]);
    lake.commit(vec![manifest]);
    let refused = lake.relocate_now().await.expect_err("an encrypted manifest").to_string();
    assert!(refused.contains("metadata/a.avro is encrypted"), "{refused}");
    lake.metadata["snapshots"][0]["key-id"] = json!("k1");
    let refused = lake.relocate_now().await.expect_err("an encrypted manifest list").to_string();
    assert!(refused.contains("snapshot 1001 has a key-id"), "{refused}");
}

#[tokio::test]
async fn several_prefixes_and_paths_outside_of_them_14318_17794() {
    let mut lake = Lake::new(FormatVersion::V2);
    let outside = DataFile::parquet(FileContent::Data, "abfss://other@acc/f.parquet", 1, 1);
    let second = DataFile::parquet(FileContent::Data, "hdfs://nn/old/f.parquet", 1, 1);
    let entries = [added(&lake, lake.data_file("data/a.parquet")), added(&lake, outside), added(&lake, second)];
    let manifest = lake.manifest("a", &entries, Codec::Deflate);
    lake.append(vec![manifest]);
    let metadata = lake.save();
    let copy = lake.copy().to_string_lossy().into_owned();
    let map = LocationMap::new([(PROD, copy.as_str()), ("hdfs://nn/old", "s3://new/old")]).expect("a map");
    let report = run(&metadata, &Options { map: map.clone(), ..lake.options() }).await.expect("relocated");
    let mut paths = Tree::read(&report.metadata_location).paths();
    paths.sort();
    assert_eq!(
        paths,
        [
            format!("{copy}/sales/orders/data/a.parquet"),
            "abfss://other@acc/f.parquet".into(),
            "s3://new/old/f.parquet".into()
        ]
    );
    assert_eq!((report.unmapped_paths.count, &*report.unmapped_paths.examples[0]), (1, "abfss://other@acc/f.parquet"));
    let strict = Options { map: map.with_uncovered(Uncovered::Refuse), ..lake.options() };
    let strict = Options { into: Some(Location::new(lake.beside("strict").to_string_lossy())), ..strict };
    let refused = run(&metadata, &strict).await.expect_err("strict").to_string();
    assert!(refused.contains("\"abfss://other@acc/f.parquet\""), "{refused}");
}

#[tokio::test]
async fn the_prefix_is_not_a_regular_expression_17521() {
    // the lake's prefix has a dot, a plus and brackets in it
    let mut lake = Lake::new(FormatVersion::V2);
    let decoy = DataFile::parquet(FileContent::Data, "s3://prod/lakeXv11x/f.parquet", 1, 1);
    let manifest =
        lake.manifest("a", &[added(&lake, lake.data_file("data/$1.parquet")), added(&lake, decoy)], Codec::Deflate);
    lake.append(vec![manifest]);
    let report = lake.relocate_now().await.expect("relocated");
    let paths = Tree::read(&report.metadata_location).paths();
    assert!(
        paths[0].ends_with("/dr/sales/orders/data/$1.parquet") && paths[1] == "s3://prod/lakeXv11x/f.parquet",
        "{paths:?}"
    );
}

#[tokio::test]
async fn equal_base_names_in_different_folders_do_not_collide_13630() {
    let mut lake = Lake::new(FormatVersion::V2);
    let (one, two) = (lake.data_file("data/0110/x.parquet"), lake.data_file("data/1001/x.parquet"));
    let deletes = [
        lake.position_deletes("data/0110/d.avro", &[&one.file_path]),
        lake.position_deletes("data/1001/d.avro", &[&two.file_path]),
    ];
    let deletes = deletes.map(|file| added(&lake, file));
    let manifests = vec![
        lake.manifest("a/m", &[added(&lake, one)], Codec::Deflate),
        lake.manifest("b/m", &[added(&lake, two)], Codec::Deflate),
        lake.manifest("c/m", &deletes, Codec::Deflate),
    ];
    lake.append(manifests);
    let report = lake.relocate_now().await.expect("relocated");
    let tree = Tree::read(&report.metadata_location);
    let mut paths = tree.paths();
    paths.sort();
    paths.dedup();
    assert_eq!((tree.entries.len(), paths.len()), (3, 4));
    for delete in paths.iter().filter(|path| path.ends_with("deletes.avro")) {
        assert_eq!(records(delete).len(), 1);
    }
}

#[tokio::test]
async fn a_second_run_is_not_troubled_by_the_first_ones_output_16418() {
    let mut lake = Lake::new(FormatVersion::V2);
    appended(&mut lake, "a");
    let metadata = lake.save();
    for into in [lake.options().into, None] {
        let options = Options { into, ..lake.options() };
        let first = run(&metadata, &options).await.expect("once");
        let second = run(&metadata, &options).await.expect("twice");
        assert_eq!(first.metadata_location, second.metadata_location);
        assert_eq!((second.files.written, second.bytes_written), (0, 0));
    }
    // and its own output can be relocated in turn, back to where it came from
    let options = lake.options();
    let there = run(&metadata, &options).await.expect("there");
    let overlay = (lake.beside("overlay").to_string_lossy().into_owned(), "s3://prod/overlay".to_owned());
    let copy = (lake.copy().to_string_lossy().into_owned(), PROD.to_owned());
    let back = Options {
        into: Some(Location::new(lake.beside("back").to_string_lossy())),
        ..Options::new(LocationMap::new([copy, overlay]).expect("the way back"))
    };
    let back = run(there.metadata_location.as_ref(), &back).await.expect("back");
    assert_eq!(Tree::read(&back.metadata_location).paths(), [lake.path("data/a.parquet")]);
}

#[tokio::test]
async fn merge_on_read_deletes_are_there_and_name_the_new_paths_12772() {
    let mut lake = Lake::new(FormatVersion::V2);
    let (one, two) = (lake.data_file("data/1.parquet"), lake.data_file("data/2.parquet"));
    let deletes = lake.position_deletes("data/d.avro", &[&one.file_path, &two.file_path]);
    let manifests = vec![
        lake.manifest("d", &[added(&lake, deletes)], Codec::Deflate),
        lake.manifest("a", &[added(&lake, one), added(&lake, two)], Codec::Null),
    ];
    lake.append(manifests);
    let report = lake.relocate_now().await.expect("relocated");
    let tree = Tree::read(&report.metadata_location);
    let deletes =
        tree.paths().into_iter().find(|path| path.ends_with("deletes.avro")).expect("a delete file of the overlay");
    let deleted: Vec<String> = records(&deletes).into_iter().map(|record| text(&fields(record)["file_path"])).collect();
    let data: Vec<String> = tree.paths().into_iter().filter(|path| path.ends_with(".parquet")).collect();
    assert_eq!(deleted, data, "byte for byte the manifest's paths");
}

#[tokio::test]
async fn the_referenced_data_file_of_version_2_deletes_is_mapped_field_143() {
    let mut lake = Lake::new(FormatVersion::V2);
    let data = lake.data_file("data/1.parquet");
    let mut deletes = lake.position_deletes("data/d.avro", &[&data.file_path]);
    deletes.referenced_data_file = Some(data.file_path.clone());
    let bound = data.file_path.as_bytes().to_vec();
    deletes.lower_bounds = [(2147483546, bound.clone()), (2147483545, vec![0; 8])].into();
    deletes.upper_bounds = [(2147483546, bound), (2147483545, vec![0; 8])].into();
    let manifest = lake.manifest("d", &[added(&lake, deletes)], Codec::Deflate);
    lake.append(vec![manifest]);
    let report = lake.relocate_now().await.expect("relocated");
    let file = Tree::read(&report.metadata_location).files().remove(0);
    let new = lake.place(&data.file_path).to_string_lossy().into_owned();
    assert_eq!(text(&file["referenced_data_file"]), new);
    for bounds in ["lower_bounds", "upper_bounds"] {
        let Avro::Array(pairs) = &file[bounds] else { panic!("no bounds") };
        let pairs: Vec<(Avro, Avro)> = pairs
            .iter()
            .map(|pair| fields(pair.clone()))
            .map(|pair| (pair["key"].clone(), pair["value"].clone()))
            .collect();
        assert!(
            pairs.contains(&(Avro::Int(2147483546), Avro::Bytes(new.clone().into_bytes()))),
            "{bounds} are equal, so they are mapped"
        );
        assert!(pairs.contains(&(Avro::Int(2147483545), Avro::Bytes(vec![0; 8]))), "the position's bound stays");
    }
}

#[tokio::test]
async fn bounds_that_duckdb_writes_under_the_file_columns_id_are_mapped_as_well() {
    let mut lake = Lake::new(FormatVersion::V2);
    let data = lake.data_file("data/1.parquet");
    let mut deletes = lake.position_deletes("data/d.avro", &[&data.file_path]);
    let bound = data.file_path.as_bytes().to_vec();
    deletes.lower_bounds = [(2147483646, bound.clone())].into();
    deletes.upper_bounds = [(2147483646, bound)].into();
    let manifest = lake.manifest("d", &[added(&lake, deletes)], Codec::Deflate);
    lake.append(vec![manifest]);
    let report = lake.relocate_now().await.expect("relocated");
    let file = Tree::read(&report.metadata_location).files().remove(0);
    let Avro::Array(pairs) = &file["lower_bounds"] else { panic!("no bounds") };
    let new = lake.place(&data.file_path).to_string_lossy().into_owned();
    assert_eq!(fields(pairs[0].clone())["value"], Avro::Bytes(new.into_bytes()));
}

#[tokio::test]
async fn bounds_that_were_truncated_are_dropped_and_never_stale() {
    let mut lake = Lake::new(FormatVersion::V2);
    let data = lake.data_file("data/1.parquet");
    let mut deletes = lake.position_deletes("data/d.avro", &[&data.file_path]);
    deletes.lower_bounds = [(2147483546, data.file_path.as_bytes()[..16].to_vec()), (2147483545, vec![0; 8])].into();
    deletes.upper_bounds = [(2147483546, b"s3://prod/lake.w".to_vec()), (2147483545, vec![1; 8])].into();
    let manifest = lake.manifest("d", &[added(&lake, deletes)], Codec::Deflate);
    lake.append(vec![manifest]);
    let report = lake.relocate_now().await.expect("relocated");
    let file = Tree::read(&report.metadata_location).files().remove(0);
    for (bounds, position) in [("lower_bounds", 0), ("upper_bounds", 1)] {
        let Avro::Array(pairs) = &file[bounds] else { panic!("no bounds") };
        let [pair] = pairs.as_slice() else { panic!("one bound is left: {pairs:?}") };
        assert_eq!(fields(pair.clone())["value"], Avro::Bytes(vec![position; 8]));
    }
}

#[tokio::test]
async fn explicit_sequence_numbers_of_added_entries_survive() {
    // compaction adds files with the sequence number of what it replaced, so that later deletes still apply
    let mut lake = Lake::new(FormatVersion::V2);
    appended(&mut lake, "a");
    appended(&mut lake, "b");
    let compacted = ManifestEntry {
        status: Status::Added,
        snapshot_id: Some(lake.next_id()),
        sequence_number: Some(1),
        file_sequence_number: None,
        data_file: lake.data_file("data/c.parquet"),
    };
    let manifest = lake.manifest("c", &[compacted], Codec::Deflate);
    let before = records(&lake.place(&manifest.manifest_path).to_string_lossy());
    lake.commit(vec![manifest]);
    let report = lake.relocate_now().await.expect("relocated");
    let tree = Tree::read(&report.metadata_location);
    let new = text(&tree.lists[&(lake.next_id() - 1)][0]["manifest_path"]);
    for field in ["status", "snapshot_id", "sequence_number", "file_sequence_number"] {
        assert_eq!(fields(tree.entries[&new][0].clone())[field], fields(before[0].clone())[field], "{field}");
    }
    assert_eq!(fields(tree.entries[&new][0].clone())["sequence_number"], Avro::Long(1));
}

#[tokio::test]
async fn a_manifest_list_that_cannot_be_read_is_an_error_and_not_an_empty_list() {
    let mut lake = Lake::new(FormatVersion::V2);
    let id = appended(&mut lake, "a");
    let metadata = lake.save();
    let list = lake.place(&lake.path(&format!("metadata/snap-{id}.avro")));
    let whole = std::fs::read(&list).expect("a list");
    std::fs::remove_file(&list).expect("removed");
    let error = lake.relocate(&metadata).await.expect_err("gone").to_string();
    assert!(error.contains("snap-1001.avro") && error.contains("does not exist"), "{error}");
    std::fs::write(&list, &whole[..whole.len() / 2]).expect("cut");
    let error = lake.relocate(&metadata).await.expect_err("cut").to_string();
    assert!(error.contains("snap-1001.avro as Avro"), "{error}");
    assert!(
        !lake.beside("overlay").exists() || std::fs::read_dir(lake.beside("overlay")).expect("a folder").count() == 0,
        "nothing half-done"
    );
    std::fs::write(&list, whole).expect("mended");
    lake.relocate(&metadata).await.expect("now it is whole");
}

#[tokio::test]
async fn manifests_that_version_1_embeds_in_the_metadata_are_relocated() {
    let mut lake = Lake::new(FormatVersion::V1);
    let manifest = lake.manifest("a", &[added(&lake, lake.data_file("data/a.parquet"))], Codec::Deflate);
    let path = manifest.manifest_path.clone();
    lake.append(vec![manifest]);
    let snapshot = lake.metadata["snapshots"][0].as_object_mut().expect("a snapshot");
    snapshot.remove("manifest-list");
    snapshot.insert("manifests".into(), json!([path]));
    let report = lake.relocate_now().await.expect("relocated");
    let metadata = Tree::read(&report.metadata_location).metadata;
    let manifest = metadata["snapshots"][0]["manifests"][0].as_str().expect("a manifest");
    let file = fields(fields(records(manifest).remove(0))["data_file"].clone());
    assert_eq!(text(&file["file_path"]), lake.place(&lake.path("data/a.parquet")).to_string_lossy());
}

#[tokio::test]
async fn views_and_functions_are_relocated_and_their_sql_is_reported_not_edited() {
    for (member, list) in [("view-uuid", "versions"), ("function-uuid", "versions")] {
        let lake = Lake::new(FormatVersion::V2);
        let sql = format!("SELECT * FROM parquet.`{PROD}/raw/f.parquet`");
        let view = json!({member: "fa6506c3-7681-40c8-86dc-e36561f83385", "format-version": 1, "location": format!("{PROD}/v"),
            "properties": {"write.metadata.path": format!("{PROD}/v/m"), "comment": format!("{PROD}/v")},
            list: [{"version-id": 1, "default-catalog": "prod", "representations": [{"type": "sql", "dialect": "spark", "sql": sql}]}]});
        let path = lake.path("metadata/00001-v.metadata.json");
        lake.store(&path, view.to_string().as_bytes());
        let options = Options { catalogs: vec![("prod".into(), "dr".into())], ..lake.options() };
        let report = run(&lake.place(&path), &options).await.expect("relocated");
        let new: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&report.metadata_location).expect("there")).expect("JSON");
        let copy = lake.copy().to_string_lossy().into_owned();
        assert_eq!(new["location"], format!("{copy}/v"));
        assert_eq!(
            new["properties"],
            json!({"write.metadata.path": format!("{copy}/v/m"), "comment": format!("{PROD}/v")})
        );
        assert_eq!(new[list][0]["representations"][0]["sql"], sql);
        assert_eq!(new[list][0]["default-catalog"], "dr");
        let [found] = report.paths_in_sql.as_slice() else { panic!("{:?}", report.paths_in_sql) };
        assert_eq!((found.dialect.as_str(), found.path.clone()), ("spark", format!("{PROD}/raw/f.parquet")));
    }
}

#[tokio::test]
async fn relative_locations_of_version_4_are_resolved_and_stay_relative_where_they_may() {
    let mut lake = Lake::new(FormatVersion::V3);
    let mut file = lake.data_file("data/a.parquet");
    file.file_path = "data/a.parquet".into();
    let mut manifest = lake.manifest("a", &[added(&lake, file)], Codec::Deflate);
    manifest.manifest_path = "metadata/a.avro".into();
    let id = lake.append(vec![manifest]);
    lake.metadata["format-version"] = json!(4);
    lake.metadata["snapshots"][0]["manifest-list"] = json!(format!("metadata/snap-{id}.avro"));
    lake.metadata["properties"]["write.data.path"] = json!(format!("{PROD}/elsewhere"));
    let report = lake.relocate_now().await.expect("relocated");
    let tree = Tree::read(&report.metadata_location);
    let copy = lake.copy().to_string_lossy().into_owned();
    assert_eq!(tree.metadata["location"], format!("{copy}/sales/orders"));
    assert_eq!(tree.metadata["properties"]["write.data.path"], format!("{copy}/elsewhere"));
    assert_eq!(tree.paths(), ["data/a.parquet"], "it begins at the table's location, which has moved along");
}
