"""What a table holds, as its writer knows it, and the digest by which rows are compared.

A row is an id, its generation, a label, and what columns were added later: each value follows from the column, the id and the
generation, so that rows can be told apart by looking at them. A column that was dropped and added again under its old name is another one.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

ADDED = "abcdef"
ADDED_MAX = 3
ROWS_MAX = 120


def digest(names, rows):
    """Of rows as tuples that begin with their id, in any order."""
    return hashlib.sha256(as_json(names, rows).encode()).hexdigest()[:24]


def as_json(names, rows):
    return json.dumps([list(names), sorted([list(row) for row in rows], key=lambda row: (row[0], repr(row)))])


def rows_of_arrow(table):
    return list(zip(*(column.to_pylist() for column in table.columns)))


def keep(folder, names, rows):
    """Writes rows down under their digest, once, so that a violation can show them. Returns the digest."""
    name = digest(names, rows)
    path = Path(folder) / f"{name}.json"
    if not path.exists():
        path.write_text(as_json(names, rows))
    return name


@dataclass
class Column:
    name: str
    kind: str  # int, long or string
    key: str

    def value(self, id, generation):
        match self.name, self.kind:
            case ("id", _):
                return id
            case (_, "string"):
                return f"{self.key}:{id}:{generation}"
            case _:
                return generation if self.key == "gen" else id * 1000 + generation


@dataclass
class Content:
    """The rows of one table, and what may be done with them."""

    random: object
    columns: list = field(default_factory=lambda: [Column("id", "long", "id"), Column("gen", "int", "gen"), Column("label", "string", "label")])
    rows: dict = field(default_factory=dict)
    next_id: int = 0
    generation: int = 0
    columns_made: int = 0

    @property
    def names(self):
        return [column.name for column in self.columns]

    def tuples(self, ids=None):
        return [tuple(self.rows[id].get(column.key) for column in self.columns) for id in sorted(self.rows if ids is None else ids)]

    def digest(self):
        return digest(self.names, self.tuples())

    # Changes. Each returns the ids it is about, or the column.

    def new(self, count):
        ids = range(self.next_id, self.next_id + count)
        self.next_id += count
        return self.write(ids)

    def write(self, ids):
        self.generation += 1
        for id in ids:
            self.rows[id] = {column.key: column.value(id, self.generation) for column in self.columns}
        return list(ids)

    def some(self, count_max):
        ids = sorted(self.rows)
        return self.random.sample(ids, min(len(ids), self.random.randint(1, count_max)))

    def remove(self, ids):
        for id in ids:
            del self.rows[id]
        return ids

    @property
    def added(self):
        return self.columns[3:]

    def add_column(self):
        self.columns_made += 1
        name = self.random.choice([name for name in ADDED if name not in self.names])
        self.columns.append(Column(name, self.random.choice(["int", "string"]), f"{name}{self.columns_made}"))
        return self.columns[-1]

    def rename_column(self):
        column = self.random.choice(self.added)
        old, column.name = column.name, self.random.choice([name for name in ADDED if name not in self.names])
        return old, column.name

    def drop_column(self):
        column = self.random.choice(self.added)
        self.columns.remove(column)
        for row in self.rows.values():
            row.pop(column.key, None)
        return column

    @property
    def narrow(self):
        return [column for column in self.columns if column.kind == "int"]

    def widen_column(self):
        column = self.random.choice(self.narrow)
        column.kind = "long"
        return column
