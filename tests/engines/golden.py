"""Golden tables: made by real engines, each with something that a relocation can get wrong.

A maker's docstring says what its table has, and its assertions hold that it really has it: they look into the files, through
`files.py`. Rows are `(id, name, part)`, where nothing else is said; the part of a row is its id's remainder by two.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import components
import files
import pyarrow
from files import ADDED, DATA, DELETED, EQUALITY_DELETES, PATH_FIELD_ID, PATH_FIELD_IDS, POSITION_DELETES
from java import JavaTable
from pyiceberg.types import StringType

NAMESPACE = "golden"
TABLES = {}
ARCHIVE = "acme.archive"  # a property that holds a location, of which only the table's owner knows that it does
# DuckDB 1.5 does with a codec of Avro that it does not know, so it is not asked.
ENDS_THE_PROCESS = "ends the process"


@dataclass
class Golden:
    """How one table is made; what the command says if it has to refuse it; and what engines say that cannot read it at its old
    place, by their names: a part of it, in both cases."""

    name: str
    make: callable
    refused: str | None
    unreadable: dict


def golden(refused=None, **unreadable):
    def add(make):
        TABLES[make.__name__] = Golden(make.__name__, make, refused, unreadable)
        return make

    return add


class Making:
    """One table in the making, by whatever engine its maker asks. A site has the engines and the folder."""

    def __init__(self, site, name):
        self.site = site
        self.name = f"{NAMESPACE}.{name}"
        self.engines = site.engines
        self.spark = site.engines["spark"]

    # By SQL.

    def sql(self, statement, engine="spark"):
        engine = self.engines[engine]
        return engine.execute(statement.format(table=engine.full(self.name), name=self.name, catalog=engine.catalog))

    def create(self, version, partition="", properties=None, columns="id INT, name STRING, part STRING"):
        all_properties = {"format-version": version, "write.delete.mode": "merge-on-read", "write.update.mode": "merge-on-read",
                          **(properties or {})}
        self.sql(f"CREATE TABLE {{table}} ({columns}) USING iceberg {f'PARTITIONED BY ({partition})' if partition else ''} "
                 f"TBLPROPERTIES ({pairs(all_properties)})")

    def set(self, properties):
        self.sql(f"ALTER TABLE {{table}} SET TBLPROPERTIES ({pairs(properties)})")

    def insert(self, start, end, table="{table}"):
        """Rows of these ids in one file a partition."""
        self.sql(f"INSERT INTO {table} SELECT /*+ COALESCE(1) */ CAST(id AS INT), concat('name-', id), "
                 f"IF(id % 2 = 0, 'even', 'odd') FROM range({start}, {end})")

    def delete(self, *ids):
        self.sql(f"DELETE FROM {{table}} WHERE id IN ({', '.join(map(str, ids))})")

    def call(self, procedure, arguments=""):
        return self.sql(f"CALL {{catalog}}.system.{procedure}(table => '{{name}}'{arguments and ', '}{arguments})")

    def expire_snapshots(self):
        """Leaves only the last one."""
        self.call("expire_snapshots", "older_than => TIMESTAMP '2100-01-01 00:00:00', retain_last => 1")

    def ids(self, version=""):
        return sorted(row[0] for row in self.sql(f"SELECT id FROM {{table}} {version}"))

    def java(self):
        return JavaTable(self.spark.session, self.spark.full(self.name))

    # By the catalog.

    def rest(self, method="GET", body=None):
        return ask(method, f"{self.site.namespace_uri}/tables/{self.name.split('.')[1]}", body)

    def commit(self, *updates):
        return self.rest("POST", {"requirements": [], "updates": updates})

    def tree(self):
        return files.Tree(self.rest()["metadata-location"])


def ask(method, uri, body=None):
    status, answer = components.http(method, uri, json.dumps(body) if body else None, {"Content-Type": "application/json"}, timeout_s=60)
    assert status in (200, 204), f"{method} {uri}: {status}: {answer.decode()}"
    return json.loads(answer) if answer else None


def pairs(properties):
    return ", ".join(f"'{key}'='{value}'" for key, value in properties.items())


# --- Tables of Spark. -----------------------------------------------------------------------------


@golden()
def version_1(table):
    """The oldest format, partitioned, with rows deleted by writing files anew."""
    table.create(1, "part", {"write.delete.mode": "copy-on-write"})
    table.insert(0, 10)
    table.insert(10, 20)
    table.delete(3, 14)
    assert table.ids() == [id for id in range(20) if id not in (3, 14)]
    tree = table.tree()
    assert tree.metadata["format-version"] == 1
    assert any(entry["status"] == DELETED for entry in tree.entries())
    assert not any("sequence_number" in entry for entry in tree.entries())


@golden()
def position_deletes_of_partitions(table):
    """Position deletes of which one file names several data files."""
    table.create(2, "part", {"write.delete.granularity": "partition"})
    for start in (0, 10, 20):
        table.insert(start, start + 10)
    table.delete(3, 5, 13, 22, 2, 12)
    table.delete(4, 29)
    assert table.ids() == [id for id in range(30) if id not in (3, 5, 13, 22, 2, 12, 4, 29)]
    named = [{row["file_path"] for row in deletes.rows} for deletes in table.tree().deletes.values()]
    assert max(map(len, named)) > 1


@golden()
def position_deletes_of_files(table):
    """Position deletes of one data file each, whose path is therefore their bounds, and in one of them also a field of its own."""
    table.create(2, properties={"write.delete.granularity": "file"})
    for start in (0, 10, 20):
        table.insert(start, start + 10)
    table.delete(3, 5, 13, 22)
    table.delete(4, 29)
    java = table.java()
    path = table.tree().files(DATA)[0]["file_path"]
    deletes = java.write_position_deletes(f"{java.table.location()}/data/referring.parquet", [(path, 9)])
    java.add_deletes(java.referring_to(deletes, path))
    assert len(table.ids()) == 23
    deletes = table.tree().files(POSITION_DELETES)
    exact = [it["lower_bounds"][PATH_FIELD_ID] == it["upper_bounds"][PATH_FIELD_ID] for it in deletes]
    assert exact.count(True) >= 3, "Spark's"
    assert [it["referenced_data_file"] for it in deletes if it["referenced_data_file"]] == [path]


@golden(pyiceberg="equality deletes")
def equality_deletes(table):
    """Equality deletes: of one partition, and of a value that is written again later and has to stay."""
    table.create(2, "part")
    table.insert(0, 10)
    java = table.java()
    folder = f"{java.table.location()}/data"
    java.add_deletes(java.write_equality_deletes(f"{folder}/part=odd/equal-1.parquet", [{"id": 3}, {"id": 5}], {"part": "odd"}),
                     java.write_equality_deletes(f"{folder}/part=even/equal-1.parquet", [{"name": "name-4"}], {"part": "even"}))
    table.insert(3, 5)
    assert table.ids() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert [it["equality_ids"] for it in table.tree().files(EQUALITY_DELETES)] == [[1], [2]]


def deletes_by_hand(table, *formats):
    """In each format deletes of one data file, with bounds that are cut to sixteen characters where there are any, and of several
    data files with the rows that they delete, which hold paths of their own."""
    table.create(2)
    for start in (0, 10, 20):
        table.insert(start, start + 10)
    java = table.java()
    data = sorted(file["file_path"] for file in table.tree().files(DATA))
    folder, deletes = f"{java.table.location()}/data", []
    for at, file_format in enumerate(formats):
        deletes.append(java.write_position_deletes(f"{folder}/one.{file_format}", [(data[at], at)], file_format=file_format))
        rows = [{"id": 1, "name": path, "part": path} for path in data]
        positions = [(path, at + 5) for path in data]
        deletes.append(java.write_position_deletes(f"{folder}/rows.{file_format}", positions, file_format=file_format, rows=rows))
    java.add_deletes(*deletes)
    assert len(table.ids()) == 30 - 4 * len(formats)
    tree = table.tree()
    deletes = tree.files(POSITION_DELETES)
    assert sorted(it["file_format"].lower() for it in deletes) == sorted([*formats, *formats])
    assert sum("row" in it.rows[0] for it in tree.deletes.values()) == len(formats)
    return deletes


@golden()
def deletes_by_hand_in_parquet(table):
    """What `deletes_by_hand` does."""
    deletes = deletes_by_hand(table, "parquet")
    assert any(len((it["lower_bounds"] or {}).get(PATH_FIELD_ID, "")) == 16 for it in deletes)


@golden(pyiceberg="AVRO", duckdb="AVRO")
def deletes_by_hand_in_avro(table):
    """What `deletes_by_hand` does."""
    deletes_by_hand(table, "avro")


@golden(pyiceberg="Delete file format not supported", duckdb="ORC", refused="cannot be written anew")
def deletes_by_hand_in_orc(table):
    """What `deletes_by_hand` does, in the format that nobody but Java writes."""
    deletes_by_hand(table, "orc")


@golden(trino="PUFFIN")
def deletion_vectors(table):
    """Version 3: deletion vectors, several in one file, and one that took another's place; row ids."""
    table.create(3)
    for start in (0, 10, 20):
        table.insert(start, start + 10)
    table.delete(3, 13, 23)
    table.delete(4, 29)
    table.sql("UPDATE {table} SET name = 'new' WHERE id = 15")
    tree = table.tree()
    vectors = tree.files(POSITION_DELETES)
    assert {it["file_format"] for it in vectors} == {"PUFFIN"}
    assert all(it["referenced_data_file"] and it["content_offset"] and it["content_size_in_bytes"] for it in vectors)
    assert any(len(deletes.blobs) > 1 for deletes in tree.deletes.values())
    assert any(entry["status"] == DELETED and entry["data_file"]["content"] == POSITION_DELETES for entry in tree.entries())
    assert tree.metadata["next-row-id"] > 30


