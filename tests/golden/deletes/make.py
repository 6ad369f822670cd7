"""Makes the golden files of this folder anew: delete files as real writers write them.

Run it with the Python of the test components (`make setup`) and, for what Spark writes, Iceberg's Spark runtime:

    ~/.cache/lifeboat/venv/bin/python tests/golden/deletes/make.py [iceberg-spark-runtime.jar]
"""

import pathlib
import shutil
import sys
import tempfile

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
FILE_PATH, POS = 2147483546, 2147483545
DATA = "s3://warehouse/db/events/data/"


def field(name, type, id, nullable=False):
    return pa.field(name, type, nullable, {"PARQUET:field_id": str(id)})


KEYS = [field("file_path", pa.string(), FILE_PATH), field("pos", pa.int64(), POS)]


def keys(files, rows):
    """`rows` positions in each of `files` data files, in order."""
    paths = [f"{DATA}day=2026-01-{file % 28 + 1:02}/0000{file}-{file:04}.parquet" for file in range(files)]
    return [path for path in sorted(paths) for _ in range(rows)], [3 * pos for _ in range(files) for pos in range(rows)]


def write(name, table, **how):
    pq.write_table(table, HERE / f"{name}.parquet", **how)


def pyarrow_files():
    plain = pa.table(list(keys(4, 50)), pa.schema(KEYS, {"delete-type": "position"}))
    for codec in ("none", "snappy", "gzip", "zstd", "lz4", "brotli"):
        write(f"pyarrow-{codec}", plain, compression=codec, row_group_size=80, write_page_checksum=True)
    write("pyarrow-v2-pages", plain, data_page_version="2.0", row_group_size=80, data_page_size=256)
    names_only = pa.schema([pa.field("pos", pa.int64(), False), pa.field("file_path", pa.string(), False)])
    write("pyarrow-no-ids", pa.table(list(keys(4, 50))[::-1], names_only), store_schema=False)
    encodings = {"file_path": "DELTA_BYTE_ARRAY", "pos": "DELTA_BINARY_PACKED"}
    write("pyarrow-delta", plain, use_dictionary=False, column_encoding=encodings, data_page_size=512)
    encodings = {"file_path": "DELTA_LENGTH_BYTE_ARRAY", "pos": "BYTE_STREAM_SPLIT"}
    write("pyarrow-split", plain, use_dictionary=False, column_encoding=encodings)
    write("pyarrow-row", rows(), compression="zstd", row_group_size=50, data_page_version="2.0", data_page_size=512)
    write("pyarrow-row-v1", rows(), compression="snappy", row_group_size=50, data_page_size=128, use_dictionary=False)
    write("pyarrow-empty", plain.slice(0, 0))


def rows():
    """Position deletes with the deleted row: every physical type, nulls and nesting."""
    children = [
        field("id", pa.int64(), 1),
        field("name", pa.string(), 2, True),
        field("flag", pa.bool_(), 3, True),
        field("score", pa.float64(), 4, True),
        field("ratio", pa.float32(), 5, True),
        field("day", pa.date32(), 6, True),
        field("amount", pa.decimal128(20, 2), 7, True),
        field("seen", pa.timestamp("us", "UTC"), 8, True),
        field("key", pa.binary(16), 9, True),
        field("tags", pa.list_(field("element", pa.string(), 11, True)), 10, True),
        field("counts", pa.map_(field("key", pa.string(), 13), field("value", pa.int32(), 14, True)), 12, True),
        field("parts", pa.list_(field("element", pa.struct([field("x", pa.list_(field("element", pa.int32(), 18, True)), 17, True)]), 16, True)), 15, True),
    ]
    struct = field("row", pa.struct(children), 2147483544, True)

    def row(at):
        if at % 11 == 5:
            return None
        value = {"id": at, "name": None if at % 5 == 0 else f"name {at}", "flag": at % 2 == 0, "score": at / 4, "ratio": at / 8}
        value |= {"day": at, "amount": None if at % 7 == 0 else at, "seen": at * 1_000_000, "key": at.to_bytes(16, "big")}
        value |= {"tags": None if at % 6 == 0 else [f"t{tag}" if tag % 3 else None for tag in range(at % 5)]}
        value |= {"counts": [(f"k{key}", key if key else None) for key in range(at % 3)]}
        return value | {"parts": [None if part == 1 else {"x": list(range(part))} for part in range(at % 4)]}

    paths, positions = keys(6, 20)
    columns = [pa.array(paths), pa.array(positions), pa.array([row(at) for at in range(len(paths))], struct.type)]
    return pa.table(columns, pa.schema([*KEYS, struct], {"delete-type": "position"}))


def duckdb_files():
    ids = f"{{file_path: {FILE_PATH}, pos: {POS}}}"
    paths = f"'{DATA}part-' || (2 - i // 100) || '.parquet' AS file_path, (i % 100)::BIGINT AS pos"
    for name, order in (("duckdb", "ORDER BY file_path, pos"), ("duckdb-unsorted", "ORDER BY pos, file_path")):
        query = f"SELECT {paths} FROM range(300) t(i) {order}"
        duckdb.sql(f"COPY ({query}) TO '{HERE / name}.parquet' (FORMAT parquet, FIELD_IDS {ids}, ROW_GROUP_SIZE 2048)")


def spark_files(jar):
    from pyspark.sql import SparkSession

    warehouse = pathlib.Path("/tmp/warehouse")
    builder = SparkSession.builder.master("local[1]").config("spark.jars", jar).config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.local.dir", tempfile.mkdtemp())
    catalog = {"": "org.apache.iceberg.spark.SparkCatalog", ".type": "hadoop", ".warehouse": f"file:{warehouse}"}
    for key, value in catalog.items():
        builder = builder.config(f"spark.sql.catalog.c{key}", value)
    extensions = "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
    shutil.rmtree(warehouse, ignore_errors=True)
    session = builder.config("spark.sql.extensions", extensions).getOrCreate()
    for name, version, codec in (("spark", 2, "zstd"), ("spark-gzip", 2, "gzip"), ("spark-vector", 3, "zstd")):
        table = name.replace("-", "_")
        properties = {"format-version": version, "write.delete.mode": "merge-on-read", "write.delete.granularity": "partition"}
        properties |= {"write.delete.parquet.compression-codec": codec}
        listed = ", ".join(f"'{key}'='{value}'" for key, value in properties.items())
        session.sql(f"CREATE TABLE c.db.{table} (id BIGINT) USING iceberg TBLPROPERTIES ({listed})")
        for start in (0, 100, 200):
            session.sql(f"INSERT INTO c.db.{table} SELECT id + {start} FROM range(100)")
        session.sql(f"DELETE FROM c.db.{table} WHERE id % 7 = 0")
        (deletes,) = [path for path in warehouse.glob(f"db/{table}/data/*-deletes.*") if not path.name.startswith(".")]
        shutil.copy(deletes, HERE / f"{name}{deletes.suffix}")
    session.stop()
    shutil.rmtree(warehouse)


if __name__ == "__main__":
    pyarrow_files()
    duckdb_files()
    if len(sys.argv) > 1:
        spark_files(sys.argv[1])
