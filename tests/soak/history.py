"""What a standby may show: a primary's history, what readers saw, and the rules between them. Only computes.

All times are of one clock, which every process of this machine shares (`time.monotonic`). The rules:

1. Rows. A read shows, row for row and with the columns' names and types, a state that the primary had, and the one that it says it is
   (`lifeboat.source-metadata-location`). An older snapshot that a table still names shows what it showed at the primary.
2. Order. A read whose load began after another one's load had ended shows that state or a newer one.
3. Files. With deletions delivered last and not before the standby had time to move on (`LAST`), no read of a table's current rows fails,
   and none is answered 503. With deletions delivered earlier (`PROMPT`, right behind all that is new; `FIRST`, before it), and for older
   snapshots always: a load that begins more than one `max-staleness` after a file's deletion was delivered does not lead to that file. A
   read that fails within that time loaded the table when the standby did not have to know of the deletion. A file whose deletion was never
   delivered is never missing.
4. Names. A table that was served once stays known.
5. The end. After the last delivery every table reaches the newest state, or with `confirm: successor` the newest that another one names.
"""

import bisect
import heapq
import math
from collections import defaultdict
from dataclasses import dataclass, field

LAST, PROMPT, FIRST = "last", "prompt", "first"
MODES = (LAST, PROMPT, FIRST)

# What a read may end with, besides rows.
MISSING, UNAVAILABLE, UNKNOWN, OTHER = "missing", "unavailable", "unknown", "other"


@dataclass(frozen=True)
class State:
    """The rows of a table at one of its metadata files."""

    table: str
    file: str
    digest: str
    count: int
    types: str
    snapshot: int | None
    at: float
    previous: str | None = None

    @property
    def version(self):
        return version(self.file)


@dataclass(frozen=True)
class Snapshot:
    """The rows of one snapshot."""

    table: str
    snapshot: int
    digest: str


@dataclass(frozen=True)
class Attempt:
    """A metadata file that names this one, of whatever commit: who made it had found this one in the catalog."""

    table: str
    names: str


@dataclass(frozen=True)
class Deleted:
    """A file's deletion was delivered."""

    path: str
    at: float


@dataclass(frozen=True)
class Arrived:
    """All that the primary had when the newest of it was `version` is at the standby."""

    table: str
    version: int
    at: float


@dataclass(frozen=True)
class Read:
    """Rows that a reader got. `file` and `types` only if it can tell."""

    catalog: str
    table: str
    reader: str
    began: float
    loaded: float
    digest: str
    count: int
    file: str | None = None
    types: str | None = None
    # An older snapshot that was read, instead of the current rows.
    snapshot: int | None = None


@dataclass(frozen=True)
class Failure:
    """A read that got no rows."""

    catalog: str
    table: str
    reader: str
    began: float
    ended: float
    what: str
    message: str = ""
    path: str | None = None
    snapshot: int | None = None


@dataclass(frozen=True)
class Violation:
    """What must not be, with the digests of the rows that it is about."""

    kind: str
    catalog: str
    table: str
    reader: str
    at: float
    text: str
    seen: str | None = None
    expected: str | None = None


@dataclass
class History:
    """All that was reported."""

    modes: dict
    states: dict = field(default_factory=lambda: defaultdict(dict))
    snapshots: dict = field(default_factory=lambda: defaultdict(dict))
    named: dict = field(default_factory=lambda: defaultdict(set))
    deleted: dict = field(default_factory=dict)
    arrived: dict = field(default_factory=lambda: defaultdict(list))
    reads: dict = field(default_factory=lambda: defaultdict(list))
    failures: dict = field(default_factory=lambda: defaultdict(list))

    def add(self, event):
        match event:
            case State():
                self.states[event.table][event.file] = event
                if event.previous:
                    self.named[event.table].add(event.previous)
            case Snapshot():
                self.snapshots[event.table][event.snapshot] = event.digest
            case Attempt():
                self.named[event.table].add(event.names)
            case Deleted():
                self.deleted[event.path] = event.at
            case Arrived():
                self.arrived[event.table].append(event)
            case Read():
                self.reads[event.catalog, event.table].append(event)
            case Failure():
                self.failures[event.catalog, event.table].append(event)
            case _:
                raise TypeError(f"{event!r} is no part of a history")

    def newest(self, table, is_confirmed):
        """The newest state, or the newest that another metadata file names."""
        states = self.states[table].values()
        fitting = [state for state in states if not is_confirmed or state.file in self.named[table]]
        return max(fitting, key=lambda state: state.version, default=None)


def version(file):
    """The number in a metadata file's name."""
    return int(file.split("-", 1)[0])


def check(history, max_staleness, until=math.inf):
    """All violations among what was read before `until`: what happened later may not be reported yet."""
    found = []
    for pair in sorted({*history.reads, *history.failures}):
        reads = [read for read in history.reads[pair] if read.loaded < until]
        found += rows_and_order(history, *pair, reads)
        found += failures(history, max_staleness, *pair, reads, [it for it in history.failures[pair] if it.ended < until])
    return found


