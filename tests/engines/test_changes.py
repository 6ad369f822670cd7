"""A reader that follows the changes of tables while Spark and PyIceberg append, overwrite, delete, merge and compact.

What it holds after each snapshot must be what Spark's metadata tables say of that snapshot, although it is killed at random and goes on
from the position that it committed last.
"""

import json
import random
import threading
import time
import urllib.parse
import uuid

import pytest

import components
import engines

TARGETS = ("embedded", "proxy")
# Longest that the reader may take to become level when nothing is written any more.
LEVEL_TIMEOUT_S = 60

APPEND = ["INSERT INTO {t} SELECT id, id % 3, concat('n', id) FROM range({from}, {to})"]
OVERWRITE = [
    "INSERT OVERWRITE {t} SELECT id, 1, 'o' FROM range(900, 920)",
    "INSERT OVERWRITE {t} PARTITION (part = 2) SELECT id, 's' FROM range(950, 960)",
]
DELETE = [
    "DELETE FROM {t} WHERE part = 0",
    "DELETE FROM {t} WHERE id % 7 = 3",
    "DELETE FROM {t} WHERE id = {from}",
    "UPDATE {t} SET name = 'u' WHERE id % 5 = 1",
]
MERGE = ["MERGE INTO {t} t USING (SELECT id, id % 3 part, 'm' name FROM range({merge}, {to})) s ON t.id = s.id "
         "WHEN MATCHED AND s.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT *"]
COMPACT = [
    "CALL {c}.system.rewrite_data_files(table => '{n}', options => map('rewrite-all', 'true'))",
    "CALL {c}.system.rewrite_manifests(table => '{n}')",
    "CALL {c}.system.rewrite_position_delete_files(table => '{n}', options => map('rewrite-all', 'true'))",
]
# format version, how rows are changed, partitioned
TABLES = {
    "v1": (1, "copy-on-write", True),
    "cow": (2, "copy-on-write", True),
    "mor": (2, "merge-on-read", True),
    "vectors": (3, "merge-on-read", True),
    "plain": (2, "merge-on-read", False),
}


def config(lifeboat, folder, source):
    return (f"listen: 127.0.0.1:{lifeboat.port}\n"
            f"storage: [{{ prefix: 'file://{folder}' }}]\n"
            f"state: {{ database: 'sqlite:{lifeboat.folder}/state.db' }}\n"
            "catalogs:\n  main:\n"
            f"    {source}\n")


@pytest.fixture(scope="module", params=TARGETS)
def served(request, tmp_path_factory):
    """A Lifeboat that is a catalog by itself, and one before Apache's."""
    lifeboat = components.Lifeboat()
    if request.param == "embedded":
        folder = tmp_path_factory.mktemp("changes")
        fixture, source = None, f"embedded: {{ database: 'sqlite:{folder}/catalog.db', warehouse: 'file://{folder}/lake' }}"
    else:
        fixture = components.RestFixture().start()
        folder = fixture.folder
        source = f"upstream: {{ uri: '{fixture.uri}' }}"
    path = lifeboat.folder / "lifeboat.yaml"
    path.write_text(config(lifeboat, folder, source))
    lifeboat.listen_on(["--config", str(path)])
    with lifeboat:
        yield request.param, lifeboat
    if fixture:
        fixture.stop()


@pytest.fixture(scope="module")
def spark_sql(served, spark):
    name, lifeboat = served
    connected = engines.Spark(spark, f"followed_{name}", lifeboat.uri)
    connected.create_namespace("feed")
    return connected


class Reader(threading.Thread):
    """Follows one table. `kept` is what survives it: its files, and in Lifeboat its position."""

    def __init__(self, uri, table, seed):
        super().__init__(daemon=True)
        namespace, name = table.split(".")
        quoted = urllib.parse.quote(name)
        self.base = f"{uri}/lifeboat/v1/main/namespaces/{namespace}/tables/{quoted}"
        self.random = random.Random(seed)
        self.kept = {}
        self.states = {}
        self.operations = []
        self.kills = 0
        self.is_ended = threading.Event()
        self.level_at = None
        self.failure = None

    def ask(self, method, path, body=None):
        headers = {"Content-Type": "application/json"} if body else {}
        status, answer = components.http(method, f"{self.base}/{path}", body and json.dumps(body), headers, timeout_s=90)
        return status, json.loads(answer or b"null")

    def run(self):
        try:
            while not self.is_ended.is_set():
                self.live()
        except BaseException as error:  # told by the test
            self.failure = error

    def live(self):
        """One life: from the committed position on, until it is killed."""
        status, consumer = self.ask("GET", "consumers/reader/position")
        position, version = (consumer["position"], consumer["version"]) if status == 200 else (None, 0)
        while not self.is_ended.is_set():
            query = {"limit": self.random.choice([1, 2, 3, 7, 1000]), "wait": "1s", **({"position": position} if position else {})}
            status, page = self.ask("GET", f"changes?{urllib.parse.urlencode(query)}")
            assert status == 200, page
            if self.random.random() < 0.2:
                self.kills += 1
                return
            files = self.replay(page, set(self.kept.get(position, ())))
            # what it made of the page is kept before the position is: whoever goes on from the older position makes the same of it again
            self.kept[page["next-position"]] = files
            if self.random.random() < 0.2:
                self.kills += 1
                return
            body = {"position": page["next-position"], "expected-version": version, "holds-back": True}
            status, consumer = self.ask("PUT", "consumers/reader/position", body)
            assert status == 200, consumer
            position, version = page["next-position"], consumer["version"]
            self.level_at = time.monotonic() if page["is-level"] else None

    def replay(self, page, files):
        for change in page["changes"]:
            for kind in ("data", "delete"):
                for file in change[f"added-{kind}-files"]:
                    assert key(file) not in files, f"{file} came twice"
                    files.add(key(file))
                for file in change[f"deleted-{kind}-files"]:
                    assert key(file) in files, f"{file} went and was not there"
                    files.remove(key(file))
            if change["is-complete"]:
                before = self.states.setdefault(change["snapshot-id"], frozenset(files))
                assert before == files, "another set of files than before"
                self.operations.append(change["operation"])
        return files

    def end(self):
        """Waits until it is level with all that is written."""
        since, deadline = time.monotonic(), time.monotonic() + LEVEL_TIMEOUT_S
        while self.failure is None and not (self.level_at and self.level_at > since + 2):
            assert time.monotonic() < deadline, "it does not become level"
            time.sleep(0.1)
        self.is_ended.set()
        self.join()
        if self.failure:
            raise self.failure


