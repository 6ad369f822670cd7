"""Random updates that a table allows, drawn from a seed.

`Draw.commit` makes the updates of one commit, each as it goes over the wire; `learn` is told the metadata
after each update, so that the next one fits. Ids of what is added are those that the table has next, since
PyIceberg keeps whatever id a client gives.
"""

import copy
import time

MAIN = "main"
UPDATES_MAX = 4
SNAPSHOTS_KEPT = 12

TYPES = ("int", "long", "float", "double", "boolean", "date", "time", "timestamp", "timestamptz", "string", "uuid",
         "binary", "fixed[7]", "decimal(12, 3)")
TYPES_V3 = ("timestamp_ns", "timestamptz_ns", "unknown")
WIDER = {"int": "long", "float": "double", "decimal(12, 3)": "decimal(20, 3)"}
DEFAULTS = {"int": 34, "long": 2**40, "string": "é", "boolean": True, "date": "2024-02-29"}
TIMES = ("date", "timestamp", "timestamptz", "timestamp_ns", "timestamptz_ns")
COMPARABLE = ("int", "long", "string", "date", "decimal(12, 3)", "decimal(20, 3)", *TIMES)


def transforms(kind):
    """The transforms that a column of this type can have."""
    if not isinstance(kind, str) or kind == "unknown":
        return []
    found = ["identity"] if kind in COMPARABLE else []
    if kind in COMPARABLE:
        found.append("bucket[16]")
    if kind in ("int", "long", "string") or kind.startswith("decimal"):
        found.append("truncate[10]")
    if kind in TIMES:
        found += ["year", "month", "day"]
    if kind.startswith("timestamp"):
        found.append("hour")
    return found


