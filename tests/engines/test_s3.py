"""The embedded catalog with its warehouse on S3: a table's life, and two servers racing over one catalog."""

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import components
import engines
import files
import pyarrow
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.types import StringType
from relocation import Move, relocate

PURGE_TIMEOUT_S = 60
POLL_INTERVAL_S = 0.05
SERVERS = 2
CLIENTS_A_SERVER = 4
APPENDS = 25
ATTEMPTS_MAX = 500


@pytest.fixture(scope="module")
def s3():
    with components.Versitygw() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def bucket(s3):
    """The bucket as it is, beside every catalog."""
    resource = boto3.resource("s3", endpoint_url=s3.endpoint, aws_access_key_id=s3.access_key, aws_secret_access_key=s3.secret_key,
                              region_name=s3.region)
    return resource.Bucket(s3.bucket)


def lifeboat_on(s3, folder, database, warehouse="warehouse"):
    """A server whose warehouse is a folder of the bucket."""
    return components.Lifeboat("--config", str(config_on(s3, folder, database, warehouse)))


def config_on(s3, folder, database, warehouse, told=None):
    """`told` is what clients are told instead of all that they need."""
    port = components.free_port()
    config = Path(folder) / f"lifeboat-{port}.yaml"
    client_config = "".join(f"      {key}: \"{value}\"\n" for key, value in (told or s3.client_properties()).items())
    config.write_text(
        f"listen: 127.0.0.1:{port}\n"
        "storage:\n"
        f"  - prefix: s3://{s3.bucket}\n"
        f"    endpoint: {s3.endpoint}\n"
        f"    region: {s3.region}\n"
        f"    access-key-id: {s3.access_key}\n"
        f"    secret-access-key: {s3.secret_key}\n"
        "    path-style: true\n"
        "catalogs:\n"
        "  main:\n"
        "    embedded:\n"
        f"      database: {database}\n"
        f"      warehouse: s3://{s3.bucket}/{warehouse}\n"
        "    client-config:\n"
        f"{client_config}"
    )
    return config


def replica_of_home(s3):
    """The section of a catalog that follows, in the same bucket, what is copied from `home` to `away`."""
    return (
        "    replica:\n"
        f"      map: [{{ from: 's3://{s3.bucket}/home', to: 's3://{s3.bucket}/away' }}]\n"
        f"      overlay: s3://{s3.bucket}/away-overlay\n"
        "      confirm: trust-newest\n"
        "      settle: 0s\n"
        "      max-staleness: 0s\n"
        "      wait: 60s\n"
    )


# --- A table's life. ------------------------------------------------------------------------------


def test_a_purged_table_leaves_nothing_in_the_bucket(s3, bucket, tmp_path):
    with lifeboat_on(s3, tmp_path, f"sqlite:{tmp_path}/catalog.db") as lifeboat:
        # How to reach the bucket is what the catalog tells its clients.
        catalog = load_catalog("lifeboat", type="rest", uri=lifeboat.uri)
        catalog.create_namespace("shop")
        ada, bob = [pyarrow.table({"id": pyarrow.array([id], pyarrow.int64()), "name": [name]}) for id, name in ((1, "Ada"), (2, "Bob"))]
        for name in ("orders", "orders2"):
            table = catalog.create_table(f"shop.{name}", ada.schema)
            table.append(ada)
        table = catalog.load_table("shop.orders")
        table.append(bob)
        with table.update_schema() as update:
            update.add_column("note", StringType())
        rows = sorted(catalog.load_table("shop.orders").scan().to_arrow().to_pylist(), key=lambda row: row["id"])
        assert rows == [{"id": 1, "name": "Ada", "note": None}, {"id": 2, "name": "Bob", "note": None}]
        first = table.history()[0].snapshot_id
        assert catalog.load_table("shop.orders").scan(snapshot_id=first).to_arrow().num_rows == 1

        places = {name: catalog.load_table(f"shop.{name}").location().split(f"s3://{s3.bucket}/")[1] for name in ("orders", "orders2")}
        assert len(keys(bucket, places["orders"])) >= 2 + 2 + 2 + 4, "data, manifests, lists and metadata"
        kept = keys(bucket, places["orders2"])

        catalog.purge_table("shop.orders")
        deadline = time.monotonic() + PURGE_TIMEOUT_S
        while left := keys(bucket, places["orders"]):
            assert time.monotonic() < deadline, f"the purge left {left}:\n{lifeboat.log_tail()}"
            time.sleep(POLL_INTERVAL_S)
        assert not catalog.table_exists("shop.orders")
        assert keys(bucket, places["orders2"]) == kept, "nothing of another table is gone"
        assert catalog.load_table("shop.orders2").scan().to_arrow().num_rows == 1