@golden(trino="PUFFIN")
def deletes_of_before_version_3(table):
    """Position deletes in Parquet that a table kept when it became version 3, beside deletion vectors."""
    table.create(2, "part", {"write.delete.granularity": "file"})
    table.insert(0, 20)
    table.insert(20, 40)
    table.delete(2, 22, 3)
    table.set({"format-version": 3})
    table.delete(25)
    assert {it["file_format"] for it in table.tree().files(POSITION_DELETES)} == {"PARQUET", "PUFFIN"}


@golden(pyiceberg="equality deletes")
def compaction_with_its_own_sequence_number(table):
    """Data files that a compaction wrote with the sequence number of what it read: deletes of later still hold for them."""
    table.create(2)
    for start in (0, 10, 20):
        table.insert(start, start + 10)
    java = table.java()
    folder = f"{java.table.location()}/data"
    java.add_deletes(java.write_equality_deletes(f"{folder}/equal-1.parquet", [{"id": 3}, {"id": 13}]))
    table.delete(23)
    table.call("rewrite_data_files", "options => map('rewrite-all', 'true', 'use-starting-sequence-number', 'true')")
    # What Spark does when deletes are committed while it writes: it has read all that was there before them.
    java = table.java()
    java.add_deletes(java.write_equality_deletes(f"{folder}/equal-2.parquet", [{"id": 4}, {"id": 14}]))
    compacted = java.write_data(f"{folder}/compacted.parquet", [row for row in rows(0, 30) if row["id"] not in (3, 13, 23)])
    java.replace_data(compacted, java.table.currentSnapshot().sequenceNumber() - 1)
    assert table.ids() == [id for id in range(30) if id not in (3, 13, 23, 4, 14)]
    tree = table.tree()
    added = {it["sequence_number"] for it in tree.entries() if it["status"] == ADDED and it["data_file"]["content"] == DATA}
    lists = {it["manifest_path"]: it["sequence_number"] for list in tree.lists.values() for it in list.records}
    assert any(number and number < max(lists.values()) for number in added)


