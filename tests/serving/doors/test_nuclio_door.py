"""The Nuclio door as its wrappers call it: one event at a time or many, in batches, drained and ended."""

import asyncio
import doctest
import importlib
import io
import json
import logging
import sys
from pathlib import Path

import nuclio_sdk
import nuclio_sdk.logger
import pytest

import millrace
from millrace.serving import FakeClock

sys.path.append(str(Path(__file__).resolve().parents[2] / "parity"))

from nuclio_worker import Worker, message, request, sent

JSON = {"Content-Type": "application/json"}


def flow(handler, **settings):
    function = millrace.new_function("flow")
    function.set_topology("flow", **settings).to(name="step", handler=handler).respond()
    return function


async def double(body):
    await asyncio.sleep(0)
    return body * 2


def test_many_events_run_at_the_same_time():
    """As in asynchronous mode. Each waits for all the others, so one after the other would never end."""
    everybody = asyncio.Barrier(5)

    async def meet(body):
        await everybody.wait()
        return body

    async def ask_all(worker):
        events = [request(body=b"%d" % n, headers=JSON) for n in range(5)]
        return await asyncio.gather(*(worker.door(event) for event in events))

    with Worker(flow(meet)) as worker:
        assert [sent(one).body for one in worker.run(ask_all(worker))] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_batch_of_events_gets_a_response_for_each_with_its_id():
    events = [request(body=b"%d" % n, headers=JSON, event_id=f"e{n}") for n in (1, 2)]
    with Worker(flow(double)) as worker:
        responses = worker.run(worker.door(events))
    assert [(sent(one).raw["event_id"], sent(one).body) for one in responses] == [("e1", b"2"), ("e2", b"4")]


def test_events_are_read_where_the_wrapper_leaves_texts_as_bytes():
    seen = []

    def look(event):
        seen.append((event.path, event.method, event.headers["X-Shop"], event.id, event.content_type, event.fields))
        return event

    function = millrace.new_function("flow")
    function.set_topology("flow").to(name="look", handler=look, full_event=True).respond()
    with Worker(function) as worker:
        event = request("PUT", "/a?b=c", b'{"x": 1}', {**JSON, "X-Shop": "7"}, raw=True)
        assert worker.handle(event).body == b'{"x":1}'
    assert seen == [("/a", "PUT", "7", "event-1", "application/json", {"b": "c"})]


def test_the_event_has_nuclios_id_unless_the_caller_names_one():
    function = millrace.new_function("flow")
    function.set_topology("flow").to(name="step", handler="(event)")
    with Worker(function) as worker:
        replies = [worker.ask(body=b"1", headers=named) for named in (JSON, {**JSON, "MLRUN-EVENT-ID": "mine"})]
    assert [json.loads(one.body) for one in replies] == [{"id": "event-1"}, {"id": "mine"}]


def test_a_clock_gets_an_answer_like_a_request():
    with Worker(flow(lambda body: [body])) as worker:
        found = worker.handle(request("", "/", b'"tick"', kind="cron", headers={"n": 5}))
    assert (found.status, found.body) == (200, b'["tick"]')


def test_the_clocks_of_a_function_are_nuclios():
    seen, clock = [], FakeClock()
    function = millrace.new_function("timed")
    function.set_topology("flow").to(name="step", handler=seen.append)
    function.add_trigger("every", {"kind": "cron", "attributes": {"interval": "5s"}})
    with Worker(function, clock=clock) as worker:
        worker.handle(request("", "/", b'"tick"', kind="cron"))
        clock.advance(60)
        for _ in range(20):  # turns of the loop, in which an own clock would have begun an event
            worker.run(asyncio.sleep(0))
    assert seen == ["tick"]


def test_a_request_that_takes_too_long_is_504_and_what_works_on_it_is_stopped():
    ended = []

    async def forever(body):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(body)

    with Worker(flow(forever), request_timeout_seconds=0.02) as worker:
        found = worker.ask(body=b"1", headers=JSON)
        worker.until(lambda: ended)
    assert (found.status, ended) == (504, [1])


def test_a_request_too_many_is_429():
    gate = asyncio.Event()

    async def wait(body):
        await gate.wait()

    async def ask_two(worker):
        first = asyncio.create_task(worker.door(request(body=b"1", headers=JSON)))
        await asyncio.sleep(0)
        second = await worker.door(request(body=b"2", headers=JSON))
        gate.set()
        return sent(await first), sent(second)

    with Worker(flow(wait, max_in_flight=1)) as worker:
        first, second = worker.run(ask_two(worker))
    assert (first.status, second.status, second.headers["Retry-After"]) == (200, 429, "1")


