"""A million events (``SOAK=short``: 50,000) leave nothing behind. Run with ``make soak``."""

import gc
import os
import tracemalloc

import pytest

import millrace

EVENTS = 50_000 if os.environ.get("SOAK") == "short" else 1_000_000


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_memory_does_not_grow_over_a_million_events(kind):
    async def step(body):
        return body

    function = millrace.new_function("soak", kind="serving")
    graph = function.set_topology("flow", engine="async")
    last = step if kind == "async" else "(event)"
    graph.to(name="add", handler="(event + 1)").to(name="last", handler=last).respond()
    with function.to_mock_server() as server:
        for number in range(20_000):
            server.test(body=number)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(EVENTS):
            assert server.test(body=number) == number + 1
        server.wait_for_completion(60)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert (grown < 100_000, server.engine.gate.inside) == (True, 0)
