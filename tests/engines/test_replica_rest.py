"""A standby before REST catalogs: Apache's fixture, where a state is registered over the one before, and Nessie, which takes commits and keeps no history."""

from datetime import date, datetime
from decimal import Decimal

import components
import engines
import golden
import pyarrow
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import EqualTo
from pyiceberg.types import LongType
from relocation import Move
from standbys import Copies, RestStandby

ROWS = [(id, f"name {id}", Decimal("1.50"), date(2024, 1, id), datetime(2024, 1, id, 12)) for id in range(1, 7)]


class Primary:
    """Lifeboat on SQLite with PyIceberg and Spark on it, its warehouse in a folder."""

    def __init__(self, spark):
        self.lifeboat = components.Lifeboat.on_sqlite().start()
        self.warehouse = self.lifeboat.folder / "data" / "warehouse"
        self.pyiceberg = engines.PyIceberg(self.lifeboat.uri)
        self.spark = engines.Spark(spark, "rest_primary", self.lifeboat.uri)

    def metadata(self, name):
        namespace, table = name.split(".")
        uri = f"{self.lifeboat.uri}/v1/{self.lifeboat.prefix}/namespaces/{namespace}/tables/{table}"
        return golden.ask("GET", uri)["metadata"]

    def expire(self, name):
        self.spark.execute(f"CALL {self.spark.catalog}.system.expire_snapshots(table => '{name}', older_than => TIMESTAMP '2100-01-01 00:00:00')")


@pytest.fixture(scope="module")
def primary(spark):
    primary = Primary(spark)
    yield primary
    primary.lifeboat.stop()


@pytest.fixture(scope="module", params=["fixture", "lifeboat"])
def upstream(request):
    with components.RestFixture() if request.param == "fixture" else components.Lifeboat.on_sqlite() as component:
        yield component


class Pair:
    """A primary, what replicates its warehouse, and a standby before an upstream with engines on it."""

    def __init__(self, root, primary, upstream, spark):
        self.name = f"{upstream.name}.orders"
        self.primary, self.upstream, self.session = primary, upstream, spark
        self.copies = Copies(primary.warehouse, root / "copy")
        self.overlay = root / "overlay"
        pairs = Move.of_folder(primary.warehouse, root / "copy").pairs
        self.standby = RestStandby(root / "standby", upstream.uri, pairs, f"file://{self.overlay}")

    def connect(self):
        self.readers = [engines.PyIceberg(self.standby.uri), engines.DuckDb(self.standby.uri),
                        engines.Spark(self.session, f"rest_{self.upstream.name}", self.standby.uri)]

    def check(self, rows, snapshot_id=None):
        """Right after the files have arrived, all engines read these rows."""
        self.copies.run()
        arrived = self.copies.files()
        for reader in self.readers:
            assert reader.rows(self.name, snapshot_id) == rows, reader.name
        assert self.copies.files() == arrived, "nothing is written where the copy is"

    def held(self):
        """The table as the upstream itself holds it."""
        prefix = f"/{self.upstream.prefix}" if isinstance(self.upstream, components.Lifeboat) else ""
        return golden.ask("GET", f"{self.upstream.uri}/v1{prefix}/namespaces/{self.upstream.name}/tables/orders")


def same_history(found, was):
    assert {it["snapshot-id"]: it["timestamp-ms"] for it in found["snapshots"]} == {it["snapshot-id"]: it["timestamp-ms"] for it in was["snapshots"]}
    assert found["refs"] == was["refs"]
    assert [it["snapshot-id"] for it in found["snapshot-log"]] == [it["snapshot-id"] for it in was["snapshot-log"]]


