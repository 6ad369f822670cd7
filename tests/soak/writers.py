"""The primary's writers: PyIceberg and Spark, each with tables of its own, and what every commit left, read at the primary.

A writer draws one operation after the other for a table, from that table's own chance, so that a seed repeats them. After each it reads
the table at the primary, at every metadata file that is new, and reports the rows. What the writer itself knows to be in the table has to
be what is read there: otherwise the harness is wrong, and the run ends.
"""

import json
import os
import time
import urllib.parse
import uuid

import content as contents
import history
from process import Process

KEPT_SNAPSHOTS = (2, 5)
METADATA_LOG_MAX = 12
# How often each is drawn, relative to the others.
CHANCES = {"append": 30, "update": 14, "delete": 16, "replace": 3, "compact": 6, "maintain": 10, "rewrite_manifests": 4, "expire": 8, "add_column": 4,
           "rename_column": 3, "drop_column": 2, "widen_column": 2, "tag": 3, "branch": 2, "forget_ref": 3, "conflict": 3, "crash": 4}


def local(location):
    return urllib.parse.unquote(urllib.parse.urlparse(location).path)


class Writer:
    """One table, and one that writes to it."""

    def __init__(self, process, table, catalog):
        self.process, self.plan, self.catalog = process, table, catalog
        self.random = process.plan.random(table.name)
        self.content = contents.Content(self.random)
        self.recorded, self.snapshots = set(), set()
        self.operations = [name for name in CHANCES if hasattr(self, name) and (name != "crash" or table.leaves_metadata)]
        self.refs = 0

    def properties(self):
        return {
            "format-version": str(self.plan.format_version),
            "write.metadata.previous-versions-max": "4" if self.plan.drops_old_metadata else str(METADATA_LOG_MAX),
            "write.metadata.delete-after-commit.enabled": str(self.plan.drops_old_metadata).lower(),
            # so that a planted corruption can change text
            "write.parquet.compression-codec": "uncompressed",
            # so that a conflict fails, and leaves what it had written
            "commit.retry.num-retries": "0",
            "commit.manifest.min-count-to-merge": "3",
            "commit.manifest-merge.enabled": str(self.random.random() < 0.5).lower(),
        }

    def load(self):
        return self.catalog.load_table(self.plan.identifier)

    def step(self):
        """One operation."""
        fitting = [name for name in self.operations if self.fits(name)]
        (name,) = self.random.choices(fitting, [CHANCES[name] for name in fitting])
        getattr(self, name)()
        self.record()
        self.process.count(name)

    def fits(self, name):
        rows, added = len(self.content.rows), len(self.content.added)
        match name:
            case "append" | "conflict" | "crash":
                return rows < contents.ROWS_MAX
            case "delete":
                return rows > 10
            case "update" | "compact" | "maintain" | "rewrite_manifests" | "replace":
                return rows > 0
            case "add_column":
                return added < contents.ADDED_MAX
            case "rename_column" | "drop_column":
                return added > 0
            case "widen_column":
                return bool(self.content.narrow)
            case "tag" | "branch":
                return bool(self.load().metadata.snapshots)
            case _:
                return True

    def record(self):
        """Reports the rows at each metadata file that is new."""
        from pyiceberg.table import StaticTable

        table, at = self.load(), time.monotonic()
        log = [entry.metadata_file for entry in table.metadata.metadata_log]
        previous = dict(zip([*log, table.metadata_location], [None, *log]))
        for location in [*log, table.metadata_location]:
            if location not in self.recorded:
                self.recorded.add(location)
                is_current = location == table.metadata_location
                self.record_state(table if is_current else StaticTable.from_metadata(location), previous[location], at, is_current)

    def record_state(self, table, previous, at, is_current):
        arrow = table.scan().to_arrow()
        names, rows = arrow.schema.names, contents.rows_of_arrow(arrow)
        digest = contents.keep(self.process.plan.rows, names, rows)
        if is_current and digest != self.content.digest():
            raise AssertionError(f"{self.plan.name} holds {contents.as_json(names, rows)} at {table.metadata_location}, and not "
                                 f"{contents.as_json(self.content.names, self.content.tuples())}")
        current = table.current_snapshot()
        self.process.report(history.State(
            self.plan.name, os.path.basename(table.metadata_location), digest, len(rows), types(table), current and current.snapshot_id, at,
            previous and os.path.basename(previous)))
        for snapshot in table.metadata.snapshots:
            if snapshot.snapshot_id not in self.snapshots:
                self.snapshots.add(snapshot.snapshot_id)
                read = table.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
                digest = contents.keep(self.process.plan.rows, read.schema.names, contents.rows_of_arrow(read))
                self.process.report(history.Snapshot(self.plan.name, snapshot.snapshot_id, digest))

    # Operations that every writer has.

    def append(self):
        self.insert(self.content.new(self.random.randint(1, 12)))

    def update(self):
        self.rewrite(self.content.write(self.content.some(6)))

    def delete(self):
        self.remove(self.content.remove(self.content.some(6)))

    def expire(self):
        self.keep_newest(self.random.randint(*KEPT_SNAPSHOTS))

    def maintain(self):
        """Nothing is left of the files that the current rows were in."""
        self.compact()
        self.record()
        self.keep_newest(1)

    # What references are drawn from.

    def ref(self):
        self.refs += 1
        return f"r{self.refs}"

    def a_snapshot(self):
        return self.random.choice(sorted(self.load().metadata.snapshots, key=lambda it: it.sequence_number or 0)).snapshot_id

    def other_refs(self):
        refs = self.load().metadata.refs
        return {name: ref for name, ref in sorted(refs.items()) if name != "main"}


