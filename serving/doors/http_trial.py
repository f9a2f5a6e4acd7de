"""Whether the fast path works with the aiohttp that is installed: its names are looked up, its behaviour tried."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from .http_fast import FastProtocol

NAMES = (
    "_buffer_paused", "_close", "_current_request", "_force_close", "_handler_waiter", "_keepalive_handle",
    "_keepalive_timeout", "_loop", "_messages", "_msg_queue_resume_size", "_next_keepalive_close_time", "_parser",
    "_paused", "_payload_parser", "_process_keepalive", "_reading_paused", "_request_count", "_request_factory",
    "_request_in_progress", "_resume_reading_if_drained", "_upgraded", "_waiter", "transport",
)  # fmt: skip
_ASK = b"GET /v2/health/live HTTP/1.1\r\nHost: trial\r\n\r\n"
_SEND = b"POST /v2/health/live HTTP/1.1\r\nHost: trial\r\nContent-Length: 2\r\n\r\n{}"
STOCK_TURNS = 10  # of the loop, until the connection's task and the request's have run


class _Recorder(asyncio.Transport):
    """A connection to nobody, which keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing is open."""

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""

    @property
    def answers(self) -> int:
        """How many good answers were written."""
        return self.written.count(b"HTTP/1.1 200 OK\r\n")


async def why_not(server: Any) -> str | None:
    """Why the fast path can not be used; ``None`` where it can. No event goes into the graph.

    :param server: makes a :class:`FastProtocol` when called
    """
    missing = [name for name in NAMES if not hasattr(web.RequestHandler, name)]
    if missing:
        return f"aiohttp has no {', '.join(missing)}"
    try:
        return await _try_out(server())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


async def _try_out(protocol: FastProtocol) -> str | None:
    transport = _Recorder()
    protocol.connection_made(transport)
    await asyncio.sleep(0)  # the connection's task begins to wait
    try:
        for data, answers in ((_ASK, 1), (_SEND, 2), (_ASK + _SEND, 4), (_SEND[:-1], 4)):
            protocol.data_received(data)
            if transport.answers != answers:
                return f"after {data!r} there were {transport.answers} answers, not {answers}"
        protocol.data_received(_SEND[-1:])
        for _ in range(STOCK_TURNS):
            await asyncio.sleep(0)
        if transport.answers != 5:
            return "a request in two packets was not answered by the connection's task"
    finally:
        protocol.connection_lost(None)
    return None