@golden()
def partition_evolution(table):
    """Data and deletes of three partition specs, one of them void, and a column that was renamed and one that was dropped."""
    table.create(2, "part")
    table.insert(0, 10)
    table.sql("ALTER TABLE {table} ADD PARTITION FIELD bucket(4, id)")
    table.insert(10, 20)
    table.sql("ALTER TABLE {table} DROP PARTITION FIELD part")
    table.insert(20, 30)
    table.delete(3, 13, 23)
    table.sql("ALTER TABLE {table} RENAME COLUMN name TO title")
    table.sql("ALTER TABLE {table} ADD COLUMN note STRING")
    table.sql("INSERT INTO {table} VALUES (30, 'name-30', 'even', 'noted')")
    assert {it["partition_spec_id"] for list in table.tree().lists.values() for it in list.records} == {0, 1, 2}


@golden(pyiceberg="decimal_20_4")
def partitions_of_every_type(table):
    """A partition field of each type that Spark has, and null in every one of them."""
    columns = {"yes": "BOOLEAN", "small": "INT", "big": "BIGINT", "real": "FLOAT", "long_real": "DOUBLE", "price": "DECIMAL(20, 4)",
               "day": "DATE", "at": "TIMESTAMP", "local": "TIMESTAMP_NTZ", "name": "STRING", "raw": "BINARY"}
    fields = [column for column in columns if column not in ("at", "local")]
    fields += ["hours(at)", "years(local)", "truncate(3, name)", "truncate(100, price)", "bucket(8, raw)", "months(day)"]
    table.create(2, ", ".join(fields), columns=", ".join(["id INT"] + [f"{name} {kind}" for name, kind in columns.items()]))
    table.sql("INSERT INTO {table} VALUES (1, true, 7, 1234567890123, 1.5, -2.25, 12345.6789, DATE '1969-12-31', "
              "TIMESTAMP '2024-02-29 23:59:59', TIMESTAMP_NTZ '1901-01-01 00:00:00', 'Ève/d %41', X'00FF20'), "
              f"(2{', NULL' * len(columns)})")
    table.sql("INSERT INTO {table} SELECT id + 2, " + ", ".join(columns) + " FROM {table}")
    table.delete(3, 4)


