"""Batches in a graph."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import millrace
from millrace.serving import FakeClock
from millrace.steps import Batch, FlatMap


def flow(engine="async", **settings):
    function = millrace.new_function("batches", kind="serving")
    return function, function.set_topology("flow", engine=engine, **settings)


def wait_until_held(server, count):
    deadline = time.monotonic() + 10
    while server.engine.holds[0].count < count and time.monotonic() < deadline:
        time.sleep(0.001)


def test_full_batch_leaves_and_the_rest_is_flushed_by_wait_for_completion():
    seen = []
    function, graph = flow()
    graph.to(Batch(max_events=3), "batch").to(name="see", handler=seen.append)
    with function.to_mock_server() as server:
        for number in range(1, 8):
            server.test(body=number)
        server.wait_for_completion(10)
        assert (seen, server.engine.gate.inside) == ([[1, 2, 3], [4, 5, 6], [7]], 0)


def test_batch_leaves_when_its_time_is_over():
    clock, seen, arrived = FakeClock(), [], threading.Event()
    function, graph = flow()
    graph.to(Batch(flush_after_seconds=5), "batch").to(
        name="see", handler=lambda body: (seen.append(body), arrived.set())
    )
    with function.to_mock_server(clock=clock) as server:
        server.test(body=1)
        clock.wait_for_timers()
        clock.advance(3)
        server.test(body=2)
        wait_until_held(server, 2)
        clock.advance(1.9)
        assert not arrived.is_set()
        clock.advance(0.1)
        assert arrived.wait(10)
    assert seen == [[1, 2]]


def test_second_key_has_a_time_of_its_own():
    clock, seen = FakeClock(), []
    function, graph = flow()
    graph.to(Batch(flush_after_seconds=5, key_field="k"), "batch").to(name="see", handler=seen.append)
    with function.to_mock_server(clock=clock) as server:
        server.test(body={"k": 1})
        clock.wait_for_timers()
        clock.advance(3)
        server.test(body={"k": 2})
        wait_until_held(server, 2)
        clock.advance(2)
        while not seen:
            time.sleep(0.001)
        assert (seen, server.engine.holds[0].count) == ([[{"k": 1}]], 1)
        clock.wait_for_timers()
        clock.advance(3)
        while len(seen) < 2:
            time.sleep(0.001)
    assert seen[1] == [{"k": 2}]


def test_responder_after_a_batch_answers_all_of_it():
    async def ask(server):
        return await asyncio.gather(*(server.atest(body=n) for n in (1, 2, 3)))

    function, graph = flow()
    graph.to(Batch(max_events=3), "batch").to(name="sum", handler=sum).respond()
    with function.to_mock_server() as server:
        assert asyncio.run(ask(server)) == [6, 6, 6]


def test_batch_that_responds_itself_answers_all_of_it():
    async def ask(server):
        return await asyncio.gather(*(server.atest(body=n) for n in (1, 2)))

    function, graph = flow()
    graph.to(Batch(max_events=2), "batch").respond()
    with function.to_mock_server() as server:
        assert asyncio.run(ask(server)) == [[1, 2], [1, 2]]


def test_error_behind_a_batch_is_the_answer_of_all_of_it():
    async def ask(server):
        return await asyncio.gather(*(server.atest(body=n, silent=True) for n in (1, 2)))

    function, graph = flow()
    graph.to(Batch(max_events=2), "batch").to(name="broken", handler=lambda body: 1 / 0).respond()
    with function.to_mock_server() as server:
        assert [answer.status_code for answer in asyncio.run(ask(server))] == [500, 500]
        server.wait_for_completion(10)
        assert (server.errors, server.engine.gate.inside) == ([], 0)


def test_error_behind_a_batch_that_was_answered_before_is_reported():
    function, graph = flow()
    graph.to(name="answer", handler="(event)").respond().to(Batch(max_events=2), "batch").to(
        name="broken", handler=lambda body: 1 / 0
    )
    with function.to_mock_server() as server:
        assert [server.test(body=1), server.test(body=2)] == [1, 2]
        server.wait_for_completion(10)
        assert len(server.errors) == 1


def test_bad_key_fails_its_own_event_only():
    seen = []
    function, graph = flow()
    graph.to(Batch(max_events=2, key_field="k"), "batch").to(name="see", handler=seen.append)
    with function.to_mock_server() as server:
        for body in ({"k": 1}, {"no": 1}, {"k": []}, {"k": 1}):
            server.test(body=body)
        server.wait_for_completion(10)
        assert (seen, len(server.errors)) == ([[{"k": 1}, {"k": 1}]], 2)


def test_batches_in_a_row_are_flushed_first_to_last():
    seen = []
    function, graph = flow()
    graph.to(Batch(max_events=3), "first").to(Batch(max_events=10), "second").to(name="see", handler=seen.append)
    with function.to_mock_server() as server:
        for number in range(1, 6):
            server.test(body=number)
        server.wait_for_completion(10)
    assert seen == [[[1, 2, 3], [4, 5]]]


def test_join_gets_what_a_batch_before_it_still_holds_when_the_flow_is_flushed():
    seen = []
    function, graph = flow()
    graph.to(name="start", handler="(event)")
    graph.add_step(name="quick", handler="(event)", after="start")
    graph.add_step(Batch(max_events=10), "batch", after="start").to(FlatMap(lambda body: body), "each")
    join = millrace.steps.Merge(key_path=lambda event: 1, expected_num_events=2)
    graph.add_step(join, "join", after=["quick", "each"])
    graph["join"].to(name="see", handler=seen.append)
    with function.to_mock_server() as server:
        server.test(body=1)
        server.wait_for_completion(10)
        assert (seen, server.errors) == ([[1, 1]], [])


def test_batch_in_a_cycle_is_flushed_until_nothing_is_left():
    seen = []
    function, graph = flow()
    graph.to(name="start", handler="(event)").to(Batch(max_events=10), "batch").to(
        FlatMap(lambda bodies: [body + 1 for body in bodies]), "each"
    ).to(millrace.steps.Choice(lambda body: "batch" if body < 5 else "see"), "again", cycle_to="batch").to(
        name="see", handler=seen.append
    )
    with function.to_mock_server() as server:
        server.test(body=1)
        server.wait_for_completion(10)
        assert (seen, server.engine.gate.inside) == ([5], 0)


def test_batch_in_a_flow_of_a_router_is_flushed():
    answers = []
    function = millrace.new_function("routes", kind="serving")
    inner = millrace.serving.FlowStep(name="inner")
    inner.to(Batch(max_events=10), "batch").to(name="first", handler="(event[0])").respond()
    function.set_topology("router").add_route("inner", inner)
    with function.to_mock_server() as server:
        path = "/v2/models/inner/infer"
        caller = threading.Thread(target=lambda: answers.append(server.test(path, {"inputs": [1]}, silent=True)))
        caller.start()
        wait_until_held(server, 1)
        server.wait_for_completion(10)
        caller.join(10)
        assert (len(answers), server.engine.gate.inside) == (1, 0)


def test_full_batch_holds_events_that_were_sent_by_many_threads_once_each():
    seen = []
    function, graph = flow()
    graph.to(Batch(max_events=7), "batch").to(name="see", handler=seen.extend)
    with function.to_mock_server() as server:

        def send(start):
            for number in range(start, start + 100):
                server.test(body=number)

        senders = [threading.Thread(target=send, args=(n * 100 + 1,)) for n in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        server.wait_for_completion(10)
    assert sorted(seen) == list(range(1, 401))


def test_gate_full_of_held_events_is_emptied_by_wait_for_completion():
    seen = []
    function, graph = flow(max_in_flight=2)
    function.add_child_function("child")
    graph.to(">>", "queue").to(Batch(max_events=10), "batch", function="child").to(
        name="see", handler=seen.extend, function="child"
    )
    with function.to_mock_server() as server:
        for number in range(1, 3):
            server.test(body=number)
        server.wait_for_completion(10)
        assert (sorted(seen), server.engine.gate.inside) == ([1, 2], 0)


@pytest.mark.parametrize("key_field", [None, "k"])
def test_batch_that_can_not_fill_because_the_function_is_full_leaves_early(key_field):
    seen = []
    function, graph = flow(max_in_flight=5)
    graph.to(Batch(max_events=100, key_field=key_field), "batch").to(name="see", handler=seen.extend)
    with function.to_mock_server() as server:
        for number in range(23):
            server.test(body={"k": number})
        server.wait_for_completion(10)
        assert ([body["k"] for body in seen], server.engine.gate.inside) == (list(range(23)), 0)


def test_callers_of_a_batch_that_can_not_fill_are_answered():
    async def ask(server):
        return await asyncio.gather(*(server.atest(body=n) for n in range(1, 11)))

    function, graph = flow(max_in_flight=5)
    graph.to(Batch(max_events=100), "batch").to(name="count", handler=len).respond()
    with function.to_mock_server() as server:
        assert asyncio.run(ask(server)) == [5] * 10


def test_lone_event_before_a_responder_is_answered_although_its_batch_is_not_full():
    clock = FakeClock()
    function, graph = flow()
    graph.to(Batch(max_events=10), "batch").to(name="sum", handler="(sum(event))").respond()
    with function.to_mock_server(clock=clock) as server, ThreadPoolExecutor() as pool:
        asked = pool.submit(server.test, body=7)
        clock.wait_for_timers()
        clock.advance(1.0)
        assert asked.result(10) == 7


def test_a_batch_object_holds_nothing_of_another_server():
    kept = []
    function = millrace.new_function("f", kind="serving")
    graph = function.set_topology("flow", engine="async")
    graph.to(Batch(max_events=2), name="two").to(name="keep", handler=kept.append)
    with function.to_mock_server() as one, function.to_mock_server() as other:
        one.test(body=1)
        deadline = time.monotonic() + 10
        while one.engine.holds[0].count < 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        other.test(body=-1)
    assert sorted(kept) == [[-1], [1]]


def test_a_batch_object_in_two_places_is_two_batches():
    kept = []
    function = millrace.new_function("f", kind="serving")
    graph, batch = function.set_topology("flow", engine="async"), Batch(max_events=2)
    for name in ("left", "right"):
        graph.add_step(batch, name=name, after="")
    graph.add_step(name="keep", handler=kept.append, after=["left", "right"])
    with function.to_mock_server() as server:
        server.test(body=1)
    assert kept == [[1], [1]]


def test_a_batch_object_stays_as_it_was_made():
    batch = Batch(max_events=2)
    function = millrace.new_function("f", kind="serving")
    function.set_topology("flow", engine="async").to(batch, name="two").respond()
    with function.to_mock_server() as server:
        server.test(body=1)
    assert (batch.flush_after_seconds, batch.next_deadline(), batch.flush()) == (None, None, [])
