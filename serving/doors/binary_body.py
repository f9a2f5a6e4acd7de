"""Bodies with binary tensors, whichever door they come in by."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import BadRequest
from ..models.binary import split_binary
from ..models.headers import BINARY_HEADER
from ..models.tensors import decode_inputs

BINARY_SIZE = "binary_data_size"
MOST_DIGITS = 20


def parse_binary(raw: bytes, length: str) -> dict[str, Any]:
    """A body with binary tensors, as the body that the same tensors have in JSON, with arrays as their ``data``.

    :param length: the header ``Inference-Header-Content-Length``
    """
    if not (length.isascii() and length.isdigit() and len(length) < MOST_DIGITS):
        raise BadRequest(f"{BINARY_HEADER} is {length!r:.60}, not the length of the JSON in bytes")
    head, rest = split_binary(raw, int(length))
    if not rest and not any(_binary_size(tensor) is not None for tensor in _tensors(head)):
        return head
    arrays = decode_inputs(head, rest)
    by_name = {head["inputs"][0]["name"]: arrays} if isinstance(arrays, np.ndarray) else arrays
    return {**head, "inputs": [_with_array(tensor, by_name[tensor["name"]]) for tensor in head["inputs"]]}


def _tensors(head: dict[str, Any]) -> list[Any]:
    inputs = head.get("inputs")
    return inputs if isinstance(inputs, list) else []


def _binary_size(tensor: Any) -> Any:
    parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
    return parameters.get(BINARY_SIZE) if isinstance(parameters, dict) else None


def _with_array(tensor: dict[str, Any], array: Any) -> dict[str, Any]:
    if _binary_size(tensor) is None:
        return tensor
    parameters = {name: value for name, value in tensor["parameters"].items() if name != BINARY_SIZE}
    made = {name: value for name, value in tensor.items() if name != "parameters"} | {"data": array}
    return made | {"parameters": parameters} if parameters else made
