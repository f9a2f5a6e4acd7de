"""The engine's own loop, and the clock of tests."""

import asyncio
import threading

import pytest

from millrace.serving import FakeClock
from millrace.serving.engine.loop import LoopThread


def test_every_job_of_many_threads_is_called_once_and_in_the_order_of_its_thread():
    loop, called = LoopThread("test"), []

    def post(start):
        for number in range(start, start + 2_000):
            assert loop.post(lambda number=number: called.append(number))

    threads = [threading.Thread(target=post, args=(n * 2_000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop.call(asyncio.sleep(0))
    loop.stop()
    assert sorted(called) == list(range(8_000))
    for n in range(4):
        own = [number for number in called if number // 2_000 == n]
        assert own == sorted(own)


def test_sleeping_loop_is_woken_by_every_single_job():
    loop = LoopThread("test")
    for _ in range(2_000):
        done = threading.Event()
        loop.post(done.set)
        assert done.wait(10)
    loop.stop()


def test_job_that_breaks_does_not_stop_the_others(caplog):
    loop, done = LoopThread("test"), threading.Event()
    loop.post(lambda: 1 / 0)
    loop.post(done.set)
    assert done.wait(10)
    loop.stop()
    assert "ZeroDivisionError" in caplog.text


def test_every_job_is_called_or_refused_when_the_loop_stops_meanwhile():
    for _ in range(30):
        loop, called, taken = LoopThread("test"), [], []
        loop.start()
        begin = threading.Barrier(3)

        def post(loop=loop, called=called, taken=taken, begin=begin):
            begin.wait()
            for _ in range(200):
                taken.append(loop.post(lambda: called.append(1)))

        threads = [threading.Thread(target=post) for _ in range(2)]
        for thread in threads:
            thread.start()
        begin.wait()
        loop.stop()
        for thread in threads:
            thread.join()
        assert len(called) == sum(taken)


def test_stopped_loop_takes_no_job_and_is_not_started_again():
    loop = LoopThread("test")
    loop.post(lambda: None)
    loop.stop()
    assert not loop.post(lambda: None)
    with pytest.raises(RuntimeError, match="stopped"):
        loop.call(asyncio.sleep(0))


def test_last_thing_runs_on_the_loop_after_all_tasks_have_ended():
    loop, story = LoopThread("test"), []

    async def task():
        try:
            await asyncio.sleep(1000)
        finally:
            story.append("task ended")

    async def last():
        story.append("last")

    loop.post(lambda: setattr(loop, "task", asyncio.ensure_future(task())))
    loop.call(asyncio.sleep(0))
    loop.stop(lambda: story.append("end"), last)
    assert story == ["end", "task ended", "last"]


def test_call_that_times_out_cancels_its_coroutine():
    loop, cancelled = LoopThread("test"), threading.Event()

    async def forever():
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        loop.call(forever(), 0.02)
    assert cancelled.wait(10)
    loop.stop()


def test_fake_clock_calls_what_is_due_in_order_and_nothing_else():
    clock, called = FakeClock(), []

    async def main():
        for seconds in (3, 1, 2, 9):
            clock.call_later(seconds, lambda seconds=seconds: called.append(seconds))
        clock.call_later(1, lambda: called.append("cancelled")).cancel()
        clock.advance(3)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert (called, clock.pending, clock.now()) == ([1, 2, 3], 1, 3)


def test_fake_clock_says_when_no_timer_is_set():
    with pytest.raises(TimeoutError, match=r"0 timers wait"):
        FakeClock().wait_for_timers(timeout_seconds=0.01)
