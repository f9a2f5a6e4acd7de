"""A Nuclio worker for `nuclio.py`: the loop of Nuclio's Python wrapper around a handler, and a processor that asks it.

The processor is another process. Per event it sends a length and a msgpack map over a Unix socket and reads lines back
until the answer, whose first letter is `r`, as `pkg/processor/runtime/rpc` of nuclio/nuclio does. The worker does per
event what `_nuclio_wrapper.py` does, with the SDK's own events, responses and encoder.
"""

import asyncio
import base64
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack
import nuclio_sdk
import nuclio_sdk.json_encoder
from nuclio_sdk.event import EventDeserializerKinds

Handler = Callable[[Any, Any], Awaitable[Any]]
HEADERS = {
    "Host": "nuclio-bench:8080", "User-Agent": "python-requests/2.32", "Accept-Encoding": "gzip, deflate",
    "Accept": "*/*", "Connection": "keep-alive", "Content-Type": "application/json", "Content-Length": "28",
}  # fmt: skip


def request(body: bytes, path: str) -> dict[str, Any]:
    """The event of an HTTP request."""
    return {
        "content_type": "application/json", "content-type": "application/json", "headers": HEADERS, "body": body,
        "trigger": {"kind": "http", "name": "default-http"}, "fields": {}, "id": "4c1ee3ca-6b0c-4bb2-9c3c-1b9a5e3a53b5",
        "method": "POST", "path": path, "size": len(body), "timestamp": 1_700_000_000, "url": "", "shard_id": -1,
        "num_shards": 0, "type": "", "type_version": "", "version": "",
    }  # fmt: skip


def message(body: bytes) -> dict[str, Any]:
    """The event of a message from Kafka; its offset is counted up."""
    trigger = {"kind": "kafka-cluster", "name": "kafka"}
    headers = {"content-type": b"application/json", "millrace-event-id": b"1"}
    return request(body, "topic") | {
        "content_type": "", "trigger": trigger, "headers": headers, "topic": "topic", "shard_id": 0, "offset": 0,
    }  # fmt: skip


class Worker:
    """The wrapper: one event after the other."""

    def __init__(self, handler: Handler, init_context: Callable[[Any], None], events: socket.socket) -> None:
        self._handler, self._init, self._socket = handler, init_context, events
        self._encoder = nuclio_sdk.json_encoder.Encoder()
        self._unpacker = msgpack.Unpacker(raw=False, max_buffer_size=2**30)
        platform = nuclio_sdk.Platform("local", on_control_callback=self._control)
        logger = nuclio_sdk.Logger("INFO")
        self._context = nuclio_sdk.Context(logger, platform, "0", nuclio_sdk.TriggerInfo("http", "default-http"))

    async def serve(self) -> None:
        self._init(self._context)
        loop = asyncio.get_running_loop()
        while True:
            head = await asyncio.create_task(loop.sock_recv(self._socket, 4))
            if not head:
                return
            left = struct.unpack(">i", head)[0]
            while left:
                chunk = await loop.sock_recv(self._socket, left)
                self._unpacker.feed(chunk)
                left -= len(chunk)
            event = nuclio_sdk.Event.deserialize(next(self._unpacker), kind=EventDeserializerKinds.msgpack)
            start = time.time()
            output = await self._handler(self._context, event)
            await self._send("m" + json.dumps({"duration": time.time() - start or sys.float_info.min}))
            response = nuclio_sdk.Response.from_entrypoint_output(self._encoder.encode, output)
            await self._send("r" + self._encoder.encode(response))

    async def _send(self, line: str) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, (line + "\n").encode())

    async def _control(self, data: Any) -> None:
        self._encoder.encode(data)


def measure(
    events: int, template: dict[str, Any], handler: Handler, init_context: Callable[[Any], None]
) -> tuple[float, Any]:
    """Seconds for so many events, one after the other, and the last answer's body."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    worker = os.fork()
    if not worker:
        mine.close()
        theirs.setblocking(False)
        try:
            asyncio.run(Worker(handler, init_context, theirs).serve())
        finally:
            os._exit(0)
    theirs.close()
    try:
        return _asked(events, template, mine)
    finally:
        mine.close()
        os.waitpid(worker, 0)


def _asked(events: int, template: dict[str, Any], worker: socket.socket) -> tuple[float, Any]:
    packer = msgpack.Packer()
    counted = "offset" in template
    reader = worker.makefile("rb")
    start = 0.0
    line = b""
    for number in range(-20, events):
        if number == 0:
            start = time.perf_counter()  # the first ones are for warming up
        packed = packer.pack(template | {"offset": number + 20} if counted else template)
        worker.sendall(struct.pack(">i", len(packed)) + packed)
        while not (line := reader.readline()).startswith(b"r"):
            if not line:
                raise RuntimeError("the worker has ended; its log says why")
    seconds = time.perf_counter() - start
    answer = json.loads(line[1:])
    body = answer["body"] if answer["body_encoding"] == "text" else base64.b64decode(answer["body"]).decode()
    return seconds, json.loads(body) if body else None