class Draw:
    def __init__(self, random):
        self.random = random
        self.metadata = None
        self.begins = True
        self.names = 0

    # A new table.

    def create_request(self, name, format_version):
        self.metadata = {"format-version": format_version, "last-column-id": 0, "schemas": []}
        fields = [self.field(100 * (at + 1)) for at in range(self.random.randint(1, 6))]
        self.random.shuffle(fields)
        schema = {"type": "struct", "schema-id": 0, "fields": fields, "identifier-field-ids": []}
        request = {"name": name, "schema": schema, "properties": {"format-version": str(format_version), "owner": "ada"}}
        if self.random.random() < 0.7:
            request["partition-spec"] = {"spec-id": 0, "fields": self.partition_fields(schema, [], 999)}
        if self.random.random() < 0.7:
            request["write-order"] = self.order(schema, 1)
        return request

    # One commit.

    def commit(self, metadata, learn):
        """The updates of one commit. `learn(updates)` gives the metadata after them."""
        self.metadata, self.begins, updates = metadata, True, []
        kinds = (self.schema, self.spec, self.sort_order, self.snapshot, self.snapshot, self.ref, self.remove_ref, self.roll_back,
                 self.properties, self.remove_properties, self.statistics, self.remove_statistics, self.remove_snapshots,
                 self.remove_schemas, self.remove_specs, self.location, self.upgrade, self.same_uuid, self.default_again)
        wanted = self.random.randint(1, UPDATES_MAX)
        while len(updates) < wanted:
            more = self.random.choice(kinds)()
            if more:
                updates += more
                self.begins = False
                self.metadata = learn(updates)
        return updates

    def one_of(self, things):
        things = list(things)
        return self.random.choice(things) if things else None

    def name(self, prefix):
        self.names += 1
        return f"{prefix}{self.names}"

    @property
    def format_version(self):
        return self.metadata["format-version"]

    def current_schema(self):
        (schema,) = [it for it in self.metadata["schemas"] if it["schema-id"] == self.metadata["current-schema-id"]]
        return schema

    def default_sources(self):
        """The columns that the default spec and sort order need."""
        specs = [it for it in self.metadata["partition-specs"] if it["spec-id"] == self.metadata["default-spec-id"]]
        orders = [it for it in self.metadata["sort-orders"] if it["order-id"] == self.metadata["default-sort-order-id"]]
        return {field["source-id"] for it in specs + orders for field in it["fields"]}

    @staticmethod
    def fits(fields, schema):
        kinds = {field["id"]: field["type"] for field in schema["fields"]}
        return all(field["transform"] in transforms(kinds.get(field["source-id"])) for field in fields)

    # Schemas.

    def field(self, id):
        """A column whose ids begin here."""
        shape = self.random.random()
        kind = self.random.choice(TYPES + (TYPES_V3 if self.format_version == 3 else ()))
        field = {"id": id, "name": self.name("c"), "required": False, "type": kind}
        if shape < 0.1:
            field["type"] = {"type": "list", "element-id": id + 1, "element": "long", "element-required": self.random.random() < 0.5}
        elif shape < 0.2:
            inner = {"type": "struct", "fields": [{"id": id + 3, "name": "x", "required": True, "type": "string", "doc": "deep"}]}
            field["type"] = {"type": "map", "key-id": id + 1, "key": "string", "value-id": id + 2, "value": inner, "value-required": False}
        elif shape < 0.3:
            field["type"] = {"type": "struct", "fields": [{"id": id + 1, "name": "y", "required": False, "type": "int"},
                                                          {"id": id + 2, "name": "x", "required": False, "type": "date"}]}
        elif self.format_version == 3 and kind in DEFAULTS:
            field["initial-default"] = field["write-default"] = DEFAULTS[kind]
        elif shape < 0.5 and kind != "unknown":
            field["required"] = True
        if self.random.random() < 0.2:
            field["doc"] = "what it is: “d”"
        return field

    def schema(self):
        """A schema is added and made current, an old one is made current, or one is added again."""
        schemas, choice = self.metadata["schemas"], self.random.random()
        if choice < 0.2:
            fitting = [it for it in schemas if self.default_fits(it)]
            return [{"action": "set-current-schema", "schema-id": self.one_of(fitting)["schema-id"]}]
        if choice < 0.3:
            return [{"action": "add-schema", "schema": copy.deepcopy(self.one_of(schemas))}]
        schema = self.evolved(copy.deepcopy(self.current_schema()))
        equal = [it["schema-id"] for it in schemas if {**it, "schema-id": 0} == {**schema, "schema-id": 0}]
        schema["schema-id"] = equal[0] if equal else max(it["schema-id"] for it in schemas) + 1
        add = {"action": "add-schema", "schema": schema}
        if self.random.random() < 0.5:
            add["last-column-id"] = self.highest_column(schema)
        return [add] + ([{"action": "set-current-schema", "schema-id": -1}] if self.random.random() < 0.8 else [])

    def highest_column(self, schema):
        def ids(it):
            if isinstance(it, dict):
                yield from (value for key, value in it.items() if key in ("id", "element-id", "key-id", "value-id"))
                for value in it.values():
                    yield from ids(value)
            elif isinstance(it, list):
                for value in it:
                    yield from ids(value)

        return max(self.metadata["last-column-id"], *ids(schema["fields"]))

    def default_fits(self, schema):
        specs = [it for it in self.metadata["partition-specs"] if it["spec-id"] == self.metadata["default-spec-id"]]
        orders = [it for it in self.metadata["sort-orders"] if it["order-id"] == self.metadata["default-sort-order-id"]]
        return all(self.fits(it["fields"], schema) for it in specs + orders)

    def evolved(self, schema):
        fields, needed = schema["fields"], self.default_sources()
        free = [field for field in fields if field["id"] not in needed]
        change = self.random.choice(("add", "add", "drop", "rename", "widen", "relax", "move", "identify"))
        field = self.one_of(free)
        if change == "drop" and field and len(fields) > 1:
            fields.remove(field)
            schema["identifier-field-ids"] = [id for id in schema.get("identifier-field-ids", []) if id != field["id"]]
        elif change == "rename":
            self.one_of(fields)["name"] = self.name("c")
        elif change == "widen" and field and isinstance(field["type"], str) and field["type"] in WIDER:
            field["type"] = WIDER[field["type"]]
        elif change == "relax":
            self.one_of(fields)["required"] = False
            schema["identifier-field-ids"] = []
        elif change == "move" and len(fields) > 1:
            self.random.shuffle(fields)
        elif change == "identify" and field and field["type"] in ("int", "long", "string", "date"):
            field["required"] = True
            schema["identifier-field-ids"] = [field["id"]]
        else:
            fields.append(self.field(self.metadata["last-column-id"] + 1))
        return schema

    def remove_schemas(self):
        gone = [it["schema-id"] for it in self.metadata["schemas"] if it["schema-id"] != self.metadata["current-schema-id"]]
        return [{"action": "remove-schemas", "schema-ids": self.random.sample(gone, self.random.randint(1, len(gone)))}] if gone else []

    # Specs and sort orders.

    def partition_fields(self, schema, known, last):
        fields, seen = [], set()
        for column in self.random.sample(schema["fields"], self.random.randint(0, min(3, len(schema["fields"])))):
            transform = self.one_of(transforms(column["type"]))
            if transform and (column["id"], transform) not in seen:
                seen.add((column["id"], transform))
                ids = [it["field-id"] for it in known if (it["source-id"], it["transform"]) == (column["id"], transform)]
                if self.format_version == 1:
                    id = 1000 + len(fields)
                elif ids:
                    id = ids[0]
                else:
                    id = last = last + 1
                fields.append({"source-id": column["id"], "field-id": id, "name": self.name("p"), "transform": transform})
        return fields

    def spec(self):
        specs, choice = self.metadata["partition-specs"], self.random.random()
        if choice < 0.2:
            fitting = [it for it in specs if self.fits(it["fields"], self.current_schema())]
            return [{"action": "set-default-spec", "spec-id": self.one_of(fitting)["spec-id"]}] if fitting else []
        if choice < 0.3:
            fitting = [it for it in specs if self.fits(it["fields"], self.current_schema())]
            return [{"action": "add-spec", "spec": copy.deepcopy(self.one_of(fitting))}] if fitting else []
        known = [field for it in specs for field in it["fields"]]
        fields = self.partition_fields(self.current_schema(), known, self.metadata["last-partition-id"])
        if not fields:
            return []
        spec = {"spec-id": max(it["spec-id"] for it in specs) + 1, "fields": fields}
        return [{"action": "add-spec", "spec": spec}] + ([{"action": "set-default-spec", "spec-id": -1}] if self.random.random() < 0.8 else [])

    def remove_specs(self):
        gone = [it["spec-id"] for it in self.metadata["partition-specs"] if it["spec-id"] != self.metadata["default-spec-id"]]
        return [{"action": "remove-partition-specs", "spec-ids": [self.one_of(gone)]}] if gone else []

    def order(self, schema, id):
        fields = []
        for column in self.random.sample(schema["fields"], self.random.randint(0, min(2, len(schema["fields"])))):
            transform = self.one_of(transforms(column["type"]))
            if transform:
                fields.append({"source-id": column["id"], "transform": transform, "direction": self.random.choice(("asc", "desc")),
                               "null-order": self.random.choice(("nulls-first", "nulls-last"))})
        return {"order-id": id if fields else 0, "fields": fields}

    def sort_order(self):
        orders, choice = self.metadata["sort-orders"], self.random.random()
        fitting = [it for it in orders if self.fits(it["fields"], self.current_schema())]
        if choice < 0.2:
            return [{"action": "set-default-sort-order", "sort-order-id": self.one_of(fitting)["order-id"]}] if fitting else []
        if choice < 0.3:
            return [{"action": "add-sort-order", "sort-order": copy.deepcopy(self.one_of(fitting))}] if fitting else []
        order = self.order(self.current_schema(), max(it["order-id"] for it in orders) + 1)
        if any(it["fields"] == order["fields"] for it in orders) or not order["fields"]:
            return []
        more = [{"action": "set-default-sort-order", "sort-order-id": -1}] if self.random.random() < 0.8 else []
        return [{"action": "add-sort-order", "sort-order": order}] + more

    def default_again(self):
        """What is the default already: nothing changes."""
        return [{"action": "set-default-spec", "spec-id": self.metadata["default-spec-id"]},
                {"action": "set-current-schema", "schema-id": self.metadata["current-schema-id"]}]

    # Snapshots and refs.

    def snapshots(self):
        return self.metadata.get("snapshots", [])

    def snapshot_id(self):
        found = self.one_of(self.snapshots())
        return found and found["snapshot-id"]

    def retention(self, kind):
        given = {"max-ref-age-ms": 86_400_000, **({"min-snapshots-to-keep": 3, "max-snapshot-age-ms": 3_600_000} if kind == "branch" else {})}
        return {key: value for key, value in given.items() if self.random.random() < 0.3}

    def snapshot(self):
        """A snapshot is added; most become the head of main, some of a branch, some of nothing."""
        id = self.random.getrandbits(62) + 1
        snapshot = {"snapshot-id": id, "timestamp-ms": int(time.time() * 1000), "manifest-list": f"file:///nowhere/snap-{id}.avro",
                    "summary": {"operation": self.random.choice(("append", "overwrite", "delete", "replace")), "added-records": "5"},
                    "schema-id": self.metadata["current-schema-id"]}
        current = self.metadata.get("current-snapshot-id", -1)
        if current not in (None, -1):
            snapshot["parent-snapshot-id"] = current
        if self.format_version > 1:
            snapshot["sequence-number"] = self.metadata["last-sequence-number"] + self.random.choice((1, 1, 1, 4))
        if self.format_version > 2:
            snapshot["first-row-id"] = self.metadata["next-row-id"] + self.random.choice((0, 0, 7))
            snapshot["added-rows"] = self.random.choice((0, 1, 1000))
        add = [{"action": "add-snapshot", "snapshot": snapshot}]
        where = self.random.random()
        if where < 0.7:
            return [*add, {"action": "set-snapshot-ref", "ref-name": MAIN, "type": "branch", "snapshot-id": id}]
        if where < 0.85:
            return [*add, {"action": "set-snapshot-ref", "ref-name": self.name("b"), "type": "branch", "snapshot-id": id, **self.retention("branch")}]
        return add

    def ref(self):
        id = self.snapshot_id()
        kind = self.random.choice(("branch", "tag"))
        old = [name for name, to in self.metadata.get("refs", {}).items() if to["type"] == kind and name != MAIN]
        name = self.one_of(old) if old and self.random.random() < 0.4 else self.name("r")
        return [{"action": "set-snapshot-ref", "ref-name": name, "type": kind, "snapshot-id": id, **self.retention(kind)}] if id else []

    def roll_back(self):
        id = self.snapshot_id()
        return [{"action": "set-snapshot-ref", "ref-name": MAIN, "type": "branch", "snapshot-id": id, **self.retention("branch")}] if id else []

    def remove_ref(self):
        names = [name for name in self.metadata.get("refs", {}) if name != MAIN or self.random.random() < 0.1]
        return [{"action": "remove-snapshot-ref", "ref-name": self.one_of([*names, "never-was"])}]

    def remove_snapshots(self):
        ids = [it["snapshot-id"] for it in self.snapshots()]
        spared = [self.metadata.get("current-snapshot-id")] if self.random.random() < 0.9 else []
        ids = [id for id in ids if id not in spared]
        if not ids or (len(ids) < SNAPSHOTS_KEPT and self.random.random() < 0.5):
            return []
        return [{"action": "remove-snapshots", "snapshot-ids": self.random.sample(ids, self.random.randint(1, min(3, len(ids))))}]

    # The rest.

    def properties(self):
        updates = {self.random.choice(("a", "b", "ü", self.name("k"))): str(self.random.randint(0, 3)) for _ in range(self.random.randint(0, 2))}
        if self.random.random() < 0.2:
            updates["write.metadata.previous-versions-max"] = self.random.choice(("1", "3", "9"))
        return [{"action": "set-properties", "updates": updates}]

    def remove_properties(self):
        names = list(self.metadata.get("properties", {}))
        return [{"action": "remove-properties", "removals": self.random.sample(names, self.random.randint(0, min(2, len(names))))}]

    def statistics(self):
        id = self.snapshot_id()
        if not id:
            return []
        path = f"file:///nowhere/{self.name('s')}.puffin"
        if self.random.random() < 0.5:
            file = {"snapshot-id": id, "statistics-path": path, "file-size-in-bytes": 42}
            return [{"action": "set-partition-statistics", "partition-statistics": file}]
        blob = {"type": "apache-datasketches-theta-v1", "snapshot-id": id, "sequence-number": 1, "fields": [1], "properties": {"ndv": "3"}}
        file = {"snapshot-id": id, "statistics-path": path, "file-size-in-bytes": 42, "file-footer-size-in-bytes": 7, "blob-metadata": [blob]}
        return [{"action": "set-statistics", "snapshot-id": id, "statistics": file}]

    def remove_statistics(self):
        kind = self.random.choice(("statistics", "partition-statistics"))
        file = self.one_of(self.metadata.get(kind, []))
        return [{"action": f"remove-{kind}", "snapshot-id": file["snapshot-id"]}] if file else []

    def location(self):
        base = self.metadata["location"].split("/moved")[0]
        return [{"action": "set-location", "location": f"{base}/moved-{self.random.randint(0, 2)}" + self.random.choice(("", "/"))}]

    def upgrade(self):
        """To the version it has, or as a commit's first update to the next, rarely."""
        up = self.begins and self.format_version < 3 and self.random.random() < 0.3
        return [{"action": "upgrade-format-version", "format-version": self.format_version + up}]

    def same_uuid(self):
        return [{"action": "assign-uuid", "uuid": self.metadata["table-uuid"]}]
