"""A stream door while commits fail: it stops in time, says so once, and goes on."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest

import millrace
from millrace.queues.address import open_queue
from millrace.queues.base import Settings
from millrace.queues.message import Message
from millrace.serving.doors.consumer import StreamDoor
from millrace.serving.doors.ladder import Policy
from millrace.serving.functions.runtime import make_engine

BOUND = 50


@asynccontextmanager
async def reading(url, step, *, commits_fail=False, partitions=1, ordering="partition"):
    """A door with `BOUND` in flight; `door.away.clear()` lets its commits work."""
    function = millrace.new_function("reader")
    function.set_topology("flow").to(name="step", handler=step)
    engine, _ = make_engine(function, [])
    await engine.start()
    policy = Policy(max_in_flight=BOUND, commit_seconds=0.01, backoff_seconds=0.001, ordering=ordering)
    async with await open_queue(url, Settings(partitions=partitions)) as queue:
        door = StreamDoor(engine, engine.plan.root, queue, group="g", policy=policy)
        door.away, commit = asyncio.Event(), door.consumer.commit
        if commits_fail:
            door.away.set()

        async def commit_or_fail(commits):
            if door.away.is_set():
                raise ConnectionError("the coordinator is away")
            await commit(commits)

        door.consumer.commit = commit_or_fail
        task = asyncio.create_task(door.run())
        try:
            yield door
        finally:
            door.stop()
            await asyncio.gather(task, return_exceptions=True)
            engine.close()


async def append(url, count, partitions=1):
    async with await open_queue(url, Settings(partitions=partitions)) as queue:
        await queue.append([Message(b"%d" % n) for n in range(count)])


async def until(condition, seconds=20):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def polls(door, count):
    """Wait until the door has asked for messages so often."""
    asked, poll = Counter(), door.consumer.poll

    async def counted(*arguments):
        asked["n"] += 1
        return await poll(*arguments)

    door.consumer.poll = counted
    await until(lambda: asked["n"] >= count)


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("ordering", ["partition", "none"])
def test_no_more_is_done_than_may_be_in_flight_and_a_restart_repeats_no_more(tmp_path, is_plain, ordering):
    runs, url = Counter(), f"log://{tmp_path}/q"

    async def awaited(n):
        await asyncio.sleep(0)
        runs[n] += 1

    async def main():
        step = (lambda n: runs.update([n])) if is_plain else awaited
        await append(url, 500)
        async with reading(url, step, commits_fail=True, ordering=ordering) as door:
            await until(lambda: door.counts.done)
            await polls(door, 3)
        async with reading(url, step, ordering=ordering):
            await until(lambda: len(runs) == 500)

    asyncio.run(main())
    assert 0 < runs.total() - 500 <= BOUND


@pytest.mark.parametrize("is_plain", [True, False])
def test_door_goes_on_when_commits_work_again_and_the_log_has_two_lines(tmp_path, caplog, is_plain):
    runs, url = [], f"log://{tmp_path}/q"

    async def awaited(n):
        await asyncio.sleep(0)
        runs.append(n)

    async def main():
        await append(url, 500)
        async with reading(url, runs.append if is_plain else awaited, commits_fail=True) as door:
            await until(lambda: door.counts.done >= BOUND // 2)
            await polls(door, 3)
            door.away.clear()
            await until(lambda: door.counts.done == 500)

    asyncio.run(main())
    assert runs == list(range(500))
    failing, working = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "commits fail" in failing and "the coordinator is away" in failing and "work again" in working


def test_messages_in_a_partition_that_comes_while_commits_fail_wait_too(tmp_path):
    runs, url = [], f"log://{tmp_path}/q"

    async def main():
        await append(url, 40, partitions=2)
        async with reading(url, runs.append, commits_fail=True, partitions=2) as door:
            await until(lambda: len(runs) == 40)
            await append(url, 100, partitions=2)
            await polls(door, 3)
            assert len(runs) <= BOUND and door.counts.done == len(runs)

    asyncio.run(main())


def test_last_commit_that_gets_no_answer_does_not_keep_the_door_from_ending(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("millrace.serving.doors.commits.LAST_COMMIT_SECONDS", 0.05)

    async def no_answer(commits):
        await asyncio.Event().wait()

    async def main():
        async with asyncio.timeout(10), reading(f"log://{tmp_path}/q", str) as door:
            door.consumer.commit = no_answer
            await append(f"log://{tmp_path}/q", 10)
            await until(lambda: door.counts.done == 10)

    asyncio.run(main())
    assert "the last commit failed; what it names will come again: no answer after 0.05 s" in caplog.text
