"""What queue steps write to real streams: in order, many with one write, and each told of its own end."""

import asyncio
import time

import pytest

import millrace
from millrace.errors import InvalidInput, Unavailable
from millrace.queues.address import open_queue
from millrace.queues.base import Settings
from millrace.queues.memory_topic import MemoryTopic
from millrace.queues.message import Message
from millrace.serving.doors.real_stream import RealStream
from millrace.serving.doors.wiring import Wire


def put_all(monkeypatch, values, fault=lambda messages: None):
    """Put messages into a stream; what was written with each write, and how each message ended."""
    writes, ends, append = [], {}, MemoryTopic.append

    async def watched(self, messages):
        writes.append([message.value for message in messages])
        await asyncio.sleep(0)
        if (error := fault(messages)) is not None:
            raise error
        return await append(self, messages)

    async def main():
        stream = RealStream(Wire(name="out", url="memory://test-real-stream", settings=Settings(partitions=1)))
        for value in values:
            stream.put(Message(value), lambda error, value=value: ends.update({value: error}))
        async with asyncio.timeout(10):
            while len(ends) < len(values):
                await asyncio.sleep(0)
        await stream.close()

    monkeypatch.setattr(MemoryTopic, "append", watched)
    asyncio.run(main())
    return writes, ends


def test_messages_share_writes_and_stay_in_order(monkeypatch):
    values = [b"%d" % number for number in range(2_500)]
    writes, ends = put_all(monkeypatch, values)
    assert [value for write in writes for value in write] == values
    assert len(writes) == 3 and set(ends.values()) == {None}


def test_message_that_is_refused_takes_no_other_with_it(monkeypatch):
    def fault(messages):
        return InvalidInput("too large") if any(message.value == b"b" for message in messages) else None

    writes, ends = put_all(monkeypatch, [b"a", b"b", b"c"], fault)
    assert writes == [[b"a", b"b", b"c"], [b"a"], [b"b"], [b"c"]]
    assert (ends[b"a"], str(ends[b"b"]), ends[b"c"]) == (None, "too large", None)


def test_stream_that_is_away_is_not_asked_again_for_each_message(monkeypatch):
    writes, ends = put_all(monkeypatch, [b"a", b"b"], lambda messages: Unavailable("away"))
    assert len(writes) == 1 and [str(error) for error in ends.values()] == ["away", "away"]


@pytest.mark.parametrize("handler", [lambda body: body, "later"])
def test_messages_whose_writes_fail_are_written_in_order_when_the_stream_is_back(tmp_path, monkeypatch, handler):
    async def later(body):
        await asyncio.sleep(0)
        return body

    append_all, faults = RealStream.append_all, iter([True, False, True, True])

    async def now_and_then(self, messages):
        if self.wire.name == "out" and next(faults, False):
            raise Unavailable("away")
        await append_all(self, messages)

    monkeypatch.setattr(RealStream, "append_all", now_and_then)
    # All of them in one slice of time: a later write that succeeds before would stand before those that fail.
    monkeypatch.setattr("millrace.serving.doors.consumer.SLICE_SECONDS", 60.0)
    source, target = f"log://{tmp_path}/in", f"log://{tmp_path}/out"

    async def fill():
        async with await open_queue(source, Settings(partitions=1)) as queue:
            await queue.append([Message(b"%d" % number) for number in range(100)])

    async def read():
        async with await open_queue(target, Settings(partitions=1)) as queue:
            return [int(message.value) for message in await queue.read(0, 0, 1_000)]

    asyncio.run(fill())
    function = millrace.new_function("mover")
    first = function.set_topology("flow").to(name="same", handler=later if handler == "later" else handler)
    first.to(">>", "out", path=target, shards=1)
    function.add_trigger("in", {"kind": "stream", "url": source, "backoff_seconds": 0.01})
    with function.to_mock_server(streams="real"):
        end = time.monotonic() + 20
        while len(found := asyncio.run(read())) < 100 and time.monotonic() < end:
            time.sleep(0.02)
    assert found == list(range(100))
