"""Handlers for Nuclio without Millrace: one that does nothing, and one that does the same work by hand."""

import json
import sys
from typing import Any

from line_protocol import serve, versions_of
from nuclio_loop import measure, message, request

ANSWER = json.dumps({"id": "1", "outputs": [10]})


async def nothing(context: Any, event: Any) -> Any:
    return context.Response(None, ANSWER, "application/json", 200)


async def by_hand(context: Any, event: Any) -> Any:
    body = json.loads(event.body) if isinstance(event.body, bytes) else event.body
    answer = {"id": event.id, "outputs": [sum(row) for row in body["inputs"]]}
    return context.Response(None, json.dumps(answer), "application/json", 200)


async def nothing_of_stream(context: Any, event: Any) -> Any:
    return context.Response(None, "", "text/plain", 200)


async def by_hand_of_stream(context: Any, event: Any) -> Any:
    await by_hand(context, event)
    return context.Response(None, "", "text/plain", 200)


HANDLERS = {"nothing": (nothing, nothing_of_stream), "hand": (by_hand, by_hand_of_stream)}
of_http, of_stream = HANDLERS[sys.argv[1]]


def http(events: int, *, body: str, path: str) -> tuple[float, Any]:
    seconds, answer = measure(events, request(body.encode(), path), of_http, lambda context: None)
    return seconds, answer["outputs"]


def stream(events: int, *, body: str) -> tuple[float, Any]:
    return measure(events, message(body.encode()), of_stream, lambda context: None)


serve({"http": http, "stream": stream}, versions=versions_of("nuclio-sdk"))
