"""Real streams in this process: what joins the parts of a graph, what stops, what is said of it, what is kept."""

import asyncio
import json
import logging
import time
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

import millrace
from millrace.errors import GraphError, Unavailable
from millrace.queues.address import open_queue
from millrace.queues.message import Message
from millrace.serving.doors import memory_room, sink
from millrace.serving.doors.http import HttpSettings
from millrace.serving.doors.http_run import running
from millrace.serving.engine.clock import FakeClock
from millrace.serving.functions.real import StreamsAt
from millrace.serving.functions.runtime import make_engine


def joined(step, **settings):
    """A function whose child runs a step behind a queue."""
    function = millrace.new_function("shop")
    function.set_topology("flow").to(">>", "orders", **settings).to(name="work", handler=step, function="child")
    function.add_child_function("child")
    return function


@contextmanager
def served(function, folder=None, *, worker=0, **parts):
    """A function, or a part of it, over HTTP with real streams."""
    engine, streams = make_engine(function, [], streams_at=StreamsAt(folder), **parts)
    engine.context.worker_id = worker
    with running(engine, streams, settings=HttpSettings(port=0)) as server:
        yield server


def ask(server, body=None, path="/"):
    """The status and the answer."""
    try:
        with urlopen(Request(server.url + path, json.dumps(body).encode()), timeout=20) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def until(is_true, *, seconds=20):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.005)


def append(url, *values):
    async def main():
        async with await open_queue(url) as queue:
            await queue.append([Message(json.dumps(value).encode()) for value in values])

    asyncio.run(main())


def kept(url):
    """How many messages a queue with one partition holds."""

    async def main():
        async with await open_queue(url) as queue:
            return (await queue.end_offsets())[0] - (await queue.begin_offsets())[0]

    return asyncio.run(main())


def test_parent_and_child_in_two_engines_are_joined_by_a_log_in_the_folder(tmp_path):
    seen = []
    function = joined(seen.append)
    child = served(function, tmp_path, current_function="child")
    with served(function, tmp_path, current_function="") as parent, child:
        assert [ask(parent, n)[0] for n in range(3)] == [202] * 3
        until(lambda: sorted(seen) == [0, 1, 2])


def test_mock_server_with_real_streams_reads_what_another_program_wrote(tmp_path):
    seen = []
    append(f"log://{tmp_path}/orders", 1, 2)
    with joined(seen.append).to_mock_server(streams="real", streams_path=str(tmp_path)) as server:
        server.test(body=3)
        server.wait_for_completion(timeout_seconds=20)
    assert sorted(seen) == [1, 2, 3]


def test_plain_graph_whose_only_input_is_a_trigger_is_read_by_a_mock_server_with_real_streams(tmp_path):
    seen = []
    function = millrace.new_function("shop")
    function.set_topology("flow").to(name="work", handler=seen.append).respond()
    function.add_trigger("in", {"kind": "stream", "url": f"log://{tmp_path}/in"})
    append(f"log://{tmp_path}/in", 1, 2)
    with function.to_mock_server(streams="real") as server:
        until(lambda: len(seen) == 2)
        server.test(body=3)
        append(f"log://{tmp_path}/in", 4)
        server.wait_for_completion(timeout_seconds=20)
    assert sorted(seen) == [1, 2, 3, 4]


def test_errors_of_a_plain_graph_are_written_to_a_real_error_stream(tmp_path):
    function = millrace.new_function("shop")
    function.set_topology("flow").to(name="work", handler="(1 / event)").respond()
    function.spec.error_stream = f"log://{tmp_path}/errors"
    with function.to_mock_server(streams="real") as server:
        assert server.test(body=0, silent=True).status_code == 500
    assert kept(f"log://{tmp_path}/errors") == 1


def test_queue_with_an_address_uses_it_and_one_without_is_in_memory_where_no_folder_is_named(tmp_path):
    seen = []
    function = joined(seen.append, path=f"log://{tmp_path}/there")
    function.graph.steps["work"].to(">>", "nowhere")
    with served(function) as server:
        assert ask(server, 7)[0] == 202
        until(lambda: seen)
    assert (tmp_path / "there").exists() and [one.name for one in tmp_path.iterdir()] == ["there"]


def test_queue_in_memory_keeps_nothing_that_is_done_and_the_last_thousand_where_nobody_reads(monkeypatch):
    monkeypatch.setattr(memory_room, "PAUSE_SECONDS", 0.01)
    function = joined("(event)")
    function.graph.steps["work"].to(">>", "unread")
    with function.to_mock_server(streams="real") as server:
        for n in range(1_200):
            server.test(body=n)
        server.wait_for_completion(timeout_seconds=20)
        until(lambda: (kept("memory://shop.orders"), kept("memory://shop.unread")) == (0, 1_000))


@pytest.mark.parametrize("starts_with", ["queue", "step"])
def test_event_that_comes_to_a_child_over_http_goes_to_its_first_steps_and_not_into_its_queue(tmp_path, starts_with):
    seen = []
    function = joined(seen.append, path=f"log://{tmp_path}/orders", shards=1)
    if starts_with == "step":
        function.graph.add_step(name="check", handler="(event)", before="orders")
    with served(function, current_function="child") as server:
        assert ask(server, {"n": 1})[0] == 202
        until(lambda: seen == [{"n": 1}])
    assert kept(f"log://{tmp_path}/orders") == 0


