"""The body of a Nuclio event, as the same request's body is over HTTP."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import orjson

from ...errors import BadRequest, BodyTooLarge
from ..models.headers import BINARY_HEADER
from .binary_body import parse_binary
from .http_event import parse_raw

MAX_BODY_BYTES = 64 * 2**20
GZIP, ZLIB, RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
ENCODINGS = ("gzip", "deflate", "identity")


def read_body(body: Any, content_type: str | None, headers: Mapping[str, str]) -> Any:
    """The body of an event: decompressed, with its binary tensors, or by its content type.

    Nuclio's SDK parses a body itself where the content type is exactly ``application/json``; any other comes as bytes.

    :param headers: found in any case
    :raises BadRequest: it is not what its headers say
    :raises BodyTooLarge: it has more than 64 MiB, decompressed

    >>> read_body(b'{"x": 1}', "application/json; charset=utf-8", {}), read_body(b"5", "text/plain", {})
    ({'x': 1}, '5')
    """
    if not isinstance(body, bytes):
        return as_sent(body)
    encoding = headers.get("Content-Encoding")
    if encoding is not None:
        body = decompressed(body, encoding)
    length = headers.get(BINARY_HEADER)
    return parse_binary(body, length) if length is not None else parse_raw(body, content_type)


def as_sent(value: Any) -> Any:
    """What the SDK's parser made of JSON, as our own parser makes it.

    That one refuses NaN, Infinity and halves of characters; a whole number of more than 64 bits is a float.

    :raises BadRequest: it is no JSON

    >>> as_sent({"x": [1, None]}), as_sent([2**64])
    ({'x': [1, None]}, [1.8446744073709552e+19])
    """
    try:
        if b"null" not in orjson.dumps(value):  # NaN is written so; to look for it in Python would take far longer
            return value
    except TypeError:
        pass  # a number that is too large, or half a character: the other parser says what becomes of it
    try:
        return orjson.loads(json.dumps(value))
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def decompressed(body: bytes, encoding: str, *, most: int = MAX_BODY_BYTES) -> bytes:
    """A body that its sender compressed.

    :raises BadRequest: the encoding is not known, or the body is broken
    :raises BodyTooLarge: it has more than `most` bytes, decompressed

    >>> decompressed(zlib.compress(b"text"), "deflate"), decompressed(b"text", "identity")
    (b'text', b'text')
    """
    name = encoding.strip().lower()
    if name == "identity" or not body:
        return body
    if name not in ENCODINGS:
        raise BadRequest(f"the body's Content-Encoding {name!r} is not known; these are: {', '.join(ENCODINGS)}")
    # Deflate means zlib's format, but some clients leave its head out: https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.2
    window = GZIP if name == "gzip" else ZLIB if body[0] & 0xF == 8 else RAW
    reader = zlib.decompressobj(window)
    try:
        text = reader.decompress(body, most + 1)
    except zlib.error as error:
        raise BadRequest(f"the body can not be read: {error}") from error
    if len(text) > most:
        raise BodyTooLarge(most)
    if not reader.eof:
        raise BadRequest("the body can not be read: it ends too early")
    return text
