"""Expressions in graphs: ``"(event['x'] > 1)"``. They are Python, so a spec that holds one is code."""

from __future__ import annotations

import ast
import builtins
import datetime
import json
import math
import re
from collections.abc import Callable
from typing import Any

from ..errors import GraphError, near

_MODULES = {"json": json, "math": math, "re": re, "datetime": datetime}
_NAMES = ("event", *_MODULES, "np")


def is_expression(text: str) -> bool:
    """Whether a handler is an expression: it begins with a parenthesis."""
    return text.lstrip().startswith("(")


def compile_expression(text: str, *, step: str) -> Callable[[Any], Any]:
    """The function of ``event`` (the body) that an expression in parentheses means.

    It sees ``json``, ``math``, ``re`` and ``datetime`` (the modules), ``np`` and what is built into Python; any other
    name is an error now, before an event comes.

    >>> compile_expression("(event['x'] + math.floor(1.5))", step="s")({"x": 1})
    2
    """
    if not text.rstrip().endswith(")"):
        raise GraphError(f"step '{step}': the expression {text!r} must start with '(' and end with ')'")
    try:
        tree = ast.parse(f"({text.strip()}\n)", f"<expression of step '{step}'>", "eval")
    except (SyntaxError, ValueError, RecursionError) as error:
        raise _not_python(text, step, error) from error
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    _check_names(tree, used, text, step)
    names: dict[str, Any] = dict(_MODULES)
    if "np" in used:
        import numpy  # noqa: PLC0415 - only when an expression uses it

        names["np"] = numpy
    tree.body = ast.Lambda(_EVENT, tree.body)
    try:
        code = compile(ast.fix_missing_locations(tree), f"<{step}>", "eval")
    except (SyntaxError, RecursionError) as error:  # such as an await, which only a compiler refuses
        raise _not_python(text, step, error) from error
    function: Callable[[Any], Any] = eval(code, names)
    return function


def _not_python(text: str, step: str, error: Exception) -> GraphError:
    message = error.msg if isinstance(error, SyntaxError) else error
    return GraphError(f"step '{step}': the expression {text!r:.200} is not Python: {message}")


_EVENT = ast.arguments(posonlyargs=[], args=[ast.arg("event")], kwonlyargs=[], kw_defaults=[], defaults=[])


def _check_names(tree: ast.AST, used: set[str], text: str, step: str) -> None:
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    bound |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for name in sorted(used - bound - {*_NAMES}):
        if not hasattr(builtins, name):
            raise GraphError(
                f"step '{step}': the expression {text!r} uses '{name}', which it does not see{near(name, _NAMES)}; "
                f"it sees {', '.join(_NAMES)} and Python's own functions: write a function and name it instead"
            )
