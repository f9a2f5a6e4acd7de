"""From a name in a graph to the class or function it means."""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from types import ModuleType
from typing import Any

from ...errors import NameNotFound

PREFIXES = ("millrace", "storey", "mlrun")
LIBRARY_MODULES = ("millrace.steps", "millrace.serving")

Source = Mapping[str, Any] | ModuleType


class Namespace:
    """Where names are looked up, in order: the sources given, dotted imports, the library.

    :param sources: dicts or modules: what the user gave or the caller's globals, then the function's code
    :param library: the classes of Millrace by name, for ``millrace.…``, ``storey.…`` and ``mlrun.…``

    >>> Namespace([{"Echo": dict}]).find("Echo")
    <class 'dict'>
    """

    def __init__(self, sources: Iterable[Source | Callable[[], Source]] = ()) -> None:
        self._sources = list(sources)

    def find(self, name: str, *, step: str = "") -> Any:
        """The object of this name, or :class:`~millrace.errors.NameNotFound` with near names."""
        for source in self._mappings:
            if name in source:
                return source[name]
        head, *rest = name.split(".")
        for source in self._mappings:
            if head in source and head not in PREFIXES:
                found = _walk(source[head], rest)
                if found is not None:
                    return found
        if head in PREFIXES:
            found = _in_library(rest)
        elif rest:
            found = _imported(name)
        else:
            found = _in_library([name]) or getattr(builtins, name, None)
        if found is None:
            raise NameNotFound(name, step=step, searched=self._searched(), known=self._known(name))
        return found

    @cached_property
    def _mappings(self) -> list[Mapping[str, Any]]:
        mappings: list[Mapping[str, Any]] = []
        for source in self._sources:
            found = source() if callable(source) else source
            mappings.append(vars(found) if isinstance(found, ModuleType) else found)
        return mappings

    def _searched(self) -> str:
        return "the namespace, the function's code, importable modules or Millrace's library"

    def _known(self, name: str) -> set[str]:
        known = {key for source in self._mappings for key in source if not key.startswith("_")}
        prefix = name.split(".")[0]
        stem = f"{prefix}." if prefix in PREFIXES and "." in name else ""
        for module in LIBRARY_MODULES:
            known |= {f"{stem}{key}" for key in importlib.import_module(module).__all__}
        return known


def _walk(found: Any, rest: list[str]) -> Any:
    for part in rest:
        found = getattr(found, part, None)
        if found is None:
            return None
    return found


def _in_library(parts: list[str]) -> Any:
    """A class of Millrace by the last part of its name, as in ``mlrun.serving.routers.VotingEnsemble``."""
    if not parts:
        return None
    for module in LIBRARY_MODULES:
        found = importlib.import_module(module)
        if parts[-1] in found.__all__:
            return getattr(found, parts[-1])
    return None


def _imported(name: str) -> Any:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
                continue
            raise
        return _walk(module, parts[cut:])
    return None
