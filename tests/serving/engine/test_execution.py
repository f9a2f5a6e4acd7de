"""Where steps run, how long, and how often: threads, processes, time limits, retries."""

import asyncio
import contextlib
import gc
import os
import threading
import time
import warnings
from pathlib import Path

import pytest

import millrace
from millrace.errors import GraphError, InvalidInput, RequestFailed, TooManyRequests
from millrace.serving import FakeClock, StepOptions


def flow(engine="async", **settings):
    function = millrace.new_function("execution", kind="serving")
    return function, function.set_topology("flow", engine=engine, **settings)


def until(is_true, *, seconds=10):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_thread_step_runs_in_another_thread_and_an_inline_step_does_not():
    function, graph = flow()
    graph.to(name="inline", handler=lambda body: [threading.get_ident()]).to(
        name="thread", handler=lambda body: [*body, threading.get_ident()], execution="thread"
    ).respond()
    with function.to_mock_server() as server:
        inline, thread = server.test(body=1)
        assert len({inline, thread, threading.get_ident()}) == 3


def test_process_step_runs_in_another_process():
    function, graph = flow()
    graph.to(name="pid", handler=lambda body: os.getpid(), execution="process").respond()
    with function.to_mock_server() as server:
        assert server.test(body=1) != os.getpid()


def test_object_in_a_process_keeps_its_state_between_events():
    class Counter:
        def __init__(self, start):
            self.count = start

        def do(self, body):
            self.count += body
            return self.count

    function, graph = flow()
    graph.to(Counter, "count", start=10, execution="process", max_in_flight=1).respond()
    with function.to_mock_server() as server:
        assert [server.test(body=1), server.test(body=2)] == [11, 13]


@pytest.mark.parametrize(("how", "reason"), [("exit", "exit code 3"), ("kill", "signal 9")])
def test_process_that_dies_fails_its_event_and_the_next_one_is_served(how, reason):
    function, graph = flow()

    def step(body):
        import os
        import signal

        if body == "exit":
            os._exit(3)
        if body == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return body

    graph.to(name="risky", handler=step, execution="process").respond()
    with function.to_mock_server() as server:
        assert server.test(body="fine") == "fine"
        with pytest.raises(RequestFailed, match=rf"\(500\).*step 'risky': its worker process died \({reason}\)"):
            server.test(body=how)
        assert server.test(body="fine") == "fine"


def test_error_in_a_process_keeps_its_type_and_status():
    function, graph = flow()

    def step(body):
        from millrace.errors import InvalidInput

        raise InvalidInput("not this") if body == "ours" else ZeroDivisionError("theirs")

    graph.to(name="step", handler=step, execution="process").respond()
    with function.to_mock_server() as server:
        assert server.test(body="ours", silent=True).status_code == 422
        with pytest.raises(RequestFailed, match=r"'step'.*ZeroDivisionError: theirs") as failed:
            server.test(body="other")
        assert isinstance(failed.value.__cause__, ZeroDivisionError)


def test_object_that_does_not_pickle_is_refused_when_the_graph_is_compiled():
    class Locked:
        def __init__(self):
            self.lock = threading.Lock()

        def do(self, body):
            return body

    function, graph = flow()
    graph.to(Locked(), "locked", execution="process").respond()
    with pytest.raises(GraphError, match=r"'locked' can not run with execution='process'.*pickle"):
        function.to_mock_server()


@pytest.mark.parametrize("which", ["body", "result"])
def test_what_does_not_pickle_on_its_way_fails_the_event_only(which):
    function, graph = flow()
    graph.to(name="lock", handler=lambda body: threading.Lock() if body == "body" else body)
    graph["lock"].to(
        name="step", handler=lambda body: __import__("threading").Lock() if body == "result" else body,
        execution="process", max_in_flight=1,
    ).respond()  # fmt: skip
    with function.to_mock_server() as server:
        pid = server.test(body="fine")
        with pytest.raises(RequestFailed, match=r"'step'.*can not (be sent to|leave) the step's process"):
            server.test(body=which)
        assert server.test(body="fine") == pid


def test_class_that_can_not_be_made_in_its_process_is_refused_when_the_graph_is_compiled():
    class Broken:
        def __init__(self):
            raise LookupError("no weights")

        def do(self, body):
            return body

    function, graph = flow()
    graph.to(Broken, "broken", execution="process").respond()
    with pytest.raises(GraphError, match=r"'broken'.*LookupError: no weights"):
        function.to_mock_server()


def test_async_step_can_not_be_moved():
    async def step(body):
        return body

    for execution in ("thread", "process"):
        function, graph = flow()
        graph.to(name="step", handler=step, execution=execution).respond()
        with pytest.raises(GraphError, match=r"'step'.*plain functions"):
            function.to_mock_server()


