"""A Nuclio worker around a function: the real SDK's events, context, platform and responses, on a loop of its own.

What the processor (which is Go) does before and after is done here by hand, as its sources say: which fields an event
of a trigger has, how a response's body is encoded, and that the highest acknowledged offset of a partition counts.
"""

from __future__ import annotations

import asyncio
import base64
import json
from types import SimpleNamespace
from urllib.parse import parse_qsl, unquote

import nuclio_sdk
import nuclio_sdk.json_encoder
from nuclio_sdk.event import EventDeserializerKinds

from millrace.serving.doors.nuclio import NuclioDoor
from millrace.serving.doors.nuclio_streams import NuclioStreams
from millrace.serving.functions.real import StreamsAt
from millrace.serving.functions.runtime import make_engine

SECONDS = 10


def request(*args, raw=False, **kwargs):
    """The event of an HTTP request."""
    return _event(request_fields(*args, **kwargs), raw=raw)


def message(*args, **kwargs):
    """The event of a stream's message."""
    return _event(message_fields(*args, **kwargs))


def request_fields(method="POST", target="/", body=b"", headers=None, *, event_id="event-1", kind="http"):
    """What the processor sends of an HTTP request. It parses the query, and gives the path decoded."""
    path, _, query = target.partition("?")
    headers = dict(headers or {})
    content_type = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    return _fields(
        body, kind=kind, path=unquote(path), method=method, content_type=content_type, headers=headers,
        id=event_id, fields=dict(parse_qsl(query, keep_blank_values=True)),
    )  # fmt: skip


def message_fields(value, *, offset, partition=0, headers=None, topic="topic", kind="kafka-cluster", trigger="trigger"):
    """What it sends of a stream's message. Kafka's headers are bytes, and its key is not delivered."""
    headers = {name: text.encode() for name, text in (headers or {}).items()}
    path = "/" if kind.startswith("v3io") else topic
    return _fields(
        value, kind=kind, name=trigger, path=path, shard_id=partition, offset=offset, topic=topic, headers=headers
    )


def _fields(body, *, kind, name="default-http", **given):
    return {
        "content_type": "", "trigger": {"kind": kind, "name": name}, "fields": {}, "headers": {}, "id": "event-1",
        "method": "", "path": "/", "size": len(body), "timestamp": 0, "url": "", "shard_id": -1, "num_shards": 0,
        "type": "", "type_version": "", "version": "", "body": body, **given,
    }  # fmt: skip


def _event(fields, *, raw=False):
    if raw:
        return nuclio_sdk.Event.deserialize(_as_bytes(fields), kind=EventDeserializerKinds.msgpack_raw)
    return nuclio_sdk.Event.deserialize(fields, kind=EventDeserializerKinds.msgpack)


def _as_bytes(value):
    if isinstance(value, dict):
        return {_as_bytes(name): _as_bytes(one) for name, one in value.items()}
    return value.encode() if isinstance(value, str) else value


def sent(output):
    """What the processor reads of a handler's output: the wrapper's own encoding, through JSON."""
    encoder = nuclio_sdk.json_encoder.Encoder()
    read = json.loads(encoder.encode(nuclio_sdk.Response.from_entrypoint_output(encoder.encode, output)))
    body = read["body"].encode() if read["body_encoding"] == "text" else base64.b64decode(read["body"])
    # Of other types than text and whole numbers, the HTTP trigger drops a header's value.
    headers = {name: str(one) for name, one in read["headers"].items() if type(one) in (str, int)}
    return SimpleNamespace(
        status=read["status_code"], content_type=read["content_type"] or None, headers=headers, body=body, raw=read
    )


class Worker:
    """One worker process of a function, of which only the process is missing."""

    def __init__(self, function, *, current="", folder=None, clock=None, kind="http", **door_settings):
        self.acks = []
        self.faults = []
        self.context = nuclio_sdk.Context(
            nuclio_sdk.Logger("DEBUG", "nuclio_sdk"),
            nuclio_sdk.Platform("local", on_control_callback=self._control),
            "0", nuclio_sdk.TriggerInfo(kind, "trigger"),
        )  # fmt: skip
        self.engine, self.streams = make_engine(
            function, [], current_function=current, clock=clock, streams_at=StreamsAt(folder, NuclioStreams)
        )
        self.door = NuclioDoor(
            self.engine, self.streams, platform=self.context.platform, make_response=self.context.Response,
            version="0.1.0", on_fault=self.faults.append, **door_settings,
        )  # fmt: skip
        self._runner = asyncio.Runner()

    async def _control(self, data):
        assert data["kind"] == "streamMessageAck"
        self.acks.append(tuple(data["attributes"].values()))

    def run(self, coroutine):
        """Run on the worker's loop."""
        async def bounded():
            return await asyncio.wait_for(coroutine, SECONDS)

        return self._runner.run(bounded())

    def handle(self, event):
        """Give the handler an event; what it returns is encoded as the wrapper does."""
        return sent(self.run(self.door(event)))

    def ask(self, *args, **kwargs):
        """Ask over HTTP."""
        return self.handle(request(*args, **kwargs))

    def until(self, condition):
        """Let the loop run, as it does between events, until something is so."""
        async def wait():
            while not condition():
                await asyncio.sleep(0.001)

        self.run(wait())

    @property
    def committed(self):
        """Where each partition is read again when the worker dies now: behind what was acknowledged last."""
        return {(topic, partition): offset + 1 for topic, partition, offset in self.acks}

    def drain(self):
        """SIGUSR2: the partitions move to other workers."""
        self.run(self.context.platform._on_signal("drain"))

    def terminate(self):
        """SIGUSR1: the worker ends; its exit code."""
        async def ended():
            try:
                await self.context.platform._on_signal("termination")
            except SystemExit as end:
                return end.code

        return self.run(ended())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        async def close():
            await self.streams.close()
            await self.engine.close_steps()

        try:
            self.run(close())
        finally:
            self.engine.close()
            self._runner.close()