def test_a_stream_larger_than_an_answer_may_be_is_413(monkeypatch):
    monkeypatch.setattr("millrace.serving.doors.nuclio_answer.collected.__kwdefaults__", {"most": 10})

    def chunks(body):
        yield from [b"123456"] * body

    with Worker(flow(chunks)) as worker:
        statuses = [worker.ask(body=b"%d" % count, headers=JSON).status for count in (1, 2)]
    assert statuses == [200, 413]


@pytest.mark.parametrize("handler", ["(event * 2)", double], ids=["plain", "async"])
def test_a_wrapper_may_run_a_loop_for_each_event(handler):
    with Worker(flow(handler)) as worker:
        answers = [asyncio.run(worker.door(request(body=b"%d" % n, headers=JSON))) for n in (1, 2)]
    assert [sent(one).body for one in answers] == [b"2", b"4"]


# -- the end ---------------------------------------------------------------------------------------------------------


def test_the_worker_ends_with_0_and_refuses_what_comes_later():
    with Worker(flow(double)) as worker:
        assert worker.ask(body=b"1", headers=JSON).status == 200
        assert worker.terminate() == 0
        late = worker.ask(body=b"1", headers=JSON)
    assert (late.status, late.headers) == (503, {"Retry-After": "1"})


def test_a_worker_that_never_got_an_event_ends_with_0():
    with Worker(flow(double)) as worker:
        assert worker.terminate() == 0


def test_the_worker_does_not_end_while_answers_are_on_their_way():
    gate = asyncio.Event()

    async def wait(body):
        await gate.wait()
        return body

    async def end(worker):
        await worker.door.start()
        asked = asyncio.create_task(worker.door(request(body=b"1", headers=JSON)))
        await asyncio.sleep(0)
        ending = asyncio.create_task(worker.door.terminate())
        await asyncio.sleep(0)
        late = await worker.door(request(body=b"2", headers=JSON))
        gate.set()
        return sent(await asked).body, sent(late).status, await ending

    with Worker(flow(wait)) as worker:
        assert worker.run(end(worker)) == (b"1", 503, None)


def test_steps_are_closed_and_messages_acknowledged_when_the_worker_ends():
    closed = []

    class Client:
        async def do(self, body):
            return body

        async def aclose(self):
            closed.append(True)

    function = millrace.new_function("flow")
    function.set_topology("flow").to(Client(), "client").respond()
    with Worker(function, kind="kafka-cluster") as worker:
        worker.handle(message(b"1", offset=4))
        assert worker.terminate() == 0
        assert (closed, worker.committed) == ([True], {("topic", 0): 5})


def test_a_rebalance_leaves_the_worker_serving():
    with Worker(flow(double)) as worker:
        worker.drain()
        assert worker.ask(body=b"2", headers=JSON).body == b"4"


# -- the start -------------------------------------------------------------------------------------------------------


def test_a_stream_that_can_not_be_opened_is_an_error_until_it_can(tmp_path):
    function = millrace.new_function("writer")
    function.set_topology("flow").to(name="step", handler="(event)").to(">>", "out")
    (tmp_path / "folder").touch()
    with Worker(function, folder=tmp_path / "folder") as worker:
        refused = worker.ask(body=b"1", headers=JSON)
        (tmp_path / "folder").unlink()
        accepted = worker.ask(body=b"1", headers=JSON)
    assert (refused.status >= 500, accepted.status) == (True, 202)


# -- logs ------------------------------------------------------------------------------------------------------------


def test_nothing_is_logged_through_the_socket_of_the_answers(capfd):
    """The wrapper logs each acknowledgement to that socket at once, also in the midst of a long answer."""
    socket = io.StringIO()
    with Worker(flow(lambda body: 1 / body), kind="kafka-cluster") as worker:
        worker.context.logger.set_handler("default", socket, nuclio_sdk.logger.JSONFormatter())
        control = worker.context.platform._control_callback

        async def logged(data):
            worker.context.logger.debug_with("Sending data on control socket", data_length=len(data))
            await control(data)

        worker.context.platform._control_callback = logged
        worker.handle(message(b"1", offset=0))
        worker.ask(body=b"0", headers=JSON)
        worker.drain()
        worker.context.logger.info("from a step")
    assert worker.committed == {("topic", 0): 1}
    assert [json.loads(line)["message"] for line in socket.getvalue().splitlines()] == ["from a step"]
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", ["framing", "nuclio_body", "nuclio_event"])
def test_the_examples_run(name):
    assert doctest.testmod(importlib.import_module(f"millrace.serving.doors.{name}")).failed == 0


def test_failures_go_to_the_functions_log(caplog):
    with caplog.at_level(logging.ERROR), Worker(flow(lambda body: 1 / body)) as worker:
        worker.ask(body=b"0", headers=JSON)
    assert "step 'step' of graph 'flow' failed: ZeroDivisionError" in caplog.text
