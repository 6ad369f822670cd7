"""Options of the kit's suite: see `targets.py` in tests/components."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "components"))

import targets  # noqa: E402


def pytest_addoption(parser):
    targets.add_options(parser)
