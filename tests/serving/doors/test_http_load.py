"""Many requests at once: all are answered or refused, none is lost."""

import asyncio
import os
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import aiohttp
import pytest

import millrace
from millrace.errors import CannotListen
from millrace.serving.doors import http, stopping
from millrace.serving.doors.http import HttpServer, HttpSettings
from millrace.serving.doors.http_run import running
from millrace.serving.doors.queues import MemoryStreams
from millrace.serving.doors.stopping import StopRequest
from millrace.serving.functions.runtime import make_engine


def engine_of(handler, *, max_in_flight=None, **options):
    function = millrace.new_function("load")
    function.set_topology("flow").to(name="step", handler=handler, **options).respond()
    return make_engine(function, [], max_in_flight=max_in_flight)[0]


@contextmanager
def served(engine, **settings):
    with running(engine, settings=HttpSettings(port=0, **settings)) as server:
        yield server


async def statuses(url, count, *, connections):
    async def one(session):
        async with session.post(url, json={"x": 1}) as answer:
            await answer.read()
            return answer.status

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30)) as session:
        return Counter(await asyncio.gather(*(one(session) for _ in range(count))))


async def slow(body):
    await asyncio.sleep(0.05)
    return body


@pytest.mark.parametrize("max_in_flight", [None, 10])
def test_1000_concurrent_requests_to_a_slow_step_are_all_answered_or_refused(max_in_flight):
    with served(engine_of(slow, max_in_flight=max_in_flight)) as server:
        found = asyncio.run(statuses(server.url, 1000, connections=1000))
        assert server.engine.gate.inside == 0
    assert sum(found.values()) == 1000 and set(found) <= {200, 429} and found[200] >= 10
    assert (found[429] > 0) == (max_in_flight is not None)


def test_full_function_refuses_with_a_time_to_try_again_and_serves_when_it_has_room():
    entered, gate = threading.Event(), threading.Event()

    def wait(body):
        entered.set()
        assert gate.wait(10)
        return body

    async def ask(url):
        async with aiohttp.ClientSession() as session:
            first = asyncio.ensure_future(session.post(url, json=1))
            await asyncio.to_thread(entered.wait, 10)
            async with session.post(url, json=2) as refused:
                gate.set()
                async with await first as served_first, session.post(url, json=3) as served_later:
                    return refused.status, refused.headers["Retry-After"], served_first.status, served_later.status

    with served(engine_of(wait, max_in_flight=1, execution="thread")) as server:
        assert asyncio.run(ask(server.url)) == (429, "1", 200, 200)


def test_events_in_flight_are_answered_when_the_server_stops():
    async def main():
        entered, gate = asyncio.Event(), asyncio.Event()

        async def wait(body):
            entered.set()
            await gate.wait()
            return body

        server = HttpServer(engine_of(wait), settings=HttpSettings(port=0))
        await server.start()
        async with aiohttp.ClientSession() as session:
            asked = asyncio.ensure_future(session.post(server.url, json={"x": 1}))
            await entered.wait()
            draining = asyncio.ensure_future(server.drain())
            await asyncio.sleep(0)
            async with session.post(server.url, json={"x": 2}) as refused:
                assert refused.status == 503
            gate.set()
            was_in_time = await draining
            await server.stop()
            async with await asked as answer:
                return was_in_time, answer.status, await answer.json()

    assert asyncio.run(main()) == (True, 200, {"x": 1})


def test_event_that_outlives_the_drain_is_answered_503():
    async def main():
        entered = asyncio.Event()

        async def never(body):
            entered.set()
            await asyncio.Event().wait()

        server = HttpServer(engine_of(never), settings=HttpSettings(port=0, drain_seconds=0.05))
        await server.start()
        async with aiohttp.ClientSession() as session:
            asked = asyncio.ensure_future(session.post(server.url, json={"x": 1}))
            await entered.wait()
            was_in_time = await server.drain()
            await server.stop()
            async with await asked as answer:
                return was_in_time, answer.status

    assert asyncio.run(main()) == (False, 503)


