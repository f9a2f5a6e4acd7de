"""Waiting, closing, cancelling, and programs that end without closing anything."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest

import millrace
from millrace.errors import Draining, RequestFailed
from millrace.serving import FakeClock
from millrace.steps import Batch, Merge


def flow(engine="async", **settings):
    function = millrace.new_function("life", kind="serving")
    return function, function.set_topology("flow", engine=engine, **settings)


async def add(body):
    return body + 1


def test_server_can_be_used_after_wait_for_completion():
    function, graph = flow()
    graph.to(name="add", handler=add).respond()
    with function.to_mock_server() as server:
        for number in range(1, 4):
            assert server.test(body=number) == number + 1
            server.wait_for_completion(10)


@pytest.mark.parametrize("handler", [add, "(event + 1)"], ids=["async", "plain"])
@pytest.mark.parametrize("call", ["test", "atest", "emit"])
def test_event_after_close_is_refused_with_a_clear_error(handler, call):
    function, graph = flow()
    graph.to(name="add", handler=handler).respond()
    server = function.to_mock_server()
    server.test(body=1)
    server.close()
    server.close()
    with pytest.raises(millrace.errors.MillraceError, match=r"the server is closed") as refused:
        asyncio.run(server.atest(body=1)) if call == "atest" else getattr(server, call)(body=1)
    assert refused.value.status == 503


@pytest.mark.parametrize("where", ["walking", "thread", "batch", "join", "gate"])
def test_callers_that_wait_when_the_server_is_closed_get_an_error(where):
    async def wait(body):
        await asyncio.sleep(1000)

    function, graph = flow(max_in_flight=1 if where == "gate" else None)
    if where == "batch":
        graph.to(Batch(max_events=99), "batch").respond()
    elif where == "join":
        graph.to(name="a", handler="(event)").to(Merge(key_path="k", expected_num_events=2), "join").respond()
    elif where == "thread":
        graph.to(name="wait", handler=lambda body: threading.Event().wait(30), execution="thread").respond()
    else:
        graph.to(name="wait", handler=wait).respond()
    server, answers = function.to_mock_server(), []
    callers = [threading.Thread(target=lambda: answers.append(server.test(body={"k": 1}, silent=True))) for _ in "ab"]
    if where == "join":
        callers.pop()
    for caller in callers:
        caller.start()
    while server.engine.alive + server.engine.gate.waiting < len(callers):
        time.sleep(0.001)
    server.close()
    for caller in callers:
        caller.join(10)
    assert [answer.status_code for answer in answers] == [503] * len(callers)


def test_events_that_were_accepted_are_done_before_a_server_that_is_closed_ends():
    done = []

    async def work(body):
        await asyncio.sleep(0.01)
        return body

    function, graph = flow()
    graph.to(name="work", handler=work).to(Batch(max_events=2), "batch").to(name="note", handler=done.append)
    server = function.to_mock_server()
    for body in range(3):
        server.test(body=body)
    server.close()
    assert done == [[0, 1], [2]]


def test_log_tells_how_many_accepted_events_are_given_up_when_a_server_is_closed(monkeypatch, caplog):
    monkeypatch.setattr("millrace.serving.doors.mock.END_SECONDS", 0.05)

    async def wait(body):
        await asyncio.sleep(1000)

    function, graph = flow()
    graph.to(name="wait", handler=wait)
    server = function.to_mock_server()
    server.test(body=1)
    server.close()
    assert "1 accepted events are given up" in caplog.text


def test_step_that_blocks_the_loop_does_not_keep_close_from_answering_the_others(monkeypatch):
    monkeypatch.setattr("millrace.serving.engine.loop.STOP_SECONDS", 0.2)
    monkeypatch.setattr("millrace.serving.doors.mock.END_SECONDS", 0.2)
    blocked, release = threading.Event(), threading.Event()

    async def block(body):
        blocked.set()
        release.wait(30)

    function, graph = flow()
    graph.to(Batch(max_events=2), "batch").to(name="block", handler=block).respond()
    server, answers = function.to_mock_server(), []
    callers = [threading.Thread(target=lambda: answers.append(server.test(body=1, silent=True))) for _ in "ab"]
    for caller in callers:
        caller.start()
    assert blocked.wait(10)
    server.close()
    for caller in callers:
        caller.join(10)
    release.set()
    assert [answer.status_code for answer in answers] == [503, 503]


def test_cancelled_caller_leaves_and_the_event_goes_on_to_its_end():
    release, ended = threading.Event(), threading.Event()

    async def slow(body):
        while not release.is_set():
            await asyncio.sleep(0.001)
        ended.set()

    async def give_up(server):
        task = asyncio.create_task(server.atest(body=1))
        while not server.engine.alive:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    function, graph = flow()
    graph.to(name="slow", handler=slow).respond()
    with function.to_mock_server() as server:
        asyncio.run(give_up(server))
        release.set()
        server.wait_for_completion(10)
        assert (ended.is_set(), server.engine.gate.inside) == (True, 0)


def test_callers_cancelled_while_they_wait_to_get_in_leave_their_places():
    release = threading.Event()

    async def slow(body):
        while not release.is_set():
            await asyncio.sleep(0.001)
        return body

    async def many(server):
        tasks = [asyncio.create_task(server.atest(body=n)) for n in range(1, 11)]
        while server.engine.gate.waiting < 9:
            await asyncio.sleep(0.001)
        for task in tasks[1:9]:
            task.cancel()
        release.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    function, graph = flow(max_in_flight=1)
    graph.to(name="slow", handler=slow).respond()
    with function.to_mock_server() as server:
        answers = asyncio.run(many(server))
        assert (answers[0], answers[9], server.engine.gate.waiting) == (1, 10, 0)
        server.wait_for_completion(10)
        assert server.engine.gate.inside == 0


def test_wait_for_completion_that_timed_out_leaves_nothing_behind():
    release = threading.Event()
    function, graph = flow()
    graph.to(name="answer", handler="(event)").respond().to(
        name="slow", handler=lambda body: release.wait(10), execution="thread"
    )
    with function.to_mock_server() as server:
        server.test(body=1)
        for _ in range(20):
            with pytest.raises(TimeoutError):
                server.wait_for_completion(0.001)

        async def tasks():
            await asyncio.sleep(0)
            return len(asyncio.all_tasks())

        assert server.engine.thread.call(tasks()) == 2  # the walk of the event, and this one
        release.set()


def test_no_task_is_left_on_the_loop_when_all_events_are_done():
    async def tasks():
        return len(asyncio.all_tasks())

    function, graph = flow()
    graph.to(name="add", handler=add).to(millrace.steps.FlatMap(lambda body: [body] * 3), "three").to(
        name="again", handler=add
    ).respond()
    with function.to_mock_server() as server:
        for _ in range(50):
            server.test(body=1)
        server.wait_for_completion(10)
        assert server.engine.thread.call(tasks()) == 1


def test_server_that_is_forgotten_ends_its_thread():
    function, graph = flow()
    graph.to(name="add", handler=add).respond()
    server = function.to_mock_server()
    assert server.test(body=1) == 2
    thread, forgotten = server.engine.thread._thread, weakref.ref(server)
    del server
    deadline = time.monotonic() + 10
    while thread.is_alive() and time.monotonic() < deadline:  # its loop may look at the last event at this moment
        gc.collect()
        thread.join(0.05)
    assert (forgotten(), thread.is_alive()) == (None, False)


def test_steps_close_what_they_opened_on_the_loop():
    closed = []

    class Connected:
        async def do(self, body):
            self.loop = asyncio.get_running_loop()
            return body

        async def aclose(self):
            closed.append(asyncio.get_running_loop() is self.loop)

    function, graph = flow()
    graph.to(Connected, "connected").respond()
    with function.to_mock_server() as server:
        server.test(body=1)
    assert closed == [True]


def test_drain_refuses_new_events_and_waits_for_those_inside():
    release, answers = threading.Event(), []

    async def slow(body):
        while not release.is_set():
            await asyncio.sleep(0.001)
        return body

    function, graph = flow()
    graph.to(name="slow", handler=slow).respond()
    with function.to_mock_server() as server:
        caller = threading.Thread(target=lambda: answers.append(server.test(body=1)))
        caller.start()
        while not server.engine.alive:
            time.sleep(0.001)
        drained = asyncio.run_coroutine_threadsafe(server.engine.drain(10), server.engine.thread.start())
        while not server.engine.draining:
            time.sleep(0.001)
        with pytest.raises(RequestFailed, match=r"\(503\): the server is stopping"):
            server.test(body=2)
        release.set()
        assert drained.result(10)
        caller.join(10)
        assert answers == [1]


def test_drain_that_takes_too_long_answers_with_draining():
    answers = []

    async def never(body):
        await asyncio.sleep(1000)

    function, graph = flow()
    graph.to(name="never", handler=never).respond()
    server = function.to_mock_server()
    caller = threading.Thread(target=lambda: answers.append(server.test(body=1, silent=True)))
    caller.start()
    while not server.engine.alive:
        time.sleep(0.001)
    assert not server.engine.thread.call(server.engine.drain(0.05))
    caller.join(10)
    server.close()
    assert (answers[0].status_code, answers[0].body) == (503, b'{"error":"%b"}' % str(Draining()).encode())


def test_graph_of_a_thousand_steps_runs():
    function, graph = flow()
    step = graph
    for number in range(1000):
        step = step.to(name=f"s{number}", handler="(event + 1)")
    step.respond()
    assert function.to_mock_server().test(body=0) == 1000


def test_graph_of_a_thousand_async_steps_runs():
    function, graph = flow()
    step = graph
    for number in range(1000):
        step = step.to(name=f"s{number}", handler=add)
    step.respond()
    with function.to_mock_server() as server:
        assert server.test(body=0) == 1000


@pytest.mark.parametrize("options", [{}, {"execution": "thread"}, {"execution": "process"}], ids=str)
def test_body_of_10_mb_goes_through(options):
    function, graph = flow()
    graph.to(name="size", handler=lambda body: [len(body), body], **options).respond()
    with function.to_mock_server() as server:
        body = b"x" * 10_000_000
        assert server.test(body=body, content_type="application/octet-stream") == [10_000_000, body]


PROGRAM = """
import asyncio, gc, threading, time
import millrace
from millrace.steps import Batch