def test_stream_triggers_feed_the_graph_from_all_their_topics(tmp_path):
    seen = []
    function = millrace.new_function("shop")
    function.set_topology("flow").to(name="work", handler=seen.append)
    function.add_trigger("in", {"kind": "stream", "topics": [f"log://{tmp_path}/a", f"log://{tmp_path}/b"]})
    append(f"log://{tmp_path}/a", 1)
    append(f"log://{tmp_path}/b", 2)
    with served(function) as server:
        until(lambda: sorted(seen) == [1, 2])
        assert ask(server, 3)[0] == 202
        until(lambda: sorted(seen) == [1, 2, 3])


@pytest.mark.parametrize("worker", [0, 1])
def test_cron_trigger_ticks_in_the_first_of_several_processes_only(worker):
    seen, clock = [], FakeClock()
    function = millrace.new_function("shop")
    function.set_topology("flow").to(name="work", handler=seen.append)
    function.add_trigger("tick", {"kind": "cron", "interval": "10s", "body": "now"})
    with served(function, worker=worker, clock=clock) as server:
        if worker == 0:
            clock.wait_for_timers()
        clock.advance(10)
        assert ask(server, "asked")[0] == 202
        until(lambda: len(seen) == (2 if worker == 0 else 1))
    assert sorted(seen) == (["asked", "now"] if worker == 0 else ["asked"])


def test_triggers_of_a_child_begin_behind_its_queue_in_one_process_with_its_parent_too(tmp_path, caplog):
    seen, clock = [], FakeClock()
    function = joined(seen.append)
    function.graph.add_step(name="first", handler="('parent')", before="orders")
    child = function.spec.functions["child"]
    child.add_trigger("tick", {"kind": "cron", "interval": "10s", "body": "tick"})
    child.add_trigger("in", {"kind": "stream", "url": f"log://{tmp_path}/in"})
    append(f"log://{tmp_path}/in", "stream")
    with served(function, clock=clock) as server:
        clock.wait_for_timers()
        clock.advance(10)
        assert ask(server, "asked")[0] == 202
        until(lambda: len(seen) == 3)
    assert sorted(seen) == ["parent", "stream", "tick"] and "do nothing" not in caplog.text


def test_triggers_of_a_child_with_two_queues_begin_behind_both(tmp_path):
    seen = []
    function = joined(lambda body: seen.append(("work", body)))
    function.graph.add_step(">>", "more", after="")
    function.graph.add_step(name="other", handler=lambda body: seen.append(("other", body)), after="more",
                            function="child")  # fmt: skip
    function.spec.functions["child"].add_trigger("in", {"kind": "stream", "url": f"log://{tmp_path}/in"})
    append(f"log://{tmp_path}/in", 1)
    with served(function):
        until(lambda: len(seen) == 2)
    assert sorted(seen) == [("other", 1), ("work", 1)]


def test_trigger_of_a_child_that_shares_its_queue_is_said_to_do_nothing_in_one_process(caplog):
    function = joined("(event)")
    function.graph.add_step(name="other", handler="(event)", after="orders", function="second")
    function.add_child_function("second")
    function.spec.functions["child"].add_trigger("tick", {"kind": "cron", "interval": "10s"})
    with served(function):
        assert "triggers tick of child function 'child' do nothing in one process" in caplog.text


def test_two_readings_of_one_address_in_one_group_are_refused(tmp_path):
    function = joined("(event)", path=f"log://{tmp_path}/same")
    more = function.graph.add_step(">>", "more", after="work", path=f"log://{tmp_path}/same")
    more.to(name="again", handler="(event)", function="child")
    said = r"'more' and another queue or trigger .* as one group 'shop-consumer-group'"
    with pytest.raises(GraphError, match=said), served(function):
        pass


def test_stream_that_a_message_stopped_makes_the_server_not_ready_and_says_why(tmp_path):
    def work(event):
        raise ValueError("broken")

    function = joined(work, path=f"log://{tmp_path}/orders", on_failure="stop", retries=0)
    with served(function) as server:
        assert ask(server, path="/v2/health/ready")[0] == 200
        ask(server, 1)
        until(lambda: ask(server, path="/v2/health/ready")[0] == 503)
        (reason,) = ask(server, path="/v2/health/ready")[1]["waiting"]
    assert f"log://{tmp_path}/orders is not read any more" in reason and "broken" in reason


def test_stream_that_can_not_be_opened_is_one_error_with_the_queues_name(tmp_path):
    (tmp_path / "file").touch()
    url = f"log://{tmp_path}/file/orders"
    with pytest.raises(Unavailable, match=f"'orders' can not be opened: {url}: "), served(joined("(event)", path=url)):
        pass


class Away:
    """A stream that fails a few times, then takes everything."""

    def __init__(self, failures):
        self.failures = failures
        self.kept = []

    async def append_all(self, messages):
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("away")
        self.kept += messages


def test_sink_keeps_messages_in_order_while_its_stream_is_away_and_says_so_once(monkeypatch, caplog):
    monkeypatch.setattr(sink, "AGAIN_SECONDS", 0.0)
    stream, numbered = Away(failures=3), [Message(b"%d" % n) for n in range(1_200)]

    async def main():
        one = sink.Sink(stream, "log:///errors")
        one.put(numbered[0])
        one.start()
        for message in numbered[1:]:
            one.put(message)
            await asyncio.sleep(0)
        await one.close(5)

    asyncio.run(main())
    assert stream.kept == numbered
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_sink_whose_stream_stays_away_keeps_the_last_ten_thousand_and_counts_the_others(caplog):
    async def main():
        one = sink.Sink(Away(failures=99), "log:///errors")
        for n in range(10_007):
            one.put(Message(b"%d" % n))
        assert one.lost == 7
        one.start()
        await one.close(5)

    asyncio.run(main())
    assert "log:///errors: 10007 messages were not written" in caplog.text
