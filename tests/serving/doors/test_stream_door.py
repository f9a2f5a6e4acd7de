"""The stream door on the embedded log: order, failures, commits, batches, rebalances."""

import asyncio
import random
import shutil
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest

import millrace
from millrace.queues.address import open_queue
from millrace.queues.base import Commit, Settings, TopicGone
from millrace.queues.message import Message
from millrace.serving.doors.consumer import StreamDoor
from millrace.serving.doors.ladder import Policy
from millrace.serving.functions.runtime import make_engine

QUICK = {"backoff_seconds": 0.001, "commit_seconds": 0.01}


def numbers(count, *, key=None):
    return [Message(b"%d" % n, key=key and key(n)) for n in range(count)]


@asynccontextmanager
async def reading(url, step, *, policy=None, dead_letters=None, partitions=1, messages=(), batch=None):
    """A queue with messages, and a door that runs `step` for each."""
    function = millrace.new_function("reader")
    graph = function.set_topology("flow")
    first = graph if batch is None else graph.to(millrace.steps.Batch(max_events=batch), "batch")
    first.to(name="step", handler=step)
    engine, _ = make_engine(function, [])
    await engine.start()
    async with await open_queue(url, Settings(partitions=partitions)) as queue:
        await queue.append(list(messages))
        door = StreamDoor(
            engine, engine.plan.root, queue, group="g", policy=policy or Policy(**QUICK),
            dead_letters=dead_letters and (lambda: dead_letters(url)),
        )  # fmt: skip
        task = asyncio.create_task(door.run())
        try:
            yield door, queue, task
        finally:
            door.stop()
            await asyncio.gather(task, return_exceptions=True)
            engine.close()


async def until(condition, seconds=10):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def letters_at(url):
    return await open_queue(f"{url}-dead", Settings(partitions=1))


async def dead(url):
    async with await letters_at(url) as queue:
        return await queue.read(0, 0)


def test_messages_of_a_partition_run_in_order_one_at_a_time(tmp_path):
    seen, inside = [], Counter()

    async def step(n):
        inside["now"] += 1
        inside["most"] = max(inside["most"], inside["now"])
        await asyncio.sleep(random.uniform(0, 0.002))
        inside["now"] -= 1
        seen.append(n)

    async def main():
        async with reading(f"log://{tmp_path}/q", step, messages=numbers(50)) as (door, _, _):
            await until(lambda: door.counts.done == 50)

    asyncio.run(main())
    assert seen == list(range(50)) and inside["most"] == 1


def test_messages_of_one_key_stay_in_order_and_those_of_others_overtake(tmp_path):
    seen, release = [], asyncio.Event()

    async def step(n):
        if n == 0:
            await release.wait()
        seen.append(n)

    async def main():
        policy, by_key = Policy(ordering="key", **QUICK), lambda n: b"slow" if n % 2 == 0 else b"k%d" % n
        async with reading(f"log://{tmp_path}/q", step, policy=policy, messages=numbers(20, key=by_key)) as (door, *_):
            await until(lambda: len(seen) == 10)
            release.set()
            await until(lambda: door.counts.done == 20)

    asyncio.run(main())
    assert sorted(seen[:10]) == list(range(1, 20, 2)) and seen[10:] == list(range(0, 20, 2))


def test_without_ordering_all_messages_run_at_once(tmp_path):
    barrier = asyncio.Barrier(20)

    async def step(n):
        await barrier.wait()

    async def main():
        policy = Policy(ordering="none", **QUICK)
        async with reading(f"log://{tmp_path}/q", step, policy=policy, messages=numbers(20)) as (door, *_):
            await until(lambda: door.counts.done == 20)

    asyncio.run(main())


def test_message_that_fails_is_tried_again_and_the_next_waits_for_it(tmp_path):
    seen = []

    def step(n):
        seen.append(n)
        if n == 1 and seen.count(1) < 3:
            raise ConnectionError("not yet")

    async def main():
        async with reading(f"log://{tmp_path}/q", step, messages=numbers(3)) as (door, *_):
            await until(lambda: door.counts.done == 3)
            return door.counts

    counts = asyncio.run(main())
    assert seen == [0, 1, 1, 1, 2] and (counts.retried, counts.dead_lettered) == (2, 0)


