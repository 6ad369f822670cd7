"""Folders of data files without metadata, as Spark, PyArrow, DuckDB and pandas leave them, and what is asked of the tables made of them.

A filter is SQL with a few literals of its own (`tz'…'`, `ntz'…'`, `uuid'…'`, `hex'…'`), which every engine writes another way, and the
same for PyIceberg. What the raw files hold is DuckDB's answer to the same SQL.
"""

import re
import uuid
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import pyarrow
import pyarrow.parquet
from pyiceberg.expressions import EqualTo
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import NestedField, Schema
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform, TruncateTransform
from pyiceberg.types import (DateType, DecimalType, DoubleType, IntegerType, LongType, StringType, StructType, TimeType,
                             TimestampType, TimestamptzType)

LITERALS = {
    "duckdb": {"tz": "TIMESTAMPTZ '{}+00'", "ntz": "TIMESTAMP '{}'", "uuid": "UUID '{}'", "hex": "from_hex('{}')"},
    "spark": {"tz": "TIMESTAMP '{} UTC'", "ntz": "TIMESTAMP_NTZ '{}'", "uuid": "'{}'", "hex": "X'{}'"},
    "trino": {"tz": "TIMESTAMP '{} UTC'", "ntz": "TIMESTAMP '{}'", "uuid": "UUID '{}'", "hex": "X'{}'"},
}


@dataclass
class Filter:
    """One question. `pyiceberg` asks the same of PyIceberg; none where it cannot say it. A filter is `sharp` when partitions and bounds
    let a reader open exactly the files that have such rows."""

    sql: str
    pyiceberg: object = None
    sharp: bool = True
    # PyArrow, with which PyIceberg reads, compares no UUIDs.
    is_only_planned: bool = False

    def on(self, engine):
        return in_dialect(self.sql, engine)

    def on_raw_files(self):
        return in_dialect(self.sql, "duckdb")


def in_dialect(sql, engine):
    return re.sub(r"\b(tz|ntz|uuid|hex)'([^']*)'", lambda found: LITERALS[engine][found[1]].format(found[2]), sql)


@dataclass
class Folder:
    """One folder. `write` fills it, `create` makes the table beforehand, without it `--create` does."""

    name: str
    write: object
    filters: list
    create: object = None
    # How DuckDB reads columns that are in the names of folders, and columns that it reads as another type.
    hive_types: dict = field(default_factory=dict)
    casts: dict = field(default_factory=dict)
    # Engines that cannot read such a table, whoever wrote it, and what they say.
    unreadable: dict = field(default_factory=dict)

    def raw(self, path):
        types = ", ".join(f"'{name}': {kind}" for name, kind in self.hive_types.items())
        hive = f"hive_partitioning = true, hive_types = {{{types}}}" if types else "hive_partitioning = false"
        replaced = ", ".join(f"{sql} AS {name}" for name, sql in self.casts.items())
        columns = f"* REPLACE ({replaced})" if replaced else "*"
        return f"(SELECT {columns} FROM read_parquet('{path}/**/*.parquet', union_by_name = true, filename = true, {hive}))"


def day(number):
    return date(2026, 11, 1) + timedelta(number)


def moment(number, zone=None):
    return datetime(2026, 11, 1, 12, tzinfo=zone) + timedelta(hours=number, microseconds=number)


# --- Spark. ---------------------------------------------------------------------------------------

REGIONS = ("north east", "a=b/c:d%e", "Zürich", None)

SPARK_QUERY = """
    SELECT id, concat('name ', lpad(id, 3, '0')) name, CAST(id / 3 AS DECIMAL(5, 2)) small, CAST(id * 1000.5 AS DECIMAL(18, 4)) middle,
      CAST(-id AS DECIMAL(38, 10)) AS great, array(id, id + 1) numbers, map('k', CAST(id AS INT)) attributes,
      named_struct('lat', id * 1.5D, 'tag', concat('t', id)) place, TIMESTAMP '2026-11-01 12:00:00 UTC' + make_interval(0, 0, 0, 0, id) seen,
      id % 2 = 0 AS even, CAST(NULL AS STRING) nothing, IF(id % 10 = 0, NULL, id) sometimes,
      element_at(array({regions}), CAST(id % 4 AS INT) + 1) region, DATE '2026-11-01' + CAST(id % 3 AS INT) day
    FROM range({begin}, {end}, 1, 1)"""


