"""`make soak`: a primary that is written to by real engines, a replicator without manners, and a standby that is read all the time.

Prints its seed and, at the end, what it measured. Ends with 1 when anything that was read breaks a rule of `history.py`, and then keeps
its folder; with 2 when the harness itself failed.
"""

import argparse
import multiprocessing
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PATHS = [str(HERE), str(HERE.parent / "components"), str(HERE.parent / "engines")]
sys.path[:0] = PATHS

import components  # noqa: E402  (the paths are set just above)
import history  # noqa: E402
import plan as plans  # noqa: E402
import process  # noqa: E402
import readers  # noqa: E402
import replicator  # noqa: E402
import report  # noqa: E402
import writers  # noqa: E402

MAX_STALENESS_S, SETTLE_S, INTERVAL_S, WAIT_S = 2, 2, 5, 10
PYICEBERG_WRITERS = PYICEBERG_READERS = 2
# Between two operations of one writer.
PAUSE_S = 0.1
# What is judged before the end is older than this: its writer may not have reported it yet.
REPORTED_WITHIN_S = 30
CHECK_EVERY_S = 20
DELIVERED_WITHIN_S = 180
REACHED_WITHIN_S, PLANTED_REACHED_WITHIN_S = 60, 10
PLANTED_STATES = 3
SHOWN_MAX = 12


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=1200, help="how long is written")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--tables", type=int, default=50)
    parser.add_argument("--without-spark", action="store_true")
    parser.add_argument("--recheck", help="the standby's `recheck`; left out, the server's own")
    parser.add_argument("--folder", type=Path, help="where a folder for the run is made")
    parser.add_argument("--plant", nargs="*", choices=plans.PLANTS, default=(), help="violations that have to be found")
    return parser.parse_args()


# --- The two sites. -------------------------------------------------------------------------------


def primary_config(folder, port):
    return (f"listen: 127.0.0.1:{port}\ncatalogs:\n  main:\n    embedded:\n"
            f"      database: sqlite:{folder}/primary.db\n      warehouse: file://{folder}/prod\n")


def standby_config(folder, port, recheck):
    pairs = "".join(f"        - {{ from: '{scheme}{folder}/prod', to: '{scheme}{folder}/copy' }}\n" for scheme in ("file://", "file:", ""))
    text = f"listen: 127.0.0.1:{port}\ncatalogs:\n"
    for name, confirm in ((plans.NEWEST, "trust-newest"), (plans.SUCCESSOR, "successor")):
        text += (
            f"  {name}:\n    embedded:\n      database: sqlite:{folder}/{name}.db\n      warehouse: file://{folder}/own-{name}\n"
            f"    replica:\n      map:\n{pairs}      overlay: file://{folder}/overlay-{name}\n      confirm: {confirm}\n"
            f"      settle: {SETTLE_S}s\n      max-staleness: {MAX_STALENESS_S}s\n      wait: {WAIT_S}s\n      interval: {INTERVAL_S}s\n"
        )
        text += f"      recheck: {recheck}\n" if recheck else ""
        text += f"      exclude: '{plans.FAILING}.*'\n" if name == plans.NEWEST else ""
    return text


class Site(components.Lifeboat):
    """A server with any number of catalogs; its log is in the run's folder in the end."""

    def __init__(self, folder, name, config):
        self.kept_log = folder / f"{name}.log"
        path = folder / f"{name}.yaml"
        path.write_text(config)
        super().__init__("--config", str(path))

    def is_ready(self):
        return components.http("GET", f"{self.uri}/health/ready")[0] == 200

    def stop(self):
        if self.log.exists():
            shutil.copy(self.log, self.kept_log)
        super().stop()


# --- The run. -------------------------------------------------------------------------------------


