"""Folders that Spark, PyArrow, DuckDB and pandas wrote become tables: every engine counts and filters as over the raw files, and opens no
more of them than it must; what is said of each file is what PyIceberg's `add_files` says.
"""

import base64
import json
import os
import subprocess
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet
import pyarrow.parquet.encryption as encryption
import pytest
from landed import FOLDERS, Filter, Folder, frame
from pyiceberg.conversions import from_bytes
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import NestedField, Schema
from pyiceberg.transforms import BucketTransform, DayTransform, TruncateTransform
from pyiceberg.types import LongType, TimestampNanoType, TimestampType, TimestamptzNanoType

import components
import engines

NAMESPACE = "landed"
COMMAND_TIMEOUT_S = 120
BY_NAME = {folder.name: folder for folder in FOLDERS}


class Shore:
    """A catalog, the folder below which files land, and the engines."""

    def __init__(self, root, spark, trino_server):
        self.root = root
        self.server = components.Lifeboat()
        self.config = root / "lifeboat.yaml"
        self.config.write_text(
            f"listen: 127.0.0.1:{self.server.port}\nstorage: [{{ prefix: 'file://{root}' }}]\ncatalogs:\n  main:\n    embedded:\n"
            f"      database: sqlite:{root}/catalog.db\n      warehouse: file://{root}/lake\n")
        self.server.listen_on(["--config", str(self.config)])
        self.server.start()
        self.spark_session = spark
        trino_server.wait_until_ready()
        uri = self.server.uri
        connected = [engines.PyIceberg(uri), engines.Spark(spark, "landed", uri), engines.Trino(trino_server, "landed", uri), engines.DuckDb(uri)]
        self.engines = {engine.name: engine for engine in connected}
        self.catalog = connected[0].catalog
        self.catalog.create_namespace(NAMESPACE)
        self.engines["duckdb"].connection.execute("SET TimeZone = 'UTC'")
        self.landed = {}

    def folder(self, name):
        path = self.root / "landing" / name
        path.mkdir(parents=True)
        return path

    def append(self, table, path, *arguments, status=0):
        """The command's report."""
        command = [components.lifeboat_program(), "append", f"{NAMESPACE}.{table}", "--from", path, "--settle", "0s", "--config", self.config,
                   "--json", *arguments]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
        assert done.returncode == status, f"{done.returncode} of {command}\n{done.stdout}{done.stderr}"
        (report,) = json.loads(done.stdout)["appends"]
        return report

    def land(self, folder):
        """A folder's table, made when it is first asked for."""
        if folder.name not in self.landed:
            path = self.folder(folder.name)
            self.landed[folder.name] = None
            folder.write(path, self.spark_session)
            if folder.create:
                folder.create(self.catalog, f"{NAMESPACE}.{folder.name}")
            report = self.append(folder.name, path, *([] if folder.create else ["--create"]))
            self.landed[folder.name] = Landed(self, folder, path, report)
        return self.landed[folder.name]


@dataclass
class Landed:
    shore: Shore
    folder: Folder
    path: Path
    report: dict

    @property
    def ident(self):
        return f"{NAMESPACE}.{self.folder.name}"

    def table(self):
        return self.shore.catalog.load_table(self.ident)

    def raw(self, sql):
        return self.shore.engines["duckdb"].execute(sql)

    def truth(self, filter):
        """Rows, the sum of their ids, and in how many files they are."""
        ((count, total, files),) = self.raw(f"SELECT count(*), sum(id), count(DISTINCT filename) FROM {self.folder.raw(self.path)} "
                                            f"WHERE {filter.on_raw_files()}")
        return (count, int(total or 0)), files

    def ask(self, engine, filter):
        """Rows and the sum of their ids as an engine has them."""
        if engine == "pyiceberg":
            ids = self.table().scan(row_filter=filter.pyiceberg).to_arrow()["id"].to_pylist()
            return len(ids), sum(ids)
        connected = self.shore.engines[engine]
        ((count, total),) = connected.execute(f"SELECT count(*), sum(id) FROM {connected.full(self.ident)} WHERE {filter.on(engine)}")
        return count, int(total or 0)

    def planned(self, filter):
        return len(list(self.table().scan(row_filter=filter.pyiceberg).plan_files()))

    def planned_by_spark(self, filter):
        """How many files Spark's scan opened, by its own metric."""
        full = self.shore.engines["spark"].full(self.ident)
        frame = self.shore.spark_session.sql(f"SELECT id FROM {full} WHERE {filter.on('spark')}")
        frame.collect()
        leaves = frame._jdf.queryExecution().executedPlan().collectLeaves()
        if leaves.size() == 1 and leaves.apply(0).metrics().contains("resultDataFiles"):
            return leaves.apply(0).metrics().get("resultDataFiles").get().value()
        return 0  # nothing is left to be scanned


