"""Branches and joins."""

import asyncio
import threading
import time

import numpy as np
import pytest

import millrace
from millrace.errors import RequestFailed
from millrace.serving import FakeClock
from millrace.steps import Choice, Filter, Map, Merge


def flow(engine="async", **settings):
    function = millrace.new_function("branches", kind="serving")
    return function, function.set_topology("flow", engine=engine, **settings)


def test_second_branch_does_not_see_what_the_first_one_changes():
    seen = []
    function, graph = flow()
    graph.to(name="start", handler="(event)")
    graph.add_step(name="change", handler=lambda body: body["list"].append(1), after="start")
    graph.add_step(name="see", handler=seen.append, after="start")
    with function.to_mock_server() as server:
        server.test(body={"list": [], "array": np.arange(2)})
    assert seen[0]["list"] == []


def test_branches_share_the_body_when_they_are_told_to():
    seen = []
    function, graph = flow()
    graph.to(name="start", handler="(event)", share=True)
    graph.add_step(name="change", handler=lambda body: body["list"].append(1), after="start")
    graph.add_step(name="see", handler=seen.append, after="start")
    with function.to_mock_server() as server:
        server.test(body={"list": []})
    assert seen[0]["list"] == [1]


def test_body_that_can_not_be_copied_fails_with_the_way_out():
    function, graph = flow()
    graph.to(name="lock", handler=lambda body: threading.Lock())
    graph.add_step(name="a", handler="(1)", after="lock").respond()
    graph.add_step(name="b", handler="(2)", after="lock")
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=r"'lock'.*share=True"):
        server.test(body=1)


def test_step_with_two_inputs_sees_each():
    seen = []
    function, graph = flow()
    graph.to(name="start", handler="(event)")
    graph.add_step(name="a", handler="(event + 'a')", after="start")
    graph.add_step(name="b", handler="(event + 'b')", after="start")
    graph.add_step(name="see", handler=seen.append, after=["a", "b"])
    with function.to_mock_server() as server:
        server.test(body="x", content_type="text/plain")
    assert sorted(seen) == ["xa", "xb"]


def joined(merge, left="(event + 'a')", right="(event + 'b')"):
    function, graph = flow()
    graph.to(name="start", handler="(event)")
    for name, step in (("a", left), ("b", right)):
        kind = "class_name" if isinstance(step, Map) else "handler"
        graph.add_step(name=name, after="start", **{kind: step})
    graph.add_step(merge, "join", after=["a", "b"]).respond()
    return function


def test_merge_joins_the_branches_of_an_event_in_the_order_of_the_steps():
    async def slow(body):
        return body + "a"

    with joined(Merge(), left=slow).to_mock_server() as server:
        assert [server.test(body=text, content_type="text/plain") for text in "xy"] == [["xa", "xb"], ["ya", "yb"]]
        server.wait_for_completion(10)
        assert server.engine.gate.inside == 0


def test_filtered_branch_fails_the_join_at_once_and_names_the_missing_step():
    with joined(Merge(), left=Filter(lambda body: body != "x")).to_mock_server(clock=FakeClock()) as server:
        with pytest.raises(RequestFailed, match=r"\(504\).*'join'.*nothing came from a"):
            server.test(body="x", content_type="text/plain")
        assert server.test(body="y", content_type="text/plain") == ["y", "yb"]
        assert [hold.step.open_joins for hold in server.engine.holds] == [0]


def test_filtered_branch_of_a_partial_join_leaves_the_rest():
    with joined(Merge(on_missing="partial"), left=Filter(lambda body: False)).to_mock_server() as server:
        assert server.test(body="x", content_type="text/plain") == ["xb"]


def test_failed_branch_answers_with_its_own_error_and_not_with_the_joins():
    with joined(Merge(), left=lambda body: 1 / 0).to_mock_server() as server:
        with pytest.raises(RequestFailed, match=r"\(500\).*'a'.*ZeroDivisionError"):
            server.test(body="x")
        server.wait_for_completion(10)
        assert (server.errors, server.engine.gate.inside) == ([], 0)


def test_join_that_takes_too_long_fails_with_504_and_keeps_nothing():
    clock, never = FakeClock(), threading.Event()
    function = joined(Merge(timeout_seconds=5), left=Map(lambda body: never.wait(10), long_running=True))
    with function.to_mock_server(clock=clock) as server:
        caller = threading.Thread(target=lambda: failures.append(server.test(body="x", silent=True)))
        failures = []
        caller.start()
        clock.wait_for_timers()
        clock.advance(5)
        caller.join(10)
        assert failures[0].status_code == 504
        assert b"nothing came from a; 5 s are over" in failures[0].body
        assert [hold.step.open_joins for hold in server.engine.holds] == [0]
        never.set()


