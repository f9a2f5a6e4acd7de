"""The gate: never more inside than may be, nobody waits for ever, who gives up leaves no trace."""

import asyncio
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.errors import Draining
from millrace.serving.engine.gate import Gate


@settings(max_examples=60, deadline=None)
@given(limit=st.integers(1, 4), count=st.integers(1, 20), cancelled=st.sets(st.integers(0, 19)), seed=st.randoms())
def test_never_more_than_the_limit_are_inside_and_all_leave(limit, count, cancelled, seed):
    gate, most, done, order = Gate(limit), [0], [], random.Random(seed.random())

    async def visit(number):
        await gate.enter_async()
        try:
            most[0] = max(most[0], gate.inside)
            for _ in range(order.randrange(4)):
                await asyncio.sleep(0)
            done.append(number)
        finally:
            gate.leave()

    async def main():
        tasks = [asyncio.create_task(visit(number)) for number in range(count)]
        for number in cancelled:
            await asyncio.sleep(0)
            if number < count:
                tasks[number].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)

    asyncio.run(main())
    assert (most[0] <= limit, gate.inside, gate.waiting) == (True, 0, 0)
    assert set(done) >= set(range(count)) - cancelled


def test_coroutines_go_in_in_the_order_in_which_they_came():
    gate, order = Gate(1), []

    async def visit(number):
        await gate.enter_async()
        order.append(number)
        await asyncio.sleep(0)
        gate.leave()

    async def main():
        await asyncio.gather(*(visit(number) for number in range(20)))

    asyncio.run(main())
    assert order == list(range(20))


def test_threads_and_loops_share_one_gate():
    gate, lock, inside, most = Gate(3), threading.Lock(), [0], [0]

    def enter():
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        with lock:
            inside[0] -= 1

    def in_thread():
        for _ in range(300):
            gate.enter()
            enter()
            gate.leave()

    async def visit():
        await gate.enter_async()
        await asyncio.sleep(0)
        enter()
        gate.leave()

    async def visits():
        await asyncio.gather(*(visit() for _ in range(300)))

    threads = [threading.Thread(target=in_thread) for _ in range(3)]
    threads += [threading.Thread(target=asyncio.run, args=(visits(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (most[0] <= 3, gate.inside, gate.waiting) == (True, 0, 0)


def test_callers_that_are_cancelled_while_another_thread_lets_them_in_do_not_keep_their_place():
    gate, stop = Gate(1), threading.Event()

    def in_and_out():
        while not stop.is_set():
            gate.enter()
            gate.leave()

    async def come_and_go():
        for _ in range(2_000):
            task = asyncio.ensure_future(gate.enter_async())
            await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                continue
            gate.leave()

    other = threading.Thread(target=in_and_out)
    other.start()
    asyncio.run(come_and_go())
    stop.set()
    other.join(10)
    assert (gate.inside, gate.waiting) == (0, 0)


def test_coroutine_whose_loop_was_closed_is_passed_over():
    gate = Gate(1)
    gate.enter()
    loop = asyncio.new_event_loop()
    waiting = gate.enter_async()

    async def begin():
        task = asyncio.ensure_future(waiting)
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(begin())
    loop.close()
    gate.leave()
    assert (gate.inside, gate.try_enter()) == (0, True)
    task._log_destroy_pending = False


def test_closed_gate_turns_away_who_waits_and_who_comes():
    gate, turned_away = Gate(1), []
    gate.enter()

    def wait():
        try:
            gate.enter()
        except Draining as error:
            turned_away.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not gate.waiting:
        waiting.join(0.001)
    gate.close()
    waiting.join(10)
    with pytest.raises(Draining):
        asyncio.run(gate.enter_async())
    assert (len(turned_away), gate.try_enter(), gate.inside) == (1, False, 1)
