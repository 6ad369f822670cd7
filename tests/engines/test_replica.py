"""A standby, seen through engines: golden tables are read at the primary, which then is gone, and at the standby, where only their files have arrived."""

import json
import subprocess

import components
import golden
import pytest
from relocation import Move
from sites import Site, Unreadable, check_rows, read_at_its_old_place

TABLES = ["version_1", "position_deletes_of_files", "deletion_vectors", "partition_evolution", "tags_and_branches", "statistics",
          "written_by_pyiceberg", "written_by_duckdb", "written_by_trino"]
WRITES = {
    "spark": ["INSERT INTO {full} SELECT * FROM {full}", "DELETE FROM {full} WHERE true", "DROP TABLE {full}",
              "ALTER TABLE {full} SET TBLPROPERTIES ('a' = 'b')",
              "CALL {catalog}.system.expire_snapshots(table => '{name}', older_than => TIMESTAMP '2100-01-01 00:00:00')",
              "CALL {catalog}.system.remove_orphan_files(table => '{name}')"],
    "trino": ["INSERT INTO {full} SELECT * FROM {full}", "DELETE FROM {full} WHERE true", "DROP TABLE {full}",
              "ALTER TABLE {full} EXECUTE expire_snapshots(retention_threshold => '7d')"],
}


class Pair:
    """What a primary was, and the standby that is left."""

    def __init__(self, root, spark, trino_server):
        old, self.copy = root / "prod", root / "dr"
        with Site("primary", old, spark, trino_server) as site:
            self.before = {name: read_at_its_old_place(site, name) for name in TABLES}
        old.rename(self.copy)
        pairs = Move.of_folder(old, self.copy).pairs
        lines = ["replica:", "  map:", *(f"    - {{ from: '{source}', to: '{target}' }}" for source, target in pairs),
                 f"  overlay: file://{root}/overlay", "  confirm: trust-newest", "  settle: 0s", "  max-staleness: 0s", "  wait: 60s"]
        self.standby = Site("follower", root / "own", spark, trino_server, lines)
        self.config = root / "follower.yaml"

    def files(self):
        return {path: path.stat().st_size for path in self.copy.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pair(tmp_path_factory, spark, trino_server):
    trino_server.wait_until_ready()
    pair = Pair(tmp_path_factory.mktemp("replica"), spark, trino_server)
    with pair.standby:
        yield pair


def test_engines_read_at_the_standby_what_they_read_at_the_primary(pair, engine_name):
    arrived = pair.files()
    for name in TABLES:
        was = pair.before[name].rows[engine_name]
        found = check_rows(was, pair.standby.engines[engine_name], pair.standby.table(name))
        assert found == was.keys(), f"{engine_name} finds other versions of {name}"
        assert any(not isinstance(rows, Unreadable) for rows in was.values())
    assert pair.files() == arrived, "nothing is written where the copy is"


def test_what_engines_write_changes_nothing(pair):
    name = "version_1"
    table, arrived = pair.standby.table(name), pair.files()
    before = table.rest()
    for engine_name, statements in WRITES.items():
        engine = pair.standby.engines[engine_name]
        for statement in statements:
            sql = statement.format(full=engine.full(name), catalog=engine.catalog, name=f"{golden.NAMESPACE}.{name}")
            with pytest.raises(Exception):
                engine.execute(sql)
            assert pair.files() == arrived, sql
            assert table.rest() == before, sql


def test_the_command_says_that_all_is_level(pair):
    command = [components.lifeboat_program(), "status", "--config", pair.config, "--json"]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    tables = json.loads(done.stdout)["tables"]
    assert {it["table"]: it["state"] for it in tables} == {f"{golden.NAMESPACE}.{name}": "level" for name in TABLES}
    assert done.returncode == 0
