"""PyIceberg as an oracle of the commit engine.

Random valid commits go to the embedded catalog over HTTP. PyIceberg applies the same updates to the metadata
before, and what it makes of them must be what Lifeboat answers. Where the two differ on purpose, PyIceberg's
result is corrected by one of `CORRECTIONS`, each of which says why; nothing else is passed over but the time of
a commit that adds no snapshot.
"""

import json
import random
import uuid

import components
import pytest
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadataUtil, new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from pyiceberg.table.update import TableUpdate, update_table_metadata
from pydantic import TypeAdapter
from updates import MAIN, Draw

COMMITS = 40
SEEDS = (1, 2, 3)
NOW = "now"  # stands for the time of a commit that adds no snapshot
READ_UPDATES = TypeAdapter(tuple[TableUpdate, ...])


@pytest.fixture(scope="module")
def namespace_uri():
    with components.Lifeboat.on_sqlite() as lifeboat:
        prefix = lifeboat.prefix
        uri = f"{lifeboat.uri}/v1/{prefix}" if prefix else f"{lifeboat.uri}/v1"
        post(f"{uri}/namespaces", {"namespace": ["oracle"]})
        yield f"{uri}/namespaces/oracle"


def post(uri, body):
    status, answer = components.http("POST", uri, json.dumps(body), {"Content-Type": "application/json"})
    assert status == 200, f"{status}: {answer.decode()} to {json.dumps(body)}"
    return json.loads(answer)


# --- Models. --------------------------------------------------------------------------------------


def parse(metadata):
    """PyIceberg's model of metadata. It writes into what it is given, so that is a copy."""
    model = TableMetadataUtil.parse_obj(json.loads(json.dumps(metadata)))
    if model.format_version == 1:
        # It counts anew over the specs that are left; the number must never fall.
        model = model.model_copy(update={"last_partition_id": metadata["last-partition-id"]})
    return model


def dump(model):
    """A model as metadata, without what version 1 says twice; a test of its own compares that."""
    known = {field.alias or name for name, field in type(model).model_fields.items()}
    members = {**model.model_dump(mode="json"), "format-version": model.format_version}
    dumped = {name: value for name, value in members.items() if name in known - {"schema", "partition-spec"}}
    for name in ("statistics", "partition-statistics"):  # one a snapshot, in no order
        dumped[name] = sorted(dumped.get(name, []), key=lambda file: file["snapshot-id"])
    return dumped


# --- What PyIceberg is told, and what it does otherwise. ------------------------------------------


def for_pyiceberg(updates, metadata):
    """The updates that PyIceberg can apply, and the format version that it cannot go to (3 is beyond it)."""
    told, version = [], metadata["format-version"]
    lists = {"add-schema": ("schemas", "schema", "schema-id"), "add-spec": ("partition-specs", "spec", "spec-id"),
             "add-sort-order": ("sort-orders", "sort-order", "order-id")}
    last = {}
    for update in updates:
        action = update["action"]
        if action == "upgrade-format-version":
            version = max(version, update["format-version"])
            continue
        if action in lists:
            _, member, id = lists[action]
            last[action.replace("add", "set-current" if member == "schema" else "set-default")] = update[member][id]
        elif -1 in update.values():
            # To PyIceberg -1 is the highest id, which is another one when an equal thing is added again.
            update = {key: last[action] if value == -1 else value for key, value in update.items()}
        told.append(update)
    return told, version


def restore_parents(expected, base, updates):
    """A removed snapshot stays its children's parent: snapshots never change (PyIceberg takes it away)."""
    parents = {it["snapshot-id"]: it.get("parent-snapshot-id") for it in base["snapshots"]}
    parents |= {it["snapshot"]["snapshot-id"]: it["snapshot"].get("parent-snapshot-id") for it in updates if it["action"] == "add-snapshot"}
    for snapshot in expected["snapshots"]:
        snapshot.pop("parent-snapshot-id", None)
        if parents[snapshot["snapshot-id"]] is not None:
            snapshot["parent-snapshot-id"] = parents[snapshot["snapshot-id"]]


