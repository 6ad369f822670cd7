"""Runs the tests: `run.py [lint|suite|rck|engines|soak ...]`, all of them by default.

Starts what the Rust tests share (one PostgreSQL), runs each part, and ends with non-zero when any part failed. Installing is
`tests/components/install.py`'s work, starting and stopping `tests/components/components.py`'s.
"""

import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "components"))

import components  # noqa: E402  (the path is set just above)

PARTS = ("lint", "suite", "rck", "engines", "soak")


def run(title, command, **environment):
    started = time.monotonic()
    print(f"== {title}: {' '.join(command)}", flush=True)
    code = subprocess.call(command, cwd=ROOT, env={**os.environ, **environment})
    print(f"== {title}: {'ok' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - started:.0f} s", flush=True)
    return code == 0


def lint():
    return run("format", ["cargo", "fmt", "--check"]) and run(
        "lints", ["cargo", "clippy", "--locked", "--all-targets", "--", "-D", "warnings"]
    )


def suite():
    with components.Postgres() as postgres:
        return run(
            "rust", ["cargo", "test", "--locked", "--no-fail-fast"], LIFEBOAT_TEST_POSTGRES=postgres.url, LIFEBOAT_REQUIRE_ALL="1"
        )


def pytest(part):
    # as the Rust tests build it, so that nothing is compiled twice: their dependencies switch on more features
    ok = run("build", ["cargo", "test", "--locked", "--no-run", "--test", "suite"])
    binary = str(ROOT / "target" / "debug" / "lifeboat")
    return ok and run(part, [sys.executable, "-m", "pytest", "-q", "-rs", f"tests/{part}"], LIFEBOAT_BIN=binary)


def main(names):
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"unknown part {unknown[0]!r}: {', '.join(PARTS)}")
    steps = {"lint": lint, "suite": suite, "rck": lambda: pytest("rck"), "engines": lambda: pytest("engines"),
             "soak": lambda: pytest("soak")}
    failed = [name for name in names or PARTS if not steps[name]()]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    print("all parts passed")


if __name__ == "__main__":
    main(sys.argv[1:])
