"""What a run is: its tables, its folders and its times, the same for every process of it."""

import random
import re
from dataclasses import dataclass
from pathlib import Path

import history

NAMESPACES = ("sales", "stock", "people", "deep.er")
# Commits that fail here leave a metadata file, which only `confirm: successor` can tell from a state.
FAILING = "failing"
INPLACE, RENAME = "in place", "rename"
NEWEST, SUCCESSOR = "newest", "successor"
SPARK_SHARE = 6  # one table in so many
# Violations that the harness makes itself, to show that it finds them.
PLANTS = CORRUPT, LOST, STALE, UNRECORDED = "corrupt", "lost", "stale", "unrecorded"


@dataclass(frozen=True)
class TablePlan:
    """One table: who writes it and how it is replicated."""

    name: str
    engine: str
    format_version: int
    mode: str
    tool: str
    leaves_metadata: bool
    drops_old_metadata: bool

    @property
    def identifier(self):
        return tuple(self.name.split("."))

    @property
    def namespace(self):
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Plan:
    """One run."""

    seed: int
    folder: str
    tables: tuple
    primary: str
    standby: str
    max_staleness: float
    settle: float
    ends: float  # when writing ends, by the monotonic clock
    parent: int
    plants: tuple = ()

    def random(self, *of):
        return random.Random("/".join(map(str, (self.seed, *of))))

    def path(self, *parts):
        return Path(self.folder, *parts)

    @property
    def prod(self):
        return self.path("prod")

    @property
    def copy(self):
        return self.path("copy")

    @property
    def rows(self):
        return self.path("rows")

    def is_planted(self, plant, table):
        """Whether a planted violation happens on this table: each has one of its own, of those that are kept whole."""
        if plant not in self.plants:
            return False
        fitting = [it.name for it in self.tables if it.mode == history.LAST and it.engine == "pyiceberg" and not it.leaves_metadata]
        return fitting.index(table) == PLANTS.index(plant) if table in fitting else False

    def catalogs_of(self, table):
        return (SUCCESSOR,) if table.leaves_metadata else (NEWEST, SUCCESSOR)


def tables(count, with_spark):
    """Every engine with every order of deletions, every way of writing a copy, and every kind of namespace."""
    planned = []
    for at in range(count):
        is_spark = with_spark and at % SPARK_SHARE == SPARK_SHARE - 1
        turn = at // SPARK_SHARE if is_spark else at
        leaves_metadata = not is_spark and at % 10 == 4
        namespace = FAILING if leaves_metadata else NAMESPACES[at % len(NAMESPACES)]
        planned.append(TablePlan(
            name=f"{namespace}.t{at:02}",
            engine="spark" if is_spark else "pyiceberg",
            format_version=3 if is_spark and turn % 2 else 2,
            mode=history.MODES[turn % 3],
            tool=(INPLACE, RENAME)[(at // 3) % 2],
            leaves_metadata=leaves_metadata,
            drops_old_metadata=at % 4 == 1,
        ))
    return tuple(planned)


def table_of_folder(folder):
    """The name of a table by its folder's path below the warehouse: without the uuid behind it."""
    return re.sub(r"-[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}$", "", str(folder)).replace("/", ".")