NEVER = {
    "plain": lambda body: body if body == "quick" else threading.Event().wait(30),
    "process": lambda body: body if body == "quick" else __import__("time").sleep(30),
}


@pytest.mark.parametrize("kind", ["plain", "thread", "async", "process"])
def test_step_that_never_returns_answers_504_and_the_next_request_is_served(kind):
    async def never(body):
        import asyncio

        return body if body == "quick" else await asyncio.sleep(30)

    options = {"execution": kind} if kind in ("thread", "process") else {}
    function, graph = flow()
    handler = never if kind == "async" else NEVER.get(kind, NEVER["plain"])
    graph.to(name="never", handler=handler, timeout_seconds=0.5, max_in_flight=1, **options).respond()
    with function.to_mock_server() as server:
        with pytest.raises(RequestFailed, match=r"\(504\): step 'never' took longer than 0.5 s"):
            server.test(body="slow")
        assert server.test(body="quick") == "quick"


def test_step_that_swallows_its_cancelling_answers_504_in_time_and_the_log_names_it_once(caplog, monkeypatch):
    monkeypatch.setattr("millrace.serving.engine.timeout.GRACE_SECONDS", 0)
    gate, ends = threading.Event(), []

    async def stubborn(body):
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        ends.append(body)

    function, graph = flow()
    graph.to(name="stubborn", handler=stubborn, timeout_seconds=0.05).respond()
    with function.to_mock_server() as server:
        assert [server.test(body=n, silent=True).status_code for n in range(2)] == [504, 504] and not ends
        gate.set()
        until(lambda: sorted(ends) == [0, 1])
    assert caplog.text.count("step 'stubborn' goes on after its time") == 1


def test_time_limit_ends_an_async_step_that_lets_itself_be_cancelled():
    ended = threading.Event()

    async def tidy(body):
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    function, graph = flow()
    graph.to(name="tidy", handler=tidy, timeout_seconds=0.05).respond()
    with function.to_mock_server() as server:
        assert server.test(body=1, silent=True).status_code == 504
        assert ended.wait(10)


def test_async_step_with_a_time_limit_may_raise_what_would_end_the_program():
    async def leaves(body):
        raise SystemExit(3)

    function, graph = flow()
    graph.to(name="leaves", handler=leaves, timeout_seconds=10).respond()
    with function.to_mock_server() as server:
        assert [server.test(body=1, silent=True).status_code for _ in range(2)] == [500, 500]


def test_start_of_a_new_process_is_not_on_the_time_of_the_next_event():
    class Slow:
        def __init__(self):
            import time

            time.sleep(0.6)  # longer than the time limit, as loading a model may be

        def do(self, body):
            import time

            return time.sleep(30) if body == "never" else body

    function, graph = flow()
    graph.to(Slow, "slow", execution="process", timeout_seconds=0.4, max_in_flight=1).respond()
    with function.to_mock_server() as server:
        assert server.test(body="never", silent=True).status_code == 504
        assert server.test(body="quick") == "quick"


def test_timeout_of_the_step_itself_is_not_taken_for_the_engines():
    async def step(body):
        raise TimeoutError("the database")

    function, graph = flow()
    graph.to(name="step", handler=step, timeout_seconds=10).respond()
    text = r"\(500\).*TimeoutError: the database"
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=text):
        server.test(body=1)


class Flaky:
    """Fails so many times, then works."""

    def __init__(self, failures, error=LookupError):
        self.left, self.error, self.tries = failures, error, 0

    def do(self, body):
        self.tries += 1
        if self.left > 0:
            self.left -= 1
            raise self.error("not yet")
        return self.tries


def test_step_is_tried_again_with_growing_pauses_on_the_clock():
    clock, flaky, answers = FakeClock(), Flaky(3), []
    function, graph = flow()
    graph.to(flaky, "flaky", retries=3, backoff_seconds=1).respond()
    with function.to_mock_server(clock=clock) as server:
        caller = threading.Thread(target=lambda: answers.append(server.test(body=1)))
        caller.start()
        for tries, longest in ((1, 1), (2, 2), (3, 4)):
            clock.wait_for_timers()
            assert flaky.tries == tries
            clock.advance(longest / 2 - 0.01)
            assert clock.pending == 1  # the pause is at least half of the longest
            clock.advance(longest / 2 + 0.02)
        caller.join(10)
    assert answers == [4]


def test_last_error_is_the_answer_when_all_tries_fail():
    flaky = Flaky(99)
    function, graph = flow()
    graph.to(flaky, "flaky", retries=2, backoff_seconds=0).respond()
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=r"'flaky'.*not yet"):
        server.test(body=1)
    assert flaky.tries == 3


