"""What every backend keeps: consumer groups."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import pytest

from millrace.queues.base import Commit, Consumer, Queue
from millrace.queues.message import Message

Topic = Callable[..., Queue]
PATIENCE_SECONDS = 20


def numbered(count: int, first: int = 0) -> list[Message]:
    return [Message(b"%d" % number, b"k%d" % (number % 50)) for number in range(first, first + count)]


async def take(consumer: Consumer, count: int) -> list[Message]:
    """Poll until so many have come."""
    found: list[Message] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found) < count:
            found += await consumer.poll(count - len(found))
    return found


async def done(consumer: Consumer, messages: list[Message]) -> None:
    """Commit that messages, the last that were polled, are done."""
    await consumer.commit({message.partition: Commit(message.offset + 1) for message in messages})


async def until_assigned(counts: Mapping[Consumer, int], *others: Mapping[Consumer, int]) -> None:
    """Poll consumers until each has so many partitions, in one of the ways given."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while {consumer: len(consumer.assigned) for consumer in counts} not in (counts, *others):
            for consumer in counts:
                assert await consumer.poll(timeout_seconds=0.05) == []


class Worker:
    """Handles and commits what a consumer polls, until it is stopped."""

    def __init__(self, consumer: Consumer, seen: Counter[bytes]) -> None:
        self.consumer, self.seen = consumer, seen
        self.stopped = False
        self.task = asyncio.create_task(self.work())

    async def work(self) -> None:
        while not self.stopped:
            messages = await self.consumer.poll(20, 0.1)
            self.seen.update(message.value for message in messages)
            await done(self.consumer, messages)

    async def stop(self) -> None:
        self.stopped = True
        await self.task
        await self.consumer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def test_one_consumer_gets_everything_in_order_within_partitions(topic: Topic) -> None:
    async with topic(partitions=3) as queue, queue.consumer("g") as consumer:
        appended = await queue.append(numbered(100))
        found = await take(consumer, 100)
        for partition in range(3):
            expected = [message.value for message in appended if message.partition == partition]
            assert [message.value for message in found if message.partition == partition] == expected


async def test_waiting_consumer_is_woken_by_an_append(topic: Topic) -> None:
    async with topic() as queue, topic() as other, other.consumer("g") as consumer:
        waiting = asyncio.create_task(take(consumer, 1))
        await until(lambda: bool(consumer.assigned))
        await queue.append([Message(b"x")])
        assert (await waiting)[0].value == b"x"


async def test_poll_without_messages_ends_at_its_time(topic: Topic) -> None:
    async with topic() as queue, queue.consumer("g") as consumer:
        await until_assigned({consumer: 1})
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await consumer.poll(timeout_seconds=0.01) == []


async def test_poll_gives_no_more_than_asked_for(topic: Topic) -> None:
    async with topic(partitions=3) as queue, queue.consumer("g") as consumer:
        await queue.append(numbered(100))
        while not (messages := await consumer.poll(7)):
            continue
        assert len(messages) <= 7


async def test_every_group_gets_everything(topic: Topic) -> None:
    async with topic(partitions=2) as queue, queue.consumer("one") as one, queue.consumer("two") as two:
        await queue.append(numbered(30))
        assert len(await take(one, 30)) == len(await take(two, 30)) == 30


async def test_group_goes_on_after_its_commit(topic: Topic) -> None:
    async with topic() as queue:
        appended = await queue.append(numbered(10))
        async with queue.consumer("g") as consumer:
            await take(consumer, 10)
            await consumer.commit({0: Commit(appended[4].offset)})
        async with queue.consumer("g") as again:
            assert (await take(again, 6))[0].offset == appended[4].offset


async def test_what_was_done_beyond_the_watermark_is_told_after_a_restart(topic: Topic) -> None:
    told: dict[int, Commit] = {}

    async def on_assigned(commits: Mapping[int, Commit]) -> None:
        told.update(commits)

    async with topic() as queue:
        base = (await queue.append(numbered(20)))[0].offset
        commit = Commit(base + 5, frozenset({base + 7, base + 8, base + 15}))
        async with queue.consumer("g") as consumer:
            await take(consumer, 20)
            await consumer.commit({0: commit})
        assert await queue.committed("g") == {0: commit}
        async with queue.consumer("g", on_assigned=on_assigned) as again:
            found = [message.offset for message in await take(again, 15)]
        repeated = [offset for offset in found if offset not in told[0].done]
        assert repeated == [base + n for n in range(5, 20) if n not in {7, 8, 15}]


async def test_uncommitted_messages_come_again(topic: Topic) -> None:
    async with topic() as queue:
        await queue.append(numbered(5))
        async with queue.consumer("g") as consumer:
            await take(consumer, 5)
        async with queue.consumer("g") as again:
            assert len(await take(again, 5)) == 5


async def test_latest_begins_with_what_comes_after_joining_and_keeps_that_place(topic: Topic) -> None:
    async with topic() as queue:
        await queue.append(numbered(5))
        async with queue.consumer("g", start="latest") as consumer:
            await until_assigned({consumer: 1})
        await queue.append([Message(b"between")])
        async with queue.consumer("g", start="latest") as again:
            assert [message.value for message in await take(again, 1)] == [b"between"]


async def test_partitions_are_divided_among_members(topic: Topic) -> None:
    async with topic(partitions=4) as queue, topic(partitions=4) as other:
        async with queue.consumer("g") as one, other.consumer("g") as two:
            await until_assigned({one: 2, two: 2})
            assert one.assigned | two.assigned == {0, 1, 2, 3}
        async with queue.consumer("g") as three:
            await until_assigned({three: 4})


