"""The queue in memory."""

import asyncio
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.queues import MemoryQueue, Message


async def take(queue, count):
    found, messages = [], queue.read()
    async for message in messages:
        found.append(message)
        if len(found) == count:
            break
    await messages.aclose()
    return found


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(1, 20), min_size=1, max_size=4), room=st.integers(1, 30))
def test_messages_arrive_once_in_the_order_of_each_writer(counts, room):
    queue = MemoryQueue("q", max_messages=room)

    async def write(writer, count):
        for number in range(count):
            await queue.append(Message(b"%d/%d" % (writer, number)))

    async def main():
        reader = asyncio.ensure_future(take(queue, sum(counts)))
        await asyncio.sleep(0)
        await asyncio.gather(*(write(writer, count) for writer, count in enumerate(counts)))
        return await asyncio.wait_for(reader, 10)

    came = asyncio.run(main())
    assert [message.offset for message in came] == list(range(sum(counts)))
    for writer, count in enumerate(counts):
        own = [message.value for message in came if message.value.startswith(b"%d/" % writer)]
        assert own == [b"%d/%d" % (writer, number) for number in range(count)]


def test_writer_waits_while_the_reader_is_too_far_behind():
    async def main():
        queue = MemoryQueue("q", max_messages=2)
        messages = queue.read()
        await queue.append(Message(b"0"))
        await anext(messages)
        for number in (1, 2):
            await queue.append(Message(b"%d" % number))
        third = asyncio.ensure_future(queue.append(Message(b"3")))
        await asyncio.sleep(0)
        assert (third.done(), queue.lag) == (False, 2)
        await anext(messages)
        assert (await asyncio.wait_for(third, 10)).offset == 3

    asyncio.run(main())


def test_without_a_reader_the_newest_messages_are_kept_and_nobody_waits():
    async def main():
        queue = MemoryQueue("q", max_messages=2)
        for number in range(5):
            await queue.append(Message(b"%d" % number))
        return queue

    queue = asyncio.run(main())
    assert ([message.value for message in queue.messages], queue.lag) == ([b"3", b"4"], 0)


def test_reader_that_goes_away_holds_up_no_writer():
    async def main():
        queue = MemoryQueue("q", max_messages=1)
        await queue.append(Message(b"0"))
        await take(queue, 1)
        for number in range(5):
            await asyncio.wait_for(queue.append(Message(b"%d" % number)), 10)
        return queue.lag

    assert asyncio.run(main()) == 0


def test_offsets_of_many_threads_are_different():
    queue = MemoryQueue("q")

    def write():
        for _ in range(2_000):
            queue.append_now(Message(b"x"))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [message.offset for message in queue.messages] == list(range(8_000))


def test_closed_queue_has_forgotten_its_messages_and_goes_on():
    async def main():
        queue = MemoryQueue("q")
        await queue.append(Message(b"old"))
        queue.close()
        await queue.append(Message(b"new"))
        return await take(queue, 1)

    assert [message.value for message in asyncio.run(main())] == [b"new"]
