"""The datatypes of the Open Inference Protocol, their numpy dtypes, and the words for values in errors."""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"), "UINT16": np.dtype("u2"), "UINT32": np.dtype("u4"), "UINT64": np.dtype("u8"),
    "INT8": np.dtype("i1"), "INT16": np.dtype("i2"), "INT32": np.dtype("i4"), "INT64": np.dtype("i8"),
    "FP16": np.dtype("f2"), "FP32": np.dtype("f4"), "FP64": np.dtype("f8"),
    "BYTES": np.dtype("O"),
}  # fmt: skip
_BY_DTYPE = {dtype: datatype for datatype, dtype in DTYPES.items()}


def datatype_of(dtype: np.dtype[Any]) -> str | None:
    """The datatype that holds a dtype's values; ``None`` where there is none.

    >>> datatype_of(np.dtype(">f4")), datatype_of(np.dtype("U3")), datatype_of(np.dtype(complex))
    ('FP32', 'BYTES', None)
    """
    found = _BY_DTYPE.get(dtype)
    if found is None and dtype.kind in "SUT":  # T is numpy 2's StringDType
        return "BYTES"
    return found or _BY_DTYPE.get(dtype.newbyteorder("="))


def describe(value: object) -> str:
    """A JSON value in a few words, whatever its size."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return short(value)
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= 64):
        return str(value)
    return {list: "a list", dict: "an object", int: "an integer of over 64 bits"}.get(type(value), type(value).__name__)


def short(text: str) -> str:
    """A text in quotes, cut where it is long."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def input_label(name: str) -> str:
    """What errors call an input."""
    return f"input {short(name)}"
