"""A request to try, for whoever has just started a server: to the URL of its router, with inputs of the right form."""

from __future__ import annotations

import json
import math
import shlex
from typing import Any
from urllib.parse import quote

from ..engine.engine import Engine
from ..models.router import BaseModelRouter

MOST_NUMBERS = 100
VALUES = {"BOOL": True, "BYTES": "text"}
UNDECLARED = {"inputs": [[1, 2, 3, 4]]}


def command_to_try(engine: Engine, url: str) -> str:
    """A ``curl`` command that asks the graph's router; empty where there is none that knows its own URLs.

    Where the inputs are too many to be typed, it asks for the metadata, which tells their form.
    """
    routers = {path: one for path, one in engine.plan.objects.items() if isinstance(one, BaseModelRouter)}
    if not routers:
        return ""
    router = routers[min(routers, key=lambda path: path.count("/"))]
    path = router.path_to_try
    if path is None:
        return ""
    declared = router.declared_inputs
    address = shlex.quote(f"{url}{quote(path)}")
    if sum(math.prod(_shape(one)) for one in declared) > MOST_NUMBERS:
        return f"curl {address.removesuffix('/infer')}"
    return f"curl {address} -d {shlex.quote(json.dumps(request_for(declared)))}"


def request_for(declared: list[dict[str, Any]]) -> dict[str, Any]:
    """A request with one row of what a model declares: plain for one input, tensors for several.

    >>> request_for([{"name": "x", "datatype": "FP64", "shape": [-1, 2]}])
    {'inputs': [[1.0, 1.0]]}
    """
    if not declared:
        return UNDECLARED
    if len(declared) == 1:
        return {"inputs": _filled(_shape(declared[0]), _value(declared[0]))}
    return {
        "inputs": [
            {"name": one["name"], "shape": _shape(one), "datatype": one.get("datatype") or "FP64",
             "data": [_value(one)] * math.prod(_shape(one))}
            for one in declared
        ]
    }  # fmt: skip


def _shape(declared: dict[str, Any]) -> list[int]:
    return [1 if size < 0 else size for size in declared.get("shape") or [1]]


def _value(declared: dict[str, Any]) -> Any:
    datatype = declared.get("datatype") or "FP64"
    return VALUES.get(datatype, 1.0 if datatype.startswith("FP") else 1)


def _filled(shape: list[int], value: Any) -> Any:
    return [_filled(shape[1:], value) for _ in range(shape[0])] if shape else value