async def test_member_beyond_the_partitions_waits_for_one(topic: Topic) -> None:
    async with topic(partitions=1) as queue, queue.consumer("g") as one, queue.consumer("g") as two:
        await until_assigned({one: 1, two: 0}, {one: 0, two: 1})
        first, spare = (one, two) if one.assigned else (two, one)
        await first.close()
        await until_assigned({spare: 1})


async def test_members_that_join_and_leave_lose_and_repeat_nothing(topic: Topic) -> None:
    seen: Counter[bytes] = Counter()
    async with topic(partitions=4) as queue, topic(partitions=4) as other:
        one = Worker(queue.consumer("g"), seen)
        await queue.append(numbered(500))
        two = Worker(other.consumer("g"), seen)
        for first in range(500, 1_500, 50):
            await queue.append(numbered(50, first))
        await until(lambda: bool(two.consumer.assigned))
        await one.stop()
        await queue.append(numbered(500, 1_500))
        await until(lambda: len(seen) == 2_000)
        await two.stop()
    assert seen == Counter(message.value for message in numbered(2_000))


async def test_revoked_is_awaited_before_another_member_gets_the_partition(topic: Topic) -> None:
    story: list[tuple[str, int]] = []

    async def revoked(partitions: Iterable[int]) -> None:
        story.extend(("begin", partition) for partition in partitions)
        await asyncio.sleep(0.05)
        story.extend(("end", partition) for partition in partitions)

    async def assigned(commits: Mapping[int, Commit]) -> None:
        story.extend(("other", partition) for partition in commits)

    async with topic(partitions=2) as queue, topic(partitions=2) as other:
        one, two = queue.consumer("g", on_revoked=revoked), other.consumer("g", on_assigned=assigned)
        await until_assigned({one: 2})
        await asyncio.gather(until_assigned({one: 1}), until_assigned({two: 1}))
        (moved,) = two.assigned
        assert story.index(("end", moved)) < story.index(("other", moved))


async def test_commit_inside_revoked_counts(topic: Topic) -> None:
    async with topic() as queue:
        end = (await queue.append(numbered(5)))[-1].offset + 1

        async def revoked(partitions: Iterable[int]) -> None:
            await consumer.commit({partition: Commit(end) for partition in partitions})

        consumer = queue.consumer("g", on_revoked=revoked)
        await take(consumer, 5)
        await consumer.close()
        assert (await queue.committed("g"))[0].watermark == end


async def test_commit_for_a_partition_of_another_member_does_nothing(topic: Topic) -> None:
    async with topic(partitions=2) as queue, topic(partitions=2) as other:
        await queue.append([Message(b"x", partition=partition) for partition in (0, 1)])
        async with queue.consumer("g") as one, other.consumer("g") as two:
            await asyncio.gather(until_count(one, 1), until_count(two, 1))
            (foreign,) = two.assigned
            await one.commit({foreign: Commit(1)})
            assert foreign not in await queue.committed("g")


async def until_count(consumer: Consumer, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(consumer.assigned) != count:
            await consumer.poll(timeout_seconds=0.05)


async def test_lag_is_what_is_not_done(topic: Topic) -> None:
    async with topic() as queue:
        base = (await queue.append(numbered(10)))[0].offset
        assert await queue.lag("g") == {0: 10}
        await queue.commit("g", {0: Commit(base + 3, frozenset({base + 5}))})
        assert await queue.lag("g") == {0: 6}


async def test_group_replays_and_skips_by_a_commit_from_outside(topic: Topic) -> None:
    async with topic() as queue:
        appended = await queue.append(numbered(10))
        await queue.commit("g", {0: Commit(appended[8].offset)})
        async with queue.consumer("g") as consumer:
            assert len(await take(consumer, 2)) == 2
        await queue.commit("g", {0: Commit(appended[0].offset)})
        async with queue.consumer("g") as again:
            assert len(await take(again, 10)) == 10


async def test_seek_replays_from_an_offset(topic: Topic) -> None:
    async with topic() as queue, queue.consumer("g") as consumer:
        appended = await queue.append(numbered(10))
        await take(consumer, 10)
        await consumer.seek(0, appended[6].offset)
        assert [message.offset for message in await take(consumer, 4)] == [m.offset for m in appended[6:]]


async def test_seek_in_a_foreign_partition_is_refused(topic: Topic) -> None:
    async with topic() as queue, queue.consumer("g") as consumer:
        with pytest.raises(ValueError, match="partition 0"):
            await consumer.seek(0, 0)


async def test_paused_partition_is_kept_and_not_read(topic: Topic) -> None:
    async with topic(partitions=2) as queue, queue.consumer("g") as consumer:
        await until_assigned({consumer: 2})
        consumer.pause([0])
        await queue.append([Message(b"%d" % partition, partition=partition) for partition in (0, 1)])
        assert [message.partition for message in await take(consumer, 1)] == [1]
        assert await consumer.poll(timeout_seconds=0.3) == []
        assert consumer.assigned == {0, 1}
        consumer.resume([0])
        assert [message.partition for message in await take(consumer, 1)] == [0]


async def test_closed_consumer_gives_nothing_and_lets_go(topic: Topic) -> None:
    async with topic() as queue:
        await queue.append(numbered(3))
        consumer = queue.consumer("g")
        await take(consumer, 3)
        await consumer.close()
        await consumer.close()
        assert consumer.assigned == frozenset()
        assert await consumer.poll(timeout_seconds=0.01) == []


async def test_several_consumers_of_one_client_share_the_work(topic: Topic) -> None:
    seen: Counter[bytes] = Counter()
    async with topic(partitions=4) as queue:
        workers = [Worker(queue.consumer("g"), seen) for _ in range(3)]
        await queue.append(numbered(300))
        await until(lambda: len(seen) == 300)
        for worker in workers:
            await worker.stop()
    assert max(seen.values()) == 1
