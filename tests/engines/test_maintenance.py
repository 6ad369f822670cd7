"""Maintenance beside Spark's own procedures: what Lifeboat expires and deletes is what Spark would, engines read all that remains,
and the compaction that it hands over runs as printed and leaves nothing to be done.
"""

import json
import os
import shutil
import subprocess
import sysconfig
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest

import components
import engines
import files
from test_engines import ADA, BOB, DAN, EVE

COMMAND_TIMEOUT_S = 60
SPARK_SQL_TIMEOUT_S = 180
OLD_S = 5 * 24 * 3600


def lifeboat(*arguments):
    """Runs a command, which has to succeed. Returns what it says."""
    command = [components.lifeboat_program(), *map(str, arguments), "--json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
    assert done.returncode == 0, f"{done.returncode} of {' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def everything_in(folder):
    """Every file below a folder but for metadata.json files, whose names are chance, and checksums, which are Hadoop's own business."""
    return {str(path) for path in Path(folder).rglob("*") if path.is_file() and not path.name.endswith((".metadata.json", ".crc"))}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("maintained") / "data"


@pytest.fixture
def yard(data, spark):
    """A server on the same folder for every test, with a Spark catalog of its own each time."""
    server = components.Lifeboat("--data", str(data)).start()
    catalog = f"yard_{uuid.uuid4().hex[:8]}"
    connected = engines.Spark(spark, catalog, server.uri)
    yield SimpleNamespace(server=server, spark=connected, pyiceberg=engines.PyIceberg(server.uri), session=spark)
    server.stop()


def location_of(engine, table):
    (metadata,) = engine.execute(f"SELECT file FROM {engine.full(table)}.metadata_log_entries ORDER BY timestamp DESC LIMIT 1")
    return files.local(metadata[0]).rsplit("/metadata/", 1)[0]


def history(spark, table):
    """Appends, updates and deletes that merge on read, a tag, a branch with commits of its own, statistics."""
    spark.create(table)
    spark.insert(table, [ADA, BOB])
    spark.insert(table, [EVE])
    spark.execute(f"ALTER TABLE {spark.full(table)} CREATE TAG early")
    spark.delete(table, 2)
    spark.rename_person(table, 1, "Ada L.")
    spark.execute(f"ALTER TABLE {spark.full(table)} CREATE BRANCH audit WITH SNAPSHOT RETENTION 1 SNAPSHOTS")
    spark.execute(f"INSERT INTO {spark.full(table)}.branch_audit SELECT * FROM {spark.full(table)} WHERE id = 1")
    spark.execute(f"INSERT INTO {spark.full(table)}.branch_audit SELECT * FROM {spark.full(table)} WHERE id = 1")
    spark.execute(f"CALL {spark.catalog}.system.compute_table_stats(table => '{table}')")
    spark.insert(table, [DAN])
    spark.execute(f"CALL {spark.catalog}.system.rewrite_manifests('{table}')")
    spark.execute(f"INSERT OVERWRITE {spark.full(table)} SELECT * FROM {spark.full(table)} WHERE id <> 3")
    spark.insert(table, [BOB])


def seen(yard, table):
    """What every snapshot, tag and branch shows."""
    spark, pyiceberg = yard.spark, yard.pyiceberg
    by_id = {snapshot: spark.rows(table, snapshot) for snapshot in spark.snapshots(table)}
    named = {name: sorted(spark.execute(f"SELECT * FROM {spark.full(table)} VERSION AS OF '{name}'")) for name in ("early", "audit")}
    by_pyiceberg = {snapshot: pyiceberg.rows(table, snapshot) for snapshot in pyiceberg.snapshots(table)}
    assert by_pyiceberg == by_id
    return by_id, named


def test_an_expiry_leaves_what_sparks_own_would(yard, data, spark, tmp_path):
    table = f"ns_{uuid.uuid4().hex[:8]}.events"
    yard.spark.create_namespace(table.split(".")[0])
    history(yard.spark, table)
    folder = location_of(yard.spark, table)
    before, named = seen(yard, table)
    yard.server.stop()
    shutil.copytree(data, tmp_path / "kept")

    # Spark's, on the table itself
    server = components.Lifeboat("--data", str(data)).start()
    theirs = engines.Spark(spark, f"theirs_{uuid.uuid4().hex[:8]}", server.uri)
    theirs.execute(f"CALL {theirs.catalog}.system.expire_snapshots(table => '{table}', older_than => TIMESTAMP '{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(time.time() + 60))}', retain_last => 2)")
    their_snapshots, their_files = theirs.snapshots(table), everything_in(folder)
    server.stop()

    # and ours, on what the table was
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "kept", data)
    planned = lifeboat("expire-snapshots", f"main.{table}", "--keep-for", "0s", "--keep-last", "2", "--plan", "--data", data)
    done = lifeboat("expire-snapshots", f"main.{table}", "--keep-for", "0s", "--keep-last", "2", "--data", data)
    assert planned["files"] == done["files"] and planned["snapshots"] == done["snapshots"]
    our_files = everything_in(folder)
    assert our_files == their_files
    server = components.Lifeboat("--data", str(data)).start()
    ours = SimpleNamespace(spark=engines.Spark(spark, f"ours_{uuid.uuid4().hex[:8]}", server.uri), pyiceberg=engines.PyIceberg(server.uri))
    assert ours.spark.snapshots(table) == their_snapshots and len(their_snapshots) < len(before)
    after, still_named = seen(ours, table)
    assert after == {snapshot: rows for snapshot, rows in before.items() if snapshot in after} and still_named == named
    ours.spark.insert(table, [EVE])
    assert EVE in ours.spark.rows(table)
    server.stop()


