"""The examples in the docstrings of what deploys run, and say what they print."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3] / "serving"
MODULES = [f"deploy.{file.stem}" for file in sorted((ROOT / "deploy").glob("*.py")) if file.stem != "__init__"]
MODULES += [f"functions.{name}" for name in (
    "placed", "text", "unit_pickles", "unit_requirements", "unit_streams",
)]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    result = doctest.testmod(importlib.import_module(f"millrace.serving.{name}"), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