class Run:
    """Everything of one run: its processes, and what they report."""

    def __init__(self, plan, standby):
        self.plan, self.standby = plan, standby
        self.context = multiprocessing.get_context("spawn")
        self.events = self.context.Queue()
        self.stop, self.finishing = self.context.Event(), self.context.Event()
        self.history = history.History({table.name: table.mode for table in plan.tables})
        self.told, self.ended, self.crashed = Counter(), set(), []
        self.processes = {}
        self.violations, self.not_reached, self.shown, self.checked_at = [], [], set(), time.monotonic()
        self.reached_within = None
        self.left_out = 0

    def begin(self, kind, name, *arguments):
        given = (kind, name, self.plan, self.events, self.stop, *arguments)
        started = self.context.Process(target=process.main, args=given, name=name, daemon=True)
        started.start()
        self.processes[name] = started

    def start(self):
        by_engine = {engine: [table for table in self.plan.tables if table.engine == engine] for engine in ("pyiceberg", "spark")}
        for at in range(PYICEBERG_WRITERS):
            self.begin(writers.Writing, f"writer {at}", by_engine["pyiceberg"][at::PYICEBERG_WRITERS], PAUSE_S)
        if by_engine["spark"]:
            self.begin(writers.SparkWriting, "writer spark", by_engine["spark"], PAUSE_S)
        self.begin(replicator.Replicator, "replicator", self.finishing)
        for at in range(PYICEBERG_READERS):
            self.begin(readers.PyIcebergReading, f"reader {at}", self.plan.tables)
        self.begin(readers.DuckDbReading, "reader duckdb", self.plan.tables)

    def take(self, seconds):
        """What is reported within these seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                self.add(self.events.get(timeout=left))
            except queue.Empty:
                return

    def add(self, event):
        match event:
            case process.Crashed():
                self.crashed.append(event)
            case process.Ended():
                self.ended.add(event.process)
            case process.Told():
                self.told[event.process, event.what] += 1
            case history.State() if self.leaves_out(event):
                self.left_out += 1
            case _:
                self.history.add(event)

    def leaves_out(self, state):
        """A planted violation: some states are not taken down."""
        return self.plan.is_planted(plans.UNRECORDED, state.table) and self.left_out < PLANTED_STATES and state.count > 0

    def wait(self, done, seconds, what):
        until = time.monotonic() + seconds
        while not done():
            self.take(1.0)
            self.look()
            if time.monotonic() > until:
                raise TimeoutError(f"after {seconds:.0f} s {what}")

    def look(self):
        """Fails when the harness or the server did, and judges now and then what was reported."""
        if self.crashed:
            raise RuntimeError(f"{self.crashed[0].process} failed:\n{self.crashed[0].text}")
        died = [name for name, it in self.processes.items() if it.exitcode not in (None, 0)]
        if died:
            raise RuntimeError(f"{died} ended by themselves")
        if self.standby.process.poll() is not None:
            raise RuntimeError(f"the standby ended with {self.standby.process.returncode}")
        if time.monotonic() - self.checked_at > CHECK_EVERY_S:
            self.check(time.monotonic() - REPORTED_WITHIN_S)
            self.checked_at = time.monotonic()
            print(self.progress(), flush=True)

    def check(self, *until):
        """Judges everything anew: what is reported late changes what was right."""
        self.violations = [*history.check(self.history, MAX_STALENESS_S, *until), *self.not_reached]
        for violation in self.violations:
            if violation not in self.shown and len(self.shown) < SHOWN_MAX:
                self.shown.add(violation)
                print(f"VIOLATION {violation.kind}: {violation.catalog} {violation.table}: {violation.text}", flush=True)

    def progress(self):
        reads = sum(map(len, self.history.reads.values()))
        failures = Counter(it.what for failures in self.history.failures.values() for it in failures)
        commits = sum(map(len, self.history.states.values()))
        return (f"{self.plan.ends - time.monotonic():6.0f} s left, {commits} commits, {reads} reads, {failures['unavailable']} 503s, "
                f"{failures['missing']} missed files, {len(self.violations)} violations")

    # The end.

    def finish(self):
        """Writers, then replicator; then every table reaches its newest state; then readers."""
        writing = [name for name in self.processes if name.startswith("writer")]
        self.wait(lambda: self.ended.issuperset(writing), max(self.plan.ends - time.monotonic(), 0) + 120, "writers are still at work")
        self.finishing.set()
        self.wait(lambda: "replicator" in self.ended, DELIVERED_WITHIN_S, "not all is delivered")
        delivered = time.monotonic()
        self.reach(delivered)
        self.stop.set()
        self.wait(lambda: self.ended.issuperset(self.processes), 60, "readers are still at work")
        self.take(0.5)
        self.check()

    def reach(self, delivered):
        """Asks for each table until it is where it has to be."""
        reader = readers.PyIcebergReading("last reader", self.plan, self.events, self.stop, self.plan.tables)
        reader.connect()
        waiting = set(reader.pairs)
        within = PLANTED_REACHED_WITHIN_S if self.plan.plants else REACHED_WITHIN_S
        while waiting and time.monotonic() - delivered < within:
            for catalog, table in sorted(waiting, key=lambda pair: (pair[0], pair[1].name)):
                reader.read(catalog, table)
            self.take(0.5)
            self.look()
            waiting = {(catalog, table) for catalog, table in waiting if not self.is_reached(catalog, table.name, delivered)}
        if not waiting:
            self.reached_within = time.monotonic() - delivered
        for catalog, table in waiting:
            wanted = self.history.newest(table.name, catalog == plans.SUCCESSOR)
            last = max(self.history.reads[catalog, table.name], key=lambda it: it.began, default=None)
            self.not_reached.append(history.Violation(
                "not reached", catalog, table.name, reader.name, time.monotonic(), f"{last and last.file} instead of {wanted.file}",
                last and last.digest, wanted.digest))

    def is_reached(self, catalog, table, delivered):
        wanted = self.history.newest(table, catalog == plans.SUCCESSOR)
        # one that had a single commit is not confirmed by any
        return wanted is None or any(read.began > delivered and read.file == wanted.file for read in self.history.reads[catalog, table])


# --- From its beginning to its end. ----------------------------------------------------------------


def program():
    """The binary under test: what the environment names, or a release build."""
    if not os.environ.get("LIFEBOAT_BIN"):
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
        os.environ["LIFEBOAT_BIN"] = str(ROOT / "target" / "release" / "lifeboat")
    return components.lifeboat_program()


def play(options, folder):
    """One run in a folder. Returns the exit code."""
    for name in ("prod", "copy", "rows"):
        (folder / name).mkdir()
    os.environ["PYTHONPATH"] = os.pathsep.join(PATHS)  # for the processes
    os.environ["PYTHONWARNINGS"] = "ignore"
    primary = Site(folder, "primary", primary_config(folder, components.free_port()))
    standby = Site(folder, "standby", standby_config(folder, components.free_port(), options.recheck))
    with primary, standby:
        tables = plans.tables(options.tables, not options.without_spark)
        ends = time.monotonic() + options.seconds
        plan = plans.Plan(options.seed, str(folder), tables, primary.uri, standby.uri, MAX_STALENESS_S, SETTLE_S, ends,
                          os.getpid(), tuple(options.plant))
        make_namespaces(plan)
        run = Run(plan, standby)
        failed = None
        try:
            run.start()
            run.finish()
            unlike = replicator.differences(plan.prod, plan.copy)
            if unlike and plans.LOST not in options.plant:
                raise RuntimeError(f"the copy is not the primary's storage in the end: {unlike[:5]}")
        except Exception as error:
            failed = error
            run.check()
        finally:
            run.stop.set()
            for started in run.processes.values():
                started.join(10)
                if started.is_alive():
                    started.kill()
        peak = report.peak_memory_kib(standby.process.pid)
    if run.violations:
        report.tell(run, standby.kept_log)
    print(f"\n{report.summary(run, options.seconds, peak)}")
    if failed is not None:
        print(f"\nthe run failed: {failed}", file=sys.stderr)
    return 1 if run.violations else 2 if failed is not None else 0


def make_namespaces(plan):
    from pyiceberg.catalog import load_catalog

    catalog = load_catalog("primary", type="rest", uri=plan.primary)
    for namespace in sorted({table.namespace for table in plan.tables}):
        catalog.create_namespace_if_not_exists(tuple(namespace.split(".")))


def main():
    given = options()
    print(f"soak: seed {given.seed}, {given.seconds} s, {given.tables} tables, {program()}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="lifeboat-soak-", dir=given.folder)).resolve()
    code = play(given, folder)
    if code or os.environ.get("LIFEBOAT_KEEP"):
        print(f"kept: {folder} (again with SEED={given.seed})")
    else:
        replicator.remove(folder)
    return code


if __name__ == "__main__":
    sys.exit(main())