def test_poison_becomes_a_dead_letter_with_its_reason_and_the_rest_goes_on(tmp_path):
    url, seen = f"log://{tmp_path}/q", []

    def step(n):
        if n == 2:
            raise ValueError("two")
        seen.append(n)

    async def main():
        async with reading(url, step, messages=numbers(5), dead_letters=letters_at) as (door, _, _):
            await until(lambda: door.counts.done == 5)
        return await dead(url)

    (letter,) = asyncio.run(main())
    headers = letter.headers
    assert seen == [0, 1, 3, 4] and letter.value == b"2"
    assert (headers["x-error-type"], headers["x-step"], headers["x-attempts"]) == ("ValueError", "step", "4")
    assert (headers["x-origin"], headers["x-origin-partition"], headers["x-origin-offset"]) == (url, "0", "2")


def test_error_that_is_the_message_s_own_fault_is_not_tried_again(tmp_path):
    calls = []

    def step(n):
        calls.append(n)
        raise millrace.errors.BadRequest("no such user")

    async def main():
        policy = Policy(on_failure="skip", **QUICK)
        async with reading(f"log://{tmp_path}/q", step, policy=policy, messages=numbers(1)) as (door, *_):
            await until(lambda: door.counts.skipped == 1)

    asyncio.run(main())
    assert calls == [0]


def test_undecodable_message_is_a_dead_letter_before_any_step_sees_it(tmp_path):
    url, seen = f"log://{tmp_path}/q", []

    async def main():
        messages = [Message(b"{broken"), Message(b"1"), Message(b"\xff", headers={"content-type": "text/plain"})]
        async with reading(url, seen.append, messages=messages, dead_letters=letters_at) as (door, *_):
            await until(lambda: door.counts.done == 3)
        return await dead(url)

    assert [letter.value for letter in asyncio.run(main())] == [b"{broken", b"\xff"] and seen == [1]


def test_with_stop_the_watermark_stays_at_the_poison_and_a_restart_begins_there(tmp_path):
    url, seen = f"log://{tmp_path}/q", []

    def step(n):
        if n == 3:
            raise ValueError("three")
        seen.append(n)

    async def main():
        policy = Policy(on_failure="stop", retries=1, **QUICK)
        async with reading(url, step, policy=policy, messages=numbers(6)) as (door, queue, task):
            await asyncio.wait([task], timeout=10)
            return door.fault, await queue.committed("g")

    fault, committed = asyncio.run(main())
    assert "three" in str(fault) and committed == {0: Commit(3)} and seen == [0, 1, 2]


def test_when_the_dead_letter_queue_is_away_the_door_stops_and_keeps_the_message(tmp_path, caplog):
    async def away(url):
        raise ConnectionError("the disk is gone")

    def step(n):
        raise ValueError("bad")

    async def main():
        policy = Policy(retries=0, **QUICK)
        async with reading(f"log://{tmp_path}/q", step, policy=policy, messages=numbers(2), dead_letters=away) as (
            _, queue, task,
        ):  # fmt: skip
            await asyncio.wait([task], timeout=10)
            return await queue.committed("g")

    assert asyncio.run(main()).get(0, Commit(0)) == Commit(0)
    assert "the disk is gone" in caplog.text and "stays uncommitted" in caplog.text


def test_messages_in_a_batch_are_done_when_the_batch_is(tmp_path):
    batches = []

    async def main():
        async with reading(f"log://{tmp_path}/q", batches.append, messages=numbers(5), batch=2) as (door, queue, _):
            await until(lambda: door.counts.done == 4)
            await asyncio.sleep(0.05)
            before = await queue.committed("g")
        return before

    before = asyncio.run(main())
    assert before == {0: Commit(4)} and batches == [[0, 1], [2, 3], [4]]


def test_what_was_done_beyond_the_watermark_is_not_run_again_after_a_restart(tmp_path):
    url, seen = f"log://{tmp_path}/q", []

    async def main():
        async with await open_queue(url, Settings(partitions=1)) as queue:
            await queue.append(numbers(6))
            await queue.commit("g", {0: Commit(1, frozenset({2, 4}))})
        async with reading(url, seen.append) as (door, queue, _):
            await until(lambda: len(seen) == 3)
            await until(lambda: door.in_flight == 0)
        async with await open_queue(url) as queue:
            return await queue.committed("g")

    assert asyncio.run(main()) == {0: Commit(6)} and seen == [1, 3, 5]


def test_partition_is_paused_above_its_bound_and_read_again_below(tmp_path):
    gate, inside = asyncio.Event(), []

    async def step(n):
        inside.append(n)
        await gate.wait()

    async def main():
        policy = Policy(ordering="none", max_in_flight=10, **QUICK)
        async with reading(f"log://{tmp_path}/q", step, policy=policy, messages=numbers(1500)) as (door, *_):
            await until(lambda: len(inside) >= 10)
            await asyncio.sleep(0.1)
            held = door.in_flight
            gate.set()
            await until(lambda: door.counts.done == 1500)
            return held

    assert asyncio.run(main()) <= 20  # the bound, and as many as may come with the last poll