def test_a_standby_before_a_rest_catalog_follows_its_primary(primary, upstream, spark, tmp_path_factory):
    pair = Pair(tmp_path_factory.mktemp("rest"), primary, upstream, spark)
    writer, name = primary.spark, pair.name
    with pair.standby:
        pair.connect()
        writer.create_namespace(upstream.name)
        writer.create(name)
        writer.insert(name, ROWS[:3])
        pair.check(ROWS[:3])
        primary.pyiceberg.insert(name, ROWS[3:5])
        pair.check(ROWS[:5])
        pair.check(ROWS[:3], primary.pyiceberg.snapshots(name)[0])
        writer.delete(name, 2)
        expected = [row for row in ROWS[:5] if row[0] != 2]
        pair.check(expected)
        # two commits at once
        writer.execute(f"ALTER TABLE {writer.full(name)} CREATE TAG before")
        writer.execute(f"ALTER TABLE {writer.full(name)} CREATE BRANCH audit")
        writer.add_column(name, "note")
        expected = [(*row, None) for row in expected]
        pair.check(expected)
        # two heads of main at once, the first of which time travel goes to
        writer.insert(name, [(*ROWS[5], "late")])
        writer.delete(name, 6)
        pair.check(expected)
        same_history(pair.held()["metadata"], primary.metadata(name))
        pair.check(expected + [(*ROWS[5], "late")], primary.pyiceberg.snapshots(name)[-2])
        primary.expire(name)
        pair.check(expected)
        same_history(pair.held()["metadata"], primary.metadata(name))

        # what the upstream holds leads into the overlay, and stays when Lifeboat is started again
        held = pair.held()
        assert f"{pair.overlay}/" in held["metadata-location"]
        assert held["metadata"]["properties"]["lifeboat.published-metadata-location"].startswith(f"file://{pair.overlay}/")
        pair.standby.restart()
        pair.connect()
        pair.check(expected)
        assert pair.held()["metadata-location"] == held["metadata-location"]
        tables, code = pair.standby.command("status")
        assert (tables[name]["state"], tables[name]["history-lost"], code) == ("level", None, 0)
        assert tables[name]["is-confirmed"] is False


def test_another_ones_table_and_one_that_was_changed_are_left_alone(primary, upstream, spark, tmp_path_factory):
    pair = Pair(tmp_path_factory.mktemp("rest"), primary, upstream, spark)
    pair.name = f"{upstream.name}_2.orders"
    namespace = pair.name.split(".")[0]
    direct = engines.PyIceberg(upstream.uri)
    direct.create_namespace(namespace)
    direct.create(pair.name)
    primary.spark.create_namespace(namespace)
    primary.spark.create(pair.name)
    primary.spark.insert(pair.name, ROWS[:1])
    pair.copies.run()
    before = direct.catalog.load_table(pair.name).metadata_location
    tables, code = pair.standby.command("sync", pair.name)
    assert (tables[pair.name]["state"], code) == ("blocked", 1)
    assert "another one's table" in tables[pair.name]["reason"]
    assert direct.catalog.load_table(pair.name).metadata_location == before

    direct.drop(pair.name)
    tables, code = pair.standby.command("sync", pair.name)
    assert (tables[pair.name]["state"], code) == ("level", 0)
    # somebody writes past the standby
    primary.spark.insert(pair.name, ROWS[1:2])
    pair.copies.run()
    with direct.catalog.load_table(pair.name).update_schema() as update:
        update.delete_column("seen")
    before = direct.catalog.load_table(pair.name).metadata_location
    for word in ("plan", "sync"):
        tables, code = pair.standby.command(word, pair.name)
        assert (tables[pair.name]["state"], code) == ("blocked", 1), word
        assert direct.catalog.load_table(pair.name).metadata_location == before


# --- Nessie. --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nessie():
    with components.Versitygw() as s3, components.Nessie(s3) as nessie:
        yield nessie


