"""Kafka in, Kafka out, exactly once, through a graph: on a real broker."""

import asyncio
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import millrace
from millrace.errors import GraphError
from millrace.queues.address import open_queue
from millrace.queues.base import Settings
from millrace.queues.message import Message
from millrace.serving.engine.event import Event
from millrace.serving.functions.real import StreamsAt
from millrace.serving.functions.runtime import make_engine

sys.path.append(str(Path(__file__).parents[2] / "queues"))

from kafka_broker import CLIENTS, new_group, new_topic, options, real

both_clients = pytest.mark.parametrize("client", CLIENTS)


def numbers(count):
    return [Message(b"%d" % n, key=b"k%d" % n) for n in range(count)]


def mover(url, client, step, *, out=None, **settings):
    """A function that reads a topic, runs a step, and writes to the topic's `-out`."""
    function = millrace.new_function("mover")
    graph = function.set_topology("flow")
    graph.to(name="step", handler=step).to(">>", "out", path=out or f"{url}-out", options=options(client))
    backend = {"exactly_once": True, "group": new_group(), "options": options(client), "backoff_seconds": 0.001}
    function.add_trigger("in", {"kind": "stream", "url": url, **backend, **settings})
    return function


@asynccontextmanager
async def running(function):
    engine, streams = make_engine(function, [], streams_at=StreamsAt())
    await engine.start()
    try:
        await streams.start(engine)
        yield streams
    finally:
        await streams.close()
        engine.close()


async def fill(url, client, messages, partitions=1):
    settings = Settings(partitions=partitions, options=options(client))
    async with await open_queue(url, settings) as queue, await open_queue(f"{url}-out", settings):
        await queue.append(messages)


async def read(url, client, count, seconds=20):
    """So many messages of a topic, or more."""
    async with await open_queue(url, Settings(options=options(client))) as queue, asyncio.timeout(seconds):
        while True:
            found = []
            for partition in range(queue.partitions):
                offset = 0
                while batch := await queue.read(partition, offset):
                    found += batch
                    offset = batch[-1].offset + 1
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


@both_clients
def test_every_message_is_written_once_and_committed(client):
    real()
    url = new_topic()

    async def main():
        await fill(url, client, numbers(300), partitions=3)
        async with running(mover(url, client, lambda n: n * 2)) as streams:
            found = await read(f"{url}-out", client, 300)
            (door,) = streams.doors
            assert sorted(int(one.value) for one in found) == [n * 2 for n in range(300)]
            assert sum(commit.watermark for commit in (await door.queue.committed(door.group)).values()) == 300

    asyncio.run(main())


async def until(condition, seconds=20):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def values(messages):
    return sorted(int(one.value) for one in messages)


def test_what_a_failed_attempt_wrote_does_not_count():
    real()
    url, tries = new_topic(), []

    def often(n):
        tries.append(n)
        if tries.count(n) < 3:
            raise ValueError("not yet")

    async def main():
        await fill(url, "confluent-kafka", numbers(5))
        function = mover(url, "confluent-kafka", lambda n: n)
        function.graph.add_step(name="often", handler=often, after="step")
        async with running(function) as streams:
            await until(lambda: streams.doors[0].counts.done == 5)
            assert values(await read(f"{url}-out", "confluent-kafka", 5)) == [0, 1, 2, 3, 4]
            assert len(tries) == 15 and streams.status()["out"] == 5

    asyncio.run(main())


@both_clients
def test_poison_becomes_a_dead_letter_and_the_others_go_on(client):
    real()
    url = new_topic()

    async def main():
        await fill(url, client, [*numbers(3), Message(b"{no json"), *numbers(3)])
        async with running(mover(url, client, lambda n: n if n != 1 else 1 / 0, retries=1)) as streams:
            await until(lambda: streams.doors[0].counts.done == 7)
            assert values(await read(f"{url}-out", client, 4)) == [0, 0, 2, 2]
            letters = await read(f"{url}-dead-letters", client, 3)
            assert [one.value for one in letters] == [b"1", b"{no json", b"1"]

    asyncio.run(main())


