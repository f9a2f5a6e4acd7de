"""A closed-loop HTTP load client: every connection sends its next request when the last answer has fully arrived.

Run as a process of its own, pinned to another core than the server: `load.py PORT CONNECTIONS SECONDS < request`, where
stdin is the whole request, head and body. Prints one JSON object. It writes the same prebuilt bytes again and again and
of an answer reads the status and Content-Length only, so that it is several times faster than any server here; it says
what share of its core it used (`client_busy`), and near 1.0 it measured itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

try:
    from uvloop import run
except ImportError:
    from asyncio import run

WARM_UP_SECONDS = 0.3
MAX_RECONNECTS = 200
LAST_ANSWERS_SECONDS = 10


class Tally:
    """What all connections of one run count."""

    def __init__(self) -> None:
        self.all_answers = 0  # from the first to the last, for the server's CPU time per request
        self.failures = 0
        self.reconnects = 0
        self.latencies: list[float] | None = None  # those of the measured window; None outside it
        self.is_over = False


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self._request, self._tally = request, tally
        self.transport: asyncio.Transport | None = None
        self.closed = asyncio.get_running_loop().create_future()
        self._head = b""
        self._missing = -1  # bytes of the body still to come; -1 while the head is incomplete
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self._head, self._missing = b"", -1
        self._sent_at = time.perf_counter()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._missing = content_length(self._head[:end]) - (len(self._head) - end - 4)
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self._answered()

    def _answered(self) -> None:
        tally = self._tally
        tally.all_answers += 1
        if self._head[9:10] != b"2":
            tally.failures += 1
        if tally.latencies is not None:
            tally.latencies.append(time.perf_counter() - self._sent_at)
        if tally.is_over:
            self.transport.close()
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


def content_length(head: bytes) -> int:
    """The length of the body after `head`. Raises ValueError for an answer in chunks, which this cannot count."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    if not found:
        raise ValueError(f"an answer without Content-Length: {head!r}")
    return int(rest.partition(b"\r\n")[0])


async def keep_connected(port: int, request: bytes, tally: Tally) -> None:
    """One connection, opened again when the server closes it."""
    loop = asyncio.get_running_loop()
    while not tally.is_over:
        _, connection = await loop.create_connection(lambda: Connection(request, tally), "127.0.0.1", port)
        await connection.closed
        if not tally.is_over:
            tally.reconnects += 1
            if tally.reconnects > MAX_RECONNECTS:
                raise ConnectionError("the server keeps closing connections")


async def load(port: int, connections: int, seconds: float, request: bytes) -> dict[str, float]:
    """Warm up, then count for `seconds`; returns the numbers."""
    tally = Tally()
    loop = asyncio.get_running_loop()
    broken: list[object] = []
    loop.set_exception_handler(lambda _, context: broken.append(context.get("exception", context["message"])))
    tasks = [asyncio.create_task(keep_connected(port, request, tally)) for _ in range(connections)]
    await asyncio.sleep(WARM_UP_SECONDS)
    tally.latencies = []
    start, busy = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    took, busy = time.perf_counter() - start, time.process_time() - busy
    latencies, tally.latencies, tally.is_over = sorted(tally.latencies), None, True
    done, late = await asyncio.wait(tasks, timeout=LAST_ANSWERS_SECONDS)
    broken += [task.exception() for task in done if task.exception()]
    for task in late:
        task.cancel()
    if broken or not latencies:
        raise SystemExit(f"the load failed: {broken[0]!r}" if broken else "the load failed: no answer at all")
    return {
        "requests_per_second": len(latencies) / took,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        "all_answers": tally.all_answers,
        "failures": tally.failures,
        "reconnects": tally.reconnects,
        "client_busy": busy / took,
    }


if __name__ == "__main__":
    print(json.dumps(run(load(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.stdin.buffer.read()))))
