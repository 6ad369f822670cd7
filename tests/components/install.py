#!/usr/bin/env python3
"""Installs the real components the suites under tests/ run: what `make setup` calls.

Everything lands in one cache folder outside the checkout (`LIFEBOAT_CACHE`, by default
`~/.cache/lifeboat`), each component in a folder of its own. A component's stamp is a digest of its
pins, so a second run only compares stamps. What is downloaded must match the digests committed
beside this file: `requirements*.txt` (pip), `maven/*.sha256` (Maven) and `go/*/go.sum` (Go).

Only the standard library is used, because nothing else is there yet.
"""

import argparse
import fcntl
import glob
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("LIFEBOAT_CACHE") or Path.home() / ".cache" / "lifeboat").absolute()

MAVEN_COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
MAVEN_ATTEMPTS_MAX = 3
JAVA_VERSION_MIN = 17
GO_VERSION_MIN = (1, 25)
PYTHON_VERSION_MIN = (3, 11)

STARTED = time.monotonic()
PRINTING = threading.Lock()


class InstallError(Exception):
    """A failure a person can act on: its text is all that is printed."""


def say(name, text):
    with PRINTING:
        print(f"[{time.monotonic() - STARTED:6.1f} s] {name}: {text}", flush=True)


def run(name, command, cwd=None, env=None):
    """Runs a command, keeping its output for the error it may end in."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.strip().splitlines()[-25:])
        raise InstallError(f"{name}: `{' '.join(map(str, command))}` ended with {done.returncode}:\n{tail}")
    return done.stdout


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


# --- The components. Each knows its pins and how to fill an empty folder. -------------------------


class Component:
    """Installs into `CACHE/name`. `revision` goes up when the way of installing changes."""

    revision = 1

    def __init__(self, name, pins):
        self.name = name
        self.pins = [HERE / pin for pin in pins]
        self.folder = CACHE / name
        self.stamp = self.folder / ".stamp"

    def key(self):
        digest = hashlib.sha256(f"{self.name} {self.revision} {platform.machine()} {self.salt()}".encode())
        for pin in self.pins:
            digest.update(pin.read_bytes())
        return digest.hexdigest()

    def salt(self):
        return ""

    def is_installed(self):
        return self.stamp.is_file() and self.stamp.read_text() == self.key()

    def install(self):
        """Fills the folder from nothing. The stamp comes last, so a half-filled folder is never used."""
        began = time.monotonic()
        say(self.name, "installing")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.fill()
        self.stamp.write_text(self.key())
        say(self.name, f"installed in {time.monotonic() - began:.0f} s")

    def fill(self):
        raise NotImplementedError


class Venv(Component):
    """The Python the suites run on."""

    def __init__(self):
        super().__init__("venv", ["requirements-build.txt", "requirements.txt"])

    def salt(self):
        return f"{sys.version} {CACHE}"

    def fill(self):
        run(self.name, [sys.executable, "-m", "venv", self.folder])
        pip = [self.folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--no-deps", "--require-hashes"]
        # Packages that come as source are built by what the first lock installs: an isolated build
        # would fetch its tools without a digest.
        run(self.name, pip + ["-r", self.pins[0]])
        run(self.name, pip + ["--no-build-isolation", "-r", self.pins[1]])


class Maven(Component):
    """The files one pom names, each compared with the committed list of digests."""

    def __init__(self, name):
        self.pom = HERE / "maven" / name / "pom.xml"
        self.digests = HERE / "maven" / f"{name}.sha256"
        super().__init__(name, [self.pom, self.digests])

    def fill(self):
        self.download()
        self.verify()

    def download(self):
        # A local repository of its own: Maven's is not safe for several processes, and what it
        # keeps beside our copy (Trino alone is 821 MB) goes away with it.
        repository = self.folder / ".m2"
        command = ["mvn", "-q", "-B", f"-Dmaven.repo.local={repository}", "-f", self.pom, MAVEN_COPY_GOAL]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={self.folder / 'files'}"]
        for attempt in range(1, MAVEN_ATTEMPTS_MAX + 1):
            try:
                run(self.name, command)
                break
            except InstallError:
                if attempt == MAVEN_ATTEMPTS_MAX:
                    raise
                say(self.name, f"attempt {attempt} failed, trying again")
        shutil.rmtree(repository, ignore_errors=True)

    def found(self):
        return {path.name: sha256(path) for path in sorted((self.folder / "files").iterdir())}

    def verify(self):
        pinned = dict(reversed(line.split()) for line in self.digests.read_text().splitlines() if line.strip())
        found = self.found()
        wrong = [f"{name} has digest {found[name]}, pinned is {pinned[name]}"
                 for name in pinned if name in found and found[name] != pinned[name]]
        wrong += [f"{name} is pinned and was not downloaded" for name in pinned if name not in found]
        wrong += [f"{name} was downloaded and is not pinned" for name in found if name not in pinned]
        if wrong:
            listing = "\n  ".join(wrong)
            raise InstallError(f"{self.name}: files differ from {self.digests.name}:\n  {listing}")

    def repin(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.download()
        self.digests.write_text("".join(f"{digest}  {name}\n" for name, digest in self.found().items()))
        say(self.name, f"wrote {self.digests}")


class Trino(Maven):
    """Trino's tar.gz, unpacked; of its plugins only those the suites use."""

    plugins = ("iceberg", "memory")

    def fill(self):
        super().fill()
        (archive,) = (self.folder / "files").iterdir()
        server = self.folder / "server"
        server.mkdir()
        say(self.name, "unpacking")
        run(self.name, ["tar", "-xzf", archive, "-C", server, "--strip-components=1", "--no-same-owner"])
        for plugin in (server / "plugin").iterdir():
            if plugin.name not in self.plugins:
                shutil.rmtree(plugin)
        shutil.rmtree(self.folder / "files")