def key(file):
    return local(file["file-path"]), file.get("content-offset")


def local(path):
    return "/" + path.removeprefix("file:").lstrip("/")


def truth(spark_sql, table, snapshot):
    """The live files of a snapshot as Spark tells them."""
    full = f"{spark_sql.full(table)}.files"
    columns = [row[0] for row in spark_sql.execute(f"DESCRIBE {full}")]
    offset = "content_offset" if "content_offset" in columns else "CAST(NULL AS BIGINT)"
    rows = spark_sql.execute(f"SELECT file_path, {offset} FROM {full} VERSION AS OF {snapshot}")
    assert len(set(rows)) == len(rows)
    return frozenset((local(path), at) for path, at in rows)


def create(spark_sql, kind):
    version, mode, is_partitioned = TABLES[kind]
    table = f"feed.{kind}_{uuid.uuid4().hex[:8]}"
    modes = ", ".join(f"'write.{what}.mode'='{mode}'" for what in ("delete", "update", "merge"))
    spark_sql.execute(f"CREATE TABLE {spark_sql.full(table)} (id BIGINT, part BIGINT, name STRING) USING iceberg "
                      f"{'PARTITIONED BY (part)' if is_partitioned else ''} TBLPROPERTIES ('format-version'='{version}', {modes}, "
                      "'commit.manifest.min-count-to-merge'='4')")
    return table


def statements(kind, seed):
    """Every kind of statement, the appends often, in a random order."""
    chosen = APPEND * 6 + DELETE + MERGE * 2 + COMPACT + OVERWRITE
    if not TABLES[kind][2]:
        chosen = [statement for statement in chosen if "PARTITION (" not in statement]
    if TABLES[kind][0] == 1:
        chosen = [statement for statement in chosen if "position_delete" not in statement]
    random.Random(seed).shuffle(chosen)
    # there must be something to begin with, and something that remains
    return APPEND * 2 + chosen + APPEND


def snapshots(spark_sql, table):
    return [row[0] for row in spark_sql.execute(f"SELECT snapshot_id FROM {spark_sql.full(table)}.snapshots ORDER BY committed_at")]


def compare(spark_sql, table, reader):
    ids = snapshots(spark_sql, table)
    assert set(reader.states) == set(ids)
    for snapshot in ids:
        assert reader.states[snapshot] == truth(spark_sql, table, snapshot), f"snapshot {snapshot} of {table}"
    return ids


@pytest.mark.parametrize("kind", TABLES)
def test_a_reader_has_the_exact_files_of_every_snapshot_that_spark_made(served, spark_sql, kind):
    target, lifeboat = served
    seed = f"{target}-{kind}"
    table = create(spark_sql, kind)
    reader = Reader(lifeboat.uri, table, seed)
    reader.start()
    spark_sql.session.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")
    for number, statement in enumerate(statements(kind, seed)):
        spark_sql.execute(statement.format(t=spark_sql.full(table), n=table, c=spark_sql.catalog, **{
            "from": number * 20, "to": number * 20 + 20, "merge": max(0, number * 20 - 10)}))
    spark_sql.session.conf.set("spark.sql.sources.partitionOverwriteMode", "static")
    spark_sql.execute(f"INSERT OVERWRITE {spark_sql.full(table)} SELECT id, 0, 'last' FROM range(5)")
    reader.end()
    assert reader.kills > 2
    ids = compare(spark_sql, table, reader)
    assert {"append", "overwrite", "delete", "replace"} <= set(reader.operations) or kind in ("v1", "cow"), reader.operations
    # from anywhere in between it is the same
    for start in range(0, len(ids) - 1, 5):
        _, page = reader.ask("GET", f"changes?from={ids[start]}&limit=10000")
        assert page["is-level"] and reader.replay(page, set(reader.states[ids[start]])) == reader.states[ids[-1]]


