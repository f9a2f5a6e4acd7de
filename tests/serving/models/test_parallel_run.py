"""ParallelRun: every route gets the event at the same time, and their results become one."""

import asyncio
import threading
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import millrace
from millrace.errors import BadStepArguments
from millrace.serving import ParallelRun


def served(routes: dict[str, Any], class_name: Any = "millrace.serving.ParallelRun", **arguments: Any) -> Any:
    """ParallelRun over handlers by name."""
    function = millrace.new_function("parallel", kind="serving")
    router = function.set_topology("router", class_name, **arguments)
    for name, handler in routes.items():
        router.add_route(name, handler=handler)
    return function.to_mock_server()


FIELDS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=4)


@settings(max_examples=30, deadline=None)
@given(st.lists(FIELDS, min_size=1, max_size=3), FIELDS, st.booleans(), st.sampled_from(["thread", "array"]))
def test_results_are_merged_as_dicts_are_updated(results, request_body, extend, executor):
    expected = dict(request_body) if extend else {}
    for result in results:
        expected.update(result)
    request_body.pop("data_url", None)
    routes = {f"r{i}": lambda body, result=result: result for i, result in enumerate(results)}
    with served(routes, extend_event=extend, executor_type=executor) as server:
        assert server.test("/", request_body, method="POST") == expected


@pytest.mark.parametrize("is_async", [False, True])
def test_all_routes_run_at_the_same_time(is_async):
    barrier = threading.Barrier(3)

    def meet(body):
        barrier.wait(20)
        return {}

    arrived = []

    async def meet_later(body):
        arrived.append(body)
        while len(arrived) < 3:
            await asyncio.sleep(0)
        return {}

    handler = meet_later if is_async else meet
    with served({"a": handler, "b": handler, "c": handler}) as server:
        assert server.test("/", {"x": 1}) == {}


def test_each_route_has_a_body_of_its_own():
    def spoil(body):
        body["rows"].append("spoilt")
        return {str(len(body["rows"])): True}

    with served({"a": spoil, "b": spoil, "c": spoil}, extend_event=True) as server:
        assert server.test("/", {"rows": [1]}) == {"rows": [1], "2": True}


def fails(body: Any) -> Any:
    raise LookupError("gone")


def test_a_route_that_fails_fails_the_event_and_is_named():
    with served({"good": lambda body: {"a": 1}, "bad": fails}) as server:
        response = server.test("/", {}, method="POST", silent=True)
        assert response.status_code == 500
        assert "step 'router/bad' of graph 'parallel' failed: LookupError: gone" in orjson.loads(response.body)["error"]


def test_a_quorum_lets_routes_fail():
    with served({"good": lambda body: {"a": 1}, "bad": fails}, quorum=1) as server:
        assert server.test("/", {"x": 1}) == {"a": 1}
    with served({"good": lambda body: {"a": 1}, "bad": fails, "worse": fails}, quorum=2) as server:
        assert server.test("/", {"x": 1}, silent=True).status_code == 500


def test_a_status_that_a_route_chooses_is_the_answers():
    def refuse(body):
        raise millrace.errors.Conflict("taken")

    with served({"good": lambda body: {}, "bad": refuse}) as server:
        assert server.test("/", {"x": 1}, silent=True).status_code == 409


def test_a_result_that_does_not_merge_is_named():
    with served({"a": lambda body: [1]}) as server:
        response = server.test("/", {"x": 1}, silent=True)
        assert (response.status_code, b"route 'a' gave a list" in response.body) == (500, True)


@pytest.mark.parametrize("is_async", [False, True])
def test_the_merger_may_be_another(is_async):
    class Listed(ParallelRun):
        def merger(self, body, results):
            return [results[name] for name in sorted(results)]

    class ListedLater(Listed):
        async def merger(self, body, results):
            return super().merger(body, results)

    with served({"b": lambda body: 2, "a": lambda body: 1}, ListedLater if is_async else Listed) as server:
        assert server.test("/", {"x": 1}) == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"executor_type": "process"}, "execution='process'"), ({"executor_type": "fork"}, "thread, array"),
     ({"quorum": 0}, "from 1 to"), ({"quorum": 3}, "from 1 to"), ({"quorum": True}, "from 1 to")],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(arguments, text):
    with pytest.raises(BadStepArguments, match=text):
        served({"a": lambda body: {}, "b": lambda body: {}}, **arguments)


def test_it_is_a_step_of_a_flow():
    function = millrace.new_function("flow", kind="serving")
    graph = function.set_topology("flow", engine="async")
    router = graph.to("*ParallelRun", name="all", extend_event=True)
    router.to(name="total", handler=lambda body: sum(body.values())).respond()
    router.add_route("double", handler=lambda body: {"double": body["x"] * 2})
    router.add_route("triple", handler=lambda body: {"triple": body["x"] * 3})
    with function.to_mock_server() as server:
        assert server.test("/", {"x": 5}) == 5 + 10 + 15


@pytest.mark.parametrize("router", ["*ParallelRun", "*VotingEnsemble"])
def test_a_router_that_asks_in_threads_is_a_step_of_the_sync_engine(router):
    function = millrace.new_function("parallel", kind="serving")
    graph = function.set_topology("flow", engine="sync")
    step = graph.to(name="first", handler="(event)").to(router, name="router")
    for name in ("a", "b"):
        step.add_route(name, handler="({'outputs': [1]})")
    function.validate()
    with function.to_mock_server() as server:
        assert server.test("/", {"inputs": [5]})["outputs"] == [1]
