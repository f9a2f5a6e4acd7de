"""A function and its child, joined by a queue, behind each door: what is asked, and what comes out at the end."""

from __future__ import annotations

import asyncio
import urllib.request
from contextlib import contextmanager

import nuclio_worker
from nuclio_worker import Worker
from up_process import Up, pickle_of
from ways_in import Reply, Request

from millrace.queues.address import open_queue
from millrace.serving.doors.http import HttpSettings
from millrace.serving.doors.http_answer import to_answer
from millrace.serving.doors.http_run import running
from millrace.serving.functions.real import StreamsAt
from millrace.serving.functions.runtime import make_engine

OUT = "out"


@contextmanager
def mock(make, folder):
    """All in one process, with queues in memory."""
    with make().to_mock_server() as server:

        def ask(request):
            answer = server.test(request.target, request.body, headers=request.named, silent=True, get_body=False)
            found = to_answer(answer)
            return Reply.of(found.status, found.content_type, found.body, found.headers)

        def out(count):
            server.wait_for_completion()
            return [(message.key, message.value, message.headers) for message in server.queue(OUT).messages]

        yield ask, out


@contextmanager
def http(make, folder):
    """`serve --streams FOLDER`: a server whose queues are embedded logs."""
    engine, streams = make_engine(make(), [], streams_at=StreamsAt(folder))
    with running(engine, streams, settings=HttpSettings(port=0)) as server:

        yield client(server.url), lambda count: written(folder, OUT, count)


@contextmanager
def up(make, folder):
    """`millrace up FILE --streams FOLDER`: a process for the parent, and one for the child."""
    fleet = Up(pickle_of(make), folder)
    try:
        yield client(fleet.url), lambda count: written(folder, OUT, count)
    finally:
        fleet.stop()
        fleet.wait()


def client(url):
    """Asks a server over HTTP."""

    def ask(request):
        sent = urllib.request.Request(url + request.target, request.body, request.named)
        with urllib.request.urlopen(sent, timeout=10) as answer:
            return Reply.of(answer.status, answer.headers["Content-Type"], answer.read(), answer.headers)

    return ask


@contextmanager
def nuclio(make, folder):
    """Two workers; what the processor does between them, reading a topic and delivering its messages, is done here."""
    parts = Worker(make(), folder=folder), Worker(make(), current="child", folder=folder, kind="kafka-cluster")
    with parts[0] as parent, parts[1] as child:

        def ask(request):
            found = parent.ask(request.method, request.target, request.body, request.named)
            return Reply.of(found.status, found.content_type, found.body, found.headers)

        def out(count):
            for one in messages(folder, "orders"):
                event = nuclio_worker.message(
                    one.value, offset=one.offset, partition=one.partition, headers=one.headers, topic="orders"
                )
                assert child.handle(event).status == 200
            child.drain()
            assert child.committed == ends(folder, "orders")
            return written(folder, OUT, count)

        yield ask, out


PIPELINES = {"mock": mock, "http": http, "up": up, "nuclio": nuclio}
"""By name."""


def messages(folder, topic, count=0):
    """What a topic holds, once it holds so many."""

    async def read():
        async with asyncio.timeout(10), await open_queue(f"log://{folder / topic}") as queue:
            while sum((await queue.end_offsets()).values()) < count:
                await asyncio.sleep(0.005)
            return [one for partition in range(queue.partitions) for one in await queue.read(partition, 0)]

    return asyncio.run(read())


def ends(folder, topic):
    """The offsets at which a topic's partitions end, of those that hold anything."""

    async def read():
        async with await open_queue(f"log://{folder / topic}") as queue:
            return {(topic, partition): end for partition, end in (await queue.end_offsets()).items() if end}

    return asyncio.run(read())


def written(folder, topic, count):
    """Keys, values and headers of a topic's messages, once it holds so many."""
    return [(one.key, one.value, one.headers) for one in messages(folder, topic, count)]


def post(body):
    """A request."""
    return Request("/", body)