def keyed(**settings):
    function, graph = flow()
    graph.to(Choice(lambda body: body["to"]), "choose")
    graph.add_step(name="left", handler="(event)", after="choose")
    graph.add_step(name="right", handler="(event)", after="choose")
    graph.add_step(Merge(key_path="user.id", **settings), "join", after=["left", "right"]).respond()
    return function


def ask(server, answers, to, user):
    body = {"to": to, "user": {"id": user}}
    caller = threading.Thread(target=lambda: answers.append(server.test(body=body, silent=True)), daemon=True)
    caller.start()
    return caller


def wait_for_joins(server, count):
    deadline = time.monotonic() + 10
    while server.engine.holds[0].step.open_joins < count and time.monotonic() < deadline:
        time.sleep(0.001)


def test_merge_by_key_joins_two_events_and_answers_both():
    answers = []
    with keyed().to_mock_server() as server:
        callers = [ask(server, answers, "right", 1), ask(server, answers, "left", 1)]
        for caller in callers:
            caller.join(10)
        assert [[part["to"] for part in answer] for answer in answers] == [["left", "right"]] * 2
        assert server.engine.gate.inside == 0


@pytest.mark.parametrize("body", [{"to": "left"}, {"to": "left", "user": 5}, {"to": "left", "user": {"name": "x"}}])
def test_body_without_the_key_of_a_merge_is_refused_by_the_name_of_what_is_missing(body):
    with keyed().to_mock_server() as server, pytest.raises(RequestFailed, match=r"422.*no '(user|id)' on its key_path"):
        server.test(body=body)


def test_second_part_from_the_same_step_waits_for_the_next_join_of_its_key():
    answers = []
    with keyed().to_mock_server() as server:
        first = [ask(server, answers, "left", 1), ask(server, answers, "left", 1)]
        wait_for_joins(server, 2)
        second = [ask(server, answers, "right", 1), ask(server, answers, "right", 1)]
        for caller in first + second:
            caller.join(10)
        assert [[part["to"] for part in answer] for answer in answers] == [["left", "right"]] * 4


def test_incomplete_joins_beyond_max_behind_fail_oldest_first():
    answers = []
    with keyed(max_behind=2).to_mock_server(clock=FakeClock()) as server:
        callers = []
        for user in range(7):
            callers.append(ask(server, answers, "left", user))
            wait_for_joins(server, min(user + 1, 2))
            if user >= 2:
                while len(answers) < user - 1:
                    time.sleep(0.001)
        assert [answer.status_code for answer in answers] == [504] * 5
        assert b"could not join 0: nothing came from right; more than 2 younger joins are open" in answers[0].body
        assert server.engine.holds[0].step.open_joins == 2


def test_wait_for_completion_fails_the_joins_that_are_left():
    answers = []
    with keyed().to_mock_server() as server:
        caller = ask(server, answers, "left", 1)
        wait_for_joins(server, 1)
        server.wait_for_completion(10)
        caller.join(10)
        assert (answers[0].status_code, server.engine.gate.inside) == (504, 0)


def test_hundred_concurrent_events_are_all_joined():
    import asyncio

    async def slow(body):
        await asyncio.sleep(0.001)
        return body

    async def ask_all(server):
        return await asyncio.gather(*(server.atest(body=n) for n in range(1, 201)))

    with joined(Merge(), left=slow, right="(event)").to_mock_server() as server:
        assert asyncio.run(ask_all(server)) == [[n, n] for n in range(1, 201)]


def test_first_of_two_joins_lets_go_and_the_second_one_gets_its_part():
    function, graph = flow()
    graph.to(name="start", handler="(event)")
    graph.add_step(name="early", handler="('early')", after="start")
    graph.add_step(Filter(lambda body: False), "never", after="start")
    graph.add_step(name="here", handler="('here')", after="start")
    graph.add_step(Merge(on_missing="partial"), "first", after=["never", "here"])
    graph.add_step(Merge(), "second", after=["early", "first"]).respond()
    with function.to_mock_server() as server:
        assert server.test(body="x") == ["early", ["here"]]