class GoProgram(Component):
    """A program built from a committed go.mod; go.sum pins the digest of every module."""

    def __init__(self, name, package):
        self.package = package
        super().__init__(name, [f"go/{name}/go.mod", f"go/{name}/go.sum"])

    def fill(self):
        command = ["go", "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w"]
        command += ["-o", self.folder / self.name, self.package]
        run(self.name, command, cwd=self.pins[0].parent, env={"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"})


class Debian(Component):
    """A Debian package, pinned by its major version; apt checks its digest and its signature."""

    def __init__(self, name, package, programs):
        super().__init__(name, [])
        self.package = package
        self.programs = programs

    def is_installed(self):
        return any(glob.glob(pattern) for pattern in self.programs)

    def install(self):
        if not shutil.which("apt-get"):
            raise InstallError(f"{self.name}: not found ({' or '.join(self.programs)}) and there is no apt-get; install it by hand")
        if os.geteuid() != 0:
            raise InstallError(f"{self.name}: is missing; run: sudo apt-get install --no-install-recommends {self.package}")
        with DEBIAN_LOCK, NoServices():
            say(self.name, f"installing the Debian package {self.package}")
            noninteractive = {"DEBIAN_FRONTEND": "noninteractive"}
            install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", self.package]
            try:
                run(self.name, install, env=noninteractive)
            except InstallError:
                run(self.name, ["apt-get", "update", "-q"], env=noninteractive)
                run(self.name, install, env=noninteractive)
        if not self.is_installed():
            raise InstallError(f"{self.name}: {self.package} is installed and still none of {' '.join(self.programs)} is there")
        say(self.name, "installed")


DEBIAN_LOCK = threading.Lock()


class NoServices:
    """While it holds, packages do not start the services they bring, nor create a database cluster."""

    files = {
        Path("/usr/sbin/policy-rc.d"): "#!/bin/sh\nexit 101\n",
        Path("/etc/postgresql-common/createcluster.conf"): "create_main_cluster = false\nstart_conf = 'disabled'\n",
    }

    def __enter__(self):
        self.written = [path for path in self.files if not path.exists()]
        for path in self.written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.files[path])
            path.chmod(0o755)

    def __exit__(self, *_):
        for path in self.written:
            path.unlink(missing_ok=True)


