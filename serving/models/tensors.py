"""The input tensors of the Open Inference Protocol (V2 REST) as numpy arrays; ``outputs.py`` is the way back.

Pure: parsed JSON in, arrays out; no model and no HTTP. What a client got wrong is an ``InvalidInput`` that names the
tensor. Source of the rules:
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md

>>> decode_inputs({"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]})
array([[1., 2.],
       [3., 4.]], dtype=float32)
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .binary import join_binary, read_tensor, split_binary
from .datatypes import DTYPES, datatype_of, describe, input_label, short
from .outputs import encode_outputs

__all__ = ["check_declared", "decode_inputs", "encode_outputs", "is_tensor_request", "join_binary", "split_binary"]

# What every numpy that we run on can shape: 32 dimensions (64 since 2.0), strides of 63 bits.
_MAX_RANK = 32
_MAX_ELEMENTS = 2**59


class _Header(NamedTuple):
    """What a tensor says about itself, checked."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def label(self) -> str:
        return input_label(self.name)


def is_tensor_request(body: object) -> bool:
    """Are the inputs of this body typed tensors, rather than plain rows?

    >>> is_tensor_request({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]})
    True
    >>> is_tensor_request({"inputs": [[1, 2], [3, 4]]})
    False
    """
    if not isinstance(body, dict):
        return False
    inputs = body.get("inputs")
    return isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], dict) and "datatype" in inputs[0]


def decode_inputs(
    body: dict[str, Any], binary: bytes | memoryview | None = None
) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """The input tensors of a request: one array when there is one, else a dict of arrays by name.

    Each array has the tensor's shape and the dtype of its datatype. JSON ``data`` is row-major, flat or nested exactly
    as the shape says. A BYTES tensor is an object array, of ``str`` from JSON and of ``bytes`` from binary data. A BOOL
    takes true and false only; in a tensor of numbers they count as 1 and 0. FP16 has no JSON form. Arrays of numbers
    from binary data are read-only: views of `binary` where they are aligned, else copies.

    :param body: the parsed request
    :param binary: what follows the JSON in a binary request, see :func:`split_binary`
    :raises InvalidInput: when a tensor is not what it says, or holds a value that its datatype can not (in JSON also
        NaN and infinity); nothing larger than what was sent is allocated before that is known

    >>> decode_inputs({"inputs": [
    ...     {"name": "age", "shape": [2], "datatype": "UINT8", "data": [31, 52]},
    ...     {"name": "city", "shape": [2], "datatype": "BYTES", "data": ["Oslo", "Rome"]},
    ... ]})
    {'age': array([31, 52], dtype=uint8), 'city': array(['Oslo', 'Rome'], dtype=object)}
    """
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise InvalidInput("the request has no 'inputs', a list of tensors with name, shape, datatype and data")
    rest = memoryview(b"" if binary is None else binary)
    arrays: dict[str, NDArray[Any]] = {}
    for index, tensor in enumerate(inputs):
        header = _header(tensor, index)
        if header.name in arrays:
            raise InvalidInput(f"there are two inputs of the name {short(header.name)}")
        size = _binary_size(tensor, header)
        if size is None:
            arrays[header.name] = _from_json(tensor.get("data"), header)
            continue
        if size > len(rest):
            raise InvalidInput(
                f"{header.label} has a binary_data_size of {size}, and {len(rest)} bytes of binary data are left"
            )
        arrays[header.name] = read_tensor(
            rest[:size], dtype=DTYPES[header.datatype], shape=header.shape, label=header.label
        )
        rest = rest[size:]
    if len(rest):
        raise InvalidInput(f"{len(rest)} bytes of binary data belong to no input")
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _header(tensor: object, index: int) -> _Header:
    if not isinstance(tensor, dict):
        raise InvalidInput(f"inputs[{index}] is {describe(tensor)}, not a tensor with name, shape, datatype and data")
    name = tensor.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"inputs[{index}] has no name")
    datatype = tensor.get("datatype")
    if datatype is None:
        raise InvalidInput(f"{input_label(name)} has no datatype, one of {', '.join(DTYPES)}")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise InvalidInput(
            f"{input_label(name)} has the datatype {describe(datatype)}, which is none of {', '.join(DTYPES)}"
        )
    return _Header(name, datatype, _shape(tensor.get("shape"), name))


