"""What a run tells in the end: its figures as a table that docs can quote, and what was violated, with all that helps to see why."""

import json
from collections import Counter
from pathlib import Path

import history
import plan as plans

TABLES_SHOWN_MAX, ALIKE_SHOWN_MAX, STATES_SHOWN_MAX, ROWS_SHOWN_MAX = 12, 2, 15, 4
LOG_LINES, LOG_LINES_OF_TABLE, LOG_LINE_MAX = 25, 5, 500


def summary(run, seconds, peak):
    past = run.history
    failures = [it for failures in past.failures.values() for it in failures]
    reads = [it for reads in past.reads.values() for it in reads]
    counts = Counter(it.what for it in failures)
    follows = {plans.NEWEST: 0, plans.SUCCESSOR: 1}
    kinds = Counter(table.engine for table in run.plan.tables)
    broken, _ = history.longest_broken(past, False)
    snapshots_broken, _ = history.longest_broken(past, True)
    rows = [
        ("seed, seconds of writing", f"{run.plan.seed}, {seconds}"),
        ("tables", f"{len(run.plan.tables)} ({kinds['pyiceberg']} PyIceberg, {kinds['spark']} Spark); deletions "
                   + ", ".join(f"{mode} {count}" for mode, count in Counter(past.modes.values()).items())),
        ("commits", sum(map(len, past.states.values()))),
        *((f"operations by {kind}", operations(run, kind)) for kind in ("PyIceberg", "Spark") if kinds[kind.lower()]),
        ("files whose deletion was delivered", len(past.deleted)),
        ("reads of current rows, of older snapshots", both(it.snapshot is None for it in reads)),
        ("of them by DuckDB", sum(it.reader == "reader duckdb" for it in reads)),
        ("states served (table and catalog)", history.states_served(past)),
        ("answers 503, longest stretch", f"{counts[history.UNAVAILABLE]}, {history.longest_unavailable(past):.1f} s"),
        ("reads that missed a file: current rows, older snapshots", both(it.snapshot is None for it in failures if it.what == history.MISSING)),
        ("longest time broken: current rows, older snapshots", f"{max(broken, 0):.1f} s, {max(snapshots_broken, 0):.1f} s"),
        *((f"behind the primary, catalog {name}: median, largest", lag(past, "states", name, dict.fromkeys(follows, 0))) for name in follows),
        *((f"behind what had arrived, catalog {name}: median, largest", lag(past, "arrived", name, follows)) for name in follows),
        ("after the last delivery all tables were level within", "never" if run.reached_within is None else f"{run.reached_within:.1f} s"),
        ("the standby's peak memory", f"{peak / 1024:.0f} MiB"),
        ("violations", ", ".join(f"{kind} {count}" for kind, count in Counter(it.kind for it in run.violations).items()) or 0),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(["| what | figure |", "|---|---|", *(f"| {name:{width}} | {value} |" for name, value in rows)])


def operations(run, kind):
    counts = Counter()
    for (process, what), count in run.told.items():
        if process.startswith("writer") and (process == "writer spark") == (kind == "Spark"):
            counts[what] += count
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))


def both(are):
    """How many are, and how many are not."""
    are = list(are)
    return f"{sum(are)}, {len(are) - sum(are)}"


def lag(past, behind, catalog, follows):
    found = sorted(late for late, read in history.lags(past, behind, follows) if read.catalog == catalog)
    return f"{found[len(found) // 2]:.1f} s, {found[-1]:.1f} s" if found else "never"


def tell(run, log):
    """The first violations of each kind in full."""
    lines = [line[:LOG_LINE_MAX] for line in log.read_text(errors="replace").splitlines()] if log.exists() else []
    for kind in sorted({it.kind for it in run.violations}):
        alike = sorted((it for it in run.violations if it.kind == kind), key=lambda it: it.at)
        print(f"\n== {kind}: {len(alike)}, of tables {', '.join(sorted({it.table for it in alike})[:TABLES_SHOWN_MAX])}")
        for violation in alike[:ALIKE_SHOWN_MAX]:
            mode = run.history.modes[violation.table]
            print(f"{violation.catalog} {violation.table} (deletions {mode}), read by {violation.reader} "
                  f"{run.plan.ends - violation.at:.1f} s before the end of writing: {violation.text}")
            states = sorted(run.history.states[violation.table].values(), key=lambda it: it.version)[-STATES_SHOWN_MAX:]
            print("  states at the primary: " + ", ".join(f"{it.version}={it.digest[:8]}({it.count})" for it in states))
            for name, digest in (("seen", violation.seen), ("expected", violation.expected)):
                path = run.plan.rows / f"{digest}.json"
                if digest and path.exists():
                    print(f"  {name} {digest[:8]}: {shortened(json.loads(path.read_text()))}")
            about = [line for line in lines if violation.table in line]
            print("  log: " + "\n       ".join(about[-LOG_LINES_OF_TABLE:] or ["nothing about this table"]))
    print(f"\nthe end of the standby's log ({log}):\n" + "\n".join(lines[-LOG_LINES:]))


def shortened(kept):
    names, rows = kept
    return f"{names} {len(rows)} rows {rows[:ROWS_SHOWN_MAX]}{' …' if len(rows) > ROWS_SHOWN_MAX else ''}"


def peak_memory_kib(pid):
    status = Path(f"/proc/{pid}/status")
    found = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")] if status.exists() else []
    return int(found[0].split()[1]) if found else 0