@pytest.fixture(scope="module")
def shore(tmp_path_factory, spark, trino_server):
    shore = Shore(tmp_path_factory.mktemp("append"), spark, trino_server)
    yield shore
    shore.server.stop()


@pytest.fixture
def landed(shore, name):
    return shore.land(BY_NAME[name])


folders = pytest.mark.parametrize("name", list(BY_NAME))


def data_files(path):
    return sorted(str(file) for file in Path(path).rglob("*.parquet") if not file.name.startswith((".", "_")))


@folders
def test_every_file_of_a_folder_is_in_the_table_once(landed, name):
    files = data_files(landed.path)
    assert files and (landed.report["appended-files"], landed.report["left-out-files"]) == (len(files), 0), landed.report
    paths = [task.file.file_path for task in landed.table().scan().plan_files()]
    assert sorted("/" + path.removeprefix("file:").lstrip("/") for path in paths) == files
    again = landed.shore.append(name, landed.path)
    assert (again["appended-files"], again["left-out-files"], again["snapshots"]) == (0, 0, [])
    assert len(landed.table().snapshots()) == 1


@folders
def test_an_engine_counts_and_filters_as_over_the_raw_files(landed, name, engine_name):
    if reason := landed.folder.unreadable.get(engine_name):
        with pytest.raises(Exception, match=reason):
            landed.ask(engine_name, landed.folder.filters[0])
            if engine_name == "pyiceberg":
                landed.table().scan().to_arrow()
            else:
                connected = landed.shore.engines[engine_name]
                connected.execute(f"SELECT * FROM {connected.full(landed.ident)}")
        return
    filters = [Filter("id >= 0", "id >= 0"), *landed.folder.filters]
    filters = [filter for filter in filters if not (engine_name == "pyiceberg" and filter.is_only_planned)]
    found = {filter.sql: landed.ask(engine_name, filter) for filter in filters}
    assert found == {filter.sql: landed.truth(filter)[0] for filter in filters}


@folders
@pytest.mark.parametrize("reader", ["pyiceberg", "duckdb"])
def test_rows_have_the_values_of_the_raw_files(landed, name, reader):
    """All values, by the two engines whose rows DuckDB can hold against the raw files."""
    connection = landed.shore.engines["duckdb"].connection
    if reader == "pyiceberg":
        connection.register("rows_read", landed.table().scan().to_arrow())
        rows = "rows_read"
    else:
        rows = landed.shore.engines["duckdb"].full(landed.ident)
    columns = [row[0] for row in landed.raw(f"DESCRIBE SELECT * EXCLUDE (filename) FROM {landed.folder.raw(landed.path)}")]
    table_columns = [field.name for field in landed.table().schema().fields]
    assert sorted(columns) == sorted(table_columns)
    raw = f"SELECT {', '.join(columns)} FROM {landed.folder.raw(landed.path)}"
    read = f"SELECT {', '.join(columns)} FROM {rows}"
    assert landed.raw(f"({raw}) EXCEPT ALL ({read})") == [] and landed.raw(f"({read}) EXCEPT ALL ({raw})") == []


@folders
def test_no_more_files_are_opened_than_must_be(landed, name):
    total = len(data_files(landed.path))
    for filter in landed.folder.filters:
        _, files = landed.truth(filter)
        planned = {"pyiceberg": landed.planned(filter)}
        if "spark" not in landed.folder.unreadable:
            planned["spark"] = landed.planned_by_spark(filter)
        for engine, count in planned.items():
            assert files <= count <= total, f"{engine}: {filter.sql}: {count} of {total}, {files} have such rows"
            assert count == files or not filter.sharp, f"{engine}: {filter.sql}: {count} of {total}, {files} have such rows"


# --- What is said of each file. -------------------------------------------------------------------

# PyIceberg's `add_files` takes neither INT96 nor files with field ids.
WITHOUT_TWIN = ("spark_int96", "field_ids")


def said(table):
    """What manifests say of each file, by the names of columns."""
    schema = table.schema()
    entries = [entry.data_file for manifest in table.current_snapshot().manifests(table.io) for entry in manifest.fetch_manifest_entry(table.io)]
    by_name = lambda figures: {schema.find_column_name(id): figure for id, figure in (figures or {}).items()}  # noqa: E731
    typed = lambda bounds: {schema.find_column_name(id): from_bytes(schema.find_type(id), bound) for id, bound in (bounds or {}).items()}  # noqa: E731
    return {local(it.file_path): {
        "record_count": it.record_count, "file_size": it.file_size_in_bytes, "split_offsets": it.split_offsets,
        "column_sizes": by_name(it.column_sizes), "value_counts": by_name(it.value_counts), "null_value_counts": by_name(it.null_value_counts),
        "lower_bounds": typed(it.lower_bounds), "upper_bounds": typed(it.upper_bounds), "partition": list(it.partition)} for it in entries}


