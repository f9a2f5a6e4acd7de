"""The two dialects of an inference request, told apart by its inputs: typed tensors, or MLRun's plain list."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from ...errors import BadRequest, InvalidInput
from ..engine.event import Event, Response
from .tensors import decode_inputs, encode_outputs, is_tensor_request, join_binary

BINARY_HEADER = "Inference-Header-Content-Length"
BINARY_TYPE = "application/octet-stream"


@dataclass(slots=True)
class Asked:
    """How an answer is wanted.

    :param requested: the outputs that a tensor request names
    :param binary: outputs are wanted as bytes unless they say otherwise
    """

    tensors: bool = False
    id: str | None = None
    requested: list[Any] | None = None
    binary: bool = False


PLAIN = Asked()


def checked_body(body: Any, *, model: str) -> dict[str, Any]:
    """The body of an inference request: a mapping with ``inputs`` that are not empty."""
    if not isinstance(body, dict):
        raise BadRequest(f"model '{model}' takes a JSON object with 'inputs', not {_kind(body)}")
    if "inputs" not in body:
        raise InvalidInput(f"model '{model}': expected key 'inputs' in the request body")
    return body


def _kind(body: Any) -> str:
    names = {list: "a list", str: "text", bytes: "bytes", type(None): "an empty body"}
    return names.get(type(body), f"a {type(body).__name__}")


def read_request(body: dict[str, Any]) -> tuple[dict[str, Any], Asked]:
    """The request with its tensors as arrays, and how the answer is wanted. A plain request stays as it is.

    :return: ``inputs`` is one array, or a dict of arrays by name where there are several tensors

    >>> body, asked = read_request({"inputs": [{"name": "x", "shape": [2], "datatype": "INT64", "data": [1, 2]}]})
    >>> body["inputs"].tolist(), asked.tensors
    ([1, 2], True)
    """
    if not is_tensor_request(body):
        return body, PLAIN
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidInput("the request's 'parameters' must be an object")
    requested = body.get("outputs")
    if requested is not None and not isinstance(requested, list):
        raise InvalidInput("the request's 'outputs' must be a list")
    asked = Asked(True, body.get("id"), requested or None, parameters.get("binary_data_output") is True)
    return {**body, "inputs": decode_inputs(body)}, asked


_second, _second_text = 0, ""


def now_text() -> str:
    """The time in UTC as ``str(datetime.now(UTC))`` writes it; the text of the second is kept while it lasts."""
    global _second, _second_text
    now = time.time()
    second = int(now)
    if second != _second:
        _second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")
        _second = second
    return f"{_second_text}.{int((now - second) * 1e6):06d}+00:00"


def write_plain(name: str, version: str, event_id: str, outputs: Any, *, timestamp: bool = True) -> dict[str, Any]:
    """MLRun's answer."""
    answer = {"id": event_id, "model_name": name, "outputs": outputs}
    if timestamp:
        answer["timestamp"] = now_text()
    if version:
        answer["model_version"] = version
    return answer


def write_tensors(
    name: str, version: str, event: Event, outputs: Any, asked: Asked, *, declared: list[dict[str, Any]],
    parameters: dict[str, Any] | None = None,
) -> Any:  # fmt: skip
    """The answer in tensors; a :class:`Response` in bytes where the request asks for binary outputs."""
    names = [one["name"] for one in declared if "name" in one]
    tensors, chunks = encode_outputs(outputs, requested=asked.requested, names=names, binary_default=asked.binary)
    answer: dict[str, Any] = {"model_name": name, "id": asked.id or event.id, "outputs": tensors}
    if version:
        answer["model_version"] = version
    if parameters:
        answer["parameters"] = parameters
    if not chunks:
        return answer
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    body, length = join_binary(head, chunks)
    return Response({BINARY_HEADER: str(length)}, body, BINARY_TYPE)
