"""The two dialects of an inference request, told apart by its inputs: typed tensors, or MLRun's plain list."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson

from ...errors import BadRequest, InvalidInput, a_kind
from ..engine.event import Event, Response
from .headers import BINARY_HEADER
from .outputs import encode_outputs
from .tensors import decode_inputs, is_tensor_request, join_binary
from .usual import read_usual, write_usual

BINARY_TYPE = "application/octet-stream"
NO_CHUNKS: list[bytes] = []
NO_INPUTS = (str, bytes, int, float, bool, type(None))


@dataclass(slots=True)
class Asked:
    """How an answer is wanted.

    :param requested: the outputs that a tensor request names
    :param binary: outputs are wanted as bytes unless they say otherwise
    :param is_checked: the request is known to have inputs that are not empty
    """

    tensors: bool = False
    requested: list[Any] | None = None
    binary: bool = False
    is_checked: bool = False


PLAIN = Asked()
ROWS = Asked(is_checked=True)
"""Of a plain request whose inputs are rows."""
USUAL = Asked(tensors=True, is_checked=True)
"""Of a request whose tensors are usual, and so hold numbers."""


def read_request(body: Any) -> tuple[Any, Asked]:
    """A request in either dialect, its tensors as arrays where it has any, and how the answer is wanted.

    >>> read_request({"inputs": [[1, 2]]})
    ({'inputs': [[1, 2]]}, Asked(tensors=False, requested=None, binary=False, is_checked=True))
    """
    inputs = body.get("inputs") if body.__class__ is dict else None
    if inputs.__class__ is list and inputs:
        kind = inputs[0].__class__
        if kind is list:
            return body, ROWS
        if kind is dict and "parameters" not in body and "outputs" not in body:
            arrays = read_usual(inputs)
            if arrays is not None:
                return {**body, "inputs": arrays}, USUAL
    return read_tensors(body) if is_tensor_request(body) else (body, PLAIN)


def read_tensors(body: dict[str, Any]) -> tuple[dict[str, Any], Asked]:
    """A tensor request with its tensors as arrays, and how the answer is wanted.

    :return: ``inputs`` is one array, or a dict of arrays by name where there are several tensors

    >>> body, asked = read_tensors({"inputs": [{"name": "x", "shape": [2], "datatype": "INT64", "data": [1, 2]}]})
    >>> body["inputs"].tolist(), asked.tensors
    ([1, 2], True)
    """
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidInput("the request's 'parameters' must be an object")
    requested = body.get("outputs")
    if requested is not None and not isinstance(requested, list):
        raise InvalidInput("the request's 'outputs' must be a list")
    asked = Asked(True, requested or None, parameters.get("binary_data_output") is True)
    return {**body, "inputs": decode_inputs(body)}, asked


def check_request(request: Any, *, model: str) -> dict[str, Any]:
    """The request, if it is a mapping with ``inputs``: a list that is not empty, an array, or a dict of arrays.

    >>> check_request({"inputs": []}, model="m")
    Traceback (most recent call last):
    millrace.errors.InvalidInput: model 'm': 'inputs' is empty
    """
    if request.__class__ is not dict and not isinstance(request, dict):
        raise BadRequest(f"model '{model}' takes a JSON object with 'inputs', not {_kind(request)}")
    if "inputs" not in request:
        raise InvalidInput(f"model '{model}': expected key 'inputs' in the request body")
    inputs = request["inputs"]
    # Nearly always it is one of these.
    if (inputs.__class__ is list and inputs) or (inputs.__class__ is np.ndarray and inputs.size):
        return request
    if isinstance(inputs, NO_INPUTS) or (isinstance(inputs, dict) and not _holds_arrays(inputs)):
        raise InvalidInput(f"model '{model}': expected 'inputs' to be a list, not {_kind(inputs)}")
    if _is_empty(inputs):
        raise InvalidInput(f"model '{model}': 'inputs' is empty")
    return request


def _holds_arrays(inputs: dict[str, Any]) -> bool:
    return bool(inputs) and all(isinstance(value, np.ndarray) for value in inputs.values())


def _is_empty(inputs: Any) -> bool:
    if isinstance(inputs, dict):
        return not any(array.size for array in inputs.values())
    return not (inputs.size if isinstance(inputs, np.ndarray) else inputs)


def _kind(value: Any) -> str:
    names = {
        list: "a list", dict: "an object", str: "text", bytes: "bytes", int: "a number", float: "a number",
        bool: "true or false", type(None): "nothing",
    }  # fmt: skip
    return names.get(type(value), a_kind(value))


def id_of(event: Event) -> Any:
    """The id that the answer carries: the request's own, else the event's."""
    body = event.body
    given = body.get("id") if isinstance(body, dict) else None
    return event.id if given is None else given


_MICROSECONDS = tuple(f"{count:03d}+00:00" for count in range(1000))
_stamp = (0, "")  # one value, so that threads never see the text of another millisecond


def now_text() -> str:
    """The time in UTC as ``str(datetime.now(UTC))`` writes it; the text of the millisecond is kept while it lasts."""
    global _stamp
    now = time.time_ns()
    start, text = _stamp
    if not 0 <= now - start < 1_000_000:
        start = now - now % 1_000_000
        text = datetime.fromtimestamp(start / 1e9, UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")
        _stamp = (start, text)
    return text + _MICROSECONDS[(now - start) // 1000]


def write_plain(name: str, version: str, answer_id: Any, outputs: Any, timestamp: bool = True) -> dict[str, Any]:
    """MLRun's answer."""
    answer = {"id": answer_id, "model_name": name, "outputs": outputs}
    if timestamp:
        answer["timestamp"] = now_text()
    if version:
        answer["model_version"] = version
    return answer


def write_tensors(
    name: str, version: str, answer_id: Any, outputs: Any, asked: Asked, *, declared: list[dict[str, Any]],
    parameters: dict[str, Any] | None = None,
) -> Any:  # fmt: skip
    """The answer in tensors; a :class:`Response` in bytes where the request asks for binary outputs."""
    names = [one["name"] for one in declared if "name" in one] if declared else ()
    usual = None
    if asked.requested is None and not asked.binary and len(names) < 2:
        usual = write_usual(names[0] if names else "output-0", outputs)
    if usual is not None:
        tensors, chunks = [usual], NO_CHUNKS
    else:
        tensors, chunks = encode_outputs(outputs, requested=asked.requested, names=names, binary_default=asked.binary)
    answer: dict[str, Any] = {"model_name": name, "id": answer_id, "outputs": tensors}
    if version:
        answer["model_version"] = version
    if parameters:
        answer["parameters"] = parameters
    if not chunks:
        return answer
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    body, length = join_binary(head, chunks)
    return Response({BINARY_HEADER: str(length)}, body, BINARY_TYPE)