def components(bench):
    chosen = [
        Trino("trino"),  # the longest first
        GoProgram("minio", "github.com/minio/minio"),
        GoProgram("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
        Venv(),
        Maven("rck"),
        Maven("nessie"),
        Maven("spark"),
        Debian("postgresql", "postgresql-15", ["/usr/lib/postgresql/*/bin/postgres", "/usr/local/pgsql/bin/postgres"]),
    ]
    if bench:
        chosen.append(Debian("nginx", "nginx", ["/usr/sbin/nginx", "/usr/local/sbin/nginx"]))
        chosen.append(Debian("wrk", "wrk", ["/usr/bin/wrk", "/usr/local/bin/wrk"]))
    return chosen


# --- What must be on the machine beforehand. ------------------------------------------------------


def missing_tools():
    """One line for each missing tool, with the command that installs it."""
    lines = []

    def need(present, what, package):
        if not present:
            lines.append(f"{what} is missing; install it with: apt-get install --no-install-recommends {package}")

    if sys.version_info < PYTHON_VERSION_MIN:
        lines.append(f"Python {'.'.join(map(str, PYTHON_VERSION_MIN))} or newer is needed, this is {platform.python_version()}")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        need(False, "Python's venv module", "python3-venv")
    need(java_version() >= JAVA_VERSION_MIN, f"Java {JAVA_VERSION_MIN} or newer (java on PATH)", "openjdk-17-jdk-headless")
    need(shutil.which("mvn"), "Maven (mvn)", "maven")
    need(shutil.which("cc"), "a C compiler (cc)", "build-essential")
    need(shutil.which("tar"), "tar", "tar")
    if go_version() < GO_VERSION_MIN:
        version = ".".join(map(str, GO_VERSION_MIN))
        lines.append(f"Go {version} or newer (go on PATH) is missing; unpack it from https://go.dev/dl into /usr/local "
                     "(Debian's golang-go may be older)")
    return lines


def java_version():
    if not shutil.which("java"):
        return 0
    text = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', text)
    return int(found.group(1)) if found else 0


def go_version():
    if not shutil.which("go"):
        return (0, 0)
    text = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, env={**os.environ, "GOTOOLCHAIN": "local"}).stdout
    found = re.search(r"go(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


# --- The whole. -----------------------------------------------------------------------------------


def install(chosen):
    """Installs what is not there, all at once. Returns the failures' texts."""
    waiting = [component for component in chosen if not component.is_installed()]
    if not waiting:
        print(f"components: all {len(chosen)} are installed in {CACHE}")
        return []
    lines = missing_tools()
    if lines:
        return lines
    print(f"components: installing {', '.join(c.name for c in waiting)} into {CACHE}", flush=True)
    failures = []

    def attempt(component):
        try:
            component.install()
        except (InstallError, OSError) as error:
            text = str(error) if isinstance(error, InstallError) else f"{component.name}: {error}"
            say(component.name, "FAILED")
            failures.append(text)

    with ThreadPoolExecutor(max_workers=len(waiting)) as pool:
        list(pool.map(attempt, waiting))
    return failures


def main():
    parser = argparse.ArgumentParser(description="Installs the components the suites under tests/ run.")
    parser.add_argument("--bench", action="store_true", help="also what the benchmarks need: nginx and wrk")
    parser.add_argument("--only", metavar="NAME,NAME", help="only these components")
    parser.add_argument("--repin", metavar="NAME", help="download a Maven component and write its list of digests anew")
    options = parser.parse_args()

    chosen = components(options.bench)
    if options.only:
        names = options.only.split(",")
        unknown = set(names) - {component.name for component in chosen}
        if unknown:
            parser.error(f"unknown component {', '.join(sorted(unknown))}")
        chosen = [component for component in chosen if component.name in names]

    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if options.repin:
            (component,) = [c for c in chosen if c.name == options.repin and isinstance(c, Maven)]
            component.repin()
            return 0
        failures = install(chosen)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