def test_orphans_are_those_that_spark_finds(yard, data):
    spark, table = yard.spark, f"ns_{uuid.uuid4().hex[:8]}.events"
    spark.create_namespace(table.split(".")[0])
    history(spark, table)
    folder = location_of(spark, table)
    rows = spark.rows(table)
    strays = ["data/stray.parquet", "data/day=2024-01-01/lost.parquet", "metadata/snap-1-0-lost.avro", "metadata/00000-lost.metadata.json"]
    hidden = ["data/_temporary/0/x.parquet", "data/.y.parquet", "_lifeboat/z"]
    for name in strays + hidden:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    # Spark judges by the time of modification, which can be set
    for path in Path(folder).rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - OLD_S, time.time() - OLD_S))
    found = spark.execute(f"CALL {spark.catalog}.system.remove_orphan_files(table => '{table}', dry_run => true, prefix_mismatch_mode => 'IGNORE')")
    theirs = {files.local(location) for location, *_ in found}
    young = lifeboat("remove-orphans", f"main.{table}", "--data", data)
    assert young["orphans"]["count"] == 0, "Lifeboat goes by the times that nobody can set, too"
    planned = lifeboat("remove-orphans", f"main.{table}", "--older-than", "0s", "--allow-young", "--data", data)
    ours = {files.local(location) for location in planned["orphans"]["examples"]}
    assert ours == theirs == {f"{folder}/{name}" for name in strays} and planned["left-alone"] >= len(hidden)
    done = lifeboat("remove-orphans", f"main.{table}", "--older-than", "0s", "--allow-young", "--delete", "--data", data)
    assert done["files-deleted"] == len(strays)
    assert not any(Path(path).exists() for path in theirs) and all(Path(folder, name).exists() for name in hidden)
    assert spark.rows(table) == rows
    seen(yard, table)


