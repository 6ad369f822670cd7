"""`make bench`, its fourth part: what it costs to append data files that landed, and calls of writers.

Calls: eight writers that append one file with each call, beside eight that commit the standard way to the same catalog in the same run; of PyIceberg's
`add_files` and of bare REST commits, which write a manifest and a list that are copies, the quicker is the rival.

Landed files: hard links of small Parquet files under many names. A first look is a process that finds no ledger (its rows are deleted before), later
ones are processes and a server that have one; process start counts. PyIceberg's `add_files` runs in the same process all the time, in turn with
them. Requests are what a server counts. Figures are printed with the row's aim; nothing is hidden when one is missed, and then the exit code is 1.

The environment can narrow a run: `ONLY=calls` or `ONLY=landed`, `CALLS=500` (of each writer), `SECONDS_EACH=60` (for each rival), `FILES=600000` (tracked),
`ROUNDS=3`, `LIFEBOAT_BENCH_BIN` (a binary that is already built).
"""

import http.client
import json
import multiprocessing
import os
import pathlib
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import relocation
import run

import components  # `run` sets the path

ONLY = os.environ.get("ONLY")
WRITERS = 8
CALLS = int(os.environ.get("CALLS", "500"))
RIVAL_SECONDS = int(os.environ.get("SECONDS_EACH", "60"))
TRACKED = int(os.environ.get("FILES", "600000"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
NEW = 100

CALLS_RATIO_MIN = 5
FIRST_RATIO_MIN = 5
LATER_RATIO_MIN = 20
REQUESTS_MAX = 3
MEMORY_BYTES_MAX = 256 << 20
# What the tool that this replaces took, in seconds.
REPLACED = {"first": 125, "none": 5, "hundred": 225}

MIB = 1 << 20
# A file system allows 65,000 names of one file.
LINKS_MAX = 50_000
FOLDER_FILES = 1_000
LOOK_TIMEOUT_S = 1_200


# --- What is run. ---------------------------------------------------------------------------------


def binary():
    given = os.environ.get("LIFEBOAT_BENCH_BIN")
    if not given:
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=run.ROOT, check=True)
    return pathlib.Path(given or run.ROOT / "target" / "release" / "lifeboat").absolute()


class Site:
    """A catalog in a folder, and tables for which files land there; `upstream` is a catalog that it stands before instead."""

    def __init__(self, program, folder, tables=(), upstream=None):
        folder.mkdir()
        self.program, self.folder = program, folder
        self.database = folder / "catalog.db"
        self.config = folder / "lifeboat.yaml"
        port = components.free_port()
        source = f"embedded: {{ database: 'sqlite:{self.database}', warehouse: 'file://{folder}/lake' }}"
        state, roots = "", [folder]
        if upstream:
            source = f"upstream: {{ uri: '{upstream.uri}' }}"
            state, roots = f"state: {{ database: 'sqlite:{self.database}' }}\n", [folder, upstream.folder]
        lines = "".join(f"        n.{table}: {{ from: '{self.landing(table)}', create: true, settle: 0s }}\n" for table in tables)
        append = f"    append:\n      max-staleness: 0s\n      wait: {LOOK_TIMEOUT_S}s\n      interval: 1h\n      tables:\n{lines}" if tables else ""
        self.config.write_text(f"listen: 127.0.0.1:{port}\nstorage:\n" + "".join(f"  - {{ prefix: 'file://{root}' }}\n" for root in roots) +
                               f"{state}catalogs:\n  main:\n    {source}\n{append}")

    def landing(self, table):
        return self.folder / "landing" / table

    def serve(self):
        return components.Lifeboat("--config", str(self.config), binary=str(self.program))

    def append(self, table):
        """One process: its wall time, its peak memory and its report."""
        launcher = [sys.executable, "-I", "-S", relocation.HERE / "measured.py"]
        command = [*launcher, self.program, "append", f"n.{table}", "--config", self.config, "--json"]
        done = json.loads(subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout)
        assert done["exit_status"] == 0, done
        (done["report"],) = json.loads(done.pop("output"))["appends"]
        return done

    def forget(self):
        """Deletes what is remembered of tables."""
        with sqlite3.connect(self.database) as connection:
            connection.execute("DELETE FROM appended")
        connection.close()


def pyiceberg(uri):
    from pyiceberg.catalog import load_catalog

    return load_catalog("bench", type="rest", uri=uri)


def metric(server, name):
    """The counts of a metric, by its labels."""
    text = urllib.request.urlopen(f"{server.uri}/metrics").read().decode()
    return {labels: float(value) for labels, value in re.findall(rf"^{name}\{{([^}}]*)\}} (\S+)$", text, re.MULTILINE)}


def since(server, name, before):
    now = metric(server, name)
    return {labels: int(now[labels] - before.get(labels, 0)) for labels in now if now[labels] > before.get(labels, 0)}


def peak_memory_bytes(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def small_file(number):
    import io

    import pyarrow
    import pyarrow.parquet

    content = io.BytesIO()
    rows = pyarrow.table({"id": pyarrow.array([number], pyarrow.int64()), "name": [f"name {number}"], "seen": pyarrow.array([number], pyarrow.timestamp("us"))})
    pyarrow.parquet.write_table(rows, content)
    return content.getvalue()


class Landing:
    """Fills a folder with files."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0
        folder.mkdir(parents=True)
        self.source = None

    def land(self, count):
        """So many more; their paths."""
        paths = []
        for number in range(self.count, self.count + count):
            folder = self.folder / f"{number // FOLDER_FILES:05}"
            if number % FOLDER_FILES == 0 or not paths:
                folder.mkdir(exist_ok=True)
            path = folder / f"{number:08}.parquet"
            if self.source is None or number % LINKS_MAX == 0:
                path.write_bytes(small_file(number))
                self.source = path
            else:
                os.link(self.source, path)
            paths.append(path)
        self.count += count
        return paths


def middle(values):
    return statistics.median(values)


# --- Landed files. --------------------------------------------------------------------------------


def add_memory(rows, what, peak):
    rows.add(f"peak memory of that, {what}", f"{peak / MIB:.0f} MiB", f"< {MEMORY_BYTES_MAX // MIB} MiB", peak < MEMORY_BYTES_MAX)


def add_files(server_uri, ident, paths):
    """Seconds that PyIceberg takes, its duplicate check included, as it is by default."""
    catalog = pyiceberg(server_uri)
    began = time.monotonic()
    catalog.load_table(ident).add_files([f"file://{path}" for path in paths])
    return time.monotonic() - began


def twin(uri, ident, like):
    """A table of the same columns for PyIceberg."""
    catalog = pyiceberg(uri)
    return catalog.create_table(ident, catalog.load_table(like).schema())


def as_the_replaced_tool_was_measured(rows, program, work):
    """1,000 files for the first time; 1,000 and none new; 10,000 and 100 new."""
    site = Site(program, work / "replaced", [f"{size}_{number}" for size in ("thousand", "more") for number in range(ROUNDS)])
    first, none, hundred, theirs_first, theirs_hundred = [], [], [], [], []
    for number in range(ROUNDS):
        table = f"thousand_{number}"
        paths = Landing(site.landing(table)).land(1_000)
        first.append(site.append(table))
        none.append(site.append(table))
        assert (first[-1]["report"]["appended-files"], none[-1]["report"]["appended-files"]) == (1_000, 0)
        landing = Landing(site.landing(f"more_{number}"))
        landing.land(10_000)
        site.append(f"more_{number}")
        elsewhere = Landing(site.folder / f"others-{number}").land(NEW)
        landing.land(NEW)
        hundred.append(site.append(f"more_{number}"))
        assert hundred[-1]["report"]["appended-files"] == NEW
        with Site.serve(site) as server:
            twin(server.uri, f"n.twin_{number}", f"n.{table}")
            theirs_first.append(add_files(server.uri, f"n.twin_{number}", paths))
            theirs_hundred.append(add_files(server.uri, f"n.more_{number}", elsewhere))
    for what, runs, theirs, old in (("1,000 files, the first time", first, theirs_first, "first"), ("1,000 files and none new", none, None, "none"),
                                    ("10,000 files and 100 new", hundred, theirs_hundred, "hundred")):
        seconds = middle([done["wall_seconds"] for done in runs])
        beside = f"; PyIceberg's `add_files` {middle(theirs):.2f} s" if theirs else ""
        rows.add(f"{what}, a process", f"{seconds:.2f} s{beside}", f"the tool that this replaces: {REPLACED[old]} s", seconds < REPLACED[old])


def many(rows, program, work):
    """Very many tracked files and 100 new."""
    site = Site(program, work / "many", ["t"])
    landing = Landing(site.landing("t"))
    landing.land(TRACKED)
    begun = site.append("t")
    assert begun["report"]["appended-files"] == TRACKED, begun["report"]
    rows.add(f"{TRACKED:,} files for the first time, {len(begun['report']['snapshots'])} commits, a process",
             f"{begun['wall_seconds']:.1f} s ({TRACKED / begun['wall_seconds']:,.0f} files/s)", "none", True)
    add_memory(rows, f"{TRACKED:,} files for the first time", begun["peak_memory_bytes"])
    others = Landing(site.folder / "others")
    first, later, served, theirs = [], [], [], []
    peak = 0
    for _ in range(ROUNDS):
        site.forget()
        for runs in (first, later):
            landing.land(NEW)
            runs.append(site.append("t"))
            assert runs[-1]["report"]["appended-files"] == NEW, runs[-1]["report"]
        with site.serve() as server:
            until_looked(server)
            paths = others.land(NEW)
            theirs.append(add_files(server.uri, "n.t", paths))
            landing.land(NEW)
            began = time.monotonic()
            load(server, "t")
            served.append(time.monotonic() - began)
            peak = max(peak, peak_memory_bytes(server))
    rival = middle(theirs)
    for what, seconds, aim in (
            ("the first look, a process without a ledger", middle([done["wall_seconds"] for done in first]), FIRST_RATIO_MIN),
            ("the second look, a new process with its ledger", middle([done["wall_seconds"] for done in later]), LATER_RATIO_MIN),
            ("the second look of a server, waited for by a load", middle(served), LATER_RATIO_MIN)):
        rows.add(f"{TRACKED:,} tracked files and {NEW} new: {what}, beside PyIceberg's `add_files`",
                 f"{rival / seconds:.1f} × ({seconds:.2f} s, PyIceberg {rival:.2f} s)", f"≥ {aim} ×", rival / seconds >= aim)
    add_memory(rows, f"a first look at {TRACKED:,} tracked files", max(done["peak_memory_bytes"] for done in first))
    add_memory(rows, f"a server, {TRACKED:,} tracked files", peak)
    with site.serve() as server:
        until_looked(server)
        unchanged(rows, server, f"{TRACKED:,} tracked files, an embedded catalog", 1 + len(list(landing.folder.iterdir())))


def before_a_catalog(rows, program, work):
    """What a look without news asks of an upstream."""
    with components.RestFixture() as fixture:
        site = Site(program, work / "before", ["t"], fixture)
        Landing(site.landing("t")).land(1_000)
        with site.serve() as server:
            until_looked(server)
            unchanged(rows, server, "1,000 tracked files, before a REST catalog", 2)


def load(server, table):
    return json.loads(urllib.request.urlopen(f"{server.uri}/v1/main/namespaces/n/tables/{table}", timeout=LOOK_TIMEOUT_S).read())


def until_looked(server):
    """Waits for the look that a server begins with."""
    deadline = time.monotonic() + LOOK_TIMEOUT_S
    while True:
        landings = json.loads(urllib.request.urlopen(f"{server.uri}/lifeboat/v1/landings").read())["landings"]
        if all(landing["report"] for landing in landings):
            return
        assert time.monotonic() < deadline and not any(landing["error"] for landing in landings), landings
        time.sleep(0.05)


def unchanged(rows, server, what, folders):
    """A load that waits for a look which finds nothing. A local folder's listing is one of each folder; the load itself is not the look's."""
    load(server, "t")
    storage, upstream = metric(server, "lifeboat_storage_requests_total"), metric(server, "lifeboat_upstream_seconds_count")
    began = time.monotonic()
    load(server, "t")
    seconds = time.monotonic() - began
    asked = {re.search('operation="(\\w+)"', labels)[1]: count for labels, count in since(server, "lifeboat_storage_requests_total", storage).items()}
    upstreams = sum(since(server, "lifeboat_upstream_seconds_count", upstream).values()) - 1
    listing = asked.pop("list", 0)
    others = sum(asked.values()) + upstreams
    told = ", ".join([f"{listing} LIST", *(f"{count} {kind.upper()}" for kind, count in asked.items()), f"{upstreams} of the upstream"])
    rows.add(f"no change, {what}: a load that waits for the look", f"{told}; {seconds:.2f} s", f"the listing and ≤ {REQUESTS_MAX} requests",
             listing <= folders and others <= REQUESTS_MAX)


def landed(rows, program, work):
    as_the_replaced_tool_was_measured(rows, program, work)
    before_a_catalog(rows, program, work)
    many(rows, program, work)


# --- Calls. ---------------------------------------------------------------------------------------


def create(uri, name):
    from pyiceberg.schema import NestedField, Schema
    from pyiceberg.types import LongType, StringType, TimestampType

    fields = [NestedField(1, "id", LongType(), required=False), NestedField(2, "name", StringType(), required=False),
              NestedField(3, "seen", TimestampType(), required=False)]
    table = pyiceberg(uri).create_table(f"n.{name}", Schema(*fields))
    from pyiceberg.table import TableProperties

    with table.transaction() as transaction:
        transaction.set_properties({TableProperties.DEFAULT_NAME_MAPPING: table.schema().name_mapping.model_dump_json()})
    return table


def files_in(table, count):
    """Files in the table's own place, as writers upload them."""
    return Landing(pathlib.Path(urllib.parse.urlparse(table.location()).path) / "data" / "uploaded").land(count)


def appending(uri, name, paths, sink):
    """One writer that calls; the seconds of each call."""
    address = urllib.parse.urlparse(uri)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=120)
    took = []
    for path in paths:
        began = time.monotonic()
        body = json.dumps({"data-files": [{"path": f"file://{path}"}]})
        connection.request("POST", f"/lifeboat/v1/main/namespaces/n/tables/{name}/append", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        assert answer.status == 200 and told["added-data-files"] == 1, told
        took.append(time.monotonic() - began)
    sink.extend(took)


def our_calls(server):
    """Calls a second, and the seconds of each."""
    table = create(server.uri, "ours")
    paths = files_in(table, WRITERS * CALLS)
    took = []
    threads = [threading.Thread(target=appending, args=(server.uri, "ours", paths[at::WRITERS], took)) for at in range(WRITERS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    loaded = pyiceberg(server.uri).load_table("n.ours")
    there = [task.file.file_path for task in loaded.scan().plan_files()]
    assert len(took) == len(there) == len(set(there)) == WRITERS * CALLS, f"{len(took)} answers, {len(there)} files, {len(set(there))} different"
    return len(took) / seconds, took, len(loaded.snapshots())


def add_files_again_and_again(uri, paths, deadline, counted):
    """One writer that commits with PyIceberg."""
    from pyiceberg.exceptions import CommitFailedException

    table = pyiceberg(uri).load_table("n.theirs")
    for path in paths:
        while time.time() < deadline:
            try:
                table.add_files([f"file://{path}"], check_duplicate_files=False)
                with counted.get_lock():
                    counted.value += 1
                break
            except CommitFailedException:
                table.refresh()


def commit_again_and_again(uri, manifest_list, deadline, counted, conflicts):
    """One writer that commits by REST. For each commit it writes a manifest, and for each attempt a manifest list, as the standard way is; they
    are copies, not synced, and of one file always, so that it does less than any real writer."""
    address = urllib.parse.urlparse(uri)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=120)
    path = "/v1/main/namespaces/n/tables/bare"

    def ask(method, query="", body=None):
        connection.request(method, path + query, body and json.dumps(body), {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    listed = pathlib.Path(urllib.parse.urlparse(manifest_list).path)
    content, unique, attempts = listed.read_bytes(), os.getpid(), 0
    metadata = ask("GET", "?snapshots=refs")[1]["metadata"]
    is_new = True
    while time.time() < deadline:
        attempts += 1
        for kind in ("manifest", "list")[0 if is_new else 1:]:
            (listed.parent / f"{kind}-{unique}-{attempts}.avro").write_bytes(content)
        head = metadata["current-snapshot-id"]
        snapshot = {"snapshot-id": random.getrandbits(62), "parent-snapshot-id": head, "sequence-number": metadata["last-sequence-number"] + 1,
                    "timestamp-ms": max(int(time.time() * 1000), metadata["last-updated-ms"]), "schema-id": 0,
                    "manifest-list": f"file://{listed.parent}/list-{unique}-{attempts}.avro",
                    "summary": {"operation": "append"}}
        status, told = ask("POST", body={
            "requirements": [{"type": "assert-table-uuid", "uuid": metadata["table-uuid"]}, {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": head}],
            "updates": [{"action": "add-snapshot", "snapshot": snapshot},
                        {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": snapshot["snapshot-id"]}]})
        is_new = status == 200
        if is_new:
            metadata = told["metadata"]
            with counted.get_lock():
                counted.value += 1
        else:
            assert status == 409, told
            with conflicts.get_lock():
                conflicts.value += 1
            metadata = ask("GET", "?snapshots=refs")[1]["metadata"]


def in_processes(work, arguments):
    """Commits a second of so many writers that each run until the time is over."""
    context = multiprocessing.get_context("fork")
    counted, deadline = context.Value("q", 0), time.time() + RIVAL_SECONDS
    processes = [context.Process(target=work, args=(*arguments(at), deadline, counted)) for at in range(WRITERS)]
    began = time.monotonic()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0, "a rival's writer failed"
    return counted.value / (time.monotonic() - began)


def bare(uri, manifest_list, conflicts, deadline, counted):
    commit_again_and_again(uri, manifest_list, deadline, counted, conflicts)


def calls(rows, program, work):
    site = Site(program, work / "calls")
    with site.serve() as server:
        pyiceberg(server.uri).create_namespace("n")
        theirs = create(server.uri, "theirs")
        paths = files_in(theirs, WRITERS * RIVAL_SECONDS * 20)
        by_pyiceberg = in_processes(add_files_again_and_again, lambda at: (server.uri, paths[at::WRITERS]))
        table = create(server.uri, "bare")
        table.add_files([f"file://{files_in(table, 1)[0]}"])
        manifest_list = table.refresh().current_snapshot().manifest_list
        conflicts = multiprocessing.get_context("fork").Value("q", 0)
        by_rest = in_processes(bare, lambda at: (server.uri, manifest_list, conflicts))
        rate, took, snapshots = our_calls(server)
        peak = peak_memory_bytes(server)
    rival = max(by_pyiceberg, by_rest)
    took.sort()
    rows.add(f"{WRITERS} writers × {CALLS} append calls of 1 file on one table, footers read: all there; beside {WRITERS} that commit the standard way",
             f"{rate / rival:.1f} × ({rate:.0f} calls/s in {snapshots} snapshots, P50 {took[len(took) // 2] * 1000:.0f} ms, P99 {took[len(took) * 99 // 100] * 1000:.0f} ms; "
             f"bare REST commits {by_rest:.1f}/s with {conflicts.value} conflicts, PyIceberg's `add_files` {by_pyiceberg:.1f}/s)",
             f"≥ {CALLS_RATIO_MIN} × the quicker", rate / rival >= CALLS_RATIO_MIN)
    rows.add("peak memory of that server", f"{peak / MIB:.0f} MiB", "none", True)


def main():
    if ONLY not in (None, "calls", "landed"):
        sys.exit(f"ONLY={ONLY}: it is calls or landed")
    rows, program = run.Table(), binary()
    relocation.TABLES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=relocation.TABLES) as folder:
        if ONLY != "landed":
            calls(rows, program, pathlib.Path(folder))
        if ONLY != "calls":
            landed(rows, program, pathlib.Path(folder))
    print(f"\n{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, medians of {ROUNDS} rounds, in turn\n\n{rows}")
    sys.exit(1 if rows.missed else 0)


if __name__ == "__main__":
    main()
