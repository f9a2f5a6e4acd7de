"""Unknown arguments of the calls that users write: refused with the names that are near."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ...errors import near

P = ParamSpec("P")
R = TypeVar("R")


def known_arguments(call: Callable[P, R]) -> Callable[P, R]:
    """Let a call refuse a keyword that it does not have with a :class:`TypeError` that lists near names.

    >>> @known_arguments
    ... def make(name="", kind="serving"): ...
    >>> make(nmae="x")
    Traceback (most recent call last):
    TypeError: make() has no parameter 'nmae'; did you mean 'name'?
    """
    names = [name for name in inspect.signature(call).parameters if name != "self"]

    @functools.wraps(call)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in names:
                hint = near(name, names) or f"; it has {', '.join(names)}"
                raise TypeError(f"{call.__name__}() has no parameter '{name}'{hint}")
        return call(*args, **kwargs)

    return checked