def rows_and_order(history, catalog, table, reads):
    states, by_digest = history.states[table], defaultdict(list)
    for state in states.values():
        by_digest[state.digest].append(state.version)
    floor, floor_read, under_way = -1, None, []
    for read in sorted(reads, key=lambda read: read.began):
        # what was shown before this one was asked for
        while under_way and under_way[0][0] <= read.began:
            _, _, shown, earlier = heapq.heappop(under_way)
            if shown > floor:
                floor, floor_read = shown, earlier
        if read.snapshot is not None:
            yield from snapshot_rows(history, read)
            continue
        wrong = wrong_rows(read, states, by_digest)
        if wrong:
            yield wrong
            continue
        versions = [version(read.file)] if read.file else by_digest[read.digest]
        ahead = [number for number in versions if number >= floor]
        if ahead:
            heapq.heappush(under_way, (read.loaded, id(read), min(ahead), read))
        else:
            text = f"state {max(versions)} after {floor}, which {floor_read.reader} had {read.began - floor_read.loaded:.3f} s before"
            yield violation("went back", read, text, expected=floor_read.digest)


def wrong_rows(read, states, by_digest):
    if read.file and read.file not in states:
        return violation("never was", read, f"{read.file} is no state that the primary had")
    if read.digest not in by_digest:
        expected = states[read.file] if read.file else max(states.values(), key=lambda it: it.version, default=None)
        text = f"{read.count} rows that the primary never had; {read.file or 'the newest'} has {expected.count if expected else 'none'}"
        return violation("wrong rows", read, text, expected=expected and expected.digest)
    if read.file and states[read.file].digest != read.digest:
        return violation("wrong rows", read, f"the rows of another state than {read.file}", expected=states[read.file].digest)
    if read.file and read.types is not None and states[read.file].types != read.types:
        return violation("wrong columns", read, f"{read.types} at {read.file}, and not {states[read.file].types}")
    return None


def snapshot_rows(history, read):
    expected = history.snapshots[read.table].get(read.snapshot)
    if expected is None:
        yield violation("never was", read, f"snapshot {read.snapshot} is none that the primary had")
    elif expected != read.digest:
        yield violation("wrong rows", read, f"snapshot {read.snapshot} has other rows than at the primary", expected=expected)


def failures(history, max_staleness, catalog, table, reads, failed):
    first_served = min((read.loaded for read in reads), default=math.inf)
    is_last = history.modes[table] == LAST
    for failure in failed:
        match failure.what:
            case "missing":
                late, is_head = broken_for(history, failure), failure.snapshot is None
                what = "the current rows" if is_head else f"snapshot {failure.snapshot}"
                if late is None:
                    yield violation("missing file", failure, f"{what}: {failure.path} is missing, and no deletion of it was delivered")
                elif is_last and is_head:
                    yield violation("missing file", failure, f"{what}: {failure.path} was deleted {late:.1f} s before the load, as the last")
                elif late > max_staleness:
                    kind = "broken too long" if is_head else "snapshot broken too long"
                    yield violation(kind, failure, f"{what}: {failure.path} was deleted {late:.1f} s before the load")
            case "unavailable":
                if is_last:
                    yield violation("unavailable", failure, failure.message)
            case "unknown":
                if first_served <= failure.began:
                    yield violation("vanished", failure, f"served before, and now: {failure.message}")
            case _:
                yield violation("unreadable", failure, failure.message)


def broken_for(history, failure):
    """How long before its load the deletion of the file that a read missed had been delivered; None when it never was."""
    at = history.deleted.get(failure.path)
    return None if at is None else failure.began - at


def violation(kind, event, text, expected=None):
    at = event.loaded if isinstance(event, Read) else event.ended
    return Violation(kind, event.catalog, event.table, event.reader, at, text, getattr(event, "digest", None), expected)


# --- Figures. -------------------------------------------------------------------------------------


def states_served(history):
    """Distinct states that were seen, over all catalogs."""
    return len({(*pair, read.file) for pair, reads in history.reads.items() for read in reads if read.file})


def longest_broken(history, of_snapshots):
    """The longest time from a deletion to the begin of a load that still led to the file, as (seconds, failure)."""
    return max(
        ((late, failure) for failures in history.failures.values() for failure in failures
         if failure.what == MISSING and (failure.snapshot is not None) == of_snapshots
         for late in [broken_for(history, failure)] if late is not None),
        key=lambda it: it[0], default=(0.0, None))


def longest_unavailable(history):
    """The longest stretch in which a table was answered with nothing but 503, in seconds."""
    longest = 0.0
    for pair, failures in history.failures.items():
        events = [(it.began, True) for it in failures if it.what == UNAVAILABLE]
        events += [(it.loaded, False) for it in history.reads[pair]]
        since = None
        for at, is_away in sorted(events):
            if since is not None:
                longest = max(longest, at - since)
            since = (since if since is not None else at) if is_away else None
    return longest


def lags(history, behind, follows):
    """For each read that was not of the newest state: how long, when its load began, a newer one had been there.

    `behind` says where: in the `states` of the primary, or `arrived` at the standby. `follows` is how many commits a catalog stays behind.
    """
    for (catalog, table), reads in history.reads.items():
        events = history.states[table].values() if behind == "states" else history.arrived[table]
        # the earliest time at which this number or a higher one was there
        newer, earliest = [], math.inf
        for number, at in sorted(((it.version, it.at) for it in events), reverse=True):
            earliest = min(earliest, at)
            newer.append((number, earliest))
        newer.reverse()
        for read in reads:
            if read.file:
                at = bisect.bisect_right(newer, (version(read.file) + follows[catalog], math.inf))
                if at < len(newer) and newer[at][1] < read.began:
                    yield read.began - newer[at][1], read
