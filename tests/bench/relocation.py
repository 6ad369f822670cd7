"""`make bench`, its second part: `lifeboat relocate` beside Spark's `rewrite_table_path`, on the same tables and this machine, in one run.

The tables are written by Iceberg's own Java classes (`GenerateTable.java`) and kept in the cache of components, since what is
inside them names their place. Spark's session stays open and is warmed up before anything counts; Lifeboat is a process started
anew each time, and its start counts. Both write to fresh folders, in turn (A B A B …). Spark is asked for no file list, for
Lifeboat writes none either here. Figures are medians, printed with the row's aim beside them; nothing is hidden when an aim is
missed, and then the exit code is 1.

The environment can narrow a run: `SIZES=20000,200000` (data files of the tables to measure), `ROUNDS=5`, `ONLY=spark` or
`ONLY=lifeboat` (no ratios then), `LIFEBOAT_BENCH_BIN` (a binary that is already built).
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import run

import components  # `run` sets the path

HERE = pathlib.Path(__file__).resolve().parent
ROOT = run.ROOT
TABLES = components.installed() / "bench-tables"

MANIFESTS = 200
FILES_APPENDED = 10
# How many times quicker than Spark, by the number of data files.
AIMS = {20_000: 40, 200_000: 10, 1_000_000: 10}
PEAK_MEMORY_BYTES_MAX = 256 << 20
# What relocating one more snapshot may cost: a handful of requests, and next to none of the bytes of the first time.
REQUESTS_AFTER_APPEND_MAX = 20
BYTES_READ_AFTER_APPEND_SHARE_MAX = 0.05
# Patching a manifest's blocks, beside decompressing and compressing them only.
PATCH_RATIO_MAX = 1.2
PATCH_FILES = 200_000

# Before a table's calls count, Spark makes at least this many of them and spends at least this long: its compiler needs both.
WARM_CALLS_MIN = 2
WARM_SECONDS_MIN = 40

SIZES = [int(size) for size in os.environ.get("SIZES", ",".join(map(str, AIMS))).split(",")]
ROUNDS = int(os.environ.get("ROUNDS", "5"))
ONLY = os.environ.get("ONLY")

MIB = 1 << 20


# --- The tables. ----------------------------------------------------------------------------------


def spark_jar():
    (jar,) = components.installed("spark", "files").glob("*.jar")
    return jar


class Generated:
    """One generated table: where it is, and the metadata files before and after the append."""

    def __init__(self, files):
        self.files = files
        self.name = f"files_{files}"
        self.folder = TABLES / self.name
        self.location = f"file:{self.folder}"
        self.stamp = self.folder / "generated.json"

    def key(self):
        """Changes with whatever decides what is generated."""
        parts = [self.location, MANIFESTS, FILES_APPENDED, spark_jar().name, (HERE / "GenerateTable.java").read_text()]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def read(self):
        """Whether the table is there and is what would be generated now."""
        if not self.stamp.exists():
            return False
        stamp = json.loads(self.stamp.read_text())
        if stamp["key"] != self.key():
            return False
        self.full, self.appended = stamp["full"], stamp["appended"]
        manifests = self.manifests()
        assert len(manifests) == MANIFESTS + 1, f"{self.folder} has {len(manifests)} manifests; remove it"
        self.manifest_bytes = sum(path.stat().st_size for path in manifests)
        return True

    def generate(self, uri):
        """Generates the table anew. The stamp comes last, so a table half written is never used."""
        import pyspark

        shutil.rmtree(self.folder, ignore_errors=True)
        hadoop = pathlib.Path(pyspark.__file__).parent / "jars"
        command = ["java", "-Xmx1g", "-cp", f"{spark_jar()}:{hadoop}/*", str(HERE / "GenerateTable.java"),
                   uri, self.location, str(MANIFESTS), str(self.files // MANIFESTS), str(FILES_APPENDED)]
        made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        self.stamp.write_text(json.dumps({"key": self.key(), **json.loads(made.stdout)}))

    def manifests(self):
        return sorted((self.folder / "metadata").glob("*-m*.avro"))


def tables():
    """The tables to measure, smallest first; what the cache has not is generated."""
    chosen = [Generated(files) for files in sorted(SIZES)]
    missing = [table for table in chosen if not table.read()]
    if missing:
        with components.RestFixture() as fixture:
            for table in missing:
                began = time.monotonic()
                table.generate(fixture.uri)
                assert table.read(), f"{table.folder} was generated just now"
                print(f"generated {table.files:,} data files in {MANIFESTS} manifests of together "
                      f"{table.manifest_bytes / MIB:.0f} MiB in {time.monotonic() - began:.0f} s", flush=True)
    return chosen


# --- The two that are compared. -------------------------------------------------------------------


class Spark:
    """One warm Spark with all tables registered. It compiles as it does by default, unlike in the tests."""

    def __init__(self, fixture_uri, work):
        from pyspark.sql import SparkSession

        self.work = work
        settings = {
            "spark.jars": spark_jar(),
            "spark.driver.memory": "3g",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.local.dir": work / "spark",
            "spark.sql.warehouse.dir": work / "spark-warehouse",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            "spark.sql.catalog.bench": "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.catalog.bench.type": "rest",
            "spark.sql.catalog.bench.uri": fixture_uri,
        }
        builder = SparkSession.builder.master("local[2]").appName("lifeboat-bench")
        for key, value in settings.items():
            builder = builder.config(key, str(value))
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")
        self.session.sql("CREATE NAMESPACE bench.relocation")

    def register(self, table):
        self.call("register_table", table=f"relocation.{table.name}", metadata_file=table.full)

    def warm_up(self, table):
        """Calls that do not count. Returns how many."""
        began, calls = time.monotonic(), 0
        while calls < WARM_CALLS_MIN or time.monotonic() - began < WARM_SECONDS_MIN:
            self.relocate(table)
            calls += 1
        return calls

    def relocate(self, table):
        """Returns the seconds one call took."""
        staging = self.work / "staging"
        began = time.monotonic()
        row = self.call("rewrite_table_path", table=f"relocation.{table.name}", source_prefix=table.location,
                        target_prefix=target(table), staging_location=f"file:{staging}", create_file_list=False)
        seconds = time.monotonic() - began
        assert row["rewritten_manifest_file_paths_count"] == MANIFESTS, row
        shutil.rmtree(staging)
        return seconds

    def call(self, procedure, **arguments):
        listing = ", ".join(f"{key} => {str(value).lower() if isinstance(value, bool) else repr(value)}"
                            for key, value in arguments.items())
        return self.session.sql(f"CALL bench.system.{procedure}({listing})").collect()[0]

    def peak_memory_bytes(self):
        process = self.session._jvm.java.lang.ProcessHandle.current().pid()
        status = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
        (peak,) = [line for line in status if line.startswith("VmHWM:")]
        return int(peak.split()[1]) * 1024

    def stop(self):
        self.session.stop()


class Lifeboat:
    """The release binary; every relocation is a process of its own."""

    def __init__(self, work):
        self.overlay = work / "overlay"
        binary = os.environ.get("LIFEBOAT_BENCH_BIN")
        if not binary:
            subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
            binary = ROOT / "target" / "release" / "lifeboat"
        self.binary = pathlib.Path(binary).absolute()

    def relocate(self, table, source=None):
        """Relocates into the overlay. Returns what it took, with the command's own report in `report`."""
        command = [self.binary, "relocate", source or table.full, "--map", f"{table.location}={target(table)}",
                   "--into", f"file:{self.overlay}", "--json"]
        # The launcher is started without site packages, so that it is small.
        launcher = [sys.executable, "-I", "-S", HERE / "measured.py"]
        done = subprocess.run([str(part) for part in launcher + command], check=True, stdout=subprocess.PIPE, text=True)
        measured = json.loads(done.stdout)
        output = measured.pop("output")
        if measured["exit_status"] != 0:
            sys.exit(f"`{' '.join(map(str, command))}` ended with {measured['exit_status']}\n{output}")
        measured["report"] = json.loads(output)
        return measured

    def forget(self):
        shutil.rmtree(self.overlay, ignore_errors=True)