def local(path):
    return "/" + path.removeprefix("file:").lstrip("/")


def make_twin(catalog, table, name, files, spec=None):
    """A table of the same columns to which PyIceberg adds the same files."""
    in_files = pyarrow.parquet.read_schema(files[0]).names
    fields = [field for field in table.schema().fields if field.name in in_files]
    options = {"partition_spec": spec} if spec else {}
    twin = catalog.create_table(f"{NAMESPACE}.{name}", Schema(*fields), properties={"format-version": "2"}, **options)
    twin.add_files([f"file://{file}" for file in files])
    return catalog.load_table(f"{NAMESPACE}.{name}")


@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in WITHOUT_TWIN])
def test_pyiceberg_says_the_same_of_the_same_files(landed, name):
    files = data_files(landed.path)
    ours, theirs = said(landed.table()), said(make_twin(landed.shore.catalog, landed.table(), f"{name}_twin", files))
    assert sorted(ours) == sorted(theirs) == files
    differences = []
    for file in files:
        for figure, value in theirs[file].items():
            own = ours[file][figure]
            if figure == "partition":
                continue  # the twin has none
            if figure.endswith("_bounds"):
                # PyIceberg says nothing of the members of structs
                own = {column: bound for column, bound in own.items() if "." not in column}
            if own != value:
                differences.append((os.path.basename(file), figure, own, value))
    assert differences == []


def test_pyiceberg_finds_the_same_partitions(shore):
    landed = shore.land(BY_NAME["transforms"])
    files = data_files(landed.path)[:-1]  # the last one has no statistics
    spec = PartitionSpec(PartitionField(3, 1000, DayTransform(), "seen_day"), PartitionField(2, 1001, TruncateTransform(2), "name_trunc"))
    theirs = said(make_twin(shore.catalog, landed.table(), "partitions_twin", files, spec))
    ours = said(landed.table())
    assert [ours[file]["partition"][:2] for file in files] == [theirs[file]["partition"] for file in files]
    bucket = BucketTransform(4).transform(LongType())
    for file in data_files(landed.path):
        (expected,) = {bucket(id) for id in pyarrow.parquet.read_table(file, columns=["id"])["id"].to_pylist()}
        assert ours[file]["partition"][2] == expected


# --- What does not fit, and what the table becomes. -----------------------------------------------

def left_out(report):
    return {os.path.basename(it["file"]): it["reason"] for it in report["left-out"]}


