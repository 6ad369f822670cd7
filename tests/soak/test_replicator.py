"""The replicator delivers everything, and deletions in the order that a table is planned for."""

import os
import queue
import threading
import time

import history
import plan as plans
import pytest
import replicator

FOLDER = "sales/t00-0f8fad5bd9cb469fa16570867728950e"


@pytest.fixture
def quick(monkeypatch):
    for name in ("SPREAD", "SECOND_HALF", "LATE"):
        monkeypatch.setattr(replicator, name, (0.0, 0.1))
    monkeypatch.setattr(replicator, "BETWEEN_PASSES", dict.fromkeys(history.MODES, (0.0, 0.1)))
    monkeypatch.setattr(replicator, "READS_LAST_S", 0.2)
    monkeypatch.setattr(replicator, "HALVES", 0.7)


def deliver(folder, mode, tool):
    """Runs until all is delivered. Returns what was reported."""
    table = plans.TablePlan("sales.t00", "pyiceberg", 2, mode, tool, False, False)
    plan = plans.Plan(1, str(folder), (table,), "", "", 0.0, 0.0, time.monotonic(), os.getppid())
    events, stop, finishing = queue.Queue(), threading.Event(), threading.Event()
    finishing.set()
    replicator.Replicator("replicator", plan, events, stop, finishing).run()
    return list(events.queue)


@pytest.mark.parametrize("tool", [plans.INPLACE, plans.RENAME])
@pytest.mark.parametrize("mode", history.MODES)
def test_deletions_come_when_they_are_planned(tmp_path, quick, mode, tool):
    table = tmp_path / "prod" / FOLDER
    for name in ("metadata/00000-a.metadata.json", "metadata/m0.avro", "data/a.parquet"):
        (table / name).parent.mkdir(parents=True, exist_ok=True)
        (table / name).write_text(name)
    (event,) = deliver(tmp_path, mode, tool)
    assert isinstance(event, history.Arrived) and event.version == 0
    assert replicator.differences(tmp_path / "prod", tmp_path / "copy") == []

    (table / "data/a.parquet").unlink()
    (table / "data/b.parquet").write_text("b")
    (table / "metadata/00001-b.metadata.json").write_text("more")
    events = deliver(tmp_path, mode, tool)
    assert [type(event) for event in events] == {
        history.FIRST: [history.Deleted, history.Arrived],
        history.PROMPT: [history.Arrived, history.Deleted],
        history.LAST: [history.Arrived, history.Deleted],
    }[mode]
    if mode == history.LAST:
        assert events[1].at - events[0].at >= replicator.READS_LAST_S
    (deleted,) = (event.path for event in events if isinstance(event, history.Deleted))
    assert deleted == str(tmp_path / "copy" / FOLDER / "data/a.parquet")
    assert replicator.differences(tmp_path / "prod", tmp_path / "copy") == []


def test_a_file_that_vanishes_before_it_is_copied_puts_deletions_off(tmp_path, quick):
    table, copy = tmp_path / "prod" / FOLDER, tmp_path / "copy" / FOLDER
    for name in ("metadata/00000-a.metadata.json", "data/new.parquet"):
        (table / name).parent.mkdir(parents=True, exist_ok=True)
        (table / name).write_text(name)
    (copy / "data").mkdir(parents=True)
    (copy / "data/gone.parquet").write_text("gone")
    plan = plans.Plan(1, str(tmp_path), (plans.TablePlan("sales.t00", "pyiceberg", 2, history.LAST, plans.RENAME, False, False),),
                      "", "", 0.0, 0.0, time.monotonic(), os.getppid())
    one = replicator.Replicator("replicator", plan, queue.Queue(), threading.Event(), threading.Event())
    one.find()
    (on_its_way,) = one.tables.values()
    one.begin(on_its_way)
    (table / "data/new.parquet").unlink()
    one.copy(on_its_way, "metadata/00000-a.metadata.json", False, 0)
    one.copy(on_its_way, "data/new.parquet", False, 0)
    assert on_its_way.put_off == ["data/gone.parquet"]
    assert one.events.empty() and (copy / "data/gone.parquet").exists()


def test_a_tables_name_is_found_by_its_folder():
    assert plans.table_of_folder(FOLDER) == "sales.t00"
    assert plans.table_of_folder("deep/er/t00-0f8fad5b-d9cb-469f-a165-70867728950e") == "deep.er.t00"