class SlowStreams(MemoryStreams):
    """Streams whose messages take all the time that they are given to end."""

    async def end_reading(self):
        await asyncio.sleep(self.drain_seconds)


def test_messages_and_events_have_one_time_to_end_and_not_one_each():
    async def main():
        entered = asyncio.Event()

        async def never(body):
            entered.set()
            await asyncio.Event().wait()

        server = HttpServer(engine_of(never), SlowStreams(), settings=HttpSettings(port=0, drain_seconds=1))
        await server.start()
        async with aiohttp.ClientSession() as session:
            asked = asyncio.ensure_future(session.post(server.url, json={"x": 1}))
            await entered.wait()
            began = time.monotonic()
            assert not await server.drain()
            took = time.monotonic() - began
            await server.stop()
            (await asked).close()
        return took

    assert 1 <= asyncio.run(main()) < 1.9


class KeptStreams(MemoryStreams):
    """Streams that say whether they were closed."""

    is_closed = False

    async def close(self, seconds):
        self.is_closed = True


def test_streams_are_closed_when_the_port_is_taken():
    streams = KeptStreams()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = HttpSettings(port=taken.getsockname()[1])
        with pytest.raises(CannotListen), running(engine_of(lambda body: body), streams, settings=settings):
            pass
    assert streams.is_closed


def test_process_that_stopped_in_time_is_not_ended_by_force_afterwards(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(stopping, "EXTRA_SECONDS", 0.2)
    monkeypatch.setattr(stopping.os, "_exit", lambda code: ended.set())
    lifeline, parent = os.pipe()
    os.close(parent)
    with StopRequest(0) as stop:
        stop.wait(lifeline)
    os.close(lifeline)
    assert not ended.wait(0.4)


def test_stopped_server_takes_no_connection():
    async def main():
        server = HttpServer(engine_of(lambda body: body), settings=HttpSettings(port=0))
        await server.start()
        await server.stop()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.port)

    asyncio.run(main())


def test_idle_connections_do_not_hold_up_the_stop():
    async def main():
        server = HttpServer(engine_of(lambda body: body), settings=HttpSettings(port=0))
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(1):
            await server.stop()
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    asyncio.run(main())


def test_busy_connections_end_with_an_answer_when_the_server_stops():
    last = {}

    async def client(session, url):
        while True:
            try:
                async with session.post(url, json=1) as answer:
                    last[asyncio.current_task()] = answer.status
            except aiohttp.ClientConnectorError:  # it asked again, and the port is closed
                return

    async def clients(url):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(client(session, url) for _ in range(30)))

    with ThreadPoolExecutor(1) as pool:
        with served(engine_of(lambda body: body)) as server:
            asking = pool.submit(asyncio.run, clients(server.url))
            while len(last) < 30:
                time.sleep(0.01)
        asking.result(20)
    assert Counter(last.values()) == {503: 30}


def test_request_whose_body_still_comes_when_the_server_stops_is_503():
    with served(engine_of(lambda body: body)) as server:
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
    with connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 503")


class EndlessStreams(MemoryStreams):
    """Streams that can not be closed."""

    async def close(self, seconds):
        await asyncio.Event().wait()


class EndlessStep:
    async def do(self, body):
        return body

    async def aclose(self):
        await asyncio.Event().wait()


def test_stop_has_one_deadline_whatever_hangs(monkeypatch, caplog):
    monkeypatch.setattr(http, "STOP_SECONDS", 0.4)
    monkeypatch.setattr(http, "STEPS_SECONDS", 0.1)

    async def main():
        function = millrace.new_function("endless")
        function.set_topology("flow", engine="async").to(EndlessStep, name="step").respond()
        engine = make_engine(function, [])[0]
        server = HttpServer(engine, EndlessStreams(), settings=HttpSettings(port=0))
        await server.start()
        began = time.monotonic()
        await server.stop()
        return time.monotonic() - began

    assert 0.3 < asyncio.run(main()) < 2
    assert "the streams were not closed in time" in caplog.text and "the steps" in caplog.text


def test_stop_ends_before_a_fleet_ends_the_process_by_force():
    assert http.STOP_SECONDS < stopping.EXTRA_SECONDS
