"""Clients that name the storage otherwise than the catalog: real engines on a catalog with `client-locations`, and on the same
database without, where the upstream's naming is seen.

The clients' naming leads through another mount (here a symbolic link) to the same folder.
"""

import functools
import glob
import gzip
import json
import sysconfig
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from types import SimpleNamespace

import pytest

import components
import engines
from test_engines import ADA, BOB, DAN, EVE

ENGINES = ("pyiceberg", "spark", "trino", "duckdb")


def config(lifeboat, more=""):
    return (f"listen: 127.0.0.1:{lifeboat.port}\n"
            "catalogs:\n"
            "  main:\n"
            f"    embedded: {{ database: 'sqlite:{{folder}}/catalog.db', warehouse: 'file:{{folder}}/upstream' }}\n"
            f"{more}")


CLIENT_LOCATIONS = """\
    client-locations:
      map:
        - { upstream: 'file:{folder}/upstream', client: 'file:{folder}/client' }
        - { upstream: 'file://{folder}/upstream', client: 'file://{folder}/client' }
        - { upstream: '{folder}/upstream', client: '{folder}/client' }
      overlay: 'file:{folder}/overlay'
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("locations")
    (folder / "upstream").mkdir()
    (folder / "client").symlink_to(folder / "upstream")
    (folder / "overlay").mkdir()
    servers = []
    for more in (CLIENT_LOCATIONS, ""):
        lifeboat = components.Lifeboat()
        path = lifeboat.folder / "lifeboat.yaml"
        path.write_text(config(lifeboat, more).replace("{folder}", str(folder)))
        lifeboat.listen_on(["--config", str(path)])
        servers.append(lifeboat.start())
    yield SimpleNamespace(folder=folder, client=servers[0].uri, upstream=servers[1].uri)
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def connect(served, request):
    """Each engine by name, connected to the clients' catalog or to the upstream's; made when it is first asked for."""
    made = {}

    def get(name, uri):
        if (name, uri) not in made:
            catalog = "mapped" if uri == served.client else "straight"
            if name == "trino":
                request.getfixturevalue("trino_server").wait_until_ready()
            made[name, uri] = {
                "pyiceberg": lambda: engines.PyIceberg(uri),
                "duckdb": lambda: engines.DuckDb(uri),
                "spark": lambda: engines.Spark(request.getfixturevalue("spark"), catalog, uri),
                "trino": lambda: engines.Trino(request.getfixturevalue("trino_server"), catalog, uri),
            }[name]()
        return made[name, uri]

    return get


def loaded(uri, table):
    namespace, name = table.split(".")
    status, body = components.http("GET", f"{uri}/v1/main/namespaces/{urllib.parse.quote(namespace)}/tables/{name}")
    assert status == 200, body
    return json.loads(body)


def local(location):
    return "/" + location.removeprefix("file:").lstrip("/")


def avro(location):
    """The records of an Avro file, as DuckDB reads them."""
    rows = reader().execute(f"SELECT to_json(record) FROM read_avro('{local(location)}') AS record").fetchall()
    return [json.loads(row) for (row,) in rows]


@functools.cache
def reader():
    import duckdb

    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    packages = sysconfig.get_paths()["purelib"]
    (path,) = glob.glob(f"{packages}/duckdb_extension_avro/extensions/v*/avro.duckdb_extension")
    connection.execute(f"LOAD '{path}'")
    return connection


def tree(answer):
    """Every path of the table: those of metadata files, of the files that live entries name, and inside position deletes."""
    with open(local(answer["metadata-location"]), "rb") as file:
        text = file.read()
    metadata = json.loads(gzip.decompress(text) if text[:2] == b"\x1f\x8b" else text)
    assert metadata == answer["metadata"]
    paths = [answer["metadata-location"], metadata["location"]]
    paths += [value for key, value in metadata["properties"].items() if key.endswith(".path")]
    paths += [entry["metadata-file"] for entry in metadata["metadata-log"]]
    for snapshot in metadata["snapshots"]:
        paths.append(snapshot["manifest-list"])
        for manifest in avro(snapshot["manifest-list"]):
            path = manifest["manifest_path"]
            paths.append(path)
            with open(local(path), "rb") as file:
                assert len(file.read()) == manifest["manifest_length"], path
            for entry in avro(path):
                file = entry["data_file"]
                paths.append(file["file_path"])
                if file.get("referenced_data_file"):
                    paths.append(file["referenced_data_file"])
                if entry["status"] != 2 and file.get("content", 0) == 1 and file["file_format"].lower() == "parquet":
                    import pyarrow.parquet

                    deletes = pyarrow.parquet.read_table(local(file["file_path"]))
                    paths += set(deletes["file_path"].to_pylist())
    return paths


def namings(served, table):
    """How many paths of each tree are of which naming."""
    kinds = Counter()
    for side, uri in (("clients'", served.client), ("upstream's", served.upstream)):
        for path in tree(loaded(uri, table)):
            (folder,) = [name for name in ("client", "upstream", "overlay") if f"{served.folder}/{name}/" in f"{path}/"] or [path]
            kinds[side, folder] += 1
    return kinds


def check(served, connect, table, expected):
    """The rows are the same through both namings, and no tree has a path of the other."""
    assert connect("pyiceberg", served.upstream).rows(table) == expected
    kinds = namings(served, table)
    assert {folder for side, folder in kinds if side == "upstream's"} == {"upstream"}, kinds
    assert {folder for side, folder in kinds if side == "clients'"} == {"client", "overlay"}, kinds


@pytest.fixture
def namespace(engine_name):
    return f"locations_{engine_name}_{uuid.uuid4().hex[:8]}"


def test_an_engine_writes_through_another_naming(served, connect, engine_name, namespace):
    engine = connect(engine_name, served.client)
    engine.create_namespace(namespace)
    table = f"{namespace}.people"
    engine.create(table)
    assert engine.rows(table) == []
    engine.insert(table, [ADA, BOB])
    check(served, connect, table, [ADA, BOB])
    first = engine.snapshots(table)[-1]
    engine.insert(table, [EVE, DAN])
    assert engine.rows(table) == [ADA, BOB, EVE, DAN]
    check(served, connect, table, [ADA, BOB, EVE, DAN])
    assert engine.rows(table, snapshot_id=first) == [ADA, BOB]
    engine.add_column(table, "note")
    assert engine.rows(table) == [(*row, None) for row in (ADA, BOB, EVE, DAN)]
    engine.drop(table)
    engine.drop_namespace(namespace)


def test_an_engine_updates_and_deletes_through_another_naming(served, connect, engine_name, namespace):
    engine = connect(engine_name, served.client)
    engine.create_namespace(namespace)
    table = f"{namespace}.people"
    engine.create(table)
    engine.insert(table, [ADA, BOB, EVE])
    engine.delete(table, 2)
    engine.rename_person(table, 3, "Eve")
    expected = [ADA, (3, "Eve", *EVE[2:])]
    assert engine.rows(table) == expected
    check(served, connect, table, expected)
    for writer in ENGINES:
        other = connect(writer, served.client)
        other.insert(table, [(100 + ENGINES.index(writer), writer, *DAN[2:]), (200, "gone", *BOB[2:])])
        other.delete(table, 200)
        expected.append((100 + ENGINES.index(writer), writer, *DAN[2:]))
        for reader in ENGINES:
            assert connect(reader, served.client).rows(table) == expected, f"{reader} reads after {writer} wrote on"
        check(served, connect, table, expected)
    # what was written straight is seen by clients, and written on by them
    straight = connect(engine_name, served.upstream)
    straight.insert(table, [(300, "straight", *DAN[2:])])
    engine.insert(table, [(301, "mapped", *DAN[2:])])
    expected += [(300, "straight", *DAN[2:]), (301, "mapped", *DAN[2:])]
    assert engine.rows(table) == expected
    assert straight.rows(table) == expected
    check(served, connect, table, expected)
    engine.drop(table)
    engine.drop_namespace(namespace)


@pytest.fixture
def proxied(tmp_path):
    """The same in front of another catalog, where a cache keeps what clients hear."""
    (tmp_path / "upstream").mkdir()
    (tmp_path / "client").symlink_to(tmp_path / "upstream")
    (tmp_path / "overlay").mkdir()
    with components.RestFixture(f"file:{tmp_path}/upstream") as fixture:
        lifeboat = components.Lifeboat()
        path = lifeboat.folder / "lifeboat.yaml"
        path.write_text(f"listen: 127.0.0.1:{lifeboat.port}\ncatalogs:\n  main:\n    upstream: {{ uri: '{fixture.uri}' }}\n"
                        + CLIENT_LOCATIONS.replace("{folder}", str(tmp_path)))
        lifeboat.listen_on(["--config", str(path)])
        with lifeboat:
            yield SimpleNamespace(folder=tmp_path, client=lifeboat.uri, upstream=fixture.uri)


def test_a_catalog_behind_us_is_mapped_as_well(proxied):
    client, straight = engines.PyIceberg(proxied.client), engines.PyIceberg(proxied.upstream)
    client.create_namespace("ns")
    client.create("ns.people")
    client.insert("ns.people", [ADA])
    straight.insert("ns.people", [BOB])
    client.insert("ns.people", [EVE])
    client.delete("ns.people", 1)
    assert client.rows("ns.people") == straight.rows("ns.people") == [BOB, EVE]
    answer = loaded(proxied.client, "ns.people")
    assert {path.split(f"{proxied.folder}/")[1].split("/")[0] for path in tree(answer)} == {"client", "overlay"}
    status, body = components.http("GET", f"{proxied.upstream}/v1/namespaces/ns/tables/people")
    paths = tree(json.loads(body))
    assert {path.split(f"{proxied.folder}/")[1].split("/")[0] for path in paths} == {"upstream"}
    # who has the answer gets 304 until the upstream's table changes
    url = f"{proxied.client}/v1/main/namespaces/ns/tables/people"

    def etag(known=None):
        request = urllib.request.Request(url, headers={"If-None-Match": known} if known else {})
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, response.headers["ETag"]
        except urllib.error.HTTPError as error:
            return error.code, error.headers["ETag"]

    _, first = etag()
    assert etag(first) == (304, first)
    straight.insert("ns.people", [DAN])
    status, second = etag(first)
    assert status == 200 and second != first
    assert client.rows("ns.people") == [BOB, EVE, DAN]


def test_deletion_vectors_go_both_ways(served, connect):
    """Spark replaces a deletion vector by another one: the new manifest names what it replaces, which is the upstream's own file."""
    spark, straight = connect("spark", served.client), connect("spark", served.upstream)
    namespace = f"locations_vectors_{uuid.uuid4().hex[:8]}"
    spark.create_namespace(namespace)
    table = f"{namespace}.people"
    spark.execute(f"CREATE TABLE {spark.full(table)} (id BIGINT, name STRING) USING iceberg TBLPROPERTIES "
                  "('format-version'='3', 'write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read')")
    spark.execute(f"INSERT INTO {spark.full(table)} SELECT id, 'x' FROM range(100)")
    for turn, engine in enumerate((spark, spark, straight, spark)):
        engine.execute(f"DELETE FROM {engine.full(table)} WHERE id = {10 * turn}")
        expected = 99 - turn
        for reader in (spark, straight):
            assert reader.execute(f"SELECT count(*) FROM {reader.full(table)}") == [(expected,)], (turn, engine.catalog)
    kinds = namings(served, table)
    assert {folder for side, folder in kinds if side == "upstream's"} == {"upstream"}, kinds
    assert {folder for side, folder in kinds if side == "clients'"} == {"client", "overlay"}, kinds
    spark.drop(table)
    spark.drop_namespace(namespace)
