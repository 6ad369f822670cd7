"""The command under test, and what a relocated table has to be: all that it was, with other paths.

`Comparison` goes through the files of both places side by side, and learns on the way which file took which one's place.
"""

import copy
import json
import os
import subprocess
from dataclasses import dataclass

import components
import files
from files import DATA, DELETED, PATH_FIELD_IDS, POSITION_DELETES

COMMAND_TIMEOUT_S = 60
# Table properties that hold locations: Iceberg's own.
PATH_PROPERTIES = ("write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path")
# What is another in a delete file that is written anew.
REWRITTEN = ("file_size_in_bytes", "column_sizes", "split_offsets")


@dataclass
class Move:
    """Which prefix of a path became which."""

    pairs: list

    @staticmethod
    def of_folder(source, target):
        """The pairs for every way in which engines spell a folder of this machine."""
        return Move([(f"{scheme}{source}", f"{scheme}{target}") for scheme in ("file://", "file:", "")])

    def arguments(self):
        return [argument for source, target in self.pairs for argument in ("--map", f"{source}={target}")]

    def path(self, path):
        fitting = [pair for pair in self.pairs if path == pair[0] or path.startswith(f"{pair[0]}/")]
        source, target = max(fitting, key=lambda pair: len(pair[0]), default=("", ""))
        return target + path.removeprefix(source)


def run(source, move, overlay, *arguments):
    """Runs the command to whatever end it comes."""
    command = [components.lifeboat_program(), "relocate", source, *move.arguments(), "--into", overlay, "--json", *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)


def relocate(source, move, overlay, *arguments):
    """Runs the command, which has to succeed. Returns what it says."""
    done = run(source, move, overlay, *arguments)
    assert done.returncode == 0, f"{done.returncode} of {' '.join(map(str, done.args))}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


# --- Files. ---------------------------------------------------------------------------------------


