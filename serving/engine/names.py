"""From a name in a graph to the class or function it means."""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from types import ModuleType
from typing import Any

from ...errors import GraphError, NameNotFound

PREFIXES = ("millrace", "storey", "mlrun")
LIBRARY_MODULES = ("millrace.steps", "millrace.serving")
SEARCHED = "the namespace, the function's code, importable modules or Millrace's library"

Source = Mapping[str, Any] | ModuleType


class Namespace:
    """Where names are looked up, in order: the sources given, dotted imports, the library.

    Names that begin with ``millrace.``, ``storey.`` or ``mlrun.`` mean the library, by their last part.

    :param sources: dicts or modules: what the user gave or the caller's globals, then the function's code

    >>> Namespace([{"Echo": dict}]).find("Echo")
    <class 'dict'>
    """

    def __init__(self, sources: Iterable[Source | Callable[[], Source]] = ()) -> None:
        self._sources = list(sources)

    def find(self, name: str, *, step: str = "") -> Any:
        """The object of this name, or :class:`~millrace.errors.NameNotFound` with near names."""
        if not name.strip():
            raise GraphError(f"step '{step}': the name of its class or function is empty")
        for source in self._mappings:
            if name in source:
                return source[name]
        head, *rest = name.split(".")
        if head in PREFIXES:
            return self._of_library(name, head, rest, step)
        for source in self._mappings:
            found = _walk(source[head], rest) if head in source else None
            if found is not None:
                return found
        found = _imported(name, step) if rest else _in_library([name])
        if found is None:
            found = _walk(builtins, name.split("."))
        if found is None:
            raise NameNotFound(name, step=step, searched=SEARCHED, known=self._known())
        return found

    def _of_library(self, name: str, head: str, rest: list[str], step: str) -> Any:
        found = _in_library(rest)
        if found is None and head == "millrace":
            found = _imported(name, step)
        if found is None:
            import difflib  # noqa: PLC0415 - for start-up: only when a name is wrong

            ours = sorted(_library_names(LIBRARY_MODULES[:1] if head == "storey" else LIBRARY_MODULES))
            close = difflib.get_close_matches(rest[-1] if rest else "", ours)
            listed = "" if close else f" (it has {', '.join(f'{head}.{one}' for one in ours)})"
            known = [f"{head}.{one}" for one in close]
            raise NameNotFound(name, step=step, searched=f"Millrace's library{listed}", known=known)
        return found

    @cached_property
    def _mappings(self) -> list[Mapping[str, Any]]:
        mappings: list[Mapping[str, Any]] = []
        for source in self._sources:
            found = source() if callable(source) else source
            mappings.append(vars(found) if isinstance(found, ModuleType) else found)
        return mappings

    def _known(self) -> set[str]:
        own = {key for source in self._mappings for key in source if not key.startswith("_")}
        return own | _library_names()


def _library_names(modules: tuple[str, ...] = LIBRARY_MODULES) -> set[str]:
    return {key for module in modules for key in importlib.import_module(module).__all__}


def _walk(found: Any, rest: list[str]) -> Any:
    for part in rest:
        found = getattr(found, part, None)
        if found is None:
            return None
    return found


def _in_library(parts: list[str]) -> Any:
    """A class of Millrace by the last part of its name, as in ``mlrun.serving.routers.VotingEnsemble``."""
    for module in LIBRARY_MODULES if parts else ():
        found = importlib.import_module(module)
        if parts[-1] in found.__all__:
            return getattr(found, parts[-1])
    return None


def _imported(name: str, step: str) -> Any:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and f"{module_name}.".startswith(f"{error.name}."):
                continue
            raise _broken(module_name, step, error) from error
        except Exception as error:
            raise _broken(module_name, step, error) from error
        return _walk(module, parts[cut:])
    return None


def _broken(module: str, step: str, error: Exception) -> GraphError:
    """A module is there and fails while it is imported."""
    where = ""
    if not isinstance(error, SyntaxError):
        import traceback  # noqa: PLC0415 - for start-up: only when something broke

        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f" ({last.filename}, line {last.lineno})"
    return GraphError(f"step '{step}': the module '{module}' does not import: {type(error).__name__}: {error}{where}")
