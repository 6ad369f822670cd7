"""What is in a table's files, read with none of the code under test.

`Tree` follows a metadata.json to every file that names another one. Avro is decoded here, so that nothing is lost on the
way: a field that is absent, the header, the codec. Parquet, ORC and the codecs are PyArrow's work.
"""

import gzip
import io
import json
import zlib
from dataclasses import dataclass, field

import pyarrow
import pyarrow.orc
import pyarrow.parquet

# Where position deletes keep bounds of the data files' paths, and where DuckDB keeps them.
PATH_FIELD_ID = 2147483546
PATH_FIELD_IDS = {PATH_FIELD_ID, 2147483646}
ADDED, DELETED = 1, 2
DATA, POSITION_DELETES, EQUALITY_DELETES = 0, 1, 2


def local(location):
    """The path of a file of this machine, however its location is spelled."""
    return "/" + location.removeprefix("file:").lstrip("/")


def read_local(location):
    with open(local(location), "rb") as file:
        return file.read()


# --- Avro. ----------------------------------------------------------------------------------------


@dataclass
class Avro:
    """One Avro file: its header's entries and its records, each with the names of the file's own schema."""

    header: dict
    records: list

    @property
    def codec(self):
        return self.header.get("avro.codec", "null")


class AvroReader:
    """Decodes by the schema that the file itself holds; later uses of a named type are its name alone."""

    def __init__(self, content):
        self.content = content
        self.at = 0
        self.fixed = {}

    def take(self, size):
        self.at += size
        return self.content[self.at - size:self.at]

    def long(self):
        value = shift = 0
        while True:
            byte = self.content[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return (value >> 1) ^ -(value & 1)
            shift += 7

    def bytes(self):
        return self.take(self.long())

    def blocks(self, read):
        """An array's or a map's items."""
        items = []
        while count := self.long():
            if count < 0:
                self.long()  # the block's size, for readers that skip it
            items += [read() for _ in range(abs(count))]
        return items

    def value(self, schema):
        if isinstance(schema, list):
            return self.value(schema[self.long()])
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, (dict, list)):
            return self.value(kind)
        match kind:
            case "null":
                return None
            case "boolean":
                return self.take(1) != b"\0"
            case "int" | "long":
                return self.long()
            case "float" | "double":
                return self.take(4 if kind == "float" else 8)
            case "bytes":
                return self.bytes()
            case "string":
                return self.bytes().decode()
            case "fixed":
                self.fixed[schema["name"]] = schema["size"]
                return self.take(schema["size"])
            case name if name in self.fixed:
                return self.take(self.fixed[name])
            case "array":
                items = self.blocks(lambda: self.value(schema["items"]))
                is_map = isinstance(schema["items"], dict) and schema.get("logicalType") == "map"
                return {item["key"]: item["value"] for item in items} if is_map else items
            case "map":
                return dict(self.blocks(lambda: (self.bytes().decode(), self.value(schema["values"]))))
            case "record":
                return {it["name"]: self.value(it["type"]) for it in schema["fields"]}
        raise ValueError(f"an Avro type that Iceberg does not use: {schema}")


def inflate(codec, block):
    match codec:
        case "null":
            return block
        case "deflate":
            return zlib.decompress(block, -zlib.MAX_WBITS)
        case "snappy":
            # Avro puts a checksum behind it.
            return pyarrow.decompress(block[:-4], snappy_size(block), codec="snappy", asbytes=True)
        case "zstandard":
            return pyarrow.input_stream(pyarrow.BufferReader(block), compression="zstd").read()
    raise ValueError(f"an unknown codec of Avro: {codec}")


def snappy_size(block):
    """The size that a block of snappy begins with; unlike Avro's own numbers it has no sign."""
    value = 0
    for at, byte in enumerate(block):
        value |= (byte & 127) << (7 * at)
        if byte < 128:
            return value


def read_avro(content):
    reader = AvroReader(content)
    assert reader.take(4) == b"Obj\x01", "an Avro file"
    header = {key: value.decode() for key, value in dict(reader.blocks(lambda: (reader.bytes().decode(), reader.bytes()))).items()}
    marker = reader.take(16)
    schema, records = json.loads(header["avro.schema"]), []
    while reader.at < len(content):
        count = reader.long()
        block = AvroReader(inflate(header.get("avro.codec", "null"), reader.bytes()))
        records += [block.value(schema) for _ in range(count)]
        assert block.at == len(block.content), "nothing is left in a block"
        assert reader.take(16) == marker, "blocks end with the file's marker"
    return Avro(header, records)


# --- Deletes. -------------------------------------------------------------------------------------


@dataclass
class Deletes:
    """One file of deletes: the rows of position deletes, a Puffin file's footer, and all that names no path otherwise."""

    size: int
    rows: list = field(default_factory=list)
    properties: dict = field(default_factory=dict)
    bounds: list = field(default_factory=list)
    footer: dict | None = None
    blobs: list = field(default_factory=list)


