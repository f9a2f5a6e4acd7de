"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import millrace

PARTS = ("queues", "steps", "serving")


def modules() -> list[str]:
    """All modules that have examples; nothing but the packages themselves is imported here."""
    names = ["millrace", "millrace.errors"]
    for part in PARTS:
        package = importlib.import_module(f"millrace.{part}")
        found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names += [package.__name__, *(one.name for one in found if ".templates" not in one.name)]
    return names


@pytest.mark.parametrize("name", modules())
def test_examples_of_the_module_are_true(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_steps_of_the_library_have_examples():
    steps = [getattr(millrace.steps, name) for name in millrace.steps.__all__]
    without = {one.__name__ for one in steps if isinstance(one, type) and ">>>" not in (one.__doc__ or "")}
    # These ask a server, or are to be subclassed: docs/models.md and docs/graphs.md show them.
    assert without <= {"BatchHttpRequests", "HoldingStep", "RemoteStep"}
