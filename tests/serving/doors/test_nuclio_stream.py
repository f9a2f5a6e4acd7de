"""Streams in Nuclio: what is acknowledged, and when; what fails; batches; drains."""

import asyncio
import itertools
import sys
import threading
from pathlib import Path

import pytest

import millrace
from millrace.errors import InvalidInput
from millrace.queues.address import open_queue
from millrace.queues.message import Message
from millrace.queues.v3io_records import encode
from millrace.serving import FakeClock

sys.path.append(str(Path(__file__).resolve().parents[2] / "parity"))

from nuclio_worker import Worker, message

QUICK = {"backoff_seconds": 0.001}
names = itertools.count()


def worker(handler, *, batch=None, full_event=False, clock=None, drain_seconds=8, **settings):
    """A worker whose function is fed by the stream 'orders'."""
    function = millrace.new_function("reader")
    graph = function.set_topology("flow")
    first = graph if batch is None else graph.to(millrace.steps.Batch(max_events=batch), "batch")
    first.to(name="step", handler=handler, full_event=full_event)
    settings = {"url": f"memory://orders-{next(names)}", **QUICK, **settings}
    function.add_trigger("orders", {"kind": "kafka-cluster", **settings})
    return Worker(function, kind="kafka-cluster", clock=clock, drain_seconds=drain_seconds)


def deliver(reader, *offsets, body=b"%d", **given):
    return [reader.handle(message(body % offset, offset=offset, **given)).status for offset in offsets]


def letters(url):
    async def read():
        async with await open_queue(url) as queue:
            return [one for partition in range(queue.partitions) for one in await queue.read(partition, 0)]

    return asyncio.run(read())


def fails_at(*bodies, kind=ValueError, times=1_000):
    left = dict.fromkeys(bodies, times)

    def step(body):
        if left.get(body, 0):
            left[body] -= 1
            raise kind(f"no {body}")

    return step


def test_many_messages_share_an_acknowledgement_of_the_highest_offset():
    with worker(lambda body: None) as reader:
        deliver(reader, *range(100))
        reader.until(lambda: reader.committed == {("topic", 0): 100})
    assert len(reader.acks) < 20
    assert reader.acks == sorted(reader.acks)


def test_partitions_are_acknowledged_apart_from_each_other():
    with worker(lambda body: None) as reader:
        deliver(reader, 7, 8)
        deliver(reader, 70, partition=3)
        reader.drain()
    assert reader.committed == {("topic", 0): 9, ("topic", 3): 71}


def test_an_offset_is_not_acknowledged_before_those_below_it_are_done():
    gate = asyncio.Event()

    async def step(body):
        if body == 0:
            await gate.wait()

    with worker(step, ordering="none") as reader:
        deliver(reader, 0, 1, 2)
        reader.until(lambda: reader.door.reader.counts.done == 2)
        reader.run(reader.door.acks.flush())
        assert reader.acks == []
        gate.set()
        reader.until(lambda: reader.committed == {("topic", 0): 3})


def test_messages_of_a_partition_run_one_after_the_other():
    running, most = [], []

    async def step(body):
        running.append(body)
        await asyncio.sleep(0)
        most.append(len(running))
        running.remove(body)

    with worker(step) as reader:
        deliver(reader, 0, 1, 2)
    assert most == [1, 1, 1]


def test_a_response_to_a_message_can_not_acknowledge_it():
    # Nuclio, mode "enable": the header must be a boolean, under the name as Go writes it.
    with worker(fails_at(1), on_failure="stop", retries=0) as reader:
        found = [reader.handle(message(b"%d" % n, offset=n)).raw for n in (0, 1, 2)]
    assert [one["headers"]["X-Nuclio-Stream-No-Ack"] for one in found] == [True, True, True]
    assert [one["status_code"] for one in found] == [200, 503, 503]


def test_a_message_that_fails_is_tried_again_and_then_acknowledged():
    with worker(fails_at(1, times=2), retries=3) as reader:
        deliver(reader, 0, 1, 2)
        reader.drain()
    assert reader.committed == {("topic", 0): 3}
    assert (reader.door.reader.counts.retried, reader.door.reader.counts.dead_lettered) == (2, 0)