def read_deletes(content, file_format):
    match file_format.lower():
        case "parquet":
            return read_parquet_deletes(content)
        case "orc":
            file = pyarrow.orc.ORCFile(io.BytesIO(content))
            return Deletes(len(content), file.read().to_pylist(), {key: file.metadata[key] for key in file.metadata or ()})
        case "avro":
            avro = read_avro(content)
            rest = {key: value for key, value in avro.header.items() if key != "avro.codec"}
            return Deletes(len(content), avro.records, rest)
        case "puffin":
            footer, blobs = read_puffin(content)
            return Deletes(len(content), footer=footer, blobs=blobs)
    raise ValueError(f"an unknown format of deletes: {file_format}")


def read_parquet_deletes(content):
    file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
    deletes = Deletes(len(content), file.read().to_pylist())
    deletes.properties = {key.decode(): value.decode() for key, value in (file.metadata.metadata or {}).items() if key != b"ARROW:schema"}
    deletes.properties["fields"] = [(it.name, it.metadata.get(b"PARQUET:field_id") if it.metadata else None) for it in file.schema_arrow]
    for group in range(file.metadata.num_row_groups):
        for column in range(file.metadata.num_columns):
            chunk = file.metadata.row_group(group).column(column)
            if chunk.path_in_schema == "file_path" and chunk.statistics is not None and chunk.statistics.has_min_max:
                deletes.bounds += [chunk.statistics.min, chunk.statistics.max]
    return deletes


def read_puffin(content):
    """A Puffin file's footer and the bytes of its blobs."""
    assert content[:4] == content[-4:] == b"PFA1", "a Puffin file"
    size, flags = int.from_bytes(content[-12:-8], "little"), content[-8:-4]
    assert flags == b"\0\0\0\0", "a footer that is not compressed"
    begin = len(content) - 12 - size
    assert content[begin - 4:begin] == b"PFA1", "a footer begins with the magic"
    footer = json.loads(content[begin:begin + size])
    return footer, [content[blob["offset"]:blob["offset"] + blob["length"]] for blob in footer["blobs"]]


# --- A table. -------------------------------------------------------------------------------------


class Tree:
    """Every file that a table's metadata.json leads to, and that may name others, by its location."""

    def __init__(self, location, read=read_local):
        self.location = location
        self.read = read
        content = read(location)
        self.metadata = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
        self.lists, self.manifests, self.deletes = {}, {}, {}
        self.sizes = {}
        for snapshot in self.snapshots():
            for manifest in self.manifests_of(snapshot):
                self.follow(manifest)

    def snapshots(self):
        return self.metadata.get("snapshots", [])

    def manifests_of(self, snapshot):
        """A snapshot's manifests: the records of its list, or the paths that the first version could name itself."""
        if "manifest-list" not in snapshot:
            return [{"manifest_path": path} for path in snapshot["manifests"]]
        location = snapshot["manifest-list"]
        if location not in self.lists:
            self.lists[location] = read_avro(self.read(location))
        return self.lists[location].records

    def follow(self, manifest):
        path = manifest["manifest_path"]
        if path in self.manifests:
            return
        content = self.read(path)
        self.sizes[path] = len(content)
        self.manifests[path] = read_avro(content)
        for entry in self.live(path):
            file = entry["data_file"]
            if file.get("content", DATA) != DATA and file["file_path"] not in self.deletes:
                self.deletes[file["file_path"]] = self.read_deletes(file)

    def read_deletes(self, file):
        content = self.read(file["file_path"])
        self.sizes[file["file_path"]] = len(content)
        if file["content"] == EQUALITY_DELETES:
            return Deletes(len(content))  # no path is in it
        return read_deletes(content, file["file_format"])

    def entries(self):
        return [entry for manifest in self.manifests.values() for entry in manifest.records]

    def live(self, path=None):
        entries = self.manifests[path].records if path else self.entries()
        return [entry for entry in entries if entry["status"] != DELETED]

    def files(self, content):
        """The live files of one content, each once."""
        return list({it["data_file"]["file_path"]: it["data_file"] for it in self.live()
                     if it["data_file"].get("content", DATA) == content}.values())

    def paths_below(self, folder):
        """What still names a folder in any field of ours; users' values, which may do so, are left out."""
        found = []

        def look(value, where):
            match value:
                case dict():
                    for key, item in value.items():
                        look(item, f"{where} {key}")
                case list() | tuple():
                    for item in value:
                        look(item, where)
                case bytes():
                    look(value.decode(errors="replace"), where)
                case str() if f"{folder}/" in value or value.endswith(folder):
                    found.append(f"{where}: {value}")

        look({key: value for key, value in self.metadata.items() if key != "properties"}, self.location)
        for location, list_ in self.lists.items():
            look([list_.header, [{**record, "partitions": None} for record in list_.records]], location)
        for location, manifest in self.manifests.items():
            look(manifest.header, location)
            for entry in manifest.records:
                bounds = {key: {id: bound for id, bound in (entry["data_file"].get(key) or {}).items() if id in PATH_FIELD_IDS}
                          for key in ("lower_bounds", "upper_bounds")}
                look({**entry["data_file"], "partition": None, **bounds}, location)
        for location, deletes in self.deletes.items():
            look([[{**row, "row": None} for row in deletes.rows], deletes.properties, deletes.bounds, deletes.footer], location)
        return found
