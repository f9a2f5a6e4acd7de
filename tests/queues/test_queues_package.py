"""The package itself: its names, what importing it costs, and the examples in its docstrings."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import millrace.queues

MODULES = sorted(path.stem for path in Path(millrace.queues.__path__[0]).glob("*.py") if path.stem != "__init__")
CLIENTS = {"kafka_python": "kafka", "kafka_confluent": "confluent_kafka", "v3io": "v3io"}
"""How the names of modules begin that need a client which an extra brings."""


@pytest.mark.parametrize("name", millrace.queues.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(millrace.queues, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'millrace\.queues' has no attribute 'Topic'"):
        millrace.queues.Topic  # noqa: B018


def test_importing_the_package_imports_no_backend() -> None:
    code = "import sys, millrace.queues; print(sorted(name for name in sys.modules if name.startswith('millrace.q')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['millrace.queues']\n"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    for beginning, client in CLIENTS.items():
        if name.startswith(beginning):
            pytest.importorskip(client)
    result = doctest.testmod(importlib.import_module(f"millrace.queues.{name}"), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
