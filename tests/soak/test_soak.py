"""The harness finds what is planted: a run of real engines with one violation of each kind ends with 1 and names them."""

import os
import subprocess
import sys
from pathlib import Path

import components

RUN = Path(__file__).resolve().parent / "run.py"
SECONDS, TABLES, TIMEOUT_S = 25, 12, 240
# A server that notices the loss says 503.
FOUND = {"corrupt": ["wrong rows"], "lost": ["missing file", "unavailable"], "stale": ["went back"], "unrecorded": ["never was"]}


def test_planted_violations_are_found(tmp_path):
    options = ["--seconds", SECONDS, "--tables", TABLES, "--seed", 1, "--without-spark", "--folder", tmp_path, "--plant", *FOUND]
    command = [sys.executable, RUN, *options]
    environment = {**os.environ, "LIFEBOAT_BIN": str(components.lifeboat_program())}
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
                          timeout=TIMEOUT_S)
    assert done.returncode == 1, done.stdout
    for plant, kinds in FOUND.items():
        assert any(f"== {kind}: " in done.stdout for kind in kinds), f"{plant} is not found:\n{done.stdout}"
    assert "kept: " in done.stdout and "| violations" in done.stdout
