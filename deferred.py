"""Modules that take long to import, imported when something of them is first used.

A graph of plain steps answers without an event loop and without JSON, and `asyncio` (40 ms, half of it `ssl`) and
`orjson` (10 ms) would double the time to its first answer. Use is as with the module itself::

    from .deferred import asyncio
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["Deferred", "asyncio", "orjson"]


class Deferred:
    """Stands for a module.

    What was used once is kept, so that it costs an attribute from then on.

    >>> math = Deferred("math")
    >>> math.sqrt(4), vars(math).keys() >= {"sqrt"}
    (2.0, True)
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self._module), name)
        setattr(self, name, value)
        return value

    def __repr__(self) -> str:
        return f"Deferred({self._module!r})"


if TYPE_CHECKING:
    import asyncio as asyncio

    import orjson as orjson
else:
    asyncio = Deferred("asyncio")
    orjson = Deferred("orjson")