def run_as_printed(command, folder):
    """Runs a command for a shell, with a Spark that has Iceberg's runtime by its defaults."""
    jars = ",".join(map(str, components.installed("spark", "files").glob("*.jar")))
    folder.mkdir()
    (folder / "spark-defaults.conf").write_text(
        f"spark.jars {jars}\nspark.master local[1]\nspark.driver.memory 700m\nspark.driver.host 127.0.0.1\nspark.driver.bindAddress 127.0.0.1\n"
        f"spark.ui.enabled false\nspark.local.dir {folder}\nspark.sql.catalogImplementation in-memory\nspark.sql.session.timeZone UTC\n"
        f"spark.driver.extraJavaOptions -XX:+UseSerialGC -XX:TieredStopAtLevel=1\n")
    pyspark = Path(sysconfig.get_paths()["purelib"], "pyspark")
    environment = {**os.environ, "SPARK_HOME": str(pyspark), "SPARK_CONF_DIR": str(folder), "SPARK_LOCAL_IP": "127.0.0.1",
                   "PATH": f"{pyspark}/bin:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=SPARK_SQL_TIMEOUT_S)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr[-4000:]}"
    return done.stdout


def test_the_printed_compaction_runs_and_leaves_nothing_to_do(yard, data, tmp_path):
    spark, table = yard.spark, f"ns_{uuid.uuid4().hex[:8]}.events"
    spark.create_namespace(table.split(".")[0])
    spark.execute(f"CREATE TABLE {spark.full(table)} (id BIGINT, name STRING) USING iceberg PARTITIONED BY (name) "
                  "TBLPROPERTIES ('format-version'='2', 'write.delete.mode'='merge-on-read')")
    names = ("many; small's", "deleted", "fine")
    for id in range(6):
        spark.execute(f"INSERT INTO {spark.full(table)} VALUES ({id}, 'many; small\\'s')")
    spark.execute(f"INSERT INTO {spark.full(table)} SELECT id + 10, 'deleted' FROM range(10)")
    spark.execute(f"INSERT INTO {spark.full(table)} VALUES (30, 'fine')")
    spark.execute(f"DELETE FROM {spark.full(table)} WHERE id BETWEEN 10 AND 15")
    rows = sorted(spark.execute(f"SELECT * FROM {spark.full(table)}"))
    planned = lifeboat("compact", f"main.{table}", "--data", data, "--listen", yard.server.uri.removeprefix("http://"))
    assert planned["due"] and {plan["partition"]["name"] for plan in planned["plan"]} == set(names[:2]), planned
    assert (planned["files"], planned["delete-files"], planned["partitions"], planned["files-after"]) == (8, 1, 3, 3), planned
    fine = {row[0] for row in spark.execute(f"SELECT file_path FROM {spark.full(table)}.files WHERE partition.name = 'fine'")}
    printed = subprocess.run([components.lifeboat_program(), "compact", f"main.{table}", "--spark", "--uri", yard.server.uri, "--data", str(data)],
                             capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True).stdout
    assert printed == planned["spark-command"] + "\n"
    run_as_printed(printed, tmp_path / "spark")
    again = lifeboat("compact", f"main.{table}", "--plan", "--data", data)
    assert (again["due"], again["files"], again["delete-files"], again["sql"]) == (False, 3, 0, None), again
    assert sorted(spark.execute(f"SELECT * FROM {spark.full(table)}")) == rows
    # what was not due was left alone
    assert fine == {row[0] for row in spark.execute(f"SELECT file_path FROM {spark.full(table)}.files WHERE partition.name = 'fine'")}


def test_a_table_of_another_catalog_is_maintained_through_it(spark, tmp_path):
    """Before a REST catalog: the commit is the upstream's, the files are ours to delete."""
    with components.RestFixture() as fixture:
        config = tmp_path / "lifeboat.yaml"
        port = components.free_port()
        config.write_text(f"listen: 127.0.0.1:{port}\nstate: {{ database: 'sqlite:{tmp_path}/state.db' }}\n"
                          f"storage: [{{ prefix: 'file://{fixture.folder}/warehouse' }}]\n"
                          f"catalogs: {{ main: {{ upstream: {{ uri: '{fixture.uri}' }} }} }}\n")
        with components.Lifeboat("--config", str(config)) as server:
            connected = engines.Spark(spark, f"upstream_{uuid.uuid4().hex[:8]}", server.uri)
            yard = SimpleNamespace(spark=connected, pyiceberg=engines.PyIceberg(server.uri))
            table = f"ns_{uuid.uuid4().hex[:8]}.events"
            connected.create_namespace(table.split(".")[0])
            history(connected, table)
            folder = location_of(connected, table)
            before, named = seen(yard, table)
            stray = Path(folder, "data/stray.parquet")
            stray.write_bytes(b"x")
            done = lifeboat("expire-snapshots", f"main.{table}", "--keep-for", "0s", "--keep-last", "2", "--config", config)
            assert done["snapshots-expired"] > 0 and done["files-deleted"] == sum(done["files"].values()) - done["files"]["bytes"]
            orphans = lifeboat("remove-orphans", f"main.{table}", "--older-than", "0s", "--allow-young", "--delete", "--config", config)
            assert [files.local(path) for path in orphans["orphans"]["examples"]] == [str(stray)]
            after, still_named = seen(yard, table)
            assert after == {snapshot: before[snapshot] for snapshot in after} and len(after) < len(before) and still_named == named
            dropped = lifeboat("drop", f"main.{table}", "--purge", "--yes", "--config", config)
            assert dropped["files"].startswith("the upstream")
            assert everything_in(folder) == set(), "the fixture purges"
