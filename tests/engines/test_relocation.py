"""Relocation, seen through engines: golden tables are read at their old place, moved, relocated, and read at the new one.

The old place is gone when the new one is read, so whatever still leads to it fails.
"""

import shutil
from dataclasses import dataclass, field

import files
import golden
import pytest
from relocation import Comparison, Move, relocate
from sites import METADATA_TABLES, Site, Unreadable, read_metadata_tables, read_rows

TABLES = list(golden.TABLES)
ARCHIVE = "acme.archive"  # a property of one of the golden tables


@dataclass
class Before:
    """A golden table at its old place: where its metadata is, its files, and what the engines read."""

    location: str
    tree: files.Tree
    rows: dict
    metadata_tables: dict


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
                    self.before[name] = made(site, name)
                except Exception as error:  # of one table, which fails that table's tests
                    self.failed[name] = error
        old.rename(new)
        self.move = Move.of_folder(old, new)
        self.site = Site("dr", new, spark, trino_server)

    def table(self, name):
        """The table at the new place, relocated when it is asked for the first time."""
        if name in self.failed:
            raise self.failed[name]
        if name not in self.after:
            try:
                self.after[name] = self.relocated(name)
            except Exception as error:
                self.failed[name] = error
                raise
        return self.before[name], self.after[name]

    def relocated(self, name):
        overlay = f"file://{self.root}/overlay/{name}"
        before = self.before[name]
        told = relocate(self.move.path(before.location), self.move, overlay, "--path-property", ARCHIVE)
        table = self.site.register(name, told["metadata-location"])
        comparison = Comparison(before.tree, table.tree(), self.move, overlay, [ARCHIVE])
        return After(told, table, comparison)


def made(site, name):
    table = site.table(name)
    golden.TABLES[name].make(table)
    unreadable = golden.TABLES[name].unreadable
    rows = {engine.name: read_rows(engine, table) for engine in site.engines.values() if unreadable.get(engine.name) != golden.ENDS_THE_PROCESS}
    return Before(table.rest()["metadata-location"], table.tree(), rows, read_metadata_tables(table))


@pytest.fixture(scope="module")
def moved(request, tmp_path_factory, spark, trino_server):
    """The tables that are asked for, at their new place."""
    trino_server.wait_until_ready()
    asked = {item.callspec.params["name"] for item in request.session.items if item.module is request.module and "name" in item.fixturenames}
    moved = Moved(tmp_path_factory.mktemp("relocation"), [name for name in TABLES if name in asked], spark, trino_server)
    with moved.site:
        yield moved


@pytest.mark.parametrize("name", TABLES)
def test_files_are_the_same_with_other_paths(moved, name):
    _, after = moved.table(name)
    after.comparison.check()


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
    now = read_rows(moved.site.engines[engine_name], after.table)
    for version, rows in was.items():
        if version not in refused:
            assert now[version] == rows, f"{engine_name} reads {name} at {version}"


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
