"""Reading the body of a request: bounded in size after decompression, and in time."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ...errors import BadRequest, BodyTooLarge, RequestError, RequestTimeout

# Those that aiohttp's parser decompresses; brotli and zstandard need packages that may not be there.
ENCODINGS = ("gzip", "deflate", "identity")
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
    _check_encoding(request)
    await _answer_expectation(request)
    if not request.body_exists:
        return b""
    try:
        if request.content.is_eof():
            return await _read(request, max_body_bytes)  # it is here
        async with asyncio.timeout(timeout_seconds):
            return await _read(request, max_body_bytes)
    except TimeoutError:
        raise RequestTimeout(timeout_seconds) from None
    except (ConnectionError, RequestError):
        raise
    except Exception as error:
        # The parser's error: a chunk without its length, compressed data that is none, …
        raise BadRequest(f"the body can not be read: {str(error).strip() or type(error).__name__}") from error


def _check_encoding(request: web.BaseRequest) -> None:
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ENCODINGS:
        raise BadRequest(f"the body's Content-Encoding {encoding!r} is not known; these are: {', '.join(ENCODINGS)}")


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
