//! Copy plans as the tools would read them: scripts are run by a real shell, with stand-ins for the tools that do what the real ones document.

use std::collections::BTreeMap;
use std::process::Command;

use tempfile::TempDir;

use super::*;

fn live(source: &str, target: &str) -> LiveFile {
    LiveFile { source: source.to_owned(), target: target.to_owned(), size_bytes: Some(7) }
}

/// A plan of these files; its text.
fn planned(format: CopyPlanFormat, files: &[LiveFile]) -> Result<(String, CopyPlanned)> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan");
    let mut plan = CopyPlan::create(&path, format)?;
    for file in files {
        plan.add(file)?;
    }
    let planned = plan.finish()?;
    Ok((fs::read_to_string(&path).expect("it is there"), planned))
}

fn refused(format: CopyPlanFormat, source: &str, target: &str) -> String {
    let error = planned(format, &[live(source, target)]).expect_err(source);
    assert_eq!(error.kind(), Kind::Unprocessable, "{error}");
    error.to_string()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn csv_says_every_name() {
    let files = [
        live("s3://a/t/plain.parquet", "s3://b/t/plain.parquet"),
        live("/a/one, two \"three\"\n.parquet", "/b/ends in a space "),
        LiveFile { size_bytes: None, ..live("/a/x y", "/b/x y") },
    ];
    let (text, plan) = planned(CopyPlanFormat::Csv, &files).expect("planned");
    assert_eq!(
        text,
        "source,target,size_bytes\ns3://a/t/plain.parquet,s3://b/t/plain.parquet,7\n\
         \"/a/one, two \"\"three\"\"\n.parquet\",\"/b/ends in a space \",7\n/a/x y,/b/x y,\n"
    );
    assert_eq!((plan.files, plan.bytes), (3, 14));
}

#[test]
fn a_file_that_stays_where_it_is_has_nothing_to_be_copied_from() {
    let (text, plan) = planned(CopyPlanFormat::Csv, &[live("/a/x", "/a/x")]).expect("planned");
    assert_eq!((text.lines().count(), plan.files, plan.bytes), (1, 0, 0));
}

#[test]
fn s5cmd_gets_words_that_a_shell_reads_as_they_were() {
    let odd = "p=a b/it's, \"$HOME\" \\ `x` #1;&|<>(){}[]~!é";
    let files = [
        live(&format!("s3a://a/{odd}"), &format!("s3n://b/{odd}")),
        live("/local/x", "s3://b/x"),
        live("s3://a/50%*?", "s3://b/50%*?"),
    ];
    let (text, _) = planned(CopyPlanFormat::S5cmd, &files).expect("planned");
    let script = format!("cp() {{ for word in \"$@\"; do printf '%s\\n' \"$word\"; done; }}\n{text}");
    let read = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    assert_eq!(
        String::from_utf8(read.stdout).expect("text"),
        format!("s3://a/{odd}\ns3://b/{odd}\n/local/x\ns3://b/x\n--raw\ns3://a/50%*?\ns3://b/50%*?\n")
    );
    assert_eq!(text.lines().nth(1), Some("cp '/local/x' 's3://b/x'"));
}

#[test]
fn what_a_format_cannot_say_is_an_error_that_names_it() {
    use CopyPlanFormat::*;
    for format in [S5cmd, Distcp, Rclone] {
        assert!(refused(format, "s3://a/two\nlines", "s3://b/two\nlines").contains(r"two\nlines"));
        assert!(refused(format, "s3://a//x", "s3://b//x").contains("csv"));
    }
    assert!(refused(S5cmd, "/a/x", "/b/x").contains("both local"));
    assert!(refused(S5cmd, "hdfs://nn/a/x", "s3://b/x").contains("hdfs://nn/a/x"));
    assert!(refused(S5cmd, "s3://a/x://y", "s3://b/x://y").contains("s5cmd"));
    assert!(refused(Distcp, "hdfs://nn/a/x*", "hdfs://dr/a/x*").contains("DistCp"));
    assert!(refused(Distcp, "hdfs://nn/a/x", "hdfs://dr/a/y").contains("keeps the names"));
    assert!(refused(Rclone, "/a/x", "/b/y").contains("keeps the names"));
    assert!(refused(S3Batch, "/a/x", "s3://b/x").contains("S3 to S3"));
}

#[test]
fn a_batch_keeps_keys_below_one_prefix() {
    let files = [live("s3a://a/t/a b,\"c\"\n+é.parquet", "s3://b/dr/eu/t/a b,\"c\"\n+é.parquet")];
    let large = LiveFile { size_bytes: Some(6 << 30), ..live("s3://a/t/large", "s3://b/dr/eu/t/large") };
    let (text, plan) = planned(CopyPlanFormat::S3Batch, &[files[0].clone(), large]).expect("planned");
    assert_eq!(text, "a,t/a%20b%2C%22c%22%0A%2B%C3%A9.parquet\na,t/large\n");
    let notes = plan.notes.join("\n");
    assert!(notes.contains("arn:aws:s3:::b") && notes.contains("TargetKeyPrefix): dr/eu\n"), "{notes}");
    assert!(notes.contains("1 files are larger"), "{notes}");

    let (_, plan) = planned(CopyPlanFormat::S3Batch, &[live("s3://a/t/x", "s3://b/t/x")]).expect("planned");
    assert!(plan.notes.join("\n").contains("no destination prefix"));
    let first = live("s3://a/t/x", "s3://b/dr/t/x");
    for other in [
        live("s3://a/t/y", "s3://c/dr/t/y"),
        live("s3://a/t/y", "s3://b/t/y"),
        live("s3://c/t/y", "s3://b/dr/t/y"),
        live("s3://a/t/y", "s3://b/u/y"),
        live("s3://a/t/y", "s3://b/not-t/y"),
        live("s3://a/t/y", "s3://b/xt/y"),
    ] {
        let error = planned(CopyPlanFormat::S3Batch, &[first.clone(), other]).expect_err("is no batch");
        assert!(error.message().contains("S3 Batch"), "{error}");
    }
}

/// Files below two folders of this machine, named oddly and in more folders than lists are open at once.
fn bed() -> (TempDir, Vec<LiveFile>) {
    let bed = tempfile::tempdir().expect("a folder");
    let at = |below: &str| format!("{}/{below}", bed.path().display());
    let mut below: Vec<String> = (0..150).map(|number| format!("t/data/p={number}/a file.parquet")).collect();
    below.extend(["t/it's $HOME, \"x\"/f", "t/data/p=3/second", "t/#x", "t/ y "].map(str::to_owned));
    let mut files = Vec::new();
    for path in &below {
        let (source, target) = (at(&format!("old/{path}")), at(&format!("new/dr/{path}")));
        fs::create_dir_all(Path::new(&source).parent().expect("a folder")).expect("made");
        fs::write(&source, path).expect("written");
        files.push(live(&source, &format!("file:{target}")));
    }
    // in turn, so that lists are opened again
    files.push(live(&at("old/t/data/p=0/late"), &format!("file:{}", at("new/dr/t/data/p=0/late"))));
    fs::write(at("old/t/data/p=0/late"), "t/data/p=0/late").expect("written");
    (bed, files)
}

/// Runs a plan's script with a stand-in for its tool.
fn run(script: &Path, tool: &str, stand_in: &str) {
    let tools = tempfile::tempdir().expect("a folder");
    let path = tools.path().join(tool);
    fs::write(&path, format!("#!/bin/sh\nset -eu\n{stand_in}")).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("ours");
    let search = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap_or_default());
    let ran = Command::new(script).env("PATH", search).current_dir("/").output().expect("it runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

fn assert_copied(files: &[LiveFile], bed: &Path) {
    for file in files {
        let target = file.target.trim_start_matches("file:");
        let below = Path::new(target).strip_prefix(bed.join("new/dr")).expect("is below");
        assert_eq!(fs::read_to_string(target).expect(target), below.to_str().expect("text"));
    }
}

#[test]
fn a_script_for_distcp_copies_every_file_to_its_folder() {
    let (bed, files) = bed();
    let path = bed.path().join("it's a plan.sh");
    let mut plan = CopyPlan::create(&path, CopyPlanFormat::Distcp).expect("begun");
    files.iter().for_each(|file| assert!(plan.add(file).expect("added")));
    assert_eq!(plan.finish().expect("planned").files, 155);
    let lists = names(&bed.path().join("it's a plan.sh.lists"));
    assert_eq!((lists.len(), lists[0].as_str()), (152, "000000.txt"));
    // one file into a folder that is not there becomes the folder, as with the real one
    let stand_in = r#"plain() { case "$1" in file:*) echo "${1#file:}";; *) echo "$1";; esac; }
if [ "$1" = fs ]; then mkdir -p "$(plain "$4")"; exit; fi
[ "$1 $2 $3" = "distcp -update -f" ]
target=$(plain "$5"); list=${4#file://}
[ -d "$target" ]
while IFS= read -r line; do cp "$(plain "$line")" "$target/"; done < "$list"
"#;
    run(&path, "hadoop", stand_in);
    assert_copied(&files, bed.path());
}

#[test]
fn a_script_for_rclone_copies_every_file_below_its_root() {
    let (bed, files) = bed();
    let path = bed.path().join("plan.sh");
    let mut plan = CopyPlan::create(&path, CopyPlanFormat::Rclone).expect("begun");
    files.iter().for_each(|file| assert!(plan.add(file).expect("added")));
    plan.finish().expect("planned");
    assert_eq!(names(&bed.path().join("plan.sh.lists")), ["000000.txt"]);
    let stand_in = r#"[ "$1 $2" = "copy --files-from-raw" ]
while IFS= read -r line; do mkdir -p "$(dirname "$5/$line")"; cp "$4/$line" "$5/$line"; done < "$3"
"#;
    run(&path, "rclone", stand_in);
    assert_copied(&files, bed.path());
}

#[test]
fn rclone_gets_a_remote_for_every_kind_of_store() {
    let files = [
        live("s3a://a/lake/t/x", "/ifs/dr/lake/t/x"),
        live("hdfs://nn:8020/lake/t/x", "s3://b/dr/lake/t/x"),
        live("gs://g/t/x", "s3://b/t/x"),
    ];
    let (text, _) = planned(CopyPlanFormat::Rclone, &files).expect("planned");
    let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("rclone")).collect();
    assert_eq!(
        commands,
        [
            r#"rclone copy "$@" --files-from-raw "$lists/000000.txt" "$SOURCE_S3"'a/' '/ifs/dr/'"#,
            r#"rclone copy "$@" --files-from-raw "$lists/000001.txt" "${SOURCE_HDFS_NN_8020:?the rclone remote for hdfs, with its colon}"'/' "$TARGET_S3"'b/dr/'"#,
            r#"rclone copy "$@" --files-from-raw "$lists/000002.txt" "${SOURCE_GS_G:?the rclone remote for gs, with its colon}"'g/' "$TARGET_S3"'b/'"#,
        ]
    );
}

#[test]
fn distcp_is_told_s3_as_hadoop_spells_it() {
    let files = [live("hdfs://nn/lake/t/x", "s3://b/lake/t/x")];
    let (text, _) = planned(CopyPlanFormat::Distcp, &files).expect("planned");
    assert!(text.contains("hadoop fs -mkdir -p 's3a://b/lake/t'\n"), "{text}");
    assert!(
        text.ends_with("hadoop distcp -update \"$@\" -f \"file://$lists/000000.txt\" 's3a://b/lake/t'\n"),
        "{text}"
    );
}

#[test]
fn a_plan_is_there_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan");
    let good = live("/a/t/x", "s3://b/t/x");
    for format in [CopyPlanFormat::Csv, CopyPlanFormat::Distcp, CopyPlanFormat::Rclone] {
        let mut plan = CopyPlan::create(&path, format).expect("begun");
        plan.add(&good).expect("added");
        drop(plan);
        assert_eq!(names(folder.path()), Vec::<String>::new(), "{format:?}");
    }
    for format in [CopyPlanFormat::Rclone, CopyPlanFormat::Distcp] {
        let mut plan = CopyPlan::create(&path, format).expect("begun");
        plan.add(&good).expect("added");
        plan.finish().expect("planned");
        assert_eq!(names(folder.path()), ["plan", "plan.lists"]);
    }
    let before = fs::read_to_string(&path).expect("it is there");
    let mut plan = CopyPlan::create(&path, CopyPlanFormat::Distcp).expect("begun");
    plan.add(&live("/a/\n", "/b/\n")).expect_err("is no line");
    drop(plan);
    assert_eq!(fs::read_to_string(&path).expect("it is there still"), before);
    assert_eq!(names(folder.path()), ["plan", "plan.lists"]);

    fs::write(folder.path().join("plan.lists/mine.txt"), "kept").expect("written");
    let error = CopyPlan::create(&path, CopyPlanFormat::Distcp).err().expect("somebody's file is there");
    assert!(error.message().contains("move it"), "{error}");
    assert!(CopyPlan::create(folder.path(), CopyPlanFormat::Csv).is_err());
    assert!(CopyPlan::create(&folder.path().join("none/plan"), CopyPlanFormat::Csv).is_err());
}

#[test]
fn every_file_of_a_list_is_on_it_once() {
    let (bed, files) = bed();
    let path = bed.path().join("plan.sh");
    let mut plan = CopyPlan::create(&path, CopyPlanFormat::Distcp).expect("begun");
    files.iter().for_each(|file| assert!(plan.add(file).expect("added")));
    plan.finish().expect("planned");
    let mut count: BTreeMap<String, u32> = BTreeMap::new();
    for list in names(&bed.path().join("plan.sh.lists")) {
        let text = fs::read_to_string(bed.path().join("plan.sh.lists").join(list)).expect("text");
        text.lines().for_each(|line| *count.entry(line.to_owned()).or_default() += 1);
    }
    assert!(count.len() == files.len() && count.values().all(|count| *count == 1));
}
