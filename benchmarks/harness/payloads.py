"""The inference requests of `http.py`, and what the right answers to them are."""

from __future__ import annotations

import array
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .loads import Request

INFER_PATH = "/v2/models/m/infer"
LENGTH_OF_JSON = "Inference-Header-Content-Length"
TOLERANCE = 1e-4  # float32 sums of 30 numbers below 1


@dataclass(frozen=True)
class Payload:
    """A body, the sums of the rows in it, and how many requests are kept under way."""

    name: str
    body: bytes
    headers: Mapping[str, str]
    sums: tuple[float, ...]
    numbers: int
    connections: int

    def to(self, path: str) -> Request:
        return Request(path, self.body, dict(self.headers))


def _of_json(name: str, rows: Sequence[Sequence[float]], connections: int) -> Payload:
    flat = [number for row in rows for number in row]
    tensor = {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": flat}
    body = json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json"}
    return Payload(name, body, headers, tuple(math.fsum(row) for row in rows), len(flat), connections)


def _of_binary(name: str, rows: Sequence[Sequence[float]], connections: int) -> Payload:
    """The binary tensor extension: JSON without `data`, then the little-endian numbers row by row."""
    flat = array.array("f", [number for row in rows for number in row]).tobytes()
    tensor = {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP32"}
    tensor["parameters"] = {"binary_data_size": len(flat)}
    head = json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/octet-stream", LENGTH_OF_JSON: str(len(head))}
    sums = tuple(math.fsum(row) for row in rows)
    return Payload(name, head + flat, headers, sums, len(rows) * len(rows[0]), connections)


def _random_rows(rows: int, columns: int) -> list[list[float]]:
    numbers = random.Random(7)
    return [[numbers.random() for _ in range(columns)] for _ in range(rows)]


SMALL = _of_json("small JSON", [[1.0, 2.0, 3.0, 4.0]], connections=32)
LARGE = _of_json("large JSON", _random_rows(1000, 30), connections=16)
BINARY = _of_binary("large binary", _random_rows(1000, 30), connections=16)
PAYLOADS = (SMALL, LARGE, BINARY)


def is_right(payload: Payload, status: int, headers: Mapping[str, str], body: bytes, *, is_floor: bool) -> bool:
    """Whether the answer holds the sums of the rows, as JSON or as a binary tensor; a floor says what it received."""
    if status != 200:
        return False
    if is_floor:
        return json.loads(body)["received"] in (len(payload.body), payload.numbers)
    if length := headers.get(LENGTH_OF_JSON):
        sums: Sequence[float] = array.array("f", body[int(length) :])
    else:
        sums = json.loads(body)["outputs"][0]["data"]
    return len(sums) == len(payload.sums) and all(
        math.isclose(mine, right, rel_tol=TOLERANCE) for mine, right in zip(sums, payload.sums, strict=True)
    )
