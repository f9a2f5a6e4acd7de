"""The watchdog of the event loop: which step held it, and how long, told once."""

import asyncio
import threading

import pytest

import millrace
from millrace.serving import Event
from millrace.serving.engine.watchdog import Watchdog
from millrace.serving.functions.runtime import make_engine


def plain(hold):
    return hold


def asynchronous(hold):
    async def step(body):
        return hold(body)

    return step


def hold_loop(make_step, *, seconds, times=1, while_held=lambda: None):
    """Let the step ``sleeper`` hold a loop so often; the seconds pass on the watchdog's clock only."""
    entered, gate, now = threading.Event(), threading.Event(), [0.0]

    def hold(body):
        entered.set()
        assert gate.wait(10)
        gate.clear()
        return body

    function = millrace.new_function("blocker")
    flow = function.set_topology("flow")
    flow.to(name="before", handler="(event)").to(name="sleeper", handler=make_step(hold)).respond()
    engine, _ = make_engine(function, [])

    def watch(dog):
        for _ in range(times):
            assert entered.wait(10)
            entered.clear()
            now[0] += seconds
            dog.check()
            while_held()
            gate.set()

    async def main():
        await engine.start()
        dog = Watchdog(asyncio.get_running_loop(), now=lambda: now[0])
        watcher = threading.Thread(target=watch, args=(dog,))
        watcher.start()
        for _ in range(times):
            await engine.run_async(Event(1))
            dog.beat()
            dog.check()
        watcher.join()
        dog.stop()

    asyncio.run(main())
    engine.close()


def told(caplog):
    return [record.getMessage() for record in caplog.records if "held the event loop" in record.getMessage()]


@pytest.mark.parametrize("make_step", [plain, asynchronous])
def test_step_that_holds_the_loop_is_named_with_its_time_and_the_way_out(make_step, caplog):
    hold_loop(make_step, seconds=0.35)
    (text,) = told(caplog)
    assert "step 'sleeper' held the event loop for 350 ms" in text and "execution='thread'" in text


def test_step_is_told_of_once(caplog):
    hold_loop(plain, seconds=0.35, times=3)
    assert len(told(caplog)) == 1


def test_step_that_holds_the_loop_for_a_moment_is_not_told_of(caplog):
    hold_loop(plain, seconds=0.1)
    assert told(caplog) == []


def test_step_that_never_returns_is_told_of_while_it_holds_the_loop(caplog):
    seen = []
    hold_loop(plain, seconds=6.0, while_held=lambda: seen.extend(told(caplog)))
    assert len(seen) == 1 and "'sleeper'" in seen[0]
