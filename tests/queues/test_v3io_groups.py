"""Groups of consumers on a v3io stream: members that die, stall or lose their rights."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

import pytest
from v3io_emulator import Emulator

from millrace.errors import UpstreamError
from millrace.queues.address import queue_at
from millrace.queues.base import Commit, Consumer, Queue, Settings
from millrace.queues.message import Message

PATH = "/projects/topic"
QUICK = {"poll_seconds": 0.005, "idle_poll_seconds": 0.02, "heartbeat_seconds": 0.03}
MUTE = {"heartbeat_seconds": 1_000.0, "lease_timeout_seconds": 3_000.0}
IMPATIENT = {"lease_timeout_seconds": 0.3}
KILLED = """
import asyncio, sys
from millrace.queues.address import open_queue
from millrace.queues.base import Settings

async def main():
    options = {"access_key": "secret", "heartbeat_seconds": 0.03}
    queue = await open_queue(sys.argv[1], Settings(options=options))
    consumer = queue.consumer("g")
    while True:
        for message in await consumer.poll():
            print(message.offset, flush=True)

asyncio.run(main())
"""


def stream(platform: Emulator, partitions: int = 1, **options: object) -> Queue:
    settings = {"access_key": "secret", **QUICK, **options}
    return queue_at(f"v3io+http://{platform.host}{PATH}", Settings(partitions=partitions, options=settings))


async def take(consumer: Consumer, count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await consumer.poll(count - len(found))
    return found


async def test_partitions_of_a_silent_member_go_to_another() -> None:
    with Emulator() as platform:
        async with stream(platform, 2, **MUTE) as mute, stream(platform, 2, **IMPATIENT) as queue:
            await queue.append([Message(b"x", partition=partition) for partition in (0, 1)])
            await take(mute.consumer("g"), 2)
            async with queue.consumer("g") as consumer:
                assert len(await take(consumer, 2)) == 2
                assert consumer.assigned == {0, 1}


async def test_commit_of_a_member_that_was_taken_for_dead_does_nothing() -> None:
    with Emulator() as platform:
        async with stream(platform, **MUTE) as mute, stream(platform, **IMPATIENT) as queue:
            await queue.append([Message(b"%d" % number) for number in range(5)])
            former = mute.consumer("g")
            await take(former, 5)
            async with queue.consumer("g") as consumer:
                await take(consumer, 5)
                await former.commit({0: Commit(6)})
                assert await queue.committed("g") == {}
                await consumer.commit({0: Commit(3)})
            assert await queue.committed("g") == {0: Commit(3)}


async def test_former_owner_can_not_commit_before_the_new_one_has() -> None:
    with Emulator() as platform:
        async with stream(platform, **MUTE) as mute, stream(platform, **IMPATIENT) as queue:
            await queue.append([Message(b"%d" % number) for number in range(5)])
            former = mute.consumer("g")
            await take(former, 5)
            await former.commit({0: Commit(2)})
            started: list[Commit] = []

            async def assigned(commits: Mapping[int, Commit]) -> None:
                started.append(commits[0])
                await former.commit({0: Commit(6)})

            async with queue.consumer("g", on_assigned=assigned) as consumer:
                await take(consumer, 4)
            assert (started, await queue.committed("g")) == ([Commit(2)], {0: Commit(2)})


async def test_member_that_can_not_renew_its_lease_hands_nothing_out_until_it_can() -> None:
    with Emulator() as platform:
        async with stream(platform, **IMPATIENT) as queue, queue.consumer("g") as consumer:
            await queue.append([Message(b"1")])
            await take(consumer, 1)
            platform.fault("PutItem", times=10_000, status=503)
            assert await consumer.poll(timeout_seconds=0.5) == []
            await queue.append([Message(b"2")])
            assert await consumer.poll(timeout_seconds=0.1) == []
            platform.heal()
            assert [message.value for message in await take(consumer, 1)] == [b"2"]


async def test_killed_process_is_replaced_and_its_uncommitted_messages_come_again() -> None:
    with Emulator() as platform:
        async with stream(platform, **IMPATIENT) as queue:
            await queue.append([Message(b"%d" % number) for number in range(5)])
            url = f"v3io+http://{platform.host}{PATH}"
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", KILLED, url, stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            async with asyncio.timeout(20):
                assert [int(await process.stdout.readline()) for _ in range(5)] == [1, 2, 3, 4, 5]
            process.kill()
            await process.wait()
            async with queue.consumer("g") as consumer:
                assert [message.offset for message in await take(consumer, 5)] == [1, 2, 3, 4, 5]


async def test_restart_tells_what_was_done_out_of_order() -> None:
    told: dict[int, Commit] = {}

    async def assigned(commits: Mapping[int, Commit]) -> None:
        told.update(commits)

    with Emulator(gap=2) as platform:
        async with stream(platform) as queue:
            offsets = [m.offset for m in await queue.append([Message(b"%d" % number) for number in range(10)])]
            commit = Commit(offsets[2], frozenset({offsets[4], offsets[5], offsets[9]}))
            async with queue.consumer("g") as consumer:
                await take(consumer, 10)
                await consumer.commit({0: commit})
        async with stream(platform) as again, again.consumer("g", on_assigned=assigned) as consumer:
            found = [message.offset for message in await take(consumer, 8)]
        assert told == {0: commit}
        assert [o for o in found if o not in commit.done] == [offsets[n] for n in (2, 3, 6, 7, 8)]


async def test_losing_the_rights_is_an_error_of_poll() -> None:
    with Emulator() as platform:
        queue = await stream(platform).open()
        consumer = queue.consumer("g")
        await consumer.poll(timeout_seconds=0.05)
        platform.access_keys = set()
        with pytest.raises(UpstreamError, match="check the access key"):
            async with asyncio.timeout(10):
                while True:
                    await consumer.poll()
        platform.access_keys = None
        await queue.close()


@pytest.mark.parametrize("group", ["a b", "ü/ö", "100%", "x" * 200])
async def test_group_may_have_any_name(group: str) -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            await queue.commit(group, {0: Commit(3)})
            assert await queue.committed(group) == {0: Commit(3)}
            assert await queue.committed(group[:-1] + "_") == {}


async def test_member_that_leaves_is_forgotten() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            for _ in range(3):
                async with queue.consumer("g") as consumer:
                    await consumer.poll(timeout_seconds=0.05)
            await (last := queue.consumer("g")).poll(timeout_seconds=0.05)
            beats = [name for name in platform.items[f"{PATH}/g-millrace"] if name.startswith("beat_")]
            assert len(beats) == 1
            await last.close()
