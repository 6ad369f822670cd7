"""`make bench`, its third part: what a standby's looks cost.

Three lakes. Small tables, made by PyIceberg once and multiplied by giving their files other names of the same length; on a local folder and in a
bucket (versitygw). One table of 10,000 data files and one of 1,000,000, written by Iceberg's own Java classes as in `relocation.py`; their data
files are empty ones of the stated size. Requests are what the server counts (`lifeboat_storage_requests_total`), times are of the release
binary. Figures are printed with the row's aim; nothing is hidden when one is missed, and then the exit code is 1.

The environment can narrow a run: `TABLES=1000,10000` (small tables swept, and held in memory), `SIZES=10000,1000000`, `ONLY=small` or
`ONLY=large`, `LIFEBOAT_BENCH_BIN`.
"""

import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

import relocation
import run

import components  # `run` sets the path

SWEPT, HELD = [int(count) for count in os.environ.get("TABLES", "1000,10000").split(",")]
SMALL, LARGE = [int(count) for count in os.environ.get("SIZES", "10000,1000000").split(",")]
ONLY = os.environ.get("ONLY")
FILES_APPENDED = 100

SWEEP_SECONDS_MAX = 10
REQUESTS_A_TABLE_MAX = 3
MEMORY_BYTES_MAX = 512 << 20
# The tool that this replaces: 45 s to look through 10,000 files.
FIRST_SECONDS_MAX = 10
# One more snapshot: each new file is asked for twice, and there is some metadata.
REQUESTS_AFTER_APPEND_MAX = 3 * FILES_APPENDED
BYTES_AFTER_APPEND_SHARE_MAX = 0.01

# Past the default `max-staleness`.
STALE_SECONDS = 5.5
MIB = 1 << 20
BINARY = pathlib.Path(os.environ.get("LIFEBOAT_BENCH_BIN", run.ROOT / "target" / "release" / "lifeboat")).absolute()
REPLICA = "      confirm: trust-newest\n      settle: 0s\n"


# --- The lakes. -----------------------------------------------------------------------------------


def small_table(folder):
    """One table of three snapshots, by PyIceberg, in manifests whose blocks are plain, so that names can be replaced."""
    import pyarrow
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("made", uri=f"sqlite:///{folder}/made.db", warehouse=f"file://{folder}/prod")
    catalog.create_namespace("n00")
    rows = pyarrow.table({"id": pyarrow.array([1, 2, 3], pyarrow.int64()), "name": ["a", "b", "c"]})
    table = catalog.create_table("n00.t000000", rows.schema, location=f"file://{folder}/prod/n00/t000000",
                                 properties={"write.avro.compression-codec": "null"})
    for _ in range(3):
        table.append(rows)
    files = {path.relative_to(folder / "prod" / "n00" / "t000000"): path.read_bytes()
             for path in (folder / "prod").rglob("*") if path.is_file()}
    return files, str(table.metadata.table_uuid).encode()


def multiply(files, table_uuid, count, to):
    """So many tables with names of their own, in ten namespaces."""
    for at in range(count):
        space, name = f"n{at % 10:02}", f"t{at:06}"
        other = str(uuid.UUID(int=at + 1)).encode()
        for path, content in files.items():
            target = to / space / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix in (".json", ".avro"):
                content = content.replace(b"/n00/t000000", f"/{space}/{name}".encode()).replace(table_uuid, other)
            target.write_bytes(content)


class Large(relocation.Generated):
    """A table with a last snapshot of 100 files, and empty data files of the stated sizes where the map says."""

    def __init__(self, files):
        super().__init__(files)
        self.name = f"replica_{files}"
        self.folder = relocation.TABLES / "prod" / self.name
        self.location = f"file:{self.folder}"
        self.stamp = self.folder / "generated.json"

    def arrive(self, arrivals, work):
        """All that the table has, at the other site."""
        here = arrivals / self.name
        shutil.copytree(self.folder / "metadata", here / "metadata")
        listing = work / "files.csv"
        subprocess.run([BINARY, "relocate", self.appended, "--map", f"{self.location}={here}", "--into", str(work / "unused"),
                        "--plan", "--copy-plan", str(listing), "--json"], check=True, stdout=subprocess.DEVNULL)
        with listing.open() as rows:
            for row in csv.DictReader(rows):
                target = pathlib.Path(row["target"].removeprefix("file:"))
                if "/data/" in row["target"]:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.touch()
                    os.truncate(target, int(row["size_bytes"]))
        return here


def large_tables():
    relocation.FILES_APPENDED = FILES_APPENDED
    chosen = [Large(files) for files in (SMALL, LARGE)]
    missing = [table for table in chosen if not table.read()]
    if missing:
        with components.RestFixture() as fixture:
            for table in missing:
                table.folder.parent.mkdir(parents=True, exist_ok=True)
                table.generate(fixture.uri)
                assert table.read()
    return chosen