def test_message_that_may_not_be_skipped_stops_reading_with_what_was_done_before_committed():
    real()
    url, client = new_topic(), "confluent-kafka"

    async def main():
        await fill(url, client, numbers(5))
        function = mover(url, client, lambda n: n if n != 3 else 1 / 0, on_failure="stop", retries=0)
        async with running(function) as streams:
            (door,) = streams.doors
            await until(lambda: streams.faults)
            assert values(await read(f"{url}-out", client, 3)) == [0, 1, 2]
            assert (await door.queue.committed(door.group))[0].watermark == 3

    asyncio.run(main())


@both_clients
@pytest.mark.parametrize("most, size", [(1_000_000, 3_000_000), (60_000_000, 21_000_000)], ids=["client", "broker"])
def test_message_whose_output_is_refused_becomes_a_dead_letter(client, most, size):
    real()
    url, large = new_topic(), "x" * size
    limit = {"options": {**options(client), "max_request_size": most}}

    async def main():
        await fill(url, client, numbers(20))
        async with running(mover(url, client, lambda n: n if n != 17 else large, **limit)) as streams:
            await until(lambda: streams.doors[0].counts.done == 20)
            assert values(await read(f"{url}-out", client, 19)) == [n for n in range(20) if n != 17]
            assert [one.value for one in await read(f"{url}-dead-letters", client, 1)] == [b"17"]

    asyncio.run(main())


class Refused(str):
    """A header that can not be written, so often."""

    left = 10**9

    def __str__(self):
        return self

    def encode(self, *_):
        self.left -= 1
        if self.left >= 0:
            raise UnicodeError("this header is no text")
        return b"it is"


def marking(url, client, header, **settings):
    """A function that gives the message 3 a header."""

    def mark(event):
        if event.body == 3:
            event.headers = {"traceparent": header}
        return event

    function = mover(url, client, mark, **settings)
    function.graph["step"].full_event = True
    return function


@both_clients
@pytest.mark.parametrize("on_failure, letters", [("dead_letter", [b"3"]), ("skip", [])])
def test_message_whose_output_can_never_be_written_climbs_the_ladder(client, on_failure, letters):
    real()
    url = new_topic()

    async def main():
        await fill(url, client, numbers(6))
        function = marking(url, client, Refused(), on_failure=on_failure, retries=2)
        async with running(function) as streams:
            await until(lambda: streams.doors[0].counts.done == 6)
            assert values(await read(f"{url}-out", client, 5)) == [0, 1, 2, 4, 5]
            assert streams.doors[0].counts.retried == 2
            found = await read(f"{url}-dead-letters", client, len(letters))
            assert [one.value for one in found] == letters

    asyncio.run(main())


def test_output_that_can_never_be_written_stops_reading_where_no_message_may_be_skipped():
    real()
    url, client = new_topic(), "confluent-kafka"

    async def main():
        await fill(url, client, numbers(6))
        async with running(marking(url, client, Refused(), on_failure="stop", retries=0)) as streams:
            await until(lambda: streams.faults)
            assert values(await read(f"{url}-out", client, 3)) == [0, 1, 2]
        assert "this header is no text" in str(streams.faults[0])

    asyncio.run(main())


@both_clients
def test_output_that_is_refused_for_a_time_is_written_and_counts_once(client):
    real()
    url, header = new_topic(), Refused()
    header.left = 5

    async def main():
        await fill(url, client, numbers(6))
        async with running(marking(url, client, header, retries=9)) as streams:
            await until(lambda: streams.doors[0].counts.done == 6)
            assert values(await read(f"{url}-out", client, 6)) == [0, 1, 2, 3, 4, 5]
            assert streams.doors[0].counts.dead_lettered == 0

    asyncio.run(main())


@both_clients
def test_transaction_that_another_process_ended_is_written_again_and_counts_once(client):
    real()
    url = new_topic()
    name = {"options": {**options(client), "transactional_id": new_group()}, "group": new_group()}

    async def main():
        await fill(url, client, numbers(20))
        async with running(mover(url, client, lambda n: n, **name)) as streams:
            await read(f"{url}-out", client, 20)
            thief = {**name["options"], "transactional_id": f"{name['options']['transactional_id']}-{name['group']}-0"}
            async with await open_queue(url, Settings(options=thief)) as queue:  # which claims the name
                await queue.append(numbers(20))
                await until(lambda: streams.doors[0].counts.done == 40)
            assert values(await read(f"{url}-out", client, 40)) == sorted([*range(20)] * 2)

    asyncio.run(main())


