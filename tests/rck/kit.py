"""Runs Apache's REST Compatibility Kit (RCK) against a catalog and reads what it reports.

By hand:
  python tests/rck/kit.py run URI [key=value ...]   the kit against any fresh catalog
  python tests/rck/kit.py nessie-direct             writes nessie-direct.txt anew
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "components"))

import components  # noqa: E402

SUITE = "org.apache.iceberg.rest.RESTCompatibilityKitSuite"
TIMEOUT_S = 600
# What the kit has to know about Nessie: it wants namespaces created, takes names with a dot, and
# chooses every table's location itself.
NESSIE_SWITCHES = {
    "rck.requires-namespace-create": "true",
    "rck.supports-names-with-dot": "true",
    "rck.overrides-requested-location": "true",
}
# Only what passes in each of several runs counts, should a failure depend on time or order.
NESSIE_DIRECT_RUNS = 3
NESSIE_DIRECT = HERE / "nessie-direct.txt"

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Result:
    status: str
    message: str = ""


class Kit(components.Component):
    """One run of the kit. It needs a catalog nobody used before: it refuses one that has its namespaces.

    Some tests use fixed locations below /tmp; the file names in them are unique, so two runs at once
    do not meet there.
    """

    name = "rck"

    def __init__(self, uri, properties=None):
        super().__init__()
        self.uri = uri
        # Every Java property is handed to the REST client the kit tests with.
        self.properties = properties or {}

    def environment(self):
        return {"AWS_REGION": self.properties.get("client.region", "us-east-1")}

    def command(self):
        properties = {
            "rck.local": "false",
            "uri": self.uri,
            "java.io.tmpdir": self.folder,
            "org.slf4j.simpleLogger.defaultLogLevel": "error",
            **self.properties,
        }
        return ["java", "-Xmx512m", *components.JAVA_FLAGS, *(f"-D{key}={value}" for key, value in properties.items()),
                "-cp", f"{components.installed('rck', 'files')}/*", "org.junit.platform.console.ConsoleLauncher",
                "execute", f"--select-class={SUITE}", "--details=tree", "--disable-banner", "--disable-ansi-colors",
                f"--reports-dir={self.folder / 'reports'}"]

    def results(self):
        """Waits for the end of the run. Returns each test's result by `Class.test`."""
        self.process.wait(TIMEOUT_S)
        found = {}
        for report in sorted((self.folder / "reports").glob("*.xml")):
            for case in ElementTree.parse(report).getroot().iter("testcase"):
                found[test_name(case)] = result(case)
        if not found:
            raise components.ComponentError(f"the kit ended with {self.process.returncode} and reported no test:\n{self.log_tail()}")
        return found


def test_name(case):
    kit_class = case.get("classname").rsplit(".", 1)[-1].removeprefix("RESTCompatibilityKit")
    return f"{kit_class}.{case.get('name')}"


def result(case):
    for tag, status in (("failure", FAILED), ("error", FAILED), ("skipped", SKIPPED)):
        element = case.find(tag)
        if element is not None:
            return Result(status, (element.get("message") or element.text or "").strip())
    return Result(PASSED)


def run(uri, properties=None):
    kit = Kit(uri, properties)
    try:
        return kit.launch().results()
    finally:
        kit.stop()


def named(results, status):
    return {name for name, outcome in results.items() if outcome.status == status}


def read_list(path):
    """Reads lines of `name` or `name: reason`; # starts a comment. Returns reason by name."""
    entries = {}
    for line in path.read_text().splitlines():
        line = line.split("#", 1)[0].strip()
        if line:
            name, _, reason = line.partition(": ")
            entries[name.strip()] = reason.strip()
    return entries


def write_nessie_direct():
    passing = None
    for attempt in range(NESSIE_DIRECT_RUNS):
        with components.Versitygw() as s3, components.Nessie(s3) as nessie:
            results = run(nessie.uri, {**nessie.client_properties(), **NESSIE_SWITCHES})
        summarize(f"run {attempt + 1} of {NESSIE_DIRECT_RUNS}", results)
        if passing is not None and passing != named(results, PASSED):
            print(f"  not the same as before: {', '.join(sorted(passing ^ named(results, PASSED)))}")
        passing = named(results, PASSED) if passing is None else passing & named(results, PASSED)
    NESSIE_DIRECT.write_text(
        "# The kit's tests that Nessie passes when it is asked directly, in each of several runs.\n"
        "# Written by: python tests/rck/kit.py nessie-direct\n" + "".join(f"{name}\n" for name in sorted(passing))
    )
    print(f"{len(passing)} tests in {NESSIE_DIRECT}")


def summarize(title, results):
    counts = Counter(outcome.status for outcome in results.values())
    print(f"{title}: {len(results)} tests, {counts[PASSED]} passed, {counts[FAILED]} failed, {counts[SKIPPED]} skipped", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Runs the REST Compatibility Kit.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="run the kit against a fresh catalog")
    command.add_argument("uri")
    command.add_argument("properties", nargs="*", metavar="key=value", help="properties for the kit and its client")
    commands.add_parser("nessie-direct", help="write the list of tests Nessie passes by itself")
    options = parser.parse_args()
    if options.command == "nessie-direct":
        write_nessie_direct()
        return 0
    results = run(options.uri, dict(entry.split("=", 1) for entry in options.properties))
    for name, outcome in sorted(results.items()):
        if outcome.status != PASSED:
            print(f"{outcome.status}: {name}: {outcome.message.splitlines()[0] if outcome.message else ''}")
    summarize(options.uri, results)
    return 1 if named(results, FAILED) else 0


if __name__ == "__main__":
    sys.exit(main())