def write_spark(stored):
    def write(path, spark):
        spark.conf.set("spark.sql.parquet.outputTimestampType", stored)
        regions = ", ".join("NULL" if region is None else f"'{region}'" for region in REGIONS)
        for begin in (0, 120):
            query = SPARK_QUERY.format(begin=begin, end=begin + 120, regions=regions)
            spark.sql(query).write.partitionBy("region", "day").mode("append").parquet(str(path))
        spark.conf.unset("spark.sql.parquet.outputTimestampType")
    return write


SPARK_FILTERS = [
    Filter("region = 'north east'", "region = 'north east'"),
    Filter("region = 'a=b/c:d%e' AND day = DATE '2026-11-02'", "region = 'a=b/c:d%e' and day = '2026-11-02'"),
    Filter("region IS NULL", "region is null"),
    Filter("day >= DATE '2026-11-03'", "day >= '2026-11-03'"),
    Filter("id < 7", "id < 7"),
    Filter("id >= 200", "id >= 200", sharp=False),
    Filter("name LIKE 'name 11%'", "name like 'name 11%'", sharp=False),
    Filter("small > 70.50", "small > 70.50", sharp=False),
    Filter("great <= -235.0000000000", "great <= -235.0000000000", sharp=False),
    Filter("nothing IS NOT NULL", "nothing is not null"),
    Filter("sometimes IS NULL", "sometimes is null"),
    Filter("place.lat < 9", "place.lat < 9"),
    Filter("even", "even = true", sharp=False),
]
SEEN = Filter("seen < tz'2026-11-02 00:00:00'", "seen < '2026-11-02T00:00:00+00:00'")


# --- PyArrow. -------------------------------------------------------------------------------------

def arrow_rows(begin, end):
    ids = range(begin, end)
    utc = timezone.utc
    return pyarrow.table({
        "id": pyarrow.array(ids, pyarrow.int64()),
        "name": pyarrow.array([f"item {number:04} with a long tail" for number in ids]),
        "key": pyarrow.array([uuid.UUID(int=number << 64).bytes for number in ids], pyarrow.uuid()),
        "code": pyarrow.array([bytes([number % 256, 255]) for number in ids], pyarrow.binary()),
        "seen": pyarrow.array([moment(number) for number in ids], pyarrow.timestamp("us")),
        "sent": pyarrow.array([moment(number, utc) for number in ids], pyarrow.timestamp("us", "UTC")),
        "price": pyarrow.array([Decimal(number * 7 - 500).scaleb(-2) for number in ids], pyarrow.decimal128(9, 2)),
        "share": pyarrow.array([float("nan") if number % 50 == 49 else number / 8 for number in ids], pyarrow.float64()),
        "nothing": pyarrow.array([None] * len(ids), pyarrow.int32()),
        "place": pyarrow.array([{"lat": number / 2, "deep": {"tag": f"t{number}"}} for number in ids],
                               pyarrow.struct([("lat", pyarrow.float64()), ("deep", pyarrow.struct([("tag", pyarrow.string())]))])),
        "lines": pyarrow.array([[{"sku": f"s{number}", "count": number}] for number in ids],
                               pyarrow.list_(pyarrow.struct([("sku", pyarrow.string()), ("count", pyarrow.int64())]))),
    })


ARROW_FILTERS = [
    Filter("id BETWEEN 130 AND 140", "id >= 130 and id <= 140"),
    Filter("name LIKE 'item 000%'", "name like 'item 000%'"),
    Filter("key = uuid'00000000-0000-0005-0000-000000000000'", EqualTo("key", uuid.UUID(int=5 << 64)), sharp=False, is_only_planned=True),
    Filter("code = hex'05FF'", EqualTo("code", b"\x05\xff")),
    Filter("seen < ntz'2026-11-02 00:00:00'", "seen < '2026-11-02T00:00:00'"),
    Filter("sent >= tz'2026-11-09 00:00:00'", "sent >= '2026-11-09T00:00:00+00:00'"),
    Filter("price < -4.00", "price < -4.00"),
    Filter("nothing IS NULL", "nothing is null"),
    Filter("nothing = 1", "nothing = 1"),
    Filter("place.lat > 90", "place.lat > 90"),
    Filter("place.deep.tag IS NULL", "place.deep.tag is null"),
]


def write_arrow(path, _):
    """Some row groups, and pages of old and new kinds."""
    for number, version in enumerate(("1.0", "2.0", "1.0", "2.0")):
        pyarrow.parquet.write_table(arrow_rows(number * 50, number * 50 + 50), path / f"part-{number}.parquet", row_group_size=20,
                                    data_page_version=version, use_dictionary=number % 2 == 0)


