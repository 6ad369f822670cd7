"""A catalog in a folder with every engine on it, and all that the engines can read of one of its tables."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import components
import engines
import files
import golden

TRINO_QUERIES = 4
METADATA_TABLES = ("files", "all_files", "entries", "all_entries", "manifests", "all_manifests", "snapshots", "history", "refs",
                   "partitions", "position_deletes")


class Site:
    """A fresh catalog whose warehouse is a folder, with every engine on it; a standby when there are lines for its `replica`."""

    def __init__(self, name, folder, spark, trino_server, replica=None):
        self.name = name
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        port = components.free_port()
        config = self.folder.parent / f"{name}.yaml"
        config.write_text(
            f"listen: 127.0.0.1:{port}\n"
            "catalogs:\n"
            "  main:\n"
            "    embedded:\n"
            f"      database: sqlite:{self.folder.parent}/{name}.db\n"
            f"      warehouse: file://{self.folder}\n"
            + "".join(f"    {line}\n" for line in replica or [])
        )
        self.is_standby = replica is not None
        self.lifeboat = components.Lifeboat("--config", str(config))
        self.spark, self.trino_server = spark, trino_server

    def __enter__(self):
        self.lifeboat.start()
        uri = self.lifeboat.uri
        connected = [engines.PyIceberg(uri), engines.Spark(self.spark, self.name, uri), engines.Trino(self.trino_server, self.name, uri),
                     engines.DuckDb(uri)]
        self.engines = {engine.name: engine for engine in connected}
        if not self.is_standby:
            self.engines["pyiceberg"].create_namespace(golden.NAMESPACE)
        self.namespace_uri = f"{uri}/v1/{self.lifeboat.prefix}/namespaces/{golden.NAMESPACE}"
        return self

    def __exit__(self, *_):
        self.engines["duckdb"].connection.close()
        self.trino_server.query(f"DROP CATALOG {self.name}")
        self.lifeboat.stop()

    def table(self, name):
        return golden.Making(self, name)

    def register(self, name, location):
        golden.ask("POST", f"{self.namespace_uri}/register", {"name": name, "metadata-location": location})
        return self.table(name)


# --- Rows. ----------------------------------------------------------------------------------------


@dataclass
class Unreadable:
    """That an engine could not read something, and what it said."""

    reason: str


def attempt(read):
    """The rows that are read, in an order that does not depend on who reads them."""
    try:
        return sorted(read(), key=repr)
    except Exception as error:  # every engine has its own
        return Unreadable(f"{type(error).__name__}: {error}")


def versions(engine, metadata):
    """The snapshots by their ids, and for engines that know them the branches and tags by their quoted names."""
    snapshots = [str(it["snapshot-id"]) for it in metadata["snapshots"]]
    return snapshots + ([f"'{name}'" for name in metadata["refs"]] if engine.name in ("spark", "trino") else [])


def read_rows(engine, table):
    """The rows of every version of a table."""
    metadata = table.rest()["metadata"]
    wanted, full = versions(engine, metadata), engine.full(table.name) if engine.name != "pyiceberg" else table.name
    match engine.name:
        case "spark":
            lineage = ", _row_id, _last_updated_sequence_number" if metadata["format-version"] > 2 else ""
            return read_as_json(engine, {version: f"{full} VERSION AS OF {version}" for version in wanted}, f"*{lineage}")
        case "trino":
            def read(version):
                return attempt(lambda: engine.execute(f"SELECT * FROM {full} FOR VERSION AS OF {version}"))

            with ThreadPoolExecutor(TRINO_QUERIES) as pool:
                return dict(zip(wanted, pool.map(read, wanted)))
        case "duckdb":
            # As text, since Python has no type of its own for some of DuckDB's.
            query = f"SELECT row::VARCHAR FROM (SELECT * FROM {full} AT (VERSION => {{}})) AS row"
            return {version: attempt(lambda: engine.execute(query.format(version))) for version in wanted}
        case "pyiceberg":
            def scan(version):
                return engine.catalog.load_table(full).scan(snapshot_id=int(version)).to_arrow().to_pylist()

            return {version: attempt(lambda: scan(version)) for version in wanted}


def read_metadata_tables(table):
    """Spark's metadata tables, by their names."""
    full = table.spark.full(table.name)
    found = read_as_json(table.spark, {name: f"{full}.{name}" for name in METADATA_TABLES})
    return {name: rows if isinstance(rows, Unreadable) else [json.loads(row) for row in rows] for name, rows in found.items()}


def read_as_json(spark, relations, columns="*"):
    """The rows of several relations as JSON, by one query for all, and one by one if that fails."""
    texts = [f"SELECT {at} AS at, to_json(struct({columns})) AS json FROM {relation}" for at, relation in enumerate(relations.values())]
    try:
        found = spark.execute(" UNION ALL ".join(texts))
        return {name: sorted(json for of, json in found if of == at) for at, name in enumerate(relations)}
    except Exception:  # Spark's own, and ours for Java's
        return {name: attempt(lambda: [json for _, json in spark.execute(text)]) for name, text in zip(relations, texts)}


# --- Before and after. ----------------------------------------------------------------------------


@dataclass
class Before:
    """A golden table at its old place: where its metadata is, its files, and what the engines read."""

    location: str
    tree: files.Tree
    rows: dict
    metadata_tables: dict


def read_at_its_old_place(site, name):
    table = site.table(name)
    golden.TABLES[name].make(table)
    asked = [engine for engine in site.engines.values() if golden.TABLES[name].unreadable.get(engine.name) != golden.ENDS_THE_PROCESS]
    rows = {engine.name: read_rows(engine, table) for engine in asked}
    return Before(table.rest()["metadata-location"], table.tree(), rows, read_metadata_tables(table))


def check_rows(was, engine, table):
    """An engine reads in every version of a table that is there what it read, as far as it could. Returns the versions."""
    found = read_rows(engine, table)
    for version, rows in found.items():
        if not isinstance(was[version], Unreadable):
            assert rows == was[version], f"{engine.name} reads {table.name} at {version}: {rows}"
    return found.keys()