@both_clients
def test_members_that_come_and_go_lose_and_repeat_nothing(client):
    real()
    url, group = new_topic(), new_group()

    async def slowly(n):
        await asyncio.sleep(0.002)
        return n

    async def main():
        await fill(url, client, numbers(2_000), partitions=4)
        function = mover(url, client, slowly, group=group)
        async with running(function) as first:
            await until(lambda: first.doors[0].counts.done > 100)
            async with running(function) as second:
                await until(lambda: second.doors[0].counts.done > 100)
            found = await read(f"{url}-out", client, 2_000, seconds=40)
            assert values(found) == list(range(2_000))

    asyncio.run(main())


def test_message_that_runs_too_long_at_the_end_is_handled_again_and_counts_once():
    real()
    url, client, group, begun = new_topic(), "confluent-kafka", new_group(), []

    async def hangs_once(n):
        begun.append(n)
        if begun == [0, 1]:
            await asyncio.Event().wait()
        return n

    async def main():
        await fill(url, client, numbers(3))
        function = mover(url, client, hangs_once, group=group, drain_seconds=0.05)
        async with running(function):
            await until(lambda: len(begun) == 2)
        async with running(function):
            assert values(await read(f"{url}-out", client, 3)) == [0, 1, 2]
        assert begun == [0, 1, 1, 2]

    asyncio.run(main())


def test_event_that_comes_from_elsewhere_is_written_at_once():
    real()
    url, client = new_topic(), "confluent-kafka"

    async def main():
        await fill(url, client, [])
        async with running(mover(url, client, lambda n: n + 1)) as streams:
            await streams.doors[0].engine.run_async(Event(41))
            assert values(await read(f"{url}-out", client, 1)) == [42]

    asyncio.run(main())


# -- what is refused ---------------------------------------------------------------------------------------------

BATCH = {"class_name": "storey.Batch", "name": "batch", "max_events": 2}


@pytest.mark.parametrize("url, settings, text", [
    ("log:///q/in", {}, "trigger 'in': exactly_once=True needs a topic of Kafka, and log:///q/in is none"),
    ("in", {}, "'in' is read from memory://mover.in, and exactly_once=True needs topics of Kafka"),
    ("kafka://a/in", {"out": "log:///q/out"}, "'in' writes to 'out', which is log:///q/out, and exactly_once=True"),
    ("kafka://a/in", {"out": "kafka://b/out"}, "'in' writes to 'out', which is at b:9092, and exactly_once=True stays"),
    ("kafka://a/in", {"dead_letters": "log:///q/d"}, "'in': exactly_once=True needs its dead letters at a:9092"),
    ("kafka://a/in", {"options": {"isolation_level": "read_uncommitted"}}, "reads only committed messages"),
    ("kafka://a/in", {"batch": BATCH}, "'in': exactly_once=True can not be kept with step 'batch', which keeps events"),
    ("kafka://a/in", {"ordering": "key"}, "'in': exactly_once=True keeps the order of partitions, not ordering='key'"),
    ("kafka://a/in", {"exactly_once": "yes"}, "trigger 'in': exactly_once='yes' is neither True nor False"),
])  # fmt: skip
def test_what_can_not_be_exactly_once_is_refused_before_anything_is_opened(url, settings, text):
    batch, out = settings.pop("batch", None), settings.pop("out", "kafka://a/out")
    function = millrace.new_function("mover")
    graph = function.set_topology("flow")
    (graph.to(**batch) if batch else graph).to(">>", "out", path=out)
    function.add_trigger("in", {"kind": "stream", "url": url, "exactly_once": True, **settings})

    async def main():
        async with running(function):
            pass

    with pytest.raises(GraphError, match=re.escape(text)):
        asyncio.run(main())