def drop_partition_statistics(expected, base, updates):
    """A removed snapshot's partition statistics go with it, as its statistics do (PyIceberg keeps them)."""
    there = {it["snapshot-id"] for it in expected["snapshots"]}
    expected["partition-statistics"] = [it for it in expected["partition-statistics"] if it["snapshot-id"] in there]


def cut_snapshot_log(expected, base, updates):
    """The log loses all that is older than a removed snapshot's entry, as the specification says, and what was
    never current because the same commit went on to another (PyIceberg keeps both). A commit that adds a snapshot
    has its time, also where main then moves to an older one, as in Iceberg's Java library (PyIceberg takes now)."""
    removed = {id for it in updates if it["action"] == "remove-snapshots" for id in it["snapshot-ids"]}
    added = {it["snapshot"]["snapshot-id"] for it in updates if it["action"] == "add-snapshot"}
    moves, expected["last-updated-ms"] = moves_of_main(base, updates)
    kept = []
    for entry in [*base["snapshot-log"], *moves]:
        if entry["snapshot-id"] in removed:
            kept = []
        elif entry["snapshot-id"] not in added or entry["snapshot-id"] == expected.get("current-snapshot-id"):
            kept.append(entry)
    expected["snapshot-log"] = kept


def moves_of_main(base, updates):
    """The entries for all that main was set to and was not at already, and the time of the commit."""
    main, moves, added, at_ms = base["refs"].get(MAIN), [], {}, None
    for update in updates:
        if update["action"] == "add-snapshot":
            at_ms = added[update["snapshot"]["snapshot-id"]] = update["snapshot"]["timestamp-ms"]
        elif update["action"] == "set-snapshot-ref":
            at_ms = added.get(update["snapshot-id"], at_ms)
            to = {key: value for key, value in update.items() if key not in ("action", "ref-name")}
            if update["ref-name"] == MAIN and to != main:
                at_ms, main = at_ms or NOW, to
                moves.append({"snapshot-id": to["snapshot-id"], "timestamp-ms": at_ms})
        elif update["action"] == "remove-snapshot-ref" and update["ref-name"] == MAIN:
            main = None
        elif update["action"] == "remove-snapshots" and main and main["snapshot-id"] in update["snapshot-ids"]:
            main = None
    return moves, at_ms or NOW


def list_once(expected, base, updates):
    """What is equal to something listed is not listed again (PyIceberg lists it twice, under one id)."""
    for name, id in (("schemas", "schema-id"), ("partition-specs", "spec-id"), ("sort-orders", "order-id")):
        expected[name] = list({it[id]: it for it in reversed(expected[name])}.values())[::-1]
        expected[name].sort(key=lambda it: it[id])


def trim_location(expected, base, updates):
    """A location has no slash at its end, as Iceberg's Java library has it (PyIceberg keeps it)."""
    expected["location"] = expected["location"].rstrip("/")


CORRECTIONS = (restore_parents, drop_partition_statistics, cut_snapshot_log, list_once, trim_location)


def expect(metadata, metadata_location, updates):
    """What PyIceberg makes of updates, corrected."""
    told, version = for_pyiceberg(updates, metadata)
    base = parse(metadata)
    if version != base.format_version:
        # PyIceberg writes up to version 2; from there on only what the specification adds is new.
        rows = {"next-row-id": 0} if version == 3 else {}
        sequence = {"last-sequence-number": metadata.get("last-sequence-number", 0)}
        base = parse({**metadata, "format-version": version, **sequence, **rows})
        # So that it knows of a change: it counts this one even where the location is the same.
        told.insert(0, {"action": "set-location", "location": metadata["location"]})
    before = dump(base)
    made = update_table_metadata(base, READ_UPDATES.validate_python(told), metadata_location=metadata_location)
    expected = dump(made)
    if base.format_version == 3:
        # PyIceberg forgets the number in a commit that sets it while a later update does not.
        expected["next-row-id"] = made.next_row_id
    for correct in CORRECTIONS:
        correct(expected, before, updates)
    return expected


