"""Expressions in graphs: ``"(event['x'] > 1)"``. They are Python, so a spec that holds one is code."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Callable
from typing import Any

from ..errors import GraphError

_NAMES = {"json": json, "math": math, "re": re, "datetime": datetime}


def is_expression(text: str) -> bool:
    """Whether a handler is an expression: it begins with a parenthesis."""
    return text.startswith("(")


def compile_expression(text: str, *, step: str) -> Callable[[Any], Any]:
    """The function of ``event`` (the body) that an expression in parentheses means.

    It sees ``json``, ``math``, ``re`` and ``datetime`` (the modules) and ``np``.

    >>> compile_expression("(event['x'] + math.floor(1.5))", step="s")({"x": 1})
    2
    """
    if not text.endswith(")"):
        raise GraphError(f"step '{step}': the expression {text!r} must start with '(' and end with ')'")
    try:
        code = compile(f"lambda event: {text}", f"<expression of step '{step}'>", "eval")
    except SyntaxError as error:
        raise GraphError(f"step '{step}': the expression {text!r} is not Python: {error.msg}") from error
    names: dict[str, Any] = dict(_NAMES)
    if "np" in text:
        import numpy  # noqa: PLC0415 - only when an expression uses it

        names["np"] = numpy
    function: Callable[[Any], Any] = eval(code, names)
    return function