@golden()
def tags_and_branches(table):
    """A tag, a branch with rows and deletes of its own, and a snapshot that nothing leads to but the tag."""
    table.create(2)
    table.insert(0, 10)
    table.sql("ALTER TABLE {table} CREATE TAG first RETAIN 400 DAYS")
    table.sql("ALTER TABLE {table} CREATE BRANCH trial")
    table.insert(10, 20, "{table}.branch_trial")
    table.sql("DELETE FROM {table}.branch_trial WHERE id IN (2, 12)")
    table.sql("INSERT OVERWRITE {table} VALUES (99, 'name-99', 'odd')")
    assert set(table.tree().metadata["refs"]) == {"main", "first", "trial"}
    assert table.ids("VERSION AS OF 'trial'") == [id for id in range(20) if id not in (2, 12)]
    assert (table.ids("VERSION AS OF 'first'"), table.ids()) == (list(range(10)), [99])


@golden()
def object_storage_layout(table):
    """Files in folders of their hashes, in a place of their own that a property names, as another property does."""
    elsewhere = f"file://{table.site.folder}/elsewhere"
    table.create(2, "part", {"write.object-storage.enabled": "true", "write.data.path": elsewhere, ARCHIVE: f"{elsewhere}/archive"})
    table.insert(0, 10)
    table.insert(10, 20)
    table.delete(3, 14)
    tree = table.tree()
    paths = [entry["data_file"]["file_path"] for entry in tree.live()]
    assert all(not files.local(path).startswith(files.local(tree.metadata["location"])) for path in paths)


@golden()
def same_names_in_other_folders(table):
    """Data files and delete files of one name in several folders, and the folders' locations spelled in three ways."""
    table.create(2)
    java = table.java()
    places = [f"{java.table.location()}/data/one", f"file:{table.site.folder}/other/two", f"{table.site.folder}/other/three"]
    data = [java.write_data(f"{place}/rows.parquet", rows(10 * at, 10 * at + 10)) for at, place in enumerate(places)]
    java.append(*data)
    paths = [file.location() for file in data]  # Hadoop has its own spelling
    java.add_deletes(*(java.write_position_deletes(f"{place}/deletes.parquet", [(path, at)])
                       for at, (place, path) in enumerate(zip(places, paths))))
    java.add_deletes(java.write_position_deletes(f"{places[0]}/all.parquet", [(path, 5) for path in sorted(paths)]))
    assert table.ids() == [id for id in range(30) if id not in (0, 11, 22, 5, 15, 25)]
    tree = table.tree()
    for content in (DATA, POSITION_DELETES):
        names = [it["file_path"].rsplit("/", 1)[1] for it in tree.files(content)]
        assert len(set(names)) < len(names)
    assert {path.split(str(table.site.folder))[0] for path in paths} == {"file:", ""}


