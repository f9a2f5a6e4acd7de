"""Answers in chunks, sent as they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from ..engine.stream import StreamAnswer
from .framing import STREAM_HEADERS, Framing, JsonLines, framing_for
from .http_answer import SERVER


async def send_stream(
    request: web.BaseRequest, stream: StreamAnswer, explain: Callable[[Exception], dict[str, Any]], *, is_last: bool
) -> web.StreamResponse:
    """Send the chunks of a stream as they come. A client that goes away ends the stream, and so its generator.

    :param explain: the answer that stands for an error
    :param is_last: close the connection after it
    """
    response = web.StreamResponse(headers={"Server": SERVER, **STREAM_HEADERS})
    if is_last:
        response.force_close()
    framing: Framing = JsonLines()
    try:
        first = True
        while True:
            chunk = await _next(stream)
            if first:
                first = False
                framing = framing_for(request.headers.get("Accept", ""), chunk)
                response.headers["Content-Type"] = framing.content_type
                await response.prepare(request)
            if chunk is _END or request.method == "HEAD":
                break
            await response.write(framing.frame(chunk))
    except (_Failed, TypeError) as failed:
        error = failed.__cause__ if isinstance(failed.__cause__, Exception) else failed
        if not response.prepared:
            raise error from None
        await response.write(framing.failure(explain(error)))
    finally:
        stream.close()
    await response.write_eof()
    return response


_END = object()


class _Failed(Exception):
    """The graph failed; the cause says how. So its errors are told from those of the connection."""


async def _next(stream: StreamAnswer) -> Any:
    try:
        return await stream.next()
    except StopAsyncIteration:
        return _END
    except Exception as error:
        raise _Failed from error
