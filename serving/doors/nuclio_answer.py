"""From the graph's answer to the response that Nuclio's wrapper sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import BodyTooLarge
from ..engine.stream import StreamAnswer
from .framing import STREAM_HEADERS, Framing, StreamBroken, framing_for, stream_error
from .http_answer import Answer
from .nuclio_body import MAX_BODY_BYTES

MakeResponse = Callable[..., Any]
"""The class ``nuclio_sdk.Response``, which the wrapper's context brings."""


def to_nuclio(answer: Answer, make: MakeResponse) -> Any:
    """An answer as Nuclio's response. Its body is a text where it can be: bytes are sent in base64, a third longer."""
    kind = answer.content_type or ""
    body: str | bytes = answer.body
    if kind.startswith(("application/json", "text/", "application/x-ndjson")):
        try:
            body = answer.body.decode()
        except UnicodeDecodeError:
            body = answer.body
    response = make(headers=answer.headers, body=body or "", content_type=kind, status_code=answer.status)
    if not kind:
        response.content_type = ""  # the class makes text/plain of it, and so there would be a type without a body
    return response


async def collected(
    stream: StreamAnswer, accept: str, explain: Callable[[Exception], dict[str, Any]], *, most: int = MAX_BODY_BYTES
) -> Answer:
    """A whole stream as one answer, with the bytes that HTTP sends in chunks.

    One that fails ends as over HTTP, where its form can say so. Text and bytes can not: there the error is the answer.

    :param accept: the request's header ``Accept``
    :param explain: the answer that stands for an error
    :raises BodyTooLarge: it has more than `most` bytes
    """
    framing: Framing | None = None
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in _chunks(stream):
            framing = framing or framing_for(accept, chunk)
            chunks.append(framing.frame(chunk))
            size += len(chunks[-1])
            if size > most:
                raise BodyTooLarge(most)
    except BodyTooLarge:
        raise
    except Exception as error:
        if framing is None:
            raise stream_error(error) from error
        try:
            chunks.append(framing.failure(explain(stream_error(error))))
        except StreamBroken:
            raise stream_error(error) from error
    finally:
        stream.close()
    framing = framing or framing_for(accept, None)
    return Answer(200, framing.content_type, dict(STREAM_HEADERS), b"".join(chunks))


async def _chunks(stream: StreamAnswer) -> Any:
    while True:
        try:
            chunk = await stream.next()
        except StopAsyncIteration:
            return
        yield chunk
