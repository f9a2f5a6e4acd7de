"""The binary tensor extension of the Open Inference Protocol: raw bytes after the JSON of a request or an answer.

The JSON comes first, its length stands in the header ``Inference-Header-Content-Length``, and the tensors follow in the
order of the JSON, little endian and row-major; each element of a BYTES tensor is its length in 4 bytes, then its bytes.
Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ...errors import BadRequest, InvalidInput

__all__ = ["join_binary", "read_tensor", "split_binary", "write_tensor"]

_LENGTH = struct.Struct("<I")


def split_binary(raw: bytes | memoryview, json_length: int) -> tuple[dict[str, Any], memoryview]:
    """The JSON object that a binary body begins with, and a view of the bytes behind it.

    :param raw: the whole body
    :param json_length: the length of the JSON in bytes, from the header ``Inference-Header-Content-Length``
    :raises BadRequest: when the body is shorter than that, or its first `json_length` bytes are no JSON object

    >>> split_binary(b'{"inputs":[]}\\x00\\x00\\x80?', 13)[0]
    {'inputs': []}
    """
    view = memoryview(raw)
    if not 0 < json_length <= len(view):
        raise BadRequest(f"Inference-Header-Content-Length is {json_length}, and the body has {len(view)} bytes")
    try:
        head = orjson.loads(view[:json_length])
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the first {json_length} bytes of the body are not JSON: {error}") from None
    if not isinstance(head, dict):
        raise BadRequest(f"the first {json_length} bytes of the body are JSON, but not an object")
    return head, view[json_length:]


def join_binary(head: bytes, chunks: list[bytes]) -> tuple[bytes, int]:
    """The body of a binary answer, and the length of its JSON for the header ``Inference-Header-Content-Length``.

    >>> join_binary(b'{"outputs":[]}', [b"\\x01", b"\\x02"])
    (b'{"outputs":[]}\\x01\\x02', 14)
    """
    return b"".join((head, *chunks)), len(head)


def read_tensor(chunk: memoryview, *, dtype: np.dtype[Any], shape: tuple[int, ...], label: str) -> NDArray[Any]:
    """One tensor from its raw bytes; NaN and infinity are numbers here, unlike in JSON.

    The array is a view of `chunk`, so read-only when the body is ``bytes``. Where the chunk does not begin at a
    multiple of the element's size it is an (equally read-only) copy, because compiled code may assume aligned numbers.

    :param dtype: of the elements; ``object`` for BYTES, whose elements stay ``bytes``
    :param label: what an error calls the tensor, such as ``"input 'x'"``
    :raises InvalidInput: when the bytes are not those of `shape`

    >>> read_tensor(memoryview(b"\\x01\\x00\\x02\\x00"), dtype=np.dtype("int16"), shape=(2,), label="input 'x'")
    array([1, 2], dtype=int16)
    """
    if dtype.kind == "O":
        return _read_strings(bytes(chunk), shape, label)
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(chunk):
        raise InvalidInput(
            f"{label} has {len(chunk)} bytes of binary data, and its shape {list(shape)} of {dtype} takes {needed}"
        )
    array: NDArray[Any] = np.ndarray(shape, dtype.newbyteorder("<"), buffer=chunk)
    if dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        raise InvalidInput(f"{label} is BOOL, and its binary data has bytes other than 0 and 1")
    if not array.flags.aligned:
        is_writable, array = array.flags.writeable, array.copy()
        array.flags.writeable = is_writable
    return array


def _read_strings(chunk: bytes, shape: tuple[int, ...], label: str) -> NDArray[Any]:
    count = math.prod(shape)
    # Before anything is allocated: a few bytes may claim a shape of terabytes.
    if count * _LENGTH.size > len(chunk):
        raise InvalidInput(
            f"{label} has {len(chunk)} bytes of binary data, and the lengths alone of its {count} strings take "
            f"{count * _LENGTH.size}"
        )
    array = np.empty(count, dtype=object)
    at = 0
    for index in range(count):
        begin = at + _LENGTH.size
        if begin > len(chunk):
            raise InvalidInput(f"the binary data of {label} ends before string {index} of {count}")
        at = begin + _LENGTH.unpack_from(chunk, at)[0]
        if at > len(chunk):
            raise InvalidInput(f"the binary data of {label} ends within string {index} of {count}")
        array[index] = chunk[begin:at]
    if at != len(chunk):
        raise InvalidInput(f"the binary data of {label} has {len(chunk) - at} bytes after the last of {count} strings")
    return array.reshape(shape)


def write_tensor(array: NDArray[Any]) -> bytes:
    """The raw bytes of an array: little endian, row-major; for an object array each string's length and bytes.

    >>> write_tensor(np.array([1, 2], dtype="int16")), write_tensor(np.array(["é"], dtype=object))
    (b'\\x01\\x00\\x02\\x00', b'\\x02\\x00\\x00\\x00\\xc3\\xa9')
    """
    if array.dtype.kind == "O":
        return b"".join(_with_lengths(array.ravel().tolist()))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _with_lengths(values: Iterable[str | bytes]) -> Iterable[bytes]:
    for value in values:
        encoded = value.encode() if isinstance(value, str) else value
        yield _LENGTH.pack(len(encoded))
        yield encoded
