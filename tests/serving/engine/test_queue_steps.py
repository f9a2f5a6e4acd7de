"""Queue steps in the mock server: in memory, with the real serialisation."""

import asyncio

import numpy as np
import pytest

import millrace


def flow(**settings):
    function = millrace.new_function("queues", kind="serving")
    function.add_child_function("child")
    return function, function.set_topology("flow", engine="async", **settings)


def behind_a_queue(**options):
    seen = []

    def see(event):
        seen.append(event)
        return event

    function, graph = flow()
    graph.to(">>", "queue", **options).to(name="see", handler=see, full_event=True, function="child")
    return function, seen


@pytest.mark.parametrize("body", [{"x": [1, 2.5, None, "ü"]}, [1], "text", b"\x00bytes", 0, False, None, "", {}, []])
def test_body_is_the_same_behind_a_queue_and_falsy_ones_are_not_dropped(body):
    function, seen = behind_a_queue()
    with function.to_mock_server() as server:
        server.emit(body)
        server.wait_for_completion(10)
    assert [event.body for event in seen] == [body]
    assert type(seen[0].body) is type(body)


def test_what_json_changes_in_production_is_changed_here_too():
    function, seen = behind_a_queue()
    with function.to_mock_server() as server:
        server.emit({"tuple": (1, 2), "array": np.arange(3)})
    assert seen[0].body == {"tuple": [1, 2], "array": [0, 1, 2]}


def test_step_behind_a_queue_has_a_body_of_its_own():
    body = {"list": []}
    function, seen = behind_a_queue()
    with function.to_mock_server() as server:
        server.emit(body)
    seen[0].body["list"].append(1)
    assert body == {"list": []}


def test_body_that_is_no_message_fails_and_names_the_queue():
    function, _ = behind_a_queue()
    expected = pytest.raises(millrace.errors.StepError, match="queue 'queue': the body does not become a message")
    with function.to_mock_server() as server, expected:
        server.emit({1, 2})


def test_event_is_accepted_when_its_message_is_safe_and_not_before(monkeypatch):
    written = []
    monkeypatch.setattr("millrace.queues.memory.MemoryQueue.put", lambda self, *put: written.append(put))
    function, _ = behind_a_queue()

    async def ask():
        asked = asyncio.create_task(server.atest(body=1))
        done, _ = await asyncio.wait([asked], timeout=0.05)
        server.engine.thread.loop.call_soon_threadsafe(written[0][1], None)
        return done, await asked, len(written)

    with function.to_mock_server() as server:
        done, answer, count = asyncio.run(ask())
    assert done == set() and list(answer) == ["id"] and count == 1


def test_full_event_keeps_id_key_path_method_and_headers():
    function, seen = behind_a_queue(full_event=True)
    with function.to_mock_server() as server:
        event = millrace.MockEvent({"x": 1}, path="/a/b", method="PUT", headers={"X-Tag": "t"}, event_id="one")
        event.key = "user-1"
        server.run(event)
        server.wait_for_completion(10)
    came = seen[0]
    assert (came.id, came.key, came.path, came.method) == ("one", "user-1", "/a/b", "PUT")
    assert (came.headers, came.body) == ({"X-Tag": "t"}, {"x": 1})


def test_event_id_crosses_every_queue():
    function, seen = behind_a_queue()
    with function.to_mock_server() as server:
        server.test(body={"x": 1}, event_id="one")
    assert seen[0].id == "one"


def test_queue_shows_what_was_written():
    function, graph = flow()
    graph.to(name="a", handler="(event)").respond().to(">>", "out")
    with function.to_mock_server() as server:
        for number in range(1, 4):
            server.test(body=number)
        server.wait_for_completion(10)
        assert [message.value for message in server.queue("out").messages] == [b"1", b"2", b"3"]
        assert [message.offset for message in server.queue("out").messages] == [0, 1, 2]


def test_events_keep_their_order_through_a_queue():
    function, seen = behind_a_queue()
    with function.to_mock_server() as server:
        for number in range(1, 201):
            server.emit(number)
    assert [event.body for event in seen] == list(range(1, 201))


def test_wait_for_completion_waits_for_what_comes_out_of_several_queues():
    seen = []
    function, graph = flow()
    function.add_child_function("second")
    graph.to(">>", "one").to(name="add", handler="(event + 1)", function="child").to(">>", "two").to(
        name="see", handler=seen.append, function="second"
    )
    with function.to_mock_server() as server:
        for number in range(1, 101):
            server.test(body=number)
        server.wait_for_completion(10)
        assert (seen, server.engine.gate.inside) == (list(range(2, 102)), 0)


def test_error_behind_a_queue_is_kept_and_the_next_message_is_read():
    function, graph = flow()
    graph.to(">>", "queue").to(name="inverse", handler=lambda body: 1 / body, function="child")
    with function.to_mock_server() as server:
        for number in (0, 1):
            server.emit(number)
        server.wait_for_completion(10)
        assert [error.step for error in server.errors] == ["inverse"]


def test_message_that_can_not_be_read_is_reported_and_the_next_one_is_read():
    function, seen = behind_a_queue()
    with function.to_mock_server() as server:
        bad = millrace.queues.Message(b"{", headers={"content-type": "application/json"})
        server.engine.thread.post(lambda: server.queue("queue").append_now(bad))
        server.emit(1)
        server.wait_for_completion(10)
        assert ([event.body for event in seen], len(server.errors)) == ([1], 1)


def test_queues_of_one_name_in_two_nested_flows_are_two():
    seen = []
    function, graph = flow()
    for name in ("left", "right"):
        inner = graph.add_flow(name, after="")
        inner.to(name="mark", handler=f"('{name}')").to(">>", "queue").to(
            name="see", handler=lambda body, name=name: seen.append((name, body)), function="child"
        )
    with function.to_mock_server() as server:
        server.emit("x")
        server.wait_for_completion(10)
    assert sorted(seen) == [("left", "left"), ("right", "right")]


def test_max_in_flight_of_one_with_a_queue_does_not_stand_still():
    seen = []
    function, graph = flow(max_in_flight=1)
    graph.to(millrace.steps.Flatten(), "items").to(">>", "queue").to(
        name="see", handler=seen.append, function="child"
    )
    with function.to_mock_server() as server:
        server.emit(list(range(500)))
        server.wait_for_completion(20)
    assert seen == list(range(500))


def test_responder_before_a_queue_answers():
    function, graph = flow()
    graph.to(name="answer", handler="(event + 1)").respond().to(">>", "queue").to(
        name="broken", handler=lambda body: 1 / 0, function="child"
    )
    with function.to_mock_server() as server:
        assert server.test(body=1) == 2
        server.wait_for_completion(10)
        assert len(server.errors) == 1


def test_unknown_queue_is_an_error_with_near_names():
    function, _ = behind_a_queue()
    wrong = pytest.raises(millrace.errors.GraphError, match=r"no queue 'queu'; did you mean 'queue'")
    with function.to_mock_server() as server, wrong:
        server.queue("queu")