def target(table):
    """Where the relocated files say they are. Nothing is there, and nobody looks."""
    return f"s3://standby/bench/{table.name}"


# --- What is measured. ----------------------------------------------------------------------------


def compare(table, spark, lifeboat):
    """Both in turn, ROUNDS times; the overlay of the last round stays."""
    took = {"files": table.files, "manifests": MANIFESTS, "manifest_bytes": table.manifest_bytes}
    if spark:
        spark.register(table)
        took["spark_warm_calls"] = spark.warm_up(table)
    spark_seconds, runs = [], []
    for _ in range(ROUNDS):
        if spark:
            os.sync()  # what one left to be written must not slow the other
            spark_seconds.append(spark.relocate(table))
        if lifeboat:
            lifeboat.forget()
            os.sync()
            runs.append(lifeboat.relocate(table))
            counted = runs[-1]["report"]["files"]["manifests"]
            assert counted == MANIFESTS, f"lifeboat relocated {counted} manifests"
    if spark:
        took["spark_seconds"] = spark_seconds
        took["spark_peak_memory_bytes"] = spark.peak_memory_bytes()
    if lifeboat:
        for figure in ("wall_seconds", "processor_seconds", "peak_memory_bytes"):
            took[f"lifeboat_{figure}"] = [run[figure] for run in runs]
        took["lifeboat_report"] = runs[-1]["report"]
    return took