def flow():
    function = millrace.new_function("f", kind="serving")
    return function, function.set_topology("flow", engine="async")

async def step(body):
    return body

def count(body):
    for number in range(body):
        yield number

async def long(body):
    await asyncio.to_thread(time.sleep, 0.05)
    await asyncio.to_thread(time.sleep, 0.05)

{code}
print("end")
"""

CASES = {
    "async": "f, g = flow(); g.to(name='a', handler=step).respond(); s = f.to_mock_server(); s.test(body=1)",
    "thread": "f, g = flow(); g.to(name='a', handler=len, execution='thread').respond(); s = f.to_mock_server();"
    "s.test(body=[1])",
    "process": "f, g = flow(); g.to(name='a', handler=len, execution='process').respond(); s = f.to_mock_server();"
    "s.test(body=[1])",
    "stream": "f, g = flow(); g.to(name='a', handler=count).respond(); s = f.to_mock_server();"
    "r = s.test(body=1000); next(r)",
    "batch": "f, g = flow(); g.to(Batch(max_events=9), 'b'); s = f.to_mock_server(); s.test(body=1)",
    "inside": "f, g = flow(); g.to(name='a', handler='(event)').respond().to(name='b', handler=long);"
    "s = f.to_mock_server(); s.test(body=1)",
    "never": "f, g = flow(); g.to(name='a', handler=lambda b: threading.Event().wait(), timeout_seconds=0.1).respond();"
    "s = f.to_mock_server(); assert s.test(body=1, silent=True).status_code == 504",
    "queue": "f, g = flow(); f.add_child_function('c'); g.to('>>', 'q').to(name='a', handler=step, function='c');"
    "s = f.to_mock_server(); s.test(body=1)",
    "forgotten": "def forget():\n    f, g = flow(); f.add_child_function('c')\n"
    "    g.to('>>', 'q').to(name='a', handler=step, function='c'); s = f.to_mock_server(); s.test(body=1)\n"
    "for _ in range(5):\n    forget()\ngc.collect(); time.sleep(0.2)",
    "waits": "f, g = flow(); g.to(Batch(max_events=9), 'b').respond(); s = f.to_mock_server();"
    "threading.Thread(target=s.test, kwargs={'body': 1, 'silent': True}, daemon=True).start()",
}


@pytest.mark.parametrize("case", CASES)
def test_program_that_never_closes_its_server_ends_cleanly_and_soon(case):
    program = PROGRAM.format(code=CASES[case])
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "end\n", "")


def test_clock_that_is_advanced_after_close_does_nothing():
    clock = FakeClock()
    function, graph = flow()
    graph.to(Batch(flush_after_seconds=5), "batch")
    server = function.to_mock_server(clock=clock)
    server.test(body=1)
    clock.wait_for_timers()
    server.close()
    clock.advance(10)


FORKS = """
import os, millrace

async def add(body):
    return body + 1

function = millrace.new_function("forks")
function.set_topology("flow").to(name="add", handler=add).respond()
server = function.to_mock_server()
print(server.test(body=1), flush=True)
if os.fork() == 0:
    print(server.test(body=1, silent=True).body.decode(), function.to_mock_server().test(body=2), flush=True)
    server.close()
    raise SystemExit
os.wait()
print(server.test(body=3))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_server_that_was_made_before_a_fork_says_so_and_does_not_hang():
    lines = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, text=True, timeout=30, check=True
    ).stdout.splitlines()
    assert (lines[0], lines[2]) == ("2", "4")
    assert lines[1].endswith('make another one in this process"} 3')