def test_a_file_of_several_partitions_is_left_out(shore):
    path = shore.folder("spans")
    BY_NAME["transforms"].create(shore.catalog, f"{NAMESPACE}.spans")
    rows = lambda ids, name: pyarrow.table({"id": pyarrow.array(ids, pyarrow.int64()), "name": [name] * len(ids)})  # noqa: E731
    pyarrow.parquet.write_table(rows([0, 1, 2, 3, 4, 5, 6, 7], "one"), path / "buckets.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"id": pyarrow.array([1, 1], pyarrow.int64()), "name": ["aa", "ab"]}), path / "texts.parquet")
    pyarrow.parquet.write_table(rows([1, 1], "one"), path / "whole.parquet")
    report = shore.append("spans", path, status=1)
    assert left_out(report) == {"buckets.parquet": "partition", "texts.parquet": "partition"} and report["appended-files"] == 1


def test_columns_of_nulls_without_a_type_are_left_out(shore):
    """Spark, Trino and PyIceberg end with an error at such a column, and so at the whole table."""
    import pandas

    path = shore.folder("untyped")
    frame(0, 10).to_parquet(path / "typed.parquet", index=False)
    untyped = frame(10, 20)
    untyped["nothing"] = pandas.Series([None] * 10, dtype=object)
    untyped.to_parquet(path / "untyped.parquet", index=False)
    assert pyarrow.types.is_null(pyarrow.parquet.read_schema(path / "untyped.parquet").field("nothing").type)
    report = shore.append("untyped", path, "--create", status=1)
    assert left_out(report) == {"untyped.parquet": "type"} and report["appended-files"] == 1
    assert shore.engines["spark"].execute(f"SELECT count(*), count(nothing) FROM landed.{NAMESPACE}.untyped") == [(10, 0)]


class OpenKeys(encryption.KmsClient):
    """Keys that anybody could read."""

    def __init__(self, _):
        super().__init__()

    def wrap_key(self, key, name):
        return base64.b64encode(key)

    def unwrap_key(self, key, name):
        return base64.b64decode(key)


@pytest.mark.parametrize("footer", ["plain", "encrypted"])
def test_encrypted_files_are_left_out(shore, footer):
    path = shore.folder(f"{footer}_footer")
    rows = pyarrow.table({"id": [1, 2], "secret": ["a", "b"]})
    settings = encryption.EncryptionConfiguration("footer", column_keys={"column": ["secret"]}, plaintext_footer=footer == "plain")
    properties = encryption.CryptoFactory(OpenKeys).file_encryption_properties(encryption.KmsConnectionConfig(), settings)
    with pyarrow.parquet.ParquetWriter(path / "hidden.parquet", rows.schema, encryption_properties=properties) as writer:
        writer.write_table(rows)
    pyarrow.parquet.write_table(rows, path / "open.parquet")
    report = shore.append(f"{footer}_footer", path, "--create", status=1)
    assert left_out(report) == {"hidden.parquet": "encrypted"} and report["appended-files"] == 1


def test_nanoseconds_need_the_third_format_version(shore):
    path = shore.folder("nanoseconds")
    rows = frame(0, 10)[["id", "seen", "sent"]].astype({"seen": "datetime64[ns]", "sent": "datetime64[ns, UTC]"})
    rows.to_parquet(path / "ns.parquet", index=False)
    fields = NestedField(1, "id", LongType(), required=False), NestedField(2, "seen", TimestampType(), required=False)
    shore.catalog.create_table(f"{NAMESPACE}.ns_v2", Schema(*fields), properties={"format-version": "2"})
    report = shore.append("ns_v2", path, "--evolve", status=1)
    assert left_out(report) == {"ns.parquet": "type"} and report["appended-files"] == 0
    fields = [NestedField(1, "id", LongType(), required=False), NestedField(2, "seen", TimestampNanoType(), required=False),
              NestedField(3, "sent", TimestamptzNanoType(), required=False)]
    shore.catalog.create_table(f"{NAMESPACE}.ns_v3", Schema(*fields), properties={"format-version": "3"})
    assert shore.append("ns_v3", path)["appended-files"] == 1
    table = shore.catalog.load_table(f"{NAMESPACE}.ns_v3")
    assert table.scan().to_arrow().to_pydict() == pyarrow.parquet.read_table(path / "ns.parquet").to_pydict()
    (figures,) = said(table).values()
    seen = [int(value.value) for value in pyarrow.parquet.read_table(path / "ns.parquet")["seen"]]
    assert (figures["lower_bounds"]["seen"], figures["upper_bounds"]["seen"]) == (min(seen), max(seen))


EVOLVED = [Filter("id < 15", "id < 15"), Filter("amount > 30.00", "amount > 30.00"), Filter("v = 12.5", "v = 12.5"),
           Filter("note IS NULL", "note is null"), Filter("note = 'n25'", "note = 'n25'", sharp=False),
           Filter("place.tag IS NOT NULL", "place.tag is not null", sharp=False)]


def write_evolved(path, begin, wide):
    """The later half has wider types, one more column, and one more member of a struct."""
    ids = range(begin, begin + 20)
    members = [("lat", pyarrow.float64()), *([("tag", pyarrow.string())] if wide else [])]
    columns = {
        "id": pyarrow.array(ids, pyarrow.int64() if wide else pyarrow.int32()),
        "v": pyarrow.array([number / 2 for number in ids], pyarrow.float64() if wide else pyarrow.float32()),
        "amount": pyarrow.array([Decimal(number) for number in ids], pyarrow.decimal128(12 if wide else 5, 2)),
        "place": pyarrow.array([{"lat": 1.0, "tag": f"t{number}"} if wide else {"lat": 1.0} for number in ids], pyarrow.struct(members)),
        **({"note": [f"n{number}" for number in ids]} if wide else {})}
    for part in range(2):
        pyarrow.parquet.write_table(pyarrow.table(columns).slice(part * 10, 10), path / f"{begin + part}.parquet")


def test_a_schema_that_evolves_half_way(shore):
    path = shore.folder("evolved")
    write_evolved(path, 0, wide=False)
    shore.append("evolved", path, "--create")
    write_evolved(path, 20, wide=True)
    report = shore.append("evolved", path, status=1)
    assert (set(left_out(report).values()), report["left-out-files"], report["appended-files"]) == ({"evolution"}, 2, 0)
    report = shore.append("evolved", path, "--evolve")
    assert (report["appended-files"], len(report["evolved"])) == (2, 5), report
    landed = Landed(shore, Folder("evolved", None, EVOLVED), path, report)
    for engine in ("pyiceberg", "spark", "trino", "duckdb"):
        assert {it.sql: landed.ask(engine, it) for it in EVOLVED} == {it.sql: landed.truth(it)[0] for it in EVOLVED}, engine
    # what a column that a file lacks has in it, nobody wrote down
    for it in (it for it in EVOLVED if it.sharp):
        assert landed.planned(it) == landed.planned_by_spark(it) == landed.truth(it)[1], it.sql