def _shape(shape: object, name: str) -> tuple[int, ...]:
    if shape is None:
        raise InvalidInput(f"{input_label(name)} has no shape")
    if not isinstance(shape, (list, tuple)) or not set(map(type, shape)) <= {int} or min(shape, default=0) < 0:
        raise InvalidInput(f"the shape of {input_label(name)} is not a list of whole numbers of 0 or more")
    if len(shape) > _MAX_RANK:
        raise InvalidInput(f"{input_label(name)} has {len(shape)} dimensions, and may have {_MAX_RANK}")
    if math.prod(filter(None, shape)) > _MAX_ELEMENTS:
        raise InvalidInput(f"the shape of {input_label(name)} is larger than any array")
    return tuple(shape)


def _binary_size(tensor: dict[str, Any], header: _Header) -> int | None:
    parameters = tensor.get("parameters")
    if parameters is None:
        return None
    if not isinstance(parameters, dict):
        raise InvalidInput(f"the parameters of {header.label} are {describe(parameters)}, not an object")
    if "shared_memory_region" in parameters:
        raise InvalidInput(f"{header.label} is in shared memory, which is not read here: send it as binary data")
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise InvalidInput(f"the binary_data_size of {header.label} is not a whole number of 0 or more")
    if tensor.get("data") is not None:
        raise InvalidInput(f"{header.label} has both data and a binary_data_size, and may have only one of them")
    return size


def _from_json(data: object, header: _Header) -> NDArray[Any]:
    if header.datatype == "FP16" and not isinstance(data, np.ndarray):
        raise InvalidInput(f"{header.label} is FP16, which has no JSON form: send it as binary data, or as FP32")
    if data is None:
        raise InvalidInput(f"{header.label} has no data")
    if isinstance(data, np.ndarray):
        return _from_array(data, header)
    values = _flatten(data, header)
    if header.datatype == "BYTES":
        _check_types(values, str, header)
    elif header.datatype == "BOOL":
        _check_types(values, bool, header)
    else:
        return _numbers(values, header).reshape(header.shape)
    return np.array(values, dtype=DTYPES[header.datatype]).reshape(header.shape)


def _from_array(data: NDArray[Any], header: _Header) -> NDArray[Any]:
    """The array that a door made of binary data, or that a caller in the same process sent."""
    if datatype_of(data.dtype) != header.datatype:
        raise InvalidInput(f"{header.label} says {header.datatype}, and its data is an array of {data.dtype}")
    if data.size != math.prod(header.shape):
        raise InvalidInput(f"the data of {header.label} has the shape {list(data.shape)}, not {list(header.shape)}")
    return data.reshape(header.shape)


def _flatten(data: object, header: _Header) -> list[Any]:
    """The elements in row-major order, as many as the shape says."""
    if not isinstance(data, list):
        if header.shape == ():  # a tensor without dimensions, nested as its shape says
            return [data]
        raise InvalidInput(f"the data of {header.label} is {describe(data)}, not a list")
    if not data or not isinstance(data[0], list):
        count = math.prod(header.shape)
        if len(data) != count:
            raise InvalidInput(
                f"the number of elements of {header.label} is {len(data)}, and its shape {list(header.shape)} takes "
                f"{count}"
            )
        return data
    level: list[Any] = [data]
    for depth, size in enumerate(header.shape):
        _check_level(level, depth, size, header)
        elements: list[Any] = []
        for row in level:  # twice as fast as itertools.chain
            elements += row
        level = elements
    return level


