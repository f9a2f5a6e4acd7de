"""What a model returns as the output tensors of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .binary import write_tensor
from .classification import class_count, classified
from .datatypes import DTYPES, datatype_of, describe, short


class _Wanted(NamedTuple):
    """How an output is asked for.

    :param classes: how many of its highest values, instead of all; 0 is all
    """

    is_binary: bool
    classes: int = 0


def encode_outputs(
    result: Any, *, requested: list[Any] | None = None, names: Sequence[str] = (), binary_default: bool = False
) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The ``outputs`` of an answer, and the binary data that follows its JSON, in their order.

    A dict is several outputs by name. Anything else is one, called by the declared name, else the requested one, else
    ``output-0``: an array (or what numpy makes one of), a nested list, a scalar (of shape []). The dtype gives the
    datatype, for lists as numpy infers it: int INT64, float FP64, bool BOOL, str or bytes BYTES.

    ``data`` is flat and row-major: a C-contiguous array that needs ``orjson.OPT_SERIALIZE_NUMPY``, or a list of
    ``str``. As JSON, float16 becomes FP32. JSON has no NaN and no infinity: orjson writes null for them, as it does in
    plain answers, and a client that makes a float array of the data (numpy, so tritonclient) reads NaN. A client that
    has to tell them apart asks for binary data, which is exact.

    :param requested: the request's ``outputs``: which of them, in which order, each with ``parameters.binary_data``
        and ``parameters.classification``
    :param names: the outputs that the model declares
    :param binary_default: the request's ``parameters.binary_data_output``
    :raises InvalidInput: when `requested` is malformed, names an output that does not exist, or wants bytes as JSON
        that are not UTF-8
    :raises TypeError, ValueError: when the model's result can not be a tensor

    >>> encode_outputs(["cat", "dog"], names=["label"])
    ([{'name': 'label', 'shape': [2], 'datatype': 'BYTES', 'data': ['cat', 'dog']}], [])
    >>> encode_outputs(np.array([7], dtype="int8"), binary_default=True)
    ([{'name': 'output-0', 'shape': [1], 'datatype': 'INT8', 'parameters': {'binary_data_size': 1}}], [b'\\x07'])
    """
    wanted = _wanted(requested, binary_default)
    values = _by_name(result, names, list(wanted))
    outputs, chunks = [], []
    for name in wanted or values:
        if name not in values:
            raise InvalidInput(f"there is no output {short(name)}, available: {', '.join(values)}")
        output, chunk = _output(name, values[name], wanted.get(name) or _Wanted(binary_default))
        outputs.append(output)
        if chunk is not None:
            chunks.append(chunk)
    return outputs, chunks


def _wanted(requested: list[Any] | None, binary_default: bool) -> dict[str, _Wanted]:
    """The names of the requested outputs, in order."""
    if requested is None:
        return {}
    if not isinstance(requested, list):
        raise InvalidInput(f"the requested 'outputs' are {describe(requested)}, not a list")
    wanted: dict[str, _Wanted] = {}
    for index, output in enumerate(requested):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or not name:
            raise InvalidInput(f"outputs[{index}] of the request has no name")
        if name in wanted:
            raise InvalidInput(f"the output {short(name)} is requested twice")
        parameters = output.get("parameters") or {}
        if not isinstance(parameters, dict) or not isinstance(is_binary := parameters.get("binary_data"), bool | None):
            raise InvalidInput(f"parameters.binary_data of the output {short(name)} is not true or false")
        if "shared_memory_region" in parameters:
            raise InvalidInput(f"the output {short(name)} can not go to shared memory here; ask for it as binary data")
        wanted[name] = _Wanted(binary_default if is_binary is None else is_binary, class_count(parameters, name))
    return wanted


def _by_name(result: Any, names: Sequence[str], wanted: list[str]) -> dict[str, Any]:
    if isinstance(result, dict):
        if not all(isinstance(name, str) for name in result):
            raise TypeError("the names of the model's outputs are not all strings")
        return result
    if len(names) > 1:
        raise ValueError(f"the model declares the outputs {', '.join(names)}: it has to return a dict of them by name")
    if names:
        return {names[0]: result}
    return {wanted[0] if len(wanted) == 1 else "output-0": result}


def _output(name: str, value: Any, wanted: _Wanted) -> tuple[dict[str, Any], bytes | None]:
    array = _array(value, name)
    if wanted.classes:
        array = classified(array, wanted.classes, name)
    datatype = datatype_of(array.dtype)
    if datatype is None:
        raise TypeError(f"output '{name}' is an array of {array.dtype}, which no datatype of the protocol holds")
    output: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype}
    if wanted.is_binary:
        chunk = write_tensor(array)
        output["parameters"] = {"binary_data_size": len(chunk)}
        return output, chunk
    if datatype == "BYTES":
        output["data"] = _texts(array, name)
        return output, None
    if datatype == "FP16":
        output["datatype"] = datatype = "FP32"
    output["data"] = np.ascontiguousarray(array, dtype=DTYPES[datatype]).reshape(-1)
    return output, None


def _array(value: Any, name: str) -> NDArray[Any]:
    """An array of numbers, of booleans, or of ``str`` and ``bytes`` objects."""
    array: NDArray[Any]
    if isinstance(_first_leaf(value), (str, bytes)):
        array = np.array(value, dtype=object)  # else numpy pads all to the longest, and strips zero bytes
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"output '{name}' is ragged, and a tensor has rows of one length") from error
        if array.dtype.kind in "SU" and isinstance(value, list | tuple):
            raise TypeError(f"output '{name}' mixes strings with other values")
    if array.dtype.kind in "SUT":
        array = array.astype(object)
    return _typed(array, name) if array.dtype.kind == "O" else array


def _first_leaf(value: Any) -> Any:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return value


def _typed(array: NDArray[Any], name: str) -> NDArray[Any]:
    """An object array as it is when it holds strings, else the array of numbers that it stands for."""
    types = set(map(type, array.ravel().tolist()))
    if all(issubclass(kind, str | bytes) for kind in types):
        return array
    if not any(issubclass(kind, str | bytes | list | tuple) for kind in types):
        numbers: NDArray[Any] = np.array(array.tolist())
        if numbers.dtype.kind in "biuf":
            return numbers
    found = ", ".join(sorted(kind.__name__ for kind in types))
    raise TypeError(
        f"output '{name}' holds {found}; a tensor holds numbers of 64 bits, booleans or strings, of one length a row"
    )


def _texts(array: NDArray[Any], name: str) -> list[str]:
    try:
        return [value if isinstance(value, str) else value.decode() for value in array.ravel().tolist()]
    except UnicodeDecodeError:
        raise InvalidInput(
            f"output '{name}' holds bytes that are not UTF-8 text: ask for it with the parameter binary_data: true"
        ) from None