def compare(ours, expected, base, updates):
    known = {it["timestamp-ms"] for it in base["snapshot-log"]}
    known |= {it["snapshot"]["timestamp-ms"] for it in updates if it["action"] == "add-snapshot"}
    if expected["last-updated-ms"] == NOW:
        ours["last-updated-ms"] = NOW
    for entry in ours["snapshot-log"]:
        entry["timestamp-ms"] = entry["timestamp-ms"] if entry["timestamp-ms"] in known else NOW
    different = [f"{name}: {ours.get(name)}\n  expected {expected.get(name)}" for name in sorted({*ours, *expected})
                 if ours.get(name) != expected.get(name)]
    assert not different, "\n".join([*different, json.dumps(updates)])


# --- The tests. -----------------------------------------------------------------------------------


@pytest.mark.parametrize("format_version", (1, 2, 3))
@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_table_is_what_pyiceberg_makes(namespace_uri, format_version, seed):
    for turn in range(10):
        draw = Draw(random.Random(f"{seed} {turn}"))
        request = draw.create_request(f"new_{format_version}_{seed}_{turn}", format_version)
        metadata = post(f"{namespace_uri}/tables", request)["metadata"]
        ours, spec, order = parse(metadata), request.get("partition-spec"), request.get("write-order")
        expected = new_table_metadata(
            schema=Schema.model_validate(request["schema"]),
            partition_spec=PartitionSpec.model_validate(spec) if spec else UNPARTITIONED_PARTITION_SPEC,
            sort_order=SortOrder.model_validate(order) if order else UNSORTED_SORT_ORDER,
            location=metadata["location"],
            # Iceberg's Java library adds the default to new tables, and so do we.
            properties={**request["properties"], "write.parquet.compression-codec": "zstd"},
            table_uuid=uuid.UUID(metadata["table-uuid"]),
        )
        if format_version == 3:
            expected = expected.model_copy(update={"next_row_id": 0})
        one, two = dump(ours), dump(expected)
        restore_defaults(two["schemas"][0], request["schema"])
        del one["last-updated-ms"], two["last-updated-ms"]
        assert one == two, json.dumps(request, indent=1)


def restore_defaults(schema, requested):
    """Columns keep their defaults when they get new ids (PyIceberg loses them)."""
    given = {field["name"]: field for field in requested["fields"]}
    for field in schema["fields"]:
        field.update({name: value for name, value in given[field["name"]].items() if name.endswith("-default")})


@pytest.mark.parametrize("format_version", (1, 2, 3))
@pytest.mark.parametrize("seed", SEEDS)
def test_a_commit_makes_what_pyiceberg_makes(namespace_uri, format_version, seed):
    draw = Draw(random.Random(seed))
    uri = f"{namespace_uri}/tables"
    loaded = post(uri, draw.create_request(f"table_{format_version}_{seed}", format_version))
    for _ in range(COMMITS):
        base, location = loaded["metadata"], loaded["metadata-location"]
        updates = draw.commit(base, lambda updates: expect(base, location, updates))
        expected = expect(base, location, updates)
        loaded = post(f"{uri}/table_{format_version}_{seed}", {"requirements": [], "updates": updates})
        metadata, before = loaded["metadata"], dump(parse(base))
        if loaded["metadata-location"] == location:
            # No commit, as nothing changed; PyIceberg makes one of adding what is there.
            assert metadata == base
            expected.update({name: before[name] for name in ("last-updated-ms", "metadata-log")})
        compare(dump(parse(metadata)), expected, before, updates)
        if metadata["format-version"] == 1:
            assert metadata["schema"] == by_id(metadata["schemas"], "schema-id", metadata["current-schema-id"])
            assert metadata["partition-spec"] == by_id(metadata["partition-specs"], "spec-id", metadata["default-spec-id"])["fields"]


def by_id(things, name, id):
    (found,) = [it for it in things if it[name] == id]
    return found
