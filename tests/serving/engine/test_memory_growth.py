"""Memory: what an event leaves behind is nothing."""

import gc
import tracemalloc

import pytest

import millrace
from millrace.errors import InvalidInput
from millrace.steps import Batch, Filter, Merge

BOUND_BYTES = 20_000


def plain(graph):
    graph.to(name="a", handler="(event)").to(Filter(lambda body: body["n"] % 2), "odd").to(
        name="b", handler="(event)"
    ).respond()


def failing(graph):
    def fail(body):
        raise InvalidInput("no")

    graph.to(name="fail", handler=fail).respond()


def caught(graph):
    graph.to(name="fail", handler=lambda body: 1 / 0).respond().error_handler(name="catch", handler="(event)")


def looping(graph):
    async def step(body):
        return body

    graph.to(name="step", handler=step).respond().to(Filter(lambda body: False), "none").to(name="z", handler=step)


def joining(graph):
    async def step(body):
        return body

    graph.to(name="start", handler="(event)")
    graph.add_step(name="a", handler=step, after="start")
    graph.add_step(Filter(lambda body: body["n"] % 2), "b", after="start")
    graph.add_step(Merge(on_missing="partial"), "join", after=["a", "b"]).respond()
    graph.add_step(Batch(max_events=7), "batch", after="join")


@pytest.mark.parametrize(
    ("build", "events"), [(plain, 20_000), (failing, 5_000), (caught, 5_000), (looping, 5_000), (joining, 2_000)],
)  # fmt: skip
def test_memory_does_not_grow_with_the_events(build, events):
    function = millrace.new_function("memory", kind="serving")
    build(function.set_topology("flow", engine="async"))
    with function.to_mock_server() as server:

        def run():
            for number in range(events):
                server.test(body={"n": number, "text": "x" * 100}, silent=True)
            server.wait_for_completion(20)
            gc.collect()

        run()
        tracemalloc.start()
        try:
            run()
            before = tracemalloc.get_traced_memory()[0]
            run()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert grown < BOUND_BYTES
