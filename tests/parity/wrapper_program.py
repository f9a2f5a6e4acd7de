"""Stands for Nuclio's Python wrapper: sockets, signals and the log as there, around a handler that it imports.

``wrapper_program.py HANDLER EVENTS-SOCKET CONTROL-SOCKET``. Written after nuclio's ``_nuclio_wrapper.py`` and
``wrapper_common.py`` of 2025: one event after the other; the log goes to the socket of the answers at once; an event
that comes while the worker drains is thrown away without an answer.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import socket
import struct
import sys
import traceback

import msgpack
import nuclio_sdk
import nuclio_sdk.json_encoder
import nuclio_sdk.logger
from nuclio_sdk.event import EventDeserializerKinds


class LogLine(nuclio_sdk.logger.JSONFormatter):
    """A record as a line of the socket of the answers."""

    def format(self, record):
        return "l" + super().format(record)


class Wrapper:
    """One worker."""

    def __init__(self, handler, events_path, control_path):
        module, _, name = handler.partition(":")
        self.module = importlib.import_module(module)
        self.handler = getattr(self.module, name)
        self.events, self.control = connected(events_path), connected(control_path)
        self.logger = nuclio_sdk.Logger("DEBUG")
        self.logger.set_handler("default", self.events.makefile("w"), LogLine())
        self.encoder = nuclio_sdk.json_encoder.Encoder()
        self.unpacker = msgpack.Unpacker(raw=False, max_buffer_size=2**30)
        self.platform = nuclio_sdk.Platform("local", on_control_callback=self.send_control)
        self.context = nuclio_sdk.Context(self.logger, self.platform, "0", nuclio_sdk.TriggerInfo("http", "web"))
        self.discards, self.callbacks, self.waiting = False, [], None
        for one in (self.events, self.control):
            one.setblocking(False)

    async def send(self, sock, line):
        await asyncio.get_running_loop().sock_sendall(sock, (line + "\n").encode())

    async def send_control(self, data):
        self.logger.debug_with("Sending data on control socket", data_length=len(data))
        await self.send(self.control, self.encoder.encode(data))

    def on_signal(self, kind):
        if kind == "drain" and self.discards:
            return
        self.discards = True
        self.callbacks.append(kind)
        if self.waiting is not None:
            self.waiting.cancel()

    def on_continue(self):
        self.logger.debug_with("Received signal", signal="SIGCONT")
        self.discards = False

    async def run(self):
        loop = asyncio.get_running_loop()
        self.module.init_context(self.context)
        loop.add_signal_handler(signal.SIGUSR1, self.on_signal, "termination")
        loop.add_signal_handler(signal.SIGUSR2, self.on_signal, "drain")
        loop.add_signal_handler(signal.SIGCONT, self.on_continue)
        await self.send(self.events, "s")
        while True:
            try:
                await self.serve_one(loop)
            except asyncio.CancelledError:
                self.logger.debug("Waiting for event message was interrupted by a signal")
            finally:
                while self.callbacks:
                    result = self.platform._on_signal(self.callbacks.pop(0))
                    if asyncio.iscoroutine(result):
                        await result

    async def serve_one(self, loop):
        self.waiting = asyncio.create_task(loop.sock_recv(self.events, 4))
        head = await self.waiting
        self.waiting = None
        if not head:
            sys.exit(1)
        left = struct.unpack(">i", head)[0]
        while left:
            chunk = await loop.sock_recv(self.events, left)
            self.unpacker.feed(chunk)
            left -= len(chunk)
        event = nuclio_sdk.Event.deserialize(next(self.unpacker), kind=EventDeserializerKinds.msgpack)
        if self.discards:
            self.logger.debug("Event has been discarded")
            return
        try:
            output = await self.handler(self.context, event)
            await self.send(self.events, "m" + json.dumps({"duration": 1.0}))
            response = nuclio_sdk.Response.from_entrypoint_output(self.encoder.encode, output)
        except BaseException as error:
            self.logger.error_with("Exception caught in handler", exc=str(error))
            response = {"body": traceback.format_exc(), "body_encoding": "text", "content_type": "text/plain",
                        "status_code": 500, "headers": {}}  # fmt: skip
        await self.send(self.events, "r" + self.encoder.encode(response))


def connected(path):
    """A socket, connected."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(path)
    return made


if __name__ == "__main__":
    asyncio.run(Wrapper(*sys.argv[1:]).run())