class NessiePair:
    """A primary whose warehouse is a folder of a bucket, its copy in another one, and a standby before Nessie."""

    def __init__(self, root, nessie):
        self.nessie, s3 = nessie, nessie.s3
        bucket = s3.folder / "buckets" / s3.bucket
        properties = s3.client_properties()
        self.primary = load_catalog("prod", type="sql", uri=f"sqlite:///{root}/prod.db", warehouse=f"s3://{s3.bucket}/prod", **properties)
        self.copies = Copies(bucket / "prod", bucket / "dr")
        storage = ["storage:", f"  - prefix: s3://{s3.bucket}", f"    endpoint: {s3.endpoint}", f"    region: {s3.region}",
                   f"    access-key-id: {s3.access_key}", f"    secret-access-key: {s3.secret_key}", "    path-style: true"]
        client_config = ["    client-config:", *(f"      {key}: '{value}'" for key, value in properties.items())]
        pairs = [(f"s3://{s3.bucket}/prod", f"s3://{s3.bucket}/dr")]
        self.standby = RestStandby(root / "standby", nessie.uri, pairs, f"s3://{s3.bucket}/overlay", storage, client_config)

    def connect(self):
        self.catalog = load_catalog("dr", type="rest", uri=self.standby.uri, **self.nessie.s3.client_properties())
        # Nessie's answers say to have requests signed, which it does for a table's own location only.
        self.duckdb = engines.DuckDb(self.standby.uri, more=", ACCESS_DELEGATION_MODE 'none'")
        s3 = self.nessie.s3
        self.duckdb.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{s3.access_key}', SECRET '{s3.secret_key}', REGION '{s3.region}', "
                            f"ENDPOINT '{s3.endpoint.removeprefix('http://')}', URL_STYLE 'path', USE_SSL false)")

    def check(self, name):
        """Right after the files have arrived, engines read what the primary's current snapshot has."""
        self.copies.run()
        arrived = self.copies.files()
        primary = self.primary.load_table(name)
        wanted = rows(primary.scan().to_arrow())
        found = self.catalog.load_table(name)
        assert found.schema() == primary.schema()
        assert rows(found.scan().to_arrow()) == wanted
        columns = [field.name for field in primary.schema().fields]
        read = self.duckdb.execute(f"SELECT {', '.join(columns)} FROM {self.duckdb.full(name)}")
        assert sorted(read, key=repr) == sorted((tuple(row.values()) for row in wanted), key=repr)
        assert self.copies.files() == arrived, "nothing is written where the copy is"
        tables, code = self.standby.command("status", name)
        assert (tables[name]["state"], code) == ("level", 0), tables[name]["reason"]
        return tables[name]


def rows(table):
    return sorted(table.to_pylist(), key=repr)


def people(*ids):
    return pyarrow.table({"id": pyarrow.array(ids, pyarrow.int64()), "name": [f"name {id}" for id in ids]})


def test_a_standby_before_nessie_has_the_current_rows_and_says_what_is_lost(nessie, tmp_path):
    pair, name = NessiePair(tmp_path, nessie), "shop.people"
    pair.primary.create_namespace("shop")
    table = pair.primary.create_table(name, people(1).schema)
    table.append(people(1, 2))
    table.append(people(3))
    table.manage_snapshots().create_tag(table.history()[0].snapshot_id, "first").commit()
    pair.copies.run()
    # before anything is done, too
    tables, code = pair.standby.command("plan")
    lost = {"snapshots": 1, "refs": ["first"]}
    assert (tables[name]["action"], tables[name]["history-lost"], code) == ("create", lost, 0)
    assert "1 others and first cannot be read here" in tables[name]["reason"]
    with pair.standby:
        pair.connect()
        assert pair.check(name)["history-lost"] == lost
        table.append(people(4))
        assert pair.check(name)["history-lost"] == {"snapshots": 2, "refs": ["first"]}
        with table.update_schema() as update:
            update.add_column("age", LongType())
            update.rename_column("name", "called")
        pair.check(name)
        table.overwrite(table.scan().to_arrow().slice(0, 1), overwrite_filter=EqualTo("id", 3))
        pair.check(name)
        pair.standby.restart()
        pair.connect()
        table.delete("id = 4")
        with table.update_spec() as update:
            update.add_identity("id")
        with table.transaction() as transaction:
            transaction.set_properties({"note": "for all"})
        table.append(table.scan().to_arrow())
        pair.check(name)
        assert pair.catalog.load_table(name).properties["note"] == "for all"
        table.manage_snapshots().rollback_to_snapshot(table.history()[1].snapshot_id).commit()
        pair.check(name)

        # somebody writes past the standby: what is published stays as it is
        direct = load_catalog("nessie", type="rest", uri=nessie.uri, **nessie.client_properties())
        past = direct.load_table(name)
        past.append(past.scan().to_arrow())
        before = direct.load_table(name).metadata_location
        table.append(people(9).rename_columns(["id", "called"]))
        pair.copies.run()
        tables, code = pair.standby.command("sync", name)
        assert (tables[name]["state"], code) == ("blocked", 1)
        assert "somebody changed it" in tables[name]["reason"]
        assert direct.load_table(name).metadata_location == before
