"""Copies the primary's warehouse in no order: late, in halves, with deletions last, right behind all that is new, or first.

It works in passes, each over one table. A pass lists what is to be deleted here, then what is new there, so that all commits that led to
a deletion are in what is copied; each file then has a time of its own. Deletions that come last come only when all that was listed has
arrived: what vanished from the primary meanwhile puts them off to the next pass.
"""

import heapq
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import history
import plan as plans
from process import Process

# Seconds, each a range.
SPREAD = (0.2, 3.0)  # of one pass's files
SECOND_HALF = (0.1, 2.0)
LATE = (1.0, 5.0)
BETWEEN_PASSES = {history.LAST: (0.2, 2.0), history.PROMPT: (0.2, 2.0), history.FIRST: (0.5, 12.0)}  # what breaks takes several commits
# How often.
HALVES, LATES = 0.3, 0.05
# Beyond what the standby may take: the time that a reader may take for its files.
READS_LAST_S = 8.0

FILES_A_SECOND_MAX = 400


def listing(folder):
    """The files below a folder with their sizes, without what is being renamed here. What vanishes meanwhile is left out."""
    found, waiting = {}, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        waiting.append(entry.path)
                    elif not entry.name.endswith(".part"):
                        found[os.path.relpath(entry.path, folder)] = entry.stat().st_size
        except FileNotFoundError:
            pass
    return found


@dataclass
class Pass:
    """One pass over one table."""

    number: int
    gone: list
    waiting: set
    newest: int
    is_whole: bool = True


@dataclass
class Table:
    """One table's folder, on its way."""

    plan: plans.TablePlan
    folder: Path  # below the warehouse
    passes: int = 0
    now: Pass | None = None
    put_off: list = field(default_factory=list)


class Replicator(Process):
    """Runs until it is told to stop and nothing is left to do; `finishing` says that the primary has come to its end."""

    def __init__(self, name, plan, events, stop, finishing):
        super().__init__(name, plan, events, stop)
        self.finishing = finishing
        self.tables, self.due, self.turn = {}, [], 0
        self.plans = {table.name: table for table in plan.tables}
        self.random = plan.random(name)
        self.finished = set()
        # a standby looks at least this often, and believes what it has seen for so long
        self.last_delay = plan.settle + 2 * plan.max_staleness + READS_LAST_S

    def run(self):
        found_at = 0.0
        while not self.stopped:
            now = time.monotonic()
            if now - found_at > 1.0:
                self.find()
                found_at = now
            if self.due and self.due[0][0] <= now:
                _, _, step, *arguments = heapq.heappop(self.due)
                step(*arguments)
                time.sleep(1 / FILES_A_SECOND_MAX)
            elif self.tables and self.finishing.is_set() and self.finished == set(self.tables):
                return
            else:
                time.sleep(0.01)

    def after(self, seconds, step, *arguments):
        self.turn += 1
        heapq.heappush(self.due, (time.monotonic() + seconds, self.turn, step, *arguments))

    def some(self, seconds):
        # what is left at the end is not drawn out
        return self.random.uniform(*seconds) * (0.3 if self.finishing.is_set() else 1)

    def find(self):
        for metadata in self.plan.prod.rglob("metadata"):
            folder = metadata.parent.relative_to(self.plan.prod)
            table = self.plans.get(plans.table_of_folder(folder))
            if table and folder not in self.tables:
                self.tables[folder] = Table(table, folder)
                self.after(self.some(BETWEEN_PASSES[table.mode]), self.begin, self.tables[folder])

    # One pass.

    def begin(self, table):
        source, target = self.plan.prod / table.folder, self.plan.copy / table.folder
        was_finishing = self.finishing.is_set()
        here, there = listing(target), listing(source)
        gone = sorted({*table.put_off, *(path for path in here if path not in there)} & set(here))
        there = listing(source)
        new = [path for path in there if here.get(path) != there[path]]
        # by role and number, which a seed repeats, and not by the ids in names
        new.sort(key=lambda path: (os.path.dirname(path), path.rpartition(".")[2], age(source / path)))
        table.passes += 1
        table.put_off = []
        numbers = [history.version(os.path.basename(path)) for path in there if path.endswith(".metadata.json")]
        table.now = Pass(table.passes, gone, set(new), max(numbers, default=-1))
        if not new and not gone:
            if was_finishing:
                self.plant_loss(table)
                self.finished.add(table.folder)
                return
            self.after(self.some(BETWEEN_PASSES[table.plan.mode]), self.begin, table)
            return
        if table.plan.mode == history.FIRST:
            self.delete(table, gone)
        random = self.plan.random(table.plan.name, table.passes)
        random.shuffle(new)
        spread = self.some(SPREAD)
        for path in new:
            at = random.uniform(0, spread) + (random.uniform(*LATE) if random.random() < LATES else 0)
            self.after(at, self.copy, table, path, random.random() < HALVES, random.uniform(*SECOND_HALF))
        if not new:
            self.arrived(table)

    def copy(self, table, path, in_halves, pause):
        source, target = self.plan.prod / table.folder / path, self.plan.copy / table.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            content = source.read_bytes()
        except FileNotFoundError:
            table.now.is_whole = False
            return self.done(table, path)
        place = target if table.plan.tool == plans.INPLACE else target.with_name(f".{target.name}.part")
        if in_halves:
            place.write_bytes(content[: len(content) // 2])
            self.after(pause, self.copy_rest, table, path, place, content)
        else:
            self.copy_rest(table, path, place, content)

    def copy_rest(self, table, path, place, content):
        content = self.plant_corruption(table, path, content)
        with open(place, "ab") as file:
            file.write(content[file.tell():])
        target = self.plan.copy / table.folder / path
        if place != target:
            os.rename(place, target)
        self.done(table, path)

    def done(self, table, path):
        table.now.waiting.discard(path)
        if not table.now.waiting:
            self.arrived(table)

    def arrived(self, table):
        ended, mode = table.now, table.plan.mode
        if ended.is_whole:
            self.report(history.Arrived(table.plan.name, ended.newest, time.monotonic()))
        delay = 0.0
        if mode != history.FIRST:
            if not ended.is_whole:
                table.put_off = ended.gone
            elif ended.gone:
                delay = self.last_delay if mode == history.LAST else 0.0
                self.after(delay, self.delete, table, ended.gone)
        self.after(delay + self.some(BETWEEN_PASSES[table.plan.mode]), self.begin, table)

    def delete(self, table, paths):
        for path in paths:
            target = self.plan.copy / table.folder / path
            target.unlink(missing_ok=True)
            self.report(history.Deleted(str(target), time.monotonic()))

    # Planted violations: the harness has to find them.

    def plant_corruption(self, table, path, content):
        if self.plan.is_planted(plans.CORRUPT, table.plan.name) and path.endswith(".parquet"):
            return content.replace(b"label:", b"liber:")
        return content

    def plant_loss(self, table):
        if self.plan.is_planted(plans.LOST, table.plan.name):
            for data in (self.plan.copy / table.folder / "data").rglob("*.parquet"):
                data.unlink()


def age(path):
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def differences(source, target):
    """What is not the same in two trees, by size: nothing when all is delivered and nothing else was written."""
    there, here = listing(source), listing(target)
    return sorted(path for path in {*there, *here} if there.get(path) != here.get(path))


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)
