"""The short way for what nearly every tensor request is: tensors of numbers in, one array of numbers out.

It takes only what is certainly right and says ``None`` to all else, so that it needs no errors of its own:
``tensors.py`` and ``outputs.py`` know every rule, and read the rest or say what is wrong with it. For a tensor of a few
numbers this is three times as fast.
"""

from __future__ import annotations

import math
import struct
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .datatypes import DTYPES

_FORMATS = {name: (DTYPES[name], DTYPES[name].char) for name in ("FP32", "FP64", "INT32", "INT64")}
_LARGEST = {"f": float(np.finfo("f4").max)}  # struct makes infinity of what is larger
_DATATYPES = {dtype: name for name, dtype in DTYPES.items() if name not in ("BYTES", "FP16")}
_MOST = sys.float_info.max
# For more numbers than this numpy is faster.
_FEW = 64


def read_usual(inputs: list[Any]) -> NDArray[Any] | dict[str, NDArray[Any]] | None:
    """The arrays of usual tensors, as ``decode_inputs`` has them; ``None`` where one of them is not usual.

    >>> read_usual([{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}])
    array([1., 2.], dtype=float32)
    >>> read_usual([{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, "2"]}])
    """
    try:
        if len(inputs) == 1:
            return _array(inputs[0])
        arrays: dict[str, NDArray[Any]] = {}
        for tensor in inputs:
            array = _array(tensor)
            if array is None or tensor["name"] in arrays:
                return None
            arrays[tensor["name"]] = array
    except (KeyError, TypeError):
        return None
    return arrays


def _array(tensor: Any) -> NDArray[Any] | None:
    name, data, shape, (dtype, code) = tensor["name"], tensor["data"], tensor["shape"], _FORMATS[tensor["datatype"]]
    if name.__class__ is not str or not name or "parameters" in tensor:
        return None
    if shape.__class__ is not list:
        return None
    count = 1
    for size in shape:
        if size.__class__ is not int or size < 1:
            return None
        count *= size
    if data.__class__ is not list:
        return _as_it_is(data, shape, dtype)
    values = _flat(data, shape) if data and data[0].__class__ is list else data
    if values is None or len(values) != count:
        return None
    try:
        packed = struct.pack(f"{count}{code}", *values)
        array: NDArray[Any] = np.ndarray(shape, dtype, bytearray(packed))  # a bytearray, so that a model may write
        # No number is larger than the length of all together, which is NaN or infinite where one of them is.
        is_finite = math.hypot(*values) <= _LARGEST.get(code, _MOST) if count <= _FEW else np.isfinite(array).all()
    except (struct.error, OverflowError, TypeError, ValueError):
        return None
    return array if is_finite else None


def _as_it_is(data: Any, shape: list[int], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """What a door has made of binary data, where it is what the tensor says."""
    is_right = data.__class__ is np.ndarray and data.dtype == dtype and list(data.shape) == shape
    return data if is_right else None


def _flat(rows: list[Any], shape: list[Any]) -> list[Any] | None:
    """The elements of rows that are as long as the shape says."""
    if len(shape) != 2 or shape[0] != len(rows):
        return None
    values: list[Any] = []
    width = shape[1]
    for row in rows:
        if row.__class__ is not list or len(row) != width:
            return None
        values += row
    return values


def write_usual(name: str, value: Any) -> dict[str, Any] | None:
    """An array of numbers as ``encode_outputs`` has it in JSON; ``None`` for any other value.

    >>> write_usual("y", np.array([[1, 2]], dtype="int8"))
    {'name': 'y', 'shape': [1, 2], 'datatype': 'INT8', 'data': array([1, 2], dtype=int8)}
    >>> write_usual("y", [1, 2])
    """
    if value.__class__ is not np.ndarray:
        return None
    datatype = _DATATYPES.get(value.dtype)
    if datatype is None or not value.flags.c_contiguous:
        return None
    shape = value.shape
    data = value if len(shape) == 1 else value.reshape(-1)
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": data}