def write_arrow_by_year(path, _):
    import pyarrow.parquet

    for begin in (0, 90):
        rows = arrow_rows(begin, begin + 90)
        years = pyarrow.array([2020 + number % 3 for number in range(90)], pyarrow.int32())
        pyarrow.parquet.write_to_dataset(rows.append_column("year", years), path, partition_cols=["year"])


def create_with_times(catalog, table):
    fields = [NestedField(number, name, kind, required=False) for number, name, kind in (
        (1, "id", LongType()), (2, "name", StringType()), (3, "hour", TimeType()), (4, "day", DateType()), (5, "year", IntegerType()),
        (6, "place", StructType(NestedField(7, "lat", DoubleType(), required=False))))]
    catalog.create_table(table, Schema(*fields), partition_spec=PartitionSpec(PartitionField(5, 1000, IdentityTransform(), "year")))


def write_with_field_ids(path, _):
    """By the ids of the table, whose names are not looked at; the folder has the column that the files lack."""
    numbered = lambda name, kind, number: pyarrow.field(name, kind, metadata={"PARQUET:field_id": str(number)})  # noqa: E731
    schema = pyarrow.schema([
        numbered("place", pyarrow.struct([numbered("lat", pyarrow.float64(), 7)]), 6), numbered("day", pyarrow.date32(), 4),
        numbered("hour", pyarrow.time64("us"), 3), numbered("name", pyarrow.string(), 2), numbered("id", pyarrow.int64(), 1)])
    for year in (2024, 2025):
        (path / f"year={year}").mkdir()
        for part in range(2):
            ids = range((year - 2024) * 60 + part * 30, (year - 2024) * 60 + part * 30 + 30)
            rows = [{"id": number, "name": f"n{number}", "hour": time(number // 10, 30), "day": day(number // 30),
                     "place": {"lat": number / 4}} for number in ids]
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), path / f"year={year}" / f"{part}.parquet")


def create_by_transforms(catalog, table):
    fields = [NestedField(number, name, kind, required=False) for number, name, kind in (
        (1, "id", LongType()), (2, "name", StringType()), (3, "seen", TimestampType()), (4, "sent", TimestamptzType()),
        (5, "price", DecimalType(9, 2)))]
    catalog.create_table(table, Schema(*fields), partition_spec=PartitionSpec(
        PartitionField(3, 1000, DayTransform(), "seen_day"), PartitionField(2, 1001, TruncateTransform(2), "name_trunc"),
        PartitionField(1, 1002, BucketTransform(4), "id_bucket")))


def write_for_transforms(path, _):
    """A file for each partition, and nothing in its name says which; one file has no statistics."""
    bucket = BucketTransform(4).transform(LongType())
    for number in range(24):
        ids = [it for it in range(number * 40, number * 40 + 40) if bucket(it) == number % 4]
        on = datetime(2026, 11, 1 + number // 8)
        rows = [{"id": it, "name": f"{'abc'[number // 4 % 3]}b rest {it}", "seen": on + timedelta(minutes=it % 1440),
                 "sent": (on + timedelta(seconds=it)).replace(tzinfo=timezone.utc), "price": Decimal(it).scaleb(-2)} for it in ids]
        schema = pyarrow.schema([("id", pyarrow.int64()), ("name", pyarrow.string()), ("seen", pyarrow.timestamp("us")),
                                 ("sent", pyarrow.timestamp("us", "UTC")), ("price", pyarrow.decimal128(9, 2))])
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), path / f"{number:02}.parquet",
                                    write_statistics=number != 23)


# --- DuckDB. --------------------------------------------------------------------------------------

DUCKDB_QUERY = """
    SELECT id::BIGINT id, 'row ' || id AS name, (id % 3)::INT kind, DATE '2026-11-01' + (id % 2)::INT AS day, id::DECIMAL(4, 1) small,
      (id * 100)::DECIMAL(18, 3) middle, (id * 1000)::DECIMAL(38, 5) great, CAST(printf('%08d-0000-0000-0000-000000000000', id) AS UUID) AS key,
      encode('b' || id) code, TIMESTAMP '2026-11-01 12:00:00' + to_hours(id::INT) seen, TIMESTAMPTZ '2026-11-01 12:00:00+00' + to_hours(id::INT) sent,
      [id, NULL] numbers, {'lat': id / 2, 'tag': 't' || id} place, map {'k': id} attributes, NULL::INTEGER AS nothing, id::FLOAT AS share
    FROM range(60) t(id)"""


def write_duckdb(path, _):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"COPY ({DUCKDB_QUERY}) TO '{path}' (FORMAT parquet, PARTITION_BY (kind, day), OVERWRITE_OR_IGNORE)")


