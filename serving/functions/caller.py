"""Where names are looked up: what the user gave, or the names of the code that calls this package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from ...errors import GraphError
from ..engine.names import Source


def caller_namespace() -> list[Source]:
    """The local and global names of the first caller outside this package."""
    package = __name__.split(".")[0]
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == package:
        frame = frame.f_back
    same = frame.f_locals is frame.f_globals
    return [frame.f_globals] if same else [dict(frame.f_locals), frame.f_globals]


def listed_sources(namespace: Any) -> list[Source]:
    """A namespace as users give it: a dict, a module, a module's name, or a list of them.

    >>> listed_sources("json")[0].__name__
    'json'
    """
    if isinstance(namespace, (Mapping, ModuleType)):
        return [namespace]
    if isinstance(namespace, str):
        try:
            return [importlib.import_module(namespace)]
        except ModuleNotFoundError as error:
            raise GraphError(f"namespace={namespace!r} is no module that imports: {error}") from error
    if isinstance(namespace, Iterable):
        return [source for one in namespace for source in listed_sources(one)]
    raise GraphError(f"namespace= is a dict, a module or a list of them, not {type(namespace).__name__}")