def add_comparison(rows, took):
    """Two rows: how much quicker, and the memory. With one of the two alone it prints what that one took."""
    what = f"relocate {took['files']:,} data files in {MANIFESTS} deflate manifests ({took['manifest_bytes'] / MIB:.0f} MiB)"
    spark = statistics.median(took.get("spark_seconds", [0]))
    lifeboat = statistics.median(took.get("lifeboat_wall_seconds", [0]))
    if spark and lifeboat:
        ratio, aim = spark / lifeboat, AIMS.get(took["files"], 10)
        rows.add(f"{what}, beside Spark's `rewrite_table_path`", f"{ratio:.1f} × ({lifeboat:.3f} s, Spark {spark:.2f} s)",
                 f"≥ {aim} ×", ratio >= aim)
    elif spark:
        print(f"{what}: Spark {spark:.2f} s ({', '.join(f'{seconds:.2f}' for seconds in took['spark_seconds'])}; "
              f"{took['spark_warm_calls']} calls before), peak memory {took['spark_peak_memory_bytes'] / MIB:.0f} MiB", flush=True)
    else:
        print(f"{what}: Lifeboat {lifeboat:.3f} s", flush=True)
    if lifeboat:
        peak = max(took["lifeboat_peak_memory_bytes"])
        beside = f" (Spark {took['spark_peak_memory_bytes'] / MIB:.0f} MiB)" if spark else ""
        rows.add(f"peak memory of that, {took['files']:,} data files", f"{peak / MIB:.0f} MiB{beside}",
                 f"< {PEAK_MEMORY_BYTES_MAX // MIB} MiB", peak < PEAK_MEMORY_BYTES_MAX)


def add_append(rows, table, lifeboat, before):
    """One more snapshot of the table, relocated into the overlay that has all the others."""
    after = lifeboat.relocate(table, table.appended)
    report = after["report"]
    requests = sum(report["requests"].values())
    share = report["bytes-read"] / before["bytes-read"]
    listing = ", ".join(f"{count} {kind.upper()}" for kind, count in report["requests"].items())
    rows.add(f"one more snapshot with one manifest of {FILES_APPENDED} data files, into the same overlay of {table.files:,}",
             f"{requests} requests ({listing}; the first time {sum(before['requests'].values())}), "
             f"{report['bytes-read']:,} bytes read ({share:.2%} of the first time), {report['bytes-written']:,} written, "
             f"{after['wall_seconds']:.3f} s",
             f"≤ {REQUESTS_AFTER_APPEND_MAX} requests, ≤ {BYTES_READ_AFTER_APPEND_SHARE_MAX:.0%} of the bytes",
             requests <= REQUESTS_AFTER_APPEND_MAX and share <= BYTES_READ_AFTER_APPEND_SHARE_MAX)
    return after


def add_patch_speed(rows, table, work):
    """Patching beside the bare codec, on one core: measured by an example, since it is a matter of the library alone."""
    folder = work / "manifests"
    folder.mkdir()
    for manifest in table.manifests():
        (folder / manifest.name).hardlink_to(manifest)
    command = ["cargo", "run", "--release", "--locked", "--quiet", "--example", "patch_speed", "--", str(folder), f"file:{TABLES}", "s3://standby/bench"]
    measured = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)
    rows.add(f"patch the deflate manifests of {table.files:,} data files, beside decompressing and compressing them only, one core",
             f"{measured['ratio']:.2f} × ({measured['patch_seconds']:.2f} s, codec {measured['codec_seconds']:.2f} s; "
             f"{measured['entries_per_second']:,.0f} entries/s)",
             f"≤ {PATCH_RATIO_MAX} ×", measured["ratio"] <= PATCH_RATIO_MAX)
    return measured


def measure(work, rows):
    """Everything, as plain data."""
    chosen = tables()
    results = {"cores": os.cpu_count(), "rounds": ROUNDS, "tables": []}
    lifeboat = Lifeboat(work) if ONLY != "spark" else None
    with contextlib.ExitStack() as stack:
        spark = None
        if ONLY != "lifeboat":
            spark = Spark(stack.enter_context(components.RestFixture()).uri, work)
            stack.callback(spark.stop)
        for table in chosen:
            results["tables"].append(compare(table, spark, lifeboat))
            add_comparison(rows, results["tables"][-1])
        if lifeboat:
            results["append"] = add_append(rows, chosen[-1], lifeboat, results["tables"][-1]["lifeboat_report"])
    patched = next((table for table in chosen if table.files == PATCH_FILES), chosen[-1])
    if lifeboat and (ROOT / "examples" / "patch_speed.rs").exists():
        results["patch_speed"] = add_patch_speed(rows, patched, work)
    return results


def main():
    if ONLY not in (None, "spark", "lifeboat"):
        sys.exit(f"ONLY={ONLY}: it is spark or lifeboat")
    if any(size % MANIFESTS for size in SIZES):
        sys.exit(f"SIZES: each must be a multiple of {MANIFESTS}, the number of manifests")
    TABLES.mkdir(exist_ok=True)
    rows = run.Table()
    # On the disk that has the tables: what is read and what is written then cost the same everywhere.
    with tempfile.TemporaryDirectory(prefix="run-", dir=TABLES) as folder:
        results = measure(pathlib.Path(folder), rows)
    print(f"\n{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, medians of {ROUNDS} runs each, in turn\n\n{rows}\n")
    print(json.dumps(results))
    sys.exit(1 if rows.missed else 0)


if __name__ == "__main__":
    main()