def test_a_message_that_fails_for_good_becomes_a_dead_letter_before_it_is_acknowledged(tmp_path):
    url = f"log://{tmp_path}/dead"
    with worker(fails_at(1), retries=1, dead_letters=url) as reader:
        deliver(reader, 0, 1, headers={"x-shop": "7"})
        reader.drain()
    (letter,) = letters(url)
    assert letter.value == b"1"
    assert [letter.headers[f"x-{name}"] for name in ("shop", "attempts", "error-type", "origin-offset")] == [
        "7", "2", "ValueError", "1"
    ]  # fmt: skip
    assert reader.committed == {("topic", 0): 2}
    assert [str(one) for one in reader.engine.errors] == ["step 'step' of graph 'reader' failed: ValueError: no 1"]


@pytest.mark.parametrize(("kind", "attempts"), [(InvalidInput, "1"), (ValueError, "3")])
def test_a_message_that_is_wrong_itself_is_not_tried_again(tmp_path, kind, attempts):
    url = f"log://{tmp_path}/dead"
    with worker(fails_at(0, kind=kind), retries=2, dead_letters=url) as reader:
        deliver(reader, 0)
    assert [one.headers["x-attempts"] for one in letters(url)] == [attempts]


def test_a_message_that_can_not_be_decoded_is_a_dead_letter(tmp_path):
    url = f"log://{tmp_path}/dead"
    with worker(lambda body: None, dead_letters=url) as reader:
        assert reader.handle(message(b"{", offset=0)).status == 200
        reader.drain()
    assert [(one.value, one.headers["x-error-type"]) for one in letters(url)] == [(b"{", "Undecodable")]
    assert reader.committed == {("topic", 0): 1}


def test_a_message_that_is_skipped_is_acknowledged():
    with worker(fails_at(1), retries=0, on_failure="skip") as reader:
        deliver(reader, 0, 1, 2)
        reader.drain()
    assert (reader.committed, reader.door.reader.counts.skipped) == ({("topic", 0): 3}, 1)


def test_a_message_that_stops_the_reader_is_not_acknowledged_nor_is_any_after_it():
    with worker(fails_at(1), retries=0, on_failure="stop") as reader:
        assert deliver(reader, 0, 1, 2, 3) == [200, 503, 503, 503]
        reader.drain()
    assert reader.committed == {("topic", 0): 1}
    assert [str(fault) for fault in reader.faults] == ["step 'step' of graph 'reader' failed: ValueError: no 1"]


def test_a_message_whose_dead_letter_can_not_be_written_is_not_acknowledged(tmp_path):
    (tmp_path / "file").touch()
    with worker(fails_at(1), retries=0, dead_letters=f"log://{tmp_path}/file/dead") as reader:
        assert deliver(reader, 0, 1) == [200, 503]
        reader.drain()
    assert (reader.committed, len(reader.faults)) == ({("topic", 0): 1}, 1)


def test_a_batch_is_acknowledged_when_it_is_done():
    seen = []
    with worker(seen.append, batch=3) as reader:
        deliver(reader, 0, 1)
        reader.run(reader.door.acks.flush())
        assert (seen, reader.acks) == ([], [])
        deliver(reader, 2)
        reader.until(lambda: reader.committed == {("topic", 0): 3})
    assert seen == [[0, 1, 2]]


def test_a_drain_lets_batches_go_and_acknowledges_them_before_it_returns():
    seen = []
    with worker(seen.append, batch=10) as reader:
        deliver(reader, 0, 1)
        reader.drain()
        assert (seen, reader.committed) == ([[0, 1]], {("topic", 0): 2})


def test_the_next_message_comes_when_less_than_half_of_the_bound_is_not_done():
    seen = []
    with worker(seen.append, batch=100, max_in_flight=4) as reader:
        deliver(reader, *range(10))
        assert reader.door.reader.in_flight <= 4
        reader.drain()
    assert [one for batch in seen for one in batch] == list(range(10))
    assert reader.committed == {("topic", 0): 10}