def rows(start, end):
    return [{"id": id, "name": f"name-{id}", "part": "odd" if id % 2 else "even"} for id in range(start, end)]


@golden()
def statistics(table):
    """Statistics of the table and of its partitions."""
    table.create(2, "part")
    table.insert(0, 10)
    table.call("compute_table_stats")
    table.call("compute_partition_stats")
    table.insert(10, 20)
    table.delete(3)
    table.call("compute_table_stats")
    table.call("compute_partition_stats")
    metadata = table.tree().metadata
    assert (len(metadata["statistics"]), len(metadata["partition-statistics"])) == (2, 2)


@golden()
def expired_snapshots(table):
    """Manifests that name files which are gone, data and deletes, and live files whose snapshot is gone."""
    table.create(2, "part", {"write.delete.granularity": "partition"})
    table.insert(0, 10)
    table.delete(3, 4)
    table.delete(5)
    table.call("rewrite_position_delete_files", "options => map('rewrite-all', 'true')")
    table.sql("DELETE FROM {table} WHERE part = 'even'")
    table.insert(10, 20)
    table.expire_snapshots()
    assert table.ids() == [1, 7, 9, *range(10, 20)]
    tree = table.tree()
    deleted = [it["data_file"] for it in tree.entries() if it["status"] == DELETED]
    gone = {it["content"] for it in deleted if not Path(files.local(it["file_path"])).exists()}
    assert gone == {DATA, POSITION_DELETES}
    kept = {it["snapshot-id"] for it in tree.metadata["snapshots"]}
    assert any(it["snapshot_id"] not in kept for it in tree.live())


@golden()
def values_that_look_like_paths(table):
    """Columns that have the names of a manifest's and that hold the table's own paths, as values and partitions; so do properties."""
    # The values would be too long for folders' names.
    properties = {"write.metadata.metrics.default": "full", "write.object-storage.enabled": "true",
                  "write.object-storage.partitioned-paths": "false"}
    table.create(2, "referenced_data_file", properties, "id INT, file_path STRING, referenced_data_file STRING")
    location = table.tree().metadata["location"]
    for start in (0, 10):
        table.sql(f"INSERT INTO {{table}} SELECT /*+ COALESCE(1) */ CAST(id AS INT), concat('{location}/data/', id), "
                  f"IF(id % 2 = 0, '{location}', '{location}/data/x.parquet') FROM range({start}, {start + 10})")
    path = table.tree().files(DATA)[0]["file_path"]
    table.sql(f"INSERT INTO {{table}} VALUES (20, '{path}', '{path}'), (21, '{path}', '{path}')")
    table.delete(3, 4, 20)
    table.set({"comment": path, "notes": f"see {location}/data"})
    assert table.ids() == [id for id in range(22) if id not in (3, 4, 20)]
    named = {it["data_file"]["partition"]["referenced_data_file"] for it in table.tree().live()}
    assert named == {location, f"{location}/data/x.parquet", path}


@golden(pyiceberg="Snappy support not installed")
def codecs(table):
    """Metadata in gzip, and manifests in several codecs."""
    table.create(2, properties={"write.metadata.compression-codec": "gzip", "commit.manifest-merge.enabled": "false"})
    for at, codec in enumerate(("gzip", "snappy", "uncompressed")):
        table.set({"write.manifest.compression-codec": codec})
        table.insert(10 * at, 10 * at + 10)
    table.delete(3)
    tree = table.tree()
    assert tree.location.endswith(".gz.metadata.json")
    assert {it.codec for it in tree.manifests.values()} == {"deflate", "snappy", "null"}
    assert {it.codec for it in tree.lists.values()} == {"deflate"}, "Iceberg lets nobody choose the lists' codec"