def test_a_reader_has_the_exact_files_of_every_snapshot_that_pyiceberg_made(served, spark_sql):
    import pyarrow

    _, lifeboat = served
    table = create(spark_sql, "cow")
    reader = Reader(lifeboat.uri, table, "pyiceberg")
    reader.start()
    catalog = engines.PyIceberg(lifeboat.uri).catalog
    rows = lambda begin, end, name: pyarrow.table({  # noqa: E731
        "id": pyarrow.array(range(begin, end), pyarrow.int64()), "part": pyarrow.array([n % 3 for n in range(begin, end)], pyarrow.int64()),
        "name": [name] * (end - begin)})
    steps = [
        lambda loaded: loaded.append(rows(0, 30, "a")),
        lambda loaded: loaded.append(rows(30, 60, "b")),
        lambda loaded: loaded.delete("part = 0"),
        lambda loaded: loaded.delete("id = 31"),
        lambda loaded: loaded.overwrite(rows(40, 50, "c"), "id >= 40 and id < 50"),
        lambda loaded: loaded.dynamic_partition_overwrite(rows(61, 62, "d")),
        lambda loaded: loaded.append(rows(100, 120, "e")),
        lambda loaded: loaded.overwrite(rows(0, 9, "f")),
        lambda loaded: loaded.delete("id >= 0"),
        lambda loaded: loaded.append(rows(200, 210, "g")),
    ]
    for step in steps:
        step(catalog.load_table(table))
    with catalog.load_table(table).transaction() as transaction:
        transaction.append(rows(300, 310, "h"))
        transaction.delete("id = 301")
    reader.end()
    assert len(compare(spark_sql, table, reader)) > len(steps)


def test_a_reader_hears_that_its_history_expired_and_where_to_begin(served, spark_sql):
    _, lifeboat = served
    table = create(spark_sql, "mor")
    insert = f"INSERT INTO {spark_sql.full(table)} SELECT id, id % 3, 'x' FROM range(10)"
    for _ in range(4):
        spark_sql.execute(insert)
    ids = snapshots(spark_sql, table)
    reader = Reader(lifeboat.uri, table, 0)
    _, old = reader.ask("GET", f"changes?to={ids[0]}")
    spark_sql.execute(f"CALL {spark_sql.catalog}.system.expire_snapshots(table => '{table}', older_than => TIMESTAMP "
                      "'2100-01-01 00:00:00', retain_last => 2)")
    status, error = reader.ask("GET", f"changes?position={old['next-position']}")
    assert (status, error["error"]["type"]) == (410, "HistoryGoneException")
    assert f"begin after is {ids[2]} of 20" in error["error"]["message"]
    _, page = reader.ask("GET", "changes")
    assert page["changes"][0]["is-base"] and page["changes"][0]["snapshot-id"] == ids[2]
    assert reader.replay(page, set()) == truth(spark_sql, table, ids[3])


def test_partitions_are_told_in_icebergs_single_value_form(served, spark_sql):
    _, lifeboat = served
    table = f"feed.values_{uuid.uuid4().hex[:8]}"
    columns = {"b": "BOOLEAN", "i": "INT", "f": "FLOAT", "d": "DOUBLE", "dec": "DECIMAL(9, 2)", "dt": "DATE", "ts": "TIMESTAMP",
               "ntz": "TIMESTAMP_NTZ", "s": "STRING", "bin": "BINARY"}
    spark_sql.execute(f"CREATE TABLE {spark_sql.full(table)} ({', '.join(f'{name} {kind}' for name, kind in columns.items())}) USING iceberg "
                      f"PARTITIONED BY ({', '.join(columns)}, days(ts), hours(ntz), bucket(4, s), truncate(2, s))")
    spark_sql.execute(f"INSERT INTO {spark_sql.full(table)} VALUES (true, 7, 0.1F, 0.25D, 14.20, DATE '2017-11-16', TIMESTAMP '2017-11-16 22:31:08.5', "
                      "TIMESTAMP_NTZ '2017-11-16 22:31:08', 'a b', X'01ff'), (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)")
    reader = Reader(lifeboat.uri, table, 0)
    _, page = reader.ask("GET", "changes")
    partitions = [file["partition"] for file in page["changes"][0]["added-data-files"]]
    (null,) = [partition for partition in partitions if partition["i"] is None]
    (full,) = [partition for partition in partitions if partition["i"] is not None]
    assert set(null.values()) == {None} and set(null) == set(full)
    bucket = full.pop("s_bucket")
    assert bucket in range(4)
    assert full == {"b": True, "i": 7, "f": 0.1, "d": 0.25, "dec": "14.20", "dt": "2017-11-16", "ts": "2017-11-16T22:31:08.500000+00:00",
                    "ntz": "2017-11-16T22:31:08.000000", "s": "a b", "bin": "01ff", "ts_day": "2017-11-16", "ntz_hour": 419686, "s_trunc": "a "}