def keys(bucket, folder):
    return {item.key for item in bucket.objects.filter(Prefix=f"{folder}/")}


# --- A move. --------------------------------------------------------------------------------------


def test_a_table_is_relocated_to_another_place_in_the_bucket(s3, bucket, tmp_path):
    with lifeboat_on(s3, tmp_path, f"sqlite:{tmp_path}/prod.db", "prod") as lifeboat:
        engine = connected(engines.DuckDb(lifeboat.uri), s3)
        engine.create_namespace("shop")
        engine.execute("CREATE TABLE lifeboat.shop.orders (id INT, name VARCHAR)")
        for start in (0, 10):
            engine.execute(f"INSERT INTO lifeboat.shop.orders SELECT id::INT, 'name' FROM range({start}, {start + 10}) AS it(id)")
        engine.execute("DELETE FROM lifeboat.shop.orders WHERE id IN (3, 13)")
        catalog = load_catalog("lifeboat", type="rest", uri=lifeboat.uri)
        before = rows_by_snapshot(engine, catalog)
        source = catalog.load_table("shop.orders").metadata_location
    for item in list(bucket.objects.filter(Prefix="prod/")):
        bucket.Object(f"dr/{item.key.removeprefix('prod/')}").copy({"Bucket": s3.bucket, "Key": item.key})
        item.delete()

    move = Move([(f"s3://{s3.bucket}/prod", f"s3://{s3.bucket}/dr")])
    config = config_on(s3, tmp_path, f"sqlite:{tmp_path}/dr.db", "dr")
    overlay = f"s3://{s3.bucket}/overlay"
    with components.Lifeboat("--config", str(config)) as lifeboat:
        load_catalog("lifeboat", type="rest", uri=lifeboat.uri).create_namespace("shop")
    told = relocate(move.path(source), move, overlay, "--config", config, "--register", "main.shop.orders")
    assert (told["registered"], told["missing-files"]["count"]) == ("main.shop.orders", 0)
    with components.Lifeboat("--config", str(config)) as lifeboat:
        engine, catalog = connected(engines.DuckDb(lifeboat.uri), s3), load_catalog("lifeboat", type="rest", uri=lifeboat.uri)
        assert rows_by_snapshot(engine, catalog) == before
        tree = files.Tree(told["metadata-location"], lambda location: read_object(bucket, location))
        assert tree.paths_below(f"s3://{s3.bucket}/prod") == []
        assert tree.files(files.POSITION_DELETES)


def test_a_standby_follows_what_arrives_in_the_bucket(s3, bucket, tmp_path):
    rows = [pyarrow.table({"id": pyarrow.array([number], pyarrow.int64())}) for number in range(4)]
    with lifeboat_on(s3, tmp_path, f"sqlite:{tmp_path}/home.db", "home") as primary:
        config = config_on(s3, tmp_path, f"sqlite:{tmp_path}/away.db", "own")
        config.write_text(
            f"{config.read_text()}"
            f"{replica_of_home(s3)}"
        )
        home = load_catalog("home", type="rest", uri=primary.uri)
        home.create_namespace("shop")
        table = home.create_table("shop.orders", rows[0].schema)
        with components.Lifeboat("--config", str(config)) as standby:
            away = load_catalog("away", type="rest", uri=standby.uri)
            for count, row in enumerate(rows, 1):
                table.append(row)
                arrived = replicate(bucket, s3, "home", "away")
                loaded = away.load_table("shop.orders")
                assert loaded.metadata_location.startswith(f"s3://{s3.bucket}/away-overlay/")
                assert loaded.scan().to_arrow().num_rows == count
                assert loaded.scan(snapshot_id=loaded.history()[0].snapshot_id).to_arrow().num_rows == 1
                assert keys(bucket, "away") == arrived, "nothing is written where the copy is"


def replicate(bucket, s3, source, target):
    """Copies what is new, metadata first. Returns the names of all that is there then."""
    names = sorted(keys(bucket, source), key=lambda name: not name.endswith(".json"))
    there = {f"{target}/{name.removeprefix(f'{source}/')}": name for name in names}
    for name in there.keys() - keys(bucket, target):
        bucket.Object(name).copy({"Bucket": s3.bucket, "Key": there[name]})
    return set(there)


def connected(engine, s3):
    """DuckDB, told how to reach the bucket."""
    host = s3.endpoint.removeprefix("http://")
    engine.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{s3.access_key}', SECRET '{s3.secret_key}', ENDPOINT '{host}', REGION '{s3.region}', "
                   "URL_STYLE 'path', USE_SSL false)")
    return engine


