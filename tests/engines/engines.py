"""The engines, each behind the same few verbs, so that one test is run by all of them.

A row is a tuple `(id, name, amount, day, seen)` of Python's int, str, Decimal, date and datetime; a
column added later follows. Tables are named `namespace.table`.
"""

import glob
import sysconfig
from datetime import date, datetime
from decimal import Decimal

import components


class Engine:
    """One engine connected to one catalog."""

    name = "engine"

    def create_namespace(self, namespace):
        raise NotImplementedError

    def drop_namespace(self, namespace):
        raise NotImplementedError

    def create(self, table):
        """Creates a table of format version 2 with the columns of a row."""
        raise NotImplementedError

    def insert(self, table, rows):
        raise NotImplementedError

    def rename_person(self, table, id, name):
        """Updates one row's name."""
        raise NotImplementedError

    def delete(self, table, id):
        raise NotImplementedError

    def rows(self, table, snapshot_id=None):
        """All rows by id, now or at a snapshot."""
        raise NotImplementedError

    def snapshots(self, table):
        """The snapshots' ids, oldest first."""
        raise NotImplementedError

    def add_column(self, table, column):
        """Adds an optional string column."""
        raise NotImplementedError

    def tables(self, namespace):
        raise NotImplementedError

    def drop(self, table):
        raise NotImplementedError


class Sql(Engine):
    """What the SQL engines have in common; they differ in types, literals and time travel."""

    catalog = "lifeboat"
    types = {}
    version_clause = ""
    options = ""

    def execute(self, sql):
        """Runs one statement. Returns its rows as tuples of Python values."""
        raise NotImplementedError

    def literal(self, value):
        match value:
            case None:
                return "NULL"
            case str():
                return "'" + value.replace("'", "''") + "'"
            case datetime():
                return f"{self.types['timestamp_literal']} '{value.isoformat(' ', 'microseconds')}'"
            case date():
                return f"DATE '{value.isoformat()}'"
            case Decimal():
                return f"CAST({value} AS DECIMAL(9, 2))"
            case _:
                return str(value)

    def full(self, name):
        return f"{self.catalog}.{name}"

    def create_namespace(self, namespace):
        self.execute(f"CREATE SCHEMA {self.full(namespace)}")

    def drop_namespace(self, namespace):
        self.execute(f"DROP SCHEMA {self.full(namespace)}")

    def create(self, table):
        types = self.types
        self.execute(f"CREATE TABLE {self.full(table)} (id BIGINT, name {types['string']}, amount DECIMAL(9, 2), "
                     f"day DATE, seen {types['timestamp']}) {self.options}")

    def insert(self, table, rows):
        values = ", ".join(f"({', '.join(self.literal(value) for value in row)})" for row in rows)
        self.execute(f"INSERT INTO {self.full(table)} VALUES {values}")

    def rename_person(self, table, id, name):
        self.execute(f"UPDATE {self.full(table)} SET name = {self.literal(name)} WHERE id = {id}")

    def delete(self, table, id):
        self.execute(f"DELETE FROM {self.full(table)} WHERE id = {id}")

    def rows(self, table, snapshot_id=None):
        version = self.version_clause.format(snapshot_id) if snapshot_id else ""
        return sorted(self.execute(f"SELECT * FROM {self.full(table)} {version}"))

    def add_column(self, table, column):
        self.execute(f"ALTER TABLE {self.full(table)} ADD COLUMN {column} {self.types['string']}")

    def drop(self, table):
        self.execute(f"DROP TABLE {self.full(table)}")


class Spark(Sql):
    name = "spark"
    types = {"string": "STRING", "timestamp": "TIMESTAMP_NTZ", "timestamp_literal": "TIMESTAMP_NTZ"}
    version_clause = "VERSION AS OF {}"
    # Updates and deletes write position deletes, as the other engines do.
    options = ("USING iceberg TBLPROPERTIES ('format-version'='2', 'write.delete.mode'='merge-on-read', "
               "'write.update.mode'='merge-on-read')")

    def __init__(self, session, catalog, uri, properties=None):
        self.session = session
        self.catalog = catalog
        prefix = f"spark.sql.catalog.{catalog}"
        session.conf.set(prefix, "org.apache.iceberg.spark.SparkCatalog")
        session.conf.set(f"{prefix}.type", "rest")
        session.conf.set(f"{prefix}.uri", uri)
        # Spark would not see what the others wrote.
        session.conf.set(f"{prefix}.cache-enabled", "false")
        for key, value in (properties or {}).items():
            session.conf.set(f"{prefix}.{key}", value)

    def execute(self, sql):
        from py4j.protocol import Py4JJavaError

        try:
            return [tuple(row) for row in self.session.sql(sql).collect()]
        except Py4JJavaError as error:  # its own text is a hundred lines of stack
            raise components.ComponentError(f"{error.java_exception}\n  in: {sql}") from None

    def literal(self, value):
        # Two quotes are two strings next to each other here.
        return "'" + value.replace("'", "\\'") + "'" if isinstance(value, str) else super().literal(value)

    def snapshots(self, table):
        return [row[0] for row in self.execute(f"SELECT snapshot_id FROM {self.full(table)}.snapshots ORDER BY committed_at")]

    def tables(self, namespace):
        return {row[1] for row in self.execute(f"SHOW TABLES IN {self.full(namespace)}")}