def test_join_of_a_flow_in_a_router_knows_of_its_filtered_branch():
    function = millrace.new_function("routes", kind="serving")
    router = function.set_topology("router")
    inner = millrace.serving.FlowStep(name="inner")
    inner.to(name="start", handler="(event)")
    inner.add_step(Filter(lambda body: False), "never", after="start")
    inner.add_step(name="here", handler="(event)", after="start")
    inner.add_step(Merge(), "join", after=["never", "here"]).respond()
    router.add_route("inner", inner)
    with function.to_mock_server(clock=FakeClock()) as server:
        assert server.test("/v2/models/inner/infer", {"inputs": [1]}, silent=True).status_code == 504


class Broken(Merge):
    def merge_function(self, parts):
        raise LookupError("no way to merge")


def test_merge_function_that_breaks_answers_every_caller():
    answers = []
    function, graph = flow()
    graph.to(Choice(lambda body: body["to"]), "choose")
    graph.add_step(name="left", handler="(event)", after="choose")
    graph.add_step(name="right", handler="(event)", after="choose")
    graph.add_step(Broken(key_path="user.id"), "join", after=["left", "right"]).respond()
    with function.to_mock_server() as server:
        for caller in [ask(server, answers, "left", 1), ask(server, answers, "right", 1)]:
            caller.join(10)
        assert [answer.status_code for answer in answers] == [500, 500]
        assert b"'join' of graph 'branches' failed: LookupError: no way to merge" in answers[0].body


def test_select_outlets_sends_an_event_to_the_steps_it_names():
    seen = []
    function, graph = flow()
    graph.to(Choice(lambda body: body), "choose")
    for name in "abc":
        graph.add_step(name=name, handler=lambda body, name=name: seen.append(name), after="choose")
    with function.to_mock_server() as server:
        for names in ("a", ["b", "c"], [], None):
            server.emit(names)
    assert sorted(seen) == ["a", "a", "b", "b", "c", "c"]


def test_select_outlets_naming_an_unknown_step_is_an_error_that_lists_the_steps():
    function, graph = flow()
    graph.to(Choice(lambda body: "smal"), "choose")
    graph.add_step(name="small", handler="(1)", after="choose").respond()
    graph.add_step(name="large", handler="(2)", after="choose")
    wrong = pytest.raises(RequestFailed, match=r"'choose'.*'smal'.*small, large.*did you mean 'small'")
    with function.to_mock_server() as server, wrong:
        server.test(body=1)


def test_async_select_outlets_is_refused_when_the_graph_is_compiled():
    async def choose(body):
        return "a"

    function, graph = flow()
    graph.to(Choice(choose), "choose")
    graph["choose"].class_name.select_outlets = choose
    graph.add_step(name="a", handler="(1)", after="choose").respond()
    with pytest.raises(millrace.errors.GraphError, match=r"'choose': select_outlets can not be async"):
        function.to_mock_server()


def test_items_of_a_flat_map_are_copied_for_a_second_branch():
    seen = []
    function, graph = flow()
    graph.to(millrace.steps.Flatten(), "items")
    graph.add_step(name="change", handler=lambda body: body.append("changed"), after="items")
    graph.add_step(name="see", handler=seen.append, after="items")
    with function.to_mock_server() as server:
        server.emit([[1], [2]])
        server.wait_for_completion(10)
    assert seen == [[1], [2]]


@pytest.mark.parametrize("responds", [False, True])
def test_plain_branch_does_not_wait_for_what_a_slow_one_waits_for(responds):
    release, seen = asyncio.Event(), threading.Event()

    async def slow(body):
        await release.wait()
        return body

    function, graph = flow()
    graph.to(name="first", handler="(event)")
    step = graph.add_step(name="slow", handler=slow, after="first")
    if responds:
        step.respond()
    graph.add_step(name="plain", handler=lambda body: seen.set(), after="first")
    with function.to_mock_server() as server:
        asked = threading.Thread(target=server.test, kwargs={"body": 1})
        asked.start()
        came = seen.wait(10)
        server.engine.thread.loop.call_soon_threadsafe(release.set)
        asked.join(10)
    assert came


def test_a_merge_object_joins_for_each_server_by_itself():
    function = millrace.new_function("f", kind="serving")
    graph, merge = function.set_topology("flow", engine="async"), Merge(key_path="user")
    for name in ("left", "right"):
        graph.add_step(name=name, handler="(event)", after="")
    graph.add_step(merge, name="both", after=["left", "right"]).respond()
    body = {"user": 1}
    with function.to_mock_server() as one, function.to_mock_server() as other:
        assert (one.test(body=body), other.test(body=body)) == ([body, body], [body, body])
        assert one.engine.holds[0].step is not other.engine.holds[0].step
    assert (merge.open_joins, merge.flush()) == (0, [])