@pytest.mark.parametrize(("error", "tries"), [(InvalidInput, 1), (TooManyRequests, 3), (OSError, 3)])
def test_requests_own_faults_are_not_tried_again(error, tries):
    flaky = Flaky(99, error)
    function, graph = flow()
    graph.to(flaky, "flaky", retries=2, backoff_seconds=0).respond()
    with function.to_mock_server() as server:
        server.test(body=1, silent=True)
    assert flaky.tries == tries


def test_retries_zero_is_one_try():
    flaky = Flaky(99)
    function, graph = flow()
    graph.to(flaky, "flaky", retries=0).respond()
    function.to_mock_server().test(body=1, silent=True)
    assert flaky.tries == 1


def test_catcher_runs_once_all_tries_have_failed():
    flaky = Flaky(99)
    function, graph = flow()
    graph.to(flaky, "flaky", options=StepOptions(retries=1, backoff_seconds=0)).respond().error_handler(
        name="catch", handler="('caught')"
    )
    with function.to_mock_server() as server:
        assert server.test(body=1) == "caught"
    assert flaky.tries == 2


def test_filter_in_a_thread_filters():
    function, graph = flow()
    graph.to(millrace.steps.Filter(lambda body: body > 1), "large", execution="thread").respond()
    with function.to_mock_server() as server:
        assert [server.test(body=1), server.test(body=2)] == [None, 2]


def test_flat_map_in_a_thread_spreads():
    seen = []
    function, graph = flow()
    graph.to(millrace.steps.FlatMap(range, long_running=True), "items").to(
        name="see", handler=seen.append
    )
    with function.to_mock_server() as server:
        server.test(body=3)
    assert sorted(seen) == [0, 1, 2]


@pytest.mark.parametrize("execution", ["thread", "process"])
def test_items_of_a_flat_map_are_made_where_its_function_runs(execution):
    here = threading.get_ident() if execution == "thread" else os.getpid()
    seen = []

    def items(body):
        import os
        import threading

        for _ in range(body):
            yield [os.getpid(), threading.get_ident()]

    function, graph = flow()
    graph.to(millrace.steps.FlatMap(items), "items", execution=execution).to(name="see", handler=seen.append)
    with function.to_mock_server() as server:
        server.test(body=3)
        loop = server.engine.thread.call(on_loop())
        server.wait_for_completion(10)
    assert len(seen) == 3
    assert not any({here, loop} & set(place) for place in seen)


async def on_loop():
    return threading.get_ident()


@pytest.mark.parametrize("execution", ["thread", "process"])
def test_moved_step_that_raises_system_exit_fails_its_event_only(execution):
    function, graph = flow()
    graph.to(
        name="leave", handler=lambda body: __import__("sys").exit(4) if body == "x" else body, execution=execution
    ).respond()
    with function.to_mock_server() as server:
        with pytest.raises(RequestFailed, match=r"\(500\).*'leave'.*(SystemExit: 4|exit code 4)"):
            server.test(body="x")
        assert server.test(body="y") == "y"


def test_thread_step_sees_the_context_variables_of_its_event():
    import contextvars

    name = contextvars.ContextVar("name", default="nobody")

    async def set_name(body):
        name.set(body)
        return body

    function, graph = flow()
    graph.to(name="set", handler=set_name).to(name="get", handler=lambda _: name.get(), execution="thread").respond()
    with function.to_mock_server() as server:
        assert [server.test(body="ann"), server.test(body="bob")] == ["ann", "bob"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc on this system")
def test_a_worker_that_died_while_idle_is_replaced_and_leaves_no_pipe():
    function, graph = flow()
    graph.to(name="pid", handler=lambda body: os.getpid(), execution="process", max_in_flight=1).respond()
    with function.to_mock_server() as server:
        first, pipes = server.test(), len(os.listdir("/proc/self/fd"))
        os.kill(first, 9)
        until(lambda: Path(f"/proc/{first}/stat").read_text().split()[2] == "Z")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert server.test() != first
            gc.collect()
        assert ([str(one.message) for one in told], len(os.listdir("/proc/self/fd"))) == ([], pipes)


@pytest.mark.parametrize("is_async", [False, True])
def test_each_try_gets_the_body_that_the_event_came_with(is_async):
    seen = []

    def parse(event):
        seen.append(event.body)
        event.body = int(event.body)
        if len(seen) < 3:
            raise ConnectionError
        return event

    async def later(event):
        return parse(event)

    function, graph = flow()
    step = later if is_async else parse
    graph.to(step, "parse", full_event=True, retries=2, backoff_seconds=0, input_path="n", result_path="n").respond()
    with function.to_mock_server() as server:
        assert server.test(body={"n": "7"}) == {"n": 7}
    assert seen == ["7", "7", "7"]