def spark_session(folder):
    """One small Spark for all tests. Its catalogs are configured later, when they are known."""
    from pyspark.sql import SparkSession

    jars = [*components.installed("spark", "files").glob("*.jar"), *components.installed("rck", "files").glob("iceberg-aws-bundle-*.jar")]
    return (
        SparkSession.builder.master("local[2]")
        .appName("lifeboat-tests")
        .config("spark.jars", ",".join(map(str, jars)))
        .config("spark.driver.memory", "900m")
        .config("spark.driver.extraJavaOptions", f"-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir={folder}")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.local.dir", str(folder))
        .config("spark.sql.warehouse.dir", f"{folder}/spark-warehouse")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
        .getOrCreate()
    )


class Trino(Sql):
    name = "trino"
    types = {"string": "VARCHAR", "timestamp": "TIMESTAMP(6)", "timestamp_literal": "TIMESTAMP"}
    version_clause = "FOR VERSION AS OF {}"
    options = "WITH (format_version = 2)"

    def __init__(self, server, catalog, uri, properties=None):
        self.server = server
        self.catalog = catalog
        server.add_rest_catalog(catalog, uri, properties)

    def execute(self, sql):
        return self.server.query(sql)

    def rows(self, table, snapshot_id=None):
        # Trino's JSON has decimals, dates and timestamps as strings.
        readers = (int, str, Decimal, date.fromisoformat, datetime.fromisoformat, str)
        return [tuple(None if value is None else read(value) for read, value in zip(readers, row))
                for row in super().rows(table, snapshot_id)]

    def snapshots(self, table):
        namespace, table = table.split(".")
        return [row[0] for row in self.execute(
            f'SELECT snapshot_id FROM {self.full(namespace)}."{table}$snapshots" ORDER BY committed_at')]

    def tables(self, namespace):
        return {row[0] for row in self.execute(f"SHOW TABLES FROM {self.full(namespace)}")}


class DuckDb(Sql):
    name = "duckdb"
    types = {"string": "VARCHAR", "timestamp": "TIMESTAMP", "timestamp_literal": "TIMESTAMP"}
    version_clause = "AT (VERSION => {})"

    def __init__(self, uri, warehouse="", more=""):
        import duckdb

        # The extensions come as Python packages: nothing is fetched while tests run.
        self.connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        packages = sysconfig.get_paths()["purelib"]
        for extension in ("avro", "httpfs", "iceberg"):  # iceberg needs avro before it
            (path,) = glob.glob(f"{packages}/duckdb_extension_{extension}/extensions/v*/{extension}.duckdb_extension")
            self.connection.execute(f"LOAD '{path}'")
        self.connection.execute(f"ATTACH '{warehouse}' AS {self.catalog} (TYPE ICEBERG, ENDPOINT '{uri}', AUTHORIZATION_TYPE 'none'{more})")

    def execute(self, sql):
        return self.connection.execute(sql).fetchall()

    def snapshots(self, table):
        return [row[0] for row in self.execute(
            f"SELECT snapshot_id FROM iceberg_snapshots('{self.full(table)}') ORDER BY sequence_number")]

    def tables(self, namespace):
        return {row[0] for row in self.execute(
            f"SELECT table_name FROM duckdb_tables() WHERE database_name = '{self.catalog}' AND schema_name = '{namespace}'")}


class PyIceberg(Engine):
    name = "pyiceberg"

    def __init__(self, uri):
        from pyiceberg.catalog import load_catalog

        self.catalog = load_catalog("lifeboat", type="rest", uri=uri)

    def create_namespace(self, namespace):
        self.catalog.create_namespace(namespace)

    def drop_namespace(self, namespace):
        self.catalog.drop_namespace(namespace)

    def create(self, table):
        from pyiceberg.schema import NestedField, Schema
        from pyiceberg.types import DateType, DecimalType, LongType, StringType, TimestampType

        types = {"id": LongType(), "name": StringType(), "amount": DecimalType(9, 2), "day": DateType(), "seen": TimestampType()}
        fields = (NestedField(number, name, kind, required=False) for number, (name, kind) in enumerate(types.items(), 1))
        self.catalog.create_table(table, Schema(*fields), properties={"format-version": "2"})

    def arrow(self, table, rows):
        import pyarrow

        schema = table.schema().as_arrow()
        return pyarrow.Table.from_pylist([dict(zip(schema.names, row)) for row in rows], schema=schema)

    def insert(self, table, rows):
        loaded = self.catalog.load_table(table)
        loaded.append(self.arrow(loaded, rows))

    def rename_person(self, table, id, name):
        from pyiceberg.expressions import EqualTo

        (row,) = [row for row in self.rows(table) if row[0] == id]
        loaded = self.catalog.load_table(table)
        loaded.overwrite(self.arrow(loaded, [(id, name, *row[2:])]), overwrite_filter=EqualTo("id", id))

    def delete(self, table, id):
        self.catalog.load_table(table).delete(f"id = {id}")

    def rows(self, table, snapshot_id=None):
        scanned = self.catalog.load_table(table).scan(snapshot_id=snapshot_id).to_arrow()
        return sorted(tuple(row.values()) for row in scanned.to_pylist())

    def snapshots(self, table):
        return [snapshot.snapshot_id for snapshot in self.catalog.load_table(table).snapshots()]

    def add_column(self, table, column):
        from pyiceberg.types import StringType

        with self.catalog.load_table(table).update_schema() as update:
            update.add_column(column, StringType())

    def tables(self, namespace):
        return {name for _, name in self.catalog.list_tables(namespace)}

    def drop(self, table):
        self.catalog.drop_table(table)