DUCKDB_FILTERS = [
    Filter("kind = 1", "kind = 1"),
    Filter("day = DATE '2026-11-02' AND kind = 2", "day = '2026-11-02' and kind = 2"),
    Filter("id >= 59", "id >= 59"),
    Filter("name LIKE 'row 5%'", "name like 'row 5%'", sharp=False),
    Filter("key = uuid'00000007-0000-0000-0000-000000000000'", EqualTo("key", uuid.UUID("00000007-0000-0000-0000-000000000000")), sharp=False,
           is_only_planned=True),
    Filter("code = hex'6237'", EqualTo("code", b"b7"), sharp=False),
    Filter("great > 58000.00000", "great > 58000.00000"),
    Filter("seen >= ntz'2026-11-03 23:00:00'", "seen >= '2026-11-03T23:00:00'"),
    Filter("sent < tz'2026-11-01 13:00:00'", "sent < '2026-11-01T13:00:00+00:00'"),
    Filter("place.lat > 29.4", "place.lat > 29.4"),
    Filter("nothing IS NOT NULL", "nothing is not null"),
    Filter("share < 1", "share < 1"),
]


# --- pandas. --------------------------------------------------------------------------------------

def frame(begin, end):
    import pandas

    ids = range(begin, end)
    return pandas.DataFrame({
        "id": list(ids), "name": [f"name {number}" for number in ids], "nothing": pandas.Series([None] * len(ids), dtype="string"),
        "share": [float("nan")] * len(ids), "odd": pandas.array([None if number % 2 else number for number in ids], dtype="Int32"),
        "seen": pandas.Series([moment(number) for number in ids], dtype="datetime64[us]"),
        "sent": pandas.Series([moment(number, timezone.utc) for number in ids], dtype="datetime64[us, UTC]"),
        "kind": pandas.Categorical([f"k{number % 2}" for number in ids])})


def write_pandas(path, _):
    frame(0, 20).to_parquet(path / "0.parquet", index=False)
    frame(20, 40).assign(nothing="something").to_parquet(path / "1.parquet", index=False)
    frame(40, 60).to_parquet(path / "2.parquet", index=False, compression="zstd")


PANDAS_FILTERS = [
    Filter("id > 50", "id > 50"),
    Filter("nothing IS NULL", "nothing is null"),
    Filter("nothing = 'something'", "nothing = 'something'"),
    Filter("odd < 4", "odd < 4"),
    Filter("odd IS NULL", "odd is null"),
    Filter("seen < ntz'2026-11-02 00:00:00'", "seen < '2026-11-02T00:00:00'"),
    Filter("sent >= tz'2026-11-03 06:00:00'", "sent >= '2026-11-03T06:00:00+00:00'"),
    Filter("kind = 'k1'", "kind = 'k1'"),
]


FOLDERS = [
    # Nobody keeps statistics of INT96.
    Folder("spark_int96", write_spark("INT96"), SPARK_FILTERS + [replace(SEEN, sharp=False)], hive_types={"region": "VARCHAR", "day": "DATE"},
           casts={"seen": "seen::TIMESTAMP AT TIME ZONE 'UTC'"}),
    Folder("spark_micros", write_spark("TIMESTAMP_MICROS"), SPARK_FILTERS + [SEEN], hive_types={"region": "VARCHAR", "day": "DATE"}),
    Folder("arrow", write_arrow, ARROW_FILTERS),
    Folder("arrow_by_year", write_arrow_by_year, [Filter("year = 2021", "year = 2021"), Filter("year > 2021 AND id < 20", "year > 2021 and id < 20"),
                                                  Filter("id >= 170", "id >= 170")], hive_types={"year": "INT"}),
    Folder("field_ids", write_with_field_ids, [Filter("year = 2024", "year = 2024"), Filter("id < 30", "id < 30"),
                                               Filter("day = DATE '2026-11-02'", "day = '2026-11-02'"), Filter("place.lat >= 29", "place.lat >= 29")],
           create=create_with_times, hive_types={"year": "INT"}, unreadable={"spark": "does not support time fields"}),
    Folder("transforms", write_for_transforms, [
        Filter("seen < ntz'2026-11-02 00:00:00'", "seen < '2026-11-02T00:00:00'"), Filter("name LIKE 'ab%'", "name like 'ab%'"),
        Filter("id = 45", "id = 45", sharp=False), Filter("price > 9.50", "price > 9.50", sharp=False)], create=create_by_transforms),
    Folder("duckdb", write_duckdb, DUCKDB_FILTERS, hive_types={"kind": "INT", "day": "DATE"}),
    Folder("pandas", write_pandas, PANDAS_FILTERS),
]