def _check_level(level: list[Any], depth: int, size: int, header: _Header) -> None:
    if not set(map(type, level)) <= {list}:
        raise InvalidInput(
            f"the data of {header.label} is ragged: in dimension {depth} are values where its shape "
            f"{list(header.shape)} wants lists"
        )
    lengths = set(map(len, level))
    if len(lengths) > 1:
        raise InvalidInput(
            f"the data of {header.label} is ragged: in dimension {depth} are lists of length {min(lengths)} and of "
            f"length {max(lengths)}"
        )
    if not lengths <= {size}:
        raise InvalidInput(
            f"dimension {depth} of the data of {header.label} is {lengths.pop()}, and its shape {list(header.shape)} "
            f"says {size}"
        )


def _check_types(values: list[Any], expected: type, header: _Header) -> None:
    if not set(map(type, values)) <= {expected}:
        index = next(index for index, value in enumerate(values) if type(value) is not expected)
        raise _misfit(values, index, header)


def _numbers(values: list[Any], header: _Header) -> NDArray[Any]:
    dtype = DTYPES[header.datatype]
    # struct takes half the time of np.array, and refuses what numpy converts: "1", null, 1.5 to 1, 300 to 44.
    try:
        packed = struct.pack(f"{len(values)}{dtype.char}", *values)
    except (struct.error, OverflowError):
        raise _misfit(values, _first_refused(values, dtype.char), header) from None
    array: NDArray[Any] = np.frombuffer(bytearray(packed), dtype)  # a bytearray, so that a model may write
    if dtype.kind == "f":
        index = np.isfinite(array).tobytes().find(0)  # for a few elements, .all() takes longer than the rest
        if index >= 0:
            raise _misfit(values, index, header)
    return array


def _first_refused(values: list[Any], code: str) -> int:
    """The index of the first value that struct refuses, by halves: a loop would take seconds for millions."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            struct.pack(f"{middle - low}{code}", *values[low:middle])
            low = middle
        except (struct.error, OverflowError):
            high = middle
    return low


def _misfit(values: list[Any], index: int, header: _Header) -> InvalidInput:
    value = values[index]
    if isinstance(value, list):
        return InvalidInput(
            f"the data of {header.label} is neither flat nor nested as its shape {list(header.shape)} says: "
            f"element {index} is a list"
        )
    return InvalidInput(f"element {index} of {header.label} is {describe(value)}, which is no {header.datatype} value")


def check_declared(array: NDArray[Any], declared: Mapping[str, Any]) -> None:
    """Check an input against the model's metadata for it.

    :param declared: ``{"name", "datatype", "shape"}``; -1 in the shape stands for any size, and a datatype or shape
        that is absent is not checked
    :raises InvalidInput: when the datatype, the number of dimensions or a fixed dimension differs

    >>> check_declared(np.zeros((8, 4), np.float32), {"name": "x", "datatype": "FP32", "shape": [-1, 4]})
    >>> check_declared(np.zeros((8, 3), np.float32), {"name": "x", "datatype": "FP32", "shape": [-1, 4]})
    Traceback (most recent call last):
    millrace.errors.InvalidInput: input 'x' has the shape [8, 3], and the model takes [-1, 4]
    """
    datatype, shape = declared.get("datatype"), declared.get("shape")
    if datatype is not None and (actual := datatype_of(array.dtype)) != datatype:
        raise InvalidInput(f"{_label(declared)} is {actual or array.dtype}, and the model takes {datatype}")
    if shape is not None and not _fits(array.shape, shape):
        raise InvalidInput(f"{_label(declared)} has the shape {list(array.shape)}, and the model takes {list(shape)}")


def _label(declared: Mapping[str, Any]) -> str:
    return input_label(str(declared.get("name", "")))


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    if len(shape) != len(wanted):
        return False
    for size, want in zip(shape, wanted, strict=True):  # noqa: SIM110 - all() takes twice as long
        if want not in (-1, size):
            return False
    return True