def test_a_drain_waits_for_messages_that_run():
    gate = asyncio.Event()

    async def step(body):
        await gate.wait()

    async def drained(reader):
        draining = asyncio.create_task(reader.door.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        gate.set()
        await draining

    with worker(step, ordering="none") as reader:
        deliver(reader, 0, 1)
        reader.run(drained(reader))
    assert reader.committed == {("topic", 0): 2}


def test_a_drain_does_not_wait_for_the_next_try():
    seen = []

    def step(body):
        seen.append(body)
        raise ValueError

    with worker(step, ordering="none", backoff_seconds=3_600, clock=FakeClock()) as reader:
        deliver(reader, 0)
        reader.until(lambda: reader.door.reader.counts.retried)
        reader.drain()
    assert (seen, reader.acks, reader.faults, reader.door.reader.in_flight) == ([0], [], [], 0)


def test_a_message_that_fails_for_good_during_a_drain_is_left_to_the_next_reader(tmp_path):
    calls, last = [], asyncio.Event()

    async def step(body):
        calls.append(body)
        if len(calls) == 2:
            await last.wait()
        raise ValueError

    async def drained(reader):
        draining = asyncio.create_task(reader.door.drain())
        await asyncio.sleep(0)
        last.set()
        await draining

    url = f"log://{tmp_path}/dead"
    with worker(step, ordering="none", retries=1, dead_letters=url) as reader:
        deliver(reader, 0)
        reader.until(lambda: len(calls) == 2)
        reader.run(drained(reader))
    assert (letters(url), reader.acks, reader.faults) == ([], [], [])


def test_what_does_not_end_in_the_time_of_a_drain_is_stopped_and_not_acknowledged():
    ended = []

    async def step(body):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(body)

    with worker(step, ordering="none", drain_seconds=0.05) as reader:
        deliver(reader, 4)
        reader.drain()
        reader.until(lambda: ended)
    assert (ended, reader.acks, reader.faults) == ([4], [], [])


def test_a_partition_that_comes_back_after_a_drain_begins_where_it_is_delivered():
    with worker(fails_at(40, times=1)) as reader:
        deliver(reader, 5, 6)
        reader.drain()
        deliver(reader, 40)
        reader.drain()
    assert reader.acks == [("topic", 0, 6), ("topic", 0, 40)]


def test_an_offset_that_comes_again_is_run_again():
    seen = []
    with worker(seen.append) as reader:
        deliver(reader, 5, 6, 7)
        deliver(reader, 6)
        reader.drain()
    assert seen == [5, 6, 7, 6]
    assert reader.committed == {("topic", 0): 7}


def test_an_acknowledgement_that_fails_is_sent_again():
    with worker(lambda body: None) as reader:
        answers = iter([OSError("the socket is full")])
        control = reader.context.platform._control_callback

        async def flaky(data):
            for error in answers:
                raise error
            await control(data)

        reader.context.platform._control_callback = flaky
        deliver(reader, 0)
        reader.until(lambda: reader.committed == {("topic", 0): 1})


def test_a_step_sees_kafkas_headers_and_the_events_id():
    seen = []

    def look(event):
        seen.append((event.id, event.body, event.offset, event.content_type, event.trigger.kind, event.path))
        return event

    headers = {"content-type": "text/plain", "millrace-event-id": "e7"}
    with worker(look, full_event=True) as reader:
        reader.handle(message(b"5", offset=3, headers=headers))
    assert seen == [("e7", "5", 3, "text/plain", "kafka-cluster", "/")]


def test_a_key_comes_in_a_header_and_goes_on_with_a_dead_letter(tmp_path):
    seen, url = [], f"log://{tmp_path}/dead"

    def look(event):
        seen.append(event.key)
        raise InvalidInput("no")

    with worker(look, full_event=True, dead_letters=url) as reader:
        reader.handle(message(b"5", offset=3, headers={"millrace-key": "caf\u00e9"}))
    (letter,) = letters(url)
    assert (seen, letter.key) == (["caf\u00e9"], "caf\u00e9".encode())


def test_messages_of_different_kinds_run_in_their_order():
    seen, text, octets = [], {"content-type": "text/plain"}, {"content-type": "application/octet-stream"}
    with worker(seen.append) as reader:
        for offset, headers in enumerate([None, None, text, None, octets, {"content-type": "application/json"}]):
            reader.handle(message(b"%d" % offset, offset=offset, headers=headers))
        reader.drain()
    assert seen == [0, 1, "2", 3, b"4", 5]
    assert reader.committed == {("topic", 0): 6}


@pytest.mark.parametrize("offset", [0, 1])
def test_a_message_whose_step_would_end_the_process_has_failed(offset, tmp_path):
    url = f"log://{tmp_path}/dead"
    with worker(fails_at(offset, kind=SystemExit), retries=0, dead_letters=url) as reader:
        deliver(reader, 0, 1, 2)
        reader.drain()
    assert [one.value for one in letters(url)] == [b"%d" % offset]
    assert reader.committed == {("topic", 0): 3}


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_a_v3io_record_is_read_as_the_message_that_was_appended(is_wrapped):
    seen = []

    def look(event):
        seen.append((event.body, event.key, event.id))
        return event

    headers = {"content-type": "application/json", "millrace-event-id": "e7"}
    one = Message(b'{"x": 1}', b"k", headers) if is_wrapped else Message(b'{"x": 1}', None, {"millrace-event-id": "?"})
    data = encode(one, sender=1, number=1, plain=not is_wrapped)["data"]
    with worker(look, full_event=True) as reader:
        reader.handle(message(data, offset=0, kind="v3ioStream", topic="orders/"))
        reader.drain()
    assert reader.committed == {("orders/", 0): 1}
    assert seen[0][0] == {"x": 1}
    assert seen[0][1:] == (("k", "e7") if is_wrapped else ("", seen[0][2]))


def test_where_the_return_is_the_acknowledgement_a_message_has_ended_then():
    seen = []
    with worker(seen.append, batch=100) as reader:
        deliver(reader, 0, 1, kind="rabbit-mq")
        assert (seen, reader.acks) == ([[0], [1]], [])


def test_a_message_that_fails_where_the_return_is_the_acknowledgement_is_a_dead_letter(tmp_path):
    url = f"log://{tmp_path}/dead"
    with worker(fails_at(0), retries=0, dead_letters=url) as reader:
        assert deliver(reader, 0, 1, kind="rabbit-mq") == [200, 200]
    assert [one.value for one in letters(url)] == [b"0"]


def test_the_queue_is_found_by_the_topic_where_a_function_reads_several():
    function = millrace.new_function("shop")
    function.add_child_function("child", __file__)
    graph, seen = function.set_topology("flow"), []
    for name in ("orders", "returns"):
        graph.to(">>", name, path=f"memory://shop.{name}").to(
            name=f"of_{name}", handler=lambda body, name=name: seen.append((name, body)), function="child"
        )
    with Worker(function, current="child") as reader:
        deliver(reader, 1, topic="shop.returns")
        deliver(reader, 2, topic="shop.orders")
        unknown = reader.handle(message(b"3", offset=3, topic="nowhere"))
    assert seen == [("returns", 1), ("orders", 2)]
    assert unknown.status == 500
    assert b"'nowhere', which is none of the queues read here: 'orders' (memory://shop.orders)" in unknown.body


def test_a_step_in_a_thread_does_not_hold_up_other_partitions():
    first = threading.Event()

    def step(body):
        if body == 0:
            assert first.wait(10)
        else:
            first.set()

    async def both(reader):
        await asyncio.gather(*(reader.door(message(b"%d" % n, offset=n, partition=n)) for n in (0, 1)))

    function = millrace.new_function("reader")
    function.set_topology("flow").to(name="step", handler=step, execution="thread")
    with Worker(function) as reader:
        reader.run(both(reader))
        reader.drain()
    assert reader.committed == {("topic", 0): 1, ("topic", 1): 2}