@golden(duckdb=ENDS_THE_PROCESS)
def codec_zstandard(table):
    """Manifests in the one codec that not every engine knows."""
    table.create(2, properties={"write.manifest.compression-codec": "zstd"})
    table.insert(0, 10)
    table.delete(3)
    assert {it.codec for it in table.tree().manifests.values()} == {"zstandard"}


@golden(pyiceberg="manifest-list", duckdb="manifest-list")
def manifests_without_a_list(table):
    """Version 1 as it was before manifest lists: a snapshot names its manifests itself. Only the commit is made by hand."""
    table.create(1, "part")
    table.insert(0, 10)
    table.insert(10, 20)
    tree = table.tree()
    head = tree.snapshots()[-1]
    snapshot = {"snapshot-id": head["snapshot-id"] - 1, "parent-snapshot-id": head["snapshot-id"], "timestamp-ms": head["timestamp-ms"] + 1,
                "sequence-number": 0, "summary": {"operation": "append"}, "schema-id": 0, "manifests": list(tree.manifests)}
    table.commit({"action": "add-snapshot", "snapshot": snapshot},
                 {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": snapshot["snapshot-id"]})
    assert table.ids() == list(range(20))
    assert "manifest-list" not in table.tree().snapshots()[-1]


# --- Tables of the others. ------------------------------------------------------------------------


@golden()
def written_by_pyiceberg(table):
    """Appends, an overwrite, a delete, and two schemas."""
    catalog = table.engines["pyiceberg"].catalog
    schema = pyarrow.schema([("id", pyarrow.int32()), ("name", pyarrow.string()), ("part", pyarrow.string())])
    made = catalog.create_table(table.name, schema)
    for start in (0, 10):
        made.append(pyarrow.Table.from_pylist(rows(start, start + 10), schema))
    made.overwrite(pyarrow.Table.from_pylist(rows(20, 30), schema), "id >= 15")
    with made.update_schema() as update:
        update.add_column("note", StringType())
        update.rename_column("name", "title")
    made.append(pyarrow.table({"id": pyarrow.array([30], pyarrow.int32()), "title": ["name-30"], "part": ["even"], "note": ["noted"]}))
    made.delete("id = 3")
    assert table.ids() == [id for id in range(31) if id not in (3, 15, 16, 17, 18, 19)]


@golden()
def written_by_duckdb(table):
    """Version 2 with position deletes, whose bounds DuckDB gives to the field of a row's file instead of that of a delete's."""
    table.sql("CREATE TABLE {table} (id INT, name VARCHAR, part VARCHAR)", "duckdb")
    for start in (0, 10):
        table.sql("INSERT INTO {table} SELECT id::INT, concat('name-', id), if(id % 2 = 0, 'even', 'odd') "
                  f"FROM range({start}, {start + 10}) AS it(id)", "duckdb")
    table.sql("DELETE FROM {table} WHERE id IN (3, 4, 13)", "duckdb")
    table.sql("UPDATE {table} SET name = 'new' WHERE id = 5", "duckdb")
    deletes = table.tree().files(POSITION_DELETES)
    assert deletes and all(PATH_FIELD_IDS & it["lower_bounds"].keys() for it in deletes)


@golden()
def written_by_trino(table):
    """Position deletes, partitions by transforms, and statistics that are kept with each write."""
    table.sql("CREATE TABLE {table} (id INTEGER, name VARCHAR, part VARCHAR) "
              "WITH (format_version = 2, partitioning = ARRAY['part', 'bucket(id, 2)'])", "trino")
    for start in (0, 10):
        table.sql("INSERT INTO {table} SELECT id, 'name-' || CAST(id AS VARCHAR), IF(id % 2 = 0, 'even', 'odd') "
                  f"FROM UNNEST(sequence({start}, {start + 9})) AS it(id)", "trino")
    table.sql("DELETE FROM {table} WHERE id IN (3, 4, 13)", "trino")
    table.sql("UPDATE {table} SET name = 'new' WHERE id = 5", "trino")
    table.sql("ANALYZE {table}", "trino")
    tree = table.tree()
    assert tree.files(POSITION_DELETES) and tree.metadata["statistics"]