def types(table):
    return ", ".join(f"{field.name} {field.field_type}" for field in table.schema().fields)


# --- PyIceberg. -----------------------------------------------------------------------------------


class PyIcebergWriter(Writer):
    """Copy-on-write; expiring deletes the files itself, since PyIceberg does not."""

    def create(self):
        from pyiceberg.schema import NestedField, Schema
        from pyiceberg.types import IntegerType, LongType, StringType

        fields = [("id", LongType()), ("gen", IntegerType()), ("label", StringType())]
        schema = Schema(*(NestedField(number, name, kind, required=False) for number, (name, kind) in enumerate(fields, 1)))
        self.catalog.create_table(self.plan.identifier, schema, properties=self.properties())
        self.manifests = {}
        self.record()

    def arrow(self, table, tuples):
        import pyarrow

        schema = table.schema().as_arrow()
        return pyarrow.Table.from_pylist([dict(zip(schema.names, row)) for row in tuples], schema=schema)

    def insert(self, ids):
        table = self.load()
        table.append(self.arrow(table, self.content.tuples(ids)))

    def rewrite(self, ids):
        from pyiceberg.expressions import In

        table = self.load()
        table.overwrite(self.arrow(table, self.content.tuples(sorted(ids))), overwrite_filter=In("id", ids))

    def remove(self, ids):
        from pyiceberg.expressions import In

        self.load().delete(In("id", ids))

    def replace(self):
        ids = list(self.content.rows)
        self.content.remove(self.random.sample(ids, len(ids) // 2))
        self.content.write(list(self.content.rows))
        self.compact()

    def compact(self):
        table = self.load()
        table.overwrite(self.arrow(table, self.content.tuples()))

    def add_column(self):
        from pyiceberg.types import IntegerType, StringType

        column = self.content.add_column()
        with self.load().update_schema() as update:
            update.add_column(column.name, StringType() if column.kind == "string" else IntegerType())

    def rename_column(self):
        old, new = self.content.rename_column()
        with self.load().update_schema() as update:
            update.rename_column(old, new)

    def drop_column(self):
        column = self.content.drop_column()
        with self.load().update_schema() as update:
            update.delete_column(column.name)

    def widen_column(self):
        from pyiceberg.types import LongType

        column = self.content.widen_column()
        with self.load().update_schema() as update:
            update.update_column(column.name, LongType())

    def tag(self):
        snapshot, name = self.a_snapshot(), self.ref()
        self.load().manage_snapshots().create_tag(snapshot, name).commit()

    def branch(self):
        snapshot, name = self.a_snapshot(), self.ref()
        self.load().manage_snapshots().create_branch(snapshot, name).commit()

    def forget_ref(self):
        refs = self.other_refs()
        if refs:
            name = self.random.choice(list(refs))
            manage = self.load().manage_snapshots()
            (manage.remove_tag(name) if str(refs[name].snapshot_ref_type.value) == "tag" else manage.remove_branch(name)).commit()

    def conflict(self):
        """A commit that is too late: its files stay, and no snapshot names them."""
        from pyiceberg.exceptions import CommitFailedException

        late = self.load()
        self.append()
        ghost = [(-1, *row[1:]) for row in self.content.tuples(self.content.some(3))]
        try:
            late.append(self.arrow(late, ghost))
        except CommitFailedException:
            return
        raise AssertionError(f"{self.plan.name}: a commit on what was no longer the newest state was not refused")

    def crash(self):
        """A commit that ends between its metadata file and the catalog: a whole state that never was."""
        table = self.load()
        transaction = table.transaction()
        transaction.append(self.arrow(table, [(-7, *row[1:]) for row in self.content.tuples(self.content.some(3))] or [(-7, 0, "ghost")]))
        metadata = json.loads(transaction.table_metadata.model_dump_json(by_alias=True, exclude_none=True))
        log = {"timestamp-ms": table.metadata.last_updated_ms, "metadata-file": table.metadata_location}
        metadata["metadata-log"] = [*metadata.get("metadata-log", []), log]
        folder, base = os.path.split(local(table.metadata_location))
        with open(f"{folder}/{history.version(base) + 1:05}-{uuid.UUID(int=self.random.getrandbits(128))}.metadata.json", "x") as file:
            json.dump(metadata, file)
        self.process.report(history.Attempt(self.plan.name, base))

    def keep_newest(self, count):
        table = self.load()
        protected = {ref.snapshot_id for ref in table.metadata.refs.values()}
        snapshots = sorted(table.metadata.snapshots, key=lambda it: it.sequence_number)
        old = [it.snapshot_id for it in snapshots[:-count] if it.snapshot_id not in protected]
        if old:
            before = self.files(table)
            table.maintenance.expire_snapshots().by_ids(old).commit()
            self.record()
            kept = self.files(self.load())
            for path in [path for path in before if path not in kept]:
                os.unlink(local(path))

    def files(self, table):
        """What any snapshot needs: data first, then manifests, then lists."""
        data, manifests, lists = {}, {}, {}
        for snapshot in table.metadata.snapshots:
            lists[snapshot.manifest_list] = None
            for manifest in snapshot.manifests(table.io):
                manifests[manifest.manifest_path] = None
                if manifest.manifest_path not in self.manifests:
                    entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
                    self.manifests[manifest.manifest_path] = [entry.data_file.file_path for entry in entries]
                data.update(dict.fromkeys(self.manifests[manifest.manifest_path]))
        return {**data, **manifests, **lists}


# --- Spark. ---------------------------------------------------------------------------------------


class SparkWriter(Writer):
    """Merge-on-read: position deletes, or deletion vectors in format version 3."""

    def __init__(self, process, table, catalog, spark):
        super().__init__(process, table, catalog)
        self.spark, self.full = spark, spark.full(table.name)

    def create(self):
        properties = {**self.properties(), **{f"write.{verb}.mode": "merge-on-read" for verb in ("delete", "update", "merge")}}
        listing = ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
        self.spark.execute(f"CREATE TABLE {self.full} (id BIGINT, gen INT, label STRING) USING iceberg TBLPROPERTIES ({listing})")
        self.record()

    def values(self, ids):
        return ", ".join(f"({', '.join(self.spark.literal(value) for value in row)})" for row in self.content.tuples(ids))

    def insert(self, ids):
        self.spark.execute(f"INSERT INTO {self.full} VALUES {self.values(ids)}")

    def rewrite(self, ids):
        names = self.content.names
        sets = ", ".join(f"t.{name} = s.{name}" for name in names)
        self.spark.execute(f"MERGE INTO {self.full} t USING (SELECT * FROM VALUES {self.values(sorted(ids))} AS v({', '.join(names)})) s "
                           f"ON t.id = s.id WHEN MATCHED THEN UPDATE SET {sets}")

    def remove(self, ids):
        self.spark.execute(f"DELETE FROM {self.full} WHERE id IN ({', '.join(map(str, ids))})")

    def call(self, procedure, **arguments):
        listing = "".join(f", {name} => {value}" for name, value in arguments.items())
        self.spark.execute(f"CALL {self.spark.catalog}.system.{procedure}(table => '{self.plan.name}'{listing})")

    def compact(self):
        self.call("rewrite_data_files", options="map('rewrite-all', 'true')")

    def rewrite_manifests(self):
        self.call("rewrite_manifests")

    def keep_newest(self, count):
        self.call("expire_snapshots", older_than="TIMESTAMP '2100-01-01 00:00:00'", retain_last=count)

    def add_column(self):
        column = self.content.add_column()
        self.spark.execute(f"ALTER TABLE {self.full} ADD COLUMN {column.name} {'STRING' if column.kind == 'string' else 'INT'}")

    def rename_column(self):
        old, new = self.content.rename_column()
        self.spark.execute(f"ALTER TABLE {self.full} RENAME COLUMN {old} TO {new}")

    def drop_column(self):
        self.spark.execute(f"ALTER TABLE {self.full} DROP COLUMN {self.content.drop_column().name}")

    def widen_column(self):
        self.spark.execute(f"ALTER TABLE {self.full} ALTER COLUMN {self.content.widen_column().name} TYPE BIGINT")

    def tag(self):
        self.spark.execute(f"ALTER TABLE {self.full} CREATE TAG {self.ref()} AS OF VERSION {self.a_snapshot()}")

    def branch(self):
        self.spark.execute(f"ALTER TABLE {self.full} CREATE BRANCH {self.ref()} AS OF VERSION {self.a_snapshot()}")

    def forget_ref(self):
        refs = self.other_refs()
        if refs:
            name = self.random.choice(list(refs))
            self.spark.execute(f"ALTER TABLE {self.full} DROP {refs[name].snapshot_ref_type.value.upper()} {name}")


# --- Their processes. -----------------------------------------------------------------------------


class Writing(Process):
    """Writes to its tables in turns that are drawn, until writing ends."""

    def __init__(self, name, plan, events, stop, tables, pause):
        super().__init__(name, plan, events, stop)
        self.tables, self.pause = tables, pause

    def run(self):
        from pyiceberg.catalog import load_catalog

        self.catalog = load_catalog("primary", type="rest", uri=self.plan.primary)
        self.write([PyIcebergWriter(self, table, self.catalog) for table in self.tables])

    def write(self, writers):
        random = self.plan.random(self.name)
        for writer in writers:
            writer.create()
        while not self.stopped and time.monotonic() < self.plan.ends:
            random.choice(writers).step()
            time.sleep(random.uniform(0, 2 * self.pause))


class SparkWriting(Writing):
    """The same with Spark."""

    def run(self):
        from pyiceberg.catalog import load_catalog

        import engines

        folder = self.plan.path("spark")
        folder.mkdir()
        session = engines.spark_session(folder)
        try:
            spark = engines.Spark(session, "primary", self.plan.primary)
            catalog = load_catalog("primary", type="rest", uri=self.plan.primary)
            self.write([SparkWriter(self, table, catalog, spark) for table in self.tables])
        finally:
            gateway = session.sparkContext._gateway
            session.stop()
            gateway.shutdown()
            gateway.proc.stdin.close()
            gateway.proc.wait(30)