# --- A standby. -----------------------------------------------------------------------------------


class Standby:
    """The release binary over a folder or bucket into which files arrive."""

    def __init__(self, work, name, prod, arrivals, overlay, storage="", interval="1h"):
        port = components.free_port()
        self.config = work / f"{name}.yaml"
        self.database = work / f"{name}.db"
        self.config.write_text(
            f"listen: 127.0.0.1:{port}\n{storage}catalogs:\n  dr:\n    embedded:\n      database: sqlite:{self.database}\n"
            f"      warehouse: file://{work}/own\n    replica:\n      map:\n        - {{ from: \"{prod}\", to: \"{arrivals}\" }}\n"
            f"      overlay: {overlay}\n      interval: {interval}\n{REPLICA}")

    def sync(self, *arguments):
        """One process. Returns its wall time, peak memory and tables."""
        launcher = [sys.executable, "-I", "-S", relocation.HERE / "measured.py"]
        command = [*launcher, BINARY, "sync", "--config", self.config, "--json", *arguments]
        done = json.loads(subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout)
        tables = json.loads(done.pop("output"))["tables"]
        behind = [table for table in tables if table["state"] != "level"]
        assert not behind, behind[0]
        return {**done, "tables": tables}

    def serve(self):
        return components.Lifeboat("--config", str(self.config), binary=str(BINARY))

    def forget(self, overlay):
        self.database.unlink(missing_ok=True)
        shutil.rmtree(overlay, ignore_errors=True)


def counted(server):
    """What the storage was asked so far."""
    text = urllib.request.urlopen(f"{server.uri}/metrics").read().decode()
    requests = {operation: int(count) for operation, count in re.findall(r'lifeboat_storage_requests_total\{operation="(\w+)"\} (\d+)', text)}
    read = re.search(r'lifeboat_storage_bytes_total\{operation="get"\} (\d+)', text)
    return requests, int(read[1]) if read else 0


def since(server, before):
    requests, read = counted(server)
    return {key: count - before[0].get(key, 0) for key, count in requests.items() if count > before[0].get(key, 0)}, read - before[1]


def call(server, path):
    return json.loads(urllib.request.urlopen(f"{server.uri}{path}").read())


