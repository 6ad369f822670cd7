"""Relocation, seen through engines: golden tables are read at their old place, moved, relocated, and read at the new one.

The old place is gone when the new one is read, so whatever still leads to it fails.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import files
import golden
import pytest
from relocation import Comparison, Move, relocate, run
from sites import METADATA_TABLES, Site, Unreadable, check_rows, read_at_its_old_place, read_metadata_tables, read_rows

TABLES = [name for name, table in golden.TABLES.items() if not table.refused]
REFUSED = [name for name, table in golden.TABLES.items() if table.refused]


@dataclass
class After:
    """The same table at its new place."""

    told: dict
    table: golden.Making
    comparison: Comparison


class Moved:
    """Golden tables whose folder was renamed, and the site at the new place."""

    def __init__(self, root, names, spark, trino_server):
        self.root = root
        self.before, self.failed, self.after = {}, {}, {}
        old, new = root / "prod", root / "dr"
        with Site("prod", old, spark, trino_server) as site:
            for name in names:
                try:
                    self.before[name] = read_at_its_old_place(site, name)
                except Exception as error:  # of one table, which fails that table's tests
                    self.failed[name] = error
        old.rename(new)
        self.move = Move.of_folder(old, new)
        self.site = Site("dr", new, spark, trino_server)

    def table(self, name):
        """The table at the new place, relocated when it is asked for the first time."""
        self.made(name)
        if name not in self.after:
            try:
                self.after[name] = self.relocated(name)
            except Exception as error:
                self.failed[name] = error
                raise
        return self.before[name], self.after[name]

    def made(self, name):
        """The table as it was."""
        if name in self.failed:
            raise self.failed[name]
        return self.before[name]

    def source(self, name):
        return self.move.path(self.before[name].location)

    def relocated(self, name):
        overlay = f"file://{self.root}/overlay/{name}"
        before = self.before[name]
        told = relocate(self.source(name), self.move, overlay, "--path-property", golden.ARCHIVE)
        table = self.site.register(name, told["metadata-location"])
        comparison = Comparison(before.tree, table.tree(), self.move, overlay, [golden.ARCHIVE])
        return After(told, table, comparison)


@pytest.fixture(scope="module")
def moved(request, tmp_path_factory, spark, trino_server):
    """The tables that are asked for, at their new place."""
    trino_server.wait_until_ready()
    ours = [item for item in request.session.items if item.module is request.module and "name" in item.fixturenames]
    asked = {item.callspec.params["name"] for item in ours}
    moved = Moved(tmp_path_factory.mktemp("relocation"), [name for name in golden.TABLES if name in asked], spark, trino_server)
    with moved.site:
        yield moved


@pytest.mark.parametrize("name", TABLES)
def test_files_are_the_same_with_other_paths(moved, name):
    before, after = moved.table(name)
    after.comparison.check()
    tree, told = before.tree, after.told
    rewritten = {it["file_path"] for it in tree.files(files.POSITION_DELETES)}
    counts = {kind: told["files"][kind] for kind in ("manifest-lists", "manifests", "delete-files")}
    assert counts == {"manifest-lists": len(tree.lists), "manifests": len(tree.manifests), "delete-files": len(rewritten)}
    assert (told["unmapped-paths"]["count"], told["snapshots"], told["table-uuid"]) == (0, len(tree.snapshots()), tree.metadata["table-uuid"])


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_anew_is_refused(moved, name):
    moved.made(name)
    overlay = moved.root / "refused" / name
    done = run(moved.source(name), moved.move, f"file://{overlay}")
    assert done.returncode == 1 and golden.TABLES[name].refused in done.stderr, done
    assert not list(overlay.rglob("*.metadata.json")), "nothing is published"


@pytest.mark.parametrize("name", TABLES)
def test_no_file_names_the_old_place(moved, name):
    _, after = moved.table(name)
    assert after.comparison.new.paths_below(str(moved.root / "prod")) == []


@pytest.mark.parametrize("name", TABLES)
def test_an_engine_reads_what_it_read(moved, name, engine_name):
    before, after = moved.table(name)
    reason = golden.TABLES[name].unreadable.get(engine_name)
    if reason == golden.ENDS_THE_PROCESS:
        pytest.skip(f"{engine_name} {reason}")
    was = before.rows[engine_name]
    refused = {version: rows.reason for version, rows in was.items() if isinstance(rows, Unreadable)}
    assert bool(refused) == bool(reason) and all(reason in told for told in refused.values()), f"{engine_name} at the old place: {refused}"
    assert check_rows(was, moved.site.engines[engine_name], after.table) == was.keys()


@pytest.mark.parametrize("name", TABLES)
def test_metadata_tables_say_the_same(moved, name):
    before, after = moved.table(name)
    after.comparison.check()
    found = read_metadata_tables(after.table)
    for kind in METADATA_TABLES:
        was = before.metadata_tables[kind]
        if isinstance(was, Unreadable):
            assert name == "manifests_without_a_list", f"{kind} at the old place: {was.reason}"
        else:
            after.comparison.check_metadata_table(kind, was, found[kind])


@pytest.mark.parametrize("name", ["tags_and_branches"])
def test_only_what_branches_and_tags_lead_to(moved, name):
    before = moved.made(name)
    overlay = f"file://{moved.root}/refs-only/{name}"
    told = relocate(moved.source(name), moved.move, overlay, "--refs-only")
    table = moved.site.register(f"{name}_refs_only", told["metadata-location"])
    tree = table.tree()
    heads = {ref["snapshot-id"] for ref in before.tree.metadata["refs"].values()}
    assert {it["snapshot-id"] for it in tree.snapshots()} == heads
    assert (told["snapshots"], told["snapshots-left-out"]) == (len(heads), len(before.tree.snapshots()) - len(heads))
    assert tree.paths_below(str(moved.root / "prod")) == []
    for engine in moved.site.engines.values():
        check_rows(before.rows[engine.name], engine, table)


@pytest.mark.parametrize("name", ["same_names_in_other_folders"])
def test_a_map_that_turns_the_order_of_paths_round(moved, name):
    before = moved.made(name)
    shutil.copytree(moved.root / "dr" / "other" / "three", moved.root / "zzz")
    move = Move([*moved.move.pairs, (f"{moved.root}/prod/other/three", f"file:{moved.root}/zzz")])
    paths = sorted({row["file_path"] for deletes in before.tree.deletes.values() for row in deletes.rows})
    assert sorted(map(move.path, paths)) != [move.path(path) for path in paths]
    overlay = f"file://{moved.root}/turned/{name}"
    table = moved.site.register(f"{name}_turned", relocate(moved.source(name), move, overlay)["metadata-location"])
    Comparison(before.tree, table.tree(), move, overlay).check()
    for engine in moved.site.engines.values():
        check_rows(before.rows[engine.name], engine, table)


# --- Longer ways. ---------------------------------------------------------------------------------


def test_there_and_back(tmp_path, spark, trino_server):
    names = ["deletes_by_hand_in_parquet", "deletion_vectors", "same_names_in_other_folders"]
    here, there = tmp_path / "here", tmp_path / "there"
    with Site("here", here, spark, trino_server) as site:
        before = {name: read_at_its_old_place(site, name) for name in names}
    here.rename(there)
    away, back = Move.of_folder(here, there), Move.of_folder(there, here)
    told = {name: relocate(away.path(before[name].location), away, f"file://{tmp_path}/away/{name}") for name in names}
    there.rename(here)
    with Site("back", here, spark, trino_server) as site:
        for name in names:
            overlay = f"file://{tmp_path}/back/{name}"
            # What is read lies in the first overlay, which no pair is about.
            returned = relocate(told[name]["metadata-location"], back, overlay, "--read", "source")
            table = site.register(name, returned["metadata-location"])
            tree = table.tree()
            Comparison(before[name].tree, tree, Move([]), overlay).check()
            for folder in (there, tmp_path / "away"):
                assert tree.paths_below(str(folder)) == []
            for engine in site.engines.values():
                check_rows(before[name].rows[engine.name], engine, table)


def test_a_second_relocation_writes_what_is_new_and_life_goes_on(tmp_path, spark, trino_server):
    old, new, overlay = tmp_path / "live", tmp_path / "standby", f"file://{tmp_path}/overlay"
    move = Move.of_folder(old, new)
    with Site("live", old, spark, trino_server) as site:
        table = site.table("deletion_vectors")
        golden.TABLES["deletion_vectors"].make(table)
        first, before = relocated_where_it_lies(table, move, overlay)
        again = relocate(table.tree().location, move, overlay)
        table.insert(30, 40)
        table.delete(5, 35)
        second, after = relocated_where_it_lies(table, move, overlay)
        rows = {engine.name: read_rows(engine, table) for engine in site.engines.values()}
    assert first["files"]["skipped"] == 0 and first["files"]["written"] == len(before)
    assert (again["metadata-location"], again["files"]["written"]) == (first["metadata-location"], 0)
    assert second["files"]["written"] == len(after - before) < len(before)

    old.rename(new)
    with Site("standby", new, spark, trino_server) as site:
        table = site.register("deletion_vectors", second["metadata-location"])
        assert table.tree().paths_below(str(old)) == []
        for engine in site.engines.values():
            check_rows(rows[engine.name], engine, table)
        # Deletes at the new place go on from those that were relocated, and what expires there takes only its own with it.
        left = table.ids()
        table.delete(6, 36)
        table.sql("INSERT INTO {table} VALUES (40, 'name-40', 'even')")
        table.expire_snapshots()
        left = sorted({*left, 40} - {6, 36})
        assert table.ids() == left
        for name in ("pyiceberg", "duckdb"):
            (found,) = read_rows(site.engines[name], table).values()
            assert not isinstance(found, Unreadable) and len(found) == len(left), f"{name} reads what Spark wrote on"


def relocated_where_it_lies(table, move, overlay):
    """What the command says, and the files that relocation has written until then."""
    told = relocate(table.tree().location, move, overlay)
    written = {str(path) for path in Path(files.local(overlay)).rglob("*") if path.is_file()}
    return told, written
