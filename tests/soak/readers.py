"""The standby's readers: whole tables, again and again, by PyIceberg and DuckDB; what they saw is reported and judged elsewhere.

A reader that misses a file stays with that table until it is whole or refused, so that the time is known.
"""

import os
import re
import time

import content as contents
import history
import plan as plans
from process import Process

# How often an older snapshot is read besides the current rows.
SNAPSHOTS = 0.3
# How long a reader stays with a broken table, in intervals of `max-staleness`.
STAYS = 3
PAUSE_S = 0.05
SOURCE = "lifeboat.source-metadata-location"


class Reading(Process):
    """Reads what is drawn until it is stopped."""

    def __init__(self, name, plan, events, stop, tables):
        super().__init__(name, plan, events, stop)
        self.pairs = [(catalog, table) for table in tables for catalog in plan.catalogs_of(table)]
        self.random = plan.random(name)
        self.earlier = {}

    def connect(self):
        raise NotImplementedError

    def read(self, catalog, table):
        """One read of a table. True when it has to be looked at again at once."""
        raise NotImplementedError

    def run(self):
        self.connect()
        while not self.stopped:
            catalog, table = self.random.choice(self.pairs)
            until = time.monotonic() + STAYS * self.plan.max_staleness
            while self.read(catalog, table) and time.monotonic() < until and not self.stopped:
                time.sleep(PAUSE_S)
            time.sleep(PAUSE_S)

    def failed(self, catalog, table, began, error, snapshot=None):
        what, path = self.judge(error)
        message = f"{type(error).__name__}: {error}"[:600]
        self.report(history.Failure(catalog, table.name, self.name, began, time.monotonic(), what, message, path, snapshot))
        return what == history.MISSING

    def judge(self, error):
        found = re.search(re.escape(self.plan.folder) + r"/[^\s'\"]*", str(error))
        path = found and found.group(0).rstrip(".:,")
        text = str(error)
        if isinstance(error, FileNotFoundError) or "No such file" in text:
            return history.MISSING, path
        if self.is_unavailable(error):
            return history.UNAVAILABLE, path
        if self.is_unknown(error):
            return history.UNKNOWN, path
        return history.OTHER, path

    def is_unavailable(self, error):
        return "HTTP 503" in str(error)

    def is_unknown(self, error):
        return False


class PyIcebergReading(Reading):
    """Knows which state it was given, by its metadata, and reads older snapshots as well."""

    def connect(self):
        from pyiceberg.catalog import load_catalog

        names = {catalog for catalog, _ in self.pairs}
        self.catalogs = {name: load_catalog(name, type="rest", uri=self.plan.standby, warehouse=name) for name in names}

    def is_unavailable(self, error):
        from pyiceberg.exceptions import ServiceUnavailableError

        return isinstance(error, ServiceUnavailableError)

    def is_unknown(self, error):
        from pyiceberg.exceptions import NoSuchTableError

        return isinstance(error, NoSuchTableError)

    def read(self, catalog, table):
        began, snapshot = time.monotonic(), None
        try:
            loaded = self.catalogs[catalog].load_table(table.identifier)
            loaded_at = time.monotonic()
            self.show(self.seen(catalog, table, loaded, began, loaded_at))
            if loaded.metadata.snapshots and self.random.random() < SNAPSHOTS:
                snapshot = self.random.choice(sorted(it.snapshot_id for it in loaded.metadata.snapshots))
                self.report(self.seen(catalog, table, loaded, began, loaded_at, snapshot))
        except Exception as error:  # judged by what it is
            return self.failed(catalog, table, began, error, snapshot)
        return False

    def seen(self, catalog, table, loaded, began, loaded_at, snapshot=None):
        arrow = loaded.scan(snapshot_id=snapshot).to_arrow()
        digest = contents.keep(self.plan.rows, arrow.schema.names, contents.rows_of_arrow(arrow))
        if snapshot is not None:
            return history.Read(catalog, table.name, self.name, began, loaded_at, digest, arrow.num_rows, snapshot=snapshot)
        types = ", ".join(f"{field.name} {field.field_type}" for field in loaded.schema().fields)
        file = os.path.basename(loaded.properties[SOURCE])
        return history.Read(catalog, table.name, self.name, began, loaded_at, digest, arrow.num_rows, file, types)

    def show(self, read):
        self.report(read)
        if self.plan.is_planted(plans.STALE, read.table):
            # as if the standby had gone back
            first = self.earlier.setdefault(read.catalog, read)
            if history.version(first.file) < history.version(read.file):
                now = time.monotonic()
                self.report(history.Read(**{**first.__dict__, "began": now, "loaded": now}))


class DuckDbReading(Reading):
    """Sees rows only. It has no namespaces of several levels, and is connected anew for each read, since it remembers which tables there are."""

    def __init__(self, name, plan, events, stop, tables):
        super().__init__(name, plan, events, stop, [table for table in tables if len(table.identifier) == 2])

    def connect(self):
        import engines

        self.engine = engines.DuckDb

    def is_unknown(self, error):
        return "does not exist" in str(error)

    def read(self, catalog, table):
        began = time.monotonic()
        try:
            engine = self.engine(self.plan.standby, catalog)
            with engine.connection:
                found = engine.connection.execute(f"SELECT * FROM {engine.full(table.name)}")
                names, rows = [column[0] for column in found.description], found.fetchall()
        except Exception as error:  # judged by what it is
            return self.failed(catalog, table, began, error)
        digest = contents.keep(self.plan.rows, names, rows)
        self.report(history.Read(catalog, table.name, self.name, began, time.monotonic(), digest, len(rows)))
        return False
