"""The doors that a graph is asked through, by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # where the doors and the worker are

from up_process import RUNNING  # found by the line before


@pytest.fixture(scope="module", autouse=True)
def _end_what_runs():
    yield
    RUNNING.close()