def rows_by_snapshot(duckdb, catalog):
    table = catalog.load_table("shop.orders")
    found = {}
    for id in (it.snapshot_id for it in table.snapshots()):
        by_pyiceberg = sorted(tuple(row.values()) for row in table.scan(snapshot_id=id).to_arrow().to_pylist())
        assert by_pyiceberg == duckdb.rows("shop.orders", id)
        found[id] = by_pyiceberg
    return found


def read_object(bucket, location):
    return bucket.Object(location.removeprefix(f"s3://{bucket.name}/")).get()["Body"].read()


# --- Races. ---------------------------------------------------------------------------------------


def test_two_servers_keep_every_acknowledged_commit_once(s3, bucket, tmp_path):
    with components.Postgres() as postgres:
        servers = [lifeboat_on(s3, tmp_path, postgres.url) for _ in range(SERVERS)]
        try:
            components.start_together(*servers)
            uris = [f"{server.uri}/v1/{server.prefix}" for server in servers]
            ask("POST", f"{uris[0]}/namespaces", {"namespace": ["shop"]})
            schema = {"type": "struct", "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}]}
            ask("POST", f"{uris[0]}/namespaces/shop/tables", {"name": "hot", "schema": schema})
            with ThreadPoolExecutor(SERVERS * CLIENTS_A_SERVER) as pool:
                work = [pool.submit(append, uri, f"{number}-{client}")
                        for number, uri in enumerate(uris) for client in range(CLIENTS_A_SERVER)]
                acknowledged = [id for done in work for id in done.result()]
            tables = [ask("GET", f"{uri}/namespaces/shop/tables/hot")[1] for uri in uris]
        finally:
            for server in servers:
                server.stop()
    assert all(table == tables[0] for table in tables), "both servers tell the same"
    metadata = tables[0]["metadata"]
    assert len(acknowledged) == SERVERS * CLIENTS_A_SERVER * APPENDS
    line, parent = metadata["snapshots"], None
    assert sorted(it["snapshot-id"] for it in line) == sorted(acknowledged)
    for sequence, snapshot in enumerate(line, 1):
        assert (snapshot["sequence-number"], snapshot.get("parent-snapshot-id")) == (sequence, parent)
        parent = snapshot["snapshot-id"]
    assert metadata["current-snapshot-id"] == parent
    assert [it["snapshot-id"] for it in metadata["snapshot-log"]] == [it["snapshot-id"] for it in line]
    assert {it["summary"]["turn"] for it in line} <= set(metadata["properties"])
    # What lost a race and is in nobody's history is not left behind.
    files = {f"s3://{s3.bucket}/{key}" for key in keys(bucket, metadata["location"].split(f"s3://{s3.bucket}/")[1])}
    log = {it["metadata-file"] for it in metadata["metadata-log"]}
    assert log | {tables[0]["metadata-location"]} <= files
    # A commit a snapshot, and the table's first metadata.
    assert len(files) == len(acknowledged) + 1


def append(uri, client):
    """Adds snapshots to the hot table, each with a property, and returns those that were acknowledged."""
    table, chance, acknowledged = f"{uri}/namespaces/shop/tables/hot", random.Random(client), []
    for turn in range(APPENDS):
        id = chance.getrandbits(62) + 1
        for _ in range(ATTEMPTS_MAX):
            metadata = ask("GET", table)[1]["metadata"]
            head = metadata["refs"].get("main", {}).get("snapshot-id")
            snapshot = {"snapshot-id": id, "sequence-number": metadata["last-sequence-number"] + 1, "timestamp-ms": int(time.time() * 1000),
                        "manifest-list": f"{metadata['location']}/metadata/snap-{id}.avro",
                        "summary": {"operation": "append", "turn": f"{client}-{turn}"}, "schema-id": 0}
            if head:
                snapshot["parent-snapshot-id"] = head
            status, _ = ask("POST", table, {
                "requirements": [{"type": "assert-table-uuid", "uuid": metadata["table-uuid"]},
                                 {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": head}],
                "updates": [{"action": "add-snapshot", "snapshot": snapshot},
                            {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": id},
                            {"action": "set-properties", "updates": {f"{client}-{turn}": "here"}}],
            }, conflicts=True)
            if status == 200:
                acknowledged.append(id)
                break
    return acknowledged


def ask(method, uri, body=None, conflicts=False):
    body = json.dumps(body) if body else None
    status, answer = components.http(method, uri, body, {"Content-Type": "application/json"}, timeout_s=60)
    assert status == 200 or (conflicts and status == 409), f"{status}: {answer.decode()}"
    return status, json.loads(answer)
