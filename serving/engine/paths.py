"""``input_path`` and ``result_path``: reading from and writing into nested bodies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import InvalidInput, a_kind


def read_path(path: str, *, step: str) -> Callable[[Any], Any]:
    """A function that reads ``"a.b"`` from a body; a missing part is an error that names it.

    >>> read_path("a.b", step="s")({"a": {"b": 1}})
    1
    """
    parts = path.split(".")

    def read(body: Any) -> Any:
        value = body
        for part in parts:
            try:
                value = value[int(part)] if isinstance(value, (list, tuple)) else value[part]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise InvalidInput(f"step '{step}': the body has no '{part}' on its input_path '{path}'") from error
        return value

    return read


def write_path(path: str, *, step: str) -> Callable[[Any, Any], Any]:
    """A function that writes a result into a body at ``"y.z"``, making dicts where there are none.

    >>> write_path("y.z", step="s")({"a": 1}, 2)
    {'a': 1, 'y': {'z': 2}}
    """
    *parents, last = path.split(".")

    def write(body: Any, result: Any) -> Any:
        body = {} if body is None else body
        value = body
        for part in parents:
            if not isinstance(value, dict):
                break
            value = value.setdefault(part, {})
        if not isinstance(value, dict):
            raise InvalidInput(
                f"step '{step}': the result can not be written to result_path '{path}' of {a_kind(value)}"
            )
        value[last] = result
        return body

    return write
