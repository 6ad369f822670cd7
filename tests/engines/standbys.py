"""A standby before a REST catalog: what of a primary has arrived in a folder or bucket is published there, and engines read it through Lifeboat."""

import json
import shutil
import subprocess
from pathlib import Path

import components
import golden


class RestStandby:
    """Lifeboat before a REST catalog, publishing what has arrived at `copy` of what the primary has at `source`."""

    def __init__(self, folder, upstream, pairs, overlay, storage=(), client_config=()):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.upstream = upstream
        self.config = self.folder / "standby.yaml"
        lines = [f"listen: 127.0.0.1:{components.free_port()}", *storage, "catalogs:", "  main:", "    upstream:", f"      uri: {upstream}",
                 # what is kept is no older than what was published
                 "    max-staleness: 10m",
                 "    replica:", "      map:", *(f"        - {{ from: '{source}', to: '{target}' }}" for source, target in pairs),
                 f"      overlay: {overlay}", "      confirm: trust-newest", "      settle: 0s", "      max-staleness: 0s", "      wait: 60s",
                 *client_config]
        self.config.write_text("".join(f"{line}\n" for line in lines))
        self.lifeboat = self.server()

    def server(self):
        return components.Lifeboat("--config", str(self.config))

    def __enter__(self):
        self.lifeboat.start()
        return self

    def __exit__(self, *_):
        self.lifeboat.stop()

    def restart(self):
        self.lifeboat.stop()
        self.lifeboat = self.server().start()

    @property
    def uri(self):
        return self.lifeboat.uri

    def table(self, name):
        """A table as clients are told of it."""
        namespace, table = name.split(".")
        return golden.ask("GET", f"{self.uri}/v1/{self.lifeboat.prefix}/namespaces/{namespace}/tables/{table}")

    def command(self, *words):
        """How the tables stand by a command, by name, and what it ended with."""
        command = [components.lifeboat_program(), *words, "--config", self.config, "--json"]
        done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        return {it["table"]: it for it in json.loads(done.stdout)["tables"]}, done.returncode


class Copies:
    """What replicates a folder: files that are new there are copied, those that are gone are deleted."""

    def __init__(self, source, target):
        self.source, self.target = Path(source), Path(target)
        self.target.mkdir(exist_ok=True)

    def run(self):
        shutil.copytree(self.source, self.target, dirs_exist_ok=True)
        for path in self.files():
            if not (self.source / path).exists():
                (self.target / path).unlink()

    def files(self):
        return {path.relative_to(self.target): path.stat().st_size for path in self.target.rglob("*") if path.is_file()}
