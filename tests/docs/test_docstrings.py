"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil
from types import FunctionType

import pytest

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


@pytest.mark.parametrize("package", ["millrace", "millrace.queues", "millrace.serving", "millrace.steps"])
def test_public_classes_and_functions_have_examples(package):
    module = importlib.import_module(package)
    public = [getattr(module, name) for name in module.__all__]
    shown = [one for one in public if isinstance(one, (type, FunctionType)) and not _is_error(one)]
    assert [one.__name__ for one in shown if ">>>" not in (one.__doc__ or "")] == []


def _is_error(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, Exception)