def peak_memory_bytes(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


# --- What is measured. ----------------------------------------------------------------------------


def sweep(rows, standby, where, count):
    first = standby.sync()
    assert len(first["tables"]) == count
    rows.add(f"first publication of {count:,} small tables, {where}", f"{first['wall_seconds']:.1f} s", "none", True)
    again = min((standby.sync() for _ in range(3)), key=lambda done: done["wall_seconds"])
    rows.add(f"`lifeboat sync` of {count:,} tables without a change, a process that knows nothing, {where}",
             f"{again['wall_seconds']:.2f} s", f"≤ {SWEEP_SECONDS_MAX} s", again["wall_seconds"] <= SWEEP_SECONDS_MAX)


def metric(server, name):
    text = urllib.request.urlopen(f"{server.uri}/metrics").read().decode()
    found = re.search(rf'^{name}\{{[^}}]*\}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def until(server, name, value, seconds=600):
    deadline = time.monotonic() + seconds
    while metric(server, name) < value:
        assert time.monotonic() < deadline, f"{name} stays below {value}:\n{server.log_tail()}"
        time.sleep(0.2)


def watch(rows, standby, where, count):
    """A server that sweeps again and again."""
    with standby.serve() as server:
        # the first sweep proves all anew, and each table's watch has a first round to go
        until(server, "lifeboat_replica_looks_total", 3 * count)
        before, looks = counted(server), metric(server, "lifeboat_replica_looks_total")
        until(server, "lifeboat_replica_looks_total", looks + 3 * count)
        looks = metric(server, "lifeboat_replica_looks_total") - looks
        requests, read = since(server, before)
        seconds = metric(server, "lifeboat_replica_sweep_seconds")
        peak = peak_memory_bytes(server)
    a_table = sum(requests.values()) / looks
    per = ", ".join(f"{number / looks:.2f} {key.upper()}" for key, number in requests.items())
    rows.add(f"no change, {count:,} tables {where}: requests a table and look", f"{a_table:.2f} ({per}; {read:,} bytes read)",
             f"≤ {REQUESTS_A_TABLE_MAX}", a_table <= REQUESTS_A_TABLE_MAX)
    if count == SWEPT:
        rows.add(f"one such look at all {count:,} tables, {where}", f"{seconds:.2f} s", f"≤ {SWEEP_SECONDS_MAX} s", seconds <= SWEEP_SECONDS_MAX)
    else:
        rows.add(f"peak memory of a server with {count:,} tables, {where}", f"{peak / MIB:.0f} MiB (a sweep takes {seconds:.1f} s)",
                 f"< {MEMORY_BYTES_MAX // MIB} MiB", peak < MEMORY_BYTES_MAX)


def small(rows, work):
    """Small tables, on a local folder and in a bucket."""
    files, table_uuid = small_table(work)
    prod = f"file://{work}/prod"
    for count in (SWEPT, HELD):
        arrivals, overlay = work / f"dr-{count}", work / f"overlay-{count}"
        multiply(files, table_uuid, count, arrivals)
        standby = Standby(work, f"local-{count}", prod, arrivals, overlay, interval="1s")
        sweep(rows, standby, "on a local folder", count)
        watch(rows, standby, "on a local folder", count)
        shutil.rmtree(arrivals)
        shutil.rmtree(overlay)
    with components.Versitygw() as s3:
        multiply(files, table_uuid, SWEPT, s3.folder / "buckets" / s3.bucket / "dr")
        storage = (f"storage:\n  - prefix: s3://{s3.bucket}\n    endpoint: {s3.endpoint}\n    region: {s3.region}\n"
                   f"    access-key-id: {s3.access_key}\n    secret-access-key: {s3.secret_key}\n    path-style: true\n")
        standby = Standby(work, "bucket", prod, f"s3://{s3.bucket}/dr", f"s3://{s3.bucket}/overlay", storage, interval="1s")
        sweep(rows, standby, "in a bucket", SWEPT)
        watch(rows, standby, "in a bucket", SWEPT)


def first_publication(rows, work, table):
    arrivals = work / "first"
    table.arrive(arrivals, work)
    standby = Standby(work, "first", f"file:{table.folder.parent}", arrivals, work / "overlay-first")
    took = []
    for _ in range(3):
        standby.forget(work / "overlay-first")
        took.append(standby.sync())
    seconds = sorted(done["wall_seconds"] for done in took)[1]
    rows.add(f"first publication of a table of {table.files:,} data files: proven, relocated, published", f"{seconds:.2f} s (peak memory "
             f"{max(done['peak_memory_bytes'] for done in took) / MIB:.0f} MiB)", f"≤ {FIRST_SECONDS_MAX} s (the tool that this replaces: 45 s)",
             seconds <= FIRST_SECONDS_MAX)


def one_more_snapshot(rows, work, table):
    """A table of many files, of which the last snapshot with its metadata file arrives later."""
    arrivals = work / "large"
    here = table.arrive(arrivals, work)
    newest = here / "metadata" / pathlib.Path(table.appended).name
    newest.rename(work / newest.name)
    standby = Standby(work, "large", f"file:{table.folder.parent}", arrivals, work / "overlay-large")
    with standby.serve() as server:
        until(server, "lifeboat_replica_looks_total", 1)
        first = counted(server)
        path = f"/v1/dr/namespaces/default/tables/{table.name}"
        # what the first look proved is looked at once more by the next
        for _ in range(2):
            time.sleep(STALE_SECONDS)
            call(server, path)
        until(server, "lifeboat_replica_looks_total", 3)
        shutil.move(work / newest.name, newest)
        time.sleep(STALE_SECONDS)
        before, began = counted(server), time.monotonic()
        served = len(call(server, path)["metadata"]["snapshots"])
        seconds = time.monotonic() - began
        assert served == 2, "the load waited for the look, and the look published"
        # and the second look at what is new
        time.sleep(STALE_SECONDS)
        call(server, path)
        requests, read = since(server, before)
        peak = peak_memory_bytes(server)
    total, share = sum(requests.values()), read / first[1]
    listing = ", ".join(f"{count} {key.upper()}" for key, count in requests.items())
    rows.add(f"one more snapshot of {FILES_APPENDED} files beside {table.files:,}",
             f"{total} requests ({listing}), {read:,} bytes read ({share:.2%} of the first time), proven, relocated, "
             f"published and served by one load in {seconds:.2f} s; peak memory {peak / MIB:.0f} MiB",
             f"≤ {REQUESTS_AFTER_APPEND_MAX} requests, ≤ {BYTES_AFTER_APPEND_SHARE_MAX:.0%} of the bytes",
             total <= REQUESTS_AFTER_APPEND_MAX and share <= BYTES_AFTER_APPEND_SHARE_MAX)


def main():
    rows = run.Table()
    relocation.TABLES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=relocation.TABLES) as folder:
        work = pathlib.Path(folder)
        if ONLY != "large":
            small(rows, work)
        if ONLY != "small":
            lesser, greater = large_tables()
            first_publication(rows, work, lesser)
            one_more_snapshot(rows, work, greater)
    print(f"\n{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores\n\n{rows}")
    sys.exit(1 if rows.missed else 0)


if __name__ == "__main__":
    main()
