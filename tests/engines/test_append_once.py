"""Every file once, with engines that write the same table meanwhile, replace what was appended and expire its snapshots; before an upstream, too."""

import json
import os
import subprocess
import threading

import pyarrow.parquet
import pytest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.schema import NestedField, Schema
from pyiceberg.types import LongType, StringType

import components
import engines

TARGETS = ("embedded", "postgres", "proxy")
FILES_PER_COMMIT = 4
FILES = 60
ENGINE_COMMITS = 12
COMMAND_TIMEOUT_S = 120


class Site:
    """A catalog whose `n.t` files land for; `command` works on it as a second server would."""

    def __init__(self, kind, root, stack):
        self.kind, self.root = kind, root
        self.landing = root / "landing"
        self.landing.mkdir()
        self.server = components.Lifeboat()
        database = stack.enter_context(components.Postgres()).url if kind == "postgres" else f"sqlite:{root}/catalog.db"
        if kind == "proxy":
            self.fixture = stack.enter_context(components.RestFixture())
            source = f"upstream: {{ uri: '{self.fixture.uri}' }}"
            roots, state = [root, self.fixture.folder], f"state: {{ database: '{database}' }}\n"
        else:
            source = f"embedded: {{ database: '{database}', warehouse: 'file://{root}/lake' }}"
            roots, state = [root], ""
        self.config = root / "lifeboat.yaml"
        self.config.write_text(
            f"listen: 127.0.0.1:{self.server.port}\nstorage:\n" + "".join(f"  - {{ prefix: 'file://{place}' }}\n" for place in roots) +
            f"{state}catalogs:\n  main:\n    {source}\n    append:\n      max-staleness: 0s\n      wait: 60s\n      tables:\n"
            f"        n.t: {{ from: '{self.landing}', settle: 0s, evolve: true, files-per-commit: {FILES_PER_COMMIT} }}\n")
        self.server.listen_on(["--config", str(self.config)])
        stack.enter_context(self.server)
        self.catalog = engines.PyIceberg(self.server.uri).catalog
        self.catalog.create_namespace("n")
        fields = NestedField(1, "id", LongType(), required=False), NestedField(2, "who", StringType(), required=False)
        self.catalog.create_table("n.t", Schema(*fields))

    def land(self, begin, end):
        for number in range(begin, end):
            unfinished = self.landing / f".{number}"
            pyarrow.parquet.write_table(rows([number], "landed"), unfinished)
            os.rename(unfinished, self.landing / f"{number:05}.parquet")

    def append(self):
        command = [components.lifeboat_program(), "append", "n.t", "--config", self.config, "--json"]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        (report,) = json.loads(done.stdout)["appends"]
        return report

    def load(self):
        """As any client: what landed by now is in it."""
        return self.catalog.load_table("n.t")

    def ids(self):
        return sorted(self.load().scan().to_arrow()["id"].to_pylist())


def rows(ids, who):
    return pyarrow.table({"id": pyarrow.array(ids, pyarrow.int64()), "who": [who] * len(ids)})


@pytest.fixture(params=TARGETS)
def site(request, tmp_path):
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield Site(request.param, tmp_path, stack)


def test_files_are_appended_once_while_engines_commit(site):
    """A server that looks whenever somebody loads, the command beside it, and PyIceberg's own appends, all at once."""
    failed = []

    def commits():
        done = 0
        try:
            while done < ENGINE_COMMITS:
                try:
                    site.load().append(rows([1000 + done], "engine"))
                    done += 1
                except CommitFailedException:
                    pass  # the others were quicker
        except BaseException as error:
            failed.append(error)

    writer = threading.Thread(target=commits)
    writer.start()
    for begin in range(0, FILES, 20):
        site.land(begin, begin + 20)
        assert site.append()["left-out-files"] == 0
    writer.join()
    assert not failed, failed
    assert site.append()["appended-files"] == 0
    assert site.ids() == [*range(FILES), *range(1000, 1000 + ENGINE_COMMITS)]


def test_what_an_engine_replaced_does_not_come_back_when_its_snapshots_have_expired(site):
    site.land(0, 10)
    assert site.append()["appended-files"] == 10
    table = site.load()
    table.overwrite(rows([100, 101], "engine"))
    table = site.load()
    appended = [snapshot.snapshot_id for snapshot in table.snapshots()][:-1]
    table.maintenance.expire_snapshots().by_ids(appended).commit()
    assert len(site.load().snapshots()) == 1
    report = site.append()
    assert (report["appended-files"], report["left-out-files"]) == (0, 0), report
    assert site.ids() == [100, 101]
    # and what lands now does
    site.land(10, 12)
    site.append()
    assert site.ids() == [10, 11, 100, 101]
