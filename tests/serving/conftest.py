"""A dashboard to deploy to, for the tests of deploying and of its commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "deploy"))  # where the double is


@pytest.fixture
def dashboard(monkeypatch, tmp_path) -> Iterator[Any]:
    """The double, and an environment that says nothing of another dashboard."""
    from nuclio_dashboard_double import DashboardDouble

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("URL", "USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"NUCLIO_DASHBOARD_{name}", raising=False)
    with DashboardDouble() as double:
        yield double
