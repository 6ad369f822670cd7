"""The real components that `install.py` installed: how each is started and when it is ready.

How a process lives and ends is in `component.py`.

By hand: `python components.py run fixture nessie` starts some, prints where they are, and waits.
"""

import argparse
import glob
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from component import JAVA_FLAGS, STOP_TIMEOUT_S, Component, ComponentError, free_port, http, installed, java_25, start_together

__all__ = ["JAVA_FLAGS", "STOP_TIMEOUT_S", "Component", "ComponentError", "free_port", "http", "installed", "java_25",
           "start_together", "RestFixture", "Versitygw", "Minio", "Nessie", "Postgres", "Trino", "Lifeboat", "lifeboat_program"]

CHECKOUT = Path(__file__).resolve().parents[2]


class RestFixture(Component):
    """Apache's own REST catalog, on SQLite. Always fresh. It listens on every address; it has no switch for that."""

    name = "fixture"

    def __init__(self, warehouse=None):
        super().__init__()
        # One slash: Hadoop writes `file:/` into metadata whatever the warehouse says, and tools
        # that compare prefixes then find two spellings of one place.
        self.warehouse = warehouse or f"file:{self.folder}/warehouse"
        self.uri = f"http://127.0.0.1:{self.port}"

    def environment(self):
        return {
            "CATALOG_CATALOG__IMPL": "org.apache.iceberg.jdbc.JdbcCatalog",
            "CATALOG_URI": f"jdbc:sqlite:{self.folder}/catalog.db",
            "CATALOG_JDBC_USER": "user",
            "CATALOG_JDBC_PASSWORD": "password",
            "CATALOG_JDBC_SCHEMA__VERSION": "V1",
            "CATALOG_IO__IMPL": "org.apache.iceberg.io.ResolvingFileIO",
            "CATALOG_WAREHOUSE": self.warehouse,
            "CATALOG_REST_PORT": self.port,
        }

    def command(self):
        return ["java", "-Xmx384m", *JAVA_FLAGS, f"-Djava.io.tmpdir={self.folder}",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp", f"{installed('rck', 'files')}/*", "org.apache.iceberg.rest.RESTCatalogServer"]

    def is_ready(self):
        return http("GET", f"{self.uri}/v1/config")[0] == 200

    def variables(self):
        return {"FIXTURE_URI": self.uri, "FIXTURE_WAREHOUSE": self.warehouse}


class Bucket(Component):
    """An object store with one bucket."""

    access_key = "lifeboat"
    secret_key = "lifeboat-secret"
    region = "us-east-1"
    bucket = "warehouse"

    def __init__(self):
        super().__init__()
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def reach(self):
        """What an Iceberg client needs to find the bucket."""
        return {"s3.endpoint": self.endpoint, "s3.path-style-access": "true", "client.region": self.region, "s3.region": self.region}

    def client_properties(self):
        """What an Iceberg client needs to read and write the bucket."""
        return {
            "s3.endpoint": self.endpoint,
            "s3.path-style-access": "true",
            "s3.access-key-id": self.access_key,
            "s3.secret-access-key": self.secret_key,
            "client.region": self.region,
        }

    def variables(self):
        return {"S3_ENDPOINT": self.endpoint, "S3_BUCKET": self.bucket, "AWS_REGION": self.region,
                "AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


class Versitygw(Bucket):
    """An S3 gateway over a local folder."""

    name = "versitygw"

    def prepare(self):
        # With the posix back end a bucket is a folder.
        (self.folder / "buckets" / self.bucket).mkdir(parents=True)

    def environment(self):
        return {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}

    def command(self):
        return [installed("versitygw", "versitygw"), "--port", f"127.0.0.1:{self.port}", "--region", self.region,
                "--quiet", "posix", self.folder / "buckets"]

    def is_ready(self):
        return http("GET", self.endpoint)[0] in (200, 400, 403)  # unsigned, so refused, but answered


class Minio(Bucket):
    """An object store that gives session credentials and holds their policies. It is a program of its own, never linked."""

    name = "minio"

    def prepare(self):
        # On a single drive a bucket is a folder.
        (self.folder / "buckets" / self.bucket).mkdir(parents=True)

    def environment(self):
        return {"MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key, "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off", "HOME": self.folder}

    def command(self):
        return [installed("minio", "minio"), "server", self.folder / "buckets", "--address", f"127.0.0.1:{self.port}", "--quiet"]

    def is_ready(self):
        return http("GET", f"{self.endpoint}/minio/health/ready")[0] == 200


class Nessie(Component):
    """Nessie in memory, its warehouse in a bucket of `s3`. It has no local-file warehouse."""

    name = "nessie"
    warehouse = "warehouse"  # what a client has to ask for; Nessie answers 500 to any other name

    def __init__(self, s3):
        super().__init__()
        self.s3 = s3
        self.uri = f"http://127.0.0.1:{self.port}/iceberg"

    def command(self):
        s3 = "nessie.catalog.service.s3.default-options"
        properties = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self.port,
            "quarkus.management.host": "127.0.0.1",
            "quarkus.management.port": free_port(),
            "quarkus.otel.sdk.disabled": "true",
            "nessie.version.store.type": "IN_MEMORY",
            "nessie.catalog.default-warehouse": self.warehouse,
            f"nessie.catalog.warehouses.{self.warehouse}.location": f"s3://{self.s3.bucket}/nessie",
            f"{s3}.endpoint": f"{self.s3.endpoint}/",
            f"{s3}.path-style-access": "true",
            f"{s3}.region": self.s3.region,
            f"{s3}.auth-type": "STATIC",
            f"{s3}.access-key": "urn:nessie-secret:quarkus:bucket-key",
            "bucket-key.name": self.s3.access_key,
            "bucket-key.secret": self.s3.secret_key,
            "java.io.tmpdir": self.folder,
        }
        (jar,) = installed("nessie", "files").glob("*.jar")
        return [java_25(), "-Xmx512m", *JAVA_FLAGS, *(f"-D{key}={value}" for key, value in properties.items()), "-jar", jar]

    def is_ready(self):
        return http("GET", f"{self.uri}/v1/config")[0] == 200

    def client_properties(self):
        return {"warehouse": self.warehouse, **self.s3.client_properties()}

    def variables(self):
        return {"NESSIE_URI": self.uri, "NESSIE_WAREHOUSE": self.warehouse}


class Postgres(Component):
    """A PostgreSQL server with one database, open to the user `postgres` on 127.0.0.1."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": does not wait for clients
    database = "lifeboat"

    def __init__(self):
        super().__init__()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/{self.database}"
        self.data = self.folder / "data"

    @staticmethod
    def program(name):
        found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}")) or [shutil.which(name)]
        if not found[-1]:
            raise ComponentError(f"PostgreSQL's {name} is missing; run: python3 tests/components/install.py")
        return found[-1]

    def user(self):
        # PostgreSQL refuses to run as root.
        return "postgres" if os.geteuid() == 0 else None

    def prepare(self):
        self.data.mkdir()
        if self.user():
            account = pwd.getpwnam(self.user())
            for path in (self.folder, self.data):
                os.chown(path, account.pw_uid, account.pw_gid)
        command = [self.program("initdb"), "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync"]
        as_user = {"user": self.user(), "group": self.user(), "extra_groups": []} if self.user() else {}
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **as_user)
        if done.returncode != 0:
            raise ComponentError(f"initdb ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def command(self):
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder, "fsync": "off",
                    "shared_buffers": "32MB", "max_connections": "50"}
        return [self.program("postgres"), "-D", self.data, "-p", self.port,
                *(part for key, value in settings.items() for part in ("-c", f"{key}={value}"))]

    def psql(self, sql, database="postgres"):
        command = [self.program("psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database,
                   "-v", "ON_ERROR_STOP=1", "-qAtc", sql]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True)
        if done.returncode != 0:
            raise OSError(done.stderr)
        return done.stdout

    def is_ready(self):
        self.psql(f"CREATE DATABASE {self.database}")  # an OSError while it starts up
        return True

    def variables(self):
        return {"POSTGRES_URL": self.url}


class Trino(Component):
    """One Trino node. Catalogs are added while it runs."""

    name = "trino"

    def __init__(self):
        super().__init__()
        self.uri = f"http://127.0.0.1:{self.port}"

    def prepare(self):
        properties = {
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "http-server.http.port": self.port,
            "node.internal-address": "127.0.0.1",
            "node.bind-ip": "127.0.0.1",
            "discovery.uri": self.uri,
            "query.max-memory": "512MB",
            "query.max-memory-per-node": "400MB",
            "memory.heap-headroom-per-node": "200MB",
            "plugin.dir": installed("trino", "server", "plugin"),
            "catalog.management": "dynamic",
            "catalog.store": "memory",
        }
        (self.folder / "config.properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        (self.folder / "log.properties").write_text("io.trino=WARN\n")
        (self.folder / "data").mkdir()

    def command(self):
        properties = {
            "node.environment": "test",
            "node.id": "test",
            "node.data-dir": self.folder / "data",
            "config": self.folder / "config.properties",
            "log.levels-file": self.folder / "log.properties",
            "java.io.tmpdir": self.folder,
            "jdk.attach.allowAttachSelf": "true",
        }
        return [java_25(), "-cp", f"{installed('trino', 'server', 'lib')}/*", "-Xmx1200m", *JAVA_FLAGS,
                "--enable-native-access=ALL-UNNAMED", *(f"-D{key}={value}" for key, value in properties.items()),
                "io.trino.server.TrinoServer"]

    def is_ready(self):
        status, body = http("GET", f"{self.uri}/v1/info")
        if status != 200 or json.loads(body)["starting"]:
            return False
        try:
            # it says that it has started a moment before it takes statements
            return self.query("SELECT 1") == [(1,)]
        except ComponentError:
            return False

    def query(self, sql, catalog=None, schema=None):
        """Runs a statement to its end. Returns its rows as tuples."""
        # Without the capability a timestamp is cut to milliseconds on its way out.
        headers = {"X-Trino-User": "test", "X-Trino-Time-Zone": "UTC", "X-Trino-Client-Capabilities": "PARAMETRIC_DATETIME"}
        if catalog:
            headers["X-Trino-Catalog"] = catalog
        if schema:
            headers["X-Trino-Schema"] = schema
        rows = []
        status, body = http("POST", f"{self.uri}/v1/statement", sql, headers, timeout_s=60)
        while True:
            if status != 200:
                raise ComponentError(f"Trino answered {status}: {body[:500]!r}")
            page = json.loads(body)
            if "error" in page:
                error = page["error"]
                raise ComponentError(f"{error['errorName']}: {error['message']}\n  in: {sql}")
            rows += [tuple(row) for row in page.get("data", [])]
            if "nextUri" not in page:
                return rows
            status, body = http("GET", page["nextUri"], headers=headers, timeout_s=60)

    def add_rest_catalog(self, name, uri, properties=None):
        properties = {
            "iceberg.catalog.type": "rest",
            "iceberg.rest-catalog.uri": uri,
            "fs.hadoop.enabled": "true",  # what reads `file:` locations
            **(properties or {}),
        }
        listing = ", ".join(f"\"{key}\" = '{value}'" for key, value in properties.items())
        self.query(f"CREATE CATALOG {name} USING iceberg WITH ({listing})")

    def variables(self):
        return {"TRINO_URI": self.uri}


def lifeboat_program(binary=None):
    """The binary under test."""
    path = Path(binary or os.environ.get("LIFEBOAT_BIN") or CHECKOUT / "target/debug/lifeboat").absolute()
    if not path.exists():
        raise ComponentError(f"{path} is missing; build it (cargo build) or name it in LIFEBOAT_BIN")
    return path


class Lifeboat(Component):
    """The server under test: `lifeboat serve` with these arguments. Where it listens is taken from
    `--listen` or from the `--config` file, and added when neither says so."""

    name = "lifeboat"

    def __init__(self, *arguments, binary=None, environment=None):
        super().__init__()
        self.binary = binary
        self.extra_environment = environment or {}
        self.listen_on([str(argument) for argument in arguments])

    def listen_on(self, arguments):
        if "--listen" in arguments:
            address = arguments[arguments.index("--listen") + 1]
        elif "--config" in arguments:
            config = Path(arguments[arguments.index("--config") + 1]).read_text()
            address = re.search(r"^listen: *(\S+)", config, re.MULTILINE).group(1)
        else:
            address = f"127.0.0.1:{self.port}"
            arguments = [*arguments, "--listen", address]
        self.arguments = arguments
        self.uri = f"http://{address}"

    @classmethod
    def on_sqlite(cls):
        lifeboat = cls()
        lifeboat.listen_on(["--data", str(lifeboat.folder / "data")])
        return lifeboat

    @classmethod
    def on_postgres(cls, postgres):
        lifeboat = cls()
        config = lifeboat.folder / "lifeboat.yaml"
        config.write_text(
            f"listen: 127.0.0.1:{lifeboat.port}\n"
            "catalogs:\n"
            "  main:\n"
            "    embedded:\n"
            f"      database: {postgres.url}\n"
            f"      warehouse: file://{lifeboat.folder}/warehouse\n"
        )
        lifeboat.listen_on(["--config", str(config)])
        return lifeboat

    @classmethod
    def in_front_of(cls, upstream_uri, environment=None):
        return cls("--upstream", upstream_uri, environment=environment)

    @property
    def prefix(self):
        """The prefix `/v1/config` gives a client; it follows `/v1/` in every other path."""
        config = json.loads(http("GET", f"{self.uri}/v1/config")[1])
        return {**config.get("defaults", {}), **config.get("overrides", {})}.get("prefix", "")

    def environment(self):
        return self.extra_environment

    def command(self):
        return [lifeboat_program(self.binary), "serve", *self.arguments]

    def is_ready(self):
        return http("GET", f"{self.uri}/v1/config")[0] == 200

    def variables(self):
        return {"LIFEBOAT_URI": self.uri}


# --- By hand. -------------------------------------------------------------------------------------

NAMES = ("fixture", "versitygw", "minio", "nessie", "postgres", "trino", "lifeboat", "lifeboat-on-postgres", "lifeboat-proxy")


def run(names):
    """Starts the named components and what they need, prints where they are, and waits."""
    started = {}

    def get(name):
        if name not in started:
            make = {
                "fixture": RestFixture,
                "versitygw": Versitygw,
                "minio": Minio,
                "nessie": lambda: Nessie(get("versitygw")),
                "postgres": Postgres,
                "trino": Trino,
                "lifeboat": Lifeboat.on_sqlite,
                "lifeboat-on-postgres": lambda: Lifeboat.on_postgres(get("postgres")),
                "lifeboat-proxy": lambda: Lifeboat.in_front_of(get("fixture").uri),
            }[name]
            started[name] = make().start()
        return started[name]

    for name in names:
        get(name)
    for name, component in started.items():
        print(f"# {name}: process {component.process.pid}, log {component.log}")
        for key, value in component.variables().items():
            print(f"export {key}={value}")
    print("# running; end with Ctrl-C", flush=True)
    # A plain exit, so that `stop_all` runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass


def main():
    parser = argparse.ArgumentParser(description="Starts components by hand.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run", help="start components, print where they are, and wait")
    command.add_argument("names", nargs="+", choices=NAMES)
    options = parser.parse_args()
    try:
        run(options.names)
    except ComponentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
