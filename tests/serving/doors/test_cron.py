"""The cron door by a clock of the test's own: when events come, what they carry, what is passed over."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

import millrace
from millrace.errors import GraphError
from millrace.serving.doors.cron import Cron, CronDoor
from millrace.serving.engine.clock import FakeClock
from millrace.serving.functions.runtime import make_engine

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def ticking(step, *, start=MIDNIGHT, **settings):
    """A clock, and a door that sends events to a step."""
    clock = FakeClock()
    function = millrace.new_function("ticker")
    function.set_topology("flow").to(name="step", handler=step, full_event=True)
    engine, _ = make_engine(function, [], clock=clock)
    await engine.start()
    door = CronDoor(engine, Cron(name="tick", **settings), now=lambda: start + timedelta(seconds=clock.now()))
    task = asyncio.create_task(door.run())
    try:
        yield clock, door
    finally:
        door.stop()
        await task
        engine.close()


async def advance(clock, seconds):
    """Let time pass, once the door waits for it, and the loop do what is due."""
    async with asyncio.timeout(10):
        while not clock.pending:
            await asyncio.sleep(0)
        clock.advance(seconds)
        for _ in range(20):
            await asyncio.sleep(0)


def times_of(seconds, **settings):
    """When events come within so many seconds, of which one passes at a time."""
    found = []

    async def main():
        async with ticking(lambda event: found.append(clock_of[0].now()), **settings) as (clock, _):
            clock_of.append(clock)
            for _ in range(seconds):
                await advance(clock, 1)

    clock_of = []
    asyncio.run(main())
    return found


@pytest.mark.parametrize("settings, times", [
    ({"interval": "10s"}, [10, 20, 30]),
    ({"interval": "1m"}, []),
    ({"schedule": "@every 15s"}, [15, 30]),
    ({"schedule": "*/10 * * * * *"}, [10, 20, 30]),
    ({"schedule": "* * * * *", "start": MIDNIGHT - timedelta(seconds=20)}, [20]),
    ({"schedule": "@hourly", "start": MIDNIGHT - timedelta(seconds=5)}, [5]),
    ({"schedule": "0 1 * * *", "start": MIDNIGHT - timedelta(seconds=5)}, []),
])  # fmt: skip
def test_events_come_when_the_interval_or_the_schedule_says(settings, times):
    assert times_of(30, **settings) == times


def test_event_has_the_triggers_body_headers_path_and_name():
    seen = []
    settings = {"body": '{"x": 1}', "headers": {"X-Tenant": "blue"}, "path": "/clean", "method": "PUT"}

    async def main():
        async with ticking(seen.append, interval="1s", **settings) as (clock, _):
            await advance(clock, 1)

    asyncio.run(main())
    (event,) = seen
    assert (event.body, event.path, event.method, event.headers) == ({"x": 1}, "/clean", "PUT", {"X-Tenant": "blue"})
    assert (event.trigger.kind, event.trigger.name) == ("cron", "tick")


def test_times_that_pass_while_an_event_runs_are_left_out_and_counted():
    seen, gate = [], asyncio.Event()

    async def step(event):
        seen.append(event)
        await gate.wait()

    async def main():
        async with ticking(step, interval="10s") as (clock, door):
            await advance(clock, 10)
            clock.advance(35)  # 20, 30 and 40 pass while the event of 10 runs
            gate.set()
            await advance(clock, 4)
            assert (len(seen), door.missed) == (1, 3)
            await advance(clock, 1)
            assert (len(seen), door.missed) == (2, 3)

    asyncio.run(main())


def test_times_of_a_schedule_that_pass_while_an_event_runs_are_left_out_too():
    seen, gate = [], asyncio.Event()

    async def step(event):
        seen.append(event)
        await gate.wait()

    async def main():
        async with ticking(step, schedule="* * * * *") as (clock, door):
            await advance(clock, 60)
            clock.advance(150)
            gate.set()
            await advance(clock, 30)
            assert (len(seen), door.missed) == (2, 2)

    asyncio.run(main())


def test_event_that_fails_is_kept_among_the_errors_and_the_next_comes():
    async def main():
        async with ticking(lambda event: 1 / 0, interval="1s") as (clock, door):
            await advance(clock, 1)
            await advance(clock, 1)
            return door.sent, [str(error) for error in door.engine.errors]

    sent, errors = asyncio.run(main())
    assert sent == 2 and len(errors) == 2 and all("ZeroDivisionError" in one for one in errors)


@pytest.mark.parametrize("settings, text", [
    ({}, r"trigger 'tick': give either interval='10s' or schedule="),
    ({"interval": "1s", "schedule": "* * * * *"}, "give either"),
    ({"interval": "10"}, "'10' is no interval such as '10s'"),
    ({"interval": "0s"}, "'0s' is no interval"),
    ({"interval": "1s 5"}, "is no interval"),
    ({"schedule": "61 * * * *"}, "'61 .*' is no cron expression such as .*: Bad minute"),
    ({"schedule": "0 0 30 2 *"}, "is no cron expression"),
    ({"schedule": "hourly"}, "'hourly' is no cron expression"),
])  # fmt: skip
def test_what_is_never_due_is_an_error_that_names_the_trigger(settings, text):
    with pytest.raises(GraphError, match=text):
        Cron(name="tick", **settings).times(FakeClock())
