"""Reading the body of a request: bounded in size after decompression, and in time."""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web

from ...errors import BadRequest, BodyTooLarge, RequestError, RequestTimeout

# Brotli and zstandard need packages that may not be there.
ENCODINGS = ("gzip", "deflate", "identity")
# https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.3
_SAME_AS = {"x-gzip": "gzip", "": "identity"}
_GZIP, _ZLIB, _DEFLATE = 31, 15, -15  # zlib's names for the formats
MOST_MEMBERS = 1_000  # of a gzip body; an empty one takes 20 bytes, and longer than a thousand others
PIECE_BYTES = 65_536
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def read_body(request: web.BaseRequest, *, max_body_bytes: int, timeout_seconds: float) -> bytes:
    """The whole body of a request, decompressed. One that says that it is too large is refused before it is read.

    :raises BodyTooLarge: it has more than `max_body_bytes`, as it came or decompressed
    :raises RequestTimeout: it did not arrive in time
    :raises BadRequest: its encoding is not known, or it is broken
    :raises ConnectionError: the client went away
    """
    length = request.content_length
    if length is not None and length > max_body_bytes:
        raise BodyTooLarge(max_body_bytes)
    encoding = _encoding(request)
    await _answer_expectation(request)
    if not request.body_exists:
        return b""
    try:
        if request.content.is_eof():  # it is here
            raw = await _read(request, max_body_bytes)
        else:
            async with asyncio.timeout(timeout_seconds):
                raw = await _read(request, max_body_bytes)
    except TimeoutError:
        raise RequestTimeout(timeout_seconds) from None
    except (ConnectionError, RequestError):
        raise
    except Exception as error:
        # The parser's error: a chunk without its length, …
        raise BadRequest(f"the body can not be read: {str(error).strip() or type(error).__name__}") from error
    return raw if encoding == "identity" or not raw else decompressed(raw, encoding, max_bytes=max_body_bytes)


def _encoding(request: web.BaseRequest) -> str:
    named = ", ".join(request.headers.getall("Content-Encoding", ())).strip().lower()
    encoding = _SAME_AS.get(named, named)
    if encoding not in ENCODINGS:
        raise BadRequest(f"the body's Content-Encoding {named!r:.60} is not known; these are: {', '.join(ENCODINGS)}")
    return encoding


def decompressed(raw: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """A compressed body as it was.

    aiohttp could do it, but takes a gzip body that ends too early for a whole one, and unpacks the rest of one that is
    too large.

    :param encoding: ``gzip`` or ``deflate``; the latter also without zlib's header, as some clients send it
    :raises BodyTooLarge: it has more than `max_bytes`
    :raises BadRequest: it is broken

    >>> decompressed(zlib.compress(b"body"), "deflate", max_bytes=4)
    b'body'
    """
    kind = _GZIP if encoding == "gzip" else _ZLIB if raw[:1] and raw[0] & 15 == 8 else _DEFLATE
    parts: list[bytes] = []
    at, left = 0, max_bytes
    try:
        for _ in range(MOST_MEMBERS if kind == _GZIP else 1):
            at, left = _member(raw, at, kind, parts, left)
            if left < 0:
                raise BodyTooLarge(max_bytes)
            if at == len(raw):
                return b"".join(parts)
    except zlib.error as error:
        raise BadRequest(f"the body is not {encoding}, as its Content-Encoding says: {error}") from error
    raise BadRequest(f"the body is not {encoding}, as its Content-Encoding says: more follows behind its end")


def _member(raw: bytes, at: int, kind: int, parts: list[bytes], left: int) -> tuple[int, int]:
    """Decompress from a place to the end of a stream; that end, and how many bytes there may still be."""
    stream = zlib.decompressobj(kind)
    while left >= 0 and not stream.eof:
        piece = raw[at : at + PIECE_BYTES]
        if not piece:
            raise zlib.error("it ends too early")
        part = stream.decompress(piece, left + 1)
        left -= len(part)
        parts.append(part)
        at += len(piece) - len(stream.unused_data)
    return at, left


async def _answer_expectation(request: web.BaseRequest) -> None:
    expected = request.headers.get("Expect")
    if expected is None or request.version < (1, 1):
        return
    if expected.lower() != "100-continue":
        raise BadRequest(f"'Expect: {expected}' can not be met; only 100-continue can")
    await request.writer.write(CONTINUE)
    # It is no part of the answer, whose head is still to come.
    request.writer.output_size = 0


async def _read(request: web.BaseRequest, max_body_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := await request.content.readany():
        size += len(chunk)
        if size > max_body_bytes:
            raise BodyTooLarge(max_body_bytes)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