class Comparison:
    """Two trees of files, of which the second has to be the first, relocated."""

    def __init__(self, old, new, move, overlay, path_properties=(), size_of=None):
        self.old, self.new = old, new
        self.move, self.overlay = move, overlay
        self.path_properties = {*PATH_PROPERTIES, *path_properties}
        self.size_of = size_of or (lambda location: os.path.getsize(files.local(location)))
        self.names = {}

    def check(self):
        assert len(self.old.snapshots()) == len(self.new.snapshots())
        for old, new in zip(self.old.snapshots(), self.new.snapshots()):
            self.check_snapshot(old, new)
        self.check_metadata()

    def rewritten(self, old, new):
        """Notes that a file took another one's place, which is always the same and below the overlay."""
        assert new.startswith(f"{self.overlay}/"), f"{new} is written below {self.overlay}"
        assert self.names.setdefault(old, new) == new, f"{old} became {self.names[old]} and {new}"

    def check_metadata(self):
        expected, found = copy.deepcopy(self.old.metadata), copy.deepcopy(self.new.metadata)
        expected["location"] = self.move.path(expected["location"])
        for name in self.path_properties & expected["properties"].keys():
            expected["properties"][name] = self.move.path(expected["properties"][name])
        for snapshot in expected.get("snapshots", []):
            if "manifest-list" in snapshot:
                snapshot["manifest-list"] = self.names[snapshot["manifest-list"]]
            else:
                snapshot["manifests"] = [self.names[path] for path in snapshot["manifests"]]
        for kind in ("statistics", "partition-statistics"):
            for file in expected.get(kind, []):
                file["statistics-path"] = self.move.path(file["statistics-path"])
                assert self.size_of(file["statistics-path"]) == file["file-size-in-bytes"]
        for entry in expected.get("metadata-log", []):
            entry["metadata-file"] = self.move.path(entry["metadata-file"])
        assert found == expected

    def check_snapshot(self, old, new):
        of_old, of_new = self.old.manifests_of(old), self.new.manifests_of(new)
        if "manifest-list" in old:
            self.rewritten(old["manifest-list"], new["manifest-list"])
            self.check_headers(self.old.lists[old["manifest-list"]], self.new.lists[new["manifest-list"]])
        assert len(of_old) == len(of_new)
        for was, now in zip(of_old, of_new):
            self.rewritten(was["manifest_path"], now["manifest_path"])
            expected = {**was, "manifest_path": now["manifest_path"]}
            if "manifest_length" in was:
                expected["manifest_length"] = self.new.sizes[now["manifest_path"]]
            assert now == expected
            self.check_manifest(was["manifest_path"], now["manifest_path"])

    def check_headers(self, old, new):
        """All that a file says about itself stays, but for how it is compressed."""
        of_old, of_new = ({key: value for key, value in it.header.items() if key not in ("avro.codec", "avro.schema")} for it in (old, new))
        assert of_new == of_old
        assert json.loads(new.header["avro.schema"]) == json.loads(old.header["avro.schema"])

    def check_manifest(self, old, new):
        was, now = self.old.manifests[old], self.new.manifests[new]
        self.check_headers(was, now)
        assert len(now.records) == len(was.records)
        for before, after in zip(was.records, now.records):
            self.check_entry(before, after)

    def check_entry(self, old, new):
        was, now = old["data_file"], new["data_file"]
        content, expected = was.get("content", DATA), copy.deepcopy(old)
        file = expected["data_file"]
        file["file_path"] = self.move.path(was["file_path"])
        # Equality deletes name no file. What is deleted is not opened, but may be known from where it is alive.
        if content == POSITION_DELETES and (old["status"] != DELETED or now["file_path"] != file["file_path"]):
            self.rewritten(was["file_path"], now["file_path"])
            file.update({name: now[name] for name in ("file_path", *REWRITTEN) if name in now})
        if content == POSITION_DELETES and old["status"] != DELETED:
            self.check_deletes(was, now)
        if was.get("referenced_data_file"):
            file["referenced_data_file"] = self.move.path(was["referenced_data_file"])
        if content == POSITION_DELETES:
            self.check_path_bounds(was, now)
            for bounds in ("lower_bounds", "upper_bounds"):
                file[bounds] = without_path_bounds(file[bounds])
                new = {**new, "data_file": {**new["data_file"], bounds: without_path_bounds(now[bounds])}}
        assert new == expected
        if old["status"] != DELETED:
            assert self.size_of(now["file_path"]) == now["file_size_in_bytes"], now["file_path"]

    def check_path_bounds(self, old, new):
        """Bounds that name one file name the relocated one; of others it is not known what they would be, and they go."""
        for id in PATH_FIELD_IDS:
            lower, upper = ((old[bounds] or {}).get(id) for bounds in ("lower_bounds", "upper_bounds"))
            exact = self.move.path(lower.decode()).encode() if lower and lower == upper else None
            assert [(new[bounds] or {}).get(id) for bounds in ("lower_bounds", "upper_bounds")] == [exact, exact], f"bounds of {id}"

    def check_deletes(self, old, new):
        was, now = self.old.deletes[old["file_path"]], self.new.deletes[new["file_path"]]
        rows = [{**row, "file_path": self.move.path(row["file_path"])} for row in was.rows]
        assert now.rows == sorted(rows, key=lambda row: (row["file_path"].encode(), row["pos"]))
        assert now.properties == was.properties
        if was.bounds:
            paths = [row["file_path"] for row in now.rows]
            assert set(now.bounds) <= {min(paths), max(paths)}
        assert now.blobs == was.blobs
        if was.footer:
            footer = copy.deepcopy(was.footer)
            for blob in footer["blobs"]:
                blob["properties"]["referenced-data-file"] = self.move.path(blob["properties"]["referenced-data-file"])
            assert now.footer == footer

    # What engines say of files.

    def check_metadata_table(self, name, old, new):
        """A metadata table of Spark's says the same of the relocated files."""
        known = {self.move.path(path): name for path, name in self.names.items()}
        old = [with_paths(row, self.move.path) for row in old]
        expected, found = ([comparable(with_paths(row, lambda path: known.get(path, path))) for row in rows] for rows in (old, new))
        gone, came = ([row for row in one if row not in other] for one, other in ((expected, found), (found, expected)))
        assert (gone, came) == ([], []), f"rows of {name} that are gone, and that came"
        assert len(found) == len(expected), name


def with_paths(row, change):
    """A row of a metadata table with other paths."""
    row = copy.deepcopy(row)
    for holder in (row, row.get("data_file", {})):
        for key in ("file_path", "path", "manifest_list", "delete_file_path", "referenced_data_file"):
            if key in holder:
                holder[key] = change(holder[key])
    return row


def comparable(row):
    """A row without what a file that is written anew may have otherwise."""
    row = copy.deepcopy(row)
    file = row.get("data_file", row)
    if file.get("content") == POSITION_DELETES and "file_format" in file:
        for key in REWRITTEN:
            file.pop(key, None)
        for bounds in ("lower_bounds", "upper_bounds"):
            file[bounds] = without_path_bounds({int(id): bound for id, bound in (file.get(bounds) or {}).items()})
        for metrics in row.get("readable_metrics", {}).values():
            metrics.pop("column_size", None)
    if "added_snapshot_id" in row:  # a manifest
        del row["length"]
    return row


def without_path_bounds(bounds):
    return {id: bound for id, bound in bounds.items() if id not in PATH_FIELD_IDS} if bounds else {}
