"""The harness finds what is planted: a run of real engines with one violation of each kind ends with 1 and names them."""

import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).resolve().parent / "run.py"
SECONDS, TABLES, TIMEOUT_S = 20, 12, 240
FOUND = {"corrupt": "wrong rows", "lost": "missing file", "stale": "went back", "unrecorded": "never was"}


def test_planted_violations_are_found(tmp_path):
    options = ["--seconds", SECONDS, "--tables", TABLES, "--seed", 1, "--without-spark", "--folder", tmp_path, "--plant", *FOUND]
    command = [sys.executable, RUN, *options]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 1, done.stdout
    for kind in FOUND.values():
        assert f"== {kind}: " in done.stdout, done.stdout
    assert "kept: " in done.stdout and "| violations" in done.stdout