def test_door_with_slow_plain_steps_stops_behind_the_one_that_runs_and_has_committed_what_is_done(tmp_path):
    seen = []

    def step(n):
        seen.append(n)
        time.sleep(0.01)

    async def main():
        async with reading(f"log://{tmp_path}/q", step, messages=numbers(1000)) as (door, queue, task):
            await until(lambda: len(seen) >= 20)
            door.stop()
            await task
            return await queue.committed("g")

    assert asyncio.run(main()) == {0: Commit(len(seen))} and len(seen) < 100


def test_two_doors_share_the_partitions_and_nothing_is_lost_or_done_twice(tmp_path):
    url, seen = f"log://{tmp_path}/q", []

    async def step(n):
        await asyncio.sleep(0.001)
        seen.append(n)

    async def main():
        by_key = lambda n: b"%d" % n  # noqa: E731
        async with reading(url, step, partitions=4, messages=numbers(400, key=by_key)) as (first, _, _):
            await until(lambda: len(seen) > 50)
            async with reading(url, step) as (second, _, _):
                await until(lambda: second.assigned and len(seen) >= 400, 30)
            assert second.counts.done > 0 and first.counts.done > 0

    asyncio.run(main())
    assert sorted(seen) == list(range(400))


def test_event_has_the_message_s_offset_key_and_trace(tmp_path):
    seen = []
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    class Step:
        def do(self, event):
            seen.append((event.body, event.key, event.offset, event.headers.get("traceparent")))
            return event

    async def main():
        function = millrace.new_function("reader")
        function.set_topology("flow").to(Step(), "step", full_event=True)
        engine, _ = make_engine(function, [])
        await engine.start()
        async with await open_queue(f"log://{tmp_path}/q", Settings(partitions=1)) as queue:
            await queue.append([Message(b"text", b"k", {"content-type": "text/plain", "traceparent": trace})])
            door = StreamDoor(engine, engine.plan.root, queue, group="g")
            task = asyncio.create_task(door.run())
            await until(lambda: seen)
            door.stop()
            await task
        engine.close()

    asyncio.run(main())
    assert seen == [("text", "k", 0, trace)]


def test_message_that_waits_for_its_next_try_is_let_go_when_the_door_stops_and_is_no_dead_letter(tmp_path):
    url = f"log://{tmp_path}/q"

    def step(n):
        raise ConnectionError("away")

    async def main():
        policy = Policy(retries=5, backoff_seconds=3600, commit_seconds=0.01)
        reader = reading(url, step, policy=policy, messages=numbers(3), dead_letters=letters_at)
        async with reader as (door, queue, task):
            await until(lambda: door.counts.retried == 1)
            door.stop()
            await asyncio.wait_for(task, 5)
            return door.counts.dead_lettered, await queue.lag("g")

    assert asyncio.run(main()) == (0, {0: 3})


def test_message_that_does_not_end_is_left_to_the_next_reader_after_a_bounded_time(tmp_path):
    async def step(n):
        await asyncio.Event().wait()

    async def main():
        policy = Policy(drain_seconds=0.05, **QUICK)
        async with reading(f"log://{tmp_path}/q", step, policy=policy, messages=numbers(1)) as (door, queue, task):
            await until(lambda: door.in_flight == 1)
            door.stop()
            await asyncio.wait_for(task, 5)
            return await queue.lag("g"), door.engine.gate.inside, door.counts

    lag, inside, counts = asyncio.run(main())
    assert lag == {0: 1} and inside == 0 and (counts.done, counts.dead_lettered) == (0, 0)


def test_nothing_is_kept_of_messages_that_are_done(tmp_path):
    async def main():
        policy = Policy(ordering="none", **QUICK)
        async with reading(f"log://{tmp_path}/q", lambda n: n, policy=policy, messages=numbers(300)) as (door, *_):
            await until(lambda: door.counts.done == 300)
            return [(share.lanes, share.running, share.in_flight) for share in door._shares.values()]

    assert asyncio.run(main()) == [({}, {}, 0)]


def test_door_of_a_topic_that_was_deleted_ends_and_says_so(tmp_path):
    async def main():
        async with reading(f"log://{tmp_path}/q", lambda body: body, messages=numbers(3)) as (door, _, task):
            await until(lambda: door.counts.done == 3)
            shutil.rmtree(tmp_path / "q")
            with pytest.raises(TopicGone, match="was deleted"):
                await asyncio.wait_for(task, 10)

    asyncio.run(main())
