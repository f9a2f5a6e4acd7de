"""Many events at a time: how many are inside, in which order, from which threads and loops."""

import asyncio
import threading
import time
from collections import Counter

import pytest

import millrace
from millrace.errors import RequestFailed


def flow(engine="async", **settings):
    function = millrace.new_function("many", kind="serving")
    return function, function.set_topology("flow", engine=engine, **settings)


async def ask_all(server, bodies):
    return await asyncio.gather(*(server.atest(body=body) for body in bodies))


class Meeting:
    """An async step that lets nobody go before so many are inside."""

    def __init__(self, size):
        self.size, self.inside, self.most = size, 0, 0

    async def do(self, body):
        self.inside += 1
        self.most = max(self.most, self.inside)
        while self.most < self.size:
            await asyncio.sleep(0)
        self.inside -= 1
        return body


def test_twenty_events_are_inside_an_async_step_at_once():
    meeting = Meeting(20)
    function, graph = flow()
    graph.to(meeting, "meet").respond()
    with function.to_mock_server() as server:
        assert asyncio.run(ask_all(server, range(1, 21))) == list(range(1, 21))
    assert meeting.most == 20


@pytest.mark.parametrize("threads", [False, True])
def test_max_in_flight_of_a_step_bounds_the_events_inside(threads):
    lock, inside, most = threading.Lock(), [0], [0]

    def enter():
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])

    async def on_loop(body):
        enter()
        await asyncio.sleep(0)
        inside[0] -= 1
        return body

    def in_thread(body):
        enter()
        with lock:
            inside[0] -= 1
        return body

    function, graph = flow()
    execution = {"execution": "thread"} if threads else {}
    graph.to(name="narrow", handler=in_thread if threads else on_loop, max_in_flight=3, **execution).respond()
    with function.to_mock_server() as server:
        assert asyncio.run(ask_all(server, range(1, 51))) == list(range(1, 51))
    assert most[0] <= 3 if threads else most[0] == 3


def test_max_in_flight_of_the_graph_bounds_it_and_callers_wait():
    meeting, release = Counter(), threading.Event()

    async def hold(body):
        meeting["inside"] += 1
        meeting["most"] = max(meeting["most"], meeting["inside"])
        while not release.is_set():
            await asyncio.sleep(0.001)
        meeting["inside"] -= 1
        return body

    function, graph = flow(max_in_flight=2)
    graph.to(name="hold", handler=hold).respond()
    with function.to_mock_server() as server:
        callers = [threading.Thread(target=server.test, kwargs={"body": n}) for n in range(1, 7)]
        for caller in callers:
            caller.start()
        while server.engine.gate.waiting < 4 or meeting["inside"] < 2:
            time.sleep(0.001)
        assert server.engine.gate.inside == 2
        release.set()
        for caller in callers:
            caller.join(10)
        assert (meeting["most"], server.engine.gate.waiting) == (2, 0)


def test_max_in_flight_bounds_plain_graphs_too():
    function, graph = flow(max_in_flight=1)
    graph.to(name="one", handler="(event + 1)").respond()
    with function.to_mock_server() as server:
        assert asyncio.run(ask_all(server, range(1, 20))) == list(range(2, 21))


@pytest.mark.parametrize("kind", ["inline", "async", "thread"])
def test_eight_threads_get_their_own_500_answers(kind):
    async def double_async(body):
        return body * 2

    function, graph = flow()
    handler = double_async if kind == "async" else lambda body: body * 2
    graph.to(name="a", handler="(event + 1)").to(
        name="b", handler=handler, **({"execution": "thread"} if kind == "thread" else {})
    ).respond()
    wrong = []
    count = 100 if kind == "thread" else 500

    def ask(start):
        wrong.extend(n for n in range(start, start + count) if server.test(body=n) != (n + 1) * 2)

    with function.to_mock_server() as server:
        callers = [threading.Thread(target=ask, args=(1 + 10_000 * n,)) for n in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert wrong == []


def test_events_reach_the_steps_in_the_order_in_which_they_were_sent():
    seen = []

    async def step(body):
        return body

    function, graph = flow()
    graph.to(name="a", handler=step).to(name="b", handler=step).to(name="see", handler=seen.append)
    with function.to_mock_server() as server:
        for number in range(1, 501):
            server.test(body=number)
    assert seen == list(range(1, 501))


@pytest.mark.parametrize("is_async", [False, True])
def test_test_works_inside_a_running_loop_as_in_a_notebook(is_async):
    async def step(body):
        return body + 1

    async def cell(server):
        return server.test(body=1), await server.atest(body=2)

    function, graph = flow()
    graph.to(name="step", handler=step if is_async else "(event + 1)").respond()
    with function.to_mock_server() as server:
        assert asyncio.run(cell(server)) == (2, 3)
        assert asyncio.run(cell(server)) == (2, 3)


def test_plain_graph_is_run_in_the_callers_thread():
    function, graph = flow()
    graph.to(name="where", handler=lambda body: threading.get_ident()).respond()
    assert function.to_mock_server().test() == threading.get_ident()


def test_step_of_a_plain_graph_may_call_its_own_server():
    function, graph = flow()
    graph.to(name="down", handler=lambda body: body and server.test(body=body - 1)).respond()
    server = function.to_mock_server()
    assert server.test(body=5) == 0


def test_async_step_may_await_its_own_server():
    async def down(body):
        return body and await server.atest(body=body - 1)

    function, graph = flow()
    graph.to(name="down", handler=down).respond()
    with function.to_mock_server() as server:
        assert server.test(body=5) == 0


def test_thread_step_may_call_its_own_server():
    function, graph = flow()
    graph.to(name="down", handler=lambda body: body and server.test(body=body - 1), execution="thread").respond()
    with function.to_mock_server() as server:
        assert server.test(body=5) == 0


@pytest.mark.parametrize("call", ["test", "wait_for_completion"])
def test_step_that_would_block_the_loop_for_its_own_server_gets_an_error(call):
    async def blocks(body):
        return getattr(server, call)()

    function, graph = flow()
    graph.to(name="blocks", handler=blocks).respond()
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=r"can not block for"):
        server.test(body=1)


def test_slow_thread_step_does_not_block_other_events():
    release = threading.Event()

    def maybe_wait(body):
        return body if body == "quick" else release.wait(10)

    function, graph = flow()
    graph.to(name="step", handler=maybe_wait, execution="thread").respond()
    with function.to_mock_server() as server:
        slow = threading.Thread(target=server.test, kwargs={"body": "slow"})
        slow.start()
        assert server.test(body="quick") == "quick"
        assert slow.is_alive()
        release.set()
        slow.join(10)


def test_plain_branches_run_concurrently_where_they_wait():
    meeting = Meeting(2)
    function, graph = flow()
    graph.to(name="start", handler="(event)")
    graph.add_step(meeting, "left", after="start")
    graph.add_step(name="right", handler=meeting.do, after="start")
    with function.to_mock_server() as server:
        server.test(body=1)
        server.wait_for_completion(10)
    assert meeting.most == 2
